"""libws that receives a provider's messages: alone, alone and parsed, and with the provider's plugin."""

from __future__ import annotations

import asyncio
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from libws_core import Client, Message

from ..providers import BATCH, PROVIDERS

PATIENCE = 30.0
"""Seconds that the server may take to encode what it is asked for."""

Receive = Callable[[int], Awaitable[tuple[float, float]]]
"""Receives so many batches; gives the seconds of CPU and of time that it took."""


@asynccontextmanager
async def provided(name: str, mode: str, base: str) -> AsyncIterator[Receive]:
    """A client that is connected and listens."""
    provider = PROVIDERS[name]()
    missing = 0
    done: asyncio.Future[None]

    def handle(message: Any) -> None:
        nonlocal missing
        missing -= 1
        if not missing:
            done.set_result(None)

    def parse(message: Message) -> None:
        provider.parse(message)
        handle(message)

    async def receive(batches: int) -> tuple[float, float]:
        nonlocal missing, done
        await asyncio.to_thread(ask, base, f"/prepare/{name}/{mode}/{batches * BATCH}")
        missing, done = batches * BATCH, asyncio.get_running_loop().create_future()
        with socket.create_connection(address(base)) as control:
            cpu, begin = time.process_time(), time.perf_counter()
            control.sendall(f"GET /write/{name}/{mode} HTTP/1.1\r\n\r\n".encode())
            await done
            cpu, wall = time.process_time() - cpu, time.perf_counter() - begin
            await asyncio.to_thread(control.recv, 1024)  # it has counted its own time, too
        return cpu, wall

    plugins, options = (provider.plugins, provider.options) if mode == "with" else ((), {})
    client = Client(f"{base}/provider/{name}/{mode}", plugins=plugins, options=options)
    await client.open()
    if mode == "with":
        await provider.listen(client, handle)
    else:
        client.on_message(parse if mode == "json" else handle)
    yield receive
    await client.close()


def address(base: str) -> tuple[str, int]:
    host, _, port = base.removeprefix("ws://").partition(":")
    return host, int(port)


def ask(base: str, path: str) -> None:
    with urllib.request.urlopen(base.replace("ws:", "http:") + path, timeout=PATIENCE) as answer:
        answer.read()
