"""The life of a client as events in and actions out: no I/O, no clock, no tasks.

The shell (`client.py`) tells what happened, with the loop's time, and performs the actions it gets, in order:

    IDLE -> CONNECTING -> READY -> (REOPENING -> READY) | WAITING -> CONNECTING ... -> CLOSING -> CLOSED
                                                                                    \\-> FAILED, with the error

At any time there is at most one *current* connection (READY, users' messages go to it), one *candidate* (an attempt
under way, or in a move a connection that is open and does not carry messages yet) and one *retiring* connection (the
old one of a move: whole for as long as the new one has to settle, then closing). Attempts have numbers that are never
used twice; what is said of any other number is stale and ignored.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from .errors import ClientClosed, LibwsError, RetriesExhausted
from .events import (
    AttemptFailed,
    Closed,
    Connected,
    Disconnected,
    Event,
    Gap,
    Reconnected,
    Reopened,
    Retrying,
)
from .types import Attempt, Failure, Request, Stop
from .verdicts import LEAST_DELAYS, Verdict


class State(StrEnum):
    """Where a client is in its life."""

    IDLE = "idle"
    CONNECTING = "connecting"
    READY = "ready"
    REOPENING = "reopening"
    """READY on one connection while another is made to take its place."""
    WAITING = "waiting"
    """Until the next attempt."""
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


class Begin(NamedTuple):
    """Start this attempt."""

    attempt: Attempt


class Emit(NamedTuple):
    """Tell an event; the shell adds the times. `since` and `until` of a Gap are the loop's time."""

    event: type[Event]
    attempt: Attempt | None
    fields: dict[str, Any]


class Ask(NamedTuple):
    """Ask `reconnect` about this failure and tell the answer."""

    failure: Failure


class Wait(NamedTuple):
    """Say `due` after so many seconds."""

    delay: float


class Carry(NamedTuple):
    """From now on users' messages go to the connection of this attempt."""

    number: int


class Watch(NamedTuple):
    """Say `carries` when the connection of this attempt has shown a message, or the overlap is over."""

    number: int


class Settle(NamedTuple):
    """Say `settled` when the connection of this attempt has carried for the move's settling time."""

    number: int


class Retire(NamedTuple):
    """Close the connection of this attempt by a full close handshake; `lost` follows."""

    number: int


class Moved(NamedTuple):
    """The move has this result: True, or the error that ended it."""

    result: Literal[True] | LibwsError


class Finish(NamedTuple):
    """It is over: drop what is left."""

    error: LibwsError | None


Action = Begin | Emit | Ask | Wait | Carry | Watch | Settle | Retire | Moved | Finish


