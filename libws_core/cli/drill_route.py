"""The way of a drill: the client dials a relay in the server's place, unless its log-in does not allow that."""

from __future__ import annotations

import re
import urllib.request
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

from ..errors import LibwsError
from ..hookspecs import hookimpl
from ..testing.heads import address
from ..testing.relay import Relay
from ..types import Request
from ..verdicts import FATAL

_SIGNATURE = re.compile(r"(?:signature(?:-input)?|hmac|dpop)\Z|(?:\A|[-_.])(?:sig|sign)\Z", re.IGNORECASE)
_BOUND_COOKIE = re.compile(r"(?:\A|;)\s*__(?:Host|Secure)-")  # cookie prefixes: RFC 6265bis section 4.1.3

SIGNED_SCHEMES = frozenset(
    [
        *["digest", "dpop", "hawk", "hmac", "hoba", "mac", "negotiate", "ntlm", "oauth"],
        *["sharedkey", "sharedkeylite", "signature"],
    ]
)
"""Schemes of Authorization that sign the request, or bind it to its address; and all that begin with "aws4-"."""


class NotDrillable(LibwsError):
    """The client cannot be led over a relay."""

    verdict = FATAL
    fault = "local"
    initiator = "local"


class Detour:
    """A plugin that has the last word on what is dialed: the relay, which dials what was meant.

    Args:
        relay: listens already.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    @hookimpl(trylast=True)
    async def authenticate(self, request: Request) -> Request:
        """Lead the attempt over the relay, with the credentials that the other plugins have put into it."""
        reason = obstacle(request)
        if reason is not None:
            raise NotDrillable(reason)
        self._relay.aim(request.url, request.ssl)
        return replace(request, url=self._relay.url, ssl=None, proxy=None)


def obstacle(request: Request) -> str | None:
    """Why a request cannot be led over a relay; None if nothing is known against it. Names things, never values."""
    try:
        address(request.url)
    except ValueError:
        return "the relay dials ws:// and wss:// only"
    if _has_proxy(request):
        return "the server is dialed through a proxy, and the relay dials directly"
    signed = _signed_part(request)
    if signed is not None:
        return f"the log-in is signed ({signed}): a signature belongs to the address that it was made for"
    cookie = request.headers.get("Cookie")
    if cookie is not None and ("Origin" in request.headers or _BOUND_COOKIE.search(cookie)):
        return "the log-in is bound to its origin (header 'Cookie'), and the drill dials from another one"
    return None


def _signed_part(request: Request) -> str | None:
    for name, _ in parse_qsl(urlsplit(request.url).query, keep_blank_values=True):
        if _SIGNATURE.search(name):
            return f"query parameter {name!r}"
    for name in request.headers:
        if _SIGNATURE.search(name):
            return f"header {name!r}"
    scheme = request.headers.get("Authorization", "").partition(" ")[0].lower()
    if scheme in SIGNED_SCHEMES or scheme.startswith("aws4-"):
        return "header 'Authorization'"
    return None


def _has_proxy(request: Request) -> bool:
    if request.proxy != "env":
        return request.proxy is not None
    target = address(request.url)
    proxies = urllib.request.getproxies()
    names = ("wss", "socks", "https", "all") if target.secure else ("ws", "socks", "https", "http", "all")
    host = f"[{target.host}]" if ":" in target.host else target.host
    return any(map(proxies.get, names)) and not urllib.request.proxy_bypass(f"{host}:{target.port}")
