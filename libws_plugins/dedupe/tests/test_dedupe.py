"""Each message once: by which key, for how long, within which bounds, and what is told of those that were dropped."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libws_core import Client, Dropped, Message, OptionError, PluginFailed, Reopened, Session, hookimpl
from libws_core.testing import Gone, MemoryDialer, MemoryPeer, Server, ServerPeer, greet, leaks, virtual
from libws_dedupe import Dedupe

RATE = 1_000
"""Messages a second of the feed."""


class Mover:
    """Offers the sessions to the test."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.sessions.append(session)


class Patience:
    @hookimpl
    def reconnect(self) -> float:
        return 0.5


def make(dialer: object, **options: Any) -> tuple[Client, list[Dropped], Mover]:
    mover, told = Mover(), list[Dropped]()
    client = Client("ws://test/", plugins=["-standard", Dedupe(**options), mover, Patience(), dialer])
    client.on(Dropped, told.append)
    return client, told, mover


async def passing(client: Client, peer: MemoryPeer, *messages: Any) -> list[Any]:
    """Send these, and give what of them reaches the user."""
    for message in messages:
        peer.send(message)
    await asyncio.sleep(0)
    peer.send("the end")
    got = []
    while (data := (await client.recv(10)).data) != "the end":
        got.append(data)
    return got


def now() -> float:
    return asyncio.get_running_loop().time()


def u(value: str) -> str:
    return f'{{"data":{{"u":{value}}}}}'


@virtual
async def test_the_second_of_a_key_is_dropped() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key="data.u")
        async with client:
            peer = await dialer.accept()
            assert await passing(client, peer, u("1"), u("2"), u("1") + " ", u("3"), u("2")) == [u("1"), u("2"), u("3")]
            assert client.plugin(Dedupe).dropped == 2


@pytest.mark.parametrize("message", ["no JSON", "{}", '{"data": {"u": null}}', "[1]", b"\xff", ""])
def test_a_message_without_a_key_passes_each_time(message: Any) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client, _, _ = make(dialer, key="data.u")
            async with client:
                peer = await dialer.accept()
                assert await passing(client, peer, message, message, message) == [message] * 3
                assert client.plugin(Dedupe).dropped == 0

    body()


@virtual
async def test_a_key_may_be_a_function() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key=lambda message: message.data[0] if message.data.startswith("a") else None)
        async with client:
            peer = await dialer.accept()
            assert await passing(client, peer, "a1", "a2", "b1", "b1") == ["a1", "b1", "b1"]


@virtual
async def test_keys_are_equal_as_json_is() -> None:
    long, other = '"' + "x" * 500 + '"', '"' + "x" * 499 + 'y"'
    values = ["1", "true", '"1"', "0", "false", '"a"', '["a"]', '{"a": 1, "b": 2}', '{"a": 2}', long, other]
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key="data.u")
        async with client:
            peer = await dialer.accept()
            assert await passing(client, peer, *map(u, values)) == [*map(u, values)]
            assert await passing(client, peer, *map(u, values), u('{"b": 2, "a": 1}')) == []


@virtual
async def test_without_a_key_it_is_the_whole_message() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer)
        async with client:
            peer = await dialer.accept()
            long = "x" * 1000
            sent = ["a", b"a", "b", long, long.encode(), long + "y"]
            assert await passing(client, peer, *sent) == sent
            again = ["a", "c", long, b"a", long.encode(), long + "z"]
            peer.send("!")
            assert (await client.recv(1)).data == "!"
            for message in again:
                peer.send(message)
            assert [(await client.recv(1)).data for _ in range(2)] == ["c", long + "z"]
            assert client.plugin(Dedupe).dropped == 4


@virtual
async def test_a_key_is_remembered_for_the_window_from_its_delivery() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key="data.u", window=10)
        async with client:
            peer = await dialer.accept()
            assert await passing(client, peer, u("1")) == [u("1")]
            await asyncio.sleep(9.9)
            assert await passing(client, peer, u("1"), u("2")) == [u("2")]
            await asyncio.sleep(0.2)  # a double does not make it longer
            assert await passing(client, peer, u("1"), u("2")) == [u("1")]


