"""Which answer ends which question, and how a question ends that gets none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    Client,
    ClientClosed,
    ConnectionClosed,
    DeliveryUnknown,
    Message,
    MessageExpired,
    NotReady,
    OptionError,
    Reconnected,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, virtual
from libws_outbox import Outbox
from libws_requests import RequestFailed, RequestLost, Requests, RequestTimeout


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


class Ear:
    """What a server hears, and what it does about it."""

    def __init__(self, answer: Callable[[Message], object] | None = None) -> None:
        self.heard: list[Message] = []
        self._answer = answer

    def __call__(self, message: Message) -> None:
        self.heard.append(message)
        if self._answer is not None:
            self._answer(message)


def quiet(peer: MemoryPeer) -> None:
    """A server that reads, and says only what the test says."""
    peer.on_message = Ear()


def echo(peer: MemoryPeer) -> None:
    """A server that answers each question with itself."""
    peer.on_message = Ear(lambda said: peer.send({"id": said.json["id"], "result": said.json.get("ask")}))


def heard(peer: MemoryPeer) -> list[Message]:
    assert isinstance(peer.on_message, Ear)
    return peer.on_message.heard


async def asked(dialer: MemoryDialer, number: int, count: int = 1) -> MemoryPeer:
    """The connection of that number, when it was asked so many questions."""
    found: list[MemoryPeer] = []

    def look() -> bool:
        found[:] = [peer for peer in dialer.peers if peer.number == number and peer.on_message is not None]
        return bool(found) and len(heard(found[0])) >= count

    await until(look)
    return found[0]


def make(dialer: MemoryDialer, *plugins: object, **options: Any) -> tuple[Client, Requests]:
    client = Client("ws://test/", plugins=["-standard", Requests(**options), *plugins, Patience(), dialer])
    return client, client.plugin(Requests)


def asking(requests: Requests, *messages: Any, **more: Any) -> list[asyncio.Task[Message]]:
    return [asyncio.create_task(requests.ask(message, **more)) for message in messages]


async def until(happened: Callable[[], object]) -> None:
    for _ in range(10_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def event(client: Client, kind: type[Any]) -> Any:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.on(kind, lambda each: None if future.done() else future.set_result(each))
    return await future


def sent(peer: MemoryPeer) -> list[Any]:
    return [message.json for message in heard(peer)]


# Ids


@virtual
async def test_answers_find_their_questions_in_any_order() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer)
        async with client:
            tasks = asking(requests, {"ask": "a"}, {"ask": "b"}, {"ask": "c"})
            peer = dialer.peers[0]
            await until(lambda: len(heard(peer)) == 3)
            assert sent(peer) == [{"ask": "a", "id": 1}, {"ask": "b", "id": 2}, {"ask": "c", "id": 3}]
            assert requests.in_flight == (1, 2, 3)
            for number in (3, 1, 2):
                peer.send({"id": number, "result": number * 10})
            assert [answer.json["result"] for answer in await asyncio.gather(*tasks)] == [10, 20, 30]
            assert not requests.in_flight
            assert client.stats.received == 0


@virtual
async def test_a_question_may_bring_its_own_id() -> None:
    async with MemoryDialer(echo) as dialer:
        client, requests = make(dialer)
        async with client:
            assert (await requests.ask({"id": "mine", "ask": 1})).json == {"id": "mine", "result": 1}
            assert (await requests.ask('{"id": 0, "ask": 2}')).json == {"id": 0, "result": 2}
            assert (await requests.ask(Message.text('{"ask": 3}'))).json == {"id": 1, "result": 3}
            (binary,) = asking(requests, b'{"ask": 4}')
            assert (await binary).json == {"id": 2, "result": 4}
            assert isinstance(heard(dialer.peers[0])[-1].data, bytes)


@virtual
async def test_an_id_in_use_is_refused_and_numbers_go_round_it() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer)
        async with client:
            (first,) = asking(requests, {"id": 1})
            await until(lambda: requests.in_flight)
            with pytest.raises(ValueError, match="question 1 waits for its answer already"):
                await requests.ask({"id": 1})
            (second,) = asking(requests, {"ask": "b"})
            await until(lambda: requests.in_flight == (1, 2))
            dialer.peers[0].send([{"id": 2}, {"id": 1}])
            assert [(await first).json, (await second).json] == [{"id": 1}, {"id": 2}]


@virtual
async def test_ids_are_made_as_the_options_say_and_put_in_their_place() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, id="1", answer_id="1", make_id="call-$number")
        async with client:
            (task,) = asking(requests, [2, None, "Boot", {}])
            await until(lambda: requests.in_flight)
            assert sent(dialer.peers[0]) == [[2, "call-1", "Boot", {}]]
            dialer.peers[0].send([3, "call-1", {}])
            assert (await task).json == [3, "call-1", {}]

    async with MemoryDialer(quiet) as dialer:
        client, requests = make(
            dialer, id="head.id", answer_id=lambda message: message.json.get("re"), make_id=lambda: "x"
        )
        async with client:
            (task,) = asking(requests, {"head": {"to": "you"}})
            await until(lambda: requests.in_flight)
            assert sent(dialer.peers[0]) == [{"head": {"to": "you", "id": "x"}}]
            dialer.peers[0].send({"re": "x"})
            assert (await task).json == {"re": "x"}


@pytest.mark.parametrize(
    ("options", "question", "error"),
    [
        ({}, "no JSON", ValueError),
        ({}, [1, 2], ValueError),
        ({}, {"id": [1]}, ValueError),
        ({"id": "1"}, [2], ValueError),
        ({"id": "a.b"}, {"a": 7}, ValueError),
        ({"id": lambda message: None}, {}, ValueError),
        ({"make_id": lambda: None}, {}, ValueError),
        ({}, 7, TypeError),
        ({}, Message.ping(), TypeError),
    ],
)
def test_what_cannot_be_asked_is_refused_before_it_is_sent(options: Any, question: Any, error: type[Exception]) -> None:
    @virtual
    async def main() -> None:
        async with MemoryDialer(quiet) as dialer:
            client, requests = make(dialer, **options)
            async with client:
                with pytest.raises(error):
                    await requests.ask(question)
                assert requests.in_flight == ()
                assert heard(dialer.peers[0]) == []

    main()


@virtual
async def test_ids_are_compared_as_json() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer)
        async with client:
            (task,) = asking(requests, {"id": 1})
            await until(lambda: requests.in_flight)
            for other in (True, "1", None, [1], {"id": 1}):
                dialer.peers[0].send({"id": other})
                assert (await client.recv(timeout=1)).json == {"id": other}
            assert not task.done()
            dialer.peers[0].send({"id": 1})
            await task


# Batches


@virtual
async def test_answers_in_an_array_find_their_questions_and_the_rest_is_the_users() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer)
        async with client:
            tasks = asking(requests, {"ask": "a"}, {"ask": "b"})
            await until(lambda: len(requests.in_flight) == 2)
            peer = dialer.peers[0]
            peer.send([{"id": 9}, {"method": "news"}, 7])
            assert (await client.recv(timeout=1)).json == [{"id": 9}, {"method": "news"}, 7]
            peer.send(' [{"id": 2, "error": "no"}, {"method": "news"}, {"id": 1}, 7]')
            assert (await client.recv(timeout=1)).json == [{"method": "news"}, 7]
            assert (await tasks[0]).json == {"id": 1}
            with pytest.raises(RequestFailed, match="question 2 with an error: no"):
                await tasks[1]


# Errors


@pytest.mark.parametrize(
    ("option", "answer", "data"),
    [
        ("error", {"id": 1, "error": {"code": -32601, "message": "none"}}, {"code": -32601, "message": "none"}),
        ("error.code", {"id": 1, "error": {"code": 7}}, 7),
        ({"ok": False, "why": "$error"}, {"id": 1, "ok": False, "why": "late"}, "late"),
        ({"ok": False}, {"id": 1, "ok": False}, {"id": 1, "ok": False}),
        (lambda message: message.json["status"] != 200, {"id": 1, "status": 500}, True),
    ],
)  # fmt: skip
def test_an_answer_that_is_an_error_is_raised_with_what_the_server_said(option: Any, answer: Any, data: Any) -> None:
    @virtual
    async def main() -> None:
        async with MemoryDialer(quiet) as dialer:
            client, requests = make(dialer, error=option)
            async with client:
                (task,) = asking(requests, {"ask": "a"})
                await until(lambda: requests.in_flight)
                dialer.peers[0].send(answer)
                with pytest.raises(RequestFailed, match="question 1") as caught:
                    await task
                assert (caught.value.id, caught.value.data) == (1, data)
                assert caught.value.answer.json == answer
                assert client.state == "ready"

    main()


@virtual
async def test_without_error_every_answer_is_good() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, error=None)
        async with client:
            (task,) = asking(requests, {})
            await until(lambda: requests.in_flight)
            dialer.peers[0].send({"id": 1, "error": "none of ours"})
            assert (await task).json["error"] == "none of ours"


@virtual
async def test_no_answer_in_time_names_the_question_and_what_comes_late_is_the_users() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, timeout=3)
        async with client:
            with pytest.raises(RequestTimeout, match="question 1 was not answered within 3 s") as caught:
                await requests.ask({})
            assert isinstance(caught.value, TimeoutError)
            assert isinstance(caught.value, DeliveryUnknown)
            assert caught.value.id == 1
            with pytest.raises(RequestTimeout, match=r"question 2 was not answered within 0\.5 s"):
                await requests.ask({}, timeout=0.5)
            dialer.peers[0].send({"id": 1})
            assert (await client.recv(timeout=1)).json == {"id": 1}


@virtual
async def test_a_question_that_is_cancelled_is_forgotten() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer)
        async with client:
            (task,) = asking(requests, {"id": "x"})
            await until(lambda: requests.in_flight)
            task.cancel()
            await asyncio.wait([task])
            assert requests.in_flight == ()
            dialer.peers[0].send({"id": "x"})
            assert (await client.recv(timeout=1)).json == {"id": "x"}
            (again,) = asking(requests, {"id": "x"})
            await until(lambda: requests.in_flight)
            dialer.peers[0].send({"id": "x"})
            await again


@virtual
async def test_at_the_limit_a_question_waits_for_its_turn_within_its_time() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, limit=1, timeout=5)
        async with client:
            peer = dialer.peers[0]
            first, second = asking(requests, {"ask": 1}, {"ask": 2})
            (third,) = asking(requests, {"ask": 3}, timeout=1)
            with pytest.raises(MessageExpired, match="question 3 was not sent within 1 s: 1 others were in flight"):
                await third
            assert sent(peer) == [{"ask": 1, "id": 1}]
            peer.send({"id": 1})
            await first
            await asked(dialer, 1, 2)
            assert sent(peer) == [{"ask": 1, "id": 1}, {"ask": 2, "id": 2}]
            peer.send({"id": 2})
            await second


# Losses


@virtual
async def test_in_flight_at_a_loss_is_an_error_and_is_not_asked_again() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, timeout=1000)
        async with client:
            tasks = asking(requests, {"ask": "a"}, {"ask": "b"})
            await until(lambda: len(heard(dialer.peers[0])) == 2)
            back = asyncio.create_task(event(client, Reconnected))
            dialer.peers[0].drop()
            for task in tasks:
                with pytest.raises(
                    RequestLost, match=r"the connection ended before question [12] was answered"
                ) as caught:
                    await task
                assert isinstance(caught.value, DeliveryUnknown)
                assert isinstance(caught.value.__cause__, ConnectionClosed)
            assert requests.in_flight == ()
            await back
            await asyncio.sleep(10)
            assert heard(dialer.peers[-1]) == []


@virtual
async def test_without_a_connection_it_is_not_sent() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer)
        with pytest.raises(NotReady):
            await requests.ask({})
        async with client:
            dialer.peers[0].drop()
            await until(lambda: client.state == "waiting")
            with pytest.raises(NotReady):
                await requests.ask({})
        with pytest.raises(ClientClosed):
            await requests.ask({})
        assert requests.in_flight == ()


@virtual
async def test_an_outbox_keeps_a_question_for_the_next_connection_and_it_belongs_to_that() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, Outbox(), timeout=1000)
        async with client:
            dialer.peers[0].drop()
            await until(lambda: client.state == "waiting")
            kept, lost = asking(requests, {"ask": "a"}, {"ask": "b"})
            peer = await asked(dialer, 2, 2)
            peer.send({"id": 1})
            assert (await kept).json == {"id": 1}
            peer.drop()
            with pytest.raises(RequestLost):
                await lost


@virtual
async def test_what_an_outbox_does_not_get_rid_of_in_time_was_not_sent() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, Outbox(ttl=None), timeout=0.5)
        async with client:
            dialer.peers[0].drop()
            await until(lambda: client.state == "waiting")
            with pytest.raises(MessageExpired, match="question 1 was not written in time"):
                await requests.ask({})
            await until(lambda: client.state == "ready")
            await asyncio.sleep(1)
            assert heard(dialer.peers[-1]) == []


class Slow:
    """Makes what is sent wait at the wire."""

    @hookimpl(trylast=True)
    def outgoing(self, session: Session) -> Callable[[Message], Message | float]:
        asked = set[int]()

        def wait(message: Message) -> Message | float:
            if id(message) in asked:
                return message
            asked.add(id(message))
            return 5.0

        return wait


@virtual
async def test_what_waits_at_the_wire_at_a_loss_was_not_asked_and_an_outbox_takes_it_on() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, Outbox(ttl=None), Slow(), timeout=1000)
        async with client:
            (task,) = asking(requests, {"ask": "a"})
            await asyncio.sleep(1)
            first = dialer.peers[0]
            first.drop()
            second = await asked(dialer, 2)
            assert heard(first) == []
            assert not task.done()
            second.send({"id": 1})
            await task

    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, Slow(), timeout=1000)
        async with client:
            (task,) = asking(requests, {"ask": "a"})
            await asyncio.sleep(1)
            dialer.peers[0].drop()
            with pytest.raises(NotReady):
                await task


@virtual
async def test_our_close_ends_every_question() -> None:
    async with MemoryDialer(quiet) as dialer:
        client, requests = make(dialer, limit=1, timeout=1000)
        await client.open()
        first, second = asking(requests, {}, {})
        await until(lambda: requests.in_flight)
        await client.close()
        with pytest.raises(RequestLost):
            await first
        with pytest.raises(ClientClosed):
            await second


class Rewriter:
    """Stands nearer to the user and sends other messages in the place of his."""

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Message]:
        return lambda message: Message(message.kind, message.data)


@virtual
async def test_a_loss_is_noticed_also_where_another_plugin_rewrites_questions() -> None:
    async with MemoryDialer(echo, quiet) as dialer:
        client = Client("ws://test/", plugins=["-standard", Rewriter(), Requests(timeout=1000), Patience(), dialer])
        requests = client.plugin(Requests)
        async with client:
            assert (await requests.ask({"ask": 1})).json == {"id": 1, "result": 1}
            dialer.peers[0].drop()
            await until(lambda: client.state == "ready" and dialer.count == 2)
            (task,) = asking(requests, {"ask": 2})
            (await asked(dialer, 2)).drop()
            with pytest.raises(RequestLost):
                await task


# Moves


@virtual
async def test_in_a_move_each_connection_answers_what_it_was_asked() -> None:
    async with MemoryDialer(quiet) as dialer:
        mover = Mover()
        client, requests = make(dialer, mover, timeout=1000)
        async with client:
            (old,) = asking(requests, {"ask": "old"})
            await until(lambda: heard(dialer.peers[0]))
            moved = mover.sessions[0].reopen("test", overlap=2, settle=50)
            await until(lambda: dialer.count == 2)
            await asyncio.sleep(3)
            (new,) = asking(requests, {"ask": "new"})
            await until(lambda: heard(dialer.peers[1]))
            dialer.peers[0].send({"id": 1, "from": "old"})
            dialer.peers[1].send({"id": 2, "from": "new"})
            assert [(await old).json["from"], (await new).json["from"]] == ["old", "new"]
            assert await moved is True


@virtual
async def test_a_move_that_ends_before_the_answer_fails_the_question_of_the_old_connection_alone() -> None:
    async with MemoryDialer(quiet) as dialer:
        mover = Mover()
        client, requests = make(dialer, mover, timeout=1000)
        async with client:
            (old,) = asking(requests, {"ask": "old"})
            await until(lambda: heard(dialer.peers[0]))
            assert await mover.sessions[0].reopen("test", overlap=1) is True
            with pytest.raises(RequestLost):
                await old
            (new,) = asking(requests, {"ask": "new"})
            (await asked(dialer, 2)).send({"id": 2})
            await new


# Plugins that ask


class Boot:
    """Asks before the connection is READY."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    @hookimpl
    async def establish(self, session: Session) -> None:
        answer = await session.plugin(Requests).ask({"ask": "boot"}, session=session, timeout=3)
        self.answers.append(answer.json)


