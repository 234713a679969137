"""One connection: its hello, its heartbeats, and what it is waiting for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

from libws_core import ConnectTimeout, KeepAliveTimeout, Kind, Message, ProtocolError, Session, chance

from .profile import HEARTBEAT, IDENTIFY, RESUME, SENDS, SENDS_PER

__all__ = ["KEEPS_SESSION", "Line", "body_of", "command", "is_own"]

KEEPS_SESSION = 4000
"""Our close code where the session is to be resumed: any but 1000 and 1001 does."""
EXACT = 0.001
"""Seconds by which a clock may differ from what was computed."""
SPARE = 5.0
"""Seconds that establish has beyond a deadline of ours, which shall be the one that tells."""
ASKED = 3
"""Payloads of our own in a minute, beside heartbeats: the identify or resume, and heartbeats that Discord asks for."""

_OWN = tuple(f'{{"op":{op},' for op in (HEARTBEAT, IDENTIFY, RESUME))


class Line:
    """One connection of a client."""

    def __init__(self) -> None:
        self.session: Session = None  # type: ignore[assignment]
        self.sequence: Callable[[], int | None] = lambda: None
        """Gives the number that heartbeats carry."""
        self.hello = asyncio.Event()
        self.asked = False
        """An identify or a resume was sent."""
        self.answered = asyncio.Event()
        """Events come: the session has begun, or goes on."""
        self.interval = math.inf
        """Seconds from one heartbeat to the next."""
        self._unanswered: float | None = None
        """When the first heartbeat was sent that has no ACK yet, in reading time."""

    def greet(self, said: Any) -> None:
        """Take the hello, and begin with heartbeats.

        Raises:
            ProtocolError: it does not tell the interval.
        """
        interval = said.get("heartbeat_interval") if isinstance(said, dict) else None
        if not isinstance(interval, int | float) or isinstance(interval, bool) or not 0 < interval < 2**31:
            raise ProtocolError("Discord's hello does not tell heartbeat_interval")
        if not self.hello.is_set():
            self.interval = interval / 1000
            self.hello.set()
            self.session.spawn(self.keep_beating())

    async def wait(self, event: asyncio.Event, seconds: float, what: str) -> None:
        """Wait for something, within `establish`.

        Raises:
            ConnectTimeout: it did not happen in time.
        """
        self.session.extend(seconds + SPARE)
        try:
            async with asyncio.timeout(seconds) as scope:
                await event.wait()
        except TimeoutError:
            if not scope.expired():
                raise
            raise ConnectTimeout(f"Discord sent no {what} within {seconds:g} s") from None

    def beat(self) -> None:
        """Send a heartbeat."""
        if self._unanswered is None:
            self._unanswered = self._reading_time()
        self.session.send(command(HEARTBEAT, "null" if (number := self.sequence()) is None else str(number)))

    def acknowledge(self) -> None:
        """A heartbeat ACK has come."""
        self._unanswered = None

    async def keep_beating(self) -> None:
        """Send heartbeats, the first after a random part of the interval, until one has no ACK when the next is due."""
        await asyncio.sleep(chance.uniform(0, self.interval))
        while True:
            # While *we* do not read, no ACK can be seen: then beats go on, and nobody is blamed.
            if self._unanswered is not None and self._reading_time() - self._unanswered > self.interval - EXACT:
                text = f"a heartbeat had no ACK within {self.interval:g} s: the connection is a zombie"
                self.session.fail(KeepAliveTimeout(text), KEEPS_SESSION)
                return
            self.beat()
            await asyncio.sleep(self.interval)

    @property
    def room(self) -> int:
        """Payloads in a minute that leave enough for heartbeats."""
        beats = math.ceil(SENDS_PER / self.interval) + 1
        return max(1, SENDS - ASKED - beats)

    def _reading_time(self) -> float:
        return asyncio.get_running_loop().time() - self.session.paused_total


def command(op: int, data: str) -> Message:
    """A payload of ours; `data` is JSON already."""
    return Message.text(f'{{"op":{op},"d":{data}}}')


def is_own(message: Message) -> bool:
    """Whether it is one that must not wait behind those of the user."""
    return message.kind is Kind.TEXT and message.data.startswith(_OWN)


def body_of(message: Message) -> tuple[int, dict[str, Any]] | None:
    """The opcode of a payload and the payload; None if it is none."""
    if message.kind is not Kind.TEXT:
        return None
    try:
        body = message.json
    except ValueError:
        return None
    if type(body) is not dict or type(op := body.get("op")) is not int:
        return None
    return op, body
