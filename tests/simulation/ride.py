"""The ride of the ten thousand seeds: a client with the standard plugins, a numbered feed, a user who sends.

Each seed draws its own options. The promises of the design are checked by an account of its own, from the events alone.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from libws_core import AttemptFailed, Client, Connecting, Disconnected, Event, Retrying
from libws_core.testing import Faults, Feed, Letters, MemoryPeer, Simulation

EXACT = 1e-6
"""Seconds by which sums of virtual times may differ."""


class Ride(Simulation):
    """The standard plugins, with options drawn by the seed."""

    faults = Faults(lifetime=(0.0, 8.0), lasting=(0.1, 4.0), retry_after=(0.0, 5.0))
    trouble = 12.0
    calm = 120.0
    rest = 0.5
    connections: ClassVar[int] = 1

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        draw = self.chance.uniform
        self.feed = self.make_feed()
        self.letters = self.make_letters()
        self.open_timeout = draw(1.0, 4.0)
        self.healthy_after = draw(0.5, 5.0)
        jitter = self.chance.choice(["full", "none"])
        self.backoff: dict[str, Any] = {"base": draw(0.05, 0.5), "cap": draw(0.5, 3.0), "jitter": jitter}
        self.broken: list[str] = []
        self._row = 0
        self._phase = 0.0

    def make_feed(self) -> Feed:
        """What the server sends."""
        return Feed()

    def make_letters(self) -> Letters:
        """What the user sends."""
        return Letters()

    def plugins(self) -> list[str]:
        """Those beside the standard ones."""
        return []

    def options(self) -> dict[str, dict[str, Any]]:
        """The plugins' options."""
        draw = self.chance.uniform
        when = self.chance.choice(["idle", "always"])
        return {"backoff": self.backoff, "ping": {"interval": draw(0.5, 3.0), "timeout": draw(0.5, 2.0), "when": when}}

    def client(self) -> Client:
        return Client(
            "ws://test/",
            plugins=[*self.plugins(), self.dialer, "-websockets"],
            options=self.options(),
            open_timeout=self.open_timeout,
            close_timeout=self.chance.uniform(0.5, 2.0),
            healthy_after=self.healthy_after,
            inbox_messages=self.chance.choice([3, 10, 1000]),
        )

    def server(self, peer: MemoryPeer) -> None:
        self.feed.add(peer)
        peer.ping(b"are you there")
        peer.on_message = lambda message: self.letters.arrived(peer.number, message)

    async def user(self, client: Client) -> None:
        sending = asyncio.create_task(self.send(client))
        feeding = asyncio.create_task(self.publish())
        try:
            async for item in self.read(client):
                self.feed.got(item)
        finally:
            feeding.cancel()
            await sending
            await asyncio.wait([feeding])

    async def publish(self) -> None:
        """The server's side of the feed, in bursts."""
        while True:
            for _ in range(self.chance.choice([1, 1, 1, 5])):
                self.feed.publish()
            await asyncio.sleep(self.chance.uniform(0.1, 1.5))

    async def send(self, client: Client) -> None:
        """Send letters of all sorts, alone and side by side, until the client is closed."""
        waiting: set[asyncio.Task[str]] = set()
        while not self.letters.told["ClientClosed"]:
            confirm = self.chance.random() < 0.5
            idempotent = confirm and self.chance.random() < 0.5
            timeout = self.chance.choice([None, 0.5, 3.0])
            letter = self.send_one(client, confirm, idempotent, timeout)
            if self.chance.random() < 0.3:
                waiting.add(asyncio.create_task(letter))
            else:
                await letter
            await asyncio.sleep(self.chance.uniform(0.0, 1.5))
        if waiting:
            await asyncio.wait(waiting)

    async def send_one(self, client: Client, confirm: bool, idempotent: bool, timeout: float | None) -> str:
        """Send a letter, and tell the trace what became of it."""
        number = self.letters.count + 1
        outcome = await self.letters.send(client, confirm=confirm, idempotent=idempotent, timeout=timeout)
        self.note(f"letter {number}: {outcome}")
        return outcome

    def hear(self, event: Event) -> None:
        self.feed.hear(event)
        self.letters.hear(event)
        match event:
            case Connecting(phase="resolve"):
                self.expect(self.may_come(), "an attempt before Retry-After")
            case Connecting():
                pass
            case Disconnected():
                self._needs_cause(event)
                if event.uptime >= self.healthy_after:
                    self._row = 0
                self._row += 1
            case AttemptFailed():
                self._needs_cause(event)
                self._row += 1
            case Retrying():
                self._retrying(event)
        if isinstance(event, Connecting | AttemptFailed):
            limit = self.open_timeout + EXACT
            if event.phase == "establish" and isinstance(event, AttemptFailed):
                self.expect(event.monotonic - self._phase <= limit, "establish took longer than open_timeout")
            self._phase = event.monotonic

    def _needs_cause(self, event: Disconnected | AttemptFailed) -> None:
        """Nobody ends what is well. To wait for one's turn has reasons of its own."""
        ours = self.dialer.healed and event.error.initiator == "local"
        met = self.dialer.met.get(event.attempt)
        self.expect(
            bool(met) or ours or event.error.phase == "admit",
            f"attempt {event.attempt} met no fault, and ended: {event.error}",
        )

    def may_come(self) -> bool:
        """The server has not asked us to stay away."""
        return asyncio.get_running_loop().time() >= self.dialer.not_before - EXACT

    def rows(self) -> list[int]:
        """Which failure of its row the latest one may be."""
        return [self._row]

    def _retrying(self, event: Retrying) -> None:
        """The delay is within what `backoff` promises."""
        base, full = self.backoff["base"], self.backoff["jitter"] == "full"
        rows = self.rows()
        asked = event.error.retry_after
        if asked is not None:
            low, high = asked, asked + base * full
        else:
            longest = [min(self.backoff["cap"], base * 2 ** (row - 1)) for row in rows]
            low, high = min(longest) / (10 if full else 1), max(longest)
        if event.error.code == 1013:
            low, high = max(low, 1.0), max(high, 1.0)
        told = f"failure {rows} of a row waits {event.delay:.6f} s, not {low:.6f} to {high:.6f} s"
        self.expect(low - EXACT <= event.delay <= high + EXACT, told)

    def expect(self, kept: bool, text: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(text)

    def verify(self) -> None:
        found = [*self.broken, *self.feed.check(), *self.letters.check()]
        assert not found, "\n".join(found)
