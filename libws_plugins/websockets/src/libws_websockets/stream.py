"""Bytes in and out until there is a WebSocket: reads with bounds, and hands the transport over."""

from __future__ import annotations

import asyncio
from typing import cast

from .http1 import BadResponse

HIGH_MARK = 128 * 1024
"""Bytes that may wait here; above it the socket is not read until somebody asks for more."""


class Stream(asyncio.Protocol):
    """The handshake's end of a connection.

    One reader at a time. `aclose` in a `finally` leaves nothing behind.
    """

    def __init__(self) -> None:
        self.transports: list[asyncio.Transport] = []
        """The transport to use, then those below it: TLS lies on TCP."""
        self.lost = False
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._error: Exception | None = None
        self._successor: asyncio.BufferedProtocol | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transports.insert(0, cast(asyncio.Transport, transport))  # uvloop's derive from nothing of asyncio's

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if len(self._buffer) > HIGH_MARK:
            self._paused = True
            self.transports[0].pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self._error = True, exc
        self._wake()
        if self._successor is not None:
            # TLS schedules this call one turn ahead, and may have done so before the hand-over.
            self._successor.connection_lost(exc)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # What the handshake calls.

    def write(self, data: bytes) -> None:
        """Write a request; small, so nobody waits for it."""
        self.transports[0].write(data)

    async def read_until(self, separator: bytes, limit: int) -> bytes:
        """Read up to and with a separator.

        Raises:
            BadResponse: it does not come within `limit` bytes.
            EOFError: the peer closed first.
            OSError: the connection broke.
        """
        searched = 0
        while True:
            found = self._buffer.find(separator, searched)
            end = found + len(separator)
            if found >= 0 and end <= limit:
                return self._take(end)
            if found >= 0 or len(self._buffer) > limit:
                raise BadResponse("it is longer than allowed")
            searched = max(0, len(self._buffer) - len(separator) + 1)
            await self._more()

    async def read_some(self, limit: int) -> bytes:
        """Read at least one byte and at most `limit`. Raises like `read_until`."""
        while not self._buffer:
            await self._more()
        return self._take(min(limit, len(self._buffer)))

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _more(self) -> None:
        if self.lost:
            raise self._error or EOFError("the connection was closed")
        if self._paused:
            self._paused = False
            self.transports[0].resume_reading()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    @property
    def pending(self) -> bool:
        """Whether bytes are waiting that nobody asked for yet."""
        return bool(self._buffer)

    def detach(self) -> bytes:
        """Stop reading and give what was read too far."""
        if not self.lost:
            self.transports[0].pause_reading()
        return self._take(len(self._buffer))

    def hand_over(self, successor: asyncio.BufferedProtocol) -> None:
        """Leave the transport to another protocol."""
        self._successor = successor
        if not self.lost:
            self.transports[0].set_protocol(successor)

    async def aclose(self) -> None:
        """Drop the socket; it is closed when this returns."""
        if self.transports and not self.lost:
            self.transports[-1].abort()
            # The transport closes the socket in the loop's next turn, and TLS tells its own protocol one later.
            await asyncio.sleep(0)
            await asyncio.sleep(0)
