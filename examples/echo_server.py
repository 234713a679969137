"""The server that the other examples talk to, where they need no special one: it sends back what it gets.

    python examples/echo_server.py [--port 8765] [--token TOKEN] [--drop-after N]

With --token it wants `Authorization: Bearer TOKEN`, else 401. With --drop-after it cuts each connection off, without a
close frame, after it has answered N messages. It needs python-websockets, which libws-websockets brings along.
"""

import argparse
import asyncio
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--token")
    parser.add_argument("--drop-after", type=int, metavar="N")
    options = parser.parse_args()

    def check(connection: ServerConnection, request: Request) -> Response | None:
        if options.token and request.headers.get("Authorization") != f"Bearer {options.token}":
            return connection.respond(HTTPStatus.UNAUTHORIZED, "a token is needed\n")
        return None

    async def echo(connection: ServerConnection) -> None:
        answered = 0
        async for message in connection:
            await connection.send(message)
            answered += 1
            if answered == options.drop_after:
                connection.transport.abort()

    async with serve(echo, "127.0.0.1", options.port, process_request=check):
        print(f"listening on ws://127.0.0.1:{options.port}", flush=True)
        await asyncio.get_running_loop().create_future()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
