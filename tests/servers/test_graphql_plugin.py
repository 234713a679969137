"""The plugin graphql with the servers that people run: graphql-ws on Node, strawberry-graphql on uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ConnectionClosed,
    Disconnected,
    Gap,
    KeepAliveTimeout,
    MessageTooBig,
    Reconnected,
    Retrying,
    Verdict,
)
from libws_graphql import Graphql, OperationFailed, OperationLost, OperationRejected, ReaderTooSlow

from .diary import PATIENCE, Diary

COUNT = "subscription Count($to: Int!) { count(to: $to) }"
CLOCK = "subscription { clock }"


Serve = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["node", "strawberry"])
def serve(request: pytest.FixtureRequest, behind_relay: Serve) -> Serve:
    """Start one of the servers with these variables: `await serve(LIMIT=1000)`."""
    cure = "npm install --no-package-lock --prefix tests/servers/graphql"
    return partial(behind_relay, "graphql", request.param, package="graphql-ws", cure=cure, path="/graphql")


class Queries(Diary):
    """A client of GraphQL."""

    def __init__(self, place: Any, payload: Any = None, **options: dict[str, Any]) -> None:
        given = {
            "backoff": {"base": 0.05, "cap": 0.2},
            **options,
            "graphql": {"payload": {"token": "secret"} if payload is None else payload, **options.get("graphql", {})},
        }
        super().__init__(Client(place.relay.url, plugins=["graphql"], proxy=None, options=given))
        self.graphql = self.client.plugin(Graphql)

    async def running(self, number: int) -> None:
        """Wait until so many clocks run on the server."""
        last = None
        for _ in range(1000):
            last = (await self.graphql.execute("{ running }", timeout=PATIENCE))["running"]
            if last == number:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{last} clocks run, not {number}")


async def following(iterator: Any, wanted: Callable[[Any], bool] = lambda item: True) -> Any:
    """The next item that is wanted."""
    async with asyncio.timeout(PATIENCE):
        async for item in iterator:
            if wanted(item):
                return item
    raise AssertionError("it ended")


async def test_queries_mutations_and_subscriptions_side_by_side(serve: Serve) -> None:
    async with Queries(await serve()) as diary:
        graphql = diary.graphql
        assert diary.client.subprotocol == "graphql-transport-ws"

        async def count(to: int) -> list[int]:
            return [data["count"] async for data in graphql.subscribe(COUNT, variables={"to": to})]

        async with asyncio.timeout(PATIENCE):
            counts = asyncio.gather(*map(count, (3, 1, 5)))
            assert await graphql.execute("{ hello }") == {"hello": "world"}
            echo = "query Echo($text: String!) { echo(text: $text) }"
            texts = await asyncio.gather(*(graphql.execute(echo, variables={"text": f"{n} $x"}) for n in range(20)))
            assert [text["echo"] for text in texts] == [f"{n} $x" for n in range(20)]
            assert await graphql.execute("mutation { add(number: 2) }") == {"add": 2}
            assert await counts == [[1, 2, 3], [1], [1, 2, 3, 4, 5]]
        assert diary.client.stats.received == 0


async def test_an_unknown_field_is_refused_and_the_connection_goes_on(serve: Serve) -> None:
    async with Queries(await serve()) as diary:
        for refused in (
            anext(diary.graphql.subscribe("subscription { nothing }")),
            diary.graphql.execute("{ nothing }"),
        ):
            with pytest.raises(OperationRejected, match=r"Cannot query field .nothing.") as caught:
                await refused
            assert caught.value.errors[0]["locations"]
        with pytest.raises(OperationFailed, match="only what is more") as failed:
            await diary.graphql.execute("mutation { add(number: -1) }")
        assert not isinstance(failed.value, OperationRejected)
        assert failed.value.data == {"add": None}
        assert await diary.graphql.execute("{ hello }") == {"hello": "world"}
        assert not diary.all(Disconnected)


async def test_what_cannot_be_parsed_ends_the_client_as_both_servers_end_the_connection(serve: Serve) -> None:
    """The protocol has `error` messages for it. Trying again would send it again."""
    place = await serve()
    async with Queries(place) as diary:
        broken = diary.graphql.subscribe("subscription { clock")
        with pytest.raises(ConnectionClosed, match="Syntax Error") as caught:
            await following(broken)
        assert caught.value.code == (4500 if place.kind == "node" else 4400)
        assert caught.value.verdict is Verdict.FATAL
        assert not diary.all(Retrying)


async def test_bad_credentials_are_fatal(serve: Serve) -> None:
    diary = Queries(await serve(), {"token": "wr0ng"})
    with pytest.raises(ConnectionClosed) as caught:
        await diary.client.open()
    assert (caught.value.code, caught.value.reason, caught.value.phase) == (4403, "Forbidden", "establish")
    assert caught.value.verdict is Verdict.FATAL
    assert len(diary.all(AttemptFailed)) == 1
    assert "wr0ng" not in f"{caught.value!r} {diary.events} {diary.client.explain()}"


async def test_bad_credentials_that_can_be_renewed_are_renewed_once(serve: Serve) -> None:
    place = await serve()
    tokens = iter(["wr0ng", "secret", "never asked"])
    async with Queries(place, lambda: {"token": next(tokens)}) as diary:
        assert [failed.error.code for failed in diary.all(AttemptFailed)] == [4403]
        assert next(tokens) == "never asked"

    diary = Queries(place, lambda: {"token": "wr0ng"})
    with pytest.raises(ConnectionClosed) as caught:
        await diary.client.open()
    assert (caught.value.code, len(diary.all(AttemptFailed))) == (4403, 2)


async def test_whoever_stops_reading_is_unsubscribed(serve: Serve) -> None:
    async with Queries(await serve()) as diary:
        async with diary.graphql.subscribe(CLOCK) as clock:
            await following(clock)
            await diary.running(1)
        await diary.running(0)

        async for _ in diary.graphql.subscribe(CLOCK):
            break
        await diary.running(0)
        assert diary.graphql.subscriptions == ()


async def test_a_reader_that_is_too_slow_is_unsubscribed(serve: Serve) -> None:
    async with Queries(await serve(), graphql={"queue": 5}) as diary:
        slow = diary.graphql.subscribe(CLOCK)
        await diary.running(1)
        await diary.running(0)
        for _ in range(5):
            assert (await anext(slow))["clock"]
        with pytest.raises(ReaderTooSlow):
            await anext(slow)
        assert not diary.all(Disconnected)


@pytest.mark.parametrize("fault", ["reset", "silence", "restart"])
async def test_subscriptions_outlive_what_befalls_the_connection(fault: str, serve: Serve) -> None:
    place = await serve()
    ping = {"interval": 0.2, "timeout": 0.5} if fault == "silence" else {}
    async with Queries(place, ping=ping) as diary:
        async with diary.graphql.subscribe(CLOCK, markers=True) as clock:
            before = await following(clock)
            if fault == "reset":
                place.relay.drop(reset=True)
            elif fault == "silence":
                place.relay.silence()
            else:
                place.program.end()
                await place.program.start()
            gap = await following(clock, lambda item: isinstance(item, Gap))
            assert (gap.generation, gap.topic) == (2, clock.name)
            after = await following(clock)
            assert after["clock"] > before["clock"]
            assert clock.active
            await diary.until(Reconnected)
            await diary.running(1)
        if fault == "silence":
            assert isinstance(diary.all(Disconnected)[0].error, KeepAliveTimeout)
        assert await diary.graphql.execute("{ hello }") == {"hello": "world"}


async def test_a_query_in_flight_at_a_reset_is_lost_and_not_sent_again(serve: Serve) -> None:
    place = await serve()
    async with Queries(place) as diary:
        place.relay.silence()
        adding = asyncio.create_task(diary.graphql.execute("mutation { add(number: 1) }"))
        await asyncio.sleep(0)
        place.relay.drop(reset=True)
        with pytest.raises(OperationLost):
            await adding
        await diary.until(Reconnected)
        assert await diary.graphql.execute("mutation { add(number: 1) }") in ({"add": 1}, {"add": 2})


async def test_a_message_over_our_limit_ends_the_client_and_its_readers_learn_it(serve: Serve) -> None:
    async with Queries(await serve(), websockets={"max_size": 20_000}) as diary:
        clock = diary.graphql.subscribe(CLOCK)
        assert len((await diary.graphql.execute("{ big(size: 10000) }"))["big"]) == 10_000
        with pytest.raises(OperationLost):
            await diary.graphql.execute("{ big(size: 30000) }")
        with pytest.raises(MessageTooBig) as caught:
            await following(clock, lambda item: False)
        assert caught.value.verdict is Verdict.FATAL


async def test_a_message_over_the_servers_limit_ends_the_client(serve: Serve) -> None:
    async with Queries(await serve(LIMIT=20_000)) as diary:
        echo = "query Echo($text: String!) { echo(text: $text) }"
        assert await diary.graphql.execute(echo, variables={"text": "x" * 10_000})
        with pytest.raises(OperationLost):
            await diary.graphql.execute(echo, variables={"text": "x" * 30_000})
        with pytest.raises(ConnectionClosed) as caught:
            await diary.client.wait_closed()
        assert (caught.value.code, caught.value.verdict) == (1009, Verdict.FATAL)
        assert not diary.all(Retrying)


async def test_pings_of_the_server_are_answered_and_ours_by_it(serve: Serve) -> None:
    place = await serve(FRAMES=150, MESSAGES=150)
    async with Queries(place, ping={"interval": 0.1, "timeout": 5, "when": "always"}) as diary:
        clock = diary.graphql.subscribe(CLOCK)
        for _ in range(40):
            await following(clock)
        assert not diary.all(Disconnected)
        assert diary.client.stats.received == 0