class Machine:
    """Decides. Every method takes what happened and gives what to do.

    Args:
        healthy_after: seconds in READY after which a connection counts as a success and the row of failures ends.
    """

    def __init__(self, healthy_after: float) -> None:
        self.state = State.IDLE
        self.healthy_after = healthy_after
        self.generation = 0
        """Connections that were READY so far; the last one's number."""
        self.number = 0
        """Attempts so far; the last one's number."""
        self.current: Attempt | None = None
        self.candidate: Attempt | None = None
        self.retiring: Attempt | None = None
        self.moving = False
        """A move is under way whose result somebody may wait for."""
        self._opened = False
        self._settling = False
        self._ready_at = self._old_ready_at = 0.0
        self._candidate_ready_at: float | None = None
        self._lost_at = 0.0
        self._not_before = 0.0
        """Until when a server, which a move has asked in vain, wants no attempt."""
        self._unconfirmed = 0
        """Messages that old connections of moves left unproven, and no event has told yet."""
        self._row = 0
        self._refreshed = False
        self._failure: Failure | None = None
        self._latest: Attempt | None = None

    # What the shell tells

    def open(self) -> list[Action]:
        """The user opens the client."""
        if self.state is not State.IDLE:
            raise RuntimeError("a client opens once; make another one")
        self.state = State.CONNECTING
        return [self._begin("open")]

    def ready(self, number: int, now: float, resumed: bool = False) -> list[Action]:
        """The last `establish` of an attempt has ended; `resumed`: nothing is missing since the connection before."""
        attempt = self.candidate
        if attempt is None or attempt.number != number or self.state not in (State.CONNECTING, State.REOPENING):
            return []
        self.generation = attempt.generation
        if self.state is State.REOPENING and self.current is not None:
            self._candidate_ready_at = now
            return [Watch(number)]
        return self._promote(now, resumed)

    def carries(self, number: int, now: float) -> list[Action]:
        """In a move: the new connection has shown a message, or the overlap is over."""
        attempt, old = self.candidate, self.current
        if attempt is None or attempt.number != number or old is None or self._candidate_ready_at is None:
            return []
        self._note_health(now)
        self.current, self.candidate, self.retiring = attempt, None, old
        self._old_ready_at, self._ready_at = self._ready_at, self._candidate_ready_at
        self._settling = True
        return [Carry(number), Settle(number)]

    def settled(self, number: int) -> list[Action]:
        """In a move: the new connection has carried for long enough, and the old one may go."""
        if not self._settling or self.retiring is None or self.current is None or self.current.number != number:
            return []
        self._settling = False
        return [Retire(self.retiring.number)]

    def failed(self, number: int, error: LibwsError, phase: str, request: Request, now: float) -> list[Action]:
        """An attempt failed before its last `establish` ended."""
        attempt = self.candidate
        if attempt is None or attempt.number != number:
            return []
        actions: list[Action] = [Emit(AttemptFailed, attempt, {"phase": phase, "error": error})]
        return actions + self._candidate_gone(Failure(error, request, phase, self._row + 1, 0.0), now)

    def lost(self, number: int, error: LibwsError, request: Request, unconfirmed: int, now: float) -> list[Action]:
        """A connection that was ready has ended, whoever ended it."""
        if self.retiring is not None and self.retiring.number == number:
            self._unconfirmed += unconfirmed
            return self._retired(now)
        if self.candidate is not None and self.candidate.number == number:
            actions: list[Action] = [Emit(AttemptFailed, self.candidate, {"phase": "ready", "error": error})]
            return actions + self._candidate_gone(Failure(error, request, "ready", self._row + 1, 0.0), now)
        if self.current is None or self.current.number != number:
            return []
        return self._current_lost(error, request, unconfirmed, now)

    def answer(self, decision: float | Stop | None, *, asked: bool = True) -> list[Action]:
        """What `reconnect` decided; `asked` is False if no plugin has that hook."""
        failure = self._failure
        if failure is None or self.state is not State.WAITING:
            return []
        if not isinstance(decision, (int, float)):
            if not asked:
                return self._finish(failure.error)
            exhausted = RetriesExhausted(f"gave up after {failure.count} failures in a row: {failure.error}")
            exhausted.fault, exhausted.code, exhausted.status = (
                failure.error.fault,
                failure.error.code,
                failure.error.status,
            )
            exhausted.phase = failure.phase
            exhausted.attempt, exhausted.generation = failure.error.attempt, failure.error.generation
            exhausted.__cause__ = failure.error
            return self._finish(exhausted)
        delay = max(float(decision), LEAST_DELAYS.get(failure.error.code or 0, 0.0))
        return [Emit(Retrying, failure.request.attempt, {"delay": delay, "error": failure.error}), Wait(delay)]

    def broken(self, error: LibwsError) -> list[Action]:
        """`reconnect` could not be asked: this error takes its place."""
        return self._finish(error) if self.state is State.WAITING else []

    def due(self) -> list[Action]:
        """The wait for the next attempt is over."""
        if self.state is not State.WAITING:
            return []
        self.state = State.CONNECTING
        return [self._begin("reconnect" if self.generation else "open", self._failure)]

    def reopen(self, order: str, now: float) -> list[Action]:
        """A plugin asks for a move. Ignored unless READY."""
        if self.state is not State.READY or self.current is None:
            return []
        self.state = State.REOPENING
        self.moving = True
        if order == "make-first":
            return [self._begin("move")]
        self._note_health(now)
        self.retiring, self.current = self.current, None
        self._lost_at = now
        return [Retire(self.retiring.number)]

    def close(self) -> list[Action]:
        """The user closes the client; `closed` follows when the shell is through with it."""
        if self.state in (State.CLOSING, State.CLOSED, State.FAILED):
            return []
        idle = self.state is State.IDLE
        self.state = State.CLOSING
        self.candidate = self._candidate_ready_at = self._failure = None
        self._settling = False
        return self.closed() if idle else self._end_move(ClientClosed("the client was closed during the move"))

    def closed(self) -> list[Action]:
        """Everything is closed after `close`."""
        if self.state is not State.CLOSING:
            return []
        self.state = State.CLOSED
        last = self._last()
        self.current = self.retiring = None
        return [self._closed(last, None), Finish(None)]

    # What follows from it

    def _begin(self, why: Literal["open", "reconnect", "move"], failure: Failure | None = None) -> Begin:
        self.number += 1
        if failure is not None:
            failure = _remembered(failure)
        self.candidate = Attempt(self.number, self.generation + 1, why, failure)
        self._candidate_ready_at = None
        self._latest = self.candidate.alone()
        return Begin(self.candidate)

    def _promote(self, now: float, resumed: bool = False) -> list[Action]:
        """The candidate becomes the current connection, and there is no other."""
        attempt = self.candidate
        assert attempt is not None
        moved = self.state is State.REOPENING  # a break-first move: no loss came between
        first, self._opened = not self._opened, True
        self.current, self.candidate, self.state = attempt, None, State.READY
        self._ready_at = now if self._candidate_ready_at is None else self._candidate_ready_at
        self._candidate_ready_at = None
        carry = Carry(attempt.number)
        if first:
            return [carry, Emit(Connected, attempt, {})]
        told = self._reopened(attempt, 0.0) if moved else Emit(Reconnected, attempt, {})
        actions = [carry, told, *self._end_move(True)]
        if resumed:
            return actions
        gap = {"why": "move" if moved else "reconnect", "since": self._lost_at, "until": now}
        return [Emit(Gap, attempt, gap), *actions]

    def _current_lost(self, error: LibwsError, request: Request, unconfirmed: int, now: float) -> list[Action]:
        uptime = self._note_health(now)
        attempt, self.current = self.current, None
        unconfirmed += self._take_unconfirmed()
        lost = Emit(Disconnected, attempt, {"error": error, "uptime": uptime, "unconfirmed": unconfirmed})
        if self._settling:
            return [lost, *self._fall_back(error, now)]
        self._lost_at = now
        actions: list[Action] = []
        if self.retiring is not None:  # the new one of a move, and the old one is closing
            actions += [self._reopened(attempt, self._overlap(now)), *self._end_move(True)]
        actions.append(lost)
        if self.state is State.CLOSING:
            return actions
        if self.candidate is not None:  # a move is under way: the new one is adopted
            self._row += 1
            self.state = State.CONNECTING
            return actions if self._candidate_ready_at is None else actions + self._promote(now)
        return actions + self._decide(Failure(self._held_back(error, now), request, "ready", self._row + 1, uptime))

    def _held_back(self, error: LibwsError, now: float) -> LibwsError:
        """With the Retry-After that a failed move has met, as far as it is not over."""
        left = self._not_before - now
        return error.but(retry_after=left) if left > (error.retry_after or 0.0) else error

    def _fall_back(self, error: LibwsError, now: float) -> list[Action]:
        """The new connection of a move is lost while the old one is still whole: that carries again."""
        old, self.retiring = self.retiring, None
        assert old is not None
        self.current, self.state, self._settling = old, State.READY, False
        self._ready_at = self._old_ready_at
        gap = {"why": "move", "since": now, "until": now}
        return [Emit(Gap, old, gap), Carry(old.number), Emit(Reconnected, old, {}), *self._end_move(error)]

    def _candidate_gone(self, failure: Failure, now: float) -> list[Action]:
        self.candidate = self._candidate_ready_at = None
        if self.state is State.REOPENING and self.current is not None:
            self.state = State.READY
            self._not_before = max(self._not_before, now + (failure.error.retry_after or 0.0))
            return self._end_move(failure.error)
        if self.state not in (State.CONNECTING, State.REOPENING):
            return []
        return [*self._end_move(failure.error), *self._decide(failure)]

    def _retired(self, now: float) -> list[Action]:
        self.retiring, self._settling = None, False
        if self.state is not State.REOPENING:
            return []
        if self.current is None:  # break-first: now the new one may be dialed
            return [self._begin("move")]
        self.state = State.READY
        return [self._reopened(self.current, self._overlap(now)), *self._end_move(True)]

    def _reopened(self, attempt: Attempt | None, overlap: float) -> Emit:
        return Emit(Reopened, attempt, {"overlap": overlap, "unconfirmed": self._take_unconfirmed()})

    def _take_unconfirmed(self) -> int:
        unconfirmed, self._unconfirmed = self._unconfirmed, 0
        return unconfirmed

    def _note_health(self, now: float) -> float:
        """Give the current connection's uptime; if it was a success, the row of failures has ended."""
        uptime = now - self._ready_at
        if uptime >= self.healthy_after:
            self._row, self._refreshed = 0, False
        return uptime

    def _overlap(self, now: float) -> float:
        return now - self._ready_at

    def _end_move(self, result: Literal[True] | LibwsError) -> list[Action]:
        if not self.moving:
            return []
        self.moving = False
        return [Moved(result)]

    def _decide(self, failure: Failure) -> list[Action]:
        self._row = failure.count
        error = failure.error
        if error.verdict is Verdict.REFRESH and self._refreshed:
            error = error.but(verdict=Verdict.FATAL)
        if error.verdict is Verdict.FATAL:
            return self._finish(error)
        self._refreshed = self._refreshed or error.verdict is Verdict.REFRESH
        self.state = State.WAITING
        self._failure = failure
        return [Ask(failure)]

    def _finish(self, error: LibwsError) -> list[Action]:
        self.state = State.FAILED
        self._failure = None
        last = self._last()
        self.current = self.candidate = self.retiring = None
        return [self._closed(last, error), *self._end_move(error), Finish(error)]

    def _closed(self, last: Attempt | None, error: LibwsError | None) -> Emit:
        return Emit(Closed, last, {"error": error, "unconfirmed": self._take_unconfirmed()})

    def _last(self) -> Attempt | None:
        return self.current or self.candidate or self._latest


def _remembered(failure: Failure) -> Failure:
    """A failure as the next attempt knows it: without traceback and cause, or each would keep all before it alive."""
    error, request = failure.error.but(), failure.request
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return replace(failure, error=error, request=replace(request, attempt=request.attempt.alone()))
