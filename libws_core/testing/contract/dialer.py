"""What every dialer promises, whatever the scheme of its URLs: `dial` of the hooks, and `Connection`."""

from __future__ import annotations

import asyncio
from typing import Any

from ...errors import ConnectTimeout, LibwsError, MessageTooBig
from ...headers import Headers
from ...types import Kind, Message
from ..leakage import leaks
from .dialer_end import EndsAsPromised
from .dialer_flow import FlowsAsPromised
from .dialing import Service
from .real_loop import on_real_loop, turns, within
from .receiver import same
from .verdict import leave_out

__all__ = ["DialerContract"]

FOREIGN = ("ws", "wss", "http", "tcp", "record", "unheard-of")
"""Schemes that a dialer must leave to others, unless they are its own."""
MOST_TURNS = 500
"""Turns of the loop that a dial on loopback may take."""


class DialerContract(FlowsAsPromised, EndsAsPromised):
    """The tests of a dialer. Derive from it and name `plugin`; for another scheme than ws also `schemes` and `serve`.

    ```python
    class TestWebsockets(WebSocketDialerContract):
        plugin = Websockets
    ```
    """

    # Dialing.

    @on_real_loop
    async def test_other_schemes_are_left_to_other_dialers(self) -> None:
        for scheme in FOREIGN:
            if scheme not in self.schemes:
                answer = await self.dial(f"{scheme}://127.0.0.1:1/")
                assert answer is None, f"dial() answered {scheme}://, which is none of {self.schemes}"

    @on_real_loop
    async def test_a_refused_dial_is_an_error_and_leaves_nothing(self) -> None:
        self.needs("refuse")
        async with self.serve("refuse") as service, leaks():
            await self.failure(service.url, "nobody listens")

    @on_real_loop
    async def test_a_dial_that_is_cut_is_an_error_and_leaves_nothing(self) -> None:
        self.needs("cut")
        async with self.serve("cut") as service, leaks():
            await self.failure(service.url, "the server hung up in the handshake")

    @on_real_loop
    async def test_a_dial_cancelled_at_any_turn_leaves_nothing(self) -> None:
        async with self.serve() as service:
            for number in range(MOST_TURNS):
                if await self._cancelled(service, number):
                    break
            else:
                raise AssertionError(f"dial() was not done after {MOST_TURNS} turns of the loop")
        if "hang" in self.troubles:
            async with self.serve("hang") as service:
                assert not await self._cancelled(service, MOST_TURNS), "dial() ended although the server said nothing"

    async def _cancelled(self, service: Service, number: int) -> bool:
        """Cancel a dial after some turns of the loop; gives whether it was done by then."""
        try:
            async with leaks():
                dialing = asyncio.ensure_future(self.dial(service.url))
                for _ in range(number):
                    if dialing.done():
                        break
                    await asyncio.sleep(0)
                done = dialing.done()
                dialing.cancel()
                async with within(self.patience, "the end of a dial that was cancelled"):
                    await asyncio.wait([dialing])
                if not dialing.cancelled():
                    connection = await dialing
                    connection.abort()
                    assert done, "dial() was cancelled and gave a connection"
        except AssertionError as error:
            error.add_note(f"the dial was cancelled after {number} turns of the loop")
            raise
        return done

    @on_real_loop
    async def test_open_timeout_ends_a_dial_that_hangs(self) -> None:
        self.needs("hang")
        async with self.serve("hang") as service:
            await self.timed_out(service.url)

    async def timed_out(self, url: str) -> None:
        """Check that a client's open_timeout ends a dial that hangs."""
        error: LibwsError | None = None
        async with within(self.patience, "open_timeout to end a dial that hangs"):
            try:
                await self.client_of(url, open_timeout=0.1).open()
            except LibwsError as caught:
                error = caught
        assert isinstance(error, ConnectTimeout), f"open() ended with {error!r}, expected a ConnectTimeout"
        assert error.phase == "dial", f"open_timeout ended the phase {error.phase!r}, expected 'dial'"

    @on_real_loop
    async def test_one_dialer_dials_several_connections(self) -> None:
        dialer = self.make()
        async with (
            self.serve() as service,
            self.connected(service, dialer=dialer) as (old_peer, old),
            self.connected(service, dialer=dialer) as (new_peer, new),
        ):
            for number, (peer, receiver) in enumerate([(old_peer, old), (new_peer, new)]):
                peer.send(self.sample(number))
                same(await receiver.count(1), [self.sample(number)], "of two connections each gets its own")
            new.connection.abort()
            await new.end()
            old_peer.send(self.sample(2))
            same((await old.count(2))[1:], [self.sample(2)], "the other connection of the same dialer lives on")

    @on_real_loop
    async def test_the_answer_can_be_looked_up(self) -> None:
        async with self.connected(start=False) as (_, receiver):
            connection = receiver.connection
            assert isinstance(connection.headers, Headers), "headers is no libws_core.headers.Headers"
            assert connection.subprotocol is None, "subprotocol is not None, and none was offered"
            assert connection.buffered == 0, "buffered is not 0 before anything was written"

    @on_real_loop
    async def test_a_client_with_it_leaves_nothing(self) -> None:
        async with self.serve() as service, leaks():
            client = self.client_of(service.url)
            async with within(self.patience, "a client with this dialer to talk and close"):
                opening = asyncio.ensure_future(client.open())
                peer: Any = await service.accept()
                await opening
                peer.send(self.sample(1))
                same([await client.recv()], [self.sample(1)], "the client")
                await client.send(self.sample(2))
                same([await peer.recv()], [self.sample(2)], "the server")
                await client.close()

    # Messages, both ways.

    @on_real_loop
    async def test_what_comes_before_start_is_kept_for_it(self) -> None:
        early: list[Message] = []
        async with self.connected(start=False) as (peer, receiver):
            if hasattr(receiver.connection, "sink"):
                receiver.connection.sink = early.append
            for number in range(3):
                peer.send(self.sample(number))
            await turns()
            assert early == [], "a message was pushed before start()"
            if hasattr(receiver.connection, "sink"):
                receiver.connection.sink = receiver.deliver
            receiver.start()
            same(await receiver.count(3), [self.sample(number) for number in range(3)], "what came before start()")

    @on_real_loop
    async def test_messages_arrive_in_order_and_once(self) -> None:
        samples = self.samples(40)
        async with self.connected() as (peer, receiver):
            for sample in samples:
                peer.send(sample)
            await receiver.count(len(samples))
            await turns()
            same(receiver.messages, samples, "what the server sent")

    @on_real_loop
    async def test_every_kind_is_delivered(self) -> None:
        contents: dict[Kind, Any] = {Kind.TEXT: "grüße", Kind.BINARY: b"\x00\xff"}
        sent = [Message(kind, contents.get(kind, b"payload")) for kind in self.kinds]
        async with self.connected() as (peer, receiver):
            for message in sent:
                peer.send(message)
            same(await receiver.count(len(sent)), sent, "one of each kind")

    @on_real_loop
    async def test_what_is_written_reaches_the_server_in_order_and_once(self) -> None:
        samples = self.samples(40)
        async with self.connected() as (peer, receiver):
            for sample in samples:
                receiver.connection.write(sample)
            async with within(self.patience, f"{len(samples)} messages at the server"):
                got = [await peer.recv() for _ in samples]
            same(got, samples, "what the server got")
            receiver.connection.write(self.sample(-1))
            async with within(self.patience, "one message more at the server"):
                same([await peer.recv()], [self.sample(-1)], "the next message that the server got")

    @on_real_loop
    async def test_a_message_over_max_size_ends_the_connection(self) -> None:
        if self.max_size is None:
            leave_out(f"{self.plugin.__name__} has no option that bounds a message")
        dialer = self.make(**{self.max_size: 1000})
        async with self.connected(dialer=dialer) as (peer, receiver):
            peer.send(self.sample(1, 1000))
            peer.send(self.sample(2, 1001))
            peer.send(self.sample(3))
            error = await receiver.end()
            same(receiver.data, [self.sample(1, 1000)], f"with {self.max_size}=1000")
            assert isinstance(error, MessageTooBig), f"the end is {type(error).__name__}, expected MessageTooBig"
