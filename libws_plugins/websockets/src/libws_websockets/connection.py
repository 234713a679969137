"""One open WebSocket: frames are cut here, and only what is rare goes through python-websockets' sans-I/O protocol.

A complete, unfragmented data frame is delivered by the loop in `_cut`; so are pings, pongs and closes. Any other frame
is handed over whole to `Protocol.receive_data`, which checks it, inflates it and keeps fragments in order. As
every frame is delimited here, that parser always stands at a frame boundary. It never sees a ping, so it never answers
one.

Limits: `_read` holds one frame at most (its length is checked against the room left in the message first) plus one
read; `_fragments` holds one message; writing is bounded by whoever asks `buffered`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from websockets.exceptions import PayloadTooBig
from websockets.exceptions import ProtocolError as RefusedFrame
from websockets.frames import Close, Frame
from websockets.protocol import Event, Protocol, Side

from libws_core.errors import ConnectionClosed, MessageTooBig, ProtocolError
from libws_core.headers import Headers
from libws_core.types import Kind, Message
from libws_core.verdicts import RETRY

from .base import BaseConnection
from .fragments import NO_LIMIT, Fragments, not_utf8
from .handshake import SILENT
from .inflating import inflater_of
from .reading import ReadBuffer

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

_TEXT, _BINARY, _PING, _PONG = Kind.TEXT, Kind.BINARY, Kind.PING, Kind.PONG

# First bytes of final frames without reserved bits, RFC 6455 section 5.2.
_FINAL_TEXT, _FINAL_BINARY, _FINAL_CLOSE, _FINAL_PING, _FINAL_PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_DEFLATED = _DEFLATED_TEXT, _DEFLATED_BINARY = 0xC1, 0xC2  # with RSV1, RFC 7692 section 6
_NEVER = -1  # no first byte


class WebSocketConnection(BaseConnection):
    """A live connection whose frames are read with python-websockets.

    Args:
        pending: bytes that came behind the server's 101.
    """

    __slots__ = ("_extensions", "_fragments", "_inflater", "_max_size", "_protocol", "_read")

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
        super().__init__(protocol, transports, name=name, headers=headers, lost=lost)
        self._extensions = protocol.extensions
        self._max_size = max_size
        self._protocol: Protocol | None = None  # made for the first frame that needs it
        self._read = ReadBuffer(self._loop, pending)
        self._fragments = Fragments(name, max_size, max_fragments)
        self._inflater = inflater_of(protocol, max_size)

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._read.space()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.received = self._time()
        read = self._read
        if self._flowing:
            self._writer.lone = True
            read.end += nbytes
            self._cut()
        elif not self._discarding:
            read.keep(0, read.end + nbytes, 0)

    # Receiving.

    def _continue(self) -> None:
        if not self._delivering:
            return
        self._flowing = True
        self._read.load()
        self._cut()
        if not self._flowing:
            return
        if self._lost:
            self._finish()
        else:
            self._transport.resume_reading()

    def _undelivered(self) -> bool:
        return self._read.end > 0

    def _forget(self) -> None:
        self._read.clear()
        self._fragments.clear()
        self._protocol = None  # it holds the last frame that it was given

    def _cut(self) -> None:
        """Deliver every complete frame in the buffer, until paused."""
        read, inflater = self._read, self._inflater
        buffer, view, end = read.data, read.view, read.end
        position = needed = 0
        data: str | bytes | None = None
        text, binary, deflated, room = self._usual()
        short = room if room < 125 else 125
        last = end - 2
        while position <= last:
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
            if first == text:
                try:
                    data = buffer[payload:stop].decode()
                except UnicodeDecodeError:
                    self._fail(not_utf8(self._name))
                    return
                position = stop
                self.sink(Message(_TEXT, data))
            elif first == binary:
                data = view[payload:stop].tobytes()
                position = stop
                self.sink(Message(_BINARY, data))
            elif first in deflated:
                assert inflater is not None
                try:
                    data = inflater.inflate(view[payload:stop])
                    message = Message(_TEXT, data.decode()) if first == _DEFLATED_TEXT else Message(_BINARY, data)
                except UnicodeDecodeError:
                    self._fail(not_utf8(self._name))
                    return
                except (PayloadTooBig, RefusedFrame) as cause:
                    self._refuse(cause)
                    return
                position = stop
                self.sink(message)
            else:
                self._rare(first, view[position:stop].tobytes(), payload - position)
                position = stop
                text, binary, deflated, room = self._usual()
                short = room if room < 125 else 125
            if not self._flowing:
                break
        if data is not None:
            self.last_data = self.received
        if not self._discarding:
            read.keep(position, end, needed)

    def _usual(self) -> tuple[int, int, tuple[int, ...], int]:
        """The first bytes of messages in one frame, and how many bytes of payload the next frame may bring.

        Inside a fragmented message no data frame may begin: then no first byte is usual.
        """
        room = self._fragments.room
        if self._fragments.open:
            return _NEVER, _NEVER, (), room
        return _FINAL_TEXT, _FINAL_BINARY, () if self._inflater is None else _DEFLATED, room

    def _rare(self, first: int, frame: bytes, payload: int) -> None:
        """Take a control frame, or hand any other frame over to the protocol."""
        if first == _FINAL_PING:
            self._deliver(Message(_PING, frame[payload:]))
        elif first == _FINAL_PONG:
            self._deliver(Message(_PONG, frame[payload:]))
        elif first == _FINAL_CLOSE:
            self._check_close(frame[payload:])
        else:
            for event in self._judge(frame):
                assert isinstance(event, Frame)
                try:
                    message = self._fragments.add(event)
                except ConnectionClosed as error:
                    self._fail(error)
                    return
                if message is not None:
                    self.last_data = self.received
                    self.sink(message)

    def _check_close(self, payload: bytes) -> None:
        try:
            Close.parse(payload)
        except RefusedFrame:
            # RETRY: it wanted to end this connection and no more. nats-server, for one, sends a reserved code.
            self._fail(ProtocolError(f"{self._name} sent an invalid close frame", verdict=RETRY))
        except UnicodeDecodeError:
            self._fail(ProtocolError(f"{self._name} sent a close reason that is not UTF-8", code=1007))
        else:
            self._receive_close(payload)

    def _judge(self, data: bytes) -> list[Event]:
        """What the protocol makes of a frame, or of a header that it must refuse; nothing if it has refused it."""
        protocol = self._protocol
        if protocol is None:
            self._protocol = protocol = Protocol(Side.CLIENT, max_size=self._max_size, logger=SILENT)
            protocol.extensions = self._extensions
        protocol.receive_data(data)
        events = protocol.events_received()
        if not events:
            self._refuse(protocol.parser_exc)
        return events

    # Failing.

    def _refuse_header(self, header: bytes, length: int) -> None:
        """Fail on a header that no valid frame has."""
        if header[1] > 127 or (length > self._fragments.room and length <= NO_LIMIT and not header[0] & 8):
            # A masked frame, or one that is too long: the header alone tells the protocol enough.
            self._judge(header)
        elif header[0] & 8:
            self._fail(ProtocolError(f"{self._name} sent a control frame of more than 125 bytes"))
        else:
            self._fail(ProtocolError(f"{self._name} sent a frame whose length is not written as RFC 6455 says"))

    def _refuse(self, cause: Exception | None) -> None:
        if isinstance(cause, PayloadTooBig):
            self._fail(MessageTooBig(f"{self._name} sent a message that is too big: {cause}"))
        elif isinstance(cause, RefusedFrame):
            self._fail(ProtocolError(f"{self._name} broke the protocol: {cause}"))
        else:
            self._fail(ConnectionClosed(f"cannot read {self._name}", code=1011, initiator="local"))
