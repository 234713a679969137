"""Servers that fail as they are asked to, in a process of their own: python failing_server.py COUNT

Listens on COUNT ports, says their URLs as a line of JSON, and ends when its standard input does. The path of a URL says
how the first connection of a client is lost, its query which client it is and after how many seconds. Later
connections stay, and are told first at what time of the system's monotonic clock the loss was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import sys
from urllib.parse import parse_qs, urlsplit

from libws_core.testing import Server, ServerPeer

DOWN = 0.5
"""Seconds that a restart takes."""


class FailingServer:
    """One port."""

    def __init__(self) -> None:
        self.server = Server(self.talk)
        self.lost_at: dict[str, float] = {}

    async def talk(self, peer: ServerPeer) -> None:
        """A connection's life."""
        parts = urlsplit(peer.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        how, client = parts.path.strip("/"), asked["client"]
        if client in self.lost_at and not how.startswith("flap"):
            peer.send(repr(self.lost_at[client]))
            await peer.wait_gone(math.inf)
            return
        await asyncio.sleep(float(asked["after"]))
        self.lost_at[client] = asyncio.get_running_loop().time()
        await self.fail(peer, how.removeprefix("flap-"))

    async def fail(self, peer: ServerPeer, how: str) -> None:
        match how:
            case "reset":
                await peer.drop(reset=True)
            case "fin":
                await peer.drop()
            case "cut":  # within a frame of 4096 bytes
                peer.raw(b"\x82\x7e\x10\x00" + bytes(100))
                await peer.drop()
            case "restart":
                await self.server.stop()
                await asyncio.sleep(DOWN)
                await self.server.start()
            case "polite-restart":
                await peer.close(1012)
                await self.fail(peer, "restart")
            case _:
                await peer.close(int(how))


async def main(count: int) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, lambda: None if sys.stdin.readline() else ended.set())
    async with contextlib.AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(FailingServer().server) for _ in range(count)]
        print(json.dumps([server.url for server in servers]), flush=True)
        await ended.wait()
    loop.remove_reader(sys.stdin)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
