"""Time and chance in a test's hand: a loop whose time jumps, and chance that can be repeated.

On a `VirtualLoop` nothing waits: when no task can go on, time jumps to the next timer, so an hour of reconnecting takes
milliseconds and happens in the same order each time. The loop's time, `libws_core.clock` and `libws_core.chance` follow
it while it runs, and only then. Real sockets and threads work, but what they bring arrives in the order of the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import math
import random
import selectors
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, ParamSpec, TypeVar, overload

from .. import chance, clock

__all__ = ["START", "Deadlock", "VirtualLoop", "run", "seeded", "virtual"]

T = TypeVar("T")
P = ParamSpec("P")

START = 1767225600.0
"""Wall time at which a virtual clock begins: 2026-01-01 00:00 UTC."""
LIMIT = 7 * 86400.0
"""Seconds of virtual time that a run may take, unless it is given another limit: a week."""
TURNS = 1_000_000
"""Turns of the loop without any progress of time after which the program counts as spinning."""
PATIENCE = 30.0
"""Real seconds to wait for a thread or a socket when there is nothing else to do."""


class Deadlock(AssertionError):
    """The program on a virtual clock can never go on, spins, or has taken more virtual time than it may.

    The text lists the tasks that wait, and where.
    """


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on which time jumps to the next timer when nothing is ready.

    Without arguments it serves as a factory: `asyncio.Runner(loop_factory=VirtualLoop)`.

    Args:
        seed: of the chance that `libws_core.chance` draws from while the loop runs.
        start: wall time at the loop's beginning, seconds since the epoch.
        limit: seconds of virtual time after which `Deadlock` is raised.
    """

    patience = 86400.0
    """Seconds that waits of the kit (`accept`, `recv`, `expect`) last on this loop; virtual ones cost nothing."""

    def __init__(self, *, seed: int = 0, start: float = START, limit: float = LIMIT) -> None:
        super().__init__(_Jump(self))
        self.chance = random.Random(seed)
        """What `libws_core.chance` draws from while this loop runs."""
        self._now = self._began = 1000.0  # not 0: a deadline of 0 would hide `if deadline:`
        self._start = start
        self._limit = limit
        self._turns = 0
        self._numbers = 0
        self._outside = 0
        self._clock_resolution = 1e-9
        self.set_task_factory(_make_task)

    def time(self) -> float:
        """Virtual seconds, from 1000."""
        return self._now

    def wall(self) -> float:
        """Virtual seconds since the epoch; what `libws_core.clock.wall` gives while this loop runs."""
        return self._start + (self._now - self._began)

    def run_forever(self) -> None:
        """Run, with time and chance in the place of the real ones until it ends."""
        before = clock.source, chance.source
        clock.source, chance.source = self.wall, self.chance
        try:
            super().run_forever()
        finally:
            clock.source, chance.source = before

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future whose place in a set does not depend on where it lies in memory."""
        return _Future(loop=self)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run in a thread; time stands still until it is done."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._outside += 1
        future.add_done_callback(self._came_back)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """Wait for the threads; time stands still meanwhile."""
        self._outside += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._outside -= 1

    def _came_back(self, future: asyncio.Future[Any]) -> None:
        self._outside -= 1

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _jump(self, timeout: float | None, sockets: bool) -> float | None:
        """Move time on, and say how many real seconds to wait for the world outside. None = not at all."""
        if timeout is not None and timeout <= 0:
            self._turns += 1
            if self._turns > TURNS:
                self._turns = 0
                raise Deadlock(self._tell(f"time has not moved for {TURNS:,} turns of the loop: something spins"))
            return None
        self._turns = 0
        if self._outside:
            return PATIENCE
        if timeout is None:
            if sockets:
                return PATIENCE
            raise Deadlock(self._tell("deadlock: no task can ever go on, since no timer is set and nothing is ready"))
        # The timer's own moment, not now + timeout, which can round to just before it.
        self._now = max(self._now, min(self._scheduled[0].when(), self._now + timeout))  # type: ignore[attr-defined]
        self._clock_resolution = max(1e-9, 2 * math.ulp(self._now))
        if self._now - self._began > self._limit:
            self._limit += self._limit
            raise Deadlock(self._tell(f"still busy after {self._now - self._began:,.0f} virtual seconds"))
        return None

    def _tell(self, text: str) -> str:
        return "\n  ".join([text, *sorted(map(describe_task, asyncio.all_tasks(self)))])


class _Jump(selectors.DefaultSelector):
    """A selector that does not wait: it looks at the real world once, then lets the loop's time jump."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        patience = self._loop._jump(timeout, sockets=len(self.get_map()) > 1)  # one is the loop's own self-pipe
        if patience is None:
            return []
        ready = super().select(patience)
        if not ready:
            text = f"nothing came from a thread or a socket in {patience:.0f} real seconds"
            raise Deadlock(self._loop._tell(text))
        return ready


