"""Where a stream is, what is missing in it, and what fills the hole."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libws_core import Client, ClientClosed, Dropped, Gap, Message, Reconnected, Session, hookimpl
from libws_core.testing import MemoryDialer, MemoryPeer, virtual
from libws_dedupe import Dedupe
from libws_subscriptions import Subscriptions


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


def make(*plugins: object, inbox: int = 10_000, **options: Any) -> tuple[Client, MemoryDialer, list[Gap]]:
    dialer, gaps = MemoryDialer(), list[Gap]()
    options = {"encode": lambda session, topics: None, "position": "n", "topic": "t", **options}
    client = Client(
        "ws://test/",
        plugins=["-standard", Subscriptions(**options), *plugins, Patience(), dialer],
        inbox_messages=inbox,
    )
    client.on(Gap, gaps.append)
    return client, dialer, gaps


def said(n: Any, t: Any = "a") -> dict[str, Any]:
    return {"t": t, "n": n}


def shown(item: Message | Gap) -> Any:
    """A message's number, or what a gap says is missing."""
    if isinstance(item, Gap):
        return (item.topic, item.first, item.last)
    if item.json["t"] == "a":
        return item.json["n"]
    return item.json["t"], item.json["n"]


async def stream(client: Client, peer: MemoryPeer, *messages: Any) -> list[Any]:
    """Send these, and give what the user sees of them."""
    for message in messages:
        peer.send(message if isinstance(message, dict) else said(message))
    return await seen(client, peer)


async def seen(client: Client, peer: MemoryPeer) -> list[Any]:
    peer.send(said(None, "the end"))
    found: list[Any] = []
    async for item in client.stream(markers=True):
        if isinstance(item, Message) and item.json["t"] == "the end":
            return found
        found.append(shown(item))
    raise AssertionError("the client has ended")


async def lose(client: Client, dialer: MemoryDialer, peer: MemoryPeer) -> MemoryPeer:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.on(Reconnected, lambda event: None if future.done() else future.set_result(event))
    peer.drop()
    peer = await dialer.accept()
    await future
    return peer


def now() -> float:
    return asyncio.get_running_loop().time()


# Holes


@virtual
async def test_a_hole_is_an_event_and_a_marker_in_its_place() -> None:
    client, dialer, gaps = make()
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 5, 6, 9, 10, 11, 13) == [5, 6, ("a", 7, 8), 9, 10, 11, ("a", 12, 12), 13]
        assert [(gap.why, gap.generation, gap.first, gap.last) for gap in gaps] == [
            ("hole", 1, 7, 8),
            ("hole", 1, 12, 12),
        ]
        assert client.plugin(Subscriptions).positions == {"a": 13}


@virtual
async def test_a_gap_tells_when_it_was() -> None:
    client, dialer, gaps = make()
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, 1)
        await asyncio.sleep(100)
        await stream(client, peer, 3)
        assert gaps[0].until - gaps[0].since == pytest.approx(100)


@virtual
async def test_each_topic_has_its_own_stream() -> None:
    client, dialer, _ = make()
    async with client:
        peer = await dialer.accept()
        messages = [1, said(70, "b"), 2, said(71, "b"), said(73, "b"), 3, said(1, ["x", "y"]), said(3, ["x", "y"])]
        assert await stream(client, peer, *messages) == [
            1,
            ("b", 70),
            2,
            ("b", 71),
            ("b", 72, 72),
            ("b", 73),
            3,
            (["x", "y"], 1),
            ("('x', 'y')", 2, 2),
            (["x", "y"], 3),
        ]


@virtual
async def test_without_topic_all_messages_are_one_stream() -> None:
    client, dialer, _ = make(topic=None)
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, said(2, "b"), said(4, "b")) == [1, ("b", 2), (None, 3, 3), ("b", 4)]
        assert client.plugin(Subscriptions).positions == {None: 4}


@virtual
async def test_what_has_no_position_passes() -> None:
    client, dialer, gaps = make()
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, said(None), {"t": "a", "n": None, "more": 1}, 2) == [1, None, None, 2]
        assert gaps == []


@virtual
async def test_a_message_that_covers_several_has_a_pair() -> None:
    """Binance's depth: U is the first update in the message, u the last."""
    client, dialer, _ = make(position=lambda message: message.json["n"])
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, [1, 5], [6, 6], [9, 12], [13, 20], [10, 15], 21) == [
            [1, 5],
            [6, 6],
            ("a", 7, 8),
            [9, 12],
            [13, 20],
            [10, 15],
            21,
        ]


