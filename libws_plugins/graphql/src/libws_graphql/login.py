"""What `connection_init` carries, and the wait for what the server says to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from libws_core import ConnectTimeout, LibwsError, Message, Request, Session
from libws_core.credentials import ask_source, concealed
from libws_core.match import template

PAYLOAD = "graphql.payload"
"""Where the log-in of an attempt stands in `Request.extra`, its texts as Secrets."""
SPARE = 5.0
"""Seconds that establish has beyond the time in which the ack must come."""


async def ask_payload(payload: Any, request: Request) -> Any:
    """What the log-in carries."""
    if not callable(payload):
        return payload
    made = await ask_source("payload", payload, request)
    if made is not None and not isinstance(made, Mapping):
        raise TypeError(f"option 'payload' gave {type(made).__name__}, not a dict")
    return concealed(made)


async def answer_to(session: Session, message: dict[str, Any], kind: str, seconds: float) -> Message:
    """Send a message and wait for its answer, of that type, within so many seconds."""
    session.extend(seconds + SPARE)
    try:
        async with asyncio.timeout(seconds):
            await session.send(message_of(message))
            session.extend(seconds + SPARE)
            return await session.recv({"type": kind})
    except TimeoutError as error:
        if isinstance(error, LibwsError):
            raise
        raise ConnectTimeout(f"no {kind} within {seconds:g} s") from None


def message_of(value: dict[str, Any]) -> Message:
    """The message of a JSON object; a Secret in it counts as its str."""
    made = template(value)
    assert made is not None  # only a callable gives none
    return made
