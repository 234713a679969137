"""What every plugin with stages promises, of `subscriptions`."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_core.testing import Peer, StageContract
from libws_subscriptions import Subscriptions


class TestSubscriptions(StageContract):
    plugin = Subscriptions
    options: ClassVar[dict[str, Any]] = {
        "encode": {"op": "subscribe", "args": "$topics", "id": "$id"},
        "confirm": {"event": "subscribed", "id": "$id"},
        "reject": {"event": "error", "id": "$id"},
        "encode_remove": {"op": "unsubscribe", "args": "$topics", "id": "$id"},
        "topics": ["prices", "news", "trades"],
        "batch": 2,
    }
    bad_options: ClassVar = {
        "confirm_timeout": [0],
        "batch": [0],
        "backfill_timeout": [0],
        "backfill_limit": [0],
        "topics": [[""]],
        "id": ["a..b"],
        "topic": ["data.s"],
    }

    async def server(self, peer: Peer) -> None:
        async for message in peer:
            try:
                asked = message.json
            except ValueError:
                continue
            if isinstance(asked, dict) and asked.get("op") == "subscribe":
                peer.send({"event": "subscribed", "id": asked["id"]})


class TestSubscriptionsThatFollow(StageContract):
    plugin = Subscriptions
    options: ClassVar = {"encode": "subscribe $topic", "topics": ["prices"], "position": "data.u", "sequence": False}
