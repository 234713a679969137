"""Sending across losses: who is answered for what, what may go out again, and what is never written."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libws_core import (
    Client,
    ClientClosed,
    ConnectionClosed,
    DeliveryUnknown,
    Disconnected,
    Dropped,
    Failure,
    LibwsError,
    Message,
    MessageExpired,
    OutboxFull,
    Sending,
    Session,
    hookimpl,
)
from libws_core.outbound import HIGH
from libws_core.testing import MemoryDialer, MemoryPeer, by_hand, leaks, refuse, virtual


class Again:
    def __init__(self, delay: float = 1.0) -> None:
        self.delay = delay

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return self.delay


class Holds:
    """Holds what is sent while not READY, as a future; gives all of it to the next connection, without waiting."""

    def __init__(self, hold: Callable[[Sending], None] | None = None) -> None:
        self.on_hold = hold
        self.waiting: list[tuple[Sending, asyncio.Future[None]]] = []
        self.offered: list[Any] = []
        self.session: Session
        self.behind: asyncio.Event | None = None
        """Set it, and what follows in establish waits for it."""

    @hookimpl
    def hold(self, sending: Sending) -> Awaitable[None]:
        self.offered.append(sending.message.data)
        if self.on_hold is not None:
            self.on_hold(sending)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((sending, future))
        return future

    @hookimpl
    async def establish(self, session: Session) -> None:
        self.session = session
        self.give()
        if self.behind is not None:
            await self.behind.wait()

    def give(self) -> None:
        waiting, self.waiting = sorted(self.waiting, key=lambda each: each[0].number), []
        for sending, future in waiting:
            if not future.done():
                self.session.send(sending)
                future.set_result(None)


def make(dialer: object, *plugins: object, **more: Any) -> Client:
    return Client("ws://test/", plugins=["-standard", *plugins, dialer], **more)


def now() -> float:
    return asyncio.get_running_loop().time()


def sending(client: Client, data: str, **more: Any) -> asyncio.Task[None]:
    return asyncio.ensure_future(client.send(data, **more))


async def taken(peer: MemoryPeer, count: int) -> list[Any]:
    return [(await peer.recv(60)).data for _ in range(count)]


def stalls(peer: MemoryPeer) -> None:
    peer.stall()


# What is held


@virtual
async def test_what_is_given_to_a_stalled_connection_and_given_up_is_never_written() -> None:
    holds = Holds()
    holds.behind = asyncio.Event()
    dialer = MemoryDialer().first(refuse(503))
    client = make(dialer, holds, Again(), open_timeout=60)
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    big = sending(client, "x" * (HIGH + 1))
    expires, cancelled, waits = sending(client, "a", timeout=5), sending(client, "b"), sending(client, "c")
    dialer.script(stalls)
    await asyncio.sleep(2)  # it is given now; the big one fills the buffer
    (peer,) = dialer.peers
    assert peer.connection.buffered > HIGH
    assert big.done()
    cancelled.cancel()
    with pytest.raises(MessageExpired):
        await expires
    holds.behind.set()
    await opening
    received: list[Any] = []
    peer.on_message = lambda message: received.append(message.data[:1])
    peer.resume()
    await waits
    await client.send("d", confirm=True)
    assert received == ["x", "c", "d"]
    await client.close()


@virtual
async def test_a_plugin_that_waits_for_the_writing_goes_on_when_the_sender_gives_up() -> None:
    class Waits(Holds):
        @hookimpl
        async def establish(self, session: Session) -> None:
            await session.send(Message.binary(b"x" * (HIGH + 1)))
            for each, future in self.waiting:
                await session.send(each)
                future.cancel()

    dialer = MemoryDialer(stalls).first(refuse(503))
    client = make(dialer, Waits(), Again(), open_timeout=60)
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    with pytest.raises(MessageExpired):
        await client.send("held", timeout=5)
    await opening
    await client.close()


@virtual
async def test_whoever_holds_a_message_may_bring_its_end_forward() -> None:
    def soon(sending: Sending) -> None:
        sending.expires = now() + 3

    holds = Holds(soon)
    client = make(MemoryDialer(refuse(503)), holds, Again(60))
    opening = asyncio.ensure_future(client.open())
    begin = now()
    with pytest.raises(MessageExpired):
        await client.send("held", confirm=True)
    assert now() - begin == 3
    await client.close()
    with pytest.raises(ClientClosed):
        await opening


@virtual
async def test_a_message_whose_sender_has_gone_is_not_written_whatever_its_holder_does() -> None:
    holds = Holds()
    dialer = MemoryDialer().first(refuse(503))
    client = make(dialer, holds, Again())
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    held = sending(client, "gone")
    await asyncio.sleep(0.1)
    ((kept, _),) = holds.waiting
    holds.waiting.clear()
    held.cancel()
    peer = await dialer.accept()
    await opening
    ticket = holds.session.send(kept)
    with pytest.raises(MessageExpired):
        await ticket
    await client.send("end")
    assert await taken(peer, 1) == ["end"]
    await client.close()


@virtual
async def test_what_was_held_stands_behind_heartbeats_and_before_newer_messages() -> None:
    """Users' messages given by a plugin are users' messages: what keeps the connection alive goes ahead of them."""
    gate = asyncio.Event()

    class Gate:
        @hookimpl
        def outgoing(self, session: Session) -> Callable[[Message], Message | float]:
            return lambda message: message if gate.is_set() else 1.0

    holds = Holds()
    dialer = MemoryDialer().first(refuse(503))
    client = make(dialer, holds, Gate(), Again())
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    waiting = [sending(client, data) for data in "ab"]
    peer = await dialer.accept()
    await opening
    waiting += [sending(client, data) for data in "cd"]
    await asyncio.sleep(0)
    holds.session.send(Message.text("beat"))
    gate.set()
    assert await taken(peer, 5) == ["beat", "a", "b", "c", "d"]  # "a" was asked first, and had passed nothing
    await asyncio.gather(*waiting)
    await client.close()


@virtual
async def test_a_connection_that_has_ended_takes_no_message_from_its_holder() -> None:
    holds = Holds()
    dialer = MemoryDialer()
    client = make(dialer, holds, Again())
    await client.open()
    (await dialer.accept()).drop()
    await asyncio.sleep(0.5)
    held = sending(client, "held")
    await asyncio.sleep(0)
    ((kept, _),) = holds.waiting
    with pytest.raises(ConnectionClosed):
        holds.session.send(kept)
    assert await taken(await dialer.accept(), 1) == ["held"]
    await held
    await client.close()


# Losses


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_loss_between_the_writing_and_ready_is_told_at_once(idempotent: bool) -> None:
    @virtual
    async def body() -> None:
        holds = Holds()
        holds.behind = asyncio.Event()
        dialer = MemoryDialer().first(refuse(503))
        client = make(dialer, holds, Again())
        opening = asyncio.ensure_future(client.open())
        await dialer.reached(1)
        held = sending(client, "held", confirm=True, idempotent=idempotent)
        peer = await dialer.accept()
        peer.answer_pings = False
        assert await taken(peer, 1) == ["held"]
        peer.drop()
        begin = now()
        await asyncio.sleep(0.5)
        assert held.done() is not idempotent
        holds.behind.set()
        again = await dialer.accept()
        await opening
        if idempotent:
            assert await taken(again, 1) == ["held"]
            await held
        else:
            with pytest.raises(DeliveryUnknown):
                await held
            assert again.received == 0
        assert now() - begin < 2
        await client.close()

    body()


@virtual
async def test_what_is_unwritten_and_what_is_unproven_goes_out_again_in_the_order_of_sending() -> None:
    """Also over two losses in a row, of which the second comes in the middle of it."""
    seconds: list[MemoryPeer] = []

    def second(peer: MemoryPeer) -> None:  # takes "a", "b", "c" into its buffer, and no more
        seconds.append(peer)
        peer.silence(reading=False)

    holds = Holds()
    dialer = MemoryDialer().first(by_hand(), second)
    client = make(dialer, holds, Again())
    await client.open()
    first = await dialer.accept()
    first.answer_pings = False
    tasks = [sending(client, data, confirm=True, idempotent=True) for data in "ab"]
    await asyncio.sleep(1)
    first.stall()
    tasks.append(sending(client, "c" * (HIGH + 1), confirm=True, idempotent=True))
    tasks += [sending(client, data) for data in "de"]
    await asyncio.sleep(1)
    first.drop()
    await asyncio.sleep(0.5)
    tasks.append(sending(client, "f"))
    await asyncio.sleep(1)
    assert [task.done() for task in tasks] == [False] * 6
    seconds[0].drop()
    third = await dialer.accept()
    assert [data[0] for data in await taken(third, 6)] == list("abcdef")
    await asyncio.gather(*tasks)
    await client.close()


async def unproven_at_a_loss(client: Client, dialer: MemoryDialer) -> asyncio.Task[None]:
    """An idempotent message that was written, whose proof was lost, and which is held."""
    peer = await dialer.accept()
    peer.answer_pings = False
    task = sending(client, "once", confirm=True, idempotent=True)
    await peer.expect("once")
    peer.drop()
    await asyncio.sleep(0.1)
    return task


def expire_soon(sending: Sending) -> None:
    sending.expires = now() + 2


def refuse_it(sending: Sending) -> None:
    raise OutboxFull("full")


@pytest.mark.parametrize(
    ("hold", "cause"), [(expire_soon, MessageExpired), (refuse_it, OutboxFull), (None, ClientClosed)]
)
def test_what_was_written_once_is_unknown_whatever_keeps_it_from_being_written_again(
    hold: Callable[[Sending], None] | None, cause: type[LibwsError]
) -> None:
    """Its sender must not be told that it was not sent."""

    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer, Holds(hold), Again(60))
        await client.open()
        task = await unproven_at_a_loss(client, dialer)
        if cause is ClientClosed:
            await client.close()
        with pytest.raises(DeliveryUnknown) as caught:
            await task
        assert isinstance(caught.value.__cause__, cause)
        await client.close()

    body()


@virtual
async def test_a_sender_that_is_cancelled_as_its_message_is_written_leaves_nothing_to_send_again() -> None:
    holds = Holds()
    dialer = MemoryDialer()
    client = make(dialer, holds, Again())
    await client.open()
    peer = await dialer.accept()
    peer.answer_pings = False
    peer.stall()
    await client.send("x" * (HIGH + 1))
    task = sending(client, "gone", confirm=True, idempotent=True)
    await asyncio.sleep(1)
    target = client._supervisor.target
    assert target is not None
    peer.resume()
    target.outbound.pump()  # written, and its sender does not know yet
    task.cancel()
    await asyncio.sleep(0.1)
    assert peer.received == 2
    peer.drop()
    await asyncio.sleep(0.1)
    assert holds.offered == []
    await client.close()


@virtual
async def test_an_unproven_message_goes_over_to_the_connection_that_takes_the_place_of_the_lost_one() -> None:
    """In a move: written and proven anew within one turn of the loop."""

    class Moves:
        session: Session

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

    moves = Moves()
    dialer = MemoryDialer()
    client = make(dialer, moves, Again())
    await client.open()
    old = await dialer.accept()
    old.answer_pings = False
    task = sending(client, "once", confirm=True, idempotent=True)
    await old.expect("once")
    moves.session.reopen("test", overlap=60)
    new = await dialer.accept()
    await asyncio.sleep(0.1)
    old.drop()
    await task
    assert await taken(new, 1) == ["once"]
    await client.close()


@virtual
async def test_a_connection_that_ends_in_the_middle_of_a_move_leaves_its_messages_to_the_next() -> None:
    """The new connection's own plugin fails it while the old one's queue goes over."""
    moving: list[int] = []

    class Moves:
        session: Session

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

        @hookimpl
        def outgoing(self, session: Session) -> Callable[[Message], Message | float]:
            def function(message: Message) -> Message | float:
                if session.request.attempt.why == "move" and message.data == "a":
                    moving.append(1)
                    session.fail(ConnectionClosed("the test wants so"))
                return message

            return function

    moves = Moves()
    dialer = MemoryDialer()
    client = make(dialer, moves, Holds(), Again())
    await client.open()
    old = await dialer.accept()
    old.stall()
    await client.send("x" * (HIGH + 1))
    tasks = [sending(client, data) for data in "abc"]
    await asyncio.sleep(0.1)
    moves.session.reopen("test", overlap=1)
    await dialer.accept()
    await asyncio.sleep(2)
    assert moving
    old.drop()
    third = await dialer.accept()
    assert await taken(third, 2) == ["b", "c"]
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ends if end is not None] == []
    await client.close()


@virtual
async def test_what_an_old_connection_leaves_late_stands_before_newer_messages_that_wait() -> None:
    class Moves:
        session: Session

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

    moves = Moves()
    dialer = MemoryDialer()
    client = make(dialer, moves, Again())
    await client.open()
    old = await dialer.accept()
    old.answer_pings = old.answer_close = False
    tasks = [sending(client, data, confirm=True, idempotent=True) for data in "ab"]
    await taken(old, 2)
    moves.session.reopen("test", overlap=0.1, settle=60)
    new = await dialer.accept()
    await asyncio.sleep(1)
    new.stall()
    await client.send("x" * (HIGH + 1))
    tasks += [sending(client, data) for data in "cd"]
    await asyncio.sleep(0.1)
    old.drop()
    await asyncio.sleep(0.1)
    new.resume()
    assert [data[0] for data in await taken(new, 5)] == list("xabcd")
    await asyncio.gather(*tasks)
    await client.close()


# Bounds


@virtual
async def test_senders_that_give_up_do_not_pile_up_between_those_that_wait() -> None:
    dialer = MemoryDialer()
    async with leaks(files=False):
        client = make(dialer, close_timeout=1)
        await client.open()
        peer = await dialer.accept()
        peer.stall()
        await client.send("x" * (HIGH + 1))
        patient = []
        for number in range(30):
            hasty = [sending(client, "hasty", timeout=0.01) for _ in range(50)]
            patient.append(sending(client, str(number)))
            await asyncio.wait(hasty)
            assert all(isinstance(task.exception(), MessageExpired) for task in hasty)
        outbound = client._supervisor.target.outbound  # type: ignore[union-attr]
        assert len(outbound._normal or ()) <= 4 * len(patient)
        peer.resume()
        await asyncio.gather(*patient)
        assert (await taken(peer, 31))[1:] == [str(number) for number in range(30)]
        await client.close()


@virtual
async def test_messages_whose_senders_wait_no_longer_for_a_proof_do_not_pile_up() -> None:
    dialer = MemoryDialer(lambda peer: peer.silence())
    client = make(dialer, close_timeout=1)
    await client.open()
    patient = sending(client, "patient", confirm=True, timeout=3600)
    for _ in range(20):
        hasty = [sending(client, "hasty", confirm=True, timeout=0.01) for _ in range(100)]
        await asyncio.wait(hasty)
        assert all(isinstance(task.exception(), DeliveryUnknown) for task in hasty)
    hasty.clear()
    gc.collect()
    left = [each for each in gc.get_objects() if isinstance(each, Sending) and each.message.data == "hasty"]
    assert len(left) <= 300
    assert not patient.done()
    patient.cancel()
    await client.close()


# Telling


@virtual
async def test_a_plugin_without_a_session_tells_through_the_client() -> None:
    client = make(MemoryDialer(refuse(503)), Again(60))
    seen: list[Dropped] = []
    client.on(Dropped, seen.append)
    opening = asyncio.ensure_future(client.open())
    await asyncio.sleep(1)
    client.emit(Dropped(3, "test"))
    assert [(event.count, event.why, event.monotonic) for event in seen] == [(3, "test", now())]
    assert client.stats.dropped == 3
    await client.close()
    with pytest.raises(ClientClosed):
        await opening


@virtual
async def test_a_close_of_the_peers_own_that_crosses_ours_proves_nothing() -> None:
    dialer = MemoryDialer(latency=0.5)
    client = make(dialer)
    lost: list[Disconnected] = []
    client.on(Disconnected, lost.append)
    await client.open()
    peer = await dialer.accept()
    peer.close(1012)
    peer.drop()
    task = sending(client, "too late", confirm=True)
    await asyncio.sleep(0.1)
    await client.close()
    with pytest.raises(DeliveryUnknown):
        await task
    assert [event.unconfirmed for event in lost] == [1]
    assert peer.received == 0
