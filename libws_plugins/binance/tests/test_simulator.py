"""The simulator holds to every limit: whoever breaks one is closed, and nobody else is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libws_binance import MARKETS
from libws_binance.testing import Events, Exchange
from libws_core import Client, ConnectionClosed, Control, Kind, Message, hookimpl
from libws_core.testing import MemoryDialer, virtual


async def dial(exchange: Exchange, path: str = "/ws") -> Any:
    """A bare client: nothing is sent but what the test sends."""
    client = Client(f"ws://test{path}", plugins=["-standard", MemoryDialer(exchange)])
    await client.open()
    return client


async def ask(client: Client, method: str, *params: Any, **more: Any) -> Any:
    await client.send_json({"method": method, "params": params, "id": 1, **more})
    return (await client.recv(5)).json


async def closed(client: Client) -> ConnectionClosed:
    with pytest.raises(ConnectionClosed) as caught:
        await client.wait_closed()
    return caught.value


@virtual
async def test_five_messages_a_second_are_taken_and_the_sixth_is_the_end() -> None:
    exchange = Exchange()
    client = await dial(exchange)
    for _ in range(3):
        for _ in range(5):
            await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
        await asyncio.sleep(1)
    assert (exchange.broken, client.stats.received) == ([], 15)
    await asyncio.sleep(1)
    for _ in range(5):
        await client.send(Message.ping(b"counts, too"))
    await client.send("so that this is the sixth")
    error = await closed(client)
    assert (error.code, error.reason) == (1008, "more than 5 messages in a second")
    assert exchange.broken == ["connection 1: more than 5 messages in a second"]


@virtual
async def test_pongs_count_as_messages() -> None:
    exchange = Exchange("usds-futures")
    client = await dial(exchange)
    for _ in range(11):
        await client.send(Message.pong(b""))
    assert (await closed(client)).reason == "more than 10 messages in a second"


@pytest.mark.parametrize("market", MARKETS)
@virtual
async def test_whoever_does_not_answer_pings_is_cut_when_the_time_is_over(market: str) -> None:
    exchange = Exchange(market)
    client = await dial(exchange)
    began = asyncio.get_running_loop().time()
    assert (await closed(client)).reason == f"no pong within {MARKETS[market].pong:g} s"
    assert asyncio.get_running_loop().time() - began == pytest.approx(MARKETS[market].ping + MARKETS[market].pong)


@virtual
async def test_unsolicited_pongs_do_not_help() -> None:
    exchange = Exchange()
    client = await dial(exchange)

    async def pong() -> None:
        while True:
            await asyncio.sleep(5)
            await client.send(Message.pong(b"unasked"))

    task = asyncio.create_task(pong())
    assert (await closed(client)).reason == "no pong within 60 s"
    task.cancel()
    await asyncio.wait([task])


@virtual
async def test_one_stream_too_many_is_the_end() -> None:
    exchange = Exchange()
    client = await dial(exchange)
    assert await ask(client, "SUBSCRIBE", *[f"a{number}@trade" for number in range(1024)]) == {"result": None, "id": 1}
    assert await ask(client, "SUBSCRIBE", "a1@trade") == {"result": None, "id": 1}  # has it already
    await client.send_json({"method": "SUBSCRIBE", "params": ["more@trade"], "id": 2})
    assert (await closed(client)).reason == "more than 1024 streams"


@virtual
async def test_one_connection_too_many_in_five_minutes_is_the_end_of_that_one() -> None:
    exchange = Exchange()
    for _ in range(300):
        await (await dial(exchange)).close()
    assert exchange.broken == []
    assert (await closed(await dial(exchange))).reason == "more than 300 connections in 5 minutes"
    await asyncio.sleep(300)
    await (await dial(exchange)).close()
    assert len(exchange.broken) == 1


@virtual
async def test_a_connection_is_cut_after_a_day_without_a_close_frame() -> None:
    exchange = Exchange()
    client = Client("ws://test/ws", plugins=["-standard", "pong", MemoryDialer(exchange)])
    await client.open()
    began = asyncio.get_running_loop().time()
    error = await closed(client)
    assert error.code == 1006
    assert asyncio.get_running_loop().time() - began == pytest.approx(24 * 3600)
    assert exchange.broken == []
    assert exchange.listeners == []


@pytest.mark.parametrize("combined", [False, True])
@virtual
async def test_a_shutdown_is_announced_and_comes(combined: bool) -> None:
    exchange = Exchange()
    client = await dial(exchange, "/stream" if combined else "/ws")
    exchange.shut_down(lead=30)
    body = (await client.recv(5)).json
    if combined:
        assert body["stream"] == "!serverShutdown"
        body = body["data"]
    assert body == {"e": "serverShutdown", "E": 1767225600000}
    assert (await closed(client)).code == 1006
    assert asyncio.get_running_loop().time() == pytest.approx(1030)


@virtual
async def test_streams_of_the_url_and_of_requests_are_heard_in_the_form_of_the_url() -> None:
    exchange = Exchange()
    raw = await dial(exchange, "/ws/btcusdt@trade")
    combined = await dial(exchange, "/stream?streams=btcusdt@trade/ethusdt@trade")
    exchange.say("btcusdt@trade", "ethusdt@trade")
    event = (await raw.recv(5)).json
    assert event["t"] == 1
    assert (await combined.recv(5)).json == {"stream": "btcusdt@trade", "data": event}
    assert (await combined.recv(5)).json["stream"] == "ethusdt@trade"
    assert await ask(combined, "LIST_SUBSCRIPTIONS") == {"result": ["btcusdt@trade", "ethusdt@trade"], "id": 1}
    assert await ask(combined, "UNSUBSCRIBE", "btcusdt@trade") == {"result": None, "id": 1}
    assert await ask(combined, "GET_PROPERTY", "combined") == {"result": True, "id": 1}
    assert await ask(combined, "SET_PROPERTY", "combined", False) == {"result": None, "id": 1}
    exchange.publish("ethusdt@trade", {"own": 1})
    assert (await combined.recv(5)).json == {"own": 1}
    assert raw.stats.received == 1
    await raw.close()
    await combined.close()


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        ("{", {"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"}),
        ({"id": 1}, {"code": 2, "msg": "Invalid request: missing field `method` at line 1 column 73"}),
        (
            {"method": "SUBSCRIBE", "params": [], "id": [1]},
            {"code": 2, "msg": "Invalid request: request ID must be an unsigned integer"},
        ),
        ({"method": "GET_PROPERTY", "params": ["x"], "id": 1}, {"code": 0, "msg": "Unknown property", "id": 1}),
        (
            {"method": "SET_PROPERTY", "params": ["combined", 1], "id": 1},
            {"code": 1, "msg": "Invalid value type: expected Boolean"},
        ),
        (
            {"method": "GET_PROPERTY", "params": [7], "id": 1},
            {"code": 2, "msg": "Invalid request: property name must be a string"},
        ),
        (
            {"method": "GET_PROPERTY", "params": ["combined", 1], "id": 1},
            {"code": 2, "msg": "Invalid request: too many parameters"},
        ),
        (
            {"method": "SUBSCRIBE", "params": ["x"], "id": 1},
            {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 1},
        ),
    ],
)
@virtual
async def test_bad_requests_get_the_documented_answers(request_: Any, answer: Any) -> None:
    client = await dial(Exchange())
    await (client.send(request_) if isinstance(request_, str) else client.send_json(request_))
    assert (await client.recv(5)).json == answer
    await client.send_json({"method": "subscribe", "id": 1})
    assert (await client.recv(5)).json["msg"].startswith("Invalid request: unknown variant subscribe, expected one of")
    await client.close()


def test_numbers_go_on_by_stream_and_by_book() -> None:
    events = Events()
    assert [events.make("a@trade")["t"], events.make("b@trade")["t"], events.make("a@trade")["t"]] == [1, 1, 2]
    second = [events.make("a@aggTrade") for _ in range(2)][1]
    assert (second["a"], second["f"], second["l"]) == (2, 3, 4)
    slow, fast, again = events.make("a@depth"), events.make("a@depth@100ms"), events.make("a@depth")
    assert [(each["U"], each["u"]) for each in (slow, fast, again)] == [(1, 3), (4, 6), (4, 9)]
    assert events.make("a@bookTicker")["u"] == 12
    assert events.make("a@depth5")["lastUpdateId"] == 15
    assert Events(pu=True).make("a@depth")["pu"] == 0
    with pytest.raises(ValueError, match="publish your own"):
        events.make("a@kline_1m")


class Listener:
    """Notes when pings come, and with which payload."""

    def __init__(self) -> None:
        self.pings: list[tuple[float, Any]] = []

    @hookimpl
    def incoming(self) -> Control:
        return Control(self.hear)

    def hear(self, message: Message) -> Message:
        if message.kind is Kind.PING:
            self.pings.append((asyncio.get_running_loop().time(), message.data))
        return message


@virtual
async def test_pings_come_in_time_each_with_another_payload() -> None:
    listener, dialer = Listener(), MemoryDialer(Exchange())
    async with Client("ws://test/ws", plugins=["-standard", "pong", listener, dialer]):
        await asyncio.sleep(65)
    assert [time for time, _ in listener.pings] == pytest.approx([1020, 1040, 1060])
    assert len({payload for _, payload in listener.pings}) == 3
