"""The server of server.mjs once more, by strawberry-graphql: the same schema, variables of the environment and log-in.

MESSAGES is not there: this one never asks by messages. Start it: python tests/servers/graphql/server.py
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL

HOST = os.environ.get("HOST", "127.0.0.1")
PORT = int(os.environ.get("PORT", "4000"))
TOKEN = os.environ.get("TOKEN", "secret")
WAIT = int(os.environ.get("WAIT", "3000"))
FRAMES = int(os.environ.get("FRAMES", "12000"))
LIMIT = int(os.environ.get("LIMIT", "1048576"))


class State:
    running = 0
    total = 0


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "world"

    @strawberry.field
    def echo(self, text: str) -> str:
        return text

    @strawberry.field
    def big(self, size: int) -> str:
        return "x" * size

    @strawberry.field
    def running(self) -> int:
        return State.running


@strawberry.type
class Mutation:
    @strawberry.mutation
    def add(self, number: int) -> int | None:
        if number < 0:
            raise ValueError("only what is more")
        State.total += number
        return State.total


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def count(self, to: int = 3, pause: int = 20) -> AsyncIterator[int]:
        for number in range(1, to + 1):
            if number > 1:
                await asyncio.sleep(pause / 1000)
            yield number

    @strawberry.subscription
    async def clock(self) -> AsyncIterator[str]:
        State.running += 1
        try:
            while True:
                yield datetime.now(UTC).isoformat()
                await asyncio.sleep(0.02)
        finally:
            State.running -= 1


class Application(GraphQL[Any, None]):
    async def on_ws_connect(self, context: Any) -> Any:
        if context["connection_params"].get("token") != TOKEN:
            raise ConnectionRejectionError  # 4403 Forbidden
        return await super().on_ws_connect(context)


application = Application(
    strawberry.Schema(Query, Mutation, Subscription),
    subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
    connection_init_wait_timeout=timedelta(milliseconds=WAIT),
)

if __name__ == "__main__":
    uvicorn.run(
        Starlette(routes=[WebSocketRoute("/graphql", application)]),
        host=HOST,
        port=PORT,
        ws="websockets-sansio",
        ws_max_size=LIMIT,
        ws_ping_interval=FRAMES / 1000,
        ws_ping_timeout=FRAMES / 1000,
        timeout_graceful_shutdown=1,
        log_level="warning",
    )
