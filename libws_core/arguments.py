"""Checks what the user gave to a client, before anything is dialed."""

from __future__ import annotations

import math
import ssl as _ssl
from collections.abc import Iterable, Mapping
from types import EllipsisType

from . import __version__
from .errors import Problem
from .headers import Headers
from .types import Request
from .url import url_problem

_LEAST = {"inbox_messages": 1, "inbox_bytes": 1}


def base_request(
    url: str,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    subprotocols: Iterable[str],
    origin: str | None,
    user_agent: str | EllipsisType | None,
    ssl: _ssl.SSLContext | None,
    proxy: str | None,
    problems: list[Problem],
) -> Request:
    """What every attempt begins from; what is wrong with it is added to `problems`."""
    if problem := url_problem(url):
        problems.append(Problem(None, f"url: {problem}"))
        url = "ws://invalid"
    own: dict[str, str] = {}
    if origin is not None:
        own["Origin"] = origin
    if user_agent is not None:
        own["User-Agent"] = f"libws/{__version__}" if isinstance(user_agent, EllipsisType) else user_agent
    given = Headers()
    try:
        given = Headers(headers or {})
        own_headers = Headers({name: value for name, value in own.items() if name not in given or name == "Origin"})
    except (ValueError, TypeError) as error:
        own_headers = Headers()
        problems.append(Problem(None, f"headers: {error}"))
    offered: tuple[str, ...] = ()
    if isinstance(subprotocols, str):
        problems.append(Problem(None, "subprotocols: expected a list of str, got one str", "put it into a list"))
    else:
        offered = tuple(subprotocols)
        try:
            Headers([("Sec-WebSocket-Protocol", each) for each in offered])
        except (ValueError, TypeError):
            offered = ()
            problems.append(Problem(None, "subprotocols: each is a str without line ends or control characters"))
    if ssl is not None and not isinstance(ssl, _ssl.SSLContext):
        problems.append(Problem(None, f"ssl: expected an ssl.SSLContext or None, got {type(ssl).__name__}"))
        ssl = None
    if proxy is not None and proxy != "env":
        scheme = proxy.partition(":")[0].lower() if isinstance(proxy, str) else ""
        if scheme not in ("http", "https", "socks5", "socks5h") or url_problem(proxy):
            problems.append(Problem(None, "proxy: expected 'env', None or a URL: http, https, socks5 or socks5h"))
            proxy = None
    return Request(url, given | own_headers if own_headers else given, offered, ssl, proxy)


def limits(**values: float) -> list[Problem]:
    """What is wrong with the numbers."""
    problems = []
    for name, value in values.items():
        least = _LEAST.get(name)
        if least is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                problems.append(Problem(None, f"{name}: expected an int of at least {least}, got {value!r}"))
        elif not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
            problems.append(Problem(None, f"{name}: expected a number of seconds, got {value!r}"))
        elif value == 0 and name == "open_timeout":
            problems.append(Problem(None, f"{name}: expected more than 0 seconds, got {value!r}"))
    return problems
