"""The client's end of a connection in memory: the rules of `libws_core.Connection`, kept and demanded."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import ConnectionClosed, LibwsError, Party
from ..headers import Headers
from ..types import Kind, Message

if TYPE_CHECKING:
    from .memory import MemoryPeer

__all__ = ["FIN", "RESET", "End", "Latency", "MemoryConnection", "RuleBroken"]

Latency = float | Callable[[], float]


class RuleBroken(AssertionError):
    """The client used a Connection in a way that its rules do not allow."""


class End(NamedTuple):
    """The end of a line: the TCP connection's."""

    reset: bool = False


Taker = Callable[[Message | End], None]
FIN: Final = End()
RESET: Final = End(reset=True)


class Line:
    """One direction of a connection: keeps the order, delays, stops while it is held."""

    __slots__ = ("_handle", "_items", "_loop", "_severed", "_take", "held", "latency", "pending")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, latency: Latency, take: Callable[[Message | End], None]
    ) -> None:
        self.held = False
        self.latency = latency
        self.pending = 0
        self._handle: asyncio.Handle | None = None
        self._items: deque[tuple[float, Message | End]] = deque()
        self._loop = loop
        self._severed = False
        self._take = take

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Message | End) -> None:
        latency = self.latency() if callable(self.latency) else self.latency
        self._items.append((self._loop.time() + latency if latency > 0 else 0.0, item))
        self.pending += _size(item)
        self._wake()

    def hold(self) -> None:
        self.held = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def release(self) -> None:
        if not self._severed:
            self.held = False
            self._wake()

    def sever(self) -> None:
        """Let nothing through any more, not even the end; what is on the way is lost, what is put piles up."""
        self._severed = True
        self.hold()
        self.clear()

    def clear(self) -> None:
        self._items.clear()
        self.pending = 0

    def _wake(self) -> None:
        if self._handle is None and self._items and not self.held:
            due = self._items[0][0]
            if due <= self._loop.time():
                self._handle = self._loop.call_soon(self._run)
            else:
                self._handle = self._loop.call_at(due, self._run)

    def _run(self) -> None:
        self._handle = None
        now = self._loop.time()
        try:
            for _ in range(len(self._items)):
                if self.held or not self._items or self._items[0][0] > now:
                    break
                item = self._items.popleft()[1]
                self.pending -= _size(item)
                self._take(item)
        finally:
            self._wake()


def _size(item: Message | End) -> int:
    if isinstance(item, End):
        return 0
    data = item.data
    return 2 + len(data if not isinstance(data, str) or data.isascii() else data.encode())  # 2: the least header


