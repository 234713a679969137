"""One attempt, phase by phase: resolve, admit, authenticate, dial, establish. Each has its own deadline but `admit`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .asking import ask_async
from .errors import ClientClosed, ConnectError, ConnectTimeout, LibwsError, PluginFailed
from .events import Connecting
from .secret import public_url
from .session import LiveSession
from .types import Attempt, Request
from .url import url_problem
from .verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .binding import Hook
    from .supervisor import Supervisor

CONNECTION = ("start", "write", "pause", "resume", "close", "abort")
"""What a dialer's answer must have."""


class AttemptRun:
    """Runs the phases of one attempt for a supervisor.

    Afterwards `phase` and `request` say how far it got.
    """

    def __init__(self, supervisor: Supervisor, attempt: Attempt, request: Request, *, resolve: bool) -> None:
        self._supervisor = supervisor
        self._resolve = resolve
        self.attempt = attempt
        self.request = replace(request, attempt=attempt)
        self.phase = "resolve"
        self._entered = 0.0
        self.session: LiveSession | None = None

    async def run(self) -> LiveSession:
        """Go through the phases; gives the session whose last `establish` has just ended.

        Raises:
            LibwsError: it failed; nothing is left open.
        """
        supervisor, hooks = self._supervisor, self._supervisor.plan.hooks
        if self._resolve:
            self._enter("resolve")
            if hooks["resolve"]:
                async with self._deadline():
                    await self._fold(hooks["resolve"], "resolve")
        self._enter("admit")
        for hook in hooks["admit"]:
            await ask_async(hook, "admit", self.request)
        self._enter("authenticate")
        async with self._deadline():
            await self._fold(hooks["authenticate"], "authenticate")
            self._enter("dial")
            connection = await self._dial(hooks["dial"])
        try:
            self.session = session = LiveSession(supervisor, self.request, self.attempt, connection)
        except BaseException:
            connection.abort()
            raise
        supervisor.sessions.append(session)
        try:
            self._enter("establish")
            async with self._deadline() if hooks["establish"] else nullcontext() as scope:
                session.scope = scope
                try:
                    await self._establish(session)
                finally:
                    session.scope = None  # it is over, and what is over cannot be moved
            return session
        except BaseException as error:
            lost = session.error
            self._give_up(session, error)
            if lost is not None and isinstance(error, Exception):
                raise lost from lost.__cause__  # the connection's own end, not what it made of the hook
            raise

    def _enter(self, phase: str) -> None:
        self._go_on()
        self.phase, self._entered = phase, asyncio.get_running_loop().time()
        self._supervisor.history.enter(self.attempt.number, phase, self.request.url, self._entered)
        self._supervisor.emit(Connecting(phase), self.attempt)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[asyncio.Timeout]:
        """`open_timeout` for a phase; only this deadline's own end becomes a ConnectTimeout."""
        supervisor = self._supervisor
        try:
            async with asyncio.timeout(supervisor.open_timeout) as scope:
                yield scope
        except TimeoutError as error:
            if isinstance(error, LibwsError) or not scope.expired():
                raise
            raise self._timed_out() from None

    def _timed_out(self) -> ConnectTimeout:
        passed = asyncio.get_running_loop().time() - self._entered
        timeout = ConnectTimeout(
            f"{public_url(self.request.url)}: {self.phase} did not end in time, given up after {passed:.3g} s"
        )
        timeout.phase = self.phase
        return timeout

    async def _fold(self, hooks: tuple[Hook, ...], name: str) -> None:
        for hook in hooks:
            answer = await ask_async(hook, name, self.request)
            if answer is None:
                continue
            if not isinstance(answer, Request):
                raise PluginFailed(
                    f"plugin {hook.plugin!r} answered {name} with {type(answer).__name__}, not a Request"
                )
            if problem := url_problem(answer.url):
                raise PluginFailed(f"plugin {hook.plugin!r} answered {name} with a bad URL: {problem}")
            self.request = replace(answer, attempt=self.attempt)

    async def _dial(self, hooks: tuple[Hook, ...]) -> Any:
        for hook in hooks:
            connection = await ask_async(hook, "dial", self.request)
            if connection is None:
                continue
            missing = [name for name in CONNECTION if not callable(getattr(connection, name, None))]
            if missing:
                kind = type(connection).__name__
                raise PluginFailed(
                    f"plugin {hook.plugin!r} answered dial with {kind}, which has no {', '.join(missing)}"
                )
            return connection
        scheme = self.request.url.partition(":")[0]
        asked = ", ".join(repr(hook.plugin) for hook in hooks)
        raise ConnectError(f"no dialer takes the URL scheme {scheme!r}; asked: {asked}", verdict=Verdict.FATAL)

    async def _establish(self, session: LiveSession) -> None:
        session.start()
        for hook in self._supervisor.plan.hooks["establish"]:
            if session.error is not None:
                break
            await ask_async(hook, "establish", session)
        if session.error is not None:
            raise session.error
        self._go_on()

    def _go_on(self) -> None:
        """Stop, if the client has ended and a hook has made light of its cancellation."""
        if self._supervisor.ending:
            raise ClientClosed("the client was closed during the attempt")

    def _give_up(self, session: LiveSession, error: BaseException) -> None:
        """End the connection of an attempt that failed in establish: politely, if the peer can still hear it."""
        if session.error is not None:
            return
        if isinstance(error, LibwsError) and not isinstance(error, ConnectTimeout):
            session.fail(error, code=1000)
        else:
            session.fail(error if isinstance(error, LibwsError) else ConnectError("the attempt was given up"))
