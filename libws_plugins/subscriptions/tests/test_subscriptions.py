"""What is subscribed when: on each connection anew, in batches, confirmed or refused one by one."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ClientClosed,
    Gap,
    Message,
    OptionError,
    Reconnected,
    Session,
    State,
    SubscriptionRejected,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, virtual
from libws_subscriptions import Subscriptions

BINANCE: dict[str, Any] = {
    "encode": {"method": "SUBSCRIBE", "params": "$topics", "id": "$id"},
    "encode_remove": {"method": "UNSUBSCRIBE", "params": "$topics", "id": "$id"},
    "confirm": {"result": None, "id": "$id"},
    "reject": {"error": "$error", "id": "$id"},
}
"""The exchange's stream API: a request has an id, and the answer repeats it."""
KRAKEN: dict[str, Any] = {
    "encode": {"method": "subscribe", "params": {"channel": "ticker", "symbol": "$topics"}, "req_id": "$id"},
    "confirm": {"method": "subscribe", "success": True, "result": {"symbol": "$topic"}},
    "reject": {"method": "subscribe", "success": False, "symbol": "$topic", "error": "$error"},
}
"""Kraken's version 2: an answer for each symbol."""


class Binance:
    """The exchange's side: knows the streams of each connection."""

    def __init__(self, *, answers: bool = True) -> None:
        self.streams: dict[int, list[str]] = {}
        self.requests: list[tuple[int, str, list[str]]] = []
        self.bad: set[str] = set()
        self.answers = answers

    def __call__(self, peer: MemoryPeer) -> None:
        self.streams[peer.number] = []
        peer.on_message = lambda message: self.take(peer, message)

    def take(self, peer: MemoryPeer, message: Message) -> None:
        request = message.json
        method, params = request["method"], request["params"]
        self.requests.append((peer.number, method, params))
        if bad := self.bad.intersection(params):
            peer.send({"error": f"no such stream {min(bad)}", "id": request["id"]})
            return
        streams = self.streams[peer.number]
        if method == "SUBSCRIBE":
            streams += params
        else:
            self.streams[peer.number] = [stream for stream in streams if stream not in params]
        if self.answers:
            peer.send({"result": None, "id": request["id"]})


class Patience:
    @hookimpl
    def reconnect(self) -> float:
        return 1.0


class Mover:
    def __init__(self) -> None:
        self.sessions: list[Session] = []

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.sessions.append(session)


class Limit:
    """So many messages a second, none more in any window of one."""

    def __init__(self, messages: int) -> None:
        self.messages = messages

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Message | float]:
        times: deque[float] = deque(maxlen=self.messages)

        def limit(message: Message) -> Message | float:
            if len(times) == self.messages and (wait := times[0] + 1 - now()) > 0:
                return wait
            times.append(now())
            return message

        return limit


def make(dialer: object, *plugins: object, **options: Any) -> tuple[Client, Subscriptions]:
    client = Client(
        "ws://test/", plugins=["-standard", Subscriptions(**{**BINANCE, **options}), *plugins, Patience(), dialer]
    )
    return client, client.plugin(Subscriptions)


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


# How many


@virtual
async def test_more_topics_than_the_limit_are_refused_at_once_and_none_of_them_is_noted() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server), topics=["a", "b"], limit=3)
    async with client:
        with pytest.raises(SubscriptionRejected, match="4 topics are wanted, and one connection may have 3"):
            subscriptions.add("b", "c", "d")
        assert subscriptions.wanted == ("a", "b")
        assert await subscriptions.add("a", "c") is True
        subscriptions.remove("a")
        assert await subscriptions.add("d") is True  # what is taken back has made room
        assert server.streams[1] == ["b", "c", "d"]


def test_more_topics_to_begin_with_than_the_limit_are_an_option_error() -> None:
    with pytest.raises(ValueError, match="option 'topics': 2 of them, and one connection may have 1"):
        Subscriptions(**BINANCE, topics=["a", "b", "a"], limit=1)


