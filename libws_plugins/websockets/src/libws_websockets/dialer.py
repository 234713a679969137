"""The plugin: answers `dial` for ws, wss and unix sockets, and follows redirects."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec

from libws_core.errors import HandshakeRejected, InvalidHandshake, LibwsError
from libws_core.headers import Headers
from libws_core.hookspecs import hookimpl
from libws_core.types import Connection, Request

from .connection import WebSocketConnection
from .failures import translate
from .handshake import make_protocol, shake_hands
from .http1 import BadResponse, read_body
from .proxy import choose_proxy
from .target import SCHEMES, Target, parse_target, redirected, scheme_of
from .transport import open_stream, without_certificate

MAX_REDIRECTS = 5

_REDIRECTS = {301, 302, 303, 307, 308}  # RFC 9110 section 15.4

_KEPT_ACROSS_ORIGINS = {"origin", "user-agent"}


@dataclass(eq=False, kw_only=True)
class Websockets:
    """Open WebSockets with python-websockets' sans-I/O protocol; the default dialer."""

    compression: Literal["deflate"] | None = "deflate"
    """Offer permessage-deflate (RFC 7692) to the server; None = do not."""

    max_size: Annotated[int, msgspec.Meta(ge=1)] | None = 16 * 2**20
    """Largest message that may arrive, in bytes after inflating; None = no limit."""

    max_fragments: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Most fragments in which a message may arrive."""

    happy_eyeballs: Annotated[float, msgspec.Meta(gt=0)] = 0.25
    """Seconds after which a host's next address is tried beside the one before (RFC 8305)."""

    _context: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    @hookimpl(trylast=True)
    async def dial(self, request: Request) -> Connection | None:
        """Open a connection, following up to 5 redirects; None for other schemes."""
        if scheme_of(request.url) not in SCHEMES:
            return None
        target = first = parse_target(request.url)
        headers, context = request.headers, request.ssl
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._attempt(target, request, headers, context)
            if not isinstance(answer, Target):
                return answer
            if answer.origin != target.origin:
                headers = Headers([pair for pair in headers.pairs if pair[0].lower() in _KEPT_ACROSS_ORIGINS])
                context = None if context is None else without_certificate(context)
            target = answer
        raise InvalidHandshake(f"{first.name} redirects more than {MAX_REDIRECTS} times")

    async def _attempt(
        self, target: Target, request: Request, headers: Headers, context: ssl.SSLContext | None
    ) -> WebSocketConnection | Target:
        """Dial one target; gives a connection, or the target to which the server redirects."""
        protocol = make_protocol(
            target, request.subprotocols, compression=self.compression is not None, max_size=self.max_size
        )
        stream = await open_stream(
            target,
            choose_proxy(request.proxy, target),
            context=lambda: context or self._default_context(),
            happy_eyeballs=self.happy_eyeballs,
            user_agent=headers.get("User-Agent"),
        )
        connection = None
        try:
            head = await shake_hands(stream, protocol, target, headers)
            if head.status == 101:
                connection = WebSocketConnection(
                    protocol,
                    stream.transports,
                    name=target.name,
                    headers=head.headers,
                    pending=stream.detach(),
                    lost=stream.lost,
                    max_size=self.max_size,
                    max_fragments=self.max_fragments,
                )
                stream.hand_over(connection)
                return connection
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

    def _default_context(self) -> ssl.SSLContext:
        """The system's certificates; reading them takes milliseconds, so once."""
        if self._context is None:
            self._context = ssl.create_default_context()
        return self._context
