"""On real sockets, with each dialer: connections are lost, silent, announced and replaced, and the exchange goes on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from libws_binance import Binance
from libws_binance.testing import Exchange
from libws_core import AttemptFailed, Client, Disconnected, Event, Gap, KeepAliveTimeout, Reconnected, Reopened
from libws_core.testing import Relay, Server, leaks
from libws_subscriptions import Subscriptions

STREAMS = [f"coin{number}usdt@{kind}" for number in range(10) for kind in ("trade", "depth", "bookTicker")]
FOLLOWED = [stream for stream in STREAMS if not stream.endswith("bookTicker")]
PATIENCE = 20.0


class Account:
    """What a client got of each stream, in the order in which it came: numbers, and those that were told missing."""

    def __init__(self) -> None:
        self.ranges: dict[str, list[tuple[int, int, bool]]] = {}
        self.came = asyncio.Event()

    async def read(self, client: Client) -> None:
        async for item in client.stream(markers=True):
            if isinstance(item, Gap):
                if item.topic is not None:
                    self.ranges[item.topic].append((item.first, item.last, False))
            else:
                stream, body = item.json["stream"], item.json["data"]
                first = body.get("t") or body.get("U") or body["u"]
                self.ranges.setdefault(stream, []).append((first, body.get("t") or body["u"], True))
            self.came.set()

    def last(self) -> int:
        """How far the stream is that is furthest behind."""
        return min((self.ranges[stream][-1][1] if stream in self.ranges else 0) for stream in STREAMS)

    async def until(self, look: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not look():
                self.came.clear()
                await self.came.wait()

    async def goes_on(self) -> None:
        """Each stream has brought something new."""
        before = {stream: len(ranges) for stream, ranges in self.ranges.items()}
        await self.until(lambda: all(len(self.ranges.get(stream, ())) > before.get(stream, 0) for stream in STREAMS))

    def check(self) -> int:
        """Every number is there once and in order, or was told missing; gives how many were."""
        missing = 0
        for stream in FOLLOWED:
            for (_, one, _), (two, _, _) in itertools.pairwise(self.ranges[stream]):
                assert two == one + 1, f"{stream}: {two} behind {one}"
            missing += sum(last - first + 1 for first, last, came in self.ranges[stream] if not came)
        for stream in set(STREAMS) - set(FOLLOWED):
            numbers = [last for _, last, _ in self.ranges[stream]]
            assert numbers == sorted(set(numbers)), stream
        return missing


class Market:
    """A client of the simulator through a relay, a feed, and what came of it."""

    def __init__(self, client: Client, exchange: Exchange, server: Server, relay: Relay) -> None:
        self.client, self.exchange, self.server, self.relay = client, exchange, server, relay
        self.account = Account()
        self.events: list[Any] = []
        client.on(Event, self.events.append)

    async def happened(self, event: type[Any], cause: Callable[[], object]) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        remove = self.client.on(event, lambda each: None if future.done() else future.set_result(each))
        cause()
        async with asyncio.timeout(PATIENCE):
            try:
                return await future
            finally:
                remove()


@asynccontextmanager
async def running(dialer: Any, **options: Any) -> AsyncIterator[Market]:
    exchange = Exchange()
    async with leaks(), Server(exchange) as server, Relay(server.url) as relay:
        given = {
            "binance": {"streams": STREAMS},
            "backoff": {"base": 0.05, "jitter": "none"},
            "reopen": {"overlap": 1, "settle": 0.3},
            "governor": {"connects": 300, "per": 1},  # the real distance of a second is for the virtual clock
            **options,
        }
        plugins = ["-standard", "backoff", "binance", dialer()]
        client = Client(f"{relay.url}stream", plugins=plugins, options=given, proxy=None)
        market = Market(client, exchange, server, relay)
        feeding = asyncio.create_task(exchange.run(*STREAMS, every=0.02))
        async with client:
            reading = asyncio.create_task(market.account.read(client))
            await market.account.goes_on()
            yield market
        await reading
        feeding.cancel()
        await asyncio.gather(feeding, return_exceptions=True)
    assert exchange.broken == []


@pytest.mark.parametrize(
    "lose",
    [lambda relay: relay.drop(), lambda relay: relay.drop(reset=True), lambda relay: relay.close(1012)],
    ids=["drop", "reset", "close"],
)
async def test_a_loss_costs_what_is_told_and_nothing_else(dialer: Any, lose: Callable[[Relay], object]) -> None:
    async with running(dialer) as market:
        for _ in range(2):
            await market.happened(Reconnected, lambda: lose(market.relay))
            assert market.client.plugin(Subscriptions).active == tuple(STREAMS)
            await market.account.goes_on()
    assert market.account.check() > 0


async def test_a_silent_line_is_noticed_and_what_was_missed_is_told(dialer: Any) -> None:
    async with running(dialer, ping={"interval": 0.3, "timeout": 0.3}) as market:
        lost = await market.happened(Disconnected, lambda: market.relay.silence())
        assert isinstance(lost.error, KeepAliveTimeout)
        market.relay.release()
        await market.account.goes_on()
    assert market.account.check() > 0


async def test_a_restart_of_the_server_is_ridden_out(dialer: Any) -> None:
    async with running(dialer) as market:
        await market.server.stop()
        await market.happened(AttemptFailed, lambda: None)
        await market.server.start()
        await market.account.goes_on()
        assert market.client.plugin(Subscriptions).active == tuple(STREAMS)
    assert market.account.check() > 0


async def test_an_announced_shutdown_and_a_move_by_age_cost_nothing(dialer: Any) -> None:
    async with running(dialer) as market:
        await market.happened(Reopened, lambda: market.exchange.shut_down(lead=5))
        await market.account.goes_on()
    assert market.account.check() == 0
    async with running(dialer, reopen={"every": 0.7, "jitter": 0, "overlap": 1, "settle": 0.3}) as market:
        for _ in range(2):
            await market.happened(Reopened, lambda: None)
        await market.account.goes_on()
    assert market.account.check() == 0
    assert not [event for event in market.events if isinstance(event, (Gap, AttemptFailed))]


async def test_streams_are_added_and_taken_back_within_the_limit(dialer: Any) -> None:
    async with running(dialer) as market:
        plugin = market.client.plugin(Binance)
        async with asyncio.timeout(PATIENCE):
            for number in range(10):
                assert await plugin.subscribe(f"extra{number}usdt@kline_1m") is True
            assert await plugin.unsubscribe(*(f"extra{number}usdt@kline_1m" for number in range(10))) is True
        (listener,) = market.exchange.listeners
        assert [*listener.streams] == STREAMS
    assert market.account.check() == 0