# A batch that is refused as a whole


@virtual
async def test_of_a_batch_that_is_refused_only_those_are_given_up_that_are_refused_alone() -> None:
    server = Binance()
    server.bad = {"t3", "t7"}
    topics = [f"t{number}" for number in range(10)]
    client, subscriptions = make(MemoryDialer(server), topics=topics, batch=10, split=True)
    async with client:
        good = [topic for topic in topics if topic not in server.bad]
        assert {*subscriptions.active} == {*good}  # all of them before READY
        assert sorted(server.streams[1]) == good
        assert {*subscriptions.rejected} == server.bad
        assert len(server.requests) <= 1 + 2 * 2 * 4


@virtual
async def test_a_refused_batch_is_split_on_a_live_connection_too() -> None:
    server = Binance()
    server.bad = {"bad"}
    client, subscriptions = make(dialer := MemoryDialer(server, latency=0.1), Limit(5), topics=["a"], split=True)
    async with client:
        added = [subscriptions.add(topic) for topic in ("b", "c", "bad", "d", "e")]
        assert [await added[place] for place in (0, 1, 3, 4)] == [True] * 4
        with pytest.raises(SubscriptionRejected, match="the server refused 'bad': no such stream bad"):
            await added[2]
        assert server.streams[1][0] == "a"
        assert sorted(server.streams[1]) == ["a", "b", "c", "d", "e"]
        await happened(client, Reconnected, dialer.peers[0].drop)
        assert server.requests[-1] == (2, "SUBSCRIBE", ["a", "b", "c", "d", "e"])  # together again


@virtual
async def test_what_is_removed_while_its_batch_is_split_is_not_asked_for_again() -> None:
    server = Binance()
    server.bad = {"bad"}
    client, subscriptions = make(MemoryDialer(server, latency=0.1), split=True)
    async with client:
        adding = subscriptions.add("b", "bad", "c", "d")
        await asyncio.sleep(0.15)
        subscriptions.remove("bad", "c")
        assert await adding is False
        await asyncio.sleep(1)
        assert subscriptions.active == ("b", "d")
        assert server.streams[1] == ["b", "d"]
        assert subscriptions.rejected == {}


# On each connection


@virtual
async def test_topics_are_subscribed_in_batches_before_the_client_is_ready() -> None:
    server = Binance()
    client, subscriptions = make(dialer := MemoryDialer(server, latency=0.1), topics=["a", "b"], batch=3)
    assert await subscriptions.add("c", "d", "a") is False  # noted only
    assert subscriptions.wanted == ("a", "b", "c", "d")
    assert [*subscriptions.active] == []
    async with client:
        assert server.requests == [(1, "SUBSCRIBE", ["a", "b", "c"]), (1, "SUBSCRIBE", ["d"])]
        assert subscriptions.active == ("a", "b", "c", "d")
        assert client.stats.received == 0  # answers are not the user's
    assert dialer.count == 1


@virtual
async def test_they_are_subscribed_anew_on_each_connection_with_what_has_changed_meanwhile() -> None:
    server = Binance()
    client, subscriptions = make(dialer := MemoryDialer(server), topics=["a", "b", "c"])
    async with client:
        await subscriptions.add("d")
        await subscriptions.remove("b")

        def lose() -> None:
            dialer.peers[0].drop()

        await happened(client, Reconnected, lose)
        assert server.streams[2] == ["a", "c", "d"]
        assert [request for request in server.requests if request[0] == 2] == [(2, "SUBSCRIBE", ["a", "c", "d"])]


@virtual
async def test_what_is_added_and_removed_while_not_ready_is_only_noted() -> None:
    server = Binance()
    client, subscriptions = make(dialer := MemoryDialer(server), topics=["a"])
    async with client:
        dialer.peers[0].drop()
        await asyncio.sleep(0.5)
        assert client.state is State.WAITING
        assert await subscriptions.add("b") is False
        assert await subscriptions.remove("a") is False
        assert [*subscriptions.active] == []
        await asyncio.sleep(1)
        assert server.streams[2] == ["b"]
        assert subscriptions.active == ("b",)


