"""What is told adds up, whatever goes wrong: seeded faults, moves, and a user who sends."""

from __future__ import annotations

import asyncio
from typing import Any

from libws_core import AttemptFailed, Client, Connected, Connecting, Disconnected, Event, Reconnected, Retrying
from libws_core.testing import MemoryPeer, Simulation

from .telemetry import Telemetry, told


class Observed(Simulation):
    """A client that moves now and then, with everything measured."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.telemetry = Telemetry()
        self.events: list[Event] = []
        self.attempts: set[int] = set()
        self.made: Client

    def client(self) -> Client:
        order = self.chance.choice(["make-first", "break-first"])
        options = {
            "ping": {"interval": 2, "timeout": 2},
            "reopen": {"every": self.chance.uniform(1, 10), "order": order, "overlap": 1, "settle": 1},
        }
        plugins = [self.telemetry.plugin(), "reopen", self.dialer, "-websockets"]
        self.made = Client("ws://test/", plugins=plugins, options=options, open_timeout=2)
        return self.made

    def server(self, peer: MemoryPeer) -> None:
        peer.on_message = peer.send

    async def user(self, client: Client) -> None:
        async def send() -> None:
            while True:
                await asyncio.sleep(self.chance.uniform(0.1, 1))
                try:
                    await client.send("x", timeout=1)
                except ConnectionError:
                    continue

        sending = asyncio.create_task(send())
        try:
            async for _ in self.read(client):
                pass
        finally:
            sending.cancel()

    def hear(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Connecting):
            self.attempts.add(event.attempt)

    def count(self, kind: type[Any]) -> int:
        return sum(isinstance(event, kind) for event in self.events)

    def verify(self) -> None:
        telemetry = self.telemetry
        assert telemetry.open == []
        attempts, connections = telemetry.spans("attempt"), telemetry.spans("connection")
        assert [told(span)["libws.attempt"] for span in attempts] == sorted(self.attempts)
        ready = [told(span)["libws.attempt"] for span in attempts if told(span)["libws.outcome"] == "ready"]
        assert sorted(told(span)["libws.attempt"] for span in connections) == ready
        assert telemetry.total("attempts") == len(attempts)
        assert telemetry.total("connections") == 0
        assert telemetry.total("connection.uptime") == len(connections)
        lost = sum(event.error.initiator != "local" for event in self.events if isinstance(event, Disconnected))
        given_up = sum(
            event.error.initiator == "local" and type(event.error).__name__ not in ("ConnectionClosed", "ClientClosed")
            for event in self.events
            if isinstance(event, Disconnected)
        )
        assert telemetry.total("failures") == self.count(AttemptFailed) + lost + given_up
        assert telemetry.total("reconnect.delay") == self.count(Retrying)
        assert self.count(Connected) + self.count(Reconnected) >= 1
        assert telemetry.total("messages.sent") == self.made.stats.sent
        assert telemetry.total("messages.received") == self.made.stats.received


def test_spans_and_metrics_add_up_whatever_goes_wrong() -> None:
    Observed.check(seeds=40)
