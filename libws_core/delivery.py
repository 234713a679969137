"""From connections to the user: one stream, one generation after the other, bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import clock
from .errors import ConnectionClosed, LibwsError, MessageTooBig, PluginFailed, ProtocolError
from .events import Gap
from .handlers import MessageHandlers, Own
from .inbox import Inbox
from .stages import NamedStage, compose
from .types import Message

if TYPE_CHECKING:
    from .session import LiveSession


class Delivery:
    """Where messages go when they leave their connection: the stages of `deliver`, then a handler or the inbox.

    Connections stand in line in the order in which they became ready. The oldest delivers directly; the others hold
    back what arrives, within the inbox's bounds, until all before them have ended and delivered their last.
    """

    def __init__(self, messages: int, size: int, own: Own, emit: Callable[[Gap], object]) -> None:
        self.inbox = Inbox(messages, size, self._is_full, self._has_room)
        self.handlers = MessageHandlers(own, self.inbox, self.route)
        self.line: list[LiveSession] = []
        self.cut_off = False
        """We are leaving and something found no room: the stream ends there, since what follows would stand behind a
        hole."""
        self.deliver: Callable[[Message], object] = self.inbox.put
        """Takes a data message of the oldest connection."""
        self.put: Callable[[Message], object] = self.inbox.put
        """Takes a message for the user, past the stages."""
        self._stages: list[NamedStage] = []
        self._emit = emit
        self._advancing = False

    def use(self, stages: list[NamedStage]) -> None:
        """Put these stages before the user."""
        self._stages = stages
        self.route()

    def route(self) -> None:
        """Compose the way of a message anew: a handler came or went."""
        self.put = self.handlers.route() or self.inbox.put
        self.deliver = compose(self._stages, self.put, self._mark, self._stage_failed)
        for session in self.line:
            session.rewire()

    @property
    def received(self) -> int:
        """Messages given to the user or put into the inbox."""
        return self.inbox.received + self.handlers.given

    @property
    def has_room(self) -> bool:
        """The oldest connection may deliver more now: it is never held up by what the others hold back alone."""
        return not self.inbox.full or not len(self.inbox) or self.handlers.plain

    def join(self, session: LiveSession) -> None:
        """A connection became ready."""
        self.line.append(session)

    def advance(self) -> None:
        """Let the oldest connection deliver, and the next one when that has ended and delivered its last."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self.line:
                oldest = self.line[0]
                oldest.flow()
                if oldest.error is None:
                    return
                del self.line[0]
                if self.line:
                    self._join(oldest, self.line[0])
        finally:
            self._advancing = False

    def release(self, session: LiveSession) -> None:
        """A connection ended before its turn, and an older one goes on: what it brought is delivered now, behind a
        marker, since the older one may be behind it.
        """
        self.line.remove(session)
        if session.holds:
            self._mark(_gap(session))
        session.flow()

    def place(self, gap: Gap) -> None:
        """Put a marker behind what was delivered; plain handlers do not see markers."""
        if not self.handlers.plain:
            self.inbox.mark(gap)

    def finish(self, error: LibwsError | None) -> None:
        """Nothing more will come."""
        self.advance()
        self.inbox.finish(error)

    def _join(self, old: LiveSession, new: LiveSession) -> None:
        """Mark a hole between two connections, unless there is none or the loss of the old one has done so."""
        if not _said_all(old.error) and not new.follows and not new.begins_with_gap:
            gap = _gap(new)
            self._emit(gap)
            new.place_first(gap)

    def _is_full(self) -> None:
        if self.line:
            self.line[0].pause()

    def _has_room(self) -> None:
        self.advance()
        for session in self.line:
            if not self.inbox.full:
                session.resume()

    def _mark(self, gap: Gap) -> None:
        self._emit(gap)
        self.place(gap)

    def _stage_failed(self, plugin: str, error: Exception) -> None:
        if not isinstance(error, LibwsError):
            cause = error
            error = PluginFailed(f"plugin {plugin!r} failed in deliver: {type(cause).__name__}: {cause}")
            error.__cause__ = cause
        if self.line:
            self.line[0].fail(error)


def _gap(before: LiveSession) -> Gap:
    now = clock.wall()
    return Gap("move", before.attempt.generation, now, now)


def _said_all(error: LibwsError | None) -> bool:
    """The peer ended by a close frame, behind which nothing follows (RFC 6455 section 5.5.1), and we have read it."""
    broken = isinstance(error, (ProtocolError, MessageTooBig))
    return isinstance(error, ConnectionClosed) and error.code != 1006 and not broken
