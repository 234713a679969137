"""What the central system asks of us, and who answers."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from libws_core import Kind, Message, Session

from .errors import CallError, ErrorCode
from .profile import ACTIONS, CALL, ERROR, MALFORMED, RESULT

logger = logging.getLogger("libws.ocpp")

WAITING = 100
"""CALLs that may wait for their turn. A central system has one in flight; one that has more is answered at once."""
DESCRIPTION = 255
"""Characters of a description: OCPP 2.0.1 part 4 section 4.2.3; 1.6 has no limit."""
UNKNOWN_ID = "-1"
"""The id of an answer to what has none that can be read: OCPP 2.0.1 part 4 section 4.2.3."""

Handler = Callable[[dict[str, Any]], Any]
"""Gets the payload, gives that of the answer or None for an empty one; plain or async."""


class Desk:
    """Answers the CALLs of one connection, one after the other.

    Args:
        handlers: by action.
        seconds: that a handler may take.
    """

    def __init__(self, session: Session, version: str, handlers: Mapping[str, Handler], seconds: float) -> None:
        self._session = session
        self._version = version
        self._handlers = handlers
        self._seconds = seconds
        self._waiting: deque[tuple[str, str, dict[str, Any]]] = deque()
        self._busy = False

    def take(self, said: list[Any]) -> None:
        """Take a message that says it is a CALL."""
        identity = said[1] if len(said) > 1 and isinstance(said[1], str) else UNKNOWN_ID
        payload = payload_of(said[3:])
        if identity == UNKNOWN_ID or payload is None or not isinstance(said[2], str):
            self._refuse(identity, MALFORMED[self._version], "a CALL is [2, id, action, payload]")
        elif said[2] not in self._handlers:
            known = said[2] in ACTIONS[self._version]
            code = ErrorCode.NOT_SUPPORTED if known else ErrorCode.NOT_IMPLEMENTED
            self._refuse(identity, code, f"{said[2]} is not {'answered' if known else 'known'} here")
        elif len(self._waiting) >= WAITING:
            self._refuse(identity, ErrorCode.INTERNAL_ERROR, "too many calls wait for their answers")
        else:
            self._waiting.append((identity, said[2], payload))
            if not self._busy:
                self._busy = True
                self._session.spawn(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._answer(*self._waiting.popleft())
        finally:
            self._busy = False

    async def _answer(self, identity: str, action: str, payload: dict[str, Any]) -> None:
        try:
            made = self._handlers[action](payload)
            if inspect.isawaitable(made):
                async with asyncio.timeout(self._seconds):
                    made = await made
            if made is not None and not isinstance(made, Mapping):
                raise TypeError(f"it gave {type(made).__name__}, not a dict")
            answer = message_of([RESULT, identity, {} if made is None else made])
        except CallError as error:
            self._refuse(identity, error.error_code, error.description, error.details)
        except Exception as error:
            logger.exception("the handler of %s failed", action)
            self._refuse(identity, ErrorCode.INTERNAL_ERROR, f"the handler failed: {type(error).__name__}")
        else:
            self._session.send(answer)

    def _refuse(self, identity: str, code: str, description: str, details: Mapping[str, Any] | None = None) -> None:
        self._session.send(message_of([ERROR, identity, str(code), description[:DESCRIPTION], dict(details or {})]))


def call_of(identity: str, action: str, payload: Mapping[str, Any]) -> Message:
    """The message of a CALL."""
    return message_of([CALL, identity, action, payload])


def payload_of(rest: list[Any]) -> dict[str, Any] | None:
    """The payload that ends a CALL or a CALLRESULT; null is an empty one: OCPP-J 1.6 sections 4.2.1 and 4.2.2.

    None if it is none.
    """
    if len(rest) != 1 or not isinstance(rest[0], (dict, type(None))):
        return None
    return rest[0] or {}


def message_of(value: list[Any]) -> Message:
    """The message of a JSON array."""
    return Message.text(msgspec.json.encode(value).decode())


def array_of(message: Message) -> list[Any] | None:
    """What a message of the protocol says, None if it is none."""
    if message.kind is not Kind.TEXT or message.data.lstrip()[:1] != "[":
        return None
    try:
        said = message.json
    except ValueError:
        return None
    return said if isinstance(said, list) and said else None
