"""Real connections that are replaced under a live feed: on each dialer and each loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import AttemptFailed, Client, Disconnected, Event, Gap, Message, Reopened
from libws_core.testing import Server, ServerPeer, leaks
from libws_reopen import Reopen

RATE = 1000
"""Messages a second."""


class Feed:
    """Numbered messages for every peer there is, until it has said its last: the answer to the client's close."""

    def __init__(self) -> None:
        self.number = 0
        self.peers: list[ServerPeer] = []

    def say(self) -> None:
        self.number += 1
        self.peers = [peer for peer in self.peers if peer.closed is None and not peer.gone]
        for peer in self.peers:
            peer.send(str(self.number))

    async def run(self) -> None:
        """As many messages as should have been sent, however late the loop is."""
        loop = asyncio.get_running_loop()
        begin, before = loop.time(), self.number
        while True:
            await asyncio.sleep(0.002)
            while self.number - before < (loop.time() - begin) * RATE:
                self.say()


class Queue(Feed):
    """Each message goes to one peer only, the one that was chosen last; until there is one, it waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[str] = []

    def say(self) -> None:
        self.number += 1
        self.waiting.append(str(self.number))
        self.hand_out()

    def choose(self, peer: ServerPeer) -> None:
        self.peers = [peer]
        self.hand_out()

    def hand_out(self) -> None:
        if self.peers and self.peers[0].closed is None and not self.peers[0].gone:
            for text in self.waiting:
                self.peers[0].send(text)
            self.waiting.clear()


def make(server: Server, dialer: Any, reopen: Reopen, **more: Any) -> tuple[Client, list[Any], list[int]]:
    client = Client(server.url, plugins=["-standard", reopen, dialer()], proxy=None, close_timeout=5, **more)
    events: list[Any] = []
    client.on(Event, events.append)
    return client, events, []


def kinds(events: list[Any], *wanted: type[Event]) -> list[str]:
    return [type(event).__name__ for event in events if isinstance(event, wanted)]


async def read_until(client: Client, got: list[int], last: Callable[[], int]) -> None:
    while not got or got[-1] < last():
        got.append(int((await client.recv()).data))


async def moves(client: Client, count: int) -> asyncio.Future[None]:
    """Ends when so many moves are done."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    left = count

    def moved(event: Event) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            future.set_result(None)

    client.on(Reopened, moved)
    return future


@pytest.mark.parametrize("inbox", [50, 10_000])
async def test_moves_under_a_live_feed_lose_nothing_double_nothing_and_keep_the_order(dialer: Any, inbox: int) -> None:
    """A queue gives each number to one connection, the one that was last heard of."""
    feed = Queue()

    async def serve(peer: ServerPeer) -> None:
        async for message in peer:
            assert message.data == "feed me"
            feed.choose(peer)
        await peer.wait_gone(30)

    async with leaks(), asyncio.timeout(40), Server(serve) as server:
        client, events, got = make(server, dialer, Reopen(every=0.4, overlap=0.2), inbox_messages=inbox)
        async with client:
            done = await moves(client, 4)
            await client.send("feed me")
            feeding = asyncio.create_task(feed.run())

            async def read() -> None:
                async for message in client:
                    got.append(int(message.data))

            reading = asyncio.create_task(read())

            async def ask() -> None:
                """What is sent goes to the connection that carries, and to no other."""
                while True:
                    await client.send("feed me")
                    await asyncio.sleep(0.01)

            asking = asyncio.create_task(ask())
            await done
            asking.cancel()
            feeding.cancel()
            await client.send("feed me", confirm=True)
        await reading
        assert got == list(range(1, feed.number + 1))
        assert feed.number > 500
        assert not kinds(events, Gap, AttemptFailed)
        assert kinds(events, Reopened, Disconnected)[-2:] in (["Reopened", "Disconnected"], ["Disconnected"])


