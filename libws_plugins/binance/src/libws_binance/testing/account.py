"""An account: what it owns, its orders, and what becomes of them.

Fields and values: web-socket-api.md, "Trading requests" and "Account requests", and user-data-stream.md, read 2026-11.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import Any

__all__ = ["Account", "Refusal"]

KEPT = 10_000


class Refusal(Exception):
    """An answer that is none of the good ones."""

    def __init__(self, status: int, code: int, msg: str, data: Any = None, *, anonymous: bool = False) -> None:
        super().__init__(msg)
        self.status, self.code, self.msg, self.data = status, code, msg, data
        self.anonymous = anonymous
        """It does not say which request it answers."""


class Account:
    """Orders rest in the book, without a match, until they are cancelled or `fill` carries them out."""

    def __init__(self) -> None:
        self.free: dict[str, Decimal] = {"BTC": Decimal(10), "USDT": Decimal(100_000)}
        self.locked: dict[str, Decimal] = {}
        self.orders: dict[int, dict[str, Any]] = {}
        """By their id, as they are told."""
        self.placed: deque[float] = deque(maxlen=KEPT)
        """When new orders came."""
        self.executions = 0

    def placed_in(self, now: float, seconds: float) -> int:
        """New orders since the interval began."""
        begin = now // seconds * seconds
        return sum(1 for each in self.placed if each >= begin)

    def place(self, params: dict[str, Any], number: int, now: int) -> dict[str, Any]:
        """A new LIMIT order. Its funds are locked.

        Raises:
            Refusal: a parameter is missing, its own id is in use, or there are no funds.
        """
        for name in ("symbol", "side", "type", "timeInForce", "price", "quantity"):
            if not params.get(name):
                text = f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."
                raise Refusal(400, -1102, text)
        if params["symbol"] != "BTCUSDT":
            raise Refusal(400, -1121, "Invalid symbol.")
        if params["side"] not in ("BUY", "SELL"):
            raise Refusal(400, -1117, "Invalid side.")
        own = str(params.get("newClientOrderId") or f"exchange-{number}")
        if any(each["clientOrderId"] == own and each["status"] == "NEW" for each in self.orders.values()):
            raise Refusal(400, -2010, "Duplicate order sent.")
        asset, amount = _funds(params)
        if self.free.get(asset, Decimal(0)) < amount:
            raise Refusal(400, -2010, "Account has insufficient balance for requested action.")
        self._move(asset, -amount, amount)
        self.orders[number] = order = {
            "symbol": params["symbol"],
            "orderId": number,
            "orderListId": -1,
            "clientOrderId": own,
            "transactTime": now,
            "price": params["price"],
            "origQty": params["quantity"],
            "executedQty": "0.00000000",
            "origQuoteOrderQty": "0.000000",
            "cummulativeQuoteQty": "0.00000000",
            "status": "NEW",
            "timeInForce": params["timeInForce"],
            "type": params["type"],
            "side": params["side"],
            "workingTime": now,
            "selfTradePreventionMode": "NONE",
        }
        return order

    def find(self, params: dict[str, Any]) -> dict[str, Any]:
        """The order that a request names, by its id or by the one that its owner gave it.

        Raises:
            Refusal: there is none.
        """
        own = params.get("origClientOrderId")
        for order in self.orders.values():
            named = own == order["clientOrderId"] if own is not None else params.get("orderId") == order["orderId"]
            if named and params.get("symbol") == order["symbol"]:
                return order
        raise Refusal(400, -2013, "Order does not exist.")

    def cancel(self, order: dict[str, Any]) -> None:
        """Take an order out of the book."""
        if order["status"] != "NEW":
            raise Refusal(400, -2011, "Unknown order sent.")
        asset, amount = _funds({**order, "quantity": order["origQty"]})
        self._move(asset, amount, -amount)
        order["status"] = "CANCELED"

    def fill(self, order: dict[str, Any]) -> None:
        """Carry an order out, at its own price."""
        asset, amount = _funds({**order, "quantity": order["origQty"]})
        self._move(asset, Decimal(0), -amount)
        bought = Decimal(order["origQty"]) * (1 if order["side"] == "BUY" else Decimal(order["price"]))
        self._move("BTC" if order["side"] == "BUY" else "USDT", bought, Decimal(0))
        order |= {"status": "FILLED", "executedQty": order["origQty"]}

    def status(self) -> dict[str, Any]:
        """What `account.status` tells."""
        assets = sorted({*self.free, *self.locked})
        return {"accountType": "SPOT", "canTrade": True, "balances": [self._balance(each, "asset") for each in assets]}

    def report(self, order: dict[str, Any], what: str, now: int) -> dict[str, Any]:
        """The `executionReport` of an order."""
        self.executions += 1
        return {
            "e": "executionReport",
            "E": now,
            "s": order["symbol"],
            "c": order["clientOrderId"],
            "S": order["side"],
            "o": order["type"],
            "f": order["timeInForce"],
            "q": order["origQty"],
            "p": order["price"],
            "g": -1,
            "x": what,
            "X": order["status"],
            "r": "NONE",
            "i": order["orderId"],
            "z": order["executedQty"],
            "T": now,
            "t": -1,
            "I": self.executions,
        }

    def position(self, asset: str, now: int) -> dict[str, Any]:
        """The `outboundAccountPosition` of an asset that has changed."""
        balance = self._balance(asset, "a")
        told = {"a": asset, "f": balance["free"], "l": balance["locked"]}
        return {"e": "outboundAccountPosition", "E": now, "u": now, "B": [told]}

    def _balance(self, asset: str, name: str) -> dict[str, str]:
        free, locked = self.free.get(asset, Decimal(0)), self.locked.get(asset, Decimal(0))
        return {name: asset, "free": f"{free:.8f}", "locked": f"{locked:.8f}"}

    def _move(self, asset: str, free: Decimal, locked: Decimal) -> None:
        self.free[asset] = self.free.get(asset, Decimal(0)) + free
        self.locked[asset] = self.locked.get(asset, Decimal(0)) + locked


def _funds(params: dict[str, Any]) -> tuple[str, Decimal]:
    """What an order on BTCUSDT locks."""
    quantity = Decimal(params["quantity"])
    return ("USDT", quantity * Decimal(params["price"])) if params["side"] == "BUY" else ("BTC", quantity)