@virtual
async def test_subscribing_comes_behind_the_log_in() -> None:
    server = Binance()
    client = Client(
        "ws://test/",
        plugins=["-standard", Subscriptions(**BINANCE, topics=["a"]), "auth", MemoryDialer(server)],
        options={"auth": {"message": {"method": "LOGIN", "params": [], "id": 0}}},
    )
    assert client.explain()["hooks"]["establish"] == ["auth", "subscriptions"]
    async with client:
        assert [method for _, method, _ in server.requests] == ["LOGIN", "SUBSCRIBE"]


@virtual
async def test_nothing_to_subscribe_sends_nothing() -> None:
    server = Binance()
    client, _ = make(MemoryDialer(server))
    async with client:
        assert server.requests == []


@virtual
async def test_a_thousand_topics_go_through_a_rate_limit_of_5_messages_a_second() -> None:
    server = Binance()
    topics = [f"s{number}@trade" for number in range(1000)]
    times: list[float] = []
    take = server.take
    server.take = lambda peer, message: (times.append(now()), take(peer, message))  # type: ignore[assignment, func-returns-value]
    client, subscriptions = make(MemoryDialer(server), Limit(5), topics=topics, batch=10)
    begin = now()
    async with client:  # open_timeout is 10, and this takes 19
        assert server.streams[1] == topics
        assert len(server.requests) == 100
        assert now() - begin == pytest.approx(19)
        assert subscriptions.active == tuple(topics)
        assert max(sum(1 for each in times if t <= each < t + 1) for t in times) == 5


@virtual
async def test_messages_that_come_before_the_confirmation_stay_in_order() -> None:
    def talk(peer: MemoryPeer) -> None:
        def take(message: Message) -> None:
            peer.send("1")
            peer.send("2")
            peer.send({"result": None, "id": message.json["id"]})
            peer.send("3")

        peer.on_message = take

    client, subscriptions = make(MemoryDialer(talk), topics=["a"])
    async with client:
        assert [(await client.recv(1)).data for _ in range(3)] == ["1", "2", "3"]
        await subscriptions.add("b")
        assert [(await client.recv(1)).data for _ in range(3)] == ["1", "2", "3"]


@virtual
async def test_a_flood_before_the_confirmation_does_not_stop_the_client_from_becoming_ready() -> None:
    """The answer stands behind more than the inbox holds, so it can only be seen when the user reads."""

    def talk(peer: MemoryPeer) -> None:
        def take(message: Message) -> None:
            for number in range(50):
                peer.send(str(number))
            peer.send({"result": None, "id": message.json["id"]})

        peer.on_message = take

    plugin = Subscriptions(**BINANCE, topics=["a"])
    client = Client("ws://test/", plugins=["-standard", plugin, Patience(), MemoryDialer(talk)], inbox_messages=10)
    async with client:
        assert client.plugin(Subscriptions).active == ()
        assert [(await client.recv(1)).data for _ in range(50)] == [*map(str, range(50))]
        await asyncio.sleep(0.1)
        assert client.plugin(Subscriptions).active == ("a",)
        await asyncio.sleep(60)
        assert client.state is State.READY


@virtual
async def test_confirmations_may_take_longer_than_establish_usually_may() -> None:
    async def slow(peer: MemoryPeer) -> None:
        request = (await peer.recv()).json
        await asyncio.sleep(30)
        await peer.send({"result": None, "id": request["id"]})
        await peer.wait_gone()

    client, subscriptions = make(MemoryDialer(slow), topics=["a"], confirm_timeout=40)
    begin = now()
    async with asyncio.timeout(100), client:
        assert subscriptions.active == ("a",)
        assert now() - begin == 30