async def test_a_feed_that_goes_to_both_comes_twice_at_most_and_each_ones_order_is_kept(dialer: Any) -> None:
    feed = Feed()

    def serve(peer: ServerPeer) -> None:
        feed.peers.append(peer)
        peer.on_message = lambda message: None

    async with leaks(), asyncio.timeout(40), Server(serve) as server:
        client, events, got = make(server, dialer, Reopen(every=0.5, settle=0.2))
        async with client:
            done = await moves(client, 1)
            feeding = asyncio.create_task(feed.run())
            await done
            feeding.cancel()
            feed.say()
            await read_until(client, got, lambda: feed.number)
        assert sorted(set(got)) == list(range(1, feed.number + 1))
        (turn,) = [place for place in range(1, len(got)) if got[place] <= got[place - 1]]  # one connection, the other
        first, second = got[:turn], got[turn:]
        assert first == list(range(1, first[-1] + 1))
        assert second == list(range(second[0], second[-1] + 1))
        assert second[0] <= first[-1] + 1
        assert not kinds(events, Gap, AttemptFailed)


@pytest.mark.parametrize("order", ["make-first", "break-first"])
@pytest.mark.parametrize("inbox", [20, 10_000])
async def test_what_a_server_sends_until_it_answers_the_close_is_delivered(dialer: Any, order: Any, inbox: int) -> None:
    """The old connection's last words come first, also if the new one has spoken before."""
    more = 500

    async def serve(peer: ServerPeer) -> None:
        peer.answer_close = peer.number > 1
        peer.send(f"{peer.number} hello")
        if peer.number > 1:
            await peer.wait_gone(30)
            return
        await peer.expect(lambda message: message.data == "last words, please")
        await peer.expect(Message.close(1000))
        for number in range(more):
            await peer.send(f"1 {number}")
        await peer.close()

    async with leaks(), asyncio.timeout(40), Server(serve) as server:
        client, events, _ = make(server, dialer, Reopen(every=0.3, order=order), inbox_messages=inbox)
        async with client:
            done = await moves(client, 1)
            await client.send("last words, please")
            got = [(await client.recv()).data for _ in range(1 + more + 1)]
            await done
        assert got == ["1 hello", *(f"1 {number}" for number in range(more)), "2 hello"]
        assert kinds(events, Gap) == (["Gap"] if order == "break-first" else [])


async def test_a_new_one_that_is_refused_leaves_the_old_one_and_is_tried_again(
    dialer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("libws_reopen.FIRST_RETRY", 0.1)
    async with leaks(), asyncio.timeout(40), Server() as server:
        client, events, _ = make(server, dialer, Reopen(every=0.3, overlap=0))
        async with client:
            done = await moves(client, 1)
            peer = await server.accept()
            server.refuse(503, times=2)
            await server.reached(3)
            peer.send("still here")
            assert (await client.recv()).data == "still here"
            await client.send("and heard", confirm=True)
            await peer.expect("and heard")
            await done
        assert kinds(events, AttemptFailed, Reopened, Disconnected) == [
            "AttemptFailed", "AttemptFailed", "Reopened", "Disconnected",
        ]  # fmt: skip


async def test_a_new_one_that_is_reset_while_it_settles_gives_back_to_the_old_one(dialer: Any) -> None:
    async with leaks(), asyncio.timeout(40), Server() as server:
        client, events, _ = make(server, dialer, Reopen(every=0.3, settle=30))
        async with client:
            old = await server.accept()
            new = await server.accept()
            lost: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            client.on(Disconnected, lambda event: lost.done() or lost.set_result(event))
            new.send("of the new one")
            while (await client.send("who hears me?"), await asyncio.sleep(0.01)) and not new.received:
                pass
            new.drop(reset=True)
            assert (await lost).generation == 2
            old.send("of the old one")
            assert [(await client.recv()).data for _ in range(2)] == ["of the new one", "of the old one"]
            before = old.received
            await client.send("back again", confirm=True)
            assert old.received == before + 1
            assert client.state == "ready"
        assert not kinds(events, Reopened)
