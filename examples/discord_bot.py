"""A bot on Discord's gateway that prints what is written, and misses nothing while its connection comes and goes.

Without a token it needs no network: it starts the simulator of `libws_discord.testing`, which asks it to reconnect,
falls silent, and drops it.     python examples/discord_bot.py
The real gateway:               DISCORD_TOKEN=... python examples/discord_bot.py
"""

import asyncio
import os

from libws_core import Client, Disconnected, Gap
from libws_core.testing import Server
from libws_discord import API
from libws_discord.testing import Gateway

INTENTS = ["GUILDS", "GUILD_MESSAGES"]


async def watch(url: str, token: str, opened: asyncio.Event, last: str | None = None) -> None:
    client = Client(url, plugins=["discord"], options={"discord": {"token": token, "intents": INTENTS}})
    client.on(Disconnected, lambda event: print("lost:", event.error))
    client.on(Gap, lambda gap: print("the session could not be resumed: something may be missing"))
    async with client:
        opened.set()
        await client.send_json({"op": 3, "d": {"status": "online", "activities": [], "since": None, "afk": False}})
        async for message in client:
            event = message.json
            if event["t"] == "MESSAGE_CREATE":
                print(event["s"], event["d"]["content"])
                if event["d"]["content"] == last:
                    return


async def simulate() -> None:
    gateway = Gateway(interval=0.5, tolerance=10)
    trouble = {3: gateway.ask_to_reconnect, 6: gateway.become_zombie, 9: gateway.restart}
    async with Server(gateway) as server, gateway.rest() as api:
        gateway.url = server.url
        opened = asyncio.Event()
        watching = asyncio.create_task(watch(api, gateway.token, opened, last="message 12"))
        await opened.wait()
        for number in range(1, 13):
            if number in trouble:
                trouble[number]()
            gateway.dispatch("MESSAGE_CREATE", {"content": f"message {number}"})
            await asyncio.sleep(1.0 if number in trouble else 0.1)
        await watching
        print("identifies:", gateway.identifies, "resumes:", gateway.resumes, "rules broken:", gateway.broken)


token = os.environ.get("DISCORD_TOKEN")
asyncio.run(simulate() if token is None else watch(API, token, asyncio.Event()))
