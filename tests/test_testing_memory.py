"""The memory dialer, its connections and their rules, held against the Connection protocol by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import Client
from libws_core.errors import ConnectError, ConnectionClosed, ConnectTimeout, HandshakeRejected, LibwsError
from libws_core.testing import (
    Gone,
    MemoryConnection,
    MemoryDialer,
    MemoryPeer,
    RuleBroken,
    Unexpected,
    by_hand,
    cut,
    greet,
    hang,
    raw,
    refuse,
    virtual,
)
from libws_core.types import Connection, Kind, Message, Request

URL = "ws://test/chat?room=1"


class End:
    """A client's end: what was delivered, and how it ended."""

    def __init__(self, connection: MemoryConnection, start: bool = True) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        self.errors: list[LibwsError] = []
        self.on_deliver: Callable[[Message], object] = lambda message: None
        if start:
            self.start()

    def start(self) -> None:
        self.connection.start(self._deliver, self.errors.append)

    def _deliver(self, message: Message) -> None:
        assert not self.errors, "delivered after the end"
        self.messages.append(message)
        self.on_deliver(message)

    @property
    def texts(self) -> list[Any]:
        return [message.data for message in self.messages]


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def connect(dialer: MemoryDialer, **more: Any) -> MemoryConnection:
    connection = await dialer.dial(Request(URL, **more))
    assert connection is not None
    return connection


async def pair(start: bool = True, **more: Any) -> tuple[MemoryPeer, End]:
    dialer = MemoryDialer(**more)
    end = End(await connect(dialer), start)
    return await dialer.accept(), end


def fits(connection: Connection) -> Connection:
    return connection


# Dialing.


@virtual
async def test_a_dial_gives_a_connection_and_its_peer() -> None:
    dialer = MemoryDialer(subprotocols=["v2", "v1"], headers={"Server": "memory"})
    connection = fits(await connect(dialer, headers={"Authorization": "x"}, subprotocols=("v0", "v1", "v2")))
    peer = await dialer.accept()
    assert (connection.subprotocol, connection.headers["server"]) == ("v1", "memory")
    assert (peer.path, peer.headers["authorization"], peer.subprotocol, peer.number) == ("/chat?room=1", "x", "v1", 1)
    assert dialer.peers == [peer]
    assert [dial.request.url for dial in dialer.dials] == [URL]


@virtual
async def test_other_schemes_are_left_to_other_dialers() -> None:
    dialer = MemoryDialer(schemes=["mem"])
    assert await dialer.dial(Request(URL)) is None
    assert await dialer.dial(Request("mem://test/")) is not None
    assert dialer.count == 1


@virtual
async def test_a_script_has_a_step_for_each_dial_and_the_last_repeats() -> None:
    async def talk(peer: MemoryPeer) -> None:
        await peer.expect("hello")
        await peer.send("hi")

    async with MemoryDialer(refuse(503), refuse(429, {"Retry-After": "7"}, "slow"), cut(), by_hand(), talk) as dialer:
        with pytest.raises(HandshakeRejected) as caught:
            await connect(dialer)
        assert caught.value.status == 503
        with pytest.raises(HandshakeRejected) as caught:
            await connect(dialer)
        assert (caught.value.retry_after, caught.value.body) == (7, b"slow")
        with pytest.raises(ConnectError):
            await connect(dialer)
        await connect(dialer)
        assert (await dialer.accept()).number == 4
        for _ in range(2):
            end = End(await connect(dialer))
            end.connection.write(Message.text("hello"))
            await turns()
            assert end.messages == [Message.text("hi"), Message.close(1000)]
            assert [error.code for error in end.errors] == [1000]
        assert dialer.count == 6


@virtual
async def test_next_attempts_are_refused_before_the_script_goes_on() -> None:
    dialer = MemoryDialer().refuse(ConnectTimeout("too slow"), times=2).refuse(503)
    raised = []
    for _ in range(2):
        with pytest.raises(ConnectTimeout) as caught:
            await connect(dialer)
        raised.append(caught.value)
    assert raised[0] is not raised[1]
    with pytest.raises(HandshakeRejected):
        await connect(dialer)
    assert await connect(dialer)


