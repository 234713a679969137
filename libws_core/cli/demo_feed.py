"""The server of the demo: it numbers its messages, and misbehaves on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Self

from ..errors import KeepAliveTimeout
from ..events import AttemptFailed, Disconnected, Event
from ..testing import Gone, Server, ServerPeer

EVERY = 0.05
"""Seconds between two messages."""
RETRY_AFTER = 1
"""Seconds that the server asks for with its 429."""


class NobodyListens(Exception):
    """There is no connection to do something to."""


class Feed:
    """A real server on loopback that counts on whether anybody listens or not, as a ticker does.

    Used as `async with`. It does not listen before `listen`.
    """

    def __init__(self) -> None:
        self._server = Server(self._greet)
        self._listener: ServerPeer | None = None
        self._ticking: asyncio.Task[None] | None = None
        self.number = 0
        """The number of the last message."""
        self.sent = 0
        """The number of the last message that was written to a connection."""

    @property
    def url(self) -> str:
        """The URL to dial."""
        return self._server.url

    async def __aenter__(self) -> Self:
        await self._server.__aenter__()
        await self._server.stop()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.wait([self._ticking])
        await self._server.__aexit__(kind, error, trace)

    async def listen(self) -> None:
        """Begin to accept connections."""
        await self._server.start()

    def leave(self) -> ServerPeer:
        """Send no more to the connection that there is; gives it.

        Raises:
            NobodyListens: there is none.
        """
        peer, self._listener = self._listener, None
        if peer is None or peer.gone:
            raise NobodyListens
        return peer

    def refuse_next(self) -> None:
        """Answer the next handshake with 429 and Retry-After."""
        self._server.refuse(429, {"Retry-After": str(RETRY_AFTER)})

    def _greet(self, peer: ServerPeer) -> None:
        self._listener = peer

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + EVERY, loop.time())
            await asyncio.sleep(due - loop.time())
            self.number += 1
            if self._listener is not None:
                try:
                    self._listener.send(json.dumps({"number": self.number}))
                    self.sent = self.number
                except Gone:
                    self._listener = None


class Fault(NamedTuple):
    """Something that servers do."""

    name: str
    inflict: Callable[[Feed], None]
    """Does it."""
    shows: Callable[[Event], bool]
    """Whether this event is how the client noticed it."""
    after: Callable[[Feed], Awaitable[None]] | None = None
    """What the server does when the client has noticed it."""
    times: int = 1
    """How often the client shall notice it before that."""


def _refused_and_told_to_wait(feed: Feed) -> None:
    feed.refuse_next()
    feed.leave().close(1001, "restarting")


def _dropped(feed: Feed) -> None:
    feed.leave().drop()


def _silent(feed: Feed) -> None:
    feed.leave().silence()


def _closed(feed: Feed) -> None:
    feed.leave().close(1012, "service restart")


def _lost(event: Event, code: int) -> bool:
    return isinstance(event, Disconnected) and event.error.code == code and not _unanswered(event)


def _unanswered(event: Event) -> bool:
    return isinstance(event, Disconnected) and isinstance(event.error, KeepAliveTimeout)


FAULTS = (
    Fault(
        "is not listening",
        lambda feed: None,  # so it begins
        lambda event: isinstance(event, AttemptFailed) and isinstance(event.error.__cause__, ConnectionRefusedError),
        Feed.listen,
        times=3,
    ),
    Fault(
        f"restarts, then answers 429 with Retry-After: {RETRY_AFTER}",
        _refused_and_told_to_wait,
        lambda event: isinstance(event, AttemptFailed) and event.error.status == 429,
    ),
    Fault("drops without a close frame", _dropped, lambda event: _lost(event, 1006)),
    Fault("falls silent, holding the socket", _silent, _unanswered),
    Fault("closes with 1012", _closed, lambda event: _lost(event, 1012)),
)
"""What the client rides out, in order."""
