"""From the wire to the user: each step makes of a message another one, several, or none because more must come.

What a server does wrong is a ProtocolError with the code 1007, "not consistent with the type of the message", or a
MessageTooBig with 1009 (RFC 6455 section 7.4.1). Texts of errors tell kinds and sizes, never what a message holds.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from libws_core import Kind, Message, MessageTooBig, ProtocolError

__all__ = ["Several", "Step", "decoder"]

TEXT, BINARY = Kind.TEXT, Kind.BINARY
ZLIB, GZIP = zlib.MAX_WBITS, zlib.MAX_WBITS + 16
"""`wbits` of a zlib stream (RFC 1950) and of a gzip file (RFC 1952)."""
FLUSHED = b"\x00\x00\xff\xff"
"""A flush ends so: an empty stored block of deflate (RFC 1951 section 3.2.4). By it Discord marks the end of a payload,
https://discord.com/developers/docs/events/gateway#transport-compression, and Python's Z_SYNC_FLUSH makes it."""
RECORD = "\x1e"
"""Ends each record of SignalR: https://github.com/dotnet/aspnetcore/blob/main/src/SignalR/docs/specs/HubProtocol.md."""
MEMBERS = 64
"""Members that a gzip file may have (RFC 1952 section 2.2); each costs time, whatever its size."""

Several: TypeAlias = "list[Message] | None"
Step = Callable[[Message], "Message | Several"]


def decoder(names: Sequence[str], max_size: int, max_parts: int) -> Step:
    """All steps of one connection, as one.

    Args:
        max_size: bytes that may be made of a message, and kept for one that is not complete.
        max_parts: messages that may be made of one.
    """
    makers: dict[str, Callable[[], Step]] = {
        "gzip": lambda: _inflate_each("gzip", GZIP, max_size),
        "zlib": lambda: _inflate_each("zlib", ZLIB, max_size),
        "zlib-stream": lambda: _inflate_stream(max_size),
        "text": lambda: _to_text,
        "lines": lambda: _split_lines(max_parts),
        "records": lambda: _split_records(max_size, max_parts),
        "json": lambda: _to_json,
    }
    steps = [makers[name]() for name in names]
    whole = steps.pop()
    while steps:
        whole = _chain(steps.pop(), whole)
    return whole


def _chain(step: Step, following: Step) -> Step:
    def both(message: Message) -> Message | Several:
        result = step(message)
        if isinstance(result, Message):
            return following(result)
        if result is None:
            return None
        several: list[Message] = []
        for each in result:
            made = following(each)
            if isinstance(made, Message):
                several.append(made)
            elif made is not None:
                several += made
        return several

    return both


def _inflate_each(name: str, wbits: int, max_size: int) -> Step:
    """Each binary for itself; a text is not compressed, as a server may choose.

    HTX packs each message as a gzip file (https://huobiapi.github.io/docs/spot/v1/en/), Discord some as a zlib stream
    (https://discord.com/developers/docs/events/gateway#payload-compression).
    """

    def inflate(message: Message) -> Message:
        if message.kind is not BINARY:
            return message
        inflater = zlib.decompressobj(wbits)
        try:
            data = inflater.decompress(message.data, max_size + 1)
            if inflater.unused_data and wbits == GZIP:
                data, inflater = _next_members(data, inflater, max_size, message)
        except zlib.error as error:
            raise _broken(message, f"no {name}: {_said(error)}") from None
        if len(data) > max_size:
            raise _too_big(message, max_size)
        if not inflater.eof:
            raise _broken(message, f"{name} that breaks off")
        if inflater.unused_data:
            raise _broken(message, f"{name} with {len(inflater.unused_data)} bytes behind its end")
        return Message(BINARY, data)

    return inflate


def _next_members(
    data: bytes, inflater: zlib._Decompress, max_size: int, message: Message
) -> tuple[bytes, zlib._Decompress]:
    """A gzip file is a series of members, and its content theirs, one behind the other (RFC 1952 section 2.2)."""
    parts, size = [data], len(data)
    while inflater.eof and inflater.unused_data and size <= max_size:
        if len(parts) >= MEMBERS:
            raise _broken(message, f"gzip of more than {MEMBERS} members")
        rest, inflater = inflater.unused_data, zlib.decompressobj(GZIP)
        parts.append(inflater.decompress(rest, max_size - size + 1))
        size += len(parts[-1])
    return b"".join(parts), inflater


