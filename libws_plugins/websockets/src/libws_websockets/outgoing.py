"""What goes out: frames are made, gathered for one turn of the loop and written in one piece."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from websockets.frames import Frame, Opcode

from libws_core.types import Kind

if TYPE_CHECKING:
    from websockets.client import ClientProtocol


def mask_slowly(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """XOR with the repeated mask (RFC 6455 section 5.3), where there is no faster way."""
    keys = (bytes(mask) * ((len(data) + 3) >> 2))[: len(data)]
    return (int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")).to_bytes(len(data), "little")


try:
    from websockets.speedups import apply_mask  # not in its documentation, so it may be missing one day
except ImportError:
    apply_mask = mask_slowly

LOW_MARK = 16 * 1024
"""`drained` is called when `buffered` has come down to this."""

COMPRESS_FROM = 128
"""Bytes from which a message is compressed. Shorter ones gain little; RFC 7692 section 6 leaves the choice to us."""

_FRAME_INLINE = 64 * 1024  # up to here building the bytes ourselves beats building a Frame
_WRITE_ALONE = 64 * 1024  # from here on a frame is not copied once more to leave with its neighbours
_LOOK_AGAIN = 0.005  # seconds
_MASKS = 4096  # bytes of randomness taken at once

_SHORT = {kind: [bytes((0x80 | kind, 0x80 | size)) for size in range(126)] for kind in Kind}
"""The first two bytes of short final frames that are masked, by kind and size (RFC 6455 section 5.2)."""


class FrameWriter:
    """Writes to the first of `transports`; the others lie below it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transports: Sequence[asyncio.Transport], protocol: ClientProtocol
    ) -> None:
        self.drained: Callable[[], object] | None = None
        self._loop = loop
        self._transports = tuple(transports)
        self._transport = transports[0]
        self._protocol = protocol
        self._compresses = bool(protocol.extensions)
        self._batch: list[bytes] = []
        self._batched = 0
        self._scheduled = False
        self._above = False  # since `drained` was last called
        self._backed_up = False  # a transport held bytes when it was last looked at
        self._look: asyncio.TimerHandle | None = None
        self._stopped = False
        self._masks = b""
        self._mask = 0
        # Equal marks: the transport tells each time that it comes down to LOW_MARK.
        self._transport.set_write_buffer_limits(high=LOW_MARK, low=LOW_MARK)

    @property
    def buffered(self) -> int:
        """Bytes that the operating system has not taken yet, in all layers."""
        return self._batched + self._held() if self._backed_up else self._batched

    def _held(self) -> int:
        """Bytes in the transports. They come there by our writing only, so that none stay none until then."""
        size = 0
        for transport in self._transports:
            size += transport.get_write_buffer_size()
        self._backed_up = size > 0
        return size

    def write(self, kind: Kind, data: Any) -> None:
        """Frame a message and have it written in this turn of the loop."""
        payload: bytes = data.encode() if kind is Kind.TEXT else data if type(data) is bytes else bytes(data)
        size = len(payload)
        if kind > 2:
            if size > 125:  # RFC 6455 section 5.5
                raise ValueError(f"the payload of a {kind.name.lower()} is {size} bytes, at most 125 are allowed")
        elif self._compresses and size >= COMPRESS_FROM:
            if kind is Kind.TEXT:
                self._protocol.send_text(payload)
            else:
                self._protocol.send_binary(payload)
            self.send_pending()
            return
        if size >= _FRAME_INLINE:
            self._add(Frame(Opcode(kind), payload).serialize(mask=True))
            return
        at = self._mask
        if at == len(self._masks):
            self._masks, at = os.urandom(_MASKS), 0
        self._mask = at + 4
        mask = self._masks[at : at + 4]
        # RFC 6455 sections 5.2 and 5.3: FIN and opcode, MASK and length, masking key, masked payload.
        header = _SHORT[kind][size] if size < 126 else bytes((0x80 | kind, 0xFE, size >> 8, size & 255))
        self._add(header + mask + apply_mask(payload, mask))

    def send_pending(self) -> None:
        """Take what the protocol has made."""
        for data in self._protocol.data_to_send():
            if data:  # an empty one means that the protocol wants TCP half-closed, which is the transport's matter
                self._add(data)

    def flush(self) -> None:
        """Give the transport what was gathered."""
        batch = self._batch
        if batch:
            self._batch, self._batched = [], 0
            self._transport.write(batch[0] if len(batch) == 1 else b"".join(batch))
            self._backed_up = True  # for all we know

    def stop(self) -> None:
        """Write nothing more."""
        self._stopped = True
        self._batch, self._batched = [], 0
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def report(self) -> None:
        """Call `drained` if `buffered` was above its mark and is not any more."""
        if self._above and not self._stopped:
            if self.buffered <= LOW_MARK:
                self._above = False
                if self.drained is not None:
                    self.drained()
            elif len(self._transports) > 1 and self._look is None:
                # TLS tells about its own buffer only, not about the one of TCP below.
                self._look = self._loop.call_later(_LOOK_AGAIN, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self.report()

    def _add(self, frame: bytes) -> None:
        if self._stopped:
            return
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        if len(frame) < _WRITE_ALONE:
            self._batch.append(frame)
            self._batched += len(frame)
        else:
            self._above = True
            self.flush()
            self._transport.write(frame)
            self._backed_up = True

    def _flush(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        if self.buffered > LOW_MARK:
            self._above = True
        self.flush()
        self._held()
        if self._above:
            self.report()
