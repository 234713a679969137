"""On real sockets, with each dialer: an exchange that drops its clients, and every number accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from libws_core import Client, Gap, Message, Reconnected, Session, SubscriptionRejected, hookimpl
from libws_core.testing import Gone, Server, ServerPeer, leaks
from libws_dedupe import Dedupe
from libws_subscriptions import Subscriptions

TOPICS = [f"s{number}@trade" for number in range(40)]
BEAT = 0.01
"""Seconds from one number of each topic to the next."""


class Mover:
    def __init__(self) -> None:
        self.sessions: list[Session] = []

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.sessions.append(session)


class Exchange:
    """Numbers each topic's messages, whether somebody listens or not, and answers each request."""

    def __init__(self) -> None:
        self.number = 0
        self.streams: dict[ServerPeer, set[str]] = {}
        self.requests: list[tuple[int, str, int]] = []
        """Connection, method and number of topics of each request."""

    async def talk(self, peer: ServerPeer) -> None:
        self.streams[peer] = set()
        try:
            async for message in peer:
                request = message.json
                topics = request["params"]
                self.requests.append((peer.number, request["method"], len(topics)))
                if "bad" in topics:
                    await peer.send({"error": "no such stream", "id": request["id"]})
                    continue
                change = set.update if request["method"] == "SUBSCRIBE" else set.difference_update
                change(self.streams[peer], topics)
                await peer.send({"result": None, "id": request["id"]})
        finally:
            del self.streams[peer]

    async def run(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            self.number += 1
            for peer, topics in self.streams.items():
                for topic in sorted(topics):
                    try:
                        peer.send({"s": topic, "n": self.number})
                    except Gone:
                        break


class Account:
    """What a client got: for each topic the numbers that came, and those that were said to be missing."""

    def __init__(self) -> None:
        self.ranges: dict[str, list[tuple[int, int, bool]]] = {}
        self.waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    async def read(self, client: Client) -> None:
        async for item in client.stream(markers=True):
            if isinstance(item, Gap):
                if item.topic is not None:
                    self.ranges.setdefault(item.topic, []).append((item.first, item.last, False))
            else:
                number = item.json["n"]
                self.ranges.setdefault(item.json["s"], []).append((number, number, True))
            for look, waiter in self.waiters:
                if not waiter.done() and look():
                    waiter.set_result(None)

    async def until(self, look: Callable[[], bool]) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiters.append((look, waiter))
        async with asyncio.timeout(20):
            await waiter

    def last(self, topic: str) -> int:
        return self.ranges.get(topic, [(0, 0, True)])[-1][1]

    def check(self) -> int:
        """Every number is there once, in order, or lies within a gap; gives how many are missing."""
        missing = 0
        for topic, ranges in self.ranges.items():
            reached = ranges[0][0] - 1
            for first, last, came in ranges:
                assert first == reached + 1, f"{topic}: {first} behind {reached}"
                reached = last
                missing += 0 if came else last - first + 1
        return missing


@asynccontextmanager
async def running(
    dialer: Any, *plugins: object, **options: Any
) -> AsyncIterator[tuple[Any, Exchange, Server, Account]]:
    exchange, account = Exchange(), Account()
    plugin = Subscriptions(
        encode={"method": "SUBSCRIBE", "params": "$topics", "id": "$id"},
        encode_remove={"method": "UNSUBSCRIBE", "params": "$topics", "id": "$id"},
        confirm={"result": None, "id": "$id"},
        reject={"error": "$error", "id": "$id"},
        position="n",
        topic="s",
        batch=10,
        topics=TOPICS,
        **options,
    )
    async with leaks(), Server(exchange.talk) as server:
        feeding = asyncio.create_task(exchange.run())
        client = Client(
            server.url,
            plugins=["-standard", "backoff", plugin, *plugins, dialer()],
            options={"backoff": {"base": 0.05, "jitter": "none"}},
        )
        async with client:
            reading = asyncio.create_task(account.read(client))
            yield client, exchange, server, account
        await reading
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)


