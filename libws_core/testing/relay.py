"""A relay between a client and a server that does what networks do.

    async with Relay(server.url) as relay:
        client = Client(relay.url)
        ...
        relay.drop(reset=True)

The client dials the relay by ws://, on loopback and nowhere else; for each connection the relay makes one to the
server, with TLS if its URL says wss. Bytes pass as they are, extensions and subprotocols with them, but for three
headers of the handshake: a Host and an Origin that name the relay name the server instead, and a redirect within the
server leads to the relay. Headers that name anything else pass as they are. It needs nothing beside the core.

What the relay does, it does to the connections that are open at that moment; new ones pass as ever.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as _ssl
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from .heads import Address, address
from .link import Link
from .peer import Bell
from .port import reserve
from .script import KEPT, Refuse, refuse

__all__ = ["Relay"]

HOST = "127.0.0.1"
CLEANUP = 5.0
"""Seconds that sockets may take to close when the relay ends."""


class Relay:
    """A TCP relay on loopback that can reset, drop, fall silent, drip, refuse, and close in the server's place.

    Args:
        target: the server's URL, ws or wss.
        ssl: the TLS context for wss; None = the system's certificates, with the host's name checked.
        most: connections through the relay at one time; for one more the oldest is dropped. None = as many as come.

    Raises:
        ValueError: the URL is none of a WebSocket server.
    """

    def __init__(self, target: str, *, ssl: _ssl.SSLContext | None = None, most: int | None = None) -> None:
        self.port = 0
        """The port it listens on; it stays the same over `stop` and `start`."""
        self.most = most
        self.count = 0
        """Connections that clients have made so far, refused ones too."""
        self.arrivals: deque[float] = deque(maxlen=KEPT)
        """The loop's time of the last hundred of them."""
        self.connections = 0
        """Connections made to the server so far."""
        self.peak = 0
        """Most connections to the server at one time."""
        self.stalled_at: float | None = None
        """The loop's time when a client last did not take what was written to it, so that the server was held up."""
        self.problem: str | None = None
        """Why a connection to the server was not made, the last time that happened."""
        self._links: dict[Link, None] = {}  # in the order in which they came
        self._refusals: deque[Refuse] = deque()
        self._listener: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._bell = Bell()
        self._system: _ssl.SSLContext | None = None
        self.aim(target, ssl)

    def aim(self, target: str, ssl: _ssl.SSLContext | None = None) -> None:
        """Lead the connections that come from now on to this server.

        Raises:
            ValueError: the URL is none of a WebSocket server.
        """
        self.address, self.target, self.ssl = address(target), target, ssl

    @property
    def url(self) -> str:
        """The URL to dial: the server's, with the relay in the place of scheme, host and port."""
        parts = urlsplit(self.target)
        user, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(scheme="ws", netloc=f"{user}{at}{HOST}:{self.port}"))

    @property
    def own_address(self) -> Address:
        """Where the relay listens."""
        return Address(False, HOST, self.port)

    def system_context(self) -> _ssl.SSLContext:
        """The TLS context with the system's certificates."""
        if self._system is None:
            self._system = _ssl.create_default_context()
        return self._system

    @property
    def open(self) -> int:
        """WebSockets that are open through the relay and not yet doomed by it."""
        return sum(link.open for link in self._links)

    # What it does to open connections; each gives how many there were.

    def drop(self, reset: bool = False) -> int:
        """End them without a close frame, on both sides: orderly (FIN), or by a TCP reset.

        Also those whose server's side has gone.
        """
        links = [link for link in self._links if link.client.connected]
        for link in links:
            link.drop(reset)
        return len(links)

    def silence(self) -> int:
        """Pass nothing more, in neither direction, and keep the sockets, until `release`. What is held is bounded."""
        return self._each(Link.hold)

    def half_open(self) -> int:
        """End the server's side; the client's stays open, and what the client writes goes nowhere."""
        return self._each(Link.lose_server)

    def drip(self, rate: float) -> int:
        """Pass so many bytes a second of what the server sends, until `release`.

        Raises:
            ValueError: the rate is not above 0.
        """
        if not rate > 0:
            raise ValueError("a drip passes more than 0 bytes a second")
        return self._each(lambda link: link.drip(rate))

    def release(self) -> int:
        """Pass everything again, what was held first."""
        return self._each(Link.release)

    def close(self, code: int = 1012, reason: str = "") -> int:
        """Send a close frame in the server's place, behind the frame that is under way.

        The client's answer passes on to the server. Both sides end with the server's, at the latest after 5 seconds.

        Raises:
            ValueError: the reason does not fit into a close frame.
        """
        if len(reason.encode()) > 123:
            raise ValueError("a close reason is at most 123 bytes (RFC 6455 section 5.5)")
        return self._each(lambda link: link.close(code, reason))

    # What it does to connections to come

    def refuse(
        self, status: int, headers: Mapping[str, str] | None = None, body: bytes | str = b"", *, times: int = 1
    ) -> None:
        """Answer the next handshakes with this HTTP status, without asking the server."""
        self._refusals.extend([refuse(status, headers, body)] * times)

    async def stop(self, keep: bool = False) -> None:
        """Listen no more: who dials is refused by TCP. The port stays ours.

        Args:
            keep: leave open connections as they are; else they end without a close frame.
        """
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._reserved = await reserve(HOST, self.port, True)
        if not keep:
            for link in tuple(self._links):
                link.drop(False)

    async def start(self) -> None:
        """Listen, also again after `stop`, on the same port."""
        if self._listener is None:
            sock = self._reserved or await reserve(HOST, self.port, self.port != 0)
            self._reserved = None
            self.port = sock.getsockname()[1]
            self._listener = await asyncio.get_running_loop().create_server(self._arrive, sock=sock)

    async def reached(self, count: int, timeout: float | None = None) -> None:
        """Wait until so many connections in all have come, whatever became of them.

        Raises:
            Unexpected: they did not come in time.
        """

        def missed(seconds: float) -> str:
            return f"expected {count} connections in all, got {self.count} in {seconds:g} s"

        await self._bell.until(lambda: self.count >= count or None, timeout, missed)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
        for link in tuple(self._links):
            link.vanish()
        await self._bell.until(
            lambda: not (self._links or self._tasks) or None,
            CLEANUP,
            lambda seconds: f"{len(self._links)} connections open after {seconds:g} s",
        )
        if listener is not None:
            async with asyncio.timeout(CLEANUP):
                await listener.wait_closed()

    # What links tell and ask

    def _arrive(self) -> asyncio.Protocol:
        if self.most is not None:
            alive = [link for link in self._links if not link.doomed]
            for oldest in alive[: max(0, len(alive) - self.most + 1)]:
                oldest.vanish()
        link = Link(self)
        self._links[link] = None
        self.count += 1
        self.arrivals.append(asyncio.get_running_loop().time())
        self._bell.ring()
        return link.client

    def _refusal(self) -> Refuse | None:
        return self._refusals.popleft() if self._refusals else None

    def _connected(self) -> None:
        self.connections += 1
        self.peak = max(self.peak, sum(link.server.connected for link in self._links))

    def _stalled(self) -> None:
        self.stalled_at = asyncio.get_running_loop().time()

    def _sweep(self) -> None:
        for link in [link for link in self._links if link.over]:
            del self._links[link]
        self._bell.ring()

    def _own(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._sweep()

    def _each(self, act: Callable[[Link], object]) -> int:
        links = [link for link in self._links if link.open]
        for link in links:
            act(link)
        return len(links)
