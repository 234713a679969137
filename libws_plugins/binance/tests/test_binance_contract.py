"""What every provider, and every plugin with stages, promises, of `binance`."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_binance import Binance
from libws_binance.testing import Exchange
from libws_core.testing import Peer, ProviderContract, StageContract


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
