"""What goes out: frames are made, gathered for one turn of the loop and written in one piece."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from struct import Struct
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

_TEXT = Kind.TEXT

LOW_MARK = 16 * 1024
"""`drained` is called when what is buffered has come down to this."""

COMPRESS_FROM = 128
"""Bytes from which a message is compressed. Shorter ones gain little; RFC 7692 section 6 leaves the choice to us."""

_WRITE_ALONE = 64 * 1024  # from here on a message is not copied once more to leave with its neighbours
_LOOK_AGAIN = 0.005  # seconds

_MADE = 0  # among kinds: a frame that is ready
_SHORT = [[bytes((0x80 | opcode, 0x80 | size)) for size in range(126)] for opcode in range(16)]
"""The first two bytes of short final frames that are masked, by opcode and size (RFC 6455 section 5.2)."""
_header_16 = Struct(">BBH").pack
_header_64 = Struct(">BBQ").pack


class FrameWriter:
    """Writes to the first of `transports`; the others lie below it."""

    __slots__ = (
        "_above",
        "_batch",
        "_extensions",
        "_look",
        "_loop",
        "_scheduled",
        "_stopped",
        "_transport",
        "_transports",
        "backed_up",
        "batched",
        "drained",
        "lone",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, transports: Sequence[asyncio.Transport], protocol: ClientProtocol
    ) -> None:
        self.drained: Callable[[], object] | None = None
        self._loop = loop
        self._transports = tuple(transports)
        self._transport = transports[0]
        self._extensions = protocol.extensions
        self._batch: list[tuple[int, bytes]] = []
        self.batched = 0
        """Bytes gathered, with headers and keys."""
        self.backed_up = False
        """A transport held bytes when it was last looked at."""
        self.lone = False
        """The next frame answers what was just read, and leaves at once: most often it is the only one."""
        self._scheduled = False
        self._above = False  # since `drained` was last called
        self._look: asyncio.TimerHandle | None = None
        self._stopped = False
        # Equal marks: the transport tells each time that it comes down to LOW_MARK.
        self._transport.set_write_buffer_limits(high=LOW_MARK, low=LOW_MARK)

    def held(self) -> int:
        """Bytes in the transports. They come there by our writing only, so that none stay none until then."""
        size = 0
        for transport in self._transports:
            size += transport.get_write_buffer_size()
        self.backed_up = size > 0
        return size

    def write(self, kind: Kind, data: Any) -> None:
        """Have a message written in this turn of the loop."""
        payload: bytes = data.encode() if kind is _TEXT else data if type(data) is bytes else bytes(data)
        size = len(payload)
        if kind > 2:
            if size > 125:  # RFC 6455 section 5.5
                raise ValueError(f"the payload of a {kind.name.lower()} is {size} bytes, at most 125 are allowed")
        elif self._extensions and size >= COMPRESS_FROM:
            self._add(_MADE, Frame(Opcode(kind), payload).serialize(mask=True, extensions=self._extensions))
            return
        if self._scheduled and size < _WRITE_ALONE and not self._stopped:  # as `_add`, without the call
            self._batch.append((kind, payload))
            self.batched += size + (6 if size < 126 else 8)  # with header and key
        else:
            self._add(kind, payload)

    def flush(self) -> None:
        """Give the transport what was gathered."""
        batch = self._batch
        if batch:
            self._batch, self.batched = [], 0
            self._transport.write(_frames(batch))
            self.backed_up = True  # for all we know

    def stop(self) -> None:
        """Write nothing more."""
        self._stopped = True
        self._batch, self.batched = [], 0
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def report(self) -> None:
        """Call `drained` if what is buffered was above its mark and is not any more."""
        if self._above and not self._stopped:
            if self.batched + self.held() <= LOW_MARK:
                self._above = False
                if self.drained is not None:
                    self.drained()
            elif len(self._transports) > 1 and self._look is None:
                # TLS tells about its own buffer only, not about the one of TCP below.
                self._look = self._loop.call_later(_LOOK_AGAIN, self._look_again)

    def _look_again(self) -> None:
        self._look = None
        self.report()

    def _add(self, kind: int, payload: bytes) -> None:
        """Have a frame written: now if it is alone or large, else with its neighbours."""
        if self._stopped:
            return
        if self.lone or len(payload) >= _WRITE_ALONE:
            self.lone = False
            self.flush()
            self._transport.write(_frames(((kind, payload),)))
            if self.held() > LOW_MARK:
                self._above = True
                self._schedule()
        else:
            self._schedule()
            self._batch.append((kind, payload))
            self.batched += len(payload) + (6 if len(payload) < 126 else 8)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._scheduled = False
        if self._stopped:
            return
        if self.batched + self.held() > LOW_MARK:
            self._above = True
        self.flush()
        self.held()
        if self._above:
            self.report()


def _frames(messages: Sequence[tuple[int, bytes]]) -> bytes:
    """Final frames, each masked with a key of its own (RFC 6455 sections 5.2 and 5.3)."""
    parts: list[bytes] = []
    keys, at = os.urandom(4 * len(messages)), 0
    for kind, payload in messages:
        if kind == _MADE:
            parts.append(payload)
            continue
        size = len(payload)
        key = keys[at : at + 4]
        at += 4
        if size < 126:
            header = _SHORT[kind][size]
        elif size < 65536:
            header = _header_16(0x80 | kind, 0xFE, size)
        else:
            header = _header_64(0x80 | kind, 0xFF, size)
        parts += (header, key, apply_mask(payload, key))
    return b"".join(parts)
