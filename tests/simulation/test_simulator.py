"""The simulator itself: the same seed gives the same trace, and what goes wrong is told."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ride import Ride

from libws_core import (
    Client,
    ConnectionClosed,
    DeliveryUnknown,
    Disconnected,
    Dropped,
    Event,
    Gap,
    HandshakeRejected,
    KeepAliveTimeout,
    LibwsError,
    Message,
    NotReady,
    Reconnected,
    Session,
    hookimpl,
)
from libws_core.testing import Fault, Faults, Feed, Letters, MemoryDialer, Simulation, SimulationFailed, virtual
from libws_core.testing.faults import ATTEMPT, CONNECTION

RIDES = Path(__file__).parent


class Plain(Simulation):
    """The standard plugins, quick."""

    trouble = 10.0

    def client(self) -> Client:
        options = {"ping": {"interval": 0.5, "timeout": 0.5}, "backoff": {"base": 0.1, "cap": 1.0}}
        return Client("ws://test/", plugins=[self.dialer, "-websockets"], options=options, open_timeout=1.0)


class Calm(Plain):
    faults = Faults(kinds=[])
    trouble = 2.0


def failure_of(simulation: type[Simulation], seed: int = 0) -> str:
    with pytest.raises(SimulationFailed) as caught:
        simulation.check([seed])
    return str(caught.value)


def test_a_server_that_resumes_needs_no_gap() -> None:
    class Resumes:
        @hookimpl
        def establish(self, session: Session) -> None:
            if session.request.attempt.why == "reconnect":
                session.resumed()

    class Resumed(Plain):
        faults = Faults(kinds=["reset", "close"])
        reconnects = gaps = 0

        def client(self) -> Client:
            return Client("ws://test/", plugins=[Resumes(), self.dialer, "-websockets"])

        def hear(self, event: Event) -> None:
            Resumed.reconnects += isinstance(event, Reconnected)
            Resumed.gaps += isinstance(event, Gap)

    Resumed.check(seeds=5)
    assert Resumed.reconnects > 5
    assert Resumed.gaps == 0


# The trace


def test_the_same_seed_gives_the_same_trace() -> None:
    for seed in range(20):
        first, second = Ride.play(seed), Ride.play(seed)
        assert first.error is second.error is None
        assert first.trace == second.trace
        assert len(first.trace.splitlines()) > 20


def test_another_seed_gives_another_trace() -> None:
    assert len({Ride.play(seed).trace for seed in range(20)}) == 20


def test_the_trace_is_the_same_in_another_process_whatever_its_hashes_and_addresses() -> None:
    program = "from ride import Ride\nfor seed in range(40): print(Ride.play(seed).trace)"
    found = set()
    for hashes in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        done = subprocess.run(
            [sys.executable, "-c", f"held = [object() for _ in range({hashes})]\n{program}"],
            cwd=RIDES,
            env=environment,
            capture_output=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 10_000
        found.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(found) == 1


def test_the_trace_holds_no_address() -> None:
    for seed in range(20):
        assert not re.search(r"0x[0-9a-f]{6,}", Ride.play(seed).trace)


# What may go wrong


@pytest.mark.parametrize("kind", [*Fault])
def test_each_kind_of_fault_happens_and_is_ridden_out(kind: Fault) -> None:
    class OneKind(Plain):
        faults = Faults(kinds=[kind], attempt=0.7, connection=1.0, lifetime=(0.0, 3.0), lasting=(0.1, 3.0))

    lines = []
    for seed in range(5):
        played = OneKind.play(seed)
        assert played.error is None, f"seed={seed}: {played.text}\n{played.trace}"
        lines += [line for line in played.trace.splitlines() if "  fault  " in line]
    assert lines
    assert all(line.endswith(f": {kind}") for line in lines)


def test_faults_meet_attempts_or_connections() -> None:
    assert (*ATTEMPT, *CONNECTION) == tuple(Fault)
    assert ATTEMPT[-1] is Fault.ESTABLISH_SLOW
    assert CONNECTION[0] is Fault.RESET


def test_kinds_are_named_by_words() -> None:
    assert Faults(kinds=["close", "reset"]).kinds == (Fault.RESET, Fault.CLOSE)
    with pytest.raises(ValueError, match="'meteor' is not a valid Fault"):
        Faults(kinds=["meteor"])


def test_without_faults_nothing_goes_wrong() -> None:
    trace = Calm.play(7).trace
    assert "  fault  " not in trace
    assert "AttemptFailed" not in trace
    assert trace.count("Disconnected") == 1


@virtual
async def test_a_severed_connection_tells_neither_end() -> None:
    async with MemoryDialer() as dialer:
        client = Client("ws://test/", plugins=[dialer, "-websockets"], options={"ping": {"interval": 1, "timeout": 1}})
        opening = asyncio.create_task(client.open())
        peer = await dialer.accept()
        await opening
        peer.send("on its way")
        peer.sever()
        await client.send("into the void")
        peer.resume()
        peer.drop(reset=True)
        lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        client.on(Disconnected, lost.set_result)
        event = await lost
        assert isinstance(event.error, KeepAliveTimeout)
        assert peer.received == 0
        await client.close()
        with pytest.raises(LibwsError):
            await client.recv()


# What is told of a failure


class Grumbling(Calm):
    def verify(self) -> None:
        assert self.seed != 3, "three is not a seed"


def test_a_failing_seed_is_told_with_its_trace_and_how_to_play_it_again() -> None:
    with pytest.raises(SimulationFailed) as caught:
        Grumbling.check(10)
    text = str(caught.value)
    assert caught.value.seed == 3
    assert text.startswith("Grumbling failed with seed=3: three is not a seed")
    assert "Grumbling.play(3), or LIBWS_SEED=3" in text
    assert Grumbling.play(3).trace.splitlines()[-1] in text


def test_the_environment_picks_one_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBWS_SEED", "2")
    Grumbling.check(10)
    monkeypatch.setenv("LIBWS_SEED", "3")
    with pytest.raises(SimulationFailed, match="seed=3"):
        Grumbling.check([5])


def test_a_long_trace_is_cut_in_the_text_only() -> None:
    class Talkative(Calm):
        def verify(self) -> None:
            for number in range(1000):
                self.note(f"line {number}")
            raise AssertionError("too long")

    text = failure_of(Talkative)
    assert "lines before)" in text
    assert "line 999" in text
    assert "line 100\n" not in text
    assert "line 100\n" in Talkative.play(0).trace


def test_a_server_that_raises_is_told() -> None:
    class Broken(Calm):
        async def server(self, peer: Any) -> None:
            raise KeyError("no such topic")

    assert "KeyError: 'no such topic'" in failure_of(Broken)


def test_a_user_who_raises_is_told() -> None:
    class Broken(Calm):
        async def user(self, client: Client) -> None:
            raise KeyError("no such order")

    assert "KeyError: 'no such order'" in failure_of(Broken)


def test_a_user_who_goes_on_for_ever_is_told() -> None:
    class Broken(Calm):
        async def user(self, client: Client) -> None:
            await asyncio.Event().wait()

    assert "the user still waits" in failure_of(Broken)


def test_tasks_and_timers_that_are_left_are_told() -> None:
    class Broken(Calm):
        async def user(self, client: Client) -> None:
            self.left = asyncio.create_task(asyncio.sleep(1000), name="forgotten")
            asyncio.get_running_loop().call_later(1000, print)
            await super().user(client)

    text = failure_of(Broken)
    assert "left behind: task 'forgotten'" in text
    assert "left behind: a timer of print" in text


def test_a_plugin_that_raises_where_nobody_hears_it_is_told() -> None:
    class Deaf:
        @hookimpl
        def observe(self, event: Any) -> None:
            raise KeyError("what event")

    class Broken(Calm):
        def client(self) -> Client:
            return Client("ws://test/", plugins=[Deaf(), self.dialer, "-websockets"])

    assert "plugin" in (text := failure_of(Broken))
    assert "KeyError: 'what event'" in text


class Refused(Plain):
    faults = Faults(kinds=["dial rejected"], attempt=1.0, statuses=[403])


def test_a_client_that_fails_is_told() -> None:
    assert "HandshakeRejected" in failure_of(Refused)


def test_a_client_may_end_with_what_is_expected() -> None:
    class Expected(Refused):
        may_end_with: ClassVar[Any] = (HandshakeRejected,)

    Expected.check(5)


def test_more_connections_than_allowed_are_told() -> None:
    class Mover:
        @hookimpl
        async def keep_alive(self, session: Any) -> None:
            await asyncio.sleep(0.5)
            session.reopen("now and then", overlap=0.1)

    class Moving(Calm):
        connections = 1

        def client(self) -> Client:
            return Client("ws://test/", plugins=[Mover(), self.dialer, "-websockets"])

    assert "2 connections were open at once" in failure_of(Moving)
    Moving.connections = 2
    Moving.check(5)


def test_a_simulation_without_a_client_says_so() -> None:
    assert "say what the client is" in failure_of(Simulation)


# What is accounted for


def told_by(feed: Feed, *stream: Any) -> list[str]:
    for item in stream:
        feed.got(item if isinstance(item, Gap) else Message.text(str(item)))
    return feed.check()


GAP = Gap("reconnect", 2, 0.0, 1.0)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ((5, 6, 7), None),
        ((1, 2, GAP, 9, 10), None),
        ((1, "not a number", 2), None),
        ((1, 2, 4), "lost without a Gap: 3"),
        ((1, GAP, 5, 7), "lost without a Gap: 6"),
        ((1, 2, 2), "2 comes after 2"),
        ((1, 2, GAP, 2), "2 comes after 2"),
        ((1, 3, 2), "2 comes after 3"),
    ],
)
def test_a_feed_tells_what_is_lost_or_out_of_order(stream: Any, expected: str | None) -> None:
    found = told_by(Feed(), *stream)
    assert found == [] if expected is None else any(expected in text for text in found)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        ((1, 2, 3, 2, 3, 4), None),
        ((1, 2, 3, GAP, 2, 3, 9), "lost without a Gap"),
        ((1, 2, 3, 1, 3), "3 comes after 1: out of order"),
    ],
)
def test_a_doubled_feed_may_begin_again(stream: Any, expected: str | None) -> None:
    found = told_by(Feed(doubled=True), *stream)
    assert found == [] if expected is None else any(expected in text for text in found)


def test_what_is_dropped_and_told_is_no_fault() -> None:
    feed = Feed()
    feed.hear(Dropped(1, "no room"))
    assert told_by(feed, 1, 3) == []
    assert told_by(feed, 6) == ["lost without a Gap: 2, 4, 5, 1 were dropped and told"]


class _Answers:
    """A client whose sends end as they are told to."""

    def __init__(self, *answers: LibwsError | None) -> None:
        self.answers = list(answers)

    async def send(self, *_: Any, **__: Any) -> None:
        answer = self.answers.pop(0)
        if answer is not None:
            raise answer


@virtual
async def test_letters_tell_what_senders_were_not_told() -> None:
    async def sent(letters: Letters, answer: LibwsError | None = None, **how: Any) -> str:
        client: Any = _Answers(answer)
        return await letters.send(client, **how)

    def arrive(letters: Letters, *numbers: int, connection: int = 1) -> None:
        for number in numbers:
            assert letters.arrived(connection, Message.text(f"letter {number}"))

    letters = Letters()
    assert not letters.arrived(1, Message.text("hello"))
    assert await sent(letters) == "written"
    assert await sent(letters, confirm=True) == "confirmed"
    assert await sent(letters, NotReady("not now")) == "NotReady"
    assert await sent(letters, DeliveryUnknown("who knows"), confirm=True) == "DeliveryUnknown"
    arrive(letters, 1, 2)
    assert letters.check() == []
    arrive(letters, 4, connection=2)
    assert letters.check() == []
    arrive(letters, 3, connection=3)
    assert letters.check() == [
        "letter 3: NotReady, and the server read it",
        "connection 3 got letter 3, an older one had 4",
    ]

    unread = Letters()
    await sent(unread)
    await sent(unread, confirm=True)
    assert unread.check() == [
        "letter 2 was confirmed, and the server never read it",
        "written, never read, and not told of: 1 letters, 0 unconfirmed",
    ]

    doubled = Letters()
    await sent(doubled, idempotent=True, confirm=True)
    await sent(doubled)
    arrive(doubled, 1)
    arrive(doubled, 1, 2, connection=2)
    assert doubled.check() == []
    arrive(doubled, 2, connection=3)
    assert doubled.check() == ["letter 2 was read 2 times"]

    with pytest.raises(ConnectionClosed):
        await sent(Letters(), ConnectionClosed("what the sender should never get"))


# The program


def test_the_program_runs_seeds_in_processes_and_shows_one() -> None:
    def program(*arguments: str) -> str:
        command = [sys.executable, str(RIDES), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert re.fullmatch(r"31 seeds in [\d.]+ s, every promise was kept\n", program("--seeds", "31"))
    shown = program("--seed", "6")
    assert shown.startswith(Ride.play(6).trace)
    assert shown.endswith("seed=6: every promise was kept\n")


def test_the_program_tells_of_seeds_that_fail(capsys: pytest.CaptureFixture[str]) -> None:
    program: dict[str, Any] = runpy.run_path(str(RIDES / "__main__.py"))
    program["RIDES"]["all"] = [Grumbling]
    assert program["run"]("all", range(3)) == 0
    assert program["run"]("all", range(6)) == 1
    assert "Grumbling failed with seed=3" in capsys.readouterr().out
