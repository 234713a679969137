"""From a target to a stream: TCP, unix sockets, proxies, and TLS on top of them."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohappyeyeballs import start_connection

from libws_core.errors import LibwsError, TLSError

from .failures import translate
from .stream import Stream

if TYPE_CHECKING:
    from .proxy import Proxy
    from .target import Target


async def open_stream(
    target: Target,
    proxy: Proxy | None,
    *,
    context: Callable[[], ssl.SSLContext],
    happy_eyeballs: float,
    user_agent: str | None,
) -> Stream:
    """Connect to a target, up to and with TLS.

    Args:
        context: gives the TLS context, if one is needed.
        happy_eyeballs: seconds after which the next address is tried beside the one before (RFC 8305 section 5).
        user_agent: for the proxy.

    Raises:
        ConnectError: also as NameResolutionError, TLSError or ProxyError.
    """
    try:
        tls = context() if target.secure else None
        if proxy is not None:
            from .proxy import open_tunnel  # late: proxy.py builds on this module

            stream = await open_tunnel(proxy, target, happy_eyeballs=happy_eyeballs, user_agent=user_agent)
        elif target.socket is not None:
            stream = await connect_unix(target.socket)
        else:
            stream = await connect_tcp(target.host, target.port, happy_eyeballs)
    except LibwsError:  # before OSError, of which ConnectError is one
        raise
    except OSError as error:
        raise translate(error, target.name) from error
    if tls is not None:
        await start_tls(stream, tls, target.host, target.name)
    return stream


async def connect_tcp(host: str, port: int, happy_eyeballs: float) -> Stream:
    """Resolve a name and connect to the address that answers first. Raises OSError."""
    return await wrap_socket(await connect_socket(host, port, happy_eyeballs))


async def connect_socket(host: str, port: int, happy_eyeballs: float) -> socket.socket:
    """As `connect_tcp`, without a stream on top."""
    addresses = await _resolve(host, port)
    try:
        return await start_connection(addresses, happy_eyeballs_delay=happy_eyeballs, interleave=1)
    except RuntimeError as error:  # uvloop, where asyncio raises OSError
        raise OSError(str(error)) from error


async def _resolve(host: str, port: int) -> list[Any]:
    """The addresses of a host. An address stands for itself and needs no thread in which to wait for an answer."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (socket.gaierror, UnicodeError):
        pass
    try:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that is empty or too long; the text of the error quotes the host
        raise socket.gaierror(socket.EAI_NONAME, "the name is not one of DNS") from None


async def wrap_socket(connected: socket.socket) -> Stream:
    """Make a stream of a connected socket."""
    stream = Stream()
    try:
        await asyncio.get_running_loop().create_connection(lambda: stream, sock=connected)
    except BaseException:
        connected.close()
        raise
    return stream


async def connect_unix(path: str) -> Stream:
    """Connect to a unix socket. Raises OSError."""
    stream = Stream()
    await asyncio.get_running_loop().create_unix_connection(lambda: stream, path)
    return stream


async def start_tls(stream: Stream, context: ssl.SSLContext, host: str, name: str) -> None:
    """Put TLS on top of a stream; on failure the stream is closed.

    Raises:
        TLSError: FATAL if it is about a certificate.
    """
    done = False
    try:
        lower = stream.transports[0]
        transport = await asyncio.get_running_loop().start_tls(lower, stream, context, server_hostname=host)
        if transport is None:  # closed in the very turn in which the handshake ended
            raise ConnectionResetError("the connection was closed")
        stream.connection_made(transport)
        done = True
    except ssl.SSLError as error:
        raise translate(error, name) from error
    except (OSError, ValueError) as error:
        # ValueError: what the ssl module says about a host that cannot stand in a certificate.
        reason = str(error) or type(error).__name__
        raise TLSError(f"TLS with {name} failed: {reason}") from error
    finally:
        if not done:
            await stream.aclose()


def without_certificate(context: ssl.SSLContext) -> ssl.SSLContext:
    """A context that trusts whom this one trusts, and holds no client certificate.

    For a redirect to another origin, which must not learn who we are. What cannot be read from a context (authorities
    looked up in a folder, a subclass's own way) falls back to those of the system.
    """
    made = ssl.create_default_context()
    if context.verify_mode is ssl.CERT_NONE:
        made.check_hostname = False
        made.verify_mode = ssl.CERT_NONE
        return made
    try:
        authorities = context.get_ca_certs(binary_form=True)
    except NotImplementedError:
        authorities = []
    if authorities:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(cadata=b"".join(authorities))
    made.check_hostname = context.check_hostname
    made.verify_flags = context.verify_flags
    made.minimum_version = context.minimum_version
    made.maximum_version = context.maximum_version
    return made
