"""Proxies: which one, and the tunnel through it by HTTP CONNECT or SOCKS."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from libws_core.errors import ProxyError
from libws_core.secret import public_url
from libws_core.verdicts import FATAL

from .failures import translate
from .http1 import BadResponse, basic_authorization, read_head
from .transport import connect_tcp, start_tls, wrap_socket

if TYPE_CHECKING:
    from .stream import Stream
    from .target import Target

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True, repr=False)
class Proxy:
    """A parsed proxy URL."""

    scheme: str
    host: str
    port: int
    user_info: tuple[str, str] | None

    @property
    def name(self) -> str:
        """The proxy as it may be shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"proxy {self.scheme}://{host}:{self.port}"

    def __repr__(self) -> str:
        return f"<{self.name}>"


def choose_proxy(setting: str | None, target: Target) -> Proxy | None:
    """The proxy for a target: none for a unix socket, else what the setting says ("env" asks the environment).

    Raises:
        ProxyError: FATAL; the proxy's URL cannot be used.
    """
    if setting is None or target.socket is not None:
        return None
    if setting != "env":
        return parse_proxy(setting)
    url = _proxy_of_environment(target)
    return None if url is None else parse_proxy(url)


def _proxy_of_environment(target: Target) -> str | None:
    """As python-websockets chooses it, after RFC 6455 section 4.1: a SOCKS proxy first, then that for https.

    `getproxies` reads X_proxy and X_PROXY, and on macOS and Windows the system's settings; `no_proxy` takes hosts out.
    all_proxy comes last, as with curl.
    """
    proxies = urllib.request.getproxies()
    for scheme in ("wss", "socks", "https", "all") if target.secure else ("ws", "socks", "https", "http", "all"):
        url = proxies.get(scheme)
        if url:
            host = f"[{target.host}]" if ":" in target.host else target.host
            if urllib.request.proxy_bypass(f"{host}:{target.port}"):
                return None
            # macOS gives a SOCKS proxy as an http URL.
            return "socks5h://" + url[7:] if scheme == "socks" and url.startswith("http://") else url
    return None


def parse_proxy(url: str) -> Proxy:
    """Take a proxy's URL apart; a bare host:port is one of http.

    Raises:
        ProxyError: FATAL; the text never holds a password.
    """
    full = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(full)
        host, port = parts.hostname, parts.port
        if host and not host.isascii():
            host = host.encode("idna").decode("ascii")
    except ValueError:
        raise _refused("its host or port cannot be read") from None
    if parts.scheme not in _PORTS:
        raise _refused(f"its scheme is not one of {', '.join(_PORTS)}")
    if not host:
        raise _refused("it names no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _refused(f"{public_url(f'{parts.scheme}://{host}')} has something behind its host and port")
    user_info = None
    if parts.username is not None:
        user_info = (unquote(parts.username), unquote(parts.password or ""))
    return Proxy(parts.scheme, host, port if port is not None else _PORTS[parts.scheme], user_info)


def _refused(reason: str) -> ProxyError:
    return ProxyError(f"the proxy's URL cannot be used: {reason}", verdict=FATAL)


async def open_tunnel(proxy: Proxy, target: Target, *, happy_eyeballs: float, user_agent: str | None) -> Stream:
    """Connect to a target through a proxy.

    Raises:
        ProxyError: FATAL if it refuses the log-in.
        TLSError: of an https proxy.
    """
    if proxy.scheme.startswith("socks"):
        return await _through_socks(proxy, target)
    try:
        stream = await connect_tcp(proxy.host, proxy.port, happy_eyeballs)
    except OSError as error:
        raise ProxyError(str(translate(error, proxy.name))) from error
    connected = False
    try:
        if proxy.scheme == "https":
            await start_tls(stream, ssl.create_default_context(), proxy.host, f"the {proxy.name}")
        await _connect(stream, proxy, target, user_agent)
        connected = True
    finally:
        if not connected:
            await stream.aclose()
    return stream


async def _connect(stream: Stream, proxy: Proxy, target: Target, user_agent: str | None) -> None:
    """Ask for a tunnel, RFC 9110 section 9.3.6."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    lines = [f"CONNECT {host}:{target.port} HTTP/1.1", f"Host: {host}:{target.port}"]
    if user_agent is not None:
        lines.append(f"User-Agent: {user_agent}")
    if proxy.user_info is not None:
        lines.append(f"Proxy-Authorization: {basic_authorization(*proxy.user_info)}")
    stream.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        head = await read_head(stream)
    except BadResponse as error:
        raise ProxyError(f"{proxy.name} did not answer with a response of HTTP: {error}") from None
    except EOFError:
        raise ProxyError(f"{proxy.name} closed the connection") from None
    except OSError as error:
        raise ProxyError(f"{proxy.name} broke the connection: {error}") from error
    if head.status in (401, 407):
        # 407 is the status for it (RFC 9110 section 15.5.8); tinyproxy answers 401 to a wrong password.
        raise ProxyError(f"{proxy.name} refuses the log-in: {head.status}", status=head.status, verdict=FATAL)
    if not 200 <= head.status <= 299:
        raise ProxyError(f"{proxy.name} does not connect to {target.name}: {head.status}", status=head.status)
    if stream.pending:
        raise ProxyError(f"{proxy.name} sent bytes behind its answer")


async def _through_socks(proxy: Proxy, target: Target) -> Stream:
    """RFC 1928. socks5 resolves the name here, socks5h leaves it to the proxy."""
    import python_socks
    from python_socks.async_.asyncio import Proxy as Socks

    user, password = proxy.user_info or (None, None)
    client = Socks(
        python_socks.ProxyType.SOCKS5,
        proxy.host,
        proxy.port,
        username=user,
        password=password,
        rdns=proxy.scheme == "socks5h",
    )
    # RFC 1929: one byte of length each; python-socks sends ASCII, and its UnicodeEncodeError would quote the password.
    if not all(text.isascii() and 1 <= len(text) <= 255 for text in proxy.user_info or ()):
        raise _refused("user and password of a SOCKS proxy are 1 to 255 characters of ASCII")
    try:
        connected = await client.connect(target.host, target.port)
    except python_socks.ProxyError as error:
        # Replies about the log-in have no code, those about the target have one (RFC 1928 section 6).
        if error.error_code is None and "authentication" in str(error).lower():
            raise ProxyError(f"{proxy.name} refuses the log-in: {error}", verdict=FATAL) from error
        raise ProxyError(f"{proxy.name} does not connect to {target.name}: {error}") from error
    except python_socks.ProxyConnectionError as error:
        raise ProxyError(f"cannot reach the {proxy.name}: {error.strerror}") from error
    except python_socks.ProxyTimeoutError as error:
        raise ProxyError(f"{proxy.name} does not answer") from error
    except UnicodeError:
        raise ProxyError(f"{target.name} names a host that is not one of DNS", verdict=FATAL) from None
    except socket.gaierror as error:  # the target's; that of the proxy itself is a ProxyConnectionError
        raise translate(error, target.name) from error
    except OSError as error:
        raise ProxyError(f"{proxy.name} broke the connection: {error}") from error
    return await wrap_socket(connected)
