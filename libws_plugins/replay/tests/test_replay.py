"""A recorded session, dialed: what comes, when it comes, how it ends, and what the client must do for it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from libws_core import (
    Client,
    ConnectError,
    ConnectionClosed,
    Disconnected,
    HandshakeRejected,
    KeepAliveTimeout,
    Kind,
    Message,
    MessageTooBig,
    NameResolutionError,
    OptionError,
    ProtocolError,
    Request,
    Session,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, leaks, virtual
from libws_replay import Mismatch, Replay

Tape = Any  # of conftest.py, which cannot be imported


def client_of(url: str, *plugins: object, replay: Mapping[str, Any] | None = None, **more: Any) -> Client:
    return Client(url, plugins=["-standard", *plugins, Replay(**replay or {})], **more)


async def now(client: Client, count: int) -> list[tuple[float, Any]]:
    """The next messages, each with the loop's time at which it came."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    return [((await client.recv()).data, round(loop.time() - began, 3)) for _ in range(count)]


class Wire:
    """A connection by itself, started by hand; keeps what it delivers."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.seen: list[Message] = []
        self.ends: list[Any] = []

    def start(self) -> None:
        self.connection.start(self.seen.append, self.ends.append)

    @property
    def data(self) -> list[Any]:
        return [message.data for message in self.seen]


async def wire(url: str, **options: Any) -> Wire:
    connection = await Replay(**options).dial(Request(url))
    assert connection is not None
    return Wire(connection)


# What comes, and when


@virtual
async def test_other_schemes_are_left_to_others() -> None:
    assert await Replay().dial(Request("ws://h/")) is None
    dialer = MemoryDialer(schemes=["ws"])
    async with dialer, Client("ws://test/", plugins=["-standard", "replay", dialer]):
        await dialer.accept()


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1), (2.0, 0.5), (0.5, 2), (None, 0)])
def test_messages_come_at_their_times_at_any_speed(tape: Tape, speed: Any, factor: float) -> None:
    tape.open(dialing=4.0).got(1.0, "a").got(1.0, "b").got(3.5, "AQI=", kind="text").got(
        3.5, kind="binary", base64="/w=="
    )

    @virtual
    async def play() -> None:
        loop = asyncio.get_running_loop()
        client = client_of(tape.url, replay={"speed": speed})
        began = loop.time()
        await client.open()
        assert loop.time() - began == 4.0 * factor
        assert await now(client, 4) == [
            *[("a", 1.0 * factor), ("b", 1.0 * factor), ("AQI=", 3.5 * factor), (b"\xff", 3.5 * factor)]
        ]
        await client.close()

    play()


def test_a_long_recording_without_waiting_leaves_the_loop_its_turns(tape: Tape) -> None:
    tape.open()
    for number in range(1000):
        tape.got(number, str(number))

    @virtual
    async def play() -> None:
        turns = 0
        client = client_of(tape.url, replay={"speed": None})
        await client.open()
        while client.stats.received < 1000:
            turns += 1
            await asyncio.sleep(0)
        assert turns > 5
        assert [(await client.recv()).data for _ in range(1000)] == [str(number) for number in range(1000)]
        await client.close()

    play()


def test_the_answer_of_the_server_is_there_again(tape: Tape) -> None:
    tape.open(subprotocol="v2", answer=[["X-Limit", "5"], ["Set-Cookie", "***"]])

    @virtual
    async def play() -> None:
        async with client_of(tape.url) as client:
            assert client.subprotocol == "v2"
            assert client.response_headers["x-limit"] == "5"

    play()


def test_each_dial_plays_the_next_attempt(tape: Tape) -> None:
    tape.fail("HandshakeRejected", status=503, dialing=1.5, retry_after=7.0, headers=[["Retry-After", "7"]])
    tape.fail("AuthenticationError", phase="authenticate")  # no dialer's: it happens again by itself, or does not
    tape.open().got(1, "first").end(2, code=1006, initiator="network")
    tape.open().got(1, "second")

    @virtual
    async def play() -> None:
        lost: list[Disconnected] = []
        options = {"backoff": {"base": 0}}
        loop = asyncio.get_running_loop()
        client = Client(tape.url, plugins=["-standard", "backoff", "replay"], options=options)
        client.on(Disconnected, lost.append)
        began = loop.time()
        async with client:
            assert loop.time() - began == 1.5 + 7.0
            assert [(await client.recv()).data for _ in range(2)] == ["first", "second"]
            assert client.stats.reconnects == 1
        assert (lost[0].error.code, lost[0].error.initiator, lost[0].uptime) == (1006, "network", 2)

    play()


# Errors, as they were


@pytest.mark.parametrize(
    ("error", "more", "expected"),
    [
        (
            "HandshakeRejected",
            {"status": 429, "verdict": "retry", "retry_after": 3.0, "text_body": "slow"},
            HandshakeRejected,
        ),
        ("HandshakeRejected", {"status": 403, "verdict": "fatal", "base64_body": "/w=="}, HandshakeRejected),
        ("NameResolutionError", {"verdict": "retry"}, NameResolutionError),
        ("ProxyError", {"status": 407, "verdict": "fatal"}, ConnectError),
    ],
)
def test_a_refused_attempt_is_refused_alike(tape: Tape, error: str, more: Any, expected: type) -> None:
    tape.fail(error, fault="remote", initiator="remote", **more)

    @virtual
    async def play() -> None:
        with pytest.raises(expected) as caught:
            await client_of(tape.url).open()
        again = caught.value
        assert (type(again).__name__, again.text, again.phase) == (error, "it failed", "dial")  # type: ignore[attr-defined]
        assert again.verdict == more["verdict"]  # type: ignore[attr-defined]
        assert (again.status, again.retry_after) == (more.get("status"), more.get("retry_after"))  # type: ignore[attr-defined]
        assert (again.fault, again.initiator) == ("remote", "remote")  # type: ignore[attr-defined]
        if isinstance(again, HandshakeRejected):
            assert again.body == (b"slow" if "text_body" in more else b"\xff")

    play()


@pytest.mark.parametrize(
    ("error", "more", "expected"),
    [
        ("ConnectionClosed", {"code": 1006, "initiator": "network"}, ConnectionClosed),
        ("ProtocolError", {"code": 1002, "initiator": "local", "verdict": "fatal"}, ProtocolError),
        ("ProtocolError", {"code": 1007, "initiator": "local", "verdict": "retry"}, ProtocolError),
        ("MessageTooBig", {"code": 1009, "initiator": "local", "verdict": "fatal"}, MessageTooBig),
    ],
)
def test_a_connection_ends_as_it_ended(tape: Tape, error: str, more: Any, expected: type) -> None:
    tape.open().got(1, "a").end(2.5, error, **more)

    @virtual
    async def play() -> None:
        loop = asyncio.get_running_loop()
        client = client_of(tape.url)
        began = loop.time()
        await client.open()
        with pytest.raises(expected) as caught:
            await client.wait_closed()
        assert loop.time() - began == 2.5
        again = caught.value
        assert type(again) is expected
        assert {name: getattr(again, name) for name in more} == more
        assert again.text == "it ended so"  # type: ignore[attr-defined]

    play()


def test_a_close_of_the_server_is_delivered_and_told(tape: Tape) -> None:
    tape.open().add(type="message", connection=1, t=1.0, way="in", kind="close", code=4008, reason="too slow").end(
        1.1, code=4008, reason="too slow", initiator="remote", verdict="fatal"
    )

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        await asyncio.sleep(1.0)
        await asyncio.sleep(0)
        assert one.seen == [Message.close(4008, "too slow")]
        (error,) = one.ends
        assert type(error) is ConnectionClosed
        assert (error.code, error.reason, error.initiator) == (4008, "too slow", "remote")
        assert error.verdict is Verdict.FATAL
        one.connection.write(Message.text("late"))
        one.connection.close()
        one.connection.abort()
        await asyncio.sleep(10)
        assert len(one.ends) == len(one.seen) == 1

    play()


def test_a_close_without_an_end_in_the_recording_is_told_all_the_same(tape: Tape) -> None:
    tape.open().add(type="message", connection=1, t=1.0, way="in", kind="close", code=1012)

    @virtual
    async def play() -> None:
        client = client_of(tape.url)
        await client.open()
        with pytest.raises(ConnectionClosed) as caught:
            await client.wait_closed()
        assert (caught.value.code, caught.value.initiator) == (1012, "remote")

    play()


# Our own close


def test_where_the_client_closed_nothing_more_comes_until_it_closes_again(tape: Tape) -> None:
    tape.open().got(1, "a")
    tape.add(type="message", connection=1, t=2.0, way="out", kind="close", code=1000)
    tape.got(2.25, "on its way").add(type="message", connection=1, t=2.5, way="in", kind="close", code=1000)
    tape.end(2.5, code=1000, initiator="local")

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        await asyncio.sleep(100)
        assert one.data == ["a"]
        one.connection.close(3000, "mine")
        await asyncio.sleep(0.25)
        assert one.data == ["a", "on its way"]
        assert one.ends == []
        await asyncio.sleep(0.25)
        await asyncio.sleep(0)
        assert one.seen[-1].code == 3000  # it echoed then, and does so now
        assert (one.ends[0].code, one.ends[0].initiator) == (3000, "local")

    play()


def test_an_early_close_is_answered_at_once(tape: Tape) -> None:
    tape.open().got(50, "never")

    @virtual
    async def play() -> None:
        loop = asyncio.get_running_loop()
        client = client_of(tape.url)
        await client.open()
        began = loop.time()
        await client.close(4000, "bye")
        assert loop.time() == began
        assert client.stats.received == 0

    play()


def test_a_server_that_never_answered_our_close_does_not_now(tape: Tape) -> None:
    tape.open().add(type="message", connection=1, t=1.0, way="out", kind="close", code=1000)
    tape.end(4.0, code=1006, initiator="local")

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        await asyncio.sleep(7)
        one.connection.close()
        await asyncio.sleep(2.9)
        assert one.ends == []
        await asyncio.sleep(0.1)
        assert (one.ends[0].code, one.ends[0].initiator) == (1006, "local")

    play()


def test_another_code_in_the_answer_is_one_now(tape: Tape) -> None:
    tape.open().add(type="message", connection=1, t=1.0, way="out", kind="close", code=1000)
    tape.add(type="message", connection=1, t=1.0, way="in", kind="close", code=1001)

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        one.connection.close(1000)
        await asyncio.sleep(1)
        assert [message.code for message in one.seen] == [1001]

    play()


def test_what_the_client_gave_up_is_the_clients_to_give_up_again(tape: Tape) -> None:
    tape.open().got(1, "a").end(3, "IdleTimeout", code=1006, initiator="local")

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        await asyncio.sleep(100)
        assert one.ends == []
        one.connection.abort()
        await asyncio.sleep(0)
        assert (one.ends[0].code, one.ends[0].initiator) == (1006, "local")

    play()


# Pings


def test_pings_are_answered_after_as_long_as_they_were(tape: Tape) -> None:
    tape.open().sent(1, "p1", kind="ping").got(1.75, "p1", kind="pong").sent(5, "p2", kind="ping").end(
        5.1, code=1006, initiator="network"
    )

    @virtual
    async def play() -> None:
        times: list[float] = []

        class Asks:
            @hookimpl
            async def keep_alive(self, session: Session) -> None:
                for _ in range(3):
                    times.append(await session.ping())

        client = client_of(tape.url, Asks())
        async with client:
            await asyncio.sleep(3)
        assert times == [0.75, 0.0, 0.0]

    play()


def test_a_server_that_fell_silent_is_silent_again(tape: Tape) -> None:
    tape.open().sent(1, "p1", kind="ping").got(1.5, "p1", kind="pong").sent(21, "p2", kind="ping")
    tape.end(41, "KeepAliveTimeout", code=1006, initiator="local")

    @virtual
    async def play() -> None:
        client = Client(tape.url, plugins=["-standard", "replay", "ping"])
        await client.open()
        with pytest.raises(KeepAliveTimeout):
            await client.wait_closed()

    play()


def test_pings_and_lone_pongs_of_the_server_come_again(tape: Tape) -> None:
    tape.open().got(1, "are you there", kind="ping").got(2, "unasked", kind="pong").got(3, "", kind="pong")

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        await asyncio.sleep(3)
        assert [(message.kind, message.data) for message in one.seen] == [
            (Kind.PING, b"are you there"),
            (Kind.PONG, b"unasked"),
            (Kind.PONG, b""),
        ]

    play()


# The rules of a Connection


def test_nothing_comes_before_start_in_a_pause_or_from_within_a_call(tape: Tape) -> None:
    tape.open().got(0, "a").got(1, "b").got(2, "c").end(3, code=1006, initiator="network")

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        await asyncio.sleep(10)
        assert one.seen == []
        one.start()
        assert one.seen == []
        await asyncio.sleep(0)
        assert one.data == ["a"]
        one.connection.pause()
        one.connection.write(Message.ping(b"x"))
        await asyncio.sleep(10)
        assert one.data == ["a"]
        assert one.ends == []
        one.connection.resume()
        assert one.data == ["a"]
        await asyncio.sleep(0)
        assert one.data == ["a", b"x", "b", "c"]
        await asyncio.sleep(0.1)
        assert len(one.ends) == 1

    play()


def test_a_pause_from_within_a_delivery_holds(tape: Tape) -> None:
    tape.open().got(0, "a").got(0, "b")

    @virtual
    async def play() -> None:
        one = await wire(tape.url)

        def deliver(message: Message) -> None:
            one.seen.append(message)
            one.connection.pause()

        one.connection.start(deliver, one.ends.append)
        await asyncio.sleep(1)
        assert one.data == ["a"]
        one.connection.resume()
        await asyncio.sleep(1)
        assert one.data == ["a", "b"]

    play()


def test_an_abort_ends_it_at_once_and_once(tape: Tape) -> None:
    tape.open().got(0, "a")

    @virtual
    async def play() -> None:
        for begin in (True, False):
            one = await wire(tape.url)
            if begin:
                one.start()
            one.connection.abort()
            one.connection.abort()
            if not begin:
                one.start()
            assert one.ends == []
            await asyncio.sleep(5)
            assert one.seen == []
            assert len(one.ends) == 1

    play()


def test_what_no_frame_can_hold_is_refused(tape: Tape) -> None:
    tape.open()

    @virtual
    async def play() -> None:
        one = await wire(tape.url)
        one.start()
        for bad in (Message.ping(b"x" * 126), Message.text("\ud800")):
            with pytest.raises(ValueError, match=r"\w"):
                one.connection.write(bad)
        with pytest.raises(ValueError, match="1006"):
            one.connection.close(1006)
        with pytest.raises(RuntimeError, match="started already"):
            one.start()
        assert one.connection.buffered == 0
        one.connection.abort()
        await asyncio.sleep(0)

    play()


def test_a_client_that_reads_slowly_gets_everything_in_order(tape: Tape) -> None:
    tape.open()
    for number in range(100):
        tape.got(0.01 * number, str(number))

    @virtual
    async def play() -> None:
        async with leaks(files=False), client_of(tape.url, inbox_messages=10) as client:
            for number in range(100):
                await asyncio.sleep(0.5)
                assert (await client.recv()).data == str(number)

    play()


# What the client must send


def questions(tape: Tape) -> str:
    """A log-in and a question, each answered."""
    tape.open().sent(0.5, '{"op":"login","id":1,"token":"***"}').got(1.0, "welcome")
    tape.sent(5.0, '{"op":"ask","id":2}').got(5.25, "answer").got(6.0, "news")
    return str(tape.url)


def test_by_itself_it_goes_by_time_alone(tape: Tape) -> None:
    url = questions(tape)

    @virtual
    async def play() -> None:
        async with client_of(url) as client:
            assert await now(client, 3) == [("welcome", 1.0), ("answer", 5.25), ("news", 6.0)]

    play()


def test_in_order_an_answer_waits_for_its_question(tape: Tape) -> None:
    url = questions(tape)

    @virtual
    async def play() -> None:
        async with client_of(url, replay={"expect": "order"}) as client:
            await asyncio.sleep(3)  # 2.5 later than it was
            await client.send("log me in")
            assert await now(client, 1) == [("welcome", 0.5)]
            await client.send("a question, early")
            assert await now(client, 2) == [("answer", 4.25), ("news", 5.0)]
            await client.plugin(Replay).played()

    play()


def test_without_waiting_and_in_order_only_the_client_sets_the_pace(tape: Tape) -> None:
    url = questions(tape)

    @virtual
    async def play() -> None:
        async with client_of(url, replay={"expect": "order", "speed": None}) as client:
            await client.send("log me in")
            assert await now(client, 1) == [("welcome", 0)]
            await asyncio.sleep(3)
            assert client.stats.received == 1
            await client.send("a question")
            assert await now(client, 2) == [("answer", 0), ("news", 0)]

    play()


def test_a_client_that_never_asks_is_told_so_by_line(tape: Tape) -> None:
    url = questions(tape)

    @virtual
    async def play() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        client = client_of(url, replay={"expect": "order", "patience": 4})
        await client.open()
        with pytest.raises(Mismatch, match=r"session.jsonl, line 3: Message\(TEXT, 35 characters\) was not sent again"):
            await client.wait_closed()
        assert loop.time() - began == 0.5 + 0.5 + 4
        with pytest.raises(Mismatch):
            await client.plugin(Replay).played()

    play()


def test_matching_takes_the_same_json_however_it_is_written(tape: Tape) -> None:
    url = questions(tape)

    @virtual
    async def play() -> None:
        async with client_of(url, replay={"expect": "match", "speed": None, "vary": ["id"]}) as client:
            await client.send('{"token": "my own", "id": 77, "op": "login"}')
            assert await now(client, 1) == [("welcome", 0)]
            await client.send('{"op": "ask"}')
            assert await now(client, 2) == [("answer", 0), ("news", 0)]
            await client.send("anything, now that it is over")
            await client.plugin(Replay).played()

    play()


@pytest.mark.parametrize(
    ("message", "what"),
    [
        ('{"op":"logout","id":1,"token":"x"}', "at op: another text"),
        ('{"op":"login","id":"1","token":"x"}', "at id: another value"),
        ('{"op":"login","token":"x"}', "id is missing"),
        ('{"op":"login","id":1,"token":"x","more":[]}', "more is new"),
        ("login", "its text is another"),
        (b"login", "it is a BINARY, not a TEXT"),
    ],
)
def test_another_message_is_told_by_line_and_by_what_differs(tape: Tape, message: Any, what: str) -> None:
    url = questions(tape)

    @virtual
    async def play() -> None:
        client = client_of(url, replay={"expect": "match"})
        await client.open()
        await client.send(message)
        with pytest.raises(Mismatch) as caught:
            await client.wait_closed()
        assert "session.jsonl, line 3: " in str(caught.value)
        assert str(caught.value).endswith(f"was sent in its place: {what}")
        assert "token" not in str(caught.value).partition("place")[0]
        assert caught.value.verdict is Verdict.FATAL

    play()


def test_one_message_too_many_is_a_mismatch(tape: Tape) -> None:
    tape.open().sent(1, "one").got(5, "late")

    @virtual
    async def play() -> None:
        client = client_of(tape.url, replay={"expect": "match"})
        await client.open()
        await client.send("one")
        await client.send("two")
        with pytest.raises(Mismatch, match="the recording has no more"):
            await client.wait_closed()

    play()


@pytest.mark.parametrize(
    ("recorded", "message", "fits"),
    [
        ("LOGIN *** ***", "LOGIN me secret", True),
        ("LOGIN *** x", "LOGIN x", False),
        ("***", "", True),
        ("a***b***c", "a1b2c", True),
        ("a***b***c", "a1c2b", False),
        ("abc", "abcd", False),
    ],
)
def test_where_a_secret_was_taken_out_anything_fits(tape: Tape, recorded: str, message: str, fits: bool) -> None:
    tape.open().sent(0, recorded).got(0, "yes")

    @virtual
    async def play() -> None:
        client = client_of(tape.url, replay={"expect": "match"})
        await client.open()
        await client.send(message)
        if fits:
            assert (await client.recv()).data == "yes"
            await client.close()
        else:
            with pytest.raises(Mismatch):
                await client.wait_closed()

    play()


# The end of the recording


def test_behind_the_last_attempt_the_client_ends_with_a_clear_error(tape: Tape) -> None:
    tape.open().end(1, code=1006, initiator="network")

    @virtual
    async def play() -> None:
        client = Client(tape.url, plugins=["-standard", "backoff", "replay"])
        await client.open()
        with pytest.raises(ConnectError, match="is at its end: its only attempt was played; see option 'after'"):
            await client.wait_closed()
        await client.plugin(Replay).played()

    play()


def test_the_last_attempt_may_be_played_again(tape: Tape) -> None:
    tape.fail("NameResolutionError").open().got(0, "a").end(1, code=1006, initiator="network")

    @virtual
    async def play() -> None:
        options = {"backoff": {"base": 0}, "replay": {"after": "repeat"}}
        async with Client(tape.url, plugins=["-standard", "backoff", "replay"], options=options) as client:
            assert [(await client.recv()).data for _ in range(5)] == ["a"] * 5
            assert client.stats.reconnects == 4

    play()


def test_behind_the_last_attempt_nobody_may_answer(tape: Tape) -> None:
    tape.fail("NameResolutionError")

    @virtual
    async def play() -> None:
        options = {"backoff": {"base": 0, "max_attempts": 3}, "replay": {"after": "hold"}}
        loop = asyncio.get_running_loop()
        began = loop.time()
        client = Client(tape.url, plugins=["-standard", "backoff", "replay"], options=options)
        with pytest.raises(ConnectionError):
            await client.open()
        assert loop.time() - began == 20  # open_timeout, twice

    play()


def test_one_run_of_several_may_be_chosen(tape: Tape) -> None:
    tape.open().got(0, "first run").head().open().got(0, "second run").head().open().got(0, "third run")

    @virtual
    async def play() -> None:
        for run, text in ((1, "first run"), (-1, "third run"), (2, "second run"), (None, "first run")):
            async with client_of(tape.url, replay={"run": run}) as client:
                assert (await client.recv()).data == text
        with pytest.raises(ConnectError, match=r"has 3 runs, and no run 4; set option 'run'"):
            await client_of(tape.url, replay={"run": 4}).open()
        with pytest.raises(ConnectError, match="no run -4"):
            await client_of(tape.url, replay={"run": -4}).open()

    play()


def test_each_client_begins_at_the_beginning(tape: Tape) -> None:
    tape.open().got(0, "a")
    replay = Replay()

    @virtual
    async def play() -> None:
        for _ in range(2):
            async with Client(tape.url, plugins=["-standard", replay]) as client:
                assert (await client.recv()).data == "a"

    play()


def test_run_zero_is_no_run() -> None:
    with pytest.raises(OptionError, match="option 'run': runs are counted from 1"):
        Client("replay:x", plugins=["-standard", "replay"], options={"replay": {"run": 0}})
