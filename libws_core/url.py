"""What can be said of a URL before anything is dialed, and what can be put into one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote_plus, urlsplit

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")  # RFC 3986 section 3.1


def url_problem(url: object) -> str | None:
    """What is wrong with a URL, None if nothing is. The text never quotes it, since it may hold a secret.

    Any scheme is admitted, since any plugin may dial; ws and wss must have a host and no fragment (RFC 6455 section 3).
    """
    if not isinstance(url, str):
        return f"expected str, got {type(url).__name__}"
    if any(character <= " " or character == "\x7f" for character in url):
        return "it has white space or a control character; percent-encode it"
    if not _SCHEME.match(url):
        return "it has no scheme, such as wss://"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "its host or port cannot be read"
    if parts.scheme in ("ws", "wss"):
        if not host:
            return f"it has no host: {parts.scheme}://HOST[:PORT]/PATH"
        if "#" in url:
            return "it has a fragment (#), which a WebSocket URL must not have"
    return None


def with_query(url: str, parameters: Mapping[str, str]) -> str:
    """The URL with these parameters in the place of their namesakes; whatever else is in it stays as it is written."""
    if not parameters:
        return url
    url, mark, fragment = url.partition("#")
    url, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) not in parameters]
    added = [f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in parameters.items()]
    return f"{url}?{'&'.join([*kept, *added])}{mark}{fragment}"
