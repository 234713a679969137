"""A client that these tests watch."""

from __future__ import annotations

import asyncio
from typing import Self, TypeVar

from libws_core import Client, Connected, Event

PATIENCE = 30.0
"""Seconds that anything may take."""

E = TypeVar("E", bound=Event)


class Diary:
    """A client with every event of its life."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.events: list[Event] = []
        self._news = asyncio.Event()
        client.on(Event, self._add)

    def _add(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    async def open(self) -> None:
        """Open the client, within our patience."""
        async with asyncio.timeout(PATIENCE):
            await self.client.open()

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, kind: type[E], number: int = 1) -> E:
        """The event of that class and number, as soon as it has happened."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(self.all(kind)) < number:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            told = "\n".join(map(str, self.events))
            raise AssertionError(f"no {kind.__name__} number {number} came; instead:\n{told}") from None
        return self.all(kind)[number - 1]

    @property
    def connected_once(self) -> bool:
        """Whether the first connection is still the only one."""
        return len(self.all(Connected)) == 1 and all(event.generation == 1 for event in self.events)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
