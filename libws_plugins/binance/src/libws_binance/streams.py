"""Names of streams: in URLs, in lists, and in what arrives; and how events are told apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import unquote

from libws_core import Kind, Message

from .profile import MARKETS, Market, Numbers

__all__ = ["Reader", "asks_to_move", "check", "json_of", "refused", "shard", "split_url"]

_RAW = re.compile(r"(?P<base>.*/ws)/(?P<names>.+)")
_DEPTH = re.compile(r"@depth(@\d+ms)?\Z")
SHOWN = 200
"""Characters of a server's error that are told."""


def shard(streams: Iterable[str], market: str = "spot", size: int | None = None) -> list[list[str]]:
    """Deal streams out to as many clients as they need, evenly; each name once, in the order given.

    Args:
        streams: names, such as "btcusdt@trade".
        market: whose limit counts.
        size: streams a client at most; None = as many as one connection may have.

    Raises:
        ValueError: no such market, a name that is none, or a size that is less than 1 or over the limit.
    """
    if market not in MARKETS:
        raise ValueError(f"no market {market!r}; there are {', '.join(MARKETS)}")
    limit = MARKETS[market].streams
    if size is None:
        size = limit
    elif not 1 <= size <= limit:
        raise ValueError(f"a connection may have from 1 to {limit:,} streams, not {size}")
    names = list(dict.fromkeys(streams))
    check(names, MARKETS[market])
    count = -(-len(names) // size)
    ends = [len(names) * number // count for number in range(count + 1)] if count else []
    return [names[begin:end] for begin, end in itertools.pairwise(ends)]


def check(streams: Iterable[Any], market: Market) -> None:
    """Refuse what cannot be the name of a stream. The server confirms some of these, and then says nothing on them.

    Raises:
        ValueError: says which and why.
    """
    for stream in streams:
        if not isinstance(stream, str) or not ("@" in stream or stream.startswith("!")):
            raise ValueError(f"{stream!r} is not the name of a stream such as 'btcusdt@trade'")
        if re.search(r"[\s/?&#]", stream):
            raise ValueError(f"{stream!r} is not the name of one stream")
        symbol = stream.partition("@")[0]
        if market.lower and not stream.startswith("!") and symbol != symbol.lower():
            raise ValueError(f"{stream!r}: symbols are lower case in names of streams: {symbol.lower()!r}")


def split_url(url: str) -> tuple[str, list[str]]:
    """A URL without the streams that it names, and these. What is no stream, such as a listen key, stays in it.

    `.../ws/btcusdt@trade` and `.../stream?streams=btcusdt@trade/ethusdt@trade` are the two forms.
    """
    rest, mark, query = url.partition("?")
    found: list[str] = []
    if rest.endswith("/stream"):
        items = []
        for item in query.split("&"):
            name, _, value = item.partition("=")
            if name == "streams":
                names, kept = _sort(value)
                found += names
                if not kept:
                    continue
                item = f"{name}={'/'.join(kept)}"
            items.append(item)
        query = "&".join(items)
    elif match := _RAW.fullmatch(rest):
        found, kept = _sort(match["names"])
        rest = "/".join([match["base"], *kept])
    return (f"{rest}?{query}" if mark and query else rest), found


def _sort(names: str) -> tuple[list[str], list[str]]:
    """Names between slashes: the streams, and what is none."""
    streams, others = [], []
    for name in filter(None, names.split("/")):
        plain = unquote(name)
        if "@" in plain or plain.startswith("!"):
            streams.append(plain)
        else:
            others.append(name)
    return streams, others


def asks_to_move(message: Message) -> bool:
    """Whether the server says that it is about to shut down: as it is, wrapped as a stream's event, or as an API's."""
    data = message.data
    if type(data) is not str or "serverShutdown" not in data:
        return False
    body = json_of(message)
    if isinstance(body, dict) and "stream" in body:
        body = body.get("data")
    elif isinstance(body, dict) and "event" in body:
        body = body["event"]
    return isinstance(body, dict) and body.get("e") == "serverShutdown"


def refused(message: Message) -> dict[str, Any] | None:
    """What an error answer says, as the plugin `subscriptions` takes it; None if it is none.

    Documented are `{"code": 2, "msg": "..."}`, with an id or, for most, without; `{"error": {...}, "id": 1}` is what
    servers send.
    """
    data = message.data
    if type(data) is not str or '"msg"' not in data:
        return None
    body = json_of(message)
    if not isinstance(body, dict):
        return None
    error = body.get("error", body)
    if not isinstance(error, dict) or type(error.get("code")) is not int or not isinstance(error.get("msg"), str):
        return None
    said: dict[str, Any] = {"error": f"code {error['code']}, {error['msg'][:SHOWN]}"}
    if body.get("id") is not None:
        said["id"] = body["id"]
    return said


class Reader:
    """Tells the events of one market apart, and which stream they belong to.

    Args:
        market: says how events are numbered.
        streams: gives the streams that are wanted, where an event does not tell.
    """

    def __init__(self, market: Market, streams: Callable[[], Sequence[Any]]) -> None:
        self._numbers = market.numbers
        self._streams = streams
        self._depths: dict[str, str] = {}
        # Key, position and topic of a message are asked for one after the other: it is opened once.
        self._message: Message | None = None
        self._opened: tuple[str | None, dict[str, Any] | None, str] = None, None, ""

    def forget(self) -> None:
        """Other streams are wanted now."""
        self._depths.clear()

    def key(self, message: Message) -> str | None:
        """What an event has in common with its double and with no other; None if it has no number."""
        stream, body, event = self._open(message)
        numbers = self._numbers.get(event)
        if numbers is None:
            if stream is not None and body is not None and "lastUpdateId" in body:  # partial book depth
                return f"{stream} {body['lastUpdateId']}"
            return None
        assert body is not None
        last, symbol = body.get(numbers.last), body.get("s")
        if last is None or symbol is None:
            return None
        if numbers.first == numbers.last:
            return f"{stream or symbol} {event} {last}"
        return f"{stream or symbol} {event} {body.get(numbers.first)} {last}"

    def position(self, message: Message) -> tuple[int, int] | None:
        """The numbers that an event covers, the first and the last; None if they do not follow one another."""
        _, body, event = self._open(message)
        numbers = self._numbers.get(event)
        if numbers is None or body is None or not numbers.followed:
            return None
        last = body.get(numbers.last)
        first = _first(numbers, body)
        if type(first) is not int or type(last) is not int or not isinstance(body.get("s"), str) or first > last:
            return None
        return first, last

    def topic(self, message: Message) -> str | None:
        """The stream of an event that has a position."""
        stream, body, event = self._open(message)
        if stream is not None or body is None:
            return stream
        symbol = str(body.get("s")).lower()
        return f"{symbol}@{event}" if event != "depthUpdate" else self._depths.get(symbol) or self._depth(symbol)

    def _open(self, message: Message) -> tuple[str | None, dict[str, Any] | None, str]:
        if message is not self._message:
            self._opened = _open(message)
            self._message = message
        return self._opened

    def _depth(self, symbol: str) -> str:
        """Which of a symbol's diff depth streams: they differ in speed only, and an event does not tell."""
        names = (name for name in self._streams() if isinstance(name, str) and name.lower().startswith(f"{symbol}@"))
        found = self._depths[symbol] = next((name for name in names if _DEPTH.search(name)), f"{symbol}@depth")
        return found


def _first(numbers: Numbers, body: dict[str, Any]) -> Any:
    if numbers.before is None:
        return body.get(numbers.first)
    before = body.get(numbers.before)
    return before + 1 if type(before) is int else body.get(numbers.first)


def _open(message: Message) -> tuple[str | None, dict[str, Any] | None, str]:
    """The stream's name, if the message tells it; the event itself; and its type."""
    body = json_of(message)
    stream = None
    if isinstance(body, dict) and "stream" in body and "data" in body:
        stream, body = body["stream"], body["data"]
        if not isinstance(stream, str):
            return None, None, ""
    if not isinstance(body, dict):
        return stream, None, ""
    event = body.get("e")
    if isinstance(event, str):
        return stream, body, event
    # Spot's book ticker is the one numbered event that does not tell its type.
    return stream, body, "bookTicker" if event is None and "u" in body and "A" in body and "B" in body else ""


def json_of(message: Message) -> Any:
    """What a message holds; None if that is no JSON."""
    if message.kind is not Kind.TEXT:
        return None
    try:
        return message.json
    except (ValueError, RecursionError):  # the second: brackets nested by the thousand
        return None
