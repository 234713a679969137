"""What hooks take and give: data and protocols.

Hooks return values and never edit what they were given; `dataclasses.replace(request, url=...)` makes the changed one.
"""

from __future__ import annotations

import asyncio
import ssl as _ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, TypeVar, overload

import msgspec

from .headers import Headers
from .secret import public_url

if TYPE_CHECKING:
    from .errors import LibwsError
    from .events import Gap

T = TypeVar("T")


class Kind(IntEnum):
    """What a message is; the values are the opcodes of RFC 6455 section 5.2."""

    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Message(msgspec.Struct, gc=False, eq=False):  # a Struct is made in half the time of a plain object
    """One message. Plugins see all five kinds, users the two that carry data.

    `data` is str for TEXT and bytes for the others; that of CLOSE is the payload of the close frame, which `code` and
    `reason` read. Its repr tells kind and size only, since a message may hold a secret.
    """

    kind: Kind
    data: Any = b""
    _json: Any = msgspec.UNSET

    @classmethod
    def text(cls, data: str) -> Message:
        """A TEXT message."""
        return cls(Kind.TEXT, data)

    @classmethod
    def binary(cls, data: bytes) -> Message:
        """A BINARY message."""
        return cls(Kind.BINARY, data)

    @classmethod
    def ping(cls, payload: bytes = b"") -> Message:
        """A ping frame; at most 125 bytes."""
        return cls(Kind.PING, payload)

    @classmethod
    def pong(cls, payload: bytes = b"") -> Message:
        """A pong frame; at most 125 bytes."""
        return cls(Kind.PONG, payload)

    @classmethod
    def close(cls, code: int = 1000, reason: str = "") -> Message:
        """A close frame; 1005 gives an empty one."""
        return cls(Kind.CLOSE, b"" if code == 1005 else code.to_bytes(2, "big") + reason.encode())

    @property
    def json(self) -> Any:
        """The data parsed as JSON; parsed once, then kept.

        Raises:
            ValueError: it is not JSON.
        """
        if self._json is msgspec.UNSET:
            self._json = _parse_json(self.data)
        return self._json

    @property
    def code(self) -> int | None:
        """The code of a CLOSE, 1005 if it has none (RFC 6455 section 7.1.5); None for the other kinds."""
        if self.kind is not Kind.CLOSE:
            return None
        return int.from_bytes(self.data[:2], "big") if len(self.data) >= 2 else 1005

    @property
    def reason(self) -> str:
        """The text of a CLOSE, empty for the other kinds."""
        return self.data[2:].decode("utf-8", "replace") if self.kind is Kind.CLOSE else ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and other.kind == self.kind and other.data == self.data

    def __ne__(self, other: object) -> bool:  # a Struct has its own, which compares by identity
        return not self == other

    def __hash__(self) -> int:
        return hash((self.kind, self.data))

    def __repr__(self) -> str:
        if self.kind is Kind.CLOSE:
            return f"Message(CLOSE, {self.code})"
        return f"Message({self.kind.name}, {len(self.data)} {'characters' if self.kind is Kind.TEXT else 'bytes'})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """For rich, to which a Struct would show its fields."""
        return [("kind", self.kind), ("size", len(self.data))]


def _parse_json(data: str | bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the message is not JSON: {error}") from None
    except RecursionError:
        raise ValueError("the message is JSON that is nested too deeply") from None


class Stop(Enum):
    """The type of `STOP`, an answer to `reconnect`."""

    STOP = "stop"

    def __repr__(self) -> str:
        return "STOP"


STOP: Final = Stop.STOP
"""Answer this to `reconnect` to give up: the client fails with RetriesExhausted."""


class Attempt(NamedTuple):
    """One try at a connection."""

    number: int
    """Which one it is of the client's life, from 1."""
    generation: int
    """Which connection of the client it is to become, from 1. Attempts that fail leave the number to the next one."""
    why: Literal["open", "reconnect", "move"]
    """For the first READY, after a loss, or to take the place of a live connection (`Session.reopen`)."""
    failure: Failure | None = None
    """The failure before it, None on the first attempt and on a move."""

    def alone(self) -> Attempt:
        """This attempt without the failure before it, so that what is kept does not hold on to all that ever failed."""
        return self._replace(failure=None)


