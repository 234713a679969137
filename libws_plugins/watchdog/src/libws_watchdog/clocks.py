"""The clocks of one connection, and whose fault it is when one has run out.

All count reading time: the loop's time less what we have spent not reading. When our side was away, they begin anew:

- our own loop was blocked: a sleep of ours took much longer than it should. Whatever the peer has sent meanwhile still
  lies in the socket, and what it waits for from us was not sent.
- the host slept: wall time has moved on and the loop's time has not (on some systems it has: then it looks blocked).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple

from libws_core import IdleTimeout, KeepAliveTimeout, Session, clock
from libws_core.secret import public_url

logger = logging.getLogger("libws")

STRIDE = 5.0
"""Longest time between two looks, seconds: so soon it is noticed that the host has slept."""
TICK = 0.05
"""Shortest wait, seconds: while we have paused reading, the time that is left does not shrink."""
GLANCE = 0.01
"""Seconds for what has come already to be read, before anybody is blamed."""
EXACT = 0.001
"""Seconds by which a clock may differ from what was computed."""
SLEPT = 2.0
"""Seconds by which wall time must outrun the loop's time for the host to have slept; clocks are corrected by less."""
LATE = 1.0
"""Seconds that a sleep of ours may be late at most before the loop counts as blocked; a quarter of a short limit."""
LEAST_LATE = 0.25
"""The same at least: so much is usual on a busy machine."""
PROBE = 5.0
"""Seconds that the peer has to answer when our side was away."""
MAX_TOPICS = 10_000
"""Topics that are watched without being named; of more, the first ones."""


class Heard:
    """When one connection has brought each topic last, in reading time."""

    __slots__ = ("full", "named", "others", "session")

    def __init__(self) -> None:
        self.session: Session
        self.named: dict[str, float] = {}
        self.others: dict[str, float] = {}
        """Those that are not named, the one that was silent longest first."""
        self.full = False

    def now(self) -> float:
        """Reading time."""
        return asyncio.get_running_loop().time() - self.session.paused_total

    def note(self, topic: str) -> None:
        """A message of a topic that is not named."""
        others = self.others
        if others.pop(topic, None) is None and len(others) >= MAX_TOPICS:
            if not self.full:
                self.full = True
                url = public_url(self.session.request.url)
                logger.warning("%s: more than %d topics, the newer ones are not watched", url, MAX_TOPICS)
            return
        others[topic] = self.now()


class Clock(NamedTuple):
    """A clock as it stands."""

    left: float
    """Seconds until it runs out."""
    name: str
    what: str
    """What has not come."""
    silence: float
    """Seconds since that came."""

    def error(self) -> IdleTimeout:
        """What ends the connection when it has run out."""
        return IdleTimeout(f"the {self.name} clock ran out: no {self.what} for {told(self.silence)} s")


class Watch:
    """Watches the clocks of one connection from READY on.

    Args:
        link: the limit of the clock that any byte sets back, seconds; None = no such clock.
        data: the limit of the clock that application messages set back.
        named: the limits of single topics.
        others: the limit of every topic that is not named, from its first message on.
        wake: ask the peer when our side was away.
    """

    def __init__(
        self,
        session: Session,
        *,
        link: float | None,
        data: float | None,
        named: Mapping[str, float],
        others: float | None,
        wake: bool,
    ) -> None:
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._data = data
        self._named = named
        self._others = others
        self._wake = wake
        limits = [limit for limit in (link, data, others, *named.values()) if limit is not None]
        shortest = min(limits, default=float("inf"))
        self._stride = min(STRIDE, max(shortest / 10, TICK))  # what blocks the loop between two looks is not seen
        self._late = min(LATE, max(shortest / 4, LEAST_LATE))
        self._base, self._looked = self._reading(), self._times()

    async def run(self) -> None:
        """Watch until a clock has run out.

        Raises:
            IdleTimeout: one has, and our side was there all the time.
            KeepAliveTimeout: our side was away, and the peer does not answer.
        """
        while True:
            cause = await self._sleep(min(max(self._next().left, TICK), self._stride))
            if cause is None and self._next().left <= EXACT:
                cause = await self._sleep(GLANCE)
                first = self._next()
                if cause is None and first.left <= EXACT:
                    raise first.error()
            if cause is not None:
                await self._begin_anew(cause)

    def _next(self) -> Clock:
        """The clock that runs out first."""
        session, now = self._session, self._reading()
        lived = now - self._base
        clocks = [Clock(float("inf"), "", "", 0.0)]
        if self._link is not None:
            silence = min(session.idle, lived)
            clocks.append(Clock(self._link - silence, "link", "byte", silence))
        if self._data is not None:
            silence = min(session.quiet, lived)
            clocks.append(Clock(self._data - silence, "data", "application message", silence))
        if self._named or self._others is not None:
            heard = session.state(Heard)
            for topic, limit in self._named.items():
                silence = min(now - heard.named.get(topic, self._base), lived)
                clocks.append(Clock(limit - silence, "topic", f"message of {shortened(topic)!r}", silence))
            if self._others is not None and heard.others:
                topic = next(iter(heard.others))
                silence = min(now - heard.others[topic], lived)
                clocks.append(Clock(self._others - silence, "topic", f"message of {shortened(topic)!r}", silence))
        return min(clocks)

    async def _sleep(self, seconds: float) -> str | None:
        """Sleep; gives what has kept our side away meanwhile, None if nothing has."""
        await asyncio.sleep(seconds)
        return self._away(seconds)

    def _away(self, expected: float) -> str | None:
        """What has kept our side away since the last look, if that should have been so many seconds ago."""
        before, self._looked = self._looked, self._times()
        passed = self._looked[0] - before[0]
        slept = self._looked[1] - before[1] - passed
        if slept > SLEPT:
            return f"the host has slept for {told(slept)} s"
        if passed - expected > self._late:
            return f"our own loop has stood still for {told(passed - expected)} s"
        return None

    async def _begin_anew(self, cause: str | None) -> None:
        """Our side was away: ask whether the peer is still there, and set all clocks back."""
        session = self._session
        while self._wake and cause is not None:
            logger.info("%s: %s; asking the peer whether it is still there", public_url(session.request.url), cause)
            begin, paused = self._reading(), session.paused_total
            try:
                await session.ping(PROBE)
                break
            except KeepAliveTimeout:
                await asyncio.sleep(GLANCE)
            again = self._away(PROBE + GLANCE + session.paused_total - paused)
            if again is None and session.idle >= self._reading() - begin - EXACT:  # and no other byte came
                raise KeepAliveTimeout(f"no pong within {PROBE:g} s, asked because {cause}")
            cause = again
        self._base, self._looked = self._reading(), self._times()

    def _times(self) -> tuple[float, float]:
        """The loop's time and wall time."""
        return self._loop.time(), clock.wall()

    def _reading(self) -> float:
        """The loop's time less what we have spent not reading."""
        return self._loop.time() - self._session.paused_total


def told(seconds: float) -> str:
    """Seconds for people."""
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.3g}"


def shortened(topic: str) -> str:
    """A topic for people: a key may give anything."""
    return topic if len(topic) <= 60 else f"{topic[:57]}..."
