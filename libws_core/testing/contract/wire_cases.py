"""What a server may say and what it must not, byte by byte: a table to read beside RFC 6455 and RFC 7692."""

from __future__ import annotations

import zlib
from typing import NamedTuple

from ...types import Kind, Message
from .bare import frame

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10  # opcodes, RFC 6455 section 5.2

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12; server_no_context_takeover"
"""What a server agrees to in the cases of RFC 7692."""


class Valid(NamedTuple):
    """Bytes that a client must understand."""

    section: str
    """Of RFC 6455, or of RFC 7692 where it says so."""
    name: str
    data: bytes
    messages: tuple[Message, ...]
    """What is delivered."""

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


class Broken(NamedTuple):
    """Bytes upon which a client must fail the connection, RFC 6455 section 7.1.7."""

    section: str
    name: str
    data: bytes
    codes: tuple[int, ...] = (1002,)
    """Codes of which one must stand in the client's close frame, RFC 6455 section 7.4.1."""
    before: tuple[Message, ...] = ()
    """What is complete before the rule is broken."""

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


def closing(code: int, reason: bytes = b"") -> bytes:
    """The payload of a close frame, RFC 6455 section 5.5.1."""
    return code.to_bytes(2, "big") + reason


def deflate(data: bytes) -> bytes:
    """RFC 7692 section 7.2.1, without context takeover."""
    compressor = zlib.compressobj(9, wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


UE = "ü".encode()
GREETING = "grüße ".encode() * 50
PACKED = deflate(GREETING)

VALID = [
    Valid("5.6", "an empty text", frame(TEXT), (Message.text(""),)),
    Valid("5.6", "an empty binary", frame(BINARY), (Message.binary(b""),)),
    Valid("5.6", "a text", frame(TEXT, "grüße €".encode()), (Message.text("grüße €"),)),
    Valid("5.6", "a text of the highest code point", frame(TEXT, b"\xf4\x8f\xbf\xbf"), (Message.text("\U0010ffff"),)),
    Valid("5.6", "a text with a NUL", frame(TEXT, b"a\0b"), (Message.text("a\0b"),)),
    Valid("5.6", "a binary that is no UTF-8", frame(BINARY, b"\x00\xff\xfe"), (Message.binary(b"\x00\xff\xfe"),)),
    Valid("5.2", "125 bytes, the most in seven bits", frame(TEXT, b"a" * 125), (Message.text("a" * 125),)),
    Valid("5.2", "126 bytes, the fewest in 16 bits", frame(TEXT, b"a" * 126), (Message.text("a" * 126),)),
    Valid("5.2", "65535 bytes, the most in 16 bits", frame(BINARY, bytes(65535)), (Message.binary(bytes(65535)),)),
    Valid("5.2", "65536 bytes, the fewest in 64 bits", frame(BINARY, bytes(65536)), (Message.binary(bytes(65536)),)),
    Valid("5.2", "a megabyte", frame(BINARY, b"ab" * 2**19), (Message.binary(b"ab" * 2**19),)),
    Valid("5.5.2", "a ping without a payload", frame(PING), (Message.ping(b""),)),
    Valid("5.5.2", "a ping of 125 bytes", frame(PING, b"p" * 125), (Message.ping(b"p" * 125),)),
    Valid("5.5.3", "a pong that nobody asked for", frame(PONG, b"\xff"), (Message.pong(b"\xff"),)),
    Valid("5.4", "two fragments", frame(TEXT, b"on", fin=False) + frame(CONT, b"e"), (Message.text("one"),)),
    Valid(
        "5.4",
        "fragments of a binary, one of them empty",
        frame(BINARY, b"\x01", fin=False) + frame(CONT, fin=False) + frame(CONT, b"\xff"),
        (Message.binary(b"\x01\xff"),),
    ),
    Valid(
        "5.4",
        "only empty fragments",
        frame(TEXT, fin=False) + frame(CONT, fin=False) + frame(CONT),
        (Message.text(""),),
    ),
    Valid(
        "5.4",
        "large fragments",
        frame(BINARY, b"a" * 70_000, fin=False) + frame(CONT, b"b" * 126, fin=False) + frame(CONT, b"c" * 70_000),
        (Message.binary(b"a" * 70_000 + b"b" * 126 + b"c" * 70_000),),
    ),
    Valid(
        "5.4",
        "control frames between fragments",
        frame(TEXT, b"a", fin=False) + frame(PING, b"1") + frame(CONT, b"b", fin=False) + frame(PONG) + frame(CONT),
        (Message.ping(b"1"), Message.pong(b""), Message.text("ab")),
    ),
    Valid(
        "5.6",
        "a character that is cut by fragments",
        frame(TEXT, b"gr" + UE[:1], fin=False) + frame(PING) + frame(CONT, UE[1:] + b"n"),
        (Message.ping(b""), Message.text("grün")),
    ),
    Valid(
        "5.4",
        "a message behind a fragmented one",
        frame(TEXT, b"1", fin=False) + frame(CONT) + frame(BINARY, b"2") + frame(TEXT, b"3"),
        (Message.text("1"), Message.binary(b"2"), Message.text("3")),
    ),
    Valid(
        "5",
        "one of everything",
        frame(TEXT, b"1") + frame(PING, b"2") + frame(BINARY, b"3" * 126) + frame(PONG, b"4") + frame(TEXT, b"5" * 130),
        (
            Message.text("1"),
            Message.ping(b"2"),
            Message.binary(b"3" * 126),
            Message.pong(b"4"),
            Message.text("5" * 130),
        ),
    ),
    Valid("5.5.1", "a close without a code", frame(CLOSE), (Message(Kind.CLOSE, b""),)),
    Valid(
        "5.5.1",
        "a close with a reason of 123 bytes",
        frame(CLOSE, closing(1000, b"x" * 123)),
        (Message.close(1000, "x" * 123),),
    ),
    Valid(
        "5.5.1",
        "a close between fragments",
        frame(TEXT, b"half", fin=False) + frame(CLOSE, closing(1012)),
        (Message.close(1012),),
    ),
    Valid(
        "5.5.1",
        "data behind a close",
        frame(CLOSE, closing(1000))
        + frame(TEXT, b"x")
        + frame(PING)
        + frame(CLOSE, closing(1011))
        + frame(TEXT, b"\xff"),
        (Message.close(1000),),
    ),
]

CLOSE_CODES = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999)
"""Codes that a server may send: section 7.4.1 and IANA's registry, then those for frameworks and for private use."""

