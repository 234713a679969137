"""The servers and recorders of libws-websockets' tests, and a `dial` that uses this plugin."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from libws_core.types import Request
from libws_picows import Picows

NEIGHBOUR = Path(__file__).parents[2] / "websockets" / "tests"


def load_neighbour() -> ModuleType:
    """The other dialer's conftest: both plugins are tested against the same servers."""
    spec = importlib.util.spec_from_file_location("websockets_conftest", NEIGHBOUR / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = load_neighbour()
raw_server = shared.raw_server
frame = shared.frame


@pytest.fixture
async def dial() -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Dial a URL and start; gives a Recorder. What is still open at the end is aborted."""
    recorders: list[Any] = []

    async def dial(url: str, *, plugin: Picows | None = None, start: bool = True, **request: Any) -> Any:
        request.setdefault("proxy", None)
        async with asyncio.timeout(shared.PATIENCE):
            connection = await (plugin or Picows()).dial(Request(url, **request))
        assert connection is not None
        recorders.append(shared.Recorder(connection))
        return recorders[-1].start() if start else recorders[-1]

    yield dial
    for recorder in recorders:
        recorder.connection.abort()
    for _ in range(5):
        await asyncio.sleep(0)
    for recorder in recorders:
        assert recorder.endings <= 1