class _Future(asyncio.Future[Any]):
    """A future with a hash of its own number, so that sets of futures have the same order in each run."""

    def __init__(self, *, loop: VirtualLoop) -> None:
        self._place = loop._number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._place


class _Task(asyncio.Task[Any]):
    """A task with a hash of its own number: a TaskGroup cancels a set of tasks, `asyncio.wait` gives sets."""

    def __init__(self, coroutine: Any, *, loop: VirtualLoop, **more: Any) -> None:
        self._place = loop._number()
        super().__init__(coroutine, loop=loop, **more)

    def __hash__(self) -> int:
        return self._place


def _make_task(
    loop: asyncio.AbstractEventLoop, coroutine: Any, *, context: Context | None = None, **more: Any
) -> _Task:
    assert isinstance(loop, VirtualLoop)
    return _Task(coroutine, loop=loop, context=context, **more)


def describe_task(task: asyncio.Task[Any]) -> str:
    """A task's name and coroutine, and the line at which it waits."""
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", type(coroutine).__name__)
    stack = task.get_stack(limit=1)
    place = f" at {stack[-1].f_code.co_filename.rsplit('/', 1)[-1]}:{stack[-1].f_lineno}" if stack else ""
    return f"task {task.get_name()!r} ({name}) waits{place}"


def run(
    main: Coroutine[Any, Any, T],
    *,
    seed: int = 0,
    start: float = START,
    limit: float = LIMIT,
    debug: bool | None = None,
) -> T:
    """Run a coroutine on a virtual clock, like `asyncio.run`. The same seed gives the same run.

    Args:
        seed: of `libws_core.chance`.
        start: wall time at the beginning, seconds since the epoch.
        limit: seconds of virtual time it may take.
        debug: asyncio's debug mode.

    Raises:
        Deadlock: it can never go on, spins, or takes more virtual time than `limit`.
    """
    factory = functools.partial(VirtualLoop, seed=seed, start=start, limit=limit)
    with asyncio.Runner(debug=debug, loop_factory=factory) as runner:
        return runner.run(main)


@overload
def virtual(function: Callable[P, Coroutine[Any, Any, T]], /) -> Callable[P, T]: ...
@overload
def virtual(
    *, seed: int = 0, start: float = START, limit: float = LIMIT
) -> Callable[[Callable[P, Coroutine[Any, Any, T]]], Callable[P, T]]: ...
def virtual(
    function: Callable[..., Coroutine[Any, Any, Any]] | None = None,
    /,
    *,
    seed: int = 0,
    start: float = START,
    limit: float = LIMIT,
) -> Any:
    """Make a plain test function of an async one: each call runs it on a virtual clock of its own.

    `@virtual` or `@virtual(seed=3)`. It suits pytest, unittest and hypothesis alike and needs no plugin of theirs;
    async fixtures, which live on another loop, do not mix with it.
    """
    if function is None:
        return functools.partial(virtual, seed=seed, start=start, limit=limit)
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"@virtual stands on an async function; {function!r} is none")

    @functools.wraps(function)
    def on_a_virtual_clock(*args: Any, **kwargs: Any) -> Any:
        return run(function(*args, **kwargs), seed=seed, start=start, limit=limit)

    return on_a_virtual_clock


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[random.Random]:
    """Seed `libws_core.chance` for a while, for tests on real time; gives what it draws from."""
    before = chance.source
    chance.source = random.Random(seed)
    try:
        yield chance.source
    finally:
        chance.source = before
