"""GraphQL over WebSocket, by the subprotocol graphql-transport-ws: a query, and a subscription that outlives losses.

Install:            pip install libws-graphql
A server:           npm install --no-package-lock --prefix tests/servers/graphql
Start it:           node tests/servers/graphql/server.mjs          (or python tests/servers/graphql/server.py)
Then:               GRAPHQL_TOKEN=secret python examples/graphql.py [URL]     (default ws://127.0.0.1:4000/graphql)

Stop the server while this runs and start it again: the subscription begins anew. With a wrong token it ends at once.
The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md
"""

import asyncio
import os
import sys

from libws_core import Client, ConnectionClosed
from libws_graphql import Graphql

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:4000/graphql"
TOKEN = os.environ.get("GRAPHQL_TOKEN", "secret")
COUNT = "subscription Count($to: Int!) { count(to: $to) }"


async def main() -> None:
    async with Client(URL, plugins=["graphql"], options={"graphql": {"payload": {"token": TOKEN}}}) as client:
        graphql = client.plugin(Graphql)
        print(await graphql.execute("{ hello }"))
        async for data in graphql.subscribe(COUNT, variables={"to": 3}):
            print("<", data)


try:
    asyncio.run(main())
except ConnectionClosed as error:
    sys.exit(f"{error}: {error.verdict}")
