"""Fragmented and compressed messages: checked frames in, whole messages out, within limits."""

from __future__ import annotations

from websockets.frames import Frame, Opcode

from libws_core.errors import MessageTooBig, ProtocolError
from libws_core.types import Kind, Message

NO_LIMIT = 2**63 - 1
"""The largest length of a frame: its most significant bit must be 0 (RFC 6455 section 5.2)."""


class Fragments:
    """The message that is on its way in parts, if there is one.

    Args:
        name: the server as it may be shown, for errors.
    """

    def __init__(self, name: str, max_size: int | None, max_fragments: int) -> None:
        self.open = False
        """Whether a message has begun and not ended: then no other data message may begin."""
        self.room = NO_LIMIT if max_size is None else max_size
        """Bytes of payload that the next data frame may bring."""
        self._name = name
        self._max_size = self.room
        self._max_fragments = max_fragments
        self._kind = Kind.BINARY
        self._parts: list[bytes] = []

    def add(self, frame: Frame) -> Message | None:
        """Take a data frame that the sans-I/O protocol has checked and inflated; gives the message that it completes.

        Raises:
            MessageTooBig: too many fragments.
            ProtocolError: a text that is not UTF-8 (1007).
        """
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._kind = Kind(frame.opcode)
        if frame.fin and not self.open:
            return self._message(data)
        self.open = True
        self.room -= len(data)
        self._parts.append(data)
        if len(self._parts) > self._max_fragments:
            raise MessageTooBig(f"{self._name} sent a message of more than {self._max_fragments} fragments")
        if not frame.fin:
            return None
        data = b"".join(self._parts)
        self.clear()
        return self._message(data)

    def clear(self) -> None:
        """Forget what came so far."""
        self.open, self.room, self._parts = False, self._max_size, []

    def _message(self, data: bytes) -> Message:
        if self._kind is Kind.BINARY:
            return Message(Kind.BINARY, data)
        try:
            return Message(Kind.TEXT, data.decode())
        except UnicodeDecodeError:
            raise not_utf8(self._name) from None


def not_utf8(name: str) -> ProtocolError:
    """A text message that is not UTF-8, RFC 6455 section 8.1."""
    return ProtocolError(f"{name} sent a text that is not UTF-8", code=1007)
