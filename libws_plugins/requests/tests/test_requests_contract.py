"""What every plugin with stages promises, of `requests`."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from libws_core import Client, LibwsError
from libws_core.testing import Peer, StageContract
from libws_requests import Requests


class TestRequests(StageContract):
    plugin = Requests
    bad_options: ClassVar = {
        "id": ["a..b", ""],
        "answer_id": ["a..b"],
        "make_id": ["the same for all"],
        "error": ["a..b"],
        "timeout": [0, -1],
        "limit": [0],
    }


class TestRequestsInFlight(StageContract):
    """Each connection is asked something that is never answered, so that the stage looks at what arrives."""

    plugin = Requests
    options: ClassVar[dict[str, Any]] = {
        "id": "1",
        "timeout": 100_000,
        "error": {"error": "$error"},
        "make_id": "q-$number",
    }

    async def server(self, peer: Peer) -> None:
        async for _ in peer:
            pass

    async def user(self, client: Client) -> None:
        async def ask() -> None:
            while True:
                try:
                    await client.plugin(Requests).ask(["are you there?", None])
                except LibwsError:
                    if client.state in ("closing", "closed", "failed"):
                        return
                    await asyncio.sleep(1)

        asking = asyncio.create_task(ask())
        try:
            async for _ in client:
                pass
        finally:
            asking.cancel()
            await asyncio.wait([asking])
