"""Through an HTTP proxy or a SOCKS5 proxy.

Start a server:     python examples/echo_server.py
Install a proxy:    apt-get install microsocks        or tinyproxy
Start it:           microsocks -i 127.0.0.1 -p 1080 -u user -P password
Then:               PROXY=socks5://user:password@127.0.0.1:1080 python examples/proxies.py [URL]

The default URL is ws://127.0.0.1:8765. PROXY may also be http://, https:// or socks5h:// (the proxy resolves the name).
Without it `proxy="env"` takes the proxy of the environment: http_proxy, https_proxy, no_proxy. A proxy that refuses the
log-in ends the client at once; any other trouble with it is tried again.
"""

import asyncio
import os
import sys

from libws_core import AttemptFailed, Client, ProxyError

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"


async def main() -> None:
    client = Client(URL, proxy=os.environ.get("PROXY", "env"), options={"backoff": {"max_attempts": 3}})
    client.on(AttemptFailed, lambda event: print(f"{type(event.error).__name__}, {event.error.verdict}: {event.error}"))
    async with client:
        await client.send("through the proxy")
        print("<", (await client.recv(timeout=10)).data)


try:
    asyncio.run(main())
except ProxyError as error:
    sys.exit(f"the proxy does not let us through: {error}")
