"""GraphQL over WebSocket: the subprotocol graphql-transport-ws."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from libws_core import (
    ClientClosed,
    Closed,
    Event,
    InvalidHandshake,
    Kind,
    LibwsError,
    Message,
    NotReady,
    Request,
    Session,
    hookimpl,
)
from libws_core.credentials import Item, concealed
from libws_core.match import check_template
from libws_core.types import Outgoing, Stage

from .errors import OperationFailed, OperationLost, OperationRejected, OperationTimeout, ReaderTooSlow
from .login import PAYLOAD, answer_to, ask_payload, message_of
from .operations import Feed, Operation, Subscription, data_of, rejection
from .profile import CODES, FORBIDDEN, PING_INTERVAL, PING_TIMEOUT, SUBPROTOCOL

__all__ = [
    "Graphql",
    "OperationFailed",
    "OperationLost",
    "OperationRejected",
    "OperationTimeout",
    "ReaderTooSlow",
    "Subscription",
]

PREFIX = "libws-"
"""Ids that begin so are ours; other operations are those of whoever sends messages of the protocol himself."""


class Line:
    """One connection, and the operations that run on it."""

    def __init__(self) -> None:
        self.session: Session = None  # type: ignore[assignment]
        self.ready = False
        self.closed_with: int | None = None
        """The code of our close."""
        self.said_all = False
        """Our close was answered, so everything before that has come. A close of the server's own has another code, or
        came first: then it is not known what it had read on another connection by then."""
        self.feeds: dict[str, Feed] = {}


@dataclass(eq=False, kw_only=True)
class Graphql:
    """Log in by `connection_init`, run operations, and keep subscriptions over reconnects.

    Pings of both sides are messages of the protocol; the plugins `ping` and `pong` are told so. What the server says
    beside its answers to operations of this plugin goes on to the user.
    """

    payload: dict[str, Item] | Callable[..., Any] | None = field(default=None, repr=False)
    """What `connection_init` carries, such as a token. A callable, plain or async, is asked anew on each attempt; it
    may take the request, and gives a dict or None. None = nothing."""
    ack_timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds from `connection_init` to the server's `connection_ack`."""
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds that `execute` waits for the result, unless it says otherwise."""
    queue: Annotated[int, Meta(ge=1)] = 10_000
    """Results of one subscription that may wait for its reader. One more ends the subscription with ReaderTooSlow."""
    queue_bytes: Annotated[int, Meta(ge=1)] = 8 * 2**20
    """The same in bytes of messages, 8 MiB; an empty queue admits one of any size."""

    acknowledged: Any = field(default=None, init=False, repr=False)
    """The payload of the newest `connection_ack`, None if it has none."""
    _lines: list[Line] = field(default_factory=list, init=False, repr=False)
    _operations: dict[Operation, None] = field(default_factory=dict, init=False, repr=False)
    _numbers: Any = field(default_factory=lambda: itertools.count(1), init=False, repr=False)
    _names: Any = field(default_factory=lambda: itertools.count(1), init=False, repr=False)
    _ended: Closed | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.payload = concealed(self.payload)
        if isinstance(self.payload, Mapping):
            try:
                check_template(self.payload)
            except ValueError as error:
                raise ValueError(f"option 'payload': {error}") from None

    def uses(self) -> dict[str, dict[str, Any]]:
        """Pings as messages of the protocol, and what close codes mean."""
        renewable = {FORBIDDEN: "refresh"} if callable(self.payload) else {}
        return {
            "ping": {
                "message": {"type": "ping"},
                "reply": {"type": "pong"},
                "interval": PING_INTERVAL,
                "timeout": PING_TIMEOUT,
            },
            "pong": {"match": {"type": "ping"}, "reply": _pong},
            "backoff": {"codes": {**CODES, **renewable}},
        }

    # What users call

    def subscribe(
        self,
        query: str,
        *,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        extensions: Mapping[str, Any] | None = None,
        results: bool = False,
        markers: bool = False,
    ) -> Subscription:
        """Begin a subscription, on this connection and each later one. Plain: it is on its way when this returns.

        Args:
            query: the operation, as text.
            variables: of the query; a `Secret` among them counts as the str in it.
            results: give whole results, dicts with `data`, `errors` and `extensions`; so it is, each result's data.
            markers: give also a Gap where results may be missing, since the connection was lost.

        Returns:
            An async iterator. Reading raises OperationRejected if the server refuses the operation, OperationFailed at
            a result with errors (go on reading behind it, if you like), ReaderTooSlow if it was read too slowly, and
            what ended the client if it has failed.

        Raises:
            ClientClosed: the client has ended.
        """
        self._check_open()
        operation = self._operation(query, variables, operation_name, extensions, lasting=True)
        if self._lines:
            self._begin_live(self._lines[-1], operation)
        return Subscription(operation, results=results, markers=markers)

    async def execute(
        self,
        query: str,
        *,
        variables: Mapping[str, Any] | None = None,
        operation_name: str | None = None,
        extensions: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Run a query or mutation once; returns the data of its result.

        Args:
            timeout: seconds for all of it; None = as the option says.

        Raises:
            OperationRejected: the server refused it.
            OperationFailed: its result has errors; `data` has what there is beside them.
            OperationLost: the connection ended before the result came.
            OperationTimeout: no result came in time.
            NotReady: the client is not READY; it was not sent.
            ClientClosed: the client has ended.
        """
        self._check_open()
        line = next((line for line in reversed(self._lines) if line.ready), None)
        if line is None:
            raise NotReady("the client is not READY; subscriptions wait for it, queries and mutations do not")
        operation = self._operation(query, variables, operation_name, extensions, lasting=False)
        seconds = self.timeout if timeout is None else timeout
        self._begin_live(line, operation)
        found: list[Any] = []
        try:
            async with asyncio.timeout(seconds):
                while True:
                    found.append(await operation.read())
        except StopAsyncIteration:
            if not found:
                raise OperationFailed(f"{operation.name} was completed without a result", errors=[]) from None
        except OperationLost:
            if not found:
                raise
        except TimeoutError as error:
            if isinstance(error, LibwsError):
                raise
            if not found:
                raise OperationTimeout(f"{operation.name} had no result within {seconds:g} s") from None
        finally:
            operation.close()
        return data_of(operation.name, found[0])

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """The names of subscriptions that run, or wait for the next connection."""
        return tuple(operation.name for operation in self._operations if operation.lasting and operation.wanted)

    # Hooks

    @hookimpl
    async def authenticate(self, request: Request) -> Request | None:
        """Offer the subprotocol, and ask for the payload."""
        offered = [name for name in request.subprotocols if name != SUBPROTOCOL]
        payload = await ask_payload(self.payload, request)
        extra = request.extra if payload is None else {**request.extra, PAYLOAD: payload}
        return replace(request, subprotocols=(*offered, SUBPROTOCOL), extra=extra)

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that takes out the results of operations."""
        line = session.state(Line)
        feeds, text = line.feeds, Kind.TEXT

        def take(message: Message) -> Message | None:
            if message.kind is not text:
                if message.kind is Kind.CLOSE and message.code == line.closed_with:
                    line.said_all = True
                return message
            if PREFIX not in message.data:
                return message
            try:
                said = message.json
            except ValueError:
                return message
            id = said.get("id") if isinstance(said, dict) else None
            if not isinstance(id, str) or not id.startswith(PREFIX):
                return message
            kind = said.get("type")
            if kind not in ("next", "error", "complete"):
                return message
            feed = feeds.get(id)
            if feed is not None:  # else it is what was under way when we said that we want no more
                self._said(feeds, feed, kind, said.get("payload"), len(message.data))
            return None

        return take

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        """Give a function that notes our close."""
        line, close = session.state(Line), Kind.CLOSE

        def note(message: Message) -> Message:
            if message.kind is close:
                line.closed_with = message.code
            return message

        return note

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Log in, then begin again what should run."""
        if session.subprotocol != SUBPROTOCOL:
            raise InvalidHandshake(f"the server does not speak {SUBPROTOCOL!r}; it chose {session.subprotocol!r}")
        payload = session.request.extra.get(PAYLOAD)
        login = {"type": "connection_init"} | ({} if payload is None else {"payload": payload})
        answer = await answer_to(session, login, "connection_ack", self.ack_timeout)
        self.acknowledged = answer.json.get("payload")
        line = session.state(Line)
        line.session = session
        self._lines.append(line)
        session.on_end(lambda error: self._lost(line, error))
        begun = [operation for operation in self._operations if operation.lasting]
        for operation in begun:
            if operation.wanted:
                await session.send(self._begin(line, operation))
        if begun and session.request.attempt.why == "move":
            # The old connection is closed when this one is READY. Nothing is missed if the server has read by then what
            # was begun here, which its answer to something behind it proves.
            await answer_to(session, {"type": "ping"}, "pong", self.ack_timeout)

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Note that this connection is READY."""
        session.state(Line).ready = True

    @hookimpl
    def observe(self, event: Event) -> None:
        """Tell readers the client's end."""
        if isinstance(event, Closed):
            self._ended = event
            for operation in [*self._operations]:
                operation.close(event.error)
            self._operations.clear()

    # Operations

    def _operation(self, query: str, variables: Any, name: str | None, extensions: Any, *, lasting: bool) -> Operation:
        given = {"operationName": name, "variables": variables, "extensions": extensions}
        payload = {"query": query} | {key: value for key, value in given.items() if value is not None}
        check_template(payload)
        operation = Operation(
            name or f"{'subscription' if lasting else 'operation'} {next(self._names)}",
            payload,
            lasting=lasting,
            messages=self.queue,
            size=self.queue_bytes,
            stop=self._stop,
            over=lambda operation: self._operations.pop(operation, None),
        )
        self._operations[operation] = None
        return operation

    def _begin(self, line: Line, operation: Operation) -> Message:
        """Begin an operation on a connection; gives the message that says so."""
        feed = operation.begin(f"{PREFIX}{next(self._numbers)}", line.session.request.attempt.generation)
        line.feeds[feed.id] = feed
        return message_of({"id": feed.id, "type": "subscribe", "payload": operation.payload})

    def _begin_live(self, line: Line, operation: Operation) -> None:
        """Begin an operation on a connection that is up; where a plugin refuses the message, its reader gets that."""
        written = line.session.send(self._begin(line, operation))
        feed = operation.feeds[-1]

        async def write() -> None:
            try:
                await written
            except LibwsError as error:
                if line in self._lines:
                    line.feeds.pop(feed.id, None)
                    operation.finish(feed, error)

        try:
            line.session.spawn(write())
        except LibwsError:
            pass  # the connection is over, which is told in a moment

    def _said(self, feeds: dict[str, Feed], feed: Feed, kind: str, payload: Any, size: int) -> None:
        """The server has said something about an operation."""
        operation = feed.operation
        if kind == "next" and isinstance(payload, dict):
            operation.add(feed, payload, size)
            return
        feeds.pop(feed.id, None)
        if kind == "complete":
            operation.finish(feed)
        elif kind == "error":
            operation.finish(feed, rejection(operation.name, payload))
        else:
            self._stop(feed)
            error = OperationFailed(f"{operation.name}: the server said 'next' without a result", errors=[])
            operation.finish(feed, error)

    def _stop(self, feed: Feed) -> None:
        """Tell the server that nobody wants an operation any more, on the connection that runs it."""
        for line in self._lines:
            if line.feeds.pop(feed.id, None) is not None:
                line.session.send(message_of({"id": feed.id, "type": "complete"}))

    def _lost(self, line: Line, why: LibwsError) -> None:
        """A connection has ended: subscriptions go on where they can, what was to have one result does not."""
        self._lines.remove(line)
        feeds = [*line.feeds.values()]
        line.feeds.clear()
        for feed in feeds:
            operation = feed.operation
            if operation.lasting:
                operation.lose(feed, said_all=line.said_all)
                if self._lines and operation.wanted and not operation.running:  # an older one carries again
                    self._begin_live(self._lines[-1], operation)
            else:
                error = OperationLost(f"the connection ended before {operation.name} had its result")
                error.__cause__ = why
                operation.finish(feed, error)

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ClientClosed("the client is closed")


def _pong(ping: Message) -> dict[str, Any]:
    """The answer to a ping: with its payload, if it has one."""
    said = ping.json
    return {"type": "pong", "payload": said["payload"]} if said.get("payload") is not None else {"type": "pong"}
