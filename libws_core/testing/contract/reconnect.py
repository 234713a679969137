"""What a reconnect policy promises."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from copy import copy
from typing import Any

from ...binding import bind
from ...errors import ConnectError, HandshakeRejected, LibwsError
from ...report import Report
from ...types import STOP, Failure
from ..clock import VirtualLoop
from ..memory import MemoryDialer
from ..script import hang, refuse
from . import failures, sharing, subject, unseeded
from .hearing import hear
from .plugin import PluginContract
from .verdict import broken, leave_out

__all__ = ["ReconnectContract"]

FEW = 60
"""Attempts in a minute at a server that lets nobody stay."""
MODEST = 60.0
"""Seconds of a Retry-After that every policy should obey; for longer ones it may have its own bound."""
CLIENTS = 12
"""Clients that lose the same server at once."""
ROW = 10_000
"""Failures in a row after which a policy must not have grown."""
GROWTH = 4_000
"""Objects by which its state may have grown then."""
TOLERANCE = 1e-9


class ReconnectContract(PluginContract):
    """Tests of a plugin that answers `reconnect`: a finite answer to every failure, no storm, the same for one seed.

    ```python
    class TestPatient(ReconnectContract):
        plugin = Patient
        spreads = False  # its delays are not drawn by chance
    ```
    """

    @property
    def spreads(self) -> bool:
        """Its delays differ from client to client, so that those that lost the same server do not return at once."""
        return True

    def test_every_failure_has_an_answer(self) -> None:
        """None, STOP or finite seconds, not negative, for whatever may go wrong; and nothing is raised."""
        for told, answer in self._answers(seed=1):
            if isinstance(answer, BaseException):
                broken(f"reconnect raised {type(answer).__name__}: {answer}\nasked about {_about(told)}")
            if not _is_answer(answer):
                broken(f"reconnect answered {answer!r} to {_about(told)}", "answer None, STOP or finite seconds >= 0")

    def test_retry_after_is_a_floor(self) -> None:
        """Where the server says how long to wait, nobody comes earlier."""
        for seconds in (0.5, 1.0, 7.0, MODEST):
            for count in (1, 2, 5, 100):
                error = HandshakeRejected("too many", status=429, retry_after=seconds)
                for told, answer in self._answers(seed=count, table=[failures.failure(error, self.url, count)]):
                    if _is_delay(answer) and answer < seconds - TOLERANCE:
                        broken(
                            f"reconnect answered {answer:g} s to {_about(told)}",
                            "wait at least failure.error.retry_after seconds",
                        )

    def test_the_same_seed_gives_the_same_answers(self) -> None:
        """Time and chance come from the loop, `libws_core.clock` and `libws_core.chance`, which tests can replace."""
        with unseeded.noted(self.plugin) as used:
            one = self._answers(seed=7)
            other = self._answers(seed=7)
        if used:
            broken(
                f"reconnect uses {', '.join(sorted(used))}",
                "use libws_core.clock.wall, libws_core.chance and asyncio.get_running_loop().time()",
            )
        for (told, first), (_, second) in zip(one, other, strict=True):
            if first != second and not isinstance(first, BaseException):
                broken(
                    f"with the same seed reconnect answered {first!r}, then {second!r}, to {_about(told)}",
                    "draw from libws_core.chance, and keep state in the instance",
                )

    def test_clients_are_spread(self) -> None:
        """Clients that lose one server at once do not return at once."""
        if not self.spreads:
            leave_out("its delays are not drawn, says spreads = False")
        error = ConnectError("no route")
        delays = []
        for seed in range(CLIENTS):
            table = [failures.failure(error, self.url, count) for count in (1, 2, 3)]
            delays.append(tuple(answer for _, answer in self._answers(seed=seed, table=table)))
        if len(set(delays)) < CLIENTS // 2:
            broken(
                f"{CLIENTS} clients got {len(set(delays))} different delays: {delays[0]!r} ...",
                "draw the delay: chance.uniform(low, high) of libws_core; or say spreads = False",
            )

    def test_a_failure_is_not_changed(self) -> None:
        """Hooks never edit what they are given."""
        table = list(failures.table(self.url))
        before = [_contents(told) for told in table]
        self._answers(seed=1, table=table)
        for told, was in zip(table, before, strict=True):
            if _contents(told) != was:
                broken(f"reconnect has changed the failure: {_about(told)}", "copy it: error.but(...), replace(...)")

    def test_its_state_is_bounded(self) -> None:
        """Ten thousand failures in a row leave it as large as a hundred."""
        error = ConnectError("no route")
        row = [failures.failure(error, self.url, count) for count in range(1, ROW + 1)]

        async def main() -> tuple[int, int]:
            plugin = self._made_here()
            answer = _caller(plugin)
            small = 0
            for told in row:
                with contextlib.suppress(Exception):  # which another test tells
                    answer(told)
                if told.count == 100:
                    small = sharing.size(plugin)
            return small, sharing.size(plugin)

        with hear():
            small, large = _run(main(), seed=1)
        if large > small + GROWTH:
            broken(
                f"after {ROW:,} failures its fields hold {large:,} objects, after 100 they held {small:,}",
                "keep what the next answer needs, not what has been",
            )

    def test_a_server_that_drops_at_once_is_not_stormed(self) -> None:
        """An accepted handshake is no success: a server that then drops meets growing delays."""
        self._count("accepts and drops at once", lambda peer: peer.drop() and None)

    def test_a_server_that_refuses_is_not_stormed(self) -> None:
        """A server that refuses meets growing delays."""
        self._count("refuses with 503", refuse(503))

    def _count(self, what: str, step: Any) -> None:
        subject.assembled(self, MemoryDialer())

        async def main() -> int:
            dialer = MemoryDialer(*[step] * (5 * FEW), hang())
            client = self.client(dialer)
            opening = asyncio.get_running_loop().create_task(client.open())
            await asyncio.sleep(60)
            count = dialer.count
            await client.close()
            await asyncio.wait([opening])
            opening.exception()
            await dialer._end()
            return count

        with hear():
            count = _run(main(), seed=1)
        if count > FEW:
            broken(
                f"a server that {what} had {count} attempts in a minute, more than {FEW}",
                "let delays grow with failure.count; failure.uptime says whether a connection was of any use",
            )

    # Asking it

    def _answers(self, seed: int, table: list[Failure] | None = None) -> list[tuple[Failure, Any]]:
        """What a new one answers to a table of failures, one after the other; what it raises is its answer, too."""

        async def main() -> list[tuple[Failure, Any]]:
            answer = _caller(self._made_here())
            found: list[tuple[Failure, Any]] = []
            for told in failures.table(self.url) if table is None else table:
                try:
                    found.append((told, answer(told)))
                except Exception as error:
                    found.append((told, error))
            return found

        with hear():
            found: list[tuple[Failure, Any]] = _run(main(), seed)
        return found

    def _made_here(self) -> Any:
        try:
            return subject.make(self)
        except subject.Unmade as unmade:
            leave_out(f"it cannot be made: {unmade}")


def _run(main: Any, seed: int) -> Any:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(seed=seed)) as runner:
        return runner.run(main)


def _caller(plugin: Any) -> Callable[[Failure], Any]:
    """Its `reconnect`, whatever arguments that takes."""
    hooks = bind([("under test", plugin, None)], Report())["reconnect"]
    if not hooks:
        leave_out("it does not answer reconnect, or cannot be asked")
    return hooks[0].call


def _is_delay(answer: Any) -> bool:
    return isinstance(answer, int | float) and not isinstance(answer, bool)


def _is_answer(answer: Any) -> bool:
    return answer is None or answer is STOP or (_is_delay(answer) and math.isfinite(answer) and answer >= 0)


def _about(told: Failure) -> str:
    error = told.error
    parts = [f"{type(error).__name__} ({error.verdict})", f"failure {told.count} of its row", f"phase {told.phase}"]
    parts += [f"uptime {told.uptime:g} s"] if told.uptime else []
    parts += [f"Retry-After {error.retry_after:g} s"] if error.retry_after is not None else []
    return ", ".join(parts)


def _contents(told: Failure) -> Any:
    error: LibwsError = told.error
    return error, copy(vars(error)), told.request, dict(told.request.extra), told.phase, told.count, told.uptime
