"""Where each topic's stream is, what is missing in it, and what fills the hole."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

from libws_core import Gap, LibwsError, Message, clock
from libws_core.match import template

from .encoding import Topic, hashable

logger = logging.getLogger("libws")

MAX_TOPICS = 100_000
"""Topics whose positions are kept; a server may name as many as it likes."""
MAX_HOLES = 16
"""Holes of a topic that are remembered, to know a message that comes late."""
WAITING_BYTES = 8 * 2**20
"""Bytes of messages that wait during a backfill at most; a client's inbox has the same bound by default."""


class Track:
    """One topic's stream."""

    __slots__ = ("epoch", "holes", "losses", "position", "wall")

    def __init__(self, position: Any, epoch: int, losses: int) -> None:
        self.position = position
        self.epoch = epoch
        self.losses = losses
        self.wall = clock.wall()
        self.holes: deque[Hole] = deque(maxlen=MAX_HOLES)


class Hole(NamedTuple):
    """Numbers that were missing, and those of them that a backfill gave."""

    first: int
    last: int
    given: list[tuple[int, int]]


class Positions:
    """Follows positions through the stage of `deliver`.

    Args:
        position: a message's position: a number, a pair (first, last) for one that covers several, anything else for a
            cursor; None if it has none.
        topic: a message's topic; None = all messages are one stream.
        sequence: whole numbers follow one another without holes.
        resumes: who subscribes is told the positions, and so asks for what was missed.
        backfill: gives the messages of a Gap; None = nobody does.
        timeout: seconds that it may take.
        limit: messages that it may give, and messages that may wait for it.
        emit: takes what is put behind everything that was delivered: Gaps and messages.
        doubled: told that a message was dropped, since a backfill had given it.
    """

    def __init__(
        self,
        position: Callable[[Message], Any],
        topic: Callable[[Message], Any] | None,
        *,
        sequence: bool,
        resumes: bool,
        backfill: Callable[[Gap], Any] | None,
        timeout: float,
        limit: int,
        emit: Callable[[Gap | Message], object],
        doubled: Callable[[], object],
    ) -> None:
        self._position = position
        self._topic = topic
        self._sequence = sequence
        self._resumes = resumes
        self._backfill = backfill
        self._timeout = timeout
        self._limit = limit
        self._emit = emit
        self._doubled = doubled
        self._tracks: dict[Topic, Track] = {}
        self.generation = 0
        """The connection whose messages are delivered now."""
        self.epoch = 0
        """Connections that delivered so far."""
        self.losses = 0
        """Times at which anything may have been missed."""
        self.filled = 0
        """Messages that backfills gave."""
        self._task: asyncio.Task[None] | None = None
        self._waiting: deque[Message] = deque()
        self._size = 0
        self._gap: Gap | None = None
        self._newest = self._hole = Hole(0, 0, [])
        self._behind: Message | None = None
        """The message that told the gap."""

    # What is known

    def begin(self, generation: int) -> None:
        """From now on this connection's messages are delivered."""
        self.generation = generation
        self.epoch += 1

    def get(self, topic: Topic) -> Any:
        """The last position of a topic, None if there is none."""
        track = self._tracks.get(topic)
        return None if track is None else track.position

    def all(self) -> dict[Topic, Any]:
        """The last position of each topic."""
        return {topic: track.position for topic, track in self._tracks.items()}

    def put(self, topic: Topic, position: Any) -> None:
        """Go on from here."""
        self._tracks[topic] = Track(position, self.epoch, self.losses)

    def forget(self, topic: Topic) -> None:
        """Nothing is missing in a stream that nobody wants."""
        self._tracks.pop(topic, None)

    # The stage

    def stage(self, message: Message) -> Any:
        """Look at a message on its way to the user."""
        if self._task is not None:
            self._wait(message)
            return None
        found = self._look(message)
        if found is None or isinstance(found, Message):
            return found
        if self._backfill is None:
            return found, message
        self._begin(found, message)
        return None

    def _look(self, message: Message) -> Gap | Message | None:
        """Note where a message stands; gives it, or the gap before it, or None if a backfill has given it."""
        found = self._position(message)
        if found is None:
            return message
        first, last = _span(found)
        topic = hashable(self._topic(message)) if self._topic is not None else None
        track = self._tracks.get(topic)
        if track is None:
            if len(self._tracks) < MAX_TOPICS:
                self._tracks[topic] = Track(last, self.epoch, self.losses)
            return message
        if not (self._sequence and _is_number(first) and _is_number(last) and _is_number(track.position)):
            return self._compare(track, topic, first, last) or message
        if last <= track.position:
            for hole in track.holes:
                if hole.first <= first and last <= hole.last:  # late, and told as missing before: no step back
                    if not any(low <= first and last <= high for low, high in hole.given):
                        return message
                    self._doubled()
                    return None
        return self._follow(track, topic, first, last) or message

    def _follow(self, track: Track, topic: Topic, first: int, last: int) -> Gap | None:
        """Numbers that follow one another."""
        before = track.position
        if last <= before and track.epoch == self.epoch:
            return None
        gap = None
        if first > before + 1:
            gap = self._gap_of("hole" if track.losses == self.losses else "reconnect", track, topic)
            gap = replace(gap, first=before + 1, last=first - 1)
            self._newest = Hole(before + 1, first - 1, [])
            track.holes.append(self._newest)
        # A step back on a new connection: what it sends again, or numbers that begin anew with each connection.
        track.position = last
        self._note(track)
        return gap

    def _compare(self, track: Track, topic: Topic, first: Any, last: Any) -> Gap | None:
        """Cursors: only across a loss something can be missing, unless they overlap."""
        gap = None
        if track.losses != self.losses and not self._resumes and not _overlaps(track.position, first):
            gap = replace(self._gap_of("reconnect", track, topic), first=track.position, last=first)
        track.position = last
        self._note(track)
        return gap

    def _note(self, track: Track) -> None:
        track.epoch, track.losses, track.wall = self.epoch, self.losses, clock.wall()

    def _gap_of(self, why: str, track: Track, topic: Topic) -> Gap:
        return Gap(why, self.generation, track.wall, clock.wall(), topic if topic is None else _name(topic))

    # Backfill

    def _begin(self, gap: Gap, behind: Message) -> None:
        self._gap, self._behind, self._hole = gap, behind, self._newest
        self._size = len(behind.data) + sum(len(message.data) for message in self._waiting)
        self._task = asyncio.get_running_loop().create_task(self._fill(gap))

    def _wait(self, message: Message) -> None:
        self._waiting.append(message)
        self._size += len(message.data)
        if len(self._waiting) >= self._limit or self._size >= WAITING_BYTES:
            self.give_up("too much has arrived meanwhile")

    async def _fill(self, gap: Gap) -> None:
        assert self._backfill is not None
        answer: Any = None
        try:
            async with asyncio.timeout(self._timeout):
                answer = self._backfill(gap)
                if inspect.isawaitable(answer):
                    answer = await answer
                messages = None if answer is None else self._messages(answer)
        except Exception as error:  # a text of theirs may quote a secret
            ours = isinstance(error, LibwsError)
            logger.warning("the backfill of %s failed: %s", _told(gap), error if ours else type(error).__name__)
            messages = None
        if self._task is asyncio.current_task():
            self._end(messages)

    def _messages(self, answer: Iterable[Any]) -> list[Message]:
        """What a backfill gave, within the limit and in order."""
        if isinstance(answer, (Message, str, bytes, dict)):
            answer = (answer,)
        messages = [message for item in answer if (message := template(item)) is not None]
        try:  # many an archive gives the newest first
            messages.sort(key=lambda message: _span(self._position(message)))
        except TypeError:
            pass  # some have no position, or they cannot be compared
        return messages

    def give_up(self, why: str) -> None:
        """End a backfill: the gap stays, and what waited goes on."""
        if self._task is None:
            return
        assert self._gap is not None
        logger.warning("the backfill of %s was given up: %s", _told(self._gap), why)
        self._task.cancel()
        self._end(None)

    def _end(self, messages: list[Message] | None) -> None:
        """Put a backfill's messages in the place of the gap, then what waited."""
        gap, behind, self._task = self._gap, self._behind, None
        self._gap = self._behind = None
        assert gap is not None
        assert behind is not None
        self._place(gap, messages)
        self._emit(behind)
        while self._waiting and self._task is None:
            message = self._waiting.popleft()
            self._size -= len(message.data)
            following = self._look(message)
            if isinstance(following, Gap):
                self._begin(following, message)
            elif following is not None:
                self._emit(following)

    def _place(self, gap: Gap, messages: list[Message] | None) -> None:
        if not messages:
            if messages is None or self._numbered(gap):
                self._emit(gap)
            return
        if not self._numbered(gap):
            kept = messages[: self._limit]
            self._give(kept)
            if len(kept) < len(messages):
                self._emit(replace(gap, first=_span(self._position(kept[-1]))[1]))
            return
        if not any(_is_number(_span(self._position(message))[0]) for message in messages):
            self._give(messages[: self._limit])  # without numbers nobody can say what is missing
            return
        expected = gap.first
        for message in messages[: self._limit]:
            first, last = _span(self._position(message))
            if _is_number(first):
                if last < expected or first > gap.last:
                    continue  # delivered before, or coming
                if first > expected:
                    self._emit(replace(gap, first=expected, last=first - 1))
                _join(self._hole.given, first, last)
                expected = last + 1
            self._give([message])
        if expected <= gap.last:
            self._emit(replace(gap, first=expected))

    def _numbered(self, gap: Gap) -> bool:
        """What is missing is known number by number."""
        return self._sequence and _is_number(gap.first)

    def _give(self, messages: list[Message]) -> None:
        self.filled += len(messages)
        for message in messages:
            self._emit(message)


def _span(position: Any) -> tuple[Any, Any]:
    return tuple(position) if isinstance(position, (tuple, list)) and len(position) == 2 else (position, position)


def _join(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    """Add numbers to those before them."""
    if ranges and ranges[-1][1] >= first - 1:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _overlaps(before: Any, first: Any) -> bool:
    """The new connection begins where the old one had been already."""
    if isinstance(first, str) or isinstance(before, str):
        return bool(first == before)  # their order says nothing
    try:
        return bool(first <= before)
    except TypeError:
        return False


def _name(topic: Hashable) -> str:
    return topic if isinstance(topic, str) else repr(topic)


def _told(gap: Gap) -> str:
    return "a gap" if gap.topic is None else f"a gap in {gap.topic!r}"
