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

LOW_MARK = 16 * 1024
"""`drained` is called when `buffered` has come down to this."""

COMPRESS_FROM = 128
"""Bytes from which a message is compressed. Shorter ones gain little; RFC 7692 section 6 leaves the choice to us."""

_MASK_INLINE = 512  # up to here an XOR of two integers beats building a Frame
_WRITE_ALONE = 64 * 1024  # from here on a frame is not copied once more to leave with its neighbours
_LOOK_AGAIN = 0.005  # seconds
_MASKS = 4096  # bytes of randomness taken at once


def fitting_reason(reason: str) -> str:
    """The longest beginning of a close reason that fits into a control frame (RFC 6455 section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


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
        self._look: asyncio.TimerHandle | None = None
        self._stopped = False
        self._masks = b""
        self._mask = 0
        # Equal marks: the transport tells each time that it comes down to LOW_MARK.
        self._transport.set_write_buffer_limits(high=LOW_MARK, low=LOW_MARK)

    @property
    def buffered(self) -> int:
        """Bytes that the operating system has not taken yet, in all layers."""
        size = self._batched
        for transport in self._transports:
            size += transport.get_write_buffer_size()
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
        if size > _MASK_INLINE:
            self._add(Frame(Opcode(kind), payload).serialize(mask=True))
            return
        at = self._mask
        if at == len(self._masks):
            self._masks, at = os.urandom(_MASKS), 0
        self._mask = at + 4
        mask = self._masks[at : at + 4]
        # RFC 6455 sections 5.2 and 5.3: FIN and opcode, MASK and length, masking key, masked payload.
        header = bytes((0x80 | kind, 0x80 | size)) if size < 126 else bytes((0x80 | kind, 0xFE, size >> 8, size & 255))
        keys = (mask * ((size + 3) >> 2))[:size]
        masked = int.from_bytes(payload, "little") ^ int.from_bytes(keys, "little")
        self._add(header + mask + masked.to_bytes(size, "little"))

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

    def _flush(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        if self.buffered > LOW_MARK:
            self._above = True
        self.flush()
        if self._above:
            self.report()