FIRST_ATTEMPT: Final = Attempt(1, 1, "open", None)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """What is going to be dialed. Hooks change it with `dataclasses.replace`."""

    url: str
    """Any scheme that a dialer answers: ws, wss, ws+unix, or a plugin's own."""
    headers: Headers = field(default_factory=Headers)
    """Headers of the handshake. Any mapping may be given, also Origin and User-Agent."""
    subprotocols: tuple[str, ...] = ()
    """Subprotocols to offer, the preferred one first."""
    ssl: _ssl.SSLContext | None = None
    """The TLS context for wss; None = the system's certificates, with the host's name checked."""
    proxy: str | None = "env"
    """ "env" = as the environment says, None = no proxy, or a URL: http, https, socks5 or socks5h."""
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What `resolve` learnt beside the URL: an interval, a ticket's id. For plugins; the core does not read it."""
    attempt: Attempt = FIRST_ATTEMPT

    def __post_init__(self) -> None:
        if type(self.headers) is not Headers:
            object.__setattr__(self, "headers", Headers(self.headers))
        object.__setattr__(self, "subprotocols", tuple(self.subprotocols))

    def __repr__(self) -> str:
        return f"Request({public_url(self.url)!r}, headers={self.headers!r}, attempt={self.attempt.number})"


@dataclass(frozen=True, slots=True)
class Failure:
    """What `reconnect` decides about."""

    error: LibwsError
    """What went wrong, after `adapt_error`."""
    request: Request
    """What was dialed, as far as it got."""
    phase: str
    """Where it went wrong: resolve, admit, authenticate, dial, establish or ready."""
    count: int
    """Failures in this row, from 1. A row ends when a connection was READY for `healthy_after`."""
    uptime: float
    """Seconds that the connection was READY, 0 if it never was."""


@dataclass(eq=False, slots=True)
class Sending:
    """A message on its way, with what its sender wants to know of it. `hold` gets one for a send while not READY."""

    message: Message
    confirm: bool = False
    """Its sender waits for the proof that the peer has read it."""
    idempotent: bool = False
    """It may be written again if its proof does not come."""
    expires: float | None = None
    """Loop time after which it must not be written any more; None = never. Who holds it may bring it forward."""
    number: int = field(default=0, init=False)
    """Which one of the client's it is, in the order of sending: what is offered again stands before what is newer."""
    proof: asyncio.Future[Any] | None = field(default=None, init=False, repr=False)
    """The core's own: ends when the peer has read it or the connection that should prove it is lost."""
    place: Any = field(default=None, init=False, repr=False)
    """The core's own: what its sender waits for until it is written. None = it is written, or nobody waits."""


Stage = Callable[[Message], "Message | Iterable[Message | Gap] | None"]
"""A stage of `incoming` or `deliver`: gives the message, another one, several, or None to swallow it."""

Outgoing = Callable[[Message], "Message | float"]
"""A function of `outgoing`: gives the message to write, or seconds to wait before it is asked again."""


class Control(NamedTuple):
    """A stage of `incoming` that sees only pings, pongs and closes, and costs data messages nothing."""

    stage: Stage


class Connection(Protocol):
    """One open WebSocket, as a dialer returns it. It pushes what arrives, and never before `start`.

    A dialer may add members that make the core more exact, or faster. Without them it asks `buffered` every few
    milliseconds while it waits, and takes the arrival of a message for the arrival of bytes:

    - `received`: the loop's time when bytes last arrived, a float;
    - `drained`: None at first; the core puts a callable here, to be called when `buffered` has fallen below its mark;
    - `sink` and `last_data`, both or none: the core puts a callable into `sink`, which takes texts and binaries in
      place of `deliver`, with nothing between. It may put another one there while it is being called, so it is looked
      up for each message. `last_data` is the loop's time when the last of them came.
    """

    subprotocol: str | None
    """The subprotocol that the server chose."""
    headers: Headers
    """The headers of the server's answer."""

    @property
    def buffered(self) -> int:
        """Bytes written and not yet taken by the operating system."""

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        """Begin to push: every message of all five kinds, then `ended` exactly once.

        Pings are delivered and not answered. A CLOSE is delivered, then answered with the same code, then `ended` is
        called with a ConnectionClosed. Both callables are plain, quick and do not raise. Called once.
        """

    def write(self, message: Message) -> None:
        """Write a TEXT, BINARY, PING or PONG; returns at once. After `close` or the end it does nothing."""

    def pause(self) -> None:
        """Deliver nothing more, not even what was read already, and stop reading the socket, until `resume`."""

    def resume(self) -> None:
        """Deliver again. What waited is delivered soon, never from within this call."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Send a close frame, unless one was sent; `ended` comes when the peer has answered and the socket is closed.

        Messages that arrive until then are still delivered. It does not wait: the core aborts when time is up.
        """

    def abort(self) -> None:
        """Drop the socket at once, without a frame. `ended` follows, unless it came already."""


