"""What is unpacked and packed, what is refused, and within which bounds."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libws_codec import Codec
from libws_codec.decoding import decoder
from libws_codec.encoding import encoder
from libws_core import (
    Client,
    ConnectionClosed,
    Disconnected,
    Kind,
    LibwsError,
    Message,
    MessageTooBig,
    OptionError,
    ProtocolError,
    SendError,
    Session,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, greet, virtual
from libws_ratelimit import Ratelimit

LIMIT = 1000
SECRET = "a secret of the user"


class Patience:
    @hookimpl
    def reconnect(self) -> float:
        return 0.5


def client_with(*plugins: object) -> Client:
    return Client("ws://test", plugins=["-standard", *plugins, Patience()])


def stream(level: int = 6) -> Callable[[bytes], bytes]:
    """A server's side of a zlib stream."""
    deflater = zlib.compressobj(level)
    return lambda data: deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)


def several(unpacked: Message | list[Message] | None) -> list[Message]:
    return [] if unpacked is None else [unpacked] if isinstance(unpacked, Message) else unpacked


async def refusal(codec: Codec, *says: Any) -> tuple[LibwsError, Message | None, list[Any]]:
    """The error that ends the connection, the close that the server is told by, and what the user got before."""
    async with MemoryDialer() as dialer:
        client = client_with(codec, dialer)
        lost: list[LibwsError] = []
        got: list[Any] = []
        client.on(Disconnected, lambda event: lost.append(event.error))
        client.on_message(lambda message: got.append(message.data))
        await client.open()
        peer = await dialer.accept()
        for said in says:
            peer.send(said)
        with pytest.raises(LibwsError):
            await client.wait_closed()
        await peer.wait_gone()
        return lost[0], peer.closed, got


# There and back

AT_ITS_PACE = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
documents = st.none() | st.integers(-(2**53), 2**53) | st.text() | st.lists(st.text() | st.booleans(), max_size=3)
payloads = st.text(min_size=1) | st.binary(min_size=1)
CHAINS = [["gzip"], ["zlib"], ["zlib-stream"], ["gzip", "zlib-stream"]]


@AT_ITS_PACE
@given(st.sampled_from(CHAINS), st.lists(payloads, max_size=8), st.data())
def test_what_is_packed_is_unpacked_again(chain: list[str], messages: list[str | bytes], data: st.DataObject) -> None:
    pack, unpack = encoder(chain[::-1], 6, "\n"), decoder(chain, 2**20, 10)
    for each in messages:
        packed = pack(Message.text(each) if isinstance(each, str) else Message.binary(each))
        assert packed.kind is Kind.BINARY
        pieces = [packed.data]
        if chain[0] == "zlib-stream":  # which may be cut anywhere
            cuts = sorted(data.draw(st.sets(st.integers(1, len(packed.data) - 1), max_size=3)))
            pieces = [packed.data[begin:end] for begin, end in itertools.pairwise([0, *cuts, len(packed.data)])]
        got = [out for piece in pieces for out in several(unpack(Message.binary(piece)))]
        assert got == [Message.binary(each.encode() if isinstance(each, str) else each)]


@AT_ITS_PACE
@given(
    st.sampled_from([("lines", "\n"), ("lines", "\r\n"), ("records", "\n")]),
    st.lists(documents, max_size=8),
    st.booleans(),
    st.sampled_from([None, "gzip", "zlib-stream"]),
    st.integers(1, 40),
)
def test_documents_come_out_one_by_one_however_they_were_joined(
    ending: tuple[str, str], values: list[Any], binary: bool, packer: str | None, size: int
) -> None:
    step, end = ending
    packers = [packer] if packer else []
    unpack = decoder([*packers, step, "json"], 2**20, 1000)
    texts = [json.dumps(value) for value in values]
    one_by_one = encoder(["json", step], 6, end)
    joined = "".join(one_by_one(Message.text(text)).data for text in texts)
    pieces = [joined[place : place + size] for place in range(0, len(joined), size)] if step == "records" else [joined]
    got = []
    pack = encoder(packers, 6, end) if packers else lambda message: message
    for piece in filter(None, pieces):
        message = Message.binary(piece.encode()) if binary else Message.text(piece)
        got += several(unpack(pack(message)))
    assert [(message.kind, message.json) for message in got] == [(Kind.TEXT, value) for value in values]


