"""One open WebSocket, over a transport that the handshake has left to it.

Reading is `FrameReader`'s, writing `FrameWriter`'s; here is when messages pass, and how it ends. What picows has read
cannot be given back to it: messages behind a `pause` wait in `_waiting`, one read's worth of them at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from websockets.exceptions import ProtocolError as RefusedFrame
from websockets.frames import Close, CloseCode

from libws_core.closing import fitting
from libws_core.errors import ConnectionClosed, LibwsError
from libws_core.headers import Headers
from libws_core.types import Kind, Message
from libws_websockets.failures import closed
from libws_websockets.outgoing import FrameWriter

from .frames import FrameReader

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

    from libws_core.errors import Party

LINGER = 1.0
"""Seconds that a server has to close TCP once both close frames are exchanged (RFC 6455 section 7.1.1)."""


class PicowsConnection(asyncio.BufferedProtocol):
    """A live connection, see `libws_core.types.Connection`; made by the handshake, with reading paused.

    Args:
        protocol: the handshake's, which is over.
        transports: the transport to use, then those below it (TLS lies on TCP), for what they still hold.
        pending: bytes that came behind the server's 101.
        lost: the server has closed TCP already.
    """

    def __init__(
        self,
        protocol: ClientProtocol,
        transports: Sequence[asyncio.Transport],
        *,
        name: str,
        headers: Headers,
        pending: bytes,
        lost: bool,
        max_size: int | None,
        max_fragments: int,
        read_buffer: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.subprotocol: str | None = protocol.subprotocol
        self.headers = headers
        self.received: float = loop.time()
        """When bytes last arrived, in the loop's time."""
        self._loop = loop
        self._time = loop.time
        self._name = name
        self._transport = transports[0]
        self._writer = FrameWriter(loop, transports, protocol)
        self._reader = FrameReader(
            name, max_size=max_size, max_fragments=max_fragments, read_buffer=read_buffer, take=self._take
        )
        self._pending = memoryview(pending)  # not yet given to the reader
        self._waiting: deque[Message | ConnectionClosed] = deque()  # read and not yet delivered

        self._deliver: Callable[[Message], object] | None = None
        self._ended: Callable[[LibwsError], object] | None = None
        self._delivering = False  # started and not paused
        self._flowing = False  # and nothing is waiting: what is read is delivered at once
        self._discarding = False  # past a close frame or an error: what arrives is dropped
        self._aborted = False
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
        return self._writer.buffered

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
        self._hold()
        self.resume()

    def pause(self) -> None:
        """Deliver nothing more until `resume`. Once the close frames are exchanged it does nothing."""
        if not self._discarding:
            self._delivering = False
            self._hold()
            self._transport.pause_reading()

    def resume(self) -> None:
        """Deliver again, soon and never from within this call."""
        if self._ended is not None and not self._discarding and not self._delivering:
            self._delivering = True
            self._loop.call_soon(self._continue)

    def write(self, message: Message) -> None:
        """Write a message; all that is written in one turn of the loop leaves together.

        Raises:
            ValueError: a ping or pong of more than 125 bytes, or a text that UTF-8 cannot hold.
        """
        if message.kind is Kind.CLOSE:
            self.close(message.code or CloseCode.NO_STATUS_RCVD, message.reason)
        elif self._initiator is None and not self._lost and not self._aborted:
            self._writer.write(message.kind, message.data)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, unless one was sent. A reason is cut to the 123 bytes that fit (RFC 6455 section 5.5).

        Raises:
            ValueError: a code that must not be sent (RFC 6455 section 7.4).
        """
        if self._initiator is not None or self._lost or self._aborted:
            return
        reason = "" if code == CloseCode.NO_STATUS_RCVD else fitting(reason)
        try:
            self._write_close(code, reason)
        except RefusedFrame:
            raise ValueError(f"close code {code} must not be sent") from None
        self._initiator = "local"

    def abort(self) -> None:
        """Drop the socket at once; `ended` follows with code 1006, unless the close frames were exchanged before."""
        if self._aborted:
            return
        self._aborted = True
        self._discard()
        self._writer.stop()
        self._transport.abort()
        if self._lost:  # the transport has told so before, and will not again
            self._loop.call_soon(self._finish)

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.received = self._time()
        if not self._discarding:
            self._reader.feed(nbytes)

    def eof_received(self) -> None:
        """The server has closed TCP. Nobody will read what we still hold."""
        self._writer.flush()
        if self._writer.buffered:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed. What was read before it broke is delivered first, if need be after `resume`."""
        self._lost, self._lost_by = True, exc
        self._writer.stop()
        if self._linger is not None:
            self._linger.cancel()
        held = self._waiting or self._pending
        if self._discarding or self._flowing or (self._ended is not None and not held):
            self._finish()

    def pause_writing(self) -> None:
        """The transport holds more than its mark."""

    def resume_writing(self) -> None:
        """The transport has come down to its mark."""
        self._writer.report()

    # Receiving.

    def _hold(self) -> None:
        """Keep what is read."""
        self._flowing = False
        self._reader.deliver = self._waiting.append

    def _continue(self) -> None:
        """Deliver what has waited, and then what comes."""
        while self._delivering and (self._waiting or self._pending):
            if self._waiting:
                self._handle(self._waiting.popleft())
            else:
                self._read_pending()
        if not self._delivering:
            return
        if self._lost:
            self._finish()
        elif not self._flowing:
            assert self._deliver is not None
            self._flowing = True
            self._reader.deliver = self._deliver
            self._transport.resume_reading()

    def _read_pending(self) -> None:
        """Give the reader bytes that came with the handshake, a buffer's worth."""
        view = self._reader.get_buffer()
        size = min(len(view), len(self._pending))
        view[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        self._reader.feed(size)

    def _take(self, what: Message | ConnectionClosed) -> None:
        """Take what the reader has to tell beside data."""
        if self._flowing:
            self._handle(what)
        elif not self._discarding:
            self._waiting.append(what)

    def _handle(self, what: Message | ConnectionClosed) -> None:
        assert self._deliver is not None
        if isinstance(what, ConnectionClosed):
            self._fail(what)
        elif what.kind is Kind.CLOSE:
            self._receive_close(what)
        else:
            self._deliver(what)

    def _receive_close(self, message: Message) -> None:
        """Deliver a close frame and answer it with the same code (RFC 6455 section 5.5.1)."""
        assert self._deliver is not None
        self._close = Close.parse(message.data)  # the reader has found it valid
        answered = self._initiator is not None
        self._initiator = self._initiator or "remote"
        self._deliver(message)
        if self._aborted:
            return
        if not answered and not self._lost:
            self._write_close(self._close.code, self._close.reason)
        self._wait_for_tcp()

    # Failing and ending.

    def _write_close(self, code: int, reason: str) -> None:
        payload = b"" if code == CloseCode.NO_STATUS_RCVD else Close(code, reason).serialize()
        self._writer.write(Kind.CLOSE, payload)

    def _fail(self, error: ConnectionClosed) -> None:
        """Say why in a close frame, unless one was sent, and read no further (RFC 6455 section 7.1.7)."""
        self._error = error
        if self._initiator is None:
            self._initiator = "local"
            if not self._lost:
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
        self._delivering, self._flowing, self._discarding = False, False, True
        self._waiting.clear()
        self._pending = memoryview(b"")
        self._reader.stop()

    def _finish(self) -> None:
        """Tell once how it ended."""
        ended, self._ended = self._ended, None
        self._discard()
        if self._deliver is not None:
            self._deliver = None
            self._reader.release()
        if ended is not None:
            ended(
                self._error
                or closed(self._name, self._close, self._initiator, aborted=self._aborted, cause=self._lost_by)
            )
