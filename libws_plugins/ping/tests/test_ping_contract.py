"""What every plugin that watches connections promises, of `ping` in each of its ways."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import KeepAliveContract, Peer, StageContract
from libws_ping import Ping


class TestPing(KeepAliveContract):
    plugin = Ping
    notices_within = 40
    bad_options: ClassVar = {
        "interval": [0, -1, float("nan")],
        "timeout": [0],
        "reply": ["pong"],
        "when": ["sometimes"],
        "missed": [0],
    }


class TestPingAlways(KeepAliveContract):
    plugin = Ping
    options: ClassVar = {"when": "always", "interval": 10, "timeout": 5, "missed": 2}
    notices_within = 30


class TestPingByMessage(KeepAliveContract, StageContract):
    plugin = Ping
    options: ClassVar = {"message": {"op": "ping"}, "reply": {"op": "pong"}, "interval": 15, "timeout": 10}
    takes = ({"op": "pong"},)
    notices_within = 30

    async def server(self, peer: Peer) -> None:
        async for message in peer:
            if message.data == '{"op":"ping"}':
                peer.send({"op": "pong"})


class TestPingWithoutAnswer(KeepAliveContract):
    plugin = Ping
    options: ClassVar = {"message": "\n"}
    notices_within = None
