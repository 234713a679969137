"""A message that waits, and the line in which it does."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from libws_core import Sending

__all__ = ["Kept", "Line"]


class Kept(Awaitable[None]):
    """A message that waits; its sender awaits this, which ends when the message is written.

    Args:
        left: told when the sender goes before that.
    """

    __slots__ = ("_given", "_left", "bytes", "sending")

    def __init__(
        self, sending: Sending, given: asyncio.Future[Awaitable[None]], left: Callable[[Kept], object]
    ) -> None:
        self.sending = sending
        data = sending.message.data
        self.bytes = len(data) if not isinstance(data, str) or data.isascii() else len(data.encode("utf-8", "replace"))
        self._given = given
        self._left = left

    @property
    def gone(self) -> bool:
        """Its sender waits no longer."""
        return self._given.done()

    def give(self, written: Awaitable[None]) -> None:
        """A connection has it; `written` ends when that has written it."""
        self._given.set_result(written)

    def fail(self, error: Exception) -> None:
        """It will not be sent."""
        if not self._given.done():
            self._given.set_exception(error)
            self._given.exception()  # its sender gets it, if there still is one

    def cancel(self) -> None:
        """Its sender has gone, perhaps without ever awaiting this."""
        if self._given.cancel():
            self._left(self)

    def __await__(self) -> Generator[Any, None, None]:
        try:
            written = yield from self._given.__await__()
            yield from written.__await__()
        except BaseException:
            self._left(self)
            raise


class Line:
    """Messages in the order of their sending."""

    def __init__(self) -> None:
        self.bytes = 0
        self._items: OrderedDict[int, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first(self) -> int:
        """The number of the first message. There must be one."""
        return next(iter(self._items))

    def add(self, kept: Kept) -> None:
        """Put a message into its place, which is nearly always one of the ends."""
        items, number = self._items, kept.sending.number
        last = next(reversed(items)) if items else 0
        items[number] = kept
        self.bytes += kept.bytes
        if number < last:
            items.move_to_end(number, last=False)
            if number > next(key for place, key in enumerate(items) if place):
                self._items = OrderedDict(sorted(items.items()))

    def take_first(self) -> Kept:
        """Take out the oldest message."""
        return self._taken(self._items.popitem(last=False)[1])

    def take_last(self) -> Kept:
        """Take out the newest message."""
        return self._taken(self._items.popitem()[1])

    def remove(self, kept: Kept) -> Kept:
        """Take out a message that is here."""
        return self._taken(self._items.pop(kept.sending.number))

    def discard(self, kept: Kept) -> bool:
        """Take out a message; False if it is not here."""
        if self._items.get(kept.sending.number) is not kept:
            return False
        self.remove(kept)
        return True

    def _taken(self, kept: Kept) -> Kept:
        self.bytes -= kept.bytes
        return kept
