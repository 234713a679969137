"""A live connection as plugins see it: recv, ping, idle, spawn, fail, state, and the stages."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from libws_core import (
    STOP,
    AttemptFailed,
    Client,
    ConnectError,
    ConnectionClosed,
    Control,
    Disconnected,
    Event,
    Failure,
    Gap,
    KeepAliveTimeout,
    Kind,
    LibwsError,
    Message,
    PluginFailed,
    Session,
    State,
    Verdict,
    hookimpl,
)
from libws_core.outbound import HIGH
from libws_core.testing import MemoryDialer, MemoryPeer, by_hand, greet, leaks, virtual


class Again:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return 1.0


class Established:
    """Gives each session's establish to a function of the test, and keeps the sessions."""

    def __init__(self, function: Callable[[Session], Coroutine[Any, Any, Any]] | None = None) -> None:
        self.function = function
        self.sessions: list[Session] = []

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    @hookimpl
    async def establish(self, session: Session) -> None:
        self.sessions.append(session)
        if self.function is not None:
            await self.function(session)


class Staged:
    """Offers a stage of incoming."""

    def __init__(self, make: Callable[[Session], Any]) -> None:
        self.make = make

    @hookimpl
    def incoming(self, session: Session) -> Any:
        return self.make(session)


class StagedToo(Staged): ...


class StagedLast(Staged): ...


def make(dialer: object, *plugins: object, **more: Any) -> Client:
    return Client("ws://test/", plugins=["-standard", *plugins, dialer], **more)


def now() -> float:
    return asyncio.get_running_loop().time()


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def live(client: Client) -> None:
    """Open it and wait for its end."""
    await client.open()
    await client.wait_closed()


async def read(client: Client, count: int) -> list[Any]:
    return [(await client.recv(60)).data for _ in range(count)]


# resumed


@virtual
async def test_where_the_peer_goes_on_after_a_loss_no_gap_is_told() -> None:
    async def establish(session: Session) -> None:
        if (await session.recv()).data == "resumed":
            session.resumed()

    dialer, events = MemoryDialer(greet("welcome", "1"), greet("resumed", "2"), greet("welcome", "3")), []
    client = make(dialer, Established(establish), "backoff")
    client.on(Event, lambda event: events.append(type(event).__name__))
    async with client:
        stream = client.stream(markers=True)
        got = []
        for number in range(3):
            got += [await anext(stream) for _ in range(2 if number == 2 else 1)]
            dialer.peers[-1].drop()
        assert [item.data if isinstance(item, Message) else item.why for item in got] == ["1", "2", "reconnect", "3"]
    assert [name for name in events if name in ("Gap", "Reconnected", "Disconnected")] == [
        "Disconnected", "Reconnected", "Disconnected", "Gap", "Reconnected", "Disconnected",
    ]  # fmt: skip


@virtual
async def test_only_in_establish_can_a_plugin_say_that_nothing_is_missing() -> None:
    asked = Established()
    async with make(MemoryDialer(), asked):
        with pytest.raises(RuntimeError, match="for establish"):
            asked.session.resumed()


# on_end


