"""What one connection brought before its turn: until READY for `Session.recv`, and what that leaves for the user."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from .events import Gap
from .types import Message

Test = Callable[[Message], Any]
"""Gives None for a message that does not match."""
Reader = tuple[Test | None, "asyncio.Future[Message]"]


class Backlog:
    """Messages and markers in the order of their arrival, and readers that wait for some of them.

    A message that a reader is about to take stays in its place until it is taken, so that a reader which is cancelled
    loses nothing and disturbs no order.
    """

    __slots__ = ("_claimed", "_readers", "items", "size")

    def __init__(self) -> None:
        self.items: deque[Message | Gap] = deque()
        self.size = 0
        """Bytes that the messages' data takes in memory, in all."""
        # Tuples, since there hardly ever are any, and an empty one takes no memory.
        self._readers: tuple[Reader, ...] = ()
        self._claimed: tuple[Message, ...] = ()

    async def take(self, test: Test | None) -> Message:
        """Take the first message that matches, as soon as it is there; None takes any.

        Raises:
            Exception: what `close` was given, or what `test` raises.
        """
        for item in self.items:
            if isinstance(item, Message) and not self._is_claimed(item) and (test is None or test(item) is not None):
                return self._taken(item)
        future: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        reader = (test, future)
        self._readers += (reader,)
        try:
            message = await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._unclaim(future.result())
                self._offer(future.result())
            raise
        finally:
            self._remove(reader)
        return self._taken(message)

    def add(self, message: Message) -> bool:
        """Add a message; says whether a reader takes it."""
        self.items.append(message)
        self.size += message.data.__sizeof__()
        return self._offer(message)

    def close(self, error: Exception) -> None:
        """Readers wait in vain: they get this error."""
        for _, future in self._readers:
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waits gets it; nobody may be there
        self._readers = ()

    def _offer(self, message: Message) -> bool:
        """Let the first reader that waits for such a message have it."""
        for reader in self._readers:
            test, future = reader
            if future.done():
                continue
            try:
                found = test is None or test(message) is not None
            except Exception as error:
                self._remove(reader)
                future.set_exception(error)
                continue
            if found:
                self._remove(reader)
                self._claimed += (message,)
                future.set_result(message)
                return True
        return False

    def _taken(self, message: Message) -> Message:
        self._unclaim(message)
        for place, item in enumerate(self.items):
            if item is message:
                del self.items[place]
                self.size -= message.data.__sizeof__()
                return message
        raise RuntimeError("session.recv is for establish, which has ended")

    def _is_claimed(self, message: Message) -> bool:
        return any(each is message for each in self._claimed)

    def _unclaim(self, message: Message) -> None:
        self._claimed = tuple(each for each in self._claimed if each is not message)

    def _remove(self, reader: Reader) -> None:
        self._readers = tuple(each for each in self._readers if each is not reader)