MASKED = [
    Broken("5.1", "a masked text", frame(TEXT, b"x", mask=b"abcd")),
    Broken("5.1", "a masked text of 500 bytes", frame(TEXT, b"x" * 500, mask=b"abcd")),
    Broken("5.1", "a masked binary, masked with zeros", frame(BINARY, b"x", mask=b"\0\0\0\0")),
    Broken("5.1", "a masked ping", frame(PING, b"x", mask=b"abcd")),
    Broken("5.1", "a masked close", frame(CLOSE, closing(1000), mask=b"abcd")),
]

RESERVED_BITS = [
    Broken("5.2", "RSV1 without an extension", frame(TEXT, b"x", rsv=4)),
    Broken("5.2", "RSV2", frame(BINARY, b"x", rsv=2)),
    Broken("5.2", "RSV3", frame(TEXT, b"x", rsv=1)),
    Broken("5.2", "RSV1 on a ping", frame(PING, b"x", rsv=4)),
    Broken("5.2", "RSV2 on a close", frame(CLOSE, closing(1000), rsv=2)),
    Broken("5.2", "RSV2 inside a message", frame(TEXT, fin=False) + frame(CONT, rsv=2)),
]

OPCODES = [
    Broken("5.2", "opcode 3", frame(3, b"x")),
    Broken("5.2", "opcode 7, not final", frame(7, b"x", fin=False)),
    Broken("5.2", "opcode 11", frame(11, b"x")),
    Broken("5.2", "opcode 15, empty", frame(15)),
    Broken("5.2", "opcode 15, too long for a control frame", frame(15, b"x" * 126)),
]

CONTROL_FRAMES = [
    Broken("5.5", "a ping of 126 bytes", frame(PING, b"x" * 126)),
    Broken("5.5", "a pong of 65536 bytes", frame(PONG, b"x" * 65536)),
    Broken("5.5", "a close of 126 bytes", frame(CLOSE, closing(1000, b"x" * 124))),
    Broken("5.5", "a ping in fragments", frame(PING, b"x", fin=False)),
    Broken("5.5", "a close in fragments", frame(CLOSE, closing(1000), fin=False)),
]