@pytest.mark.parametrize("when", ["establish", "ready"])
def test_the_end_of_a_connection_is_told_once_with_its_error(when: str, caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def body() -> None:
        ends: list[tuple[str, LibwsError]] = []
        told: list[str] = []

        def broken(error: LibwsError) -> None:
            raise RuntimeError("not my day")

        class Knows:
            @hookimpl
            def adapt_error(self, error: LibwsError) -> LibwsError | None:
                return error.but(retry_after=7.0) if error.code == 1012 else None

        async def establish(session: Session) -> None:
            if session.request.attempt.number > 1:
                return
            session.on_end(broken)
            session.on_end(lambda error: ends.append(("first", error)))
            session.on_end(lambda error: told.extend(type(event).__name__ for event in events))
            if when == "establish":
                await session.recv("never")

        events: list[Event] = []
        dialer, asked = MemoryDialer(), Established(establish)
        client = make(dialer, asked, Knows(), "backoff")
        client.on(Event, events.append)
        async with asyncio.TaskGroup() as group:
            group.create_task(client.open())
            peer = await dialer.accept()
            await asyncio.sleep(1)
            peer.close(1012)
            await dialer.accept()
        (end,) = ends
        assert end[1].code == 1012
        if when == "ready":
            assert end[1].retry_after == 7.0, "as the plugins see it"
            assert told[-1] == "Connected", "the loss is told after it"
        asked.sessions[0].on_end(lambda error: ends.append(("late", error)))
        assert ends[1][0] == "late"
        assert ends[1][1].code == 1012
        await client.close()
        assert len(ends) == 2
        assert "not my day" in caplog.text

    body()


@virtual
async def test_the_end_of_the_old_connection_of_a_move_is_told() -> None:
    ends: list[LibwsError] = []
    asked = Established()
    async with make(MemoryDialer(), asked) as client:
        asked.session.on_end(ends.append)
        assert await asked.session.reopen("old age", overlap=0) is True
        assert [(type(error), error.code) for error in ends] == [(ConnectionClosed, 1000)]
        assert client.state is State.READY


# recv


def test_recv_takes_what_matches_and_leaves_the_rest_in_order() -> None:
    @virtual
    async def body() -> None:
        taken: list[Any] = []

        async def establish(session: Session) -> None:
            taken.append((await session.recv({"op": 10})).json["op"])
            taken.append((await session.recv(lambda message: message.data == b"x")).data)
            taken.append((await session.recv("hello")).data)
            taken.append((await session.recv()).data)

        dialer = MemoryDialer(greet("a", "b", {"op": 1}, {"op": 10}, "hello\n", b"x", "c"))
        async with make(dialer, Established(establish)) as client:
            assert taken == [10, b"x", "hello\n", "a"]
            assert await read(client, 3) == ["b", '{"op":1}', "c"]
            assert client.stats.received == 3

    body()


@virtual
async def test_recv_waits_for_what_comes_and_one_hook_leaves_to_the_next() -> None:
    class Second(Established): ...

    first = Established(lambda session: session.recv("first"))
    second = Second(lambda session: session.recv("second"))

    async def script(peer: MemoryPeer) -> None:
        for text in ("a", "second", "b", "first", "c"):
            await asyncio.sleep(1)
            peer.send(text)
        await peer.wait_gone()

    async with make(MemoryDialer(script), first, second) as client:
        assert await read(client, 3) == ["a", "b", "c"]


@pytest.mark.parametrize("turns", range(5))
def test_a_cancelled_recv_loses_nothing_and_keeps_the_order(turns: int) -> None:
    @virtual
    async def body() -> None:
        got: list[str] = []

        async def establish(session: Session) -> None:
            taking = asyncio.ensure_future(session.recv("c"))
            await asyncio.sleep(1)  # a and b have come
            (peer,) = dialer.peers
            for text in "cd":
                peer.send(text)
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            await asyncio.wait([taking])
            got.extend([] if taking.cancelled() else [taking.result().data])
            await asyncio.sleep(1)

        dialer = MemoryDialer(greet("a", "b"))
        async with make(dialer, Established(establish)) as client:
            assert await read(client, 4 - len(got)) == ["a", "b", "d"] if got else ["a", "b", "c", "d"]

    body()


@virtual
async def test_what_a_cancelled_reader_leaves_goes_to_one_that_waits() -> None:
    async def establish(session: Session) -> None:
        tasks = [asyncio.ensure_future(session.recv()) for _ in range(2)]
        await asyncio.sleep(1)
        (peer,) = dialer.peers
        peer.send("one")
        while not session._held._claimed:  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0)
        tasks[0].cancel()
        assert (await tasks[1]).data == "one"
        assert tasks[0].cancelled()

    dialer = MemoryDialer()
    async with make(dialer, Established(establish)):
        pass


