"""What every connection promises about back-pressure, both ways, and about the members that a dialer may add."""

from __future__ import annotations

import asyncio
from typing import Any

from ...types import Kind, Message
from .dialing import MUCH, PIECE, DialedPlugin
from .real_loop import on_real_loop, turns, until, within
from .receiver import Receiver, same
from .verdict import leave_out


class FlowsAsPromised(DialedPlugin):
    """The tests of pause and resume, of `buffered`, and of `drained`, `received`, `sink` and `last_data`."""

    # What arrives.

    @on_real_loop
    async def test_a_pause_delivers_nothing_more(self) -> None:
        async with self.connected() as (peer, receiver):
            await self._pause_within(peer, receiver, 10, at=3)
            assert len(receiver.messages) == 3, f"{len(receiver.messages) - 3} messages were delivered behind pause()"

    @on_real_loop
    async def test_resume_goes_on_in_order_and_never_from_within_the_call(self) -> None:
        async with self.connected() as (peer, receiver):
            await self._pause_within(peer, receiver, 10, at=3)
            before = len(receiver.messages)
            receiver.connection.resume()
            assert len(receiver.messages) == before, "a message was delivered from within resume()"
            await receiver.count(10)
            same(receiver.messages, [self.sample(number) for number in range(10)], "across pause and resume")

    @on_real_loop
    async def test_a_pause_right_after_a_resume_holds(self) -> None:
        async with self.connected() as (peer, receiver):
            receiver.connection.pause()
            peer.send(self.sample(0))
            await turns()
            receiver.connection.resume()
            receiver.connection.pause()
            await turns()
            assert receiver.messages == [], "a message was delivered although pause() was the last call"
            receiver.connection.resume()
            await receiver.count(1)

    @on_real_loop
    async def test_a_paused_connection_stops_reading(self) -> None:
        """The server must feel it: else what it sends piles up in memory."""
        message = self.sample(0, PIECE)
        number = MUCH // PIECE
        sent = 0

        async def send() -> None:
            nonlocal sent
            while sent < number:
                sent += 1
                await peer.send(message)

        async with self.connected() as (peer, receiver):
            self._pause_at(receiver, 1)
            sending = asyncio.ensure_future(send())
            await receiver.count(1)
            before = 0
            while sent > before and sent < number:
                before = sent
                await turns()
            sending.cancel()
            assert sent < number, f"the server could send {MUCH:,} bytes while reading was paused"
            receiver.connection.resume()
            same(await receiver.count(sent), [message] * sent, "what waited while reading was paused")

    @on_real_loop
    async def test_what_was_read_is_delivered_before_the_end(self) -> None:
        async with self.connected() as (peer, receiver):
            await self._pause_within(peer, receiver, 5, at=1)
            peer.drop()
            await turns()
            receiver.connection.resume()
            await receiver.end()
            same(receiver.data, [self.sample(number) for number in range(5)], "what came before the line broke")

    async def _pause_within(self, peer: Any, receiver: Receiver, number: int, *, at: int) -> None:
        """Send so many messages, pause at one of them, and let the loop go round."""
        self._pause_at(receiver, at)
        for place in range(number):
            peer.send(self.sample(place))
        await receiver.count(at)
        await turns()

    def _pause_at(self, receiver: Receiver, number: int) -> None:
        """Pause from within the delivery of a message."""

        def pause(message: Message) -> None:
            if len(receiver.messages) == number:
                receiver.connection.pause()

        receiver.on_message = pause

    # What is written.

    @on_real_loop
    async def test_buffered_rises_while_the_server_stalls_and_falls_again(self) -> None:
        async with self.connected() as (peer, receiver):
            connection = receiver.connection
            number = await self.fill(peer, connection)
            peer.resume()
            async with within(self.patience, f"{number} messages at the server, which reads again"):
                for place in range(number):
                    same([await peer.recv()], [self.sample(place, PIECE)], "what was written while the server stalled")
            await until(lambda: connection.buffered == 0, self.patience, "buffered to be 0 when all has arrived")

    @on_real_loop
    async def test_drained_is_called_when_buffered_has_fallen(self) -> None:
        async with self.connected() as (peer, receiver):
            connection = receiver.connection
            self.offered(connection, "drained")
            drained = asyncio.Event()
            left: list[int] = []

            def note() -> None:
                left.append(connection.buffered)
                drained.set()

            connection.drained = note
            await self.fill(peer, connection)
            full = connection.buffered
            assert left == [], "drained was called while the server read nothing"
            peer.resume()
            async with within(self.patience, "drained to be called when the server reads again"):
                await drained.wait()
            assert left[0] < full, f"drained was called while buffered was still {left[0]:,} of {full:,}"

    # What a dialer may add.

    def offered(self, connection: Any, member: str) -> None:
        """Skip a test of a member that this dialer does not add."""
        if not hasattr(connection, member):
            leave_out(f"connections of {self.plugin.__name__} have no {member}, as they need not")

    @on_real_loop
    async def test_received_is_when_bytes_last_arrived(self) -> None:
        async with self.connected() as (peer, receiver):
            self.offered(receiver.connection, "received")
            before = await self._later_than(receiver.connection.received)
            peer.send(self.sample(1))
            await receiver.count(1)
            now = asyncio.get_running_loop().time()
            assert before <= receiver.connection.received <= now, "received is not the time of the last bytes"

    async def _later_than(self, time: float) -> float:
        """Let the loop's clock, which may count milliseconds, go on; gives its time."""
        clock = asyncio.get_running_loop().time
        assert time <= clock(), "a time of arrival lies in the future: it is not the loop's time"
        await until(lambda: clock() > time, self.patience, "the loop's clock to go on")
        return clock()

    @on_real_loop
    async def test_a_sink_takes_the_data_and_may_change_with_each_message(self) -> None:
        taken: list[list[Message]] = [[], []]
        async with self.connected(start=False) as (peer, receiver):
            connection = receiver.connection
            self.offered(connection, "sink")

            def first(message: Message) -> None:
                taken[0].append(message)
                connection.sink = second

            def second(message: Message) -> None:
                taken[1].append(message)
                connection.sink = first

            connection.sink = first
            for number in range(6):
                peer.send(self.sample(number))
            if Kind.PING in self.kinds:
                peer.send(Message.ping(b"no data"))
            await turns()
            receiver.start()
            await until(lambda: len(taken[0]) + len(taken[1]) == 6, self.patience, "6 messages in the sink")
            for half in (0, 1):
                expected = [self.sample(number) for number in range(half, 6, 2)]
                same(taken[half], expected, "the sink is not looked up for each message")
            if Kind.PING in self.kinds:
                same(await receiver.count(1), [Message.ping(b"no data")], "what is no data goes to deliver")

    @on_real_loop
    async def test_last_data_is_when_data_last_arrived(self) -> None:
        async with self.connected() as (peer, receiver):
            connection = receiver.connection
            self.offered(connection, "last_data")
            before = await self._later_than(connection.last_data)
            if Kind.PING in self.kinds:
                peer.send(Message.ping(b"no data"))
                await receiver.count(1)
                assert connection.last_data < before, "a ping counts as data"
            peer.send(self.sample(1))
            await until(lambda: receiver.data, self.patience, "a message")
            now = asyncio.get_running_loop().time()
            assert before <= connection.last_data <= now, "last_data is not the time of the last text or binary"
