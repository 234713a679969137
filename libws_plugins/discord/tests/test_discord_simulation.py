"""A week in which everything goes wrong: each event comes once and in order, as far as sessions could be resumed."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from libws_core import Client, Gap
from libws_core.testing import Faults, MemoryPeer, Simulation
from libws_discord.testing import Gateway

CODES = (1005, 1008, 1011, 1012, 1013, 4000, 4001, 4003, 4008)
"""Close codes of the network and of Discord; by our answer to 1000 and 1001 the simulator would end the session."""


class Ride(Simulation):
    """A bot, a gateway that does all that gateways do, and a network that does all that networks do."""

    mischief: ClassVar[float] = 60.0
    """Seconds from one thing that the gateway does to the next, on average."""
    every: ClassVar[float] = 0.5
    """Seconds from event to event."""
    interval: ClassVar[float] = 5.0
    without: ClassVar[tuple[str, ...]] = ()
    patient: ClassVar[bool] = False
    """The network is never so slow that heartbeats come too late."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.gateway = Gateway(interval=self.interval, remembers=60, pieces=1 + seed % 3)
        self.items: list[tuple[str, int, str] | None] = []
        """What the user got: type, number and session of an event; None = a Gap."""

    def client(self) -> Client:
        options: dict[str, Any] = {
            "discord": {
                "token": self.gateway.token,
                "intents": ["GUILDS", "GUILD_MESSAGES"],
                "client": self.gateway.client,
                "compress": "zlib-stream" if self.seed % 2 else None,
                "hello_timeout": 10,
                "ready_timeout": 20,
            },
            "backoff": {"cap": 5},
        }
        plugins = ["discord", self.dialer, "-websockets", *self.without]
        return Client("http://discord.test/api/v10", plugins=plugins, options=options, inbox_messages=50)

    async def server(self, peer: MemoryPeer) -> None:
        await self.gateway(peer)

    async def user(self, client: Client) -> None:
        tasks = [asyncio.create_task(task) for task in (self.happen(), self.tease(), self.talk(client))]
        session = ""
        try:
            async for item in self.read(client):
                if isinstance(item, Gap):
                    self.items.append(None)
                    continue
                body = item.json
                session = body["d"]["session_id"] if body["t"] == "READY" else session
                self.items.append((body["t"], body["s"], session))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def happen(self) -> None:
        """Let things happen, and others when all is well again."""
        while not self.dialer.healed:
            await asyncio.sleep(self.every)
            self.gateway.dispatch("MESSAGE_CREATE")
        self.gateway.restart()  # what it has forgotten without a word is noticed now
        while True:
            await asyncio.sleep(3)
            self.gateway.dispatch("LAST")

    async def tease(self) -> None:
        """Do what a gateway may do."""
        gateway = self.gateway
        deeds = [
            gateway.ask_for_beats,
            gateway.ask_to_reconnect,
            gateway.become_zombie,
            gateway.restart,
            lambda: gateway.invalidate(self.chance.random() < 0.5),
            lambda: gateway.close(self.chance.choice([4000, 4007, 4008, 4009])),
            gateway.forget_all,
        ]
        while not self.dialer.healed:
            await asyncio.sleep(self.chance.expovariate(1 / self.mischief))
            deed = self.chance.choice(deeds)
            self.note(f"the gateway: {getattr(deed, '__name__', 'invalidate or close')}")
            if not self.dialer.healed:
                deed()

    async def talk(self, client: Client) -> None:
        """Send commands, now and then too many at once."""
        while True:
            await asyncio.sleep(self.chance.expovariate(1 / self.mischief))
            many = [client.send_json({"op": 3, "d": {"n": n}}) for n in range(self.chance.choice([1, 5, 150]))]
            await asyncio.gather(*many, return_exceptions=True)

    def verify(self) -> None:
        session, reached, gap = "", 0, True
        seen: set[str] = set()
        for item in self.items:
            if item is None:
                assert not gap, "two Gaps for one session that was lost"
                gap = True
                continue
            type, number, where = item
            if type == "READY":
                assert gap, f"{where} began, and no Gap tells that {session} could not be resumed"
                assert where not in seen
                seen.add(where)
                session, reached, gap = where, 0, False
            assert not gap, f"a Gap, and {session} goes on"
            assert number == reached + 1, f"{number} behind {reached}"
            reached = number
        assert self.items[-1] == ("LAST", reached, session)
        assert self.gateway.remaining > 10
        # 4003: a command on a connection whose session the gateway has forgotten without a word. The others: a network
        # that holds payloads back for seconds, and then brings them together.
        excused = ("4003, ",) if self.patient else ("4003, ", "4000, no heartbeat", "4008, ", "two identifies")
        broken = [what for what in self.gateway.broken if not what.partition(": ")[2].startswith(excused)]
        assert not broken, broken


class Hour(Ride):
    """Losses from every few seconds to every few minutes."""

    trouble = 600.0
    rest = 60.0
    faults = Faults(codes=CODES, lifetime=(0.0, 60.0))


class Week(Ride):
    """The times of the real one."""

    trouble = 7 * 86_400.0
    rest = 400.0
    mischief = 3 * 3600.0
    every = 300.0
    interval = 41.25
    without = ("-ping",)  # so that nothing but heartbeats notices a silent line
    patient = True
    faults = Faults(codes=CODES, lifetime=(0.0, 8 * 3600.0))


def test_everything_comes_once_or_a_gap_tells() -> None:
    Hour.check(seeds=12)


def test_a_week() -> None:
    Week.check(seeds=1)
