"""Binance's side of its market streams: strict about every limit, for the tests of those who use them.

What it says is what the documentation says it says (https://developers.binance.com/docs/binance-spot-api-docs/
web-socket-streams, read 2026-11). Who breaks a limit "will be disconnected" there, no word of how: here it is a close
with 1008 (RFC 6455 section 7.4.1, "violates its policy") and what was broken as the reason.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

from libws_core import Kind, Message, clock
from libws_core.testing import Peer

from ..profile import MARKETS, Market
from .connection import EXACT, KEPT, Connection, Crowd
from .events import Events, is_stream

__all__ = ["Exchange", "Listener"]

METHODS = ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS", "SET_PROPERTY", "GET_PROPERTY")


class Exchange(Crowd):
    """A step of a script, for a `Server` or a `MemoryDialer`: `Server(exchange)`. Dial its URL with /ws or /stream.

    Args:
        market: whose limits and timings hold.
        named: refusals of streams come with the request's id, as servers send them; False = without, as documented.
        lags: seconds by which the first, second ... connection hears late: no two servers are equally fast. Those for
            which nothing is said hear at once.
    """

    def __init__(self, market: str = "spot", *, named: bool = True, lags: Sequence[float] = ()) -> None:
        super().__init__()
        self.market: Market = MARKETS[market]
        self.named = named
        self.lags = lags
        self.spot = market == "spot"
        self.listeners: list[Listener] = []
        """The connections that are open, oldest first."""
        self.events = Events(pu=not self.spot)

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection until it ends."""
        await self.serve(Listener(self, peer), self.market, self.listeners)

    # What the market does

    def say(self, *streams: str) -> None:
        """Make the next event of each stream and give it to whoever listens; see `Events.make` for their kinds."""
        for stream in streams:
            self.publish(stream, self.events.make(stream))

    def publish(self, stream: str, payload: Any) -> None:
        """Give an event of your own to whoever listens to that stream."""
        for listener in self.listeners:
            listener.hear(stream, payload)

    async def run(self, *streams: str, every: float = 1.0) -> None:
        """Say an event of each stream again and again, until cancelled."""
        while True:
            self.say(*streams)
            await asyncio.sleep(every)

    def shut_down(self, lead: float = 600.0) -> None:
        """Announce to the connections that are open now that their server goes, and end them `lead` seconds later.

        The documentation names no time: "as soon as possible".
        """
        for listener in self.listeners:
            listener.tell("!serverShutdown", {"e": "serverShutdown", "E": round(clock.wall() * 1000)})
            listener.end_in(lead)


class Listener(Connection):
    """One connection, as the exchange sees it."""

    def __init__(self, exchange: Exchange, peer: Peer) -> None:
        super().__init__(peer, exchange.market, exchange.broken)
        self.exchange = exchange
        self.streams: dict[str, None] = {}
        """What it has subscribed."""
        self.arrivals: deque[float] = deque(maxlen=KEPT)
        """When its messages came, control frames too, in the loop's time; the newest."""
        self._lag = exchange.lags[peer.number - 1] if peer.number <= len(exchange.lags) else 0.0
        path, _, query = peer.path.partition("?")
        self.combined = path.endswith("/stream")
        if self.combined:
            names = dict(parse_qsl(query)).get("streams", "").split("/")
        else:
            names = unquote(path.partition("/ws/")[2]).split("/")
        self.streams.update(dict.fromkeys(filter(None, names)))

    def hear(self, stream: str, payload: Any) -> None:
        """Get an event, if it listens to that stream."""
        if stream not in self.streams:
            return
        if self._lag:
            asyncio.get_running_loop().call_later(self._lag, self.tell, stream, payload)
        else:
            self.tell(stream, payload)

    def tell(self, stream: str, payload: Any) -> None:
        """Get an event, wrapped where that was asked for."""
        self.say({"stream": stream, "data": payload} if self.combined else payload)

    # What the client says

    def _control(self, message: Message) -> None:
        if message.kind is not Kind.CLOSE:
            self._count()
            super()._control(message)

    def _message(self, message: Message) -> None:
        self._count()
        if not self.over:
            self._answer(message)

    def _count(self) -> None:
        most, now = self.exchange.market.messages, asyncio.get_running_loop().time()
        self.arrivals.append(now)
        if len(self.arrivals) > most and now - self.arrivals[-1 - most] < 1.0 - EXACT:
            self.refuse(f"more than {most} messages in a second")

    def _answer(self, message: Message) -> None:
        # The texts are those of the documentation, section "Error Messages".
        try:
            request = message.json
        except ValueError:
            self.say({"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"})
            return
        if not isinstance(request, dict) or "method" not in request:
            self._invalid("missing field `method` at line 1 column 73")
            return
        method, number, params = request["method"], request.get("id"), request.get("params", [])
        if method not in METHODS:
            names = ", ".join(f"`{each}`" for each in METHODS)
            self._invalid(f"unknown variant {method}, expected one of {names} at line 1 column 28")
            return
        if isinstance(number, bool) or not isinstance(number, int | str | None):
            self._invalid("request ID must be an unsigned integer")
            return
        self.requests.append(request)
        if method in ("SUBSCRIBE", "UNSUBSCRIBE"):
            self._change(method, params, number)
        elif method == "LIST_SUBSCRIPTIONS":
            self.say({"result": [*self.streams], "id": number})
        else:
            self._property(method, params, number)

    def _change(self, method: str, params: Any, number: int | str | None) -> None:
        names: Iterable[Any] = params if isinstance(params, list) else [params]
        if not all(is_stream(name, self.exchange.spot) for name in names):
            # Seen from servers, not documented: https://github.com/ctubio/Krypto-trading-bot/issues/1121
            error = {"code": 2, "msg": "Invalid request: invalid stream"}
            self.say({"error": error, "id": number} if self.exchange.named else error)
            return
        if method == "SUBSCRIBE":
            self.streams.update(dict.fromkeys(names))
        else:
            for name in names:
                self.streams.pop(name, None)
        if len(self.streams) > self.exchange.market.streams:
            self.refuse(f"more than {self.exchange.market.streams} streams")
            return
        self.say({"result": None, "id": number})

    def _property(self, method: str, params: Any, number: int | str | None) -> None:
        wanted = 2 if method == "SET_PROPERTY" else 1
        if not isinstance(params, list) or not params or not isinstance(params[0], str):
            self._invalid("property name must be a string")
        elif len(params) > wanted:
            self._invalid("too many parameters")
        elif params[0] != "combined":
            self.say({"code": 0, "msg": "Unknown property", "id": number})
        elif method == "GET_PROPERTY":
            self.say({"result": self.combined, "id": number})
        elif len(params) < wanted or not isinstance(params[1], bool):
            self.say({"code": 1, "msg": "Invalid value type: expected Boolean"})
        else:
            self.combined = params[1]
            self.say({"result": None, "id": number})

    def _invalid(self, why: str) -> None:
        self.say({"code": 2, "msg": f"Invalid request: {why}"})
