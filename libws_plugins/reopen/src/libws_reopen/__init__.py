"""Move to a new connection in time: by age, at a time of day, or when the server asks."""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from libws_core import LibwsError, Message, NotReady, Session, chance, hookimpl
from libws_core.match import Matcher, call, matcher, seconds
from libws_core.secret import public_url
from libws_core.types import Stage

from .schedule import Schedule, times_of_day

__all__ = ["Reopen"]

logger = logging.getLogger("libws")

FIRST_RETRY = 5.0
"""Seconds until the next try after a move that failed; twice as many after each further one."""
LONGEST_RETRY = 600.0
"""Seconds between two tries at most, also if the server asks for more."""


class Asked:
    """Whether the server has asked for a move on one connection. Each has its own, made by `session.state(Asked)`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()


@dataclass(eq=False, kw_only=True)
class Reopen:
    """Make a new connection before the server ends the old one, and move to it: nothing is lost, and the order is kept.

    If the new one fails the old one stays, and the move is tried again after growing delays.
    """

    every: Annotated[float, Meta(gt=0)] | Callable[..., Any] | None = None
    """Seconds after READY when a connection is replaced. Or a function of the session, called once a connection, which
    gives them, or None for never."""
    at: str | datetime.time | list[str | datetime.time] | Callable[..., Any] | None = None
    """Times of day when it is replaced, such as "03:30": in the host's local time, unless a time says its own zone
    ("03:30Z", "03:30+02:00"). One or a list, or a function of the session that gives them."""
    order: Literal["make-first", "break-first"] = "make-first"
    """ "make-first" keeps the old connection until the new one carries; "break-first" closes it before, for servers
    that admit one connection."""
    overlap: Annotated[float, Meta(ge=0)] = 10.0
    """Seconds that what is sent stays on the old connection if the new one shows no message."""
    settle: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds that the old connection lives on after that; if the new one is lost meanwhile, it carries again."""
    jitter: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds by which a move is up to earlier than `every` and up to later than `at`, drawn for each connection, so
    that many clients do not move at once."""
    when: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message asks for a move, a match; it is taken out of the stream. None = none does."""

    _times: tuple[datetime.time, ...] = field(default=(), init=False, repr=False)

    _asks: Matcher | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.when is not None:
            try:
                self._asks = matcher(self.when)
            except ValueError as error:
                raise ValueError(f"option 'when': {error}") from None
        if not callable(self.at):
            try:
                self._times = times_of_day(self.at)
            except ValueError as error:
                raise ValueError(f"option 'at': {error}") from None
        if isinstance(self.every, (int, float)) and self.jitter >= self.every:
            raise ValueError(f"option 'jitter': expected less than 'every', which is {self.every:g} s")

    @hookimpl
    def incoming(self, session: Session) -> Stage | None:
        """Give a stage that hears the server ask; None if it never does."""
        asks = self._asks
        if asks is None:
            return None
        asked = session.state(Asked).asked

        def hear(message: Message) -> Message | None:
            if asks(message) is None:
                return message
            asked.set()  # before READY it is remembered: the connection moves as soon as it may
            return None

        return hear

    @hookimpl
    def keep_alive(self, session: Session) -> Awaitable[None] | None:
        """Move when it is time; None if that is never."""
        every = seconds("every", self.every, session)
        times = times_of_day(call(self.at, session)) if callable(self.at) else self._times
        if every is None and not times:
            return None if self._asks is None else self._move_when_asked(session)
        return self._move(session, Schedule(every, times, self.jitter))

    async def _move_when_asked(self, session: Session) -> None:
        """Move when the server asks, until this connection has been replaced."""
        asked = session.state(Asked).asked
        while True:
            await asked.wait()
            asked.clear()
            await self._until_moved(session, "the server asks for it")

    async def _move(self, session: Session, schedule: Schedule) -> None:
        """Move when it is time, or when the server asks, until this connection has been replaced."""
        if self._asks is not None:
            session.spawn(self._move_when_asked(session))
        while True:
            await self._until_moved(session, await schedule.due())

    async def _until_moved(self, session: Session, why: str) -> None:
        """Move, and try again after growing delays while that fails."""
        delay = FIRST_RETRY
        while isinstance(result := await self._reopen(session, why), LibwsError):
            pause = chance.uniform(delay / 2, delay)
            if result.retry_after is not None:
                pause = max(pause, min(result.retry_after, LONGEST_RETRY))
            if not isinstance(result, NotReady):  # else another one is on its way
                logger.warning(
                    "%s: the move to a new connection failed, the old one stays: %s; next try in %.3g s",
                    public_url(session.request.url),
                    result,
                    pause,
                )
            await asyncio.sleep(pause)
            delay = min(2 * delay, LONGEST_RETRY)

    def _reopen(self, session: Session, why: str) -> Awaitable[bool | LibwsError]:
        return session.reopen(why, order=self.order, overlap=self.overlap, settle=self.settle)
