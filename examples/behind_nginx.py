"""Behind nginx, which cuts a socket that is idle for `proxy_read_timeout` (60 s unless set) without a close frame.

Install it:         apt-get install nginx-light
Start a backend:    python examples/echo_server.py
Start nginx:        nginx -p /tmp -e stderr -c "$PWD/examples/nginx.conf"
Then:               python examples/behind_nginx.py [URL]     (default ws://127.0.0.1:8081)

examples/nginx.conf sets the time-out to 1 s. One client lets nginx cut it, notices and comes back; the other one pings
four times as often, and keeps its connection.
"""

import asyncio
import sys

from libws_core import Client, Disconnected, Reconnected

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8081"
TIMEOUT = 1.0


async def main() -> None:
    silent = Client(URL, name="silent", options={"backoff": {"base": 0.1}})
    pinging = Client(URL, name="pinging", options={"ping": {"interval": TIMEOUT / 4}})
    back = asyncio.Event()
    for client in (silent, pinging):
        client.on(Disconnected, lambda event: print(f"lost: {event.error.code} after {event.uptime:.0f} s"))
    silent.on(Reconnected, lambda event: back.set())
    async with silent, pinging:
        async with asyncio.timeout(20 * TIMEOUT):
            await back.wait()
        for name, client in (("silent", silent), ("pinging", pinging)):
            await client.send("still there?", confirm=True)
            print(f"{name}: {client.stats.reconnects} reconnects, round trip {(client.latency or 0) * 1000:.1f} ms")


asyncio.run(main())
