"""Operations over the lives of their connections: results, ends, losses, moves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    AuthenticationError,
    Client,
    ClientClosed,
    ConnectionClosed,
    ConnectTimeout,
    Gap,
    InvalidHandshake,
    Message,
    NotReady,
    Request,
    Secret,
    Session,
    SubscriptionRejected,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, virtual
from libws_graphql import (
    Graphql,
    OperationFailed,
    OperationLost,
    OperationRejected,
    OperationTimeout,
    ReaderTooSlow,
    Subscription,
)

COUNT = "subscription { count }"


class Server:
    """A server that logs everybody in and says what the test says."""

    def __init__(self, *, acks: bool = True) -> None:
        self.acks = acks
        self.heard: dict[int, list[Any]] = {}
        self.peers: dict[int, MemoryPeer] = {}
        self.dialer = MemoryDialer(self.step, subprotocols=("graphql-transport-ws",))

    def step(self, peer: MemoryPeer) -> None:
        self.heard[peer.number] = []
        self.peers[peer.number] = peer
        peer.on_message = lambda message: self.take(peer, message.json)

    def take(self, peer: MemoryPeer, said: Any) -> None:
        self.heard[peer.number].append(said)
        if said["type"] == "connection_init" and self.acks:
            peer.send({"type": "connection_ack", "payload": {"number": peer.number}})
        elif said["type"] == "ping":
            peer.send({"type": "pong"})

    def all(self, number: int, kind: str) -> list[Any]:
        return [said for said in self.heard.get(number, ()) if said["type"] == kind]

    async def id(self, number: int, place: int = 0, kind: str = "subscribe") -> str:
        """The id of an operation that the client has begun on a connection, as soon as it has."""
        await until(lambda: len(self.all(number, kind)) > place)
        return str(self.all(number, kind)[place]["id"])

    def next(self, number: int, id: str, data: Any, **more: Any) -> None:
        self.peers[number].send({"id": id, "type": "next", "payload": {"data": data, **more}})


async def until(happened: Callable[[], object]) -> None:
    for _ in range(10_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


class Mover:
    def __init__(self) -> None:
        self.sessions: list[Session] = []

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.sessions.append(session)


def make(server: Server, *plugins: object, client: Any = None, **options: Any) -> tuple[Client, Graphql]:
    others = {"backoff": {"base": 1, "jitter": "none"}}
    made = Client(
        "ws://test/",
        plugins=["graphql", *plugins, server.dialer, "-websockets"],
        options={"graphql": options, **others},
        **(client or {}),
    )
    return made, made.plugin(Graphql)


def reading(subscription: Subscription) -> asyncio.Task[list[Any]]:
    async def read() -> list[Any]:
        return [item async for item in subscription]

    return asyncio.create_task(read())


# The log-in


@virtual
async def test_the_log_in_carries_the_payload_and_keeps_the_servers_answer() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server, payload={"token": "t0ken", "more": {"level": 7}})
        async with client:
            assert client.subprotocol == "graphql-transport-ws"
            assert server.heard[1] == [{"type": "connection_init", "payload": {"token": "t0ken", "more": {"level": 7}}}]
            assert graphql.acknowledged == {"number": 1}
        assert "t0ken" not in f"{graphql!r} {client.explain()}"


@virtual
async def test_a_payload_that_is_a_function_is_asked_on_each_attempt() -> None:
    server = Server()
    asked: list[Request] = []

    async def payload(request: Request) -> Any:
        asked.append(request)
        return {"token": Secret(f"number {len(asked)}")}

    async with server.dialer:
        client, _ = make(server, payload=payload)
        async with client:
            server.peers[1].drop()
            await until(lambda: server.all(2, "connection_init"))
            assert server.heard[2] == [{"type": "connection_init", "payload": {"token": "number 2"}}]


@virtual
async def test_without_a_payload_none_is_sent() -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server)
        async with client:
            assert server.heard[1] == [{"type": "connection_init"}]


@virtual
async def test_what_the_payloads_function_raises_tells_no_secret_and_is_tried_again() -> None:
    server = Server()

    def payload() -> Any:
        raise OSError("https://example.com/?key=s3cret")

    async with server.dialer:
        client, _ = make(server, payload=payload)
        failed: list[AttemptFailed] = []
        client.on(AttemptFailed, failed.append)
        opening = asyncio.create_task(client.open())
        await until(lambda: len(failed) == 2)
        assert isinstance(failed[0].error, AuthenticationError)
        assert str(failed[0].error) == "option 'payload' gave no answer: OSError"
        await client.close()
        await asyncio.wait([opening])
        opening.exception()


@virtual
async def test_an_ack_that_does_not_come_fails_the_attempt_in_its_time() -> None:
    server = Server(acks=False)
    async with server.dialer:
        client, _ = make(server, ack_timeout=3)
        failed: list[AttemptFailed] = []
        client.on(AttemptFailed, failed.append)
        opening = asyncio.create_task(client.open())
        await until(lambda: failed)
        assert isinstance(failed[0].error, ConnectTimeout)
        assert str(failed[0].error) == "no connection_ack within 3 s"
        assert failed[0].error.verdict is Verdict.RETRY
        server.acks = True
        await opening
        await client.close()


@virtual
async def test_an_ack_may_take_longer_than_open_timeout() -> None:
    server = Server(acks=False)
    async with server.dialer:
        client, _ = make(server, ack_timeout=30, client={"open_timeout": 2})
        opening = asyncio.create_task(client.open())
        await asyncio.sleep(20)
        server.peers[1].send({"type": "connection_ack"})
        await opening
        assert server.dialer.count == 1
        await client.close()


@virtual
async def test_a_server_that_does_not_speak_it_is_refused() -> None:
    server = Server()
    server.dialer.subprotocols = ()
    async with server.dialer:
        client, _ = make(server)
        with pytest.raises(InvalidHandshake, match="does not speak 'graphql-transport-ws'"):
            await client.open()


@virtual
async def test_pings_of_both_sides_are_messages() -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server)
        async with client:
            server.peers[1].send({"type": "ping", "payload": {"number": 7}})
            server.peers[1].send({"type": "ping"})
            await until(lambda: len(server.all(1, "pong")) == 2)
            assert server.all(1, "pong") == [{"type": "pong", "payload": {"number": 7}}, {"type": "pong"}]
            await asyncio.sleep(30)
            assert server.all(1, "ping")
            assert server.dialer.count == 1
            assert client.stats.received == 0


# Subscriptions


@virtual
async def test_each_subscription_gets_its_own_results_until_it_is_complete() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            one = reading(graphql.subscribe(COUNT, variables={"to": Secret("3")}, operation_name="Count"))
            other = reading(graphql.subscribe("subscription { clock }", extensions={"a": 1}))
            first, second = await server.id(1), await server.id(1, 1)
            assert server.all(1, "subscribe") == [
                {
                    "id": first,
                    "type": "subscribe",
                    "payload": {"query": COUNT, "operationName": "Count", "variables": {"to": "3"}},
                },
                {
                    "id": second,
                    "type": "subscribe",
                    "payload": {"query": "subscription { clock }", "extensions": {"a": 1}},
                },
            ]
            assert graphql.subscriptions == ("Count", "subscription 1")
            server.next(1, second, {"clock": 1})
            server.next(1, first, {"count": 1})
            server.next(1, first, {"count": 2})
            server.peers[1].send({"id": first, "type": "complete"})
            assert await one == [{"count": 1}, {"count": 2}]
            assert "Count" not in graphql.subscriptions
            server.peers[1].send({"id": second, "type": "complete"})
            assert await other == [{"clock": 1}]
            assert server.all(1, "complete") == []
            assert client.stats.received == 0


@virtual
async def test_what_is_none_of_ours_is_the_users() -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server)
        async with client:
            await client.send_json({"id": "1", "type": "subscribe", "payload": {"query": COUNT}})
            server.next(1, "1", {"count": 1})
            assert (await client.recv(timeout=1)).json["payload"] == {"data": {"count": 1}}
            server.peers[1].send("libws- is no JSON")
            assert (await client.recv(timeout=1)).data == "libws- is no JSON"


@virtual
async def test_a_refused_subscription_says_why_and_is_not_begun_again() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            subscription = graphql.subscribe("subscription { nothing }")
            errors = [{"message": 'Cannot query field "nothing"'}, {"message": "and more"}]
            server.peers[1].send({"id": await server.id(1), "type": "error", "payload": errors})
            with pytest.raises(
                OperationRejected, match=r"refused subscription 1: Cannot query.*\(and 1 more\)"
            ) as caught:
                await anext(subscription)
            assert isinstance(caught.value, SubscriptionRejected)
            assert caught.value.errors == errors
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)
            server.peers[1].drop()
            await until(lambda: server.all(2, "connection_init") and client.state == "ready")
            assert server.all(2, "subscribe") == []


@virtual
async def test_a_result_with_errors_is_raised_and_the_subscription_goes_on() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            subscription, whole = graphql.subscribe(COUNT), graphql.subscribe(COUNT, results=True)
            for place in range(2):
                id = await server.id(1, place)
                server.next(1, id, {"count": None}, errors=[{"message": "no count"}])
                server.next(1, id, {"count": 2})
            with pytest.raises(OperationFailed, match="gave errors: no count") as caught:
                await anext(subscription)
            assert caught.value.data == {"count": None}
            assert await anext(subscription) == {"count": 2}
            assert await anext(whole) == {"data": {"count": None}, "errors": [{"message": "no count"}]}


@pytest.mark.parametrize("way", ["aclose", "with", "break"])
def test_whoever_stops_reading_tells_the_server(way: str) -> None:
    @virtual
    async def main() -> None:
        server = Server()
        async with server.dialer:
            client, graphql = make(server)
            async with client:
                if way == "break":
                    reader = asyncio.create_task(read_one(graphql))
                    server.next(1, await server.id(1), {"count": 1})
                    assert await reader == {"count": 1}
                    gc.collect()
                else:
                    subscription = graphql.subscribe(COUNT)
                    server.next(1, await server.id(1), {"count": 1})
                    if way == "with":
                        async with subscription as counts:
                            assert await anext(counts) == {"count": 1}
                    else:
                        assert await anext(subscription) == {"count": 1}
                        await subscription.aclose()
                id = await server.id(1)
                await until(lambda: server.all(1, "complete"))
                assert server.all(1, "complete") == [{"id": id, "type": "complete"}]
                server.next(1, id, {"count": 2})  # was under way
                server.peers[1].send({"id": id, "type": "complete"})
                await asyncio.sleep(1)
                assert client.stats.received == 0
                assert graphql.subscriptions == ()
                server.peers[1].drop()
                await until(lambda: server.all(2, "connection_init") and client.state == "ready")
                assert server.all(2, "subscribe") == []

    main()


async def read_one(graphql: Graphql) -> Any:
    async for data in graphql.subscribe(COUNT):
        return data
    raise AssertionError("it ended")


@virtual
async def test_a_reader_that_is_too_slow_gets_what_waits_and_then_an_error() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server, queue=3)
        async with client:
            subscription, other = graphql.subscribe(COUNT), graphql.subscribe(COUNT)
            id = await server.id(1)
            for number in range(5):
                server.next(1, id, {"count": number})
            await until(lambda: server.all(1, "complete"))
            assert server.all(1, "complete") == [{"id": id, "type": "complete"}]
            assert [(await anext(subscription))["count"] for _ in range(3)] == [0, 1, 2]
            with pytest.raises(ReaderTooSlow, match=r"subscription 1: 3 results \(\d+ bytes\) wait"):
                await anext(subscription)
            server.next(1, await server.id(1, 1), {"count": 9})
            assert await anext(other) == {"count": 9}


@virtual
async def test_results_that_wait_are_bounded_in_bytes_but_one_of_any_size_may() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server, queue_bytes=1000)
        async with client:
            subscription = graphql.subscribe(COUNT)
            id = await server.id(1)
            server.next(1, id, "x" * 5000)
            assert await anext(subscription) == "x" * 5000
            server.next(1, id, "y" * 600)
            server.next(1, id, "z" * 600)
            assert await anext(subscription) == "y" * 600
            with pytest.raises(ReaderTooSlow):
                await anext(subscription)


@virtual
async def test_two_readers_of_one_are_refused() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            subscription = graphql.subscribe(COUNT)
            first = asyncio.create_task(anext(subscription))
            await asyncio.sleep(1)
            with pytest.raises(RuntimeError, match="has a reader already"):
                await anext(subscription)
            first.cancel()
            await asyncio.wait([first])
            server.next(1, await server.id(1), {"count": 1})
            assert await anext(subscription) == {"count": 1}


# Losses


@virtual
async def test_a_subscription_is_begun_again_after_a_loss_and_a_gap_tells_where() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            marked, plain = graphql.subscribe(COUNT, markers=True, operation_name="Count"), graphql.subscribe(COUNT)
            for place in range(2):
                server.next(1, await server.id(1, place), {"count": 1})
            server.peers[1].drop()
            first, second = await server.id(2), await server.id(2, 1)
            assert {first, second}.isdisjoint(said["id"] for said in server.all(1, "subscribe"))
            for id in (first, second):
                server.next(2, id, {"count": 5})
                server.peers[2].send({"id": id, "type": "complete"})
            one, gap, other = await reading(marked)
            assert (one, other) == ({"count": 1}, {"count": 5})
            assert isinstance(gap, Gap)
            assert (gap.generation, gap.topic) == (2, "Count")
            assert gap.until - gap.since == pytest.approx(1, abs=0.1)
            assert await reading(plain) == [{"count": 1}, {"count": 5}]


@virtual
async def test_a_subscription_may_begin_before_the_client_is_open_and_outlives_failed_attempts() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        subscription = graphql.subscribe(COUNT, markers=True)
        assert not subscription.active
        async with client:
            server.next(1, await server.id(1), {"count": 1})
            assert await anext(subscription) == {"count": 1}
            assert subscription.active
            server.acks = False
            server.peers[1].drop()
            await until(lambda: server.all(2, "connection_init"))
            assert not subscription.active
            server.acks = True
            server.peers[2].drop()
            server.next(3, await server.id(3), {"count": 3})
            assert isinstance(await anext(subscription), Gap)
            assert await anext(subscription) == {"count": 3}


@virtual
async def test_our_close_ends_readers_behind_what_has_come() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            subscription = graphql.subscribe(COUNT)
            server.next(1, await server.id(1), {"count": 1})
            await asyncio.sleep(1)
        assert await reading(subscription) == [{"count": 1}]
        with pytest.raises(ClientClosed):
            graphql.subscribe(COUNT)
        with pytest.raises(ClientClosed):
            await graphql.execute("{ hello }")


@virtual
async def test_readers_learn_by_what_the_client_has_failed() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        await client.open()
        subscription = graphql.subscribe(COUNT)
        server.next(1, await server.id(1), {"count": 1})
        server.peers[1].close(4403, "Forbidden")
        assert await anext(subscription) == {"count": 1}
        with pytest.raises(ConnectionClosed) as caught:
            await anext(subscription)
        assert caught.value.code == 4403
        with pytest.raises(ConnectionClosed):
            await client.wait_closed()


# Moves


@virtual
async def test_in_a_move_the_new_connections_results_stand_behind_the_old_ones() -> None:
    server, mover = Server(), Mover()
    async with server.dialer:
        client, graphql = make(server, mover)
        async with client:
            subscription = graphql.subscribe(COUNT, markers=True)
            old = await server.id(1)
            server.next(1, old, {"count": 1})
            moved = mover.sessions[0].reopen("test", overlap=2, settle=5)
            new = await server.id(2)
            server.next(2, new, {"count": 2})
            server.next(1, old, {"count": 2})
            server.next(2, new, {"count": 3})
            assert await moved is True
            await until(lambda: server.peers[1].gone)
            got = [(await anext(subscription))["count"] for _ in range(4)]
            assert got == [1, 2, 2, 3]  # 2 came by both; nothing is missing, so there is no Gap
            assert subscription.active
            # The server has read what was begun here before the old one was closed.
            assert [said["type"] for said in server.heard[2]] == ["connection_init", "subscribe", "ping"]


@pytest.mark.parametrize("way", ["drop", "close"])
def test_where_the_old_connection_of_a_move_is_lost_there_is_a_gap(way: str) -> None:
    @virtual
    async def main() -> None:
        server, mover = Server(), Mover()
        async with server.dialer:
            client, graphql = make(server, mover)
            async with client:
                subscription = graphql.subscribe(COUNT, markers=True)
                server.next(1, await server.id(1), {"count": 1})
                moved = mover.sessions[0].reopen("test", overlap=2, settle=50)
                new = await server.id(2)
                server.next(2, new, {"count": 2})
                await until(lambda: len(mover.sessions) == 2)
                if way == "drop":
                    server.peers[1].drop()
                else:
                    server.peers[1].close(1001)
                await moved
                first, gap, second = [await anext(subscription) for _ in range(3)]
                assert (first, second) == ({"count": 1}, {"count": 2})
                assert isinstance(gap, Gap)
                assert gap.generation == 2

    main()


@virtual
async def test_a_move_to_a_connection_that_is_lost_leaves_the_results_of_the_old_one() -> None:
    server, mover = Server(), Mover()
    async with server.dialer:
        client, graphql = make(server, mover)
        async with client:
            subscription = graphql.subscribe(COUNT, markers=True)
            old = await server.id(1)
            moved = mover.sessions[0].reopen("test", overlap=2, settle=50)
            server.next(2, await server.id(2), {"count": 1})
            await until(lambda: len(mover.sessions) == 2)
            server.peers[2].drop()
            server.next(1, old, {"count": 1})
            server.next(1, old, {"count": 2})
            await moved
            assert [await anext(subscription) for _ in range(2)] == [{"count": 1}, {"count": 2}]


@virtual
async def test_what_began_on_the_new_connection_of_a_move_goes_back_if_that_is_lost() -> None:
    server, mover = Server(), Mover()
    async with server.dialer:
        client, graphql = make(server, mover)
        async with client:
            moved = mover.sessions[0].reopen("test", overlap=2, settle=50)
            await until(lambda: len(mover.sessions) == 2)
            subscription = graphql.subscribe(COUNT, markers=True)
            server.next(2, await server.id(2), {"count": 1})
            assert await anext(subscription) == {"count": 1}
            server.peers[2].drop()
            server.next(1, await server.id(1), {"count": 2})
            assert isinstance(await anext(subscription), Gap)
            assert await anext(subscription) == {"count": 2}
            await moved


# Queries and mutations


@virtual
async def test_execute_gives_the_data_of_the_result() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            task = asyncio.create_task(graphql.execute("{ hello }"))
            id = await server.id(1)
            server.next(1, id, {"hello": "world"})
            server.peers[1].send({"id": id, "type": "complete"})
            assert await task == {"hello": "world"}
            assert server.all(1, "complete") == []


@virtual
async def test_execute_raises_what_the_server_says() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        async with client:
            refused = asyncio.create_task(graphql.execute("{ nothing }"))
            server.peers[1].send({"id": await server.id(1), "type": "error", "payload": [{"message": "none"}]})
            with pytest.raises(OperationRejected, match="refused operation 1: none"):
                await refused
            failed = asyncio.create_task(graphql.execute("{ hello }", operation_name="Hello"))
            id = await server.id(1, 1)
            server.next(1, id, None, errors=[{"message": "broken"}])
            server.peers[1].send({"id": id, "type": "complete"})
            with pytest.raises(OperationFailed, match="Hello gave errors: broken"):
                await failed
            empty = asyncio.create_task(graphql.execute("{ hello }"))
            server.peers[1].send({"id": await server.id(1, 2), "type": "complete"})
            with pytest.raises(OperationFailed, match="completed without a result"):
                await empty
            odd = asyncio.create_task(graphql.execute("{ hello }"))
            server.peers[1].send({"id": await server.id(1, 3), "type": "next", "payload": 7})
            with pytest.raises(OperationFailed, match="'next' without a result"):
                await odd


@virtual
async def test_a_query_in_flight_at_a_loss_fails_and_is_not_sent_again() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server)
        with pytest.raises(NotReady):
            await graphql.execute("{ hello }")
        async with client:
            task = asyncio.create_task(graphql.execute("mutation { pay }", timeout=1000))
            await server.id(1)
            server.peers[1].drop()
            with pytest.raises(OperationLost, match="before operation 1 had its result"):
                await task
            with pytest.raises(NotReady):
                await graphql.execute("{ hello }")
            await until(lambda: client.state == "ready")
            assert server.all(2, "subscribe") == []


@virtual
async def test_a_query_without_a_result_in_time_is_given_up_and_the_server_told() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server, timeout=5)
        async with client:
            with pytest.raises(OperationTimeout, match="operation 1 had no result within 5 s"):
                await graphql.execute("{ slow }")
            await until(lambda: server.all(1, "complete"))
            task = asyncio.create_task(graphql.execute("{ slow }"))
            id = await server.id(1, 1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            await until(lambda: len(server.all(1, "complete")) == 2)
            assert server.all(1, "complete")[1] == {"id": id, "type": "complete"}


class Censor:
    """Refuses to send some messages."""

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Message]:
        def look(message: Message) -> Message:
            if "secret" in str(message.data):
                raise SubscriptionRejected("not with me")
            return message

        return look


@virtual
async def test_an_operation_that_a_plugin_does_not_let_out_ends_with_its_error() -> None:
    server = Server()
    async with server.dialer:
        client, graphql = make(server, Censor())
        async with client:
            with pytest.raises(SubscriptionRejected, match="not with me"):
                await graphql.execute("{ secret }")
            with pytest.raises(SubscriptionRejected, match="not with me"):
                await anext(graphql.subscribe("subscription { secret }"))
            assert graphql.subscriptions == ()


@virtual
async def test_two_clients_do_not_mix() -> None:
    one, other = Server(), Server()
    async with one.dialer, other.dialer:
        (first, ours), (second, theirs) = make(one), make(other)
        async with first, second:
            mine, yours = ours.subscribe(COUNT), theirs.subscribe(COUNT)
            one.next(1, await one.id(1), {"count": 1})
            other.next(1, await other.id(1), {"count": 2})
            assert (await anext(mine), await anext(yours)) == ({"count": 1}, {"count": 2})
            one.peers[1].drop()
            await one.id(2)
            assert other.dialer.count == 1
