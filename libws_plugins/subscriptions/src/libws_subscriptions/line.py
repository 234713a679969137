"""What one connection has subscribed, and what the server has said to it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from libws_core import Session

from .encoding import Batch, Topic, hashable

REASON = 200
"""Characters of a server's reason that are told."""
LEAVING = 100
"""Unsubscribing batches that nobody waits for, whose answers are known and taken out all the same."""

Answers = list[tuple[Batch, list[Topic]]]
"""What an answer is about: topics, and the batches that asked for them."""


class Line:
    """The subscriptions of one connection. Each has its own, made by `session.state(Line)`."""

    def __init__(self) -> None:
        self.sent: dict[Topic, Batch] = {}
        """What was asked for on this connection, and not taken back."""
        self.confirmed: set[Topic] = set()
        self.pending: dict[Batch, None] = {}
        """Batches that are to be answered, oldest first."""
        self.lock = asyncio.Lock()
        """One after the other: what is asked for, and what is taken back."""
        self.scheduled = False
        """A task is about to compare what is wanted with what was sent."""
        self.answers = 0
        """Answers of the server so far."""
        self.sizes: dict[Topic, int] = {}
        """With how many at most a topic is asked for again, after a refusal of more."""
        self.again = False
        """Some are to be asked for again before the connection is READY."""
        self.live = False
        """What was wanted at first has been asked for."""
        self._named: dict[Hashable, Batch] = {}
        self._leaving: deque[Batch] = deque()

    @property
    def expects(self) -> bool:
        """Answers may come."""
        return bool(self.pending or self._leaving)

    def add(self, batch: Batch) -> None:
        """A batch is about to be written."""
        self.pending[batch] = None
        for name in batch.names:
            self._named[name] = batch
        if batch.removal:
            for topic in batch.topics:
                self.forget(topic)
        else:
            self.sent.update(dict.fromkeys(batch.topics, batch))

    def wait_for_none(self, batch: Batch, *, known: bool) -> None:
        """Nobody waits for its answer. If that is `known` by an id, it is taken out when it comes."""
        self.pending.pop(batch, None)
        if batch.removal and known and batch.names:
            self._leaving.append(batch)
            if len(self._leaving) > LEAVING:
                self.drop(self._leaving.popleft())
        elif batch.removal:
            self.drop(batch)

    def forget(self, topic: Topic) -> None:
        """A topic is not subscribed here any more."""
        batch = self.sent.pop(topic, None)
        self.confirmed.discard(topic)
        self.sizes.pop(topic, None)
        if batch is not None and not any(self.sent.get(each) is batch for each in batch.topics):
            self.drop(batch)

    def halve(self, topics: list[Topic]) -> None:
        """These were refused together: they are to be asked for again, half as many at a time."""
        for topic in topics:
            self.forget(topic)
            self.sizes[topic] = max(1, len(topics) // 2)
        self.again = True

    def drop(self, batch: Batch) -> None:
        """No answer to it is of interest any more."""
        self.pending.pop(batch, None)
        for name in batch.names:
            if self._named.get(name) is batch:
                del self._named[name]

    def confirm(self, bound: Mapping[str, Any]) -> Answers | None:
        """What a confirmation is about, None if it is nothing that we wait for."""
        meant = self._meant(bound)
        if meant is None:
            return None
        answered: Answers = []
        for batch, topics in meant:
            if batch not in self.pending and batch not in self._leaving:
                return None
            if topics is None:
                if "id" in bound:
                    batch.ids.discard(hashable(bound["id"]))
                topics = [] if "id" in bound and batch.ids else [*batch.topics]  # of several messages each is answered
            answered.append((batch, batch.answer(topics)))
            self._settle(batch)
        self.answers += 1
        return answered

    def refuse(self, bound: Mapping[str, Any]) -> Answers | None:
        """What a refusal is about, None if it is nothing of ours. Also of what was confirmed before."""
        meant = self._meant(bound)
        if meant is None:
            return None
        refused: Answers = []
        for batch, topics in meant:
            topics = [topic for topic in topics or batch.topics if batch.removal or topic in self.sent]
            batch.answer(topics)
            self._settle(batch)
            refused.append((batch, topics))
        self.answers += 1
        return refused

    def _meant(self, bound: Mapping[str, Any]) -> list[tuple[Batch, list[Topic] | None]] | None:
        """The batches that an answer is about, each with its topics; None for all of them."""
        topics = _topics(bound)
        if "id" in bound:
            batch = self._named.get(hashable(bound["id"]))
            return None if batch is None else [(batch, topics)]
        if topics is None:
            oldest = next(iter(self.pending), None)
            return None if oldest is None else [(oldest, None)]
        found: list[tuple[Batch, list[Topic] | None]] = []
        for topic in topics:
            leaving = (each for each in self.pending if each.removal and topic in each.waiting)
            batch = self.sent.get(topic) or next(leaving, None)
            if batch is not None:
                found.append((batch, [topic]))
        return found or None

    def _settle(self, batch: Batch) -> None:
        if batch.answered.done():
            self.pending.pop(batch, None)
            if batch in self._leaving:
                self._leaving.remove(batch)
            if batch.removal:
                self.drop(batch)


def _topics(bound: Mapping[str, Any]) -> list[Topic] | None:
    """The topics that an answer names, None if it names none."""
    if "topics" in bound:
        return [hashable(topic) for topic in bound["topics"]]
    return [hashable(bound["topic"])] if "topic" in bound else None


def reason(bound: Mapping[str, Any]) -> str:
    """What the server said to a refusal, as the end of a sentence."""
    said = bound.get("error")
    return f": {str(said)[:REASON]}" if said not in (None, "", True) else ""


async def until(
    session: Session, batch: Batch, stop: Callable[[], bool] = lambda: False, look: float = math.inf
) -> None:
    """Wait until a batch is answered or its time is over, not counting the time in which we do not read.

    Args:
        stop: says when to wait no longer.
        look: seconds from one look at it to the next.
    """
    while not batch.answered.done():
        left = batch.due - reading_time(session)
        if left <= 0 or stop():
            return
        await asyncio.wait([batch.answered], timeout=min(max(left, 0.001), look))


def reading_time(session: Session) -> float:
    """The loop's time less what we have spent not reading."""
    return asyncio.get_running_loop().time() - session.paused_total
