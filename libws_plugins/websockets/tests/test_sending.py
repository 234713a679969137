"""What goes out: framing, masks, gathering, compression, back-pressure."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from libws_core.types import Kind, Message
from libws_websockets.outgoing import COMPRESS_FROM, LOW_MARK, apply_mask, mask_slowly


async def frames_of(peer: Any, number: int) -> list[tuple[int, bytes]]:
    return [await peer.read_frame() for _ in range(number)]


@pytest.mark.parametrize("size", [127, 512, 513, 300_000])
async def test_each_way_of_writing_makes_the_same_frames(raw_server: Any, dial: Any, size: int) -> None:
    """Small payloads are gathered, longer ones masked in another way, large ones written by themselves."""
    payload = (b"0123456789" * (size // 10 + 1))[:size]
    got: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        got.extend(await frames_of(peer, 2))

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.write(Message.binary(payload))
    recorder.connection.write(Message.text("next"))
    await server.settle()
    assert got == [(0x82, payload), (0x81, b"next")]


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_both_ways_of_masking_agree_and_are_their_own_inverse(payload: bytes, mask: bytes) -> None:
    assert bytes(apply_mask(payload, mask)) == mask_slowly(payload, mask)
    assert mask_slowly(mask_slowly(payload, mask), mask) == payload


async def test_every_frame_has_a_mask_of_its_own(raw_server: Any, dial: Any) -> None:
    number = 3000  # more than one helping of randomness
    masks: list[bytes] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        for _ in range(number):
            masks.append((await peer.reader.readexactly(7))[2:6])

    server = await raw_server(script)
    recorder = await dial(server.url)
    for _ in range(number):
        recorder.connection.write(Message.text("x"))
    await server.settle()
    assert len(set(masks)) > number - 5


async def test_text_is_utf8_and_a_surrogate_is_refused(raw_server: Any, dial: Any) -> None:
    got: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        got.append(await peer.read_frame())

    server = await raw_server(script)
    recorder = await dial(server.url)
    with pytest.raises(ValueError, match="surrogates"):
        recorder.connection.write(Message.text("\ud800"))
    recorder.connection.write(Message.text("grüße €"))
    await server.settle()
    assert got == [(0x81, "grüße €".encode())]


async def test_other_buffers_are_copied_when_written(raw_server: Any, dial: Any) -> None:
    got: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        got.extend(await frames_of(peer, 2))

    server = await raw_server(script)
    recorder = await dial(server.url)
    data = bytearray(b"before")
    recorder.connection.write(Message(Kind.BINARY, data))
    recorder.connection.write(Message(Kind.BINARY, memoryview(b"view")))
    data[:] = b"after!"
    await server.settle()
    assert got == [(0x82, b"before"), (0x82, b"view")]


async def test_control_frames(raw_server: Any, dial: Any) -> None:
    got: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        got.extend(await frames_of(peer, 2))

    server = await raw_server(script)
    recorder = await dial(server.url)
    with pytest.raises(ValueError, match="126 bytes"):
        recorder.connection.write(Message.ping(bytes(126)))
    recorder.connection.write(Message.ping(b"p" * 125))
    recorder.connection.write(Message.pong(b"q"))
    await server.settle()
    assert got == [(0x89, b"p" * 125), (0x8A, b"q")]


async def test_a_close_message_closes(raw_server: Any, dial: Any) -> None:
    got: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        got.extend(await peer.until_close())

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.write(Message.close(4000, "so"))
    recorder.connection.write(Message.text("too late"))
    await server.settle()
    assert got == [(0x88, b"\x0f\xa0so")]


async def test_writes_of_one_turn_leave_together(raw_server: Any, dial: Any) -> None:
    """One packet on loopback is one write."""
    sizes: list[int] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        sizes.append(len(await peer.reader.read(65536)))

    server = await raw_server(script)
    recorder = await dial(server.url)
    for _ in range(100):
        recorder.connection.write(Message.text("0123456789"))
    assert recorder.connection.buffered == 100 * 16
    await server.settle()
    assert sizes == [100 * 16]
    assert recorder.connection.buffered == 0


async def test_order_holds_between_small_and_large(raw_server: Any, dial: Any) -> None:
    got: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        got.extend(await frames_of(peer, 5))

    server = await raw_server(script)
    recorder = await dial(server.url)
    messages = [b"a", bytes(100_000), b"b", bytes(70_000), b"c"]
    for data in messages:
        recorder.connection.write(Message.binary(data))
    await server.settle()
    assert [payload for _, payload in got] == messages


@pytest.mark.only_dialer("websockets", reason="picows does not compress")
class TestDeflate:
    async def test_both_ways_with_a_real_server(self, dial: Any) -> None:
        async def echo(connection: ServerConnection) -> None:
            async for message in connection:
                await connection.send(message)

        async with serve(echo, "127.0.0.1", 0) as server:
            url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            recorder = await dial(url)
            assert "permessage-deflate" in recorder.connection.headers["Sec-WebSocket-Extensions"]
            sent = [Message.text("grüße " * 1000), Message.binary(bytes(200_000)), Message.text("short")] * 3
            for message in sent:
                recorder.connection.write(message)
            assert await recorder.count(9) == sent
            recorder.connection.close()
            await recorder.end()

    async def test_long_messages_are_compressed_and_short_ones_are_not(self, raw_server: Any, dial: Any) -> None:
        got: list[tuple[int, bytes]] = []

        async def script(peer: Any) -> None:
            await peer.accept("Sec-WebSocket-Extensions: permessage-deflate")
            got.extend(await frames_of(peer, 4))

        server = await raw_server(script)
        recorder = await dial(server.url)
        texts = [b"a" * (COMPRESS_FROM - 1), b"a" * COMPRESS_FROM, b"b" * 5000]
        recorder.connection.write(Message.text(texts[0].decode()))
        recorder.connection.write(Message.text(texts[1].decode()))
        recorder.connection.write(Message.binary(texts[2]))
        recorder.connection.write(Message.ping(b"p" * 125))
        await server.settle()
        inflater = zlib.decompressobj(wbits=-15)
        assert got[0] == (0x81, texts[0])
        assert got[1][0] == 0xC1
        assert inflater.decompress(got[1][1] + b"\0\0\xff\xff") == texts[1]
        assert got[2][0] == 0xC2
        assert inflater.decompress(got[2][1] + b"\0\0\xff\xff") == texts[2]
        assert len(got[2][1]) < 100
        assert got[3] == (0x89, b"p" * 125)

    async def test_off_means_not_offered(self, raw_server: Any, dial: Any, dialer: Any) -> None:
        offers: list[str | None] = []

        async def script(peer: Any) -> None:
            await peer.accept()
            offers.append(peer.header("Sec-WebSocket-Extensions"))

        server = await raw_server(script)
        await dial(server.url, plugin=dialer(compression=None))
        await dial(server.url)
        await server.settle()
        assert offers[0] is None
        assert offers[1] is not None
        assert offers[1].startswith("permessage-deflate")


class TestBackPressure:
    @pytest.mark.parametrize("size", [1000, 200_000])
    async def test_drained_is_called_when_the_peer_reads_again_through_tls(
        self, raw_server: Any, dial: Any, size: int
    ) -> None:
        read = asyncio.Event()
        total = 16 * 2**20

        async def script(peer: Any) -> None:
            await peer.accept()
            peer.writer.transport.pause_reading()
            await read.wait()
            peer.writer.transport.resume_reading()
            received = 0
            while received < total:
                received += len(await peer.reader.read(2**20))

        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        client = ssl.create_default_context()
        authority.configure_trust(client)
        server = await raw_server(script, context=context)
        recorder = await dial(server.url, ssl=client)
        connection = recorder.connection
        drained = asyncio.Event()
        marks: list[int] = []

        def note() -> None:
            marks.append(connection.buffered)
            drained.set()

        connection.drained = note
        payload = bytes(size)
        for _ in range(total // size + 1):
            connection.write(Message.binary(payload))
        assert connection.buffered > 2**20, "all layers are counted"
        for _ in range(20):
            await asyncio.sleep(0)
        assert connection.buffered > 2**20
        assert marks == []
        read.set()
        async with asyncio.timeout(30):
            await drained.wait()
        assert marks[0] <= LOW_MARK
        await server.settle()
        assert len(marks) == 1

    async def test_drained_is_called_when_the_system_takes_all_at_once(self, raw_server: Any, dial: Any) -> None:
        async def script(peer: Any) -> None:
            await peer.accept()
            await peer.wait_closed()

        server = await raw_server(script)
        recorder = await dial(server.url)
        drained = asyncio.Event()
        recorder.connection.drained = drained.set
        assert recorder.connection.drained is not None
        for _ in range(60):
            recorder.connection.write(Message.binary(bytes(500)))
        assert recorder.connection.buffered > LOW_MARK
        async with asyncio.timeout(10):
            await drained.wait()

    async def test_without_drained_all_the_same_arrives(self, raw_server: Any, dial: Any) -> None:
        got: list[int] = []

        async def script(peer: Any) -> None:
            await peer.accept()
            got.append(len((await peer.read_frame())[1]))

        server = await raw_server(script)
        recorder = await dial(server.url)
        recorder.connection.write(Message.binary(bytes(3 * 2**20)))
        await server.settle()
        assert got == [3 * 2**20]
