"""One client under drill: what is done to it, and what is measured meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..client import Client
from ..errors import IdleTimeout, KeepAliveTimeout, LibwsError
from ..events import AttemptFailed, Connected, Disconnected, Event, Gap, Reconnected, Reopened
from ..machine import State
from ..testing.relay import Relay
from ..types import Message
from .drill_faults import RETRY_AFTER, Fault
from .drill_numbers import Count, Numbers
from .drill_route import Detour, NotDrillable

HEALTHY_AFTER = 30.0
"""The client's own default."""
MOST = 2
"""Connections that a client has at one time, in a move."""


@dataclass(frozen=True)
class Pace:
    """How long things take at most, in seconds."""

    patience: float = 60.0
    """For the client to notice a fault, and again to be READY."""
    watch: float = 3.0
    """To watch the messages before the first fault and after each."""

    @property
    def hold(self) -> float:
        """How long a fault goes on that ends by itself."""
        return self.patience / 6

    def longest(self, faults: Sequence[Fault], close_timeout: float) -> float:
        """Seconds that a whole drill may take. The second patience is for a look without the relay, if it fails."""
        each = sum((self.hold if fault.lasts else self.patience) + self.patience + 3 * self.watch for fault in faults)
        return 2 * self.patience + self.watch + each + 2 * (close_timeout + 1)


@dataclass
class Trial:
    """One fault and what came of it. Times are the loop's."""

    fault: Fault
    began: float
    count: Count
    noticed: str | None = None
    """How it was noticed: the error's class and text."""
    noticed_at: float | None = None
    ready_at: float | None = None
    """When the client was READY again; None if it never was, or never stopped being so."""
    lost: LibwsError | None = None
    """The connection's end, if it ended meanwhile."""
    given_up: bool = False
    """Nobody noticed it in time, so we have ended it."""
    note: str | None = None
    """What is worth telling beside the verdict."""
    problems: list[str] = field(default_factory=list)
    done: bool = False

    @property
    def well(self) -> bool:
        """The client did what it should."""
        return self.done and not self.problems

    @property
    def verdict(self) -> str:
        """In words."""
        if self.problems:
            return "; ".join(self.problems)
        if not self.done:
            return "interrupted"
        return f"ok ({self.note})" if self.note else "ok"

    def judge(self, early: bool) -> None:
        """Everything has happened: add what the counts say.

        Args:
            early: the client came back before it was allowed to.
        """
        count = self.count
        if early:
            self.problems.append(f"it came back before its Retry-After of {RETRY_AFTER} s")
        if count.known and count.missed > count.reported:
            self.problems.append(f"{count.missed - count.reported} missed without a Gap")
        if count.known and count.doubled:
            self.problems.append(f"{count.doubled} came twice; the plugin dedupe takes them out")
        self.done = True