@virtual
async def test_what_comes_twice_or_late_is_no_step_back() -> None:
    client, dialer, gaps = make()
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, 2, 2, 1, 3, 6, 4, 5, 7) == [1, 2, 2, 1, 3, ("a", 4, 5), 6, 4, 5, 7]
        assert len(gaps) == 1


# Across connections


@virtual
async def test_what_was_missed_during_a_loss_is_told_exactly() -> None:
    client, dialer, gaps = make()
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, 1, 2)
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 5, 6) == [(None, None, None), ("a", 3, 4), 5, 6]
        assert [(gap.why, gap.topic, gap.generation) for gap in gaps] == [("reconnect", None, 2), ("reconnect", "a", 2)]


@virtual
async def test_a_server_that_sends_again_what_it_is_not_sure_of_leaves_no_gap() -> None:
    client, dialer, gaps = make(Dedupe(key="n"))
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, 2, 3, 4) == [1, 2, 3, 4]
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 3, 4, 5, 6) == [(None, None, None), 5, 6]
        assert [gap.topic for gap in gaps] == [None]


@virtual
async def test_numbers_that_begin_anew_with_each_connection_are_followed() -> None:
    client, dialer, _ = make()
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, 100, 101)
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 0, 1, 3) == [(None, None, None), 0, 1, ("a", 2, 2), 3]
        assert client.plugin(Subscriptions).positions == {"a": 3}


@virtual
async def test_doubles_are_dropped_before_holes_are_looked_for() -> None:
    plugins = ["-standard", Dedupe(key="n"), Subscriptions(encode="$topic", position="n"), MemoryDialer()]
    assert Client("ws://test/", plugins=plugins).explain()["hooks"]["deliver"] == ["subscriptions", "dedupe"]


@pytest.mark.parametrize("dedupe", [True, False])
def test_a_move_in_which_both_carry_leaves_no_gap(dedupe: bool) -> None:
    @virtual
    async def body() -> None:
        mover = Mover()
        client, dialer, gaps = make(mover, *([Dedupe(key="n")] if dedupe else []))
        async with client:
            old = await dialer.accept()
            await stream(client, old, 1, 2)
            moving = mover.sessions[0].reopen("test", overlap=1, settle=2)
            new = await dialer.accept()
            for number in (4, 5, 6, 7, 8, 9):
                new.send(said(number))
            for number in (3, 4, 5, 6):
                old.send(said(number))
            assert await moving is True
            expected = [3, 4, 5, 6, 7, 8, 9] if dedupe else [3, 4, 5, 6, 4, 5, 6, 7, 8, 9]
            assert await seen(client, new) == expected
            assert gaps == []

    body()


@virtual
async def test_a_hole_that_the_new_connection_fills_late_makes_no_other_gap() -> None:
    mover = Mover()
    client, dialer, gaps = make(mover, Dedupe(key="n"))
    async with client:
        old = await dialer.accept()
        assert await stream(client, old, 1, 2, 5, 6) == [1, 2, ("a", 3, 4), 5, 6]
        moving = mover.sessions[0].reopen("test", overlap=1, settle=2)
        new = await dialer.accept()
        for number in (2, 3, 4, 5, 6, 7):
            new.send(said(number))
        assert await moving is True
        assert await seen(client, new) == [3, 4, 7]
        assert len(gaps) == 1


@virtual
async def test_cursors_have_no_holes_but_a_loss_may_have_cost_something() -> None:
    client, dialer, gaps = make(sequence=False)
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1000, 1500, 9000) == [1000, 1500, 9000]
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 20000, 30000) == [(None, None, None), ("a", 9000, 20000), 20000, 30000]
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 25000, 30000, 40000) == [(None, None, None), 25000, 30000, 40000]
        assert len(gaps) == 3


@virtual
async def test_texts_as_positions_are_cursors() -> None:
    client, dialer, _ = make()
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, "x1", "x7")
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, "x9") == [(None, None, None), ("a", "x7", "x9"), "x9"]


@virtual
async def test_positions_are_offered_to_encode_so_that_it_resumes() -> None:
    """Jetstream: a cursor in what subscribes; Discord: the last sequence number in RESUME."""
    asked: list[Any] = []

    def encode(session: Session, topics: tuple[str, ...], positions: dict[str, Any]) -> None:
        asked.append((session.request.attempt.number, topics, positions))

    client, dialer, _ = make(encode=encode, sequence=False, topics=["a", "b"])
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, 7, 8)
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 12) == [(None, None, None), 12]
    assert asked == [(1, ("a", "b"), {"a": None, "b": None}), (2, ("a", "b"), {"a": 8, "b": None})]


