"""A server of python-websockets in a process of its own: it counts on, and remembers what it was sent.

It prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys

from websockets.asyncio.server import Server, ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed

EVERY = 0.01
"""Seconds between two numbers."""


class Feed:
    """Gives every number to all that are connected, and counts what each of them sends."""

    def __init__(self) -> None:
        self.number = 0
        self.received: dict[int, int] = {}

    async def talk(self, connection: ServerConnection) -> None:
        """Read one client's messages."""
        try:
            async for text in connection:
                message = json.loads(text)
                if "id" in message:
                    self.received[message["id"]] = self.received.get(message["id"], 0) + 1
                else:
                    await connection.send(json.dumps({"received": sorted(self.received.items())}))
        except ConnectionClosed:
            pass

    async def count(self, server: Server) -> None:
        """Count on, whether anybody listens or not."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + EVERY, loop.time())
            await asyncio.sleep(due - loop.time())
            self.number += 1
            broadcast(server.connections, json.dumps({"number": self.number}))


async def main() -> None:
    feed = Feed()
    loop = asyncio.get_running_loop()
    async with serve(feed.talk, "127.0.0.1", 0, ping_interval=None, compression=None, close_timeout=1) as server:
        counting = asyncio.create_task(feed.count(server))
        print(server.sockets[0].getsockname()[1], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)
        counting.cancel()


if __name__ == "__main__":
    asyncio.run(main())
