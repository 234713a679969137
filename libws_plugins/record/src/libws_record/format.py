"""The file that `record` writes and `replay` reads: one JSON object a line. The README tells what each line means.

A reader takes the versions that it knows and passes over fields that it does not know, so that within a version fields
may be added. Times are seconds of the loop's clock, rounded to the microsecond.
"""

from __future__ import annotations

import base64 as _base64
from typing import Literal

import msgspec

from libws_core import Kind, Message

__all__ = [
    "BEGINNING",
    "FORMAT",
    "VERSION",
    "Connection",
    "End",
    "Failed",
    "Line",
    "Note",
    "Pairs",
    "Run",
    "Said",
    "WhatFailed",
    "bytes_of",
    "decode",
    "encode",
    "line_of",
    "message_of",
    "written",
]

FORMAT = "libws-recording"
VERSION = 1
BEGINNING = b'{"type":"run","format":"libws-recording"'
"""How every recording begins."""

Pairs = tuple[tuple[str, str], ...]
"""Headers, in order."""
Why = Literal["open", "reconnect", "move"]


class Run(msgspec.Struct, tag_field="type", tag="run", kw_only=True):
    """The head of what one client recorded; a file may hold several, one behind the other."""

    format: str
    version: int
    libws: str
    """The version of libws-core."""
    wall: float
    """When it began, seconds since the epoch."""
    time: str
    """The same for people, UTC."""
    redacted: bool
    """Secrets were taken out."""


class WhatFailed(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An error of libws, as it was before any plugin adapted it."""

    error: str
    """Its class, or the nearest one of `libws_core.errors` above it."""
    text: str = ""
    verdict: Literal["retry", "refresh", "fatal"] = "retry"
    fault: Literal["local", "remote", "network"] = "network"
    initiator: Literal["local", "remote", "network"] = "network"
    phase: str | None = None
    code: int | None = None
    reason: str = ""
    status: int | None = None
    retry_after: float | None = None
    headers: Pairs = ()
    text_body: str | None = None
    base64_body: str | None = None


class Connection(msgspec.Struct, tag_field="type", tag="connection", omit_defaults=True, kw_only=True):
    """A connection is open."""

    connection: int
    """Its number in this run, which its other lines have too."""
    generation: int
    attempt: int
    why: Why
    at: float
    """Seconds since the run began."""
    wall: float
    dialing: float = 0.0
    """Seconds that `dial` took."""
    url: str
    headers: Pairs = ()
    """Of the request, as far as libws set them; the dialer adds those of the handshake."""
    subprotocols: tuple[str, ...] = ()
    """Those that were offered."""
    subprotocol: str | None = None
    """The one that the server chose."""
    answer: Pairs = ()
    """The headers of the server's answer."""


class Said(msgspec.Struct, tag_field="type", tag="message", omit_defaults=True, kw_only=True):
    """A message has crossed the wire: what was read, or was given to the dialer to be written."""

    connection: int
    t: float
    """Seconds since the connection was open."""
    way: Literal["in", "out"]
    kind: Literal["text", "binary", "ping", "pong", "close"]
    text: str | None = None
    """The data, or the bytes of a message that are readable as UTF-8."""
    base64: str | None = None
    """The bytes of a message that are not."""
    code: int | None = None
    """Of a close; 1005 = it had none (RFC 6455 section 7.1.5)."""
    reason: str = ""


class End(msgspec.Struct, tag_field="type", tag="end", omit_defaults=True, kw_only=True):
    """The connection is over."""

    connection: int
    t: float
    error: WhatFailed | None = None
    """Why; None if the client left it, such as the old connection of a move."""


class Failed(msgspec.Struct, tag_field="type", tag="failed", omit_defaults=True, kw_only=True):
    """An attempt failed before it had a connection."""

    generation: int
    attempt: int
    why: Why
    at: float
    wall: float
    dialing: float = 0.0
    """Seconds that its last phase took."""
    url: str
    headers: Pairs = ()
    subprotocols: tuple[str, ...] = ()
    error: WhatFailed


class Note(msgspec.Struct, tag_field="type", tag="note", omit_defaults=True, kw_only=True):
    """What a reader should know of the recording itself."""

    note: Literal["dropped", "limit", "closed"]
    """"dropped": messages are missing here; "limit": it ends here, since the file has its full size; "closed": the
    client has ended, and this is all."""
    at: float = 0.0
    count: int = 0
    text: str = ""


Line = Run | Connection | Said | End | Failed | Note

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)
_BREAKS = dict.fromkeys(map(ord, "\t\r\n"), " ")
_NAMES = {kind: kind.name.lower() for kind in Kind}
_KINDS = {name: kind for kind, name in _NAMES.items()}


def encode(line: Line) -> bytes:
    """A line as it stands in the file."""
    return _encoder.encode(line) + b"\n"


def decode(line: bytes) -> Line:
    """What a line says.

    Raises:
        ValueError: it is no JSON, or not one of these.
    """
    said: Line = _decoder.decode(line)
    return said


def written(data: str | bytes) -> tuple[str | None, str | None]:
    """Data as text, or as base64 if it is bytes that a reader could not read."""
    if isinstance(data, str):
        return data.encode("utf-8", "replace").decode(), None  # a lone surrogate, which no dialer can write either
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None, _base64.b64encode(data).decode()
    if text.translate(_BREAKS).isprintable():
        return text, None
    return None, _base64.b64encode(data).decode()


def bytes_of(text: str | None, base64: str | None) -> bytes:
    """The bytes that `written` has told.

    Raises:
        ValueError: it is not base64.
    """
    if base64 is not None:
        return _base64.b64decode(base64, validate=True)
    return (text or "").encode()


def line_of(connection: int, t: float, way: Literal["in", "out"], kind: Kind, data: str | bytes) -> Said:
    """The line of a message whose secrets are taken out."""
    name = _NAMES[kind]
    if kind is Kind.CLOSE:
        close = Message(kind, data)
        return Said(connection=connection, t=t, way=way, kind="close", code=close.code, reason=close.reason)
    text, base64 = written(data)
    return Said(connection=connection, t=t, way=way, kind=name, text=text, base64=base64)  # type: ignore[arg-type]


def message_of(said: Said) -> Message:
    """The message of a line.

    Raises:
        ValueError: no message is like this.
    """
    kind = _KINDS[said.kind]
    if kind is Kind.CLOSE:
        return Message.close(1005 if said.code is None else said.code, said.reason)
    if kind is Kind.TEXT:
        return Message(kind, said.text or "")
    return Message(kind, bytes_of(said.text, said.base64))
