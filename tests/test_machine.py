"""The life of a client, decided without I/O: no clock, no socket, microseconds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libws_core import STOP, Request, State, Verdict
from libws_core.errors import (
    ClientClosed,
    ConnectError,
    ConnectionClosed,
    LibwsError,
    RetriesExhausted,
)
from libws_core.machine import Action, Ask, Begin, Carry, Emit, Finish, Machine, Moved, Retire, Settle, Wait, Watch

REQUEST = Request("ws://test")
LOST = ConnectionClosed("lost")
ANSWERED = ConnectionClosed("closed", code=1000, initiator="local")
REFUSED = ConnectError("refused")
FATAL = ConnectError("no", verdict=Verdict.FATAL)
REFRESH = ConnectError("who?", verdict=Verdict.REFRESH)


def short(actions: list[Action]) -> list[str]:
    """Actions in short: events by name, others by class and number."""
    said = []
    for action in actions:
        match action:
            case Emit(event, _, _):
                said.append(event.__name__)
            case Begin(attempt):
                said.append(f"begin {attempt.number} {attempt.why}")
            case Ask(failure):
                said.append(f"ask {failure.count}")
            case Wait(delay):
                said.append(f"wait {delay:g}")
            case Carry(number) | Watch(number) | Settle(number) | Retire(number):
                said.append(f"{type(action).__name__.lower()} {number}")
            case Moved(result):
                said.append("moved" if result is True else "not moved")
            case Finish(error):
                said.append("finish" if error is None else f"finish {type(error).__name__}")
    return said


def ready_machine(healthy_after: float = 30) -> Machine:
    """A machine that is READY since time 0."""
    machine = Machine(healthy_after)
    machine.open()
    machine.ready(1, 0.0)
    return machine


def lose(machine: Machine, now: float, error: LibwsError = LOST) -> list[str]:
    assert machine.current is not None
    return short(machine.lost(machine.current.number, error, REQUEST, 0, now))


def fail(machine: Machine, error: LibwsError = REFUSED, now: float = 0.0) -> list[str]:
    assert machine.candidate is not None
    return short(machine.failed(machine.candidate.number, error, "dial", REQUEST, now))


def fields(actions: list[Action], event: str) -> dict[str, Any]:
    (found,) = [action for action in actions if isinstance(action, Emit) and action.event.__name__ == event]
    return found.fields


def test_opening_begins_an_attempt_and_ready_is_told_once() -> None:
    machine = Machine(30)
    assert short(machine.open()) == ["begin 1 open"]
    assert machine.state is State.CONNECTING
    assert short(machine.ready(1, 1.0)) == ["carry 1", "Connected"]
    assert machine.state is State.READY
    assert machine.ready(1, 1.0) == []


def test_a_client_opens_once() -> None:
    machine = Machine(30)
    machine.open()
    with pytest.raises(RuntimeError, match="opens once"):
        machine.open()


def test_a_failed_attempt_asks_waits_and_begins_anew_for_the_same_generation() -> None:
    machine = Machine(30)
    machine.open()
    assert fail(machine) == ["AttemptFailed", "ask 1"]
    assert machine.state is State.WAITING
    assert short(machine.answer(2.0)) == ["Retrying", "wait 2"]
    (begin,) = machine.due()
    assert isinstance(begin, Begin)
    assert (begin.attempt.number, begin.attempt.generation, begin.attempt.why) == (2, 1, "open")
    assert begin.attempt.failure is not None
    assert (begin.attempt.failure.error.text, begin.attempt.failure.count) == ("refused", 1)


def test_a_loss_in_ready_is_disconnected_and_the_next_ready_a_gap_and_reconnected() -> None:
    machine = ready_machine()
    actions = machine.lost(1, LOST, REQUEST, 7, 12.5)
    assert short(actions) == ["Disconnected", "ask 1"]
    assert fields(actions, "Disconnected") == {"error": LOST, "uptime": 12.5, "unconfirmed": 7}
    machine.answer(0)
    assert short(machine.due()) == ["begin 2 reconnect"]
    actions = machine.ready(2, 14.0)
    assert short(actions) == ["Gap", "carry 2", "Reconnected"]
    assert fields(actions, "Gap") == {"why": "reconnect", "since": 12.5, "until": 14.0}
    assert machine.generation == 2


def test_where_the_peer_goes_on_there_is_no_gap() -> None:
    machine = ready_machine()
    lose(machine, 12.5)
    machine.answer(0)
    machine.due()
    assert short(machine.ready(2, 14.0, resumed=True)) == ["carry 2", "Reconnected"]
    lose(machine, 15.0)
    machine.answer(0)
    machine.due()
    assert short(machine.ready(3, 16.0)) == ["Gap", "carry 3", "Reconnected"], "each connection says it for itself"


def test_a_row_of_failures_ends_only_after_healthy_after_in_ready() -> None:
    machine = ready_machine(healthy_after=30)
    for count, uptime in ((1, 0.1), (2, 29.9), (3, 1.0), (1, 30.0), (2, 0.0)):
        now = machine._ready_at + uptime
        assert lose(machine, now)[-1] == f"ask {count}"
        machine.answer(0)
        machine.due()
        machine.ready(machine.number, now)


def test_a_failed_attempt_counts_in_the_row_of_a_loss() -> None:
    machine = ready_machine()
    assert lose(machine, 1.0)[-1] == "ask 1"
    machine.answer(0)
    machine.due()
    assert fail(machine)[-1] == "ask 2"


def test_fatal_ends_the_client_with_the_error_itself_and_asks_nobody() -> None:
    machine = Machine(30)
    machine.open()
    actions = machine.failed(1, FATAL, "dial", REQUEST, 0.0)
    assert short(actions) == ["AttemptFailed", "Closed", "finish ConnectError"]
    assert fields(actions, "Closed") == {"error": FATAL, "unconfirmed": 0}
    assert machine.state is State.FAILED


def test_a_fatal_loss_is_told_before_the_end() -> None:
    machine = ready_machine()
    assert lose(machine, 1.0, FATAL) == ["Disconnected", "Closed", "finish ConnectError"]


@pytest.mark.parametrize("decision", [STOP, None])
def test_a_policy_that_gives_up_exhausts_the_retries(decision: Any) -> None:
    machine = ready_machine()
    lose(machine, 1.0)
    actions = machine.answer(decision)
    assert short(actions) == ["Closed", "finish RetriesExhausted"]
    error = fields(actions, "Closed")["error"]
    assert isinstance(error, RetriesExhausted)
    assert error.__cause__ is LOST
    assert error.code == 1006


def test_without_any_policy_the_failure_itself_ends_the_client() -> None:
    machine = Machine(30)
    machine.open()
    fail(machine)
    assert machine.answer(None, asked=False)[-1] == Finish(REFUSED)


def test_refresh_is_tried_once_then_fatal() -> None:
    machine = Machine(30)
    machine.open()
    assert fail(machine, REFRESH) == ["AttemptFailed", "ask 1"]
    machine.answer(0)
    machine.due()
    actions = machine.failed(2, REFRESH, "dial", REQUEST, 0.0)
    assert short(actions) == ["AttemptFailed", "Closed", "finish ConnectError"]
    assert fields(actions, "Closed")["error"].verdict is Verdict.FATAL


def test_refresh_may_be_tried_again_after_a_healthy_connection() -> None:
    machine = ready_machine(healthy_after=30)
    for now in (1.0, 40.0, 80.0):
        if now > 1.0:
            machine.answer(0)
            machine.due()
            machine.ready(machine.number, now - 35)
        assert lose(machine, now, REFRESH)[-1].startswith("ask")


def test_1013_is_never_retried_at_once() -> None:
    machine = ready_machine()
    lose(machine, 1.0, ConnectionClosed("later", code=1013))
    assert short(machine.answer(0)) == ["Retrying", "wait 1"]
    machine = ready_machine()
    lose(machine, 1.0, ConnectionClosed("later", code=1013))
    assert short(machine.answer(7)) == ["Retrying", "wait 7"]


def test_reconnect_that_could_not_be_asked_ends_the_client() -> None:
    machine = ready_machine()
    lose(machine, 1.0)
    assert short(machine.broken(FATAL)) == ["Closed", "finish ConnectError"]


def test_an_attempt_knows_the_failure_before_it_and_no_older_one() -> None:
    machine = Machine(30)
    (begin,) = machine.open()
    for _ in range(3):
        assert isinstance(begin, Begin)
        request = Request("ws://test", attempt=begin.attempt)
        machine.failed(begin.attempt.number, REFUSED, "dial", request, 0.0)
        machine.answer(0)
        (begin,) = machine.due()
    assert isinstance(begin, Begin)
    assert begin.attempt.failure is not None
    assert begin.attempt.failure.request.attempt == (3, 1, "open", None)


class TestMoves:
    def moving(self) -> Machine:
        machine = ready_machine()
        assert short(machine.reopen("make-first", 5.0)) == ["begin 2 move"]
        assert machine.state is State.REOPENING
        return machine

    def test_the_new_one_carries_before_the_old_one_goes(self) -> None:
        machine = self.moving()
        assert short(machine.ready(2, 6.0)) == ["watch 2"]
        assert short(machine.carries(2, 8.0)) == ["carry 2", "settle 2"]
        assert machine.settled(1) == []
        assert short(machine.settled(2)) == ["retire 1"]
        assert machine.settled(2) == []
        assert machine.state is State.REOPENING
        actions = machine.lost(1, ANSWERED, REQUEST, 0, 9.0)
        assert short(actions) == ["Reopened", "moved"]
        assert fields(actions, "Reopened") == {"overlap": 3.0, "unconfirmed": 0}
        assert machine.state is State.READY

    @pytest.mark.parametrize("settled", [False, True])
    def test_an_old_one_that_did_not_answer_our_close_ends_the_move_too(self, settled: bool) -> None:
        machine = self.moving()
        machine.ready(2, 6.0)
        machine.carries(2, 6.0)
        if settled:
            machine.settled(2)
        actions = machine.lost(1, LOST, REQUEST, 3, 9.0)
        assert short(actions) == ["Reopened", "moved"]
        assert fields(actions, "Reopened") == {"overlap": 3.0, "unconfirmed": 3}
        assert machine.state is State.READY
        assert machine.settled(2) == []

    def test_if_the_new_one_fails_the_old_one_stays_and_the_row_does_not_grow(self) -> None:
        machine = self.moving()
        assert fail(machine) == ["AttemptFailed", "not moved"]
        assert machine.state is State.READY
        assert lose(machine, 7.0)[-1] == "ask 1"

    @pytest.mark.parametrize(("lost_at", "left"), [(10.0, 26.0), (40.0, None)])
    def test_a_retry_after_that_a_move_has_met_counts_when_the_old_one_is_lost(
        self, lost_at: float, left: float | None
    ) -> None:
        machine = self.moving()
        machine.failed(2, ConnectError("busy", retry_after=30.0), "dial", REQUEST, 6.0)
        ask = machine.lost(1, LOST, REQUEST, 0, lost_at)[-1]
        assert isinstance(ask, Ask)
        assert ask.failure.error.retry_after == left
        assert LOST.retry_after is None

    def test_a_new_one_that_is_lost_before_it_carries_leaves_the_old_one(self) -> None:
        machine = self.moving()
        machine.ready(2, 6.0)
        assert short(machine.lost(2, LOST, REQUEST, 0, 7.0)) == ["AttemptFailed", "not moved"]
        assert machine.state is State.READY
        assert machine.current is not None
        assert machine.current.number == 1

    def test_if_the_old_one_dies_while_the_new_one_is_dialed_the_new_one_is_adopted(self) -> None:
        machine = self.moving()
        assert lose(machine, 5.5) == ["Disconnected"]
        assert machine.state is State.CONNECTING
        assert short(machine.ready(2, 6.0)) == ["Gap", "carry 2", "Reconnected", "moved"]

    def test_if_the_old_one_dies_when_the_new_one_is_ready_it_carries_at_once(self) -> None:
        machine = self.moving()
        machine.ready(2, 6.0)
        assert lose(machine, 6.5) == ["Disconnected", "Gap", "carry 2", "Reconnected", "moved"]
        assert machine.state is State.READY

    def test_if_both_die_the_policy_is_asked_about_the_second(self) -> None:
        machine = self.moving()
        lose(machine, 5.5)
        assert fail(machine) == ["AttemptFailed", "not moved", "ask 2"]

    def test_a_new_one_that_is_lost_before_it_has_settled_leaves_the_old_one_to_carry_again(self) -> None:
        machine = self.moving()
        machine.ready(2, 6.0)
        machine.carries(2, 6.0)
        actions = machine.lost(2, FATAL, REQUEST, 3, 50.0)
        assert short(actions) == ["Disconnected", "Gap", "carry 1", "Reconnected", "not moved"]
        assert fields(actions, "Disconnected") == {"error": FATAL, "uptime": 44.0, "unconfirmed": 3}
        assert fields(actions, "Gap") == {"why": "move", "since": 50.0, "until": 50.0}
        assert [action.attempt.number for action in actions if isinstance(action, Emit) and action.attempt] == [2, 1, 1]
        assert machine.state is State.READY
        assert machine.settled(2) == []
        actions = machine.lost(1, LOST, REQUEST, 0, 70.0)
        assert short(actions) == ["Disconnected", "ask 1"]
        assert fields(actions, "Disconnected")["uptime"] == 70.0
        machine.answer(0)
        (begin,) = machine.due()
        assert isinstance(begin, Begin)
        assert (begin.attempt.number, begin.attempt.generation) == (3, 3)

    def test_closing_while_the_new_one_settles_brings_nothing_back(self) -> None:
        machine = self.moving()
        machine.ready(2, 6.0)
        machine.carries(2, 6.0)
        machine.close()
        assert machine.settled(2) == []
        assert lose(machine, 7.0)[-1] == "Disconnected"
        assert machine.lost(1, LOST, REQUEST, 0, 7.5) == []
        assert machine.state is State.CLOSING

    def test_a_new_one_that_is_lost_while_the_old_one_goes_has_moved(self) -> None:
        machine = self.moving()
        machine.ready(2, 6.0)
        machine.carries(2, 6.0)
        machine.settled(2)
        assert lose(machine, 7.0) == ["Reopened", "moved", "Disconnected", "ask 1"]
        assert machine.lost(1, LOST, REQUEST, 0, 7.5) == []

    def test_break_first_closes_then_dials(self) -> None:
        machine = ready_machine()
        assert short(machine.reopen("break-first", 5.0)) == ["retire 1"]
        assert machine.current is None
        assert short(machine.lost(1, LOST, REQUEST, 0, 5.5)) == ["begin 2 move"]
        actions = machine.ready(2, 6.0)
        assert short(actions) == ["Gap", "carry 2", "Reopened", "moved"]
        assert fields(actions, "Gap") == {"why": "move", "since": 5.0, "until": 6.0}

    def test_break_first_that_fails_is_retried_like_a_loss(self) -> None:
        machine = ready_machine()
        machine.reopen("break-first", 5.0)
        machine.lost(1, LOST, REQUEST, 0, 5.5)
        assert fail(machine) == ["AttemptFailed", "not moved", "ask 1"]
        machine.answer(0)
        machine.due()
        assert short(machine.ready(machine.number, 9.0)) == ["Gap", "carry 3", "Reconnected"]

    def test_only_a_ready_client_moves(self) -> None:
        assert Machine(30).reopen("make-first", 0.0) == []
        machine = self.moving()
        assert machine.reopen("make-first", 0.0) == []

    def test_closing_ends_a_move(self) -> None:
        machine = self.moving()
        actions = machine.close()
        assert short(actions) == ["not moved"]
        assert isinstance(actions[0], Moved)
        assert isinstance(actions[0].result, ClientClosed)


class TestClosing:
    def test_of_an_idle_client_is_the_end(self) -> None:
        assert short(Machine(30).close()) == ["Closed", "finish"]

    def test_of_a_ready_client_tells_the_loss_then_the_end(self) -> None:
        machine = ready_machine()
        assert machine.close() == []
        assert machine.state is State.CLOSING
        assert lose(machine, 3.0) == ["Disconnected"]
        actions = machine.closed()
        assert short(actions) == ["Closed", "finish"]
        assert fields(actions, "Closed") == {"error": None, "unconfirmed": 0}

    def test_twice_changes_nothing(self) -> None:
        machine = ready_machine()
        machine.close()
        machine.closed()
        assert machine.close() == machine.closed() == []
        assert machine.state is State.CLOSED

    def test_while_waiting_makes_the_wait_stale(self) -> None:
        machine = ready_machine()
        lose(machine, 1.0)
        machine.answer(5)
        machine.close()
        assert machine.due() == []


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2), st.floats(0, 60)), max_size=40))
def test_whatever_happens_the_machine_keeps_its_promises(steps: list[tuple[int, int, float]]) -> None:
    machine = Machine(30)
    errors = (LOST, REFRESH, ConnectionClosed("later", code=1013))
    alive: set[int] = set()
    now, ended, told = 0.0, 0, []

    def follow(actions: list[Action]) -> None:
        nonlocal ended
        for action in actions:
            assert ended == 0, "nothing happens after the end"
            match action:
                case Emit(event, _, _):
                    told.append(event.__name__)
                case Begin(attempt):
                    assert len(alive) <= 1, "a third connection"
                    alive.add(attempt.number)
                case Wait(delay):
                    assert delay >= 0
                case Finish():
                    ended += 1

    follow(machine.open())
    for what, which, passed in steps:
        now += passed
        error, number = errors[which], max(0, machine.number - which)
        if what == 0 and number in alive:
            follow(machine.ready(number, now))
        elif what in (1, 2) and number in alive:
            alive.discard(number)
            candidate = machine.candidate
            if candidate is not None and candidate.number == number and machine._candidate_ready_at is None:
                follow(machine.failed(number, error, "dial", REQUEST, now))
            else:
                follow(machine.lost(number, error, REQUEST, 0, now))
        elif what == 3:
            follow(machine.answer(passed))
        elif what == 4:
            follow(machine.due())
        elif what == 5:
            follow(machine.reopen("make-first" if which else "break-first", now))
        elif what == 6:
            follow(machine.carries(number, now))
            if passed > 30:
                follow(machine.settled(number))
        elif what == 7 and passed > 55:
            follow(machine.close())
        elif what == 8 and machine.state is State.CLOSING:
            alive.clear()
            follow(machine.closed())
        elif what == 9 and passed > 55:
            follow(machine.answer(STOP))
    assert told.count("Closed") == ended == (machine.state in (State.CLOSED, State.FAILED))
    assert told.count("Connected") <= 1
    ups = told.count("Connected") + told.count("Reconnected")
    assert told.count("Disconnected") <= ups + told.count("Reopened")
    assert machine.state is not State.READY or machine.current is not None
