"""What a CONNECT carries, and what the server says to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from libws_core import ProtocolError, Request, Secret, Verdict
from libws_core.credentials import ask_source, concealed, revealed

from .errors import ConnectRefused
from .profile import INVALID_NAMESPACE

AUTH = "socketio.auth"
"""Where the log-in of an attempt stands in `Request.extra`, its texts as Secrets."""


async def ask_auth(auth: Any, request: Request) -> Any:
    """What the log-in carries."""
    if not callable(auth):
        return auth
    made = await ask_source("auth", auth, request)
    if made is not None and not isinstance(made, Mapping):
        raise TypeError(f"option 'auth' gave {type(made).__name__}, not a dict")
    return concealed(made)


def refusal(namespace: str, auth: Any, said: Any) -> ConnectRefused:
    """What a CONNECT_ERROR means. A server may repeat the log-in, which the error must not show."""
    if not isinstance(said, dict):
        said = {"message": said if isinstance(said, str) else ""}
    for secret in _texts(auth):
        said = _without(said, secret)
    message = str(said.get("message") or "")
    verdict = Verdict.FATAL if message in INVALID_NAMESPACE else None
    text = f"the server refused the namespace {namespace!r}"
    return ConnectRefused(text, message=message, data=said.get("data"), verdict=verdict)


def to_json(value: Any) -> str:
    """The text of a log-in.

    Raises:
        ValueError: JSON cannot hold it.
    """
    try:
        return msgspec.json.encode(revealed(value)).decode()
    except (TypeError, RecursionError):
        raise ValueError("it holds what JSON cannot") from None


def opened(text: str) -> dict[str, Any]:
    """Read the data of Engine.IO's open packet.

    Raises:
        ProtocolError: it is none.
    """
    try:
        said = msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        said = None
    if isinstance(said, dict) and _time(said.get("pingInterval")) and _time(said.get("pingTimeout")):
        return said
    raise ProtocolError("the server's open packet does not tell pingInterval and pingTimeout")


def _time(value: Any) -> bool:
    """It is milliseconds. python-socketio tells whole seconds of its interval, so it may be 0."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**31


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Secret):
        yield from [value.reveal()] if value else []
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _without(value: Any, secret: str) -> Any:
    if isinstance(value, str):
        return value.replace(secret, "***")
    if isinstance(value, dict):
        return {_without(name, secret): _without(item, secret) for name, item in value.items()}
    if isinstance(value, list):
        return [_without(item, secret) for item in value]
    return value