@virtual
async def test_a_hanging_dial_never_answers_and_can_be_cancelled() -> None:
    dialer = MemoryDialer(hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1e5):
            await connect(dialer)
    assert dialer.hanging == 0
    task = asyncio.create_task(connect(dialer))
    await turns()
    assert dialer.hanging == 1
    task.cancel()
    await asyncio.wait([task])
    assert dialer.hanging == 0


@virtual
async def test_greetings_come_first_and_wait_for_the_start() -> None:
    dialer = MemoryDialer(greet("one", b"two", then=lambda peer: peer.send("three") and None))
    end = End(await connect(dialer), start=False)
    await turns()
    end.start()
    assert end.messages == []
    await turns(1)
    assert end.texts == ["one", b"two", "three"]


async def test_steps_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TypeError, match="real socket"):
        MemoryDialer(raw(b"x"))
    with pytest.raises(TypeError, match="not a step"):
        MemoryDialer(503)  # type: ignore[arg-type]


# Failures of handlers and of waiting.


async def test_what_a_handler_raises_reaches_the_test() -> None:
    async def wrong(peer: MemoryPeer) -> None:
        await peer.expect("hello")

    def plain(peer: MemoryPeer) -> None:
        raise ZeroDivisionError

    dialer = MemoryDialer(wrong)
    await dialer.__aenter__()
    end = End(await connect(dialer))
    end.connection.write(Message.text("hullo"))
    await turns()
    assert [error.code for error in end.errors] == [1006]
    with pytest.raises(Unexpected, match="expected 'hello', got a text 'hullo'"):
        await dialer.__aexit__(None, None, None)
    dialer = MemoryDialer(plain)
    await connect(dialer)
    with pytest.raises(ZeroDivisionError):
        await dialer.accept()
    dialer.check()  # told once

    async def failing_test() -> None:
        async with MemoryDialer(plain) as dialer:
            await connect(dialer)
            raise LookupError

    with pytest.raises(LookupError) as caught:
        await failing_test()
    assert caught.value.__notes__ == ["meanwhile: ZeroDivisionError: "]


async def test_a_script_ends_quietly_when_the_client_leaves() -> None:
    heard = []

    async def echo(peer: MemoryPeer) -> None:
        async for message in peer:
            heard.append(message.data)
        await peer.recv()

    async with MemoryDialer(echo) as dialer:
        end = End(await connect(dialer))
        end.connection.write(Message.text("x"))
        end.connection.abort()
        await turns()
        assert heard == ["x"]
        assert dialer.peers == []


async def test_leaving_the_dialer_ends_scripts_and_connections() -> None:
    async with MemoryDialer(lambda peer: peer.recv()) as dialer:
        end = End(await connect(dialer))
        await turns()
    assert dialer.peers == []
    await turns()
    assert end.errors


@virtual
async def test_waits_end_by_an_error_that_says_what_was_expected() -> None:
    dialer = MemoryDialer()
    with pytest.raises(Unexpected, match="expected a connection, got none in 3 s"):
        await dialer.accept(timeout=3)
    end = End(await connect(dialer))
    peer = await dialer.accept()
    with pytest.raises(Unexpected, match="expected a message, got nothing in 2 s"):
        await peer.recv(timeout=2)
    with pytest.raises(Unexpected, match=r"expected an object with \{'op': 'login'\}, got nothing"):
        await peer.expect({"op": "login"})
    with pytest.raises(Unexpected, match="expected the client to leave"):
        await peer.wait_gone(1)
    end.connection.close(4000, "bye")
    await turns()
    with pytest.raises(Gone, match="the client closed with 4000 bye"):
        await peer.recv()
    with pytest.raises(Unexpected, match="expected 'x', but the client closed with 4000 bye"):
        await peer.expect("x")
    with pytest.raises(Gone):
        peer.send("x")
    assert await peer.wait_gone() == 4000


