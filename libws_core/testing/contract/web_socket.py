"""What a dialer of WebSockets promises beside what every dialer does: RFC 6455 and RFC 7692, byte by byte."""

from __future__ import annotations

import asyncio

import pytest

from ...errors import ConnectionClosed
from ...types import Kind, Message
from .bare import BarePeer, BareServer, WrittenFrame, frame
from .handshake import OpensAsPromised
from .real_loop import on_real_loop, turns
from .receiver import Receiver, same
from .wire_cases import (
    CLOSE_CODES,
    CLOSE_FRAMES,
    CONTROL_FRAMES,
    FRAGMENTS,
    LENGTHS,
    MASKED,
    OPCODES,
    RESERVED_BITS,
    UTF_8,
    VALID,
    Broken,
    Valid,
    closing,
)
from .wire_limits import LimitsAsPromised

__all__ = ["WebSocketDialerContract"]

TEXT, CLOSE, PING = 1, 8, 9
FRAMES = 300
"""Frames whose masking keys are compared."""


class WebSocketDialerContract(OpensAsPromised, LimitsAsPromised):
    """The tests of a dialer of WebSockets. Derive from it, name `plugin`, and say what it offers.

    ```python
    class TestWebsockets(WebSocketDialerContract):
        plugin = Websockets
        compression = True
    ```
    """

    # What arrives, each case at once and byte by byte.

    @pytest.mark.parametrize("case", VALID, ids=str)
    @on_real_loop
    async def test_valid_frames_are_delivered(self, case: Valid) -> None:
        await self.understands(case)

    @pytest.mark.parametrize("case", MASKED, ids=str)
    @on_real_loop
    async def test_masked_frames_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", RESERVED_BITS, ids=str)
    @on_real_loop
    async def test_reserved_bits_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", OPCODES, ids=str)
    @on_real_loop
    async def test_unknown_opcodes_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", CONTROL_FRAMES, ids=str)
    @on_real_loop
    async def test_control_frames_that_are_long_or_cut_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", FRAGMENTS, ids=str)
    @on_real_loop
    async def test_fragments_out_of_order_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", LENGTHS, ids=str)
    @on_real_loop
    async def test_lengths_in_another_form_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", UTF_8, ids=str)
    @on_real_loop
    async def test_text_that_is_not_utf_8_fails_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("case", CLOSE_FRAMES, ids=str)
    @on_real_loop
    async def test_invalid_close_frames_fail_the_connection(self, case: Broken) -> None:
        await self.refuses(case)

    @pytest.mark.parametrize("code", CLOSE_CODES)
    @on_real_loop
    async def test_close_codes_of_the_registry_are_told_and_answered(self, code: int) -> None:
        payload = closing(code, b"why")
        async with self.bare(frame(CLOSE, payload)) as (receiver, frames, server):
            error = await receiver.end()
            await server.settle(self.patience)
        same(receiver.messages, [Message(Kind.CLOSE, payload)], "the close frame")
        assert isinstance(error, ConnectionClosed), f"the end is {error!r}, expected a ConnectionClosed"
        told = (error.code, error.reason, error.initiator)
        assert told == (code, "why", "remote"), f"the end tells {told}, expected {(code, 'why', 'remote')}"
        answers = [(each.first, each.payload[:2]) for each in frames]
        assert answers == [(0x88, payload[:2])], f"the client answered {answers}, expected a close frame of that code"

    @on_real_loop
    async def test_frames_right_behind_the_101_are_kept_and_not_answered(self) -> None:
        """A ping and half a frame in the packet of the 101."""
        half = frame(TEXT, b"split")
        written = b""
        dialed = asyncio.Event()

        async def script(peer: BarePeer) -> None:
            nonlocal written
            await peer.accept(behind=frame(PING, b"early") + half[:4])
            await dialed.wait()
            await peer.send(half[4:] + frame(TEXT, b"late"))
            written = await peer.wait_closed()

        async with BareServer(script) as server:
            receiver = Receiver(await self.dial(server.url), self.patience)
            dialed.set()
            await turns()
            receiver.start()
            expected = [Message.ping(b"early"), Message.text("split"), Message.text("late")]
            same(await receiver.count(3), expected, "what came with the 101")
            receiver.connection.abort()
            await server.settle(self.patience)
        assert written == b"", f"the client has written {written!r} by itself"

    # What is written.

    @on_real_loop
    async def test_frames_are_written_as_rfc_6455_says(self) -> None:
        """Section 5.2: the shortest form of the length, no reserved bits, whole messages."""
        sizes = {0: 0, 1: 1, 125: 125, 126: 126, 65535: 126, 65536: 127}
        sent = [Message.text("x" * size) for size in sizes] + [Message.binary(bytes(size)) for size in sizes]
        sent += [Message.text("grüße €"), Message.ping(b"p" * 125), Message.pong(b"q")]
        for message, got in zip(sent, await self.written(sent), strict=True):
            payload = message.data.encode() if isinstance(message.data, str) else message.data
            expected = (0x80 | message.kind, sizes.get(len(payload), len(payload)), payload)
            assert (got.first, got.length, got.payload) == expected, (
                f"{message!r} was written with the first bytes {got.first:#x}, {got.length} "
                f"and {len(got.payload)} bytes of payload, expected {expected[0]:#x}, {expected[1]} and {len(payload)}"
            )

    @on_real_loop
    async def test_every_frame_is_masked_with_a_key_of_its_own(self) -> None:
        """Section 5.3: unpredictable, so also another one on each connection."""
        sent = [Message.text("x")] * FRAMES
        keys = [each.mask for each in [*await self.written(sent), *await self.written(sent)]]
        assert None not in keys, "a frame was written without a mask (RFC 6455 section 5.1)"
        assert len({*keys}) > 2 * FRAMES - 3, f"{2 * FRAMES} frames have only {len({*keys})} masking keys"

    @on_real_loop
    async def test_a_ping_is_not_answered(self) -> None:
        """The plugin `pong` does that, or leaves it."""
        data = frame(PING, b"1") + frame(TEXT, b"a", fin=False) + frame(PING, b"2") + frame(0, b"b")
        async with self.bare(data + frame(CLOSE, closing(1000))) as (receiver, frames, server):
            await receiver.end()
            await server.settle(self.patience)
        firsts = [each.first for each in frames]
        assert firsts == [0x88], f"the client wrote frames of {[hex(first) for first in firsts]}, expected a close only"

    @pytest.mark.parametrize(
        ("code", "reason", "payload"),
        [
            (1000, "", closing(1000)),
            (4999, "müde", closing(4999, "müde".encode())),
            (4000, "x" * 200, closing(4000, b"x" * 123)),
            (4000, "ü" * 100, closing(4000, "ü".encode() * 61)),
            (1005, "", b""),
        ],
        ids=["no reason", "a reason", "one that is too long", "one that is cut between characters", "no code"],
    )
    @on_real_loop
    async def test_our_close_frame_is_valid(self, code: int, reason: str, payload: bytes) -> None:
        """Section 5.5: at most 125 bytes; section 5.5.1: a reason is UTF-8."""
        frames: list[WrittenFrame] = []

        async def script(peer: BarePeer) -> None:
            await peer.accept()
            frames.append(await peer.read_written())
            await peer.send(frame(CLOSE, frames[0].payload[:125]))

        async with BareServer(script) as server:
            receiver = Receiver(await self.dial(server.url), self.patience).start()
            receiver.connection.close(code, reason)
            error = await receiver.end()
            await server.settle(self.patience)
        told = (error.code, error.initiator)
        assert told == (code, "local"), f"the end tells {told}, expected {(code, 'local')}"
        got = [(each.first, each.payload) for each in frames]
        assert got == [(0x88, payload)], f"the client wrote {got}, expected {[(0x88, payload)]}"

    @on_real_loop
    async def test_nothing_is_written_behind_our_close_frame(self) -> None:
        """Section 5.5.1."""
        rest: bytes | None = None

        async def script(peer: BarePeer) -> None:
            nonlocal rest
            await peer.accept()
            await peer.until_close()
            await peer.send(frame(CLOSE, closing(1000)))
            peer.writer.write_eof()
            rest = await peer.wait_closed()

        async with BareServer(script) as server:
            receiver = Receiver(await self.dial(server.url), self.patience).start()
            receiver.connection.write(Message.text("before"))
            receiver.connection.close()
            receiver.connection.close(1011)
            for kind in (Kind.TEXT, Kind.PING, Kind.PONG):
                receiver.connection.write(Message(kind, "x" if kind is Kind.TEXT else b"x"))
            await receiver.end()
            await server.settle(self.patience)
        assert rest == b"", f"the client wrote {rest!r} behind its close frame"
