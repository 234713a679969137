"""Market streams of Binance: a move when the server announces its end, without a gap and without a double.

Without an argument it needs no network: it starts the simulator of `libws_binance.testing`, which shuts its server down
after a second.         python examples/binance.py
The exchange itself:    python examples/binance.py wss://stream.binance.com:9443/stream
"""

import asyncio
import contextlib
import sys

from libws_binance import Binance
from libws_binance.testing import Exchange
from libws_core import Client, Gap, Reopened
from libws_core.testing import Server

STREAMS = ["btcusdt@trade", "ethusdt@depth"]


async def watch(url: str, seconds: float) -> None:
    client = Client(url, plugins=["binance"], options={"binance": {"streams": STREAMS}})
    client.on(Gap, lambda gap: print("missing:", gap.topic, gap.first, gap.last))
    client.on(Reopened, lambda event: print("moved to connection", event.generation))
    async with client:
        await client.plugin(Binance).subscribe("bnbusdt@bookTicker")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for message in client:
                    body = message.json["data"]
                    number = body.get("t") or body["u"]
                    print(f"{message.json['stream']:20} {number}")


async def simulate() -> None:
    exchange = Exchange()
    async with Server(exchange) as server:
        feeding = asyncio.create_task(exchange.run(*STREAMS, "bnbusdt@bookTicker", every=0.5))
        asyncio.get_running_loop().call_later(1, exchange.shut_down, 10)
        await watch(server.url + "stream", 5)
        feeding.cancel()
        print("connections:", exchange.connects, "limits broken:", exchange.broken)


asyncio.run(watch(sys.argv[1], 60) if len(sys.argv) > 1 else simulate())
