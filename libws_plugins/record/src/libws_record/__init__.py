"""Record what crosses the wire: both directions, all kinds, with times, ends and refusals, and without secrets."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from msgspec import Meta

import libws_core
from libws_core import (
    Client,
    Closed,
    Connecting,
    Disconnected,
    Event,
    HandshakeRejected,
    Kind,
    LibwsError,
    Message,
    Request,
    Session,
    clock,
    errors,
    hookimpl,
)
from libws_core.types import Outgoing, Stage

from .format import FORMAT, VERSION, Connection, End, Failed, Line, Note, Run, WhatFailed, line_of, written
from .redaction import Everything, Redactor, secrets_of, secrets_of_request
from .writer import Writer

__all__ = ["Record"]

Way = Literal["in", "out"]

_numbers = itertools.count(1)


class Passed(NamedTuple):
    """A message has passed."""

    connection: int
    t: float
    way: Way
    kind: Kind
    data: str | bytes


class Tried(NamedTuple):
    """An attempt has got a connection, or has failed before."""

    connection: int
    """Its number; 0 = it failed."""
    request: Request
    at: float
    wall: float
    dialing: float
    error: LibwsError | None = None
    subprotocol: str | None = None
    answer: tuple[tuple[str, str], ...] = ()


class Over(NamedTuple):
    """A connection has ended."""

    connection: int
    t: float
    error: LibwsError | None


class Taped:
    """One connection as it is recorded."""

    __slots__ = ("attempt", "began", "ended", "gone", "number", "ready")

    def __init__(self, number: int, attempt: int, began: float) -> None:
        self.number, self.attempt, self.began = number, attempt, began
        self.ready = self.ended = False
        self.gone: float | None = None
        """When it ended, while it is not yet known why."""


@dataclass(eq=False, kw_only=True)
class Record:
    """Record what crosses the wire into a file of JSON lines, which the plugin `replay` dials as a URL.

    It stands behind all other stages, so it sees what the server really sent and what the client really wrote. Lines
    are written by a thread. Recording never breaks the client: a file that cannot be written to is told in the log,
    once.
    """

    file: str
    """Where to. `{time}`, `{pid}` and `{number}` in it become the time of the start (UTC), the process and a number
    that each client of the process has for itself."""
    redact: bool | Callable[..., Any] = True
    """Take secrets out. False = write everything as it is, log-ins and all. A callable is given the data of each
    message when that is done, str or bytes, and gives what to write in its place; it is called in a thread."""
    keys: list[str] = field(default_factory=list)
    """More names of JSON keys and headers whose values are secrets."""
    keep: list[str] = field(default_factory=list)
    """Names whose values are no secrets, whatever they look like, such as "pageToken"."""
    patterns: list[str] = field(default_factory=list)
    """More regular expressions; what they match is taken out, or only their groups, if they have some."""
    mode: Literal["append", "replace"] = "append"
    """What becomes of an earlier recording in the file: a new one goes behind it, or takes its place."""
    limit: Annotated[int, Meta(ge=4096)] | None = 100 * 2**20
    """Bytes that the file may have; then recording ends. None = no limit."""
    buffer: Annotated[int, Meta(ge=4096)] = 16 * 2**20
    """Bytes of messages that may wait for the disk; what comes on top is left out, and counted in the file."""

    behind: ClassVar[tuple[str, ...]] = ("codec", "ratelimit")

    _writer: Writer | None = field(default=None, init=False, repr=False)
    _redactor: Redactor = field(default_factory=Redactor, init=False, repr=False)
    _client: Any = field(default=None, init=False, repr=False)
    _loop: asyncio.AbstractEventLoop | None = field(default=None, init=False, repr=False)
    _began: float = field(default=0.0, init=False, repr=False)
    _phase_began: float = field(default=0.0, init=False, repr=False)
    _connections: int = field(default=0, init=False, repr=False)
    _open: dict[int, Taped] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for pattern in self.patterns:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"option 'patterns': {pattern!r} is no regular expression: {error}") from None
            if compiled.search(""):
                raise ValueError(f"option 'patterns': {pattern!r} matches the empty text, and so everywhere")
        path = Path(self._filled(0))
        if not self.file or path.is_dir():
            raise ValueError(f"option 'file': {self.file!r} is not the name of a file")
        if not path.parent.is_dir():
            raise ValueError(f"option 'file': there is no folder {str(path.parent)!r}; make it, or name another")

    @property
    def path(self) -> Path | None:
        """The file that is written to; None before the client opens."""
        return None if self._writer is None else self._writer.path

    @hookimpl
    def deliver(self, client: Client) -> None:
        """Remember the client, for the secrets in its plugins' options; gives no stage."""
        self._client = weakref.ref(client)

    @hookimpl(trylast=True)
    def incoming(self, session: Session) -> Stage:
        """Give a stage that records what arrives."""
        taped = self._taped(session)
        session.on_end(lambda error: self._gone(taped, error))
        return self._stage(taped, "in")

    @hookimpl(trylast=True)
    def outgoing(self, session: Session) -> Outgoing:
        """Give a function that records what is written."""
        return self._stage(self._taped(session), "out")

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Note that a connection is READY; watches nothing."""
        self._taped(session).ready = True

    @hookimpl(tryfirst=True)
    def adapt_error(self, error: LibwsError, request: Request) -> None:
        """Record why an attempt has failed or a connection was lost, before any plugin has its opinion; gives none."""
        taped = self._open.get(request.attempt.number)
        if taped is not None:
            self._over(taped, error)
            return
        writer, now = self._started(), self._now()
        dialing = round(now - self._phase_began, 6)
        writer.put(Tried(0, request, round(now - self._began, 6), clock.wall(), dialing, _kept(error)))

    @hookimpl
    def observe(self, event: Event) -> None:
        """Note how long phases take, our own close, and the end of the client, with which the file is closed."""
        if isinstance(event, Connecting):
            self._started()
            self._phase_began = event.monotonic
        elif isinstance(event, Disconnected):
            taped = self._open.get(event.attempt)
            if taped is not None:
                self._over(taped, event.error)
        elif isinstance(event, Closed) and self._writer is not None:
            for taped in [*self._open.values()]:
                self._over(taped, None)
            self._writer.end(Note(note="closed", at=round(self._now() - self._began, 6)))

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _started(self) -> Writer:
        """The writer, which gets the head of the recording first."""
        if self._writer is not None:
            return self._writer
        self._loop = asyncio.get_running_loop()
        self._began = self._phase_began = self._loop.time()
        if self.redact is False:
            self._redactor = Everything()
        else:
            more = self.redact if callable(self.redact) else None
            self._redactor = Redactor(keys=self.keys, keep=self.keep, patterns=self.patterns, more=more)
            self._redactor.learn(self._secrets())
        self._writer = writer = Writer(
            Path(self._filled(next(_numbers))),
            replace=self.mode == "replace",
            limit=self.limit,
            buffer=self.buffer,
            translate=_Translator(self._redactor),
        )
        weakref.finalize(self, writer.end)  # also at the end of a program that never closed its client
        wall = clock.wall()
        writer.put(
            Run(
                format=FORMAT,
                version=VERSION,
                libws=libws_core.__version__,
                wall=wall,
                time=datetime.fromtimestamp(wall, UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
                redacted=self.redact is not False,
            )
        )
        return writer

    def _secrets(self) -> list[tuple[str, bool]]:
        """What the options of this client's plugins hold as secrets."""
        client = None if self._client is None else self._client()
        if client is None:
            return []
        values = [option["value"] for part in client.explain()["plugins"] for option in part["options"].values()]
        return [secret for value in values for secret in secrets_of(value)]

    def _filled(self, number: int) -> str:
        """The file's name with what it has places for."""
        time = datetime.fromtimestamp(clock.wall(), UTC).strftime("%Y%m%dT%H%M%SZ")
        name = self.file.replace("{time}", time).replace("{pid}", str(os.getpid()))
        return name.replace("{number}", str(number))

    def _taped(self, session: Session) -> Taped:
        """This connection's record; its line is written when it is first asked for."""
        return session.state(Tape).of(self, session)

    def _stage(self, taped: Taped, way: Way) -> Callable[[Message], Message]:
        put, time, number, began = self._started().put, self._now, taped.number, taped.began

        def record(message: Message) -> Message:
            data = message.data
            if type(data) is not str and type(data) is not bytes:
                data = bytes(data)  # it is written later, and may have changed then
            put(Passed(number, round(time() - began, 6), way, message.kind, data), len(data) + 1)
            return message

        return record

    def _gone(self, taped: Taped, error: LibwsError) -> None:
        """A connection has ended. Why one failed that was never READY its attempt is about to tell."""
        taped.gone = self._now()
        if taped.ready:
            self._over(taped, error)

    def _over(self, taped: Taped, error: LibwsError | None) -> None:
        if taped.ended:
            return
        taped.ended = True
        gone = self._now() if taped.gone is None else taped.gone
        self._open.pop(taped.attempt, None)
        kept = None if error is None else _kept(error)
        self._started().put(Over(taped.number, round(gone - taped.began, 6), kept))