class MemoryConnection:
    """The client's end of a connection in memory: a `libws_core.Connection`."""

    def __init__(self, peer: MemoryPeer, latency: Latency, subprotocol: str | None, headers: Headers) -> None:
        loop = asyncio.get_running_loop()
        self.subprotocol = subprotocol
        self.headers = headers
        self.received = loop.time()
        """The loop's time when something last arrived."""
        self.drained: Callable[[], object] | None = None
        """Called when `buffered` has fallen to 0."""
        self.paused = False
        """The client has paused reading."""
        self._loop = loop
        self._peer = peer
        self._inbound = Line(loop, latency, self._arrived)
        self._inbound.held = True
        self._outbound = Line(loop, latency, peer._take_item)
        self._deliver: Callable[[Message], object] | None = None
        self._tell_end: Callable[[LibwsError], object] | None = None
        self._started = self._done = self._aborted = False
        self._sent_close: Message | None = None
        self._got_close: Message | None = None

    @property
    def buffered(self) -> int:
        """Bytes that the peer does not take, since it stalls."""
        return self._outbound.pending if self._outbound.held else 0

    @property
    def severed(self) -> bool:
        """The cable is cut: nothing passes in either direction."""
        return self._inbound._severed

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        """Begin to push. Raises RuleBroken the second time."""
        if self._started:
            raise self._broken("start() was called twice")
        self._started = True
        self._deliver, self._tell_end = deliver, ended
        if self._aborted:
            self._loop.call_soon(self._finish_abort)
        elif not self.paused:
            self._inbound.release()

    def write(self, message: Message) -> None:
        """Write a message. Raises RuleBroken for what no dialer could write."""
        if not isinstance(message, Message):
            raise self._broken(f"write() takes a Message, got {type(message).__name__}")
        data = message.data
        if message.kind is Kind.CLOSE:
            raise self._broken("write() was given a CLOSE, which is close()'s business")
        if not isinstance(data, str if message.kind is Kind.TEXT else bytes | bytearray | memoryview):
            raise self._broken(f"write() was given a {message.kind.name} whose data is {type(data).__name__}")
        if message.kind >= Kind.CLOSE and len(data) > 125:  # RFC 6455 section 5.5
            raise self._broken(f"write() was given a {message.kind.name} of {len(data)} bytes; a frame takes 125")
        if self._sent_close is not None or self._aborted or self._done:
            self._peer.late_writes += 1
            return
        self._outbound.put(message)

    def pause(self) -> None:
        """Deliver nothing more until `resume`."""
        self.paused = True
        self._inbound.hold()

    def resume(self) -> None:
        """Deliver again, from the next turn of the loop on."""
        self.paused = False
        if self._started and not self._aborted:
            self._inbound.release()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, unless one was sent. Raises RuleBroken for a code or reason that no frame may carry."""
        # RFC 6455 sections 7.4.1, 7.4.2; 1012 to 1014 are in IANA's registry; 1005 stands for an empty frame.
        if not ((1000 <= code <= 1014 and code not in (1004, 1006)) or 3000 <= code <= 4999):
            raise self._broken(f"close() was given {code}, which no close frame may carry")
        if len(reason.encode()) > 123:
            raise self._broken("close() was given a reason of more than 123 bytes")
        if self._sent_close is None and not self._aborted and not self._done:
            self._say_close(Message.close(code, reason))

    def abort(self) -> None:
        """Drop the connection; `ended` follows in the next turn of the loop."""
        if self._aborted or self._done:
            return
        self._aborted = True
        self._inbound.hold()
        self._inbound.clear()
        if self._outbound.held:
            self._outbound.clear()
        self._outbound.put(RESET)
        self._peer._left()
        if self._started:
            self._loop.call_soon(self._finish_abort)

    def _say_close(self, message: Message) -> None:
        self._sent_close = message
        self._outbound.put(message)

    def _arrived(self, item: Message | End) -> None:
        if self._done or self._aborted:
            return
        self.received = self._loop.time()
        self._peer._bell.ring()  # for a `send` that waits
        if isinstance(item, End):
            how = "the connection was reset" if item.reset else "the peer ended the connection without a close frame"
            self._end(how, "local" if self._sent_close is not None else "network")
        elif self._got_close is None:
            assert self._deliver is not None
            if item.kind is Kind.CLOSE:
                self._got_close = item
                self._closer: Party = "remote" if self._sent_close is None else "local"
            try:
                self._deliver(item)
            except Exception as error:
                self._broken(f"deliver() raised {type(error).__name__}: {error}").__cause__ = error
                self.abort()
                return
            if item.kind is Kind.CLOSE and self._sent_close is None and not self._aborted:
                self._say_close(item)

    def _finish_abort(self) -> None:
        self._end("the connection was aborted", "local")

    def _end(self, how: str, initiator: Party) -> None:
        self._done = True
        self._inbound.hold()
        self._inbound.clear()
        tell, self._tell_end, self._deliver = self._tell_end, None, None
        got = self._got_close
        if got is not None:
            code, reason = got.code or 1005, got.reason
            how = f"the connection was closed with {code}{f' ({reason})' if reason else ''}"
            error = ConnectionClosed(how, code=code, reason=reason, initiator=self._closer)
        else:
            error = ConnectionClosed(how, code=1006, initiator=initiator)
        assert tell is not None
        try:
            tell(error)
        except Exception as raised:
            self._broken(f"ended() raised {type(raised).__name__}: {raised}").__cause__ = raised

    def _tell_drained(self) -> None:
        if self.drained is not None and not self._done and not self._outbound.held:
            self.drained()

    def _broken(self, text: str) -> RuleBroken:
        error = RuleBroken(f"connection {self._peer.number}: {text}")
        self._peer._complain(error)
        return error
