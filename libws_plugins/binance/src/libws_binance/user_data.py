"""The account's events, as the WebSocket API sends them, and what the server says beside answers and events.

https://developers.binance.com/docs/binance-spot-api-docs/user-data-stream, read 2026-11.
"""

from __future__ import annotations

from typing import Any

import msgspec

from libws_core import Message

from .streams import json_of

__all__ = ["event_key", "is_revocation", "terminated"]

NUMBERED = {
    # The execution's own id; one order has many of them, and two symbols may have the same.
    "executionReport": ("s", "i", "I"),
    # A list of orders comes to each of its states once.
    "listStatus": ("s", "g", "l", "L", "T"),
}
"""Event type -> the fields that tell it from others. All others are told apart by everything that is in them."""


def event_key(message: Message) -> str | None:
    """What an event has in common with its double from the other connection of a move; None if it is no event."""
    event = _event(message)
    if event is None:
        return None
    kind = event.get("e")
    fields = NUMBERED.get(kind) if isinstance(kind, str) else None
    if fields is None:
        return msgspec.json.encode(event, order="deterministic").decode()
    return " ".join([str(kind), *(str(event.get(name)) for name in fields)])


def terminated(message: Message) -> Any:
    """The id of the subscription that a message says has ended; None if it says no such thing."""
    data = message.data
    if type(data) is not str or "eventStreamTerminated" not in data:
        return None
    event = _event(message)
    if event is None or event.get("e") != "eventStreamTerminated":
        return None
    return message.json.get("subscriptionId")


def is_revocation(message: Message) -> bool:
    """Whether the server says that the key of this connection is no longer accepted: an answer to nobody.

    https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/session-authentication, "Regarding API key
    revocation": `{"id": null, "status": 401, "error": {...}}`.
    """
    data = message.data
    if type(data) is not str or '"status"' not in data or '"error"' not in data:
        return False
    body = json_of(message)
    return isinstance(body, dict) and body.get("id", 0) is None and body.get("status") == 401


def _event(message: Message) -> dict[str, Any] | None:
    body = json_of(message)
    event = body.get("event") if isinstance(body, dict) else None
    return event if isinstance(event, dict) else None
