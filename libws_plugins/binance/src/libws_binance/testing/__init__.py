"""Binance's side, for tests: `Exchange` and `ApiExchange` are steps for `libws_core.testing.Server` and `MemoryDialer`.

    exchange = Exchange()
    async with Server(exchange) as server:
        client = Client(server.url + "ws", plugins=["binance"])

    exchange = ApiExchange({"my key": "its secret"})
    async with Server(exchange) as server:
        client = Client(server.url, plugins=["binance-api"], options={"binance-api": {"api_key": "my key", ...}})

It needs `libws-core[testing]` where a real `Server` is used.
"""

from __future__ import annotations

from .account import Account
from .api import ApiConnection, ApiExchange
from .events import Events
from .exchange import Exchange, Listener

__all__ = ["Account", "ApiConnection", "ApiExchange", "Events", "Exchange", "Listener"]