@virtual
async def test_a_match_that_raises_reaches_its_reader() -> None:
    async def establish(session: Session) -> None:
        for _ in range(2):  # once waiting, once over what is there
            with pytest.raises(KeyError):
                await session.recv(lambda message: {}[message.data])
        with pytest.raises(ValueError, match="match"):
            await session.recv(5)

    async with make(MemoryDialer(greet("a")), Established(establish)) as client:
        assert await read(client, 1) == ["a"]


@virtual
async def test_recv_is_for_establish_only() -> None:
    plugin = Established()
    dialer = MemoryDialer()
    async with make(dialer, plugin):
        with pytest.raises(RuntimeError, match="establish"):
            await plugin.session.recv()

    async def spawns(session: Session) -> None:
        session.spawn(session.recv("never"))

    client = make(MemoryDialer(), Established(spawns))
    with pytest.raises(PluginFailed, match=r"session\.recv is for establish"):
        await live(client)


@virtual
async def test_recv_raises_the_end_of_the_connection() -> None:
    errors: list[LibwsError] = []

    async def establish(session: Session) -> None:
        for _ in range(2):
            try:
                await session.recv("never")
            except ConnectionClosed as error:
                errors.append(error)

    with pytest.raises(ConnectionClosed) as caught:
        await make(MemoryDialer(lambda peer: peer.close(4001) and None), Established(establish)).open()
    assert caught.value.code == 4001
    assert errors in ([], [caught.value] * 2)


# ping


@virtual
async def test_ping_gives_the_round_trip() -> None:
    plugin = Established()
    async with make(MemoryDialer(latency=0.25), plugin) as client:
        assert await plugin.session.ping() == 0.5
        assert client.latency == 0.5


@pytest.mark.parametrize("case", ["silent", "full buffer"])
def test_a_ping_without_answer_ends_on_time(case: str) -> None:
    @virtual
    async def body() -> None:
        plugin = Established()
        dialer = MemoryDialer()
        async with make(dialer, plugin, close_timeout=1) as client:
            peer = await dialer.accept()
            peer.silence(reading=case == "silent")
            await client.send(b"x" * (HIGH + 1))
            waiting = asyncio.ensure_future(client.send("waits"))
            begin = now()
            with pytest.raises(KeepAliveTimeout, match="no pong within 7 s"):
                await plugin.session.ping(7)
            assert now() - begin == 7
            assert client.state is State.READY  # whoever pings decides what it means
            with pytest.raises(KeepAliveTimeout, match="no pong within 20 s"):
                await plugin.session.ping()
            peer.drop()
            await asyncio.wait([waiting])

    body()


@virtual
async def test_a_pings_deadline_stands_still_while_we_are_not_reading() -> None:
    def flood(peer: MemoryPeer) -> None:
        for number in range(30):
            peer.send(str(number))

    plugin = Established()
    dialer = MemoryDialer(flood)
    async with make(dialer, plugin, inbox_messages=10) as client:
        await asyncio.sleep(1)
        (peer,) = dialer.peers
        assert peer.paused
        pinging = asyncio.ensure_future(plugin.session.ping(5))
        await asyncio.sleep(100)
        assert not pinging.done()
        await read(client, 30)
        assert await pinging == pytest.approx(100)
        peer.silence()
        begin = now()
        with pytest.raises(KeepAliveTimeout):
            await plugin.session.ping(5)
        assert now() - begin == 5


@virtual
async def test_a_ping_that_is_not_waited_for_any_more_leaves_nothing() -> None:
    plugin = Established()
    dialer = MemoryDialer(lambda peer: peer.silence())
    async with make(dialer, plugin, close_timeout=1):
        pinging = asyncio.ensure_future(plugin.session.ping())
        await asyncio.sleep(1)
        pinging.cancel()
        await asyncio.wait([pinging])
        assert plugin.session.proofs._pings == {}  # type: ignore[attr-defined]