@virtual
async def test_a_plugin_may_ask_before_ready_on_its_own_connection() -> None:
    async with MemoryDialer(quiet, echo) as dialer:
        boot = Boot()
        client, requests = make(dialer, boot)
        async with client:
            assert dialer.count == 2  # the first has not answered within 3 s, which is a failed attempt
            assert boot.answers == [{"id": 2, "result": "boot"}]
            assert requests.in_flight == ()


@virtual
async def test_a_plugin_that_asks_learns_of_the_loss_before_ready() -> None:
    def rude(peer: MemoryPeer) -> None:
        peer.on_message = lambda message: peer.drop()

    async with MemoryDialer(rude, echo) as dialer:
        boot = Boot()
        client, _ = make(dialer, boot)
        async with client:
            assert len(boot.answers) == 1


# Clients


@virtual
async def test_two_clients_do_not_mix() -> None:
    async with MemoryDialer(quiet) as one_dialer, MemoryDialer(quiet) as other_dialer:
        plugin = Requests()
        one, other = (
            Client("ws://test/", plugins=["-standard", plugin, Patience(), d]) for d in (one_dialer, other_dialer)
        )
        async with one, other:
            assert one.plugin(Requests) is not other.plugin(Requests)
            (ours,) = asking(one.plugin(Requests), {"ask": 1})
            (theirs,) = asking(other.plugin(Requests), {"ask": 2})
            await until(lambda: heard(one_dialer.peers[0]) and heard(other_dialer.peers[0]))
            one_dialer.peers[0].send({"id": 1, "to": "one"})
            other_dialer.peers[0].drop()
            assert (await ours).json["to"] == "one"
            with pytest.raises(RequestLost):
                await theirs


def test_options_are_checked_by_name() -> None:
    with pytest.raises(OptionError, match=r"'requests': option 'make_id': '\$number' must stand in it"):
        Client("ws://test/", plugins=["requests"], options={"requests": {"make_id": "id"}})


def test_questions_are_json_as_they_are() -> None:
    """A dollar sign in a question is no name of a template."""

    @virtual
    async def main() -> None:
        async with MemoryDialer(echo) as dialer:
            client, requests = make(dialer)
            async with client:
                assert (await requests.ask({"ask": "$id $number"})).json["result"] == "$id $number"
                assert json.loads(heard(dialer.peers[0])[0].data) == {"ask": "$id $number", "id": 1}

    main()
