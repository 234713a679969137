"""What Binance says of its market streams, as data: URLs, timings, limits, numbers of events, error codes.

Every fact has its source beside it. They change; `DATE` is when they were read. What is ours and not theirs, such as
how far we stay from a limit, is in the plugin.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["CODES", "DATE", "MARKETS", "URLS", "Market", "Numbers"]

DATE = "2026-11"
"""When the facts of this file were read."""

SPOT = "https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams"
USDS = "https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams"
COIN = "https://developers.binance.com/docs/derivatives/coin-margined-futures/websocket-market-streams"
OPTIONS = "https://developers.binance.com/docs/derivatives/options-trading/websocket-market-streams"


class Numbers(NamedTuple):
    """How one type of event is numbered, by the names of its fields."""

    first: str
    last: str
    """The same as `first` where an event has one number."""
    before: str | None = None
    """The field that has the `last` of the event before; None = this one's `first` follows it."""
    followed: bool = True
    """The numbers of a symbol follow one another, so that a hole is something missing."""


class Market(NamedTuple):
    """What one market asks of its clients. Times in seconds."""

    ping: float
    """From one ping frame of the server to the next."""
    pong: float
    """In which it wants a pong with the ping's payload."""
    messages: int
    """Incoming messages a second; ping and pong frames count."""
    streams: int
    """Streams a connection."""
    lower: bool
    """Symbols in stream names are lower case."""
    numbers: Mapping[str, Numbers]
    """Event type -> its numbers."""
    source: str
    lifetime: float = 24 * 3600.0
    """After which a connection is cut."""
    connects: int = 300
    """Connections in `connects_per`, of one address."""
    connects_per: float = 300.0


_TRADES = {
    "trade": Numbers("t", "t"),  # SPOT, "Trade Streams": t is the trade's id
    "aggTrade": Numbers("a", "a"),  # SPOT, "Aggregate Trade Streams": a is the aggregate trade's id
    # SPOT, "Individual Symbol Book Ticker Streams": u is the order book's update id, and not each has an event
    "bookTicker": Numbers("u", "u", followed=False),
}

MARKETS: Mapping[str, Market] = MappingProxyType(
    {
        # 300 connections every 5 minutes, 5 messages a second and 1024 streams: SPOT, "WebSocket Limits". A ping each
        # 20 s, its pong in a minute, 24 hours: SPOT, "General WSS information".
        "spot": Market(
            ping=20,
            pong=60,
            messages=5,
            streams=1024,
            lower=True,
            # SPOT, "How to manage a local order book correctly": U is the u of the event before, plus one
            numbers=MappingProxyType({**_TRADES, "depthUpdate": Numbers("U", "u")}),
            source=SPOT,
        ),
        # USDS, "Connect": pings each 3 minutes, pongs in 10, 10 messages a second. Versions of that page differ on the
        # streams, 200 and 1024: the smaller number breaks neither. Connections: not told, spot's are taken.
        "usds-futures": Market(
            ping=180,
            pong=600,
            messages=10,
            streams=200,
            lower=True,
            # USDS, "How to manage a local order book correctly": pu is the u of the event before
            numbers=MappingProxyType({**_TRADES, "depthUpdate": Numbers("U", "u", before="pu")}),
            source=USDS,
        ),
        # COIN, "Connect": as USDS.
        "coin-futures": Market(
            ping=180,
            pong=600,
            messages=10,
            streams=200,
            lower=True,
            numbers=MappingProxyType({**_TRADES, "depthUpdate": Numbers("U", "u", before="pu")}),
            source=COIN,
        ),
        # OPTIONS, "Connect": pings each 5 minutes, pongs in 15, 10 messages a second, 200 streams. Its pages differ on
        # the case of symbols, and the numbers of its events have not been read: none are used.
        "options": Market(
            ping=300,
            pong=900,
            messages=10,
            streams=200,
            lower=False,
            numbers=MappingProxyType({}),
            source=OPTIONS,
        ),
    }
)
"""The values of the option `market`."""

URLS: Mapping[str, str] = MappingProxyType(
    {
        "spot": "wss://stream.binance.com:9443/ws",  # SPOT; also on port 443
        "spot-443": "wss://stream.binance.com:443/ws",
        "spot-data": "wss://data-stream.binance.vision/ws",  # SPOT: market data only
        "usds-futures": "wss://fstream.binance.com/market/ws",  # USDS: streams belong to one of two paths
        "usds-futures-public": "wss://fstream.binance.com/public/ws",  # USDS: depth and book tickers
        "coin-futures": "wss://dstream.binance.com/ws",  # COIN
        "options": "wss://fstream.binance.com/market/ws",  # OPTIONS
        "options-public": "wss://fstream.binance.com/public/ws",
    }
)
"""What to dial, for events as they are; with /stream in the place of /ws each comes wrapped, with its stream's name."""

CODES: Mapping[int, str] = MappingProxyType(
    {  # SPOT, "Error Messages"
        0: "unknown property",
        1: "invalid value type",
        2: "invalid request",
        3: "invalid JSON",
    }
)
"""The codes of error answers."""
