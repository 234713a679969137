"""The exchange's side of its WebSocket API: strict about keys, time and limits, for the tests of those who use it.

What it says is what the documentation says it says, read 2026-11: web-socket-api.md, errors.md, user-data-stream.md of
github.com/binance/binance-spot-api-docs. Where they are silent, so is said here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping
from typing import Any

from libws_core import Message, clock
from libws_core.testing import Peer

from ..api_profile import API
from .account import Account, Refusal
from .connection import Connection, Crowd
from .keys import Verifier, verifier
from .methods import METHODS, Method

__all__ = ["ApiConnection", "ApiExchange"]

TOLERATED = 3
"""Requests that are answered with 429 in a minute before the address is banned; the documentation says "repeatedly"."""


class ApiExchange(Crowd):
    """A step of a script, for a `Server` or a `MemoryDialer`: `Server(exchange)`. Dial its URL, with whatever path.

    Args:
        keys: API key -> what verifies its signatures: the secret of an HMAC key, or a public key as PEM (Ed25519 or
            RSA). Each has an account of its own.
        weight: request weight of the address in a minute.
        orders: new orders of an account in 10 seconds.
        skew: seconds by which its clock is ahead of this host's.
    """

    def __init__(
        self, keys: Mapping[str, str] | None = None, *, weight: int = 6000, orders: int = 50, skew: float = 0.0
    ) -> None:
        super().__init__()
        self.rules = API
        self.weight, self.orders, self.skew = weight, orders, skew
        self.keys: dict[str, Verifier] = {name: verifier(name, given) for name, given in (keys or {}).items()}
        """Taking one out is its revocation."""
        self.accounts: dict[str, Account] = {name: Account() for name in self.keys}
        self.connections: list[ApiConnection] = []
        """Those that are open, oldest first."""
        self.mute: Collection[str] = ()
        """Methods that are carried out, and whose answers are lost."""
        self.banned_until = 0.0
        """Its own time."""
        self._failing: deque[tuple[str, Refusal]] = deque()
        self._bans = 0
        self._used: dict[int, int] = {}
        self._refused: dict[int, int] = {}

    @property
    def time(self) -> float:
        """Its own wall time."""
        return clock.wall() + self.skew

    @property
    def used(self) -> int:
        """The weight that the address has used in this minute."""
        return self._used.get(int(self.time // 60), 0)

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection until it ends."""
        connection = ApiConnection(self, peer)
        self.spend(API.connect_weight)
        if self.time < self.banned_until:
            connection.refuse("dials while its address is banned")
        await self.serve(connection, self.rules, self.connections)

    # What the exchange does

    def publish(self, api_key: str, event: Mapping[str, Any]) -> None:
        """Give an event of this key's account to whoever has subscribed it."""
        for connection in self.connections:
            connection.hear(api_key, event)

    def fill(self, api_key: str, own: str) -> None:
        """Carry out the whole order to which its owner gave this id."""
        account, now = self.accounts[api_key], self.milliseconds()
        order = next(each for each in account.orders.values() if each["clientOrderId"] == own)
        account.fill(order)
        self.publish(api_key, account.report(order, "TRADE", now))
        for asset in ("BTC", "USDT"):
            self.publish(api_key, account.position(asset, now))

    def fail(self, method: str, status: int, code: int, msg: str, data: Any = None) -> None:
        """Answer so to the next request of that method; said several times, to as many."""
        self._failing.append((method, Refusal(status, code, msg, data)))

    def terminate(self, api_key: str) -> None:
        """End the subscriptions of this key's account; their connections stay."""
        for connection in self.connections:
            connection.end_subscriptions([name for name, key in connection.subscriptions.items() if key == api_key])

    def shut_down(self, lead: float = 600.0) -> None:
        """Announce to the connections that are open now that their server goes, and end them `lead` seconds later."""
        for connection in self.connections:
            connection.say({"event": {"e": "serverShutdown", "E": self.milliseconds()}})
            connection.end_in(lead)

    def ban(self, seconds: float | None = None) -> None:
        """Ban the address; None = for as long as it is its turn, from two minutes to three days."""
        if seconds is None:
            seconds = min(API.ban_min * 2**self._bans, API.ban_max)
            self._bans += 1
        self.banned_until = self.time + seconds

    # What connections need

    def milliseconds(self) -> int:
        """Its time as it tells it."""
        return int(self.time * 1000)

    def spend(self, weight: int) -> bool:
        """Count weight; says whether there was enough."""
        minute = int(self.time // 60)
        used = self._used.get(minute, 0)
        if used + weight > self.weight:
            return False
        self._used = {minute: used + weight}
        return True

    def give_back(self, weight: int) -> None:
        """Uncount the weight of a request that turned out to cost none."""
        minute = int(self.time // 60)
        self._used = {minute: max(0, self._used.get(minute, 0) - weight)}

    def check_failing(self, method: str) -> None:
        """Refuse a request as `fail` has said."""
        for each in self._failing:
            if each[0] == method:
                self._failing.remove(each)
                raise each[1]

    def overstepped(self) -> bool:
        """Count a request beyond the limit; says whether that is a ban."""
        minute = int(self.time // 60)
        self._refused = {minute: self._refused.get(minute, 0) + 1}
        return self._refused[minute] > TOLERATED

    def limits(self, account: Account | None) -> list[dict[str, Any]]:
        """What stands as `rateLimits` in an answer."""
        told = [_limit("REQUEST_WEIGHT", "MINUTE", 1, self.weight, self.used)]
        if account is not None:
            told = [_limit("ORDERS", "SECOND", 10, self.orders, account.placed_in(self.time, 10.0)), *told]
        return told


class ApiConnection(Connection):
    """One connection, as the exchange sees it."""

    def __init__(self, exchange: ApiExchange, peer: Peer) -> None:
        super().__init__(peer, exchange.rules, exchange.broken)
        self.exchange = exchange
        self.since = exchange.milliseconds()
        self.logged_on: tuple[str, int] | None = None
        """The API key, and since when."""
        self.subscriptions: dict[int, str] = {}
        """Subscription id -> the API key of its account."""
        self.subscribed = 0
        """Subscriptions so far."""

    def hear(self, api_key: str, event: Mapping[str, Any]) -> None:
        """Get an event of that account, if it has subscribed it."""
        for number, key in self.subscriptions.items():
            if key == api_key:
                self.say({"subscriptionId": number, "event": event})

    def end_subscriptions(self, numbers: list[int]) -> None:
        """End subscriptions; each is told so."""
        for number in numbers:
            del self.subscriptions[number]
            event = {"e": "eventStreamTerminated", "E": self.exchange.milliseconds()}
            self.say({"subscriptionId": number, "event": event})

    def _message(self, message: Message) -> None:
        if self.over:
            return
        number = None
        try:
            request = message.json
            if not isinstance(request, dict):
                raise ValueError
        except ValueError:
            self._fail(None, Refusal(400, -1135, "Invalid JSON Request"))
            return
        number = request.get("id")
        self.requests.append(request)
        try:
            self._answer(request, number)
        except Refusal as refusal:
            self._fail(number, refusal)
            if refusal.status == 418:
                self.refuse(f"{request.get('method')} while its address is banned")

    def _answer(self, request: dict[str, Any], number: Any) -> None:
        exchange, name = self.exchange, request.get("method")
        params = request.get("params", {})
        if isinstance(number, bool) or not isinstance(number, int | str | None) or not isinstance(params, dict):
            # "id: INT / STRING / null", "params: OBJECT": "Request format". Which code the server has is not told.
            raise Refusal(400, -1135, "Invalid JSON Request")
        self._check_ban()
        method = METHODS.get(str(name).removeprefix("v3/"))
        if method is None:
            # No page says which code an unknown method has; this is the documented one that fits.
            raise Refusal(400, -1020, "This operation is not supported.")
        self._weigh(method)
        api_key = self._authenticate(method, params) if method.signed else None
        account = exchange.accounts[api_key] if api_key is not None else None
        exchange.check_failing(method.name)
        if method.order:
            self._count_order(account)
        result = method.answer(self, params, api_key)
        if method.free:
            exchange.give_back(method.weight)
        if method.name in exchange.mute:
            return
        answer: dict[str, Any] = {"id": number, "status": 200, "result": result}
        if params.get("returnRateLimits", True):
            answer["rateLimits"] = exchange.limits(account if method.order else None)
        self.say(answer)

    def _check_ban(self) -> None:
        exchange = self.exchange
        if exchange.time < exchange.banned_until:
            # The text and its data: "IP limits"
            until = int(exchange.banned_until * 1000)
            text = f"Way too much request weight used; IP banned until {until}."
            raise Refusal(
                418,
                -1003,
                f"{text} Please use WebSocket Streams for live updates to avoid bans.",
                {"serverTime": exchange.milliseconds(), "retryAfter": until},
            )

    def _weigh(self, method: Method) -> None:
        exchange = self.exchange
        if exchange.spend(method.weight):
            return
        exchange.broken.append(f"connection {self.peer.number}: {method.name} beyond the weight of a minute")
        if exchange.overstepped():
            exchange.ban()
            self._check_ban()
        # The text: errors.md, -1003; that there is a retryAfter: "IP limits"
        raise Refusal(
            429,
            -1003,
            f"Too much request weight used; current limit is {exchange.weight} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API.",
            {"serverTime": exchange.milliseconds(), "retryAfter": int((exchange.time // 60 + 1) * 60_000)},
        )

    def _count_order(self, account: Account | None) -> None:
        exchange = self.exchange
        assert account is not None
        if account.placed_in(exchange.time, 10.0) >= exchange.orders:
            exchange.broken.append(f"connection {self.peer.number}: more than {exchange.orders} orders in 10 s")
            # The text: errors.md, -1015; that there is a retryAfter: "Unfilled Order Count"
            raise Refusal(
                429,
                -1015,
                f"Too many new orders; current limit is {exchange.orders} orders per 10 SECOND.",
                {"serverTime": exchange.milliseconds(), "retryAfter": int((exchange.time // 10 + 1) * 10_000)},
            )
        account.placed.append(exchange.time)

    def _authenticate(self, method: Method, params: dict[str, Any]) -> str:
        """The API key of a signed request; all checks of "Request security"."""
        exchange = self.exchange
        api_key, signature = params.get("apiKey"), params.get("signature")
        bare = self.logged_on is not None and api_key is None and signature is None and method.name != "session.logon"
        if bare:
            assert self.logged_on is not None
            api_key = self.logged_on[0]
            if api_key not in exchange.keys:
                # "Regarding API key revocation": the answer has no id, and the session is no longer logged on
                self.logged_on = None
                raise Refusal(401, -2015, "Invalid API-key, IP, or permissions for action.", anonymous=True)
        for name in ("timestamp",) if bare else ("apiKey", "timestamp", "signature"):
            if params.get(name) in (None, ""):
                text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                raise Refusal(400, -1102, text)
        key = exchange.keys.get(str(api_key))
        if key is None:
            raise Refusal(401, -2015, "Invalid API-key, IP, or permissions for action.")
        self._check_time(params)
        if not bare and not key.verifies(params):
            raise Refusal(400, -1022, "Signature for this request is not valid.")
        if method.name == "session.logon" and key.kind != "Ed25519":
            # "Only Ed25519 keys are supported for this feature"; which code others get is not told
            raise Refusal(400, -1020, "This operation is not supported.")
        return str(api_key)

    def _check_time(self, params: dict[str, Any]) -> None:
        stamp, window = params["timestamp"], params.get("recvWindow", API.window * 1000)
        for name, value in (("timestamp", stamp), ("recvWindow", window)):
            if isinstance(value, bool) or not isinstance(value, int | float):
                text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                raise Refusal(400, -1102, text)
        if window > API.window_max * 1000:
            text = f"'recvWindow' contains unexpected value. Cannot be greater than '{int(API.window_max * 1000)}'."
            raise Refusal(400, -1102, text)
        now = self.exchange.time * 1000
        if stamp >= now + API.ahead * 1000:
            text = "Timestamp for this request was 1000ms ahead of the server's time."
            raise Refusal(400, -1021, text)
        if now - stamp > window:
            raise Refusal(400, -1021, "Timestamp for this request is outside of the recvWindow.")

    def _fail(self, number: Any, refusal: Refusal) -> None:
        error: dict[str, Any] = {"code": refusal.code, "msg": refusal.msg}
        if refusal.data is not None:
            error["data"] = refusal.data
        answer = {"id": None if refusal.anonymous else number, "status": refusal.status, "error": error}
        self.say(answer | ({} if refusal.anonymous else {"rateLimits": self.exchange.limits(None)}))


def _limit(kind: str, interval: str, times: int, limit: int, count: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": times, "limit": limit, "count": count}