@AT_ITS_PACE
@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=1), max_size=6),
    st.sampled_from(["\n", "\r\n"]),
)
def test_only_line_ends_split_lines(lines: list[str], end: str) -> None:
    unpack = decoder(["lines"], 100, 100)
    assert several(unpack(Message.text(end.join(lines)))) == [Message.text(line) for line in lines]


@settings(AT_ITS_PACE, max_examples=300)
@given(
    st.sampled_from(
        [["gzip", "json"], ["zlib", "text", "records"], ["zlib-stream", "json"], ["lines", "json"], ["records"]]
    ),
    st.lists(st.binary() | st.text() | st.binary().map(lambda data: gzip.compress(data)[:-1]), max_size=5),
)
def test_whatever_arrives_comes_out_or_is_an_error_of_libws(chain: list[str], said: list[Any]) -> None:
    unpack = decoder(chain, 100, 3)
    for each in said:
        with contextlib.suppress(ProtocolError, MessageTooBig):
            for out in several(unpack(Message.text(each) if isinstance(each, str) else Message.binary(each))):
                assert len(out.data) <= max(100, len(each))


# One connection, from its first byte on


@virtual
async def test_the_stream_of_each_connection_is_its_own_and_log_in_reads_it() -> None:
    class Hello:
        @hookimpl
        async def establish(self, session: Session) -> None:
            assert (await session.recv({"op": 10})).kind is Kind.TEXT

    hello = b'{"op":10,"d":{"heartbeat_interval":45000}}'
    first, second = stream(), stream()
    dialer = MemoryDialer(greet(first(hello)), greet(second(hello)))
    async with dialer, client_with(Hello(), Codec(decode=["zlib-stream", "json"]), dialer) as client:
        peer = await dialer.accept()
        peer.send(first(b'{"op":0,"s":1}'))
        peer.send(first(b'{"op":0,"s":2}')[:7])  # the rest is lost
        assert (await client.recv()).json["s"] == 1
        peer.drop()
        peer = await dialer.accept()
        peer.send(second(b'{"op":0,"s":3}'))
        assert (await client.recv()).json["s"] == 3


@virtual
async def test_control_frames_pass_while_a_message_is_not_complete() -> None:
    class Watch:
        seen: list[Message]

        def __init__(self) -> None:
            self.seen = []

        @hookimpl
        def incoming(self) -> Any:
            return lambda message: self.seen.append(message) or message

    watch, pack = Watch(), stream()
    packed = pack(b"complete")
    async with (
        MemoryDialer() as dialer,
        client_with(watch, Codec(decode=["zlib-stream"], encode=["gzip"]), dialer) as client,
    ):
        peer = await dialer.accept()
        peer.send(packed[:4])
        peer.ping(b"1")
        peer.pong(b"2")
        peer.send(packed[4:-2])
        peer.send(packed[-2:])  # the mark of its end is cut in two
        assert (await client.recv()).data == b"complete"
        assert [message.kind for message in watch.seen] == [Kind.PING, Kind.PONG, Kind.BINARY]


@virtual
async def test_it_stands_at_the_wire_whatever_its_place_in_the_list() -> None:
    class Watch:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        @hookimpl
        def incoming(self) -> Any:
            return self.look

        @hookimpl
        def outgoing(self) -> Any:
            return self.look

        def look(self, message: Message) -> Message:
            self.seen.append(message.data)
            return message

    watch, dialer = Watch(), MemoryDialer()
    async with dialer, client_with(Codec(decode=["gzip"], encode=["gzip"]), watch, dialer) as client:
        peer = await dialer.accept()
        await client.send("out")
        peer.send((await peer.recv()).data)
        assert (await client.recv()).data == b"out"
        assert watch.seen == ["out", b"out"]


