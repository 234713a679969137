"""Compressed messages: one context through whole ones and fragments, the end of a deflate stream, and the limit."""

from __future__ import annotations

import zlib
from typing import Any

import pytest

from libws_core.types import Kind
from libws_websockets import inflating

pytestmark = pytest.mark.only_dialer("websockets", reason="picows does not compress")

DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate"
TEXTS = [f'{{"symbol":"BTCUSDT","price":"{number}.50","quantity":"0.{number}"}}' for number in range(40)]


class Deflater:
    """A server's side of RFC 7692 with context takeover."""

    def __init__(self) -> None:
        self.compressor = zlib.compressobj(9, wbits=-15)

    def __call__(self, text: str) -> bytes:
        return (self.compressor.compress(text.encode()) + self.compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def test_whole_messages_and_fragments_share_one_context(raw_server: Any, dial: Any, frame: Any) -> None:
    deflated = Deflater()

    async def script(peer: Any) -> None:
        await peer.accept(DEFLATE)
        for number, text in enumerate(TEXTS):
            packed = deflated(text)
            if number % 3:
                await peer.send(frame(1, packed, rsv=4))
            else:
                await peer.send(frame(1, packed[:5], fin=False, rsv=4) + frame(9, b"between") + frame(0, packed[5:]))
        await peer.send(frame(8, b"\x03\xe8"))

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    assert [message.data for message in recorder.messages if message.kind is Kind.TEXT] == TEXTS
    assert len(deflated(TEXTS[0])) < 20  # the context is used: without it nothing would be that small


async def test_a_final_block_ends_the_context_and_not_the_connection(raw_server: Any, dial: Any, frame: Any) -> None:
    """RFC 7692 section 7.2.3.4 lets a sender end its deflate stream with any message; the next one begins anew."""

    def ended(text: str) -> bytes:
        compressor = zlib.compressobj(9, wbits=-15)
        return compressor.compress(text.encode()) + compressor.flush(zlib.Z_FINISH) + b"\x00"

    async def script(peer: Any) -> None:
        await peer.accept(DEFLATE)
        for text in TEXTS:
            await peer.send(frame(1, ended(text), rsv=4))
        await peer.send(frame(8, b"\x03\xe8"))

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    assert [message.data for message in recorder.messages if message.kind is Kind.TEXT] == TEXTS


@pytest.mark.parametrize(("size", "code"), [(1000, 1000), (1001, 1009)])
async def test_the_limit_counts_what_comes_out(
    raw_server: Any, dial: Any, dialer: Any, frame: Any, size: int, code: int
) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(DEFLATE)
        await peer.send(frame(1, Deflater()("x" * size), rsv=4) + frame(8, b"\x03\xe8"))

    server = await raw_server(script)
    recorder = await dial(server.url, plugin=dialer(max_size=1000))
    assert (await recorder.end()).code == code


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
async def test_large_messages_are_inflated_in_steps(
    raw_server: Any, dial: Any, dialer: Any, frame: Any, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The sizes stand around those of steps, the last one is the limit; then comes one byte more."""
    monkeypatch.setattr(inflating, "STEP", step)
    deflated = Deflater()
    texts = [f"{size:04}" * (size // 4) + "x" * (size % 4) for size in (0, 1, 6, 7, 8, 63, 64, 65, 128, 129, 999, 1000)]

    async def script(peer: Any) -> None:
        await peer.accept(DEFLATE)
        for text in [*texts, "x" * 1001, "never"]:
            await peer.send(frame(1, deflated(text), rsv=4))
        assert [first for first, _ in await peer.until_close()] == [0x88]

    server = await raw_server(script)
    recorder = await dial(server.url, plugin=dialer(max_size=1000))
    assert (await recorder.end()).code == 1009
    assert [message.data for message in recorder.messages] == texts
