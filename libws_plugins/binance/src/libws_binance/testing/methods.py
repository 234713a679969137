"""The methods that the simulated exchange has, and what they do.

Weights and results: web-socket-api.md, read 2026-11. That new and cancelled orders cost nothing where they succeed:
CHANGELOG.md, 2026-03-27.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..api_profile import API
from .account import Refusal

if TYPE_CHECKING:
    from .api import ApiConnection

__all__ = ["METHODS", "Method"]

Answer = Callable[["ApiConnection", dict[str, Any], str], Any]


class Method(NamedTuple):
    """One of them."""

    name: str
    weight: int
    answer: Callable[[Any, dict[str, Any], Any], Any]
    signed: bool = False
    order: bool = False
    """It counts as a new order."""
    free: bool = False
    """It costs nothing where it succeeds."""


def _time(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    return {"serverTime": connection.exchange.milliseconds()}


def _session(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    key, since = connection.logged_on or (None, None)
    return {
        "apiKey": key,
        "authorizedSince": since,
        "connectedSince": connection.since,
        "returnRateLimits": True,
        "serverTime": connection.exchange.milliseconds(),
        "userDataStream": bool(connection.subscriptions),
    }


def _log_on(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    connection.logged_on = api_key, connection.exchange.milliseconds()
    return _session(connection, params, api_key)


def _log_out(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    connection.logged_on = None
    return _session(connection, params, api_key)


def _subscribe(connection: ApiConnection, params: dict[str, Any], api_key: str | None) -> Any:
    if api_key is None:
        if connection.logged_on is None:
            # Needs "an authenticated WebSocket connection"; which code others get is not told
            raise Refusal(400, -1002, "You are not authorized to execute this request.")
        api_key = connection.logged_on[0]
    if api_key in connection.subscriptions.values():
        raise Refusal(400, -2035, "User Data Stream subscription already active.")
    if len(connection.subscriptions) >= API.subscriptions:
        # "will result in an error"; its code is not told
        raise Refusal(400, -1191, f"Too many subscriptions. Connection may create up to '{API.subscriptions}'.")
    if connection.subscribed >= API.subscription_ids:
        raise Refusal(400, -2042, "Maximum subscription ID reached for this connection.")
    number = connection.subscribed
    connection.subscribed += 1
    connection.subscriptions[number] = api_key
    return {"subscriptionId": number}


def _unsubscribe(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    number = params.get("subscriptionId")
    if number is not None and number not in connection.subscriptions:
        raise Refusal(400, -2036, "User Data Stream subscription not active.")
    connection.end_subscriptions([*connection.subscriptions] if number is None else [number])
    return {}


def _place(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    exchange = connection.exchange
    account, now = exchange.accounts[api_key], exchange.milliseconds()
    number = 1 + sum(len(each.orders) for each in exchange.accounts.values())
    order = account.place(params, number, now)
    exchange.publish(api_key, account.report(order, "NEW", now))
    exchange.publish(api_key, account.position("USDT" if order["side"] == "BUY" else "BTC", now))
    return order


def _order(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    return connection.exchange.accounts[api_key].find(params)


def _open_orders(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    return [each for each in connection.exchange.accounts[api_key].orders.values() if each["status"] == "NEW"]


def _cancel(connection: ApiConnection, params: dict[str, Any], api_key: str) -> Any:
    exchange = connection.exchange
    account, now = exchange.accounts[api_key], exchange.milliseconds()
    order = account.find(params)
    account.cancel(order)
    exchange.publish(api_key, account.report(order, "CANCELED", now))
    return order


_ALL = (
    Method("ping", 1, lambda connection, params, api_key: {}),
    Method("time", 1, _time),
    Method("session.logon", 2, _log_on, signed=True),
    Method("session.status", 2, _session),
    Method("session.logout", 2, _log_out),
    Method("session.subscriptions", 2, lambda c, params, api_key: [{"subscriptionId": n} for n in c.subscriptions]),
    Method("userDataStream.subscribe", 2, _subscribe),
    Method("userDataStream.subscribe.signature", 2, _subscribe, signed=True),
    Method("userDataStream.unsubscribe", 2, _unsubscribe),
    Method("account.status", 20, lambda c, params, api_key: c.exchange.accounts[api_key].status(), signed=True),
    Method("order.place", 1, _place, signed=True, order=True, free=True),
    Method("order.status", 4, _order, signed=True),
    Method("order.cancel", 1, _cancel, signed=True, free=True),
    Method("openOrders.status", 6, _open_orders, signed=True),
)
METHODS = {method.name: method for method in _ALL}
"""By name."""
