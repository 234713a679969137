"""What every provider, log-in and stage promises, of `binance` and `binance-api`."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_binance import Binance, BinanceApi
from libws_binance.testing import ApiExchange, Exchange
from libws_core.testing import AuthContract, Peer, ProviderContract, StageContract, refuse

from .accounts import PAIRS, exchange_of


class TestBinance(ProviderContract, StageContract):
    plugin = Binance
    options: ClassVar[dict[str, Any]] = {"streams": ["btcusdt@trade", "ethusdt@depth"]}
    bad_options: ClassVar = {
        "streams": [["btcusdt"], ["BTCUSDT@trade"], [f"a{number}@trade" for number in range(1025)]],
        "market": ["moon"],
    }
    url = "ws://test/ws"
    codes: ClassVar = {1000: "retry", 1001: "retry", 1006: "retry", 1008: "retry", "1011-1012": "retry"}

    async def server(self, peer: Peer) -> None:
        exchange = Exchange()
        exchange.market = exchange.market._replace(messages=1000, pong=10**9)  # the contract takes `pong` out
        await exchange(peer)


class TestBinanceCombined(TestBinance):
    url = "ws://test/stream?streams=btcusdt@aggTrade"
    options: ClassVar[dict[str, Any]] = {"market": "usds-futures"}


async def unknown(peer: Peer) -> None:
    """An exchange that knows no key."""
    await ApiExchange()(peer)


class TestBinanceApi(ProviderContract, AuthContract, StageContract):
    plugin = BinanceApi
    url = "ws://test/ws-api/v3"
    options: ClassVar[dict[str, Any]] = {
        "api_key": PAIRS["Ed25519"].api_key,
        "secret": PAIRS["Ed25519"].secret,
        "user_data": True,
    }
    refusals = (refuse(401), refuse(403), unknown)
    bad_options: ClassVar = {
        "receive_window": [0, -1, 61],
        "timeout": [0],
        "secret": ["-----BEGIN PRIVATE KEY-----"],
        "password": ["of nothing"],
    }
    codes: ClassVar = {1000: "retry", 1001: "retry", 1006: "retry", 1008: "retry", "1011-1012": "retry"}

    async def server(self, peer: Peer) -> None:
        exchange = exchange_of()
        exchange.rules = exchange.rules._replace(pong=10**9)  # the contract takes `pong` out
        await exchange(peer)


class TestBinanceApiWithKeysFetchedAnew(AuthContract):
    plugin = BinanceApi
    url = "ws://test/ws-api/v3"
    options: ClassVar[dict[str, Any]] = {
        "api_key": lambda: PAIRS["HMAC"].api_key,
        "secret": lambda: PAIRS["HMAC"].secret,
        "user_data": True,
    }
    sources = ("api_key", "secret")
    refusals = (unknown, refuse(401))

    async def server(self, peer: Peer) -> None:
        await exchange_of()(peer)
