"""When a peer is asked, when it counts as gone, and when not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    Client,
    Disconnected,
    KeepAliveTimeout,
    Kind,
    Message,
    MessageExpired,
    OptionError,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, Server, leaks, virtual
from libws_ping import Ping

QUESTIONS: list[dict[str, Any]] = [{}, {"message": "ping", "reply": "pong"}]
"""Pings that are frames, and pings that are messages."""


def client_with(*plugins: object, **arguments: Any) -> Client:
    return Client("ws://test", plugins=["-standard", *plugins], **arguments)


def now() -> float:
    return asyncio.get_running_loop().time()


def answering(peer: MemoryPeer) -> Callable[[Message], object]:
    return lambda message: peer.send("pong") if message.data == "ping" else None


async def fill(client: Client) -> None:
    """Send until nothing more can be written."""
    for _ in range(1000):
        try:
            await client.send(b"x" * 65_536, timeout=0.01)
        except MessageExpired:
            return
    raise AssertionError("the write buffer never filled")


async def noticed(client: Client, since: float) -> float:
    """Wait until the peer's silence is noticed; gives the seconds that it took."""
    with pytest.raises(KeepAliveTimeout):
        await client.wait_closed()
    return now() - since


@pytest.mark.parametrize("when", ["idle", "always"])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(("interval", "timeout"), [(20, 20), (5, 20), (20, 5), (0.3, 0.2)])
def test_a_silent_peer_is_noticed_within_interval_and_timeout(
    when: Any, question: dict[str, Any], interval: float, timeout: float
) -> None:
    @virtual
    async def fall_silent() -> None:
        for after in (0.01, 0.5, 1, 3.3, 21.7):  # seconds, in intervals, that the peer lives
            ping = Ping(interval=interval, timeout=timeout, when=when, **question)
            async with MemoryDialer() as dialer:
                client = client_with(ping, dialer)
                await client.open()
                peer = await dialer.accept()
                peer.on_message = answering(peer)
                await asyncio.sleep(after * interval)
                peer.send("the last that it says")
                await client.recv()
                since = now()
                peer.on_message = lambda message: None
                peer.silence()
                took = await noticed(client, since)
                assert took <= interval + timeout + 0.1
                if when == "idle":
                    assert took == pytest.approx(interval + timeout, abs=0.1)

    fall_silent()


