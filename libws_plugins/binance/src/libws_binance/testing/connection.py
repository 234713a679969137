"""One connection as the exchange sees it: pings, the pongs that it wants, the end of its life, and broken limits."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any, Protocol

from libws_core import Kind, Message, clock
from libws_core.testing import Gone, Peer

__all__ = ["EXACT", "KEPT", "Connection", "Crowd"]

KEPT = 10_000
"""Requests and times of a connection that are kept."""
EXACT = 1e-6
"""Seconds by which two times may differ and count as the same."""


class Rules(Protocol):
    """What the exchange asks of a connection; seconds."""

    @property
    def ping(self) -> float: ...
    @property
    def pong(self) -> float: ...
    @property
    def lifetime(self) -> float: ...
    @property
    def connects(self) -> int: ...
    @property
    def connects_per(self) -> float: ...


class Crowd:
    """All connections of one exchange."""

    def __init__(self) -> None:
        self.broken: list[str] = []
        """The limits that clients have broken, each with its connection."""
        self.connects = 0
        """Connections so far."""
        self._connects: deque[float] = deque()

    async def serve(self, connection: Connection, rules: Rules, live: list[Any]) -> None:
        """Serve one connection until it ends.

        Args:
            live: where it stands meanwhile.
        """
        now = asyncio.get_running_loop().time()
        self.connects += 1
        while self._connects and now - self._connects[0] > rules.connects_per - EXACT:
            self._connects.popleft()
        self._connects.append(now)
        live.append(connection)
        beat = asyncio.create_task(connection.beat())
        try:
            if len(self._connects) > rules.connects:
                connection.refuse(f"more than {rules.connects} connections in {rules.connects_per / 60:g} minutes")
            await connection.peer.wait_gone(math.inf)
        finally:
            live.remove(connection)
            beat.cancel()
            await asyncio.wait([beat])
            if not beat.cancelled() and (error := beat.exception()) is not None and not isinstance(error, Gone):
                raise error


class Connection:
    """One connection."""

    def __init__(self, peer: Peer, rules: Rules, broken: list[str]) -> None:
        self.peer = peer
        self.requests: deque[dict[str, Any]] = deque(maxlen=KEPT)
        """What it has asked for; the newest."""
        self.pongs = 0
        """Pings that were answered with their own payload."""
        self.ends = peer.time + rules.lifetime
        """When it is cut."""
        self.woken = asyncio.Event()
        """Something has changed for `beat`."""
        self.over = False
        """It has broken a limit, and is told nothing more."""
        self._rules = rules
        self._broken = broken
        self._waiting: dict[bytes, float] = {}
        """Pings without their pong, and when they were sent."""
        peer.on_control = self._control
        peer.on_message = self._message

    async def beat(self) -> None:
        """Ping, look for the pongs, and cut the connection at the end of its life."""
        rules, loop = self._rules, asyncio.get_running_loop()
        next_ping = self.peer.time + rules.ping
        while True:
            late = min(self._waiting.values(), default=math.inf) + rules.pong
            self.woken.clear()
            try:
                async with asyncio.timeout_at(min(next_ping, late, self.ends)):
                    await self.woken.wait()
                continue
            except TimeoutError:
                now = loop.time() + EXACT
            if now >= self.ends:
                self.peer.drop()
                return
            if now >= late:
                self.refuse(f"no pong within {rules.pong:g} s")
                return
            if now >= next_ping:
                payload = str(round(clock.wall() * 1000)).encode()
                self._waiting[payload] = loop.time()
                self.peer.ping(payload)
                next_ping += rules.ping

    def refuse(self, what: str) -> None:
        """It has broken a limit: write it down, and end it."""
        if not self.over:
            self.over = True
            self._broken.append(f"connection {self.peer.number}: {what}")
            self.peer.close(1008, what)

    def end_in(self, seconds: float) -> None:
        """Cut it so many seconds from now, unless it is cut earlier."""
        self.ends = min(self.ends, asyncio.get_running_loop().time() + seconds)
        self.woken.set()

    def say(self, body: Any) -> None:
        """Send it something, if it can still hear."""
        if self.over or self.peer.gone or self.peer.closed is not None:
            return
        try:
            self.peer.send(body)
        except Gone:
            pass

    def _control(self, message: Message) -> None:
        if message.kind is Kind.PONG and self._waiting.pop(message.data, None) is not None:
            self.pongs += 1
            # An answer proves life: earlier pings that were passed over are forgiven.
            self._waiting.clear()
            self.woken.set()

    def _message(self, message: Message) -> None:
        raise NotImplementedError
