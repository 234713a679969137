"""Binance Spot's WebSocket API: requests, signed where they must be, and the events of an account."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from libws_core import (
    AuthenticationError,
    Client,
    Gap,
    LibwsError,
    Message,
    NotReady,
    Request,
    Secret,
    Session,
    Verdict,
    clock,
    hookimpl,
)
from libws_core.credentials import ask_source
from libws_core.types import Stage
from libws_requests import RequestFailed, RequestLost, Requests, RequestTimeout

from .answers import CURE, SHOWN, bare, outcome_unknown, refusal
from .api_profile import (
    API,
    BAD_KEY,
    BAD_TIMESTAMP,
    LOG_ON,
    PLACING,
    QUERIES,
    SUBSCRIBE,
    SUBSCRIBE_SIGNED,
    TOO_MANY_ORDERS,
    UNSUBSCRIBE,
)
from .errors import ApiError, OutcomeUnknown, RateLimited
from .limits import Counts, Hold, RateLimit, shared_hold
from .signing import Key, make_key, payload, plain
from .streams import asks_to_move
from .user_data import event_key, is_revocation, terminated

__all__ = ["BinanceApi"]

logger = logging.getLogger("libws.binance")

EARLY = 3600.0
"""Seconds by which a connection is replaced before the exchange would cut it."""
SPREAD = 600.0
"""Seconds by which it is up to earlier still, so that many clients do not move at once."""
KEY = "binance-api.key"
"""Where the key of an attempt stands in `Request.extra`; it never prints."""
SPARE = 0.95
"""The part of the connections that are allowed which the clients of this process use."""
PATIENCE = 1.5
"""Times the server's own pings, after which silence is asked about."""
LATE = 2.0
"""Seconds that an answer may be under way, beyond those in which the exchange gives it."""


class Line:
    """What is known of one connection. Each has its own, made by `session.state(Line)`."""

    def __init__(self) -> None:
        self.subscription: Any = None
        """The id of the subscription that the plugin has made; None = there is none."""


