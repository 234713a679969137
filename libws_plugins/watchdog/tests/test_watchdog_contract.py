"""What every plugin that watches connections promises, of `watchdog`."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from libws_core.testing import KeepAliveContract, Peer, StageContract
from libws_watchdog import Watchdog


class TestWatchdog(KeepAliveContract, StageContract):
    plugin = Watchdog
    options: ClassVar = {"link": 45, "data": 45, "topics": {"prices": 50, "*": None}, "key": "topic"}
    bad_options: ClassVar = {"link": [0], "data": [-1], "topics": [{"prices": 0}], "key": ["a..b"]}
    notices_within = 51

    async def server(self, peer: Peer) -> None:
        while True:
            peer.send({"topic": "prices", "price": 17})
            await asyncio.sleep(10)


class TestWatchdogByDefault(KeepAliveContract):
    plugin = Watchdog
    notices_within = None