@virtual
async def test_an_answer_that_comes_twice_is_the_users_the_second_time() -> None:
    client, subscriptions = make(dialer := MemoryDialer())
    async with client:
        peer = await dialer.accept()
        adding = subscriptions.add("a")
        number = (await peer.recv()).json["id"]
        peer.send({"result": None, "id": number})
        assert await adding is True
        peer.send({"result": None, "id": number})
        assert (await client.recv(1)).json == {"result": None, "id": number}


# Added and removed while live


@virtual
async def test_add_ends_when_the_server_has_confirmed() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server, latency=0.5))
    async with client:
        begin = now()
        assert await subscriptions.add("a", "b") is True
        assert now() - begin == 1
        assert subscriptions.active == ("a", "b")
        assert await subscriptions.add("a") is True  # it is already
        assert now() - begin == 1
        assert server.requests == [(1, "SUBSCRIBE", ["a", "b"])]


@virtual
async def test_add_and_remove_act_when_they_are_not_awaited_too() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server))
    async with client:
        subscriptions.add("a")
        subscriptions.add("b", "c")
        await asyncio.sleep(1)
        assert server.requests == [(1, "SUBSCRIBE", ["a", "b", "c"])]  # what comes together goes together
        subscriptions.remove("b")
        subscriptions.add("d")
        await asyncio.sleep(1)
        assert server.streams[1] == ["a", "c", "d"]
        subscriptions.add("e")
        subscriptions.remove("e")
        await asyncio.sleep(1)
        assert len(server.requests) == 3


@virtual
async def test_remove_ends_when_the_server_was_told_and_its_answer_is_taken_out() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server, latency=0.5), topics=["a", "b"])
    async with client:
        assert await subscriptions.remove("a", "unknown") is True
        assert subscriptions.active == ("b",)
        await asyncio.sleep(2)
        assert server.streams[1] == ["b"]
        assert client.stats.received == 0


@virtual
async def test_remove_can_be_confirmed_too() -> None:
    server = Binance()
    client, subscriptions = make(
        MemoryDialer(server, latency=0.5), topics=["a"], confirm_remove={"result": None, "id": "$id"}
    )
    async with client:
        begin = now()
        assert await subscriptions.remove("a") is True
        assert now() - begin == 1
        server.answers = False
        subscriptions.add("b")
        await asyncio.sleep(0)
        with pytest.raises(SubscriptionRejected, match=r"not confirmed .* within 10 s: 'b'"):
            await subscriptions.add("b")


@virtual
async def test_without_encode_remove_the_next_connection_does_without() -> None:
    server = Binance()
    client, subscriptions = make(dialer := MemoryDialer(server), topics=["a", "b"], encode_remove=None)
    async with client:
        assert await subscriptions.remove("a") is True
        assert server.streams[1] == ["a", "b"]
        await happened(client, Reconnected, lambda: dialer.peers[0].drop())
        assert server.streams[2] == ["b"]


@virtual
async def test_a_connection_that_is_lost_before_the_confirmation_leaves_topics_noted() -> None:
    server = Binance(answers=False)
    client, subscriptions = make(dialer := MemoryDialer(server))
    async with client:
        adding = subscriptions.add("a")
        await asyncio.sleep(1)
        server.answers = True
        dialer.peers[0].drop()
        assert await adding is False
        await asyncio.sleep(2)
        assert subscriptions.active == ("a",)


@virtual
async def test_whoever_waits_learns_that_the_client_was_closed() -> None:
    server = Binance(answers=False)
    client, subscriptions = make(MemoryDialer(server))
    await client.open()
    adding = subscriptions.add("a")
    await asyncio.sleep(1)
    await client.close()
    with pytest.raises(ClientClosed):
        await adding
    with pytest.raises(ClientClosed):
        subscriptions.add("b")
    with pytest.raises(ClientClosed):
        subscriptions.remove("a")