class Drill:
    """Leads a client over a relay and through faults.

    Args:
        arguments: of the client.
        faults: in order.
        number: where the number of a message stands; None = to be found out.
    """

    def __init__(self, arguments: dict[str, Any], faults: Sequence[Fault], pace: Pace, number: str | None) -> None:
        self.pace, self.faults = pace, faults
        self.arguments = arguments
        self.relay = Relay("ws://127.0.0.1:9/", most=MOST)  # aimed anew by each attempt
        self.healthy_after = min(float(arguments.get("healthy_after", HEALTHY_AFTER)), pace.watch)
        self.client = Client(
            **{**arguments, "healthy_after": self.healthy_after, "plugins": [*arguments["plugins"], Detour(self.relay)]}
        )
        self.numbers = Numbers(number)
        self.trials: list[Trial] = []
        self.refusal: str | None = None
        """Why the client cannot be drilled."""
        self.failure: str | None = None
        """Why there was nothing to drill, or why it ended before its time."""
        self.on_event: Callable[[Event], object] = lambda event: None
        """Shows an event."""
        self.on_fault: Callable[[Fault], object] = lambda fault: None
        """Shows that a fault begins."""
        self.on_trial: Callable[[Trial], object] = lambda trial: None
        """Shows what came of a fault."""
        self.on_note: Callable[[str], object] = lambda text: None
        """Shows what the drill has to say."""
        self.attempt = self.connections = self.received = 0
        self.began = self.ended = 0.0
        self._error: LibwsError | None = None
        self._refused_at: float | None = None
        self._changed = asyncio.Event()
        self._reads = asyncio.Event()

    @property
    def longest(self) -> float:
        """Seconds that it may take."""
        return self.pace.longest(self.faults, float(self.arguments.get("close_timeout", 5)))

    @property
    def well(self) -> bool:
        """Every fault was tried, and the client did what it should."""
        return len(self.trials) == len(self.faults) and all(trial.well for trial in self.trials)

    async def run(self) -> None:
        """Drill."""
        loop = asyncio.get_running_loop()
        self.began = loop.time()
        self._reads.set()
        try:
            async with asyncio.timeout(self.longest), self.relay:
                await self._run_client()
                if self.failure is not None and not self.trials and self.refusal is None:
                    await self._look_without_relay()
        except TimeoutError:
            self.failure = self.failure or "time is up"
        finally:
            self.ended = loop.time()

    async def _run_client(self) -> None:
        client = self.client
        client.on(Event, self._see)
        opening = asyncio.create_task(client.open())
        await asyncio.sleep(0)  # so that it is no longer IDLE
        reading = asyncio.create_task(self._read())
        try:
            if await self._until(lambda: self.connections > 0):
                await self._watch(loop_time() + self.pace.watch)
                self._learn()
                await self._try_all()
            else:
                self._explain()
        finally:
            self._reads.set()
            self.relay.release()
            try:
                await client.close()
            finally:
                opening.cancel()
                reading.cancel()
                outcomes = await asyncio.gather(opening, reading, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception) and not isinstance(outcome, LibwsError):
                raise outcome

    async def _try_all(self) -> None:
        for fault in self.faults:
            trial = Trial(fault, loop_time(), self.numbers.begin())
            self.trials.append(trial)
            self._refused_at = None
            self.on_fault(fault)
            await (self._bear(trial) if fault.lasts else self._suffer(trial))
            if trial.ready_at is not None:
                await self._watch_messages(trial, trial.ready_at)
            trial.judge(self._came_early(trial))
            self.on_trial(trial)
            if self.client.state is not State.READY:
                self.failure = "the client did not come back, so the rest was not tried"
                return

    async def _suffer(self, trial: Trial) -> None:
        """A fault that no connection survives."""
        trial.fault.inflict(self.relay)
        if not await self._until(lambda: trial.noticed_at is not None):
            trial.given_up = True
            if self._over:
                trial.problems.append(f"the client has failed: {self._error}")
                return
            trial.problems.append(f"not noticed in {self.pace.patience:g} s")
            self.relay.drop(reset=True)
        if not await self._until(lambda: trial.ready_at is not None):
            what = f"the client has failed: {self._error}" if self._over else f"not READY in {self.pace.patience:g} s"
            trial.problems.append(what)

    async def _bear(self, trial: Trial) -> None:
        """A fault that ends by itself."""
        hold = trial.began + self.pace.hold
        slow = trial.fault.name == "slow-consumer"
        if slow:
            self._reads.clear()
        trial.fault.inflict(self.relay)
        await self._watch(hold)
        self.relay.release()
        self._reads.set()
        if trial.lost is None:
            await self._watch(loop_time() + self.pace.watch)
        if trial.lost is not None:
            if not await self._until(lambda: trial.ready_at is not None):
                trial.problems.append("the client did not come back")
            if slow and isinstance(trial.lost, KeepAliveTimeout | IdleTimeout):
                trial.problems.append("it blamed the peer while we were not reading")
            return
        stalled = self.relay.stalled_at
        if not slow:
            trial.note = f"borne for {self.pace.hold:.3g} s"
        elif stalled is not None and stalled >= trial.began:
            trial.note = f"the server was held up after {stalled - trial.began:.1f} s"
        else:
            trial.note = f"the inbox did not fill in {self.pace.hold:.3g} s"

    async def _watch_messages(self, trial: Trial, ready_at: float) -> None:
        """See the messages come again, so that it is known which are missing."""
        before, watch = self.received, self.pace.watch
        await self._watch(ready_at + watch)
        if trial.count.known and not await self._until(lambda: self.received > before, watch):
            trial.problems.append(f"READY, but no message in {2 * watch:g} s")

    def _came_early(self, trial: Trial) -> bool:
        """Whether the client dialed again before the Retry-After of our 429 was over."""
        refused = self._refused_at
        if trial.fault.name != "429" or refused is None:
            return False
        return any(refused < arrival < refused + RETRY_AFTER for arrival in self.relay.arrivals)

    def _learn(self) -> None:
        given = self.numbers.path is not None
        self.numbers.learnt()
        if self.numbers.path is None:
            self.on_note("the messages are not numbered as far as can be seen, so missed and doubled are unknown")
        elif not given:
            self.on_note(f"the messages are numbered: {self.numbers.path}")

    def _explain(self) -> None:
        """It was never READY."""
        if isinstance(self._error, NotDrillable):
            self.refusal = str(self._error)
        problem = f" ({self.relay.problem})" if self.relay.problem is not None else ""
        reason = f": {self._error}{problem}" if self._error is not None else ""
        self.failure = f"the client was never READY{reason}"

    async def _look_without_relay(self) -> None:
        """Does the client get in without the relay? Then its log-in does not go over one, whatever it is."""
        client = Client(**self.arguments)
        self.on_note("it was not READY over the relay; trying once without")
        try:
            async with asyncio.timeout(self.pace.patience):
                await client.open()
        except (LibwsError, TimeoutError):
            return
        finally:
            await client.close()
        self.refusal = "the server lets the client in directly, but not over a relay: its log-in is signed or bound"

    # What the client tells

    def _see(self, event: Event) -> None:
        self.attempt = event.attempt
        trial = self.trials[-1] if self.trials and not self.trials[-1].done else None
        if isinstance(event, AttemptFailed | Disconnected):
            self._error = event.error
            if isinstance(event, AttemptFailed) and event.error.status == 429:
                self._refused_at = event.monotonic
        if trial is not None:
            self._note_down(trial, event)
        if isinstance(event, Connected | Reconnected | Reopened):
            self.connections += 1
        self.on_event(event)
        self._changed.set()

    def _note_down(self, trial: Trial, event: Event) -> None:
        if isinstance(event, Disconnected):
            trial.lost = event.error
            trial.ready_at = None
        if trial.noticed_at is None and not trial.given_up and trial.fault.shows(event):
            assert isinstance(event, AttemptFailed | Disconnected)
            trial.noticed, trial.noticed_at = f"{type(event.error).__name__}: {event.error}", event.monotonic
        if isinstance(event, Reconnected) and (trial.noticed_at is not None or trial.given_up):
            trial.ready_at = event.monotonic

    async def _read(self) -> None:
        async for item in self.client.stream(markers=True):
            await self._reads.wait()
            if isinstance(item, Gap):
                self.numbers.gap()
            elif isinstance(item, Message):
                self.received += 1
                self.numbers.take(item)
                self._changed.set()

    # Waiting

    @property
    def _over(self) -> bool:
        return self.client.state in (State.FAILED, State.CLOSED)

    async def _until(self, true: Callable[[], bool], limit: float | None = None) -> bool:
        """Wait until something is so; looked at with each event and message. False: it is not, in `patience`."""
        try:
            async with asyncio.timeout(self.pace.patience if limit is None else limit):
                while not true():
                    if self._over:
                        return False
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _watch(self, until: float) -> None:
        """Let things go on until that moment of the loop, or until the client has ended."""
        try:
            async with asyncio.timeout_at(until):
                while not self._over:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass


def loop_time() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()
