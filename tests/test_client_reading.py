"""Reading: order, one reader, handlers, markers, and an inbox whose bounds stop the server and lose nothing."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    Client,
    ClientClosed,
    Connected,
    ConnectionClosed,
    Dropped,
    Event,
    Failure,
    Gap,
    Message,
    Session,
    State,
    hookimpl,
)
from libws_core.inbox import MAX_MARKERS
from libws_core.testing import MemoryDialer, MemoryPeer, by_hand, greet, virtual


class Again:
    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return 1.0


class Established:
    """Establish takes one message and a second more, in which others arrive."""

    @hookimpl
    async def establish(self, session: Session) -> None:
        await session.recv("go")
        await asyncio.sleep(1)


def make(dialer: object, *plugins: object, **more: Any) -> Client:
    return Client("ws://test/", plugins=["-standard", *plugins, dialer], **more)


def numbers(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def flood(count: int, size: int = 0) -> Callable[[MemoryPeer], None]:
    def script(peer: MemoryPeer) -> None:
        for number in range(count):
            peer.send(f"{number}".ljust(size))

    return script


async def read(client: Client, count: int) -> list[str]:
    return [(await client.recv(60)).data.strip() for _ in range(count)]


# Readers


@virtual
async def test_iterating_goes_on_across_reconnects_and_ends_after_our_close() -> None:
    async def script(peer: MemoryPeer) -> None:
        for letter in "ab":
            peer.send(f"{peer.number}{letter}")
        if peer.number < 3:
            peer.drop()
        await peer.wait_gone()

    got = []
    client = make(MemoryDialer(script), Again())
    async with client:
        async for message in client:
            got.append(message.data)
            if len(got) == 6:
                await client.close()
    assert got == ["1a", "1b", "2a", "2b", "3a", "3b"]
    with pytest.raises(ClientClosed):
        await client.recv()
    assert [message async for message in client] == []


@virtual
async def test_iterating_raises_the_error_of_a_client_that_failed_after_what_is_unread() -> None:
    async def script(peer: MemoryPeer) -> None:
        peer.send("last words")
        peer.close(1009)
        await peer.wait_gone()

    client = make(MemoryDialer(script))
    got = []
    await client.open()
    await asyncio.sleep(1)
    assert client.state is State.FAILED

    async def iterate() -> None:
        async for message in client:
            got.append(message.data)

    with pytest.raises(ConnectionClosed) as caught:
        await iterate()
    assert got == ["last words"]
    assert caught.value.code == 1009
    with pytest.raises(ConnectionClosed):
        await client.recv()


@virtual
async def test_the_unread_inbox_stays_readable_after_close() -> None:
    client = make(MemoryDialer(flood(5)))
    async with client:
        await asyncio.sleep(1)
    assert await read(client, 5) == numbers(5)
    with pytest.raises(ClientClosed):
        await client.recv()


@virtual
async def test_recv_waits_so_long_and_loses_nothing() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        with pytest.raises(TimeoutError):
            await client.recv(timeout=2.5)
        assert loop.time() - begin == 2.5
        peer = await dialer.accept()
        peer.send("late")
        assert (await client.recv(timeout=0.001)).data == "late"
        peer.send("there")
        await asyncio.sleep(1)
        assert (await client.recv(timeout=0)).data == "there"


@virtual
async def test_a_reader_that_is_cancelled_as_a_message_comes_loses_nothing() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        for turns in range(6):
            reading = asyncio.ensure_future(client.recv())
            await asyncio.sleep(1)
            peer.send(str(turns))
            for _ in range(turns):
                await asyncio.sleep(0)
            reading.cancel()
            try:
                message = await reading
            except asyncio.CancelledError:
                message = await client.recv(1)
            assert message.data == str(turns)


@virtual
async def test_one_reader_at_a_time() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        reading = asyncio.ensure_future(client.recv())
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="one reader at a time"):
            await client.recv()
        with pytest.raises(RuntimeError, match="one reader at a time"):
            await anext(aiter(client))
        (await dialer.accept()).send("mine")
        assert (await reading).data == "mine"


@virtual
async def test_handlers_and_reading_exclude_each_other() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        iterator, stream = aiter(client), client.stream()
        reading = asyncio.ensure_future(client.recv())
        await asyncio.sleep(1)
        with pytest.raises(RuntimeError, match="not both"):
            client.on_message(print)
        reading.cancel()
        await asyncio.wait([reading])
        remove = client.on_message(lambda message: None)
        for attempt in (client.recv(), anext(iterator), anext(stream)):
            with pytest.raises(RuntimeError, match="not both"):
                await attempt
        with pytest.raises(RuntimeError, match="not both"):
            aiter(client)
        remove()
        (await dialer.accept()).send("mine")
        assert (await client.recv()).data == "mine"


@virtual
async def test_markers_stand_between_the_messages_for_those_who_ask() -> None:
    def script(peer: MemoryPeer) -> None:
        peer.send(f"of {peer.number}")
        if peer.number < 3:
            peer.drop()

    client = make(MemoryDialer(script), Again())
    async with client:
        stream = client.stream(markers=True)
        seen: list[Any] = [await anext(stream) for _ in range(5)]
        await client.close()
        assert [item async for item in stream] == []
    assert [item.data if isinstance(item, Message) else (item.why, item.generation) for item in seen] == [
        "of 1",
        ("reconnect", 2),
        "of 2",
        ("reconnect", 3),
        "of 3",
    ]
    gap = seen[1]
    assert gap.until - gap.since == 1.0

    client = make(MemoryDialer(script), Again())
    async with client:
        stream = client.stream()
        assert [(await anext(stream)).data for _ in range(3)] == ["of 1", "of 2", "of 3"]  # type: ignore[union-attr]


@virtual
async def test_markers_that_nobody_reads_are_bounded_and_none_is_kept_for_plain_handlers() -> None:
    def drop(peer: MemoryPeer) -> None:
        peer.drop()

    losses = 2 * MAX_MARKERS
    dialer = MemoryDialer().first(*[drop] * losses)
    dialer.script(by_hand())
    gaps: list[Gap] = []
    async with make(dialer, Again()) as client:
        client.on(Gap, gaps.append)
        await dialer.reached(losses + 1)
        await asyncio.sleep(1)
        assert len(gaps) == losses
        peer = await dialer.accept()
        peer.send("end")
        seen = []
        async for item in client.stream(markers=True):
            if isinstance(item, Message):
                break
            seen.append(item)
        assert len(seen) == MAX_MARKERS
        assert (seen[0].since, seen[-1].until) == (gaps[0].since, gaps[-1].until)
        assert all(before.until <= after.since for before, after in itertools.pairwise(seen))

    dialer = MemoryDialer().first(*[drop] * 10)
    async with make(dialer, Again()) as client:
        client.on_message(lambda message: None)
        await dialer.reached(11)
        await asyncio.sleep(1)
        assert len(client._inbox) == 0


# Handlers


class AsyncObject:
    def __init__(self, got: list[str]) -> None:
        self.got = got

    async def __call__(self, message: Message) -> None:
        await asyncio.sleep(0.01)
        self.got.append(message.data)


def handler_of(kind: str, got: list[str]) -> Callable[[Message], Any]:
    async def slow(message: Message, *_: Any) -> None:
        await asyncio.sleep(0.01 if int(message.data) % 2 else 0.02)
        got.append(message.data)

    handlers: dict[str, Callable[[Message], Any]] = {
        "plain": lambda message: got.append(message.data),
        "async": slow,
        "partial": functools.partial(slow),
        "object": AsyncObject(got),
    }
    return handlers[kind]


@pytest.mark.parametrize("kind", ["plain", "async", "partial", "object"])
@pytest.mark.parametrize("early", [True, False])
def test_a_handler_gets_every_message_in_order_what_waits_first(kind: str, early: bool) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer(greet(*numbers(20)))
        client = make(dialer)
        got: list[str] = []
        handler = handler_of(kind, got)
        if early:
            client.on_message(handler)
        async with client:
            await asyncio.sleep(0.001)
            if not early:
                assert len(client._inbox) == 20
                client.on_message(handler)
            peer = await dialer.accept()
            for number in range(20, 40):
                peer.send(str(number))
            await asyncio.sleep(2)
            assert got == numbers(40)
            assert client.stats.received == 40

    body()


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_what_a_handler_raises_is_logged_and_delivery_goes_on(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def body() -> None:
        got: list[str] = []

        def plain(message: Message) -> None:
            got.append(message.data)
            raise KeyError(message.data)

        async def later(message: Message) -> None:
            plain(message)

        dialer = MemoryDialer(flood(3))
        async with make(dialer) as client:
            client.on_message(plain if kind == "plain" else later)
            await asyncio.sleep(1)
            assert got == numbers(3)
            assert client.state is State.READY

    body()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [str(record.exc_info[1]) for record in errors if record.exc_info] == ["'0'", "'1'", "'2'"]


@virtual
async def test_several_handlers_get_each_message_in_the_order_in_which_they_came() -> None:
    got: list[str] = []

    def second(message: Message) -> None:
        got.append(f"second {message.data}")
        raise KeyError("a bug")

    client = make(MemoryDialer(flood(2)))
    client.on_message(lambda message: got.append(f"first {message.data}"))
    client.on_message(second)
    client.on_message(lambda message: got.append(f"third {message.data}"))
    async with client:
        await asyncio.sleep(1)
        assert got == [f"{name} {number}" for number in "01" for name in ("first", "second", "third")]


@virtual
async def test_a_handler_in_which_something_else_was_cancelled_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    got: list[str] = []
    told: list[Event] = []

    async def awaits_the_cancelled(message: Message) -> None:
        got.append(message.data)
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async def event_too(event: Event) -> None:
        told.append(event)
        await awaits_the_cancelled(Message.text("event"))

    client = make(MemoryDialer(flood(3)))
    client.on_message(awaits_the_cancelled)
    client.on(Event, event_too)
    async with client:
        await asyncio.sleep(1)
        assert [data for data in got if data != "event"] == numbers(3)
        assert len(told) == 6
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


@virtual
async def test_a_handler_that_is_removed_hears_no_more() -> None:
    dialer = MemoryDialer()
    plain: list[str] = []
    slow: list[str] = []
    async with make(dialer) as client:
        peer = await dialer.accept()
        remove_plain = client.on_message(handler_of("plain", plain))
        remove_slow = client.on_message(handler_of("async", slow))
        peer.send("1")
        await asyncio.sleep(1)
        remove_slow()
        peer.send("2")
        await asyncio.sleep(1)
        remove_plain()
        remove_plain()
        peer.send("3")
        await asyncio.sleep(1)
        assert (plain, slow) == (["1", "2"], ["1"])
        assert (await client.recv()).data == "3"


@virtual
async def test_a_handler_may_remove_itself_and_ends_its_message_first() -> None:
    dialer = MemoryDialer()
    got: list[str] = []
    other: list[str] = []

    async def once(message: Message) -> None:
        remove()
        await asyncio.sleep(1)
        got.append(message.data)

    async with make(dialer) as client:
        peer = await dialer.accept()
        remove = client.on_message(once)
        client.on_message(handler_of("plain", other))
        for number in range(5):
            peer.send(str(number))
        await asyncio.sleep(3)
        peer.send("5")
        await asyncio.sleep(1)
        assert got == ["0"]
        assert other == numbers(6)  # in order, also when it changes from the task to direct calls


@virtual
async def test_a_handler_that_is_added_again_while_the_task_is_busy_gets_each_message_once() -> None:
    dialer = MemoryDialer()
    got: list[str] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(1)
        got.append(message.data)

    async with make(dialer) as client:
        peer = await dialer.accept()
        remove = client.on_message(slow)
        for number in range(4):
            peer.send(str(number))
        await asyncio.sleep(0.5)
        remove()
        client.on_message(slow)
        await asyncio.sleep(10)
        assert got == numbers(4)


@virtual
async def test_event_handlers_plain_and_async_hear_their_class_in_order_until_removed() -> None:
    dialer = MemoryDialer()
    heard: list[tuple[str, str]] = []

    async def slow(event: Event) -> None:
        await asyncio.sleep(0.1)
        heard.append(("slow", type(event).__name__))

    client = make(dialer, Again())
    remove = client.on(Connected, lambda event: heard.append(("plain", type(event).__name__)))
    client.on(Event, slow)
    async with client:
        (await dialer.accept()).drop()
        await asyncio.sleep(20)
        remove()
    assert heard[0] == ("plain", "Connected")
    every = [name for kind, name in heard if kind == "slow"]
    assert every == ["Connecting"] * 5 + ["Connected", "Disconnected", "Retrying"] + ["Connecting"] * 5 + [
        "Gap",
        "Reconnected",
        "Disconnected",
        "Closed",
    ]


@virtual
async def test_an_event_handler_that_is_removed_is_not_called_for_what_waits() -> None:
    heard: list[Event] = []

    async def slow(event: Event) -> None:
        heard.append(event)
        await asyncio.sleep(1)

    client = make(MemoryDialer())
    remove = client.on(Event, slow)
    async with client:
        await asyncio.sleep(0.5)
        remove()
        await asyncio.sleep(10)
    assert len(heard) == 1


@virtual
async def test_events_for_a_handler_that_never_ends_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    async def never(event: Event) -> None:
        await asyncio.get_running_loop().create_future()

    client = make(MemoryDialer(lambda peer: peer.drop() and None), Again(), close_timeout=1)
    client.on(Event, never)
    async with client:
        await client._supervisor.until(lambda: client.stats.reconnects >= 200)
    waiting = client._supervisor.events._handlers[0]._waiting
    assert len(waiting) == 1000
    assert any("too slow" in record.getMessage() for record in caplog.records)


@virtual
async def test_what_is_no_handler_is_refused_at_once(caplog: pytest.LogCaptureFixture) -> None:
    client = make(MemoryDialer())
    with pytest.raises(TypeError):
        client.on_message("print")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.on(Connected, "print")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="event class"):
        client.on("Connected", print)  # type: ignore[arg-type]

    def bad(event: Event) -> None:
        raise KeyError("a bug")

    client.on(Connected, bad)
    async with client:
        assert client.state is State.READY
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@virtual
async def test_async_handlers_finish_what_is_unread_within_close_timeout() -> None:
    got: list[str] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(1)
        got.append(message.data)

    loop = asyncio.get_running_loop()
    for count, close_timeout, expected in ((3, 5.0, 3), (20, 5.0, 5)):
        got.clear()
        client = make(MemoryDialer(flood(count)), close_timeout=close_timeout)
        client.on_message(slow)
        await client.open()
        await asyncio.sleep(0.001)
        begin = loop.time()
        await client.close()
        assert got == numbers(expected)
        assert loop.time() - begin <= close_timeout + 1


@virtual
async def test_a_client_may_be_closed_by_its_own_handlers() -> None:
    async def close(_: Any) -> None:
        await client.close()

    for on in ("message", "event"):
        client = make(MemoryDialer(flood(3)))
        if on == "message":
            client.on_message(close)
        else:
            client.on(Connected, close)
        await client.open()
        async with asyncio.timeout(1):
            await client.wait_closed()


# Bounds


@pytest.mark.parametrize(
    ("count", "size", "bounds"),
    [
        (100, 1, {"inbox_messages": 10}),
        (100, 100, {"inbox_bytes": 1000}),
        (20, 500, {"inbox_bytes": 100}),
        (7, 1, {"inbox_messages": 1}),
    ],
)
def test_at_the_high_mark_the_connection_is_paused_at_half_resumed_and_nothing_is_lost(
    count: int, size: int, bounds: dict[str, int]
) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer(flood(count, size))
        async with make(dialer, **bounds) as client:
            (peer,) = dialer.peers
            await asyncio.sleep(1)
            assert peer.paused
            waiting = len(client._inbox)
            assert waiting <= bounds.get("inbox_messages", count)
            assert (waiting - 1) * size < bounds.get("inbox_bytes", 10**9)
            got = []
            pauses = 0
            for _ in range(count):
                got += await read(client, 1)
                await asyncio.sleep(0.01)
                pauses += peer.paused
                assert len(client._inbox) <= waiting
            assert got == numbers(count)
            assert 0 < pauses < count
            assert not peer.paused
            assert client.stats.dropped == 0

    body()


@virtual
async def test_a_message_larger_than_the_inbox_is_admitted_into_an_empty_one() -> None:
    dialer = MemoryDialer(flood(3, 100_000))
    async with make(dialer, inbox_bytes=1000) as client:
        await asyncio.sleep(1)
        assert len(client._inbox) == 1
        assert [len((await client.recv(5)).data) for _ in range(3)] == [100_000] * 3


@pytest.mark.parametrize("count", [3, 4, 5, 50])
def test_what_came_during_establish_is_read_however_small_the_inbox(count: int) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer(greet("go", *numbers(count)))
        async with make(dialer, Established(), inbox_messages=4) as client:
            assert await read(client, count) == numbers(count)
            (peer,) = dialer.peers
            peer.send("more")
            assert await read(client, 1) == ["more"]

    body()


@virtual
async def test_establish_is_bounded_too() -> None:
    class Deaf:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(1)
            assert peer_of(dialer).paused
            for number in range(40):
                assert (await session.recv()).data == str(number)

    def peer_of(dialer: MemoryDialer) -> MemoryPeer:
        (peer,) = dialer.peers
        return peer

    dialer = MemoryDialer(flood(100))
    async with make(dialer, Deaf(), inbox_messages=10) as client:
        assert await read(client, 60) == [str(number) for number in range(40, 100)]


@virtual
async def test_plain_handlers_are_never_held_up() -> None:
    got: list[str] = []
    dialer = MemoryDialer(flood(100))
    client = make(dialer, inbox_messages=2)
    client.on_message(lambda message: got.append(message.data))
    async with client:
        await asyncio.sleep(1)
        assert got == numbers(100)


@virtual
async def test_a_slow_async_handler_slows_the_server() -> None:
    got: list[str] = []

    async def slow(message: Message) -> None:
        await asyncio.sleep(1)
        got.append(message.data)

    dialer = MemoryDialer(flood(30))
    client = make(dialer, inbox_messages=5)
    client.on_message(slow)
    async with client:
        (peer,) = dialer.peers
        await asyncio.sleep(5.5)
        assert peer.paused
        assert len(client._inbox) <= 5
        await asyncio.sleep(40)
        assert got == numbers(30)


@pytest.mark.parametrize("when", ["idle", "always"])
def test_ping_does_not_blame_the_peer_while_we_are_not_reading(when: str) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer(flood(50), latency=0.1)
        options = {"ping": {"interval": 5, "timeout": 2, "when": when}}
        client = Client("ws://test/", plugins=["-standard", "ping", dialer], options=options, inbox_messages=10)
        async with client:
            (peer,) = dialer.peers
            await asyncio.sleep(600)
            assert peer.paused
            assert client.state is State.READY
            assert await read(client, 50) == numbers(50)
            peer.silence()
            loop = asyncio.get_running_loop()
            begin = loop.time()
            with pytest.raises(ConnectionClosed):
                await client.recv()
            assert loop.time() - begin < 5 + 2 + 5.1

    body()


@virtual
async def test_closing_with_a_full_inbox_is_prompt_and_counts_what_it_drops() -> None:
    dropped: list[Dropped] = []
    dialer = MemoryDialer(flood(100))
    client = make(dialer, inbox_messages=10)
    client.on(Dropped, dropped.append)
    await client.open()
    await asyncio.sleep(1)
    (peer,) = dialer.peers
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await client.close()
    assert loop.time() - begin < 1
    assert peer.closed == Message.close(1000)
    assert await read(client, 10) == numbers(10)
    assert [event.count for event in dropped] == [90]
    assert client.stats.dropped == 90


@virtual
async def test_what_arrives_until_the_answer_to_our_close_is_read_while_there_is_room() -> None:
    dialer = MemoryDialer(lambda peer: None, latency=0.1)
    client = make(dialer)
    await client.open()
    (peer,) = dialer.peers
    closing = asyncio.ensure_future(client.close())
    for number in range(3):
        peer.send(str(number))
    await closing
    assert await read(client, 3) == numbers(3)


# What plugins put into the stream


class Speaks:
    """Offers its session to the test."""

    def __init__(self, stages: list[Any] | None = None) -> None:
        self.sessions: list[Session] = []
        self.stages = stages or []

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        self.sessions.append(session)

    @hookimpl
    def deliver(self, client: Client) -> Any:
        return self.stages.pop(0) if self.stages else None


@virtual
async def test_emit_puts_messages_past_the_stages_and_gaps_to_observers_and_stream() -> None:
    gaps: list[Gap] = []
    speaks = Speaks([lambda message: Message.text(message.data.upper())])
    dialer = MemoryDialer()
    async with make(dialer, speaks) as client:
        client.on(Gap, gaps.append)
        await asyncio.sleep(0)
        (session,) = speaks.sessions
        (await dialer.accept()).send("from the wire")
        await asyncio.sleep(1)
        session.emit(Gap("hole", 1, 0.0, 1.0, topic="btc", first=3, last=5))
        session.emit(Message.text("from the plugin"))
        stream = client.stream(markers=True)
        first, gap, second = [await anext(stream) for _ in range(3)]
        assert (first, second) == (Message.text("FROM THE WIRE"), Message.text("from the plugin"))
        assert gaps == [gap]
        assert isinstance(gap, Gap)
        assert (gap.topic, gap.attempt, gap.monotonic > 0) == ("btc", 1, True)
        session.emit(Dropped(3, "too old"))
        assert client.stats.dropped == 3
        with pytest.raises(TypeError):
            session.emit("text")


@virtual
async def test_a_stage_of_deliver_swallows_changes_multiplies_and_marks() -> None:
    def stage(message: Message) -> Any:
        match message.data:
            case "none":
                return None
            case "two":
                return [Message.text("one"), Gap("between", 1, 0.0, 0.0), Message.text("two")]
            case "more":
                return (Message.text(each) for each in "abc")
        return message

    dialer = MemoryDialer(greet("none", "two", "plain", "more", b"binary"))
    async with make(dialer, Speaks([stage])) as client:
        stream = client.stream(markers=True)
        seen = [await anext(stream) for _ in range(8)]
        assert [item.data if isinstance(item, Message) else item.why for item in seen] == [
            "one", "between", "two", "plain", "a", "b", "c", b"binary",
        ]  # fmt: skip


@pytest.mark.parametrize("error", [KeyError("a bug"), ConnectionClosed("enough", code=4000)])
def test_a_stage_of_deliver_that_raises_ends_the_connection(error: Exception) -> None:
    @virtual
    async def body() -> None:
        def stage(message: Message) -> None:
            raise error

        client = make(MemoryDialer(flood(1)), Speaks([stage]))
        await client.open()
        with pytest.raises(Exception, match="failed in deliver" if isinstance(error, KeyError) else "enough"):
            await client.wait_closed()

    body()
