"""What asyncio alone costs: it moves the same bytes, and nobody looks at them.

A floor for receiving. In sending it writes once a message, so a client that joins small messages can be below it.
"""

from __future__ import annotations

import asyncio
from time import perf_counter
from urllib.parse import urlsplit

from ..cases import Case
from ..frames import CLOSE, TEXT, WINDOW_BITS, frame, masked_frame

REQUEST = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits={bits}\r\n\r\n"
)


class Raw(asyncio.Protocol):
    """Counts bytes. It sends one frame made beforehand, and copies it once a message."""

    transport: asyncio.Transport
    case: Case | None

    def __init__(self) -> None:
        self._missing = 0
        self._done: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    async def open(self, url: str, case: Case | None) -> None:
        self.case = case
        where = urlsplit(url)
        assert where.hostname is not None
        assert where.port is not None
        loop = asyncio.get_running_loop()
        self._head: bytes | None = b""
        self._done = loop.create_future()
        self.transport, _ = await loop.create_connection(lambda: self, where.hostname, where.port)
        self.transport.write(REQUEST.format(path=where.path, host=where.netloc, bits=WINDOW_BITS).encode())
        await self._done

    def data_received(self, data: bytes) -> None:
        if self._head is not None:
            self._head += data
            if b"\r\n\r\n" in self._head:
                self._head = None
                self._finish()
            return
        self._missing -= len(data)
        if self._missing <= 0:
            self._finish()

    def _finish(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _arm(self, size: int) -> asyncio.Future[None]:
        self._missing = size
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    async def receive(self, command: str, count: int) -> None:
        assert self.case is not None
        done = self._arm(int(command) * len(self.case.frames))
        self.transport.write(masked_frame(TEXT, command.encode()))
        await done

    async def send(self, command: str, payload: str, count: int) -> None:
        done = self._arm(len(frame(TEXT, b"done")))
        write, message, writable = self.transport.write, masked_frame(TEXT, payload.encode()), self._writable
        write(masked_frame(TEXT, command.encode()))
        for _ in range(count):
            write(message)
            if not writable.is_set():
                await writable.wait()
        await done

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        took = []
        write, message = self.transport.write, masked_frame(TEXT, payload.encode())
        size = len(frame(TEXT, payload.encode()))
        write(masked_frame(TEXT, command.encode()))
        for _ in range(count):
            begin = perf_counter()
            done = self._arm(size)
            write(message)
            await done
            took.append(perf_counter() - begin)
        return took

    async def close(self) -> None:
        done = self._arm(2)
        self.transport.write(masked_frame(CLOSE, b""))
        await done
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._finish()
