"""Subscriptions and mutations behind a line on which everything goes wrong: nothing is missing without a Gap."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import Client, ClientClosed, Gap, LibwsError, NotReady
from libws_core.testing import Faults, MemoryPeer, Simulation
from libws_graphql import Graphql, OperationLost, OperationTimeout

READERS = 3


class Ticks(Simulation):
    """A server that counts for whoever has subscribed, and answers mutations sooner or later."""

    faults = Faults(lifetime=(0, 8))
    moves = False

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.dialer.subprotocols = ("graphql-transport-ws",)
        self.tick = 0
        self.listeners: dict[MemoryPeer, list[str]] = {}
        self.paid: Counter[int] = Counter()
        self.ends: dict[int, Any] = {}
        self.got: list[list[Any]] = [[] for _ in range(READERS)]
        self.left: tuple[str, ...] = ("unknown",)

    def client(self) -> Client:
        options: dict[str, Any] = {"graphql": {"timeout": 5}, "ping": {"interval": 2, "timeout": 2}}
        if self.moves:
            options["reopen"] = {"every": 2, "overlap": 0.5}
        moving = ["reopen"] if self.moves else []
        return Client("ws://test/", plugins=["graphql", *moving, self.dialer, "-websockets"], options=options)

    async def server(self, peer: MemoryPeer) -> None:
        listening = self.listeners[peer] = []
        try:
            async for message in peer:
                said = message.json
                if said["type"] == "connection_init":
                    peer.send({"type": "connection_ack"})
                elif said["type"] == "ping":
                    peer.send({"type": "pong"})
                elif said["type"] == "subscribe" and said["payload"]["query"] == "subscription { tick }":
                    assert said["id"] not in listening
                    listening.append(said["id"])
                elif said["type"] == "subscribe":
                    number = said["payload"]["variables"]["number"]
                    self.paid[number] += 1
                    peer.send({"type": "next", "id": said["id"], "payload": {"data": {"pay": number}}})
                    peer.send({"type": "complete", "id": said["id"]})
                elif said["type"] == "complete" and said["id"] in listening:
                    listening.remove(said["id"])
                self.publish()
        finally:
            del self.listeners[peer]

    def publish(self) -> None:
        self.tick += 1
        for peer, ids in self.listeners.items():
            for id in ids:
                if not peer.gone:
                    peer.send({"type": "next", "id": id, "payload": {"data": {"tick": self.tick}}})

    async def user(self, client: Client) -> None:
        graphql = client.plugin(Graphql)

        async def follow(got: list[Any]) -> None:
            async for item in graphql.subscribe("subscription { tick }", markers=True):
                got.append(item if isinstance(item, Gap) else item["tick"])

        async def pay(number: int) -> None:
            query = "mutation Pay($number: Int!) { pay(number: $number) }"
            try:
                self.ends[number] = await graphql.execute(query, variables={"number": number})
            except (LibwsError, asyncio.CancelledError) as error:
                self.ends[number] = error

        async def go_on_paying() -> None:
            while client.state not in ("closing", "closed", "failed"):
                paying.append(asyncio.create_task(pay(len(paying))))
                await asyncio.sleep(self.chance.uniform(0, 0.8))
                if self.chance.random() < 0.1:
                    self.chance.choice(paying).cancel()

        paying: list[asyncio.Task[None]] = []
        following = [asyncio.create_task(follow(got)) for got in self.got]
        payer = asyncio.create_task(go_on_paying())
        async for item in self.read(client):
            assert isinstance(item, Gap), "something came past the plugin"
        await asyncio.gather(payer, *paying, *following)
        self.left = graphql.subscriptions

    def verify(self) -> None:
        assert self.left == ()
        again = [number for number, times in self.paid.items() if times > 1]
        assert not again, f"sent twice: {again}"
        for number, end in self.ends.items():
            if isinstance(end, (NotReady, ClientClosed)):
                assert not self.paid[number], f"{number} was paid, and its sender was told {end}"
            elif isinstance(end, dict):
                assert end == {"pay": number}
                assert self.paid[number] == 1
            else:
                assert isinstance(end, (OperationLost, OperationTimeout, asyncio.CancelledError)), repr(end)
        for got in self.got:
            self.check_reader(got)

    def check_reader(self, got: list[Any]) -> None:
        """The ticks go up one by one, but for what stands behind a Gap."""
        last = None
        for item in got:
            if isinstance(item, Gap):
                last = None
            else:
                assert last is None or item == last + 1, f"{item} behind {last} without a Gap"
                last = item


class MovingTicks(Ticks):
    moves = True

    def check_reader(self, got: list[Any]) -> None:
        """In a move some come twice; none is left out."""
        last = None
        for item in got:
            if isinstance(item, Gap):
                last = None
            else:
                assert last is None or item <= last + 1, f"{item} behind {last} without a Gap"
                last = item if last is None else max(last, item)


@pytest.mark.parametrize("kind", [Ticks, MovingTicks])
def test_no_result_is_missing_without_a_gap_and_no_mutation_is_sent_twice(kind: type[Ticks]) -> None:
    kind.check(seeds=40)


def test_the_simulation_meets_losses() -> None:
    """It would prove nothing if each mutation had its result, or if no reader ever saw a Gap."""
    kinds: set[type] = set()

    class Told(Ticks):
        def verify(self) -> None:
            super().verify()
            kinds.update(type(end) for end in self.ends.values())
            kinds.update(type(item) for got in self.got for item in got)

    Told.check(seeds=20)
    assert {dict, OperationLost, OperationTimeout, NotReady, Gap, int} <= kinds


def test_a_subscription_that_is_not_begun_again_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    begin: Callable[..., Any] = Graphql._begin

    def forget(self: Graphql, line: Any, operation: Any) -> Any:
        message = begin(self, line, operation)
        operation.feeds[-1].items.clear()  # no Gap
        return message

    monkeypatch.setattr(Graphql, "_begin", forget)
    with pytest.raises(AssertionError, match="without a Gap"):
        Ticks.check(seeds=40)
