"""A ride: a client with the plugin lives through losses on a virtual clock, and all that becomes of it is noted."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from ...client import Client
from ...errors import LibwsError, PluginFailed
from ...events import AttemptFailed, Closed, Connected, Disconnected, Event, Reconnected
from ...supervisor import GRACE
from ..clock import VirtualLoop, describe_task
from ..connection import Line
from ..leakage import _open_files
from ..memory import MemoryDialer, MemoryPeer
from ..peer import Bell, Unexpected
from . import subject
from .hearing import Heard, hear

if TYPE_CHECKING:
    from .plugin import PluginContract

__all__ = ["Ridden", "fresh", "remains", "ridden", "with_a_silent_server"]

PATIENCE = 86_400.0
"""Virtual seconds in which a client must be READY with a good server: a policy may wait for the morning."""
SETTLE = 2.0
"""Virtual seconds in which tasks and connections end after the client has been closed."""
TIMERS = 120.0
"""Virtual seconds in which timers come to an end, such as one that remembers what a server counts."""
SILENCE = 300.0
"""Virtual seconds in which an attempt at a silent server must have come to something."""
ROUNDING = 1e-6
SHOWN = 12
"""Events that a failure shows, the last ones."""

LOSSES: dict[str, Callable[[MemoryPeer], object]] = {
    "a drop": lambda peer: peer.drop(),
    "a reset": lambda peer: peer.drop(reset=True),
    "a close with 1012": lambda peer: peer.close(1012, "service restart"),
}


@dataclass
class Ridden:
    """What became of a ride."""

    problem: str | None = None
    """Why it did not go as it should."""
    late: str | None = None
    """What took too long in the end."""
    left: list[str] = field(default_factory=list)
    """What was left behind."""
    raised: list[str] = field(default_factory=list)
    """What hooks raised that is no LibwsError."""
    events: list[Event] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    """What the server's script raised."""

    def story(self) -> str:
        """The last events, a line each, and what befell the server's script."""
        lines = [f"  {event!r}" for event in self.events[-SHOWN:]]
        lines += [f"  the server of the test: {type(each).__name__}: {each}" for each in self.failures[:3]]
        return "\n".join(["what happened:", *lines]) if lines else "nothing happened"


_ridden: WeakKeyDictionary[type, Ridden] = WeakKeyDictionary()


def ridden(contract: PluginContract) -> Ridden:
    """The ride of a contract's class; all its tests look at one and the same."""
    known = _ridden.get(type(contract))
    if known is None:
        known = _ridden[type(contract)] = fresh(contract)
    return known


def fresh(contract: PluginContract) -> Ridden:
    """A ride of its own."""
    subject.assembled(contract, MemoryDialer())
    ridden = Ridden()
    threads, files = set(threading.enumerate()), _open_files()
    with hear() as heard:
        try:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(_live(contract, ridden, heard))
        except Exception as error:
            ridden.problem = ridden.problem or f"{type(error).__name__}: {error}"
        gc.collect()
    ridden.left += [
        f"warning {text}" for text in heard.warnings if "ResourceWarning" in text or "never awaited" in text
    ]
    ridden.left += [f"thread {each.name}" for each in threading.enumerate() if each not in threads and each.is_alive()]
    ridden.left += [f"file {what}" for number, what in _open_files().items() if files and files.get(number) != what]
    ridden.raised += [*heard.unhandled, *heard.errors]
    return ridden