@dataclass(eq=False, kw_only=True)
class BinanceApi:
    """Binance Spot's WebSocket API: requests and their answers, signed where they must be, and an account's events.

    It brings along `requests`, `dedupe`, `reopen`, `governor`, `backoff`, `ping` and `pong`, set to what the exchange
    asks for. Nothing is sent while the exchange wants to hear nothing, and no order is ever repeated.
    """

    api_key: Secret | Callable[..., Any] | None = None
    """The API key. A callable, plain or async, is asked anew on each attempt; it may take the request. None = only
    public requests are made."""
    secret: Secret | Callable[..., Any] | None = None
    """The secret of an HMAC key, or the private key as PEM (Ed25519 or RSA), or a callable, as above."""
    password: Secret | None = None
    """Of an encrypted private key."""
    user_data: bool = False
    """Subscribe to the account's events on each connection; they come as messages."""
    receive_window: Annotated[float, Meta(gt=0, le=API.window_max)] | None = None
    """Seconds after which a signed request is too old for the exchange; None = its own 5."""
    timeout: Annotated[float, Meta(gt=0)] = API.answer + LATE
    """Seconds from a request to its answer, unless `ask` says otherwise. The exchange itself gives up after 10."""

    clock_offset: float = field(default=0.0, init=False)
    """Seconds by which the exchange's clock is ahead of this host's, as it was last asked."""
    _client: weakref.ref[Client] | None = field(default=None, init=False, repr=False)
    _key: Key | None = field(default=None, init=False, repr=False)
    """What the newest connection was made with."""
    _listening: bool = field(default=False, init=False, repr=False)
    """Connections shall subscribe the account's events."""
    _subscription: Any = field(default=None, init=False, repr=False)
    """The id that they have on the newest connection."""
    _counts: Counts = field(default_factory=Counts, init=False, repr=False)
    _hold: Hold = field(default_factory=Hold, init=False, repr=False)
    """For everything: of this client alone until it has dialed, then of all clients of the host."""
    _order_hold: Hold = field(default_factory=Hold, init=False, repr=False)
    """For new orders of this account."""

    def __post_init__(self) -> None:
        self.api_key, self.secret = _secret(self.api_key), _secret(self.secret)
        self.password = Secret(self.password) if isinstance(self.password, str) else self.password
        for given, other in (("api_key", "secret"), ("secret", "api_key")):
            if getattr(self, given) is not None and getattr(self, other) is None:
                raise ValueError(f"option {given!r}: it needs the option {other!r} beside it")
        if self.user_data and self.api_key is None:
            raise ValueError("option 'user_data': an account's events need the options 'api_key' and 'secret'")
        if isinstance(self.secret, Secret):
            try:
                self._make_key(self.api_key if isinstance(self.api_key, Secret) else Secret("to be asked"), self.secret)
            except ValueError as error:
                raise ValueError(f"option 'secret': {error}") from None
        self._listening = self.user_data

    def uses(self) -> dict[str, dict[str, Any]]:
        """What the API asks for, plugin by plugin."""
        return {
            "requests": {"timeout": self.timeout, "error": "error"},
            "dedupe": {"key": event_key},
            "reopen": {
                "every": API.lifetime - EARLY,
                "jitter": SPREAD,
                "settle": API.answer + LATE,  # so that what was asked on the old one is answered
                "when": asks_to_move,
            },
            "governor": {
                "connects": int(API.connects * SPARE),
                "per": API.connects_per,
                "retry_after_max": API.ban_max,
            },
            # 418: "auto-banned", which ends, and not what the status means elsewhere (RFC 2324 section 2.3.2)
            "backoff": {"statuses": {"418": Verdict.RETRY}, "retry_after_max": API.ban_max},
            "ping": {"interval": API.ping * PATIENCE},
            "pong": {"frames": True},
        }

    # What users call

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        signed: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Ask the exchange; returns the `result` of its answer.

        If it says that a signed request's time is wrong, its clock is asked. Then a query is asked once more; anything
        that may change the account is not.

        Args:
            method: such as "order.place".
            params: its parameters, without key, timestamp and signature. Decimals and floats go as text; None is left
                out.
            signed: whether the method wants a signature: all but public market data.
            timeout: seconds for the answer; None = as the option says.

        Raises:
            ApiError: the exchange refused it.
            RateLimited: it wants to hear nothing for a while; an ApiError.
            OutcomeUnknown: it was sent, and nobody knows whether it was carried out; a DeliveryUnknown.
            MessageExpired: it was not written in time, and will not be.
            NotReady: there is no READY connection; it was not sent.
            ClientClosed: the client has ended; it was not sent.
            ValueError: parameters that cannot be, or a signature without the options `api_key` and `secret`.
            TypeError: a parameter of a type that cannot be sent or signed.
        """
        if bare(method) in (LOG_ON, "session.logout"):
            raise ValueError(f"{method}: connections are logged on by the plugin, with the options api_key and secret")
        key = self._key if signed else None
        if signed and self.api_key is None:
            raise ValueError(f"{method} cannot be signed without the options 'api_key' and 'secret'")
        if signed and key is None:
            raise NotReady(f"{method} was not sent: the client was not READY yet")
        given = params or {}
        if bare(method) != UNSUBSCRIBE or given.get("subscriptionId") not in (None, self._subscription):
            return await self._ask(method, given, key, timeout, None)
        listening, self._listening = self._listening, False  # before its events end, which would else begin again
        try:
            return await self._ask(method, given, key, timeout, None)
        except OutcomeUnknown:
            raise
        except BaseException:
            self._listening = listening
            raise

    @property
    def limits(self) -> tuple[RateLimit, ...]:
        """What the exchange has counted, as its newest answers say."""
        return self._counts.now(self.server_time)

    @property
    def server_time(self) -> float:
        """The exchange's time now, seconds since the epoch."""
        return clock.wall() + self.clock_offset

    # Hooks

    @hookimpl
    def deliver(self, client: Client) -> None:
        """Remember whose it is."""
        self._client = weakref.ref(client)

    @hookimpl
    def admit(self, request: Request) -> None:
        """Dial nobody who wants to hear nothing: connecting counts, too."""
        self._hold = shared_hold(request.url)
        self._hold.check("no connection was asked for", "connect")

    @hookimpl
    async def authenticate(self, request: Request) -> Request | None:
        """Have the key at hand before anything is dialed."""
        if self.api_key is None:
            return None
        return replace(request, extra={**request.extra, KEY: await self._ask_key(request)})

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that hears subscriptions end, and the key's revocation."""
        line = session.state(Line)

        def hear(message: Message) -> Message:
            if is_revocation(message):
                session.fail(self._refused("the exchange has revoked the log-on of this connection"))
            elif line.subscription is not None and terminated(message) == line.subscription:
                line.subscription = None
                if self._listening:
                    session.spawn(self._subscribe_again(session))
            return message

        return hear

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Set the clock, log on, subscribe."""
        key: Key | None = session.request.extra.get(KEY)
        if key is None:
            return
        await self._set_clock(session)
        try:
            if key.logs_on:
                await self._ask_within(session, LOG_ON, key, signed=True)
            if self._listening:
                await self._subscribe(session, key)
        except ApiError as error:
            if error.code not in BAD_KEY:
                raise
            raise self._refused(f"the exchange does not accept the key: {error.code}, {error.msg[:SHOWN]}") from error
        self._key = key

    # Keys

    async def _ask_key(self, request: Request) -> Key:
        given = {}
        for option in ("api_key", "secret"):
            value = getattr(self, option)
            if callable(value):
                value = await ask_source(option, value, request)
            if not isinstance(value, (str, Secret)):
                raise TypeError(f"option {option!r} gave {type(value).__name__}, not a str")
            given[option] = Secret(value)
        try:
            return self._make_key(given["api_key"], given["secret"])
        except ValueError as error:
            raise AuthenticationError(f"option 'secret': {error}", verdict=Verdict.FATAL) from None

    def _make_key(self, api_key: Secret, secret: Secret) -> Key:
        password = self.password.reveal() if self.password is not None else None
        return make_key(api_key.reveal(), secret.reveal(), password)

    def _refused(self, what: str) -> AuthenticationError:
        """The key is not accepted: only a source may have another one."""
        anew = callable(self.api_key) or callable(self.secret)
        return AuthenticationError(f"{what}; {CURE}", verdict=Verdict.REFRESH if anew else Verdict.FATAL)

    def _sign(self, method: str, params: dict[str, Any], key: Key) -> dict[str, Any]:
        """Add what makes a request of the key's owner."""
        made = {"timestamp": int(self.server_time * 1000), **params}
        if self.receive_window is not None and "recvWindow" not in made:
            window = round(self.receive_window * 1000, 3)  # "up to three decimal places"
            made["recvWindow"] = int(window) if window == int(window) else window
        if key.logs_on and method != LOG_ON:
            return made
        made["apiKey"] = key.api_key
        return made | {"signature": key.sign(payload(made).encode())}

    # Asking

    async def _ask(
        self,
        method: str,
        params: Mapping[str, Any],
        key: Key | None,
        timeout: float | None,
        session: Session | None,
        *,
        again: bool = True,
    ) -> Any:
        """Ask; with a key the request is signed."""
        name = bare(method)
        self._hold.check(f"{method} was not sent", method)
        if name in PLACING:
            self._order_hold.check(f"{method} was not sent", method)
        made = {each: plain(each, value) for each, value in params.items() if value is not None}
        if key is not None:
            if {"apiKey", "signature"} & made.keys():
                raise ValueError(f"{method}: with signed=True, apiKey and signature are the plugin's to add")
            made = self._sign(name, made, key)
        question = {"method": method, "params": made} if made else {"method": method}
        try:
            body = (await self._requests(session).ask(question, timeout=timeout, session=session)).json
        except RequestFailed as failed:
            body = failed.answer.json
        except (RequestLost, RequestTimeout) as error:
            raise outcome_unknown(method, made, error) from error
        self._counts.read(body.get("rateLimits"), self.server_time)
        if body.get("error") is None:
            return body.get("result")
        refused = refusal(method, made, body, self.server_time)
        if isinstance(refused, RateLimited):
            (self._order_hold if refused.code == TOO_MANY_ORDERS else self._hold).set(refused)
        elif refused.code == BAD_TIMESTAMP and key is not None and again:
            with contextlib.suppress(LibwsError):  # what this request met is told, and not what that one does
                await self._set_clock(session)
            if name in QUERIES:
                return await self._ask(method, params, key, timeout, session, again=False)
        raise refused

    async def _ask_within(self, session: Session, method: str, key: Key | None, *, signed: bool = False) -> Any:
        """Ask before READY, with all the time that an answer may take."""
        session.extend(self.timeout + LATE)
        return await self._ask(method, {}, key if signed else None, None, session)

    async def _set_clock(self, session: Session | None) -> None:
        """Learn by how much the exchange's clock differs: what it says is taken for the middle of the way."""
        asked, loop = clock.wall(), asyncio.get_running_loop()
        began = loop.time()
        if session is not None:
            session.extend(self.timeout + LATE)
        said = await self._ask("time", {}, None, None, session)
        server = said.get("serverTime") if isinstance(said, Mapping) else None
        if isinstance(server, (int, float)) and not isinstance(server, bool):
            seconds = server / 1e6 if server > 1e14 else server / 1e3  # timeUnit=MICROSECOND in the URL
            self.clock_offset = seconds - asked - (loop.time() - began) / 2

    def _requests(self, session: Session | None) -> Requests:
        if session is not None:
            return session.plugin(Requests)
        client = self._client() if self._client is not None else None
        if client is None:
            raise RuntimeError("this plugin belongs to no client; ask client.plugin(BinanceApi)")
        plugin: Requests = client.plugin(Requests)
        return plugin

    # The account's events

    async def _subscribe(self, session: Session, key: Key) -> None:
        method = SUBSCRIBE if key.logs_on else SUBSCRIBE_SIGNED
        said = await self._ask_within(session, method, key, signed=not key.logs_on)
        number = said.get("subscriptionId") if isinstance(said, Mapping) else None
        self._subscription = session.state(Line).subscription = number

    async def _subscribe_again(self, session: Session) -> None:
        """Subscribe what the exchange has ended, and tell that something is missing."""
        since = clock.wall()
        logger.warning("the exchange has ended the account's events; subscribing them again")
        assert self._key is not None
        await self._subscribe(session, self._key)
        session.emit(Gap("the exchange had ended the events", session.request.attempt.generation, since, clock.wall()))


def _secret(given: Any) -> Any:
    return Secret(given) if isinstance(given, str) else given
