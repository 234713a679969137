"""What the tests of a dialer stand on: its servers, its dials, and one connection with both its ends."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol

from ...client import Client
from ...errors import LibwsError
from ...types import Kind, Message, Request
from ..script import Step, cut, hang
from ..server import Server
from . import subject
from .plugin import PluginContract
from .real_loop import PATIENCE, turns, within
from .receiver import Receiver
from .verdict import leave_out

__all__ = ["DialedPlugin", "Service", "ServicePeer"]

MUCH = 64 * 2**20
"""Bytes that no pair of loopback sockets holds."""
PIECE = 64 * 1024
"""Bytes of one message among much."""
HELD = 2**20
"""Bytes that a client's side holds when a server has stalled for a while."""
SIZES = (0, 1, 125, 126, 1000, 65_535, 65_536, 70_000)
"""Bytes of the samples; on both sides of where frames of RFC 6455 change their form."""


class ServicePeer(Protocol):
    """The server's end of one connection, as `Service.accept` gives it. `ServerPeer` is one."""

    def send(self, data: Any) -> Awaitable[object]:
        """Send a Message now; awaiting it waits until the client takes what was sent."""

    async def recv(self) -> Message:
        """The next text or binary that the client has written."""

    def close(self, code: int = 1000, reason: str = "") -> Awaitable[object]:
        """Say that it ends, with this code if the scheme has such."""

    def drop(self, reset: bool = False) -> Awaitable[object]:
        """End the connection without saying so: orderly (FIN), or by a reset."""

    def stall(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""

    async def wait_gone(self) -> int:
        """Wait for the end; the client's close code, 1006 if it said none."""


class Service(Protocol):
    """A server for the dialer under test, as `serve` gives it. `Server` is one."""

    @property
    def url(self) -> str:
        """What to dial."""

    async def accept(self) -> Any:
        """The peer of the next connection, a `ServicePeer`."""


class DialedPlugin(PluginContract):
    """A dialer under test: how it is made, served, dialed and used."""

    schemes: Sequence[str] = ("ws", "wss")
    """The URL schemes that the dialer answers."""
    kinds: Sequence[Kind] = (Kind.TEXT, Kind.BINARY, Kind.PING, Kind.PONG)
    """The kinds of messages that the scheme carries."""
    close_codes: bool = True
    """The scheme has close frames, with a code. False = its connections just end, and close codes are not looked at."""
    troubles: Sequence[str] = ("refuse", "cut", "hang")
    """What can go wrong with a dial, see `serve`."""
    max_size: str | None = "max_size"
    """The option that bounds a message, in bytes; None = the dialer has none."""
    patience: float = PATIENCE
    """Seconds that any wait may take."""
    loop_factory: ClassVar[Callable[[], asyncio.AbstractEventLoop]] = asyncio.new_event_loop
    """Makes the loop of each test, such as `uvloop.new_event_loop`."""

    def serve(self, trouble: str = "") -> AbstractAsyncContextManager[Service]:
        """A server for this dialer, as an async context manager; by default a `Server` of WebSockets.

        Args:
            trouble: "" = it takes every connection; "refuse" = nobody listens at its URL; "cut" = it ends each
                connection before that is open; "hang" = it takes each and never says anything.
        """
        return self._web_socket_server(trouble)

    @contextlib.asynccontextmanager
    async def _web_socket_server(self, trouble: str) -> AsyncIterator[Service]:
        steps: dict[str, list[Step]] = {"cut": [cut()], "hang": [hang()]}
        async with Server(*steps.get(trouble, [])) as server:
            if trouble == "refuse":
                await server.stop()
            yield server

    # How the tests use it.

    def make(self, **options: Any) -> Any:
        """A dialer with these options over the class's."""
        try:
            return subject.make(self, options)
        except subject.Unmade as unmade:
            leave_out(f"it cannot be made: {unmade}")

    def needs(self, trouble: str) -> None:
        """Skip a test if this cannot happen to a dial."""
        if trouble not in self.troubles:
            leave_out(f"a dial of {self.plugin.__name__} does not meet {trouble!r}, says `troubles`")

    async def dial(self, url: str, dialer: Any = None, **request: Any) -> Any:
        """What a dialer answers for a URL that nothing is wrong with."""
        try:
            return await self.answer(url, dialer, **request)
        except LibwsError as error:
            raise AssertionError(f"dial() of {url} raised {type(error).__name__}: {error}") from error

    async def answer(self, url: str, dialer: Any = None, **request: Any) -> Any:
        """What a dialer answers for a URL, whatever that is."""
        answer = (dialer or self.make()).dial(Request(url, **{"proxy": None, **request}))
        async with within(self.patience, "an answer of dial()"):
            return await answer if inspect.isawaitable(answer) else answer

    async def failure(self, url: str, what: str, **request: Any) -> LibwsError:
        """How the dial of a URL fails; `what` says why it must."""
        try:
            connection = await self.answer(url, **request)
        except LibwsError as error:
            return error
        except Exception as error:
            raise AssertionError(f"{what}: dial() raised {type(error).__name__}, which is no LibwsError") from error
        if connection is not None:
            connection.abort()
        raise AssertionError(f"{what}: dial() gave {connection!r} and raised nothing")

    @contextlib.asynccontextmanager
    async def connected(
        self, service: Service | None = None, *, start: bool = True, dialer: Any = None, **request: Any
    ) -> AsyncIterator[tuple[Any, Receiver]]:
        """One connection: the server's end of it, and the user's. It is aborted at the end.

        Args:
            service: the server to dial; None = one of its own.
            start: start it.
        """
        async with contextlib.AsyncExitStack() as stack:
            if service is None:
                service = await stack.enter_async_context(self.serve())
            dialing = asyncio.ensure_future(self.dial(service.url, dialer, **request))
            try:
                async with within(self.patience, "a connection to arrive at the server"):
                    peer = await service.accept()
                connection = await dialing
            finally:
                dialing.cancel()
            assert connection is not None, f"dial() left {service.url} to other dialers; schemes = {self.schemes}"
            receiver = Receiver(connection, self.patience)
            try:
                if start:
                    receiver.start()
                yield peer, receiver
            finally:
                connection.abort()

    async def fill(self, peer: ServicePeer, connection: Any) -> int:
        """Have the server stall, and write until much is held on the client's side; gives the number of messages."""
        peer.stall()
        number = 0
        while connection.buffered < HELD:
            assert number * PIECE < MUCH, f"of {MUCH:,} bytes written to a server that stalls, buffered tells none"
            for _ in range(16):
                connection.write(self.sample(number, PIECE))
                number += 1
            await turns()
        return number

    def client_of(self, url: str, **options: Any) -> Client:
        """A client of nothing but this dialer."""
        return Client(url, plugins=["-standard", self.make()], **{"proxy": None, **options})

    def sample(self, number: int, size: int = 0) -> Message:
        """Message `number`, of so many bytes or a few; texts and binaries take turns if the scheme carries both."""
        data = f"message {number}".ljust(size, ".")[: size or None]
        kinds = [kind for kind in (Kind.TEXT, Kind.BINARY) if kind in self.kinds]
        kind = kinds[number % len(kinds)]
        return Message(kind, data if kind is Kind.TEXT else data.encode())

    def samples(self, count: int) -> list[Message]:
        """Messages of many sizes."""
        return [self.sample(number, SIZES[number % len(SIZES)]) for number in range(count)]