ENDS: list[Callable[[ServerPeer], object]] = [
    lambda peer: peer.drop(),
    lambda peer: peer.drop(reset=True),
    lambda peer: peer.close(1012),
]


async def lose(client: Client, server: Server, end: Callable[[ServerPeer], object]) -> None:
    back: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    remove = client.on(Reconnected, back.set_result)
    end(server.peers[-1])
    async with asyncio.timeout(20):
        await back
    remove()


async def test_every_number_is_delivered_or_lies_in_its_topics_gap_across_losses(dialer: Any) -> None:
    async with running(dialer) as (client, exchange, server, account):
        subscriptions = client.plugin(Subscriptions)
        for number, end in enumerate(ENDS, 1):
            await account.until(lambda: all(account.last(topic) for topic in TOPICS))
            await lose(client, server, end)
            assert subscriptions.active == tuple(TOPICS)
            assert [request for request in exchange.requests if request[0] == number + 1] == [
                (number + 1, "SUBSCRIBE", 10)
            ] * 4
            reached = exchange.number
            await account.until(lambda reached=reached: all(account.last(topic) > reached for topic in TOPICS))  # type: ignore[misc]
    assert account.check() > 0
    assert {*account.ranges} == {*TOPICS}


async def test_a_backfill_leaves_nothing_missing(dialer: Any) -> None:
    asked: list[Gap] = []

    async def backfill(gap: Gap) -> list[dict[str, Any]]:
        asked.append(gap)
        await asyncio.sleep(0.01)
        return [{"s": gap.topic, "n": number} for number in range(gap.first, gap.last + 1)]

    async with running(dialer, backfill=backfill) as (client, exchange, server, account):
        for end in ENDS:
            await account.until(lambda: all(account.last(topic) for topic in TOPICS))
            await lose(client, server, end)
            reached = exchange.number
            await account.until(lambda reached=reached: all(account.last(topic) > reached for topic in TOPICS))  # type: ignore[misc]
        filled = client.plugin(Subscriptions).backfilled
    assert account.check() == 0
    assert filled > 0
    assert len(asked) >= len(TOPICS)


async def test_a_move_in_which_both_carry_loses_nothing_and_tells_no_gap(dialer: Any) -> None:
    mover, gaps = Mover(), list[Gap]()

    def key(message: Message) -> Any:
        return message.json["s"], message.json["n"]

    async with running(dialer, Dedupe(key=key), mover) as (client, exchange, _, account):
        client.on(Gap, gaps.append)
        for _ in range(2):
            await account.until(lambda: all(account.last(topic) for topic in TOPICS))
            assert await mover.sessions[-1].reopen("test", overlap=5, settle=0.3) is True
            reached = exchange.number
            await account.until(lambda reached=reached: all(account.last(topic) > reached for topic in TOPICS))  # type: ignore[misc]
        assert client.plugin(Subscriptions).active == tuple(TOPICS)
        dropped = client.plugin(Dedupe).dropped
    assert account.check() == 0
    assert gaps == []
    assert dropped > len(TOPICS)


async def test_topics_are_added_removed_and_refused_on_a_live_connection(dialer: Any) -> None:
    async with running(dialer) as (client, exchange, server, account):
        subscriptions = client.plugin(Subscriptions)
        async with asyncio.timeout(20):
            assert await subscriptions.add("new@trade") is True
            with pytest.raises(SubscriptionRejected, match="no such stream"):
                await subscriptions.add("bad")
            await account.until(lambda: account.last("new@trade") > 0)
            assert await subscriptions.remove(*TOPICS) is True
        await lose(client, server, ENDS[0])
        assert exchange.streams[server.peers[-1]] == {"new@trade"}
        assert subscriptions.active == ("new@trade",)