@virtual
async def test_a_ping_ends_with_its_connection() -> None:
    plugin = Established()
    dialer = MemoryDialer()
    async with make(dialer, plugin, Again()) as client:
        peer = await dialer.accept()
        peer.answer_pings = False
        pinging = asyncio.ensure_future(plugin.session.ping())
        await asyncio.sleep(1)
        peer.close(4000)
        with pytest.raises(ConnectionClosed, match="4000"):
            await pinging
        with pytest.raises(ConnectionClosed, match="4000"):
            await plugin.sessions[0].ping()
        await dialer.accept()
        assert client.state is State.READY


# idle and quiet


@pytest.mark.parametrize("tells_bytes", [True, False])
def test_idle_counts_from_the_last_byte_quiet_from_the_last_message(tells_bytes: bool) -> None:
    @virtual
    async def body() -> None:
        def hides(peer: MemoryPeer) -> None:
            if not tells_bytes:
                del peer.connection.received

        plugin = Established()
        if not tells_bytes:

            class Poor(MemoryDialer):
                @hookimpl
                async def dial(self, request: Any) -> Any:
                    connection: Any = await super().dial(request)
                    connection.received = None
                    return connection

            dialer: MemoryDialer = Poor()
        else:
            dialer = MemoryDialer()
        async with make(dialer, plugin):
            peer = await dialer.accept()
            session = plugin.session
            await asyncio.sleep(3)
            assert (session.idle, session.quiet) == (3, 3)
            peer.ping()
            await asyncio.sleep(2)
            if tells_bytes:
                assert (session.idle, session.quiet) == (2, 5)
            peer.send("a")
            await asyncio.sleep(1)
            assert session.quiet == 1

    body()


@virtual
async def test_idle_and_quiet_stand_still_while_we_are_not_reading() -> None:
    async def script(peer: MemoryPeer) -> None:
        for number in range(20):
            peer.send(str(number))
        await peer.wait_gone()

    plugin = Established()
    dialer = MemoryDialer(script)
    async with make(dialer, plugin, inbox_messages=10) as client:
        session = plugin.session
        await asyncio.sleep(50)
        assert session.idle == session.quiet == 0
        assert session.paused_total == 50
        await read(client, 20)
        await asyncio.sleep(7)
        assert session.idle == session.quiet == 7


# state, plugin, spawn, fail


@virtual
async def test_state_is_each_connections_own() -> None:
    class Beat:
        count = 0

    async def counts(session: Session) -> None:
        session.state(Beat).count += 1
        session.state(Beat).count += 1

    plugin = Established(counts)
    dialer = MemoryDialer()
    async with make(dialer, plugin, Again()):
        (await dialer.accept()).drop()
        await dialer.accept()
        await asyncio.sleep(0)
    first, second = plugin.sessions
    assert first.state(Beat) is not second.state(Beat)
    assert (first.state(Beat).count, second.state(Beat).count) == (2, 2)


@virtual
async def test_a_session_knows_its_request_its_answer_and_its_plugins() -> None:
    plugin = Established()
    dialer = MemoryDialer(subprotocols=["chat"], headers={"X-Server": "one"})
    async with make(dialer, plugin, subprotocols=["chat"]):
        session = plugin.session
        assert session.request.url == "ws://test/"
        assert session.request.attempt.generation == 1
        assert (session.subprotocol, session.response_headers["X-Server"]) == ("chat", "one")
        assert session.plugin(Established) is plugin is session.plugin("established")
        with pytest.raises(LookupError):
            session.plugin("nobody")