class Session(Protocol):
    """One live connection as plugins see it."""

    request: Request
    """What was dialed."""
    subprotocol: str | None
    """The subprotocol that the server chose."""
    response_headers: Headers
    """The headers of the server's answer."""

    @property
    def idle(self) -> float:
        """Seconds since any byte arrived. Stands still while *we* have paused reading."""

    @property
    def quiet(self) -> float:
        """Seconds since an application message arrived. Stands still while *we* have paused reading."""

    @property
    def paused_total(self) -> float:
        """Seconds in all that *we* have not been reading: time in which silence is no fault of the peer."""

    def send(self, message: Message | Sending) -> Awaitable[None]:
        """Queue a message, ahead of users' ones, through `outgoing`. Plain: it is on its way when this returns.

        The awaitable ends when it is written and may be ignored. A newer PONG takes the place of one that waits.

        A `Sending` is a user's message, which `hold` has kept: it queues up among the users' ones, and its sender waits
        for it from then on. The awaitable ends as well if its sender has gone, and if the connection has ended before
        it was written: the core then offers it to `hold` again.

        Raises:
            LibwsError: a Sending, and the connection has ended.
        """

    async def recv(self, match: Any = None) -> Message:
        """Take the first data message, past the stages, that matches; only within `establish`.

        What it does not take stays, in order, for the next reader and then for the user. `match`: str, bytes, a dict
        of items that a JSON object must hold, or a callable; None takes any. Restarts establish's deadline.

        Raises:
            ConnectionClosed: the connection ended first.
        """

    async def ping(self, timeout: float = 20) -> float:
        """Send a ping frame and wait for its pong; gives the round trip in seconds.

        The deadline starts now, also when our write buffer is full, and stands still while *we* have paused reading.

        Raises:
            KeepAliveTimeout: no pong within `timeout` seconds.
        """

    def state(self, make: Callable[[], T]) -> T:
        """This connection's own object of that class, made by `make()` at first use.

        A plugin's fields live as long as the client; what must not outlive a connection belongs here.
        """

    @overload
    def plugin(self, which: type[T]) -> T: ...
    @overload
    def plugin(self, which: str) -> Any: ...
    def plugin(self, which: type[Any] | str) -> Any:
        """The client's instance of a plugin, by class or name. Raises LookupError if it is not enabled."""

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine until the connection ends; what it raises ends the connection.

        For what must beat before READY; `keep_alive` is for what begins at READY.
        """

    def on_end(self, ended: Callable[[LibwsError], object]) -> None:
        """Have `ended` called when the connection has ended, with the error; at once if it has ended already.

        For what only this connection can bring, and somebody waits for. It is called once, before any event tells of
        the end, also for a connection that never was READY and for the old one of a move. It is plain and quick; what
        it raises is logged and goes no further.
        """

    def extend(self, seconds: float) -> None:
        """Move establish's deadline to `seconds` from now."""

    def resumed(self) -> None:
        """Say, within `establish`, that the peer goes on where the lost connection ended: READY then tells no `Gap`.

        For protocols whose server answers a resume with what was missed. It has no effect in a move whose old
        connection is still alive. What a connection brings that ends before READY is dropped, so the position from
        which to resume moves on only with a connection that was READY.

        Raises:
            RuntimeError: the connection is READY already.
        """

    def fail(self, error: LibwsError, code: int | None = None) -> None:
        """End the connection with this verdict, which beats the close code's.

        Args:
            code: the close code to send; None drops the socket without a frame.
        """

    def reopen(
        self,
        why: str,
        request: Request | None = None,
        order: Literal["make-first", "break-first"] = "make-first",
        overlap: float = 10,
        settle: float = 0,
    ) -> Awaitable[bool | LibwsError]:
        """Move to a new connection; sends and delivery go over in order.

        Args:
            why: one word or sentence for events and logs.
            request: what to dial, `resolve` is then not asked; None = as any attempt.
            order: "make-first" keeps the old connection until the new one carries; "break-first" closes it before,
                for providers that admit one connection.
            overlap: seconds that sends stay on the old one if the new one shows no message.
            settle: seconds that the old one lives on after that; if the new one is lost meanwhile, it carries again.

        Returns:
            An awaitable of True, or of the error if the new connection failed and the old one stays. It may be ignored.
            While a move is under way another call gives the same awaitable.
        """

    def emit(self, what: Any) -> None:
        """An event goes to observers, a Message straight into the inbox (past `deliver`), a Gap to both."""
