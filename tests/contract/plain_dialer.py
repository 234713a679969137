"""A dialer of WebSockets with no care for speed: each rule has a method of its own, so that a wrong dialer can break
it alone.

It is here to show what each test of the contract catches. The dialers that people use are libws-websockets and
libws-picows.
"""

from __future__ import annotations

import asyncio
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from libws_core import ConnectionClosed, Headers, Kind, LibwsError, Message, MessageTooBig, ProtocolError
from libws_core.closing import fitting

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
LINGER = 1.0


class Wire(asyncio.Protocol):
    """The socket: what came of it and was not taken yet."""

    transport: Any

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.buffer = bytearray()
        self.received = self.loop.time()
        self.lost = False
        self.lost_by: Exception | None = None
        self.changed: Callable[[], object] = lambda: None
        self.drained: Callable[[], object] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.transport.set_write_buffer_limits(high=64 * 1024, low=16 * 1024)

    def data_received(self, data: bytes) -> None:
        self.received = self.loop.time()
        self.buffer += data
        self.changed()

    def eof_received(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost, self.lost_by = True, exc
        self.changed()

    def resume_writing(self) -> None:
        if self.drained is not None:
            self.drained()


@dataclass
class Incoming:
    """A message whose fragments are coming."""

    kind: int = 0
    compressed: bool = False
    parts: list[bytes] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


class PlainConnection:
    """A live connection, see `libws_core.types.Connection`."""

    def __init__(self, wire: Wire, dialer: Any, headers: Headers, subprotocol: str | None, deflated: bool) -> None:
        self.wire, self.dialer, self.headers, self.subprotocol = wire, dialer, headers, subprotocol
        self.deflated = deflated
        self.loop = wire.loop
        self.last_data = wire.received
        self.sink: Callable[[Message], object] | None = None
        self.deliver: Callable[[Message], object] = lambda message: None
        self.ended: Callable[[LibwsError], object] | None = None
        self.flowing = self.aborted = self.closing = self.discarding = False
        self.initiator: Any = None
        self.error: LibwsError | None = None
        self.incoming: Incoming | None = None
        wire.changed = self.changed
        self.wait()

    # What the core calls

    @property
    def buffered(self) -> int:
        return 0 if self.wire.lost else int(self.wire.transport.get_write_buffer_size())

    @property
    def received(self) -> float:
        return self.wire.received

    @property
    def drained(self) -> Any:
        return self.wire.drained

    @drained.setter
    def drained(self, call: Any) -> None:
        self.wire.drained = call

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        self.deliver, self.ended = deliver, ended
        if self.sink is None:
            self.sink = deliver
        self.resume()

    def write(self, message: Message) -> None:
        if not self.closing and not self.wire.lost:
            self.put(message.kind, message.data.encode() if isinstance(message.data, str) else bytes(message.data))

    def pause(self) -> None:
        if not self.discarding:
            self.flowing = False
            self.wait()

    def resume(self) -> None:
        self.flowing = True
        self.loop.call_soon(self.go_on)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if not self.closing and not self.wire.lost:
            self.initiator = "local"
            self.put_close(code, reason)

    def abort(self) -> None:
        if self.aborted:
            return
        self.aborted = self.closing = True
        self.discard()
        self.wire.transport.abort()
        if self.wire.lost:
            self.loop.call_soon(self.finish)

    # Reading

    def wait(self) -> None:
        """Read no more for now."""
        self.wire.transport.pause_reading()

    def changed(self) -> None:
        """Bytes came, or the socket is lost."""
        if self.discarding:
            self.wire.buffer.clear()
            if self.wire.lost:
                self.finish()
        elif self.flowing:
            self.go_on()

    def go_on(self) -> None:
        """Deliver what is there, until paused."""
        if self.discarding:
            return
        self.deliver_frames()
        if self.flowing and not self.discarding:
            if self.wire.lost:
                self.finish()
            else:
                self.wire.transport.resume_reading()

    def deliver_frames(self) -> None:
        try:
            while self.flowing and not self.discarding and (frame := self.next_frame()) is not None:
                self.take(*frame)
        except ConnectionClosed as error:
            self.fail(error)

    def next_frame(self) -> tuple[int, bytes] | None:
        """The first byte and the payload of the next frame; None if it is not complete."""
        buffer = self.wire.buffer
        if len(buffer) < 2:
            return None
        first, masked, small = buffer[0], buffer[1] > 127, buffer[1] & 0x7F
        self.check_mask(masked)
        self.check_opcode(first & 15)
        self.check_reserved(first, self.deflated)
        self.check_control(first, small)
        size = {126: 4, 127: 10}.get(small, 2)
        if len(buffer) < size:
            return None
        length = int.from_bytes(buffer[2:size], "big") if size > 2 else small
        self.check_length(length, size - 2)
        if not first & 8:
            self.check_room(length)
        key = bytes(buffer[size : size + 4]) if masked else b""
        begin = size + len(key)
        if len(buffer) < begin + length:
            return None
        payload = bytes(buffer[begin : begin + length])
        del buffer[: begin + length]
        return first, mask(payload, key) if key else payload

    def check_mask(self, masked: bool) -> None:
        if masked:
            raise ProtocolError("a masked frame")

    def check_opcode(self, opcode: int) -> None:
        if opcode not in (CONT, TEXT, BINARY, CLOSE, PING, PONG):
            raise ProtocolError("an unknown opcode")

    def check_reserved(self, first: int, deflated: bool) -> None:
        if first & 0x70 and not (deflated and first & 0x70 == 0x40 and first & 15 in (TEXT, BINARY)):
            raise ProtocolError("a reserved bit")

    def check_control(self, first: int, small: int) -> None:
        if first & 8 and (small > 125 or first < 128):
            raise ProtocolError("a control frame that is long or in fragments")

    def check_length(self, length: int, form: int) -> None:
        if (form == 2 and length < 126) or (form == 8 and (length < 65536 or length >> 63)):
            raise ProtocolError("a length in another form than the shortest")

    def check_room(self, length: int) -> None:
        limit = self.dialer.max_size
        if limit is not None and length + (self.incoming.size if self.incoming else 0) > limit:
            raise MessageTooBig("a message that is too big")

    def check_order(self, opcode: int) -> None:
        if (opcode == CONT) is (self.incoming is None):
            raise ProtocolError("fragments out of order")

    def check_fragments(self, number: int) -> None:
        if number > self.dialer.max_fragments:
            raise MessageTooBig("a message in too many fragments")

    def take(self, first: int, payload: bytes) -> None:
        """Take a frame."""
        opcode = first & 15
        if opcode == CLOSE:
            self.take_close(payload)
        elif opcode in (PING, PONG):
            self.take_control(Message(Kind(opcode), payload))
        else:
            self.check_order(opcode)
            if self.incoming is None:
                self.incoming = Incoming(opcode, bool(first & 0x40))
            self.incoming.parts.append(payload)
            self.check_fragments(len(self.incoming.parts))
            if first > 127:
                whole, self.incoming = self.incoming, None
                self.take_data(whole)

    def take_control(self, message: Message) -> None:
        self.deliver(message)

    def take_data(self, whole: Incoming) -> None:
        data = b"".join(whole.parts)
        if whole.compressed:
            data = self.inflate(data)
        self.last_data = self.wire.received
        self.push(Message(Kind.TEXT, self.text(data, whole)) if whole.kind == TEXT else Message(Kind.BINARY, data))

    def push(self, message: Message) -> None:
        assert self.sink is not None
        self.sink(message)

    def text(self, data: bytes, whole: Incoming) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ProtocolError("text that is not UTF-8", code=1007) from None

    def inflate(self, data: bytes) -> bytes:
        limit = self.dialer.max_size
        try:
            out = zlib.decompressobj(wbits=-15).decompress(data + b"\0\0\xff\xff", 0 if limit is None else limit + 1)
        except zlib.error:
            raise ProtocolError("a message that does not inflate") from None
        if limit is not None and len(out) > limit:
            raise MessageTooBig("a message that is too big when it is inflated")
        return out

    # Writing

    def put(self, opcode: int, payload: bytes) -> None:
        key = self.key()
        self.wire.transport.write(bytes([0x80 | opcode]) + self.length(len(payload)) + key + mask(payload, key))

    def key(self) -> bytes:
        return os.urandom(4)

    def length(self, length: int) -> bytes:
        if length < 126:
            return bytes([0x80 | length])
        return b"\xfe" + length.to_bytes(2, "big") if length < 65536 else b"\xff" + length.to_bytes(8, "big")

    def put_close(self, code: int, reason: str) -> None:
        self.put(CLOSE, b"" if code == 1005 else code.to_bytes(2, "big") + fitting(reason).encode())
        self.closing = True

    # Ending

    def take_close(self, payload: bytes) -> None:
        self.check_close(payload)
        message = Message(Kind.CLOSE, payload)
        code = message.code or 1005
        self.initiator = self.initiator or "remote"
        self.error = ConnectionClosed(f"closed with {code}", code=code, reason=message.reason, initiator=self.initiator)
        self.deliver(message)
        if not self.closing:
            self.answer_close(code, message.reason)
        self.linger()

    def answer_close(self, code: int, reason: str) -> None:
        self.put_close(code, reason)

    def check_close(self, payload: bytes) -> None:
        code = int.from_bytes(payload[:2], "big")
        if payload and (len(payload) == 1 or not self.is_close_code(code)):
            raise ProtocolError("an invalid close frame")
        try:
            payload[2:].decode()
        except UnicodeDecodeError:
            raise ProtocolError("a close reason that is not UTF-8", code=1007) from None

    def is_close_code(self, code: int) -> bool:
        return (1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999

    def fail(self, error: ConnectionClosed) -> None:
        self.error = error
        if not self.closing:
            self.put_close(error.code, "")
        self.linger()

    def linger(self) -> None:
        """Let the server close TCP first."""
        self.discard()
        if self.wire.lost:
            self.loop.call_soon(self.finish)
        else:
            self.wire.transport.resume_reading()
            self.loop.call_later(LINGER, self.wire.transport.abort)

    def discard(self) -> None:
        self.discarding = True
        self.wire.buffer.clear()

    def finish(self) -> None:
        self.discarding = self.closing = True
        ended, self.ended = self.ended, None
        if ended is not None:
            ended(self.error or self.broken())

    def broken(self) -> ConnectionClosed:
        """The end without a close frame."""
        initiator: Any = self.initiator or ("local" if self.aborted else "network")
        return ConnectionClosed("the connection was lost", initiator=initiator)


def mask(data: bytes, key: bytes) -> bytes:
    """RFC 6455 section 5.3."""
    long = int.from_bytes((key * (len(data) // 4 + 1))[: len(data)], "big")
    return (int.from_bytes(data, "big") ^ long).to_bytes(len(data), "big")
