"""See what happens to a connection, and where messages may be missing.

Start a server:     python examples/echo_server.py --drop-after 2
Then:               python examples/events.py [URL]     (default ws://127.0.0.1:8765)

The server cuts each connection after two messages. The client comes back by itself; what was under way is not sent
again, so this program does it, where a `Gap` stands in its stream.
"""

import asyncio
import sys

from libws_core import Client, Disconnected, Gap, NotReady, Reconnected, Retrying

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
WANTED = 5


async def main() -> None:
    client = Client(URL, options={"backoff": {"base": 0.2}})
    client.on(Disconnected, lambda event: print(f"lost after {event.uptime:.1f} s: {event.error}"))
    client.on(Retrying, lambda event: print(f"next attempt in {event.delay:.1f} s"))
    client.on(Reconnected, lambda event: print(f"back, as connection {event.generation}"))

    async with client:
        number = 1
        await client.send(f"message {number}")
        async for item in client.stream(markers=True):
            if isinstance(item, Gap):
                print(f"here messages may be missing ({item.why})")
            else:
                print("<", item.data)
                number += 1
                if number > WANTED:
                    break
            try:
                await client.send(f"message {number}")
            except NotReady:
                pass  # the line is down; the Gap that follows is the place to go on
    print(client.stats)


asyncio.run(main())
