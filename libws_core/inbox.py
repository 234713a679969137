"""What arrived and waits to be read: bounded by messages and bytes, in order, nothing dropped.

At the high mark the connection is told to stop reading its socket, so a slow reader slows the server; at half of it
reading goes on. An empty inbox admits one message of any size. The size of a message is what its data takes in memory:
a text with characters beyond ASCII takes up to four bytes for each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from .errors import ClientClosed, LibwsError
from .events import Gap
from .types import Message

MAX_MARKERS = 1_000
"""Markers that may wait one by one; above, neighbours become one."""


class Inbox:
    """A bounded queue with one reader.

    Args:
        messages: the high mark, in messages.
        size: the high mark, in bytes.
        high: called with each message that is put while `full` is True.
        low: called when there is room again after `full` was True, or nothing left to read while it still is.
    """

    def __init__(self, messages: int, size: int, high: Callable[[], object], low: Callable[[], object]) -> None:
        self.max_messages = messages
        self.max_size = size
        self.received = 0
        """Messages that were put, in all."""
        self.count = 0
        """Messages waiting, also those that a connection holds back until its turn comes."""
        self.size = 0
        self.full = False
        """Above the high mark, and not yet below the low one."""
        self.error: LibwsError | None = None
        self.finished = False
        self._high = high
        self._low = low
        self._items: deque[Message | Gap] = deque()
        self._markers = 0
        self._waiter: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def admit(self, message: Message) -> None:
        """Count a message that is put, or held back to be put later."""
        self.count += 1
        self.size += message.data.__sizeof__()
        if self.count >= self.max_messages or self.size >= self.max_size:
            self.full = True

    def dismiss(self, message: Message) -> None:
        """Count a message that is gone."""
        self.count -= 1
        self.size -= message.data.__sizeof__()
        if self.full and self.count <= self.max_messages // 2 and self.size <= self.max_size // 2:
            self.full = False
            self._low()

    def put(self, message: Message) -> None:
        """Add a message, and count it."""
        self._items.append(message)
        self.received += 1
        # as `admit`, without the call
        self.count += 1
        self.size += message.data.__sizeof__()
        if self.full or self.count >= self.max_messages or self.size >= self.max_size:
            self.full = True
            self._high()
        if self._waiter is not None:
            self.wake()

    def mark(self, gap: Gap) -> None:
        """Add a marker, which costs nothing."""
        self._items.append(self._marked(gap))
        if self._waiter is not None:
            self.wake()

    def finish(self, error: LibwsError | None) -> None:
        """Nothing more will come: readers get what is there, then the end."""
        self.finished, self.error = True, error
        self.wake()

    def wake(self) -> None:
        """Let a waiting reader look again."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def take(self, markers: bool = False) -> Message | Gap | None:
        """The next message (or marker) that is there, None if there is none."""
        items = self._items
        while items:
            item = items.popleft()
            if isinstance(item, Gap):
                self._markers -= 1
                if not markers:
                    continue
            elif self.full:
                self.dismiss(item)
            else:  # as `dismiss`, without the call
                self.count -= 1
                self.size -= item.data.__sizeof__()
            return item
        if not self.count:
            self.size = 0  # a text that was parsed meanwhile has grown
        if self.full:
            self._low()
        return None

    async def messages(self, check: Callable[[], object]) -> AsyncIterator[Message]:
        """All that comes, without markers; waits only when nothing is there.

        Args:
            check: called before each wait; raises if nobody may read.

        Raises:
            LibwsError: the client failed with this error and everything is read.
            RuntimeError: another task is waiting.
        """
        items = self._items
        while True:
            while items:
                if self.full or self._markers:
                    item = self.take()
                    if item is None:
                        break
                else:  # as `take`, without the call
                    item = items.popleft()
                    self.count -= 1
                    self.size -= item.data.__sizeof__()  # type: ignore[union-attr]
                yield item  # type: ignore[misc]
            check()
            try:
                yield await self.get()  # type: ignore[misc]
            except ClientClosed:
                return

    async def get(self, markers: bool = False) -> Message | Gap:
        """Wait for the next message (or marker).

        Raises:
            ClientClosed: the client was closed and everything is read.
            LibwsError: the client failed with this error and everything is read.
            RuntimeError: another task is waiting.
        """
        while True:
            item = self.take(markers)
            if item is not None:
                return item
            if self.finished:
                raise self.error or ClientClosed("the client was closed")
            if self._waiter is not None:
                raise RuntimeError("another task is reading from this client; one reader at a time")
            self._waiter = waiter = asyncio.get_running_loop().create_future()
            try:
                await waiter
            finally:
                if self._waiter is waiter:
                    self._waiter = None

    def _marked(self, gap: Gap) -> Gap:
        """Count a marker; if nobody reads them, the newest and the one right before it become one."""
        if self._markers >= MAX_MARKERS and self._items and isinstance(before := self._items[-1], Gap):
            self._items.pop()
            topic = gap.topic if gap.topic == before.topic else None
            return replace(gap, since=before.since, topic=topic, first=None, last=None)
        self._markers += 1
        return gap

    @property
    def waiting(self) -> bool:
        """A task waits for a message."""
        return self._waiter is not None
