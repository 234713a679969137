"""The simulated WebSocket API is strict: about keys, time, weight and orders, with the documented codes and texts."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import pytest

from libws_binance.testing import ApiExchange
from libws_core import Client, ConnectionClosed, clock
from libws_core.testing import MemoryDialer, virtual

from .accounts import ORDER, PAIRS, exchange_of

PAIR = PAIRS["HMAC"]


async def dial(exchange: ApiExchange) -> Client:
    """A client that knows nothing of Binance."""
    client = Client("ws://test/ws-api/v3", plugins=["-standard", "pong", MemoryDialer(exchange)])
    await client.open()
    return client


async def ask(client: Client, method: str, params: Mapping[str, Any] | None = None, number: Any = 1) -> dict[str, Any]:
    await client.send_json({"id": number, "method": method, **({"params": params} if params is not None else {})})
    while True:
        said: dict[str, Any] = (await client.recv(5)).json
        if "event" not in said:
            return said


def signed(params: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Parameters with key, time and signature, as the documentation says and the plugin does not."""
    made = {"apiKey": PAIR.api_key, "timestamp": round(clock.wall() * 1000), **(params or {}), **changes}
    text = "&".join(f"{name}={made[name]}" for name in sorted(made))
    return made | {"signature": hmac.new(PAIR.secret.encode(), text.encode(), hashlib.sha256).hexdigest()}


@virtual
async def test_answers_have_their_id_status_result_and_limits() -> None:
    exchange = exchange_of()
    client = await dial(exchange)
    for number in ("7b6d", 5, None):
        answer = await ask(client, "time", number=number)
        assert (answer["id"], answer["status"]) == (number, 200)
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000, "count": 5}]
    assert answer["rateLimits"] == limits
    assert "rateLimits" not in await ask(client, "ping", {"returnRateLimits": False})
    assert (await ask(client, "v3/order.place", signed(ORDER)))["result"]["status"] == "NEW"
    await client.close()


@pytest.mark.parametrize(
    ("params", "status", "code", "msg"),
    [
        (dict, 400, -1102, "Mandatory parameter 'apiKey' was not sent"),
        (lambda: signed() | {"timestamp": None}, 400, -1102, "Mandatory parameter 'timestamp'"),
        (lambda: signed() | {"signature": "00"}, 400, -1022, "Signature for this request is not valid."),
        (lambda: signed() | {"symbol": "added"}, 400, -1022, "Signature for this request is not valid."),
        (lambda: signed(apiKey="other"), 401, -2015, "Invalid API-key, IP, or permissions for action."),
        (
            lambda: signed(timestamp=round(clock.wall() * 1000) + 1000),
            400,
            -1021,
            "Timestamp for this request was 1000ms",
        ),
        (
            lambda: signed(timestamp=round(clock.wall() * 1000) - 5001),
            400,
            -1021,
            "Timestamp for this request is outside",
        ),
        (
            lambda: signed(timestamp=round(clock.wall() * 1000) - 9, recvWindow=8),
            400,
            -1021,
            "Timestamp for this request",
        ),
        (lambda: signed(recvWindow=60001), 400, -1102, "'recvWindow' contains unexpected value."),
    ],
)
@virtual
async def test_what_is_wrong_with_a_signed_request_is_told(params: Any, status: int, code: int, msg: str) -> None:
    client = await dial(exchange_of())
    answer = await ask(client, "account.status", params())
    assert (answer["status"], answer["error"]["code"]) == (status, code)
    assert answer["error"]["msg"].startswith(msg)
    for good in (
        signed(timestamp=round(clock.wall() * 1000) - 5000),
        signed() | {"signature": signed()["signature"].upper()},
    ):
        assert (await ask(client, "account.status", good))["status"] == 200
    await client.close()


@pytest.mark.parametrize(
    ("text", "number", "code"),
    [
        ("{", None, -1135),
        ("[]", None, -1135),
        ('{"id": true, "method": "ping"}', True, -1135),
        ('{"id": 1, "method": "ping", "params": []}', 1, -1135),
        ('{"id": 1, "method": "order.plaice"}', 1, -1020),
        ('{"id": 1}', 1, -1020),
    ],
)
@virtual
async def test_what_is_no_request_is_refused(text: str, number: Any, code: int) -> None:
    client = await dial(exchange_of())
    await client.send(text)
    answer = (await client.recv(5)).json
    assert (answer["id"], answer["status"], answer["error"]["code"]) == (number, 400, code)
    await client.close()


