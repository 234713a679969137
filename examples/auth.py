"""Log in with a token that is asked for before each attempt, and once more when the server says 401.

Start a server:     python examples/echo_server.py --token fresh
Then:               python examples/auth.py [URL]     (default ws://127.0.0.1:8765)

The first token that it gets is stale, so the server answers 401. That is a failure with the verdict REFRESH: the next
attempt asks for a new token. A second 401 in a row would be the end.
"""

import asyncio
import sys

from libws_core import AttemptFailed, Client, Request

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"
TOKENS = ["stale", "fresh"]


async def ask_for_token(request: Request) -> str:
    """In real life this is a request to the provider; `request.attempt.failure` tells why the last attempt failed."""
    return TOKENS[min(request.attempt.number, len(TOKENS)) - 1]


def told(event: AttemptFailed) -> None:
    print(f"attempt {event.attempt} failed: {event.error.status}, {event.error.verdict}")


async def main() -> None:
    client = Client(URL, plugins=["auth"], options={"auth": {"token": ask_for_token}})
    client.on(AttemptFailed, told)
    async with client:
        await client.send("who am I?")
        print("<", (await client.recv(timeout=10)).data)


asyncio.run(main())
