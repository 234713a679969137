"""What a link is made of: its two sockets, and what passes from one to the other."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import cast

HELD = 1024 * 1024
"""Bytes that are kept of a direction in which nothing passes; then the sender is no longer read."""
TICK = 0.05
"""Seconds between two portions of a drip."""


class End(asyncio.Protocol):
    """The socket on one side of a link.

    Args:
        took: is given what arrives.
        lost: is told the end; the argument is true if it was a reset.
        room: is told False when the other side does not take what is written, and True when it takes it again.
    """

    def __init__(
        self, took: Callable[[bytes], None], lost: Callable[[bool], None], room: Callable[[bool], None]
    ) -> None:
        self._took, self._lost, self._room = took, lost, room
        self._transport: asyncio.Transport | None = None
        self._doomed = False
        self.gone = False

    @property
    def connected(self) -> bool:
        """There is a socket."""
        return self._transport is not None and not self.gone

    def write(self, data: bytes) -> None:
        """Write, if there is still somebody."""
        if self._transport is not None and not self.gone and not self._transport.is_closing():
            self._transport.write(data)

    def read(self, go_on: bool) -> None:
        """Read on, or stop reading."""
        if self._transport is None or self.gone or self._transport.is_closing():
            return
        if go_on:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def finish(self, reset: bool = False) -> None:
        """End it: orderly, behind what is written, or by a reset at once."""
        if self._transport is None or self.gone:
            return
        if reset:
            self._linger()
            self._transport.abort()
        else:
            self._transport.close()

    def vanish(self) -> None:
        """End it at once, whatever waits to be written; if it is still to come, then."""
        self._doomed = True
        if self._transport is not None and not self.gone:
            self._transport.abort()

    def pass_to(self, took: Callable[[bytes], None]) -> None:
        """From now on what arrives goes here."""
        self._took = took

    def _linger(self) -> None:
        """Have the socket's close send a reset: SO_LINGER on, for 0 seconds."""
        assert self._transport is not None
        own = self._transport.get_extra_info("socket")
        if own is not None and own.fileno() >= 0:
            with socket.fromfd(own.fileno(), own.family, own.type) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._doomed:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._took(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone = True
        self._lost(exc is not None)

    def pause_writing(self) -> None:
        self._room(False)

    def resume_writing(self) -> None:
        self._room(True)


class Lane:
    """One direction: passes what it takes, holds it, lets it drip, or drops it.

    Args:
        source: the end that is read.
        write: writes to the other one.
    """

    def __init__(self, source: End, write: Callable[[bytes], None]) -> None:
        self._source, self._write = source, write
        self._held = bytearray()
        self._holds = self._drops = False
        self._room = True
        self._rate: float | None = None
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, data: bytes) -> None:
        """Bytes have come."""
        if self._drops:
            return
        if not self._holds:
            self._write(data)
            return
        self._held += data
        self._steer()

    def hold(self) -> None:
        """Pass nothing more, until `release`."""
        self._holds, self._rate = True, None
        self._stop()

    def drip(self, rate: float) -> None:
        """Pass so many bytes a second and no more, until `release`."""
        self._holds, self._rate = True, rate
        self._stop()
        self._due = 0.0
        self._tick()

    def drop(self) -> None:
        """Drop everything from now on; it cannot be undone."""
        self._drops = True
        self._stop()
        self._held.clear()
        self._steer()

    def release(self) -> None:
        """Pass everything again, what was held first."""
        self._holds = False
        self._stop()
        held, self._held = bytes(self._held), bytearray()
        if held and not self._drops:
            self._write(held)
        self._steer()

    def room(self, room: bool) -> None:
        """The other end takes what is written, or does not."""
        self._room = room
        self._steer()

    def _steer(self) -> None:
        """Read no more than there is room for."""
        self._source.read(self._drops or (self._room and len(self._held) < HELD))

    def _tick(self) -> None:
        assert self._rate is not None
        self._due += self._rate * TICK
        size = int(self._due)
        self._due -= size
        portion = bytes(self._held[:size])
        del self._held[:size]
        if portion:
            self._write(portion)
            self._steer()
        self._timer = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
