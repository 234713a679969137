"""Reconnect policies that are wrong."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from catching import fails

from libws_core import Failure, chance, hookimpl
from libws_core.testing import ReconnectContract


def right(failure: Failure) -> float:
    """What a policy should answer."""
    longest = min(30.0, 0.5 * 2.0 ** min(failure.count - 1, 10))
    return (failure.error.retry_after or 0.0) + chance.uniform(longest / 2, longest)


class Overflowing:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return right(failure) * min(1.0, 2.0 ** (failure.count - 1))


@fails("test_every_failure_has_an_answer")
class TestOverflowing(ReconnectContract):
    plugin = Overflowing
    name = None


class Endless:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return float("inf") if failure.uptime > 1e6 else right(failure)


@fails("test_every_failure_has_an_answer")
class TestEndless(ReconnectContract):
    plugin = Endless
    name = None


class Early:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return right(failure) - (failure.error.retry_after or 0.0)


@fails("test_retry_after_is_a_floor")
class TestEarly(ReconnectContract):
    plugin = Early
    name = None


class Unseeded:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return right(failure) + random.uniform(0, 1)


@fails("test_the_same_seed_gives_the_same_answers")
class TestUnseeded(ReconnectContract):
    plugin = Unseeded
    name = None


class Even:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return (failure.error.retry_after or 0.0) + min(30.0, float(failure.count))


@fails("test_clients_are_spread")
class TestEven(ReconnectContract):
    plugin = Even
    name = None


class Marking:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        failure.error.seen = True  # type: ignore[attr-defined]
        return right(failure)


@fails("test_a_failure_is_not_changed")
class TestMarking(ReconnectContract):
    plugin = Marking
    name = None


@dataclass(eq=False, kw_only=True)
class Collecting:
    _failures: list[Failure] = field(default_factory=list, init=False, repr=False)

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        self._failures.append(failure)
        return right(failure)


@fails("test_its_state_is_bounded")
class TestCollecting(ReconnectContract):
    plugin = Collecting
    name = None


class Trusting:
    """Takes an accepted handshake for a success."""

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        if failure.phase == "ready" and failure.error.retry_after is None:
            return chance.uniform(0.05, 0.1)
        return right(failure)


@fails("test_a_server_that_drops_at_once_is_not_stormed")
class TestTrusting(ReconnectContract):
    plugin = Trusting
    name = None


class Eager:
    """Takes a refusal for an invitation."""

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        if failure.phase == "dial" and failure.error.retry_after is None:
            return chance.uniform(0.05, 0.1)
        return right(failure)


@fails("test_a_server_that_refuses_is_not_stormed")
class TestEager(ReconnectContract):
    plugin = Eager
    name = None
