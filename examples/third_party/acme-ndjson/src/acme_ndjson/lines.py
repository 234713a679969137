"""The lines of the protocol: a message, or the transport's own word, which begins with a colon as no JSON does.

{"any": "JSON text"}
:ping 00ff            the payload in hexadecimal
:pong 00ff
:close 1000 "bye"     a code as RFC 6455 section 7.4 has them, and a reason as a JSON string
"""

from __future__ import annotations

import json

from libws_core import Kind, Message

__all__ = ["BadLine", "read", "write"]

MARK = ":"
REASON = 123
"""Bytes of a reason, as in a close frame of RFC 6455."""


class BadLine(ValueError):
    """A line that the protocol does not have. The text does not quote it."""


def read(line: bytes) -> Message:
    """The message of a line, which stands here without its end.

    Raises:
        BadLine: it begins with a colon and is none of the transport's words.
        UnicodeDecodeError: it is not UTF-8.
    """
    text = line.decode()
    if not text.startswith(MARK):
        return Message.text(text)
    word, _, rest = text[1:].partition(" ")
    try:
        if word == "ping":
            return Message.ping(bytes.fromhex(rest))
        if word == "pong":
            return Message.pong(bytes.fromhex(rest))
        if word == "close":
            code, _, reason = rest.partition(" ")
            said = json.loads(reason) if reason else ""
            if not isinstance(said, str) or not 1000 <= int(code) <= 4999:
                raise ValueError
            return Message.close(int(code), _fitting(said))
    except ValueError:
        raise BadLine(f"a :{word} that cannot be read") from None
    raise BadLine("a word that begins with a colon and is not known")


def write(message: Message) -> bytes:
    """The line of a message, with its end.

    Raises:
        ValueError: no line can hold it.
    """
    data = message.data
    if message.kind is Kind.CLOSE:
        reason = json.dumps(_fitting(message.reason), ensure_ascii=False)
        return f":close {message.code or 1000} {reason}\n".encode()
    if message.kind is Kind.TEXT:
        assert isinstance(data, str)
        if "\n" in data:
            raise ValueError("a message of ndjson is one line; this one has a line end in it")
        if data.startswith(MARK):
            raise ValueError("a message of ndjson cannot begin with a colon")
        return f"{data}\n".encode()
    assert isinstance(data, bytes)
    if message.kind is Kind.BINARY:
        raise ValueError("ndjson carries text only, no binary messages")
    word = "ping" if message.kind is Kind.PING else "pong"
    return f":{word} {data.hex()}\n".encode()


def _fitting(reason: str) -> str:
    return reason.encode()[:REASON].decode(errors="ignore")
