"""Ask over a WebSocket, and give each question its answer."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from libws_core import (
    Client,
    Kind,
    LibwsError,
    Message,
    MessageExpired,
    NotReady,
    Session,
    hookimpl,
)
from libws_core.match import key
from libws_core.types import Outgoing, Stage

from .errors import RequestFailed, RequestLost, RequestTimeout
from .identity import NUMBER, Identity, check_make, encoded, failure, filing, items

__all__ = ["RequestFailed", "RequestLost", "RequestTimeout", "Requests"]


class Line:
    """One connection, and the questions that were written on it and are not answered."""

    def __init__(self) -> None:
        self.over = False
        self.questions: dict[Question, None] = {}


class Question:
    """One question, from when it has its turn to its answer."""

    __slots__ = ("answer", "id", "lines", "message", "passed")

    def __init__(self, message: Message, id: Any) -> None:
        self.id = id
        self.message = message
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self.passed: Line | None = None
        """The connection that it last was on its way to."""
        self.lines: list[Line] = []
        """The connections on which its answer may come: one, unless it cannot be told on which it was written."""


@dataclass(eq=False, kw_only=True)
class Requests:
    """Ask questions, and find the answers among what arrives: by their ids, in any order, also several in one array.

    Each question ends: with its answer, an error of the server, the loss of its connection or its time. None is asked
    twice. An answer is taken out of the stream; what nobody waits for stays in it.
    """

    id: str | Callable[[Message], Any] = "id"
    """Where a question has its id: a path such as "req_id", or "1" in an array; or a function of the Message."""
    answer_id: str | Callable[[Message], Any] | None = None
    """Where an answer has the id of its question: a path, or a function of the Message that gives None for what is no
    answer, such as a question of the server's own. None = where `id` says."""
    make_id: str | Callable[[], Any] = NUMBER
    """The id of a question that has none: a str in which `$number` is a new number, alone the number itself; or a
    function."""
    error: str | dict[str, Any] | Callable[[Message], Any] | None = "error"
    """Which answers are errors. A path: those that have something there. A dict: a match, in which `$error` is what the
    server said. A function of the Message: gives what it said, None or False if it is none. None = no answer is."""
    timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds from `ask` to the answer, unless it says otherwise."""
    limit: Annotated[int, Meta(ge=1)] = 1_000
    """Questions in flight. One more waits, within its time, until another has ended."""

    _identity: Identity = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _find: Callable[[Message], Any] = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _failure: Callable[[Message], Any] = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _client: weakref.ref[Client] | None = field(default=None, init=False, repr=False)
    _turns: asyncio.Semaphore = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _questions: dict[Hashable, Question] = field(default_factory=dict, init=False, repr=False)
    _unwritten: dict[int, Question] = field(default_factory=dict, init=False, repr=False)
    _lines: list[Line] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        _option("make_id", check_make, self.make_id)
        self._identity = _option("id", lambda given: Identity(given, self.make_id), self.id)
        self._find = _option("id", key, self.id)
        if self.answer_id is not None:
            self._find = _option("answer_id", key, self.answer_id)
        self._failure = _option("error", failure, self.error)
        self._turns = asyncio.Semaphore(self.limit)

    # What users call

    async def ask(
        self,
        message: str | bytes | Mapping[str, Any] | list[Any] | tuple[Any, ...] | Message,
        *,
        timeout: float | None = None,
        session: Session | None = None,
    ) -> Message:
        """Ask a question; returns the answer.

        Cancelled, it forgets the question: an answer that comes later is the user's.

        Args:
            message: the question: a dict or list is sent as JSON text, str as text, bytes as binary, a Message as it
                is. One without an id is given one.
            timeout: seconds for everything: its turn, the writing and the answer. None = as the option says.
            session: for plugins, also before READY: ask on this connection, ahead of users' messages. Within
                `establish` its deadline counts as well.

        Raises:
            RequestFailed: the server answered with an error.
            RequestLost: the connection ended before the answer came.
            RequestTimeout: no answer came in time.
            MessageExpired: it was not written in time, and will not be.
            NotReady: there is no READY connection, and no plugin keeps messages; it was not sent.
            ClientClosed: the client is closed or has failed; it was not sent.
            TypeError: the message is none of these.
            ValueError: it has no place for an id, or its id is in use.
        """
        seconds = self.timeout if timeout is None else timeout
        deadline = asyncio.get_running_loop().time() + seconds
        made, id = self._identity.question(message, self._questions)
        try:
            async with asyncio.timeout_at(deadline):
                await self._turns.acquire()
        except TimeoutError:
            raise MessageExpired(
                f"question {id!r} was not sent within {seconds:g} s: {self.limit} others were in flight"
            ) from None
        filed = filing(id)
        try:
            if filed in self._questions:  # another has taken the id while this one waited
                raise ValueError(f"question {id!r} waits for its answer already; give each another id")
            question = self._questions[filed] = Question(made, id)
            try:
                await self._write(question, session, deadline, seconds)
                return await self._answer(question, deadline, seconds)
            finally:
                self._forget(filed, question)
        finally:
            self._turns.release()

    @property
    def in_flight(self) -> tuple[Any, ...]:
        """The ids of questions that wait to be written or answered."""
        return tuple(question.id for question in self._questions.values())

    # Hooks

    @hookimpl
    def deliver(self, client: Client) -> Stage | None:
        """Learn through whom to send; answers are found before, on each connection."""
        self._client = weakref.ref(client)
        return None

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that takes out the answers to what was asked."""
        self._line(session)
        questions, take = self._questions, self._take
        text, binary = Kind.TEXT, Kind.BINARY

        def answers(message: Message) -> Message | None:
            if not questions or (message.kind is not text and message.kind is not binary):
                return message
            return take(message)

        return answers

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        """Give a function that notes on which connection a question leaves."""
        unwritten = self._unwritten
        line: Line | None = None

        def note(message: Message) -> Message:
            nonlocal line
            if unwritten and (question := unwritten.get(id(message))) is not None:
                line = question.passed = line or self._line(session)
            return message

        return note

    # Questions

    async def _write(self, question: Question, session: Session | None, deadline: float, seconds: float) -> None:
        """Bring a question onto the wire, and learn on which connection it is."""
        self._unwritten[id(question.message)] = question
        try:
            if session is not None:
                await self._write_on(session, question, deadline)
            else:
                await self._write_as_user(question, deadline, seconds)
        finally:
            del self._unwritten[id(question.message)]
        # A plugin nearer to the user may have sent another message in its place: then it may be any of these.
        lines = self._lines if question.passed is None else [question.passed]
        question.lines = [line for line in lines if not line.over]
        for line in question.lines:
            line.questions[question] = None
        if not question.lines and not question.answer.done():
            question.answer.set_exception(_lost(question, None))

    async def _write_as_user(self, question: Question, deadline: float, seconds: float) -> None:
        client = self._client() if self._client is not None else None
        if client is None:
            raise NotReady("the client was not opened")
        left = max(deadline - asyncio.get_running_loop().time(), 0.0)
        try:
            await client.send(question.message, timeout=left)
        except MessageExpired as error:
            raise MessageExpired(
                f"question {question.id!r} was not written in time ({seconds:g} s at most), and will not be sent"
            ) from error

    async def _write_on(self, session: Session, question: Question, deadline: float) -> None:
        writing = session.send(question.message)
        try:
            async with asyncio.timeout_at(deadline):
                await writing
        except TimeoutError:
            pass  # it is queued and cannot be taken back: the wait for its answer ends at once

    async def _answer(self, question: Question, deadline: float, seconds: float) -> Message:
        try:
            async with asyncio.timeout_at(deadline):
                answer = await question.answer
        except TimeoutError:
            raise RequestTimeout(
                f"question {question.id!r} was not answered within {seconds:g} s", id=question.id
            ) from None
        said = self._failure(answer)
        if said is not None:
            raise RequestFailed(
                f"the server answered question {question.id!r} with an error", id=question.id, data=said, answer=answer
            )
        return answer

    def _forget(self, filed: Hashable, question: Question) -> None:
        if self._questions.get(filed) is question:
            del self._questions[filed]
        for line in question.lines:
            line.questions.pop(question, None)
        if question.answer.done() and not question.answer.cancelled():
            question.answer.exception()  # whoever asked may have gone
        question.answer.cancel()

    # Answers

    def _take(self, message: Message) -> Message | None:
        """Take an answer, or those in an array; what is left goes on."""
        found = self._find(message)
        if found is not None:
            return None if self._answered(found, message) else message
        left, before = [], len(self._questions)
        for item in items(message):
            if isinstance(item, (dict, list)):
                one = encoded(message.kind, item)
                found = self._find(one)
                if found is not None and self._answered(found, one):
                    continue
            left.append(item)
        if len(self._questions) == before:
            return message
        return encoded(message.kind, left) if left else None

    def _answered(self, found: Any, message: Message) -> bool:
        """Give an answer to whoever waits for it; says whether there was somebody."""
        filed = filing(found)
        question = self._questions.get(filed) if filed is not None else None
        if question is None or question.answer.done():
            return False
        del self._questions[filed]
        question.answer.set_result(message)
        return True

    # Connections

    def _line(self, session: Session) -> Line:
        """What is known of a connection; at its first use, see to it that its end is noticed."""
        line = session.state(Line)
        if line not in self._lines and not line.over:
            self._lines.append(line)
            session.on_end(lambda error: self._ended(line, error))
        return line

    def _ended(self, line: Line, why: LibwsError) -> None:
        """A connection has ended: whoever waits for an answer on it waits in vain."""
        line.over = True
        self._lines.remove(line)
        questions, line.questions = line.questions, {}
        for question in questions:
            question.lines.remove(line)
            if not question.lines and not question.answer.done():
                question.answer.set_exception(_lost(question, why))


def _lost(question: Question, why: LibwsError | None) -> RequestLost:
    error = RequestLost(
        f"the connection ended before question {question.id!r} was answered; what the server made of it is not known",
        id=question.id,
    )
    error.__cause__ = why
    return error


def _option(name: str, make: Callable[[Any], Any], given: Any) -> Any:
    try:
        return make(given)
    except ValueError as error:
        raise ValueError(f"option {name!r}: {error}") from None