def test_behind_a_broken_message_nothing_is_unpacked() -> None:
    class Session:
        failed: list[LibwsError]

        def fail(self, error: LibwsError, code: int | None) -> None:
            assert code == error.code
            self.failed.append(error)

    session = Session()
    session.failed = []
    stage = Codec(decode=["json"]).incoming(session)  # type: ignore[arg-type]
    assert stage is not None
    assert stage(Message.text("{}")) == Message.text("{}")
    assert [stage(Message.text(data)) for data in ("{", "{}", "}")] == [None] * 3
    assert stage(Message.ping()) == Message.ping()
    assert len(session.failed) == 1


def test_an_empty_binary_is_no_message_of_a_stream() -> None:
    unpack, pack = decoder(["zlib-stream"], LIMIT, 1), stream()
    assert unpack(Message.binary(pack(b"1"))) == Message.binary(b"1")
    assert unpack(Message.binary(b"")) is None
    assert unpack(Message.binary(pack(b"2"))) == Message.binary(b"2")


@virtual
async def test_the_rate_limit_counts_what_is_written() -> None:
    dialer = MemoryDialer()
    async with dialer, client_with(Ratelimit(bytes=100), Codec(encode=["gzip"]), dialer) as client:
        await client.send("x" * 5000)
        peer = await dialer.accept()
        assert gzip.decompress((await peer.recv()).data) == b"x" * 5000


@virtual
async def test_json_is_parsed_once_and_kept() -> None:
    async with MemoryDialer() as dialer, client_with(Codec(decode=["json"]), dialer) as client:
        peer = await dialer.accept()
        peer.send('{"a":[]}')
        message = await client.recv()
        assert message._json == {"a": []}
        assert message.json is message.json


# What is broken

OTHER = gzip.compress(SECRET.encode())


@pytest.mark.parametrize(
    ("decode", "says", "told"),
    [
        (["gzip"], b"plain " + SECRET.encode(), "no gzip: incorrect header check"),
        (["gzip"], b"", "gzip that breaks off"),
        (["gzip"], OTHER[:-1], "gzip that breaks off"),
        (["gzip"], OTHER[:-8] + b"\0" * 8, "no gzip: incorrect data check"),
        (["gzip"], OTHER + b"\0", "gzip that breaks off"),
        (["gzip"], OTHER + b"more and more", "no gzip: incorrect header check"),
        (["gzip"], gzip.compress(b"") * 65, "gzip of more than 64 members"),
        (["zlib"], zlib.compress(b"x") + b"more", "zlib with 4 bytes behind its end"),
        (["zlib-stream"], OTHER, "no zlib stream: incorrect header check"),
        (["zlib-stream"], zlib.compress(b"x") + b"more", "a zlib stream with 4 bytes behind its end"),
        (["text"], b"ok\xff" + SECRET.encode(), "no UTF-8 at byte 2"),
        (["json"], "{" + SECRET, "JSON is malformed"),
        (["json"], b"\xff", "no UTF-8 at byte 0"),
        (["json"], "[" * 100_000, "JSON that is nested too deeply"),
        (["gzip", "lines", "json"], gzip.compress(b"{}\n{\n"), "Input data was truncated"),
    ],
)
@virtual
async def test_what_cannot_be_decoded_ends_the_connection_for_good(decode: Any, says: Any, told: str) -> None:
    error, closed, got = await refusal(Codec(decode=decode), says, b"what comes behind it", "is not delivered")
    assert isinstance(error, ProtocolError)
    assert (error.verdict, error.fault, error.code) == (Verdict.FATAL, "remote", 1007)
    assert told in str(error)
    assert "option 'decode' of codec" in str(error)
    assert SECRET not in str(error)
    assert error.__cause__ is None
    assert closed is not None
    assert closed.code == 1007
    assert got == []


