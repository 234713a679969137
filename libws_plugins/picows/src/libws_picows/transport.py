"""From a target to a stream on aiofastnet's transports, the ones that picows itself uses: TCP, unix sockets, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import aiofastnet

from libws_core.errors import TLSError
from libws_websockets import transport as plain
from libws_websockets.failures import translate
from libws_websockets.stream import Stream

if TYPE_CHECKING:
    from libws_websockets.proxy import Proxy
    from libws_websockets.target import Target

HAPPY_EYEBALLS = 0.25
"""Seconds after which a host's next address is tried beside the one before (RFC 8305 section 5)."""


async def open_stream(
    target: Target, proxy: Proxy | None, *, context: Callable[[], ssl.SSLContext], user_agent: str | None
) -> Stream:
    """Connect to a target, up to and with TLS. Through a proxy, the loop's own transports are used.

    Args:
        context: gives the TLS context, if one is needed.
        user_agent: for the proxy.

    Raises:
        ConnectError: also as NameResolutionError, TLSError or ProxyError.
    """
    if proxy is not None:
        return await plain.open_stream(
            target, proxy, context=context, happy_eyeballs=HAPPY_EYEBALLS, user_agent=user_agent
        )
    try:
        tls = context() if target.secure else None
        connected = await _connect(target)
    except OSError as error:
        raise translate(error, target.name) from error
    stream = Stream()
    done = False
    try:
        await aiofastnet.create_connection(
            asyncio.get_running_loop(),
            lambda: stream,
            sock=connected,
            ssl=tls,
            server_hostname=None if tls is None else target.host,
        )
        done = True
    except ssl.SSLError as error:
        raise translate(error, target.name) from error
    except (OSError, ValueError) as error:
        if tls is None:
            raise translate(error, target.name) from error
        # ValueError: what the ssl module says about a host that cannot stand in a certificate.
        reason = str(error) or type(error).__name__
        raise TLSError(f"TLS with {target.name} failed: {reason}") from error
    finally:
        if not done:
            await _drop(connected)
    return stream


async def _connect(target: Target) -> socket.socket:
    """A connected socket. Raises OSError."""
    loop = asyncio.get_running_loop()
    if target.socket is not None:
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        done = False
        try:
            unix.setblocking(False)
            await loop.sock_connect(unix, target.socket)
            done = True
        finally:
            if not done:
                unix.close()
        return unix
    return await plain.connect_socket(target.host, target.port, HAPPY_EYEBALLS)


async def _drop(connected: socket.socket) -> None:
    """Close a socket on which no transport came up; a transport that tried has let go of it two turns later."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    connected.close()
