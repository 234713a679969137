"""The documented events of a market's streams, numbered as the exchange numbers them.

Fields and values: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams, in its detailed stream
information, read 2026-11.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from libws_core import clock

__all__ = ["Events", "is_stream"]

KINDS = re.compile(
    r"trade|aggTrade|avgPrice|bookTicker|miniTicker|ticker(_(1h|4h|1d))?"
    r"|kline_(1s|[135]m|[13]0m|15m|[12468]h|12h|[13]d|1w|1M)(@\+08:00)?|depth(5|10|20)?(@100ms)?"
)
"""What follows a symbol and an @ on the spot market."""
ALL = re.compile(r"!(mini)?[tT]icker(_(1h|4h|1d))?@arr")
"""Streams of all symbols."""
FIELDS = re.compile(r"[a-z0-9]+@(?P<kind>trade|aggTrade|bookTicker|depth(?P<levels>5|10|20)?(@100ms)?)")
"""Streams whose events are made here."""
UPDATES = 3
"""Updates of an order book from one event of it to the next."""


def is_stream(name: Any, spot: bool) -> bool:
    """Whether there is such a stream. Symbols are not looked at: those that nobody trades are confirmed, too."""
    if not isinstance(name, str):
        return False
    symbol, at, kind = name.partition("@")
    if not spot:  # their kinds are not listed here
        return bool(at and symbol and kind)
    return bool(ALL.fullmatch(name) or (re.fullmatch(r"[a-z0-9]+", symbol) and KINDS.fullmatch(kind)))


class Events:
    """Makes the next event of a stream. Numbers go on whether somebody listens or not.

    Args:
        pu: depth updates tell the last number of the update before, as those of futures do.
    """

    def __init__(self, pu: bool = False) -> None:
        self._pu = pu
        self._trades: Counter[str] = Counter()
        """The last trade, aggregate trade and book update of each symbol, by its stream of them."""
        self._books: Counter[str] = Counter()
        """The last update of each symbol's order book."""
        self._told: dict[str, int] = {}
        """The last update that a diff depth stream has told."""

    def make(self, stream: str) -> dict[str, Any]:
        """Make the next event of a trade, aggregate trade, book ticker or depth stream.

        Raises:
            ValueError: a stream of another kind; its events are yours to `publish`.
        """
        match = FIELDS.fullmatch(stream)
        if match is None:
            raise ValueError(f"no events are made for {stream!r}; publish your own")
        symbol = stream.partition("@")[0].upper()
        now = round(clock.wall() * 1000)
        kind: str = match["kind"]
        event = {"e": kind, "E": now, "s": symbol}
        if kind in ("trade", "aggTrade"):
            self._trades[stream] += 1
            number = self._trades[stream]
            numbers = {"t": number} if kind == "trade" else {"a": number, "f": 2 * number - 1, "l": 2 * number}
            return event | numbers | {"p": "0.001", "q": "100", "T": now, "m": True, "M": True}
        self._books[symbol] += UPDATES
        last = self._books[symbol]
        if kind == "bookTicker":
            return {"u": last, "s": symbol, "b": "25.35190000", "B": "31.210", "a": "25.36520000", "A": "40.660"}
        if match["levels"]:
            return {"lastUpdateId": last, "bids": [["0.0024", "10"]], "asks": [["0.0026", "100"]]}
        before = self._told.get(stream, last - UPDATES)
        self._told[stream] = last
        numbers = {"U": before + 1, "u": last} | ({"pu": before} if self._pu else {})
        return event | {"e": "depthUpdate"} | numbers | {"b": [["0.0024", "10"]], "a": [["0.0026", "100"]]}
