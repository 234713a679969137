"""What every connection promises about its end: by our close, by the server's, by abort, by a line that breaks."""

from __future__ import annotations

from typing import Any

import pytest

from ...errors import ConnectionClosed, LibwsError
from ...types import Kind, Message
from .dialing import DialedPlugin
from .real_loop import on_real_loop, turns, within
from .receiver import Receiver, same
from .verdict import leave_out


class EndsAsPromised(DialedPlugin):
    """The tests of how a connection ends, and of what it tells about that."""

    @on_real_loop
    async def test_the_end_is_told_once_and_last(self) -> None:
        async with self.connected() as (peer, receiver):
            for number in range(3):
                peer.send(self.sample(number))
            peer.drop()
            error = await receiver.end()
            connection = receiver.connection
            connection.close()
            connection.abort()
            connection.pause()
            connection.resume()
            connection.abort()
            await turns()
            assert receiver.endings == 1, f"ended() was called {receiver.endings} times"
            assert receiver.log[-1] is error, "a message was delivered behind ended()"
            same(receiver.data, [self.sample(number) for number in range(3)], "what came before the end")
            assert isinstance(error, LibwsError), f"ended() was given {error!r}, which is no LibwsError"

    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "reset"])
    @on_real_loop
    async def test_a_lost_connection_is_1006(self, reset: bool) -> None:
        async with self.connected() as (peer, receiver):
            peer.send(self.sample(1))
            await receiver.count(1)
            peer.drop(reset=reset)
            self._ends_with(await receiver.end(), 1006, "network")

    # Closing.

    @on_real_loop
    async def test_our_close_ends_with_the_servers_answer(self) -> None:
        """RFC 6455 section 7.1.2: what is on its way until the answer still counts."""
        async with self.connected() as (peer, receiver):
            peer.send(self.sample(1))
            peer.send(self.sample(2))
            receiver.connection.close(4001, "done")
            assert receiver.error is None, "ended() was called from within close()"
            error = await receiver.end()
            same(receiver.data, [self.sample(1), self.sample(2)], "what was on its way when we closed")
            self._ends_with(error, 4001, "local")
            await self._gone_with(peer, 4001)

    @on_real_loop
    async def test_the_servers_close_is_delivered_and_told(self) -> None:
        async with self.connected() as (peer, receiver):
            peer.send(self.sample(1))
            peer.close(4002, "enough")
            error = await receiver.end()
            end = [Message.close(4002, "enough")] if self.close_codes else []
            got = receiver.messages if self.close_codes else receiver.data
            same(got, [self.sample(1), *end], "up to the server's close")
            self._ends_with(error, 4002, "remote")
            assert not self.close_codes or error.reason == "enough", f"the reason is {error.reason!r}"

    @on_real_loop
    async def test_the_servers_close_is_answered_with_its_code(self) -> None:
        """RFC 6455 section 5.5.1."""
        if not self.close_codes:
            leave_out(f"connections of {self.plugin.__name__} end without close codes")
        async with self.connected() as (peer, receiver):
            peer.close(4003)
            await receiver.end()
            await self._gone_with(peer, 4003)

    # Writing where nobody reads any more.

    @on_real_loop
    async def test_what_is_written_after_the_end_goes_nowhere(self) -> None:
        async with self.connected() as (peer, receiver):
            peer.drop()
            await receiver.end()
            for kind in self.kinds:
                receiver.connection.write(Message(kind, "x" if kind is Kind.TEXT else b"x"))
            await turns()
            assert receiver.connection.buffered == 0, "what was written after the end is held in memory"

    # Aborting.

    @on_real_loop
    async def test_abort_ends_without_a_frame(self) -> None:
        async with self.connected() as (peer, receiver):
            receiver.connection.abort()
            self._ends_with(await receiver.end(), 1006, "local")
            await self._gone_with(peer, 1006)

    @on_real_loop
    async def test_abort_waits_for_nobody(self) -> None:
        """A server that reads nothing must not hold what is unwritten in our memory."""
        async with self.connected() as (peer, receiver):
            connection = receiver.connection
            await self.fill(peer, connection)
            connection.abort()
            await receiver.end()
            assert connection.buffered == 0, "what was not written is held after abort()"

    @on_real_loop
    async def test_abort_ends_what_close_has_not(self) -> None:
        async with self.connected() as (peer, receiver):
            peer.stall()
            receiver.connection.close()
            await turns()
            receiver.connection.abort()
            await self._ends_once(receiver)

    @on_real_loop
    async def test_a_second_abort_changes_nothing(self) -> None:
        async with self.connected() as (_, receiver):
            receiver.connection.abort()
            receiver.connection.abort()
            await self._ends_once(receiver)
            receiver.connection.abort()
            await turns()
            assert receiver.endings == 1, "abort() after the end tells it again"

    async def _ends_once(self, receiver: Receiver) -> None:
        error = await receiver.end()
        await turns()
        assert receiver.endings == 1, f"ended() was called {receiver.endings} times"
        assert isinstance(error, LibwsError), f"ended() was given {error!r}, which is no LibwsError"

    def _ends_with(self, error: Any, code: int, initiator: str) -> None:
        """Check an end."""
        assert isinstance(error, ConnectionClosed), f"the end is {error!r}, expected a ConnectionClosed"
        assert error.initiator == initiator, f"initiator is {error.initiator!r}, expected {initiator!r}"
        if self.close_codes or code == 1006:
            assert error.code == code, f"the code is {error.code}, expected {code}"

    async def _gone_with(self, peer: Any, code: int) -> None:
        """Wait for the end at the server, and check what the client said there."""
        async with within(self.patience, "the end of the connection at the server"):
            got = await peer.wait_gone()
        if self.close_codes or code == 1006:
            assert got == code, f"the server got {got}, expected {code}"
