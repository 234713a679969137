"""One operation, over all connections on which it runs, and the iterator that reads its results.

An operation has a feed for each connection that runs it: one, none after a loss, two in a move. They are read one after
the other, so that what a new connection brings stands behind the last result of the old one.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from libws_core import Gap, LibwsError, clock

from .errors import OperationFailed, OperationRejected, ReaderTooSlow

__all__ = ["Feed", "Operation", "Subscription"]


class Feed:
    """What one connection brings of an operation."""

    __slots__ = ("error", "final", "generation", "id", "items", "operation", "running")

    def __init__(self, operation: Operation, id: str, generation: int) -> None:
        self.operation = operation
        self.id = id
        self.generation = generation
        self.items: deque[tuple[Any, int]] = deque()
        """Payloads and Gaps that wait for the reader, with their sizes."""
        self.running = True
        """More may come."""
        self.final = False
        """Nothing follows, on any connection."""
        self.error: LibwsError | None = None
        """With `final`: what its reader gets behind the last item."""


class Operation:
    """A query, mutation or subscription that somebody waits for.

    Args:
        name: what it is called in texts and Gaps.
        payload: of its `subscribe` messages.
        lasting: it is a subscription: begun again where its connection is lost.
        messages: results that may wait for the reader.
        size: their bytes in all; one is admitted whatever its size.
        stop: told each running feed that nobody wants any more.
        over: told when it is not to be begun on another connection.
    """

    def __init__(
        self,
        name: str,
        payload: dict[str, Any],
        *,
        lasting: bool,
        messages: int,
        size: int,
        stop: Callable[[Feed], object],
        over: Callable[[Operation], object],
    ) -> None:
        self.name = name
        self.payload = payload
        self.lasting = lasting
        self.feeds: deque[Feed] = deque()
        self.closed = False
        """Its reader wants no more, or the client has ended."""
        self.error: LibwsError | None = None
        """With `closed`: what its reader gets in the end."""
        self._messages = messages
        self._size = size
        self._stop = stop
        self._over = over
        self._count = 0
        self._bytes = 0
        self._lost: float | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def wanted(self) -> bool:
        """It runs, or is to be begun on the next connection."""
        return not self.closed and not any(feed.final for feed in self.feeds)

    @property
    def running(self) -> bool:
        """It runs on a connection."""
        return any(feed.running for feed in self.feeds)

    # What connections bring

    def begin(self, id: str, generation: int) -> Feed:
        """It is begun on a connection, behind a Gap if one was lost before."""
        feed = Feed(self, id, generation)
        self.feeds.append(feed)
        if self._lost is not None:
            self._mark(feed, self._lost)
            self._lost = None
            self._wake()
        return feed

    def add(self, feed: Feed, payload: Any, size: int) -> None:
        """A result has come."""
        if not feed.running:
            return
        if self._count and (self._count >= self._messages or self._bytes + size > self._size):
            self._stop(feed)
            text = f"{self.name}: {self._count} results ({self._bytes} bytes) wait for their reader"
            self.finish(feed, ReaderTooSlow(text))
            return
        self._count += 1
        self._bytes += size
        feed.items.append((payload, size))
        self._wake()

    def finish(self, feed: Feed, error: LibwsError | None = None) -> None:
        """Nothing follows what this connection has brought."""
        if feed.running:
            feed.running, feed.final, feed.error = False, True, error
            self._over(self)
            self._wake()

    def lose(self, feed: Feed, *, said_all: bool) -> None:
        """The connection has ended.

        Args:
            said_all: we have closed it, when another was READY, and have read everything up to the server's answer.
        """
        if not feed.running:
            return
        feed.running = False
        place = self.feeds.index(feed)
        if any(older.running for older in itertools.islice(self.feeds, place)):
            self._discard(feed)  # the new connection of a move, and the old one carries all
            return
        if place + 1 < len(self.feeds):
            if not said_all:
                self._mark(self.feeds[place + 1], clock.wall())
        elif not self.running:
            self._lost = clock.wall()
            if len(feed.items) == 1 and isinstance(gap := feed.items[0][0], Gap):  # it has brought nothing else
                feed.items.clear()
                self._lost = gap.since
        self._wake()

    def _mark(self, feed: Feed, since: float) -> None:
        """Put a Gap before everything that a connection brings."""
        gap = Gap("the connection was lost", feed.generation, since, clock.wall(), self.name)
        feed.items.appendleft((gap, 0))

    def _discard(self, feed: Feed) -> None:
        """Forget what a connection has brought."""
        self.feeds.remove(feed)
        results = [size for item, size in feed.items if not isinstance(item, Gap)]
        self._count -= len(results)
        self._bytes -= sum(results)

    def close(self, error: LibwsError | None = None) -> None:
        """Want no more: what waits can still be read, and what runs is stopped."""
        if self.closed:
            return
        self.closed, self.error = True, error
        for feed in self.feeds:
            if feed.running:
                self._stop(feed)
                feed.running = False
        self._over(self)
        self._wake()

    # The reader

    async def read(self) -> Any:
        """The next payload or Gap.

        Raises:
            StopAsyncIteration: there are no more.
        """
        while True:
            while self.feeds:
                feed = self.feeds[0]
                if feed.items:
                    item, size = feed.items.popleft()
                    if not isinstance(item, Gap):
                        self._count -= 1
                        self._bytes -= size
                    return item
                if feed.final:
                    self.close()
                    if feed.error is not None:
                        error, feed.error = feed.error, None
                        raise error
                    raise StopAsyncIteration
                if feed.running:
                    break
                self.feeds.popleft()
            if self.closed and not self.feeds:
                error_, self.error = self.error, None
                if error_ is not None:
                    raise error_
                raise StopAsyncIteration
            await self._news()

    async def _news(self) -> None:
        if self._waiter is not None:
            raise RuntimeError(f"{self.name} has a reader already")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Subscription:
    """The results of a subscription, over all reconnects: an async iterator that `Graphql.subscribe` gives.

    It ends when the server completes it, when it is closed, or with the client. `async with` closes it at the end;
    so does dropping the last reference to it, soon.
    """

    def __init__(self, operation: Operation, *, results: bool, markers: bool) -> None:
        self._operation = operation
        self._results = results
        self._markers = markers
        self._loop = asyncio.get_running_loop()

    @property
    def name(self) -> str:
        """What it is called: the operation's name, or a number."""
        return self._operation.name

    @property
    def active(self) -> bool:
        """It was sent to the server on a connection that is alive."""
        return self._operation.running

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        while True:
            item = await self._operation.read()
            if isinstance(item, Gap):
                if self._markers:
                    return item
                continue
            return item if self._results else data_of(self._operation.name, item)

    async def aclose(self) -> None:
        """Tell the server that nobody wants it any more. What has come can still be read."""
        self._operation.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._operation.close()

    def __del__(self) -> None:
        operation = getattr(self, "_operation", None)
        if operation is not None and not operation.closed and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(operation.close)  # the collector runs in any thread

    def __repr__(self) -> str:
        return f"Subscription({self.name!r})"


def data_of(name: str, payload: Any) -> Any:
    """The data of a result.

    Raises:
        OperationFailed: it has errors.
    """
    errors = payload.get("errors")
    if errors:
        listed = errors if isinstance(errors, list) else [errors]
        raise OperationFailed(f"{name} gave errors", errors=listed, data=payload.get("data"))
    return payload.get("data")


def rejection(name: str, payload: Any) -> OperationRejected:
    """What the `error` message of an operation means."""
    errors = payload if isinstance(payload, list) else [payload]
    return OperationRejected(f"the server refused {name}", errors=errors)
