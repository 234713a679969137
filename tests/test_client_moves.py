"""Moves: one connection takes the place of another, and nothing is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ClientClosed,
    Connecting,
    ConnectionClosed,
    Disconnected,
    Dropped,
    Event,
    Failure,
    Gap,
    HandshakeRejected,
    Kind,
    LibwsError,
    Message,
    NotReady,
    Reconnected,
    Reopened,
    Request,
    Sending,
    Session,
    State,
    hookimpl,
)
from libws_core.outbound import HIGH
from libws_core.testing import MemoryDialer, MemoryPeer, by_hand, hang, refuse, virtual


class Mover:
    """Offers the sessions to the test; resolves with a counter, holds what is sent between."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.resolved = 0
        self.failures: list[Failure] = []
        self.establishes: Callable[[Session], Awaitable[Any]] | None = None

    @property
    def session(self) -> Session:
        return self.sessions[-1]

    @hookimpl
    def resolve(self, request: Request) -> Request:
        self.resolved += 1
        return replace(request, url=f"{request.url}?ticket={self.resolved}")

    @hookimpl
    async def establish(self, session: Session) -> None:
        self.sessions.append(session)
        if self.establishes is not None:
            await self.establishes(session)

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        self.failures.append(failure)
        return 1.0


class Holds:
    def __init__(self) -> None:
        self.held: list[tuple[Sending, asyncio.Future[None]]] = []

    @hookimpl
    def hold(self, sending: Sending) -> Awaitable[None]:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.held.append((sending, future))
        return future

    @hookimpl
    async def establish(self, session: Session) -> None:
        for sending, future in self.held:
            await session.send(sending)
            future.set_result(None)
        self.held.clear()


def make(dialer: object, *plugins: object, **more: Any) -> tuple[Client, list[Any]]:
    client = Client("ws://test/", plugins=["-standard", *plugins, dialer], **more)
    events: list[Any] = []
    client.on(Event, lambda event: events.append(event) if not isinstance(event, Connecting) else None)
    return client, events


