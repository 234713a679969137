"""What arrives, frame by frame: RFC 6455 section 5, above all what picows itself does not check."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libws_core.errors import ConnectionClosed, MessageTooBig, ProtocolError
from libws_core.types import Kind, Message
from libws_core.verdicts import FATAL, RETRY
from libws_picows import Picows, frames

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
CLOSE_1000 = b"\x03\xe8"


def serving(*data: bytes) -> Any:
    """A script: accept, send, read up to the close frame, close TCP as a server should."""

    async def script(peer: Any) -> None:
        await peer.accept()
        for each in data:
            await peer.send(each)
        await peer.until_close()

    return script


async def test_messages_arrive_in_order_whole_and_in_fragments(raw_server: Any, dial: Any, frame: Any) -> None:
    data = [
        frame(TEXT, "grüße".encode()),
        frame(BINARY, b"\x00\xff"),
        frame(TEXT),
        frame(TEXT, "gr\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode()[:3], fin=False),
        frame(PING, b"between"),
        frame(CONT, fin=False),
        frame(PONG),
        frame(CONT, "ü".encode()[1:] + b"n"),
        frame(BINARY, b"b" * 126),
        frame(BINARY, b"c" * 65535, fin=False),
        frame(CONT, b"d" * 65536),
        frame(CLOSE, b"\x03\xe9bye"),
    ]
    server = await raw_server(serving(b"".join(data)))
    recorder = await dial(server.url)
    error = await recorder.end()
    assert recorder.messages == [
        Message.text("grüße"),
        Message.binary(b"\x00\xff"),
        Message.text(""),
        Message.ping(b"between"),
        Message.pong(),
        Message.text("grün"),
        Message.binary(b"b" * 126),
        Message.binary(b"c" * 65535 + b"d" * 65536),
        Message.close(1001, "bye"),
    ]
    assert [type(message.data) for message in recorder.messages[:3]] == [str, bytes, str]
    assert recorder.messages[0].kind is Kind.TEXT
    assert (error.code, error.reason, error.initiator) == (1001, "bye", "remote")


async def test_a_ping_is_delivered_and_not_answered(raw_server: Any, dial: Any, frame: Any) -> None:
    sent: list[Any] = []

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(PING, b"early"))
        await peer.send(frame(PING, b"late") + frame(CLOSE, CLOSE_1000))
        sent.extend(await peer.until_close())

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    await server.settle()
    assert recorder.messages == [Message.ping(b"early"), Message.ping(b"late"), Message.close()]
    assert sent == [(0x88, CLOSE_1000)]


BROKEN: list[tuple[str, Any, int, Any]] = [
    ("a text that is not UTF-8", lambda f: f(TEXT, b"\xff"), 1007, FATAL),
    ("half a character at the end", lambda f: f(TEXT, b"\xc3", fin=False) + f(CONT, b"x"), 1007, FATAL),
    ("a surrogate", lambda f: f(TEXT, b"\xed\xa0\x80"), 1007, FATAL),
    *((f"reserved bit {bit}", lambda f, bit=bit: f(TEXT, b"x", rsv=bit), 1002, FATAL) for bit in (1, 2, 4)),
    ("a reserved bit on a ping", lambda f: f(PING, rsv=4), 1002, FATAL),
    ("a reserved bit inside a message", lambda f: f(TEXT, fin=False) + f(CONT, rsv=2), 1002, FATAL),
    *((f"opcode {op}", lambda f, op=op: f(op), 1002, FATAL) for op in (3, 7, 11, 15)),
    ("a continuation of nothing", lambda f: f(CONT, b"x"), 1002, FATAL),
    ("a message in a message", lambda f: f(TEXT, fin=False) + f(TEXT), 1002, FATAL),
    ("fragments in fragments", lambda f: f(TEXT, fin=False) + f(BINARY, fin=False), 1002, FATAL),
    ("a masked frame", lambda f: f(TEXT, b"x", mask=b"1234"), 1002, FATAL),
    ("a ping in fragments", lambda f: f(PING, fin=False), 1002, FATAL),
    ("a long ping", lambda f: f(PING, bytes(126)), 1002, FATAL),
    ("a length of 2 bytes that needs 0", lambda f: f(TEXT, b"x", form=2), 1002, FATAL),
    ("a length of 8 bytes that needs 2", lambda f: f(TEXT, b"x" * 200, form=8), 1002, FATAL),
    ("a length beyond all lengths", lambda f: b"\x82\xff" + b"\xff" * 8, 1002, FATAL),
    *((f"close code {c}", lambda f, c=c: f(CLOSE, c.to_bytes(2, "big")), 1002, RETRY) for c in (0, 999, 1004)),
    *((f"close code {c}", lambda f, c=c: f(CLOSE, c.to_bytes(2, "big")), 1002, RETRY) for c in (1005, 1006, 1015)),
    *((f"close code {c}", lambda f, c=c: f(CLOSE, c.to_bytes(2, "big")), 1002, RETRY) for c in (2999, 5000, 65535)),
    ("a close of one byte", lambda f: f(CLOSE, b"\x03"), 1002, RETRY),
    ("a reason that is not UTF-8", lambda f: f(CLOSE, b"\x03\xe8\xff"), 1007, FATAL),
]


@pytest.mark.parametrize("split", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize(("case", "broken", "code", "verdict"), BROKEN, ids=[case[0] for case in BROKEN])
async def test_what_rfc_6455_forbids_is_refused_with_its_code(
    raw_server: Any, dial: Any, frame: Any, case: str, broken: Any, code: int, verdict: Any, split: bool
) -> None:
    sent: list[tuple[int, bytes]] = []
    data = frame(TEXT, b"before") + broken(frame) + frame(TEXT, b"behind")

    async def script(peer: Any) -> None:
        await peer.accept()
        if split:
            for place in range(len(data)):
                await peer.send(data[place : place + 1])
                await asyncio.sleep(0)
        else:
            await peer.send(data)
        sent.extend(await peer.until_close())

    server = await raw_server(script)
    recorder = await dial(server.url)
    error = await recorder.end()
    await server.settle()
    assert recorder.messages == [Message.text("before")]
    assert (type(error), error.code, error.initiator, error.verdict) == (ProtocolError, code, "local", verdict)
    assert sent == [(0x88, code.to_bytes(2, "big"))]
    assert recorder.endings == 1


async def test_nothing_is_delivered_behind_a_close(raw_server: Any, dial: Any, frame: Any) -> None:
    behind = frame(TEXT, b"x") + frame(PING) + frame(CLOSE, b"\x03\xf3") + frame(TEXT, b"\xff") + frame(3)
    server = await raw_server(serving(frame(CLOSE, CLOSE_1000) + behind))
    recorder = await dial(server.url)
    error = await recorder.end()
    assert recorder.messages == [Message.close()]
    assert error.code == 1000


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
async def test_pause_holds_what_was_read_and_its_order(raw_server: Any, dial: Any, frame: Any, stop: int) -> None:
    data = frame(TEXT, b"1") + frame(PING, b"2") + frame(BINARY, b"3") + frame(PONG, b"4") + frame(CLOSE, CLOSE_1000)
    server = await raw_server(serving(data + frame(3)))
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause() if len(recorder.messages) == stop else None
    recorder.start()
    await recorder.count(stop)
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(recorder.messages) == stop
    if stop < 5:
        assert recorder.error is None
    recorder.connection.resume()
    assert len(recorder.messages) == stop, "nothing from within resume"
    error = await recorder.end()
    assert [message.data for message in recorder.messages[:-1]] == ["1", b"2", b"3", b"4"]
    assert error.code == 1000


async def test_an_error_waits_behind_what_was_read_before_it(raw_server: Any, dial: Any, frame: Any) -> None:
    server = await raw_server(serving(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(TEXT, b"\xff")))
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause()
    recorder.start()
    await recorder.count(1)
    for _ in range(20):
        await asyncio.sleep(0)
    assert recorder.error is None
    recorder.connection.resume()
    await recorder.count(2)
    recorder.connection.resume()
    assert (await recorder.end()).code == 1007


async def test_abort_in_the_middle_of_a_read_stops_delivery(raw_server: Any, dial: Any, frame: Any) -> None:
    server = await raw_server(serving(frame(TEXT, b"1") + frame(TEXT, b"2") + frame(PING)))
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.abort()
    recorder.start()
    error = await recorder.end()
    assert recorder.messages == [Message.text("1")]
    assert (error.code, error.initiator) == (1006, "local")


class TestLimits:
    @pytest.mark.parametrize("size", [10, 125, 126, 1000, 65536, 200_000])
    async def test_one_byte_more_than_max_size_is_refused(
        self, raw_server: Any, dial: Any, frame: Any, size: int
    ) -> None:
        """Also when the payload follows: picows would hand it over."""
        server = await raw_server(serving(frame(BINARY, bytes(size)), frame(BINARY, bytes(size + 1)), frame(TEXT)))
        recorder = await dial(server.url, plugin=Picows(max_size=size))
        error = await recorder.end()
        assert recorder.messages == [Message.binary(bytes(size))]
        assert (type(error), error.code, error.verdict) == (MessageTooBig, 1009, FATAL)

    async def test_the_header_of_a_frame_is_enough(self, raw_server: Any, dial: Any) -> None:
        server = await raw_server(serving(b"\x82\x7f" + (2**40).to_bytes(8, "big")))
        assert (await (await dial(server.url)).end()).code == 1009

    @pytest.mark.parametrize("size", [100, 1000, 20_000])
    async def test_fragments_count_together_by_their_headers(
        self, raw_server: Any, dial: Any, frame: Any, size: int
    ) -> None:
        exact = frame(TEXT, b"a", fin=False) + frame(CONT, b"b" * (size - 1))
        over = frame(TEXT, b"a", fin=False) + frame(CONT, b"b" * size)[: -size or None]
        server = await raw_server(serving(exact, over))
        recorder = await dial(server.url, plugin=Picows(max_size=size))
        error = await recorder.end()
        assert recorder.messages == [Message.text("a" + "b" * (size - 1))]
        assert (type(error), error.code) == (MessageTooBig, 1009)

    @pytest.mark.parametrize("size", [60, 600_000])
    async def test_a_fragment_that_is_there_whole_is_refused_too(
        self, raw_server: Any, dial: Any, frame: Any, size: int
    ) -> None:
        server = await raw_server(serving(frame(TEXT, b"a" * size, fin=False) + frame(CONT, b"b" * size)))
        recorder = await dial(server.url, plugin=Picows(max_size=size + size // 2))
        assert (await recorder.end()).code == 1009
        assert recorder.messages == []

    async def test_max_fragments(self, raw_server: Any, dial: Any, frame: Any) -> None:
        three = frame(TEXT, b"1", fin=False) + frame(CONT, fin=False)
        server = await raw_server(serving(three + frame(CONT, b"2") + three + frame(CONT, fin=False) + frame(CONT)))
        recorder = await dial(server.url, plugin=Picows(max_fragments=3))
        error = await recorder.end()
        assert recorder.messages == [Message.text("12")]
        assert (type(error), error.code) == (MessageTooBig, 1009)
        assert "3 fragments" in str(error)

    async def test_control_frames_are_not_limited(self, raw_server: Any, dial: Any, frame: Any) -> None:
        server = await raw_server(serving(frame(TEXT, b"ab", fin=False) + frame(PING, b"p" * 125) + frame(CONT)))
        recorder = await dial(server.url, plugin=Picows(max_size=2))
        assert await recorder.count(2) == [Message.ping(b"p" * 125), Message.text("ab")]

    async def test_no_limit(self, raw_server: Any, dial: Any, frame: Any) -> None:
        payload = bytes(17 * 2**20)
        server = await raw_server(serving(frame(BINARY, payload)))
        recorder = await dial(server.url, plugin=Picows(max_size=None))
        assert (await recorder.count(1))[0].data == payload


class TestBuffer:
    async def test_it_grows_for_a_large_frame_and_returns(self, raw_server: Any, dial: Any, frame: Any) -> None:
        number = frames._PATIENCE + 2
        go_on = [asyncio.Event() for _ in range(number)]

        async def script(peer: Any) -> None:
            await peer.accept()
            await peer.send(frame(TEXT, b"x" * 300_000))
            for each in go_on:
                await each.wait()
                await peer.send(frame(TEXT, "ü".encode()))
            await peer.until_close()

        server = await raw_server(script)
        recorder = await dial(server.url)
        usual = len(recorder.connection.get_buffer(-1))
        await recorder.count(1)
        assert len(recorder.connection.get_buffer(-1)) > 300_000
        for place, each in enumerate(go_on, 2):
            each.set()
            await recorder.count(place)
        assert recorder.messages[1:] == [Message.text("ü")] * number
        assert len(recorder.connection.get_buffer(-1)) == usual <= 64 * 1024

    async def test_a_header_that_promises_much_costs_nothing(self, raw_server: Any, dial: Any) -> None:
        """With no limit a length is believed only as far as bytes come."""
        came = asyncio.Event()

        async def script(peer: Any) -> None:
            await peer.accept()
            await peer.send(b"\x82\x7f" + (2**40).to_bytes(8, "big") + bytes(200_000))
            came.set()
            await peer.until_close()

        server = await raw_server(script)
        recorder = await dial(server.url, plugin=Picows(max_size=None))
        await came.wait()
        async with asyncio.timeout(10):
            while recorder.connection._reader._seeing:  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert len(recorder.connection.get_buffer(-1)) < 2**20
        assert recorder.messages == []

    async def test_a_connection_that_ended_holds_no_buffer(self, raw_server: Any, dial: Any) -> None:
        server = await raw_server(serving(b""))
        recorder = await dial(server.url)
        recorder.connection.abort()
        await recorder.end()
        assert not hasattr(recorder.connection._reader._parser, "get_buffer")


async def test_an_end_of_tcp_without_a_close_frame(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=b"\x81\x05hal")

    server = await raw_server(script)
    error = await (await dial(server.url)).end()
    assert type(error) is ConnectionClosed
    assert (error.code, error.initiator, error.verdict) == (1006, "network", RETRY)
