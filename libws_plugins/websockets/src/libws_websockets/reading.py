"""Where bytes are read to: one buffer for all connections of a loop, and an own one only for a frame too large for it.

A read and the cutting of what it brought are one step of the loop, so the shared buffer is free again afterwards; what
is left of an incomplete frame is kept as bytes. An idle connection so costs no buffer.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary

READ_SIZE = 256 * 1024
"""Bytes that one read may take."""

_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, bytearray] = WeakKeyDictionary()


class ReadBuffer:
    """The bytes of one connection that are not cut yet.

    `data` and `view` are the buffer, `end` is how much of it counts; they hold from `load` to `keep`.

    Args:
        pending: bytes that are there already.
    """

    __slots__ = ("_needed", "_owned", "_rest", "_shared", "data", "end", "view")

    def __init__(self, loop: asyncio.AbstractEventLoop, pending: bytes) -> None:
        shared = _shared.get(loop)
        if shared is None:
            shared = _shared[loop] = bytearray(READ_SIZE)
        self._shared = self.data = shared
        self.view = memoryview(shared)
        self.end = len(pending)
        self._owned = False
        self._needed = 0
        self._rest = b""
        if len(pending) > READ_SIZE // 2:
            self._own(len(pending), memoryview(pending))
        else:
            self._rest = pending

    def load(self) -> None:
        """Bring what was kept into the buffer."""
        if not self._owned:
            self.view[: self.end] = self._rest

    def space(self) -> memoryview:
        """Where the next read goes, behind what was kept."""
        self.load()
        size = len(self.data)
        if self.end == size:
            # Grows with what really came: a header that promises gigabytes does not cost them.
            self._own(min(max(self._needed, size + READ_SIZE), size * 4), self.view[: self.end])
        return self.view[self.end :]

    def keep(self, position: int, end: int, needed: int) -> None:
        """All before `position` is cut; a frame of `needed` bytes stands there incomplete, 0 if that is not known."""
        left = self.view[position:end]
        self._needed = needed
        if not self._owned and (len(left) > READ_SIZE // 2 or needed > READ_SIZE):
            self._own(min(max(needed, len(left) + READ_SIZE), READ_SIZE * 4), left)
        elif self._owned and left:
            self.view[: len(left)] = left
            self.end = len(left)
        else:
            self.clear()
            self._rest = bytes(left)
            self.end = len(left)

    def clear(self) -> None:
        """Nothing is left; the own buffer goes."""
        if self._owned:
            self.data, self.view, self._owned = self._shared, memoryview(self._shared), False
        self._rest, self.end = b"", 0

    def _own(self, size: int, content: memoryview) -> None:
        data = bytearray(size)
        view = memoryview(data)
        view[: len(content)] = content
        self.data, self.view, self.end, self._owned = data, view, len(content), True
        self._rest = b""
