"""Requests and an account's events on the virtual clock, against a simulator strict about keys, time and limits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from libws_binance import ApiError, BinanceApi, OutcomeUnknown, RateLimit, RateLimited
from libws_binance.testing import ApiExchange
from libws_core import (
    AttemptFailed,
    AuthenticationError,
    Client,
    Connected,
    Disconnected,
    Gap,
    HandshakeRejected,
    NotReady,
    OptionError,
    Reconnected,
    Reopened,
    Retrying,
    Verdict,
)
from libws_core.machine import State
from libws_core.testing import MemoryDialer, refuse, virtual
from libws_requests import RequestLost, RequestTimeout

from .accounts import ORDER, PAIRS, exchange_of, make

HOUR = 3600.0
KINDS = ["HMAC", "RSA", "Ed25519"]


def now() -> float:
    return asyncio.get_running_loop().time()


def methods(exchange: ApiExchange, number: int = -1) -> list[Any]:
    return [request["method"] for request in exchange.connections[number].requests]


def said(events: list[Any], kind: type[Any]) -> list[Any]:
    return [event for event in events if type(event) is kind]


async def happened(client: Client, event: type[Any], cause: Callable[[], object] = lambda: None) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    remove = client.on(event, lambda each: None if future.done() else future.set_result(each))
    cause()
    try:
        return await future
    finally:
        remove()


async def next_event(client: Client) -> dict[str, Any]:
    event: dict[str, Any] = (await client.recv(5)).json["event"]
    return event


# Asking


@virtual
async def test_public_requests_need_no_key() -> None:
    exchange = exchange_of(skew=3)
    client, _ = make(MemoryDialer(exchange), None)
    async with client:
        api = client.plugin(BinanceApi)
        assert await api.ask("ping") == {}
        assert (await api.ask("time"))["serverTime"] == exchange.milliseconds()
        assert methods(exchange) == ["ping", "time"]
        assert "params" not in exchange.connections[0].requests[0]
        with pytest.raises(ValueError, match="cannot be signed without the options 'api_key' and 'secret'"):
            await api.ask("account.status", signed=True)
    assert exchange.broken == []


@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_signed_requests_are_accepted_with_every_kind_of_key(kind: str) -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange), kind, receive_window=2.5)
    async with client:
        api = client.plugin(BinanceApi)
        order = await api.ask("order.place", {**ORDER, "newClientOrderId": "mine", "icebergQty": None}, signed=True)
        assert (order["status"], order["clientOrderId"]) == ("NEW", "mine")
        found = await api.ask("v3/order.status", {"symbol": "BTCUSDT", "origClientOrderId": "mine"}, signed=True)
        assert found == order
        await api.ask("order.cancel", {"symbol": "BTCUSDT", "orderId": order["orderId"]}, signed=True)
        assert await api.ask("openOrders.status", {"symbol": "BTCUSDT"}, signed=True) == []
        place = next(each for each in exchange.connections[0].requests if each["method"] == "order.place")
        assert place["params"]["recvWindow"] == 2500
        assert "icebergQty" not in place["params"]
        assert ("signature" in place["params"], "apiKey" in place["params"]) == (kind != "Ed25519",) * 2
    assert exchange.broken == []


@virtual
async def test_numbers_of_python_are_sent_as_the_text_that_was_signed() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange), "HMAC")
    async with client:
        params = {**ORDER, "price": Decimal("1E2"), "quantity": 0.00001}
        order = await client.plugin(BinanceApi).ask("order.place", params, signed=True)
        assert (order["price"], order["origQty"]) == ("100", "0.00001")


@virtual
async def test_answers_come_to_whoever_asked_whatever_their_order() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange, latency=0.1))
    async with client:
        api = client.plugin(BinanceApi)
        orders = [api.ask("order.place", {**ORDER, "newClientOrderId": f"n{n}"}, signed=True) for n in range(20)]
        answers = await asyncio.gather(*orders, api.ask("ping"))
        assert [each["clientOrderId"] for each in answers[:-1]] == [f"n{n}" for n in range(20)]
        assert client.stats.received == 0  # none of the answers comes to the user


@pytest.mark.parametrize(
    ("method", "params", "code", "msg"),
    [
        ("order.place", {**ORDER, "quantity": "100000"}, -2010, "Account has insufficient balance"),
        ("order.place", {**ORDER, "symbol": "MOONUSDT"}, -1121, "Invalid symbol."),
        ("order.place", {"symbol": "BTCUSDT"}, -1102, "Mandatory parameter 'side'"),
        ("order.status", {"symbol": "BTCUSDT", "orderId": 7}, -2013, "Order does not exist."),
        ("order.plaice", {}, -1020, "This operation is not supported."),
    ],
)
@virtual
async def test_a_refusal_tells_status_code_and_the_exchanges_words(
    method: str, params: dict[str, Any], code: int, msg: str
) -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        with pytest.raises(ApiError, match=rf"{method} was refused \(400, {code}: {re.escape(msg)}") as caught:
            await client.plugin(BinanceApi).ask(method, params, signed=True)
        error = caught.value
        assert (type(error), error.method, error.status, error.code) == (ApiError, method, 400, code)
        assert error.msg.startswith(msg)
        assert client.state is State.READY


@virtual
async def test_what_a_half_failed_request_says_beside_is_kept() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        data = {"cancelResult": "SUCCESS", "newOrderResult": "FAILURE"}
        exchange.fail("order.place", 409, -2021, "Order cancel-replace partially failed.", data)
        with pytest.raises(ApiError) as caught:
            await client.plugin(BinanceApi).ask("order.place", ORDER, signed=True)
        assert (caught.value.status, caught.value.code, caught.value.data) == (409, -2021, data)


@virtual
async def test_keys_are_the_plugins_to_add_and_a_key_of_ones_own_may_be_given_unsigned() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        with pytest.raises(ValueError, match="the plugin's to add"):
            await api.ask("account.status", {"apiKey": "x"}, signed=True)
        for method in ("session.logon", "v3/session.logout"):
            with pytest.raises(ValueError, match="logged on by the plugin"):
                await api.ask(method)
        with pytest.raises(ApiError, match="-2015"):
            await api.ask("account.status", {"apiKey": "x", "signature": "y", "timestamp": 1})
        with pytest.raises(TypeError, match="parameter 'symbol'"):
            await api.ask("account.status", {"symbol": {}}, signed=True)


@virtual
async def test_before_the_first_connection_nothing_is_sent() -> None:
    client, _ = make(MemoryDialer(exchange_of()))
    with pytest.raises(NotReady, match=r"account\.status was not sent"):
        await client.plugin(BinanceApi).ask("account.status", signed=True)
    with pytest.raises(NotReady):
        await client.plugin(BinanceApi).ask("ping")
    await client.close()


# Outcomes that nobody knows


@virtual
async def test_an_order_whose_connection_is_lost_is_told_by_name_and_never_sent_again() -> None:
    exchange = exchange_of()
    exchange.mute = {"order.place"}
    client, _ = make(dialer := MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        asking = asyncio.create_task(api.ask("order.place", {**ORDER, "newClientOrderId": "mine"}, signed=True))
        query = asyncio.create_task(api.ask("time"))
        await asyncio.sleep(0.1)
        assert await query
        await happened(client, Reconnected, dialer.peers[0].drop)
        with pytest.raises(
            OutcomeUnknown, match=r"not known .*ask what became of order 'mine' \(order.status\)"
        ) as caught:
            await asking
        assert isinstance(caught.value.__cause__, RequestLost)
        assert caught.value.method == "order.place"
        await asyncio.sleep(60)
        assert len(exchange.accounts[PAIRS["Ed25519"].api_key].orders) == 1
        found = await api.ask("order.status", {"symbol": "BTCUSDT", "origClientOrderId": "mine"}, signed=True)
        assert found["status"] == "NEW"


@virtual
async def test_an_order_without_an_answer_in_time_is_told_after_the_exchanges_own_time_out() -> None:
    exchange = exchange_of()
    exchange.mute = {"order.place", "ping"}
    client, _ = make(MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        began = now()
        with pytest.raises(OutcomeUnknown, match="ask what became of the order") as caught:
            await api.ask("order.place", ORDER, signed=True)
        assert now() - began == pytest.approx(12)
        assert isinstance(caught.value.__cause__, RequestTimeout)
        with pytest.raises(OutcomeUnknown, match="ping was sent and has no good answer"):
            await api.ask("ping", timeout=1)


@pytest.mark.parametrize(("status", "code"), [(500, -1000), (503, -1008), (504, -1007), (400, -1006), (400, -1007)])
@virtual
async def test_what_the_exchange_itself_does_not_know_is_told_so(status: int, code: int) -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        exchange.fail("order.cancel", status, code, "execution status unknown.")
        with pytest.raises(
            OutcomeUnknown, match=f"whether it was carried out is not known.*{status}, {code}"
        ) as caught:
            await client.plugin(BinanceApi).ask("order.cancel", {"symbol": "BTCUSDT", "orderId": 5}, signed=True)
        assert (caught.value.status, caught.value.code) == (status, code)


# Time


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 7.5])
@virtual
async def test_a_clock_that_differs_is_made_up_for(skew: float) -> None:
    exchange = exchange_of(skew=skew)
    client, _ = make(MemoryDialer(exchange, latency=0.4), "HMAC")
    async with client:
        api = client.plugin(BinanceApi)
        assert api.clock_offset == pytest.approx(skew, abs=0.01)
        assert api.server_time == pytest.approx(exchange.time, abs=0.01)
        await api.ask("account.status", signed=True)
    assert exchange.broken == []


@virtual
async def test_a_query_that_is_off_in_time_is_asked_once_more_after_the_clock() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange), "HMAC")
    async with client:
        api = client.plugin(BinanceApi)
        for exchange.skew in (-8.0, 30.0):
            exchange.connections[0].requests.clear()
            assert (await api.ask("account.status", signed=True))["accountType"] == "SPOT"
            assert methods(exchange) == ["account.status", "time", "account.status"]


@virtual
async def test_an_order_that_is_off_in_time_is_not_asked_again_and_the_next_one_is_good() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        exchange.skew = 30.0
        with pytest.raises(ApiError, match=r"-1021: Timestamp .*asked for its time: send it again") as caught:
            await api.ask("order.place", ORDER, signed=True)
        assert caught.value.code == -1021
        assert methods(exchange)[-2:] == ["order.place", "time"]
        assert exchange.accounts[PAIRS["Ed25519"].api_key].orders == {}
        assert (await api.ask("order.place", ORDER, signed=True))["status"] == "NEW"


@virtual
async def test_a_time_that_stays_wrong_is_told_after_one_more_try() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange), "HMAC")
    async with client:
        for _ in range(2):
            exchange.fail("account.status", 400, -1021, "Timestamp for this request is outside of the recvWindow.")
        exchange.connections[0].requests.clear()
        with pytest.raises(ApiError, match="-1021"):
            await client.plugin(BinanceApi).ask("account.status", signed=True)
        assert methods(exchange) == ["account.status", "time", "account.status"]


# Logging on


@virtual
async def test_an_ed25519_key_logs_each_connection_on() -> None:
    exchange = exchange_of()
    client, _ = make(dialer := MemoryDialer(exchange), user_data=True)
    async with client:
        first = ["time", "session.logon", "userDataStream.subscribe"]
        assert methods(exchange) == first
        assert exchange.connections[0].logged_on is not None
        await happened(client, Reconnected, dialer.peers[0].drop)
        assert methods(exchange) == first
        assert "apiKey" not in await client.plugin(BinanceApi).ask("account.status", signed=True)


@pytest.mark.parametrize("kind", ["HMAC", "RSA"])
@virtual
async def test_other_keys_subscribe_with_a_signature(kind: str) -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange), kind, user_data=True)
    async with client:
        assert methods(exchange) == ["time", "userDataStream.subscribe.signature"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wrong", ["api_key", "secret"])
@virtual
async def test_a_bad_key_ends_the_client_with_what_to_check(kind: str, wrong: str) -> None:
    exchange = exchange_of()
    other = {"api_key": "unknown", "secret": "wrong" if kind == "HMAC" else None}
    if wrong == "secret" and kind != "HMAC":
        exchange.keys[PAIRS[kind].api_key] = exchange.keys[PAIRS["HMAC"].api_key]
        options: dict[str, Any] = {}
    else:
        options = {wrong: other[wrong]}
    client, _ = make(dialer := MemoryDialer(exchange), kind, user_data=True, **options)
    with pytest.raises(
        AuthenticationError, match=r"does not accept the key: -(2015|1022).*check api_key, secret"
    ) as caught:
        await client.open()
    assert caught.value.verdict is Verdict.FATAL
    assert dialer.count == 1


@virtual
async def test_a_key_that_nothing_has_proven_yet_is_refused_with_the_first_request() -> None:
    client, _ = make(MemoryDialer(exchange_of()), "HMAC", secret="wrong")
    async with client:
        with pytest.raises(ApiError, match=r"401|-1022.*check api_key, secret"):
            await client.plugin(BinanceApi).ask("account.status", signed=True)


@virtual
async def test_keys_that_functions_give_are_asked_anew_and_a_renewed_one_is_tried() -> None:
    exchange = exchange_of()
    pair, given = PAIRS["Ed25519"], iter(["expired", PAIRS["Ed25519"].api_key, PAIRS["Ed25519"].api_key])

    async def api_key() -> str:
        return next(given)

    client, events = make(dialer := MemoryDialer(exchange), api_key=api_key, secret=lambda request: pair.secret)
    async with client:
        (failed,) = said(events, AttemptFailed)
        assert failed.error.verdict is Verdict.REFRESH
        await happened(client, Reconnected, dialer.peers[-1].drop)
        await client.plugin(BinanceApi).ask("account.status", signed=True)


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        (lambda: 7, Exception, "option 'api_key' gave int, not a str"),
        (lambda: 1 / 0, AuthenticationError, "option 'api_key' gave no answer: ZeroDivisionError"),
        (lambda: "", AuthenticationError, "the API key is empty"),
    ],
)
@virtual
async def test_a_function_that_gives_no_key_is_told_by_its_option(
    source: Any, error: type[Exception], text: str
) -> None:
    client, _ = make(MemoryDialer(exchange_of()), api_key=source, secret="x" * 20)
    client2 = client
    opening = asyncio.create_task(client2.open())
    failed = await happened(client2, AttemptFailed)
    assert isinstance(failed.error, error)
    assert text in f"{failed.error} {failed.error.__cause__}"
    await client.close()
    await asyncio.wait([opening])
    assert opening.exception()


@virtual
async def test_a_key_that_is_revoked_ends_the_connection_and_the_client() -> None:
    exchange = exchange_of()
    client, events = make(MemoryDialer(exchange))
    async with client:
        del exchange.keys[PAIRS["Ed25519"].api_key]
        with pytest.raises(OutcomeUnknown):
            await client.plugin(BinanceApi).ask("account.status", signed=True)
        with pytest.raises(AuthenticationError, match=r"revoked the log-on.*check api_key"):
            await client.wait_closed()
        assert isinstance(said(events, Disconnected)[0].error, AuthenticationError)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"api_key": "x"}, "'api_key': it needs the option 'secret'"),
        ({"secret": "x"}, "'secret': it needs the option 'api_key'"),
        ({"user_data": True}, "'user_data': an account's events need"),
        ({"api_key": "x", "secret": "-----BEGIN"}, "'secret': it is no private key in PEM"),
        ({"receive_window": 61}, "receive_window"),
    ],
)
def test_options_that_cannot_be_are_told_before_anything_is_dialed(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        make(MemoryDialer(), None, **options)


# Limits


@virtual
async def test_what_the_exchange_counts_is_kept_until_its_interval_ends() -> None:
    exchange = exchange_of(weight=6000)
    client, _ = make(MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        await api.ask("order.place", ORDER, signed=True)
        weight = 2 + 1 + 2  # connecting, time, logging on; an order that is accepted costs nothing
        assert api.limits == (RateLimit("ORDERS", 10.0, 50, 1), RateLimit("REQUEST_WEIGHT", 60.0, 6000, weight))
        await asyncio.sleep(10)
        assert [each.used for each in api.limits] == [0, weight]
        await asyncio.sleep(50)
        assert [each.used for each in api.limits] == [0, 0]


@virtual
async def test_after_a_429_nothing_is_sent_until_the_exchange_listens_again() -> None:
    exchange = exchange_of(weight=100)
    client, _ = make(MemoryDialer(exchange))
    other, _ = make(MemoryDialer(exchange), None)  # the weight is the address's, and so is the wait
    async with client, other:
        api = client.plugin(BinanceApi)
        for _ in range(4):
            await api.ask("account.status", signed=True)
        with pytest.raises(RateLimited, match=r"429, -1003.*until 2026-01-01 00:01:00 UTC") as first:
            await api.ask("account.status", signed=True)
        assert (first.value.status, first.value.code, first.value.sent) == (429, -1003, True)
        for plugin in (api, other.plugin(BinanceApi)):
            with pytest.raises(RateLimited, match=r"ping was not sent: .* until 2026-01-01 00:01:00 UTC") as caught:
                await plugin.ask("ping")
            assert caught.value.sent is False
        assert len(exchange.broken) == 1
        left = caught.value.retry_after
        assert left is not None
        await asyncio.sleep(left)
        assert await api.ask("ping") == await other.plugin(BinanceApi).ask("ping") == {}
    assert len(exchange.broken) == 1


@virtual
async def test_too_many_orders_hold_new_orders_and_nothing_else() -> None:
    exchange = exchange_of(orders=5)
    client, _ = make(MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        for _ in range(5):
            await api.ask("order.place", ORDER, signed=True)
        for sent in (True, False, False):
            with pytest.raises(RateLimited, match=r"-1015|Too many new orders") as caught:
                await api.ask("order.place", ORDER, signed=True)
            assert caught.value.sent is sent
        assert len(await api.ask("openOrders.status", signed=True)) == 5
        await asyncio.sleep(10)
        await api.ask("order.place", ORDER, signed=True)
    assert len(exchange.broken) == 1


@virtual
async def test_a_banned_address_dials_and_asks_nothing_until_the_ban_is_over() -> None:
    exchange = exchange_of()
    client, events = make(dialer := MemoryDialer(exchange))
    async with client:
        api = client.plugin(BinanceApi)
        exchange.ban(3 * 24 * HOUR)
        began = now()
        with pytest.raises(RateLimited, match=r"418, -1003: Way too much .*until 2026-01-04 00:00:00 UTC") as caught:
            await api.ask("ping")
        assert caught.value.retry_after == pytest.approx(3 * 24 * HOUR)
        await happened(client, Reconnected)
        assert now() - began == pytest.approx(3 * 24 * HOUR, abs=5)
        assert dialer.count == 2
        assert said(events, AttemptFailed)[0].error.sent is False
        assert said(events, Retrying)[-1].delay == pytest.approx(3 * 24 * HOUR, abs=5)
        assert await api.ask("ping") == {}
    assert exchange.broken == ["connection 1: ping while its address is banned"]


@virtual
async def test_a_handshake_that_is_refused_with_418_is_waited_out() -> None:
    exchange = exchange_of()
    client, events = make(MemoryDialer(refuse(418, {"Retry-After": "7200"}), exchange))
    await client.open()
    assert isinstance(said(events, AttemptFailed)[0].error, HandshakeRejected)
    assert said(events, Retrying)[0].delay >= 7200
    await client.close()


@virtual
async def test_an_answer_of_429_that_does_not_say_until_when_holds_for_the_rest_of_the_minute() -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        await asyncio.sleep(20)
        exchange.fail("order.place", 429, -1003, "Too many requests queued.")
        with pytest.raises(RateLimited) as caught:
            await client.plugin(BinanceApi).ask("order.place", ORDER, signed=True)
        assert caught.value.retry_after == pytest.approx(40)


@virtual
async def test_connections_are_spaced_within_what_the_exchange_allows() -> None:
    exchange = exchange_of()
    clients = [make(MemoryDialer(exchange), None)[0] for _ in range(40)]
    began = now()
    await asyncio.gather(*[client.open() for client in clients])
    assert now() - began == pytest.approx(39 * 300 / 285, abs=1)
    await asyncio.gather(*[client.close() for client in clients])
    assert exchange.broken == []


# The account's events


@pytest.mark.parametrize("kind", KINDS)
@virtual
async def test_the_accounts_events_come_as_messages(kind: str) -> None:
    exchange = exchange_of()
    client, _ = make(MemoryDialer(exchange), kind, user_data=True)
    async with client:
        await client.plugin(BinanceApi).ask("order.place", {**ORDER, "newClientOrderId": "mine"}, signed=True)
        exchange.fill(PAIRS[kind].api_key, "mine")
        events = [await next_event(client) for _ in range(5)]
        assert [each["e"] for each in events] == [
            *["executionReport", "outboundAccountPosition", "executionReport"],
            *["outboundAccountPosition", "outboundAccountPosition"],
        ]
        assert [each["X"] for each in events if "X" in each] == ["NEW", "FILLED"]
        assert client.stats.received == 5


@virtual
async def test_a_loss_is_told_by_a_gap_and_the_events_are_subscribed_again() -> None:
    exchange = exchange_of()
    client, events = make(dialer := MemoryDialer(exchange), user_data=True)
    async with client:
        dialer.peers[0].drop()
        exchange.publish(PAIRS["Ed25519"].api_key, {"e": "balanceUpdate", "a": "BTC"})  # nobody hears it
        await happened(client, Reconnected)
        assert [gap.topic for gap in said(events, Gap)] == [None]
        exchange.publish(PAIRS["Ed25519"].api_key, {"e": "balanceUpdate", "a": "USDT"})
        assert await next_event(client) == {"e": "balanceUpdate", "a": "USDT"}


@virtual
async def test_events_that_the_exchange_ends_are_subscribed_again_with_a_gap() -> None:
    exchange = exchange_of()
    client, events = make(MemoryDialer(exchange), user_data=True)
    async with client:
        api_key = PAIRS["Ed25519"].api_key
        gap = await happened(client, Gap, lambda: exchange.terminate(api_key))
        assert "had ended the events" in gap.why
        assert (await next_event(client))["e"] == "eventStreamTerminated"
        assert exchange.connections[0].subscriptions == {1: api_key}
        exchange.publish(api_key, {"e": "balanceUpdate", "a": "BTC"})
        assert (await next_event(client))["a"] == "BTC"
        assert said(events, Disconnected) == []


@virtual
async def test_events_that_the_user_ends_stay_ended() -> None:
    exchange = exchange_of()
    client, events = make(dialer := MemoryDialer(exchange), user_data=True)
    async with client:
        await client.plugin(BinanceApi).ask("userDataStream.unsubscribe")
        assert (await next_event(client))["e"] == "eventStreamTerminated"
        await asyncio.sleep(10)
        assert exchange.connections[0].subscriptions == {}
        await happened(client, Reconnected, dialer.peers[0].drop)
        assert exchange.connections[0].subscriptions == {}
        assert len(said(events, Gap)) == 1


@virtual
async def test_events_that_the_user_could_not_end_go_on() -> None:
    exchange = exchange_of()
    client, _ = make(dialer := MemoryDialer(exchange), user_data=True)
    async with client:
        exchange.fail("userDataStream.unsubscribe", 400, -2036, "User Data Stream subscription not active.")
        with pytest.raises(ApiError, match="-2036"):
            await client.plugin(BinanceApi).ask("userDataStream.unsubscribe")
        with pytest.raises(ApiError, match="-2036"):
            await client.plugin(BinanceApi).ask("userDataStream.unsubscribe", {"subscriptionId": 7})
        await happened(client, Reconnected, dialer.peers[0].drop)
        assert [*exchange.connections[0].subscriptions.values()] == [PAIRS["Ed25519"].api_key]


# The end of a connection's life


@pytest.mark.parametrize("announced", [True, False])
@virtual
async def test_a_move_before_the_cut_loses_and_doubles_nothing(announced: bool) -> None:
    exchange = exchange_of()
    client, events = make(MemoryDialer(exchange, latency=0.05), user_data=True)
    api_key = PAIRS["Ed25519"].api_key
    numbers: list[int] = []

    async def read() -> None:
        async for message in client:
            numbers.append(message.json["event"]["T"])

    async def trade() -> None:
        number = 0
        while True:
            event = {"e": "balanceUpdate", "E": number, "a": "BTC", "d": "1", "T": number}
            exchange.publish(api_key, event)
            number += 1
            await asyncio.sleep(0.25)

    async with client:
        reading = asyncio.create_task(read())
        if not announced:
            await asyncio.sleep(22.8 * HOUR)
            assert said(events, Reopened) == []
        trading = asyncio.create_task(trade())
        moved = await happened(client, Reopened, lambda: exchange.shut_down(60) if announced else None)
        assert moved.generation == 2
        await asyncio.sleep(5)
        assert len(exchange.connections) == 1
        trading.cancel()
        await asyncio.wait([trading])
        account = await client.plugin(BinanceApi).ask("account.status", signed=True)
        assert account["accountType"] == "SPOT"
    await reading
    assert numbers == [*range(len(numbers))]
    assert len(numbers) > 40
    assert [type(each) for each in events if isinstance(each, (Disconnected, Gap))] == [Disconnected]  # our own close
    assert exchange.broken == []


@virtual
async def test_what_was_asked_on_the_old_connection_of_a_move_is_answered() -> None:
    exchange = exchange_of()
    client, events = make(MemoryDialer(exchange, latency=2.0))
    async with client:
        api = client.plugin(BinanceApi)

        async def ask(seconds: float) -> Any:
            await asyncio.sleep(seconds)
            return await api.ask("time")

        asking = asyncio.gather(*[ask(0.5 * number) for number in range(120)])
        await happened(client, Reopened, lambda: exchange.shut_down(120))
        assert all("serverTime" in each for each in await asking)
        assert said(events, Gap) == []
    assert exchange.broken == []


@virtual
async def test_pings_are_answered() -> None:
    exchange = exchange_of()
    client, events = make(MemoryDialer(exchange))
    async with client:
        await asyncio.sleep(HOUR + 1)
        assert exchange.connections[0].pongs == 180
        assert len(said(events, Connected)) == 1
    assert exchange.broken == []