class Tape:
    """What a connection keeps for the plugin."""

    __slots__ = ("_taped",)

    def __init__(self) -> None:
        self._taped: Taped | None = None

    def of(self, record: Record, session: Session) -> Taped:
        """The connection's record, begun at the first call."""
        if self._taped is None:
            writer, now = record._started(), record._now()
            record._connections += 1
            attempt = session.request.attempt
            self._taped = record._open[attempt.number] = Taped(record._connections, attempt.number, now)
            dialing = round(now - record._phase_began, 6)
            writer.put(
                Tried(
                    record._connections,
                    session.request,
                    round(now - record._began, 6),
                    clock.wall(),
                    dialing,
                    subprotocol=session.subprotocol,
                    answer=session.response_headers.pairs,
                )
            )
        return self._taped


class _Translator:
    """Makes lines of what happened, in the writer's thread."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, entry: Any) -> Line | None:
        if isinstance(entry, Passed):
            return self._message(entry)
        if isinstance(entry, Tried):
            return self._attempt(entry)
        if isinstance(entry, Over):
            error = None if entry.error is None else self._failure(entry.error)
            return End(connection=entry.connection, t=entry.t, error=error)
        assert isinstance(entry, (Run, Note))
        return entry

    def _message(self, passed: Passed) -> Line:
        connection, t, way, kind, data = passed
        if kind is Kind.CLOSE:
            close = Message(kind, data)
            data = Message.close(close.code or 1005, str(self._redactor.clean(close.reason))).data
        else:
            data = self._redactor.clean(data)
        return line_of(connection, t, way, kind, data)

    def _attempt(self, tried: Tried) -> Line:
        redactor, request = self._redactor, tried.request
        redactor.learn(secrets_of_request(request, redactor))
        attempt = request.attempt
        common: dict[str, Any] = {
            "generation": attempt.generation,
            "attempt": attempt.number,
            "why": attempt.why,
            "at": tried.at,
            "wall": tried.wall,
            "dialing": tried.dialing,
            "url": redactor.url(request.url),
            "headers": redactor.request_headers(request.headers.pairs),
            "subprotocols": tuple(map(redactor.text, request.subprotocols)),
        }
        if tried.error is not None:
            return Failed(error=self._failure(tried.error), **common)
        chosen = None if tried.subprotocol is None else redactor.text(tried.subprotocol)
        answer = redactor.headers(tried.answer)
        return Connection(connection=tried.connection, subprotocol=chosen, answer=answer, **common)

    def _failure(self, error: LibwsError) -> WhatFailed:
        redactor = self._redactor
        known = next(cls for cls in type(error).__mro__ if cls.__module__ == errors.__name__)
        text_body = base64_body = None
        headers: tuple[tuple[str, str], ...] = ()
        if isinstance(error, HandshakeRejected):
            headers = redactor.headers(error.headers.pairs)
            text_body, base64_body = written(redactor.clean(error.body))
        return WhatFailed(
            error=known.__name__,
            text=redactor.text(error.text),
            verdict=error.verdict.value,
            fault=error.fault,
            initiator=error.initiator,
            phase=error.phase,
            code=error.code,
            reason=redactor.text(getattr(error, "reason", "")),
            status=error.status,
            retry_after=error.retry_after,
            headers=headers,
            text_body=text_body,
            base64_body=base64_body,
        )


def _kept(error: LibwsError) -> LibwsError:
    """A copy that holds nothing alive; the core goes on with its own."""
    copy = error.but()
    copy.__traceback__ = copy.__cause__ = copy.__context__ = None
    return copy
