"""The client of the demo, and what is measured while it rides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..client import Client
from ..errors import LibwsError
from ..events import AttemptFailed, Connected, Disconnected, Event, Gap, Reconnected
from ..machine import State
from .demo_feed import FAULTS, Fault, Feed, NobodyListens

OPTIONS: dict[str, dict[str, Any]] = {
    "backoff": {"base": 0.1, "cap": 1.0},
    "ping": {"interval": 0.5, "timeout": 1.0, "when": "always"},
}
"""Options of the plugins, so that people need not wait; "always", so that there is a round trip to show."""
ARGUMENTS = {"healthy_after": 1.0}
"""Arguments of the client, for the same reason."""
WATCHED = 1.5
"""Seconds to watch the messages between two faults."""
PATIENCE = 6.0
"""Seconds within which a fault must be noticed, and again within which it must be healed."""
BUDGET = 18.0
"""Seconds that the whole ride may take."""


@dataclass
class Episode:
    """One fault and what came of it. Times are the loop's."""

    fault: Fault
    began: float
    noticed: str | None = None
    """How it was noticed: the error's class and text."""
    noticed_at: float | None = None
    ready_at: float | None = None
    """When the client was READY again."""
    received: int = 0
    """Messages since it began, until the next one."""
    missed: int = 0
    """Holes in the numbers of these messages."""
    reported: int = 0
    """How many of the missed lie where the stream had a Gap."""

    @property
    def well(self) -> bool:
        """It was noticed and healed, and every missed message was reported."""
        return self.noticed is not None and self.ready_at is not None and self.missed == self.reported


class Ride:
    """Runs a client through every fault.

    Args:
        feed: the server.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.client = Client(feed.url, proxy=None, options=OPTIONS, **ARGUMENTS)  # type: ignore[arg-type]
        self.episodes: list[Episode] = []
        self.on_event: Callable[[Event], object] = lambda event: None
        """Shows an event."""
        self.on_fault: Callable[[Fault], object] = lambda fault: None
        """Shows that a fault begins."""
        self.attempt = 0
        self.connections = 0
        self.received = 0
        self.last: int | None = None
        """The number of the last message."""
        self.disorder = 0
        """Messages that came twice or out of order."""
        self.complete = False
        """The last message that the server sent was received, and the client closed properly."""
        self.began = self.ended = asyncio.get_running_loop().time()
        self._ready_at = 0.0
        self._noticed = 0
        self._gap = False
        self._changed = asyncio.Event()

    @property
    def missed(self) -> int:
        """Messages that did not arrive."""
        return sum(episode.missed for episode in self.episodes)

    @property
    def reported(self) -> int:
        """Messages that did not arrive where the stream had a Gap."""
        return sum(episode.reported for episode in self.episodes)

    @property
    def flawless(self) -> bool:
        """Everything went as it should."""
        enough = len(self.episodes) == len(FAULTS) and all(episode.well for episode in self.episodes)
        return enough and self.complete and not self.disorder

    async def run(self) -> None:
        """Ride."""
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        self.client.on(Event, self._see)
        opening = asyncio.create_task(self.client.open())
        await asyncio.sleep(0)  # so that it is no longer IDLE
        reading = asyncio.create_task(self._read())
        try:
            async with asyncio.timeout(BUDGET):
                await self._ride_all()
        except (TimeoutError, NobodyListens):
            pass  # the table shows how far it came
        finally:
            await self.client.close()
            await asyncio.wait([opening, reading])
            self.ended = loop.time()
        for task in (opening, reading):
            error = task.exception()
            if error is not None and not isinstance(error, LibwsError):
                raise error
        self.complete = self.complete and self.client.state is State.CLOSED

    async def _ride_all(self) -> None:
        for fault in FAULTS:
            if not await self._ride_out(fault):
                return
        self.feed.leave()
        self.complete = await self._until(lambda: self.last == self.feed.sent)

    async def _ride_out(self, fault: Fault) -> bool:
        """Inflict a fault, and see it noticed and healed; then watch the messages come."""
        episode = Episode(fault, asyncio.get_running_loop().time())
        self._noticed = 0
        self.episodes.append(episode)
        self.on_fault(fault)
        fault.inflict(self.feed)
        if not await self._until(lambda: self._noticed >= fault.times):
            return False
        if fault.after is not None:
            await fault.after(self.feed)
        if not await self._until(lambda: episode.ready_at is not None):
            return False
        loop, before = asyncio.get_running_loop(), self.received
        return await self._until(lambda: self.received > before and loop.time() > self._ready_at + WATCHED)

    async def _until(self, true: Callable[[], bool]) -> bool:
        """Wait until something is so; looked at with each event and message. False: it is not, in PATIENCE."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not true():
                    if self.client.state in (State.FAILED, State.CLOSED):
                        return False
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _see(self, event: Event) -> None:
        episode, now = self.episodes[-1], event.monotonic
        self.attempt = event.attempt
        if episode.fault.shows(event):
            assert isinstance(event, AttemptFailed | Disconnected)
            self._noticed += 1
            if episode.noticed is None:
                episode.noticed, episode.noticed_at = f"{type(event.error).__name__}: {event.error}", now
        if isinstance(event, Connected | Reconnected):
            self.connections += 1
            self._ready_at = now
            if episode.noticed is not None and episode.ready_at is None:
                episode.ready_at = now
        self.on_event(event)
        self._changed.set()

    async def _read(self) -> None:
        async for item in self.client.stream(markers=True):
            if isinstance(item, Gap):
                self._gap = True
            else:
                self._count(item.json["number"])
            self._changed.set()

    def _count(self, number: int) -> None:
        episode = self.episodes[-1]
        self.received += 1
        episode.received += 1
        if self.last is not None and number <= self.last:
            self.disorder += 1
            return
        hole = 0 if self.last is None else number - self.last - 1
        episode.missed += hole
        if self._gap:
            episode.reported += hole
        self.last, self._gap = number, False
