"""A session as the gateway keeps it: numbered events, replayed to who resumes."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .listener import Listener

__all__ = ["GatewaySession"]


class GatewaySession:
    """A session of one bot: what it has said, and to whom.

    Args:
        id: its session_id.
        shard: its number, and how many there are.
        keeps: events that can be replayed.
    """

    def __init__(self, id: str, shard: tuple[int, int], keeps: int) -> None:
        self.id = id
        self.shard = shard
        self.sequence = 0
        """The number of its newest event."""
        self.listener: Listener | None = None
        """The connection that has it now."""
        self.left_at = math.inf
        """When the last one was gone, in the loop's time."""
        self.resumes = 0
        self._events: deque[dict[str, Any]] = deque(maxlen=keeps)

    def dispatch(self, type: str, data: Any) -> None:
        """Say an event, numbered; whoever is not there hears it when resuming."""
        self.sequence += 1
        event = {"op": 0, "t": type, "s": self.sequence, "d": data}
        self._events.append(event)
        if self.listener is not None:
            self.listener.tell(event)

    def can_replay(self, after: int) -> bool:
        """Whether every event behind that number is still there."""
        return after >= self.sequence or (bool(self._events) and self._events[0]["s"] <= after + 1)

    def resume(self, listener: Listener, after: int) -> None:
        """Go on with another connection: all events behind that number, then RESUMED."""
        if self.listener is not None:
            self.listener.session = None
            self.listener.peer.drop()
        self.listener, self.left_at = listener, math.inf
        self.resumes += 1
        for event in self._events:
            if event["s"] > after:
                listener.tell(event)
        self.dispatch("RESUMED", {})

    def leave(self) -> None:
        """Its connection is gone."""
        self.listener, self.left_at = None, asyncio.get_running_loop().time()