@virtual
async def test_whoever_waits_learns_that_the_client_has_failed() -> None:
    server = Binance(answers=False)
    client, subscriptions = make(dialer := MemoryDialer(server))
    await client.open()
    adding = subscriptions.add("a")
    await asyncio.sleep(1)
    dialer.peers[0].close(1002)
    with pytest.raises(ClientClosed):
        await adding


@virtual
async def test_who_gives_up_waiting_disturbs_nobody() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server, latency=1))
    async with client:
        first, second = subscriptions.add("a"), subscriptions.add("a")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await first
        assert await second is True


@virtual
async def test_what_is_added_during_a_move_is_subscribed_on_both() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server, latency=0.1), mover := Mover(), topics=["a"])
    async with client:
        moving = mover.sessions[0].reopen("test", overlap=1, settle=5)
        await asyncio.sleep(0.25)  # the new one is open, and subscribes
        subscriptions.add("b")
        await asyncio.sleep(2)
        assert subscriptions.active == ("a", "b")
        assert server.streams == {1: ["a", "b"], 2: ["a", "b"]}
        assert await subscriptions.add("c") is True
        assert await moving is True
        assert await subscriptions.remove("a") is True
        await asyncio.sleep(1)
        assert server.streams[2] == ["b", "c"]
        assert [request[0] for request in server.requests if request[1] == "UNSUBSCRIBE"] == [2]


# Refused


@virtual
async def test_a_refused_topic_is_raised_and_not_asked_for_again() -> None:
    server = Binance()
    server.bad = {"bad"}
    client, subscriptions = make(dialer := MemoryDialer(server), topics=["a"])
    async with client:
        with pytest.raises(SubscriptionRejected, match="the server refused 'bad': no such stream bad"):
            await subscriptions.add("bad")
        assert await subscriptions.add("b") is True
        assert subscriptions.wanted == subscriptions.active == ("a", "b")
        assert [*subscriptions.rejected] == ["bad"]
        await happened(client, Reconnected, lambda: dialer.peers[0].drop())
        assert server.streams[2] == ["a", "b"]
        server.bad = set()
        assert await subscriptions.add("bad") is True
        assert subscriptions.rejected == {}


@virtual
async def test_topics_are_refused_one_by_one_and_the_connection_goes_on() -> None:
    def talk(peer: MemoryPeer) -> None:
        def take(message: Message) -> None:
            for symbol in reversed(message.json["params"]["symbol"]):
                answer = {"method": "subscribe", "req_id": message.json["req_id"]}
                if symbol == "BAD":
                    peer.send({**answer, "success": False, "symbol": symbol, "error": "Currency pair not supported"})
                else:
                    peer.send({**answer, "success": True, "result": {"channel": "ticker", "symbol": symbol}})

        peer.on_message = take

    gaps: list[Gap] = []
    plugin = Subscriptions(**KRAKEN, topics=["A", "BAD", "B"])
    client = Client("ws://test/", plugins=["-standard", plugin, Patience(), MemoryDialer(talk, latency=0.1)])
    client.on(Gap, gaps.append)
    async with client:
        subscriptions = client.plugin(Subscriptions)
        assert subscriptions.active == subscriptions.wanted == ("A", "B")
        assert str(subscriptions.rejected["BAD"]) == "the server refused 'BAD': Currency pair not supported"
        assert [(gap.topic, gap.why, gap.generation) for gap in gaps] == [("BAD", "the subscription was refused", 1)]
        with pytest.raises(SubscriptionRejected):
            await subscriptions.add("C", "BAD", "D")
        assert subscriptions.active == ("A", "B", "C", "D")
        assert client.stats.received == 0


@virtual
async def test_no_confirmation_in_time_is_raised_and_what_may_have_come_of_it_is_ended() -> None:
    server = Binance()
    client, subscriptions = make(MemoryDialer(server), topics=["a"], confirm_timeout=3)
    async with client:
        server.answers = False
        begin = now()
        with pytest.raises(SubscriptionRejected, match=r"within 3 s: 'b'"):
            await subscriptions.add("b")
        assert now() - begin == 3
        await asyncio.sleep(1)
        assert server.streams[1] == ["a"]
        assert subscriptions.wanted == ("a",)
        assert [request[1:] for request in server.requests[1:]] == [("SUBSCRIBE", ["b"]), ("UNSUBSCRIBE", ["b"])]


