"""nats-server over WebSocket: it speaks first, the log-in is a message, and so are its pings.

Install a server:   apt-get install nats-server
Write nats.conf:    listen: "127.0.0.1:4222"
                    authorization { token: "secret" }
                    websocket {
                      listen: "127.0.0.1:8080"
                      no_tls: true
                    }
Start it:           nats-server -c nats.conf
Then:               NATS_TOKEN=secret python examples/nats.py [URL]     (default ws://127.0.0.1:8080)

The protocol: https://docs.nats.io/reference/reference-protocols/nats-protocol
"""

import asyncio
import json
import os
import sys

from libws_core import Client, Message

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8080"
TOKEN = os.environ.get("NATS_TOKEN", "secret")
CONNECT = {"verbose": False, "pedantic": False, "auth_token": TOKEN, "name": "libws", "lang": "python", "version": "0"}


def refused(message: Message) -> bool:
    return bytes(message.data).startswith(b"-ERR")


async def main() -> None:
    client = Client(
        URL,
        plugins=["auth"],
        options={
            # CONNECT has no answer of its own, the PONG to the PING behind it is the proof that it was accepted.
            "auth": {"message": f"CONNECT {json.dumps(CONNECT)}\r\nPING\r\n", "expect": "PONG", "reject": refused},
            "pong": {"match": "PING", "reply": "PONG\r\n"},
        },
    )
    async with client:
        info = (await client.recv(timeout=10)).data  # the server's first line; the log-in left it in the stream
        print("version", json.loads(info.removeprefix(b"INFO "))["version"])
        await client.send("SUB greetings.* 1\r\n")
        for name in ("ann", "bob"):
            body = f"hello {name}"
            await client.send(f"PUB greetings.{name} {len(body)}\r\n{body}\r\n")
        seen = b""  # a message of WebSocket may hold several of NATS, or a part of one
        while seen.count(b"\r\n") < 4:
            seen += (await client.recv(timeout=10)).data
        print(seen.decode(), end="")


asyncio.run(main())
