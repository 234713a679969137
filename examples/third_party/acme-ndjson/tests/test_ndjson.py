"""The contract of a dialer, and what is this wire's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, ClassVar

import pytest
from line_server import LinePeer, LineServer

from acme_ndjson import Ndjson
from acme_ndjson.lines import BadLine, read, write
from libws_core import (
    Client,
    ConnectError,
    Disconnected,
    Kind,
    LibwsError,
    Message,
    NameResolutionError,
    NotReady,
    ProtocolError,
    Reconnected,
    Request,
)
from libws_core.testing import DialerContract, leaks


class TestNdjson(DialerContract):
    plugin = Ndjson
    bad_options: ClassVar = {"max_size": [0, -1]}
    schemes = ("ndjson+tcp",)
    kinds = (Kind.TEXT, Kind.PING, Kind.PONG)
    troubles = ("refuse",)  # TCP is all there is: who is connected is connected

    @contextlib.asynccontextmanager
    async def serve(self, trouble: str = "") -> AsyncIterator[LineServer]:
        async with LineServer() as server:
            if trouble == "refuse":
                await server.stop()
            yield server


class TestNdjsonOnUvloop(TestNdjson):
    loop_factory = pytest.importorskip("uvloop").new_event_loop


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test with real sockets; half a minute must do."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 30))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


def client_of(server: LineServer, **options: Any) -> Client:
    return Client(server.url, plugins=["ndjson", "-websockets"], options={"backoff": {"base": 0.01}, **options})


async def lost(receiving: Any) -> Any:
    """What ends a connection that meets this."""
    async with LineServer() as server:
        client = Client(server.url, plugins=["ndjson", "-standard"])
        await client.open()
        peer = await server.accept()
        peer.raw(receiving)
        with pytest.raises(ProtocolError) as caught:
            await client.wait_closed()
        return caught.value, await peer.wait_gone()


# The client over it


@on_a_loop
async def test_a_client_pings_confirms_and_comes_back() -> None:
    async with leaks(), LineServer() as server:
        client = client_of(server, ping={"interval": 0.02, "when": "always"})
        lost: list[Disconnected] = []
        back: asyncio.Future[Reconnected] = asyncio.get_running_loop().create_future()
        client.on(Disconnected, lost.append)
        client.on(Reconnected, back.set_result)
        async with client:
            peer = await server.accept()
            await client.send_json({"n": 1}, confirm=True)
            assert (await peer.recv()).json == {"n": 1}
            await peer.pinged.wait()
            assert client.latency is not None
            peer.close(1012, "restart")
            await back
            peer = await server.accept()
            await client.send("again", confirm=True)
            assert (await peer.recv()).data == "again"
        assert [(event.error.code, event.error.initiator) for event in lost] == [(1012, "remote"), (1000, "local")]
        assert await peer.wait_gone() == 1000


@on_a_loop
async def test_what_no_line_can_hold_is_refused_to_who_sends_it() -> None:
    async with leaks(), LineServer() as server, client_of(server) as client:
        peer = await server.accept()
        for data in ("two\nlines", ":close 1000", b"binary"):
            with pytest.raises(ValueError, match="ndjson"):
                await client.send(data)
        await client.send("one line")
        assert (await peer.recv()).data == "one line"
        assert client.stats.sent == 1


@on_a_loop
async def test_a_line_that_comes_in_pieces_is_one_message() -> None:
    async with leaks(), LineServer() as server, client_of(server) as client:
        peer = await server.accept()
        for byte in "grüße\n\n{}\n".encode():
            await peer.raw(bytes([byte]))
            await asyncio.sleep(0)
        assert [(await client.recv(timeout=5)).data for _ in range(3)] == ["grüße", "", "{}"]


@on_a_loop
async def test_half_a_line_at_the_end_is_nothing() -> None:
    async with leaks(), LineServer() as server:
        client = Client(server.url, plugins=["ndjson", "-standard"])
        await client.open()
        peer = await server.accept()
        peer.raw(b"whole\nhal")
        peer.drop()
        with pytest.raises(ConnectionError):
            await client.wait_closed()
        assert (await client.recv()).data == "whole"
        with pytest.raises(ConnectionError):
            await client.recv()


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\xff\n", 1007),
        (b":what\n", 1002),
        (b":ping xyz\n", 1002),
        (b":close\n", 1002),
        (b':close 12 ""\n', 1002),
        (b":close 1000 {}\n", 1002),
    ],
)
def test_a_line_that_breaks_the_rules_ends_the_connection(line: bytes, code: int) -> None:
    error, said = asyncio.run(lost(line))
    assert (error.code, said) == (code, code)
    assert error.verdict == "fatal"


# The connection itself


class Taker:
    """Takes what a connection pushes."""

    def __init__(self) -> None:
        self.data: list[Any] = []
        self.end: asyncio.Future[LibwsError] = asyncio.get_running_loop().create_future()
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def deliver(self, message: Message) -> None:
        self.data.append(message.data)
        if not self.first.done():
            self.first.set_result(None)


@contextlib.asynccontextmanager
async def dialed() -> AsyncIterator[tuple[Any, LinePeer, Taker]]:
    """A connection that is not started, its other end, and who takes what it pushes."""
    async with LineServer() as server:
        connection: Any = await Ndjson().dial(Request(server.url))
        try:
            yield connection, await server.accept(), Taker()
        finally:
            connection.abort()


async def turns() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


@on_a_loop
async def test_nothing_is_read_before_it_is_started() -> None:
    async with dialed() as (_, peer, _):
        peer.raw(b"x" * 2**26)
        before = 0
        while peer.unsent != before:  # until no more goes into the sockets
            before = peer.unsent
            await turns()
        assert peer.unsent > 0


@on_a_loop
async def test_what_was_read_is_delivered_although_the_line_broke_while_paused() -> None:
    async with dialed() as (connection, peer, taker):

        def take_one(message: Message) -> None:
            taker.deliver(message)
            connection.pause()

        connection.start(take_one, taker.end.set_result)
        await peer.raw(b"one\ntwo\nthree\n")
        await taker.first
        await peer.drop(reset=True)
        while not connection._lost:  # a write meets the reset; reading would not, while paused
            connection.write(Message.text("x"))
            await asyncio.sleep(0)
        await turns()
        assert (taker.data, taker.end.done()) == (["one"], False)
        for _ in range(3):
            connection.resume()
            await turns()
        assert taker.data == ["one", "two", "three"]
        assert (await taker.end).code == 1006


@on_a_loop
async def test_a_server_that_has_left_does_not_hold_us_back() -> None:
    async with dialed() as (connection, peer, taker):
        connection.start(taker.deliver, taker.end.set_result)
        peer.stall()
        while connection.buffered < 2**20:
            connection.write(Message.text("x" * 2**16))
            await turns()
        peer.finish_writing()
        assert (await taker.end).code == 1006
        assert connection.buffered == 0


@on_a_loop
async def test_a_server_that_does_not_end_tcp_is_not_waited_for_long() -> None:
    async with dialed() as (connection, peer, taker):
        connection.start(taker.deliver, taker.end.set_result)
        peer.ends_tcp = False
        connection.close(4001)
        error = await taker.end
        assert (error.code, error.initiator) == (4001, "local")
        assert await peer.wait_gone() == 4001


# Dialing


@pytest.mark.parametrize(
    ("url", "more", "said"),
    [
        ("ndjson+tcp://host", {}, "needs a host and a port"),
        ("ndjson+tcp://host:1/path", {}, "no path, query or user"),
        ("ndjson+tcp://user:s3cret@host:1", {}, "no path, query or user"),
        ("ndjson+tcp://host:1/?key=s3cret", {}, "no path, query or user"),
        ("ndjson+tcp://host:1", {"proxy": "http://proxy:1"}, "no proxy"),
        ("ndjson+tcp://host:1", {"headers": {"authorization": "s3cret"}}, "Authorization cannot be sent"),
    ],
)
def test_what_this_wire_cannot_do_is_refused_at_once(url: str, more: Any, said: str) -> None:
    async def main() -> None:
        with pytest.raises(ConnectError, match=said) as caught:
            await Client(url, plugins=["ndjson"], **more).open()
        assert caught.value.verdict == "fatal"
        assert "s3cret" not in str(caught.value)

    asyncio.run(main())


@on_a_loop
async def test_a_name_that_does_not_resolve_and_a_port_where_nobody_listens() -> None:
    with pytest.raises(NameResolutionError):
        await Client("ndjson+tcp://host.invalid:1", plugins=["ndjson", "-standard"]).open()
    async with LineServer() as server:
        await server.stop()
        with pytest.raises(ConnectError, match="connection refused"):
            await Client(server.url, plugins=["ndjson", "-standard"]).open()


@on_a_loop
async def test_a_client_that_is_not_ready_says_so() -> None:
    async with LineServer() as server:
        client = client_of(server)
        with pytest.raises(NotReady):
            await client.send("x")
        await client.close()


# Lines


@pytest.mark.parametrize(
    "message",
    [
        Message.text(""),
        Message.text('{"a": "ü"}'),
        Message.ping(b""),
        Message.ping(b"\x00\xff\n"),
        Message.pong(b"x"),
        Message.close(1000, ""),
        Message.close(4999, 'a\nb "c" \u2028'),
        Message.close(1005),
    ],
)
def test_what_is_written_is_read(message: Message) -> None:
    line = write(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert read(line[:-1]) == message


def test_a_reason_is_cut_where_a_character_ends() -> None:
    assert read(write(Message.close(1000, "ü" * 100))[:-1]).reason == "ü" * 61


def test_a_bad_line_is_not_quoted() -> None:
    with pytest.raises(BadLine) as caught:
        read(b":close s3cret")
    assert "s3cret" not in str(caught.value)