@virtual
async def test_a_server_that_confirms_nothing_fails_the_attempt() -> None:
    server = Binance(answers=False)
    client, subscriptions = make(MemoryDialer(server), topics=["a", "b"], confirm_timeout=4)
    failures: list[AttemptFailed] = []
    client.on(AttemptFailed, failures.append)
    begin = now()
    opening = asyncio.ensure_future(client.open())
    await asyncio.sleep(4.5)
    server.answers = True
    await opening
    assert now() - begin == 5
    (failure,) = failures
    assert isinstance(failure.error, SubscriptionRejected)
    assert "any of 2 subscriptions" in str(failure.error)
    assert failure.phase == "establish"
    assert subscriptions.active == ("a", "b")
    await client.close()


@virtual
async def test_one_that_is_not_confirmed_on_a_new_connection_is_told_and_stays_wanted() -> None:
    late: list[Callable[[], object]] = []

    def talk(peer: MemoryPeer) -> None:
        def take(message: Message) -> None:
            (topic,) = message.json["params"]
            answer = {"result": None, "id": message.json["id"]}
            if topic == "slow" and peer.number == 2:
                late.append(lambda: peer.send(answer))
            else:
                peer.send(answer)

        peer.on_message = take

    client, subscriptions = make(dialer := MemoryDialer(talk), topics=["a", "slow", "b"], batch=1, confirm_timeout=5)
    gaps: list[Gap] = []
    client.on(Gap, gaps.append)
    async with client:
        assert [*subscriptions.active] == ["a", "slow", "b"]
        begin = now()
        await happened(client, Reconnected, lambda: dialer.peers[0].drop())
        assert now() - begin == 6  # a second until it is dialed
        assert [*subscriptions.active] == ["a", "b"]
        assert subscriptions.wanted == ("a", "slow", "b")
        assert [gap.topic for gap in gaps] == ["slow", None]
        late[0]()
        await asyncio.sleep(0.1)
        assert subscriptions.active == ("a", "slow", "b")


@virtual
async def test_a_subscription_that_the_server_ends_later_is_told() -> None:
    """graphql-transport-ws: nothing confirms, an error names the id."""
    plugin = Subscriptions(
        encode=lambda session, topics: tuple(
            {"id": topic, "type": "subscribe", "payload": {"query": f"subscription {{ {topic} }}"}} for topic in topics
        ),
        encode_remove={"id": "$topic", "type": "complete"},
        reject={"type": "error", "id": "$id", "payload": "$error"},
        topics=["greetings", "typo"],
    )
    client = Client("ws://test/", plugins=["-standard", plugin, Patience(), dialer := MemoryDialer()])
    gaps: list[Gap] = []
    client.on(Gap, gaps.append)
    async with client:
        peer = await dialer.accept()
        assert [(await peer.recv()).json["id"] for _ in range(2)] == ["greetings", "typo"]
        subscriptions = client.plugin(Subscriptions)
        assert subscriptions.active == ("greetings", "typo")
        await asyncio.sleep(5)
        peer.send({"type": "error", "id": "typo", "payload": [{"message": "no field"}]})
        peer.send({"type": "error", "id": "another", "payload": []})
        assert (await client.recv(1)).json["id"] == "another"  # what is not ours is the user's
        assert subscriptions.active == ("greetings",)
        assert [gap.topic for gap in gaps] == ["typo"]
        assert "no field" in str(subscriptions.rejected["typo"])
        assert await subscriptions.remove("greetings") is True
        assert (await peer.recv()).json == {"id": "greetings", "type": "complete"}


# How it is said


