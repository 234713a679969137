"""The metrics of all clients that report to one meter provider.

OpenTelemetry makes an instrument once and keeps it for ever, so clients share them. Counts of messages are read from
the clients when somebody collects, and cost nothing per message.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
from opentelemetry.util.types import AttributeValue

from libws_core import Client, __version__

__all__ = ["Instruments", "Tally", "instruments_of"]

Attributes = dict[str, AttributeValue]
Key = tuple[tuple[str, AttributeValue], ...]
Counts = tuple[int, int]
"""Messages sent and received."""

SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Bounds of buckets for what takes as long as a handshake, seconds."""
DELAYS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
LONG = (1, 10, 30, 60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86400, 3 * 86400, 7 * 86400)
SERIES = 1_000
"""Sets of attributes whose counts outlive their clients; what is beyond is added up in one."""
OVERFLOW: Attributes = {"otel.metric.overflow": True}


class Tally:
    """What one client has sent and received. It holds the client weakly, and what was last seen of its counts."""

    def __init__(self, shared: Instruments, client: weakref.ref[Client]) -> None:
        self.attributes: Attributes = {}
        self.client = client
        self._shared = shared
        self._told: Counts = (0, 0)
        """What was added to the counts of earlier attributes."""
        self._seen: Counts = (0, 0)

    def counts(self) -> Counts:
        """Messages sent and received since the attributes are what they are."""
        client = self.client()
        if client is not None:
            stats = client.stats
            self._seen = stats.sent, stats.received
        return self._seen[0] - self._told[0], self._seen[1] - self._told[1]

    def latency(self) -> float | None:
        """Seconds of the client's last round trip."""
        client = self.client()
        return None if client is None else client.latency

    def place(self, attributes: Attributes) -> None:
        """From now on it counts for this server; what it has counted stays with the one before."""
        if attributes != self.attributes:
            self._shared.settle(self)
            self.attributes = attributes

    def settle(self) -> Counts:
        """Begin anew; gives what was counted until now."""
        counts = self.counts()
        self._told = self._seen
        return counts


class Instruments:
    """The instruments of one meter provider, and the clients that they observe."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("libws", __version__)
        self.attempts = meter.create_counter("libws.attempts", "{attempt}", "Attempts that have ended")
        self.attempt_duration = meter.create_histogram(
            "libws.attempt.duration", "s", "Time of an attempt", explicit_bucket_boundaries_advisory=SHORT
        )
        self.failures = meter.create_counter("libws.failures", "{failure}", "Failed attempts and lost connections")
        self.connections = meter.create_up_down_counter("libws.connections", "{connection}", "READY connections")
        self.uptime = meter.create_histogram(
            "libws.connection.uptime", "s", "Time of a connection in READY", explicit_bucket_boundaries_advisory=LONG
        )
        self.delay = meter.create_histogram(
            "libws.reconnect.delay", "s", "Wait before an attempt", explicit_bucket_boundaries_advisory=DELAYS
        )
        self.moves = meter.create_counter("libws.moves", "{move}", "Moves to a new connection that were completed")
        self.gaps = meter.create_counter("libws.gaps", "{gap}", "Places where messages may be missing")
        self.dropped = meter.create_counter("libws.messages.dropped", "{message}", "Messages dropped on purpose")
        self.unconfirmed = meter.create_counter(
            "libws.messages.unconfirmed", "{message}", "Messages written to a lost connection without a proof"
        )
        meter.create_observable_counter("libws.messages.sent", [self._sent], "{message}", "Users' messages written")
        meter.create_observable_counter(
            "libws.messages.received", [self._received], "{message}", "Messages given to users"
        )
        meter.create_observable_gauge("libws.latency", [self._latency], "s", "Last round trip of a ping")
        self._tallies: dict[weakref.ref[Client], Tally] = {}
        self._gone: deque[weakref.ref[Client]] = deque()
        """Clients that were thrown away without being closed. The collector takes no lock, it only notes them."""
        self._finished: dict[Key, Counts] = {}
        """What was counted by clients that have ended, since a counter never falls."""
        self._lock = threading.RLock()  # whoever collects does so in a thread of its own

    @property
    def observed(self) -> int:
        """Clients that are observed now."""
        self._sweep()
        return len(self._tallies)

    def watch(self, client: Client) -> Tally:
        """Observe a client from now on."""
        self._sweep()
        tally = Tally(self, weakref.ref(client, self._gone.append))
        with self._lock:
            self._tallies[tally.client] = tally
        return tally

    def settle(self, tally: Tally) -> None:
        """Add up what a tally has counted under its attributes."""
        with self._lock:
            counts = tally.settle()
            if counts == (0, 0):
                return
            key = _key(tally.attributes)
            if key not in self._finished and len(self._finished) >= SERIES:
                key = _key(OVERFLOW)
            before = self._finished.get(key, (0, 0))
            self._finished[key] = before[0] + counts[0], before[1] + counts[1]

    def forget(self, tally: Tally) -> None:
        """Observe a client no more; what it counted stays."""
        with self._lock:
            if self._tallies.pop(tally.client, None) is not None:
                self.settle(tally)

    def _sweep(self) -> None:
        with self._lock:
            while self._gone:
                tally = self._tallies.get(self._gone.popleft())
                if tally is not None:
                    self.forget(tally)

    def _sent(self, options: CallbackOptions) -> Iterable[Observation]:
        return self._observed(0)

    def _received(self, options: CallbackOptions) -> Iterable[Observation]:
        return self._observed(1)

    def _observed(self, which: int) -> Iterator[Observation]:
        self._sweep()
        with self._lock:
            totals = {key: counts[which] for key, counts in self._finished.items()}
            for tally in self._tallies.values():
                key = _key(tally.attributes)
                totals[key] = totals.get(key, 0) + tally.counts()[which]
        for key, total in totals.items():
            yield Observation(total, dict(key))

    def _latency(self, options: CallbackOptions) -> Iterator[Observation]:
        """Of several clients with the same attributes the slowest one counts."""
        self._sweep()
        slowest: dict[Key, float] = {}
        with self._lock:
            for tally in self._tallies.values():
                latency = tally.latency()
                if latency is not None:
                    key = _key(tally.attributes)
                    slowest[key] = max(latency, slowest.get(key, 0.0))
        for key, latency in slowest.items():
            yield Observation(latency, dict(key))


def _key(attributes: Attributes) -> Key:
    return tuple(sorted(attributes.items()))


_global: list[Instruments] = []
"""Those of the provider that the application has set, or will set."""
_others: weakref.WeakKeyDictionary[Any, Instruments] = weakref.WeakKeyDictionary()
"""Those of providers that were given as an option."""
_making = threading.Lock()


def instruments_of(provider: MeterProvider | None) -> Instruments:
    """The instruments that all clients of a meter provider share; None = of the one that the application has set.

    Until it has set one, OpenTelemetry hands out a stand-in, whose instruments become real when it does.
    """
    current = get_meter_provider()
    chosen = current if provider is None else provider
    with _making:
        if chosen in _others:
            return _others[chosen]
        if chosen is not current:
            return _others.setdefault(chosen, Instruments(chosen))
        if not _global:
            _global.append(Instruments(current))
        return _global[0]
