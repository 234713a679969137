"""On real sockets, with each dialer: an order, its events, a loss in between, and a bad key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from libws_binance import ApiError, BinanceApi, OutcomeUnknown
from libws_binance.testing import ApiExchange
from libws_core import AuthenticationError, Client, Reconnected
from libws_core.testing import Relay, Server, leaks

from .accounts import ORDER, PAIRS, exchange_of

PATIENCE = 20.0


@asynccontextmanager
async def running(dialer: Any, kind: str, **options: Any) -> AsyncIterator[tuple[Client, ApiExchange, Relay]]:
    exchange = exchange_of()
    async with leaks(), Server(exchange) as server, Relay(server.url) as relay:
        given = {
            "binance-api": {"api_key": PAIRS[kind].api_key, "secret": PAIRS[kind].secret, "user_data": True, **options},
            "backoff": {"base": 0.05, "jitter": "none"},
            "governor": {"connects": 300, "per": 1},  # the real distance of a second is for the virtual clock
        }
        plugins = ["-standard", "binance-api", dialer()]
        client = Client(f"{relay.url}ws-api/v3", plugins=plugins, options=given, proxy=None)
        async with asyncio.timeout(PATIENCE):
            yield client, exchange, relay
    assert exchange.broken == []


@pytest.mark.parametrize("kind", [*PAIRS])
async def test_orders_are_placed_told_and_found_again_after_a_loss(dialer: Any, kind: str) -> None:
    async with running(dialer, kind) as (client, exchange, relay), client:
        api = client.plugin(BinanceApi)
        await api.ask("order.place", {**ORDER, "newClientOrderId": "first"}, signed=True)
        assert (await client.recv(PATIENCE)).json["event"]["c"] == "first"
        back = asyncio.Event()
        client.on(Reconnected, lambda event: back.set())
        exchange.mute = {"order.place"}
        asking = asyncio.create_task(api.ask("order.place", {**ORDER, "newClientOrderId": "second"}, signed=True))
        while (await client.recv(PATIENCE)).json["event"].get("c") != "second":
            pass  # the account's position after the first order
        relay.drop(reset=True)
        with pytest.raises(OutcomeUnknown, match="order 'second'"):
            await asking
        await back.wait()
        found = await api.ask("order.status", {"symbol": "BTCUSDT", "origClientOrderId": "second"}, signed=True)
        assert found["status"] == "NEW"
        with pytest.raises(ApiError, match="Order does not exist"):
            await api.ask("order.status", {"symbol": "BTCUSDT", "origClientOrderId": "third"}, signed=True)
        exchange.fill(PAIRS[kind].api_key, "second")
        while (await client.recv(PATIENCE)).json["event"].get("X") != "FILLED":
            pass


async def test_a_bad_key_is_the_end(dialer: Any) -> None:
    async with running(dialer, "HMAC", secret="another secret") as (client, exchange, _):
        with pytest.raises(AuthenticationError, match="-1022"):
            await client.open()
        assert exchange.connects == 1
