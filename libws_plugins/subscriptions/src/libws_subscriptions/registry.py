"""What should be subscribed, and what brings it to each connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any

from libws_core import ClientClosed, Gap, Kind, LibwsError, Message, Session, SubscriptionRejected, Verdict, clock
from libws_core.match import Matcher
from libws_core.types import Stage

from .encoding import Batch, Encoder, Topic
from .line import Line, reading_time, reason, until

logger = logging.getLogger("libws")

LOOK = 0.1
"""Seconds between two looks whether we have stopped reading."""
SPARE = 10.0
"""Seconds that establish has beyond the time in which an answer must come."""


class Change(Awaitable[bool]):
    """What `add` and `remove` return: it may be awaited or left alone."""

    def __init__(self, waiting: Iterable[asyncio.Future[bool]]) -> None:
        self._waiting = [*waiting]

    def __await__(self) -> Generator[Any, None, bool]:
        return self._wait().__await__()

    async def _wait(self) -> bool:
        if not self._waiting:
            return False
        await asyncio.wait(self._waiting)
        errors = [error for each in self._waiting if (error := each.exception()) is not None]
        if len(errors) > 1 and all(isinstance(error, SubscriptionRejected) for error in errors):
            raise SubscriptionRejected("; ".join(map(str, errors)))
        if errors:
            raise errors[0]
        return all(each.result() for each in self._waiting)


class Registry:
    """Compares what is wanted with what each live connection was asked for, and makes up the difference.

    Args:
        encoder: makes what subscribes.
        remover: makes what unsubscribes; None = nothing is sent.
        answers: matches of what the server says, each with the option that it stands for.
        timeout: seconds from the writing of a batch to its answer.
        limit: topics that may be wanted at a time; None = any number.
        split: topics that are refused together are asked for again in halves.
        position_of: gives a topic's last position.
        forgotten: told a topic that is not wanted any more.
    """

    def __init__(
        self,
        topics: Iterable[Topic],
        encoder: Encoder,
        remover: Encoder | None,
        answers: tuple[tuple[Matcher, str], ...],
        timeout: float,
        limit: int | None,
        split: bool,
        position_of: Callable[[Topic], Any],
        forgotten: Callable[[Topic], object],
    ) -> None:
        self.wanted: dict[Topic, None] = dict.fromkeys(topics)
        self.rejected: dict[Topic, SubscriptionRejected] = {}
        self.lines: list[tuple[Session, Line]] = []
        """The connections that are alive and subscribe, oldest first."""
        self._encoder = encoder
        self._remover = remover
        self._answers = answers
        self._options = {option for _, option in answers}
        self._timeout = timeout
        self._limit = limit
        self._split = split
        self._position_of = position_of
        self._forgotten = forgotten
        self._adding: dict[Topic, asyncio.Future[bool]] = {}
        self._removing: dict[Topic, asyncio.Future[bool]] = {}
        self._closed = False

    # What users want

    def add(self, topics: Iterable[Topic]) -> Change:
        """Note topics, and subscribe them where there is a connection."""
        self._check_open()
        topics = [*topics]
        self._check_limit(topics)
        waiting = []
        for topic in topics:
            self.rejected.pop(topic, None)
            self.wanted[topic] = None
            if self.lines:
                waiting.append(self._added(topic))
        self._spread()
        return Change(waiting)

    def remove(self, topics: Iterable[Topic]) -> Change:
        """Forget topics, and unsubscribe them where there is a connection."""
        self._check_open()
        waiting = []
        for topic in topics:
            self.wanted.pop(topic, None)
            self.rejected.pop(topic, None)
            self._forgotten(topic)
            _finish(self._adding.pop(topic, None), False)
            if any(topic in line.sent for _, line in self.lines):
                if topic not in self._removing:
                    self._removing[topic] = asyncio.get_running_loop().create_future()
                waiting.append(self._removing[topic])
        self._spread()
        return Change(waiting)

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")

    def _check_limit(self, topics: Iterable[Topic]) -> None:
        """Refuse what would be too many, before the server ends the connection for it."""
        if self._limit is not None and (count := len({*self.wanted, *topics})) > self._limit:
            raise SubscriptionRejected(
                f"{count:,} topics are wanted, and one connection may have {self._limit:,}: use another client, too",
                verdict=Verdict.FATAL,  # where it is a step of an attempt, trying again cannot help
            )

    def _added(self, topic: Topic) -> asyncio.Future[bool]:
        """What ends when a topic is confirmed."""
        future = self._adding.get(topic)
        if future is None:
            future = asyncio.get_running_loop().create_future()
            if topic in self.lines[-1][1].confirmed:
                future.set_result(True)
            else:
                self._adding[topic] = future
        return future

    # Connections

    def stage(self, session: Session) -> Stage | None:
        """A stage that takes out the server's answers; None if there are none."""
        if not self._answers:
            return None
        line, answers, always = session.state(Line), self._answers, "reject" in self._options

        def take(message: Message) -> Message | None:
            if not (line.expects or (always and line.sent)):
                return message
            if message.kind is not Kind.TEXT and message.kind is not Kind.BINARY:
                return message
            for match, option in answers:
                bound = match(message)
                if bound is not None and self._answered(session, line, bound, option):
                    return None
            return message

        return take

    async def begin(self, session: Session) -> None:
        """Subscribe what is wanted on a new connection, and wait for the answers."""
        line = session.state(Line)
        self.lines.append((session, line))
        paused, left = 0.0, list[Batch]()

        def stopped() -> bool:
            return session.paused_total > paused

        line.again = True
        while line.again and not left:  # once, unless something was refused that is asked for again in parts
            line.again = False
            batches = await self._synchronise(session, line)
            paused = session.paused_total
            for batch in batches:
                if not batch.answered.done():
                    session.extend(max(batch.due - reading_time(session), 0.0) + SPARE)
                # Who does not read sees no answers: the user must get what waits, and the answers are seen later.
                await until(session, batch, stopped, LOOK)
            left = [batch for batch in batches if not batch.answered.done()]
        line.live = True
        if left and stopped():
            session.spawn(self._await_answers(session, line, left, live=False))
        elif left:
            self._unconfirmed(session, line, left, live=False)
        if line.again:
            self._spread()

    def end(self, over: Callable[[Session], bool]) -> None:
        """Connections have ended. If they were the last, what somebody waits for is noted and nothing more."""
        self.lines = [(session, line) for session, line in self.lines if not over(session)]
        if not self.lines:
            self._finish_all(False)

    def close(self) -> None:
        """The client has ended."""
        self._closed = True
        self.lines = []
        self._finish_all(ClientClosed("the client was closed before the server answered"))

    def _finish_all(self, result: bool | Exception) -> None:
        for waiting in (self._adding, self._removing):
            for future in waiting.values():
                _finish(future, result)
            waiting.clear()

    def _spread(self) -> None:
        """Bring what is wanted to each connection that is alive."""
        for session, line in self.lines:
            if line.scheduled:
                continue
            line.scheduled = True
            try:
                session.spawn(self._change(session, line))
            except LibwsError:
                line.scheduled = False  # it is over, and the next connection gets it all

    async def _change(self, session: Session, line: Line) -> None:
        try:
            batches = await self._synchronise(session, line)
        except Exception as error:  # what `encode` raised, or a plugin that refused the message: its caller's
            if not self._told_callers(line, error):
                raise
            return
        await self._await_answers(session, line, batches, live=True)

    def _told_callers(self, line: Line, error: Exception) -> bool:
        """Give an error to those who wait for what was not written; says whether there was anybody."""
        unsent = [topic for topic in self.wanted if topic not in line.sent or not line.sent[topic].written]
        adding = [topic for topic in unsent if topic in self._adding]
        for topic in adding:
            self.wanted.pop(topic)
            line.forget(topic)
            _finish(self._adding.pop(topic), error)
        removing = [*self._removing]
        for topic in removing:
            line.forget(topic)
            _finish(self._removing.pop(topic), error)
        return bool(adding or removing)

    async def _await_answers(self, session: Session, line: Line, batches: list[Batch], *, live: bool) -> None:
        for batch in batches:
            await until(session, batch)
        left = [batch for batch in batches if not batch.answered.done()]
        if left:
            self._unconfirmed(session, line, left, live=live)

    async def _synchronise(self, session: Session, line: Line) -> list[Batch]:
        """Write what is wanted and was not sent, and what was sent and is not wanted; gives what must be answered."""
        batches: list[Batch] = []
        async with line.lock:
            while True:
                line.scheduled = False
                gone = [topic for topic in line.sent if topic not in self.wanted]
                new = [topic for topic in self.wanted if topic not in line.sent]
                if not gone and not new:
                    return batches
                if self._remover is None:
                    for topic in gone:
                        line.forget(topic)
                        _finish(self._removing.pop(topic, None), True)
                else:
                    for part in self._remover.split(gone):
                        batches += await self._ask(session, line, self._remover, part)
                for part in self._encoder.split(new, line.sizes):
                    part = tuple(topic for topic in part if topic in self.wanted)
                    if part:
                        batches += await self._ask(session, line, self._encoder, part)

    async def _ask(self, session: Session, line: Line, encoder: Encoder, part: tuple[Topic, ...]) -> list[Batch]:
        """Write the messages of some topics; gives what must be answered."""
        left = []
        for batch in await encoder.encode(session, part, self._position_of):
            line.add(batch)
            for message in batch.messages:
                batch.due = reading_time(session) + self._timeout
                await session.send(message)
            batch.written = True
            batch.due = reading_time(session) + self._timeout
            if ("confirm_remove" if batch.removal else "confirm") in self._options:
                left.append(batch)
                continue
            line.wait_for_none(batch, known="confirm" in self._options)
            for topic in batch.answer(batch.topics):
                self._confirmed(line, topic, removal=batch.removal)
        return left

    # Answers

    def _answered(self, session: Session, line: Line, bound: Mapping[str, Any], option: str) -> bool:
        """The server has said something; says whether it was about a subscription of ours."""
        refusal = option == "reject" or bound.get("error") not in (None, "", False)
        found = line.refuse(bound) if refusal else line.confirm(bound)
        if found is None:
            return False
        for batch, topics in found:
            if refusal and self._split and not batch.removal and not {"topic", "topics"} & bound.keys() and topics[1:]:
                line.halve(topics)
                if line.live:
                    self._spread()
                continue
            for topic in topics:
                if not refusal:
                    self._confirmed(line, topic, removal=batch.removal)
                elif batch.removal:
                    error = _rejection(topic, "the server refused to end", reason(bound))
                    _finish(self._removing.pop(topic, None), error)
                else:
                    self._refused(session, topic, _rejection(topic, "the server refused", reason(bound)))
        return True

    def _confirmed(self, line: Line, topic: Topic, *, removal: bool) -> None:
        if removal:
            if topic not in self.wanted:
                self._forgotten(topic)  # once more: something came between our request and this answer
            _finish(self._removing.pop(topic, None), True)
        elif topic in line.sent:
            line.confirmed.add(topic)
            line.sizes.pop(topic, None)
            _finish(self._adding.pop(topic, None), True)

    def _refused(self, session: Session, topic: Topic, error: SubscriptionRejected) -> None:
        """A topic is not to be had: nobody wants it any more until it is added again."""
        self.wanted.pop(topic, None)
        for _, line in self.lines:
            line.forget(topic)
        self.rejected[topic] = error
        logger.warning("%s", error)
        waiting = self._adding.pop(topic, None)
        if waiting is not None:
            _finish(waiting, error)
        else:
            session.emit(_gap(session, "the subscription was refused", topic))

    def _unconfirmed(self, session: Session, line: Line, batches: list[Batch], *, live: bool) -> None:
        """No answer has come in time."""
        topics = [topic for batch in batches for topic in batch.topics if topic in batch.waiting and not batch.removal]
        late = f"not confirmed by the server within {self._timeout:g} s:"
        if topics and not live and not line.answers:
            raise SubscriptionRejected(f"{late} any of {len(topics)} subscriptions")
        for batch in batches:
            if batch.removal:
                line.drop(batch)
                for topic in batch.waiting:
                    _finish(self._removing.pop(topic, None), _rejection(topic, f"{late} the end of", ""))
        for topic in topics:
            error = _rejection(topic, late, "")
            waiting = self._adding.pop(topic, None)
            logger.warning("%s", error)
            if waiting is None:  # it stays wanted: the next connection asks again, and a late answer still counts
                session.emit(_gap(session, "the subscription was not confirmed", topic))
                continue
            self.wanted.pop(topic, None)  # its caller learns it; what may have come of it is unsubscribed
            self.rejected[topic] = error
            _finish(waiting, error)
        self._spread()


def _rejection(topic: Topic, text: str, why: str) -> SubscriptionRejected:
    return SubscriptionRejected(f"{text} {topic!r}{why}")


def _gap(session: Session, why: str, topic: Topic) -> Gap:
    now = clock.wall()
    name = topic if isinstance(topic, str) else repr(topic)
    return Gap(why, session.request.attempt.generation, now, now, name)


def _finish(future: asyncio.Future[bool] | None, result: bool | Exception) -> None:
    """Tell whoever waits; nobody may."""
    if future is None or future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
        future.exception()
    else:
        future.set_result(result)
