"""What a WebSocket URL points to, and where a redirect leads."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote, urljoin, urlsplit

from libws_core.errors import InvalidHandshake, OptionError
from libws_core.secret import public_url

SCHEMES = {"ws": False, "wss": True, "ws+unix": False, "wss+unix": True}
"""The schemes that are dialed here, and whether they use TLS."""

_HTTP = {"http": "ws", "https": "wss"}
_DELIMITERS = ":/?#[]@!$&'()*+,;=%"  # gen-delims and sub-delims of RFC 3986 section 2.2, and what is quoted already
_UNSAFE = re.compile(r"[\x00-\x20\x7f]")


def scheme_of(url: str) -> str:
    """The scheme of a URL, in lower case; empty if there is none."""
    scheme, colon, _ = url.partition(":")
    return scheme.lower() if colon else ""


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed URL of one of `SCHEMES`."""

    url: str
    secure: bool
    host: str
    """Name or address; in ASCII, in lower case, an IPv6 address without brackets."""
    port: int
    path: str
    """What stands in the request line, without the query; never empty."""
    query: str
    user_info: tuple[str, str] | None
    """User and password, decoded."""
    socket: str | None = None
    """Path of the unix socket."""

    def __repr__(self) -> str:
        return f"Target({self.name!r})"

    @property
    def name(self) -> str:
        """The URL as it may be shown."""
        return public_url(self.url)

    @property
    def origin(self) -> tuple[bool, str, int, str | None]:
        """Two targets with the same one may share credentials: scheme, host and port, or unix socket."""
        return self.secure, self.host, self.port, self.socket


def parse_target(url: str) -> Target:
    """Take a URL apart.

    Raises:
        OptionError: it is none that can be dialed. The text never holds a secret.
    """
    try:
        return _parse(url)
    except ValueError as error:
        # What the parser of the standard library says may quote the user and password.
        reason = str(error) if type(error) is _BadURL else "its host or port cannot be read"
        raise OptionError(f"the URL to dial is not one of a WebSocket: {reason}") from None


class _BadURL(ValueError):
    """A reason without a secret."""


def _parse(url: str) -> Target:
    if _UNSAFE.search(url):
        raise _BadURL("it holds a blank or a control character")
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        raise _BadURL("its scheme is not ws, wss or ws+unix")
    if "#" in url:  # RFC 6455 section 3
        raise _BadURL("a fragment (#) has no meaning")
    secure = SCHEMES[scheme]
    if scheme.endswith("+unix"):
        return _parse_unix(url, secure)
    parts = urlsplit(url)
    if not parts.hostname:
        raise _BadURL("it names no host")
    port = parts.port if parts.port is not None else (443 if secure else 80)
    host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode("ascii")
    user_info = None
    if parts.username is not None:
        user_info = (unquote(parts.username), unquote(parts.password or ""))
    path = quote(parts.path, safe=_DELIMITERS) or "/"
    return Target(url, secure, host, port, path, quote(parts.query, safe=_DELIMITERS), user_info)


def _parse_unix(url: str, secure: bool) -> Target:
    """ws+unix:///path.sock:/resource?query: the socket stands before the first colon of the path."""
    rest = url.partition(":")[2]
    if not rest.startswith("///"):
        raise _BadURL("a socket is named like ws+unix:///path.sock:/resource")
    socket, _, resource = rest[2:].partition(":")
    path, _, query = resource.partition("?")
    if "?" in socket:
        raise _BadURL("a query stands behind the resource, like ws+unix:///path.sock:/resource?query")
    if path and not path.startswith("/"):
        raise _BadURL("the resource behind the socket begins with a slash")
    path, query = quote(path, safe=_DELIMITERS) or "/", quote(query, safe=_DELIMITERS)
    return Target(url, secure, "localhost", 443 if secure else 80, path, query, None, unquote(socket))


def redirected(target: Target, location: str) -> Target:
    """Where the Location header of a redirect leads; http and https become ws and wss.

    A user and password stay with the same origin, unless the location has its own.

    Raises:
        InvalidHandshake: it leads nowhere that may be dialed; from wss to ws, above all.
    """
    try:
        new = parse_target(_resolve(target, quote(location.strip().encode("latin-1"), safe=_DELIMITERS)))
    except (OptionError, ValueError):
        raise InvalidHandshake(f"{target.name} redirects to a location that is not a WebSocket URL") from None
    if target.secure and not new.secure:
        raise InvalidHandshake(f"{target.name} redirects from wss to ws ({new.name}), which is not followed")
    if new.user_info is None and new.origin == target.origin:
        return replace(new, user_info=target.user_info)
    return new


def _resolve(target: Target, location: str) -> str:
    """RFC 3986 section 5, in terms of http, for which every parser knows the rules."""
    scheme = "https" if target.secure else "http"
    if target.socket is None:
        host = f"[{target.host}]" if ":" in target.host else target.host
        base = f"{scheme}://{host}:{target.port}"
    else:
        base = f"{scheme}://localhost"  # the name under which the server was asked
    location = re.sub(r"^ws(s?):", r"http\1:", location, flags=re.IGNORECASE)
    joined = urljoin(f"{base}{target.path}", location).partition("#")[0]
    if target.socket is not None and joined.startswith(f"{base}/"):
        return f"{scheme_of(target.url)}://{quote(target.socket)}:{joined.removeprefix(base)}"
    found = scheme_of(joined)
    if found not in _HTTP:
        raise ValueError("another scheme")
    return f"{_HTTP[found]}{joined[len(found) :]}"