@virtual
async def test_what_was_expected_is_matched_by_kind() -> None:
    peer, end = await pair()
    for data in ('{"op": "login", "id": 1}', "hello\r\n", "x", "any"):
        end.connection.write(Message.text(data))
    end.connection.write(Message.binary(b"hello"))
    end.connection.write(Message.pong(b"p"))
    assert (await peer.expect(Kind.PONG)).data == b"p"
    await peer.expect({"op": "login"})
    await peer.expect("hello")
    await peer.expect(lambda message: message.data == "x")
    await peer.expect()
    await peer.expect(Message.binary(b"hello"))
    for what, got in (
        ("a", "b"),
        ({"a": 1}, '{"a": 2}'),
        ({"a": 1}, "no json"),
        (Kind.BINARY, "t"),
        (b"a", "ab"),
        (Message.text("a"), "b"),
    ):
        end.connection.write(Message.text(got))
        with pytest.raises(Unexpected, match="got a text"):
            await peer.expect(what)
    end.connection.write(Message.text("x"))
    with pytest.raises(ValueError, match="a match is"):
        await peer.expect(5)
    with pytest.raises(ValueError, match="a message is made of"):
        peer.send(5)


# The rules of a connection.


@virtual
async def test_nothing_is_delivered_before_the_start_and_never_within_a_call() -> None:
    peer, end = await pair(start=False)
    peer.send("one")
    peer.drop()
    await turns()
    end.start()
    assert (end.messages, end.errors) == ([], [])
    await turns(1)
    assert end.texts == ["one"]
    assert [error.code for error in end.errors] == [1006]


@virtual
async def test_all_five_kinds_are_delivered_in_order_and_pings_not_answered() -> None:
    peer, end = await pair()
    peer.send("text")
    peer.send(b"bytes")
    peer.ping(b"p")
    peer.pong(b"q")
    peer.send({"a": [1]})
    peer.close(1012, "restart")
    await turns()
    assert end.messages == [
        Message.text("text"),
        Message.binary(b"bytes"),
        Message.ping(b"p"),
        Message.pong(b"q"),
        Message.text('{"a":[1]}'),
        Message.close(1012, "restart"),
    ]
    assert peer.pongs == 0


@virtual
async def test_a_close_of_the_peer_is_delivered_echoed_and_ended() -> None:
    peer, end = await pair()
    await peer.close(1012, "restart")
    assert peer.closed == Message.close(1012, "restart")
    await turns()
    (error,) = end.errors
    assert isinstance(error, ConnectionClosed)
    assert (error.code, error.reason, error.initiator) == (1012, "restart", "remote")


@virtual
async def test_an_empty_close_has_code_1005() -> None:
    peer, end = await pair()
    peer.close(1005)
    await turns()
    assert end.messages[0].data == b""
    assert [error.code for error in end.errors] == [1005]
    assert await peer.wait_gone() == 1005


@virtual
async def test_our_own_close_still_delivers_what_is_on_its_way() -> None:
    peer, end = await pair(latency=1.0)
    peer.send("before")
    end.connection.close(4001, "bye")
    end.connection.close(4002)
    end.connection.write(Message.text("late"))
    await peer.expect(Message.close(4001, "bye"))
    assert peer.late_writes == 1
    await asyncio.sleep(5)
    assert end.messages == [Message.text("before"), Message.close(4001, "bye")]
    assert [(error.code, error.initiator) for error in end.errors] == [(4001, "local")]
    end.connection.write(Message.text("later"))
    assert peer.late_writes == 2
    assert peer.received == 0


@virtual
async def test_nothing_is_delivered_after_a_close() -> None:
    peer, end = await pair()
    peer.answer_close = False
    peer.close(1000)
    peer.send("no")
    await turns()
    assert end.messages == [Message.close(1000)]
    assert not end.errors
    end.connection.abort()
    await turns()
    assert [(error.code, error.initiator) for error in end.errors] == [(1000, "remote")]


