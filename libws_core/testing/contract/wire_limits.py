"""What a dialer of WebSockets promises about its limits, and about what is compressed (RFC 7692)."""

from __future__ import annotations

import functools
import tracemalloc
import zlib
from typing import Any

import pytest

from ...errors import MessageTooBig
from ...types import Message
from .bare import BarePeer, BareServer, frame
from .real_loop import on_real_loop
from .receiver import same
from .verdict import leave_out
from .wire_cases import DEFLATE, DEFLATED, DEFLATED_BADLY, Broken, Valid
from .wire_dialing import WireDialing

__all__ = ["LimitsAsPromised"]

CONT, TEXT, BINARY = 0, 1, 2
BOMB = 32 * 2**20
"""Bytes that a few KiB become."""
ROOM = 2**20
"""Bytes of memory that the bomb may take at its max_size."""


@functools.cache
def bomb() -> bytes:
    """Zeros, compressed: RFC 7692 section 7.2.1."""
    compressor = zlib.compressobj(1, wbits=-12)
    return (compressor.compress(bytes(BOMB)) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class LimitsAsPromised(WireDialing):
    """The tests of limits and of compression."""

    max_fragments: str | None = "max_fragments"
    """The option that bounds the fragments of a message; None = the dialer has none."""
    compression: bool = False
    """The dialer offers permessage-deflate."""

    def limited(self, option: str | None, value: int) -> dict[str, Any]:
        """An option that is a limit, or no test of it."""
        if option is None:
            leave_out(f"{self.plugin.__name__} has no option for this limit")
        return {option: value}

    @pytest.mark.parametrize("size", [10, 125, 126, 1000, 65_536])
    @on_real_loop
    async def test_a_header_that_promises_too_much_is_enough(self, size: int) -> None:
        """What is refused anyway is not read first."""
        data = frame(BINARY, bytes(size)) + frame(BINARY, bytes(size + 1))[: -size - 1]
        await self._is_too_big(data, [Message.binary(bytes(size))], self.limited(self.max_size, size))

    @pytest.mark.parametrize("size", [100, 20_000])
    @on_real_loop
    async def test_fragments_count_together(self, size: int) -> None:
        """The limit is one of messages (RFC 6455 section 10.4)."""
        most = b"a" * (size - 40)
        exact = frame(TEXT, most, fin=False) + frame(CONT, b"b" * 39, fin=False) + frame(CONT, b"c")
        over = frame(TEXT, most, fin=False) + frame(CONT, b"b" * 40, fin=False) + frame(CONT, b"c", fin=False)
        expected = [Message.text(most.decode() + "b" * 39 + "c")]
        await self._is_too_big(exact + over, expected, self.limited(self.max_size, size))

    @on_real_loop
    async def test_too_many_fragments_fail_the_connection(self) -> None:
        """Each costs memory, also an empty one."""
        exact = frame(TEXT, b"1", fin=False) + frame(CONT, fin=False) + frame(CONT, b"2")
        over = frame(TEXT, b"1", fin=False) + frame(CONT, fin=False) * 3
        await self._is_too_big(exact + over, [Message.text("12")], self.limited(self.max_fragments, 3))

    async def _is_too_big(self, data: bytes, expected: list[Message], options: dict[str, Any], *headers: str) -> None:
        what = f"with {', '.join(f'{name}={value}' for name, value in options.items())}"
        async with self.bare(data, *headers, **options) as (receiver, frames, server):
            error = await receiver.end(most=len(expected))
            await server.settle(self.patience)
        same(receiver.messages, expected, what)
        self.failed(error, frames, MessageTooBig, (1009,), what)

    # Compression, RFC 7692

    @on_real_loop
    async def test_compression_is_offered_as_the_class_says(self) -> None:
        """RFC 7692 section 5: what is not offered must not be used."""
        offers: list[str | None] = []

        async def script(peer: BarePeer) -> None:
            await peer.accept()
            offers.append(peer.header("Sec-WebSocket-Extensions"))

        async with BareServer(script) as server:
            connection = await self.dial(server.url)
            await server.settle(self.patience)
            connection.abort()
        offered = "permessage-deflate" in (offers[0] or "")
        assert offered is self.compression, f"the client offers {offers[0]!r}, and compression = {self.compression}"

    @pytest.mark.parametrize("case", DEFLATED, ids=str)
    @on_real_loop
    async def test_compressed_messages_are_delivered(self, case: Valid) -> None:
        self._needs_compression()
        await self.understands(case, DEFLATE)

    @pytest.mark.parametrize("case", DEFLATED_BADLY, ids=str)
    @on_real_loop
    async def test_what_is_compressed_badly_fails_the_connection(self, case: Broken) -> None:
        self._needs_compression()
        await self.refuses(case, DEFLATE)

    @pytest.mark.parametrize("fragmented", [False, True], ids=["one frame", "fragments"])
    @on_real_loop
    async def test_a_bomb_does_not_go_off(self, fragmented: bool) -> None:
        """What is too large is noticed while it inflates."""
        self._needs_compression()
        data = frame(BINARY, bomb(), rsv=4)
        if fragmented:
            data = frame(BINARY, bomb()[:1000], rsv=4, fin=False) + frame(CONT, bomb()[1000:])
        options = self.limited(self.max_size, ROOM)
        tracemalloc.start()
        try:
            await self._is_too_big(data, [], options, DEFLATE)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 8 * ROOM, f"with {self.max_size}={ROOM:,} a message took {peak:,} bytes of memory"

    def _needs_compression(self) -> None:
        if not self.compression:
            leave_out(f"{self.plugin.__name__} does not offer permessage-deflate, says compression = False")