@virtual
async def test_only_an_ed25519_key_logs_on_and_one_that_has_not_cannot_subscribe_without_a_signature() -> None:
    client = await dial(exchange_of())
    assert (await ask(client, "session.logon", signed()))["error"]["code"] == -1020
    assert (await ask(client, "session.status"))["result"]["apiKey"] is None
    assert (await ask(client, "userDataStream.subscribe"))["error"]["code"] == -1002
    assert (await ask(client, "userDataStream.subscribe.signature", signed()))["result"] == {"subscriptionId": 0}
    assert (await ask(client, "userDataStream.subscribe.signature", signed()))["error"]["code"] == -2035
    assert (await ask(client, "session.subscriptions"))["result"] == [{"subscriptionId": 0}]
    assert (await ask(client, "userDataStream.unsubscribe", {"subscriptionId": 5}))["error"]["code"] == -2036
    assert (await ask(client, "userDataStream.unsubscribe"))["result"] == {}
    assert (await ask(client, "userDataStream.subscribe.signature", signed()))["result"] == {"subscriptionId": 1}
    await client.close()


@virtual
async def test_weight_beyond_the_limit_is_refused_and_again_and_again_a_ban() -> None:
    exchange = exchange_of(weight=50)
    client = await dial(exchange)
    answers = [await ask(client, "account.status", signed()) for _ in range(5)]
    assert [answer["status"] for answer in answers] == [200, 200, 429, 429, 429]
    error = answers[-1]["error"]
    assert error["code"] == -1003
    assert error["msg"].startswith("Too much request weight used; current limit is 50 request weight per 1 MINUTE.")
    assert error["data"]["retryAfter"] - error["data"]["serverTime"] == pytest.approx(60_000, abs=2)
    banned = await ask(client, "account.status", signed())
    assert (banned["status"], banned["error"]["code"]) == (418, -1003)
    assert banned["error"]["msg"].startswith("Way too much request weight used; IP banned until ")
    assert banned["error"]["data"]["retryAfter"] - banned["error"]["data"]["serverTime"] == 120_000
    with pytest.raises(ConnectionClosed):
        await client.wait_closed()
    with pytest.raises(ConnectionClosed):
        await (await dial(exchange)).wait_closed()
    assert len(exchange.broken) == 6
    await asyncio.sleep(120)
    client = await dial(exchange)
    assert (await ask(client, "ping"))["status"] == 200
    exchange.ban()
    assert exchange.banned_until - exchange.time == 240  # they grow, to three days
    await client.close()


@virtual
async def test_too_many_orders_in_an_interval_are_refused() -> None:
    exchange = exchange_of(orders=2)
    client = await dial(exchange)
    answers = [await ask(client, "order.place", signed(ORDER)) for _ in range(3)]
    assert [answer["status"] for answer in answers] == [200, 200, 429]
    assert answers[-1]["error"]["code"] == -1015
    assert answers[-1]["error"]["msg"] == "Too many new orders; current limit is 2 orders per 10 SECOND."
    await asyncio.sleep(10)
    assert (await ask(client, "order.place", signed(ORDER)))["status"] == 200
    await client.close()


@virtual
async def test_an_account_knows_what_it_owns() -> None:
    exchange = exchange_of()
    client = await dial(exchange)
    await ask(client, "order.place", signed(ORDER, newClientOrderId="a", price="50000", quantity="1"))
    await ask(client, "order.place", signed(ORDER, newClientOrderId="b", side="SELL", price="60000", quantity="2"))
    assert (await ask(client, "order.place", signed(ORDER, newClientOrderId="b")))["error"][
        "msg"
    ] == "Duplicate order sent."
    exchange.fill(PAIR.api_key, "a")
    await ask(client, "order.cancel", signed(symbol="BTCUSDT", origClientOrderId="b"))
    again = await ask(client, "order.cancel", signed(symbol="BTCUSDT", origClientOrderId="b"))
    assert (again["error"]["code"], again["error"]["msg"]) == (-2011, "Unknown order sent.")
    owned = (await ask(client, "account.status", signed()))["result"]["balances"]
    assert owned == [
        {"asset": "BTC", "free": "11.00000000", "locked": "0.00000000"},
        {"asset": "USDT", "free": "50000.00000000", "locked": "0.00000000"},
    ]
    await client.close()


@virtual
async def test_a_connection_is_cut_after_a_day_and_without_pongs_after_a_minute() -> None:
    exchange = exchange_of()
    client = await dial(exchange)
    with pytest.raises(ConnectionClosed) as caught:
        await client.wait_closed()
    assert caught.value.code == 1006
    assert asyncio.get_running_loop().time() == pytest.approx(1000 + 24 * 3600, abs=1)
    deaf = Client("ws://test/", plugins=["-standard", MemoryDialer(exchange)])
    await deaf.open()
    with pytest.raises(ConnectionClosed, match="no pong within 60 s"):
        await deaf.wait_closed()