@virtual
async def test_a_pause_takes_effect_at_once_and_resume_pushes_later() -> None:
    peer, end = await pair()
    end.on_deliver = lambda message: end.connection.pause() if message.data == "2" else None
    for number in range(5):
        peer.send(str(number))
    peer.drop()
    await turns()
    assert end.texts == ["0", "1", "2"]
    assert peer.paused
    end.connection.resume()
    end.connection.pause()
    await turns()
    assert end.texts == ["0", "1", "2"]
    end.connection.resume()
    assert end.texts == ["0", "1", "2"]
    await turns(1)
    assert end.texts == ["0", "1", "2", "3", "4"]
    assert len(end.errors) == 1


@virtual
async def test_while_paused_no_bytes_arrive() -> None:
    peer, end = await pair()
    began = asyncio.get_running_loop().time()
    end.connection.pause()
    peer.send("x")
    await asyncio.sleep(10)
    assert end.connection.received == began
    end.connection.resume()
    await turns()
    assert end.connection.received == began + 10


@virtual
async def test_an_abort_ends_exactly_once_and_drops_what_waited() -> None:
    for paused in (False, True):
        peer, end = await pair()
        peer.send("x")
        if paused:
            end.connection.pause()
        end.connection.abort()
        end.connection.abort()
        assert end.errors == []
        await turns()
        end.connection.abort()
        end.connection.close()
        end.connection.resume()
        await turns()
        assert end.messages == []
        assert [(error.code, error.initiator) for error in end.errors] == [(1006, "local")]
        assert peer.gone
        with pytest.raises(Gone, match="the client dropped"):
            await peer.recv()


@virtual
async def test_an_abort_before_the_start_ends_after_it() -> None:
    _, end = await pair(start=False)
    end.connection.abort()
    await turns()
    end.start()
    assert end.errors == []
    await turns()
    assert len(end.errors) == 1


@virtual
async def test_a_drop_delivers_what_was_sent_and_a_reset_does_not() -> None:
    for reset, expected in ((False, ["x"]), (True, [])):
        peer, end = await pair()
        peer.send("x")
        await peer.drop(reset)
        await turns()
        assert end.texts == expected
        assert [(error.code, error.initiator) for error in end.errors] == [(1006, "network")]


@virtual
async def test_pings_and_closes_are_answered_unless_told_otherwise() -> None:
    peer, end = await pair()
    end.connection.write(Message.ping(b"1"))
    await turns()
    assert end.messages == [Message.pong(b"1")]
    peer.silence()
    end.connection.write(Message.ping(b"2"))
    end.connection.write(Message.text("read"))
    end.connection.close()
    await peer.expect(Message.ping(b"1"))
    await peer.expect(Message.ping(b"2"))
    await peer.expect("read")
    await peer.expect(Kind.CLOSE)
    await asyncio.sleep(100)
    assert end.messages == [Message.pong(b"1")]
    assert end.errors == []
    assert peer.pings == 2
    peer.close(1000)
    await turns()
    assert [error.code for error in end.errors] == [1000]


@virtual
async def test_only_one_close_is_written() -> None:
    peer, end = await pair()
    peer.answer_close = False
    end.connection.close(4001)
    end.connection.close(4002)
    await turns()
    peer.send(Message.close(4003))
    await turns()
    await peer.expect(Message.close(4001))
    with pytest.raises(Unexpected, match="got nothing in 1 s"):
        await peer.expect(Kind.CLOSE, timeout=1)