def names(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def now() -> float:
    return asyncio.get_running_loop().time()


async def read(client: Client, count: int) -> list[Any]:
    return [(await client.recv(1000)).data for _ in range(count)]


async def taken(peer: MemoryPeer, count: int) -> list[Any]:
    return [(await peer.recv(1000)).data for _ in range(count)]


@virtual
async def test_make_first_keeps_the_old_one_until_the_new_one_shows_a_message() -> None:
    mover, dialer = Mover(), MemoryDialer(latency=0.1)
    client, events = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        begin = now()
        moving = mover.session.reopen("old age", overlap=10)
        assert str(client.state) == "reopening"
        new = await dialer.accept()
        await asyncio.sleep(1)
        await client.send("to the old one")
        old.send("of the old one")
        assert await read(client, 1) == ["of the old one"]
        assert await taken(old, 1) == ["to the old one"]
        assert len(dialer.peers) == 2
        old.send("the old one's last")
        new.send("the new one's first")
        new.send("the new one's second")
        assert await moving is True
        await client.send("to the new one")
        assert await taken(new, 1) == ["to the new one"]
        assert await read(client, 3) == ["the old one's last", "the new one's first", "the new one's second"]
        assert old.closed == Message.close(1000)
        assert client.state is State.READY
        assert client.stats == (2, 4, 0, 0)
    assert [dial.request.url for dial in dialer.dials] == ["ws://test/?ticket=1", "ws://test/?ticket=2"]
    attempt = dialer.dials[1].request.attempt
    assert (attempt.number, attempt.generation, attempt.why, attempt.failure) == (2, 2, "move", None)
    assert names(events) == ["Connected", "Reopened", "Disconnected", "Closed"]
    assert (events[1].generation, events[1].overlap) == (2, pytest.approx(now() - begin, abs=1.0))
    assert mover.failures == []


@virtual
async def test_a_new_one_that_shows_no_message_carries_after_the_overlap() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, events = make(dialer, mover)
    async with client:
        begin = now()
        assert await mover.session.reopen("old age", overlap=7) is True
        assert now() - begin == 7
        assert [event.overlap for event in events if isinstance(event, Reopened)] == [7]
        assert [peer.number for peer in dialer.peers] == [2]


@virtual
async def test_what_came_in_establish_shows_that_it_carries() -> None:
    mover, dialer = Mover(), MemoryDialer(by_hand(), lambda peer: peer.send("hello") and None)
    client, _ = make(dialer, mover)
    async with client:
        begin = now()
        mover.establishes = lambda session: asyncio.sleep(1)
        assert await mover.session.reopen("old age") is True
        assert now() - begin == 1
        assert await read(client, 1) == ["hello"]


@virtual
async def test_the_old_one_lives_on_for_settle() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, events = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        begin = now()
        moving = mover.session.reopen("old age", settle=5)
        new = await dialer.accept()
        new.send("new 1")
        await asyncio.sleep(4)
        await client.send("goes to the new one")
        old.send("old, late")
        assert await taken(new, 1) == ["goes to the new one"]
        assert await moving is True
        assert now() - begin == 5
        assert await read(client, 2) == ["old, late", "new 1"]
        assert [event.overlap for event in events if isinstance(event, Reopened)] == [5]


@pytest.mark.parametrize("inbox", [2, 3, 10, 1000])
@pytest.mark.parametrize("latency", [0.0, 0.05])
def test_a_make_first_move_loses_nothing_doubles_nothing_and_keeps_the_order(inbox: int, latency: float) -> None:
    """Also when the reader is slow and the new one has filled what bounds there are before the old one is through."""

    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer(latency=latency)
        client, _ = make(dialer, mover, inbox_messages=inbox)
        async with client:
            old = await dialer.accept()
            moving = mover.session.reopen("old age", overlap=1)
            new = await dialer.accept()
            for number in range(20):
                old.send(f"old {number}")
                new.send(f"new {number}")
            got: list[str] = []
            sent: list[asyncio.Future[None]] = []
            for number in range(40):
                sent.append(asyncio.ensure_future(client.send(str(number))))
                await asyncio.sleep(0.1)
                got += await read(client, 1)
                assert len(client._inbox) <= inbox
                assert client._inbox.count <= inbox + 2
            assert got == [f"old {number}" for number in range(20)] + [f"new {number}" for number in range(20)]
            assert await moving is True
            await asyncio.gather(*sent)
            await asyncio.sleep(1)
            to_old = await taken(old, old.received)
            to_new = await taken(new, new.received)
            assert [*to_old, *to_new] == [str(number) for number in range(40)]
            assert to_new

    body()


@virtual
async def test_sends_that_wait_on_the_old_one_go_to_the_new_one_in_order() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, _ = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        old.stall()
        await client.send(b"x" * (HIGH + 1))
        waiting = [asyncio.ensure_future(client.send(str(number))) for number in range(5)]
        await asyncio.sleep(1)
        mover.session.reopen("the old one is stuck", overlap=1)
        new = await dialer.accept()
        await asyncio.gather(*waiting)
        assert await taken(new, 5) == [str(number) for number in range(5)]


@virtual
async def test_confirmed_sends_on_the_old_one_are_proven_by_it() -> None:
    mover, dialer = Mover(), MemoryDialer(latency=0.5)
    client, _ = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        old.answer_pings = False
        sending = asyncio.ensure_future(client.send("proven by the close", confirm=True))
        await asyncio.sleep(0)
        mover.session.reopen("old age", overlap=0)
        await sending
        assert old.closed is not None


@pytest.mark.parametrize("order", ["make-first", "break-first"])
def test_only_what_the_bounds_admit_waits(order: Any) -> None:
    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer()
        client, _ = make(dialer, mover, inbox_messages=10)
        async with client:
            await dialer.accept()
            mover.session.reopen("old age", order=order, overlap=1000)
            new = await dialer.accept()
            await asyncio.sleep(1)
            for number in range(100):
                new.send(str(number))
            await asyncio.sleep(1)
            assert new.paused
            assert client._inbox.count == 10
            assert await read(client, 100) == [str(number) for number in range(100)]

    body()


# When it fails


@pytest.mark.parametrize("step", ["refused", "hangs", "establish", "overlap"])
def test_if_the_new_one_fails_the_old_one_stays_and_the_result_is_the_error(step: str) -> None:
    @virtual
    async def body() -> None:
        mover = Mover()
        steps: dict[str, Any] = {"refused": refuse(503), "hangs": hang()}
        dialer = MemoryDialer(by_hand(), steps.get(step, by_hand()))
        client, events = make(dialer, mover)
        async with client:
            old = await dialer.accept()
            if step == "establish":
                mover.establishes = lambda session: session.recv("never")
            moving = mover.session.reopen("old age", overlap=100)
            if step in ("establish", "overlap"):
                new = await dialer.accept()
                await asyncio.sleep(1)
                new.close(1012)
            error = await moving
            expected = HandshakeRejected if step == "refused" else LibwsError
            assert isinstance(error, expected)
            assert client.state is State.READY
            await client.send("still here")
            assert await taken(old, 1) == ["still here"]
            phase = {"refused": "dial", "hangs": "dial", "establish": "establish", "overlap": "ready"}[step]
            (failed,) = [event for event in events if isinstance(event, AttemptFailed)]
            assert (failed.phase, failed.error, failed.attempt) == (phase, error, 2)
            assert mover.failures == []
            dialer.script(by_hand())
            mover.establishes = None
            again = mover.sessions[0].reopen("once more", overlap=0)
            assert await again is True
        assert names(events).count("Reopened") == 1
        assert names(events).count("Disconnected") == 1

    body()


@virtual
async def test_new_ones_that_are_lost_in_the_overlap_leave_nothing_behind() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, _ = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        for _ in range(5):
            moving = mover.sessions[0].reopen("old age", overlap=100)
            new = await dialer.accept()
            await asyncio.sleep(1)
            new.drop()
            assert isinstance(await moving, ConnectionClosed)
        assert len(client._delivery.line) == len(client._supervisor.sessions) == 1
        old.send("still here")
        assert await read(client, 1) == ["still here"]


@pytest.mark.parametrize("when", ["dialed", "ready"])
def test_if_the_old_one_dies_first_the_new_one_is_adopted(when: str) -> None:
    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer()
        client, events = make(dialer, mover, Holds())
        async with client:
            old = await dialer.accept()
            if when == "dialed":
                mover.establishes = lambda session: session.recv("welcome")
            moving = mover.session.reopen("old age", overlap=100)
            new = await dialer.accept()
            await asyncio.sleep(1)
            old.send("old")
            old.drop()
            await asyncio.sleep(2)
            sending = asyncio.ensure_future(client.send("mine"))
            await asyncio.sleep(0)
            new.send("welcome")
            new.send("new")
            assert await moving is True
            await sending
            assert await taken(new, 1) == ["mine"]
            expected = ["old", "new"] if when == "dialed" else ["old", "welcome", "new"]
            assert await read(client, len(expected)) == expected
            assert dialer.count == 2
            assert mover.failures == []
        assert names(events) == ["Connected", "Disconnected", "Gap", "Reconnected", "Disconnected", "Closed"]
        gap = next(event for event in events if isinstance(event, Gap))
        assert gap.until - gap.since == (2 if when == "dialed" else 0)

    body()


@pytest.mark.parametrize("order", ["make-first", "break-first"])
def test_one_that_was_resumed_beside_a_living_one_does_not_follow_it(order: str) -> None:
    """The old one never answers our close: what it did not say anymore, the resume cannot have told beside it."""

    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer()

        async def resumes(session: Session) -> None:
            session.resumed()

        client, events = make(dialer, mover, close_timeout=3)
        async with client:
            old = await dialer.accept()
            old.answer_close = False
            mover.establishes = resumes
            moving = mover.session.reopen("old age", order=order, overlap=0)
            (await dialer.accept()).send("new")
            assert await moving is True
            assert await read(client, 1) == ["new"]
        assert names(events).count("Gap") == (1 if order == "make-first" else 0)

    body()


@virtual
async def test_if_both_die_the_policy_is_asked_about_the_second() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, events = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        mover.establishes = lambda session: session.recv("welcome")
        moving = mover.session.reopen("old age")
        new = await dialer.accept()
        old.drop()
        await asyncio.sleep(1)
        new.close(1012)
        error = await moving
        assert isinstance(error, ConnectionClosed)
        assert error.code == 1012
        assert [failure.count for failure in mover.failures] == [2]
        mover.establishes = None
        await dialer.accept()
    assert names(events) == [
        "Connected", "Disconnected", "AttemptFailed", "Retrying", "Gap", "Reconnected", "Disconnected", "Closed",
    ]  # fmt: skip


@pytest.mark.parametrize("how", ["drop", "fatal"])
def test_if_the_new_one_dies_before_it_has_settled_the_old_one_carries_again(how: str) -> None:
    """And what the new one has brought is delivered."""

    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer()
        client, events = make(dialer, mover)
        async with client:
            old = await dialer.accept()
            moving = mover.session.reopen("old age", settle=100)
            new = await dialer.accept()
            old.send("old 1")
            new.send("new 1")
            await asyncio.sleep(1)
            old.send("old 2")
            await client.send("written on the new one")
            new.stall()
            await client.send(b"x" * (HIGH + 1))
            proven = asyncio.ensure_future(client.send("again", confirm=True, idempotent=True))
            unproven = asyncio.ensure_future(client.send("not again", confirm=True))
            waiting = [asyncio.ensure_future(client.send(str(number))) for number in range(5)]
            new.send("new 2")
            await asyncio.sleep(1)
            new.drop() if how == "drop" else new.close(1009)
            error = await moving
            assert isinstance(error, ConnectionClosed)
            assert client.state is State.READY
            await asyncio.gather(*waiting, proven, unproven)
            assert await taken(old, 7) == ["again", "not again", *(str(number) for number in range(5))]
            old.send("old 3")
            stream = client.stream(markers=True)
            seen = [await anext(stream) for _ in range(7)]
            assert [item.data if isinstance(item, Message) else item.why for item in seen] == [
                "old 1", "old 2", "move", "new 1", "new 2", "move", "old 3",
            ]  # fmt: skip
            await asyncio.sleep(1000)
            assert old.closed is None
            assert mover.failures == []
            assert [event.unconfirmed for event in events if isinstance(event, Disconnected)] == [2]
            assert await mover.sessions[0].reopen("once more", overlap=0) is True
            assert [dial.request.attempt.generation for dial in dialer.dials] == [1, 2, 3]
        # One Gap stands before what the new one brought, the other behind it.
        assert names(events) == [
            "Connected", "Disconnected", "Gap", "Reconnected", "Gap", "Reopened", "Disconnected", "Closed",
        ]  # fmt: skip
        assert [event.generation for event in events] == [1, 2, 1, 1, 2, 3, 3, 3]

    body()


@virtual
async def test_a_new_one_that_dies_while_the_old_one_goes_has_moved_and_is_lost() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, events = make(dialer, mover)
    async with client:
        old = await dialer.accept()
        old.silence()
        moving = mover.session.reopen("old age", settle=1)
        new = await dialer.accept()
        new.send("new")
        await asyncio.sleep(2)
        assert old.closed is not None
        new.drop()
        assert await moving is True
        third = await dialer.accept()
        await asyncio.sleep(0)
        assert old.gone  # two at once are enough
        third.send("third")
        assert await read(client, 2) == ["new", "third"]
    # The first Gap stands before "new": the old one never answered our close.
    assert names(events) == [
        "Connected", "Reopened", "Disconnected", "Retrying", "Gap", "Gap", "Reconnected", "Disconnected", "Closed",
    ]  # fmt: skip


@virtual
async def test_an_old_one_that_does_not_answer_the_close_is_dropped_in_time() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, _ = make(dialer, mover, close_timeout=3)
    async with client:
        old = await dialer.accept()
        old.silence()
        begin = now()
        assert await mover.session.reopen("old age", overlap=0) is True
        assert now() - begin == 3
        assert old.gone


@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.parametrize("settle", [0, 1])
def test_a_gap_stands_where_an_old_one_ended_that_did_not_answer_our_close(answers: bool, settle: float) -> None:
    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer(latency=0.1)
        client, events = make(dialer, mover, close_timeout=3)
        async with client:
            old = await dialer.accept()
            moving = mover.session.reopen("old age", settle=settle)
            new = await dialer.accept()
            old.answer_close = answers
            new.send("new 1")
            await asyncio.sleep(0.15)  # our close is on its way
            old.send("old")
            new.send("new 2")
            assert await moving is True
            stream = client.stream(markers=True)
            seen = [await anext(stream) for _ in range(3 if answers else 4)]
            gap = [] if answers else ["move"]
            assert [item.data if isinstance(item, Message) else item.why for item in seen] == [
                "old", *gap, "new 1", "new 2",
            ]  # fmt: skip
            assert names(events).count("Gap") == len(gap)

    body()


@virtual
async def test_messages_that_the_old_one_has_not_proven_to_have_read_are_not_passed_over_in_silence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, _ = make(dialer, mover)
    async with client:
        for answers, expected in ((True, 0), (False, 1)):
            peer = await dialer.accept()
            peer.answer_close = answers
            await client.send("one")
            await client.send("two")
            assert await mover.session.reopen("old age", overlap=0) is True
            assert caplog.text.count("2 sent messages are unconfirmed") == expected


@pytest.mark.parametrize("order", ["make-first", "break-first"])
def test_once_our_close_is_sent_no_keep_alive_blames_the_old_one(order: Any) -> None:
    """It cannot even send its ping any more."""

    class Pings:
        @hookimpl
        async def keep_alive(self, session: Session) -> None:
            while True:
                await asyncio.sleep(0.2)
                await session.ping(0.3)

    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer()
        client, events = make(dialer, mover, Pings(), close_timeout=5)
        async with client:
            old = await dialer.accept()
            old.answer_close = False
            moving = mover.session.reopen("old age", order=order, overlap=0)
            await old.expect(Kind.CLOSE)
            await asyncio.sleep(4)
            old.send("the last words")
            old.close()
            assert await moving is True
            assert await read(client, 1) == ["the last words"]
            assert names(events).count("Gap") == (1 if order == "break-first" else 0)

    body()


@virtual
async def test_what_a_new_one_that_never_was_ready_has_brought_is_counted() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, events = make(dialer, mover)
    async with client:
        await dialer.accept()
        mover.establishes = lambda session: session.recv("welcome")
        moving = mover.session.reopen("old age")
        new = await dialer.accept()
        new.send("no")
        new.send("entry")
        await asyncio.sleep(1)
        new.close(1008)
        assert isinstance(await moving, ConnectionClosed)
        assert [(event.count, event.generation) for event in events if isinstance(event, Dropped)] == [(2, 2)]
        assert client.stats.dropped == 2


@virtual
async def test_the_bound_on_the_old_ones_close_stands_still_while_we_are_not_reading() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, _ = make(dialer, mover, close_timeout=3, inbox_messages=5)
    async with client:
        old = await dialer.accept()
        for number in range(10):
            old.send(str(number))
        await asyncio.sleep(1)
        assert old.paused
        moving = mover.session.reopen("old age", overlap=0)
        new = await dialer.accept()
        new.send("new")
        await asyncio.sleep(100)
        assert len(client._supervisor.sessions) == 2
        assert await read(client, 11) == [*(str(number) for number in range(10)), "new"]
        assert await moving is True


# The rest of the promise


@virtual
async def test_at_most_two_are_alive() -> None:
    """Also when the new ones fail in establish and do not answer our close."""

    async def refuses(session: Session) -> None:
        if session.request.attempt.why == "move":
            raise ConnectionClosed("not this one")

    mover, dialer = Mover(), MemoryDialer(by_hand(), lambda peer: peer.silence())
    mover.establishes = refuses
    client, _ = make(dialer, mover, close_timeout=5)
    async with client:
        for _ in range(5):
            moving = mover.sessions[0].reopen("old age")
            assert isinstance(await moving, ConnectionClosed)
            await asyncio.sleep(0.1)
            assert len(dialer.peers) <= 2
        assert client.state is State.READY


@virtual
async def test_a_second_call_meanwhile_gives_the_same_result_and_no_second_move() -> None:
    mover, dialer = Mover(), MemoryDialer()
    client, events = make(dialer, mover)
    async with client:
        first = asyncio.ensure_future(mover.session.reopen("one", overlap=1))
        second = mover.sessions[0].reopen("two", order="break-first")
        third = mover.sessions[0].reopen("three")
        await asyncio.sleep(0)
        first.cancel()  # whoever gives up does not take it from the others
        await asyncio.wait([first])
        assert await second is True
        assert await third is True
        assert dialer.count == 2
    assert names(events).count("Reopened") == 1


@virtual
async def test_only_the_ready_connection_moves() -> None:
    mover, dialer = Mover(), MemoryDialer()
    results: list[Any] = []

    async def too_early(session: Session) -> None:
        results.append(await session.reopen("early"))

    mover.establishes = too_early
    client, _ = make(dialer, mover)
    async with client:
        assert isinstance(results[0], NotReady)
        mover.establishes = None
        assert await mover.session.reopen("first", overlap=0) is True
        assert isinstance(await mover.sessions[0].reopen("a stale one"), NotReady)
        assert dialer.count == 2
        for wrong in ({"order": "both"}, {"request": Request("no url")}):
            with pytest.raises(ValueError):  # noqa: PT011
                mover.session.reopen("wrong", **wrong)
        with pytest.raises(TypeError):
            mover.session.reopen("wrong", request="ws://test/")  # type: ignore[arg-type]
        assert client.state is State.READY
    assert isinstance(await mover.session.reopen("late"), NotReady)


@pytest.mark.parametrize("order", ["make-first", "break-first"])
def test_with_a_request_resolve_is_not_asked_and_the_next_attempt_begins_anew(order: Any) -> None:
    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer()
        client, _ = make(dialer, mover)
        async with client:
            await dialer.accept()
            request = replace(mover.session.request, url="ws://other/?given")
            begin = client.stats.reconnects
            assert await mover.session.reopen("the server says where", request, order=order, overlap=0) is True
            (await dialer.accept()).drop()
            await dialer.accept()
            await asyncio.sleep(0)
            assert begin == 0
        assert [dial.request.url for dial in dialer.dials] == [
            "ws://test/?ticket=1",
            "ws://other/?given",
            "ws://test/?ticket=2",
        ]
        assert [dial.request.attempt.number for dial in dialer.dials] == [1, 2, 3]

    body()


@virtual
async def test_a_healthy_old_connection_ends_the_row_of_failures() -> None:
    mover = Mover()
    dialer = MemoryDialer().first(refuse(503), refuse(503))
    client, _ = make(dialer, mover, healthy_after=30)
    async with client:
        await dialer.accept()
        await asyncio.sleep(60)
        assert await mover.session.reopen("old age", overlap=0) is True
        (await dialer.accept()).drop()
        await dialer.accept()
        await asyncio.sleep(60)
        dialer.first(refuse(502))
        mover.session.reopen("old age", order="break-first")
        await dialer.accept()
    assert [failure.count for failure in mover.failures] == [1, 2, 1, 1]


# break-first


@virtual
async def test_break_first_closes_then_dials_for_a_server_that_admits_one_connection() -> None:
    alive: list[int] = []

    def admits_one(peer: MemoryPeer) -> None:
        assert len(dialer.peers) == 1, "a second connection"
        alive.append(peer.number)
        peer.send(f"hello {peer.number}")

    mover, dialer = Mover(), MemoryDialer(admits_one, latency=0.1)
    client, events = make(dialer, mover)
    async with dialer, client:
        (old,) = dialer.peers
        assert await read(client, 1) == ["hello 1"]
        begin = now()
        moving = mover.session.reopen("one at a time", order="break-first")
        assert client.state is State.REOPENING
        old.send("until the answer to our close")
        assert await moving is True
        assert now() - begin == pytest.approx(0.4)  # the close handshake, then the dial
        assert old.closed == Message.close(1000)
        stream = client.stream(markers=True)
        seen = [await anext(stream) for _ in range(3)]
        assert [item.data if isinstance(item, Message) else item.why for item in seen] == [
            "until the answer to our close", "move", "hello 2",
        ]  # fmt: skip
    assert names(events) == ["Connected", "Gap", "Reopened", "Disconnected", "Closed"]
    assert [event.overlap for event in events if isinstance(event, Reopened)] == [0.0]
    assert mover.failures == []
    assert client.stats.reconnects == 0


@virtual
async def test_what_is_sent_during_a_break_first_move_is_held_and_not_lost() -> None:
    mover, dialer = Mover(), MemoryDialer(latency=0.5)
    client, _ = make(dialer, mover, Holds())
    async with client:
        old = await dialer.accept()
        moving = mover.session.reopen("one at a time", order="break-first")
        sending = []
        for number in range(10):
            sending.append(asyncio.ensure_future(client.send(str(number))))
            await asyncio.sleep(0.25)
        new = await dialer.accept()
        assert await moving is True
        await asyncio.gather(*sending)
        await asyncio.sleep(1)
        got = [*await taken(old, old.received), *await taken(new, new.received)]
        assert got == [str(number) for number in range(10)]
        assert old.late_writes == 0


@virtual
async def test_a_break_first_move_that_fails_is_retried_like_a_loss() -> None:
    mover, dialer = Mover(), MemoryDialer(by_hand(), refuse(503), by_hand())
    client, events = make(dialer, mover)
    async with client:
        error = await mover.session.reopen("one at a time", order="break-first")
        assert isinstance(error, HandshakeRejected)
        assert client.state is State.WAITING
        with pytest.raises(NotReady):
            await client.send("between")
        await dialer.accept()
        await dialer.accept()
        await asyncio.sleep(0)
    assert names(events) == [
        "Connected", "AttemptFailed", "Retrying", "Gap", "Reconnected", "Disconnected", "Closed",
    ]  # fmt: skip
    assert isinstance(events[4], Reconnected)


@virtual
async def test_close_in_a_move_reads_what_both_have_said() -> None:
    mover, dialer = Mover(), MemoryDialer(latency=0.1)
    client, _ = make(dialer, mover)
    await client.open()
    old = await dialer.accept()
    mover.session.reopen("old age", settle=60)
    new = await dialer.accept()
    await asyncio.sleep(1)
    new.send("new 1")
    await asyncio.sleep(1)
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(0)
    new.send("new 2")
    old.send("old")
    await closing
    assert await read(client, 3) == ["old", "new 1", "new 2"]
    with pytest.raises(ClientClosed):
        await client.recv()


@virtual
async def test_close_before_the_new_one_carries_keeps_the_order_too() -> None:
    mover, dialer = Mover(), MemoryDialer(latency=0.1)
    client, _ = make(dialer, mover)
    await client.open()
    old = await dialer.accept()
    old.answer_close = False
    mover.session.reopen("old age", overlap=60)
    new = await dialer.accept()
    await asyncio.sleep(1)
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(0)
    new.send("new")
    await new.wait_gone()
    old.send("old")
    old.close()
    await closing
    assert await read(client, 2) == ["old", "new"]


@pytest.mark.parametrize("order", ["make-first", "break-first"])
@pytest.mark.parametrize("after", [0.0, 0.25, 0.5, 1.5, 3.0])
def test_close_during_a_move_ends_it_and_everything(order: Any, after: float) -> None:
    @virtual
    async def body() -> None:
        mover, dialer = Mover(), MemoryDialer(latency=0.25)
        mover.establishes = lambda session: asyncio.sleep(1)
        client, events = make(dialer, mover, close_timeout=5)
        await client.open()
        moving = mover.session.reopen("old age", order=order, overlap=100)
        await asyncio.sleep(after)
        begin = now()
        await client.close()
        assert now() - begin <= 1
        done = order == "break-first" and after == 3.0
        assert isinstance(await moving, bool if done else ClientClosed)
        assert client.state is State.CLOSED
        await asyncio.sleep(1)
        assert dialer.peers == []
        assert names(events)[-1] == "Closed"
        assert names(events).count("Disconnected") == (0 if order == "break-first" and after < 2 else 1)

    body()
