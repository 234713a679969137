"""A client that these tests watch."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from libws_core import Client, Event

PATIENCE = 30.0
"""Seconds that anything may take."""


class Diary:
    """A client, and what has happened to it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[Event] = []
        self._news = asyncio.Event()
        client.on(Event, self._add)

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def all(self, kind: type[Event]) -> list[Any]:
        """The events of that class, so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[Event], count: int = 1) -> Any:
        """The event of that class and number."""
        async with asyncio.timeout(PATIENCE):
            while len(self.all(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.all(kind)[count - 1]

    async def __aenter__(self) -> Self:
        async with asyncio.timeout(PATIENCE):
            await self.client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
