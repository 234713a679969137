"""Takes what a connection pushes, as the core would, and waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from ...errors import LibwsError
from ...types import Kind, Message
from .real_loop import PATIENCE, within

__all__ = ["Receiver", "same"]


class Receiver:
    """The user of one connection.

    Args:
        connection: what `dial` gave.
        patience: seconds that each wait may take.
    """

    def __init__(self, connection: Any, patience: float = PATIENCE) -> None:
        self.connection = connection
        self.messages: list[Message] = []
        """Every message that was delivered, in order."""
        self.error: LibwsError | None = None
        """How the connection ended, None while it lives."""
        self.endings = 0
        """How often the end was told."""
        self.log: list[Message | LibwsError] = []
        """Messages and ends as they came, one behind the other."""
        self.on_message: Callable[[Message], object] = lambda message: None
        """Called with each message, from within its delivery."""
        self._patience = patience
        self._changed = asyncio.Event()

    def start(self) -> Self:
        """Start the connection."""
        self.connection.start(self.deliver, self.ended)
        return self

    def deliver(self, message: Message) -> None:
        """What the connection gets as `deliver`."""
        self.messages.append(message)
        self.log.append(message)
        self._changed.set()
        self.on_message(message)

    def ended(self, error: LibwsError) -> None:
        """What the connection gets as `ended`."""
        self.error = error
        self.log.append(error)
        self.endings += 1
        self._changed.set()

    @property
    def data(self) -> list[Message]:
        """The texts and binaries."""
        return [message for message in self.messages if message.kind in (Kind.TEXT, Kind.BINARY)]

    async def count(self, number: int) -> list[Message]:
        """Wait for so many messages in all."""
        async with within(self._patience, lambda: f"{number} messages, of which {len(self.messages)} came"):
            while len(self.messages) < number:
                await self._change()
        return self.messages

    async def end(self, most: int | None = None) -> Any:
        """Wait for the end; gives its error.

        Args:
            most: messages that may be delivered until then; one more fails at once.
        """
        async with within(self._patience, "the call of ended()"):
            while self.error is None:
                if most is not None and len(self.messages) > most:
                    raise AssertionError(f"{told(self.messages[most])} was delivered where the connection had to end")
                await self._change()
        return self.error

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def same(got: Sequence[Message], expected: Sequence[Message], what: str) -> None:
    """Compare messages one by one; the first that differs is told.

    Raises:
        AssertionError: they are not the same.
    """
    for place, (one, other) in enumerate(zip(got, expected, strict=False), 1):
        if one != other or type(one.data) is not type(other.data):
            raise AssertionError(f"{what}: message {place} is {told(one)}, expected {told(other)}")
    if len(got) != len(expected):
        raise AssertionError(f"{what}: {len(got)} messages, expected {len(expected)}")


def told(message: Message) -> str:
    """A message for a failure's text; the tests' own messages hold no secrets."""
    data = repr(message.data)
    return f"{message.kind.name} {data if len(data) <= 60 else f'{data[:50]}... ({len(message.data)} long)'}"