@virtual
async def test_no_more_than_size_keys_are_remembered() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key="data.u", size=3)
        async with client:
            peer = await dialer.accept()
            plugin = client.plugin(Dedupe)
            assert len(await passing(client, peer, *[u(str(number)) for number in range(5)])) == 5
            assert plugin.forgotten == 2
            assert await passing(client, peer, u("4"), u("3"), u("2"), u("1")) == [u("1")]
            assert (plugin.dropped, plugin.forgotten) == (3, 3)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from([0.0, 0.5, 1.0, 3.0])), max_size=60),
    st.sampled_from([1.0, 2.5, 100.0]),
    st.integers(1, 6),
)
def test_it_is_a_window_of_time_and_number(sent: list[tuple[int, float]], window: float, size: int) -> None:
    @virtual
    async def body() -> None:
        client = Client("ws://test/", plugins=["-standard", Dedupe(key="n", window=window, size=size), MemoryDialer()])
        stage = client.plugin(Dedupe).deliver(client)
        delivered: list[tuple[int, float]] = []
        for number, wait in sent:
            await asyncio.sleep(wait)
            recent = [each for each, at in delivered[-size:] if now() - at < window]
            message = Message.text(f'{{"n":{number}}}')
            result = stage(message)
            assert result is (None if number in recent else message)
            if result is not None:
                delivered.append((number, now()))
        client.plugin(Dedupe)._tell()

    body()


# What is told


@virtual
async def test_what_was_dropped_is_counted_at_once_and_told_once_a_second() -> None:
    async with MemoryDialer() as dialer:
        client, told, _ = make(dialer, key="data.u")
        async with client:
            peer = await dialer.accept()
            for _ in range(50):  # 5 seconds
                for _ in range(20):
                    peer.send(u("1"))
                await asyncio.sleep(0.1)
            assert client.plugin(Dedupe).dropped == 999
            assert client.stats.received == 1
            assert 4 <= len(told) <= 5
            assert all(event.generation == 1 and "key" in event.why for event in told)
            await asyncio.sleep(1)
            assert sum(event.count for event in told) == client.stats.dropped == 999
        assert len(told) <= 6


@virtual
async def test_the_last_ones_are_told_before_the_end() -> None:
    async with MemoryDialer() as dialer:
        client, told, _ = make(dialer, key="data.u")
        async with client:
            peer = await dialer.accept()
            assert await passing(client, peer, u("1"), u("1")) == [u("1")]
            assert told == []
        assert [event.count for event in told] == [1]
        assert client.stats.dropped == client.plugin(Dedupe).dropped == 1


@virtual
async def test_what_came_right_behind_the_handshake_is_told_too() -> None:
    async with MemoryDialer(greet(u("1"), u("1"))) as dialer:
        client, told, _ = make(dialer, key="data.u")
        async with client:
            assert (await client.recv(1)).data == u("1")
            await asyncio.sleep(3)
            assert [event.count for event in told] == [1]


@virtual
async def test_keys_are_remembered_across_reconnects() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key="data.u")
        async with client:
            peer = await dialer.accept()
            assert await passing(client, peer, u("1"), u("2")) == [u("1"), u("2")]
            peer.drop()
            peer = await dialer.accept()
            assert await passing(client, peer, u("1"), u("2"), u("3")) == [u("3")]


