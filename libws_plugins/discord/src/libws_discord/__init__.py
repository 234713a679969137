"""Discord's gateway, version 10: sessions that are resumed, heartbeats, and all of its limits."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from libws_core import (
    AttemptFailed,
    AuthenticationError,
    Client,
    Closed,
    ConnectionClosed,
    ConnectTimeout,
    Disconnected,
    Event,
    Failure,
    Kind,
    LibwsError,
    Message,
    Request,
    Secret,
    SendError,
    Session,
    Verdict,
    chance,
    hookimpl,
)
from libws_core.credentials import ask_source
from libws_core.types import Outgoing, Stage
from libws_core.url import url_problem, with_query

from .errors import IdentifiesSpent, ReconnectRequested, SessionInvalidated
from .identifies import DISTANCE, Identifies, Turns, identifies_of
from .line import KEEPS_SESSION, Line, body_of, command, is_own
from .profile import (
    API,
    CODES,
    DISPATCH,
    ENDS_SESSION,
    HEARTBEAT,
    HEARTBEAT_ACK,
    HELLO,
    IDENTIFY,
    INTENTS,
    INVALID_SESSION,
    INVALID_WAIT,
    LARGE,
    PAYLOAD,
    QUERY,
    RECONNECT,
    RESUME,
    SENDS,
    SENDS_PER,
    URL,
)
from .rest import Rest

__all__ = ["API", "INTENTS", "URL", "Discord", "IdentifiesSpent", "ReconnectRequested", "SessionInvalidated"]

TOKEN = "discord.token"
"""Where an attempt has its token, in `Request.extra`."""
MARGIN = 2.0
"""Seconds by which the minute is longer in which we count our payloads, since they may arrive closer together than they
leave, and repeat offenders "will have their API access revoked"."""
TICK = 0.001
"""Shortest wait, seconds: what is left of one may be less than the clock can tell."""
LONGEST_WAIT = 16
"""Times the usual wait after an invalid session, at most, where one follows another: each costs an identify."""
PATIENT = 3
"""Failures in a row after which every other attempt to resume goes to the gateway's own URL."""


@dataclass
class Kept:
    """What a session is resumed with."""

    id: str
    url: str | None
    sequence: int
    """Of the newest event that was given to the user."""


