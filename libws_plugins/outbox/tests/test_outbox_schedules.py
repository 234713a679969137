"""Random schedules on a virtual clock: senders, losses, stalls, moves, cancellations. Every message is reconciled."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from libws_core import (
    Client,
    ClientClosed,
    DeliveryUnknown,
    Disconnected,
    Dropped,
    Failure,
    Kind,
    Message,
    MessageExpired,
    OutboxFull,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, cut, hang, leaks, refuse, run
from libws_outbox import Outbox

SEEDS = 250
UNSENT = (MessageExpired, OutboxFull, ClientClosed)
"""What a sender gets whose message was not written, and will not be."""


@dataclass(eq=False)
class Wire:
    """Stands at the wire: notes what is written on which connection, moves the client, sometimes asks for time."""

    parks: bool
    chance: random.Random
    outbox: Outbox
    written: list[tuple[int, int]] = field(default_factory=list)
    session: Session | None = None

    @hookimpl(trylast=True)
    def outgoing(self, session: Session) -> Callable[[Message], Message | float]:
        def note(message: Message) -> Message | float:
            assert self.outbox.waiting <= self.outbox.size
            assert self.outbox.waiting_bytes <= self.outbox.bytes
            if message.kind is not Kind.TEXT:
                return message
            if self.parks and self.chance.random() < 0.3:
                return self.chance.choice((0.0, 0.1, 0.7))
            self.written.append((session.request.attempt.number, number_of(message)))
            return message

        return note

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.session = session

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return self.chance.choice((0.0, 0.1, 0.5, 2.0))


class Slow:
    """Stands behind the outbox in establish, and takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    @hookimpl(trylast=True)
    async def establish(self, session: Session) -> None:
        if self.seconds:
            await asyncio.sleep(self.seconds)


@dataclass
class Sent:
    """One message of a schedule and what its sender was told."""

    number: int
    confirm: bool
    idempotent: bool
    timeout: float | None
    cancelled: bool = False
    outcome: BaseException | str | None = None


def cause_of(outcome: BaseException | str | None) -> BaseException | str | None:
    """Why a message was not written, or not written again."""
    return outcome.__cause__ if isinstance(outcome, DeliveryUnknown) else outcome


def number_of(message: Message) -> int:
    return int(message.data.partition(":")[0])