def numbers() -> Iterator[str]:
    return map(str, itertools.count(1))


@virtual
async def test_arrays_with_numbers_are_said_by_callables() -> None:
    """Phoenix: `[join_ref, ref, topic, event, payload]`."""
    references = numbers()

    def join(session: Session, topics: tuple[str, ...]) -> tuple[list[Any], ...]:
        return tuple([number := next(references), number, topic, "phx_join", {}] for topic in topics)

    def joined(message: Message) -> dict[str, Any] | None:
        _, reference, _, event, payload = message.json
        if event != "phx_reply":
            return None
        return {"id": reference, "error": None if payload["status"] == "ok" else payload["response"]["reason"]}

    def talk(peer: MemoryPeer) -> None:
        def take(message: Message) -> None:
            join_ref, ref, topic, _, _ = message.json
            ok = topic != "room:secret"
            payload = {"status": "ok" if ok else "error", "response": {} if ok else {"reason": "unauthorized"}}
            peer.send([join_ref, ref, topic, "phx_reply", payload])

        peer.on_message = take

    plugin = Subscriptions(encode=join, confirm=joined, id="1", topics=["room:1", "room:secret", "room:2"])
    client = Client("ws://test/", plugins=["-standard", plugin, Patience(), MemoryDialer(talk)])
    async with client:
        subscriptions = client.plugin(Subscriptions)
        assert subscriptions.active == ("room:1", "room:2")
        assert str(subscriptions.rejected["room:secret"]) == "the server refused 'room:secret': unauthorized"
        assert await subscriptions.add("room:3") is True


@virtual
async def test_encode_may_be_async_and_gets_the_session() -> None:
    """Coinbase wants a fresh token in each subscribe."""

    async def encode(session: Session, topics: tuple[str, ...]) -> Message:
        await asyncio.sleep(0.2)
        return Message.text(f"{session.request.attempt.number}:{','.join(topics)}")

    client, subscriptions = make(
        dialer := MemoryDialer(), encode=encode, topics=["a", "b"], batch=1, confirm=None, reject=None
    )
    async with client:
        peer = await dialer.accept()
        assert await subscriptions.add("c") is True
        assert [(await peer.recv()).data for _ in range(3)] == ["1:a", "1:b", "1:c"]


@pytest.mark.parametrize(
    ("made", "wire"),
    [
        ("text", ["text"]),
        (b"binary", [b"binary"]),
        ({"a": 1}, ['{"a":1}']),
        (["REQ", "sub", {}], ['["REQ","sub",{}]']),
        (("one", {"b": 2}, [3]), ["one", '{"b":2}', "[3]"]),
        ([Message.text("one"), Message.text("two")], ["one", "two"]),
        (None, []),
    ],
)
def test_a_callable_gives_a_message_or_several(made: Any, wire: list[Any]) -> None:
    @virtual
    async def body() -> None:
        client, subscriptions = make(
            dialer := MemoryDialer(), encode=lambda session, topics: made, topics=["x"], confirm=None, reject=None
        )
        async with client:
            peer = await dialer.accept()
            assert [(await peer.recv()).data for _ in wire] == wire
            assert subscriptions.active == ("x",)

    body()


@virtual
async def test_one_topic_of_several_messages_is_confirmed_when_all_are() -> None:
    def encode(session: Session, topics: tuple[str, ...]) -> tuple[dict[str, Any], ...]:
        return ({"id": 1, "of": topics}, {"id": 2, "of": topics}, {"id": 3, "of": topics})

    client, subscriptions = make(dialer := MemoryDialer(), encode=encode, confirm={"ok": "$id"}, reject=None)
    async with client:
        peer = await dialer.accept()
        adding = asyncio.ensure_future(_awaited(subscriptions.add("a", "b")))
        for number in (3, 1):
            peer.send({"ok": number})
        await asyncio.sleep(1)
        assert not adding.done()
        peer.send({"ok": 2})
        assert await adding is True


