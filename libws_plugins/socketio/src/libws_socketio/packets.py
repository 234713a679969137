"""Packets of Socket.IO 5 as text and attachments, both ways. No I/O: https://socket.io/docs/v4/socket-io-protocol."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from libws_core import ProtocolError, Secret

from .profile import ACK, BINARY_ACK, BINARY_EVENT, EVENT, MESSAGE

__all__ = ["Packet", "encode", "fill", "parse", "prefix"]

_HEAD = re.compile(r"4([0-6])(?:(?<=[56])([0-9]{1,9})-)?(?:(/[^,]*),)?([0-9]{1,18})?", re.ASCII)
"""Type, number of attachments, namespace, id; the rest is JSON."""


class Packet(NamedTuple):
    """One packet as it was read, its placeholders not yet filled."""

    type: str
    attachments: int
    namespace: str
    id: int | None
    data: Any
    """None where it has none."""
    text: str
    """The JSON of the data, as it was sent."""


def prefix(type: str, namespace: str, attachments: int = 0) -> str:
    """What stands before the id and the JSON of a packet; the namespace "/" is not written."""
    count = f"{attachments}-" if attachments else ""
    return f"{MESSAGE}{type}{count}{namespace + ',' if namespace != '/' else ''}"


def parse(text: str) -> Packet:
    """Read a text message that begins with MESSAGE.

    Raises:
        ProtocolError: it is no packet.
    """
    head = _HEAD.match(text)
    if head is None or (head[1] in (BINARY_EVENT, BINARY_ACK) and head[2] is None):
        raise ProtocolError("the server sent what is no packet of Socket.IO 5")
    type, count, namespace, id = head.groups()
    data = None
    if rest := text[head.end() :]:
        try:
            data = msgspec.json.decode(rest)
        except (msgspec.MsgspecError, RecursionError):
            raise ProtocolError("the server sent a packet whose data is not JSON") from None
    if type in (EVENT, BINARY_EVENT) and not (isinstance(data, list) and data and isinstance(data[0], str | int)):
        raise ProtocolError("the server sent an event without a name")
    if type not in (EVENT, BINARY_EVENT, ACK, BINARY_ACK):
        return Packet(type, 0, namespace or "/", None, data, rest)
    if type in (ACK, BINARY_ACK) and not (isinstance(data, list) and id):
        raise ProtocolError("the server sent an acknowledgement without its id or list")
    return Packet(type, int(count or 0), namespace or "/", int(id) if id else None, data, rest)


def fill(data: Any, attachments: Sequence[bytes]) -> Any:
    """Put attachments where their placeholders stand.

    Raises:
        ProtocolError: a placeholder has no attachment.
    """
    try:
        return _fill(data, attachments)
    except RecursionError:
        raise ProtocolError("the server sent a packet whose data is nested too deeply") from None


def _fill(data: Any, attachments: Sequence[bytes]) -> Any:
    if isinstance(data, list):
        return [_fill(item, attachments) for item in data]
    if not isinstance(data, dict):
        return data
    if data.get("_placeholder") is True:
        place = data.get("num")
        if type(place) is not int or not 0 <= place < len(attachments):
            raise ProtocolError("the server sent a placeholder without its attachment")
        return attachments[place]
    return {name: _fill(item, attachments) for name, item in data.items()}


def encode(type: str, namespace: str, id: int | None, data: Sequence[Any]) -> tuple[str, list[bytes]]:
    """Write a packet of EVENT or ACK: its text, and its attachments if bytes stand in the data.

    Raises:
        ValueError: JSON cannot hold the data.
    """
    attachments: list[bytes] = []
    try:
        text = msgspec.json.encode(_take_out([*data], attachments)).decode()
    except (TypeError, RecursionError):
        raise ValueError("an event's arguments hold what JSON cannot") from None
    if attachments:
        type = BINARY_EVENT if type == EVENT else BINARY_ACK
    return f"{prefix(type, namespace, len(attachments))}{'' if id is None else id}{text}", attachments


def _take_out(data: Any, attachments: list[bytes]) -> Any:
    """A copy with placeholders for bytes; a Secret counts as the str in it."""
    if isinstance(data, bytes | bytearray | memoryview):
        attachments.append(bytes(data))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(data, Secret):
        return data.reveal()
    if isinstance(data, dict):
        return {name: _take_out(item, attachments) for name, item in data.items()}
    if isinstance(data, list | tuple):
        return [_take_out(item, attachments) for item in data]
    return data
