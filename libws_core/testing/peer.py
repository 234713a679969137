"""The server's end of one connection, in a test's hand: the verbs that the memory dialer and the server share.

A peer answers pings with pongs and a close with a close, until it is told not to. `send`, `close`, `drop` act at once;
what they return may be awaited: `send` until the client takes what was sent, `close` and `drop` until the connection
has ended. So a script written with `await` runs on a memory connection and on a real socket.

Texts of these errors show the messages themselves: they are the test's own.
"""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any, TypeVar

from ..headers import Headers
from ..match import template
from ..types import Kind, Message
from .expectation import matches, show

__all__ = ["Bell", "Gone", "Peer", "Promise", "Unexpected", "patience"]

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a wait of the kit lasts unless it is told otherwise, on real time."""
UNREAD = 100_000
"""Messages that a peer keeps for a test that does not read them."""
BACKLOG = 64 * 1024
"""Bytes sent and not yet taken by the client, above which an awaited `send` waits."""


class Unexpected(AssertionError):
    """A peer waited for something, and something else or nothing came. The text says what and what."""


class Gone(ConnectionError):
    """The connection has ended, so nothing can be received from the client or sent to it.

    A script that ends by it has simply ended.
    """


class Promise(Awaitable[None]):
    """What a verb returns that has acted already: it may be awaited or left alone."""

    __slots__ = ("_wait",)

    def __init__(self, wait: Callable[[], Awaitable[None]]) -> None:
        self._wait = wait

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()


class Bell:
    """Wakes those who wait for a condition, in the order in which they came."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def ring(self) -> None:
        """Have every condition looked at again."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, look: Callable[[], T | None], timeout: float | None, missed: Callable[[float], str]) -> T:
        """Wait until `look` gives something else than None, and give that.

        Raises:
            Unexpected: it did not within `timeout` seconds; the text is what `missed` says of them.
        """
        loop = asyncio.get_running_loop()
        seconds = patience(loop) if timeout is None else timeout
        deadline = loop.time() + seconds if seconds < math.inf else None
        while (found := look()) is None:
            future = loop.create_future()
            self._waiting.append(future)
            try:
                async with asyncio.timeout_at(deadline):
                    await future
            except TimeoutError:
                raise Unexpected(missed(seconds)) from None
            finally:
                if future in self._waiting:
                    self._waiting.remove(future)
        return found


def patience(loop: asyncio.AbstractEventLoop) -> float:
    """Seconds that a wait lasts on this loop unless it is told otherwise."""
    return float(getattr(loop, "patience", PATIENCE))


class Peer(ABC):
    """The server's end of one connection. Made by `MemoryDialer` and `Server`."""

    number: int
    """Which connection of its dialer or server it is, from 1."""
    time: float
    """The loop's time at which it was opened."""
    path: str
    """Path and query of the URL that was asked for."""
    headers: Headers
    """The headers of the client's request."""
    subprotocol: str | None
    """The subprotocol that was chosen."""

    def __init__(self) -> None:
        self.answer_pings = True
        """Answer each ping with its pong."""
        self.answer_close = True
        """Answer the client's close with the same code, then end the connection."""
        self.on_message: Callable[[Message], object] | None = None
        """A plain function to be called with each data message, in the place of keeping it for `recv`."""
        self.on_control: Callable[[Message], object] | None = None
        """A plain function to be called with each ping, pong and close, before anything else is done with it."""
        self.received = 0
        """Data messages that came from the client."""
        self.pings = 0
        """Pings that came from the client."""
        self.pongs = 0
        """Pongs that came from the client."""
        self.closed: Message | None = None
        """The client's close frame, None until it came."""
        self.gone = False
        """The connection has ended: the client left, or we have dropped it."""
        self._how: str | None = None
        self._said_close = False
        self._data: deque[Message] = deque()
        self._control: deque[Message] = deque(maxlen=1000)
        self._bell = Bell()
        self._after_send = Promise(self._wait_room)
        self._after_end = Promise(self._wait_end)

    # What the two kinds of peers do each in its own way.

    @abstractmethod
    def _put(self, message: Message) -> None: ...

    @abstractmethod
    def _finish(self) -> None: ...

    @abstractmethod
    def _backlog(self) -> int: ...

    @abstractmethod
    def _complain(self, error: BaseException) -> None: ...

    @abstractmethod
    def drop(self, reset: bool = False) -> Promise:
        """End the connection without a close frame.

        Args:
            reset: by a TCP reset, by which the client loses what it has not read; else by an orderly end (FIN), before
                which it reads everything. A real socket that holds unread bytes ends by a reset in either case.
        """

    @abstractmethod
    def stall(self) -> None:
        """Stop reading: what the client writes piles up on its side, and nothing is answered."""

    @abstractmethod
    def resume(self) -> None:
        """Read again, and answer again what is to be answered."""

    # What they have in common.

    def send(self, data: Any) -> Promise:
        """Send str as text, bytes as binary, dict or list as JSON text, or a Message of any kind.

        Raises:
            Gone: the connection has ended.
            ValueError: no message can be made of it.
        """
        if self.gone:
            raise Gone(self._how)
        message = template(data)
        if message is None:
            raise ValueError("a peer was given nothing to send")
        self._put(message)
        return self._after_send

    def ping(self, payload: bytes = b"") -> Promise:
        """Send a ping; `await peer.expect(Kind.PONG)` waits for the answer."""
        return self.send(Message.ping(payload))

    def pong(self, payload: bytes = b"") -> Promise:
        """Send a pong."""
        return self.send(Message.pong(payload))

    def close(self, code: int = 1000, reason: str = "") -> Promise:
        """Send a close frame; the connection ends when the client has answered. Awaiting it waits for that end."""
        if not self.gone and not self._said_close:
            self._said_close = True
            self._put(Message.close(code, reason))
            if self.closed is not None:
                self._finish()
        return self._after_end

    def silence(self, reading: bool = True) -> None:
        """Hold the connection and answer nothing any more, no ping and no close.

        Args:
            reading: whether to go on reading; False also stalls.
        """
        self.answer_pings = self.answer_close = False
        if not reading:
            self.stall()

    async def recv(self, timeout: float | None = None) -> Message:
        """Take the next data message.

        Args:
            timeout: seconds to wait; None = 10, and a day on a virtual clock; `math.inf` = until the connection ends.

        Raises:
            Gone: the connection ended.
            Unexpected: nothing came in time.
        """
        return await self._bell.until(
            lambda: self._take(None), timeout, lambda seconds: f"expected a message, got nothing in {seconds:g} s"
        )

    async def expect(self, what: Any = None, timeout: float | None = None) -> Message:
        """Take the next data message, or the next ping, pong or close, and check that it is this.

        Args:
            what: a match as everywhere in libws: str or bytes (equal after stripping line ends), a dict (a JSON object
                that holds these items), a callable that is given the message; also a Message or a Kind, and None for
                any data. A `Kind.PING`, `PONG` or `CLOSE`, or a Message of that kind, looks at control frames only and
                leaves the data messages where they are; the last thousand control frames are kept.
            timeout: seconds to wait; None = 10, and a day on a virtual clock.

        Raises:
            Unexpected: something else came, or the end of the connection, or nothing in time.
        """
        asked = what.kind if isinstance(what, Message) else what
        kind = asked if isinstance(asked, Kind) and asked >= Kind.CLOSE else None
        try:
            message = await self._bell.until(
                lambda: self._take(kind),
                timeout,
                lambda seconds: f"expected {show(what)}, got nothing in {seconds:g} s",
            )
        except Gone as gone:
            raise Unexpected(f"expected {show(what)}, but {gone}") from None
        if not matches(what, message):
            raise Unexpected(f"expected {show(what)}, got {show(message)}")
        return message

    async def wait_gone(self, timeout: float | None = None) -> int:
        """Wait until the connection has ended; gives the client's close code, 1006 if it sent none."""
        await self._bell.until(
            lambda: self.gone or None,
            timeout,
            lambda seconds: f"expected the client to leave, it is still here after {seconds:g} s",
        )
        return self.closed.code or 1005 if self.closed else 1006

    def __aiter__(self) -> AsyncIterator[Message]:
        return self._each()

    async def _each(self) -> AsyncIterator[Message]:
        """Every data message until the connection ends, however long that takes."""
        while True:
            try:
                yield await self.recv(timeout=math.inf)
            except Gone:
                return

    def _take(self, kind: Kind | None) -> Message | None:
        if kind is None:
            if self._data:
                return self._data.popleft()
        else:
            for message in self._control:
                if message.kind is kind:
                    self._control.remove(message)
                    return message
        if self.gone:
            raise Gone(self._how)
        return None

    def _arrived(self, message: Message) -> None:
        """A message came from the client."""
        if message.kind >= Kind.CLOSE and self.on_control is not None:
            self._call(self.on_control, message)
        match message.kind:
            case Kind.PING:
                self.pings += 1
                self._control.append(message)
                if self.answer_pings and self.closed is None:  # RFC 6455 section 5.5.2
                    self._put(Message.pong(message.data))
            case Kind.PONG:
                self.pongs += 1
                self._control.append(message)
            case Kind.CLOSE:
                self.closed = message
                self._how = f"the client closed with {message.code} {message.reason}".rstrip()
                self._control.append(message)
                if self.answer_close:
                    if not self._said_close:
                        self._said_close = True
                        self._put(message)
                    self._finish()
            case _:
                self.received += 1
                self._accept_data(message)
        self._bell.ring()

    def _accept_data(self, message: Message) -> None:
        if self.on_message is not None:
            self._call(self.on_message, message)
        elif len(self._data) >= UNREAD:
            self._complain(Unexpected(f"{UNREAD:,} messages of connection {self.number} were never read"))
            self._data.clear()
        else:
            self._data.append(message)

    def _call(self, function: Callable[[Message], object], message: Message) -> None:
        try:
            function(message)
        except Gone:
            pass
        except Exception as error:
            self._complain(error)

    def _ended(self, text: str) -> None:
        """The connection has ended; `text` says how, unless a close frame has said so."""
        if not self.gone:
            self.gone = True
            if self.closed is None:
                self._how = text
            self._bell.ring()

    async def _wait_room(self) -> None:
        await self._bell.until(
            lambda: self.gone or self._backlog() <= BACKLOG or None,
            None,
            lambda seconds: f"expected the client to read, {self._backlog():,} bytes wait after {seconds:g} s",
        )

    async def _wait_end(self) -> None:
        await self._bell.until(
            lambda: self.gone or None,
            None,
            lambda seconds: f"expected the client to answer our close, it has not after {seconds:g} s",
        )
