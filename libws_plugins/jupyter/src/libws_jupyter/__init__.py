"""Kernels of a Jupyter server: start or find one, run code there, and lose no output with a connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from msgspec import Meta

from libws_core import (
    Client,
    Closed,
    Event,
    Gap,
    HandshakeRejected,
    InvalidHandshake,
    Kind,
    LibwsError,
    Message,
    OutboxFull,
    Request,
    Secret,
    Session,
    clock,
    hookimpl,
)
from libws_core.types import Stage

from .dialogue import Dialogue
from .errors import ExecutionFailed, InputRefused, KernelGone, ReaderTooSlow, ReplyLost, ReplyTimeout
from .events import StateLost
from .execution import Execution, Output, Prompt
from .framing import decode
from .kernel import Kernel
from .line import Line
from .profile import GONE, INTERVAL, PATIENCE, SUBPROTOCOL
from .server import Server

__all__ = [
    "Execution",
    "ExecutionFailed",
    "InputRefused",
    "Jupyter",
    "KernelGone",
    "Output",
    "Prompt",
    "ReaderTooSlow",
    "ReplyLost",
    "ReplyTimeout",
    "StateLost",
]

logger = logging.getLogger("libws.jupyter")

TOKEN = "jupyter.token"
"""Where the token of an attempt stands in `Request.extra`, as a Secret."""
LOST = "the connection was lost, and with it the request or its end"
SPARE = 5.0
"""Seconds that establish has beyond the time in which the kernel must answer."""


@dataclass(eq=False, kw_only=True)
class Jupyter:
    """Start or find a kernel before the dial, and run code in it.

    The client's URL is the server's: http, https, ws or wss. Each connection has the same session, so the server sends
    what the kernel said while there was none. A kernel that has died behind a live connection is noticed.
    """

    token: Secret | Callable[..., Any] | None = None
    """What the server wants to be shown. A callable, plain or async, is asked anew on each attempt; it may take the
    request. None = the `token` in the query of the client's URL, if there is one."""
    token_in: Literal["header", "query"] = "header"
    """Where it is shown: `Authorization: token T`, or `?token=T`."""
    kernel: str | None = None
    """The id of a kernel that runs. None = one is started, and is kept over all reconnects."""
    name: str | None = None
    """The name of the kernel that is started, such as "python3". None = the server's default."""
    path: str | None = None
    """Its working directory, as the server counts paths. None = the server's own."""
    gone: Literal["fatal", "new"] = "fatal"
    """When the kernel is no more the client fails, or another one is started, and a StateLost tells it."""
    shutdown: bool | None = None
    """Shut the kernel down at the end of the client. None = if it has started it."""
    interval: Annotated[float, Meta(gt=0)] = INTERVAL
    """Seconds of silence after which the kernel is asked whether it lives."""
    patience: Annotated[float, Meta(gt=0)] = PATIENCE
    """Seconds for its answer; then the server is asked."""
    timeout: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds for a REST request, and for the answer that `ask` waits for, unless it says otherwise."""
    limit: Annotated[int, Meta(ge=1)] = 1_000
    """Executions that may run or wait in the kernel; one more raises OutboxFull."""
    queue: Annotated[int, Meta(ge=1)] = 10_000
    """Outputs of one execution that may wait for its reader. One more ends the execution with ReaderTooSlow."""
    queue_bytes: Annotated[int, Meta(ge=1)] = 8 * 2**20
    """The same in bytes of messages, 8 MiB; an empty queue admits one of any size."""
    others: bool = False
    """Give the user what belongs to no request of this plugin, such as outputs of code that others run in the kernel.
    Each is a message whose `json` is the kernel's message. Who asks for them must read them."""
    client: Callable[..., Any] | None = None
    """Gives the httpx.AsyncClient for a REST request, closed afterwards; it may take the libws request."""

    info: Mapping[str, Any] | None = field(default=None, init=False, repr=False)
    """The content of the kernel's newest kernel_info_reply, None before there is one."""
    _kernel: Kernel = field(init=False, repr=False)
    _server: Server = field(init=False, repr=False)
    _dialogue: Dialogue = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for option in ("token", "kernel", "name"):
            if not getattr(self, option) and getattr(self, option) is not None:
                raise ValueError(f"option {option!r} is empty; leave it out")
        if isinstance(self.token, Secret) and any(character < " " for character in self.token.reveal()):
            raise ValueError("option 'token' has control characters")
        self._server = Server(self.client, self.timeout, self.token_in == "query")
        model = {"name": self.name, "path": self.path}
        self._kernel = Kernel(self._server, self.token, self.kernel, model, self.gone == "new")
        self._dialogue = Dialogue(self._kernel, self.interval, self.patience, self.others)
        self._kernel.replaced = self._dialogue.replace

    @property
    def id(self) -> str | None:
        """The id of the kernel, None before it is known."""
        return self._kernel.id

    # What users call

    async def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        stdin: Callable[..., Any] | None = None,
        timeout: float | None = None,
        markers: bool = False,
    ) -> Execution:
        """Run code; returns when the request is written, which proves nothing.

        Args:
            code: what to run.
            silent: show nothing, and count it not, as the execute_request has it; so have the next three.
            store_history: keep it in the kernel's history.
            user_expressions: what to evaluate afterwards, by names of one's own.
            stop_on_error: if it raises, abort what waits behind it.
            stdin: answers when the code asks for input: a function, plain or async, of the `Prompt`, a str whose
                `password` tells what must not be shown; gives a str or a Secret. None = the kernel is told that there
                is nobody, and raises.
            timeout: seconds for all of it; None = as long as it takes.
            markers: give also a Gap where outputs may be missing.

        Returns:
            An async iterator of outputs. Reading raises ReplyLost if the end did not reach us, ReplyTimeout,
            ReaderTooSlow, and what ended the client if it has failed.

        Raises:
            NotReady: there is no connection, or it ended before; it was not sent.
            OutboxFull: too many executions run or wait.
            ClientClosed: the client has ended.
        """
        line = self._dialogue.line()
        if len(self._dialogue.executions) >= self.limit:
            raise OutboxFull(f"{len(self._dialogue.executions)} executions run already, or wait in the kernel")
        id = self._dialogue.next_id()
        content = {
            "code": code,
            "silent": silent,
            "store_history": store_history,
            "user_expressions": dict(user_expressions or {}),
            "allow_stdin": stdin is not None,
            "stop_on_error": stop_on_error,
        }
        message = line.message(id, "shell", "execute_request", content)
        execution = Execution(
            id,
            messages=self.queue,
            size=self.queue_bytes,
            seconds=timeout,
            markers=markers,
            stdin=stdin,
            over=lambda execution: self._dialogue.executions.pop(execution.id, None),
        )
        self._dialogue.executions[id] = execution
        try:
            await line.write(message)
        except BaseException:
            self._dialogue.executions.pop(id, None)
            raise
        return execution

    async def ask(
        self,
        type: str,
        content: Mapping[str, Any] | None = None,
        *,
        channel: Literal["shell", "control"] = "shell",
        timeout: float | None = None,
    ) -> Mapping[str, Any]:
        """Send any other request, such as "complete_request", and give the content of the kernel's answer.

        Args:
            type: the `msg_type`.
            content: its content.
            channel: "shell" is answered after all that was asked before, "control" at once.
            timeout: seconds for all of it; None = as the option says.

        Raises:
            ReplyTimeout: no answer in time.
            ReplyLost: the connection ended before the answer. It is not sent again.
            NotReady, ClientClosed: as `execute`.
        """
        line, id = self._dialogue.line(), self._dialogue.next_id()
        seconds = self.timeout if timeout is None else timeout
        reply = await line.ask(id, line.message(id, channel, type, content or {}), seconds)
        if reply is None:
            raise ReplyTimeout(f"the kernel did not answer a {type} within {seconds:g} s")
        return reply["content"]

    async def interrupt(self) -> None:
        """Interrupt what the kernel is doing: in Python, a KeyboardInterrupt.

        Raises:
            LibwsError: what the server, or the way to it, has against that.
        """
        await self._kernel.act("interrupt")

    async def restart(self) -> None:
        """Restart the kernel: its memory is lost, executions end with ReplyLost, or as it still says when interrupted.

        Raises:
            LibwsError: what the server, or the way to it, has against that.
        """
        await self._kernel.act("restart")

    # Hooks

    @hookimpl
    def deliver(self, client: Client) -> None:
        """Hear of the client's end, to shut the kernel down."""
        client.on(Closed, self._leave)

    @hookimpl
    async def resolve(self, request: Request) -> Request:
        """Start a kernel, or see that it is still there, and say where its channels are."""
        url, token = await self._kernel.find(request)
        return replace(request, url=url, extra={**request.extra, TOKEN: token})

    @hookimpl
    def authenticate(self, request: Request) -> Request:
        """Show the token, and offer the subprotocol."""
        url, headers = self._server.with_token(request.url, request.extra.get(TOKEN))
        offered = [name for name in request.subprotocols if name != SUBPROTOCOL]
        return replace(request, url=url, headers=request.headers | headers, subprotocols=(*offered, SUBPROTOCOL))

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that takes out what the kernel says to our requests."""
        line = session.state(Line)
        line.begin(session, self._kernel.session)
        line.parted = [*self._dialogue.executions.values()]
        for execution in line.parted:
            execution.part()
        text, binary, time = Kind.TEXT, Kind.BINARY, asyncio.get_running_loop().time

        def take(message: Message) -> Message | None:
            kind = message.kind
            if kind is not text and kind is not binary:
                return message
            received = decode(message, v1=line.v1)
            line.heard = time()
            if self._dialogue.arrived(line, received, len(message.data)) and self.others:
                return Message(kind, message.data, received)
            return None

        return take

    @hookimpl
    async def establish(self, session: Session) -> None:
        """See that the kernel lives and is the same, and what of its outputs is missing."""
        line: Line = session.state(Line)
        if session.subprotocol not in (None, SUBPROTOCOL):
            raise InvalidHandshake(f"the server chose {session.subprotocol!r}, which no Jupyter server speaks")
        session.on_end(lambda error: self._dialogue.lose_line(line, error))
        session.extend(2 * self.patience + 2 * self.timeout + SPARE)
        reply = await self._dialogue.probe(line)
        if reply is not None:
            self.info = reply["content"]
            self._dialogue.meet(line, reply["header"])
        why = [LOST, *self._dialogue.losses][-1]
        for loss in self._dialogue.losses:
            session.emit(StateLost(self.id or "", loss))
        self._dialogue.losses.clear()
        if session.request.attempt.why == "reconnect" and self._dialogue.ledger.whole():
            session.resumed()
        gap = Gap("the connection was lost", session.request.attempt.generation, self._dialogue.lost_at, clock.wall())
        for execution in line.parted:
            execution.decide(replace(gap, topic=execution.id), self._dialogue.ledger.whole)
        line.parted.clear()
        self._dialogue.ledger.settle()
        self._dialogue.fence(line, why)
        for execution in self._dialogue.executions.values():
            if execution.asked is not None:
                session.spawn(self._dialogue.answer(line, execution, execution.asked))

    @hookimpl
    def keep_alive(self, session: Session) -> Any:
        """Watch the kernel."""
        line: Line = session.state(Line)
        line.ready = True
        self._dialogue.lines.append(line)
        return self._dialogue.watch(line)

    @hookimpl
    def adapt_error(self, error: LibwsError) -> LibwsError | None:
        """Say what the server's statuses mean."""
        return self._kernel.meaning(error) if isinstance(error, HandshakeRejected) else None

    @hookimpl
    def observe(self, event: Event) -> None:
        """Tell readers the client's end."""
        if isinstance(event, Closed):
            self._dialogue.ended = True
            for execution in [*self._dialogue.executions.values()]:
                execution.finish(event.error or ReplyLost("the client was closed before the kernel was done"))

    async def _leave(self, _: Closed) -> None:
        """Shut the kernel down, if that is ours to do."""
        if self.id is None or not (self._kernel.started if self.shutdown is None else self.shutdown):
            return
        try:
            await self._kernel.act("")
        except LibwsError as error:
            if error.status != GONE:
                logger.warning("the kernel %s could not be shut down: %s", self.id, error)
