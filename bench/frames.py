"""WebSocket frames and the handshake, only as far as the benchmark's server and its raw client need them."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterable, Iterator

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
WINDOW_BITS = 12
"""The LZ77 window of what the server compresses: the default offer of python-websockets, which every client admits."""


def length_field(size: int, masked: int = 0) -> bytes:
    """The payload length of a frame and its mask bit (RFC 6455 section 5.2)."""
    if size < 126:
        return bytes([masked | size])
    if size < 0x10000:
        return bytes([masked | 126]) + size.to_bytes(2)
    return bytes([masked | 127]) + size.to_bytes(8)


def frame(opcode: int, payload: bytes, *, compressed: bool = False) -> bytes:
    """A complete frame as a server sends it."""
    return bytes([0x80 | (0x40 if compressed else 0) | opcode]) + length_field(len(payload)) + payload


def masked_frame(opcode: int, payload: bytes) -> bytes:
    """A complete frame as a client sends it, but with a mask of zeros, which only the raw client may do."""
    return bytes([0x80 | opcode]) + length_field(len(payload), 0x80) + bytes(4) + payload


def masked_size(size: int) -> int:
    """Bytes of a client's uncompressed frame with a payload of so many bytes."""
    return 1 + len(length_field(size)) + 4 + size


def deflated(payloads: Iterable[bytes]) -> Iterator[bytes]:
    """Compress messages one after the other with context takeover (RFC 7692 section 7.2.1).

    The first one refers to nothing before it, so the whole may be sent repeatedly on one connection.
    """
    deflate = zlib.compressobj(wbits=-WINDOW_BITS)
    for payload in payloads:
        yield (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


def accept_of(key: str) -> str:
    """The Sec-WebSocket-Accept of a key (RFC 6455 section 4.2.2)."""
    digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    return base64.b64encode(digest).decode()


class ClientFrames:
    """Cuts what a client sends; for commands and control frames, not for what is measured."""

    def __init__(self) -> None:
        self.rest = b""
        """What was fed and not yet cut."""
        self._inflate = zlib.decompressobj(wbits=-15)

    def feed(self, data: bytes) -> None:
        self.rest += data

    def next(self) -> tuple[int, bytes] | None:
        """The opcode and payload of the next complete frame, None if more bytes are needed."""
        data = self.rest
        if len(data) < 2:
            return None
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10]), 10
        end = start + 4 + size
        if len(data) < end:
            return None
        mask = data[start : start + 4]
        payload = bytes(byte ^ mask[place % 4] for place, byte in enumerate(data[start + 4 : end]))
        self.rest = data[end:]
        if data[0] & 0x40:
            payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
        return data[0] & 0x0F, payload
