"""What a dialer promises, on each dialer and each loop: `dialer` and the loops come from the conftest of the project.

Here are servers that say exactly what a test wants, and a user of connections that remembers what it was given. What is
true of one dialer only is marked with `only_dialer`, or stands in that plugin's own tests.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from libws_core.errors import LibwsError
from libws_core.types import Connection, Message, Request

PATIENCE = 10.0


class Recorder:
    """What the core would do: takes messages and the end."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.error: LibwsError | None = None
        self.endings = 0
        self.on_message: Callable[[Message], object] = lambda message: None
        self._changed = asyncio.Event()

    def start(self) -> Recorder:
        self.connection.start(self.deliver, self.ended)
        return self

    def deliver(self, message: Message) -> None:
        assert self.endings == 0, "a message after the end"
        self.messages.append(message)
        self._changed.set()
        self.on_message(message)

    def ended(self, error: LibwsError) -> None:
        self.error = error
        self.endings += 1
        self._changed.set()

    async def until(self, condition: Callable[[Recorder], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

    async def count(self, number: int) -> list[Message]:
        await self.until(lambda self: len(self.messages) >= number)
        return self.messages

    async def end(self) -> Any:
        await self.until(lambda self: self.error is not None)
        return self.error


class Peer:
    """The server's end of one TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = ""

    async def read_request(self) -> str:
        self.request = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return self.request

    def header(self, name: str) -> str | None:
        values = [
            line.split(":", 1)[1].strip()
            for line in self.request.split("\r\n")
            if line.lower().startswith(f"{name.lower()}:")
        ]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    async def accept(self, *headers: str, behind: bytes = b"", status: str = "101 Switching Protocols") -> None:
        await self.read_request()
        key = self.header("Sec-WebSocket-Key")
        assert key is not None
        digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        lines = [
            f"HTTP/1.1 {status}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}",
            *headers,
            "",
            "",
        ]
        await self.send("\r\n".join(lines).encode("latin-1") + behind)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def read_frame(self) -> tuple[int, bytes]:
        """The first byte and the unmasked payload of a client's frame."""
        first, second = await self.reader.readexactly(2)
        assert second & 0x80, "a client must mask"
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.reader.readexactly(8), "big")
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(length)
        return first, bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))

    async def until_close(self) -> list[tuple[int, bytes]]:
        """Read the client's frames, up to and with its close frame, or until it is gone."""
        frames = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not frames or frames[-1][0] != 0x88:
                frames.append(await self.read_frame())
        return frames

    async def wait_closed(self) -> bytes:
        """Read until the client closes."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


Script = Callable[[Peer], Awaitable[object]]


class RawServer:
    """Runs a script for each TCP connection; what goes wrong in one fails the test."""

    def __init__(self) -> None:
        self.port = 0
        self.path = ""
        self.peers: list[Peer] = []
        self.connected = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, script: Script, *, context: ssl.SSLContext | None = None, path: str = "") -> RawServer:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._run(script, Peer(reader, writer)))
            self._tasks.add(task)

        if path:
            self.path = path
            self._server = await asyncio.start_unix_server(connected, path, ssl=context)
        else:
            self._server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _run(self, script: Script, peer: Peer) -> None:
        self.peers.append(peer)
        self.connected.set()
        try:
            await script(peer)
        finally:
            peer.writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await peer.writer.wait_closed()

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    async def settle(self) -> None:
        """Wait until every script has come to its end."""
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[..., Awaitable[RawServer]]]:
    """Start a server that runs `script(peer)` for each connection."""
    servers: list[RawServer] = []

    async def start(script: Script, **options: Any) -> RawServer:
        server = RawServer()
        servers.append(server)
        return await server.listen(script, **options)

    yield start
    for server in servers:
        await server.aclose()


@pytest.fixture
async def dial(dialer: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Dial a URL and start; gives a Recorder. What is still open at the end is aborted."""
    recorders: list[Recorder] = []

    async def dial(url: str, *, plugin: Any = None, start: bool = True, **request: Any) -> Recorder:
        request.setdefault("proxy", None)
        async with asyncio.timeout(PATIENCE):
            connection: Connection | None = await (plugin or dialer()).dial(Request(url, **request))
        assert connection is not None
        recorder = Recorder(connection)
        recorders.append(recorder)
        return recorder.start() if start else recorder

    yield dial
    for recorder in recorders:
        recorder.connection.abort()
    for _ in range(5):
        await asyncio.sleep(0)
    for recorder in recorders:
        assert recorder.endings <= 1


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not close TCP is left soon."""
    monkeypatch.setattr("libws_websockets.base.LINGER", 0.05)


@pytest.fixture
def frame() -> Callable[..., bytes]:
    """Make a server's frame, right or wrong."""

    def make(
        opcode: int,
        payload: bytes = b"",
        *,
        fin: bool = True,
        rsv: int = 0,
        mask: bytes | None = None,
        form: int | None = None,
    ) -> bytes:
        length = len(payload)
        form = form if form is not None else (0 if length < 126 else 2 if length < 65536 else 8)
        small = {0: length, 2: 126, 8: 127}[form]
        head = bytes([fin << 7 | rsv << 4 | opcode, small | (0x80 if mask else 0)])
        head += length.to_bytes(form, "big") if form else b""
        if mask:
            payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        return head + (mask or b"") + payload

    return make