@virtual
async def test_a_template_resumes_too() -> None:
    client, dialer, _ = make(encode={"sub": "$topic", "since": "$position"}, topics=["a"], topic=None)
    client.plugin(Subscriptions).resume_from(None, 41)
    async with client:
        peer = await dialer.accept()
        assert (await peer.recv()).json == {"sub": "a", "since": 41}
        assert await stream(client, peer, 43) == [(None, 42, 42), 43]
        peer = await lose(client, dialer, peer)
        assert (await peer.recv()).json == {"sub": "a", "since": 43}
        client.plugin(Subscriptions).resume_from(None, None)
        peer = await lose(client, dialer, peer)
        assert (await peer.recv()).json == {"sub": "a", "since": None}


@virtual
async def test_a_topic_that_is_removed_is_followed_no_more() -> None:
    client, dialer, gaps = make(topics=["a"])
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, 1)
        await client.plugin(Subscriptions).remove("a")
        assert client.plugin(Subscriptions).positions == {}
        await client.plugin(Subscriptions).add("a")
        assert await stream(client, peer, 100) == [100]
        assert gaps == []


# Backfill


class Archive:
    """Gives what it is asked for, when it is let."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.asked: list[Any] = []
        self.without: set[int] = set()
        self.also: list[Any] = []
        self.order: Callable[[list[Any]], list[Any]] = lambda messages: messages

    async def __call__(self, gap: Gap) -> list[Any]:
        self.asked.append((gap.topic, gap.first, gap.last))
        await asyncio.sleep(self.seconds)
        numbers = [number for number in range(gap.first, gap.last + 1) if number not in self.without]
        return self.order([said(number) for number in numbers] + [said(number) for number in self.also])


@pytest.mark.parametrize("seconds", [0.0, 2.0])
def test_a_backfill_takes_the_gaps_place_and_what_arrives_meanwhile_waits(seconds: float) -> None:
    @virtual
    async def body() -> None:
        archive = Archive(seconds)
        client, dialer, gaps = make(backfill=archive)
        async with client:
            peer = await dialer.accept()
            assert await stream(client, peer, 1, 2, 6, 7, said(1, "b"), 8) == [1, 2, 3, 4, 5, 6, 7, ("b", 1), 8]
            assert archive.asked == [("a", 3, 5)]
            assert gaps == []
            assert client.plugin(Subscriptions).backfilled == 3

    body()


@virtual
async def test_holes_that_show_up_meanwhile_are_filled_one_after_the_other() -> None:
    archive = Archive(1.0)
    client, dialer, _ = make(backfill=archive)
    async with client:
        peer = await dialer.accept()
        begin = now()
        assert await stream(client, peer, 1, 3, 5, 6, 9) == [*range(1, 10)]
        assert archive.asked == [("a", 2, 2), ("a", 4, 4), ("a", 7, 8)]
        assert now() - begin == 3


@virtual
async def test_what_a_backfill_gives_is_put_in_order_and_only_what_is_missing() -> None:
    archive = Archive(1.0)
    archive.also = [1, 2, 7, 6]
    archive.order = lambda messages: messages[::-1]
    client, dialer, _ = make(backfill=archive)
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, 2, 6, 7) == [*range(1, 8)]


@virtual
async def test_what_stays_missing_stays_a_gap() -> None:
    archive = Archive(1.0)
    archive.without = {3, 5, 6, 9}
    client, dialer, gaps = make(backfill=archive)
    async with client:
        peer = await dialer.accept()
        expected = [2, ("a", 3, 3), 4, ("a", 5, 6), 7, 8, ("a", 9, 9), 10]
        assert await stream(client, peer, 2, 10) == expected
        assert [(gap.first, gap.last) for gap in gaps] == [(3, 3), (5, 6), (9, 9)]
        archive.without = {11}
        assert await stream(client, peer, 12) == [("a", 11, 11), 12]


@pytest.mark.parametrize("how", ["raises", "hangs", "none", "nothing", "nonsense"])
def test_a_backfill_that_fails_leaves_the_gap_and_holds_up_nothing(how: str, caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def body() -> None:
        async def backfill(gap: Gap) -> Any:
            if how == "raises":
                raise OSError("GET https://example.com/?token=s3cret")
            if how == "hangs":
                await asyncio.sleep(1e9)
            return {"none": None, "nothing": [], "nonsense": [object()]}[how]

        client, dialer, gaps = make(backfill=backfill, backfill_timeout=3)
        async with client:
            peer = await dialer.accept()
            begin = now()
            assert await stream(client, peer, 1, 4, 5) == [1, ("a", 2, 3), 4, 5]
            assert now() - begin == (3 if how == "hangs" else 0)
            assert len(gaps) == 1

    with caplog.at_level(logging.WARNING, "libws"):
        body()
    assert "s3cret" not in caplog.text
    assert ("failed" in caplog.text) == (how in ("raises", "hangs", "nonsense"))


@virtual
async def test_no_more_waits_for_a_backfill_than_the_limit() -> None:
    client, dialer, gaps = make(backfill=Archive(1e6), backfill_timeout=1e7, backfill_limit=100)
    async with client:
        peer = await dialer.accept()
        begin = now()
        numbers = [1, *range(3, 150)]
        assert await stream(client, peer, *numbers) == [1, ("a", 2, 2), *range(3, 150)]
        assert now() == begin
        assert len(gaps) == 1


@virtual
async def test_no_more_bytes_wait_for_a_backfill_than_8_mib() -> None:
    client, dialer, gaps = make(backfill=Archive(1e6), backfill_timeout=1e7)
    async with client:
        peer = await dialer.accept()
        peer.send(said(1))
        got = 1
        for number in range(3, 13):
            peer.send({**said(number), "more": "x" * 2**20})
        await client.recv()
        for _ in range(3, 13):
            await client.recv(1)
            got += 1
        assert got == 11
        assert len(gaps) == 1


@virtual
async def test_a_backfill_gives_no_more_than_the_limit() -> None:
    client, dialer, _ = make(backfill=Archive(1), backfill_limit=4)
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, 10) == [1, 2, 3, 4, 5, ("a", 6, 9), 10]


@virtual
async def test_a_plain_function_fills_too_and_cursors_are_taken_as_they_are() -> None:
    asked: list[Any] = []

    def backfill(gap: Gap) -> list[Any]:
        asked.append((gap.first, gap.last))
        return [said(300), said(200)]

    client, dialer, _ = make(backfill=backfill, sequence=False)
    async with client:
        peer = await dialer.accept()
        await stream(client, peer, 100)
        peer = await lose(client, dialer, peer)
        assert await stream(client, peer, 400, 500) == [(None, None, None), 200, 300, 400, 500]
        assert asked == [(100, 400)]


@virtual
async def test_a_loss_during_a_backfill_does_not_end_it() -> None:
    client, dialer, gaps = make(backfill=Archive(5))
    async with client:
        peer = await dialer.accept()
        peer.send(said(1))
        peer.send(said(3))
        peer.send(said(4))
        await asyncio.sleep(1)
        peer = await lose(client, dialer, peer)
        found = await stream(client, peer, 5)
        assert [item for item in found if item != (None, None, None)] == [1, 2, 3, 4, 5]
        assert [gap.topic for gap in gaps] == [None]


@virtual
async def test_closing_ends_a_backfill_and_what_waited_is_readable() -> None:
    client, dialer, gaps = make(backfill=Archive(1000), backfill_timeout=10_000)
    await client.open()
    peer = await dialer.accept()
    for number in (1, 4, 5):
        peer.send(said(number))
    await asyncio.sleep(1)
    begin = now()
    await client.close()
    assert now() == begin
    assert [shown(item) async for item in client.stream(markers=True)] == [1, ("a", 2, 3), 4, 5]
    assert len(gaps) == 1
    with pytest.raises(ClientClosed):
        await client.recv()
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


@virtual
async def test_what_a_backfill_has_given_is_not_given_again_when_it_comes_late() -> None:
    client, dialer, _ = make(backfill=Archive(0))
    told: list[Dropped] = []
    client.on(Dropped, told.append)
    async with client:
        peer = await dialer.accept()
        assert await stream(client, peer, 1, 5, 2, 3, 6, 4) == [1, 2, 3, 4, 5, 6]
        await asyncio.sleep(2)
        assert [event.count for event in told] == [3]
        assert client.stats.dropped == 3


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0.0, 0.3, 2.0])), min_size=1, max_size=25),
    st.sampled_from([0.0, 0.5, 3.0]),
    st.sets(st.integers(1, 60)),
    st.integers(1, 40),
)
def test_every_number_is_delivered_or_lies_in_a_gap_once_and_in_order(
    steps: list[tuple[int, float]], seconds: float, without: set[int], limit: int
) -> None:
    @virtual
    async def body() -> None:
        archive = Archive(seconds)
        archive.without = without
        client, dialer, _ = make(backfill=archive, backfill_limit=limit)
        async with client:
            peer = await dialer.accept()
            number = 0
            for step, wait in [(1, 0.0), *steps]:
                number += step
                peer.send(said(number))
                await asyncio.sleep(wait)
            await asyncio.sleep(1000)
            reached = 0
            for item in await seen(client, peer):
                first, last = (item[1], item[2]) if isinstance(item, tuple) else (item, item)
                assert first == reached + 1
                reached = last
            assert reached == number

    body()
