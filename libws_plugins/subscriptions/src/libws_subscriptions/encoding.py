"""From topics to the messages that subscribe them."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from libws_core import Message, Session
from libws_core.match import check_template, names, template

Topic = Hashable
"""What is subscribed: a str, or a tuple such as ("ticker", "BTC/USD")."""
_NO_SIZES: Mapping[Topic, int] = MappingProxyType({})


class Batch:
    """Topics that are asked for together, and what is known of the answer."""

    __slots__ = ("answered", "due", "ids", "messages", "names", "removal", "topics", "waiting", "written")

    def __init__(self, topics: Iterable[Topic], messages: Sequence[Message], ids: Iterable[Hashable], removal: bool):
        self.topics = tuple(topics)
        self.messages = messages
        self.names = tuple(ids)
        """The ids of its messages."""
        self.ids = set(self.names)
        """Those of its messages that no answer has named yet."""
        self.removal = removal
        self.waiting = set(self.topics)
        """Topics that are neither confirmed nor refused."""
        self.written = False
        self.due = 0.0
        """When the answer must be there, in reading time."""
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def answer(self, topics: Iterable[Topic]) -> list[Topic]:
        """Note that these are answered; gives those that waited."""
        found = [topic for topic in topics if topic in self.waiting]
        self.waiting.difference_update(found)
        if not self.waiting and not self.answered.done():
            self.answered.set_result(None)
        return found


class Encoder:
    """Makes batches of topics, as the option `encode` or `encode_remove` says.

    Args:
        given: a template with `$topic` or `$topics`, and `$id` and `$position` if wanted; or a callable.
        size: topics a batch.
        identify: finds the id in a message that was made.
        numbers: what `$id` is taken from.
        removal: it unsubscribes.

    Raises:
        ValueError: no message can be made of it.
    """

    def __init__(
        self,
        given: Any,
        size: int,
        identify: Callable[[Message], Any],
        numbers: Iterator[int],
        *,
        removal: bool = False,
    ) -> None:
        self._given = given
        self._identify = identify
        self._numbers = numbers
        self._removal = removal
        self._size = size
        self._numbered = False
        self.resumes = False
        """It is told positions, so that it can ask for what was missed."""
        if isinstance(given, Message):
            raise ValueError("a Message says nothing of topics; give a template with $topic or $topics, or a callable")
        if callable(given):
            self.resumes = _has_parameter(given, "positions")
            return
        check_template(given)
        found = names(given)
        self.resumes, self._numbered = "position" in found, "id" in found
        if not found & {"topic", "topics"}:
            raise ValueError("its template has neither $topic nor $topics")
        if unknown := found - {"topic", "topics", "id", "position"}:
            raise ValueError(f"${min(unknown)} is none of $topic, $topics, $id, $position")
        if "topics" in found and found & {"topic", "position"}:
            raise ValueError("$topics stands for several, $topic and $position for one: use the one or the others")
        if "topic" in found:
            self._size = 1

    async def encode(
        self, session: Session, topics: Sequence[Topic], position_of: Callable[[Topic], Any]
    ) -> list[Batch]:
        """Make the messages of at most as many topics as one batch holds.

        Raises:
            ValueError: what the callable gave is no message.
        """
        if not callable(self._given):
            number = next(self._numbers)
            bound = {"topics": [*topics], "topic": topics[0], "id": number, "position": position_of(topics[0])}
            message = template(self._given, bound)
            assert message is not None
            if self._numbered:
                return [Batch(topics, [message], [number], self._removal)]
            return [self._batch(topics, [message])]
        if self.resumes:
            made = self._given(session, topics, positions={topic: position_of(topic) for topic in topics})
        else:
            made = self._given(session, topics)
        if inspect.isawaitable(made):
            made = await made
        messages = _several(made)
        if len(messages) == len(topics) > 1:
            return [self._batch((topic,), [message]) for topic, message in zip(topics, messages, strict=True)]
        return [self._batch(topics, messages)]

    def split(self, topics: Iterable[Topic], sizes: Mapping[Topic, int] = _NO_SIZES) -> Iterator[tuple[Topic, ...]]:
        """Cut topics into as many as one batch holds; those that have a size of their own into no more than that."""
        for size, group in itertools.groupby(topics, lambda topic: min(sizes.get(topic, self._size), self._size)):
            while part := tuple(itertools.islice(group, size)):
                yield part

    def _batch(self, topics: Sequence[Topic], messages: list[Message]) -> Batch:
        ids = [hashable(found) for message in messages if (found := self._identify(message)) is not None]
        return Batch(topics, messages, ids, self._removal)


def hashable(value: Any) -> Hashable:
    """What JSON gave, as a topic or id can be: a list is a tuple."""
    if isinstance(value, list):
        return tuple(map(hashable, value))
    if isinstance(value, dict):
        return tuple(sorted((name, hashable(item)) for name, item in value.items()))
    return value  # type: ignore[no-any-return]


def _several(made: Any) -> list[Message]:
    """The messages that a callable gave: one, a tuple or list of some, or none.

    A list that holds anything but Messages is the JSON array of one message, as everywhere in libws.
    """
    if made is None:
        return []
    if isinstance(made, tuple) or (isinstance(made, list) and made and all(isinstance(m, Message) for m in made)):
        return [message for item in made if (message := template(item)) is not None]
    message = template(made)
    return [] if message is None else [message]


def _has_parameter(function: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin that does not tell
        return False
