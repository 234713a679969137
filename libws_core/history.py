"""The last attempts of a client, as data: what `Client.explain` tells of them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from . import clock
from .secret import public_url
from .verdicts import Verdict

if TYPE_CHECKING:
    from .errors import LibwsError
    from .types import Attempt, Stop

KEPT = 20
"""Attempts that a client remembers."""
KNOWN = ("verdict", "phase", "initiator", "fault", "code", "status", "retry_after")
"""What an error is asked for."""


def error_data(error: LibwsError) -> dict[str, Any]:
    """An error as plain data: its class, its text and what else it knows."""
    data: dict[str, Any] = {"error": type(error).__name__, "text": error.text}
    for name in KNOWN:
        value = getattr(error, name)
        if value is not None:
            data[name] = str(value) if isinstance(value, Verdict) else value
    return data


class Record:
    """What is known of one attempt and of the connection that it became."""

    __slots__ = (
        "adapted_by",
        "began",
        "decision",
        "error",
        "generation",
        "number",
        "outcome",
        "phases",
        "since",
        "uptime",
        "url",
        "why",
    )

    def __init__(self, attempt: Attempt) -> None:
        self.number, self.generation, self.why = attempt.number, attempt.generation, attempt.why
        self.began = clock.wall()
        self.url: str | None = None
        """What was dialed last, with all that may be secret in it."""
        self.phases: list[tuple[str, float]] = []
        """Each phase that has ended, and the seconds that it took."""
        self.since: tuple[str, float] | None = None
        """The phase that goes on, and when it began, loop time; "ready" while the connection carries."""
        self.outcome = "under way"
        self.uptime: float | None = None
        self.error: dict[str, Any] | None = None
        self.adapted_by: str | None = None
        self.decision: dict[str, Any] | None = None

    def leave(self, now: float) -> None:
        """The phase has ended."""
        if self.since is not None and self.since[0] != "ready":
            self.phases.append((self.since[0], now - self.since[1]))
        self.since = None

    def enter(self, phase: str, now: float) -> None:
        """Another phase begins."""
        self.leave(now)
        self.since = (phase, now)

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "number": self.number,
            "generation": self.generation,
            "why": self.why,
            "url": public_url(self.url) if self.url is not None else None,
            "began": self.began,
            "phases": [{"phase": phase, "seconds": seconds} for phase, seconds in self.phases],
            "outcome": self.outcome,
            "uptime": self.uptime,
            "error": self.error and {**self.error},
            "adapted_by": self.adapted_by,
            "decision": self.decision and {**self.decision},
        }


class History:
    """Remembers attempts: how far each came, what went wrong, and who decided what was to follow."""

    def __init__(self) -> None:
        self._records: deque[Record] = deque(maxlen=KEPT)

    def data(self) -> list[dict[str, Any]]:
        """All of them as plain data, the oldest first."""
        return [record.data() for record in self._records]

    def begin(self, attempt: Attempt) -> None:
        """An attempt begins."""
        self._records.append(Record(attempt))

    def enter(self, number: int, phase: str, url: str, now: float) -> None:
        """A phase of it begins, with that to be dialed."""
        record = self._find(number)
        if record is not None:
            record.url = url
            record.enter(phase, now)

    def ready(self, number: int, now: float) -> None:
        """Its last `establish` has ended."""
        record = self._find(number)
        if record is not None:
            record.outcome = "ready"
            record.enter("ready", now)

    def failed(self, number: int, error: LibwsError, now: float) -> None:
        """It failed before that."""
        record = self._find(number)
        if record is not None:
            record.outcome, record.error = "failed", error_data(error)
            record.leave(now)

    def left(self, number: int, now: float) -> None:
        """It is over; if nothing else was told of it, the client was closed meanwhile."""
        record = self._find(number)
        if record is not None and record.outcome == "under way":
            record.outcome = "given up"
            record.leave(now)

    def ended(self, number: int, error: LibwsError, now: float) -> None:
        """The connection that it became has ended."""
        record = self._find(number)
        if record is not None and record.since is not None:
            record.uptime = now - record.since[1]
            record.leave(now)
            record.outcome = "closed" if error.initiator == "local" else "lost"
            record.error = error_data(error)

    def adapted(self, number: int, plugin: str) -> None:
        """A plugin has said what its error means."""
        record = self._find(number)
        if record is not None:
            record.adapted_by = plugin

    def decided(self, number: int, plugin: str | None, answer: float | Stop | None) -> None:
        """A plugin has said whether and when to try again; None = none has an opinion."""
        record = self._find(number)
        if record is not None:
            delay = answer if isinstance(answer, (int, float)) else None
            because = "no plugin answers reconnect" if plugin is None else None
            record.decision = {"plugin": plugin, "delay": delay, "because": because}

    def stopped(self, error: LibwsError) -> str | None:
        """The client has failed with this error. Gives why, None if a plugin has decided so."""
        record = next((record for record in reversed(self._records) if record.error is not None), None)
        if record is None:
            return None
        if record.decision is None:
            again = record.error is not None and record.error["verdict"] == Verdict.REFRESH
            because = "a second refresh in a row is fatal" if again else f"the verdict is {error.verdict}"
            record.decision = {"plugin": None, "delay": None, "because": because}
        return record.decision["because"] if record.decision["plugin"] is None else None

    def _find(self, number: int) -> Record | None:
        return next((record for record in reversed(self._records) if record.number == number), None)
