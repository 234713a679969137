"""One open WebSocket: frames are cut here, and only what is rare goes through python-websockets' sans-I/O protocol.

A complete, unfragmented, uncompressed data frame is delivered by the loop in `_cut`; so are pings, pongs and closes.
Any other frame is handed over whole to `ClientProtocol.receive_data`, which checks it, inflates it and keeps fragments
in order. As every frame is delimited here, that parser always stands at a frame boundary. It never sees a ping, so it
never answers one.

Limits: `_read` holds one frame at most (its length is checked against the room left in the message first) plus one
read; `_parts` holds one message; writing is bounded by whoever asks `buffered`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from websockets.exceptions import PayloadTooBig
from websockets.exceptions import ProtocolError as RefusedFrame
from websockets.frames import Close, CloseCode, Frame, Opcode

from libws_core.closing import fitting
from libws_core.errors import ConnectionClosed, LibwsError, MessageTooBig, ProtocolError
from libws_core.headers import Headers
from libws_core.types import Kind, Message
from libws_core.verdicts import RETRY

from .failures import closed
from .fragments import NO_LIMIT, Fragments, not_utf8
from .outgoing import FrameWriter
from .reading import ReadBuffer

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

    from libws_core.errors import Party

LINGER = 1.0
"""Seconds that a server has to close TCP once both close frames are exchanged (RFC 6455 section 7.1.1)."""

_TEXT, _BINARY, _PING, _PONG, _CLOSE = Kind.TEXT, Kind.BINARY, Kind.PING, Kind.PONG, Kind.CLOSE

# First bytes of final frames without reserved bits, RFC 6455 section 5.2.
_FINAL_TEXT, _FINAL_BINARY, _FINAL_CLOSE, _FINAL_PING, _FINAL_PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_COMPRESSED = (0xC1, 0xC2)  # text and binary with RSV1, RFC 7692 section 6


class WebSocketConnection(asyncio.BufferedProtocol):
    """A live connection, see `libws_core.types.Connection`; made by the handshake, with reading paused.

    Args:
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
    ) -> None:
        loop = asyncio.get_running_loop()
        self.subprotocol: str | None = protocol.subprotocol
        self.headers = headers
        self.received: float = loop.time()
        """When bytes last arrived, in the loop's time."""
        self._loop = loop
        self._time = loop.time
        self._name = name
        self._protocol = protocol
        self._extensions = protocol.extensions
        self._transport = transports[0]
        self._writer = FrameWriter(loop, transports, protocol)

        self._read = ReadBuffer(loop, pending)
        self._fragments = Fragments(name, max_size, max_fragments)

        self._deliver: Callable[[Message], object] | None = None
        self._ended: Callable[[LibwsError], object] | None = None
        self._delivering = False  # started and not paused
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
        """Called when `buffered` has fallen to LOW_MARK or below, after having been above it."""
        return self._writer.drained

    @drained.setter
    def drained(self, call: Callable[[], object] | None) -> None:
        self._writer.drained = call

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        """Begin to push: messages first, soon and never from within this call, then `ended` exactly once."""
        if self._ended is not None:
            raise RuntimeError("this connection was started already")
        self._deliver, self._ended = deliver, ended
        self.resume()

    def pause(self) -> None:
        """Deliver nothing more until `resume`. Once the close frames are exchanged it does nothing."""
        if not self._discarding:
            self._delivering = False
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
        if message.kind is _CLOSE:
            self.close(message.code or 1005, message.reason)
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
            self._protocol.send_close(None if code == CloseCode.NO_STATUS_RCVD else code, reason)
        except RefusedFrame:
            raise ValueError(f"close code {code} must not be sent") from None
        self._initiator = "local"
        self._writer.send_pending()

    def abort(self) -> None:
        """Drop the socket at once; `ended` follows with code 1006, unless the close frames were exchanged before."""
        if self._aborted:
            return
        self._aborted = True
        self._delivering, self._discarding = False, True
        self._writer.stop()
        self._transport.abort()
        if self._lost:  # the transport has told so before, and will not again
            self._loop.call_soon(self._finish)

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._read.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.received = self._time()
        read = self._read
        if self._delivering:
            read.end += nbytes
            self._cut()
        elif not self._discarding:
            read.keep(0, read.end + nbytes, 0)

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
        if self._delivering or self._discarding or (self._ended is not None and self._read.end == 0):
            self._finish()

    def pause_writing(self) -> None:
        """The transport holds more than its mark."""

    def resume_writing(self) -> None:
        """The transport has come down to its mark."""
        self._writer.report()

    # Receiving.

    def _continue(self) -> None:
        if not self._delivering:
            return
        self._read.load()
        self._cut()
        if not self._delivering:
            return
        if self._lost:
            self._finish()
        else:
            self._transport.resume_reading()

    def _cut(self) -> None:
        """Deliver every complete frame in the buffer, until paused."""
        buffer, view, end = self._read.data, self._read.view, self._read.end
        deliver = self._deliver
        assert deliver is not None
        position = needed = 0
        # Inside a fragmented message no data frame may begin: then no first byte matches the short way.
        fragments = self._fragments
        plain, room = not fragments.open, fragments.room
        short = room if room < 125 else 125
        while end - position >= 2:
            first = buffer[position]
            length = buffer[position + 1]
            payload = position + 2
            if length > short:
                if length == 126:
                    payload += 2
                    if payload > end:
                        break
                    length = buffer[position + 2] << 8 | buffer[position + 3]
                    regular = 126 <= length <= room and first & 8 == 0
                elif length == 127:
                    payload += 8
                    if payload > end:
                        break
                    length = int.from_bytes(buffer[position + 2 : payload], "big")
                    regular = 65536 <= length <= room and first & 8 == 0
                else:
                    regular = length < 126 and first & 8 != 0
                if not regular:
                    self._refuse_header(bytes(buffer[position:payload]), length)
                    return
            stop = payload + length
            if stop > end:
                needed = stop - position
                break
            if first == _FINAL_TEXT and plain:
                try:
                    text = buffer[payload:stop].decode()
                except UnicodeDecodeError:
                    self._fail(not_utf8(self._name))
                    return
                position = stop
                deliver(Message(_TEXT, text))
            elif first == _FINAL_BINARY and plain:
                position = stop
                deliver(Message(_BINARY, view[payload:stop].tobytes()))
            else:
                self._rare(first, view[position:stop].tobytes(), payload - position)
                position = stop
                plain, room = not fragments.open, fragments.room
                short = room if room < 125 else 125
            if not self._delivering:
                break
        if not self._discarding:
            self._read.keep(position, end, needed)

    def _rare(self, first: int, frame: bytes, payload: int) -> None:
        """Take a control frame, or hand any other frame over to the protocol."""
        assert self._deliver is not None
        if first == _FINAL_PING:
            self._deliver(Message(_PING, frame[payload:]))
        elif first == _FINAL_PONG:
            self._deliver(Message(_PONG, frame[payload:]))
        elif first == _FINAL_CLOSE:
            self._receive_close(frame[payload:])
        elif first in _COMPRESSED and len(self._extensions) == 1 and not self._fragments.open:
            self._inflate(Frame(Opcode(first & 15), frame[payload:], rsv1=True))
        else:
            self._protocol.receive_data(frame)
            events = self._protocol.events_received()
            if not events:
                self._fail_as_protocol()
            for event in events:
                assert isinstance(event, Frame)
                try:
                    message = self._fragments.add(event)
                except ConnectionClosed as error:
                    self._fail(error)
                    return
                if message is not None:
                    self._deliver(message)

    def _inflate(self, frame: Frame) -> None:
        """Take a compressed message of one frame. The extension keeps its context, whoever asks it."""
        room = self._fragments.room
        try:
            message = self._fragments.add(
                self._extensions[0].decode(frame, max_size=None if room == NO_LIMIT else room)
            )
        except (PayloadTooBig, RefusedFrame) as cause:
            self._refuse(cause)
        except ConnectionClosed as error:
            self._fail(error)
        else:
            assert self._deliver is not None
            assert message is not None
            self._deliver(message)

    def _receive_close(self, payload: bytes) -> None:
        """Deliver a close frame and answer it with the same code (RFC 6455 section 5.5.1).

        One between the fragments of a message is taken for what it says: the message is lost either way, and the code
        tells why.
        """
        assert self._deliver is not None
        try:
            self._close = Close.parse(payload)
        except RefusedFrame:
            # RETRY: it wanted to end this connection and no more. nats-server, for one, sends a reserved code.
            self._fail(ProtocolError(f"{self._name} sent an invalid close frame", verdict=RETRY))
            return
        except UnicodeDecodeError:
            self._fail(ProtocolError(f"{self._name} sent a close reason that is not UTF-8", code=1007))
            return
        answered = self._initiator is not None
        self._initiator = self._initiator or "remote"
        self._deliver(Message(_CLOSE, payload))
        if self._aborted:
            return
        if not answered and not self._lost:
            code = None if self._close.code == CloseCode.NO_STATUS_RCVD else self._close.code
            self._protocol.send_close(code, self._close.reason)
        self._wait_for_tcp()

    # Failing and ending.

    def _refuse_header(self, header: bytes, length: int) -> None:
        """Fail on a header that no valid frame has."""
        if header[1] > 127 or (length > self._fragments.room and length <= NO_LIMIT and not header[0] & 8):
            # A masked frame, or one that is too long: the header alone tells the protocol enough.
            self._protocol.receive_data(header)
            self._fail_as_protocol()
        elif header[0] & 8:
            self._fail(ProtocolError(f"{self._name} sent a control frame of more than 125 bytes"))
        else:
            self._fail(ProtocolError(f"{self._name} sent a frame whose length is not written as RFC 6455 says"))

    def _fail_as_protocol(self) -> None:
        """Fail as the sans-I/O protocol has decided."""
        self._refuse(self._protocol.parser_exc)

    def _refuse(self, cause: Exception | None) -> None:
        if isinstance(cause, PayloadTooBig):
            self._fail(MessageTooBig(f"{self._name} sent a message that is too big: {cause}"))
        elif isinstance(cause, RefusedFrame):
            self._fail(ProtocolError(f"{self._name} broke the protocol: {cause}"))
        else:
            self._fail(ConnectionClosed(f"cannot read {self._name}", code=1011, initiator="local"))

    def _fail(self, error: ConnectionClosed) -> None:
        """Say why in a close frame, unless one was sent, and read no further (RFC 6455 section 7.1.7)."""
        self._error = error
        self._initiator = self._initiator or "local"
        if not self._lost:
            self._protocol.fail(error.code)
        self._wait_for_tcp()

    def _wait_for_tcp(self) -> None:
        """Leave it to the server to close TCP first (RFC 6455 section 7.1.1), for a short while."""
        self._delivering, self._discarding = False, True
        self._read.clear()
        self._fragments.clear()
        if self._lost:
            self._loop.call_soon(self._finish)
            return
        self._writer.send_pending()
        self._linger = self._loop.call_later(LINGER, self._transport.abort)
        self._transport.resume_reading()

    def _finish(self) -> None:
        """Tell once how it ended."""
        ended, self._ended = self._ended, None
        self._delivering, self._discarding = False, True
        self._deliver = None
        self._read.clear()
        if ended is not None:
            ended(
                self._error
                or closed(self._name, self._close, self._initiator, aborted=self._aborted, cause=self._lost_by)
            )
