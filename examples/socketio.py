"""Socket.IO over WebSocket: events that the server acknowledges or answers by another, and a question that it asks.

Install:            pip install libws-socketio
A server:           npm install --no-package-lock --prefix tests/servers/socketio
Start it:           node tests/servers/socketio/server.mjs         (or python tests/servers/socketio/server.py)
Then:               SOCKETIO_TOKEN=secret python examples/socketio.py [URL]     (default ws://127.0.0.1:3000)

With a wrong token it ends at once. The protocol: https://socket.io/docs/v4/socket-io-protocol
"""

import asyncio
import os
import sys

from libws_core import Client
from libws_socketio import ConnectRefused, Socketio

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:3000"
TOKEN = os.environ.get("SOCKETIO_TOKEN", "secret")


async def main() -> None:
    async with Client(URL, plugins=["socketio"], options={"socketio": {"auth": {"token": TOKEN}}}) as client:
        socketio = client.plugin(Socketio)
        print(await socketio.call("echo", "hello", b"bytes"))
        await socketio.emit("say", {"number": 7})
        await socketio.emit("ask", "What is your name?")
        async for message in client:
            event, *arguments = message.json
            print("<", event, *arguments)
            if event == "question":
                await socketio.answer(message, "Ann")
            elif event == "answered":
                break


try:
    asyncio.run(main())
except ConnectRefused as error:
    sys.exit(f"{error}, {error.data}")
