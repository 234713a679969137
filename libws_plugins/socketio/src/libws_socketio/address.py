"""Where a Socket.IO server is to be dialed."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from .profile import PATH, QUERY


def completed(url: str) -> str:
    """The URL with the path of Socket.IO, if it has none, and its query. Another path and other items stay."""
    parts = urlsplit(url)
    items = [item for item in parts.query.split("&") if item and item.partition("=")[0] not in QUERY]
    items += [f"{name}={value}" for name, value in QUERY.items()]
    return urlunsplit(parts._replace(path=PATH if parts.path in ("", "/") else parts.path, query="&".join(items)))