@virtual
async def test_what_is_spawned_runs_until_the_connection_ends() -> None:
    said: list[str] = []

    async def beats() -> None:
        try:
            await forever()
        finally:
            said.append("ended")

    async def establish(session: Session) -> None:
        task = session.spawn(beats())
        ended = session.spawn(asyncio.sleep(0))
        await ended
        assert not task.done()

    dialer = MemoryDialer()
    async with make(dialer, Established(establish), Again()) as client:
        (await dialer.accept()).drop()
        await dialer.accept()
        assert said == ["ended"]
        assert client.state is State.WAITING or client.state is State.CONNECTING
        await asyncio.sleep(1)
    assert said == ["ended"] * 2


@pytest.mark.parametrize("kind", [KeyError, ConnectionClosed])
@pytest.mark.parametrize("phase", ["establish", "ready"])
def test_what_a_spawned_coroutine_raises_ends_the_connection(kind: type[Exception], phase: str) -> None:
    @virtual
    async def body() -> None:
        error = KeyError("a bug") if kind is KeyError else ConnectionClosed("enough", code=1002)

        async def fails() -> None:
            await asyncio.sleep(1)
            raise error

        async def establish(session: Session) -> None:
            session.spawn(fails())
            if phase == "establish":
                await forever()

        client = make(MemoryDialer(), Established(establish))
        with pytest.raises(LibwsError) as caught:
            await live(client)
        if isinstance(error, KeyError):
            assert isinstance(caught.value, PluginFailed)
            assert "fails" in str(caught.value)
            assert caught.value.__cause__ is error
        else:
            assert caught.value is error
        assert caught.value.phase == phase

    body()


@virtual
async def test_nothing_can_be_spawned_or_sent_on_what_is_over() -> None:
    plugin = Established()
    dialer = MemoryDialer()
    async with make(dialer, plugin, Again()):
        (await dialer.accept()).close(4000)
        await dialer.accept()
        session = plugin.sessions[0]
        with pytest.raises(ConnectionClosed):
            session.spawn(forever())
        with pytest.raises(LibwsError, match="ended before"):
            await session.send(Message.text("late"))
        session.fail(ConnectionClosed("too late"))
        session.extend(5)
        assert await session.reopen("too late") is not True


@pytest.mark.parametrize("code", [None, 4000])
def test_fail_ends_the_connection_with_its_verdict_which_beats_the_close_code(code: int | None) -> None:
    @virtual
    async def body() -> None:
        plugin = Established()
        dialer = MemoryDialer()
        failures: list[Failure] = []

        class Policy:
            @hookimpl
            def reconnect(self, failure: Failure) -> Any:
                failures.append(failure)
                return STOP if failure.error.verdict is Verdict.REFRESH else 1.0

        client = make(dialer, plugin, Policy())
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with client:
            peer = await dialer.accept()
            error = ConnectionClosed("the session is invalid", code=1009, verdict="retry")
            plugin.session.fail(error, code)
            plugin.session.fail(ConnectionClosed("not twice"), code)
            assert client.state is State.WAITING
            assert await peer.wait_gone() == (code or 1006)
            await dialer.accept()
            assert [failure.error for failure in failures] == [event.error for event in lost] == [error]
        with pytest.raises(TypeError):
            plugin.session.fail("text")  # type: ignore[arg-type]

    body()


@virtual
async def test_after_fail_nothing_more_arrives_and_a_silent_peer_is_dropped() -> None:
    plugin = Established()
    dialer = MemoryDialer()
    async with make(dialer, plugin, Again(), close_timeout=5) as client:
        peer = await dialer.accept()
        peer.silence()
        peer.send("before")
        assert await read(client, 1) == ["before"]
        plugin.session.fail(ConnectionClosed("enough"), 4000)
        peer.send("behind")
        again = await dialer.accept()
        await asyncio.sleep(0)
        assert peer.gone  # the next attempt waits for nobody
        again.send("next")
        assert await read(client, 1) == ["next"]
    client = make(dialer, plugin, close_timeout=5)
    async with leaks(settle=10):
        await client.open()
        peer = await dialer.accept()
        peer.silence()
        begin = now()
        plugin.session.fail(ConnectionClosed("enough"), 4000)
        await peer.wait_gone()
        assert now() - begin <= 5


