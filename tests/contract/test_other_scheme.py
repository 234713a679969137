"""The contract of dialers fits a scheme that is no WebSocket: lines of text over TCP, which end by the end of TCP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

from libws_core import (
    ConnectError,
    ConnectionClosed,
    Headers,
    Kind,
    LibwsError,
    Message,
    MessageTooBig,
    Request,
    hookimpl,
)
from libws_core.testing import DialerContract
from libws_core.testing.peer import Promise


class LineConnection(asyncio.Protocol):
    """A live connection; the first line of the server is its greeting."""

    subprotocol = None
    headers = Headers()
    transport: Any = None

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.loop = asyncio.get_running_loop()
        self.greeted: asyncio.Future[None] = self.loop.create_future()
        self.buffer = bytearray()
        self.flowing = self.lost = False
        self.initiator: Any = "network"
        self.error: LibwsError | None = None
        self.deliver: Callable[[Message], object] = lambda message: None
        self.ended: Callable[[LibwsError], object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.greeted.done() and b"\n" in self.buffer:
            del self.buffer[: self.buffer.index(b"\n") + 1]
            self.greeted.set_result(None)
            self.transport.pause_reading()
        elif self.flowing:
            self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.greeted.done():
            self.greeted.set_exception(ConnectError("the server hung up before its greeting"))
            self.greeted.exception()  # nobody may wait for it any more
        if self.flowing:
            self.go_on()

    @property
    def buffered(self) -> int:
        return 0 if self.lost else int(self.transport.get_write_buffer_size())

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        self.deliver, self.ended = deliver, ended
        self.resume()

    def write(self, message: Message) -> None:
        if not self.lost and self.initiator != "local":
            self.transport.write(message.data.encode() + b"\n")

    def pause(self) -> None:
        self.flowing = False
        self.transport.pause_reading()

    def resume(self) -> None:
        self.flowing = True
        self.loop.call_soon(self.go_on)

    def go_on(self) -> None:
        while self.flowing and (end := self.buffer.find(b"\n")) >= 0 and self.error is None:
            line = self.buffer[:end].decode()
            del self.buffer[: end + 1]
            if len(line) > self.max_size:
                self.fail(MessageTooBig(f"a line of more than {self.max_size} bytes"))
            elif line == "BYE":  # the scheme's way to say that it ends
                self.fail(ConnectionClosed("the server said goodbye", code=1005, initiator="remote"))
            else:
                self.deliver(Message.text(line))
        if self.flowing and self.lost:
            self.finish()
        elif self.flowing:
            self.transport.resume_reading()

    def fail(self, error: LibwsError) -> None:
        self.error = error
        self.transport.abort()

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.lost and self.initiator != "local":
            self.write(Message.text("BYE"))
            self.initiator = "local"

    def abort(self) -> None:
        self.initiator = "local"
        self.flowing = True
        self.deliver = lambda message: None
        if self.lost:
            self.loop.call_soon(self.finish)
        else:
            self.transport.abort()

    def finish(self) -> None:
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(self.error or ConnectionClosed("the end of TCP", initiator=self.initiator))


class Lines:
    """Dials lines://HOST:PORT."""

    def __init__(self, max_size: int = 2**20) -> None:
        self.max_size = max_size

    @hookimpl
    async def dial(self, request: Request) -> LineConnection | None:
        parts = urlsplit(request.url)
        if parts.scheme != "lines":
            return None
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: LineConnection(self.max_size), parts.hostname or "", parts.port
            )
        except OSError as error:
            raise ConnectError("nobody is there") from error
        try:
            await connection.greeted
        except BaseException:
            connection.transport.abort()
            raise
        return connection


class LinePeer(asyncio.Protocol):
    """The server's end of one connection."""

    transport: Any = None

    def __init__(self, server: LineServer) -> None:
        self.server = server
        self.buffer = b""
        self.lines: deque[str] = deque()
        self.room, self.news, self.gone = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.room.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.server.transports.add(transport)
        if self.server.trouble == "cut":
            self.transport.abort()
        elif self.server.trouble != "hang":
            self.transport.write(b"HELLO\n")
            self.server.waiting.put_nowait(self)

    def data_received(self, data: bytes) -> None:
        *lines, self.buffer = (self.buffer + data).split(b"\n")
        for line in lines:
            if line == b"BYE":
                self.transport.close()
            else:
                self.lines.append(line.decode())
        self.news.set()

    def pause_writing(self) -> None:
        self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.transports.discard(self.transport)
        self.gone.set()

    def send(self, message: Message) -> Any:
        self.transport.write(message.data.encode() + b"\n")
        return Promise(self.room.wait)

    def close(self, code: int = 1000, reason: str = "") -> Any:
        self.transport.write(b"BYE\n")
        return Promise(self.gone.wait)

    def drop(self, reset: bool = False) -> Any:
        if reset:
            linger = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.transport.abort()
        self.transport.close()
        return Promise(self.gone.wait)

    def stall(self) -> None:
        self.transport.pause_reading()

    def resume(self) -> None:
        self.transport.resume_reading()

    async def recv(self) -> Message:
        while not self.lines:
            self.news.clear()
            await self.news.wait()
        return Message.text(self.lines.popleft())

    async def wait_gone(self) -> int:
        await self.gone.wait()
        return 1006


class LineServer:
    """A server of lines."""

    def __init__(self, trouble: str) -> None:
        self.trouble = trouble
        self.waiting: asyncio.Queue[LinePeer] = asyncio.Queue()
        self.transports: set[Any] = set()
        self.url = ""

    async def accept(self) -> LinePeer:
        return await self.waiting.get()


class TestLines(DialerContract):
    plugin = Lines
    name = None
    url = "lines://test/"
    schemes = ("lines",)
    kinds = (Kind.TEXT,)
    close_codes = False

    @contextlib.asynccontextmanager
    async def serve(self, trouble: str = "") -> AsyncIterator[LineServer]:
        server = LineServer(trouble)
        with socket.socket() as place:
            place.bind(("127.0.0.1", 0))
            server.url = f"lines://127.0.0.1:{place.getsockname()[1]}/"
            if trouble == "refuse":
                yield server
                return
            listener = await asyncio.get_running_loop().create_server(lambda: LinePeer(server), sock=place)
            try:
                yield server
            finally:
                listener.close()
                for transport in list(server.transports):
                    transport.abort()
