"""Messages about transactions, kept until the central system has answered them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from libws_core import ClientClosed, ConnectionClosed, LibwsError, MessageExpired, NotReady, OutboxFull
from libws_requests import RequestLost

logger = logging.getLogger("libws.ocpp")

Payload = Mapping[str, Any] | Callable[[], Mapping[str, Any]]

LOST = (RequestLost, ConnectionClosed, ClientClosed, NotReady)
"""The connection has ended: the same message is sent on the next one, and that is no attempt."""


class Entry:
    """One message that waits, or is under way."""

    __slots__ = ("action", "answer", "id", "payload")

    def __init__(self, action: str, payload: Payload, id: str) -> None:
        self.action = action
        self.payload = payload
        self.id = id
        self.answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()


class Backlog:
    """Messages in the order in which they were given; the first one is under way.

    Args:
        size: messages that it holds at most.
        attempts: how often the central system may fail to process a message before it is given up.
        interval: seconds to the second attempt; twice as many to the third, and so on.
        make_id: gives an id.
    """

    def __init__(self, size: int, attempts: int, interval: float, make_id: Callable[[], str]) -> None:
        self.entries: deque[Entry] = deque()
        self._size = size
        self._attempts = attempts
        self._interval = interval
        self._make_id = make_id
        self._filled = asyncio.Event()
        self._turn = asyncio.Lock()

    def add(self, action: str, payload: Payload) -> asyncio.Future[dict[str, Any]]:
        """Append a message; gives what its answer will be."""
        if len(self.entries) >= self._size:
            raise OutboxFull(f"{self._size} messages wait for the central system, so {action} was not taken")
        entry = Entry(action, payload, self._make_id())
        self.entries.append(entry)
        self._filled.set()
        return entry.answer

    async def run(self, call: Callable[[Entry, Mapping[str, Any]], Awaitable[dict[str, Any]]]) -> None:
        """Send what there is and what comes, on one connection, until that has ended."""
        async with self._turn:  # in a move, the older connection's go first
            while True:
                while not self.entries:
                    self._filled.clear()
                    await self._filled.wait()
                if not await self._deliver(self.entries[0], call):
                    return

    async def _deliver(self, entry: Entry, call: Callable[[Entry, Mapping[str, Any]], Awaitable[Any]]) -> bool:
        """Bring one message to its end; False if the connection has ended before."""
        attempt = 0
        while True:
            try:
                payload = entry.payload() if callable(entry.payload) else entry.payload
                answer = await call(entry, payload)
            except LOST:
                return False
            except MessageExpired:
                continue  # others had their turn all the time; it was not sent
            except LibwsError as error:
                attempt += 1
                if attempt >= self._attempts:
                    logger.warning("%s is given up after %d attempts: %s", entry.action, attempt, error)
                    self._end(entry, error)
                    return True
                entry.id = self._make_id()  # an id is used once on a connection: OCPP-J 1.6 section 4.1.4
                await asyncio.sleep(self._interval * attempt)  # 1.6 section 3.7.1; 2.0.1 part 2, E13
            except Exception as error:
                logger.exception("the payload of %s cannot be made, so it is given up", entry.action)
                self._end(entry, error)
                return True
            else:
                self._end(entry, answer)
                return True

    def _end(self, entry: Entry, what: dict[str, Any] | Exception) -> None:
        self.entries.popleft()
        settle(entry.answer, what)

    def close(self, error: LibwsError | None) -> None:
        """The client has ended: whoever waits for an answer waits in vain. The entries stay, to be read."""
        for entry in self.entries:
            text = f"the client has ended before {entry.action} was answered; it is among `pending`"
            why = ClientClosed(text)
            why.__cause__ = error
            settle(entry.answer, why)


def settle(future: asyncio.Future[Any], what: Any) -> None:
    """End a future for which perhaps nobody waits."""
    if future.done():
        return
    if isinstance(what, Exception):
        future.set_exception(what)
        future.exception()
    else:
        future.set_result(what)
