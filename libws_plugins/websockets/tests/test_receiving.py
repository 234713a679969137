"""What arrives, frame by frame: RFC 6455 section 5."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib
from typing import Any

import pytest

from libws_core.errors import ConnectionClosed, MessageTooBig, ProtocolError
from libws_core.types import Kind, Message
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


async def test_every_kind_of_message_is_delivered_in_order(raw_server: Any, dial: Any, frame: Any) -> None:
    data = b"".join(
        [
            frame(TEXT, "grüße".encode()),
            frame(BINARY, b"\x00\xff"),
            frame(PING, b"are you there"),
            frame(PONG, b"yes"),
            frame(TEXT),
            frame(TEXT, b"a" * 126),
            frame(BINARY, b"b" * 65536),
            frame(CLOSE, closing(1001, b"bye")),
        ]
    )
    server = await raw_server(serving(data))
    recorder = await dial(server.url)
    await recorder.end()
    assert recorder.messages == [
        Message.text("grüße"),
        Message.binary(b"\x00\xff"),
        Message.ping(b"are you there"),
        Message.pong(b"yes"),
        Message.text(""),
        Message.text("a" * 126),
        Message.binary(b"b" * 65536),
        Message.close(1001, "bye"),
    ]
    assert all(type(message.data) is (str if message.kind is Kind.TEXT else bytes) for message in recorder.messages)


async def test_a_ping_is_delivered_and_not_answered(raw_server: Any, dial: Any, frame: Any) -> None:
    sent: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        # One alone, one in the way of the protocol: between two fragments.
        await peer.send(frame(PING, b"1") + frame(TEXT, b"a", fin=False) + frame(PING, b"2") + frame(CONT, b"b"))
        await peer.send(frame(CLOSE, closing(1000)))
        sent.append(await peer.read_frame())

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    await server.settle()
    assert recorder.messages[:-1] == [Message.ping(b"1"), Message.ping(b"2"), Message.text("ab")]
    assert sent == [(0x88, closing(1000))]


async def test_fragments_are_joined_across_control_frames(raw_server: Any, dial: Any, frame: Any) -> None:
    data = b"".join(
        [
            frame(TEXT, b"gr", fin=False),
            frame(PONG, b"x"),
            frame(CONT, "ü".encode()[:1], fin=False),  # a character may be cut in two
            frame(CONT, fin=False),
            frame(CONT, "ü".encode()[1:] + b"n"),
            frame(BINARY, b"1", fin=False),
            frame(CONT, b"2"),
            frame(TEXT, b"plain"),
            frame(CLOSE),
        ]
    )
    server = await raw_server(serving(data))
    recorder = await dial(server.url)
    error = await recorder.end()
    assert recorder.messages == [
        Message.pong(b"x"),
        Message.text("grün"),
        Message.binary(b"12"),
        Message.text("plain"),
        Message(Kind.CLOSE, b""),
    ]
    assert error.code == 1005


BAD: list[tuple[str, Any, int, type[ConnectionClosed]]] = [
    ("masked", lambda f: f(TEXT, b"x", mask=b"abcd"), 1002, ProtocolError),
    ("masked, long", lambda f: f(TEXT, b"x" * 500, mask=b"abcd"), 1002, ProtocolError),
    ("masked ping", lambda f: f(PING, b"x", mask=b"abcd"), 1002, ProtocolError),
    ("reserved bit 1 without an extension", lambda f: f(TEXT, b"x", rsv=4), 1002, ProtocolError),
    ("reserved bit 2", lambda f: f(BINARY, b"x", rsv=2), 1002, ProtocolError),
    ("reserved bit 3", lambda f: f(TEXT, b"x", rsv=1), 1002, ProtocolError),
    ("reserved bit on a ping", lambda f: f(PING, b"x", rsv=4), 1002, ProtocolError),
    ("reserved bit inside a message", lambda f: f(TEXT, fin=False) + f(CONT, rsv=2), 1002, ProtocolError),
    ("reserved bit on a close", lambda f: f(CLOSE, closing(1000), rsv=2), 1002, ProtocolError),
    ("opcode 3", lambda f: f(3, b"x"), 1002, ProtocolError),
    ("opcode 7, not final", lambda f: f(7, b"x", fin=False), 1002, ProtocolError),
    ("opcode 11", lambda f: f(11, b"x"), 1002, ProtocolError),
    ("opcode 15, empty", lambda f: f(15), 1002, ProtocolError),
    ("opcode 15, long", lambda f: f(15, b"x" * 126), 1002, ProtocolError),
    ("ping of 126 bytes", lambda f: f(PING, b"x" * 126), 1002, ProtocolError),
    ("pong of 65536 bytes", lambda f: f(PONG, b"x" * 65536), 1002, ProtocolError),
    ("close of 126 bytes", lambda f: f(CLOSE, closing(1000, b"x" * 124)), 1002, ProtocolError),
    ("fragmented ping", lambda f: f(PING, b"x", fin=False), 1002, ProtocolError),
    ("fragmented close", lambda f: f(CLOSE, closing(1000), fin=False), 1002, ProtocolError),
    ("continuation without a start", lambda f: f(CONT, b"x"), 1002, ProtocolError),
    ("continuation behind the end", lambda f: f(TEXT, b"x", fin=False) + f(CONT) + f(CONT), 1002, ProtocolError),
    ("text inside a text", lambda f: f(TEXT, b"x", fin=False) + f(TEXT, b"y"), 1002, ProtocolError),
    ("start inside a binary", lambda f: f(BINARY, b"x", fin=False) + f(TEXT, b"y", fin=False), 1002, ProtocolError),
    ("length in two bytes that fits into one", lambda f: f(TEXT, b"x" * 125, form=2), 1002, ProtocolError),
    ("length in eight bytes that fits into two", lambda f: f(BINARY, b"x" * 126, form=8), 1002, ProtocolError),
    ("ping's length in two bytes", lambda f: f(PING, b"x", form=2), 1002, ProtocolError),
    ("length with its first bit set", lambda f: b"\x82\x7f" + b"\xff" * 8, 1002, ProtocolError),
    ("close of one byte", lambda f: f(CLOSE, b"\x03"), 1002, ProtocolError),
    ("close code 0", lambda f: f(CLOSE, closing(0)), 1002, ProtocolError),
    ("close code 999", lambda f: f(CLOSE, closing(999)), 1002, ProtocolError),
    ("close code 1004", lambda f: f(CLOSE, closing(1004)), 1002, ProtocolError),
    ("close code 1005", lambda f: f(CLOSE, closing(1005)), 1002, ProtocolError),
    ("close code 1006", lambda f: f(CLOSE, closing(1006)), 1002, ProtocolError),
    ("close code 1015", lambda f: f(CLOSE, closing(1015)), 1002, ProtocolError),
    ("close code 2999", lambda f: f(CLOSE, closing(2999)), 1002, ProtocolError),
    ("close code 5000", lambda f: f(CLOSE, closing(5000)), 1002, ProtocolError),
    ("close code 65535", lambda f: f(CLOSE, closing(65535)), 1002, ProtocolError),
    ("close reason that is not UTF-8", lambda f: f(CLOSE, closing(1000, b"\xff")), 1007, ProtocolError),
    ("text that is not UTF-8", lambda f: f(TEXT, b"a\xc3("), 1007, ProtocolError),
    ("text with a lone surrogate", lambda f: f(TEXT, b"\xed\xa0\x80"), 1007, ProtocolError),
    ("text that ends inside a character", lambda f: f(TEXT, "ü".encode()[:1]), 1007, ProtocolError),
    ("fragmented text that is not UTF-8", lambda f: f(TEXT, b"\xc3", fin=False) + f(CONT, b"("), 1007, ProtocolError),
]


@pytest.mark.parametrize("split", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("case", "bad", "code", "kind"), BAD, ids=[case[0] for case in BAD])
async def test_what_rfc_6455_forbids_is_refused_with_its_code(
    raw_server: Any, dial: Any, frame: Any, case: str, bad: Any, code: int, kind: type[ConnectionClosed], split: bool
) -> None:
    sent: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        data = frame(TEXT, b"before") + bad(frame) + frame(TEXT, b"behind")
        size = 1 if split and len(data) < 1000 else len(data)
        for place in range(0, len(data), size):
            await peer.send(data[place : place + size])
            await asyncio.sleep(0)  # so that each byte is a packet of its own, on loopback
        sent.extend(await peer.until_close())

    server = await raw_server(script)
    recorder = await dial(server.url)
    error = await recorder.end()
    await server.settle()
    complete = [Message.text("x")] if case == "continuation behind the end" else []
    assert recorder.messages == [Message.text("before"), *complete]
    # Who sends a close frame, if a bad one, wants to end this connection and no more.
    verdict = RETRY if case.startswith(("close code", "close of one byte")) else FATAL
    assert (type(error), error.code, error.verdict, error.initiator) == (kind, code, verdict, "local")
    assert [(first, payload[:2]) for first, payload in sent] == [(0x88, closing(code))]
    assert recorder.endings == 1


@pytest.mark.parametrize("code", [1000, 1001, 1003, 1007, 1008, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999])
async def test_close_codes_of_the_registry_are_taken(raw_server: Any, dial: Any, frame: Any, code: int) -> None:
    server = await raw_server(serving(frame(CLOSE, closing(code, b"why"))))
    error = await (await dial(server.url)).end()
    assert (error.code, error.reason, error.initiator) == (code, "why", "remote")
    assert str(code) in str(error)
    assert "why" in str(error)


async def test_a_close_between_fragments_tells_its_code(raw_server: Any, dial: Any, frame: Any) -> None:
    server = await raw_server(serving(frame(TEXT, b"half", fin=False) + frame(CLOSE, closing(1012))))
    recorder = await dial(server.url)
    error = await recorder.end()
    assert (error.code, error.initiator) == (1012, "remote")
    assert recorder.messages == [Message.close(1012)]


async def test_nothing_is_delivered_behind_a_close(raw_server: Any, dial: Any, frame: Any) -> None:
    behind = frame(TEXT, b"x") + frame(PING) + frame(CLOSE, closing(1011)) + frame(TEXT, b"\xff")
    server = await raw_server(serving(frame(CLOSE, closing(1000)) + behind))
    recorder = await dial(server.url)
    error = await recorder.end()
    assert recorder.messages == [Message.close(1000)]
    assert error.code == 1000


async def test_frames_may_be_cut_at_every_byte(raw_server: Any, dial: Any, frame: Any) -> None:
    data = b"".join(
        [
            frame(TEXT, b"one"),
            frame(BINARY, b"2" * 126),
            frame(TEXT, b"a", fin=False),
            frame(PING, b"p"),
            frame(CONT, b"b"),
            frame(TEXT, b"c" * 130),
            frame(CLOSE, closing(1000)),
        ]
    )

    async def script(peer: Any) -> None:
        await peer.accept()
        for position in range(len(data)):
            await peer.send(data[position : position + 1])
            await asyncio.sleep(0)  # so that each byte is a packet of its own, on loopback
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    assert recorder.messages == [
        Message.text("one"),
        Message.binary(b"2" * 126),
        Message.ping(b"p"),
        Message.text("ab"),
        Message.text("c" * 130),
        Message.close(1000),
    ]


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
    @pytest.mark.parametrize("whole", [False, True], ids=["its header is enough", "it comes whole"])
    @pytest.mark.parametrize("size", [10, 125, 126, 1000, 65536, 200_000])
    async def test_a_message_of_max_size_passes_and_one_byte_more_does_not(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any, size: int, whole: bool
    ) -> None:
        second = frame(BINARY, bytes(size + 1))
        behind = frame(TEXT) if whole else b""
        server = await raw_server(
            serving(frame(BINARY, bytes(size)) + (second if whole else second[: -size - 1]) + behind)
        )
        recorder = await dial(server.url, plugin=dialer(max_size=size))
        error = await recorder.end()
        assert recorder.messages == [Message.binary(bytes(size))]
        assert (type(error), error.code, error.verdict) == (MessageTooBig, 1009, FATAL)

    @pytest.mark.parametrize("size", [100, 1000, 20_000])
    async def test_fragments_count_together(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any, size: int
    ) -> None:
        most = b"a" * (size - 40)
        exact = frame(TEXT, most, fin=False) + frame(CONT, b"b" * 39, fin=False) + frame(CONT, b"c")
        # Those and 40 leave no room: the header of one more byte is enough.
        over = frame(TEXT, most, fin=False) + frame(CONT, b"b" * 40, fin=False) + b"\x80\x01"
        server = await raw_server(serving(exact + over))
        recorder = await dial(server.url, plugin=dialer(max_size=size))
        error = await recorder.end()
        assert recorder.messages == [Message.text(most.decode() + "b" * 39 + "c")]
        assert (type(error), error.code) == (MessageTooBig, 1009)

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

    async def test_max_fragments(self, raw_server: Any, dial: Any, dialer: Any, frame: Any) -> None:
        exact = frame(TEXT, b"1", fin=False) + frame(CONT, fin=False) + frame(CONT, b"2")
        over = frame(TEXT, b"1", fin=False) + frame(CONT, fin=False) + frame(CONT, fin=False) + frame(CONT, fin=False)
        server = await raw_server(serving(exact + over))
        recorder = await dial(server.url, plugin=dialer(max_fragments=3))
        error = await recorder.end()
        assert recorder.messages == [Message.text("12")]
        assert (type(error), error.code) == (MessageTooBig, 1009)
        assert "3 fragments" in str(error)

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
    async def test_compressed_messages_whole_and_fragmented(self, raw_server: Any, dial: Any, frame: Any) -> None:
        packed = deflate("grüße ".encode() * 50)
        data = b"".join(
            [
                frame(TEXT, packed, rsv=4),
                frame(TEXT, b"plain"),
                frame(BINARY, packed[:5], rsv=4, fin=False),
                frame(PING, b"p"),
                frame(CONT, packed[5:]),
                frame(CLOSE, closing(1000)),
            ]
        )
        server = await raw_server(serving(data, DEFLATE))
        recorder = await dial(server.url)
        await recorder.end()
        assert recorder.messages[:-1] == [
            Message.text("grüße " * 50),
            Message.text("plain"),
            Message.ping(b"p"),
            Message.binary("grüße ".encode() * 50),
        ]

    @pytest.mark.parametrize("fragmented", [False, True])
    async def test_a_bomb_does_not_go_off(
        self, raw_server: Any, dial: Any, dialer: Any, frame: Any, fragmented: bool
    ) -> None:
        packed = deflate(bytes(50 * 2**20))
        data = frame(BINARY, packed, rsv=4)
        if fragmented:
            data = frame(BINARY, packed[:1000], rsv=4, fin=False) + frame(CONT, packed[1000:])
        server = await raw_server(serving(frame(TEXT, b"x") + data, DEFLATE))
        del packed, data
        tracemalloc.start()
        recorder = await dial(server.url, plugin=dialer(max_size=2**20))
        error = await recorder.end()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert recorder.messages == [Message.text("x")]
        assert (type(error), error.code) == (MessageTooBig, 1009)
        assert peak < 8 * 2**20

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

    @pytest.mark.parametrize(
        ("packed", "code"), [(b"\xff\xff\xff\xff", 1002), (deflate(b"a\xff"), 1007)], ids=["not deflate", "not UTF-8"]
    )
    async def test_broken_contents(self, raw_server: Any, dial: Any, frame: Any, packed: bytes, code: int) -> None:
        server = await raw_server(serving(frame(TEXT, packed, rsv=4), DEFLATE))
        error = await (await dial(server.url)).end()
        assert (type(error), error.code) == (ProtocolError, code)

    async def test_reserved_bit_inside_a_compressed_message(self, raw_server: Any, dial: Any, frame: Any) -> None:
        packed = deflate(b"x" * 100)
        data = frame(TEXT, packed[:2], rsv=4, fin=False) + frame(CONT, packed[2:], rsv=4)
        server = await raw_server(serving(data, DEFLATE))
        error = await (await dial(server.url)).end()
        assert (type(error), error.code) == (ProtocolError, 1002)


async def test_what_came_behind_the_101_is_kept_for_start(raw_server: Any, dial: Any, frame: Any) -> None:
    sent = asyncio.Event()

    async def script(peer: Any) -> None:
        # A ping and half a frame in the packet of the 101: neither may be swallowed or answered.
        half = frame(TEXT, b"split")
        await peer.accept(behind=frame(PING, b"early") + half[:4])
        await peer.send(half[4:] + frame(TEXT, b"late"))
        sent.set()
        assert await peer.wait_closed() == b""

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    await sent.wait()
    assert recorder.messages == []
    recorder.start()
    assert recorder.messages == [], "nothing from within start"
    assert await recorder.count(3) == [Message.ping(b"early"), Message.text("split"), Message.text("late")]


async def test_a_server_that_closes_right_behind_the_101(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(TEXT, b"hello") + frame(CLOSE, closing(1013, b"full")))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    await server.settle()
    recorder.start()
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
