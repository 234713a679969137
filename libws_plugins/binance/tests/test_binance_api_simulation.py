"""Seeds of everything that can go wrong: no order is placed twice, and what became of each is known or told unknown."""

from __future__ import annotations

import asyncio
from collections import Counter

from libws_binance import ApiError, BinanceApi, OutcomeUnknown
from libws_core import Client, Gap, LibwsError
from libws_core.testing import MemoryPeer, Simulation

from .accounts import ORDER, PAIRS, exchange_of

PAIR = PAIRS["HMAC"]


class Ordering(Simulation):
    """A client that places an order now and then, and also moves every few seconds."""

    trouble = 40.0

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.exchange = exchange_of(orders=10_000)
        self.outcomes: dict[str, LibwsError | None] = {}
        self.heard: Counter[str] = Counter()
        self.gaps = 0

    def client(self) -> Client:
        options = {
            "binance-api": {"api_key": PAIR.api_key, "secret": PAIR.secret, "user_data": True, "timeout": 3},
            "backoff": {"base": 0.2, "cap": 2},
            "ping": {"interval": 2, "timeout": 2},
            "reopen": {"every": 7, "jitter": 0, "overlap": 1, "settle": 1},
            "governor": {"connects": 20, "per": 1, "breaker": None},
        }
        return Client("ws://test/", plugins=["binance-api", self.dialer, "-websockets"], options=options)

    async def server(self, peer: MemoryPeer) -> None:
        await self.exchange(peer)

    async def user(self, client: Client) -> None:
        trading = asyncio.create_task(self.trade(client.plugin(BinanceApi)))
        try:
            async for item in self.read(client):
                if isinstance(item, Gap):
                    self.gaps += 1
                elif (event := item.json.get("event", {})).get("e") == "executionReport":
                    self.heard[event["c"]] += 1
        finally:
            trading.cancel()

    async def trade(self, api: BinanceApi) -> None:
        number = 0
        while True:
            await asyncio.sleep(self.chance.uniform(0.05, 0.5))
            number += 1
            own = f"order-{number}"
            params = {**ORDER, "quantity": "0.0001", "newClientOrderId": own}
            try:
                await api.ask("order.place", params, signed=True)
                self.outcomes[own] = None
            except LibwsError as error:
                self.outcomes[own] = error

    def verify(self) -> None:
        orders = Counter(order["clientOrderId"] for order in self.exchange.accounts[PAIR.api_key].orders.values())
        assert max(orders.values()) == 1
        for own, outcome in self.outcomes.items():
            if outcome is None:
                assert orders[own] == 1, f"{own} was confirmed, and is not there"
            elif not isinstance(outcome, OutcomeUnknown):
                assert orders[own] == 0, f"{own} is there, and its user was told {outcome!r}"
            assert not isinstance(outcome, ApiError), f"{own}: {outcome}"
        assert sum(outcome is None for outcome in self.outcomes.values()) > 5
        assert max(self.heard.values()) == 1
        assert self.gaps or all(self.heard[own] for own in orders)


def test_no_order_is_placed_twice_and_each_has_its_outcome() -> None:
    Ordering.check(seeds=20)
