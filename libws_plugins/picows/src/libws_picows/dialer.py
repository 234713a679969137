"""The plugin: answers `dial` for ws, wss and unix sockets."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import msgspec

from libws_core.hookspecs import hookimpl
from libws_core.types import Connection, Request
from libws_websockets.handshake import make_protocol
from libws_websockets.opening import Opening, SystemContext

from .connection import PicowsConnection
from .transport import open_stream


@dataclass(eq=False, kw_only=True)
class Picows:
    """Open WebSockets whose frames picows reads: for large messages and TLS."""

    max_size: Annotated[int, msgspec.Meta(ge=1)] | None = 16 * 2**20
    """Largest message that may arrive, in bytes; None = no limit."""

    max_fragments: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Most fragments in which a message may arrive."""

    read_buffer: Annotated[int, msgspec.Meta(ge=4096)] = 64 * 1024
    """Bytes that a connection reads into. It grows for a frame that is larger, and returns to this."""

    _system: SystemContext = field(default_factory=SystemContext, init=False, repr=False)

    @hookimpl(trylast=True)
    async def dial(self, request: Request) -> Connection | None:
        """Open a connection, following up to 5 redirects; None for other schemes."""
        opening = Opening(
            request,
            self._system,
            stream=open_stream,
            protocol=lambda target: make_protocol(target, request.subprotocols, compression=False, max_size=None),
            connection=partial(
                PicowsConnection,
                max_size=self.max_size,
                max_fragments=self.max_fragments,
                read_buffer=self.read_buffer,
            ),
        )
        return await opening.run()
