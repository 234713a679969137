"""Acme's trading desk: log in by challenge and response, beat, subscribe, resume."""

from __future__ import annotations

import hashlib
import hmac
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from libws_core import (
    AuthenticationError,
    Kind,
    LibwsError,
    Message,
    ProtocolError,
    Request,
    Secret,
    Session,
    Verdict,
    hookimpl,
)

__all__ = ["Desk"]

# Everything from here to the class is a page of Acme's handbook, "Streaming API", 2026-11.

CODES: Mapping[str, Verdict] = {
    "4001": Verdict.REFRESH,  # the log-in has expired
    "4003": Verdict.FATAL,  # the account is locked
    "4008": Verdict.RETRY,  # too many connects
    "4009": Verdict.RETRY,  # the session to resume is unknown
    "4100-4199": Verdict.FATAL,  # we have sent what is not understood
}
LOCKED_OUT = 4008
UNKNOWN_SESSION = 4009
CALM = 30.0
"""Seconds to stay away after 4008."""
NONCE = 16
"""Characters that a nonce has at least."""
HEARTBEAT = 15.0
"""Seconds from one heartbeat to the next, where the welcome does not say."""
LONGEST_HEARTBEAT = 60.0
REFUSALS: Mapping[str, tuple[str, Verdict]] = {
    "proof": ("the answer to the challenge is wrong", Verdict.REFRESH),
    "account": ("there is no such account", Verdict.FATAL),
    "locked": ("the account is locked", Verdict.FATAL),
}
"""Why a log-in is refused: for people, and what it means. What else the server writes is not repeated, as it may hold
what we have sent."""


KEY = "desk.key"
"""Where the key of an attempt stands in `Request.extra`, as a Secret."""


class Talk:
    """What one connection has been told."""

    def __init__(self) -> None:
        self.heartbeat = HEARTBEAT
        self.resumed = False


@dataclass(eq=False, kw_only=True)
class Desk:
    """Acme's trading desk: logs in by challenge and response, beats as often as the server wants, subscribes anew on
    each connection and resumes the session, so that what was missed is sent again."""

    account: str
    """The account's number."""
    key: Secret | Callable[..., Any]
    """The account's key, which never leaves this process: it signs the server's challenge. Or a function, plain or
    async, that gives it; it is asked on each attempt, with the request."""
    topics: list[str] = field(default_factory=list)
    """Topics to begin with, such as "BTC-EUR". `client.plugin("subscriptions")` adds and removes others."""

    session_id: str | None = field(default=None, init=False)
    """The session that the next connection resumes."""

    BATCH: ClassVar[int] = 20
    """Topics in one message, at most."""

    def __post_init__(self) -> None:
        if not self.account:
            raise ValueError("option 'account': expected the account's number")
        if isinstance(self.key, str):
            self.key = Secret(self.key)
        if isinstance(self.key, Secret) and not self.key:
            raise ValueError("option 'key': expected the account's key")

    def uses(self) -> dict[str, dict[str, Any]]:
        """How others behave here."""
        return {
            "ping": {
                "message": {"type": "heartbeat"},
                "reply": {"type": "heartbeat"},
                "interval": lambda session: session.state(Talk).heartbeat,
                "timeout": 5,
                "when": "always",
            },
            "backoff": {"codes": dict(CODES)},
            "subscriptions": {
                "encode": {"type": "subscribe", "topics": "$topics", "id": "$id"},
                "confirm": {"type": "subscribed", "id": "$id"},
                "encode_remove": {"type": "unsubscribe", "topics": "$topics", "id": "$id"},
                "confirm_remove": {"type": "unsubscribed", "id": "$id"},
                "reject": {"type": "rejected", "topic": "$topic", "error": "$error"},
                "topic": "topic",
                "position": "seq",
                "batch": self.BATCH,
                "topics": list(self.topics),
            },
        }

    @hookimpl
    async def authenticate(self, request: Request) -> Request:
        """Have the key ready before the connection is made: the desk waits for an answer to its challenge for 5 s."""
        key = self.key if isinstance(self.key, Secret) else await self._ask(self.key, request)
        return replace(request, extra={**request.extra, KEY: key})

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Answer the challenge, wait for the welcome."""
        challenge = await session.recv({"type": "challenge", "nonce": "$nonce"})
        nonce = challenge.json["nonce"]
        if not isinstance(nonce, str) or len(nonce) < NONCE:
            raise ProtocolError("the server's challenge is too short to prove anything", code=4100)
        login = {"type": "login", "account": self.account, "proof": self._proof(nonce, session.request.extra[KEY])}
        if self.session_id is not None:
            login["session"] = self.session_id
        await session.send(text(login))
        answer = (await session.recv(is_answer)).json
        if answer["type"] == "refused":
            said, verdict = REFUSALS.get(str(answer.get("why")), ("it does not say why", Verdict.REFRESH))
            raise AuthenticationError(f"the desk refused the log-in: {said}", verdict=verdict)
        talk = session.state(Talk)
        talk.heartbeat = _seconds(answer.get("heartbeat"))
        talk.resumed = answer.get("resumed") is True
        self.session_id = str(answer["session"]) if answer.get("session") else None

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        """Stay away after 4008; resume no session that is unknown. The verdicts of codes are told by backoff."""
        if error.code == UNKNOWN_SESSION:
            self.session_id = None
        return error.but(retry_after=CALM) if error.code == LOCKED_OUT else None

    def _proof(self, nonce: str, key: Secret) -> str:
        """The answer to a challenge: HMAC-SHA256 of nonce and account, in hexadecimal."""
        return hmac.new(key.reveal().encode(), f"{nonce}:{self.account}".encode(), hashlib.sha256).hexdigest()

    async def _ask(self, function: Callable[..., Any], request: Request) -> Secret:
        """The key that a user's function gives. What it raises may quote it, so only its kind is told."""
        try:
            given = function(request)
            if inspect.isawaitable(given):
                given = await given
        except LibwsError:
            raise
        except Exception as error:
            kind = type(error).__name__
            raise AuthenticationError(f"option 'key' gave no key: {kind}", verdict=Verdict.RETRY) from None
        if not isinstance(given, str | Secret) or not given:
            kind = type(given).__name__
            raise AuthenticationError(f"option 'key' gave {kind}, not a key", verdict=Verdict.FATAL)
        return Secret(given)


def is_answer(message: Message) -> bool:
    """A welcome or a refusal."""
    if message.kind is not Kind.TEXT:
        return False
    try:
        return isinstance(message.json, dict) and message.json.get("type") in ("welcome", "refused")
    except ValueError:
        return False


def text(value: Mapping[str, Any]) -> Message:
    """A JSON object as a message."""
    return Message.text(json.dumps(value))


def _seconds(value: object) -> float:
    """The heartbeat that a welcome asks for; one that makes no sense is as none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= LONGEST_HEARTBEAT:
        return HEARTBEAT
    return float(value)
