"""Any stream of frames, cut anywhere, gives what python-websockets' sans-I/O protocol gives frame by frame."""

from __future__ import annotations

import asyncio
import socket
import zlib
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import State
from websockets.uri import WebSocketURI

from libws_core.headers import Headers
from libws_core.types import Kind, Message
from libws_websockets.connection import WebSocketConnection

MAX_SIZE = 300
URI = WebSocketURI(False, "localhost", 80, "/", "")


def make_protocol() -> ClientProtocol:
    protocol = ClientProtocol(URI, state=State.OPEN, max_size=MAX_SIZE)
    protocol.extensions = [PerMessageDeflate(True, True, 12, 12)]
    return protocol


@dataclass
class WireFrame:
    """One frame as a server writes it."""

    first: int
    payload: bytes
    masked: bool = False

    def bytes(self) -> bytes:
        length = len(self.payload)
        if length < 126:
            head = bytes([self.first, length | self.masked << 7])
        else:
            head = bytes([self.first, 126 | self.masked << 7]) + length.to_bytes(2, "big")
        return head + (b"\0\0\0\0" if self.masked else b"") + self.payload


def compressed(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-12)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


texts = st.text(max_size=40).map(str.encode) | st.sampled_from(
    [b"\xff", b"\xc3", b"", b"a" * 125, b"a" * 126, b"a" * 299]
)
closes = st.builds(
    lambda code, reason: code.to_bytes(2, "big") + reason,
    st.sampled_from([1000, 1001, 1012, 3000, 4999, 1005, 999, 5000]),
    st.sampled_from([b"", b"bye", b"\xff"]),
) | st.sampled_from([b"", b"\x03"])
messages = st.one_of(
    st.builds(WireFrame, st.sampled_from([0x81, 0x82]), texts),
    st.builds(WireFrame, st.sampled_from([0x89, 0x8A]), st.binary(max_size=125)),
    st.builds(WireFrame, st.sampled_from([0xC1, 0xC2]), texts.map(compressed)),
    st.builds(WireFrame, st.just(0xC2), st.sampled_from([100, 300, 301, 5000]).map(lambda n: compressed(bytes(n)))),
)
pieces = st.one_of(
    st.builds(WireFrame, st.sampled_from([0x01, 0x02, 0x41]), texts),
    st.builds(WireFrame, st.sampled_from([0x00, 0x80]), texts | st.sampled_from([b"x" * 150])),
)
wrong = st.one_of(
    st.builds(WireFrame, st.integers(0, 255), st.binary(max_size=130), st.booleans()),
    st.builds(WireFrame, st.just(0x82), st.integers(298, 303).map(bytes)),
    st.builds(WireFrame, st.just(0x88), closes),
)
streams = st.lists(st.one_of(messages, messages, messages, pieces, pieces, wrong), max_size=12)


def expected(frames: list[WireFrame]) -> tuple[list[Message], int | None]:
    """What the protocol makes of each frame alone: the messages, and the code with which it ends, None if it does not.

    The UTF-8 of data frames is not its business. A control frame between fragments is judged alone: the protocol counts
    it against the room left in the message, and calls a close there an error.
    """
    protocol = make_protocol()
    result: list[Message] = []
    parts: list[bytes] = []
    kind = Kind.BINARY
    for frame in frames:
        control = frame.first & 8 and not frame.masked
        if control and len(frame.payload) > 125:
            return result, 1002  # the protocol may call it too big, if it is that as well
        parser = make_protocol() if control else protocol
        parser.receive_data(frame.bytes())
        events = parser.events_received()
        if not events:
            cause = parser.parser_exc
            if isinstance(cause, PayloadTooBig):
                return result, 1009
            return result, 1007 if isinstance(cause, UnicodeDecodeError) else 1002
        (event,) = events
        data = bytes(event.data)  # type: ignore[union-attr]
        opcode = event.opcode  # type: ignore[union-attr]
        if opcode in (Opcode.PING, Opcode.PONG):
            result.append(Message(Kind(opcode), data))
        elif opcode is Opcode.CLOSE:
            result.append(Message(Kind.CLOSE, data))
            return result, result[-1].code
        else:
            kind = kind if opcode is Opcode.CONT else Kind(opcode)
            parts.append(data)
            if event.fin:  # type: ignore[union-attr]
                data, parts = b"".join(parts), []
                try:
                    result.append(Message(kind, data.decode() if kind is Kind.TEXT else data))
                except UnicodeDecodeError:
                    return result, 1007
    return result, None


async def received(chunks: list[bytes]) -> tuple[list[Message], int | None]:
    """What a connection delivers when the bytes come in these chunks."""
    ours, theirs = socket.socketpair()
    with theirs:
        ours.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        connection = WebSocketConnection(
            make_protocol(),
            [transport],
            name="test",
            headers=Headers(),
            pending=b"",
            lost=False,
            max_size=MAX_SIZE,
            max_fragments=100,
        )
        transport.set_protocol(connection)
        result: list[Message] = []
        error: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        connection.start(result.append, error.set_result)
        await asyncio.sleep(0)
        for chunk in chunks:
            room = connection.get_buffer(-1)
            while chunk:
                size = min(len(chunk), len(room))
                room[:size] = chunk[:size]
                chunk = chunk[size:]
                connection.buffer_updated(size)
                room = connection.get_buffer(-1)
        connection.abort()
        ended = await error
    return result, None if ended.code == 1006 else ended.code


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(streams, st.data())
@example([WireFrame(0x01, b"a" * 299), WireFrame(0x80, b"b")], None)
@example([WireFrame(0x01, b"a" * 299), WireFrame(0x89, b"pp")], None)
@example([WireFrame(0x01, b"a"), WireFrame(0x89, b"p"), WireFrame(0x81, b"x")], None)
def test_any_stream_cut_anywhere(frames: list[WireFrame], data: Any) -> None:
    wire = b"".join(frame.bytes() for frame in frames)
    if data is None:
        cuts = list(range(len(wire)))
    else:
        cuts = sorted(data.draw(st.sets(st.integers(0, len(wire)), max_size=20)))
    chunks = [wire[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert asyncio.run(received(chunks)) == expected(frames)


def test_a_stream_cut_at_each_position() -> None:
    frames = [
        WireFrame(0x81, "grüße".encode()),
        WireFrame(0x02, b"a" * 130),
        WireFrame(0x89, b"p"),
        WireFrame(0x80, b"b"),
        WireFrame(0xC1, compressed(b"z" * 100)),
        WireFrame(0x88, b"\x03\xe8bye"),
    ]
    wire = b"".join(frame.bytes() for frame in frames)
    wanted = expected(frames)
    assert len(wanted[0]) == 5

    async def every_cut() -> None:
        for cut in range(len(wire) + 1):
            assert await received([wire[:cut], wire[cut:]]) == wanted

    asyncio.run(every_cut())