class Schedule:
    """Runs a client through what chance of this seed gives, then looks at every message."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.moves = chance.random() < 0.3
        self.outbox = Outbox(
            size=chance.choice((2, 5, 30, 1000)),
            bytes=chance.choice((60, 500, 2**20)),
            ttl=chance.choice((0.3, 1.0, 5.0, None)),
            full=chance.choice(("raise", "block", "drop-oldest", "drop-newest")),
        )
        self.sent: list[Sent] = []
        self.read: list[int] = []
        self.unconfirmed = 0
        self.told = 0
        self.calm = False
        self.tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        chance = self.chance
        latency = chance.choice((0.0, 0.05, 0.4))
        self.dialer = MemoryDialer(self.accept, latency=latency if chance.random() < 0.5 else self.draw_latency)
        steps = [refuse(503), hang(), cut(), self.accept, self.accept]
        self.dialer.first(*chance.choices(steps, k=chance.randrange(8)))
        slow = Slow(chance.choice((0.0, 0.0, 0.3)))
        wire = Wire(chance.random() < 0.3 and not self.moves, chance, self.outbox)
        plugins = ["-standard", self.outbox, slow, wire, self.dialer]
        self.client = Client("ws://test/", plugins=plugins, open_timeout=3, close_timeout=2, healthy_after=1)
        self.outbox = wire.outbox = self.client.plugin(Outbox)
        self.wire = self.client.plugin(Wire)
        self.wire.outbox = self.outbox
        self.client.on(Disconnected, self.lost)
        self.client.on(Dropped, self.dropped)
        opening = asyncio.ensure_future(self.client.open())
        trouble = asyncio.ensure_future(self.trouble())
        for number in range(chance.randrange(5, 60)):
            await asyncio.sleep(chance.choice((0, 0, 0, 0.01, 0.1, 0.5)))
            self.tasks.append(asyncio.ensure_future(self.send(number)))
        if chance.random() < 0.2:
            await self.client.close()
        await trouble
        self.heal()
        async with asyncio.timeout(120):
            await asyncio.wait(self.tasks)
        await self.client.close()
        with contextlib.suppress(ClientClosed):
            await opening

    def draw_latency(self) -> float:
        return self.chance.choice((0.0, 0.01, 0.3))

    def accept(self, peer: MemoryPeer) -> None:
        peer.on_message = lambda message: self.read.append(number_of(message))
        peer.answer_pings = self.calm or self.chance.random() < 0.7

    def lost(self, event: Disconnected) -> None:
        self.unconfirmed += event.unconfirmed

    def logged(self, record: logging.LogRecord) -> bool:
        """A connection that is not the current one has no Disconnected; what it leaves unconfirmed is logged."""
        if "unconfirmed" in record.msg:
            assert isinstance(record.args, tuple)
            self.unconfirmed += int(str(record.args[1]))
        return False

    def dropped(self, event: Dropped) -> None:
        self.told += event.count

    async def send(self, number: int) -> None:
        chance = self.chance
        message = Sent(number, chance.random() < 0.6, chance.random() < 0.5, chance.choice((None, None, 0.2, 1.0, 4.0)))
        self.sent.append(message)
        text = f"{number}:{'x' * chance.choice((0, 1, 20, 100))}"
        if chance.random() < 0.2:
            task = asyncio.current_task()
            assert task is not None
            asyncio.get_running_loop().call_later(chance.choice((0.0, 0.05, 0.5)), self.cancel, message, task)
        try:
            await self.client.send(
                text, confirm=message.confirm, idempotent=message.idempotent, timeout=message.timeout
            )
        except (Exception, asyncio.CancelledError) as error:
            message.outcome = error
        else:
            message.outcome = "sent"

    def cancel(self, message: Sent, task: asyncio.Task[None]) -> None:
        message.cancelled = task.cancel()

    async def trouble(self) -> None:
        """Lose, stall and move connections for a while."""
        chance = self.chance
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(chance.choice((0, 0.1, 0.3, 1.0)))
            for peer in self.dialer.peers:
                match chance.randrange(8):
                    case 0:
                        peer.drop(reset=True)
                    case 1:
                        peer.drop()
                    case 2:
                        peer.close(chance.choice((1000, 1012)))
                    case 3:
                        peer.send(Message.close(1001))  # and TCP stays
                    case 4:
                        peer.stall()
                    case 5:
                        peer.resume()
                    case 6 if self.moves and self.wire.session is not None:
                        self.wire.session.reopen("test", overlap=0.2, settle=chance.choice((0.0, 0.3)))

    def heal(self) -> None:
        """From now on the server is well."""
        self.calm = True
        self.dialer.script(self.accept)
        for peer in self.dialer.peers:
            peer.resume()
            peer.answer_pings = True
            peer.drop()

    def reconcile(self) -> None:
        written = Counter(number for _, number in self.wire.written)
        read = Counter(self.read)
        unread_successes = 0
        for message in self.sent:
            number, outcome = message.number, message.outcome
            told = f"message {number}: {message}"
            assert outcome is not None, f"silent: {told}"
            assert read[number] <= written[number], told
            if not (message.confirm and message.idempotent):
                assert written[number] <= 1, f"doubled: {told}"
            if outcome == "sent":
                assert written[number] >= 1, f"a lie: {told}"
                if message.confirm:
                    assert read[number] >= 1, f"not proven: {told}"
                else:
                    unread_successes += not read[number]
            elif isinstance(outcome, asyncio.CancelledError):
                assert message.cancelled, told
            elif isinstance(outcome, DeliveryUnknown):
                assert message.confirm, told
                assert written[number] >= 1, f"never written: {told}"
            else:
                assert isinstance(outcome, UNSENT), told
                assert written[number] == 0, f"written all the same: {told}"
        assert unread_successes <= self.unconfirmed, "messages vanished, and nobody counted them"
        assert self.told == self.outbox.refused + self.outbox.dropped + self.outbox.expired
        late = sum(isinstance(cause_of(message.outcome), MessageExpired) for message in self.sent)
        full = sum(isinstance(cause_of(message.outcome), OutboxFull) for message in self.sent)
        cancelled = sum(message.cancelled for message in self.sent)  # some of them in the turn of their end
        assert self.outbox.expired <= late + cancelled  # some were late on a connection that was READY
        assert full <= self.outbox.refused + self.outbox.dropped <= full + cancelled
        assert self.outbox.waiting == self.outbox.waiting_bytes == self.outbox.blocked == 0
        self.check_order()

    def check_order(self) -> None:
        first: list[int] = []
        for _, number in self.wire.written:
            if number not in first:
                first.append(number)
        assert first == sorted(first), "written in another order than sent"
        if not self.moves:
            for connection in {each for each, _ in self.wire.written}:
                numbers = [number for each, number in self.wire.written if each == connection]
                assert numbers == sorted(numbers), "what was written again does not stand before what is newer"


@pytest.mark.parametrize("start", range(0, SEEDS, 50))
def test_every_message_ends_as_written_and_proven_failed_or_unknown(start: int) -> None:
    ends: Counter[Any] = Counter()
    for seed in range(start, start + 50):
        schedule = Schedule(seed)

        async def body(schedule: Schedule = schedule) -> None:
            async with leaks(files=False):
                await schedule.run()

        logger = logging.getLogger("libws")
        logger.addFilter(schedule.logged)
        try:
            run(body(), seed=seed)
            schedule.reconcile()
        except BaseException as error:
            error.add_note(f"seed={seed}")
            raise
        finally:
            logger.removeFilter(schedule.logged)
        ends.update(
            message.outcome if message.outcome == "sent" else type(message.outcome) for message in schedule.sent
        )
    assert {*ends} == {"sent", asyncio.CancelledError, DeliveryUnknown, *UNSENT}
