"""Messages that came compressed in one frame (RFC 7692), inflated without python-websockets' frame objects."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

_TAIL = b"\x00\x00\xff\xff"
"""What the sender has cut off, RFC 7692 section 7.2.1."""

STEP = 256 * 1024
"""Bytes that are inflated at once, or as many as are left to inflate. zlib takes twice that, to join what it makes."""


class Inflater:
    """Inflates with the extension's own decompressor: one context serves whole messages and those in fragments."""

    __slots__ = ("_extension", "_first", "_limit", "_max_size")

    def __init__(self, extension: PerMessageDeflate, max_size: int | None) -> None:
        self._extension = extension
        self._max_size = max_size
        self._limit = 0 if max_size is None else max_size + 1  # of output; 0 is none, one more tells that it is too big
        self._first = min(self._limit, STEP)

    def inflate(self, payload: memoryview) -> bytes:
        """Give the message back.

        Raises:
            PayloadTooBig: it is larger than `max_size`; no more than that was inflated.
            ProtocolError: it is not what deflate makes.
        """
        extension = self._extension
        try:
            decoder = extension.decoder
        except AttributeError:  # each message stands for itself, "server_no_context_takeover"
            decoder = self._new()
        try:
            data: bytes = decoder.decompress(b"".join((payload, _TAIL)), self._first)
            if self._limit and len(data) == self._first:
                data = self._go_on(decoder, data)
        except zlib.error as cause:
            raise ProtocolError("decompression failed") from cause
        if decoder.eof and not extension.remote_no_context_takeover:
            extension.decoder = self._new()  # a final block, RFC 7692 section 7.2.3.4: what follows begins anew
        return data

    def _go_on(self, decoder: zlib._Decompress, data: bytes) -> bytes:
        """Inflate the rest of a large message, step by step: one that is too big must not take twice its limit."""
        parts, left = [data], self._limit - len(data)
        while left:
            rest = decoder.unconsumed_tail
            data = decoder.decompress(rest, min(left, max(STEP, len(rest))))
            if not data:
                return b"".join(parts)
            parts.append(data)
            left -= len(data)
        raise PayloadTooBig(None, self._max_size)

    def _new(self) -> zlib._Decompress:
        return zlib.decompressobj(wbits=-self._extension.remote_max_window_bits)


def inflater_of(protocol: ClientProtocol, max_size: int | None) -> Inflater | None:
    """For what was negotiated; None if messages come as they are, or in a way that only the protocol knows."""
    extensions = protocol.extensions
    if len(extensions) == 1 and isinstance(extensions[0], PerMessageDeflate):
        return Inflater(extensions[0], max_size)
    return None
