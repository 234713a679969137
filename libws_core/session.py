"""One live connection: what plugins see as `Session`, and what the client performs on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

from .asking import ask
from .backlog import Backlog
from .closing import check_code, fitting
from .errors import ConnectionClosed, KeepAliveTimeout, LibwsError, PluginFailed
from .events import Dropped, Event, Gap
from .match import matcher
from .outbound import HIGH, Outbound, OutgoingFunction, Ticket
from .pauses import Pauses
from .proofs import Proofs
from .secret import public_url
from .stages import compose_incoming
from .types import Attempt, Connection, Kind, Message, Request, Sending

if TYPE_CHECKING:
    from .supervisor import Supervisor

logger = logging.getLogger("libws")

PAUSED_LOOK = 0.05
"""Seconds between two looks at a ping's deadline while we are not reading."""


class LiveSession:
    """Implements `Session` for one connection, from its first byte to its last.

    What arrives goes to `_sink`: until READY it waits for `recv`, in a move it waits until the older connection has
    delivered its last, else it goes straight to the client.
    """

    __slots__ = (
        "_close_code",
        "_closing",
        "_direct",
        "_dropped",
        "_endings",
        "_head",
        "_held",
        "_last_data",
        "_last_seen",
        "_linger",
        "_loop",
        "_objects",
        "_pauses",
        "_reads_out",
        "_sees_bytes",
        "_sees_data",
        "_sink",
        "_supervisor",
        "attempt",
        "connection",
        "error",
        "follows",
        "gone",
        "outbound",
        "proofs",
        "ready",
        "request",
        "response_headers",
        "scope",
        "shown",
        "subprotocol",
        "tasks",
    )

    def __init__(self, supervisor: Supervisor, request: Request, attempt: Attempt, connection: Connection) -> None:
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self.request = request
        self.attempt = attempt
        self.connection = connection
        self.subprotocol = connection.subprotocol
        self.response_headers = connection.headers
        self.ready = False
        self._head = False
        self.error: LibwsError | None = None
        """Why it is over; None while it lives."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Ends when the socket is closed."""
        self.scope: asyncio.Timeout | None = None
        """Establish's deadline."""
        self.shown = False
        """A message for the user has arrived."""
        self.follows = False
        """Nothing is missing between the connections before and this one."""
        self._closing = False
        self._close_code: int | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._objects: dict[Any, Any] = {}
        self._endings: list[Callable[[LibwsError], object]] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        """What runs until it ends."""
        self._reads_out = False
        self._dropped = 0
        self._held = Backlog()
        self._pauses = Pauses()
        now = self._loop.time()
        self._sees_bytes = isinstance(getattr(connection, "received", None), float)
        self._sees_data = hasattr(connection, "sink")
        self._direct = False  # texts and binaries go to `_sink` without any step between
        self._last_seen = self._last_data = now
        self._sink: Callable[[Message], object] = self._pend
        functions = [
            OutgoingFunction(hook.plugin, function)
            for hook in supervisor.plan.hooks["outgoing"]
            if (function := ask(hook, "outgoing", self)) is not None
        ]
        self.outbound = Outbound(connection, functions, self._was_written, self.fail)
        self.proofs = Proofs(self.send)

    def start(self) -> None:
        """Compose the stages and let the connection push."""
        try:
            stages = [
                (hook.plugin, stage)
                for hook in reversed(self._supervisor.plan.hooks["incoming"])
                if (stage := ask(hook, "incoming", self)) is not None
            ]
        except LibwsError:
            self.connection.start(_ignore, self._ended)  # only a connection that was started tells its end
            raise
        staged, control = compose_incoming(stages, self._on_data, self.mark, self._stage_failed)
        self.connection.start(self._entry(staged, control), self._ended)

    # What plugins see

    @property
    def idle(self) -> float:
        """Seconds since any byte arrived; stands still while we have paused reading."""
        return self._pauses.since(self._seen(), self._loop.time())

    @property
    def quiet(self) -> float:
        """Seconds since an application message arrived; stands still while we have paused reading."""
        return self._pauses.since(self._data_seen(), self._loop.time())

    def send(self, message: Message | Sending) -> Awaitable[None]:
        """Queue a message ahead of users' ones; a `Sending` is one of theirs."""
        sending = message if isinstance(message, Sending) else None
        message = message.message if isinstance(message, Sending) else message
        if not isinstance(message, Message):
            raise TypeError(f"session.send takes a Message or a Sending, not {type(message).__name__}")
        if message.kind is Kind.CLOSE:
            raise ValueError("a CLOSE cannot be sent as a message; use session.fail(error, code)")
        if sending is not None and self.error is not None:
            raise self.error  # its holder keeps it
        ticket = Ticket(message, sending)
        ticket.progress = not self.ready and self._within_establish(message)
        return self.outbound.put(ticket)

    async def recv(self, match: Any = None) -> Message:
        """Take the first data message that matches; only within `establish`."""
        if self.ready:
            raise RuntimeError("session.recv is for establish; a READY connection's messages are the user's")
        if self.error is not None:
            raise self.error
        message = await self._held.take(None if match is None else matcher(match))
        self.touch()
        inbox = self._supervisor.delivery.inbox
        if len(self._held.items) <= inbox.max_messages // 2 and self._held.size <= inbox.max_size // 2:
            self.resume()
        return message

    async def ping(self, timeout: float = 20) -> float:
        """Send a ping frame and wait for its pong; gives the round trip in seconds."""
        if self.error is not None:
            raise self.error
        start = self._loop.time()
        future: asyncio.Future[float] = self._loop.create_future()
        payload = self.proofs.ping(future)
        deadline = start + timeout - self._pauses.total(start)
        try:
            while not future.done():
                now = self._loop.time()
                left = deadline + self._pauses.total(now) - now
                if self._pauses.paused:
                    left = max(left, PAUSED_LOOK)
                elif left <= 0:
                    raise KeepAliveTimeout(f"no pong within {timeout:g} s")
                await asyncio.wait((future,), timeout=left)
            return future.result()
        finally:
            self.proofs.forget(payload)
            future.cancel()

    def state(self, make: Callable[[], Any]) -> Any:
        """This connection's own object of that class."""
        try:
            return self._objects[make]
        except KeyError:
            made = self._objects[make] = make()
            return made

    def plugin(self, which: Any) -> Any:
        """The client's instance of a plugin."""
        return self._supervisor.plan.plugin(which)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine until the connection ends."""
        return self.run(coroutine, f"what {getattr(coroutine, '__qualname__', 'a plugin')} does")

    def on_end(self, ended: Callable[[LibwsError], object]) -> None:
        """Have this called when the connection has ended."""
        if self.error is None:
            self._endings.append(ended)
        else:
            _harmless(ended, self.error)

    def extend(self, seconds: float) -> None:
        """Move establish's deadline."""
        if self.scope is not None and self.error is None and not self.scope.expired():
            self.scope.reschedule(self._loop.time() + seconds)

    def resumed(self) -> None:
        """Say that the peer goes on where the lost connection ended."""
        if self.ready:
            raise RuntimeError("session.resumed is for establish; at READY it is told what is missing")
        self.follows = all(each.error is not None for each in self._supervisor.delivery.line)

    def fail(self, error: LibwsError, code: int | None = None) -> None:
        """End the connection with this verdict."""
        if not isinstance(error, LibwsError):
            raise TypeError(f"session.fail takes a LibwsError, not {type(error).__name__}")
        if code is not None:
            check_code(code)
        if self.error is not None:
            return
        if code is None or self.gone.done():
            self._over(error)
            self.connection.abort()
        else:
            self.close(code)
            self._over(error)
            self.resume()  # the answer to our close must be read, what comes before it is ignored
            self._abort_later()

    def reopen(
        self,
        why: str,
        request: Request | None = None,
        order: Literal["make-first", "break-first"] = "make-first",
        overlap: float = 10,
        settle: float = 0,
    ) -> Awaitable[bool | LibwsError]:
        """Move to a new connection."""
        return self._supervisor.reopen(self, why, request, order, overlap, settle)

    def emit(self, what: Any) -> None:
        """An event to observers, a Message into the inbox, a Gap to both."""
        if isinstance(what, Gap):
            self.mark(what)
        elif isinstance(what, Event):
            self._supervisor.emit(what, self.attempt)
        elif isinstance(what, Message):
            self._supervisor.delivery.put(what)
        else:
            raise TypeError(f"session.emit takes an event or a Message, not {type(what).__name__}")

    # What the client performs

    def run(self, coroutine: Coroutine[Any, Any, Any], what: str) -> asyncio.Task[Any]:
        """Own a task until the connection ends; `what` it is, for the text of a failure."""
        if self.error is not None:
            coroutine.close()
            raise self.error

        def done(task: asyncio.Task[Any]) -> None:
            self.tasks.discard(task)
            if task.cancelled() or (error := task.exception()) is None or self.error is not None:
                return
            if self._closing and isinstance(error, ConnectionClosed):
                return  # behind our close nothing can be asked any more, and the close has its own deadline
            if not isinstance(error, LibwsError):
                cause = error
                error = PluginFailed(f"{what} failed: {type(cause).__name__}: {cause}")
                error.__cause__ = cause
            self.fail(error)

        task = self._supervisor.own(coroutine)
        self.tasks.add(task)
        task.add_done_callback(done)
        return task

    def tell_end(self, error: LibwsError) -> None:
        """Call those who wait for the end; `error` is what plugins make of it."""
        endings, self._endings = self._endings, []
        for ended in endings:
            _harmless(ended, error)

    def become_ready(self) -> None:
        """The last establish has ended: what waited is now the user's."""
        self.ready = True
        inbox = self._supervisor.delivery.inbox
        for item in self._held.items:
            if isinstance(item, Message):
                inbox.admit(item)
                self.shown = True
        self._use(self._hold)
        self._held.close(RuntimeError("session.recv is for establish, which has ended"))
        if inbox.full:
            self.pause()
        elif self._pauses.paused:
            self.resume()

    def flow(self) -> None:
        """This is the oldest connection: deliver what was held back, then directly."""
        self._head = True
        delivery, held = self._supervisor.delivery, self._held.items
        while held:  # the inbox counts it already
            item = held.popleft()
            if isinstance(item, Gap):
                delivery.place(item)
                continue
            delivery.inbox.dismiss(item)
            if delivery.cut_off:
                self._dropped += 1
            else:
                delivery.deliver(item)
        if self.error is not None:
            self._tell_dropped()
        else:
            self._use(self._spare if self._reads_out else delivery.deliver)
            if delivery.has_room:
                self.resume()
            else:
                self.pause()

    def write_now(self, message: Message) -> bool:
        """Write a user's message, if nothing stands in its way."""
        if self.outbound.busy or self.connection.buffered > HIGH:
            return False
        self.connection.write(message)
        self.proofs.written += 1
        return True

    def pause(self) -> None:
        """Stop reading; the clocks that blame the peer stand still."""
        if not self._pauses.paused and not self._reads_out and not self.gone.done():
            self._pauses.begin(self._loop.time(), self._seen(), self._data_seen())
            self.connection.pause()

    def resume(self) -> None:
        """Read on."""
        if self._pauses.paused:
            self._pauses.end(self._loop.time())
            self.connection.resume()

    def close(self, code: int, reason: str = "") -> None:
        """Begin the closing handshake."""
        self._closing = True
        self.outbound.stop()
        message = self.outbound.close_message(Message.close(code, fitting(reason)))
        self._close_code = message.code or code
        self.connection.close(self._close_code, message.reason)

    def read_out(self) -> None:
        """We are leaving: the answer to our close must be read, even if there is no room for what comes before it."""
        self._reads_out = True
        if self.ready and self.error is None:
            self._use(self._spare)
        self.resume()

    def drop(self, why: str) -> None:
        """End it at once, without a frame, because we want so."""
        self.fail(ConnectionClosed(f"{public_url(self.request.url)} was dropped by us: {why}", initiator="local"))
        self.connection.abort()

    @property
    def paused_total(self) -> float:
        """Seconds that we have not been reading, in all."""
        return self._pauses.total(self._loop.time())

    def mark(self, gap: Gap) -> None:
        """A Gap: an event at once, a marker in its place."""
        self._supervisor.emit(gap, self.attempt)
        self.place(gap)

    def place(self, gap: Gap) -> None:
        """Put a marker in its place among the messages."""
        if self._head:
            self._supervisor.delivery.place(gap)
        else:
            self._held.items.append(gap)

    def place_first(self, gap: Gap) -> None:
        """Put a marker before everything that this connection brought."""
        self._held.items.appendleft(gap)

    @property
    def holds(self) -> bool:
        """Something waits until older connections have delivered their last."""
        return bool(self._held.items)

    @property
    def begins_with_gap(self) -> bool:
        """A marker stands before everything that this connection brought."""
        return bool(self._held.items) and isinstance(self._held.items[0], Gap)

    def rewire(self) -> None:
        """Where the client delivers has changed."""
        if self._head and not self._reads_out and self.error is None:
            self._use(self._supervisor.delivery.deliver)

    # What the connection tells

    def _entry(self, staged: Callable[[Message], object] | None, control: Callable[[Message], object]) -> Any:
        """What the connection calls with each message, and, if it has a `sink`, with those only that are not data."""
        text, binary = Kind.TEXT, Kind.BINARY
        on_data = staged or self._on_data  # a connection with a sink gives no data here

        def receive(message: Message) -> None:
            kind = message.kind
            if kind is text or kind is binary:
                on_data(message)
            else:
                self._on_control(message)
                control(message)

        if self._sees_data:
            self._direct = staged is None
            self.connection.sink = staged or self._sink  # type: ignore[attr-defined]
        return receive

    def _use(self, sink: Callable[[Message], object]) -> None:
        """From now on data messages go here."""
        self._sink = sink
        if self._direct:
            self.connection.sink = sink  # type: ignore[attr-defined]

    def _on_data(self, message: Message) -> None:
        """What stands behind the stages, which may have taken heartbeats out, or have ended the connection."""
        self._last_data = self.connection.received if self._sees_bytes else self._loop.time()  # type: ignore[attr-defined]
        self._sink(message)

    def _on_control(self, message: Message) -> None:
        self._last_seen = self._loop.time()
        if message.kind is Kind.CLOSE:  # RFC 6455 section 5.5.1: nothing can be sent after the answer to it
            self.outbound.stop()
            self._abort_later()
        elif message.kind is Kind.PONG:
            round_trip = self.proofs.pong(message.data)
            if round_trip is not None:
                self._supervisor.latency = round_trip

    def _pend(self, message: Message) -> None:
        if self._held.add(message):
            return
        inbox = self._supervisor.delivery.inbox
        if len(self._held.items) >= inbox.max_messages or self._held.size >= inbox.max_size:
            self.pause()

    def _hold(self, message: Message) -> None:
        self._held.items.append(message)
        inbox = self._supervisor.delivery.inbox
        inbox.admit(message)
        if inbox.full:
            self.pause()
        if not self.shown:
            self.shown = True
            self._supervisor.session_shown(self)

    def _spare(self, message: Message) -> None:
        delivery = self._supervisor.delivery
        if delivery.cut_off or not delivery.has_room:
            delivery.cut_off = True
            self._dropped += 1
        elif self._head:
            delivery.deliver(message)
        else:
            self._hold(message)

    def _tell_dropped(self) -> None:
        if self._dropped:
            count, self._dropped = self._dropped, 0
            self._supervisor.emit(Dropped(count, "the inbox was full while closing"), self.attempt)

    def touch(self) -> None:
        """Progress in establish: its deadline begins anew, unless `extend` has moved it further."""
        scope, anew = self.scope, self._loop.time() + self._supervisor.open_timeout
        if scope is not None and (scope.when() or 0) < anew:
            self.extend(self._supervisor.open_timeout)

    def _within_establish(self, message: Message) -> bool:
        """A hook sends it, not a stage, and no task that beats beside."""
        task = asyncio.current_task()
        return message.kind < Kind.CLOSE and task is not None and task not in self.tasks

    def _abort_later(self) -> None:
        if self._linger is None:
            self._linger = self._loop.call_later(self._supervisor.close_timeout, self.connection.abort)

    def _stage_failed(self, plugin: str, error: Exception) -> None:
        if not isinstance(error, LibwsError):
            cause = error
            error = PluginFailed(f"plugin {plugin!r} failed in incoming: {type(cause).__name__}: {cause}")
            error.__cause__ = cause
        self.fail(error)

    def _was_written(self, ticket: Ticket) -> None:
        if ticket.sending is not None:
            self._supervisor.sent += 1
            self.proofs.wrote(ticket.sending)
        elif ticket.message.kind is Kind.PING:
            self.proofs.wrote_ping(ticket.message.data)
        if ticket.progress:
            self.touch()

    def _ended(self, error: LibwsError) -> None:
        if self.gone.done():
            return
        if self._linger is not None:
            self._linger.cancel()
        self._pauses.end(self._loop.time())
        self.gone.set_result(None)
        if self._closing and error.initiator == "local" and error.code == self._close_code:
            # Our close was answered, so the peer has read everything before it. An answer echoes the code (RFC 6455
            # section 5.5.1); another code is a close of the peer's own, which has crossed ours and proves nothing.
            self.proofs.prove(self.proofs.written)
        if self.error is None:
            self._over(error)
        self._supervisor.session_gone(self)

    def _over(self, error: LibwsError) -> None:
        """This is why it ends: nothing more arrives, nothing more is written, nothing more runs."""
        self.error = error
        if error.attempt is None:
            error.attempt, error.generation = self.attempt.alone(), self.attempt.generation
        if error.phase is None:
            error.phase = "ready" if self.ready else "establish"
        self._use(_ignore)
        self._held.close(error)
        self._tell_dropped()
        if not self.ready and (unread := sum(isinstance(item, Message) for item in self._held.items)):
            self._supervisor.emit(Dropped(unread, "the connection ended before it was READY"), self.attempt)
        self.proofs.end(error)
        for task in tuple(self.tasks):
            task.cancel()
        left = self.outbound.end()
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(self._loop.time())
        self._supervisor.session_over(self, error, left)

    def _seen(self) -> float:
        if self._sees_bytes:
            return self.connection.received  # type: ignore[attr-defined, no-any-return]
        return max(self._last_seen, self._last_data)

    def _data_seen(self) -> float:
        return self.connection.last_data if self._direct else self._last_data  # type: ignore[attr-defined]


def _harmless(ended: Callable[[LibwsError], object], error: LibwsError) -> None:
    try:
        ended(error)
    except Exception:
        logger.exception("what a plugin does at a connection's end failed")


def _ignore(_: Message) -> None:
    """The sink of a connection that is over."""
