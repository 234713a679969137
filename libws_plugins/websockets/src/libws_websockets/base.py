"""What an open WebSocket does beside reading frames: it starts, pauses, writes, and ends by the closing handshake."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError as RefusedFrame
from websockets.frames import Close, CloseCode

from libws_core.closing import fitting
from libws_core.errors import ConnectionClosed, LibwsError
from libws_core.headers import Headers
from libws_core.types import Kind, Message

from .failures import closed
from .outgoing import FrameWriter

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

    from libws_core.errors import Party

LINGER = 1.0
"""Seconds that a server has to close TCP once both close frames are exchanged (RFC 6455 section 7.1.1)."""

_CLOSE = Kind.CLOSE


def drop(message: Message) -> None:
    """Take a message that nobody may see."""


class BaseConnection(asyncio.BufferedProtocol):
    """A live connection, see `libws_core.types.Connection`; made by the handshake, with reading paused.

    Args:
        protocol: the handshake's, which is over.
        transports: the transport to use, then those below it (TLS lies on TCP), for what they still hold.
        lost: the server has closed TCP already.
    """

    __slots__ = (
        "_aborted",
        "_close",
        "_deliver",
        "_delivering",
        "_discarding",
        "_ended",
        "_error",
        "_flowing",
        "_initiator",
        "_linger",
        "_loop",
        "_lost",
        "_lost_by",
        "_name",
        "_time",
        "_transport",
        "_writable",
        "_writer",
        "headers",
        "last_data",
        "received",
        "sink",
        "subprotocol",
    )

    def __init__(
        self,
        protocol: ClientProtocol,
        transports: Sequence[asyncio.Transport],
        *,
        name: str,
        headers: Headers,
        lost: bool,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.subprotocol: str | None = protocol.subprotocol
        self.headers = headers
        self.received: float = loop.time()
        """When bytes last arrived, in the loop's time."""
        self.last_data: float = self.received
        """When a text or binary last arrived."""
        self._loop = loop
        self._time = loop.time
        self._name = name
        self._transport = transports[0]
        self._writer = FrameWriter(loop, transports, protocol)

        self._deliver: Callable[[Message], object] = drop
        self._ended: Callable[[LibwsError], object] | None = None
        self._delivering = False  # started and not paused
        self._flowing = False  # and nothing is waiting: what is read is delivered at once
        self.sink: Callable[[Message], object] = drop
        """Takes texts and binaries in place of what `start` was given; may be set at any time."""
        self._discarding = False  # past a close frame or an error: what arrives is dropped
        self._aborted = False
        self._writable = not lost  # no close frame was sent, and there is a socket
        self._lost = lost
        self._lost_by: Exception | None = None
        self._initiator: Party | None = None  # who sent the first close frame
        self._close: Close | None = None  # what the server sent
        self._error: LibwsError | None = None
        self._linger: asyncio.TimerHandle | None = None

    # What the core calls.

    @property
    def buffered(self) -> int:
        """Bytes written and not yet taken by the operating system."""
        writer = self._writer
        return writer.batched + writer.held() if writer.backed_up else writer.batched

    @property
    def drained(self) -> Callable[[], object] | None:
        """Called when `buffered` has fallen to the writer's mark, after having been above it."""
        return self._writer.drained

    @drained.setter
    def drained(self, call: Callable[[], object] | None) -> None:
        self._writer.drained = call

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        """Begin to push: messages first, soon and never from within this call, then `ended` exactly once."""
        if self._ended is not None:
            raise RuntimeError("this connection was started already")
        self._deliver, self._ended = deliver, ended
        if self.sink is drop:
            self.sink = deliver
        self.resume()

    def pause(self) -> None:
        """Deliver nothing more until `resume`. Once the close frames are exchanged it does nothing."""
        if not self._discarding:
            self._delivering = self._flowing = False
            self._transport.pause_reading()

    def resume(self) -> None:
        """Deliver again, soon and never from within this call."""
        if self._ended is not None and not self._discarding and not self._delivering:
            self._delivering = True
            self._loop.call_soon(self._continue)

    def write(self, message: Message) -> None:
        """Write a message; what is written in one turn of the loop leaves together.

        Raises:
            ValueError: a ping or pong of more than 125 bytes, or a text that UTF-8 cannot hold.
        """
        kind = message.kind
        if kind is _CLOSE:
            self.close(message.code or CloseCode.NO_STATUS_RCVD, message.reason)
        elif self._writable:
            self._writer.write(kind, message.data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, unless one was sent. A reason is cut to the 123 bytes that fit (RFC 6455 section 5.5).

        Raises:
            ValueError: a code that must not be sent (RFC 6455 section 7.4).
        """
        if not self._writable:
            return
        try:
            self._write_close(code, fitting(reason))
        except RefusedFrame:
            raise ValueError(f"close code {code} must not be sent") from None
        self._initiator = "local"

    def abort(self) -> None:
        """Drop the socket at once; `ended` follows with code 1006, unless the close frames were exchanged before."""
        if self._aborted:
            return
        self._aborted = True
        self._writable = False
        self._discard()
        self._writer.stop()
        self._transport.abort()
        if self._lost:  # the transport has told so before, and will not again
            self._loop.call_soon(self._finish)

    # What the transport calls.

    def eof_received(self) -> None:
        """The server has closed TCP. Nobody will read what we still hold."""
        self._writer.flush()
        if self.buffered:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed. What was read before it broke is delivered first, if need be after `resume`."""
        self._lost, self._lost_by = True, exc
        self._writable = False
        self._writer.stop()
        if self._linger is not None:
            self._linger.cancel()
        if self._discarding or (self._ended is not None and (self._flowing or not self._undelivered())):
            self._finish()

    def pause_writing(self) -> None:
        """The transport holds more than its mark."""

    def resume_writing(self) -> None:
        """The transport has come down to its mark."""
        self._writer.report()

    # What is left to those who read frames.

    @abstractmethod
    def _continue(self) -> None:
        """Deliver what waits; then, unless paused meanwhile, flow, or finish if the socket is lost."""

    @abstractmethod
    def _undelivered(self) -> bool:
        """Something waits that was read before."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what was read; nothing more is delivered."""

    # Closing, failing, ending.

    def _receive_close(self, payload: bytes) -> None:
        """Deliver a close frame and answer it with the same code (RFC 6455 section 5.5.1).

        One between the fragments of a message is taken for what it says: the message is lost either way, and the code
        tells why.
        """
        self._close = Close.parse(payload)
        unanswered, self._writable = self._writable, False
        self._initiator = self._initiator or "remote"
        self._deliver(Message(_CLOSE, payload))
        if self._aborted:
            return
        if unanswered and not self._lost:
            self._write_close(self._close.code, self._close.reason)
        self._wait_for_tcp()

    def _write_close(self, code: int, reason: str) -> None:
        payload = b"" if code == CloseCode.NO_STATUS_RCVD else Close(code, reason).serialize()
        self._writer.write(_CLOSE, payload)
        self._writable = False

    def _fail(self, error: ConnectionClosed) -> None:
        """Say why in a close frame, unless one was sent, and read no further (RFC 6455 section 7.1.7)."""
        self._error = error
        self._initiator = self._initiator or "local"
        if self._writable:
            self._write_close(error.code, "")
        self._wait_for_tcp()

    def _wait_for_tcp(self) -> None:
        """Leave it to the server to close TCP first (RFC 6455 section 7.1.1), for a short while."""
        self._discard()
        if self._lost:
            self._loop.call_soon(self._finish)
            return
        self._linger = self._loop.call_later(LINGER, self._transport.abort)
        self._transport.resume_reading()

    def _discard(self) -> None:
        """Deliver nothing more, whatever comes."""
        self._delivering = self._flowing = False
        self._discarding = True
        self.sink = drop
        self._forget()

    def _finish(self) -> None:
        """Tell once how it ended."""
        ended, self._ended = self._ended, None
        self._discard()
        self._deliver = drop
        if ended is not None:
            ended(
                self._error
                or closed(self._name, self._close, self._initiator, aborted=self._aborted, cause=self._lost_by)
            )
