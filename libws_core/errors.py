"""Every error of libws, drawn:

LibwsError
├── ConfigurationError (ValueError): told before anything is dialed, all problems at once
│   ├── PluginError: a plugin cannot be found, loaded or used
│   ├── OptionError: an option, argument or URL is wrong
│   └── ProfileError: a profile file is wrong
├── ConnectError (ConnectionError): an attempt failed before there was a WebSocket
│   ├── NameResolutionError
│   ├── ConnectTimeout (TimeoutError): `phase` says which phase ran out of time
│   ├── TLSError
│   ├── ProxyError
│   ├── HandshakeRejected: the server answered with another status than 101
│   └── InvalidHandshake: the server's 101 does not follow RFC 6455
├── AuthenticationError (PermissionError): the log-in was refused
├── ConnectionClosed (ConnectionError): a WebSocket ended, with or without a close frame
│   ├── KeepAliveTimeout (TimeoutError): the peer did not answer our ping
│   ├── IdleTimeout (TimeoutError): nothing arrived for too long
│   ├── ProtocolError: the peer broke the protocol
│   └── MessageTooBig
├── RetriesExhausted (ConnectionError): the reconnect policy gave up; the last failure is the cause
├── CircuitOpen (ConnectionError): too many failures on this host, no attempt is made for now
├── SendError (ConnectionError): one message did not go out, or nobody knows whether it did
│   ├── NotReady
│   ├── OutboxFull
│   ├── MessageExpired (TimeoutError): not written in time, and it will not be sent
│   └── DeliveryUnknown: written, but no proof came that the peer has read it
├── ClientClosed (ConnectionError): the client was closed by its own user
├── SubscriptionRejected
└── PluginFailed (RuntimeError): a plugin raised what it should not, or answered what a hook does not take

No text, attribute or repr here holds a secret: URLs are shown without user, password and query, headers by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

from . import clock
from .headers import Headers
from .verdicts import FATAL, REFRESH, RETRY, Verdict, code_verdict, parse_retry_after, status_verdict

if TYPE_CHECKING:
    from .types import Attempt

__all__ = [
    "AuthenticationError",
    "CircuitOpen",
    "ClientClosed",
    "ConfigurationError",
    "ConnectError",
    "ConnectTimeout",
    "ConnectionClosed",
    "DeliveryUnknown",
    "HandshakeRejected",
    "IdleTimeout",
    "InvalidHandshake",
    "KeepAliveTimeout",
    "LibwsError",
    "MessageExpired",
    "MessageTooBig",
    "NameResolutionError",
    "NotReady",
    "OptionError",
    "OutboxFull",
    "PluginError",
    "PluginFailed",
    "Problem",
    "ProfileError",
    "ProtocolError",
    "ProxyError",
    "RetriesExhausted",
    "SendError",
    "SubscriptionRejected",
    "TLSError",
]

Party = Literal["local", "remote", "network"]
"""Whose doing it is: ours, the peer's, or of whatever lies between."""