@virtual
async def test_fail_with_a_code_reads_the_answer_also_when_we_had_paused() -> None:
    def flood(peer: MemoryPeer) -> None:
        for number in range(30):
            peer.send(str(number))

    plugin = Established()
    dialer = MemoryDialer(flood, by_hand())

    class Slow:
        @hookimpl
        def reconnect(self, failure: Failure) -> float:
            return 60

    async with make(dialer, plugin, Slow(), inbox_messages=10) as client:
        await asyncio.sleep(1)
        (peer,) = dialer.peers
        assert peer.paused
        begin = now()
        plugin.session.fail(ConnectionClosed("enough"), 4000)
        assert await peer.wait_gone() == 4000
        while client._supervisor.sessions:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert now() == begin
        assert await read(client, 10) == [str(number) for number in range(10)]


@virtual
async def test_fail_in_establish_fails_the_attempt() -> None:
    async def establish(session: Session) -> None:
        session.fail(ConnectError("not like this", verdict="fatal"), 4000)
        await forever()

    client = make(MemoryDialer(), Established(establish), Again())
    failed: list[AttemptFailed] = []
    client.on(AttemptFailed, failed.append)
    with pytest.raises(ConnectError, match="not like this"):
        await client.open()
    assert [(event.phase, event.error.phase) for event in failed] == [("establish", "establish")]


@virtual
async def test_fail_in_a_hook_that_goes_on_counts_too() -> None:
    def incoming(session: Session) -> None:
        session.fail(ConnectError("at once", verdict="fatal"))

    with pytest.raises(ConnectError, match="at once"):
        await make(MemoryDialer(), Staged(incoming)).open()

    async def establish(session: Session) -> None:
        session.fail(ConnectError("in passing", verdict="fatal"))

    class Second(Established): ...

    second = Second()
    with pytest.raises(ConnectError, match="in passing"):
        await make(MemoryDialer(), Established(establish), second).open()
    assert second.sessions == []


# Stages


def trace(name: str, seen: list[tuple[str, str]]) -> Callable[[Session], Any]:
    def stage(message: Message) -> Message:
        seen.append((name, message.kind.name if message.kind > 2 else message.data))
        return message

    return lambda session: stage


@virtual
async def test_incoming_runs_from_the_wire_to_the_user_and_control_stages_see_control_only() -> None:
    seen: list[tuple[str, str]] = []
    plugins = (
        Staged(trace("user", seen)),
        StagedToo(lambda session: Control(trace("control", seen)(session))),
        StagedLast(trace("wire", seen)),
    )
    dialer = MemoryDialer(greet("first byte"))
    client = make(dialer, *plugins)
    async with client:
        await read(client, 1)
        peer = await dialer.accept()
        peer.ping()
        peer.pong()
        peer.send("data")
        await read(client, 1)
    assert seen == [
        ("wire", "first byte"), ("user", "first byte"),
        ("wire", "PING"), ("control", "PING"), ("user", "PING"),
        ("wire", "PONG"), ("control", "PONG"), ("user", "PONG"),
        ("wire", "data"), ("user", "data"),
        ("wire", "CLOSE"), ("control", "CLOSE"), ("user", "CLOSE"),
    ]  # fmt: skip