# What is refused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"key": "data..u"}, "option 'key': 'data..u' is not a path"),
        ({"key": ""}, "option 'key'"),
        ({"key": asyncio.sleep}, "option 'key': a key must be a plain function"),
        ({"window": 0}, "option 'window': expected float > 0"),
        ({"size": 0}, "option 'size': expected int >= 1"),
    ],
)
def test_bad_options_are_told_when_the_client_is_made(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as caught:
        Client("ws://test/", plugins=["dedupe"], options={"dedupe": options})
    assert text in str(caught.value)


@virtual
async def test_a_key_that_cannot_be_remembered_names_the_plugin() -> None:
    async with MemoryDialer() as dialer:
        client, _, _ = make(dialer, key=lambda message: {1, 2})
        await client.open()
        (await dialer.accept()).send("x")
        with pytest.raises(PluginFailed, match="plugin 'dedupe' failed in deliver"):
            await client.wait_closed()


def test_each_client_remembers_on_its_own() -> None:
    plugin = Dedupe(key="u")
    first, second = (Client("ws://test/", plugins=["-standard", plugin, MemoryDialer()]) for _ in range(2))
    assert first.plugin(Dedupe) is not second.plugin(Dedupe)


# A move, with real sockets


class Feed:
    """Numbers messages at a steady rate, and sends each to every connection that is open."""

    def __init__(self) -> None:
        self.number = 0
        self.peers: list[ServerPeer] = []
        self.watchers: list[Callable[[], object]] = []
        self.joined: list[int] = []
        """The first number that each connection was sent."""
        self.left: list[int] = []
        """The last number that each connection was sent."""

    async def join(self, peer: ServerPeer) -> None:
        self.peers.append(peer)
        self.joined.append(self.number + 1)
        try:
            async for _ in peer:
                pass
        finally:
            self.peers.remove(peer)
            self.left.append(self.number)

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        while True:
            await asyncio.sleep(0.005)
            while self.number < (loop.time() - begin) * RATE:
                self.number += 1
                for peer in self.peers:
                    try:
                        peer.send(f'{{"n":{self.number},"of":{peer.number}}}')
                    except Gone:
                        pass


async def test_a_move_under_a_thousand_messages_a_second_loses_0_doubles_0_and_keeps_order(dialer: Any) -> None:
    feed, mover = Feed(), Mover()
    moves = 3
    async with leaks(), Server(feed.join) as server:
        feeding = asyncio.create_task(feed.run())
        client = Client(server.url, plugins=["-standard", Dedupe(key="n"), mover, dialer()])
        moved: list[Reopened] = []
        client.on(Reopened, moved.append)
        got: list[tuple[int, int]] = []
        enough = asyncio.Event()

        def take(message: Message) -> None:
            got.append((message.json["n"], message.json["of"]))
            if len(moved) == moves and got[-1][1] == moves + 1:
                enough.set()

        client.on_message(take)
        async with client:
            for number in range(1, moves + 1):
                begin = len(got)
                result = mover.sessions[-1].reopen("test", overlap=5, settle=0.4)
                assert await result is True
                assert len(moved) == number
                assert len(got) > begin + 100, "messages went on to arrive during the move"
            async with asyncio.timeout(20):
                await enough.wait()
            plugin = client.plugin(Dedupe)
        feeding.cancel()
        numbers = [number for number, _ in got]
        assert numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        assert [of for of, _ in itertools.groupby(of for _, of in got)] == [1, 2, 3, 4]
        assert all(event.overlap >= 0.4 for event in moved)
        # Both carried: what they had in common came twice, and once to the user.
        assert plugin.dropped >= moves * 0.4 * RATE * 0.5
        common = sum(left - joined + 1 for left, joined in zip(feed.left, feed.joined[1:], strict=False))
        assert plugin.dropped <= common
        assert client.stats.dropped == plugin.dropped
        assert client.stats.received == len(got)
        await asyncio.gather(feeding, return_exceptions=True)


async def test_without_it_the_same_move_doubles(dialer: Any) -> None:
    """So the test above can fail."""
    feed, mover = Feed(), Mover()
    async with leaks(), Server(feed.join) as server:
        feeding = asyncio.create_task(feed.run())
        client = Client(server.url, plugins=["-standard", mover, dialer()])
        got: list[int] = []
        client.on_message(lambda message: got.append(message.json["n"]))
        async with client:
            assert await mover.sessions[-1].reopen("test", overlap=5, settle=0.2) is True
        feeding.cancel()
        assert len(got) > len({*got}) + 50
        await asyncio.gather(feeding, return_exceptions=True)
