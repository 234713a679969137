"""The simulator can fail: each of these breaks the core or a plugin on purpose, and some seed notices."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
from ride import Ride

from libws_backoff import Backoff
from libws_core import machine, supervisor
from libws_core.attempt import AttemptRun
from libws_core.errors import KeepAliveTimeout, LibwsError, NotReady
from libws_core.events import Gap
from libws_core.inbox import Inbox
from libws_core.machine import Emit, Machine, Wait
from libws_core.outbound import Outbound
from libws_core.proofs import Proofs
from libws_core.sender import Sender
from libws_core.session import LiveSession
from libws_core.supervisor import Supervisor
from libws_core.testing import SimulationFailed
from libws_ping import Ping

SEEDS = 150

Mutation = Callable[[pytest.MonkeyPatch], None]
MUTATIONS: list[Any] = []


def mutation(expected: str) -> Callable[[Mutation], Mutation]:
    """Add a mutation, and what the failure says."""

    def add(mutate: Mutation) -> Mutation:
        MUTATIONS.append(pytest.param(mutate, expected, id=mutate.__name__))
        return mutate

    return add


@mutation("never got to the user")
def messages_are_swallowed(patch: pytest.MonkeyPatch) -> None:
    put = Inbox.put

    def forgetful(self: Inbox, message: Any) -> None:
        if self.received % 50 != 20:
            put(self, message)
        else:
            self.received += 1

    patch.setattr(Inbox, "put", forgetful)


@mutation("out of order")
def what_was_held_back_is_turned_round(patch: pytest.MonkeyPatch) -> None:
    become_ready = LiveSession.become_ready

    def turned(self: LiveSession) -> None:
        self._held.items = deque(reversed(self._held.items))
        become_ready(self)

    patch.setattr(LiveSession, "become_ready", turned)


@mutation("for the second time")
def what_came_before_ready_is_delivered_twice(patch: pytest.MonkeyPatch) -> None:
    become_ready = LiveSession.become_ready

    def doubled(self: LiveSession) -> None:
        self._held.items.extend(list(self._held.items)[-1:])
        become_ready(self)

    patch.setattr(LiveSession, "become_ready", doubled)


@mutation("has no Gap before it")
def a_gap_is_not_told(patch: pytest.MonkeyPatch) -> None:
    promote = Machine._promote

    def silent(self: Machine, now: float, resumed: bool) -> Any:
        return [each for each in promote(self, now, resumed) if not (isinstance(each, Emit) and each.event is Gap)]

    patch.setattr(Machine, "_promote", silent)


@mutation("lost without a Gap")
def a_gap_has_no_marker_in_the_stream(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Inbox, "mark", lambda self, gap: None)


@mutation("not told of")
def what_is_unconfirmed_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proofs, "unconfirmed", property(lambda self: 0))


@mutation("was confirmed, and the server never read it")
def what_is_written_counts_as_proven(patch: pytest.MonkeyPatch) -> None:
    wrote = Proofs.wrote

    def trusting(self: Proofs, sending: Any) -> None:
        wrote(self, sending)
        self.prove(self.written)

    patch.setattr(Proofs, "wrote", trusting)


@mutation("read 2 times")
def what_is_written_is_written_again(patch: pytest.MonkeyPatch) -> None:
    def step(self: Outbound) -> bool:
        queue = self._normal
        again = queue[0] if queue else None
        went_on = original(self)
        if again is not None and again.done and again.error is None and not self._stopped:
            self._connection.write(again.message)
        return went_on

    original = Outbound._step
    patch.setattr(Outbound, "_step", step)


@mutation("and the server read it")
def what_is_written_is_denied(patch: pytest.MonkeyPatch) -> None:
    send = Sender.send

    async def denying(self: Sender, sending: Any, proof_timeout: float | None) -> None:
        await send(self, sending, proof_timeout)
        if self._supervisor.sent % 10 == 0:
            raise NotReady("not so")

    patch.setattr(Sender, "send", denying)


@mutation("before Retry-After")
def retry_after_is_not_obeyed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "_delay", lambda self, failure: self._longest(failure.count))


@mutation("of a row waits")
def the_delay_does_not_grow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "_longest", lambda self, count: min(self.cap, self.base))


@mutation("of a row waits")
def every_connection_counts_as_a_success(patch: pytest.MonkeyPatch) -> None:
    def trusting(self: Machine, now: float) -> float:
        self._row = 0
        return now - self._ready_at

    patch.setattr(Machine, "_note_health", trusting)


@mutation("of a row waits")
def try_again_later_is_not_heard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine, "LEAST_DELAYS", {})


@mutation("after its time")
def the_next_attempt_comes_early(patch: pytest.MonkeyPatch) -> None:
    act = Supervisor._act

    def hasty(self: Supervisor, action: Any) -> None:
        act(self, Wait(action.delay * 0.9) if isinstance(action, Wait) else action)

    patch.setattr(Supervisor, "_act", hasty)


@mutation("not READY")
def a_phase_has_no_deadline(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AttemptRun, "_deadline", lambda self: asyncio.timeout(None))


@mutation("after the phase began")
def dial_has_a_deadline_of_its_own(patch: pytest.MonkeyPatch) -> None:
    dial = AttemptRun._dial

    async def late(self: AttemptRun, hooks: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        try:
            return await dial(self, hooks)
        except asyncio.CancelledError:
            await asyncio.sleep(0.5)
            raise

    patch.setattr(AttemptRun, "_dial", late)


@mutation("not READY")
def nobody_pings(patch: pytest.MonkeyPatch) -> None:
    async def idle(self: Ping, session: Any, timeout: float) -> None:
        return

    patch.setattr(Ping, "_ask", idle)


@mutation("met no fault")
def a_peer_is_blamed_while_we_do_not_read(patch: pytest.MonkeyPatch) -> None:
    async def blind(self: LiveSession, timeout: float = 20) -> float:
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.proofs.ping(future)
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            raise KeepAliveTimeout("no pong") from None

    patch.setattr(LiveSession, "ping", blind)


@mutation("left behind")
def a_connection_is_forgotten_in_its_closing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Supervisor, "session_gone", lambda self, session: None)


@mutation("left behind")
def a_timer_is_left(patch: pytest.MonkeyPatch) -> None:
    over = LiveSession._over

    def leaving(self: LiveSession, error: LibwsError) -> None:
        over(self, error)
        self._loop.call_later(60.0, self.connection.abort)

    patch.setattr(LiveSession, "_over", leaving)


@mutation("left behind: task")
def tasks_outlive_their_connection(patch: pytest.MonkeyPatch) -> None:
    over = LiveSession._over

    def leaving(self: LiveSession, error: LibwsError) -> None:
        self.tasks.clear()
        over(self, error)

    async def settle(self: Supervisor, deadline: float | None = None) -> None:
        return

    patch.setattr(LiveSession, "_over", leaving)
    patch.setattr(Supervisor, "_settle", settle)


@mutation("open at once")
def a_lost_connection_is_not_aborted(patch: pytest.MonkeyPatch) -> None:
    def polite(self: LiveSession, error: LibwsError, code: int | None = None) -> None:
        if self.error is None:
            self._over(error)

    def begin(self: Supervisor, attempt: Any) -> None:
        sessions, self.sessions = self.sessions, []
        original(self, attempt)
        self.sessions += sessions

    original = Supervisor._begin
    patch.setattr(LiveSession, "fail", polite)
    patch.setattr(Supervisor, "_begin", begin)


@mutation("closing took")
def closing_waits_for_the_answer(patch: pytest.MonkeyPatch) -> None:
    async def patient(session: LiveSession, code: int, reason: str, *bounds: Any) -> None:
        session.close(code, reason)
        await asyncio.wait((session.gone,), timeout=30.0)
        session.drop("after all")

    patch.setattr(supervisor, "close_within", patient)


@mutation("tells of an attempt that had ended")
def an_attempt_is_told_of_twice(patch: pytest.MonkeyPatch) -> None:
    failed = Machine.failed

    def twice(self: Machine, *told: Any) -> Any:
        actions = failed(self, *told)
        return [*actions[:1], *actions]

    patch.setattr(Machine, "failed", twice)


@mutation("its sender was never told")
def a_sender_is_never_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Proofs, "take_unproven", lambda self: [])


@mutation("nobody handled")
def a_callback_raises(patch: pytest.MonkeyPatch) -> None:
    due = Supervisor._due

    def raising(self: Supervisor) -> None:
        due(self)
        raise RuntimeError("on purpose")

    patch.setattr(Supervisor, "_due", raising)


@pytest.mark.parametrize(("mutate", "expected"), MUTATIONS)
def test_a_broken_core_is_caught(mutate: Mutation, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutate(monkeypatch)
    with pytest.raises(SimulationFailed) as caught:
        Ride.check(SEEDS)
    assert expected in str(caught.value).partition("\nagain: ")[0]
    assert caught.value.seed < SEEDS


def test_the_core_that_is_not_broken_passes() -> None:
    Ride.check(SEEDS)
