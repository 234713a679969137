"""A server in a process of its own, for herds: it can drop all at once, and refuse for a while.

It takes words on standard input and answers each with a line of JSON:

    drop [SECONDS]    abort every connection; with SECONDS refuse everybody with that Retry-After for as long, counted
                      from the first refusal
    arrivals          when each handshake since then came, by the system's monotonic clock, and its status
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve


class HerdServer:
    def __init__(self) -> None:
        self.connections: set[ServerConnection] = set()
        self.arrivals: list[tuple[float, int]] = []
        self.refuse = 0.0
        self.until: float | None = None

    def process_request(self, connection: ServerConnection, request: Any) -> Any:
        now = time.monotonic()
        if self.refuse and self.until is None:
            self.until = now + self.refuse
        refused = self.until is not None and now < self.until
        self.arrivals.append((now, 503 if refused else 101))
        if not refused:
            return None
        response = connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "later\n")
        response.headers["Retry-After"] = f"{self.refuse:g}"
        return response

    async def hold(self, connection: ServerConnection) -> None:
        self.connections.add(connection)
        try:
            await connection.wait_closed()
        finally:
            self.connections.discard(connection)

    def drop(self, refuse: float) -> None:
        self.arrivals, self.refuse, self.until = [], refuse, None
        for connection in self.connections:
            connection.transport.abort()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        commands = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
        options: dict[str, Any] = {"ping_interval": None, "compression": None, "process_request": self.process_request}
        async with serve(self.hold, "127.0.0.1", 0, backlog=1024, **options) as server:
            print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
            while line := await commands.readline():
                match line.decode().split():
                    case ["drop", *seconds]:
                        self.drop(float(seconds[0]) if seconds else 0.0)
                        print(json.dumps(time.monotonic()), flush=True)
                    case ["arrivals"]:
                        print(json.dumps(self.arrivals), flush=True)


if __name__ == "__main__":
    import logging

    logging.disable()
    asyncio.run(HerdServer().run())