@virtual
async def test_a_stall_fills_the_clients_buffer_and_resume_drains_it() -> None:
    peer, end = await pair()
    drained: list[int] = []
    end.connection.drained = lambda: drained.append(end.connection.buffered)
    end.connection.write(Message.text("taken"))
    await turns()
    assert end.connection.buffered == 0
    peer.silence(reading=False)
    peer.answer_pings = True
    sizes = []
    for _ in range(3):
        end.connection.write(Message.binary(bytes(1000)))
        sizes.append(end.connection.buffered)
    end.connection.write(Message.ping())
    await asyncio.sleep(100)
    assert sizes[0] >= 1000
    assert sizes[2] == 3 * sizes[0] <= end.connection.buffered
    assert (peer.received, peer.pings, end.messages) == (1, 0, [])
    peer.resume()
    assert drained == []
    await turns()
    assert drained == [0]
    assert (peer.received, peer.pings, end.messages) == (4, 1, [Message.pong()])
    peer.resume()
    await turns()
    assert drained == [0]


@virtual
async def test_a_stalled_peer_does_not_notice_that_the_client_left() -> None:
    dialer = MemoryDialer()
    end = End(await connect(dialer))
    peer = await dialer.accept()
    peer.stall()
    end.connection.write(Message.text("lost"))
    end.connection.abort()
    await turns()
    assert len(end.errors) == 1
    assert not peer.gone
    assert dialer.peers == []
    peer.resume()
    await turns()
    assert peer.gone
    assert peer.received == 0


@virtual
async def test_latency_delays_both_ways_and_keeps_the_order() -> None:
    loop = asyncio.get_running_loop()
    delays = iter([0.5, 3.0, 1.0, 4.0])
    dialer = MemoryDialer(latency=lambda: next(delays))
    began = loop.time()
    end = End(await connect(dialer))
    assert loop.time() == began + 1
    peer = await dialer.accept()
    arrived: list[tuple[str, float]] = []
    end.on_deliver = lambda message: arrived.append((message.data, loop.time() - began))
    for text in "abc":
        peer.send(text)
    await asyncio.sleep(10)
    assert arrived == [("a", 4.0), ("b", 4.0), ("c", 5.0)]
    peer.latency = 0.25
    end.connection.write(Message.ping())
    await peer.expect(Kind.PING)
    assert loop.time() == began + 11.25


@virtual
async def test_an_awaited_send_waits_for_a_client_that_does_not_read() -> None:
    peer, end = await pair()
    end.connection.pause()
    sent = 0

    async def flood() -> None:
        nonlocal sent
        while sent < 1000:
            await peer.send(bytes(1024))
            sent += 1

    task = asyncio.create_task(flood())
    await turns(50)
    assert 60 <= sent <= 70
    end.connection.resume()
    await task
    await turns()
    assert len(end.messages) == 1000
    end.connection.pause()
    peer.send(bytes(10**6))
    with pytest.raises(Unexpected, match=r"expected the client to read, 1,000,0.. bytes wait"):
        await peer.send("x")


@virtual
async def test_a_peer_may_hear_by_a_callback_in_the_place_of_recv() -> None:
    def setup(peer: MemoryPeer) -> None:
        peer.on_message = lambda message: peer.send(message.data.upper())

    dialer = MemoryDialer(setup)
    end = End(await connect(dialer))
    for text in "abc":
        end.connection.write(Message.text(text))
    await turns()
    assert end.texts == ["A", "B", "C"]
    end.connection.write(Message.binary(b"\x00"))
    dialer.peers[0].on_message = lambda message: message.json
    await turns()
    with pytest.raises(ValueError, match="not JSON"):
        dialer.check()


# Rules that the client must keep.


@virtual
async def test_a_second_start_breaks_a_rule() -> None:
    dialer = MemoryDialer()
    end = End(await connect(dialer))
    with pytest.raises(RuleBroken, match=r"start\(\) was called twice"):
        end.start()
    with pytest.raises(RuleBroken, match="twice"):
        dialer.check()


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (Message.close(1000), "CLOSE"),
        (Message(Kind.TEXT, b"x"), "TEXT whose data is bytes"),
        (Message(Kind.BINARY, "x"), "BINARY whose data is str"),
        (Message.ping(bytes(126)), "126 bytes"),
        ("x", "takes a Message"),
    ],
)
@virtual
async def test_writing_what_no_dialer_could_breaks_a_rule(message: Any, text: str) -> None:
    _, end = await pair()
    with pytest.raises(RuleBroken, match=text):
        end.connection.write(message)