def _inflate_stream(max_size: int) -> Step:
    """All binaries of the connection are one zlib stream; a message is complete when what arrived ends in a flush."""
    inflater = zlib.decompressobj(ZLIB)
    begun = bytearray()
    tail = b""

    def inflate(message: Message) -> Message | None:
        nonlocal tail
        if message.kind is not BINARY:
            return message
        data = bytes(message.data)
        if inflater.eof:
            raise _broken(message, "behind the end of the connection's zlib stream")
        room = max_size - len(begun)
        try:
            piece = inflater.decompress(data, room + 1)
        except zlib.error as error:
            raise _broken(message, f"no zlib stream: {_said(error)}") from None
        if len(piece) > room:
            raise _too_big(message, max_size)
        if inflater.unused_data:
            raise _broken(message, f"a zlib stream with {len(inflater.unused_data)} bytes behind its end")
        tail = data[-4:] if len(data) >= 4 else (tail + data)[-4:]
        if tail != FLUSHED and not inflater.eof:
            begun.extend(piece)
            return None
        tail = b""
        if begun:
            piece = bytes(begun) + piece
            begun.clear()
        return Message(BINARY, piece)

    return inflate


def _to_text(message: Message) -> Message:
    """A binary is text in UTF-8."""
    if message.kind is TEXT:
        return message
    try:
        return Message(TEXT, str(message.data, "utf-8"))
    except UnicodeDecodeError as error:
        raise _broken(message, f"no UTF-8 at byte {error.start}") from None


def _to_json(message: Message) -> Message:
    """JSON text is UTF-8 (RFC 8259 section 8.1). It is parsed once: `Message.json` keeps it for who asks."""
    text = _to_text(message)
    try:
        text.json  # noqa: B018 - what it gives is kept, or it raises
    except ValueError as error:
        raise _broken(message, str(error).removeprefix("the message is ").removeprefix("not JSON: ")) from None
    return text


def _split_lines(max_parts: int) -> Step:
    """Each line is a message, empty ones are none; the end of the message also ends a line.

    Twitch sends lines of IRC (https://dev.twitch.tv/docs/chat/irc/), which CR LF ends (RFC 1459 section 2.3);
    Centrifugo objects of JSON, which LF ends (https://centrifugal.dev/docs/transports/client_protocol).
    """

    def split(message: Message) -> Message | Several:
        kind, data = message.kind, message.data
        feed, back = ("\n", "\r") if kind is TEXT else (b"\n", b"\r")
        count = data.count(feed)
        if count == 0:
            return message if data else None
        if count > max_parts:
            raise _too_many(message, max_parts)
        *lines, rest = data.split(feed)
        several = [Message(kind, line.removesuffix(back)) for line in lines if line and line != back]
        if rest:
            several.append(Message(kind, rest))
        return several

    return split


def _split_records(max_size: int, max_parts: int) -> Step:
    """Each record is a message, without the separator that ends it; an unfinished one waits for its rest."""
    begun = bytearray()
    begun_as: Kind | None = None

    def split(message: Message) -> Message | Several:
        nonlocal begun_as
        kind, data = message.kind, message.data
        separator = RECORD if kind is TEXT else RECORD.encode()
        count = data.count(separator)
        if begun_as is None and count == 1 and data.endswith(separator):
            return Message(kind, data[:-1]) if len(data) > 1 else None
        if begun_as is not None and begun_as is not kind:
            raise _broken(message, f"in the middle of a record that began as {begun_as.name.lower()}")
        if count > max_parts:
            raise _too_many(message, max_parts)
        *records, rest = data.split(separator)
        if begun_as is not None and records:
            keep(message, records[0])
            records[0] = begun.decode() if kind is TEXT else bytes(begun)
            begun.clear()
            begun_as = None
        if rest:
            keep(message, rest)
            begun_as = kind
        return [Message(kind, record) for record in records if record]

    def keep(message: Message, piece: str | bytes) -> None:
        more = piece.encode() if isinstance(piece, str) else piece
        if len(begun) + len(more) > max_size:
            raise _too_big(message, max_size)
        begun.extend(more)

    return split


def _said(error: zlib.error) -> str:
    """What zlib says, without its own number: "Error -3 while decompressing data: incorrect header check"."""
    return str(error).rpartition(": ")[2]


def _broken(message: Message, what: str) -> ProtocolError:
    return ProtocolError(
        f"the server sent what it should not, see option 'decode' of codec: {message!r} is {what}", code=1007
    )


def _too_big(message: Message, max_size: int) -> MessageTooBig:
    return MessageTooBig(f"with {message!r} a message has more than {max_size} bytes, see option 'max_size' of codec")


def _too_many(message: Message, max_parts: int) -> MessageTooBig:
    return MessageTooBig(f"{message!r} holds more than {max_parts} messages, see option 'max_parts' of codec")
