"""The two ways in which a Jupyter message stands in one of WebSocket.

Both are described in https://jupyter-server.readthedocs.io/en/latest/developers/websocket-protocols.html.
"""

from __future__ import annotations

import itertools
import json
import struct
from collections.abc import Sequence
from typing import Any, TypedDict

import msgspec

from libws_core import Kind, Message, ProtocolError

from .profile import CHANNELS

__all__ = ["Received", "decode", "encode"]

PARTS = ("header", "parent_header", "metadata", "content")
MOST = 100_000
"""Parts that a message may have, buffers among them."""


class Received(TypedDict):
    """A message of a kernel."""

    channel: str
    header: dict[str, Any]
    parent_header: dict[str, Any]
    metadata: dict[str, Any]
    content: dict[str, Any]
    buffers: list[bytes]


def encode(message: Received, *, v1: bool) -> Message:
    """The message of WebSocket.

    Args:
        v1: as the subprotocol has it; else the legacy protocol.

    Raises:
        ValueError: it holds what JSON cannot.
    """
    try:
        if v1:
            return Message.binary(_to_v1(message))
        return _to_legacy(message)
    except (TypeError, RecursionError):
        raise ValueError("it holds what JSON cannot") from None


def decode(message: Message, *, v1: bool) -> Received:
    """Read what a server sent.

    Raises:
        ProtocolError: it is no message of Jupyter.
    """
    try:
        found = _from_v1(message) if v1 else _from_legacy(message)
        if all(type(found[part]) is dict for part in PARTS) and found["channel"] in CHANNELS:  # type: ignore[literal-required]
            return found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, struct.error):
        pass
    raise ProtocolError("the server sent what is no message of a Jupyter kernel")


def _to_v1(message: Received) -> bytes:
    parts = [message["channel"].encode(), *(msgspec.json.encode(message[part]) for part in PARTS)]  # type: ignore[literal-required]
    parts += message["buffers"]
    offsets = list(itertools.accumulate(map(len, parts), initial=8 * (len(parts) + 2)))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(parts)


def _from_v1(message: Message) -> Received:
    if message.kind is not Kind.BINARY:
        raise ValueError
    data = message.data
    (count,) = struct.unpack_from("<Q", data)
    if not 6 <= count <= MOST:  # channel and four parts have six ends
        raise ValueError
    channel, header, parent, metadata, content, *buffers = _cut(data, struct.unpack_from(f"<{count}Q", data, 8))
    return {
        "channel": channel.decode(),
        "header": _parse(header),
        "parent_header": _parse(parent),
        "metadata": _parse(metadata),
        "content": _parse(content),
        "buffers": buffers,
    }


def _to_legacy(message: Received) -> Message:
    buffers = message["buffers"]
    text = msgspec.json.encode({**message, "buffers": []})
    if not buffers:
        return Message.text(text.decode())
    parts = [text, *buffers]
    offsets = list(itertools.accumulate(map(len, parts[:-1]), initial=4 * (len(parts) + 1)))
    return Message.binary(struct.pack(f"!{len(offsets) + 1}I", len(offsets), *offsets) + b"".join(parts))


def _from_legacy(message: Message) -> Received:
    text, buffers = message.data, list[bytes]()
    if message.kind is Kind.BINARY:
        data = message.data
        (count,) = struct.unpack_from("!I", data)
        if not 1 <= count <= MOST:
            raise ValueError
        text, *buffers = _cut(data, (*struct.unpack_from(f"!{count}I", data, 4), len(data)))
    said = _parse(text)
    return {
        "channel": said.get("channel", "shell"),
        "header": said["header"],
        "parent_header": said.get("parent_header") or {},
        "metadata": said.get("metadata") or {},
        "content": said["content"],
        "buffers": buffers,
    }


def _cut(data: bytes, ends: Sequence[int]) -> list[bytes]:
    if any(before > after for before, after in itertools.pairwise(ends)) or ends[-1] > len(data):
        raise ValueError
    return [data[before:after] for before, after in itertools.pairwise(ends)]


def _parse(text: str | bytes) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return json.loads(text)  # kernels in Python also write NaN, and half a surrogate pair
