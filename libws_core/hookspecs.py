"""The hooks: what the core asks plugins, when, and what an answer means. These docstrings are the reference.

A plugin is a class whose `@hookimpl` methods have these names. A method may take fewer of the arguments. Hooks are
called when a client is assembled, or once an attempt, connection or event; never per message, except `hold` while the
client is not READY. Only those marked *async* may be `async def`. Wrappers are refused.

What a hook raises: a LibwsError is a failure of the attempt or connection, with that error's verdict; anything else is
PluginFailed, FATAL, naming plugin and hook.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    from .client import Client
    from .errors import LibwsError
    from .events import Event
    from .types import Connection, Control, Failure, Outgoing, Request, Sending, Session, Stage, Stop

API = 1
"""The version of the hook API. Within one version hooks and arguments are only added."""
GROUP = f"libws.v{API}"
"""The entry point group under which plugins are found."""
ASYNC = frozenset({"resolve", "admit", "authenticate", "dial", "establish", "keep_alive"})
"""The hooks that may be `async def`."""

hookspec = HookspecMarker("libws")
hookimpl = HookimplMarker("libws")
"""Mark a method as an answer to the hook of its name. `trylast=True` moves it to the end of the line, at the wire."""


@hookspec
def resolve(request: Request) -> Request | None:
    """Say what to dial: a REST ticket, another host, a resume URL. *async*

    Called first on each attempt, with the client's own request, then with what the plugin before gave: folded in order.
    Not asked in a move whose request is given. None leaves the request as it is. Raising fails the attempt in the phase
    "resolve". All together have `open_timeout` seconds.
    """


@hookspec
def admit(request: Request) -> None:
    """Wait until this attempt may go on, or raise to refuse it. *async*

    Called after `resolve`, all in order, with no deadline: waiting for one's turn is no failure. The answer is ignored.
    Raising fails the attempt in the phase "admit".
    """


@hookspec
def authenticate(request: Request) -> Request | None:
    """Add what proves who we are: headers, query, subprotocols. *async*

    Called before each dial, folded in order; `request.attempt.failure` tells why the last one failed (a verdict of
    REFRESH asks for new credentials). None leaves the request as it is. Raising fails the attempt in the phase
    "authenticate". Shares `open_timeout` with `dial`.
    """


@hookspec
def dial(request: Request) -> Connection | None:
    """Open the connection. *async*

    Called once an attempt; the first plugin that answers has it. None = not mine, such as another URL scheme; if all
    say so the attempt fails with a FATAL ConnectError. The core bounds it by `open_timeout` and cancels it at the end:
    a dialer leaves nothing open then. Raising fails the attempt in the phase "dial".
    """


@hookspec
def establish(session: Session) -> None:
    """Make an open connection ready: log in, wait for a hello, resume, subscribe. *async*

    Called after `dial`, one after the other in order, with the messages already decoded by the stages of `incoming`;
    `session.recv` takes messages. When the last one ends the client is READY. `open_timeout` bounds the phase, and
    begins anew with each message that `recv` takes and each that is written here (`session.extend` moves it). Raising
    fails the attempt in the phase "establish".
    """


@hookspec
def keep_alive(session: Session) -> Awaitable[None] | None:
    """Watch a READY connection. *async*

    Called at READY, all; what it gives (its coroutine, if it is `async def`) runs until the connection ends. None =
    nothing to watch. Raising ends the connection; returning does not.
    """


@hookspec
def incoming(session: Session) -> Stage | Control | None:
    """Give a stage through which this connection's messages pass.

    Called once a connection, before its first byte; composed from the wire to the user, so the first in order is
    nearest to the user. A stage sees all five kinds from the first byte on and gives the message, another, several, or
    None to swallow it; a `Gap` may stand among several. It never waits; to answer it calls `session.send`. A
    `Control(stage)` sees only pings, pongs and closes. None = no stage. A stage that raises a LibwsError ends the
    connection with that verdict.
    """


@hookspec
def outgoing(session: Session) -> Outgoing | None:
    """Give a function through which what this connection sends passes.

    Called once a connection; applied from the user to the wire. It sees all five kinds and gives the message to write,
    or seconds: the message then waits before this function, which alone is asked again. A plugin's message goes before
    a user's that waits and has passed no function, a ping or pong before any. A close is never made to wait.
    A LibwsError that it raises fails that send only. None = no function.
    """


@hookspec
def deliver(client: Client) -> Stage | None:
    """Give a stage on the way into the inbox, past all connections: for what must see them as one stream.

    Called once a client; sees data messages only, generations in order, none that `Session.recv` took. Composed like
    `incoming`. None = no stage.
    """


@hookspec
def hold(sending: Sending) -> Awaitable[None] | None:
    """Keep a message that was sent while the client is not READY.

    Called for each such send; the first plugin that answers has it. The awaitable ends when the message is written or
    was given to a connection (`session.send(sending)`), or raises what the sender shall get; it is cancelled if the
    sender goes. None from all: the sender gets NotReady. Also called at a loss, in order, for messages that the lost
    connection has not written, and before them for idempotent ones whose proof did not come: `sending.number` tells
    where they belong.
    """


@hookspec
def adapt_error(error: LibwsError, request: Request) -> LibwsError | None:
    """Say what an error of this provider means: a better class, text, verdict or delay (`error.but(verdict=...)`).

    Called for each failed attempt and lost connection; the first answer counts. None = no opinion. It is the only place
    where verdicts change. Raising is PluginFailed.
    """


@hookspec
def reconnect(failure: Failure) -> float | Stop | None:
    """Decide whether and when to try again.

    Called after `adapt_error`, unless the verdict is FATAL; the first answer counts: seconds to wait from now, or STOP.
    None = no opinion; nobody answers = stop. Raising is PluginFailed.
    """


@hookspec
def observe(event: Event) -> None:
    """See an event: for logs, metrics, displays.

    Called for each event as it happens, all. Must return soon. What it raises is logged and goes no further.
    """
