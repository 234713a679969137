"""The life of a client: attempts, phases, deadlines, verdicts and events, on the virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import libws_core
from libws_core import (
    STOP,
    AttemptFailed,
    AuthenticationError,
    Client,
    ClientClosed,
    Closed,
    Connected,
    ConnectError,
    Connecting,
    ConnectionClosed,
    ConnectTimeout,
    Disconnected,
    Event,
    Failure,
    Gap,
    HandshakeRejected,
    KeepAliveTimeout,
    LibwsError,
    Message,
    PluginFailed,
    Reconnected,
    Request,
    RetriesExhausted,
    Retrying,
    Session,
    State,
    Verdict,
    hookimpl,
)
from libws_core.testing import START, MemoryDialer, MemoryPeer, cut, greet, leaks, refuse, virtual
from libws_core.types import FIRST_ATTEMPT


class Again:
    """Reconnects after a fixed delay, and remembers each failure."""

    def __init__(self, delay: Any = 1.0, stop_at: int | None = None) -> None:
        self.delay = delay
        self.stop_at = stop_at
        self.failures: list[Failure] = []

    @hookimpl
    def reconnect(self, failure: Failure) -> Any:
        self.failures.append(failure)
        return STOP if len(self.failures) == self.stop_at else self.delay


class Hooks:
    """Answers one hook with a function."""

    def __init__(self, **functions: Callable[..., Any]) -> None:
        for name, function in functions.items():
            setattr(self, name, hookimpl(function))


def make(dialer: object, *plugins: object, **more: Any) -> Client:
    return Client("ws://test/socket", plugins=["-standard", *plugins, dialer], **more)


async def live(client: Client) -> None:
    """Open it and wait for its end."""
    await client.open()
    await client.wait_closed()


def watch(client: Client) -> list[Any]:
    events: list[Any] = []
    client.on(Event, events.append)
    return events


def names(events: list[Any]) -> list[str]:
    return [f"Connecting {each.phase}" if isinstance(each, Connecting) else type(each).__name__ for each in events]


PHASES = [f"Connecting {phase}" for phase in ("resolve", "admit", "authenticate", "dial", "establish")]


def now() -> float:
    return asyncio.get_running_loop().time()


# Events and states


@virtual
async def test_each_step_is_an_event_in_order_with_generation_attempt_and_times() -> None:
    dialer = MemoryDialer().first(refuse(503), cut())
    client = make(dialer, Again(2.0))
    events = watch(client)
    states = [client.state]
    begin = now()
    await client.open()
    states.append(client.state)
    peer = await dialer.accept()
    peer.drop()
    again = await dialer.accept()
    await asyncio.sleep(1)
    await client.close()
    assert [*states, client.state] == [State.IDLE, State.READY, State.CLOSED]
    assert again.closed == Message.close(1000)
    assert names(events) == [
        *PHASES[:4], "AttemptFailed", "Retrying",
        *PHASES[:4], "AttemptFailed", "Retrying",
        *PHASES, "Connected",
        "Disconnected", "Retrying",
        *PHASES, "Gap", "Reconnected",
        "Disconnected", "Closed",
    ]  # fmt: skip
    assert [each.attempt for each in events] == [1] * 6 + [2] * 6 + [3] * 8 + [4] * 9
    assert [each.generation for each in events] == [1] * 20 + [2] * 9
    assert [round(each.monotonic - begin, 6) for each in events] == [0] * 6 + [2] * 6 + [4] * 8 + [6] * 7 + [7] * 2
    assert {each.wall - each.monotonic for each in events} == {START - begin}
    by_name = {type(each).__name__: each for each in events}
    assert by_name["Retrying"].delay == 2.0
    assert by_name["AttemptFailed"].phase == "dial"
    gap = by_name["Gap"]
    assert (gap.why, gap.since, gap.until) == ("reconnect", START + 4, START + 6)
    lost: Any = next(each for each in events if isinstance(each, Disconnected))
    assert (lost.error.code, lost.error.initiator, lost.uptime, lost.unconfirmed) == (1006, "network", 0.0, 0)
    assert (lost.error.phase, lost.error.attempt.number, lost.error.generation) == ("ready", 3, 1)
    last = events[-2]
    assert (last.error.code, last.error.initiator, last.uptime) == (1000, "local", 1.0)
    assert events[-1].error is None
    assert client.stats.reconnects == 1


@virtual
async def test_ready_begins_in_the_turn_in_which_the_last_establish_ends() -> None:
    seen: list[tuple[str, State]] = []

    async def establish(session: Session) -> None:
        await session.recv("welcome")
        seen.append(("established", client.state))
        asyncio.get_running_loop().call_soon(lambda: seen.append(("next turn", client.state)))

    client = make(MemoryDialer(greet("welcome")), Hooks(establish=establish))
    client.on(Connected, lambda event: seen.append(("connected", client.state)))
    async with client:
        pass
    assert seen[:2] == [("established", State.CONNECTING), ("connected", State.READY)]


@virtual
async def test_a_client_opens_once_and_waits_to_be_opened() -> None:
    client = make(MemoryDialer())
    with pytest.raises(RuntimeError, match="open"):
        await client.recv()
    with pytest.raises(RuntimeError, match="open"):
        aiter(client)
    async with client:
        with pytest.raises(RuntimeError, match="opens once"):
            await client.open()
    with pytest.raises(RuntimeError, match="opens once"):
        await client.open()


@virtual
async def test_a_client_that_was_never_opened_can_be_closed_and_is_over() -> None:
    client = make(MemoryDialer())
    events = watch(client)
    await client.close()
    assert client.state is State.CLOSED
    assert names(events) == ["Closed"]
    await client.wait_closed()
    with pytest.raises(ClientClosed):
        await client.recv()
    with pytest.raises(RuntimeError, match="opens once"):
        await client.open()


# What open raises


@virtual
async def test_open_raises_the_fatal_error_itself_and_asks_nobody() -> None:
    policy = Again()
    client = make(MemoryDialer(refuse(403)), policy)
    events = watch(client)
    with pytest.raises(HandshakeRejected) as caught:
        await client.open()
    assert (caught.value.status, caught.value.phase, caught.value.generation) == (403, "dial", 1)
    assert caught.value.attempt is not None
    assert caught.value.attempt.why == "open"
    assert policy.failures == []
    assert client.state is State.FAILED
    assert names(events) == [*PHASES[:4], "AttemptFailed", "Closed"]
    assert events[-1].error is caught.value
    with pytest.raises(HandshakeRejected):
        await client.wait_closed()
    with pytest.raises(HandshakeRejected):
        await client.recv()


@virtual
async def test_open_raises_retries_exhausted_from_the_last_failure() -> None:
    client = make(MemoryDialer(refuse(503), refuse(502)), Again(stop_at=2))
    with pytest.raises(RetriesExhausted) as caught:
        await client.open()
    cause = caught.value.__cause__
    assert isinstance(cause, HandshakeRejected)
    assert (cause.status, caught.value.status, caught.value.phase) == (502, 502, "dial")


@virtual
async def test_a_policy_without_an_opinion_is_a_stop() -> None:
    with pytest.raises(RetriesExhausted):
        await make(MemoryDialer(refuse(503)), Hooks(reconnect=lambda failure: None)).open()


@virtual
async def test_the_first_policy_with_an_opinion_counts() -> None:
    asked: list[str] = []

    def says(name: str, answer: Any) -> Callable[[Failure], Any]:
        def reconnect(failure: Failure) -> Any:
            asked.append(name)
            return answer

        return reconnect

    class Silent(Hooks): ...

    class Last(Hooks): ...

    hooks = (
        Silent(reconnect=says("silent", None)),
        Hooks(reconnect=says("first", 3.0)),
        Last(reconnect=says("last", STOP)),
    )
    client = make(MemoryDialer().first(refuse(503)), *hooks)
    begin = now()
    async with client:
        assert now() - begin == 3.0
    assert asked == ["silent", "first"]


@virtual
async def test_without_a_policy_the_first_failure_is_raised() -> None:
    client = make(MemoryDialer(refuse(503)))
    with pytest.raises(HandshakeRejected):
        await client.open()
    dialer = MemoryDialer()
    client = make(dialer)
    await client.open()
    (await dialer.accept()).close(1012)
    with pytest.raises(ConnectionClosed) as caught:
        await client.recv()
    assert caught.value.code == 1012
    assert client.state is State.FAILED


@virtual
async def test_open_raises_when_the_client_is_closed_meanwhile() -> None:
    dialer = MemoryDialer().hang()
    client = make(dialer, Again())
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    await client.close()
    with pytest.raises(ClientClosed):
        await opening
    assert dialer.hanging == 0


@virtual
async def test_aexit_raises_only_what_its_body_raised() -> None:
    dialer = MemoryDialer(lambda peer: peer.silence())
    with pytest.raises(KeyError):
        async with make(dialer, close_timeout=1):
            raise KeyError("mine")
    dialer = MemoryDialer()
    async with make(dialer) as client:
        (await dialer.accept()).close(1002)
        await asyncio.sleep(1)
        assert client.state is State.FAILED


# Deadlines


async def forever(*_: Any) -> None:
    await asyncio.get_running_loop().create_future()


class TestDeadlines:
    @pytest.mark.parametrize("phase", ["resolve", "authenticate", "dial", "establish"])
    def test_each_phase_has_its_own_deadline(self, phase: str) -> None:
        @virtual
        async def body() -> None:
            async def wait(request: Request) -> None:
                await asyncio.sleep(4)

            async def wait_session(session: Session) -> None:
                await asyncio.sleep(4)

            slow: dict[str, Any] = {"resolve": wait, "authenticate": wait, "establish": wait_session}
            if phase == "dial":
                dialer = MemoryDialer().hang()
            else:
                dialer = MemoryDialer()
                never = (lambda request: forever()) if phase != "establish" else (lambda session: forever())
                slow[phase] = never
            client = make(dialer, Hooks(**slow), open_timeout=5)
            begin = now()
            async with leaks():
                with pytest.raises(ConnectTimeout, match=f"{phase} did not end in time") as caught:
                    await client.open()
            assert caught.value.phase == phase
            before = {"resolve": 0, "authenticate": 4, "dial": 4, "establish": 8}[phase]  # dial shares its 5 seconds
            assert now() - begin == (before if phase != "dial" else 4) + 5
            assert caught.value.verdict is Verdict.RETRY

        body()

    @virtual
    async def test_authenticate_and_dial_share_one_deadline(self) -> None:
        async def authenticate(request: Request) -> None:
            await asyncio.sleep(4)

        begin = now()
        with pytest.raises(ConnectTimeout) as caught:
            await make(MemoryDialer(latency=1.0), Hooks(authenticate=authenticate), open_timeout=5).open()
        assert (caught.value.phase, now() - begin) == ("dial", 5)

    @virtual
    async def test_admit_has_no_deadline(self) -> None:
        async def admit(request: Request) -> None:
            await asyncio.sleep(3600)

        begin = now()
        async with make(MemoryDialer(), Hooks(admit=admit)):
            assert now() - begin == 3600

    @virtual
    async def test_establish_has_its_time_anew_with_each_message_taken_and_each_written(self) -> None:
        async def establish(session: Session) -> None:
            for _ in range(3):
                await asyncio.sleep(4)
                await session.send(Message.text("hello"))
            for _ in range(3):
                await session.recv()

        async def script(peer: MemoryPeer) -> None:
            for _ in range(3):
                await peer.expect("hello")
            for _ in range(3):
                await asyncio.sleep(4)
                peer.send("welcome")
            await peer.wait_gone()

        begin = now()
        async with make(MemoryDialer(script), Hooks(establish=establish), open_timeout=5):
            assert now() - begin == 24

    @virtual
    async def test_what_stages_and_heartbeats_write_gives_establish_no_time(self) -> None:
        def incoming(session: Session) -> Callable[[Message], Message]:
            def answer(message: Message) -> Message:
                session.send(Message.text("ack") if message.data else Message.pong())
                return message

            return answer

        async def beat(session: Session) -> None:
            while True:
                await asyncio.sleep(1)
                await session.send(Message.text("beat"))

        async def establish(session: Session) -> None:
            session.spawn(beat(session))
            await session.recv("never")

        async def script(peer: MemoryPeer) -> None:
            while True:
                peer.send("noise")
                peer.ping()
                await asyncio.sleep(1)

        begin = now()
        with pytest.raises(ConnectTimeout) as caught:
            await make(MemoryDialer(script), Hooks(incoming=incoming, establish=establish), open_timeout=5).open()
        assert (caught.value.phase, now() - begin) == ("establish", 5)

    @virtual
    async def test_extend_moves_the_deadline_and_progress_never_moves_it_back(self) -> None:
        async def establish(session: Session) -> None:
            session.extend(60)
            await session.send(Message.text("this takes a while"))
            await session.recv()

        begin = now()
        with pytest.raises(ConnectTimeout):
            await make(MemoryDialer(), Hooks(establish=establish), open_timeout=5).open()
        assert now() - begin == 60

        async def hurry(session: Session) -> None:
            session.extend(1)
            await session.recv()

        begin = now()
        with pytest.raises(ConnectTimeout):
            await make(MemoryDialer(), Hooks(establish=hurry), open_timeout=5).open()
        assert now() - begin == 1

    @virtual
    async def test_a_plugins_own_timeout_is_not_taken_for_the_phases(self) -> None:
        async def resolve(request: Request) -> None:
            async with asyncio.timeout(1):
                await forever()

        with pytest.raises(PluginFailed, match=r"'hooks' failed in resolve: TimeoutError"):
            await make(MemoryDialer(), Hooks(resolve=resolve)).open()

    @virtual
    async def test_a_plugins_own_connect_timeout_is_its_verdict(self) -> None:
        async def resolve(request: Request) -> None:
            raise ConnectTimeout("no ticket in time")

        policy = Again(stop_at=1)
        with pytest.raises(RetriesExhausted):
            await make(MemoryDialer(), Hooks(resolve=resolve), policy).open()
        assert [(failure.error.text, failure.phase) for failure in policy.failures] == [
            ("no ticket in time", "resolve")
        ]


# The order and the folding of the hooks of an attempt


@virtual
async def test_resolve_and_authenticate_are_folded_from_the_clients_own_request_each_time() -> None:
    def appends(letter: str) -> Callable[..., Any]:
        async def fold(request: Request) -> Request:
            return replace(request, url=request.url + letter)

        return fold

    class First(Hooks): ...

    class Second(Hooks): ...

    class Quiet(Hooks): ...

    dialer = MemoryDialer().first(refuse(503))
    client = make(
        dialer,
        First(resolve=appends("a"), authenticate=appends("c")),
        Quiet(resolve=lambda request: None, authenticate=lambda request: None),
        Second(resolve=appends("b"), authenticate=appends("d")),
        Again(),
        headers={"X-Own": "1"},
        subprotocols=["one"],
    )
    async with client:
        pass
    assert [dial.request.url for dial in dialer.dials] == ["ws://test/socketabcd"] * 2
    request = dialer.dials[1].request
    assert (request.headers["X-Own"], request.subprotocols) == ("1", ("one",))
    assert request.headers["User-Agent"].startswith("libws/")
    assert (request.attempt.number, request.attempt.why) == (2, "open")
    assert request.attempt.failure is not None
    assert isinstance(request.attempt.failure.error, HandshakeRejected)


@virtual
async def test_a_hook_cannot_change_the_attempt() -> None:
    dialer = MemoryDialer().first(refuse(503))
    meddler = Hooks(resolve=lambda request: replace(request, attempt=FIRST_ATTEMPT))
    async with make(dialer, meddler, Again()):
        assert dialer.dials[1].request.attempt.number == 2


@virtual
async def test_no_dialer_for_a_scheme_is_fatal_and_names_the_scheme_and_who_was_asked() -> None:
    class Other(MemoryDialer): ...

    policy = Again()
    client = Client("mqtt://test/", plugins=["-standard", policy, Other(schemes=["ws"]), MemoryDialer(schemes=["wss"])])
    with pytest.raises(ConnectError, match="no dialer takes the URL scheme 'mqtt'; asked: 'other', 'memory-dialer'"):
        await client.open()
    assert policy.failures == []


@virtual
async def test_the_first_dialer_that_answers_has_it() -> None:
    class First(MemoryDialer): ...

    first, second = First(schemes=["ws"]), MemoryDialer()
    async with Client("ws://test/", plugins=["-standard", first, second]):
        assert (first.count, second.count) == (1, 0)
    async with Client("any://test/", plugins=["-standard", first, second]):
        assert (first.count, second.count) == (1, 1)


# The row of failures


@virtual
async def test_failures_are_counted_in_rows_that_end_after_healthy_after() -> None:
    dialer = MemoryDialer()
    policy = Again()
    async with make(dialer, policy, healthy_after=30):
        for uptime in (1, 29.9, 30, 2):
            peer = await dialer.accept()
            await asyncio.sleep(uptime)
            peer.drop()
        await dialer.accept()
    counted: list[Any] = [(failure.count, failure.uptime, failure.phase) for failure in policy.failures]
    assert counted == [
        (1, pytest.approx(1), "ready"),
        (2, pytest.approx(29.9), "ready"),
        (1, pytest.approx(30), "ready"),
        (2, pytest.approx(2), "ready"),
    ]
    assert all(failure.request.url == "ws://test/socket" for failure in policy.failures)


@virtual
async def test_refresh_asks_the_policy_once_then_is_fatal() -> None:
    policy = Again()
    client = make(MemoryDialer(refuse(401), refuse(503), refuse(401)), policy)
    with pytest.raises(HandshakeRejected) as caught:
        await client.open()
    assert [failure.error.verdict for failure in policy.failures] == [Verdict.REFRESH, Verdict.RETRY]
    assert (caught.value.status, caught.value.verdict) == (401, Verdict.FATAL)


@virtual
async def test_a_healthy_connection_allows_another_refresh() -> None:
    dialer = MemoryDialer()
    policy = Again()
    async with make(dialer, policy, healthy_after=30) as client:
        for _ in range(3):
            peer = await dialer.accept()
            await asyncio.sleep(31)
            peer.close(4401)
        await dialer.accept()
        assert client.state is State.READY
        assert {failure.error.verdict for failure in policy.failures} == {Verdict.REFRESH}
        dialer.peers[0].close(4401)
        with pytest.raises(ConnectionClosed, match="4401"):
            await client.wait_closed()


@virtual
async def test_try_again_later_waits_a_second_at_least() -> None:
    dialer = MemoryDialer()
    client = make(dialer, Again(0.0))
    events = watch(client)
    async with client:
        (await dialer.accept()).close(1013)
        await dialer.accept()
    assert [event.delay for event in events if isinstance(event, Retrying)] == [1.0]


FATAL_CODES = {1002, 1003, 1007, 1009, 1010}


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1010, 1011, 1012, 4000, 4999])
def test_the_close_code_decides(code: int) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer, Again())
        async with client:
            (await dialer.accept()).close(code)
            if code in FATAL_CODES:
                with pytest.raises(ConnectionClosed) as caught:
                    await client.recv()
                assert (caught.value.code, caught.value.initiator) == (code, "remote")
                assert client.state is State.FAILED
            else:
                await dialer.accept()
                assert client.state is State.READY

    body()


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((status, "retry") for status in (408, 425, 429, 500, 502, 503, 504, 520, 599)),
        *((status, "fatal") for status in (400, 402, 403, 404, 410, 426, 451, 501, 505)),
        (401, "refresh"),
    ],
)
def test_the_status_decides(status: int, verdict: str) -> None:
    @virtual
    async def body() -> None:
        policy = Again(stop_at=1)
        with pytest.raises(LibwsError) as caught:
            await make(MemoryDialer(refuse(status)), policy).open()
        assert isinstance(caught.value, HandshakeRejected if verdict == "fatal" else RetriesExhausted)
        assert [failure.error.verdict for failure in policy.failures] == ([] if verdict == "fatal" else [verdict])

    body()


@virtual
async def test_a_servers_1000_does_not_end_the_stream() -> None:
    async def script(peer: MemoryPeer) -> None:
        peer.send(str(peer.number))
        await peer.close(1000)

    got = []
    async with make(MemoryDialer(script), Again()) as client:
        async for message in client:
            got.append(message.data)
            if len(got) == 3:
                break
    assert got == ["1", "2", "3"]


@virtual
async def test_what_is_retried_is_logged_as_a_warning_with_the_name(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with make(MemoryDialer().first(refuse(503)), Again(1.5), name="prices"):
            pass
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "libws"
    assert record.getMessage() == "prices: the server refused the handshake with 503; next attempt in 1.5 s"


# adapt_error


class Adapter:
    def __init__(self, answer: Callable[[LibwsError], LibwsError | None]) -> None:
        self.answer = answer
        self.asked: list[tuple[LibwsError, Request]] = []

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        self.asked.append((error, request))
        return self.answer(error)


class SecondAdapter(Adapter): ...


@virtual
async def test_the_first_adapter_that_answers_decides() -> None:
    quiet, strict = Adapter(lambda error: None), SecondAdapter(lambda error: error.but(verdict=Verdict.FATAL))

    class Third(Adapter): ...

    third = Third(lambda error: error)
    policy = Again()
    with pytest.raises(HandshakeRejected) as caught:
        await make(MemoryDialer(refuse(503)), quiet, strict, third, policy).open()
    assert caught.value.verdict is Verdict.FATAL
    assert policy.failures == []
    assert third.asked == []
    assert len(quiet.asked) == len(strict.asked) == 1
    assert quiet.asked[0][1].url == "ws://test/socket"
    assert (caught.value.phase, caught.value.generation) == ("dial", 1)


@virtual
async def test_an_adapter_may_make_a_fatal_error_retried_and_give_another_class() -> None:
    adapter = Adapter(
        lambda error: AuthenticationError("the key is out of date", verdict="retry") if error.status == 403 else None
    )
    dialer = MemoryDialer().first(refuse(403))
    policy = Again()
    client = make(dialer, adapter, policy)
    events = watch(client)
    async with client:
        (await dialer.accept()).close(1009)
        with pytest.raises(ConnectionClosed):
            await client.recv()
    (failed,) = [event for event in events if isinstance(event, AttemptFailed)]
    assert isinstance(failed.error, AuthenticationError)
    assert isinstance(failed.error.__cause__, HandshakeRejected)
    assert (failed.error.phase, failed.error.generation) == ("dial", 1)
    assert policy.failures[0].error is failed.error
    assert [error.phase for error, _ in adapter.asked] == ["dial", "ready"]


@virtual
async def test_our_own_close_is_no_failure() -> None:
    adapter = Adapter(lambda error: None)
    async with make(MemoryDialer(), adapter):
        pass
    assert adapter.asked == []


# Plugins that fail


def raises(*_: Any) -> Any:
    raise KeyError("a bug")


async def raises_later(*_: Any) -> Any:
    await asyncio.sleep(0)
    raise KeyError("a bug")


def one(function: Callable[..., Any], argument: str) -> Callable[..., Any]:
    """A function with the argument that the hook has."""
    if asyncio.iscoroutinefunction(function):
        scope: dict[str, Any] = {"function": function}
        exec(f"async def call({argument}): return await function({argument})", scope)
    else:
        scope = {"function": function}
        exec(f"def call({argument}): return function({argument})", scope)
    return scope["call"]  # type: ignore[no-any-return]


ARGUMENTS = {
    "resolve": "request",
    "admit": "request",
    "authenticate": "request",
    "dial": "request",
    "establish": "session",
    "keep_alive": "session",
    "incoming": "session",
    "outgoing": "session",
    "adapt_error": "error, request",
    "reconnect": "failure",
}


def fails_with(hook: str, function: Callable[..., Any], script: Any = None) -> PluginFailed:
    """The error of a client one of whose plugins answers `hook` so."""

    class Culprit:
        pass

    setattr(Culprit, hook, hookimpl(staticmethod(one(function, ARGUMENTS[hook]))))

    @virtual
    async def body() -> PluginFailed:
        dialer = MemoryDialer(script or greet("hello"))
        async with leaks(settle=10):
            client = make(dialer, Culprit(), *([] if hook == "reconnect" else [Again()]))
            with pytest.raises(PluginFailed) as caught:
                await live(client)
            assert client.state is State.FAILED
        assert caught.value.verdict is Verdict.FATAL
        return caught.value

    return body()


@pytest.mark.parametrize("hook", ["resolve", "admit", "authenticate", "dial", "establish", "incoming", "outgoing"])
@pytest.mark.parametrize("function", [raises, raises_later])
def test_what_a_hook_of_an_attempt_should_not_raise_is_its_plugins_failure(
    hook: str, function: Callable[..., Any]
) -> None:
    if function is raises_later and hook in ("incoming", "outgoing"):
        return  # refused when the client is assembled
    error = fails_with(hook, function)
    assert str(error) == f"plugin 'culprit' failed in {hook}: KeyError: 'a bug'"
    assert isinstance(error.__cause__, KeyError)


@pytest.mark.parametrize("function", [raises, raises_later, lambda session: 5])
def test_keep_alive_that_fails_ends_the_connection(function: Callable[..., Any]) -> None:
    error = fails_with("keep_alive", function)
    assert "'culprit'" in str(error)
    assert "keep_alive" in str(error)
    assert error.phase == "ready"


@pytest.mark.parametrize(
    ("hook", "script"), [("adapt_error", refuse(503)), ("reconnect", refuse(503)), ("reconnect", None)]
)
def test_a_policy_that_fails_ends_the_client(hook: str, script: Any) -> None:
    async def drops(peer: MemoryPeer) -> None:
        peer.drop()

    assert f"plugin 'culprit' failed in {hook}" in str(fails_with(hook, raises, script or drops))


@pytest.mark.parametrize("answer", [float("nan"), -1, float("inf"), "5", True, object()])
def test_reconnect_answers_seconds_or_stop(answer: Any) -> None:
    error = fails_with("reconnect", lambda failure: answer, refuse(503))
    assert "plugin 'culprit' answered reconnect with" in str(error)


@pytest.mark.parametrize("hook", ["adapt_error", "reconnect"])
def test_even_an_error_of_libws_is_a_failure_in_a_hook_that_decides(hook: str) -> None:
    def refuses(*_: Any) -> Any:
        raise ConnectError("not me")

    assert f"plugin 'culprit' failed in {hook}: ConnectError" in str(fails_with(hook, refuses, refuse(503)))


@pytest.mark.parametrize(
    ("hook", "answer", "text"),
    [
        ("resolve", "ws://test/", "answered resolve with str, not a Request"),
        ("authenticate", {}, "answered authenticate with dict, not a Request"),
        ("resolve", Request("ws://"), "answered resolve with a bad URL"),
        ("dial", object(), "answered dial with object, which has no start, write"),
        ("adapt_error", "fatal", "answered adapt_error with str, not a LibwsError"),
    ],
)
def test_a_wrong_answer_is_its_plugins_failure(hook: str, answer: Any, text: str) -> None:
    error = fails_with(hook, lambda *_: answer, refuse(503) if hook == "adapt_error" else None)
    assert f"plugin 'culprit' {text}" in str(error)


@pytest.mark.parametrize(
    ("hook", "made"),
    [
        ("incoming", raises),
        ("incoming", lambda message: 5),
        ("incoming", lambda message: [message, "text"]),
        ("incoming", 5),
        ("outgoing", raises),
        ("outgoing", lambda message: "text"),
        ("outgoing", lambda message: float("nan")),
        ("outgoing", lambda message: -1),
        ("outgoing", 5),
    ],
)
def test_what_incoming_and_outgoing_give_is_their_plugins_too(hook: str, made: Any) -> None:
    class Culprit(Hooks): ...

    @virtual
    async def body() -> None:
        client = make(MemoryDialer(), Culprit(**{hook: lambda session: made}), Again())
        await client.open()
        client_peer = client  # the first message meets the stage
        if hook == "incoming":
            (peer,) = client._supervisor.plan.plugin("memory-dialer").peers
            peer.send("hello")
        else:
            with pytest.raises(PluginFailed, match="plugin 'culprit'"):
                await client_peer.send("hello")
        with pytest.raises(PluginFailed, match=rf"plugin 'culprit' .*{hook}"):
            await client.wait_closed()

    body()


def test_a_hook_that_is_cancelled_by_others_has_failed() -> None:
    async def cancelled(*_: Any) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    assert "failed in resolve: CancelledError" in str(fails_with("resolve", cancelled))


@virtual
async def test_a_libws_error_keeps_its_verdict_and_the_phase_where_it_was_raised() -> None:
    async def establish(session: Session) -> None:
        raise AuthenticationError("no such key", verdict="fatal")

    dialer = MemoryDialer()
    with pytest.raises(AuthenticationError) as caught:
        await make(dialer, Hooks(establish=establish), Again()).open()
    assert (caught.value.phase, caught.value.generation) == ("establish", 1)
    peer = await dialer.accept()
    assert await peer.wait_gone() == 1000  # told, not dropped


@virtual
async def test_what_observe_raises_is_logged_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[Event] = []

    class Other(Hooks): ...

    async with make(
        MemoryDialer(), Hooks(observe=lambda event: raises()), Other(observe=lambda event: seen.append(event))
    ):
        pass
    assert names(seen) == [*PHASES, "Connected", "Disconnected", "Closed"]
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["plugin 'hooks' failed in observe"] * len(seen)


@virtual
async def test_observers_hear_a_plugins_own_events() -> None:
    class Told(Event):
        """An event without any field."""

    seen: list[Event] = []

    async def establish(session: Session) -> None:
        session.emit(Told())

    async with make(MemoryDialer(), Hooks(establish=establish, observe=lambda event: seen.append(event))):
        pass
    (told,) = [event for event in seen if isinstance(event, Told)]
    assert (told.generation, told.attempt, told.wall > 0) == (1, 1, True)


# Losses in the phases


@virtual
async def test_a_loss_in_establish_fails_the_attempt_with_the_connections_own_end() -> None:
    async def establish(session: Session) -> None:
        try:
            await session.recv("welcome")
        except ConnectionClosed:
            raise KeyError("what it made of it") from None

    dialer = MemoryDialer(lambda peer: peer.close(4400) and None)
    client = make(dialer, Hooks(establish=establish), Again(stop_at=2))
    events = watch(client)
    with pytest.raises(RetriesExhausted) as caught:
        await client.open()
    assert isinstance(caught.value.__cause__, ConnectionClosed)
    assert caught.value.code == 4400
    assert names(events).count("AttemptFailed") == 2
    assert "Disconnected" not in names(events)
    failed = next(event for event in events if isinstance(event, AttemptFailed))
    assert (failed.phase, failed.error.phase) == ("establish", "establish")


@virtual
async def test_keep_alive_runs_from_ready_until_the_end_of_its_connection() -> None:
    said: list[str] = []

    async def keep_alive(session: Session) -> None:
        said.append(f"begin {session.request.attempt.generation} {client.state}")
        try:
            await forever()
        finally:
            said.append(f"end {session.request.attempt.generation}")

    class Returns(Hooks): ...

    dialer = MemoryDialer()
    client = make(dialer, Hooks(keep_alive=keep_alive), Returns(keep_alive=lambda session: None), Again())
    async with client:
        (await dialer.accept()).drop()
        await dialer.accept()
        await asyncio.sleep(1)
    assert said == ["begin 1 ready", "end 1", "begin 2 ready", "end 2"]


@virtual
async def test_keep_alive_ends_a_connection_with_its_own_error() -> None:
    async def keep_alive(session: Session) -> None:
        raise KeepAliveTimeout("silent", initiator="local")

    client = make(MemoryDialer(), Hooks(keep_alive=keep_alive))
    await client.open()
    with pytest.raises(KeepAliveTimeout) as caught:
        await client.wait_closed()
    assert caught.value.code == 1006


@virtual
async def test_what_the_core_itself_breaks_is_told_and_no_client_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("libws_core.session.compose_incoming", broken)
    client = make(MemoryDialer(), Again(), close_timeout=1)
    with pytest.raises(LibwsError, match="libws failed: ZeroDivisionError") as caught:
        await client.open()
    assert (caught.value.fault, caught.value.verdict) == ("local", Verdict.FATAL)


# What a client says of itself


@virtual
async def test_what_a_client_knows_of_its_connection() -> None:
    dialer = MemoryDialer(subprotocols=["chat"], headers={"X-Server": "one"}, latency=0.1)
    client = make(dialer, subprotocols=["other", "chat"], name="talk")
    assert (client.subprotocol, len(client.response_headers), client.latency) == (None, 0, None)
    assert repr(client) == "<Client talk IDLE>"
    async with client:
        assert (client.subprotocol, client.response_headers["x-server"]) == ("chat", "one")
        await client.send("hello", confirm=True)
        assert client.latency == pytest.approx(0.2)
        assert client.plugin(MemoryDialer) is dialer
        assert client.plugin("memory-dialer") is dialer
        with pytest.raises(LookupError):
            client.plugin("ping")
    assert repr(client) == "<Client talk CLOSED>"
    explained = client.explain()
    assert explained["hooks"]["dial"] == ["memory-dialer"]
    assert [plugin["name"] for plugin in explained["plugins"]] == ["memory-dialer"]
    assert repr(make(dialer)) == "<Client ws://test/socket IDLE>"


def test_every_name_of_an_event_is_handed_out() -> None:
    for event in (Connected, Reconnected, Retrying, Closed, Gap, Disconnected):
        assert getattr(libws_core, event.__name__) is event
