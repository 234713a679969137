"""Dialers that are wrong about the frames of RFC 6455 and RFC 7692, and right in all that every dialer promises."""

from __future__ import annotations

import zlib

from alone import WebSocketDialer, dialer_with
from catching import fails
from plain_dialer import CLOSE, PING, Incoming, PlainConnection
from plain_handshake import Asked, PlainDialer

from libws_core import Headers, Message, MessageTooBig, ProtocolError, Request

# What arrives


class CharacterWise(PlainConnection):
    """Checks each fragment of a text by itself."""

    def take(self, first: int, payload: bytes) -> None:
        super().take(first, payload)
        if self.incoming is not None and self.incoming.kind == 1 and not self.incoming.compressed:
            self.text(payload, self.incoming)


@fails("test_valid_frames_are_delivered")
class TestCharacterWise(WebSocketDialer):
    plugin = dialer_with(CharacterWise)


class Unmasking(PlainConnection):
    def check_mask(self, masked: bool) -> None:
        pass


@fails("test_masked_frames_fail_the_connection")
class TestUnmasking(WebSocketDialer):
    plugin = dialer_with(Unmasking)


class Unreserved(PlainConnection):
    """Looks at reserved bits only where an extension might have set one."""

    def check_reserved(self, first: int, deflated: bool) -> None:
        if deflated:
            super().check_reserved(first, deflated)


@fails("test_reserved_bits_fail_the_connection")
class TestUnreserved(WebSocketDialer):
    plugin = dialer_with(Unreserved)


class Skipping(PlainConnection):
    """Skips frames that it does not know."""

    def check_opcode(self, opcode: int) -> None:
        pass

    def take(self, first: int, payload: bytes) -> None:
        if first & 15 in (0, 1, 2, 8, 9, 10):
            super().take(first, payload)


@fails("test_unknown_opcodes_fail_the_connection")
class TestSkipping(WebSocketDialer):
    plugin = dialer_with(Skipping)


class Generous(PlainConnection):
    def check_control(self, first: int, small: int) -> None:
        pass


@fails("test_control_frames_that_are_long_or_cut_fail_the_connection")
class TestGenerous(WebSocketDialer):
    plugin = dialer_with(Generous)


class Joining(PlainConnection):
    """Takes fragments as they come."""

    def check_order(self, opcode: int) -> None:
        pass


@fails("test_fragments_out_of_order_fail_the_connection")
class TestJoining(WebSocketDialer):
    plugin = dialer_with(Joining)


class Lengthy(PlainConnection):
    def check_length(self, length: int, form: int) -> None:
        pass


@fails("test_lengths_in_another_form_fail_the_connection")
class TestLengthy(WebSocketDialer):
    plugin = dialer_with(Lengthy)


class Replacing(PlainConnection):
    def text(self, data: bytes, whole: Incoming) -> str:
        return super().text(data, whole) if whole.compressed else data.decode("utf-8", "replace")


@fails("test_text_that_is_not_utf_8_fails_the_connection")
class TestReplacing(WebSocketDialer):
    plugin = dialer_with(Replacing)


class Surrogate(PlainConnection):
    def text(self, data: bytes, whole: Incoming) -> str:
        return super().text(data, whole) if whole.compressed else data.decode("utf-8", "surrogatepass")


@fails("test_text_that_is_not_utf_8_fails_the_connection")
class TestSurrogate(WebSocketDialer):
    plugin = dialer_with(Surrogate)


class Unread(PlainConnection):
    def check_close(self, payload: bytes) -> None:
        pass


@fails("test_invalid_close_frames_fail_the_connection")
class TestUnread(WebSocketDialer):
    plugin = dialer_with(Unread)


class OldFashioned(PlainConnection):
    """Knows no codes of frameworks."""

    def is_close_code(self, code: int) -> bool:
        return super().is_close_code(code) and not 3000 <= code < 4000


@fails("test_close_codes_of_the_registry_are_told_and_answered")
class TestOldFashioned(WebSocketDialer):
    plugin = dialer_with(OldFashioned)


class Torn(PlainDialer):
    """Loses half a frame behind the 101."""

    def open(self, asked: Asked, headers: Headers, request: Request) -> PlainConnection:
        buffer = asked.wire.buffer
        end = 0
        while len(buffer) >= end + 2 and buffer[end + 1] < 126 and end + 2 + buffer[end + 1] <= len(buffer):
            end += 2 + buffer[end + 1]
        del buffer[end:]
        return super().open(asked, headers, request)


@fails("test_frames_right_behind_the_101_are_kept_and_not_answered")
class TestTorn(WebSocketDialer):
    plugin = Torn


