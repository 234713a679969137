"""Numbered messages: where the number stands, what is missing, what came twice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..match import key
from ..types import Kind, Message

ENOUGH = 5
"""Steps of one that a number must have made before it is taken for the number of the messages."""
LEAVES = 100
"""Numbers of one message that are looked at."""
DEPTH = 4
"""Objects within objects that are looked into."""
WHOLE = "the message itself"
"""What stands for the path where a message is nothing but its number."""


@dataclass
class Count:
    """What was counted during one fault."""

    received: int = 0
    """Messages, numbered or not."""
    missed: int = 0
    """Holes in the numbers."""
    reported: int = 0
    """How many of the missed lie where the stream had a Gap."""
    doubled: int = 0
    """Numbers that came twice or out of order."""
    known: bool = False
    """The messages are numbered, so that missed and doubled mean something."""


@dataclass
class _Candidate:
    last: int
    steps: int = 0
    wrong: bool = False


@dataclass
class Numbers:
    """Follows the numbers of a stream.

    Where no path is given the stream is watched: a number that rose by exactly one from each message that has it to the
    next, at least `ENOUGH` times, and never otherwise, numbers the messages.
    """

    path: str | None = None
    """Where the number stands, such as "data.u"; None until it is known."""
    count: Count = field(default_factory=Count)
    """Of the fault that is under way."""
    anew: bool = False
    """The server numbers each connection anew, so that nothing can be told across them."""
    _candidates: dict[str, _Candidate] = field(default_factory=dict)
    _learning: bool = True
    _last: int | None = None
    _first: int | None = None
    _gap: bool = False

    def __post_init__(self) -> None:
        if self.path is not None:
            key(self.path)  # raises ValueError if it is none
            self._learning = False

    def learnt(self) -> None:
        """The stream was watched for long enough: choose."""
        if not self._learning:
            return
        self._learning = False
        fit = {path: each for path, each in self._candidates.items() if each.steps >= ENOUGH and not each.wrong}
        self._candidates = {}
        if fit:
            self.path = max(fit, key=lambda path: fit[path].steps)
            self._last = self._first = fit[self.path].last

    def begin(self) -> Count:
        """A fault begins: count anew; gives what is going to be counted."""
        self.count = Count(known=self.path is not None and self._last is not None and not self.anew)
        return self.count

    def gap(self) -> None:
        """The stream has a Gap here."""
        self._gap = True

    def take(self, message: Message) -> None:
        """Count a message."""
        self.count.received += 1
        if self._learning:
            self._learn(message)
        elif self.path is not None and (number := self._number(message)) is not None:
            self._follow(number)

    def _follow(self, number: int) -> None:
        count, last = self.count, self._last
        if last is None:
            self._first = number
        elif self._gap and self._first is not None and number <= self._first and number < last:
            self.anew, count.known = True, False
        elif number <= last:
            count.doubled += 1
            return  # a Gap that was announced may still lie before what comes after these
        else:
            hole = number - last - 1
            count.missed += hole
            count.reported += hole if self._gap else 0
        if self._gap:
            self._first = number
        self._last, self._gap = number, False

    def _learn(self, message: Message) -> None:
        for path, number in numbers_in(message):
            candidate = self._candidates.get(path)
            if candidate is None:
                if len(self._candidates) < LEAVES:
                    self._candidates[path] = _Candidate(number)
            elif number == candidate.last + 1:
                candidate.last, candidate.steps = number, candidate.steps + 1
            else:
                candidate.wrong = True

    def _number(self, message: Message) -> int | None:
        if self.path == WHOLE:
            return as_number(_parsed(message))
        assert self.path is not None
        return as_number(key(self.path)(message))


def numbers_in(message: Message) -> Iterator[tuple[str, int]]:
    """Every number of a JSON message and the path to it."""
    return _leaves(_parsed(message), "", 0)


def _leaves(value: Any, path: str, depth: int) -> Iterator[tuple[str, int]]:
    number = as_number(value)
    if number is not None:
        yield path or WHOLE, number
    elif isinstance(value, dict) and depth < DEPTH:
        for name, inner in [*value.items()][:LEAVES]:
            if name and "." not in name:
                yield from _leaves(inner, f"{path}.{name}" if path else name, depth + 1)


def as_number(value: Any) -> int | None:
    """A whole number, also one that is written as text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and len(value) <= 30 and value.isascii() and value.isdecimal():
        return int(value)
    return None


def _parsed(message: Message) -> Any:
    if message.kind is not Kind.TEXT and message.kind is not Kind.BINARY:
        return None
    try:
        return message.json
    except ValueError:
        return None
