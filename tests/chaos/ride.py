"""One client behind a relay that goes wrong every few seconds: `python ride.py --seed 1 --seconds 60 --dialer picows`.

Prints what came of it as one line of JSON. The seed draws the faults and their times, and the client's own chance.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import subprocess
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libws_core import Client, DeliveryUnknown, Disconnected, Gap, NotReady, Reconnected
from libws_core.testing import Leaked, Relay, leaks, seeded

FEED = Path(__file__).with_name("feed.py")
OPTIONS: dict[str, dict[str, Any]] = {"ping": {"interval": 0.3, "timeout": 0.3}}
HEALTHY_AFTER = 0.5
APART = (3.0, 8.0)
"""Seconds between two faults, from and to."""
OUTAGE = 0.3
"""Longest time that nobody listens, or that nothing passes and then everything, seconds."""
WARM = 2.0
"""Seconds after which memory is measured first."""
PATIENCE = 10.0
"""Seconds within which everything has to be well again at the end."""
PROVEN, REFUSED, UNKNOWN = 1, 2, 3


@dataclass
class Outcome:
    """What came of it."""

    seed: int
    dialer: str
    faults: Counter[str] = field(default_factory=Counter)
    broken: int = 0
    """Faults that no connection survives."""
    losses: int = 0
    received: int = 0
    missed: int = 0
    """Numbers that did not come, where the stream had a Gap."""
    unexplained: int = 0
    """Numbers that did not come, where it had none."""
    doubled: int = 0
    """Numbers that came twice or out of order."""
    recoveries: list[float] = field(default_factory=list)
    """Seconds from each loss to READY."""
    proven: int = 0
    refused: int = 0
    unknown: int = 0
    lied: int = 0
    """Sends that ended as proven and did not arrive once, or as refused and did, or arrived twice."""
    growth: int = 0
    """Bytes more at the end than after `WARM` seconds."""
    left: str = ""
    """Tasks and file descriptors left."""


class Ride:
    """The client, what happens to it, and what is counted.

    Args:
        url: the server's.
    """

    def __init__(self, outcome: Outcome, url: str, seconds: float) -> None:
        self.outcome, self.seconds = outcome, seconds
        self.relay = Relay(url)
        self.chance = random.Random(outcome.seed)
        self.sends = bytearray(1)
        self.last: int | None = None
        self.report: list[tuple[int, int]] | None = None
        self._gap = False
        self._lost_at = 0.0
        self._more = asyncio.Event()

    async def run(self) -> None:
        async with self.relay:
            plugins: list[str] = [] if self.outcome.dialer == "websockets" else ["picows", "-websockets"]
            self.client = Client(
                self.relay.url, plugins=plugins, options=OPTIONS, proxy=None, healthy_after=HEALTHY_AFTER
            )
            self.client.on(Disconnected, self._lost)
            self.client.on(Reconnected, self._back)
            async with self.client:
                reading = asyncio.create_task(self._read())
                sending = asyncio.create_task(self._send())
                await asyncio.sleep(WARM)
                before = traced()
                await self._trouble()
                sending.cancel()
                await asyncio.wait([sending])
                await self._get_well()
                self._reconcile()
                self.outcome.growth = traced() - before
            await reading

    async def _trouble(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self.seconds - WARM
        while (pause := self.chance.uniform(*APART)) < end - loop.time() or not self.outcome.faults:
            await asyncio.sleep(min(pause, max(0.0, end - loop.time() - APART[0])))
            name, fault = self.chance.choice(FAULTS)
            self.outcome.faults[name] += 1
            await fault(self)
        await asyncio.sleep(max(0.0, end - loop.time()))

    async def _get_well(self) -> None:
        """Nothing is done any more: the numbers come, and the server tells what it has received."""
        self.relay.release()
        async with asyncio.timeout(PATIENCE):
            while self.report is None:
                self._more.clear()
                try:
                    await self.client.send_json({"report": True})
                    async with asyncio.timeout(1):
                        while self.report is None:
                            await self._more.wait()
                            self._more.clear()
                except (NotReady, TimeoutError):
                    await asyncio.sleep(0.01)

    async def _read(self) -> None:
        outcome = self.outcome
        async for item in self.client.stream(markers=True):
            if isinstance(item, Gap):
                self._gap = True
                continue
            if "received" in item.json:
                self.report = item.json["received"]
                self._more.set()
                continue
            number = item.json["number"]
            outcome.received += 1
            if self.last is not None and number <= self.last:
                outcome.doubled += 1
                continue
            hole = 0 if self.last is None else number - self.last - 1
            if self._gap:
                outcome.missed += hole
            else:
                outcome.unexplained += hole
            self.last, self._gap = number, False

    async def _send(self) -> None:
        while True:
            number = len(self.sends)
            self.sends.append(UNKNOWN)
            try:
                await self.client.send(json.dumps({"id": number}), confirm=True)
                self.sends[number] = PROVEN
            except NotReady:
                self.sends[number] = REFUSED
            except DeliveryUnknown:
                pass
            await asyncio.sleep(0.02)

    def _reconcile(self) -> None:
        """Hold what became of each send against what the server has received, and forget both."""
        outcome, arrived = self.outcome, dict(self.report or [])
        for number, fate in enumerate(self.sends):
            times = arrived.get(number, 0)
            outcome.proven += fate == PROVEN
            outcome.refused += fate == REFUSED
            outcome.unknown += fate == UNKNOWN
            outcome.lied += times > 1 or (fate == PROVEN and times != 1) or (fate == REFUSED and times != 0)
        self.report = []
        self.sends.clear()

    def _lost(self, event: Disconnected) -> None:
        if event.error.initiator != "local" or event.error.code != 1000:
            self.outcome.losses += 1
            self._lost_at = event.monotonic

    def _back(self, event: Reconnected) -> None:
        self.outcome.recoveries.append(round(event.monotonic - self._lost_at, 4))

    # What goes wrong

    async def reset(self) -> None:
        self._breaks(self.relay.drop(reset=True))

    async def fin(self) -> None:
        self._breaks(self.relay.drop())

    async def closed(self) -> None:
        self._breaks(self.relay.close(self.chance.choice([1001, 1011, 1012])))

    async def silence(self) -> None:
        self._breaks(self.relay.silence())

    async def half_open(self) -> None:
        self._breaks(self.relay.half_open())

    async def refused(self) -> None:
        self.relay.refuse(self.chance.choice([500, 502, 503]))
        self._breaks(self.relay.drop())

    async def limited(self) -> None:
        self.relay.refuse(429, {"Retry-After": "0"})
        self._breaks(self.relay.drop(reset=True))

    async def expired(self) -> None:
        self.relay.refuse(401)
        self._breaks(self.relay.close(1001))

    async def restart(self) -> None:
        self.outcome.broken += self.relay.open
        await self.relay.stop()
        await asyncio.sleep(self.chance.uniform(0.05, OUTAGE))
        await self.relay.start()

    async def stall(self) -> None:
        self.relay.silence()
        await asyncio.sleep(self.chance.uniform(0.05, OUTAGE))
        self.relay.release()

    async def drip(self) -> None:
        self.relay.drip(1000)
        await asyncio.sleep(1)
        self.relay.release()

    def _breaks(self, count: int) -> None:
        self.outcome.broken += count


FAULTS: list[tuple[str, Callable[[Ride], Any]]] = [
    (each.__name__, each)
    for each in (
        *(Ride.reset, Ride.fin, Ride.closed, Ride.silence, Ride.half_open, Ride.refused),
        *(Ride.limited, Ride.expired, Ride.restart, Ride.stall, Ride.drip),
    )
]


def traced() -> int:
    """Bytes that Python has allocated, without garbage."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def ride(outcome: Outcome, url: str, seconds: float) -> None:
    try:
        async with leaks():
            await Ride(outcome, url, seconds).run()
    except Leaked as leaked:
        outcome.left = str(leaked)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--dialer", default="websockets")
    given = parser.parse_args()
    outcome = Outcome(given.seed, given.dialer)
    feed = subprocess.Popen([sys.executable, FEED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with feed:
        assert feed.stdin is not None
        assert feed.stdout is not None
        try:
            url = f"ws://127.0.0.1:{int(feed.stdout.readline())}/"
            tracemalloc.start()
            with seeded(given.seed):
                asyncio.run(ride(outcome, url, given.seconds))
        finally:
            feed.stdin.close()
    print(json.dumps(vars(outcome)))


if __name__ == "__main__":
    main()