# What is written


class Roomy(PlainConnection):
    """Writes all lengths above 125 in 64 bits."""

    def length(self, length: int) -> bytes:
        return super().length(length) if length < 126 else b"\xff" + length.to_bytes(8, "big")


@fails("test_frames_are_written_as_rfc_6455_says")
class TestRoomy(WebSocketDialer):
    plugin = dialer_with(Roomy)


class Constant(PlainConnection):
    def key(self) -> bytes:
        return b"\x01\x02\x03\x04"


@fails("test_every_frame_is_masked_with_a_key_of_its_own")
class TestConstant(WebSocketDialer):
    plugin = dialer_with(Constant)


class Counting(PlainConnection):
    """Has another key for each frame, and the same ones on each connection."""

    number = 0

    def key(self) -> bytes:
        self.number += 1
        return self.number.to_bytes(4, "big")


@fails("test_every_frame_is_masked_with_a_key_of_its_own")
class TestCounting(WebSocketDialer):
    plugin = dialer_with(Counting)


class Answering(PlainConnection):
    """Answers pings between fragments."""

    def take_control(self, message: Message) -> None:
        super().take_control(message)
        if message.kind == PING and self.incoming is not None:
            self.write(Message.pong(message.data))


@fails("test_a_ping_is_not_answered")
class TestAnswering(WebSocketDialer):
    plugin = dialer_with(Answering)


class Cutting(PlainConnection):
    """Cuts a reason without a look at its characters."""

    def put_close(self, code: int, reason: str) -> None:
        self.put(CLOSE, b"" if code == 1005 else (code.to_bytes(2, "big") + reason.encode())[:125])
        self.closing = True


@fails("test_our_close_frame_is_valid")
class TestCutting(WebSocketDialer):
    plugin = dialer_with(Cutting)


class LastWord(PlainConnection):
    """Writes behind its close frame."""

    def write(self, message: Message) -> None:
        if self.closing and not self.wire.lost:
            self.put(message.kind, message.data.encode() if isinstance(message.data, str) else message.data)
        super().write(message)


@fails("test_nothing_is_written_behind_our_close_frame")
class TestLastWord(WebSocketDialer):
    plugin = dialer_with(LastWord)


# Limits


class Reading(PlainConnection):
    """Looks at the size when a frame is there."""

    def check_room(self, length: int) -> None:
        if len(self.wire.buffer) >= length:
            super().check_room(length)


@fails("test_a_header_that_promises_too_much_is_enough")
class TestReading(WebSocketDialer):
    plugin = dialer_with(Reading)


class FrameWise(PlainConnection):
    """Looks at the size of each frame alone."""

    def check_room(self, length: int) -> None:
        incoming, self.incoming = self.incoming, None
        try:
            super().check_room(length)
        finally:
            self.incoming = incoming


@fails("test_fragments_count_together")
class TestFrameWise(WebSocketDialer):
    plugin = dialer_with(FrameWise)


class Patient(PlainConnection):
    def check_fragments(self, number: int) -> None:
        pass


@fails("test_too_many_fragments_fail_the_connection")
class TestPatient(WebSocketDialer):
    plugin = dialer_with(Patient)


# Compression


@fails("test_compression_is_offered_as_the_class_says")
class TestSecretive(WebSocketDialer):
    """The dialer offers what its contract does not say."""

    compression = False


class Dropping(PlainConnection):
    """Drops what inflates to nothing."""

    def push(self, message: Message) -> None:
        if message.data or not self.deflated:
            super().push(message)


@fails("test_compressed_messages_are_delivered")
class TestDropping(WebSocketDialer):
    plugin = dialer_with(Dropping)


class Unchecked(PlainConnection):
    """Looks at reserved bits only where no extension may set one."""

    def check_reserved(self, first: int, deflated: bool) -> None:
        if not deflated:
            super().check_reserved(first, deflated)


@fails("test_what_is_compressed_badly_fails_the_connection")
class TestUnchecked(WebSocketDialer):
    plugin = dialer_with(Unchecked)


class Exploding(PlainConnection):
    """Looks at the size when all is inflated."""

    def inflate(self, data: bytes) -> bytes:
        try:
            out = zlib.decompressobj(wbits=-15).decompress(data + b"\0\0\xff\xff")
        except zlib.error:
            raise ProtocolError("a message that does not inflate") from None
        if len(out) > (self.dialer.max_size or len(out)):
            raise MessageTooBig("a message that is too big when it is inflated")
        return out


@fails("test_a_bomb_does_not_go_off")
class TestExploding(WebSocketDialer):
    plugin = dialer_with(Exploding)