@virtual
async def test_a_stage_gives_one_several_none_or_marks() -> None:
    gap = Gap("hole", 1, 0.0, 0.0)

    def decode(message: Message) -> Any:
        if message.kind is Kind.PING:
            return Message.text("a ping as text")
        if message.data == "lines":
            return [Message.text("1"), gap, Message.text("2"), Message.text("none")]
        if message.data == "subclass":
            return type("Mine", (Message,), {})(Kind.TEXT, "mine")
        return message

    def drop(message: Message) -> Message | None:
        return None if message.data in ("none", "drop") else message

    gaps: list[Gap] = []
    dialer = MemoryDialer(greet("a", "lines", "drop", "subclass", Message.ping(b""), "b"))
    client = make(dialer, Staged(lambda session: drop), StagedToo(lambda session: decode))
    client.on(Gap, gaps.append)
    async with client:
        stream = client.stream(markers=True)
        got = [await anext(stream) for _ in range(7)]
        assert [item.data if isinstance(item, Message) else item for item in got] == [
            "a", "1", gap, "2", "mine", "a ping as text", "b",
        ]  # fmt: skip
        assert gaps == [gap]


@virtual
async def test_establish_sees_what_the_stages_made_and_gaps_keep_their_place() -> None:
    def decode(message: Message) -> Any:
        return [Message.text(part) for part in message.data.split()] + [Gap(message.data, 1, 0.0, 0.0)]

    async def establish(session: Session) -> None:
        await session.recv("welcome")

    dialer = MemoryDialer(greet("a welcome b", "c"))
    async with make(dialer, Staged(lambda session: decode), Established(establish)) as client:
        stream = client.stream(markers=True)
        got = [await anext(stream) for _ in range(5)]
        assert [item.data if isinstance(item, Message) else item.why for item in got] == [
            "a", "b", "a welcome b", "c", "c",
        ]  # fmt: skip


@virtual
async def test_a_stage_answers_by_send_which_acts_at_once() -> None:
    def incoming(session: Session) -> Any:
        def stage(message: Message) -> None:
            session.send(Message.text(f"answer to {message.data}"))

        return stage

    dialer = MemoryDialer()
    async with make(dialer, Staged(incoming)):
        peer = await dialer.accept()
        for text in "ab":
            peer.send(text)
        assert [(await peer.recv()).data for _ in range(2)] == ["answer to a", "answer to b"]


@pytest.mark.parametrize("phase", ["establish", "ready"])
@pytest.mark.parametrize("kind", [KeyError, ConnectionClosed])
def test_a_stage_that_raises_gives_the_connection_its_verdict(kind: type[Exception], phase: str) -> None:
    @virtual
    async def body() -> None:
        error = KeyError("a bug") if kind is KeyError else ConnectionClosed("the server says no", verdict="fatal")
        seen: list[Any] = []

        def stage(message: Message) -> Message:
            seen.append(message.data)
            if message.data == "bad":
                raise error
            return message

        async def establish(session: Session) -> None:
            if phase == "establish":
                await session.recv("welcome")

        dialer = MemoryDialer(greet("ok", "bad", "unseen"))
        client = make(dialer, Staged(lambda session: stage), Established(establish), Again())
        with pytest.raises(LibwsError) as caught:
            await live(client)
        assert isinstance(caught.value, PluginFailed) == isinstance(error, KeyError)
        assert caught.value is error or "plugin 'staged' failed in incoming: KeyError" in str(caught.value)
        assert caught.value.phase == phase
        assert seen == ["ok", "bad"]
        if phase == "ready":
            assert await read(client, 1) == ["ok"]

    body()


@virtual
async def test_a_connection_whose_incoming_fails_is_closed_and_leaves_nothing() -> None:
    def refuses(session: Session) -> None:
        raise ConnectError("not this one")

    dialer = MemoryDialer()

    class Twice:
        @hookimpl
        def reconnect(self, failure: Failure) -> Any:
            return 60.0 if failure.count == 1 else STOP

    client = make(dialer, Staged(refuses), Twice())
    opening = asyncio.ensure_future(client.open())
    peer = await dialer.accept()
    assert await peer.wait_gone() == 1000
    while client._supervisor.sessions:  # noqa: ASYNC110
        await asyncio.sleep(0)
    with pytest.raises(LibwsError, match="gave up after 2 failures"):
        await opening
