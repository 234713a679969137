"""A server that speaks lines, written from the README and not with the code under test."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Self

from libws_core import Kind, Message


class Promise:
    """Something that is done already; awaiting it waits for what follows, and may be left out."""

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()


class LinePeer(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: LineServer) -> None:
        self._server = server
        self._transport: Any = None
        self._rest = b""
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._gone: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._room = asyncio.Event()
        self._room.set()
        self._code = 1006
        self._said_close = False
        self.pinged = asyncio.Event()
        """A ping has come behind another one, whose answer the client must have had."""
        self.ends_tcp = True
        """It ends TCP when both sides have said `:close`."""
        self._pings = 0

    # What the transport calls.

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._server.peers.add(self)
        self._server.arrived.put_nowait(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.peers.discard(self)
        self._room.set()
        if not self._gone.done():
            self._gone.set_result(self._code)

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, _, rest = line.partition(b" ")
            if word == b":ping":
                self._pings += 1
                if self._pings > 2:
                    self.pinged.set()
                self.raw(b":pong " + rest + b"\n")
            elif word == b":close":
                self._code = int(rest.split()[0])
                self.close(self._code)
                if self.ends_tcp:
                    self._transport.close()
            elif not line.startswith(b":"):
                self._messages.put_nowait(Message.text(line.decode()))

    # What tests call.

    def raw(self, data: bytes) -> Promise:
        """Write bytes as they are."""
        self._transport.write(data)
        return Promise(self._taken)

    def send(self, message: Message) -> Promise:
        """Send a message of any kind."""
        if message.kind is Kind.TEXT:
            return self.raw(message.data.encode() + b"\n")
        return self.raw(b":" + message.kind.name.lower().encode() + b" " + message.data.hex().encode() + b"\n")

    async def recv(self) -> Message:
        """The next text that came."""
        return await self._messages.get()

    def close(self, code: int = 1000, reason: str = "") -> Promise:
        """Say `:close` once; TCP ends when the client has said it too."""
        if not self._said_close:
            self._said_close = True
            self.raw(f":close {code} {json.dumps(reason)}\n".encode())
        return Promise(self._ended)

    def drop(self, reset: bool = False) -> Promise:
        """End TCP without `:close`, orderly or by a reset."""
        if reset:
            linger = struct.pack("ii", 1, 0)  # a socket that is closed with it sends RST
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._transport.abort()
        else:
            self._transport.close()
        return Promise(self._ended)

    def finish_writing(self) -> None:
        """End TCP in our direction only."""
        self._transport.write_eof()

    @property
    def unsent(self) -> int:
        """Bytes that the client does not take."""
        return int(self._transport.get_write_buffer_size())

    def stall(self) -> None:
        """Stop reading."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._transport.resume_reading()

    async def wait_gone(self) -> int:
        """Wait for the end; the code that the client said, 1006 if it said none."""
        return await self._gone

    async def _taken(self) -> None:
        await self._room.wait()

    async def _ended(self) -> None:
        await self._gone


class LineServer:
    """Listens on a port of its own."""

    def __init__(self) -> None:
        self.arrived: asyncio.Queue[LinePeer] = asyncio.Queue()
        self.peers: set[LinePeer] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """What to dial."""
        return self._url

    async def accept(self) -> LinePeer:
        """The next connection."""
        return await self.arrived.get()

    async def stop(self) -> None:
        """Listen no more."""
        self._server.close()
        await self._server.wait_closed()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: LinePeer(self), "127.0.0.1", 0)
        self._url = f"ndjson+tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for peer in [*self.peers]:
            peer.drop(reset=True)
            await peer.wait_gone()
