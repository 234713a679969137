"""What spans and metrics say of a server and of an error: OpenTelemetry's names where it has them, libws.* else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.util.types import AttributeValue

from libws_core import LibwsError
from libws_core.secret import public_url

__all__ = ["checked", "of_error", "of_server", "of_url"]

PORTS = {"ws": 80, "wss": 443}  # RFC 6455 section 3
WEBSOCKET = ("ws", "wss", "ws+unix")


def of_server(url: str) -> dict[str, AttributeValue]:
    """Who is dialed, fit for metrics too: scheme, host and port, and nothing that may be secret or that varies."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return {}
    told: dict[str, AttributeValue] = {"url.scheme": parts.scheme}
    if parts.scheme in WEBSOCKET:
        told["network.protocol.name"] = "websocket"
    if parts.scheme == "ws+unix":
        told |= {"network.transport": "unix", "server.address": parts.path.partition(":")[0]}
    elif host:
        told["server.address"] = host
        if known := port or PORTS.get(parts.scheme):
            told["server.port"] = known
    return told


def of_url(url: str) -> dict[str, AttributeValue]:
    """The same for a span, with the URL as far as it may be shown."""
    return {**of_server(url), "url.full": public_url(url)}


def of_error(error: LibwsError) -> dict[str, AttributeValue]:
    """What kind of failure it is; no text, so that there are few kinds."""
    told: dict[str, AttributeValue] = {"error.type": type(error).__name__, "libws.verdict": str(error.verdict)}
    if error.status is not None:
        told["http.response.status_code"] = error.status
    if error.code is not None:
        told["libws.close.code"] = error.code
    return told


def checked(attributes: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Attributes that a user gives, in the form that OpenTelemetry takes.

    Raises:
        ValueError: a value is of another kind. The text names the attribute, never its value.
    """
    told: dict[str, AttributeValue] = {}
    for name, value in attributes.items():
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            kinds = {type(item) for item in value}
            fits = len(kinds) <= 1 and kinds <= {str, bool, int, float}
            told[name] = tuple(value)
        else:
            fits = isinstance(value, str | bool | int | float)
            told[name] = value
        if not fits:
            kind = type(value).__name__
            raise ValueError(
                f"option 'attributes.{name}': expected str, bool, int, float or a list of one of them, got {kind}"
            )
    return told