@pytest.mark.parametrize("when", ["idle", "always"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_peer_that_stops_reading_is_noticed_while_our_write_buffer_is_full(
    when: Any, question: dict[str, Any]
) -> None:
    @virtual
    async def clog() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Ping(interval=2, timeout=3, when=when, **question), dialer)
            await client.open()
            peer = await dialer.accept()
            since = now()
            peer.silence(reading=False)
            await fill(client)
            assert await noticed(client, since) == pytest.approx(5, abs=0.1)

    clog()


@pytest.mark.parametrize("when", ["idle", "always"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_peer_that_answers_stays_for_hours(when: Any, question: dict[str, Any]) -> None:
    @virtual
    async def live() -> None:
        async with MemoryDialer(latency=0.2) as dialer, client_with(Ping(when=when, **question), dialer) as client:
            peer = await dialer.accept()
            peer.on_message = answering(peer)
            await asyncio.sleep(3600)
            expected = 3600 / 20 if when == "always" else 3600 / 20.4
            assert (peer.received if question else peer.pings) == pytest.approx(expected, abs=1)
            assert client.stats.received == 0  # replies are not the user's

    live()


@pytest.mark.parametrize("question", QUESTIONS)
def test_idle_asks_nothing_while_bytes_arrive_and_always_does(question: dict[str, Any]) -> None:
    @virtual
    async def chatter() -> None:
        for when, expected in (("idle", 0), ("always", 5)):
            ping = Ping(interval=20, when=when, **question)  # type: ignore[arg-type]
            async with MemoryDialer() as dialer, client_with(ping, dialer):
                peer = await dialer.accept()
                peer.on_message = answering(peer)
                for _ in range(11):
                    await asyncio.sleep(10)
                    peer.send("data")
                assert (peer.received if question else peer.pings) == expected

    chatter()


@pytest.mark.parametrize("question", QUESTIONS)
def test_always_wants_the_answer_itself_whatever_else_arrives(question: dict[str, Any]) -> None:
    @virtual
    async def ignore() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Ping(interval=20, timeout=10, when="always", **question), dialer)
            await client.open()
            peer = await dialer.accept()
            since = now()
            peer.silence()

            async def chatter() -> None:
                while True:
                    await asyncio.sleep(0.5)
                    peer.send("data")

            chatting = asyncio.create_task(chatter())
            assert await noticed(client, since) == pytest.approx(30, abs=0.1)
            chatting.cancel()

    ignore()


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize(("interval", "timeout"), [(20, 10), (5, 30)])
def test_an_answer_that_waits_behind_a_long_message_is_not_missed_while_that_arrives(
    question: dict[str, Any], interval: float, timeout: float
) -> None:
    @virtual
    async def download() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Ping(interval=interval, timeout=timeout, **question), dialer)
            await client.open()
            peer = await dialer.accept()
            peer.silence()
            await asyncio.sleep(interval + 1)
            assert peer.pings or peer.received
            for _ in range(300):  # bytes of a message that is not yet complete
                peer.connection.received = since = now()
                await asyncio.sleep(1)
            assert client.state == "ready"
            assert await noticed(client, since) == pytest.approx(interval + timeout, abs=0.1)

    download()


@pytest.mark.parametrize("question", QUESTIONS)
def test_bytes_behind_a_ping_begin_a_new_silence_also_when_the_time_out_is_the_longer_one(
    question: dict[str, Any],
) -> None:
    @virtual
    async def fall_silent() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Ping(interval=5, timeout=30, **question), dialer)
            await client.open()
            peer = await dialer.accept()
            peer.silence()
            await asyncio.sleep(9)  # the ping was sent at 5
            peer.send("data")
            await client.recv()
            assert await noticed(client, now()) == pytest.approx(35, abs=0.1)

    fall_silent()


@pytest.mark.parametrize(("when", "expected"), [("idle", 20 + 3 * 10), ("always", 3 * 20 + 10)])
@pytest.mark.parametrize("question", QUESTIONS)
def test_missed_is_how_many_pings_in_a_row_stay_without_an_answer(
    when: Any, expected: float, question: dict[str, Any]
) -> None:
    @virtual
    async def miss() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Ping(interval=20, timeout=10, when=when, missed=3, **question), dialer)
            lost: list[Disconnected] = []
            client.on(Disconnected, lost.append)
            await client.open()
            peer = await dialer.accept()
            since = now()
            peer.silence()
            assert await noticed(client, since) == pytest.approx(expected, abs=0.1)
            assert (peer.received if question else peer.pings) == 3
            assert "3 pings in a row" in str(lost[0].error)

    miss()


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_in_between_ends_the_row(question: dict[str, Any]) -> None:
    @virtual
    async def nearly_miss() -> None:
        ping = Ping(interval=20, timeout=5, missed=2, when="always", **question)
        async with MemoryDialer() as dialer, client_with(ping, dialer) as client:
            peer = await dialer.accept()
            for turn in range(20):
                peer.answer_pings = turn % 2 == 0
                peer.on_message = answering(peer) if turn % 2 == 0 else lambda message: None
                await asyncio.sleep(20)
            assert client.state == "ready"

    nearly_miss()


