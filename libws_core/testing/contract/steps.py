"""The life of a client, disturbed at one turn of its loop after the other: at each await that it meets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ...client import Client
from ...errors import LibwsError, PluginFailed
from ...machine import State
from ..clock import Deadlock, VirtualLoop
from ..memory import MemoryDialer
from ..script import Step, cut, hang, refuse
from . import ride, subject
from .hearing import hear
from .verdict import leave_out

if TYPE_CHECKING:
    from .plugin import PluginContract

__all__ = ["SteppedLoop", "cancelled", "lost"]

STEPS = 80
"""Turns at which a life is disturbed, spread evenly if it has more; the first ones, where most happens, all."""
LATENCY = 0.05
"""Virtual seconds that a message takes, so that there are turns between any two things."""
READING = 30.0
"""Virtual seconds that the user reads."""

Disturb = Callable[["SteppedLoop", asyncio.Task[Any], MemoryDialer], object]


class SteppedLoop(VirtualLoop):
    """A virtual clock that does something at one of its turns."""

    def __init__(self) -> None:
        super().__init__()
        self.turn = 0
        """Turns so far."""
        self.at = -1
        """The turn before which `act` is called; -1 = never."""
        self.act: Callable[[], object] | None = None

    def _run_once(self) -> None:
        self.turn += 1
        if self.turn == self.at and self.act is not None:
            self.act()
        super()._run_once()  # type: ignore[misc]


def cancelled(contract: PluginContract) -> str | None:
    """Cancel the user's task at each step; gives what went wrong first."""

    def cancel(loop: SteppedLoop, task: asyncio.Task[Any], dialer: MemoryDialer) -> None:
        task.cancel()

    bad: tuple[Step, ...] = (refuse(503), cut(), lambda peer: peer.drop() and None, hang())
    days = {"cancelled": (cancel, (contract.server,)), "cancelled on a bad day": (cancel, bad)}
    return _disturbed(contract, days)


def lost(contract: PluginContract) -> str | None:
    """Lose the connection at each step, in three ways; gives what went wrong first."""

    def drop(loop: SteppedLoop, task: asyncio.Task[Any], dialer: MemoryDialer) -> None:
        for peer in dialer.peers:
            peer.drop()

    def reset(loop: SteppedLoop, task: asyncio.Task[Any], dialer: MemoryDialer) -> None:
        for peer in dialer.peers:
            peer.drop(reset=True)

    def and_fail(loop: SteppedLoop, task: asyncio.Task[Any], dialer: MemoryDialer) -> None:
        dialer.first(refuse(503), cut())
        reset(loop, task, dialer)

    good = (contract.server,)
    ways = {"dropped": drop, "reset": reset, "reset, with two dials that fail": and_fail}
    return _disturbed(contract, {name: (way, good) for name, way in ways.items()})


def _disturbed(contract: PluginContract, days: Mapping[str, tuple[Disturb, tuple[Step, ...]]]) -> str | None:
    """Disturb lives in each of these ways, with these scripts, at each step; gives what went wrong first."""
    subject.assembled(contract, MemoryDialer())
    if ride.ridden(contract).problem is not None:
        leave_out("a good ride fails already, see test_it_gets_ready_again_after_each_loss")
    name = subject.name_of(contract)
    with hear(level=logging.ERROR) as heard:
        for how, (disturb, steps) in days.items():
            _, turns = _once(contract, -1, disturb, steps)
            for at in _spread(turns):
                problem, _ = _once(contract, at, disturb, steps)
                problem = problem or (heard.unhandled[0] if heard.unhandled else None)
                if problem is not None:
                    return f"{name!r}, {how} at turn {at} of {turns}: {problem}"
        gc.collect()
    told = [*heard.unhandled, *(text for text in heard.warnings if "never awaited" in text or "ResourceW" in text)]
    return f"{name!r}, {' or '.join(days)}: {told[0]}" if told else None


def _spread(turns: int) -> list[int]:
    first = STEPS // 2
    if turns <= STEPS:
        return list(range(1, turns + 1))
    rest = [first + round((turns - first) * place / (STEPS - first)) for place in range(1, STEPS - first + 1)]
    return [*range(1, first + 1), *rest]


def _once(contract: PluginContract, at: int, disturb: Disturb, steps: tuple[Step, ...]) -> tuple[str | None, int]:
    """One life, disturbed at that turn; what went wrong, and how many turns it had."""
    turns = 0

    async def main() -> str | None:
        nonlocal turns
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SteppedLoop)
        dialer = MemoryDialer(*steps, latency=LATENCY)
        client = contract.client(dialer)
        task = loop.create_task(_life(contract, client))
        loop.turn, loop.at = 0, at
        loop.act = lambda: disturb(loop, task, dialer)
        if at < 0 and steps != (contract.server,):
            loop.call_later(READING, task.cancel)  # a bad day does not end by itself
        await asyncio.wait([task], timeout=ride.PATIENCE)
        turns = loop.turn
        loop.act = None
        problem = None
        if not task.done():
            problem = f"the user's task has not ended {ride.PATIENCE:g} s later"
            await client._supervisor.abandon()
        left = await ride.remains(client, dialer, {task})
        if problem is None and not task.cancelled():
            problem = _judge(task.exception())
        if problem is None and client.state not in (State.IDLE, State.CLOSED, State.FAILED):
            problem = f"the client is {client.state.upper()}, and has not ended"
        return problem or (f"left behind: {', '.join(left)}" if left else None)

    try:
        with asyncio.Runner(loop_factory=SteppedLoop) as runner:
            return runner.run(main()), turns
    except Deadlock as error:
        return str(error), turns


async def _life(contract: PluginContract, client: Client) -> None:
    """What a user's program does: open, read for a while, close."""
    async with client:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READING):
                await contract.user(client)


def _judge(error: BaseException | None) -> str | None:
    if error is None or (isinstance(error, LibwsError) and not isinstance(error, PluginFailed)):
        return None
    return f"the client ended with {type(error).__name__}: {error}"
