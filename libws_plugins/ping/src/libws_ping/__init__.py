"""Notice a peer that has gone silent, by asking it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from libws_core import KeepAliveTimeout, Kind, LibwsError, Message, Session, hookimpl
from libws_core.match import Matcher, check_template, matcher, seconds, template
from libws_core.types import Stage

__all__ = ["Ping"]

TICK = 0.05
"""Shortest wait, seconds: while we have paused reading, the time that is left does not shrink."""
EXACT = 0.001
"""Seconds by which a clock may differ from what was computed."""


class Beat:
    """What one connection knows of its pings that are messages."""

    __slots__ = ("answer", "unanswered")

    def __init__(self) -> None:
        self.unanswered = 0
        """Pings sent that no reply has come to."""
        self.answer: asyncio.Future[None] | None = None
        """Ends with the next reply."""


@dataclass(eq=False, kw_only=True)
class Ping:
    """Ask the peer whether it is there, and end the connection with KeepAliveTimeout if it does not answer.

    A peer that falls silent is noticed `interval` + `timeout` after its last byte, also when it has stopped reading and
    our write buffer is full. While *we* have paused reading, nothing counts against it.
    """

    interval: Annotated[float, Meta(gt=0)] | Callable[..., Any] = 20.0
    """Seconds: of silence before a ping (`when` = "idle"), or from ping to ping ("always"). Or a function of the
    session, called once a connection, which gives them, or None for no pings on this connection."""
    timeout: Annotated[float, Meta(gt=0)] | Callable[..., Any] = 20.0
    """Seconds to wait for the answer to a ping; or a function of the session."""
    message: str | bytes | dict[str, Any] | list[Any] | Message | Callable[..., Any] | None = None
    """What to send in the place of a ping frame: a str as text, bytes as binary, a dict or list as JSON text. A
    callable gets the session and gives any of these, or None to leave a ping out."""
    reply: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message is the answer to `message`; it is taken out of the stream, as long as a ping has none. None = there
    is no answer, and whether the peer lives must be known from elsewhere."""
    when: Literal["idle", "always"] = "idle"
    """ "idle" = only when nothing has arrived for `interval`; any byte proves that the peer lives. "always" = at each
    `interval`; only the answer proves it."""
    missed: Annotated[int, Meta(ge=1)] = 1
    """Pings in a row without an answer that end the connection."""

    _reply: Matcher | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.message is not None:
            try:
                check_template(self.message)
            except ValueError as error:
                raise ValueError(f"option 'message': {error}") from None
        if self.reply is not None:
            if self.message is None:
                raise ValueError("option 'reply' is the answer to 'message'; a ping frame's answer is known")
            try:
                self._reply = matcher(self.reply)
            except ValueError as error:
                raise ValueError(f"option 'reply': {error}") from None

    @hookimpl
    def incoming(self, session: Session) -> Stage | None:
        """Give a stage that takes out the replies to our messages; None if there are none."""
        reply = self._reply
        if reply is None:
            return None
        beat = session.state(Beat)

        def take(message: Message) -> Message | None:
            if not beat.unanswered or (message.kind is not Kind.TEXT and message.kind is not Kind.BINARY):
                return message
            if reply(message) is None:
                return message
            beat.unanswered -= 1
            if beat.answer is not None and not beat.answer.done():
                beat.answer.set_result(None)
            return None

        return take

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        """Ping until the peer does not answer."""
        interval, timeout = seconds("interval", self.interval, session), seconds("timeout", self.timeout, session)
        if interval is None:
            return
        if timeout is None:
            raise ValueError("timeout gave None, not seconds")
        loop = asyncio.get_running_loop()
        missed = 0
        idle = self.when == "idle"
        due = loop.time() + (0.0 if idle else interval)
        while True:
            left = max(due - loop.time(), interval - session.idle if idle else 0.0)
            if left > EXACT:
                await asyncio.sleep(max(left, TICK))
                continue
            due = loop.time() + interval
            try:
                if idle:
                    await self._ask_the_silent(session, interval, timeout)
                else:
                    await self._ask(session, timeout)
            except KeepAliveTimeout as error:
                missed += 1
                if missed < self.missed:
                    due = loop.time() if idle else due
                    continue
                if missed == 1:
                    raise
                raise KeepAliveTimeout(f"{missed} pings in a row had no answer within {timeout:g} s") from error
            missed = 0

    async def _ask(self, session: Session, timeout: float) -> None:
        """Send one ping and wait for its answer, if it is one that has answers."""
        if self.message is None:
            await session.ping(timeout)
            return
        message = template(self.message, {}, session)
        if message is None:
            return
        if self._reply is None:
            try:
                await session.send(message)  # not left waiting: the next one shall not queue up behind it
            except LibwsError:
                pass  # a plugin refused this one message
            return
        beat = session.state(Beat)
        beat.answer = asyncio.get_running_loop().create_future()
        beat.unanswered += 1
        deadline = _reading_time(session) + timeout
        session.send(message)
        while not beat.answer.done():
            left = deadline - _reading_time(session)
            if left <= EXACT:
                raise KeepAliveTimeout(f"no answer to our ping message within {timeout:g} s")
            await asyncio.wait([beat.answer], timeout=max(left, TICK))

    async def _ask_the_silent(self, session: Session, interval: float, timeout: float) -> None:
        """Send one ping; the answer, or any byte, proves that the peer lives.

        An answer may come late behind a long message. What then arrives is proof enough, and if silence follows, the
        next ping is due after `interval` and not after this one's `timeout`.
        """
        heard = _heard(session)
        asking = asyncio.ensure_future(self._ask(session, timeout))
        try:
            while not asking.done():
                left = interval - session.idle
                await asyncio.wait([asking], timeout=max(left if left > EXACT else interval, TICK))
                if not asking.done() and session.idle >= interval - EXACT and _heard(session) > heard + EXACT:
                    return
            try:
                asking.result()
            except KeepAliveTimeout:
                if _heard(session) <= heard + EXACT:
                    raise
        finally:
            if not asking.cancel() and not asking.cancelled():
                asking.exception()  # the connection's own end is told by the core


def _reading_time(session: Session) -> float:
    """The loop's time less what we have spent not reading."""
    return asyncio.get_running_loop().time() - session.paused_total


def _heard(session: Session) -> float:
    """When the last byte arrived, in reading time."""
    return _reading_time(session) - session.idle
