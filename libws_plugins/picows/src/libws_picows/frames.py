"""From bytes to messages: picows cuts the frames, and what it does not check is checked here.

picows checks opcodes, masks, the form of lengths, and control frames. It checks no reserved bits, no order of frames
and no UTF-8, joins no fragments, goes on behind a close frame, and hands over a frame that it has refused for its
size as soon as more bytes come.

Its frame objects are slow to ask: for the kind and the flags of a frame as slow as for its payload. So the first byte
of a frame is read where it lies, in picows' own buffer. That memory stays in its place as long as no more than 90 % of
it are in use; a frame that needs more makes picows move it, and then the frames are asked until the buffer is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from picows import WSListener
from websockets.exceptions import ProtocolError as RefusedFrame
from websockets.frames import Close, Frame, Opcode

from libws_core.errors import ConnectionClosed, MessageTooBig, ProtocolError
from libws_core.types import Kind, Message
from libws_core.verdicts import RETRY
from libws_websockets.fragments import Fragments, not_utf8

from .parser import NO_LIMIT, Parser

if TYPE_CHECKING:
    from picows import WSFrame, WSTransport

_TEXT, _BINARY, _CLOSE = Kind.TEXT, Kind.BINARY, Kind.CLOSE

# First bytes of final frames without reserved bits, RFC 6455 section 5.2.
_FINAL_TEXT, _FINAL_BINARY, _FINAL_CLOSE, _FINAL_PING, _FINAL_PONG = 0x81, 0x82, 0x88, 0x89, 0x8A
_NEVER = -1  # no first byte

_PATIENCE = 8
"""Times that a grown buffer must have run empty before it is given back: growing anew for each message is costly."""


def _drop(what: object) -> None:
    """Take what nobody may see."""


def _ignore(transport: WSTransport, frame: WSFrame) -> None:
    """Take a frame that nobody may see."""


class _Listener(WSListener):
    """picows calls what stands in its slot."""

    __slots__ = ("on_ws_frame",)


class FrameReader:
    """Reads one connection's frames.

    Args:
        name: the server as it may be shown, for errors.
        read_buffer: bytes of buffer to begin with, and to return to.
        take: called with what is not data: pings, pongs, a close, or the error that ends reading.
    """

    __slots__ = (
        "_at",
        "_binary",
        "_emptied",
        "_end",
        "_fragments",
        "_listener",
        "_max_frame",
        "_name",
        "_parser",
        "_read_buffer",
        "_seeing",
        "_size",
        "_spare",
        "_stopped",
        "_take",
        "_text",
        "_usual",
        "_whole",
        "deliver",
        "saw_data",
    )

    def __init__(
        self,
        name: str,
        *,
        max_size: int | None,
        max_fragments: int,
        read_buffer: int,
        take: Callable[[Message | ConnectionClosed], object],
    ) -> None:
        self.deliver: Callable[[Message], object] = _drop
        """Where texts and binaries go. Whoever reads sets it."""
        self.saw_data = False
        """Texts or binaries came. Whoever reads resets it."""
        self._name = name
        self._take = take
        self._fragments = Fragments(name, max_size, max_fragments)
        self._max_frame = NO_LIMIT if max_size is None else max_size
        self._read_buffer = read_buffer
        self._stopped = False
        # Inside a fragmented message no data frame may begin: then no first byte matches these.
        self._text, self._binary = _FINAL_TEXT, _FINAL_BINARY
        self._listener = _Listener()
        self._renew()
        self._usual = self._size

    def _renew(self) -> None:
        """Begin with a small buffer. Only when the old one is empty."""
        self._parser = Parser(self._listener, max_frame=self._max_frame, read_buffer=self._read_buffer)
        self._emptied = 0
        self._see(self._parser.get_buffer(-1))

    def _see(self, whole: memoryview) -> None:
        """Read first bytes in an empty buffer from now on."""
        self._whole: memoryview | bytes = whole
        self._size = len(whole)
        self._spare = self._size // 8
        self._end = 0  # of what is in the buffer
        self._at = 0  # where the next frame begins
        self._seeing = True
        self._listener.on_ws_frame = self._read  # type: ignore[method-assign]

    def _lose_sight(self) -> None:
        """The buffer is going to move."""
        self._whole = b""
        self._seeing = False
        self._listener.on_ws_frame = self._ask  # type: ignore[method-assign]

    # What the transport's side calls.

    def get_buffer(self) -> memoryview:
        """Where the next read goes."""
        view: memoryview = self._parser.get_buffer(-1)
        free = len(view)
        if not self._seeing:
            # Filled to the brim by each read of a flood, picows' buffer would double with each.
            spare = (self._end + free) // 8
            return view if free < 2 * spare else view[: free - spare]
        if free == self._size and free > self._usual:
            self._emptied += 1
            if self._emptied == _PATIENCE:
                self._renew()
                return self.get_buffer()
        self._end = self._size - free
        room = free - self._spare
        if room < self._spare:
            self._lose_sight()
            return view
        return view[:room]

    def feed(self, size: int) -> None:
        """Read the bytes that were put into the buffer."""
        parser = self._parser
        self._at = 0
        self._end += size
        parser.buffer_updated(size)
        if parser.wire.written:
            self._refused()
        elif not self._seeing:
            self._end -= self._at  # what is left was moved to the front
            if self._end == 0:
                self._see(parser.get_buffer(-1))
        elif self._fragments.open:
            self._check_next_length()

    def stop(self) -> None:
        """Let nothing through any more."""
        self._stopped = True
        self.deliver = _drop
        self._listener.on_ws_frame = _ignore  # type: ignore[method-assign]
        self._fragments.clear()

    def release(self) -> None:
        """Let go of the buffer and of whoever was told. Nothing may be read any more."""
        self.stop()
        if self._take is not _drop:
            self._whole, self._take = b"", _drop
            self._parser.close()

    # What picows calls. A frame is valid during the call only.

    def _read(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame whose first byte can be seen."""
        first = self._whole[self._at]
        self._at = self._end - frame.tail_size
        if first == self._text:
            try:
                text = frame.get_payload_as_utf8_text()
            except UnicodeDecodeError:
                self._fail(not_utf8(self._name))
                return
            self.saw_data = True
            self.deliver(Message(_TEXT, text))
        elif first == self._binary:
            self.saw_data = True
            self.deliver(Message(_BINARY, frame.get_payload_as_bytes()))
        else:
            self._rare(first, frame.get_payload_as_bytes())

    def _ask(self, transport: WSTransport, frame: WSFrame) -> None:
        """Take a frame that must tell its first byte itself."""
        reserved = frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4
        self._whole, self._at = bytes((frame.fin << 7 | reserved | int(frame.msg_type),)), 0  # type: ignore[call-overload]
        self._read(transport, frame)

    # The rest of RFC 6455.

    def _rare(self, first: int, payload: bytes) -> None:
        """Take a control frame, a fragment, or a frame that is not allowed."""
        if first == _FINAL_PING:
            self._take(Message.ping(payload))
        elif first == _FINAL_PONG:
            self._take(Message.pong(payload))
        elif first == _FINAL_CLOSE:
            self._close(payload)
        elif first & 0x70:
            self._fail(ProtocolError(f"{self._name} broke the protocol: reserved bits are set"))
        elif bool(first & 0x0F) is self._fragments.open:
            what = "a new message inside a fragmented one" if self._fragments.open else "a continuation of nothing"
            self._fail(ProtocolError(f"{self._name} broke the protocol: {what}"))
        else:
            self._add_fragment(Frame(Opcode(first & 0x0F), payload, fin=first > 0x7F))

    def _close(self, payload: bytes) -> None:
        """Take a close frame. Of the codes that must not be sent, picows lets some pass."""
        try:
            Close.parse(payload)
        except RefusedFrame:
            self._fail_close()
        else:
            self.stop()
            self._take(Message(_CLOSE, payload))

    def _add_fragment(self, fragment: Frame) -> None:
        fragments = self._fragments
        if len(fragment.data) > fragments.room:
            self._fail(self._too_big(len(fragment.data)))
            return
        try:
            message = fragments.add(fragment)
        except ConnectionClosed as error:
            self._fail(error)
            return
        self._text, self._binary = (_NEVER, _NEVER) if fragments.open else (_FINAL_TEXT, _FINAL_BINARY)
        if message is not None:
            self.saw_data = True
            self.deliver(message)

    def _check_next_length(self) -> None:
        """Refuse a fragment by its header if it does not fit into what is left of the message.

        picows knows only the limit of a single frame. The header is the beginning of what it has not yet taken. Where
        that cannot be seen, the fragment is refused when it has come.
        """
        header = bytes(self._whole[: min(self._end - self._at, 10)])
        if len(header) < 2 or header[0] & 0x7F:  # no continuation
            return
        length, form = header[1], {126: 2, 127: 8}.get(header[1], 0)
        if len(header) < 2 + form:
            return
        length = int.from_bytes(header[2 : 2 + form], "big") if form else length
        if length > self._fragments.room:
            self._fail(self._too_big(length))

    def _too_big(self, length: int) -> MessageTooBig:
        text = f"a fragment of {length} bytes where {self._fragments.room} are left"
        return MessageTooBig(f"{self._name} sent a message that is too big: {text}")

    def _refused(self) -> None:
        """picows has given up. What it handed over before, and what lay behind a close frame, is not concerned."""
        if self._stopped:
            return
        code, text = self._parser.refusal()
        if code == 1009:
            self._fail(MessageTooBig(f"{self._name} sent a message that is too big: {text}"))
        elif code == 1007:
            self._fail(ProtocolError(f"{self._name} sent a close reason that is not UTF-8", code=1007))
        elif code == 1002 and text.startswith("Received CLOSE"):
            self._fail_close()
        elif code == 1002:
            self._fail(ProtocolError(f"{self._name} broke the protocol: {text}"))
        else:
            self._fail(ConnectionClosed(f"cannot read {self._name}", code=1011, initiator="local"))

    def _fail_close(self) -> None:
        # RETRY: it wanted to end this connection and no more. nats-server, for one, sends a reserved code.
        self._fail(ProtocolError(f"{self._name} sent an invalid close frame", verdict=RETRY))

    def _fail(self, error: ConnectionClosed) -> None:
        self.stop()
        self._take(error)