FRAGMENTS = [
    Broken("5.4", "a continuation of nothing", frame(CONT, b"x")),
    Broken("5.4", "a continuation of nothing, not final", frame(CONT, b"x", fin=False)),
    Broken(
        "5.4",
        "a continuation behind the end",
        frame(TEXT, b"x", fin=False) + frame(CONT) + frame(CONT),
        before=(Message.text("x"),),
    ),
    Broken("5.4", "a text inside a text", frame(TEXT, b"x", fin=False) + frame(TEXT, b"y")),
    Broken("5.4", "the begin of a text inside a binary", frame(BINARY, b"x", fin=False) + frame(TEXT, b"y", fin=False)),
]

LENGTHS = [
    Broken("5.2", "16 bits for what fits into seven", frame(TEXT, b"x" * 125, form=2)),
    Broken("5.2", "64 bits for what fits into 16", frame(BINARY, b"x" * 126, form=8)),
    Broken("5.2", "64 bits for nothing", frame(TEXT, form=8)),
    Broken("5.2", "16 bits for the length of a ping", frame(PING, b"x", form=2)),
    Broken("5.2", "the first of 64 bits is set", b"\x82\x7f" + b"\xff" * 8, codes=(1002, 1009)),
]

UTF_8 = [
    Broken("8.1", "a byte that begins no character", frame(TEXT, b"a\xffb"), (1007,)),
    Broken("8.1", "a character with a wrong second byte", frame(TEXT, b"a\xc3("), (1007,)),
    Broken("8.1", "a surrogate", frame(TEXT, b"\xed\xa0\x80"), (1007,)),
    Broken("8.1", "two surrogates that would make a pair", frame(TEXT, b"\xed\xa0\xbd\xed\xb8\x80"), (1007,)),
    Broken("8.1", "an overlong form", frame(TEXT, b"\xc0\xaf"), (1007,)),
    Broken("8.1", "a code point beyond the last", frame(TEXT, b"\xf4\x90\x80\x80"), (1007,)),
    Broken("8.1", "an end inside a character", frame(TEXT, UE[:1]), (1007,)),
    Broken("8.1", "fragments that join to no UTF-8", frame(TEXT, UE[:1], fin=False) + frame(CONT, b"("), (1007,)),
    Broken("8.1", "fragments that end inside a character", frame(TEXT, b"a", fin=False) + frame(CONT, UE[:1]), (1007,)),
]

CLOSE_FRAMES = [
    Broken("5.5.1", "a close of one byte", frame(CLOSE, b"\x03")),
    *(
        Broken("7.4.1" if 1000 <= code < 1016 else "7.4.2", f"code {code}", frame(CLOSE, closing(code)))
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    ),
    Broken("5.5.1", "a reason that is not UTF-8", frame(CLOSE, closing(1000, b"\xff")), (1007, 1002)),
    Broken("5.5.1", "a reason that ends inside a character", frame(CLOSE, closing(1000, UE[:1])), (1007, 1002)),
]

DEFLATED = [
    Valid("RFC 7692 7.2.2", "a compressed text", frame(TEXT, PACKED, rsv=4), (Message.text(GREETING.decode()),)),
    Valid("RFC 7692 6", "one that is not compressed", frame(TEXT, b"plain"), (Message.text("plain"),)),
    Valid(
        "RFC 7692 6",
        "fragments, compressed as a whole, and a ping",
        frame(BINARY, PACKED[:5], rsv=4, fin=False) + frame(PING, b"p") + frame(CONT, PACKED[5:]),
        (Message.ping(b"p"), Message.binary(GREETING)),
    ),
    Valid("RFC 7692 7.2.3.6", "nothing, compressed", frame(TEXT, b"\x00", rsv=4), (Message.text(""),)),
    Valid(
        "RFC 7692 7.2.3.3",
        "a block that is stored",
        frame(TEXT, b"\x00\x05\x00\xfa\xffHello\x00", rsv=4),
        (Message.text("Hello"),),
    ),
]

DEFLATED_BADLY = [
    Broken("RFC 7692 7.2.2", "what is not deflate", frame(TEXT, b"\xff\xff\xff\xff", rsv=4), (1002, 1007)),
    Broken(
        "RFC 7692 6.1",
        "RSV1 on a continuation",
        frame(TEXT, PACKED[:2], rsv=4, fin=False) + frame(CONT, PACKED[2:], rsv=4),
    ),
    Broken("RFC 7692 6.1", "RSV1 on a ping", frame(PING, b"", rsv=4)),
    Broken("RFC 7692 6", "RSV2 beside RSV1", frame(TEXT, PACKED, rsv=6)),
    Broken("8.1", "what inflates to no UTF-8", frame(TEXT, deflate(b"a\xff"), rsv=4), (1007,)),
]
