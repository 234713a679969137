"""picows' frame parser, without its handshake and its way of writing.

`WSProtocol` reads frames, and writes what nobody may see: masks from an unseeded C `rand()`, and a close frame when it
refuses what came. So it never meets the socket. It gets a `Wire` for its transport, an answer to its handshake that is
made here, and the bytes behind the real one; what it then writes only tells that it has given up.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from typing import Any, NamedTuple

from picows import WSAutoPingStrategy, WSListener
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # its stub leaves it out

NO_LIMIT = 2**63 - 1
"""The largest length of a frame: its most significant bit must be 0 (RFC 6455 section 5.2)."""

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3

# picows logs requests at level 9, Authorization and query among them. This logger has no handlers and no parents.
_SILENT = logging.Logger("libws_picows", logging.CRITICAL + 1)


class Refusal(NamedTuple):
    """Why picows reads no further."""

    code: int
    """The close code that it would send."""
    text: str


class Wire:
    """What picows takes for its transport, and for that transport's socket."""

    def __init__(self) -> None:
        self.written = False
        """picows has written; behind the handshake it does so to refuse a frame, and never else."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """An `ssl_object` keeps picows from writing to the socket's file itself."""
        return {"socket": self, "ssl_object": self}.get(name, default)

    def write(self, data: bytes) -> None:
        self.written = True

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None: ...

    def fileno(self) -> int:
        return -1

    def setsockopt(self, *arguments: int) -> None: ...

    def getsockopt(self, *arguments: int) -> int:
        return 0


class Parser:
    """Cuts frames out of bytes and hands each to a listener; a new one stands behind the handshake.

    Args:
        max_frame: bytes of payload that a frame may announce.
        read_buffer: bytes to begin with; picows doubles its buffer for a frame that does not fit, and keeps it so.
    """

    def __init__(self, listener: WSListener, *, max_frame: int, read_buffer: int) -> None:
        wire = Wire()
        protocol = WSProtocol(
            "localhost",
            "/",
            True,  # we are the client
            lambda request, response: listener,
            _SILENT,
            True,  # a listener that raises is a refusal
            None,  # no time limit on the handshake
            False,  # no pings of its own
            1,
            1,
            WSAutoPingStrategy.PING_WHEN_IDLE,
            False,  # no pongs of its own
            max_frame,
            None,
            read_buffer,
        )
        protocol.connection_made(wire)
        key = protocol.transport.request.headers["Sec-WebSocket-Key"].encode()
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest())
        answer = (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        protocol.get_buffer(-1)[: len(answer)] = answer
        protocol.buffer_updated(len(answer))
        wire.written = False
        self.wire = wire
        self.get_buffer: Any = protocol.get_buffer
        """Where the next bytes go: a view of all that is free in picows' buffer."""
        self.buffer_updated: Any = protocol.buffer_updated
        """Take bytes that were put there, and call the listener."""
        self._protocol = protocol

    def close(self) -> None:
        """Give picows' buffer back. Nothing is read with it any more."""
        del self._protocol, self.get_buffer, self.buffer_updated

    def refusal(self) -> Refusal:
        """Why picows has given up."""
        sent = self._protocol.transport.close_handshake.sent
        return Refusal(int(sent.code), sent.reason)
