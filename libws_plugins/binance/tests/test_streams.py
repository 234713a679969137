"""Events told apart by their documented fields, and what the exchange says beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from libws_binance.profile import MARKETS
from libws_binance.streams import Reader, asks_to_move, refused, split_url
from libws_core import Message

# Each payload as the documentation shows it: web-socket-streams.md, "Detailed Stream information".
TRADE: dict[str, Any] = {"e": "trade", "E": 1672515782136, "s": "BNBBTC", "t": 12345, "p": "0.001", "q": "100"}
AGGREGATE: dict[str, Any] = {"e": "aggTrade", "E": 1672515782136, "s": "BNBBTC", "a": 12345, "f": 100, "l": 105}
BEST: dict[str, Any] = {"u": 400900217, "s": "BNBUSDT", "b": "25.3", "B": "31.2", "a": "25.4", "A": "40.6"}
DEPTH: dict[str, Any] = {"e": "depthUpdate", "E": 1672515782136, "s": "BNBBTC", "U": 157, "u": 160, "b": [], "a": []}
PARTIAL: dict[str, Any] = {"lastUpdateId": 160, "bids": [["0.0024", "10"]], "asks": [["0.0026", "100"]]}
KLINE: dict[str, Any] = {"e": "kline", "E": 1672515782136, "s": "BNBBTC", "k": {"t": 1672515780000, "i": "1m"}}
NUMBERED = [(TRADE, "t"), (AGGREGATE, "a"), (BEST, "u"), (DEPTH, "u")]


def text(body: Any) -> Message:
    return Message.text(json.dumps(body))


def reader(market: str = "spot", *streams: str) -> Reader:
    return Reader(MARKETS[market], lambda: streams)


@pytest.mark.parametrize(("event", "field"), NUMBERED)
def test_an_event_has_the_key_of_its_double_and_of_no_other(event: dict[str, Any], field: str) -> None:
    key = reader().key
    mine = key(text(event))
    assert mine is not None
    assert key(text({**event, "E": 1672515789999})) == mine  # two servers need not agree on that
    others = [{**event, field: event[field] + 1}, {**event, "s": "BTCUSDT"}]
    others += [other for other, _ in NUMBERED if other is not event]
    keys = [key(text(other)) for other in others]
    wrapped = [key(text({"stream": name, "data": event})) for name in ("bnbbtc@x", "bnbbtc@x@100ms")]
    assert None not in [*keys, *wrapped]
    assert len({mine, *keys, *wrapped}) == 1 + len(keys) + 2


def test_a_partial_depth_has_a_key_only_where_its_stream_is_told() -> None:
    key = reader().key
    assert key(text(PARTIAL)) is None
    assert key(text({"stream": "bnbbtc@depth5", "data": PARTIAL})) == "bnbbtc@depth5 160"


@pytest.mark.parametrize(
    "body",
    [
        *[KLINE, [KLINE], {}, [], None, 7, "x", {"e": ["trade"]}, {"e": "trade"}, {"e": "trade", "t": 1}],
        *[
            {"e": "trade", "s": "X", "t": None},
            {"stream": 7, "data": TRADE},
            {"stream": "x", "data": None},
            {"stream": "x"},
        ],
        {"e": "depthUpdate", "s": "X"},
    ],
)
def test_what_has_no_number_has_neither_key_nor_position(body: Any) -> None:
    assert reader().key(text(body)) is None
    assert reader().position(text(body)) is None


@pytest.mark.parametrize("message", [Message.text("{"), Message.binary(b"{}"), Message.text("[" * 100_000)])
def test_what_is_no_json_has_neither(message: Message) -> None:
    assert reader().key(message) is None
    assert reader().position(message) is None
    assert reader().topic(message) is None


def test_positions_are_the_numbers_that_follow_one_another() -> None:
    spot, futures = reader(), reader("usds-futures")
    assert spot.position(text(TRADE)) == (12345, 12345)
    assert spot.position(text(AGGREGATE)) == (12345, 12345)
    assert spot.position(text(DEPTH)) == (157, 160)
    assert spot.position(text(BEST)) is None  # not every update of the book changes the best offers
    assert futures.position(text({**DEPTH, "pu": 149})) == (150, 160)
    assert futures.position(text(DEPTH)) == (157, 160)
    for odd in ("7", 7.5, True, 200):
        assert spot.position(text({**DEPTH, "U": odd})) is None
    assert reader("options").position(text(TRADE)) is None


def test_topics_are_the_names_under_which_streams_are_subscribed() -> None:
    fast = reader("spot", "bnbbtc@depth5", "btcusdt@depth", "bnbbtc@depth@100ms")
    assert fast.topic(text(TRADE)) == "bnbbtc@trade"
    assert fast.topic(text(AGGREGATE)) == "bnbbtc@aggTrade"
    assert fast.topic(text(DEPTH)) == "bnbbtc@depth@100ms"
    assert fast.topic(text({"stream": "bnbbtc@depth", "data": DEPTH})) == "bnbbtc@depth"
    assert reader().topic(text(DEPTH)) == "bnbbtc@depth"


def test_the_name_of_a_depth_stream_is_looked_up_anew_when_others_are_wanted() -> None:
    wanted = ["bnbbtc@depth"]
    one = Reader(MARKETS["spot"], lambda: wanted)
    assert one.topic(text(DEPTH)) == "bnbbtc@depth"
    wanted[:] = ["bnbbtc@depth@100ms"]
    assert one.topic(text(DEPTH)) == "bnbbtc@depth"
    one.forget()
    assert one.topic(text(DEPTH)) == "bnbbtc@depth@100ms"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"code": 2, "msg": "Invalid request: x"}, {"error": "code 2, Invalid request: x"}),
        ({"code": 0, "msg": "Unknown property", "id": 5}, {"error": "code 0, Unknown property", "id": 5}),
        ({"error": {"code": 2, "msg": "invalid stream"}, "id": 2}, {"error": "code 2, invalid stream", "id": 2}),
        ({"error": {"code": 2, "msg": "invalid stream"}, "id": None}, {"error": "code 2, invalid stream"}),
        ({"code": "2", "msg": "x"}, None),
        ({"code": True, "msg": "x"}, None),
        ({"code": 2, "msg": 7}, None),
        ({"error": "x", "msg": "y"}, None),
        ([{"code": 2, "msg": "x"}], None),
        (TRADE, None),
        ({"result": None, "id": 1}, None),
    ],
)
def test_error_answers_are_known_in_all_their_forms(body: Any, said: Any) -> None:
    assert refused(text(body)) == said


@pytest.mark.parametrize(
    ("body", "asks"),
    [
        ({"e": "serverShutdown", "E": 1770123456789}, True),
        ({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}}, True),
        ({"e": "trade", "x": "serverShutdown"}, False),
        ({"stream": "serverShutdown", "data": [1]}, False),
        (["serverShutdown"], False),
        (TRADE, False),
    ],
)
def test_only_an_announcement_asks_for_a_move(body: Any, asks: bool) -> None:
    assert asks_to_move(text(body)) is asks
    assert asks_to_move(Message.binary(json.dumps(body).encode())) is False


def test_a_url_is_given_back_without_its_streams() -> None:
    assert split_url("wss://x/stream?a=b&streams=&c") == ("wss://x/stream?a=b&c", [])
    assert split_url("wss://x/ws/a@b/?c=d") == ("wss://x/ws?c=d", ["a@b"])
    assert split_url("wss://x") == ("wss://x", [])
