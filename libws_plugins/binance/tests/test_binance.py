"""Binance's market streams on the virtual clock, against a simulator that closes whoever breaks a limit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from libws_binance import MARKETS, URLS, Binance, shard
from libws_binance.testing import Exchange
from libws_core import (
    Client,
    ConnectError,
    Disconnected,
    Event,
    Gap,
    OptionError,
    Reconnected,
    Reopened,
    SubscriptionRejected,
    chance,
)
from libws_core.testing import MemoryDialer, MemoryPeer, virtual
from libws_dedupe import Dedupe
from libws_subscriptions import Subscriptions

HOUR = 3600.0
TRADES, BOOK, BEST = "btcusdt@trade", "ethusdt@depth", "bnbusdt@bookTicker"


def make(dialer: object, *plugins: object, url: str = "ws://test/ws", **options: Any) -> tuple[Client, list[Any]]:
    given = {"binance": options, "backoff": {"base": 1, "jitter": "none"}}
    client = Client(url, plugins=["binance", *plugins, dialer, "-websockets"], options=given)
    events: list[Any] = []
    client.on(Event, events.append)
    return client, events


def now() -> float:
    return asyncio.get_running_loop().time()


async def happened(client: Client, event: type[Any], cause: Callable[[], object]) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    remove = client.on(event, lambda each: None if future.done() else future.set_result(each))
    cause()
    try:
        return await future
    finally:
        remove()


def busiest(times: Any) -> int:
    """The most of these times that lie within a second."""
    ordered = sorted(times)
    return max(sum(1 for each in ordered if begin <= each < begin + 1 - 1e-6) for begin in ordered)


# Subscribing


@virtual
async def test_a_thousand_streams_are_subscribed_before_ready_and_within_the_limit_of_messages() -> None:
    exchange = Exchange()
    streams = [f"coin{number}usdt@trade" for number in range(1024)]
    client, _ = make(MemoryDialer(exchange, latency=0.05), streams=streams)
    async with client:
        (listener,) = exchange.listeners
        assert [*listener.streams] == streams
        assert [len(request["params"]) for request in listener.requests] == [100] * 10 + [24]
        assert busiest(listener.arrivals) == 5
        assert client.plugin(Subscriptions).active == tuple(streams)
    assert exchange.broken == []


@pytest.mark.parametrize(
    ("path", "dialed"),
    [
        ("/ws/btcusdt@trade", "/ws"),
        ("/ws/btcusdt@trade/ethusdt@depth?timeUnit=MICROSECOND", "/ws?timeUnit=MICROSECOND"),
        ("/stream?streams=btcusdt@trade/ethusdt@depth", "/stream"),
        ("/stream?timeUnit=MICROSECOND&streams=btcusdt%40trade", "/stream?timeUnit=MICROSECOND"),
        ("/market/ws/!miniTicker@arr", "/market/ws"),
        ("/ws/pqia91ma19a5s61cv6a81va65sdf19v8", "/ws/pqia91ma19a5s61cv6a81va65sdf19v8"),
        ("/stream?streams=pqia91ma19a5s61c/btcusdt@trade", "/stream?streams=pqia91ma19a5s61c"),
        ("/ws", "/ws"),
        ("/stream", "/stream"),
        ("/other/btcusdt@trade", "/other/btcusdt@trade"),
    ],
)
@virtual
async def test_streams_of_the_url_are_subscribed_and_the_rest_of_it_is_dialed(path: str, dialed: str) -> None:
    exchange = Exchange()
    client, _ = make(dialer := MemoryDialer(exchange), url=f"ws://test{path}", streams=["bnbusdt@bookTicker"])
    async with client:
        assert dialer.peers[0].path == dialed
        named = [
            name for name in ("btcusdt@trade", "ethusdt@depth", "!miniTicker@arr") if name in path.replace("%40", "@")
        ]
        if "other" in path:
            named = []
        assert [*exchange.listeners[0].requests[0]["params"]] == ["bnbusdt@bookTicker", *named]


@virtual
async def test_a_stream_of_the_url_that_was_unsubscribed_does_not_come_back() -> None:
    exchange = Exchange()
    client, _ = make(dialer := MemoryDialer(exchange), url=f"ws://test/ws/{TRADES}/{BOOK}")
    async with client:
        assert await client.plugin(Binance).unsubscribe(TRADES) is True
        assert [*exchange.listeners[0].streams] == [BOOK]
        await happened(client, Reconnected, dialer.peers[0].drop)
        assert [*exchange.listeners[0].streams] == [BOOK]


@pytest.mark.parametrize("path", ["/ws", "/stream"])
@virtual
async def test_streams_are_added_and_taken_back_on_a_live_connection(path: str) -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange), url=f"ws://test{path}", streams=[TRADES])
    async with client:
        exchange.say(TRADES, BOOK)
        assert await client.plugin(Binance).subscribe(BOOK) is True
        assert await client.plugin(Binance).unsubscribe(TRADES) is True
        exchange.say(TRADES, BOOK)
        first, second = [(await client.recv()).json for _ in range(2)]
        if path == "/stream":
            assert [first["stream"], second["stream"]] == [TRADES, BOOK]
            first, second = first["data"], second["data"]
        assert (first["e"], first["t"], second["e"], second["U"]) == ("trade", 1, "depthUpdate", 4)
        assert client.stats.received == 2  # and none of the answers


@pytest.mark.parametrize("named", [True, False])
@virtual
async def test_an_unknown_stream_is_refused_with_what_the_exchange_says(named: bool) -> None:
    exchange = Exchange(named=named)
    client, _ = make(MemoryDialer(exchange), streams=[TRADES])
    async with client:
        with pytest.raises(SubscriptionRejected, match=r"'btcusdt@nonsense': code 2, Invalid request: invalid stream"):
            await client.plugin(Binance).subscribe("btcusdt@nonsense")
        assert client.plugin(Subscriptions).wanted == (TRADES,)
        assert await client.plugin(Binance).subscribe(BOOK) is True
        assert client.stats.received == 0
    assert exchange.broken == []


@pytest.mark.parametrize("named", [True, False])
@virtual
async def test_an_unknown_stream_among_many_costs_only_itself(named: bool) -> None:
    exchange = Exchange(named=named)
    good = [f"coin{number}usdt@trade" for number in range(250)]
    client, events = make(MemoryDialer(exchange, latency=0.05), streams=[*good[:130], "x@y", *good[130:]])
    async with client:
        assert {*client.plugin(Subscriptions).active} == {*good} == {*exchange.listeners[0].streams}
        assert [*client.plugin(Subscriptions).rejected] == ["x@y"]
        await asyncio.sleep(1)
        assert [event.topic for event in events if isinstance(event, Gap)] == ["x@y"]
    assert exchange.broken == []


@virtual
async def test_an_answer_to_a_request_of_the_users_own_is_the_users() -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange), streams=[TRADES])
    async with client:
        await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": "mine"})
        assert (await client.recv()).json == {"result": [TRADES], "id": "mine"}
        await client.send_json({"method": "SET_PROPERTY", "params": ["combined", True], "id": "mine"})
        assert (await client.recv()).json == {"result": None, "id": "mine"}
        await client.send_json({"method": "GET_PROPERTY", "params": ["other"], "id": "mine"})
        assert (await client.recv()).json == {"code": 0, "msg": "Unknown property", "id": "mine"}
        await client.send("nonsense")
        assert (await client.recv()).json["code"] == 3


@pytest.mark.parametrize("name", ["BTCUSDT@trade", "btcusdt", "", "a@trade b@trade", "btcusdt@trade/ethusdt@trade"])
@virtual
async def test_what_cannot_be_a_name_is_refused_before_it_is_sent(name: str) -> None:
    with pytest.raises(OptionError, match="option 'streams'"):
        make(MemoryDialer(), streams=[name])
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange))
    async with client:
        with pytest.raises(ValueError, match=r"name|lower case"):
            client.plugin(Binance).subscribe(name)
        assert not exchange.listeners[0].requests


# Limits


@virtual
async def test_one_stream_too_many_is_rejected_at_once_with_the_limit() -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange), streams=[f"coin{number}usdt@trade" for number in range(1024)])
    async with client:
        with pytest.raises(SubscriptionRejected, match="1,025 topics are wanted, and one connection may have 1,024"):
            client.plugin(Binance).subscribe(TRADES)
        await asyncio.sleep(10)
        assert len(exchange.listeners[0].streams) == 1024
    assert exchange.broken == []


def test_too_many_streams_to_begin_with_are_an_option_error_that_says_what_to_do() -> None:
    streams = [f"coin{number}usdt@trade" for number in range(1025)]
    with pytest.raises(OptionError, match=r"1,025 of them, and one connection may have 1,024.*libws_binance.shard"):
        make(MemoryDialer(), streams=streams)
    with pytest.raises(OptionError, match="201 of them, and one connection may have 200"):
        make(MemoryDialer(), streams=streams[:201], market="options")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/ws/" + "/".join(f"a{number}@trade" for number in range(1025)), SubscriptionRejected),
        ("/ws/A@b", ConnectError),
    ],
)
@virtual
async def test_a_url_that_names_what_cannot_be_is_fatal_in_the_first_attempt(path: str, error: type[Exception]) -> None:
    client, _ = make(dialer := MemoryDialer(Exchange()), url=f"ws://test{path}")
    with pytest.raises(error, match=r"1,024|lower case"):
        await client.open()
    assert dialer.count == 0


def test_shard_deals_streams_out_evenly_in_order_and_each_once() -> None:
    streams = [f"coin{number}usdt@trade" for number in range(2050)]
    parts = shard([*streams, *streams[:10]])
    assert [len(part) for part in parts] == [683, 683, 684]
    assert [*itertools.chain(*parts)] == streams
    assert shard([]) == []
    assert shard(streams[:1024]) == [streams[:1024]]
    assert [len(part) for part in shard(streams[:7], size=3)] == [2, 2, 3]
    assert max(map(len, shard(streams, "usds-futures"))) <= 200
    for bad in ({"size": 0}, {"size": 1025}, {"market": "moon"}):
        with pytest.raises(ValueError, match=r"market|streams"):
            shard(streams, **bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lower case"):
        shard(["BTCUSDT@trade"])


@virtual
async def test_what_a_user_sends_keeps_the_limit_that_pongs_count_for() -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange), streams=[TRADES])
    async with client:
        began = now()
        for number in range(200):
            await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": str(number)})
        assert now() - began > 39
        (listener,) = exchange.listeners
        assert listener.pongs == 2  # they were answered among all that, and counted
        assert busiest(listener.arrivals) == 5
    assert exchange.broken == []


@virtual(seed=3)
async def test_the_limit_is_kept_where_messages_arrive_closer_together_than_they_left() -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange, latency=lambda: chance.uniform(0.01, 0.1)), streams=[TRADES])
    async with client:
        for number in range(200):
            await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": str(number)})
    assert exchange.broken == []


@virtual
async def test_without_ratelimit_the_exchange_ends_the_connection() -> None:
    exchange = Exchange()
    client, events = make(MemoryDialer(exchange), "-ratelimit", streams=[TRADES])
    async with client:
        for number in range(5):
            await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": str(number)})
        await asyncio.sleep(1)
    assert exchange.broken == ["connection 1: more than 5 messages in a second"]
    (lost,) = [event for event in events if isinstance(event, Disconnected)]
    assert lost.error.code == 1008


@virtual
async def test_more_than_three_hundred_clients_that_start_at_once_keep_the_limit_of_connections() -> None:
    exchange = Exchange()
    dialer = MemoryDialer(exchange)
    clients = [make(dialer, streams=[TRADES])[0] for _ in range(301)]
    began = now()
    await asyncio.gather(*(client.open() for client in clients))
    assert exchange.connects == 301
    assert now() - began == pytest.approx(300 * 300 / 285, rel=0.01)
    await asyncio.gather(*(client.close() for client in clients))
    assert exchange.broken == []


@virtual
async def test_pings_are_answered_with_their_payload_and_unanswered_ones_end_the_connection() -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange), streams=[TRADES])
    async with client:
        await asyncio.sleep(605)
        assert exchange.listeners[0].pongs == 30
        assert len(exchange.listeners[0].arrivals) == 31  # and nothing but them and one request was sent
    assert exchange.broken == []
    silent, _ = make(MemoryDialer(exchange), "-pong", streams=[TRADES])
    async with silent:
        lost = await happened(silent, Disconnected, lambda: None)
        assert lost.error.code == 1008
        assert lost.uptime == pytest.approx(80, abs=0.1)
    assert exchange.broken == ["connection 1: no pong within 60 s"]  # the first of another dialer


# Moves


class Reader:
    """What a user got, counted by stream."""

    def __init__(self, client: Client) -> None:
        self.numbers: dict[str, list[tuple[int, int]]] = {}
        self.gaps: list[Gap] = []
        self.task = asyncio.create_task(self.read(client))

    async def read(self, client: Client) -> None:
        async for item in client.stream(markers=True):
            if isinstance(item, Gap):
                self.gaps.append(item)
                continue
            body = item.json
            body = body.get("data", body)
            first = body.get("t") or body.get("U") or body["u"]
            last = body.get("t") or body["u"]
            self.numbers.setdefault(body["s"], []).append((first, last))

    def holes(self, symbol: str) -> list[tuple[int, int]]:
        """Numbers that neither came nor came once."""
        return [(one[1], two[0]) for one, two in itertools.pairwise(self.numbers[symbol]) if two[0] != one[1] + 1]


@pytest.mark.parametrize("path", ["/ws", "/stream"])
@virtual
async def test_twenty_five_hours_without_a_gap_a_double_or_a_broken_limit(path: str) -> None:
    exchange = Exchange()
    dialer = MemoryDialer(exchange, latency=0.03)
    client, events = make(dialer, url=f"ws://test{path}", streams=[TRADES, BOOK, BEST])
    async with client:
        reader = Reader(client)
        feeding = asyncio.create_task(exchange.run(TRADES, BOOK, BEST, every=5))
        await asyncio.sleep(25 * HOUR)
        feeding.cancel()
        await asyncio.sleep(1)
        dropped = client.plugin(Dedupe).dropped
    await reader.task
    assert exchange.connects == 2
    assert exchange.broken == []
    assert reader.gaps == []
    assert not [event for event in events if isinstance(event, Gap)]
    assert sum(isinstance(event, Disconnected) for event in events) == 1  # our own close
    assert reader.holes("BTCUSDT") == reader.holes("ETHUSDT") == []
    best = [number for number, _ in reader.numbers["BNBUSDT"]]
    assert best == sorted(set(best))
    assert len(best) == len(reader.numbers["BTCUSDT"]) == 25 * HOUR / 5
    assert dropped > 0


@pytest.mark.parametrize("path", ["/ws", "/stream"])
@virtual
async def test_a_server_that_announces_its_shutdown_is_left_at_once_without_a_gap(path: str) -> None:
    exchange = Exchange()
    client, events = make(MemoryDialer(exchange, latency=0.03), url=f"ws://test{path}", streams=[TRADES, BOOK])
    async with client:
        reader = Reader(client)
        feeding = asyncio.create_task(exchange.run(TRADES, BOOK, every=0.1))
        await asyncio.sleep(5)
        began = now()
        moved = await happened(client, Reopened, lambda: exchange.shut_down(lead=8))
        assert moved.monotonic - began < 4
        await asyncio.sleep(10)
        feeding.cancel()
        await asyncio.sleep(1)
    await reader.task
    assert (exchange.connects, exchange.broken, reader.gaps) == (2, [], [])
    assert reader.holes("BTCUSDT") == reader.holes("ETHUSDT") == []
    assert all("serverShutdown" not in str(event) for event in events)


@virtual
async def test_a_move_to_a_faster_server_loses_nothing() -> None:
    exchange = Exchange(lags=(1.5,))
    client, _ = make(MemoryDialer(exchange), streams=[TRADES, BOOK])
    async with client:
        reader = Reader(client)
        feeding = asyncio.create_task(exchange.run(TRADES, BOOK, every=0.1))
        await asyncio.sleep(5)
        await happened(client, Reopened, exchange.shut_down)
        await asyncio.sleep(10)
        feeding.cancel()
    await reader.task
    assert (exchange.connects, reader.gaps) == (2, [])
    assert reader.holes("BTCUSDT") == reader.holes("ETHUSDT") == []


@virtual
async def test_without_a_move_the_day_ends_in_a_loss() -> None:
    exchange = Exchange()
    client, _ = make(MemoryDialer(exchange), "-reopen", streams=[TRADES])
    async with client:
        lost = await happened(client, Disconnected, lambda: None)
        assert lost.uptime == pytest.approx(24 * HOUR, abs=1)
    assert exchange.broken == []


# Losses


@pytest.mark.parametrize("path", ["/ws", "/stream"])
@pytest.mark.parametrize(
    "lose", [lambda peer: peer.drop(), lambda peer: peer.drop(reset=True), lambda peer: peer.sever()]
)
@virtual
async def test_a_loss_is_told_for_each_stream_by_the_numbers_that_are_missing(
    path: str, lose: Callable[[MemoryPeer], object]
) -> None:
    exchange = Exchange()
    streams = [TRADES, "ethusdt@depth@100ms", "xrpusdt@aggTrade"]
    client, _ = make(dialer := MemoryDialer(exchange), url=f"ws://test{path}", streams=streams)
    async with client:
        gaps: list[Gap] = []
        client.on(Gap, gaps.append)
        exchange.say(*streams)
        await asyncio.sleep(1)
        back = asyncio.create_task(happened(client, Reconnected, lambda: lose(dialer.peers[0])))
        await asyncio.sleep(0.5)
        exchange.say(*streams)  # nobody is there to hear it
        await back
        exchange.say(*streams)
        await asyncio.sleep(1)
        assert [(gap.topic, gap.first, gap.last) for gap in gaps if gap.topic is not None] == [
            (TRADES, 2, 2),
            ("ethusdt@depth@100ms", 4, 6),
            ("xrpusdt@aggTrade", 2, 2),
        ]
        assert client.stats.received == 6
    assert exchange.broken == []


@virtual
async def test_what_was_said_while_a_stream_was_unsubscribed_is_not_missing() -> None:
    exchange = Exchange()
    client, events = make(MemoryDialer(exchange, latency=0.1), streams=[TRADES, BOOK])
    async with client:
        plugin = client.plugin(Binance)
        exchange.say(TRADES)
        await asyncio.sleep(1)
        leaving = plugin.unsubscribe(TRADES)
        exchange.say(TRADES)  # it comes before the answer
        assert await leaving is True
        exchange.say(TRADES, TRADES, TRADES)
        assert await plugin.subscribe(TRADES) is True
        exchange.say(TRADES)
        assert [(await client.recv()).json["t"] for _ in range(3)] == [1, 2, 6]
    assert [event for event in events if isinstance(event, Gap)] == []


@virtual
async def test_who_does_not_follow_gets_one_gap_of_the_connection() -> None:
    exchange = Exchange()
    client, events = make(dialer := MemoryDialer(exchange), streams=[TRADES], follow=False)
    async with client:
        exchange.say(TRADES)
        await asyncio.sleep(1)
        back = asyncio.create_task(happened(client, Reconnected, dialer.peers[0].drop))
        await asyncio.sleep(0.5)
        exchange.say(TRADES)
        await back
        exchange.say(TRADES)
        await asyncio.sleep(1)
    assert [event.topic for event in events if isinstance(event, Gap)] == [None]


@virtual
async def test_what_is_missing_can_be_filled_in() -> None:
    exchange = Exchange()

    def backfill(gap: Gap) -> list[dict[str, Any]]:
        return [{"e": "trade", "s": "BTCUSDT", "t": number} for number in range(gap.first, gap.last + 1)]

    dialer = MemoryDialer(exchange)
    options = {"binance": {"streams": [TRADES]}, "subscriptions": {"backfill": backfill}}
    async with Client("ws://test/ws", plugins=["binance", dialer, "-websockets"], options=options) as client:
        exchange.say(TRADES)
        await asyncio.sleep(1)
        back = asyncio.create_task(happened(client, Reconnected, dialer.peers[0].drop))
        await asyncio.sleep(0.001)
        exchange.say(TRADES, TRADES)
        await back
        exchange.say(TRADES)
        assert [(await client.recv()).json["t"] for _ in range(4)] == [1, 2, 3, 4]


# Markets


@pytest.mark.parametrize("market", MARKETS)
@virtual
async def test_each_market_has_its_own_limits_and_timings(market: str) -> None:
    exchange = Exchange(market)
    client, _ = make(MemoryDialer(exchange), streams=["btcusd@depth"], market=market)
    async with client:
        reader = Reader(client)
        feeding = asyncio.create_task(exchange.run("btcusd@depth", every=60))
        await asyncio.sleep(25 * HOUR)
        feeding.cancel()
        await asyncio.sleep(1)
    await reader.task
    assert (exchange.connects, exchange.broken, reader.gaps) == (2, [], [])
    assert reader.holes("BTCUSD") == []


@pytest.mark.parametrize("market", MARKETS)
@virtual
async def test_the_limit_of_messages_of_each_market_is_used_and_kept(market: str) -> None:
    exchange = Exchange(market)
    client, _ = make(MemoryDialer(exchange), market=market)
    async with client:
        for number in range(50):
            await client.send_json({"method": "LIST_SUBSCRIPTIONS", "id": str(number)})
        assert busiest(exchange.listeners[0].arrivals) == MARKETS[market].messages
    assert exchange.broken == []


def test_every_url_is_one_of_the_two_forms_and_every_fact_has_its_source() -> None:
    assert all(url.startswith("wss://") and url.endswith("/ws") for url in URLS.values())
    assert {*MARKETS} <= {*URLS}
    assert all(market.source.startswith("https://developers.binance.com/") for market in MARKETS.values())
    assert all(market.pong > market.ping for market in MARKETS.values())


# How it is named


@virtual
async def test_an_object_in_the_list_is_copied_for_each_client() -> None:
    exchange, plugin = Exchange(), Binance(streams=[TRADES])
    dialer = MemoryDialer(exchange)
    clients = [Client("ws://test/ws", plugins=[plugin, dialer, "-websockets"]) for _ in range(2)]
    async with clients[0] as one, clients[1] as two:
        assert one.plugin(Binance) is not two.plugin(Binance) is not plugin
        assert await one.plugin(Binance).subscribe(BOOK) is True
        assert [[*listener.streams] for listener in exchange.listeners] == [[TRADES, BOOK], [TRADES]]
    with pytest.raises(RuntimeError, match="belongs to no client"):
        plugin.subscribe(BOOK)


def test_a_profile_names_it_and_may_set_what_it_brings_along(tmp_path: Path) -> None:
    profile = tmp_path / "binance.toml"
    profile.write_text(
        """
        [client]
        url = "wss://stream.binance.com:9443/ws"
        plugins = ["binance"]
        [client.options.binance]
        streams = ["btcusdt@trade"]
        [client.options.ratelimit]
        messages = 4
        """
    )
    client = Client.from_profile(profile)
    assert client.plugin("ratelimit").messages == 4
    assert client.plugin("reopen").every == 23 * HOUR
    assert client.plugin(Subscriptions).wanted == (TRADES,)
