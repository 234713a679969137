"""One open WebSocket, over a transport that the handshake has left to it.

Reading is `FrameReader`'s. What picows has read cannot be given back to it: messages behind a `pause` wait in
`_waiting`, one read's worth of them at most.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from libws_core.errors import ConnectionClosed
from libws_core.headers import Headers
from libws_core.types import Kind, Message
from libws_websockets.base import BaseConnection

from .frames import FrameReader

if TYPE_CHECKING:
    from websockets.client import ClientProtocol


class PicowsConnection(BaseConnection):
    """A live connection whose frames are read with picows.

    Args:
        pending: bytes that came behind the server's 101.
    """

    __slots__ = ("_pending", "_reader", "_sink", "_waiting")

    def __init__(
        self,
        protocol: ClientProtocol,
        transports: Sequence[asyncio.Transport],
        *,
        name: str,
        headers: Headers,
        pending: bytes,
        lost: bool,
        max_size: int | None,
        max_fragments: int,
        read_buffer: int,
    ) -> None:
        super().__init__(protocol, transports, name=name, headers=headers, lost=lost)
        self._reader = FrameReader(
            name, max_size=max_size, max_fragments=max_fragments, read_buffer=read_buffer, take=self._take
        )
        self._pending = memoryview(pending)  # not yet given to the reader
        self._waiting: deque[Message | ConnectionClosed] = deque()  # read and not yet delivered
        self._reader.deliver = self._waiting.append

    @property
    def sink(self) -> Callable[[Message], object]:
        """Takes texts and binaries in place of what `start` was given; may be set at any time."""
        return self._sink

    @sink.setter
    def sink(self, sink: Callable[[Message], object]) -> None:
        self._sink = sink
        if self._flowing:
            self._reader.deliver = sink

    def pause(self) -> None:
        """Deliver nothing more until `resume`. Once the close frames are exchanged it does nothing."""
        super().pause()
        if not self._discarding:
            self._reader.deliver = self._waiting.append

    # What the transport calls.

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next read goes."""
        return self._reader.get_buffer()

    def buffer_updated(self, nbytes: int) -> None:
        """Take what was read."""
        self.received = self._time()
        if not self._discarding:
            self._writer.lone = self._flowing
            self._feed(nbytes)

    # Receiving.

    def _continue(self) -> None:
        while self._delivering and (self._waiting or self._pending):
            if self._waiting:
                self._handle(self._waiting.popleft())
            else:
                self._read_pending()
        if not self._delivering:
            return
        if self._lost:
            self._finish()
        elif not self._flowing:
            self._flowing = True
            self._reader.deliver = self._sink
            self._transport.resume_reading()

    def _undelivered(self) -> bool:
        return bool(self._waiting or self._pending)

    def _forget(self) -> None:
        self._waiting.clear()
        self._pending = memoryview(b"")
        self._reader.stop()

    def _read_pending(self) -> None:
        """Give the reader bytes that came with the handshake, a buffer's worth."""
        view = self._reader.get_buffer()
        size = min(len(view), len(self._pending))
        view[:size] = self._pending[:size]
        self._pending = self._pending[size:]
        self._feed(size)

    def _feed(self, size: int) -> None:
        reader = self._reader
        reader.feed(size)
        if reader.saw_data:
            reader.saw_data = False
            self.last_data = self.received

    def _take(self, what: Message | ConnectionClosed) -> None:
        """Take what the reader has to tell beside data."""
        if self._flowing:
            self._handle(what)
        elif not self._discarding:
            self._waiting.append(what)

    def _handle(self, what: Message | ConnectionClosed) -> None:
        if isinstance(what, ConnectionClosed):
            self._fail(what)
        elif what.kind < Kind.CLOSE:
            self._sink(what)
        elif what.kind is Kind.CLOSE:
            self._receive_close(what.data)
        else:
            self._deliver(what)

    def _finish(self) -> None:
        super()._finish()
        self._reader.release()
