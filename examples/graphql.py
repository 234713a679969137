"""A GraphQL subscription, by the subprotocol graphql-transport-ws.

Install a server:   npm install --no-package-lock --prefix tests/servers/graphql
Start it:           node tests/servers/graphql/server.mjs
Then:               GRAPHQL_TOKEN=secret python examples/graphql.py [URL]     (default ws://127.0.0.1:4000/graphql)

The log-in is a message that must be answered before anything else; the close codes 4400 to 4499 tell what the client
did wrong, so trying again is no use, except after 4408, a log-in that came too late.
The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import os
import sys
from typing import Any

from libws_core import Client, ConnectionClosed

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:4000/graphql"
TOKEN = os.environ.get("GRAPHQL_TOKEN", "secret")
QUERY = "subscription { count(to: 3) }"

OPTIONS: dict[str, dict[str, Any]] = {
    "auth": {
        "message": {"type": "connection_init", "payload": {"token": TOKEN}},
        "expect": {"type": "connection_ack"},
    },
    "pong": {"match": {"type": "ping"}, "reply": {"type": "pong"}},
    "backoff": {"codes": {"4400-4499": "fatal", "4408": "retry"}},
}


async def main() -> None:
    client = Client(URL, plugins=["auth"], subprotocols=["graphql-transport-ws"], options=OPTIONS)
    async with client:
        await client.send_json({"type": "subscribe", "id": "1", "payload": {"query": QUERY}})
        async for message in client:
            if message.json["type"] == "complete":
                break
            print("<", message.json["payload"])


try:
    asyncio.run(main())
except ConnectionClosed as error:
    sys.exit(f"{error}: {error.verdict}")