@pytest.mark.parametrize("when", ["idle", "always"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_nobody_is_blamed_while_we_do_not_read(when: Any, question: dict[str, Any]) -> None:
    @virtual
    async def read_slowly() -> None:
        ping = Ping(when=when, **question)
        async with MemoryDialer() as dialer, client_with(ping, dialer, inbox_messages=10) as client:
            peer = await dialer.accept()
            peer.on_message = answering(peer)
            for number in range(100):
                peer.send(str(number))
            await asyncio.sleep(1)
            assert peer.paused
            await asyncio.sleep(3600)
            for number in range(60):  # the pause ends for a moment at each half-full inbox
                assert (await client.recv()).data == str(number)
                await asyncio.sleep(100)
            for number in range(60, 100):
                assert (await client.recv()).data == str(number)
            await asyncio.sleep(600)
            assert client.state == "ready"
            since = now()
            peer.silence()
            peer.on_message = lambda message: None
            with pytest.raises(KeepAliveTimeout):
                await client.wait_closed()
            assert now() - since <= 40.1

    read_slowly()


@virtual
async def test_replies_are_taken_out_only_as_long_as_a_ping_has_none() -> None:
    ping = Ping(interval=20, timeout=5, missed=2, message={"op": "ping"}, reply={"op": "pong"})
    async with MemoryDialer() as dialer, client_with(ping, dialer) as client:
        peer = await dialer.accept()
        peer.send({"op": "pong", "unasked": True})
        assert (await client.recv()).json["unasked"] is True
        await peer.expect({"op": "ping"})
        await asyncio.sleep(4)
        peer.send(b'{"op":"pong","number":1}')
        peer.send({"op": "data"})
        peer.send({"op": "pong", "unasked": True})
        assert (await client.recv()).json == {"op": "data"}
        assert (await client.recv()).json["unasked"] is True


@virtual
async def test_a_late_reply_is_taken_out_too() -> None:
    ping = Ping(interval=20, timeout=5, missed=3, message="ping", reply="pong")
    async with MemoryDialer() as dialer, client_with(ping, dialer) as client:
        peer = await dialer.accept()
        await peer.expect("ping")
        await peer.expect("ping")
        peer.send("pong")
        peer.send("pong")
        peer.send("data")
        assert (await client.recv()).data == "data"
        await peer.expect("ping")
        peer.send("pong")
        await asyncio.sleep(10)
        assert client.state == "ready"


@virtual
async def test_a_message_without_a_reply_is_only_sent() -> None:
    for when in ("idle", "always"):
        beat = Ping(interval=5, timeout=1, message={"type": "KeepAlive"}, when=when)
        async with MemoryDialer() as dialer, client_with(beat, dialer) as client:
            peer = await dialer.accept()
            peer.silence()
            start = now()
            for number in range(1, 101):
                await peer.expect({"type": "KeepAlive"})
                assert now() - start == pytest.approx(5 * number, abs=0.2)
            assert client.state == "ready"


@virtual
async def test_messages_without_a_reply_do_not_pile_up_before_a_peer_that_does_not_read() -> None:
    async with MemoryDialer() as dialer, client_with(Ping(interval=5, message="beat"), dialer) as client:
        peer = await dialer.accept()
        beats: list[Message] = []
        peer.on_message = lambda message: beats.append(message) if message.kind is Kind.TEXT else None
        peer.stall()
        await fill(client)
        await asyncio.sleep(1000)
        peer.resume()
        await asyncio.sleep(1)
        assert len(beats) <= 2  # the one that waited, and the one that is due


@virtual
async def test_a_callable_makes_each_message_from_the_session_or_leaves_it_out() -> None:
    class Position:
        def __init__(self) -> None:
            self.last: int | None = None

        @hookimpl
        def incoming(self, session: Session) -> Any:
            return self.count

        def count(self, message: Message) -> Message:
            self.last = (self.last or 0) + 1
            return message

    def beat(session: Session) -> Any:
        last = session.plugin(Position).last
        return None if last is None else {"op": 1, "d": last}

    for when in ("idle", "always"):
        ping = Ping(interval=10, message=beat, reply={"op": 11}, when=when)
        async with MemoryDialer() as dialer, client_with(Position(), ping, dialer):
            peer = await dialer.accept()
            await asyncio.sleep(100)
            assert peer.received == 0
            peer.send("data")
            await peer.expect({"op": 1, "d": 1})
            peer.send({"op": 11})


@virtual
async def test_interval_and_timeout_may_be_functions_of_the_session() -> None:
    class Hello:
        interval = 0

        @hookimpl
        async def establish(self, session: Session) -> None:
            hello = await session.recv({"interval": "$ms"})
            session.state(Hello).interval = hello.json["interval"]

    ping = Ping(interval=lambda session: session.state(Hello).interval / 1000, timeout=lambda: 4)
    async with MemoryDialer(lambda peer: peer.send({"interval": 3000})) as dialer:
        client = client_with(Hello(), ping, dialer)
        await client.open()
        since = now()
        dialer.peers[0].silence()
        assert await noticed(client, since) == pytest.approx(7, abs=0.1)


@virtual
async def test_an_interval_of_none_on_a_connection_means_no_pings() -> None:
    async with MemoryDialer() as dialer, client_with(Ping(interval=lambda session: None), dialer) as client:
        peer = await dialer.accept()
        peer.silence()
        await asyncio.sleep(1000)
        assert client.state == "ready"
        assert peer.pings == 0


@pytest.mark.parametrize("given", [0, -1, "20", True, float("nan"), float("inf")])
def test_a_function_that_gives_no_seconds_fails_the_connection_by_name(given: Any) -> None:
    @virtual
    async def fail() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Ping(interval=lambda: given), dialer)
            await client.open()
            with pytest.raises(Exception, match=r"'ping' in keep_alive failed: ValueError: interval gave"):
                await client.wait_closed()

    fail()


@virtual
async def test_nothing_is_left_when_the_connection_ends_while_a_ping_is_on_its_way() -> None:
    for question in QUESTIONS:
        for when in ("idle", "always"):
            async with leaks(), MemoryDialer() as dialer:
                client = client_with(Ping(interval=5, when=when, **question), dialer)
                await client.open()
                peer = await dialer.accept()
                peer.silence()
                await asyncio.sleep(6)
                peer.drop()
                with pytest.raises(Exception, match="ended"):
                    await client.wait_closed()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"interval": 0}, "option 'interval'"),
        ({"interval": None}, "option 'interval'"),
        ({"timeout": -1}, "option 'timeout'"),
        ({"missed": 0}, "option 'missed'"),
        ({"when": "never"}, "option 'when'"),
        ({"reply": "pong"}, "option 'reply' is the answer to 'message'"),
        ({"message": "ping", "reply": {"op": b"x"}}, "option 'reply': .* bytes"),
        ({"message": {"op": b"x"}}, "option 'message': .* bytes"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Client("ws://test", plugins=["-standard", "ping", MemoryDialer()], options={"ping": options})


@pytest.mark.parametrize("question", QUESTIONS)
async def test_over_a_real_socket_a_silent_peer_is_noticed_also_when_our_write_buffer_is_full(
    question: dict[str, Any],
) -> None:
    async with Server(receive_buffer=4096) as server:
        client = Client(server.url, plugins=["-standard", "websockets", Ping(interval=0.3, timeout=0.4, **question)])
        await client.open()
        peer = await server.accept()
        peer.silence(reading=False)
        since = now()
        await fill(client)
        assert await noticed(client, since) < 5


async def test_over_a_real_socket_a_peer_that_answers_stays() -> None:
    async with Server() as server:
        client = Client(server.url, plugins=["-standard", "websockets", Ping(interval=0.01, timeout=5)])
        async with client:
            peer = await server.accept()
            for _ in range(20):
                await peer.expect(Kind.PING)
            assert client.state == "ready"
            assert client.latency is not None