async def _live(contract: PluginContract, ridden: Ridden, heard: Heard) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(heard.of_loop)
    dialer = MemoryDialer(contract.server)
    client = contract.client(dialer)
    bell = Bell()
    client.on(Event, ridden.events.append)
    client.on(Event, lambda _: bell.ring())
    using: asyncio.Task[None] | None = None

    async def ready(count: int, when: str) -> None:
        def look() -> bool | None:
            if any(isinstance(event, Closed) for event in ridden.events):
                return False
            return sum(isinstance(event, Connected | Reconnected) for event in ridden.events) >= count or None

        try:
            so = await bell.until(look, PATIENCE, lambda _: "")
        except Unexpected:
            so = False
        if not so:
            error = next(
                (e.error for e in reversed(ridden.events) if isinstance(e, AttemptFailed | Disconnected)), None
            )
            why = f"{type(error).__name__}: {error}" if error is not None else "nothing failed, it just waits"
            raise _NotReady(f"{subject.name_of(contract)!r}: the client is not READY {when}: {why}")

    opening = loop.create_task(client.open())
    opening.add_done_callback(lambda task: task.cancelled() or task.exception())
    try:
        await ready(1, "with a good server")
        await opening
        using = loop.create_task(contract.user(client))
        for place, (name, lose) in enumerate(LOSSES.items(), 2):
            await asyncio.sleep(1)
            for peer in dialer.peers:
                lose(peer)
            await ready(place, f"again after {name}")
        await asyncio.sleep(1)
    except _NotReady as problem:
        ridden.problem = str(problem)
    began = loop.time()
    await client.close()
    took, longest = loop.time() - began, client._supervisor.close_timeout + GRACE
    if took > longest + ROUNDING:
        ridden.late = f"closing took {took:g} s of virtual time, it may take {longest:g} s"
    await asyncio.wait([opening, *([using] if using else [])], timeout=SETTLE)
    ridden.raised += _bugs(ridden.events)
    ridden.failures += dialer.failures
    ridden.left += await remains(client, dialer, {opening, *([using] if using else [])})


class _NotReady(Exception):
    pass


def _bugs(events: list[Event]) -> list[str]:
    """Failures that are a plugin's bug."""
    found = [getattr(event, "error", None) for event in events]
    return list(dict.fromkeys(str(error) for error in found if isinstance(error, PluginFailed)))


async def remains(client: Client, dialer: MemoryDialer, ours: set[asyncio.Task[Any]] | None = None) -> list[str]:
    """What a client that has ended leaves behind; ends the dialer, and the test's own tasks."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(SETTLE)
    found = [f"connection {peer.number}" for peer in dialer.peers]
    found += [f"{dialer.hanging} dials"] * bool(dialer.hanging)
    await dialer._end()
    for task in ours or ():
        task.cancel()
    if ours:
        await asyncio.wait(ours)
    me = asyncio.current_task()
    tasks = sorted(describe_task(task) for task in asyncio.all_tasks() if task is not me)
    found += tasks
    if not tasks and _timers(loop):  # else they are those that the tasks wait for
        await asyncio.sleep(TIMERS)
        found += sorted(f"a timer of {name}" for name in _timers(loop))
    return found


def _timers(loop: asyncio.AbstractEventLoop) -> list[str]:
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    names = [getattr(each._callback, "__qualname__", type(each._callback).__name__) for each in timers]
    return [name for name in names if name != Line._run.__qualname__]


def with_a_silent_server(contract: PluginContract) -> str | None:
    """What is wrong with a client whose server accepts and says nothing; None if nothing is."""

    async def main() -> str | None:
        dialer = MemoryDialer(lambda peer: peer.silence())
        client = contract.client(dialer)
        told: asyncio.Future[Event] = loop_of().create_future()

        def hear_of(event: Event) -> None:
            if isinstance(event, Connected | AttemptFailed | Closed) and not told.done():
                told.set_result(event)

        client.on(Event, hear_of)
        opening = loop_of().create_task(client.open())
        await asyncio.wait([told], timeout=SILENCE)
        problem = None
        if not told.done():
            phase = "" if not dialer.count else f" ({dialer.count} dials)"
            problem = f"{SILENCE:g} s after its begin the attempt is neither READY nor failed{phase}"
        elif (error := getattr(told.result(), "error", None)) is not None and isinstance(error, PluginFailed):
            problem = f"with a silent server {error}"
        await client.close()
        await asyncio.wait([opening], timeout=SETTLE)
        left = await remains(client, dialer, {opening})
        if problem is None and not opening.cancelled() and (error := opening.exception()) is not None:
            problem = None if isinstance(error, LibwsError) else f"open() raised {type(error).__name__}: {error}"
        return problem or (f"left behind with a silent server: {', '.join(left)}" if left else None)

    loop_of = asyncio.get_running_loop
    subject.assembled(contract, MemoryDialer())
    with hear(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main())
