"""From the user to the wire: each step makes of a message another one. What it cannot pack is a SendError of that send.

Such an error is FATAL: where the send was a step of `establish`, another attempt would send the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from libws_core import Kind, Message, SendError, Verdict

from .decoding import GZIP, RECORD, ZLIB

__all__ = ["Pack", "encoder"]

TEXT, BINARY = Kind.TEXT, Kind.BINARY

Pack = Callable[[Message], Message]


def encoder(names: Sequence[str], level: int, line_end: str) -> Pack:
    """All steps of one connection, as one."""
    makers: dict[str, Callable[[], Pack]] = {
        "json": lambda: _check_json,
        "lines": lambda: _end("lines", line_end, "\n"),
        "records": lambda: _end("records", RECORD, RECORD),
        "gzip": lambda: _deflate_each(level, GZIP),
        "zlib": lambda: _deflate_each(level, ZLIB),
        "zlib-stream": lambda: _deflate_stream(level),
    }
    steps = [makers[name]() for name in names]
    if len(steps) == 1:
        return steps[0]

    def pack(message: Message) -> Message:
        for step in steps:
            message = step(message)
        return message

    return pack


def _check_json(message: Message) -> Message:
    """Let JSON pass, binary JSON as text."""
    try:
        text = message if message.kind is TEXT else Message(TEXT, str(message.data, "utf-8"))
        text.json  # noqa: B018 - it raises, or not
    except ValueError as error:  # UnicodeDecodeError is one, and would tell the data
        said = "it is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise _refused(message, "json", said) from None
    return text


def _end(step: str, end: str, mark: str) -> Pack:
    """Put the end behind a message that does not have it. One in the middle would make two of one: it is refused."""

    def pack(message: Message) -> Message:
        if message.kind is TEXT:
            text: str = message.data.removesuffix(end)
            if mark in text:
                raise refused(message)
            return Message(TEXT, text + end)
        data = bytes(message.data).removesuffix(end.encode())
        if mark.encode() in data:
            raise refused(message)
        return Message(BINARY, data + end.encode())

    def refused(message: Message) -> SendError:
        return _refused(message, step, f"it holds {mark!r}, which ends a message; send one for each")

    return pack


def _deflate_each(level: int, wbits: int) -> Pack:
    def pack(message: Message) -> Message:
        return Message(BINARY, zlib.compress(_bytes(message), level, wbits))

    return pack


def _deflate_stream(level: int) -> Pack:
    """All messages of the connection are one zlib stream, which a flush behind each makes readable up to there."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, ZLIB)

    def pack(message: Message) -> Message:
        data = _bytes(message)
        if not data:
            raise _refused(message, "zlib-stream", "an empty message has no place in a stream")
        return Message(BINARY, deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH))

    return pack


def _bytes(message: Message) -> bytes:
    return message.data.encode() if message.kind is TEXT else bytes(message.data)


def _refused(message: Message, step: str, why: str) -> SendError:
    error = SendError(
        f"{message!r} cannot be encoded as {step}, see option 'encode' of codec: {why}", verdict=Verdict.FATAL
    )
    error.fault = "local"
    return error
