"""Seeds of everything that can go wrong: each event comes once, in order, or its number is told to be missing."""

from __future__ import annotations

import asyncio

from libws_binance.testing import Exchange
from libws_core import Client, Gap
from libws_core.testing import MemoryPeer, Simulation

STREAMS = ["btcusdt@trade", "btcusdt@depth@100ms", "ethusdt@aggTrade", "ethusdt@depth"]
NUMBERS = {"trade": ("t", "t"), "aggTrade": ("a", "a"), "depthUpdate": ("U", "u")}


class Trading(Simulation):
    """A client that also moves every few seconds, and an exchange whose servers are not equally fast."""

    trouble = 40.0

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.exchange = Exchange(lags=[self.chance.uniform(0, 0.4) for _ in range(1000)])
        self.ranges: dict[str, list[tuple[int, int, bool]]] = {}

    def client(self) -> Client:
        options = {
            "binance": {"streams": STREAMS},
            "backoff": {"base": 0.2, "cap": 2},
            "ping": {"interval": 2, "timeout": 2},
            "reopen": {"every": 7, "jitter": 0, "overlap": 1, "settle": 1},
            "governor": {"connects": 20, "per": 1, "breaker": None},
            "subscriptions": {"confirm_timeout": 3},
        }
        return Client("ws://test/stream", plugins=["binance", self.dialer, "-websockets"], options=options)

    async def server(self, peer: MemoryPeer) -> None:
        await self.exchange(peer)

    async def user(self, client: Client) -> None:
        feeding = asyncio.create_task(self.exchange.run(*STREAMS, every=0.1))
        try:
            async for item in self.read(client):
                if isinstance(item, Gap):
                    if item.topic is not None:
                        self.ranges[item.topic].append((item.first, item.last, False))
                    continue
                body = item.json["data"]
                first, last = NUMBERS[body["e"]]
                self.ranges.setdefault(item.json["stream"], []).append((body[first], body[last], True))
        finally:
            feeding.cancel()

    def verify(self) -> None:
        assert {*self.ranges} == {*STREAMS}
        for stream, ranges in self.ranges.items():
            reached, missing = ranges[0][0] - 1, set[int]()
            for first, last, came in ranges:
                numbers = range(first, last + 1)
                if came and missing.issuperset(numbers):
                    # The new connection of a move was lost while it settled, with all that it brought: what the old
                    # one had not said yet was told to be missing, and comes after all.
                    missing.difference_update(numbers)
                    continue
                assert first == reached + 1, f"{stream}: {first} behind {reached}"
                reached = last
                if not came:
                    missing.update(numbers)
            assert sum(came for *_, came in ranges) > 5
        # What a fault of the network does to pongs and to times of arrival is not the client's doing.
        assert not [what for what in self.exchange.broken if "pong" not in what and "messages" not in what]


def test_nothing_is_lost_untold_or_doubled() -> None:
    Trading.check(seeds=30)