@pytest.mark.parametrize(
    ("code", "reason"), [(999, ""), (1006, ""), (1004, ""), (1015, ""), (5000, ""), (1000, "é" * 62)]
)
@virtual
async def test_a_close_that_no_frame_may_carry_breaks_a_rule(code: int, reason: str) -> None:
    _, end = await pair()
    with pytest.raises(RuleBroken, match=r"close\(\) was given"):
        end.connection.close(code, reason)


@virtual
async def test_callables_that_raise_break_a_rule_and_end_the_connection() -> None:
    def explode(anything: Any) -> None:
        raise ZeroDivisionError

    dialer = MemoryDialer()
    end = End(await connect(dialer))
    end.on_deliver = explode
    (await dialer.accept()).send("x")
    await turns()
    assert len(end.errors) == 1
    (await connect(dialer)).start(explode, explode)
    (await dialer.accept()).drop()
    await turns()
    with pytest.raises(RuleBroken, match=r"deliver\(\) raised ZeroDivisionError") as caught:
        dialer.check()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert any("ended() raised" in note for note in caught.value.__notes__)


@virtual
async def test_a_late_write_is_counted_and_not_an_error() -> None:
    dialer = MemoryDialer()
    end = End(await connect(dialer))
    peer = await dialer.accept()
    end.connection.abort()
    end.connection.write(Message.text("x"))
    await turns()
    assert peer.late_writes == 1
    dialer.check()


@virtual
async def test_what_nobody_reads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libws_core.testing.peer.UNREAD", 10)
    monkeypatch.setattr("libws_core.testing.memory.PENDING", 10)
    dialer = MemoryDialer()
    end = End(await connect(dialer))
    peer = await dialer.accept()
    for _ in range(11):
        end.connection.write(Message.text("x"))
    await turns()
    with pytest.raises(Unexpected, match="10 messages of connection 1 were never read"):
        dialer.check()
    end.connection.pause()
    for _ in range(10):
        peer.send("x")
    with pytest.raises(Unexpected, match="the client does not read"):
        peer.send("x")


def test_the_same_seed_gives_the_same_story() -> None:
    from libws_core import chance
    from libws_core.testing import run

    async def story() -> list[Any]:
        told: list[Any] = []
        loop = asyncio.get_running_loop()

        async def talk(peer: MemoryPeer) -> None:
            async for message in peer:
                told.append((loop.time(), peer.number, message.data))
                if chance.uniform(0, 1) < 0.1:
                    await peer.drop()
                peer.send(message)

        async with MemoryDialer(talk, latency=lambda: chance.uniform(0.01, 0.1)) as dialer:

            async def client(name: int) -> None:
                for _ in range(5):
                    end = End(await connect(dialer))
                    while not end.errors:
                        end.connection.write(Message.text(f"{name}"))
                        await asyncio.sleep(chance.uniform(0, 1))

            async with asyncio.TaskGroup() as group:
                for name in range(5):
                    group.create_task(client(name))
        return told

    one, two, other = run(story(), seed=1), run(story(), seed=1), run(story(), seed=2)
    assert len(one) > 50
    assert one == two != other


@virtual
async def test_a_function_sees_each_control_frame_as_it_comes() -> None:
    seen: list[Message] = []

    def listen(peer: MemoryPeer) -> None:
        peer.on_control = seen.append
        peer.ping(b"1")

    client = Client("ws://test/", plugins=["-standard", "pong", MemoryDialer(listen)])
    async with client:
        await client.send("no control frame")
        await asyncio.sleep(1)
    assert seen == [Message.pong(b"1"), Message.close(1000)]
