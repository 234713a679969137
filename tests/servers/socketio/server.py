"""The same server as server.mjs, by python-socketio on uvicorn; it cannot recover, and has no `close`."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import socketio
import uvicorn

HOST, PORT = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "3000"))
TOKEN = os.environ.get("TOKEN", "secret")
TICK = float(os.environ.get("TICK", "0")) / 1000
NAMESPACES = ("/", "/admin")

server = socketio.AsyncServer(
    async_mode="asgi",
    namespaces=list(NAMESPACES),
    ping_interval=float(os.environ.get("INTERVAL", "25000")) / 1000,
    ping_timeout=float(os.environ.get("TIMEOUT", "20000")) / 1000,
    max_http_buffer_size=int(os.environ.get("LIMIT", "1000000")),
)


class Events(socketio.AsyncNamespace):
    async def on_connect(self, sid: str, environ: Any, auth: Any = None) -> None:
        token = (auth or {}).get("token")
        if token != TOKEN:
            raise socketio.exceptions.ConnectionRefusedError("not authorized", {"got": token, "code": 17})

    async def on_echo(self, sid: str, *args: Any) -> Any:
        return args

    async def on_big(self, sid: str, size: int) -> str:
        return "x" * size

    async def on_say(self, sid: str, *args: Any) -> None:
        await self.emit("said", args, to=sid)

    async def on_ask(self, sid: str, *args: Any) -> None:
        async def answered(*said: Any) -> None:
            await self.emit("answered", said, to=sid)

        await self.emit("question", args, to=sid, callback=answered)

    async def on_kick(self, sid: str) -> None:
        await self.disconnect(sid)


async def tick() -> None:
    number = 0
    while True:
        number += 1
        await server.emit("tick", number)
        await asyncio.sleep(TICK)


async def main() -> None:
    for name in NAMESPACES:
        server.register_namespace(Events(name))
    ticking = asyncio.create_task(tick()) if TICK else None
    config = uvicorn.Config(
        socketio.ASGIApp(server), host=HOST, port=PORT, log_level="warning", timeout_graceful_shutdown=1
    )
    await uvicorn.Server(config).serve()
    if ticking is not None:
        ticking.cancel()


asyncio.run(main())
