"""What arrives, frame by frame: RFC 6455 section 5."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest

from libws_core.errors import MessageTooBig, ProtocolError
from libws_core.types import Message
from libws_core.verdicts import FATAL, RETRY
from libws_websockets.reading import READ_SIZE

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10


def closing(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason


def serving(data: bytes, *headers: str) -> Any:
    """A script: accept, send these bytes, read up to the close frame, close TCP as a server should."""

    async def script(peer: Any) -> None:
        await peer.accept(*headers)
        await peer.send(data)
        await peer.until_close()

    return script


@pytest.mark.parametrize(
    ("bad", "verdict"),
    [(b"\x88\x01\x03", RETRY), (b"\x88\x02\x03\xee", RETRY), (b"\x88\x03\x03\xe8\xff", FATAL), (b"\x83\x00", FATAL)],
    ids=["half a code", "a reserved code", "a reason that is not UTF-8", "an unknown opcode"],
)
async def test_a_bad_close_frame_wants_to_end_this_connection_and_no_more(
    raw_server: Any, dial: Any, bad: bytes, verdict: Any
) -> None:
    server = await raw_server(serving(bad))
    error = await (await dial(server.url)).end()
    assert (type(error), error.verdict, error.initiator) == (ProtocolError, verdict, "local")


async def test_a_message_larger_than_the_read_buffer_arrives(raw_server: Any, dial: Any, frame: Any) -> None:
    payload = bytes(range(256)) * 4 * 1024 * 3
    data = frame(TEXT, b"x") + frame(BINARY, payload) + frame(BINARY, payload[1:]) + frame(TEXT, b"y")
    server = await raw_server(serving(data + frame(CLOSE, closing(1000))))
    recorder = await dial(server.url)
    await recorder.end()
    assert recorder.messages[:-1] == [
        Message.text("x"),
        Message.binary(payload),
        Message.binary(payload[1:]),
        Message.text("y"),
    ]


@pytest.mark.only_dialer("websockets", reason="picows goes back to its usual buffer some frames later")
async def test_the_read_buffer_shrinks_again(raw_server: Any, dial: Any, frame: Any) -> None:
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(BINARY, bytes(5 * READ_SIZE)))
        await go_on.wait()
        await peer.send(frame(TEXT, b"x"))
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.count(1)
    assert len(recorder.connection.get_buffer(-1)) <= READ_SIZE
    go_on.set()
    assert (await recorder.count(2))[1] == Message.text("x")


@pytest.mark.only_dialer("websockets", reason="the buffer of picows is tested with that plugin")
async def test_a_header_that_promises_much_costs_nothing(raw_server: Any, dial: Any, dialer: Any) -> None:
    """With no limit a length is believed only as far as bytes come."""
    promise = b"\x82\x7f" + (2**40).to_bytes(8, "big")

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(b"\x81\x01x" + promise + bytes(3 * READ_SIZE))
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, plugin=dialer(max_size=None))
    await recorder.count(1)
    async with asyncio.timeout(10):
        while recorder.connection._read.end < 3 * READ_SIZE:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert len(recorder.connection._read.data) <= 16 * READ_SIZE


class TestLimits:
    @pytest.mark.parametrize("size", [10, 125, 126, 65536, 200_000])
    async def test_a_message_of_max_size_passes_and_one_byte_more_does_not(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any, size: int
    ) -> None:
        """Also where all of it is there already."""
        server = await raw_server(serving(frame(BINARY, bytes(size)) + frame(BINARY, bytes(size + 1)) + frame(TEXT)))
        recorder = await dial(server.url, plugin=dialer(max_size=size))
        error = await recorder.end()
        assert recorder.messages == [Message.binary(bytes(size))]
        assert (type(error), error.code, error.verdict) == (MessageTooBig, 1009, FATAL)

    @pytest.mark.parametrize("size", [60, 600_000])
    async def test_a_fragment_too_many_that_is_there_whole_is_refused_too(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any, size: int
    ) -> None:
        server = await raw_server(serving(frame(TEXT, b"a" * size, fin=False) + frame(CONT, b"b" * size)))
        recorder = await dial(server.url, plugin=dialer(max_size=size + size // 2))
        assert (await recorder.end()).code == 1009
        assert recorder.messages == []

    async def test_control_frames_are_not_messages_to_be_limited(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any
    ) -> None:
        data = frame(TEXT, b"ab", fin=False) + frame(PING, b"p" * 125) + frame(CONT) + frame(PONG, b"p" * 60)
        server = await raw_server(serving(data))
        recorder = await dial(server.url, plugin=dialer(max_size=2))
        assert await recorder.count(3) == [Message.ping(b"p" * 125), Message.text("ab"), Message.pong(b"p" * 60)]

    async def test_no_limit(self, raw_server: Any, dial: Any, dialer: Any, frame: Any) -> None:
        payload = bytes(17 * 2**20)
        server = await raw_server(serving(frame(BINARY, payload)))
        recorder = await dial(server.url, plugin=dialer(max_size=None))
        await recorder.count(1)
        assert recorder.messages[0].data == payload


def deflate(data: bytes) -> bytes:
    """RFC 7692 section 7.2.1, without context takeover."""
    compressor = zlib.compressobj(9, wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=12; server_no_context_takeover"


@pytest.mark.only_dialer("websockets", reason="picows does not compress")
class TestDeflate:
    async def test_a_bomb_that_fills_max_size_exactly_first(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any
    ) -> None:
        """Room 0 must not mean "no limit" to zlib."""
        compressor = zlib.compressobj(9, wbits=-12)
        first = compressor.compress(bytes(1000)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        second = compressor.compress(bytes(2**20)) + compressor.flush(zlib.Z_SYNC_FLUSH)
        data = frame(BINARY, first, rsv=4, fin=False) + frame(CONT, second[:-4])
        server = await raw_server(serving(data, DEFLATE))
        recorder = await dial(server.url, plugin=dialer(max_size=1000))
        error = await recorder.end()
        assert recorder.messages == []
        assert (type(error), error.code) == (MessageTooBig, 1009)


async def test_a_server_that_closes_right_behind_the_101(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(TEXT, b"hello") + frame(CLOSE, closing(1013, b"full")))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    await server.settle()
    recorder.start()
    assert recorder.messages == [], "nothing from within start"
    error = await recorder.end()
    assert recorder.messages == [Message.text("hello"), Message.close(1013, "full")]
    assert (error.code, error.reason) == (1013, "full")


async def test_much_may_come_behind_the_101(raw_server: Any, dial: Any, frame: Any) -> None:
    payload = bytes(3 * 2**20)

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(BINARY, payload) + frame(TEXT, b"x"))
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    assert [len(message.data) for message in await recorder.count(2)] == [len(payload), 1]


async def test_received_tells_when_bytes_came_last(raw_server: Any, dial: Any, frame: Any) -> None:
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept()
        await go_on.wait()
        await peer.send(frame(TEXT, b"x")[:1])  # no message yet
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    connection = recorder.connection
    before = connection.received
    clock = asyncio.get_running_loop().time
    assert before <= clock()
    async with asyncio.timeout(10):
        while clock() == before:  # noqa: ASYNC110 - uvloop's clock counts milliseconds
            await asyncio.sleep(0)
    go_on.set()
    async with asyncio.timeout(10):
        while connection.received == before:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    assert recorder.messages == []
    assert before < connection.received <= clock()


async def test_start_works_once(raw_server: Any, dial: Any) -> None:
    server = await raw_server(serving(b""))
    recorder = await dial(server.url)
    with pytest.raises(RuntimeError):
        recorder.start()
