"""The plugin: answers `dial` for ws, wss and unix sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

import msgspec

from libws_core.hookspecs import hookimpl
from libws_core.types import Connection, Request

from .connection import WebSocketConnection
from .handshake import make_protocol
from .opening import Opening, SystemContext
from .transport import open_stream


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

    _system: SystemContext = field(default_factory=SystemContext, init=False, repr=False)

    @hookimpl(trylast=True)
    async def dial(self, request: Request) -> Connection | None:
        """Open a connection, following up to 5 redirects; None for other schemes."""
        opening = Opening(
            request,
            self._system,
            stream=partial(open_stream, happy_eyeballs=self.happy_eyeballs),
            protocol=lambda target: make_protocol(
                target, request.subprotocols, compression=self.compression is not None, max_size=self.max_size
            ),
            connection=partial(WebSocketConnection, max_size=self.max_size, max_fragments=self.max_fragments),
        )
        return await opening.run()
