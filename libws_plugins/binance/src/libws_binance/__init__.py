"""Binance: market streams (`Binance`), and the requests and user data of Spot's WebSocket API (`BinanceApi`)."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from libws_core import Client, ConnectError, Request, Verdict, hookimpl
from libws_subscriptions import Subscriptions

from .api import BinanceApi
from .api_profile import API_CODES, API_URLS
from .errors import ApiError, OutcomeUnknown, RateLimited
from .limits import RateLimit
from .profile import MARKETS, URLS
from .streams import Reader, asks_to_move, check, refused, shard, split_url

__all__ = [
    "API_CODES",
    "API_URLS",
    "MARKETS",
    "URLS",
    "ApiError",
    "Binance",
    "BinanceApi",
    "OutcomeUnknown",
    "RateLimit",
    "RateLimited",
    "shard",
]

BATCH = 100
"""Streams that are asked for together: so a request stays below 4 KiB."""
EARLY = 3600.0
"""Seconds by which a connection is replaced before the exchange would cut it."""
SPREAD = 600.0
"""Seconds by which it is up to earlier still, so that many clients do not move at once."""
SETTLE = 2.0
"""Seconds that both connections of a move carry, since the servers behind them are not equally fast."""
MARGIN = 0.1
"""Seconds by which the second is longer in which we count our messages, since they may arrive closer together."""
SPARE = 0.95
"""The part of the connections that are allowed which the clients of this process use."""
PATIENCE = 1.5
"""Times the server's own pings, after which silence is asked about."""


@dataclass(eq=False, kw_only=True)
class Binance:
    """Market streams of Binance: subscribed anew on each connection, each event once, moved before the 24 h cut.

    It brings along `subscriptions`, `dedupe`, `ratelimit`, `reopen`, `governor`, `ping` and `pong`, set to what the
    profile of the market says. Streams that the URL names are taken out of it and subscribed like all others.
    """

    streams: list[str] = field(default_factory=list)
    """Streams to begin with, such as "btcusdt@trade". More than one connection may have are refused: see `shard`."""
    market: Literal["spot", "usds-futures", "coin-futures", "options"] = "spot"
    """Whose timings and limits count."""
    follow: bool = True
    """Tell by a Gap, stream by stream, which trades and depth updates are missing after a loss. False = only that
    something may be."""

    _client: weakref.ref[Client] | None = field(default=None, init=False, repr=False)
    _reader: Reader = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _named: set[str] = field(default_factory=set, init=False, repr=False)
    """Streams that URLs have named so far."""

    def __post_init__(self) -> None:
        limit = MARKETS[self.market].streams
        try:
            check(self.streams, MARKETS[self.market])
        except ValueError as error:
            raise ValueError(f"option 'streams': {error}") from None
        if (count := len(set(self.streams))) > limit:
            raise ValueError(
                f"option 'streams': {count:,} of them, and one connection may have {limit:,}; make a client for each "
                "list that libws_binance.shard(streams) gives"
            )
        self._reader = Reader(MARKETS[self.market], self._wanted)

    def uses(self) -> dict[str, dict[str, Any]]:
        """What the market asks for, plugin by plugin."""
        market = MARKETS[self.market]
        answered = {"result": None, "id": "$id"}
        following = {"position": self._reader.position, "topic": self._reader.topic} if self.follow else {}
        return {
            "subscriptions": {
                "topics": self.streams,
                "encode": {"method": "SUBSCRIBE", "params": "$topics", "id": "$id"},
                "encode_remove": {"method": "UNSUBSCRIBE", "params": "$topics", "id": "$id"},
                "confirm": answered,
                "confirm_remove": answered,
                "reject": refused,
                "batch": BATCH,
                "limit": market.streams,
                "split": True,  # a request is refused as a whole
                **following,
            },
            "dedupe": {"key": self._reader.key},
            "reopen": {
                "every": market.lifetime - EARLY,
                "jitter": SPREAD,
                "settle": SETTLE,
                "when": asks_to_move,
            },
            "governor": {"connects": int(market.connects * SPARE), "per": market.connects_per},
            "ratelimit": {"messages": market.messages, "per": 1.0, "margin": MARGIN},
            "ping": {"interval": min(market.ping * PATIENCE, 60.0)},
            "pong": {"frames": True},
        }

    # What users call

    def subscribe(self, *streams: str) -> Awaitable[bool]:
        """Subscribe streams, on this connection and every later one. Plain: it is noted when this returns.

        Returns:
            What may be awaited: True when the exchange has confirmed them all; False where they are only noted, because
            the client is not READY or lost its connection meanwhile.

        Raises:
            ValueError: a name that cannot be one.
            SubscriptionRejected: at once: there would be more than a connection may have, and none of them is noted.
                Awaited: the exchange refused one or did not answer.
            ClientClosed: the client has ended.
        """
        check(streams, MARKETS[self.market])
        self._reader.forget()
        return self._subscriptions().add(*streams)

    def unsubscribe(self, *streams: str) -> Awaitable[bool]:
        """Unsubscribe streams; those that are not subscribed do no harm. Plain: it is noted when this returns.

        Returns:
            What may be awaited: True when the exchange has confirmed it, False where there was no connection to tell.

        Raises:
            SubscriptionRejected: awaited: the exchange refused or did not answer.
            ClientClosed: the client has ended.
        """
        self._reader.forget()
        return self._subscriptions().remove(*streams)

    # Hooks

    @hookimpl
    def deliver(self, client: Client) -> None:
        """Remember whose it is."""
        self._client = weakref.ref(client)

    @hookimpl
    def resolve(self, request: Request) -> Request | None:
        """Take streams out of the URL and subscribe them, so that one that is unsubscribed does not come back."""
        url, streams = split_url(request.url)
        new = [stream for stream in streams if stream not in self._named]
        if new:
            try:
                self.subscribe(*new)
            except ValueError as error:
                raise ConnectError(f"the URL names streams, and {error}", verdict=Verdict.FATAL) from None
            self._named.update(new)
        return replace(request, url=url) if streams else None

    def _subscriptions(self) -> Subscriptions:
        client = self._client() if self._client is not None else None
        if client is None:
            raise RuntimeError("this plugin belongs to no client; ask client.plugin(Binance)")
        plugin: Subscriptions = client.plugin(Subscriptions)
        return plugin

    def _wanted(self) -> tuple[Any, ...]:
        return self._subscriptions().wanted
