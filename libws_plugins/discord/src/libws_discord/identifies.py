"""How many sessions a bot may begin, and when: what all clients of one token share.

Discord counts the identifies of a bot in a day, over all its shards, and lets only some begin together. So clients of
one loop that have the same token take turns, and stop while there are some left.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from asyncio import AbstractEventLoop
from collections import deque
from typing import Any
from weakref import WeakKeyDictionary

from .profile import CONCURRENCY_PER, IDENTIFIES, IDENTIFIES_PER

__all__ = ["Identifies", "Turns", "identifies_of"]

MARGIN = 0.25
"""Seconds by which identifies are further apart than they must: they may arrive closer together than they left."""
FRESH = 300.0
"""Seconds for which the gateway's URL and the number of identifies are not asked for again; both "should not be cached
for extended periods of time", https://docs.discord.com/developers/events/gateway#get-gateway-bot."""


class Turns:
    """Lets one through at a time, in order, and the next one when it has left.

    It holds on to no loop while nobody waits.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._taken = False
        self._free_at = -math.inf

    async def enter(self) -> None:
        """Wait for one's turn, for as long as it takes. Cancelled, it takes none."""
        loop = asyncio.get_running_loop()
        if self._taken:
            granted: asyncio.Future[None] = loop.create_future()
            self._waiting.append(granted)
            try:
                await granted
            except asyncio.CancelledError:
                if granted in self._waiting:
                    self._waiting.remove(granted)
                else:  # it was granted in the same turn of the loop
                    self.leave()
                raise
        self._taken = True
        try:
            if (wait := self._free_at - loop.time()) > 0:
                await asyncio.sleep(wait)
        except asyncio.CancelledError:
            self.leave()
            raise

    def leave(self, distance: float = 0.0) -> None:
        """Let the next one through, so many seconds from now."""
        if distance:
            self._free_at = asyncio.get_running_loop().time() + distance
        while self._waiting:
            granted = self._waiting.popleft()
            if not granted.done():
                granted.set_result(None)
                return  # it stays taken, by that one
        self._taken = False


class Identifies:
    """What is known of one bot's identifies. Times are the loop's."""

    def __init__(self) -> None:
        self.total = IDENTIFIES
        self.concurrency = 1
        self.url: str | None = None
        """The gateway, as REST has told it."""
        self.touched = 0.0
        """When a client last asked for it."""
        self.asking = Turns()
        """Of those that ask REST: the others then know its answer."""
        self._remaining = IDENTIFIES
        self._resets: float | None = None
        """When there are `total` again; None = no day has begun."""
        self._learnt = -math.inf
        self._turns: dict[int, Turns] = {}

    def learn(self, url: str, limit: dict[str, Any], now: float) -> None:
        """Take what REST has answered: the URL, and its session_start_limit.

        Raises:
            KeyError, TypeError, ValueError: it is no such thing.
        """
        numbers = [limit[name] for name in ("total", "remaining", "reset_after", "max_concurrency")]
        if any(type(number) is not int or number < 0 for number in numbers) or numbers[3] < 1:
            raise ValueError("session_start_limit has other numbers than it should")
        self.total, self._remaining, reset_after, self.concurrency = numbers
        self._resets = now + reset_after / 1000
        self.url, self._learnt = url, now

    def fresh(self, now: float) -> bool:
        """Whether REST need not be asked again."""
        return now - self._learnt < FRESH

    def remaining(self, now: float) -> int:
        """Identifies that are left."""
        if self._resets is not None and now >= self._resets:
            self._remaining, self._resets = self.total, None
        return self._remaining

    def resets_in(self, now: float) -> float:
        """Seconds until there are `total` again."""
        return IDENTIFIES_PER if self._resets is None else max(0.0, self._resets - now)

    def spend(self, now: float) -> None:
        """One is sent."""
        self._remaining = max(0, self.remaining(now) - 1)
        if self._resets is None:
            self._resets = now + IDENTIFIES_PER

    def turns(self, shard: int) -> Turns:
        """Those of all shards that may not begin together with this one."""
        return self._turns.setdefault(shard % self.concurrency, Turns())

    def idle(self, now: float) -> bool:
        """Nothing would be lost if it were forgotten."""
        return now - self.touched > IDENTIFIES_PER and (self._resets is None or now >= self._resets)


DISTANCE = CONCURRENCY_PER + MARGIN
"""Seconds from one identify of the same turns to the next."""

_known: WeakKeyDictionary[AbstractEventLoop, dict[bytes, Identifies]] = WeakKeyDictionary()
"""Of each loop, by a digest of the token. Not freed with the last client: one that is made anew in a loop that fails
again and again would spend everything. A day later it is forgotten."""


def identifies_of(token: str) -> Identifies:
    """What all clients of the running loop know of this token's identifies."""
    loop = asyncio.get_running_loop()
    known, now = _known.setdefault(loop, {}), loop.time()
    digest = hashlib.sha256(token.encode()).digest()
    found = known.get(digest)
    if found is None:
        for old in [each for each, identifies in known.items() if identifies.idle(now)]:
            del known[old]
        found = known[digest] = Identifies()
    found.touched = now
    return found