class LibwsError(Exception):
    """The base of every error of libws.

    Args:
        text: one sentence for people; never put a secret into it.
        verdict: what it means for the next attempt; None takes the default of the class or of its tables.
        retry_after: seconds that the server asked us to wait, if it did.
    """

    verdict: Verdict = RETRY
    """What it means for the next attempt: RETRY, REFRESH or FATAL."""
    retry_after: float | None = None
    """Seconds that the server asked us to wait, None if it did not."""
    fault: Party = "network"
    """Whose fault it is: ours ("local"), the peer's ("remote") or of what lies between ("network")."""
    initiator: Party = "network"
    """Who ended it: we ("local"), the peer ("remote") or what lies between ("network")."""
    code: int | None = None
    """The close code, where there is one."""
    status: int | None = None
    """The HTTP status, where there is one."""
    phase: str | None = None
    """The phase in which it happened: resolve, admit, authenticate, dial, establish or ready."""
    attempt: Attempt | None = None
    """The attempt to which it belongs."""
    generation: int | None = None
    """The connection to which it belongs, counted from 1."""

    def __init__(self, text: str, *, verdict: Verdict | str | None = None, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.text = text
        if verdict is not None:
            self.verdict = Verdict(verdict)
        if retry_after is not None:
            self.retry_after = retry_after

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.text!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), self.__dict__.copy())

    def but(self, **changes: Any) -> Self:
        """A copy with some attributes changed, such as `error.but(verdict=Verdict.FATAL)`.

        Raises:
            TypeError: an attribute that this error does not have.
        """
        for name in changes:
            if not hasattr(self, name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
        if "verdict" in changes:
            changes["verdict"] = Verdict(changes["verdict"])
        copy: Self = _restore(type(self), {**self.__dict__, **changes})
        copy.__cause__, copy.__context__ = self.__cause__, self.__context__
        copy.__suppress_context__ = self.__suppress_context__
        return copy.with_traceback(self.__traceback__)


def _restore(kind: type[LibwsError], state: dict[str, Any]) -> Any:
    """Build an error without asking its `__init__`, whose arguments differ from class to class."""
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (state["text"],)
    return error


class Problem(NamedTuple):
    """One thing that is wrong with a configuration."""

    plugin: str | None
    """The plugin that it concerns, None where it is the client itself."""
    text: str
    """What is wrong, naming the thing and where it came from."""
    cure: str | None = None
    """What to do about it."""

    def __str__(self) -> str:
        said = f"{self.plugin!r}: {self.text}" if self.plugin is not None else self.text
        return f"{said}; {self.cure}" if self.cure else said


class ConfigurationError(LibwsError, ValueError):
    """The client cannot be assembled. `problems` has every reason, the text one a line."""

    verdict = FATAL
    fault: Party = "local"
    initiator: Party = "local"

    problems: tuple[Problem, ...] = ()

    def __init__(self, text: str, *, problems: tuple[Problem, ...] = (), **more: Any) -> None:
        super().__init__("\n  ".join([text, *map(str, problems)]), **more)
        self.problems = problems


class PluginError(ConfigurationError):
    """A plugin cannot be found, loaded or used."""


class OptionError(ConfigurationError):
    """An option of a plugin, an argument of the client or its URL is wrong."""


class ProfileError(ConfigurationError):
    """A profile file cannot be read, or says something that is not understood."""


class ConnectError(LibwsError, ConnectionError):
    """An attempt failed before there was a WebSocket."""


class NameResolutionError(ConnectError):
    """The host's name could not be resolved."""


class ConnectTimeout(ConnectError, TimeoutError):
    """A phase of the attempt did not end in `open_timeout`; `phase` says which."""


class TLSError(ConnectError):
    """The TLS handshake failed. A certificate that does not fit is FATAL."""


class ProxyError(ConnectError):
    """The proxy did not let us through; a refused log-in (407) is FATAL. Not the provider's doing.

    Args:
        status: the proxy's HTTP status, None for SOCKS.
    """

    def __init__(self, text: str, *, status: int | None = None, **more: Any) -> None:
        super().__init__(text, **more)
        self.status = status
        if status == 407 and more.get("verdict") is None:
            self.verdict = FATAL


class HandshakeRejected(ConnectError):
    """The server answered the handshake with another status than 101.

    Args:
        status: the HTTP status; decides the verdict if none is given.
        headers: the response's headers; a Retry-After among them becomes `retry_after`.
        body: what the server said, as far as it was read.
    """

    fault: Party = "remote"
    initiator: Party = "remote"
    status: int
    headers: Headers = Headers()
    body: bytes = b""

    def __init__(
        self,
        text: str,
        *,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        **more: Any,
    ) -> None:
        super().__init__(text, **more)
        self.status = status
        self.headers = Headers(headers or {})
        self.body = body
        if more.get("verdict") is None:
            self.verdict = status_verdict(status)
        if more.get("retry_after") is None:
            self.retry_after = parse_retry_after(self.headers.get("Retry-After"), clock.wall())


class InvalidHandshake(ConnectError):
    """The server's 101 does not follow RFC 6455, or answers what nobody asked for."""

    verdict = FATAL
    fault: Party = "remote"
    initiator: Party = "local"


class AuthenticationError(LibwsError, PermissionError):
    """The log-in was refused. REFRESH unless said otherwise: credentials are renewed once."""

    verdict = REFRESH
    fault: Party = "local"
    initiator: Party = "remote"


class ConnectionClosed(LibwsError, ConnectionError):
    """A WebSocket ended.

    Args:
        code: the close code: 1006 without a close frame, 1005 for an empty one (RFC 6455 section 7.4.1); decides
            the verdict if none is given.
        reason: the close frame's text.
        initiator: who sent the first close frame; "network" if nobody did.
    """

    code: int = 1006
    reason: str = ""

    def __init__(
        self,
        text: str,
        *,
        code: int = 1006,
        reason: str = "",
        initiator: Party | None = None,
        **more: Any,
    ) -> None:
        super().__init__(text, **more)
        self.code = code
        self.reason = reason
        self.initiator = initiator or ("network" if code == 1006 else "remote")
        if type(self).fault is ConnectionClosed.fault and not isinstance(self, TimeoutError):
            self.fault = self.initiator  # of silence nobody knows
        if more.get("verdict") is None and type(self).verdict is ConnectionClosed.verdict:
            self.verdict = code_verdict(code)


class KeepAliveTimeout(ConnectionClosed, TimeoutError):
    """The peer did not answer a ping in time."""


class IdleTimeout(ConnectionClosed, TimeoutError):
    """Nothing arrived for longer than allowed."""


class ProtocolError(ConnectionClosed):
    """The peer broke the protocol (RFC 6455) or sent text that is not UTF-8. FATAL, as 1002 and 1007 are."""

    verdict = FATAL
    fault: Party = "remote"

    def __init__(self, text: str, *, code: int = 1002, initiator: Party = "local", **more: Any) -> None:
        super().__init__(text, code=code, initiator=initiator, **more)


class MessageTooBig(ConnectionClosed):
    """A message was larger, or came in more fragments, than the receiver admits. FATAL, as the close code 1009 is."""

    verdict = FATAL
    fault: Party = "remote"

    def __init__(self, text: str, *, code: int = 1009, initiator: Party = "local", **more: Any) -> None:
        super().__init__(text, code=code, initiator=initiator, **more)


class RetriesExhausted(LibwsError, ConnectionError):
    """The reconnect policy gave up. The last failure is `__cause__`."""

    verdict = FATAL
    initiator: Party = "local"


class CircuitOpen(LibwsError, ConnectionError):
    """Too many attempts on this host failed in a row; no attempt is made for now."""

    fault: Party = "remote"
    initiator: Party = "local"


class SendError(LibwsError, ConnectionError):
    """One message did not go out, or nobody knows whether it did. The connection's own state is another matter."""

    initiator: Party = "local"


class NotReady(SendError):
    """There is no READY connection, and no plugin keeps the message. It was not sent."""


class OutboxFull(SendError):
    """No room to keep the message until the client is READY. It was not sent."""

    fault: Party = "local"


class MessageExpired(SendError, TimeoutError):
    """The message was not written in time. It was not sent, and will not be."""


class DeliveryUnknown(SendError):
    """The message was written, but no proof came that the peer has read it."""


class ClientClosed(LibwsError, ConnectionError):
    """The client was closed by its own user."""

    verdict = FATAL
    fault: Party = "local"
    initiator: Party = "local"


class SubscriptionRejected(LibwsError):
    """The server refused one subscription; the connection goes on."""

    fault: Party = "local"
    initiator: Party = "remote"


class PluginFailed(LibwsError, RuntimeError):
    """A plugin raised what it should not, or answered what a hook does not take. The text names plugin and hook."""

    verdict = FATAL
    fault: Party = "local"
    initiator: Party = "local"
