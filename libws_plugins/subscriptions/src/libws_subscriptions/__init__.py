"""Keep subscriptions over reconnects, and tell what was missed."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from libws_core import (
    AttemptFailed,
    Client,
    Closed,
    Connected,
    Disconnected,
    Dropped,
    Event,
    Gap,
    Message,
    Reconnected,
    Reopened,
    Session,
    State,
    SubscriptionRejected,
    hookimpl,
)
from libws_core.match import key, matcher
from libws_core.types import Stage

from .encoding import Encoder, Topic
from .positions import Positions
from .registry import Change, Registry

__all__ = ["Subscriptions"]

REPORT = 1.0
"""Seconds from one Dropped event to the next, at least."""


@dataclass(eq=False, kw_only=True)
class Subscriptions:
    """Know what should be subscribed, and subscribe it anew on each connection, before it is READY.

    Topics come from the option `topics`, and from `add` and `remove`. Each is confirmed or refused for itself; one that
    is refused is taken out, told in the log, by a Gap and in `rejected`, and the connection goes on. With `position`
    each topic's stream is followed: what is missing becomes a Gap, or is filled in by `backfill`.
    """

    encode: str | dict[str, Any] | list[Any] | Callable[..., Any]
    """The messages that subscribe topics. A template, in which `$topics` stands for a batch of them or `$topic` for
    one, `$id` for a new number and `$position` for the topic's last position. Or a callable, which may be async: it
    gets the session, a tuple of topics and, if it has a parameter `positions`, a dict of their last ones, and gives a
    message (str, bytes, dict, list or Message), a tuple of several, or None."""
    confirm: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message confirms, a match; it is taken out of the stream. `$topic`, `$topics` and `$id` in it say what it
    confirms, without any of them the oldest batch. A callable gives a dict of these names, or None; an item `error` in
    it makes it a refusal. None = what is written is subscribed."""
    confirm_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds from the writing of a batch to its confirmation."""
    batch: Annotated[int, Meta(ge=1)] = 50
    """Topics that are subscribed together."""
    position: str | Callable[[Message], Any] | None = None
    """A message's position in its topic's stream: a path such as "data.u", or a function of the Message, which may give
    a pair (first, last) for a message that covers several, and None where there is none. None = nothing is followed."""
    backfill: Callable[[Gap], Any] | None = None
    """Gives the messages of a Gap, or None if it cannot; may be async. They take the Gap's place, in order; what
    arrives meanwhile waits behind them."""
    topics: list[Any] = field(default_factory=list)
    """Topics to begin with: strings, or lists of what tells them apart."""
    encode_remove: str | dict[str, Any] | list[Any] | Callable[..., Any] | None = None
    """The messages that unsubscribe topics, as `encode`. None = nothing is sent; the next connection does without."""
    confirm_remove: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message confirms that. None = `remove` ends when it is written; an answer that `confirm` knows by its `$id`
    is taken out all the same."""
    reject: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message refuses, as `confirm`, with `$error` for the server's reason. It counts also when it comes after
    the confirmation: so ends a subscription on a connection that goes on."""
    id: str | Callable[[Message], Any] = "id"
    """Where a message that `encode` made has the id by which answers name it: a path, or a function of the Message."""
    topic: str | Callable[[Message], Any] | None = None
    """Which topic a message belongs to, for `position`: a path or a function. None = all are one stream."""
    sequence: bool = True
    """Positions that are whole numbers follow one another without holes. False = they are cursors: only across a loss
    can something be missing."""
    backfill_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds that a backfill may take; then the Gap stays."""
    backfill_limit: Annotated[int, Meta(ge=1)] = 10_000
    """Messages that a backfill may give, and that may wait for it; when more have arrived, the Gap stays."""

    limit: Annotated[int, Meta(ge=1)] | None = None
    """Topics that may be subscribed at a time, as the server says of a connection. More are refused at once, with
    SubscriptionRejected. None = any number."""
    split: bool = False
    """A batch that is refused without a word which topic is meant is asked for again in halves, until those are known
    that are refused. False = all of the batch are."""

    behind: ClassVar[tuple[str, ...]] = ("auth",)

    _registry: Registry = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _positions: Positions | None = field(default=None, init=False, repr=False)
    _client: weakref.ref[Client] | None = field(default=None, init=False, repr=False)
    _head: Session | None = field(default=None, init=False, repr=False)
    _doubles: int = field(default=0, init=False, repr=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        numbers = itertools.count(1)
        identify = _option("id", key, self.id)
        encoder = _option("encode", lambda given: Encoder(given, self.batch, identify, numbers), self.encode)
        remover = None
        if self.encode_remove is not None:
            remover = _option(
                "encode_remove",
                lambda given: Encoder(given, self.batch, identify, numbers, removal=True),
                self.encode_remove,
            )
        elif self.confirm_remove is not None:
            raise ValueError("option 'confirm_remove' confirms what 'encode_remove' says; set 'encode_remove' too")
        matches = (("reject", self.reject), ("confirm_remove", self.confirm_remove), ("confirm", self.confirm))
        answers = tuple((_option(name, matcher, match), name) for name, match in matches if match is not None)
        topics = _option("topics", _checked, self.topics)
        if self.limit is not None and (count := len(set(topics))) > self.limit:
            raise ValueError(f"option 'topics': {count:,} of them, and one connection may have {self.limit:,}")
        self._positions = self._make_positions(encoder)
        self._registry = Registry(
            topics,
            encoder,
            remover,
            answers,
            self.confirm_timeout,
            self.limit,
            self.split,
            self._position_of,
            self._forget,
        )

    def _make_positions(self, encoder: Encoder) -> Positions | None:
        if self.position is None:
            for name in ("backfill", "topic"):
                if getattr(self, name) is not None:
                    raise ValueError(f"option {name!r} is for streams whose positions are known; set 'position' too")
            return None
        return Positions(
            _option("position", key, self.position),
            None if self.topic is None else _option("topic", key, self.topic),
            sequence=self.sequence,
            resumes=encoder.resumes,
            backfill=self.backfill,
            timeout=self.backfill_timeout,
            limit=self.backfill_limit,
            emit=self._emit,
            doubled=self._doubled,
        )

    # What users call

    def add(self, *topics: Topic) -> Change:
        """Subscribe topics, on this connection and every later one. Plain: it is noted when this returns.

        Returns:
            What may be awaited: True when the server has confirmed them all, or, without `confirm`, when they are
            written; False where they are only noted, because the client is not READY or lost its connection meanwhile.

        Raises:
            SubscriptionRejected: at once: there would be more than `limit`; none of them is noted. Awaited: the server
                refused one, or did not confirm it in `confirm_timeout`. That one is not wanted any more, others are.
            ClientClosed: the client has ended.
        """
        return self._registry.add(_checked(topics))

    def remove(self, *topics: Topic) -> Change:
        """Unsubscribe topics; those that are not subscribed do no harm. Plain: it is noted when this returns.

        Returns:
            What may be awaited: True when the server was told, and with `confirm_remove` has confirmed it; False where
            there was no connection to tell.

        Raises:
            SubscriptionRejected: awaited: it did not confirm it in `confirm_timeout`, or refused.
            ClientClosed: the client has ended.
        """
        return self._registry.remove(_checked(topics))

    @property
    def wanted(self) -> tuple[Topic, ...]:
        """Topics that should be subscribed, in the order in which they were added."""
        return tuple(self._registry.wanted)

    @property
    def active(self) -> tuple[Topic, ...]:
        """Topics that are subscribed on the newest connection: confirmed, or written if nothing confirms."""
        if not self._registry.lines:
            return ()
        _, line = self._registry.lines[-1]
        return tuple(topic for topic in self._registry.wanted if topic in line.confirmed)

    @property
    def rejected(self) -> dict[Topic, SubscriptionRejected]:
        """Topics that the server refused or did not confirm, with the error, until they are added again; a copy."""
        return dict(self._registry.rejected)

    @property
    def positions(self) -> dict[Topic, Any]:
        """The last position of each topic, a copy; None stands for all messages where `topic` is not set."""
        return {} if self._positions is None else self._positions.all()

    def resume_from(self, topic: Topic, position: Any) -> None:
        """Say where a topic's stream is, such as what an earlier process has kept; None = begin anew.

        Raises:
            RuntimeError: no positions are followed.
        """
        if self._positions is None:
            raise RuntimeError("no positions are followed; set the option 'position'")
        if position is None:
            self._positions.forget(topic)
        else:
            self._positions.put(topic, position)

    @property
    def backfilled(self) -> int:
        """Messages that backfills have put in the place of Gaps."""
        return 0 if self._positions is None else self._positions.filled

    # Hooks

    @hookimpl
    def incoming(self, session: Session) -> Stage | None:
        """Give a stage that takes out the server's answers; None if there are none."""
        return self._registry.stage(session)

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Subscribe what is wanted, and wait for the answers."""
        await self._registry.begin(session)

    @hookimpl
    def deliver(self, client: Client) -> Stage | None:
        """Give a stage that follows positions; None if there are none."""
        self._client = weakref.ref(client)
        return None if self._positions is None else self._positions.stage

    @hookimpl
    def observe(self, event: Event) -> None:
        """Follow the connections' lives."""
        positions, registry = self._positions, self._registry
        if isinstance(event, (Connected, Reconnected, Reopened)):
            if isinstance(event, Reopened):
                registry.end(lambda session: session.request.attempt.generation < event.generation)
            for session, _ in registry.lines:
                if session.request.attempt.generation == event.generation:
                    self._head = session
            if positions is not None:
                positions.begin(event.generation)
        elif isinstance(event, Gap):
            if positions is not None and event.topic is None and event.first is None:
                positions.losses += 1
        elif isinstance(event, Disconnected):
            if self._ending:
                return  # Closed follows, and tells all who wait
            registry.end(lambda session: session.request.attempt.number <= event.attempt)
        elif isinstance(event, AttemptFailed):
            registry.end(lambda session: session.request.attempt.number == event.attempt)
        elif isinstance(event, Closed):
            if positions is not None:
                positions.give_up("the client has ended")
            self._tell()
            registry.close()

    @property
    def _ending(self) -> bool:
        client = self._client() if self._client is not None else None
        return client is None or client.state in (State.CLOSING, State.CLOSED, State.FAILED)

    # The stream

    def _position_of(self, topic: Topic) -> Any:
        if self._positions is None:
            return None
        return self._positions.get(topic if self.topic is not None else None)

    def _forget(self, topic: Topic) -> None:
        if self._positions is not None:
            self._positions.forget(topic)

    def _emit(self, what: Gap | Message) -> None:
        """Put something behind all that was delivered."""
        if self._head is not None:
            self._head.emit(what)

    def _doubled(self) -> None:
        """A backfill had given a message that has come; told once a second."""
        self._doubles += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT, self._tell)

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count, self._doubles = self._doubles, 0
        if count and self._head is not None:
            self._head.emit(Dropped(count, "a backfill had given the message before it came"))


def _checked(topics: Iterable[Any]) -> list[Topic]:
    """Topics as they are kept."""
    checked = []
    for topic in topics:
        made = tuple(topic) if isinstance(topic, list) else topic
        try:
            hash(made)
        except TypeError:
            raise TypeError(f"a topic must be hashable, such as a str or a tuple, not {type(topic).__name__}") from None
        if made is None or made == "":
            raise ValueError("a topic cannot be empty")
        checked.append(made)
    return checked


def _option(name: str, make: Callable[[Any], Any], given: Any) -> Any:
    try:
        return make(given)
    except (ValueError, TypeError) as error:
        raise ValueError(f"option {name!r}: {error}") from None
