"""Any stream of frames, cut anywhere, gives what RFC 6455 says of the frames one by one."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from libws_core.errors import ConnectionClosed
from libws_core.types import Kind, Message
from libws_picows.frames import FrameReader

MAX_SIZE = 9_000
MAX_FRAGMENTS = 4


class WireFrame(NamedTuple):
    first: int
    payload: bytes

    def bytes(self) -> bytes:
        size = len(self.payload)
        head = bytes([self.first, size if size < 126 else 126])
        return head + (size.to_bytes(2, "big") if size >= 126 else b"") + self.payload


def said(frames: list[WireFrame]) -> list[Any]:
    """What a receiver makes of whole frames: messages, then the code with which it fails, if it does."""
    out: list[Any] = []
    parts: list[bytes] = []
    kind = 0
    for first, payload in frames:
        opcode, final = first & 15, first > 127
        if opcode not in (0, 1, 2, 8, 9, 10) or (opcode > 7 and (not final or len(payload) > 125)):
            return [*out, 1002]
        if len(payload) > MAX_SIZE:
            return [*out, 1009]
        if first & 0x70:
            return [*out, 1002]
        if opcode == 8:
            code = int.from_bytes(payload[:2], "big")
            valid = 1000 <= code <= 1014 and code not in (1004, 1005, 1006)
            return [*out, Message(Kind.CLOSE, payload)] if valid or not payload else [*out, 1002]
        if opcode > 8:
            out.append(Message(Kind(opcode), payload))
            continue
        if (opcode == 0) is (not parts):
            return [*out, 1002]
        kind = opcode or kind
        parts.append(payload)
        if sum(map(len, parts)) > MAX_SIZE or len(parts) > MAX_FRAGMENTS:
            return [*out, 1009]
        if final:
            data, parts = b"".join(parts), []
            try:
                out.append(Message(Kind.TEXT, data.decode()) if kind == 1 else Message(Kind.BINARY, data))
            except UnicodeDecodeError:
                return [*out, 1007]
    return out


def read(data: bytes, cuts: list[int]) -> list[Any]:
    """What the reader makes of a stream that comes in pieces of these sizes, and then in one."""
    out: list[Any] = []
    ended: list[Any] = []

    def take(what: Message | ConnectionClosed) -> None:
        out.append(what)
        if isinstance(what, ConnectionClosed) or what.kind is Kind.CLOSE:
            ended.append(what)

    reader = FrameReader("a server", max_size=MAX_SIZE, max_fragments=MAX_FRAGMENTS, read_buffer=4096, take=take)
    reader.deliver = out.append
    sizes = iter(cuts)
    while data and not ended:
        view = reader.get_buffer()
        size = min(len(view), len(data), next(sizes, len(data)))
        view[:size] = data[:size]
        data = data[size:]
        reader.feed(size)
    assert len(ended) <= 1
    return [what.code if isinstance(what, ConnectionClosed) else what for what in out]


payloads = (
    st.text(max_size=10).map(str.encode)
    | st.sampled_from([b"\xff", b"\xc3", b"\xbc", b"", b"a" * 125, b"b" * 126])
    | st.sampled_from([2900, 3200, 3700, 5000, MAX_SIZE, MAX_SIZE + 1]).map(lambda size: b"c" * size)
)
usual = st.sampled_from([0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8A])
strange = st.sampled_from([0x83, 0x91, 0xC1, 0xA2, 0x09, 0x8B])
wire_frames = st.builds(WireFrame, usual, payloads)
endings = st.builds(WireFrame, strange, payloads) | st.sampled_from(
    [WireFrame(0x88, b""), WireFrame(0x88, b"\x03\xe8x"), WireFrame(0x88, b"\x03\xee"), WireFrame(0x88, b"\x03")]
)
streams = st.builds(
    lambda frames, end, behind: [*frames, *end, *behind],
    st.lists(wire_frames, max_size=12),
    st.lists(endings, max_size=1),
    st.lists(wire_frames, max_size=2),
)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames=streams, cuts=st.lists(st.integers(1, 40) | st.integers(1, 6000), max_size=60))
def test_a_stream_cut_anywhere(frames: list[WireFrame], cuts: list[int]) -> None:
    async def run() -> list[Any]:
        return read(b"".join(frame.bytes() for frame in frames), cuts)

    assert asyncio.run(run()) == said(frames)


def test_a_stream_cut_everywhere() -> None:
    """One stream of everything, cut into two at each place, and into single bytes."""
    frames = [
        WireFrame(0x81, "ü".encode() * 70),
        WireFrame(0x01, b"\xc3"),
        WireFrame(0x89, b"ping"),
        WireFrame(0x80, b"\xbc"),
        WireFrame(0x82, bytes(200)),
        WireFrame(0x8A, b""),
        WireFrame(0x88, b"\x03\xe8done"),
    ]
    data = b"".join(frame.bytes() for frame in frames)

    async def run() -> None:
        assert read(data, [1] * len(data)) == said(frames)
        for place in range(1, len(data)):
            assert read(data, [place]) == said(frames)

    asyncio.run(run())


def test_many_large_frames_grow_the_buffer_and_give_it_back() -> None:
    frames = [WireFrame(0x81 + place % 2, b"x" * (3000 + 37 * place)) for place in range(100)]
    data = b"".join(frame.bytes() for frame in frames)

    async def run() -> None:
        assert read(data, []) == said(frames)
        assert read(data, [frame.bytes().__len__() for frame in frames]) == said(frames)

    asyncio.run(run())