async def _awaited(change: Any) -> Any:
    return await change


@virtual
async def test_without_names_answers_come_in_the_order_of_the_batches() -> None:
    client, subscriptions = make(
        dialer := MemoryDialer(), encode={"sub": "$topic"}, encode_remove=None, confirm="OK", reject="NO", batch=1
    )
    async with client:
        peer = await dialer.accept()
        changes = [asyncio.ensure_future(_awaited(subscriptions.add(topic))) for topic in "abc"]
        await asyncio.sleep(1)
        for answer in ("OK\n", "NO", "OK", "OK"):
            peer.send(answer)
        results = await asyncio.gather(*changes, return_exceptions=True)
        assert [results[0], str(results[1]), results[2]] == [True, "the server refused 'b'", True]
        assert (await client.recv(1)).data == "OK"  # nobody waited for that


@virtual
async def test_topics_may_be_tuples() -> None:
    client, subscriptions = make(
        dialer := MemoryDialer(),
        encode={"subscribe": "$topics"},
        encode_remove=None,
        confirm={"subscribed": "$topics"},
        reject=None,
        topics=[["ticker", "A"], ["book", "B"]],
    )
    opening = asyncio.ensure_future(client.open())
    peer = await dialer.accept()
    assert (await peer.recv()).json == {"subscribe": [["ticker", "A"], ["book", "B"]]}
    peer.send({"subscribed": [["book", "B"], ["ticker", "A"]]})
    await opening
    assert subscriptions.active == (("ticker", "A"), ("book", "B"))
    await client.close()


@virtual
async def test_what_encode_raises_is_the_callers_and_no_end_of_the_connection() -> None:
    def encode(session: Session, topics: tuple[str, ...]) -> str:
        if "odd" in topics:
            raise KeyError("odd")
        return ",".join(topics)

    client, subscriptions = make(dialer := MemoryDialer(), encode=encode, confirm=None, reject=None)
    async with client:
        peer = await dialer.accept()
        with pytest.raises(KeyError):
            await subscriptions.add("odd")
        assert await subscriptions.add("even") is True
        assert (await peer.recv()).data == "even"
        assert subscriptions.wanted == ("even",)


# What is refused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "option 'encode' must be given"),
        ({"encode": {"op": "sub"}}, "option 'encode': its template has neither $topic nor $topics"),
        ({"encode": "$topic $topics"}, "option 'encode': $topics stands for several"),
        ({"encode": "$topic $symbol"}, "option 'encode': $symbol is none of $topic, $topics, $id, $position"),
        ({"encode": "$topic", "encode_remove": "bye"}, "option 'encode_remove': its template has neither"),
        ({"encode": "$topic", "confirm_remove": "ok"}, "set 'encode_remove' too"),
        ({"encode": "$topic", "backfill": len}, "option 'backfill' is for streams whose positions are known"),
        ({"encode": "$topic", "position": "a..b"}, "option 'position': 'a..b' is not a path"),
        ({"encode": "$topic", "topics": [""]}, "option 'topics': a topic cannot be empty"),
        ({"encode": "$topic", "topics": [{}]}, "option 'topics': a topic must be hashable"),
        ({"encode": "$topic", "batch": 0}, "option 'batch': expected int >= 1"),
        ({"encode": "$topic", "confirm_timeout": 0}, "option 'confirm_timeout': expected float > 0"),
    ],
)
def test_bad_options_are_told_when_the_client_is_made(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as caught:
        Client("ws://test/", plugins=["subscriptions"], options={"subscriptions": options})
    assert text in str(caught.value)


def test_each_client_has_its_own() -> None:
    plugin = Subscriptions(**BINANCE, topics=["a"])
    first, second = (
        Client("ws://test/", plugins=["-standard", plugin, MemoryDialer()]).plugin(Subscriptions) for _ in range(2)
    )
    first.add("b")
    assert (first.wanted, second.wanted) == (("a", "b"), ("a",))
