"""What `connection_init` carries, and the wait for what the server says to it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from libws_core import AuthenticationError, ConnectTimeout, LibwsError, Message, Request, Secret, Session, Verdict
from libws_core.match import call, template

PAYLOAD = "graphql.payload"
"""Where the log-in of an attempt stands in `Request.extra`, its texts as Secrets."""
SPARE = 5.0
"""Seconds that establish has beyond the time in which the ack must come."""
BUGS = (TypeError, AttributeError, NameError, ImportError, AssertionError, NotImplementedError)
"""What a callable raises that is wrong itself; trying again does not mend it."""

if TYPE_CHECKING:
    Item = Any
else:
    # What a payload may hold. Told level by level, so that the core makes a Secret of each string before it shows any.
    Leaf = Secret | bool | int | float | None
    Item = Leaf | dict[str, Any] | list[Any]
    for _ in range(4):
        Item = Leaf | dict[str, Item] | list[Item]


async def ask_payload(payload: Any, request: Request) -> Any:
    """What the log-in carries. What a callable raises may quote a secret, so only its kind is told."""
    if not callable(payload):
        return payload
    try:
        made = call(payload, request)
        made = await made if inspect.isawaitable(made) else made
    except (LibwsError, *BUGS):
        raise
    except Exception as error:
        text = f"option 'payload' gave no answer: {type(error).__name__}"
        raise AuthenticationError(text, verdict=Verdict.RETRY) from None
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


def concealed(value: Any) -> Any:
    """A payload with every text in it held as a Secret."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, Mapping):
        return {name: concealed(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [concealed(item) for item in value]
    return value
