"""The benchmark's providers: each opening dialogue leads to READY, and every message of it reaches its user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from bench.clients.provider import provided
from bench.processes import Process
from bench.providers import BATCH, MODES, PROVIDERS
from libws_core import Client

PATIENCE = 30.0


@pytest.fixture
def base() -> Iterator[str]:
    with Process("server", "") as server:
        yield f"ws://127.0.0.1:{server.read(PATIENCE).strip()}"


@pytest.mark.parametrize("name", [*PROVIDERS])
async def test_every_message_of_a_provider_reaches_its_user(base: str, name: str) -> None:
    assert not PROVIDERS[name].missing()
    for mode in MODES:
        async with asyncio.timeout(PATIENCE), provided(name, mode, base) as receive:
            for _ in range(2):
                cpu, wall = await receive(2)
                assert cpu > 0 < wall


@pytest.mark.parametrize("name", [*PROVIDERS])
def test_no_two_messages_of_a_provider_are_the_same(name: str) -> None:
    provider = PROVIDERS[name]()
    assert len({provider.message(number) for number in range(BATCH)}) == BATCH
    Client("ws://test/", plugins=provider.plugins, options=provider.options)
