"""Binance's side, for tests: `Exchange` is a step for `libws_core.testing.Server` and `MemoryDialer`.

    exchange = Exchange()
    async with Server(exchange) as server:
        client = Client(server.url + "ws", plugins=["binance"])

It needs `libws-core[testing]` where a real `Server` is used.
"""

from __future__ import annotations

from .events import Events
from .exchange import Exchange, Listener

__all__ = ["Events", "Exchange", "Listener"]
