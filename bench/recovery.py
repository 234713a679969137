"""Coming back after the server has reset every connection: how long it takes, and whether all come at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from statistics import median
from time import perf_counter
from typing import Any

TIMES = 20
"""Resets that the recovery of a single client is measured over."""
CLIENTS = ("libws", "libws-picows", "websockets", "picows-websockets")
"""Those that come back by themselves."""


class Herd:
    """Clients that report each time they are ready."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.ready: list[float] = []
        self._all = asyncio.Event()

    def report(self, *_: object) -> None:
        self.ready.append(perf_counter())
        if len(self.ready) >= self.size:
            self._all.set()

    async def gather(self) -> list[float]:
        """Wait until all have reported; gives when each did, and starts anew."""
        await self._all.wait()
        self._all.clear()
        ready, self.ready = self.ready, []
        return ready


async def reset(base: str) -> float:
    """Let the server reset everybody; gives when it was asked to."""
    host, _, port = base.removeprefix("ws://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    begin = perf_counter()
    writer.write(b"GET /reset HTTP/1.1\r\n\r\n")
    await reader.read()
    writer.close()
    return begin


async def measure(herd: Herd, base: str) -> dict[str, Any]:
    """Seconds to be ready again: of a single client the median of several resets, of a herd each one's."""
    await herd.gather()
    found: list[float] = []
    for _ in range(TIMES if herd.size == 1 else 1):
        begin = await reset(base)
        found += [ready - begin for ready in await herd.gather()]
    return {"seconds": sorted(found), "median": median(found)}


async def libws(plugins: tuple[str | object, ...], base: str, herd: Herd) -> dict[str, Any]:
    from libws_core import Client, Connected, Reconnected

    options = {"backoff": {"base": 0}} if herd.size == 1 else {}
    clients = [Client(base + "/hold", plugins=plugins, options=options) for _ in range(herd.size)]
    for client in clients:
        client.on(Connected, herd.report)
        client.on(Reconnected, herd.report)
    await asyncio.gather(*(client.open() for client in clients))
    found = await measure(herd, base)
    await asyncio.gather(*(client.close() for client in clients))
    return found


async def like_websockets(connect: Any, closed: type[Exception], base: str, herd: Herd) -> dict[str, Any]:
    """`async for connection in connect(...)`, as the documentation of websockets has it."""

    async def stay() -> None:
        connections: AsyncIterator[Any] = connect(base + "/hold")
        async for connection in connections:
            herd.report()
            try:
                async for _ in connection:
                    pass
            except closed:
                continue

    tasks = [asyncio.create_task(stay()) for _ in range(herd.size)]
    try:
        return await measure(herd, base)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def recover(name: str, base: str, size: int) -> dict[str, Any]:
    """Measure so many clients of that name in this process."""
    herd = Herd(size)
    if name == "libws":
        return await libws((), base, herd)
    if name == "libws-picows":
        return await libws(("picows", "-websockets"), base, herd)
    if name == "websockets":
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed

        return await like_websockets(connect, ConnectionClosed, base, herd)
    from picows.websockets.asyncio.client import (  # type: ignore[import-not-found, unused-ignore]
        connect as drop_in,
    )
    from picows.websockets.exceptions import (  # type: ignore[import-not-found, unused-ignore]
        ConnectionClosed as DropInClosed,
    )

    return await like_websockets(drop_in, DropInClosed, base, herd)