@dataclass(eq=False, kw_only=True)
class Discord:
    """Be a bot on Discord's gateway: identify, send heartbeats, resume what was lost, and stay within the limits.

    Events come as they are, as texts whose `json` has `op` 0. All else that Discord says is taken out. What is sent is
    the user's, such as `client.send_json({"op": 3, "d": {...}})`. The client's URL is that of the REST API, which is
    asked for the gateway, or of the gateway itself.
    """

    token: Secret | Callable[..., Any]
    """The bot's. A callable, plain or async, is asked anew on each attempt; it may take the request, and gives it."""
    intents: Annotated[int, Meta(ge=0)] | list[str]
    """Which events come: a sum of bits, or their names, such as ["GUILDS", "GUILD_MESSAGES"]."""
    shard: tuple[int, int] | None = None
    """Which part of the guilds: its number, from 0, and how many there are. None = all."""
    presence: dict[str, Any] | None = None
    """The presence to begin with, as Update Presence has it. None = Discord's default."""
    properties: dict[str, str] | None = None
    """What the identify tells of us. None = this system, and libws."""
    large_threshold: Annotated[int, Meta(ge=LARGE[0], le=LARGE[1])] | None = None
    """Members from which on a guild comes without those that are offline. None = Discord's default, 50."""
    compress: Literal["zlib-stream"] | None = None
    """How Discord compresses what it sends; `codec` unpacks it."""
    spare: Annotated[int, Meta(ge=1)] = 10
    """Identifies of the day that are left alone: with no more than these the client ends with IdentifiesSpent. Other
    programs may use the same token, and who uses up all of them loses it."""
    hello_timeout: Annotated[float, Meta(gt=0)] = 20.0
    """Seconds that Discord has for its hello."""
    ready_timeout: Annotated[float, Meta(gt=0)] = 300.0
    """Seconds that it has for the first event after an identify or resume. In an outage it may take long; heartbeats go
    on meanwhile, and giving up costs an identify."""
    client: Callable[..., Any] | None = None
    """Gives the httpx.AsyncClient that asks REST, as the option of that name of `http`."""

    _bits: int = field(default=0, init=False, repr=False)
    _client: weakref.ref[Client] | None = field(default=None, init=False, repr=False)
    _rest: Rest = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _kept: Kept | None = field(default=None, init=False, repr=False)
    _encrypted: bool = field(default=False, init=False, repr=False)
    """The connection that began the session was; then those that resume it are."""
    _invalid: int = field(default=0, init=False, repr=False)
    """Invalid sessions since a connection was of use."""
    _turns: Turns | None = field(default=None, init=False, repr=False)
    """Those in which an attempt has its turn to identify."""

    def __post_init__(self) -> None:
        if isinstance(self.token, str):
            self.token = Secret(self.token)
        if isinstance(self.token, Secret) and not self.token:
            raise ValueError("option 'token' is empty")
        self._bits = self.intents if isinstance(self.intents, int) else _sum(self.intents)
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            raise ValueError(f"option 'shard': {list(self.shard)!r} is not a number from 0 and how many there are")
        try:
            msgspec.json.encode([self.presence, self.properties])
        except (TypeError, RecursionError):
            raise ValueError("option 'presence': it holds what JSON cannot") from None
        self._rest = Rest(self.client)

    def uses(self) -> dict[str, dict[str, Any]]:
        """The limit of payloads, and what unpacks a compressed connection."""
        used: dict[str, dict[str, Any]] = {
            "ratelimit": {"messages": SENDS, "per": SENDS_PER, "margin": MARGIN, "control": False}
        }
        return used if self.compress is None else used | {"codec": {"decode": [self.compress, "json"]}}

    # From one attempt to the next

    @hookimpl
    async def resolve(self, request: Request) -> Request:
        """Say where to dial: where the session is to be resumed, or at the gateway."""
        token = await self._ask_token(request)
        kept = self._kept
        url = None if kept is None or _gives_up(request) else kept.url
        if url is None:
            url = request.url
            if urlsplit(url).scheme in ("http", "https"):
                url = await self._rest.gateway(identifies_of(token), request, token, self.spare, kept is not None)
        query = {**QUERY, "compress": self.compress} if self.compress is not None else QUERY
        return replace(request, url=with_query(url, query), extra={**request.extra, TOKEN: Secret(token)})

    @hookimpl
    async def admit(self, request: Request) -> None:
        """Wait for our turn to identify, if we have to."""
        if self._kept is not None:
            return
        identifies = identifies_of(await self._token_of(request))
        turns = identifies.turns(self.shard[0] if self.shard else 0)
        await turns.enter()
        self._turns = turns
        self._check(identifies)

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Wait for the hello, then resume or identify."""
        line: Line = session.state(Line)
        await line.wait(line.hello, self.hello_timeout, "hello")
        kept, token = self._kept, await self._token_of(session.request)
        line.asked = True
        if kept is not None:
            resume = {"token": token, "session_id": kept.id, "seq": kept.sequence}
            await session.send(_payload(RESUME, resume))
        else:
            await self._identify(session, token)
        await line.wait(line.answered, self.ready_timeout, "event" if kept is not None else "READY")
        if kept is not None:
            session.resumed()

    async def _identify(self, session: Session, token: str) -> None:
        if self._turns is None:  # only `admit` gives turns
            raise ConnectionClosed("the session ended while this attempt was to resume it", initiator="local")
        body = {"token": token, "intents": self._bits, "properties": self._properties()}
        for name in ("shard", "presence", "large_threshold"):
            if (value := getattr(self, name)) is not None:
                body[name] = value
        identifies = identifies_of(token)
        self._check(identifies)
        identifies.spend(asyncio.get_running_loop().time())
        self._encrypted = urlsplit(session.request.url).scheme == "wss"
        try:
            await session.send(_payload(IDENTIFY, body))
        finally:
            self._leave(DISTANCE)

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        """Say what Discord's close codes mean, and that a token was refused."""
        refused = Verdict.REFRESH if callable(self.token) else Verdict.FATAL
        if error.status == 401:
            return error.but(verdict=refused)
        code = CODES.get(error.code or 0)
        if code is None or error.initiator != "remote" or not isinstance(error, ConnectionClosed):
            return None
        text = f"Discord closed with {error.code}, {code.name}: {code.meaning}"
        if code.then != "stop":
            return error.but(text=text, verdict=Verdict.RETRY, fault="local" if code.ours else "remote")
        if error.code != 4004:
            return error.but(text=text, verdict=Verdict.FATAL, fault="local")
        told = AuthenticationError(text, verdict=refused)
        told.code = error.code
        return told

    @hookimpl
    def reconnect(self, failure: Failure) -> float | None:
        """Come back at once where Discord asks for it, and a little later to a new session."""
        error = failure.error
        if failure.count == 1:
            self._invalid = 0
        if isinstance(error, SessionInvalidated) and not error.resumable:
            self._invalid += 1
            return chance.uniform(*INVALID_WAIT) * min(2.0 ** (self._invalid - 1), LONGEST_WAIT)
        # A server that asks again and again is not hurried after.
        return 0.0 if isinstance(error, ReconnectRequested | SessionInvalidated) and failure.count == 1 else None

    @hookimpl
    def observe(self, event: Event) -> None:
        """Forget a session that is over, and give back a turn that was not used."""
        if isinstance(event, AttemptFailed | Disconnected):
            code = CODES.get(event.error.code or 0)
            if code is not None and code.then == "new" and event.error.initiator == "remote":
                self._kept = None
        if isinstance(event, AttemptFailed | Closed):
            self._leave()

    # Messages

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that takes out what is not an event."""
        line: Line = session.state(Line)
        line.session, line.sequence = session, lambda: None if self._kept is None else self._kept.sequence

        def take(message: Message) -> Message | None:
            said = body_of(message)
            if said is None:
                return message
            op, body = said
            if op == DISPATCH:
                if line.asked:
                    line.answered.set()
            elif op == HEARTBEAT_ACK:
                line.acknowledge()
                return None
            elif op == HEARTBEAT:
                line.beat()
                return None
            elif op == HELLO:
                line.greet(body.get("d"))
                return None
            elif op == RECONNECT:
                session.fail(ReconnectRequested(), KEEPS_SESSION)
                return None
            elif op == INVALID_SESSION:
                if not (resumable := body.get("d") is True):
                    self._kept = None
                session.fail(SessionInvalidated(resumable), KEEPS_SESSION)
                return None
            return message

        return take

    @hookimpl
    def deliver(self, client: Client) -> Stage:
        """Give a stage that notes how far the user has come: from there on a session is resumed.

        It stands here, and not in `incoming`, because what a connection brought that never was READY is dropped.
        """
        self._client = weakref.ref(client)

        def note(message: Message) -> Message | None:
            said = body_of(message)
            if said is None or said[0] != DISPATCH:
                return message
            body = said[1]
            number, kept = body.get("s"), self._kept
            if type(number) is not int:
                return message
            if body.get("t") == "READY":
                self._kept = _kept(body.get("d"), number, self._encrypted)
            elif kept is not None:
                if number > kept.sequence:
                    kept.sequence = number
                elif body.get("t") != "RESUMED":  # of which nobody says whether it has a number of its own
                    return None  # it came already: both connections of a move may bring it
            return message

        return note

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        """Give a function that refuses what is too large, and leaves room for heartbeats.

        What has no room waits here, where a heartbeat may pass it, and not before `ratelimit`.
        """
        line: Line = session.state(Line)
        loop = asyncio.get_running_loop()
        written: deque[float] = deque()

        def guard(message: Message) -> Message | float:
            if message.kind >= Kind.CLOSE:
                return self._gentle(message)
            data = message.data
            size = len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
            if size > PAYLOAD:
                text = f"{message!r} has {size} bytes, over Discord's limit of {PAYLOAD} for a payload; it was not sent"
                error = SendError(text, verdict=Verdict.FATAL)  # an identify does not become smaller
                error.fault = "local"
                raise error
            if is_own(message):
                return message
            now = loop.time()
            while written and now - written[0] >= SENDS_PER + MARGIN:
                written.popleft()
            if len(written) >= line.room:
                return max(written[0] + SENDS_PER + MARGIN - now, TICK)
            written.append(now)
            return message

        return guard

    # What they share

    def _gentle(self, message: Message) -> Message:
        """A close that would end the session, though the user has not closed the client, as one that does not."""
        client = self._client() if self._client is not None else None
        if message.code not in ENDS_SESSION or client is None or client.state == "closing":
            return message
        return Message.close(KEEPS_SESSION, message.reason)

    async def _ask_token(self, request: Request) -> str:
        made: Any = self.token
        if callable(made):
            made = await ask_source("token", made, request)
        made = made.reveal() if isinstance(made, Secret) else made
        if not isinstance(made, str) or not made:
            raise TypeError(f"option 'token' gave {type(made).__name__}, not a str")
        return made

    async def _token_of(self, request: Request) -> str:
        """The token of this attempt; a move may leave `resolve` out."""
        found = request.extra.get(TOKEN)
        return found.reveal() if isinstance(found, Secret) else await self._ask_token(request)

    def _check(self, identifies: Identifies) -> None:
        """Stop while there are identifies left."""
        now = asyncio.get_running_loop().time()
        if (remaining := identifies.remaining(now)) <= self.spare:
            raise IdentifiesSpent(remaining, identifies.total, identifies.resets_in(now))

    def _properties(self) -> dict[str, str]:
        # https://docs.discord.com/developers/events/gateway-events, "Identify Connection Properties"
        own = {"os": sys.platform, "browser": "libws", "device": "libws"}
        return own if self.properties is None else self.properties

    def _leave(self, distance: float = 0.0) -> None:
        """Let the next one identify."""
        turns, self._turns = self._turns, None
        if turns is not None:
            turns.leave(distance)


def _sum(names: list[str]) -> int:
    bits = 0
    for name in names:
        if name not in INTENTS:
            raise ValueError(f"option 'intents': there is no {name!r}; there are {', '.join(INTENTS)}")
        bits |= INTENTS[name]
    return bits


def _payload(op: int, body: dict[str, Any]) -> Message:
    return command(op, msgspec.json.encode(body).decode())


def _kept(ready: Any, number: int, encrypted: bool) -> Kept | None:
    """The session that a READY has begun."""
    if not isinstance(ready, dict) or not isinstance(id := ready.get("session_id"), str):
        return None
    url, schemes = ready.get("resume_gateway_url"), ("wss",) if encrypted else ("ws", "wss")
    if not isinstance(url, str) or url_problem(url) is not None or urlsplit(url).scheme not in schemes:
        url = None  # the token goes there
    return Kept(id, url, number)


def _gives_up(request: Request) -> bool:
    """Whether the resume URL has failed so often that the gateway's own gets a try."""
    failure = request.attempt.failure
    if failure is None or failure.count <= PATIENT or failure.count % 2:
        return False
    return failure.phase == "dial" or isinstance(failure.error, ConnectTimeout)
