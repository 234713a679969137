"""What a dialer promises, on each dialer and each loop: `dialer` and the loops come from the conftest of the project.

The contract of dialers holds what every dialer promises; here is what these two promise beside it. What is true of one
dialer only is marked with `only_dialer`, or stands in that plugin's own tests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from libws_core.testing.contract import bare
from libws_core.testing.contract.bare import BareServer, Script
from libws_core.testing.contract.receiver import Receiver
from libws_core.types import Connection, Request

PATIENCE = 10.0


@pytest.fixture
async def raw_server() -> AsyncIterator[Callable[..., Awaitable[BareServer]]]:
    """Start a server that runs `script(peer)` for each connection."""
    servers: list[BareServer] = []

    async def start(script: Script, **options: Any) -> BareServer:
        server = BareServer(script, **options)
        servers.append(server)
        return await server.listen()

    yield start
    for server in servers:
        await server.aclose()


@pytest.fixture
async def dial(dialer: Any) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Dial a URL and start; gives a Receiver. What is still open at the end is aborted."""
    recorders: list[Receiver] = []

    async def dial(url: str, *, plugin: Any = None, start: bool = True, **request: Any) -> Receiver:
        request.setdefault("proxy", None)
        async with asyncio.timeout(PATIENCE):
            connection: Connection | None = await (plugin or dialer()).dial(Request(url, **request))
        assert connection is not None
        recorder = Receiver(connection)
        recorders.append(recorder)
        return recorder.start() if start else recorder

    yield dial
    for recorder in recorders:
        recorder.connection.abort()
    for _ in range(5):
        await asyncio.sleep(0)
    for recorder in recorders:
        assert recorder.endings <= 1


@pytest.fixture
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not close TCP is left soon."""
    monkeypatch.setattr("libws_websockets.base.LINGER", 0.05)


@pytest.fixture
def frame() -> Callable[..., bytes]:
    """Makes a server's frame, right or wrong."""
    return bare.frame
