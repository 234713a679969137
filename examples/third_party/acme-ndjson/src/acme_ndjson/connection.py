"""One open connection: cuts what arrives into lines, and ends by an exchange of `:close`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, cast

from libws_core import ConnectionClosed, Headers, Kind, LibwsError, Message, MessageTooBig, ProtocolError

from . import lines

__all__ = ["NdjsonConnection"]

HIGH, LOW = 64 * 1024, 16 * 1024
"""Bytes in the write buffer: above the one it is full, below the other it is drained."""
Party = Literal["local", "remote", "network"]

LINGER = 1.0
"""Seconds that the server has to end TCP after both have said `:close`."""


def _drop(message: Message) -> None:
    """Take a message that nobody may see."""


class NdjsonConnection(asyncio.Protocol):
    """A live connection, a `libws_core.Connection`.

    What waits here is bounded by `max_size` and one read of the transport; while paused the socket is not read.

    Args:
        name: the URL, for texts.
        max_size: bytes of the longest line, None = no limit.
    """

    def __init__(self, name: str, max_size: int | None) -> None:
        self.subprotocol: str | None = None
        self.headers = Headers()
        self.drained: Callable[[], object] | None = None
        """Called when `buffered` has fallen."""
        self.sink: Callable[[Message], object] = _drop
        """Takes texts in place of `deliver`; the core may put another one here at any time."""
        self._loop = asyncio.get_running_loop()
        self.received = self.last_data = self._loop.time()
        self._name = name
        self._max_size = max_size
        self._transport: asyncio.Transport
        self._waiting = bytearray()
        self._searched = 0
        """Bytes of what waits that hold no line end."""
        self._deliver: Callable[[Message], object] = _drop
        self._ended: Callable[[LibwsError], object] | None = None
        self._started = False
        self._flowing = False
        """Started and not paused: lines are delivered as they come."""
        self._over = False
        """Past the server's close, an abort or an error: whatever still comes is dropped."""
        self._writable = True
        self._lost = False
        self._cause: Exception | None = None
        self._sent_close = False
        self._end: LibwsError | None = None
        """How it ended, as far as that is known before the socket is closed."""
        self._linger: asyncio.TimerHandle | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open. Nothing is read before `start`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's derive from nothing of asyncio's
        self._transport.set_write_buffer_limits(HIGH, LOW)
        self._transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Take what was read."""
        self.received = self._loop.time()
        if self._over:
            return
        self._waiting += data
        if self._flowing:
            self._cut()

    def resume_writing(self) -> None:
        """The write buffer has fallen below its low mark."""
        if self.drained is not None:
            self.drained()

    def eof_received(self) -> None:
        """The server has ended TCP: it will not read what we still hold."""
        if self._transport.get_write_buffer_size():
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed. What was read before is delivered first, after `resume` if need be."""
        self._lost, self._cause, self._writable = True, exc, False
        if self._linger is not None:
            self._linger.cancel()
        if self._over or self._flowing or (self._started and b"\n" not in self._waiting):
            self._finish()

    # What the core calls.

    @property
    def buffered(self) -> int:
        """Bytes written and not yet taken by the operating system."""
        return 0 if self._lost else self._transport.get_write_buffer_size()

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        """Begin to push."""
        if self._started:
            raise RuntimeError("this connection was started already")
        self._started = True
        self._deliver, self._ended = deliver, ended
        if self.sink is _drop:
            self.sink = deliver
        if self._over:
            self._loop.call_soon(self._finish)
        self.resume()

    def write(self, message: Message) -> None:
        """Write a message; after the close or the end it does nothing.

        Raises:
            ValueError: no line can hold it.
        """
        if self._writable:
            self._transport.write(lines.write(message))

    def pause(self) -> None:
        """Deliver nothing more and read nothing more, until `resume`."""
        self._flowing = False
        if not self._over and not self._lost:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Deliver again from the next turn of the loop on."""
        if self._started and not self._over and not self._flowing:
            self._flowing = True
            self._loop.call_soon(self._go_on)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say `:close`, unless it was said; the end comes when the server has said it too."""
        if self._writable:
            self._say_close(Message.close(code, reason))

    def abort(self) -> None:
        """Drop the socket at once."""
        if self._over and self._lost:
            return
        self._end = self._end or self._closed(1006, "", "local", "was dropped by us")
        self._writable = False
        self._discard()
        if self._lost:
            self._loop.call_soon(self._finish)
        else:
            self._transport.abort()

    # Reading.

    def _go_on(self) -> None:
        if not self._flowing:
            return
        self._cut()
        if not self._flowing:
            return
        if self._lost:
            self._finish()
        else:
            self._transport.resume_reading()

    def _cut(self) -> None:
        """Deliver every complete line, until paused."""
        waiting, begin = self._waiting, 0
        while self._flowing:
            end = waiting.find(b"\n", max(begin, self._searched))
            length = (end if end >= 0 else len(waiting)) - begin
            if self._max_size is not None and length > self._max_size:
                text = f"{self._name} sent a line of more than {self._max_size} bytes"
                self._fail(MessageTooBig(text))
                return
            if end < 0:
                break
            line, begin = bytes(waiting[begin:end]), end + 1
            self._take(line)
        if not self._over:
            del waiting[:begin]
            self._searched = len(waiting) if self._flowing else 0

    def _take(self, line: bytes) -> None:
        try:
            message = lines.read(line)
        except UnicodeDecodeError:
            self._fail(ProtocolError(f"{self._name} sent a line that is not UTF-8", code=1007))
        except lines.BadLine as error:
            self._fail(ProtocolError(f"{self._name} sent {error}"))
        else:
            if message.kind is Kind.TEXT:
                self.last_data = self.received
                self.sink(message)
            elif message.kind is Kind.CLOSE:
                self._take_close(message)
            else:
                self._deliver(message)

    # Ending.

    def _take_close(self, message: Message) -> None:
        """Deliver the server's close and answer it with its code."""
        initiator: Party = "local" if self._sent_close else "remote"
        code = message.code or 1005
        self._deliver(message)
        if self._over:
            return  # aborted meanwhile
        self._end = self._closed(code, message.reason, initiator, f"was closed with {code}")
        if not self._sent_close:
            self._say_close(message)
        self._wait_for_tcp()

    def _say_close(self, message: Message) -> None:
        self._transport.write(lines.write(message))
        self._sent_close, self._writable = True, False

    def _fail(self, error: ConnectionClosed) -> None:
        self._end = error
        if self._writable:
            self._say_close(Message.close(error.code))
        self._wait_for_tcp()

    def _wait_for_tcp(self) -> None:
        """Leave it to the server to end TCP, for a while, so that what we wrote last is not lost by a reset."""
        self._discard()
        if self._lost:
            self._loop.call_soon(self._finish)
            return
        self._linger = self._loop.call_later(LINGER, self._transport.abort)
        self._transport.resume_reading()

    def _discard(self) -> None:
        self._flowing, self._over = False, True
        self._waiting.clear()
        self.sink = _drop

    def _finish(self) -> None:
        """Tell once how it ended."""
        ended, self._ended = self._ended, None
        self._discard()
        self._deliver, self.drained = _drop, None
        if ended is not None:
            ended(self._end or self._broken())

    def _broken(self) -> LibwsError:
        if self._sent_close:
            return self._closed(1006, "", "local", "did not answer our close")
        why = f": {self._cause}" if self._cause is not None else ""
        error = self._closed(1006, "", "network", f"was lost without a close{why}")
        error.__cause__ = self._cause
        return error

    def _closed(self, code: int, reason: str, initiator: Party, how: str) -> ConnectionClosed:
        return ConnectionClosed(f"{self._name} {how}", code=code, reason=reason, initiator=initiator)
