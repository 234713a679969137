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


class Inflater:
    """Inflates with the extension's own decompressor: one context serves whole messages and those in fragments."""

    __slots__ = ("_extension", "_limit", "_max_size")

    def __init__(self, extension: PerMessageDeflate, max_size: int | None) -> None:
        self._extension = extension
        self._max_size = max_size
        self._limit = 0 if max_size is None else max_size + 1  # of output; 0 is none, one more tells that it is too big

    def inflate(self, payload: bytes) -> bytes:
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
            data: bytes = decoder.decompress(payload + _TAIL, self._limit)
        except zlib.error as cause:
            raise ProtocolError("decompression failed") from cause
        if self._limit and len(data) >= self._limit:
            raise PayloadTooBig(None, self._max_size)
        if decoder.eof and not extension.remote_no_context_takeover:
            extension.decoder = self._new()  # a final block, RFC 7692 section 7.2.3.4: what follows begins anew
        return data

    def _new(self) -> zlib._Decompress:
        return zlib.decompressobj(wbits=-self._extension.remote_max_window_bits)


def inflater_of(protocol: ClientProtocol, max_size: int | None) -> Inflater | None:
    """For what was negotiated; None if messages come as they are, or in a way that only the protocol knows."""
    extensions = protocol.extensions
    if len(extensions) == 1 and isinstance(extensions[0], PerMessageDeflate):
        return Inflater(extensions[0], max_size)
    return None
