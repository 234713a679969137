"""On real sockets, with each dialer and a REST server: lost, silent, asked to come back, and nothing is missing."""

from __future__ import annotations

import asyncio
from typing import Any

from libws_core import Client, Disconnected, Event, Gap, KeepAliveTimeout, Reconnected
from libws_core.testing import Relay, Server, leaks
from libws_discord import ReconnectRequested
from libws_discord.testing import Gateway

PATIENCE = 20.0


async def test_a_session_outlives_every_loss(dialer: Any) -> None:
    compress = "zlib-stream" if dialer.__name__ == "Picows" else None
    gateway = Gateway(interval=1.0, tolerance=10.0)  # a busy machine may be late
    numbers: list[int] = []
    events: list[Event] = []
    came = asyncio.Event()

    async def read(client: Client) -> None:
        async for item in client.stream(markers=True):
            assert not isinstance(item, Gap)
            if item.json["t"] == "MESSAGE_CREATE":
                numbers.append(int(item.json["d"]["content"]))
                came.set()

    async def goes_on() -> None:
        count = len(numbers)
        async with asyncio.timeout(PATIENCE):
            while len(numbers) < count + 20:
                came.clear()
                await came.wait()

    async with leaks():
        async with Server(gateway) as server, Relay(server.url) as relay, gateway.rest() as api:
            gateway.url = relay.url
            own: dict[str, Any] = {"token": gateway.token, "intents": ["GUILDS"], "compress": compress}
            options = {"discord": own, "backoff": {"base": 0.05, "cap": 0.2}}
            plugins = ["-standard", "backoff", "discord", dialer()]
            async with Client(api, plugins=plugins, options=options, proxy=None) as client:
                client.on(Event, events.append)
                feeding = asyncio.create_task(gateway.run(0.005))
                reading = asyncio.create_task(read(client))
                await goes_on()
                relay.drop(reset=True)
                await goes_on()
                gateway.ask_to_reconnect()
                await goes_on()
                gateway.become_zombie()
                await goes_on()
                await relay.stop()
                await relay.start()
                await goes_on()
                gateway.close(4000)
                await goes_on()
                feeding.cancel()
                kinds = [type(event.error) for event in events if isinstance(event, Disconnected)]
                assert {ReconnectRequested, KeepAliveTimeout} <= {*kinds}
                assert 5 <= sum(isinstance(event, Reconnected) for event in events) <= gateway.resumes
            await asyncio.wait([reading, feeding])
            reading.result()
        assert numbers == [*range(1, numbers[-1] + 1)]
        assert (gateway.identifies, gateway.asked, gateway.astray, gateway.broken) == (1, 1, 0, [])
        assert gateway.sessions == {}
