"""The first client: connect, send, read.

Start a server:     python examples/echo_server.py
Then:               python examples/first.py [URL]     (default ws://127.0.0.1:8765)

It stays connected: stop the server and start it again, and type on. An empty line ends it.
"""

import asyncio
import sys

from libws_core import Client

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"


async def main() -> None:
    async with Client(URL) as client:
        print("connected; type a line")
        while line := (await asyncio.to_thread(sys.stdin.readline)).strip():
            await client.send(line)
            message = await client.recv(timeout=10)
            print("<", message.data)


asyncio.run(main())