@virtual
async def test_a_stream_that_has_ended_takes_nothing_more() -> None:
    error, _, got = await refusal(Codec(decode=["zlib-stream", "text"]), zlib.compress(b"the last"), b"x")
    assert "behind the end of the connection's zlib stream" in str(error)
    assert got == ["the last"]


@virtual
async def test_a_record_is_not_half_text_and_half_binary() -> None:
    error, _, got = await refusal(Codec(decode=["records"]), "one\x1etw", b"o\x1e")
    assert "in the middle of a record that began as text" in str(error)
    assert got == ["one"]


@virtual
async def test_a_user_may_say_that_a_bad_message_is_but_a_bad_day() -> None:
    options = {"backoff": {"codes": {"1007": "retry"}, "base": 0}, "codec": {"decode": ["json"]}}
    dialer = MemoryDialer()
    async with dialer, Client("ws://test", plugins=["codec", "-websockets", dialer], options=options) as client:
        (await dialer.accept()).send("no JSON")
        (await dialer.accept()).send("{}")
        assert (await client.recv()).json == {}


# Bounds


@pytest.mark.parametrize(
    ("decode", "says"),
    [
        (["gzip"], [gzip.compress(b"x" * (LIMIT + 1))]),
        (["gzip"], [gzip.compress(b"x" * LIMIT) + gzip.compress(b"x")]),
        (["zlib"], [zlib.compress(b"x" * (LIMIT + 1))]),
        (["zlib-stream"], [stream()(b"x" * (LIMIT + 1))]),
        (["zlib-stream"], [(packed := stream(0)(b"x" * (LIMIT + 1)))[:800], packed[800:-4], packed[-4:]]),
        (["records"], ["x" * LIMIT, "x"]),
        (["records"], ["ü" * 250, "ü" * 250, "x\x1e"]),
    ],
)
@virtual
async def test_a_message_that_is_too_big_ends_the_connection(decode: Any, says: list[Any]) -> None:
    error, closed, got = await refusal(Codec(decode=decode, max_size=LIMIT), *says)
    assert isinstance(error, MessageTooBig)
    assert f"more than {LIMIT} bytes, see option 'max_size' of codec" in str(error)
    assert error.verdict is Verdict.FATAL
    assert closed is not None
    assert closed.code == 1009
    assert got == []


@pytest.mark.parametrize(("step", "end"), [("lines", "\n"), ("records", "\x1e")])
@virtual
async def test_the_number_of_parts_is_bounded(step: Any, end: str) -> None:
    error, closed, got = await refusal(Codec(decode=[step], max_parts=3), f"x{end}" * 3, f"x{end}" * 4)
    assert isinstance(error, MessageTooBig)
    assert "more than 3 messages, see option 'max_parts' of codec" in str(error)
    assert closed is not None
    assert closed.code == 1009
    assert got == ["x"] * 3


@pytest.mark.parametrize("step", ["gzip", "zlib", "zlib-stream"])
def test_a_message_of_just_the_limit_passes(step: str) -> None:
    unpack, pack = decoder([step], LIMIT, 1), encoder([step], 9, "\n")
    for _ in range(2):
        unpacked = unpack(pack(Message.binary(b"x" * LIMIT)))
        assert unpacked == Message.binary(b"x" * LIMIT)


