"""The client: what users hold in their hands."""

from __future__ import annotations

import asyncio
import os
import ssl as _ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import replace
from os import PathLike
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from .arguments import base_request, limits
from .asking import ask
from .closing import check_code
from .delivery import Delivery
from .errors import ClientClosed, Problem
from .events import Event, Gap
from .headers import Headers
from .machine import State
from .secret import public_url
from .sender import PROOF_TIMEOUT
from .stages import NamedStage
from .supervisor import Supervisor
from .types import Kind, Message, Sending

if TYPE_CHECKING:
    from .trace import Tell

_TEXT = Kind.TEXT


class Stats(NamedTuple):
    """Counts since the client was made."""

    sent: int
    """Users' messages written."""
    received: int
    """Messages given to the user or put into the inbox."""
    dropped: int
    """Messages thrown away on purpose, as `Dropped` events told."""
    reconnects: int


class Client:
    """A WebSocket client that stays connected, assembled from plugins.

    ```python
    async with Client("wss://example.com/socket", plugins=["auth"], options={"auth": {"bearer": token}}) as client:
        await client.send("hello")
        async for message in client:
            print(message.data)
    ```

    Making one needs no loop and does no network I/O. It belongs to the loop and thread that open it.

    Args:
        url: what to dial; any scheme that an enabled dialer knows.
        plugins: names of installed plugins and plugin objects, in order from the user to the wire. The group
            `standard` (websockets, backoff, ping, pong) stands behind them unless "-standard" is named.
        options: for each plugin named, its options.
        headers: more headers for the handshake.
        subprotocols: to offer, the preferred one first.
        origin: the Origin header.
        user_agent: the User-Agent header; None sends none.
        ssl: the TLS context for wss; None = the system's certificates, with the host's name checked.
        proxy: "env", None for none, or a URL: http, https, socks5, socks5h.
        open_timeout: seconds for resolve, for authenticate and dial together, and for establish, each anew.
        close_timeout: seconds that `close` may take.
        healthy_after: seconds in READY after which a connection counts as a success.
        inbox_messages: messages that may wait to be read before the socket is no longer read.
        inbox_bytes: the same, in bytes of memory that their data takes.
        name: for logs; the URL, without what may be secret, if None.

    Raises:
        ConfigurationError: everything that is wrong, at once (`problems`).
    """

    def __init__(
        self,
        url: str,
        *,
        plugins: Iterable[str | object] = (),
        options: Mapping[str, Mapping[str, Any]] | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        subprotocols: Iterable[str] = (),
        origin: str | None = None,
        user_agent: str | EllipsisType | None = ...,
        ssl: _ssl.SSLContext | None = None,
        proxy: str | None = "env",
        open_timeout: float = 10,
        close_timeout: float = 5,
        healthy_after: float = 30,
        inbox_messages: int = 10_000,
        inbox_bytes: int = 8 * 2**20,
        name: str | None = None,
        _profile: tuple[str, Mapping[str, Mapping[str, Any]]] | None = None,
        _trace: Tell | None = None,
    ) -> None:
        from .plugins import assemble  # late: pluggy and its like load when a client is assembled

        problems: list[Problem] = []
        request = base_request(url, headers, subprotocols, origin, user_agent, ssl, proxy, problems)
        problems += limits(
            open_timeout=open_timeout,
            close_timeout=close_timeout,
            healthy_after=healthy_after,
            inbox_messages=inbox_messages,
            inbox_bytes=inbox_bytes,
        )
        if _trace is None and "LIBWS_TRACE" in os.environ:
            from .trace import from_environment

            _trace = from_environment(name or public_url(request.url), problems)
        layers = [*([_profile] if _profile is not None else []), ("options", options or {})]
        plan = assemble(plugins, layers, problems=problems)
        if _trace is not None:
            from .trace import traced

            plan = replace(plan, hooks=traced(plan.hooks, _trace))
        self._supervisor = supervisor = Supervisor(
            plan,
            request,
            healthy_after=float(healthy_after),
            open_timeout=float(open_timeout),
            close_timeout=float(close_timeout),
            name=name,
            trace=_trace,
        )
        self._delivery = supervisor.delivery = Delivery(
            inbox_messages, inbox_bytes, supervisor.own, lambda gap: supervisor.emit(gap, None)
        )
        self._inbox = self._delivery.inbox
        self._delivery.use(
            [
                NamedStage(hook.plugin, stage)
                for hook in reversed(plan.hooks["deliver"])  # from the wire to the user, as `incoming`
                if (stage := ask(hook, "deliver", self)) is not None
            ]
        )

    @classmethod
    def from_profile(cls, path: str | PathLike[str], client: str | None = None, **changes: Any) -> Self:
        """Make a client from a TOML file.

        Args:
            path: the file.
            client: which of its `[clients.NAME]`; None takes `[client]`, or the only one there is.
            changes: arguments that take the place of the profile's; `options` are merged option by option.

        Raises:
            ProfileError: the file cannot be read or says something that is not understood.
            ConfigurationError: as when the client is made by hand.
        """
        from .profile import load

        profile = load(path, client)
        return cls(**{**profile.arguments, **changes}, _profile=(profile.source, profile.options))

    # Life

    async def open(self) -> None:
        """Connect; returns at the first READY.

        Failures that may be retried go on as `reconnect` says, each logged as a warning.

        Raises:
            LibwsError: the FATAL error itself, or the first one if no plugin reconnects.
            RetriesExhausted: the reconnect policy gave up.
            RuntimeError: it was opened before.
        """
        await self._supervisor.open()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Write what `send` accepted, close with a full handshake, all within `close_timeout`; then abort.

        May be called at any time and repeatedly. What is unread in the inbox stays readable; what arrives until the
        server has answered is dropped and counted, from the first message on that finds no room there.

        Args:
            code: 1000 to 1014 or 3000 to 4999, as far as RFC 6455 section 7.4 lets one be sent; 1005 sends none.
            reason: at most 123 bytes of it are sent.

        Raises:
            ValueError: a code that must not be sent.
        """
        check_code(code)
        await self._supervisor.close(code, reason)

    async def wait_closed(self) -> None:
        """Wait until the client has ended.

        Raises:
            LibwsError: the error that ended it; nothing after our own close.
        """
        supervisor = self._supervisor
        await supervisor.until(lambda: supervisor.over)
        if supervisor.error is not None:
            raise supervisor.error

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            await self._supervisor.abandon()
        else:
            await self.close()

    # Reading

    def __aiter__(self) -> AsyncIterator[Message]:
        self._check_reader()
        return self._inbox.messages(self._check_reader)

    async def recv(self, timeout: float | None = None) -> Message:
        """The next message.

        Args:
            timeout: seconds to wait, None for as long as it takes.

        Raises:
            TimeoutError: none came in time.
            ClientClosed: the client was closed and everything is read.
            LibwsError: the client failed with this error and everything is read.
            RuntimeError: another task reads, a handler takes the messages, or the client was never opened.
        """
        self._check_reader()
        if timeout is None:
            return await self._inbox.get()  # type: ignore[return-value]
        async with asyncio.timeout(timeout):
            return await self._inbox.get()  # type: ignore[return-value]

    async def stream(self, *, markers: bool = False) -> AsyncIterator[Message | Gap]:
        """Iterate over messages; with `markers` a `Gap` stands wherever messages may be missing."""
        while True:
            self._check_reader()
            try:
                item = await self._inbox.get(markers)
            except ClientClosed:
                return
            yield item

    def on_message(self, handler: Callable[[Message], object]) -> Callable[[], None]:
        """Give every message to a handler, plain or async, instead of the inbox.

        A plain one is called as the message arrives; an async one message after message, with back-pressure. What it
        raises is logged. What waits in the inbox comes first.

        Returns:
            A function that removes the handler.

        Raises:
            RuntimeError: a task is reading.
        """
        if self._inbox.waiting:
            raise RuntimeError("a task is reading from this client; use a handler or read, not both")
        return self._delivery.handlers.add(handler)

    def on(self, event: type[Event], handler: Callable[[Any], object]) -> Callable[[], None]:
        """Call a handler, plain or async, for each event of a class; `Event` means all.

        An async one is called event after event. What it raises is logged.

        Returns:
            A function that removes the handler.
        """
        return self._supervisor.events.add(event, handler)

    def emit(self, event: Event) -> None:
        """Show an event to observers and handlers: for plugins with something to tell while there is no session."""
        machine = self._supervisor.machine
        self._supervisor.emit(event, machine.current or machine.candidate)

    # Writing

    async def send(
        self,
        data: str | bytes | bytearray | memoryview | Message,
        *,
        confirm: bool = False,
        idempotent: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Send a message; returns when it is written.

        Args:
            data: str is sent as text; bytes, bytearray and memoryview as binary; a Message as it is.
            confirm: return when the peer is known to have read it (the pong to a ping behind it came back).
            idempotent: with `confirm`: may be sent again if the connection breaks before the proof.
            timeout: with `confirm` seconds to wait for the proof, counted from the writing (default 20); else
                seconds to wait until it is written.

        Raises:
            NotReady: there is no READY connection and no plugin keeps messages; it was not sent.
            OutboxFull: a plugin keeps messages, and has no room for this one; it was not sent.
            MessageExpired: not written within `timeout`, or as long as a plugin keeps messages; it will not be sent.
            DeliveryUnknown: no proof came that the peer has read it.
            ClientClosed: the client is closed or has failed.
            TypeError: `data` is none of these.
            ValueError: a Message that cannot be sent, such as a CLOSE, which is the business of `close`.
        """
        message = Message(_TEXT, data) if type(data) is str else _message(data)
        supervisor = self._supervisor
        target = supervisor.target
        if target is not None and not confirm and target.write_now(message):
            supervisor.sent += 1
            return
        expires = asyncio.get_running_loop().time() + timeout if timeout is not None and not confirm else None
        sending = Sending(message, confirm, idempotent, expires)
        await supervisor.sender.send(sending, (PROOF_TIMEOUT if timeout is None else timeout) if confirm else None)

    async def send_json(
        self, value: Any, *, confirm: bool = False, idempotent: bool = False, timeout: float | None = None
    ) -> None:
        """Send a value as JSON text; otherwise as `send`."""
        import msgspec

        text = msgspec.json.encode(value).decode()
        await self.send(text, confirm=confirm, idempotent=idempotent, timeout=timeout)

    # What it knows of itself

    @property
    def state(self) -> State:
        """Where the client is in its life."""
        return self._supervisor.machine.state

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol of the connection, None if there is no connection."""
        target = self._supervisor.target
        return target.subprotocol if target is not None else None

    @property
    def response_headers(self) -> Headers:
        """The headers of the server's answer; empty if there is no connection."""
        target = self._supervisor.target
        return target.response_headers if target is not None else Headers()

    @property
    def latency(self) -> float | None:
        """Seconds of the last round trip of a ping, None before the first."""
        return self._supervisor.latency

    @property
    def stats(self) -> Stats:
        """Counts since the client was made."""
        supervisor = self._supervisor
        return Stats(supervisor.sent, self._delivery.received, supervisor.dropped, supervisor.reconnects)

    def plugin(self, which: Any) -> Any:
        """This client's instance of a plugin, by class or name.

        Raises:
            LookupError: it is not enabled.
        """
        return self._supervisor.plan.plugin(which)

    def explain(self) -> dict[str, Any]:
        """How this client is assembled and how it has fared, as plain data.

        `plugins`: name, distribution, why it is enabled, options with their origins. `hooks`: who answers each, in the
        order of asking. `attempts`: the last twenty, the oldest first, each with `number`, `generation`, `why`, `url`
        (without what may be secret), `began` (wall time), `phases` with their seconds, `outcome` ("under way",
        "failed", "ready", "lost", "closed", "given up"), `uptime` (seconds in READY), `error`, `adapted_by` (whose
        `adapt_error` counted) and `decision`: the `plugin` that answered `reconnect`, its `delay` (None = stop),
        and where no plugin decided, `because`.
        """
        plan = self._supervisor.plan
        return {
            "plugins": [
                {
                    "name": part.name,
                    "distribution": part.distribution,
                    "because": part.because,
                    "options": {
                        option: {"value": value, "from": origin} for option, (value, origin) in part.options.items()
                    },
                }
                for part in plan.parts
            ],
            "hooks": {name: [hook.plugin for hook in hooks] for name, hooks in plan.hooks.items()},
            "attempts": self._supervisor.history.data(),
        }

    def __repr__(self) -> str:
        return f"<Client {self._supervisor.label} {self.state.upper()}>"

    def _check_reader(self) -> None:
        if self._delivery.handlers:
            raise RuntimeError("a handler takes this client's messages; use a handler or read, not both")
        if self.state is State.IDLE:
            raise RuntimeError("the client is not open; use 'async with' or await client.open() first")


def _message(data: object) -> Message:
    if isinstance(data, str):
        return Message(Kind.TEXT, data)
    if isinstance(data, bytes):
        return Message(Kind.BINARY, data)
    if isinstance(data, (bytearray, memoryview)):
        return Message(Kind.BINARY, bytes(data))
    if isinstance(data, Message):
        if data.kind is Kind.CLOSE:
            raise ValueError("a CLOSE cannot be sent as a message; use client.close(code, reason)")
        return data
    raise TypeError(f"send takes str, bytes, bytearray, memoryview or a Message, not {type(data).__name__}")
