"""An order over Binance Spot's WebSocket API, the account's events, and what became of an order whose answer was lost.

Without an argument it needs no network and no key: it starts the simulator of `libws_binance.testing`, which loses the
connection before it answers the second order.      python examples/binance_orders.py
The exchange's test network, with a key of it in the environment, BINANCE_KEY and BINANCE_SECRET:
                python examples/binance_orders.py wss://ws-api.testnet.binance.vision/ws-api/v3
"""

import asyncio
import os
import sys

from libws_binance import ApiError, BinanceApi, OutcomeUnknown
from libws_binance.testing import ApiExchange
from libws_core import Client, Message, Reconnected
from libws_core.testing import Server

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "9000", "quantity": "0.1"}


def show(message: Message) -> None:
    event = message.json["event"]
    if event["e"] == "executionReport":
        print("event:", event["c"], event["X"])


async def place(client: Client, own: str) -> None:
    """Place an order, and find out what became of it if its answer is lost."""
    api = client.plugin(BinanceApi)
    back = asyncio.Event()
    client.on(Reconnected, lambda event: back.set())
    try:
        order = await api.ask("order.place", {**ORDER, "newClientOrderId": own}, signed=True)
        print("answer:", own, order["status"])
    except ApiError as error:
        print("refused:", own, error.code, error.msg)
    except OutcomeUnknown as error:
        print("unknown:", error)
        await back.wait()
        named = {"symbol": ORDER["symbol"], "origClientOrderId": own}
        print("found:", own, (await api.ask("order.status", named, signed=True))["status"])


async def trade(url: str, key: str, secret: str, exchange: ApiExchange | None = None) -> None:
    options = {"binance-api": {"api_key": key, "secret": secret, "user_data": True}}
    async with Client(url, plugins=["binance-api"], options=options) as client:
        client.on_message(show)
        await place(client, "order-1")
        if exchange is not None:
            exchange.mute = {"order.place"}
            asyncio.get_running_loop().call_later(0.5, lambda: exchange.connections[0].peer.drop())
        await place(client, "order-2")
        for limit in client.plugin(BinanceApi).limits:
            print(f"used: {limit.used} of {limit.limit} {limit.kind} in {limit.per:g} s")


async def simulate() -> None:
    exchange = ApiExchange({"a key": "its secret"})
    async with Server(exchange) as server:
        await trade(server.url, "a key", "its secret", exchange)
        print("limits broken:", exchange.broken)


if len(sys.argv) > 1:
    asyncio.run(trade(sys.argv[1], os.environ["BINANCE_KEY"], os.environ["BINANCE_SECRET"]))
else:
    asyncio.run(simulate())
