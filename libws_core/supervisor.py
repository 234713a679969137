"""The supervisor: performs what the machine decides, and owns every connection, timer and task of a client."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal

from . import clock
from .asking import ask, hook_failed
from .attempt import AttemptRun
from .closing import close_within
from .errors import ClientClosed, ConnectionClosed, LibwsError, NotReady, PluginFailed
from .events import Closed, Dropped, Event, Gap, Reconnected, Retrying
from .handlers import EventHandlers
from .history import History
from .machine import Action, Ask, Begin, Carry, Emit, Finish, Machine, Moved, Retire, Settle, State, Wait, Watch
from .outbound import Ticket
from .secret import public_url
from .sender import Sender
from .session import LiveSession
from .types import Attempt, Failure, Request, Stop
from .url import url_problem
from .verdicts import Verdict

if TYPE_CHECKING:
    from .binding import Hook
    from .delivery import Delivery
    from .plugins import Plan
    from .trace import Tell

logger = logging.getLogger("libws")

GRACE = 0.5
"""Seconds that handlers of the last messages and events have at least, and tasks that are cancelled at most."""


class _Move:
    """A move under way, as `Session.reopen` asked for it."""

    __slots__ = ("overlap", "request", "result", "settle", "timer")

    def __init__(self, request: Request | None, overlap: float, settle: float) -> None:
        self.request = request
        self.overlap = overlap
        self.settle = settle
        self.result: asyncio.Future[bool | LibwsError] = asyncio.get_running_loop().create_future()
        self.timer: asyncio.TimerHandle | None = None


class Supervisor:
    """Tells the machine what happens and performs its actions, in order.

    Args:
        plan: who answers which hook.
        request: what every attempt begins from.
        healthy_after: seconds in READY after which a connection counts as a success.
        open_timeout: seconds a phase may take.
        close_timeout: seconds a closing handshake may take.
        name: for logs; the URL if None.
        trace: gets each event; None = the client is not traced.
    """

    def __init__(
        self,
        plan: Plan,
        request: Request,
        *,
        healthy_after: float,
        open_timeout: float,
        close_timeout: float,
        name: str | None,
        trace: Tell | None = None,
    ) -> None:
        self.plan = plan
        self.request = request
        self.open_timeout = open_timeout
        self.close_timeout = close_timeout
        self.name = name
        self.machine = Machine(healthy_after)
        self.history = History()
        self.sender = Sender(self)
        self.events = EventHandlers(self.own)
        self.delivery: Delivery
        self.sessions: list[LiveSession] = []
        """Every connection whose socket is not closed yet."""
        self.target: LiveSession | None = None
        """The connection that carries users' messages; None while not ready."""
        self.opened = False
        """It was READY once."""
        self.error: LibwsError | None = None
        """What ended the client."""
        self.latency: float | None = None
        self.sent = self.dropped = self.reconnects = 0
        self._loop: asyncio.AbstractEventLoop
        self._actions: list[Action] = []
        self._performing = False
        self._attempt: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._move: _Move | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._wakers: list[asyncio.Future[None]] = []
        self._trace = trace

    @property
    def label(self) -> str:
        """What logs call this client."""
        return self.name or public_url(self.request.url)

    @property
    def over(self) -> bool:
        """The client has ended."""
        return self.machine.state in (State.CLOSED, State.FAILED)

    @property
    def ending(self) -> bool:
        """The client has ended or is about to."""
        return self.machine.state in (State.CLOSING, State.CLOSED, State.FAILED)

    # What the user asks

    async def open(self) -> None:
        """Connect; returns at the first READY."""
        actions = self.machine.open()
        self._loop = asyncio.get_running_loop()
        self.delivery.handlers.start()
        self.perform(actions)
        try:
            await self.until(lambda: self.opened or self.over)
        except asyncio.CancelledError:
            await self.abandon()
            raise
        if not self.opened:
            raise self.error or ClientClosed("the client was closed while it was opening")

    async def close(self, code: int, reason: str) -> None:
        """Drain and close, within `close_timeout`."""
        if self.machine.state is State.CLOSING:
            await self.until(lambda: self.over)
            return
        deadline = asyncio.get_running_loop().time() + self.close_timeout
        self.perform(self.machine.close())
        if not self.over:
            try:
                await self._shut(code, reason, deadline)
            except asyncio.CancelledError:
                await self.abandon()
                raise
            self.perform(self.machine.closed())
        await self._settle(deadline)

    async def abandon(self) -> None:
        """End at once: our own task is being cancelled, and nothing may be left behind."""
        self.perform(self.machine.close())
        for session in tuple(self.sessions):
            session.drop("the client was cancelled")
        self.perform(self.machine.closed())
        await self._settle()

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so; looked at whenever the machine has done something."""
        while not true():
            waker = asyncio.get_running_loop().create_future()
            self._wakers.append(waker)
            try:
                await waker
            finally:
                self._wakers.remove(waker)

    # What sessions and attempts tell

    def emit(self, event: Event, attempt: Attempt | None) -> None:
        """Stamp an event and show it to plugins and handlers."""
        stamps: dict[str, float] = {"monotonic": asyncio.get_running_loop().time(), "wall": clock.wall()}
        if attempt is not None:
            stamps |= {"attempt": attempt.number, "generation": attempt.generation}
        for name, value in stamps.items():
            if not getattr(event, name, None):
                object.__setattr__(event, name, value)  # ours until it is shown
        if isinstance(event, Dropped):
            self.dropped += event.count
        elif isinstance(event, Reconnected):
            self.reconnects += 1
        elif isinstance(event, Retrying):
            text = str(event.error)
            whose = "" if text.startswith(self.label) else f"{self.label}: "
            logger.warning("%s%s; next attempt in %.3g s", whose, text, event.delay)
        if self._trace is not None:
            self._trace(event)
        for hook in self.plan.hooks["observe"]:
            try:
                hook.call(event)
            except Exception:
                logger.exception("plugin %r failed in observe", hook.plugin)
        self.events.tell(event)

    def session_over(self, session: LiveSession, error: LibwsError, unwritten: list[Ticket]) -> None:
        """A connection has ended, whatever ended it; `unwritten` are the users' messages that it leaves."""
        if session is self.target:
            self.target = None
        machine, number, unproven = self.machine, session.attempt.number, session.proofs.unconfirmed
        if unproven and (machine.current is None or machine.current.number != number):  # no Disconnected tells it
            which = "the old connection" if session.ready else "never READY"
            logger.warning("%s: %d sent messages are unconfirmed, %s: %s", self.label, unproven, which, error)
        if not session.ready:
            session.tell_end(error)
            self.sender.lost(session, unwritten)  # what was held has been given to it
            return  # its attempt tells
        if machine.state is State.CLOSING:
            if isinstance(error, ConnectionClosed) and error.initiator != "local":
                error = error.but(initiator="local")  # we were closing it, whatever came first
        elif machine.retiring is None or machine.retiring.number != number:
            error = self._adapt(error, session.request)
        self.history.ended(number, error, self._loop.time())
        session.tell_end(error)
        self.perform(machine.lost(number, error, session.request, unproven, self._loop.time()))
        self.sender.lost(session, unwritten)
        if not self.ending and machine.current is not None and machine.current.number < number:
            self.delivery.release(session)  # the new one of a move has failed, and the old one stays
        self.delivery.advance()

    def session_gone(self, session: LiveSession) -> None:
        """A connection's socket is closed."""
        if session in self.sessions:
            self.sessions.remove(session)

    def session_shown(self, session: LiveSession) -> None:
        """A connection that does not deliver yet has its first message for the user."""
        self._carries(session.attempt.number)

    def reopen(
        self, session: LiveSession, why: str, request: Request | None, order: str, overlap: float, settle: float
    ) -> Awaitable[bool | LibwsError]:
        """A plugin asks for a move."""
        if order not in ("make-first", "break-first"):
            raise ValueError(f"order is 'make-first' or 'break-first', not {order!r}")
        if request is not None and not isinstance(request, Request):
            raise TypeError(f"reopen takes a Request or None, not {type(request).__name__}")
        if request is not None and (problem := url_problem(request.url)):
            raise ValueError(f"reopen was given a bad URL: {problem}")
        move = self._move
        if move is None:
            move = _Move(request, overlap, settle)
            if session is not self.target or self.machine.state is not State.READY:
                move.result.set_result(NotReady("only the READY connection can be moved"))
            else:
                self._move = move
                logger.info("%s: moving to a new connection: %s", self.label, why)
                self.perform(self.machine.reopen(order, self._loop.time()))
        return asyncio.shield(move.result)  # whoever gives up waiting does not take the result from the others

    # Performing

    def perform(self, actions: list[Action]) -> None:
        """Perform actions in order; what happens meanwhile queues up behind them."""
        self._actions.extend(actions)
        if self._performing:
            return
        self._performing = True
        try:
            while self._actions:
                self._act(self._actions.pop(0))
        finally:
            self._performing = False
        for waker in self._wakers:
            if not waker.done():
                waker.set_result(None)

    def _act(self, action: Action) -> None:
        match action:
            case Emit(event, attempt, fields):
                self._tell(event, attempt, fields)
            case Begin(attempt):
                self._begin(attempt)
            case Ask(failure):
                self._ask_reconnect(failure)
            case Wait(delay):
                self._timer = self._loop.call_later(delay, self._due)
            case Carry(number):
                self._carry(number)
            case Watch(number):
                self._watch(number)
            case Settle(number):
                self._let_settle(number)
            case Retire(number):
                self._retire(number)
            case Moved(result):
                self._moved(result)
            case Finish(error):
                self._finish(error)

    def _tell(self, kind: type[Event], attempt: Attempt | None, fields: dict[str, Any]) -> None:
        if kind is Closed and fields["error"] is not None:
            self._tell_why(fields["error"])
        if kind is not Gap:
            self.emit(kind(**fields), attempt)
            return
        assert attempt is not None
        offset = clock.wall() - self._loop.time()
        gap = Gap(fields["why"], attempt.generation, fields["since"] + offset, fields["until"] + offset)
        self.emit(gap, attempt)
        session = self._find(attempt.number)
        if session is not None:
            session.place_first(gap)

    def _tell_why(self, error: LibwsError) -> None:
        """The client fails: note who decided so, and tell it where no plugin did."""
        because = self.history.stopped(error)
        if because is not None and self._trace is not None:
            from .trace import unasked

            self._trace(unasked(error, because))

    def _begin(self, attempt: Attempt) -> None:
        current = self.machine.current
        for session in tuple(self.sessions):  # one that does not answer our close: two at once are enough
            if current is None or session.attempt.number != current.number:
                session.connection.abort()
        request = self._move.request if attempt.why == "move" and self._move is not None else None
        self.history.begin(attempt)
        run = AttemptRun(self, attempt, request or self.request, resolve=request is None)
        self._attempt = self.own(self._make_attempt(run))

    async def _make_attempt(self, run: AttemptRun) -> None:
        try:
            await self._carry_out(run)
        finally:
            self.history.left(run.attempt.number, self._loop.time())
            if self._attempt is asyncio.current_task():
                self._attempt = None  # an idle client keeps nothing of it

    async def _carry_out(self, run: AttemptRun) -> None:
        number = run.attempt.number
        try:
            session = await run.run()
        except Exception as cause:
            if self.ending:
                return  # nobody waits for it any more
            error = cause if isinstance(cause, LibwsError) else _broken(cause)
            if error.phase is None:
                error.phase = run.phase
            if error.attempt is None:
                error.attempt, error.generation = run.attempt.alone(), run.attempt.generation
            error = self._adapt(error, run.request)
            self.history.failed(number, error, self._loop.time())
            self.perform(self.machine.failed(number, error, run.phase, run.request, self._loop.time()))
            return
        session.become_ready()
        self.history.ready(number, self._loop.time())
        self.delivery.join(session)
        self.perform(self.machine.ready(number, self._loop.time(), session.follows))
        self.delivery.advance()
        for hook in self.plan.hooks["keep_alive"]:
            self._keep_alive(hook, session)

    def _keep_alive(self, hook: Hook, session: LiveSession) -> None:
        if session.error is not None:
            return
        try:
            watch = ask(hook, "keep_alive", session)
            if watch is not None:
                coroutine = watch if asyncio.iscoroutine(watch) else _awaiting(watch)
                session.run(coroutine, f"plugin {hook.plugin!r} in keep_alive")
        except LibwsError as error:
            session.fail(error)

    def _adapt(self, error: LibwsError, request: Request) -> LibwsError:
        """What the error means, as the first plugin that knows says."""
        for hook in self.plan.hooks["adapt_error"]:
            better: Any
            try:
                better = ask(hook, "adapt_error", error, request)
                if better is not None and not isinstance(better, LibwsError):
                    better = PluginFailed(
                        f"plugin {hook.plugin!r} answered adapt_error with {type(better).__name__}, not a LibwsError"
                    )
            except LibwsError as failure:
                better = failure if isinstance(failure, PluginFailed) else hook_failed(hook, "adapt_error", failure)
            if better is None:
                continue
            for name in ("phase", "attempt", "generation"):
                if getattr(better, name) is None:
                    setattr(better, name, getattr(error, name))
            if better is not error and better.__cause__ is None and type(better) is not type(error):
                better.__cause__ = error
            self.history.adapted(request.attempt.number, hook.plugin)
            return better  # type: ignore[no-any-return]
        return error

    def _ask_reconnect(self, failure: Failure) -> None:
        hooks = self.plan.hooks["reconnect"]
        decision: float | Stop | None = None
        for hook in hooks:
            try:
                decision = ask(hook, "reconnect", failure)
                if not (decision is None or isinstance(decision, Stop) or _is_delay(decision)):
                    raise PluginFailed(
                        f"plugin {hook.plugin!r} answered reconnect with {decision!r}: neither seconds nor STOP"
                    )
            except LibwsError as error:
                broken = error if isinstance(error, PluginFailed) else hook_failed(hook, "reconnect", error)
                self.perform(self.machine.broken(broken))
                return
            if decision is not None:
                break
        decider = hook.plugin if decision is not None else None
        self.history.decided(failure.request.attempt.number, decider, decision)
        self.perform(self.machine.answer(decision, asked=bool(hooks)))

    def _due(self) -> None:
        self._timer = None
        self.perform(self.machine.due())

    def _carry(self, number: int) -> None:
        old, new = self.target, self._find(number)
        self.target, self.opened = new, True
        if old is not None and new is not None:
            for ticket in old.outbound.hand_over():
                self.sender.place_again(ticket)  # the new one may end in the middle of it

    def _watch(self, number: int) -> None:
        session, move = self._find(number), self._move
        if session is None or move is None:
            return
        if session.shown:
            self._carries(number)
        else:
            move.timer = self._loop.call_later(move.overlap, self._carries, number)

    def _carries(self, number: int) -> None:
        self.perform(self.machine.carries(number, self._loop.time()))

    def _let_settle(self, number: int) -> None:
        move = self._move
        if move is None or not move.settle:
            self._settled(number)
            return
        if move.timer is not None:
            move.timer.cancel()
        move.timer = self._loop.call_later(move.settle, self._settled, number)

    def _settled(self, number: int) -> None:
        self.perform(self.machine.settled(number))

    def _retire(self, number: int) -> None:
        session = self._find(number)
        if session is not None:
            self.own(close_within(session, 1000, "", self.close_timeout))

    def _moved(self, result: Literal[True] | LibwsError) -> None:
        move, self._move = self._move, None
        if move is not None:
            if move.timer is not None:
                move.timer.cancel()
            if not move.result.done():
                move.result.set_result(result)

    def _finish(self, error: LibwsError | None) -> None:
        self.error = error
        self._stop_attempting()
        self.sender.end()
        end = error if error is not None else ClientClosed("the client was closed")
        for session in tuple(self.sessions):
            session.fail(end)
            session.connection.abort()
        self.delivery.finish(error)

    # Ending

    async def _shut(self, code: int, reason: str, deadline: float) -> None:
        self._stop_attempting()
        if self.target is None:
            self.sender.end()
        self.target = None
        closing = [close_within(session, code, reason, self.close_timeout, deadline) for session in self.sessions]
        if closing:
            await asyncio.gather(*closing)

    def _stop_attempting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._attempt is not None and self._attempt is not asyncio.current_task():
            self._attempt.cancel()

    async def _settle(self, deadline: float | None = None) -> None:
        """Wait for our tasks: users' handlers and what plugins run. At the deadline, None = now, they are cancelled."""
        me = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not me and not task.done()}
        if tasks and deadline is not None:
            patience = max(deadline - asyncio.get_running_loop().time(), GRACE)
            try:
                _, tasks = await asyncio.wait(tasks, timeout=patience)
            except asyncio.CancelledError:
                for task in tasks:
                    task.cancel()
                raise
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)

    def own(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of ours, for which `close` waits."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _find(self, number: int) -> LiveSession | None:
        return next((session for session in self.sessions if session.attempt.number == number), None)


def _broken(cause: Exception) -> LibwsError:
    """An exception of the core itself: never expected, and never a client that hangs."""
    error = LibwsError(f"libws failed: {type(cause).__name__}: {cause}", verdict=Verdict.FATAL)
    error.fault, error.__cause__ = "local", cause
    return error


def _is_delay(decision: object) -> bool:
    return isinstance(decision, (int, float)) and not isinstance(decision, bool) and 0 <= decision < float("inf")


async def _awaiting(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
