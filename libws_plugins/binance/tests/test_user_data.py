"""An account's events told apart by their documented fields, and what the exchange says beside them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from libws_binance.streams import asks_to_move
from libws_binance.user_data import event_key, is_revocation, terminated
from libws_core import Message

# user-data-stream.md: "Order Update", "Balance Update", "Event Stream Terminated"; web-socket-api.md: "Server Shutdown"
ORDER: dict[str, Any] = {
    "e": "executionReport",
    "E": 1499405658658,
    "s": "ETHBTC",
    "i": 4293153,
    "x": "NEW",
    "I": 8641984,
}
LIST: dict[str, Any] = {"e": "listStatus", "E": 1, "s": "ETHBTC", "g": 2, "l": "EXEC_STARTED", "L": "EXECUTING", "T": 5}
BALANCE: dict[str, Any] = {
    "e": "balanceUpdate",
    "E": 1573200697110,
    "a": "BTC",
    "d": "100.00000000",
    "T": 1573200697068,
}
ENDED: dict[str, Any] = {"e": "eventStreamTerminated", "E": 1728973001334}
SHUTDOWN: dict[str, Any] = {"event": {"e": "serverShutdown", "E": 1770123456789}}
REVOKED: dict[str, Any] = {"id": None, "status": 401, "error": {"code": -2015, "msg": "Invalid API-key."}}
NOTHING = [None, 7, [], {}, {"event": None}, {"event": "x"}, {"id": 1, "status": 200, "result": {}}]


def text(body: Any) -> Message:
    return Message.text(json.dumps(body))


def of(event: Any, subscription: int = 0) -> Message:
    return text({"subscriptionId": subscription, "event": event})


@pytest.mark.parametrize(
    ("event", "field"),
    [(ORDER, "I"), (ORDER, "i"), (ORDER, "s"), (LIST, "l"), (LIST, "T"), (BALANCE, "d"), (BALANCE, "E")],
)
def test_an_event_has_the_key_of_its_double_and_of_no_other(event: dict[str, Any], field: str) -> None:
    key = event_key(of(event))
    assert key is not None
    assert key == event_key(of(dict(reversed(event.items())), 7))  # on another connection, under another subscription
    assert key != event_key(of({**event, field: "another"}))


def test_what_is_counted_is_told_apart_by_its_count_alone() -> None:
    assert event_key(of(ORDER)) == event_key(of({**ORDER, "E": 5}))  # two servers need not agree on that


@pytest.mark.parametrize("body", [*NOTHING, SHUTDOWN["event"], REVOKED])
def test_what_is_no_event_has_no_key_and_ends_nothing(body: Any) -> None:
    assert event_key(text(body)) is None
    assert terminated(text(body)) is None


@pytest.mark.parametrize("message", [Message.text("{"), Message.binary(b'{"event":{}}'), Message.text("[" * 100_000)])
def test_what_is_no_json_is_nothing(message: Message) -> None:
    assert event_key(message) is None
    assert terminated(message) is None
    assert not is_revocation(message)


def test_a_subscription_that_ends_is_told_by_its_id() -> None:
    assert terminated(of(ENDED, 3)) == 3
    assert terminated(of({**BALANCE, "a": "eventStreamTerminated"}, 3)) is None


@pytest.mark.parametrize(
    ("body", "is_one"),
    [
        (REVOKED, True),
        ({**REVOKED, "id": 7}, False),  # an answer that came too late
        ({"status": 401, "error": {}}, False),
        ({**REVOKED, "status": 400}, False),
        (of(BALANCE).json, False),
        *((body, False) for body in NOTHING),
    ],
)
def test_only_an_answer_to_nobody_revokes_a_key(body: Any, is_one: bool) -> None:
    assert is_revocation(text(body)) is is_one


def test_a_shutdown_is_announced_as_an_event_of_no_subscription() -> None:
    assert asks_to_move(text(SHUTDOWN))
    assert not asks_to_move(of({**BALANCE, "a": "serverShutdown"}))
