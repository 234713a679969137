"""What every client promises, whatever its plugins: looked at with each event of a simulation, and at its end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ..errors import ConnectTimeout
from ..events import (
    AttemptFailed,
    Closed,
    Connected,
    Connecting,
    Disconnected,
    Event,
    Gap,
    Reconnected,
    Reopened,
    Retrying,
)
from .clock import describe_task
from .connection import Line

if TYPE_CHECKING:
    from ..client import Client

__all__ = ["Promises"]

PHASES = ("resolve", "admit", "authenticate", "dial", "establish")
ROUNDING = 1e-6
"""Seconds by which sums of virtual times may differ."""


class Promises:
    """Hears a client's events, and notes what breaks a promise.

    - Attempts and generations are numbered upwards; the phases of an attempt come in order, each within `open_timeout`
      (establish as long as it makes progress), and an attempt ends once.
    - A connection that was READY is lost once. A Gap is told before READY comes again, unless the server has resumed.
    - The next attempt begins when Retrying has said so, neither earlier nor later.
    - The last event is Closed.
    """

    def __init__(self, client: Client) -> None:
        self.broken: list[str] = []
        """What was not kept."""
        self._client = client
        self._attempt = self._generation = 0
        self._phases: dict[str, float] = {}
        """The phases of the latest attempt, with the time at which each began."""
        self._live: set[int] = set()
        """Generations that are READY."""
        self._ended: set[int] = set()
        """Attempts that have ended."""
        self._gap = 0
        self._due: float | None = None
        self._latest = 0.0
        self._closed: Closed | None = None

    @property
    def closed(self) -> Closed | None:
        """The last event, None until it came."""
        return self._closed

    def hear(self, event: Event) -> None:
        """Look at an event."""
        self._expect(self._closed is None, event, "comes after Closed")
        self._expect(event.monotonic >= self._latest, event, "is stamped with an earlier time than the one before")
        self._latest = event.monotonic
        match event:
            case Connecting():
                self._connecting(event)
            case AttemptFailed():
                self._attempt_failed(event)
            case Connected() | Reconnected() | Reopened():
                self._ready(event)
            case Disconnected():
                known = event.generation in self._live or event.attempt not in self._ended  # the new one of a move
                self._expect(known, event, "tells of a connection that was lost already")
                self._live.discard(event.generation)
                self._ended.add(event.attempt)
            case Gap():
                self._gap = event.generation
                self._expect(event.since <= event.until, event, "ends before it begins")
            case Retrying():
                self._due = event.monotonic + event.delay
            case Closed():
                self._closed = event

    def left(self) -> list[str]:
        """What a client that has ended leaves behind."""
        supervisor = self._client._supervisor
        found = [f"a connection of attempt {session.attempt.number}" for session in supervisor.sessions]
        found += [f"attempt {session.attempt.number} stands in line" for session in supervisor.delivery.line]
        loop = asyncio.get_running_loop()
        me = asyncio.current_task()
        found += sorted(describe_task(task) for task in asyncio.all_tasks() if task is not me)
        timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
        names = [getattr(handle._callback, "__qualname__", type(handle._callback).__name__) for handle in timers]
        found += sorted(f"a timer of {name}" for name in names if name != Line._run.__qualname__)  # still on the way
        return found

    def _connecting(self, event: Connecting) -> None:
        now = event.monotonic
        if event.attempt != self._attempt:
            self._expect(event.attempt == self._attempt + 1, event, f"follows attempt {self._attempt}")
            if self._due is not None:
                late = now - self._due
                self._expect(abs(late) <= ROUNDING, event, f"begins {late:.6f} s after its time")
            self._attempt, self._phases, self._due = event.attempt, {}, None
        before = list(self._phases)
        self._expect(
            not before or PHASES.index(event.phase) > PHASES.index(before[-1]), event, f"comes after {before[-1:]}"
        )
        self._phases[event.phase] = now

    def _attempt_failed(self, event: AttemptFailed) -> None:
        self._expect(event.attempt not in self._ended, event, "tells of an attempt that had ended")
        self._ended.add(event.attempt)
        self._expect(event.error.phase == event.phase, event, f"has an error of phase {event.error.phase}")
        self._expect(event.error.attempt is not None, event, "has an error without its attempt")
        if event.attempt != self._attempt or event.phase not in self._phases:
            return
        timeout = self._client._supervisor.open_timeout
        began = self._phases["authenticate" if event.phase == "dial" else event.phase]
        took = event.monotonic - began
        if event.phase in ("resolve", "authenticate", "dial"):
            self._expect(took <= timeout + ROUNDING, event, f"comes {took:.6f} s after the phase began")
        if isinstance(event.error, ConnectTimeout):
            self._expect(took >= timeout - ROUNDING, event, f"is a time-out after {took:.6f} s")

    def _ready(self, event: Connected | Reconnected | Reopened) -> None:
        supervisor = self._client._supervisor
        self._expect(isinstance(event, Connected) == (self._generation == 0), event, "has the wrong name")
        if isinstance(event, Reconnected):
            resumed = any(each.follows for each in supervisor.sessions if each.attempt.number == event.attempt)
            self._expect(resumed or self._gap == event.generation, event, "has no Gap before it")
            if event.generation in self._live:  # a move whose new connection was lost: the old one carries again
                return
        self._expect(event.generation > self._generation, event, f"comes after generation {self._generation}")
        self._expect(event.attempt not in self._ended, event, "tells of an attempt that had ended")
        self._ended.add(event.attempt)
        self._live = {event.generation}
        self._generation = event.generation

    def _expect(self, kept: bool, event: Event, text: str) -> None:
        if not kept and len(self.broken) < 100:
            name = f"{type(event).__name__} of attempt {event.attempt}, generation {event.generation}"
            self.broken.append(f"{name}, {text}")
