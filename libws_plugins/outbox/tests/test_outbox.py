"""The outbox on a virtual clock: what waits, for how long, how much of it, and what its sender is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    Client,
    ClientClosed,
    Connected,
    Connecting,
    ConnectionClosed,
    DeliveryUnknown,
    Dropped,
    Failure,
    Message,
    MessageExpired,
    NotReady,
    OptionError,
    OutboxFull,
    Session,
    State,
    hookimpl,
)
from libws_core.outbound import HIGH
from libws_core.testing import MemoryDialer, MemoryPeer, by_hand, hang, refuse, virtual
from libws_outbox import Outbox


class Again:
    def __init__(self, delay: float = 1.0) -> None:
        self.delay = delay

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return self.delay


class Limit:
    """A message a second, as a rate limit would have it."""

    def __init__(self) -> None:
        self.free = 0.0
        self.session: Session

    @hookimpl(trylast=True)
    def outgoing(self, session: Session) -> Callable[[Message], Message | float]:
        self.session = session

        def limit(message: Message) -> Message | float:
            if now() < self.free - 1e-6:
                return self.free - now()
            self.free = now() + 1
            return message

        return limit


def now() -> float:
    return asyncio.get_running_loop().time()


def make(dialer: MemoryDialer, *plugins: object, **outbox: Any) -> Client:
    options = {"outbox": outbox} if outbox else {}
    return Client("ws://test/", plugins=["-standard", "outbox", Again(), *plugins, dialer], options=options)


def sending(client: Client, *texts: str, **more: Any) -> list[asyncio.Task[None]]:
    return [asyncio.ensure_future(client.send(text, **more)) for text in texts]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def taken(peer: MemoryPeer, count: int) -> list[Any]:
    return [(await peer.recv(60)).data for _ in range(count)]


async def ends(tasks: list[asyncio.Task[None]]) -> list[type]:
    return [type(end) for end in await asyncio.gather(*tasks, return_exceptions=True)]


def told(client: Client) -> list[tuple[int, str]]:
    events: list[tuple[int, str]] = []
    client.on(Dropped, lambda event: events.append((event.count, event.why)))
    return events


async def down(client: Client, dialer: MemoryDialer) -> None:
    """Open the client, and lose the connection; the next attempt is in a second."""
    await client.open()
    (await dialer.accept()).drop()
    await asyncio.sleep(0.1)
    assert client.state is State.WAITING


# Order


@virtual
async def test_what_is_sent_while_not_ready_leaves_in_order_behind_log_in_and_before_newer() -> None:
    class Subscribes:
        @hookimpl
        async def establish(self, session: Session) -> None:
            session.send(Message.text("log in"))
            await session.recv("welcome")
            await session.send(Message.text("subscribe"))

    dialer = MemoryDialer().first(refuse(503))
    client = make(dialer, Subscribes())
    early = sending(client, "before open")
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    tasks = sending(client, "a", "b")
    ready: list[asyncio.Task[None]] = []
    client.on(Connected, lambda event: ready.extend(sending(client, "d")))
    peer = await dialer.accept()
    tasks += sending(client, "c")
    await peer.expect("log in")
    assert client.plugin(Outbox).waiting == 4
    peer.send("welcome")
    await opening
    assert await taken(peer, 6) == ["subscribe", "before open", "a", "b", "c", "d"]
    await asyncio.gather(*early, *tasks, *ready)
    assert client.plugin(Outbox).waiting == 0
    assert client.stats.sent == 5
    await client.close()


@virtual
async def test_what_the_lost_connection_has_not_written_stands_before_what_came_later() -> None:
    dialer = MemoryDialer()
    client = make(dialer)
    await client.open()
    peer = await dialer.accept()
    peer.stall()
    await client.send("x" * (HIGH + 1))
    tasks = sending(client, "a", "b")
    await turns()
    peer.drop()
    await asyncio.sleep(0.1)
    tasks += sending(client, "c")
    assert await taken(await dialer.accept(), 3) == ["a", "b", "c"]
    await asyncio.gather(*tasks)
    await client.close()


@virtual
async def test_a_confirmed_message_is_written_again_only_if_that_does_no_harm() -> None:
    dialer = MemoryDialer()
    client = make(dialer)
    await client.open()
    peer = await dialer.accept()
    peer.answer_pings = False
    harmless = sending(client, "a", "c", confirm=True, idempotent=True)
    tasks = sending(client, "b", confirm=True)
    await taken(peer, 3)
    peer.drop()
    await asyncio.sleep(0.1)
    newer = sending(client, "d", confirm=True)
    await turns()
    assert await ends(tasks) == [DeliveryUnknown]
    assert client.plugin(Outbox).waiting == 3
    again = await dialer.accept()
    assert await taken(again, 3) == ["a", "c", "d"]
    await asyncio.gather(*harmless, *newer)
    await client.close()


@virtual
async def test_ready_does_not_wait_for_a_rate_limit_and_heartbeats_go_ahead() -> None:
    limit = Limit()
    dialer = MemoryDialer()
    client = make(dialer, limit, ttl=None)
    await down(client, dialer)
    held = sending(client, *(str(number) for number in range(60)))
    again = await dialer.accept()
    await turns()
    assert client.state is State.READY
    newer = sending(client, "newer")
    await turns()
    limit.session.send(Message.text("beat"))
    texts = await taken(again, 62)
    assert texts.pop(1) == "beat"  # "1" was asked to wait, and has passed nothing
    assert texts == [*(str(number) for number in range(60)), "newer"]
    await asyncio.gather(*held, *newer)
    await client.close()


@virtual
async def test_what_is_sent_while_another_plugin_comes_behind_the_outbox_leaves_at_ready() -> None:
    class Behind:
        @hookimpl(trylast=True)
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(2)

    dialer = MemoryDialer().first(refuse(503))
    client = make(dialer, Behind())
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    tasks = sending(client, "a")
    peer = await dialer.accept()
    tasks += sending(client, "b")
    ready: list[asyncio.Task[None]] = []
    client.on(Connected, lambda event: ready.extend(sending(client, "c")))
    await opening
    assert await taken(peer, 3) == ["a", "b", "c"]
    await asyncio.gather(*tasks, *ready)
    await client.close()


@virtual
async def test_a_connection_that_dies_as_it_is_given_messages_leaves_the_rest_to_the_next() -> None:
    class Fails:
        """Its function of `outgoing` finds the peer gone at the second message."""

        broken = False

        @hookimpl
        def outgoing(self, session: Session) -> Callable[[Message], Message]:
            def function(message: Message) -> Message:
                if message.data == "b" and not self.broken:
                    self.broken = True
                    session.fail(ConnectionClosed("the test wants so"))
                return message

            return function

    dialer = MemoryDialer()
    client = make(dialer, Fails(), full="block", size=2)
    await down(client, dialer)
    tasks = sending(client, *"abcdef")
    failed, last = await dialer.accept(), await dialer.accept()
    assert await taken(last, 4) == list("cdef")
    await ends(tasks)
    assert failed.received <= 2
    assert client.plugin(Outbox).waiting == 0
    await client.close()


# Time to live


@virtual
async def test_a_message_that_is_not_written_in_its_time_expires_and_is_never_sent() -> None:
    dialer = MemoryDialer()
    client = make(dialer)
    await client.open()
    events = told(client)
    (await dialer.accept()).drop()
    dialer.script(hang())
    await asyncio.sleep(0.1)
    begin = now()
    for more, seconds in (({}, 5.0), ({"confirm": True}, 5.0), ({"timeout": 2}, 2.0), ({"timeout": 60}, 5.0)):
        since = now()
        with pytest.raises(MessageExpired):
            await client.send("late", **more)
        assert now() - since == pytest.approx(seconds)
    assert now() - begin == pytest.approx(17)
    outbox = client.plugin(Outbox)
    assert (outbox.expired, outbox.waiting, outbox.waiting_bytes) == (4, 0, 0)
    await asyncio.sleep(1)
    assert sum(count for count, _ in events) == client.stats.dropped == 4
    dialer.script(by_hand())
    again = await dialer.accept()
    await client.send("end")
    assert await taken(again, 1) == ["end"]
    await client.close()


@virtual
async def test_the_time_to_live_counts_on_behind_a_rate_limit() -> None:
    dialer = MemoryDialer()
    client = make(dialer, Limit(), ttl=3)
    await down(client, dialer)
    begin = now()
    tasks = sending(client, *(str(number) for number in range(10)))
    again = await dialer.accept()
    results = await ends(tasks)
    assert results == [type(None)] * 3 + [MessageExpired] * 7
    assert now() - begin == pytest.approx(3)
    assert client.plugin(Outbox).expired == 7
    await client.send("newer")
    assert await taken(again, 4) == ["0", "1", "2", "newer"]
    await client.close()


@virtual
async def test_without_a_time_to_live_a_message_waits_until_it_can_leave() -> None:
    dialer = MemoryDialer().first(*[refuse(503)] * 100)
    client = make(dialer, ttl=None)
    opening = asyncio.ensure_future(client.open())
    begin = now()
    await client.send("patient", confirm=True)
    assert now() - begin >= 100
    await opening
    await client.close()


@virtual
async def test_a_message_that_is_kept_again_has_its_time_anew() -> None:
    dialer = MemoryDialer()
    client = make(dialer, ttl=3)
    await down(client, dialer)
    (task,) = sending(client, "again", confirm=True, idempotent=True)
    peer = await dialer.accept()
    peer.answer_pings = False
    await peer.expect("again")
    await asyncio.sleep(10)
    dialer.script(hang())
    peer.drop()
    begin = now()
    with pytest.raises(DeliveryUnknown) as caught:
        await task
    assert isinstance(caught.value.__cause__, MessageExpired)
    assert now() - begin == pytest.approx(3)
    await client.close()


# Bounds


@virtual
async def test_full_raises() -> None:
    dialer = MemoryDialer()
    client = make(dialer, size=3)
    events = told(client)
    await down(client, dialer)
    tasks = sending(client, *"abcde")
    await turns()
    assert [task.done() for task in tasks] == [False] * 3 + [True] * 2
    tasks[1].cancel()
    await turns()
    tasks += sending(client, "f")
    again = await dialer.accept()
    assert await taken(again, 3) == ["a", "c", "f"]
    none = type(None)
    assert await ends(tasks) == [none, asyncio.CancelledError, none, OutboxFull, OutboxFull, none]
    assert client.plugin(Outbox).refused == client.stats.dropped == 2
    assert [count for count, _ in events] == [2]
    await client.close()


@virtual
async def test_full_blocks_in_line() -> None:
    dialer = MemoryDialer()
    client = make(dialer, size=2, full="block")
    await down(client, dialer)
    outbox = client.plugin(Outbox)
    tasks = sending(client, *"abcdef")
    await turns()
    assert (outbox.waiting, outbox.blocked) == (2, 4)
    tasks[0].cancel()
    tasks[3].cancel()
    await turns()
    assert (outbox.waiting, outbox.blocked) == (2, 2)
    tasks += sending(client, "g")
    again = await dialer.accept()
    assert await taken(again, 5) == list("bcefg")
    assert (outbox.waiting, outbox.blocked, outbox.refused, client.stats.dropped) == (0, 0, 0, 0)
    await ends(tasks)
    await client.close()


@virtual
async def test_whoever_is_blocked_waits_no_longer_than_others() -> None:
    dialer = MemoryDialer()
    client = make(dialer, size=1, full="block", ttl=4)
    await down(client, dialer)
    dialer.script(hang())
    begin = now()
    assert await ends(sending(client, *"abc")) == [MessageExpired] * 3
    assert now() - begin == pytest.approx(4)
    await client.close()


@pytest.mark.parametrize(("full", "left"), [("drop-oldest", "cde"), ("drop-newest", "abc")])
def test_full_drops_and_tells_the_sender(full: str, left: str) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer, size=3, full=full)
        events = told(client)
        await down(client, dialer)
        tasks = dict(zip("abcde", sending(client, *"abcde"), strict=True))
        await turns()
        assert [text for text, task in tasks.items() if not task.done()] == list(left)
        for text, task in tasks.items():
            if text not in left:
                with pytest.raises(OutboxFull):
                    await task
        again = await dialer.accept()
        assert await taken(again, 3) == list(left)
        assert client.plugin(Outbox).dropped == client.stats.dropped == 2
        assert [count for count, _ in events] == [2]
        await ends(list(tasks.values()))
        await client.close()

    body()


@pytest.mark.parametrize(
    ("full", "left"), [("raise", ["b", "c"]), ("drop-oldest", ["b", "c"]), ("drop-newest", ["a", "b"])]
)
def test_a_message_that_is_kept_again_is_older_than_those_that_wait(full: str, left: list[str]) -> None:
    """There is room for two. "a" was written once, so its sender learns that nobody knows."""

    class Behind:
        @hookimpl(trylast=True)
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(2)

    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer, Behind(), size=2, full=full, ttl=None)
        opening = asyncio.ensure_future(client.open())
        (first,) = sending(client, "a", confirm=True, idempotent=True)
        peer = await dialer.accept()
        peer.answer_pings = False
        await peer.expect("a")
        tasks = [first, *sending(client, "b", "c")]
        await turns()
        peer.drop()
        again = await dialer.accept()
        assert await taken(again, 2) == left
        results = await ends(tasks)
        assert [text for text, end in zip("abc", results, strict=True) if end is type(None)] == left
        assert [end for end in results if end is not type(None)] == [DeliveryUnknown if "a" not in left else OutboxFull]
        await opening
        await client.close()

    body()


@virtual
async def test_bytes_are_bounded_too() -> None:
    dialer = MemoryDialer()
    client = make(dialer, bytes=10, full="drop-oldest")
    await down(client, dialer)
    outbox = client.plugin(Outbox)
    tasks = sending(client, "aaaa", "bbbb", "ééé")  # é takes two bytes
    await turns()
    assert (outbox.waiting, outbox.waiting_bytes) == (2, 10)
    tasks += sending(client, "x" * 11)
    await turns()
    assert (outbox.waiting, outbox.refused) == (2, 1)
    tasks += sending(client, "y" * 10)
    assert await taken(await dialer.accept(), 1) == ["y" * 10]
    assert await ends(tasks) == [OutboxFull] * 4 + [type(None)]
    await client.close()


@virtual
async def test_bytes_block_in_order() -> None:
    """What would fit does not pass what does not."""
    dialer = MemoryDialer()
    client = make(dialer, bytes=10, full="block")
    await down(client, dialer)
    outbox = client.plugin(Outbox)
    tasks = sending(client, "a" * 6, "b" * 8, "c")
    await turns()
    assert (outbox.waiting, outbox.waiting_bytes, outbox.blocked) == (1, 6, 2)
    tasks += sending(client, "d" * 11)
    await turns()
    assert isinstance(tasks[3].exception(), OutboxFull)
    tasks[1].cancel()
    await turns()
    assert (outbox.waiting, outbox.waiting_bytes, outbox.blocked) == (2, 7, 0)
    assert await taken(await dialer.accept(), 2) == ["a" * 6, "c"]
    await ends(tasks)
    await client.close()


@virtual
async def test_a_flood_is_refused_in_few_events_and_keeps_nothing() -> None:
    dialer = MemoryDialer()
    client = make(dialer, size=10)
    events = told(client)
    await client.open()
    (await dialer.accept()).drop()
    dialer.script(hang())
    await asyncio.sleep(0.1)
    tasks: list[asyncio.Task[None]] = []
    for _ in range(100):
        tasks += sending(client, *["x"] * 100)
        await asyncio.sleep(0.02)
    assert client.plugin(Outbox).waiting == 10
    await client.close()
    results = await ends(tasks)
    assert results.count(OutboxFull) == client.stats.dropped == sum(count for count, _ in events) == 9_990
    assert len(events) <= 4
    assert client.plugin(Outbox).waiting == 0


# Ends


@virtual
async def test_what_waits_ends_with_the_client() -> None:
    dialer = MemoryDialer()
    client = make(dialer, full="block", size=1, ttl=None)
    await down(client, dialer)
    tasks = sending(client, "a", "b") + sending(client, "c", confirm=True)
    await turns()
    await client.close()
    assert await ends(tasks) == [ClientClosed] * 3
    with pytest.raises(ClientClosed):
        await client.send("d")


@virtual
async def test_what_waits_ends_when_the_client_fails() -> None:
    dialer = MemoryDialer()
    client = make(dialer, ttl=None)
    await client.open()
    (await dialer.accept()).drop()
    dialer.script(refuse(404))
    await asyncio.sleep(0.1)
    tasks = sending(client, "a", "b", confirm=True, idempotent=True)
    for task in tasks:
        with pytest.raises(ClientClosed, match="failed") as caught:
            await task
        assert caught.value.__cause__ is not None
    assert client.state is State.FAILED
    assert client.plugin(Outbox).waiting == 0


@virtual
async def test_a_sender_that_is_cancelled_takes_its_message_back() -> None:
    dialer = MemoryDialer()
    client = make(dialer)
    await down(client, dialer)
    tasks = sending(client, "a", "b", "c", confirm=True, idempotent=True)
    await turns()
    for task in tasks[:2]:
        task.cancel()
    client.on(Connecting, lambda event: tasks[2].cancel() if event.phase == "establish" else None)  # as it would leave
    again = await dialer.accept()
    await turns()
    assert client.state is State.READY
    await client.send("end")
    assert await taken(again, 1) == ["end"]
    assert (client.plugin(Outbox).waiting, client.plugin(Outbox).waiting_bytes) == (0, 0)
    await ends(tasks)
    await client.close()


# Options


def test_options_are_checked() -> None:
    with pytest.raises(OptionError) as caught:
        Client(
            "ws://test/",
            plugins=["outbox"],
            options={"outbox": {"size": 0, "bytes": 0, "ttl": 0, "full": "wait"}},
        )
    assert len(caught.value.problems) == 4


def test_it_stands_behind_subscriptions() -> None:
    class Subscriptions:
        @hookimpl
        def establish(self, session: Session) -> None: ...

    client = Client("ws://test/", plugins=[Outbox(), Subscriptions()])
    assert client.explain()["hooks"]["establish"] == ["subscriptions", "outbox"]


@virtual
async def test_each_client_has_its_own() -> None:
    shared = Outbox(size=1)
    dialer = MemoryDialer(refuse(503))
    clients = [Client("ws://test/", plugins=["-standard", shared, Again(60), dialer]) for _ in range(2)]
    tasks = [task for client in clients for task in sending(client, "a")]
    await turns()
    assert [client.plugin(Outbox).waiting for client in clients] == [1, 1]
    assert shared.waiting == 0
    assert await ends(tasks) == [MessageExpired] * 2


@virtual
async def test_without_it_a_send_is_refused() -> None:
    client = Client("ws://test/", plugins=["-standard", MemoryDialer()])
    with pytest.raises(NotReady, match="outbox"):
        await client.send("early")
