"""A server that says exactly these bytes, and sees exactly the bytes that a client writes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

from .real_loop import PATIENCE, within

__all__ = ["BarePeer", "BareServer", "Script", "WrittenFrame", "accept_key", "frame"]


def accept_key(key: str) -> str:
    """The Sec-WebSocket-Accept for a Sec-WebSocket-Key, RFC 6455 section 4.2.2."""
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    return base64.b64encode(digest).decode()


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = None,
    form: int | None = None,
) -> bytes:
    """A server's frame, right or wrong; RFC 6455 section 5.2.

    Args:
        rsv: the three reserved bits, RSV1 is 4.
        mask: a key to mask with, which no server may do.
        form: bytes of the extended length, 0, 2 or 8; None = the shortest form.
    """
    length = len(payload)
    form = form if form is not None else (0 if length < 126 else 2 if length < 65536 else 8)
    small = {0: length, 2: 126, 8: 127}[form]
    head = bytes([fin << 7 | rsv << 4 | opcode, small | (0x80 if mask else 0)])
    head += length.to_bytes(form, "big") if form else b""
    if mask:
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return head + (mask or b"") + payload


class WrittenFrame(NamedTuple):
    """A frame as a client has written it."""

    first: int
    """Its first byte: FIN, the reserved bits and the opcode."""
    length: int
    """The seven bits of its length, or 126 or 127 for the longer forms."""
    mask: bytes | None
    """The masking key, None if it is not masked."""
    payload: bytes
    """The payload, unmasked."""


class BarePeer:
    """The server's end of one TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.request = ""

    async def read_request(self) -> str:
        """Read the head of the client's request."""
        self.request = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        return self.request

    def header(self, name: str) -> str | None:
        """A header of the request, None if it is not there."""
        values = [
            line.split(":", 1)[1].strip()
            for line in self.request.split("\r\n")
            if line.lower().startswith(f"{name.lower()}:")
        ]
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    async def accept(self, *headers: str, behind: bytes = b"", status: str = "101 Switching Protocols") -> None:
        """Read the request and answer it as a good server does, with these bytes behind the answer."""
        await self.read_request()
        key = self.header("Sec-WebSocket-Key")
        assert key is not None, "a request without a Sec-WebSocket-Key"
        lines = [
            f"HTTP/1.1 {status}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept_key(key)}",
            *headers,
            "",
            "",
        ]
        await self.send("\r\n".join(lines).encode("latin-1") + behind)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def send_singly(self, data: bytes) -> None:
        """Send each byte in a packet of its own, as far as loopback goes."""
        for place in range(len(data)):
            await self.send(data[place : place + 1])
            await asyncio.sleep(0)

    async def read_written(self) -> WrittenFrame:
        """The client's next frame, in full."""
        first, second = await self.reader.readexactly(2)
        length = small = second & 0x7F
        if small == 126:
            length = int.from_bytes(await self.reader.readexactly(2), "big")
        elif small == 127:
            length = int.from_bytes(await self.reader.readexactly(8), "big")
        mask = await self.reader.readexactly(4) if second & 0x80 else None
        payload = await self.reader.readexactly(length)
        if mask:
            key = int.from_bytes((mask * (length // 4 + 1))[:length], "big")
            payload = (int.from_bytes(payload, "big") ^ key).to_bytes(length, "big")
        return WrittenFrame(first, small, mask, payload)

    async def read_frame(self) -> tuple[int, bytes]:
        """The first byte and the payload of the client's next frame."""
        written = await self.read_written()
        assert written.mask is not None, "a client must mask (RFC 6455 section 5.1)"
        return written.first, written.payload

    async def until_close(self) -> list[tuple[int, bytes]]:
        """Read the client's frames, up to and with its close frame, or until it is gone."""
        frames: list[tuple[int, bytes]] = []
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not frames or frames[-1][0] != 0x88:
                frames.append(await self.read_frame())
        return frames

    async def wait_closed(self) -> bytes:
        """Read until the client closes."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


Script = Callable[[BarePeer], Awaitable[object]]


class BareServer:
    """Runs a script for each TCP connection; what goes wrong in one fails the test. Used as `async with`.

    Args:
        script: what is said on each connection.
        context: for TLS; None = plain.
        path: listen on a unix socket at this path.
    """

    def __init__(self, script: Script, *, context: ssl.SSLContext | None = None, path: str = "") -> None:
        self.port = 0
        self.path = path
        self.peers: list[BarePeer] = []
        self.connected = asyncio.Event()
        self._script = script
        self._context = context
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """The URL to dial."""
        return f"{'ws' if self._context is None else 'wss'}://127.0.0.1:{self.port}"

    async def listen(self) -> Self:
        """Begin."""
        if self.path:
            self._server = await asyncio.start_unix_server(self._connected, self.path, ssl=self._context)
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, ssl=self._context)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.ensure_future(self._run(BarePeer(reader, writer))))

    async def _run(self, peer: BarePeer) -> None:
        self.peers.append(peer)
        self.connected.set()
        try:
            await self._script(peer)
        except BaseException:
            peer.writer.transport.abort()  # a close would wait for a client that does not read
            raise
        finally:
            peer.writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                async with within(PATIENCE, "a client to let go of its connection"):
                    await peer.writer.wait_closed()

    async def settle(self, patience: float = PATIENCE) -> None:
        """Wait until every script has come to its end, and raise what one of them raised."""
        async with within(patience, "the scripts of the server to end"):
            await asyncio.gather(*self._tasks)

    async def aclose(self) -> None:
        """End everything, and raise what a script raised."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def __aenter__(self) -> Self:
        return await self.listen()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"meanwhile at the server: {type(failure).__name__}: {failure}")