@pytest.mark.parametrize(
    ("step", "sizes"),
    [
        ("gzip", [100 * 2**20]),
        ("gzip", [2**20] * 64),
        ("gzip", [2**20, 1, 100 * 2**20]),  # what is left to inflate is nothing, which zlib takes for all
        ("zlib-stream", [100 * 2**20]),
    ],
)
def test_a_bomb_takes_no_more_memory_than_the_limit(step: str, sizes: list[int]) -> None:
    pack = encoder([step], 9, "\n")
    bomb = Message.binary(b"".join(pack(Message.binary(bytes(size))).data for size in sizes))
    unpack = decoder([step], 2**20, 1)
    tracemalloc.start()
    try:
        with pytest.raises(MessageTooBig):
            unpack(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * 2**20


def test_what_waits_for_its_rest_in_tiny_pieces_takes_no_more_than_it_holds() -> None:
    unpack = decoder(["records"], 2**20, 1)
    tracemalloc.start()
    try:
        for _ in range(100_000):
            assert several(unpack(Message.text("ü"))) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2**20


# Sending


@pytest.mark.parametrize(
    ("encode", "data", "told"),
    [
        (["json"], "{" + SECRET, "JSON is malformed"),
        (["json"], b"\xff" + SECRET.encode(), "it is no UTF-8"),
        (["lines"], f"one\r\n{SECRET}", "it holds '\\n', which ends a message"),
        (["json", "lines", "gzip"], "[1,\n2]", "it holds '\\n', which ends a message"),
        (["records"], b"one\x1etwo", "it holds '\\x1e', which ends a message"),
        (["zlib-stream"], "", "an empty message has no place in a stream"),
    ],
)
@virtual
async def test_what_cannot_be_encoded_fails_and_the_connection_goes_on(encode: Any, data: Any, told: str) -> None:
    async with MemoryDialer() as dialer, client_with(Codec(encode=encode), dialer) as client:
        with pytest.raises(SendError) as raised:
            await client.send(data)
        assert told in str(raised.value)
        assert SECRET not in str(raised.value)
        assert (raised.value.fault, raised.value.verdict) == ("local", Verdict.FATAL)
        await client.send("[]")
        assert (await (await dialer.accept()).recv()).data


@virtual
async def test_ends_are_put_behind_what_has_none() -> None:
    codec = Codec(encode=["lines"], line_end="\r\n")
    async with MemoryDialer() as dialer, client_with(codec, dialer) as client:
        peer = await dialer.accept()
        for sent in ("NICK a", "NICK a\r\n", b"NICK a", bytearray(b"NICK a")):
            await client.send(sent)
        assert [(await peer.recv()).data for _ in range(4)] == ["NICK a\r\n"] * 2 + [b"NICK a\r\n"] * 2


@virtual
async def test_a_stream_that_is_sent_can_be_read_by_zlib_message_by_message() -> None:
    codec = Codec(encode=["json", "zlib-stream"], level=9)
    async with MemoryDialer() as dialer, client_with(codec, dialer) as client:
        peer, inflater = await dialer.accept(), zlib.decompressobj()
        sizes = []
        for number in range(3):
            await client.send_json({"number": number, "text": "the same in each"})
            packed = (await peer.recv()).data
            assert packed.endswith(b"\0\0\xff\xff")
            assert json.loads(inflater.decompress(packed))["number"] == number
            sizes.append(len(packed))
        assert sizes[2] < sizes[0] / 2  # they share one context


def test_the_same_message_is_packed_to_the_same_bytes() -> None:
    pack = encoder(["gzip"], 6, "\n")
    packed = pack(Message.text("x")).data
    assert packed[4:8] == b"\0\0\0\0"  # RFC 1952 section 2.3.1: MTIME, 0 = no time stamp
    assert pack(Message.text("x")).data == packed


# Options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "options 'decode' and 'encode' are empty"),
        ({"decode": ["json", "gzip"]}, "option 'decode': 'gzip' must stand before 'json'"),
        ({"encode": ["gzip", "json"]}, "option 'encode': 'json' must stand before 'gzip'"),
        ({"decode": ["lines", "lines"]}, "option 'decode': 'lines' stands there twice"),
        ({"encode": ["lines", "records"]}, "option 'encode': messages end in lines or in records, not in both"),
        ({"decode": ["gzip", "brotli"]}, "option 'decode': at [1]: expected 'gzip', 'zlib'"),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError) as raised:
        Client("ws://test", plugins=["codec"], options={"codec": options})
    assert told in str(raised.value)


def test_a_client_without_its_side_has_no_stage() -> None:
    assert Codec(encode=["gzip"]).incoming(None) is None  # type: ignore[arg-type]
    assert Codec(decode=["gzip"]).outgoing() is None
    assert issubclass(MessageTooBig, ConnectionClosed)
