"""A WebSocket server in a process of its own, which the test may kill. Run with a port, 0 = a free one.

It writes "CONNECTION TEXT" to its output for each message as it reads it, before it answers any ping behind that. Lines
at its input make it rude to the open connections: reset, drop, close, stall. At the end of the input it stops.
"""

from __future__ import annotations

import asyncio
import os
import sys

from libws_core.testing import Server, ServerPeer


def count(peer: ServerPeer) -> None:
    peer.on_message = lambda message: os.write(1, f"{peer.number} {message.data}\n".encode())


async def main() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    async with Server(count, port=int(sys.argv[1])) as server:

        def told() -> None:
            data = os.read(0, 4096)
            if not data:
                loop.remove_reader(0)
                ended.set()
            for order in data.decode().split():
                for peer in server.peers:
                    match order:
                        case "reset":
                            peer.drop(reset=True)
                        case "drop":
                            peer.drop()
                        case "close":
                            peer.close(1012)
                        case "stall":
                            peer.stall()

        loop.add_reader(0, told)
        os.write(1, f"port {server.port}\n".encode())
        await ended.wait()


asyncio.run(main())
