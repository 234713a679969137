"""The plugin: answers `dial` for ndjson+tcp."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta

from libws_core import ConnectError, Connection, NameResolutionError, Request, hookimpl

from .connection import NdjsonConnection

__all__ = ["Ndjson"]

SCHEME = "ndjson+tcp"
CREDENTIALS = ("Authorization", "Cookie")
"""Headers whose loss would be a riddle, since this wire has none."""


@dataclass(eq=False, kw_only=True)
class Ndjson:
    """Open connections of newline-delimited JSON over TCP: `ndjson+tcp://HOST:PORT`."""

    max_size: Annotated[int, Meta(ge=1)] | None = 2**20
    """Longest line that may arrive, in bytes; None = no limit."""

    @hookimpl
    async def dial(self, request: Request) -> Connection | None:
        """Open a connection; None for other schemes."""
        if request.url.partition(":")[0].lower() != SCHEME:
            return None
        host, port = _target(request)
        name = f"{SCHEME}://{f'[{host}]' if ':' in host else host}:{port}"
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: NdjsonConnection(name, self.max_size), host, port)
        except socket.gaierror as error:
            raise NameResolutionError(f"cannot resolve the host of {name}: {error.strerror}") from error
        except OSError as error:
            why = os.strerror(error.errno).lower() if error.errno else str(error)
            raise ConnectError(f"cannot connect to {name}: {why}") from error
        return connection


def _target(request: Request) -> tuple[str, int]:
    """Host and port. What this wire cannot do is refused, since nobody would learn of it otherwise.

    Raises:
        ConnectError: FATAL, the request asks for what there is not.
    """
    parts = urlsplit(request.url)
    problem = None
    if not parts.hostname or parts.port is None:
        problem = f"a URL of {SCHEME} needs a host and a port: {SCHEME}://HOST:PORT"
    elif parts.path not in ("", "/") or parts.query or parts.username is not None:
        problem = f"a URL of {SCHEME} has a host and a port, no path, query or user"
    elif request.proxy not in (None, "env"):
        problem = f"{SCHEME} goes through no proxy; set proxy=None"
    elif lost := [name for name in CREDENTIALS if name in request.headers]:
        problem = f"{SCHEME} has no headers, so {' and '.join(lost)} cannot be sent; log in by a message"
    if problem is not None:
        raise ConnectError(problem, verdict="fatal")
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port
