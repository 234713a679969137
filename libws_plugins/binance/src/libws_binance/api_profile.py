"""What Binance Spot's WebSocket API asks of its clients: addresses, timings, limits, methods, error codes.

Every fact has its source beside it. They change; `profile.DATE` is when they were read. The sources are pages of the
documentation, which github.com/binance/binance-spot-api-docs has as files: web-socket-api.md, errors.md, CHANGELOG.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["API", "API_CODES", "API_URLS", "Api"]

GENERAL = "https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/general-api-information"
LIMITS = "https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/rate-limits"
SECURITY = "https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/request-security"
SESSION = "https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/session-authentication"
USER_DATA = "https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/user-data-stream-requests"
ERRORS = "https://developers.binance.com/docs/binance-spot-api-docs/errors"


class Api(NamedTuple):
    """What the API asks of its clients. Times in seconds."""

    ping: float = 20.0
    """From one ping frame of the server to the next: GENERAL."""
    pong: float = 60.0
    """In which it wants a pong with the ping's payload: GENERAL."""
    lifetime: float = 24 * 3600.0
    """After which a connection is cut: GENERAL."""
    connects: int = 300
    """Connections in `connects_per`, of one address: LIMITS, "Connection limits"."""
    connects_per: float = 300.0
    answer: float = 10.0
    """After which it answers, if only that it does not know (-1007): GENERAL."""
    window: float = 5.0
    """How old a signed request may be that does not say so itself: SECURITY, "Timing security"."""
    window_max: float = 60.0
    """The longest that it may say: SECURITY, "Timing security"."""
    ahead: float = 1.0
    """By how much less than this its timestamp may be ahead of the server: SECURITY, "Timing security"."""
    ban_min: float = 120.0
    """The shortest ban of an address: LIMITS, "IP limits"."""
    ban_max: float = 3 * 24 * 3600.0
    """The longest: LIMITS, "IP limits"."""
    connect_weight: int = 2
    """What a new connection costs: LIMITS, "IP limits"."""
    subscriptions: int = 1000
    """User data subscriptions that one connection may have at a time: USER_DATA."""
    subscription_ids: int = 65_535
    """And in its life: USER_DATA."""


API = Api()

API_URLS: Mapping[str, str] = MappingProxyType(
    {
        "spot": "wss://ws-api.binance.com:443/ws-api/v3",  # GENERAL
        "spot-9443": "wss://ws-api.binance.com:9443/ws-api/v3",  # GENERAL: if there are difficulties with port 443
        "testnet": "wss://ws-api.testnet.binance.vision/ws-api/v3",  # GENERAL
    }
)
"""What to dial."""

LOG_ON = "session.logon"
"""After it, requests need no key and no signature, only a timestamp; with Ed25519 keys only: SESSION."""
SUBSCRIBE = "userDataStream.subscribe"
"""For connections that have logged on: USER_DATA."""
SUBSCRIBE_SIGNED = "userDataStream.subscribe.signature"
"""For all others: USER_DATA."""
UNSUBSCRIBE = "userDataStream.unsubscribe"

PLACING = frozenset(
    [
        *["order.place", "sor.order.place", "order.cancelReplace", "orderList.place", "orderList.place.oco"],
        *["orderList.place.oto", "orderList.place.otoco", "orderList.place.opo", "orderList.place.opoco"],
    ]
)
"""Methods that count as new orders: "Trading requests" of the documentation, "Unfilled Order Count" of each."""
QUERIES = frozenset(
    [
        *["session.logon", "session.status", "order.status", "openOrders.status", "orderList.status"],
        *["openOrderLists.status", "order.test", "sor.order.test", "account.status", "account.rateLimits.orders"],
        *["allOrders", "allOrderLists", "myTrades", "myPreventedMatches", "myAllocations", "account.commission"],
        *["order.amendments", "myFilters", SUBSCRIBE_SIGNED],
    ]
)
"""Signed methods that change nothing on the account, so that they may be asked again."""

TOO_MANY_ORDERS = -1015
UNKNOWN_OUTCOME = frozenset([-1006, -1007])
"""Codes that say that nobody knows what became of the request: ERRORS."""
BAD_TIMESTAMP = -1021
BAD_KEY = frozenset([-1002, -1022, -2014, -2015])
"""Codes that say that the key or what was signed with it is not accepted: ERRORS."""

API_CODES: Mapping[int, str] = MappingProxyType(
    {  # ERRORS
        -1000: "UNKNOWN",
        -1001: "DISCONNECTED",
        -1002: "UNAUTHORIZED",
        -1003: "TOO_MANY_REQUESTS",
        -1006: "UNEXPECTED_RESP",
        -1007: "TIMEOUT",
        -1008: "SERVER_BUSY",
        -1013: "INVALID_MESSAGE",
        -1014: "UNKNOWN_ORDER_COMPOSITION",
        -1015: "TOO_MANY_ORDERS",
        -1016: "SERVICE_SHUTTING_DOWN",
        -1020: "UNSUPPORTED_OPERATION",
        -1021: "INVALID_TIMESTAMP",
        -1022: "INVALID_SIGNATURE",
        -1100: "ILLEGAL_CHARS",
        -1101: "TOO_MANY_PARAMETERS",
        -1102: "MANDATORY_PARAM_EMPTY_OR_MALFORMED",
        -1103: "UNKNOWN_PARAM",
        -1104: "UNREAD_PARAMETERS",
        -1105: "PARAM_EMPTY",
        -1106: "PARAM_NOT_REQUIRED",
        -1111: "BAD_PRECISION",
        -1121: "BAD_SYMBOL",
        -1130: "INVALID_PARAMETER",
        -1135: "INVALID_JSON",
        -2010: "NEW_ORDER_REJECTED",
        -2011: "CANCEL_REJECTED",
        -2013: "NO_SUCH_ORDER",
        -2014: "BAD_API_KEY_FMT",
        -2015: "REJECTED_MBX_KEY",
        -2021: "Order cancel-replace partially failed",
        -2022: "Order cancel-replace failed",
        -2026: "ORDER_ARCHIVED",
        -2035: "SUBSCRIPTION_ACTIVE",
        -2036: "SUBSCRIPTION_INACTIVE",
        -2042: "maximum subscription id reached for this connection",
    }
)
"""The codes of error answers that a client is most likely to meet, with their names."""
