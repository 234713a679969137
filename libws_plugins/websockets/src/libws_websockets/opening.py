"""From a request to an open WebSocket: the opening handshake, redirects, and whatever else may answer.

`libws-picows` opens its WebSockets here too.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from libws_core.errors import HandshakeRejected, InvalidHandshake, LibwsError
from libws_core.headers import Headers
from libws_core.types import Connection, Request

from .failures import translate
from .handshake import shake_hands
from .http1 import BadResponse, read_body
from .proxy import choose_proxy
from .target import SCHEMES, Target, parse_target, redirected, scheme_of
from .transport import without_certificate

if TYPE_CHECKING:
    from websockets.client import ClientProtocol

    from .stream import Stream

MAX_REDIRECTS = 5

_REDIRECTS = {301, 302, 303, 307, 308}  # RFC 9110 section 15.4

_KEPT_ACROSS_ORIGINS = {"origin", "user-agent"}


_CERTIFICATE_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE")
"""What a default context takes from the environment."""

_contexts: WeakValueDictionary[tuple[str | None, ...], ssl.SSLContext] = WeakValueDictionary()


class SystemContext:
    """A TLS context with the system's certificates, read when it is first needed.

    That takes about 20 milliseconds and 800 kilobytes, so the plugins that are alive share one.
    """

    def __init__(self) -> None:
        self._context: ssl.SSLContext | None = None

    def __call__(self) -> ssl.SSLContext:
        """The context."""
        if self._context is None:
            where = tuple(map(os.environ.get, _CERTIFICATE_VARIABLES))
            context = _contexts.get(where)
            if context is None:
                context = _contexts[where] = ssl.create_default_context()
            self._context = context
        return self._context


class Opening:
    """Opens one WebSocket, following up to 5 redirects.

    Args:
        system: gives the TLS context where the request has none.
        stream: opens what lies below, as `transport.open_stream` does.
        protocol: makes the sans-I/O protocol for a target.
        connection: makes the connection when the server has agreed, as `WebSocketConnection` does.
    """

    def __init__(
        self,
        request: Request,
        system: Callable[[], ssl.SSLContext],
        *,
        stream: Callable[..., Awaitable[Stream]],
        protocol: Callable[[Target], ClientProtocol],
        connection: Callable[..., Any],
    ) -> None:
        self._request = request
        self._system = system
        self._open_stream = stream
        self._make_protocol = protocol
        self._make_connection = connection

    async def run(self) -> Connection | None:
        """Open it; None for schemes that are none of ours.

        Raises:
            LibwsError: it did not open; nothing is left open.
        """
        request = self._request
        if scheme_of(request.url) not in SCHEMES:
            return None
        target = first = parse_target(request.url)
        headers, context = request.headers, request.ssl
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._attempt(target, headers, context)
            if not isinstance(answer, Target):
                return answer
            if answer.origin != target.origin:
                headers = Headers([pair for pair in headers.pairs if pair[0].lower() in _KEPT_ACROSS_ORIGINS])
                context = None if context is None else without_certificate(context)
            target = answer
        raise InvalidHandshake(f"{first.name} redirects more than {MAX_REDIRECTS} times")

    async def _attempt(self, target: Target, headers: Headers, context: ssl.SSLContext | None) -> Connection | Target:
        """Dial one target; gives a connection, or the target to which the server redirects."""
        protocol = self._make_protocol(target)
        stream = await self._open_stream(
            target,
            choose_proxy(self._request.proxy, target),
            context=lambda: context or self._system(),
            user_agent=headers.get("User-Agent"),
        )
        connection = None
        try:
            head = await shake_hands(stream, protocol, target, headers)
            if head.status == 101:
                made: Any = self._make_connection(
                    protocol,
                    stream.transports,
                    name=target.name,
                    headers=head.headers,
                    pending=stream.detach(),
                    lost=stream.lost,
                )
                stream.hand_over(made)
                connection = made
                return made  # type: ignore[no-any-return]
            if head.status in _REDIRECTS and "Location" in head.headers:
                return redirected(target, head.headers.get_all("Location")[0])
            raise HandshakeRejected(
                f"{target.name} answered {head.status} instead of 101",
                status=head.status,
                headers=head.headers,
                body=await read_body(stream, head.headers),
            )
        except LibwsError:  # before OSError, of which ConnectError is one
            raise
        except (BadResponse, EOFError, OSError) as error:
            raise translate(error, target.name) from error
        finally:
            if connection is None:
                await stream.aclose()
