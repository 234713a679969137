"""What a server may offer, and what it costs the client: memory is bounded whatever comes.

The client is another process, whose resident memory is measured, so that what C allocates counts as well. The server is
this one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import zlib
from collections.abc import Awaitable, Callable
from importlib.util import find_spec
from typing import Any

import pytest

from libws_core import Message
from libws_core.testing import Server, ServerPeer, by_hand

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads and resets counters of /proc/self")

MIB = 2**20
INBOX = 8 * MIB
"""The default of inbox_bytes."""
MAX_SIZE = 16 * MIB
"""The default of max_size."""

LONG = pytest.mark.endurance
COMBINATIONS = [
    pytest.param("websockets", "asyncio"),
    pytest.param("picows", "uvloop"),
    pytest.param("websockets", "uvloop", marks=LONG),
    pytest.param("picows", "asyncio", marks=LONG),
]
COMPRESSING = [each for each in COMBINATIONS if each.values[0] == "websockets"]

Measured = Callable[..., Awaitable[Any]]


@pytest.fixture
def measured(program: Callable[..., Awaitable[Any]], which: str, loop: str) -> Measured:
    """Start a client of that dialer on that loop."""
    for module in (f"libws_{which}", loop):
        if find_spec(module) is None:
            pytest.skip(f"{module} is missing")

    async def start(what: str, server: Server, **options: Any) -> Any:
        return await program("measured_client.py", what, server.url, which, loop, json.dumps(options))

    return start


# Pongs that nobody reads.


WARM = 20_000
"""Pings that go before, so that whatever is made once is made."""


def told(what: str, found: dict[str, Any]) -> None:
    """For `pytest -s`: the figures, in MiB."""
    print(
        f"\n  {what}:", ", ".join(f"{name} {found[name] / MIB:.2f} MiB" for name in ("peak", "after") if name in found)
    )


@pytest.mark.parametrize(("which", "loop"), COMBINATIONS)
async def test_400_000_pings_to_a_peer_that_reads_no_pongs(measured: Measured) -> None:
    count = 400_000
    async with asyncio.timeout(60), Server(by_hand(), receive_buffer=4096) as server:
        client = await measured("pings", server)
        peer = await server.accept()
        peer.stall()
        ping = b"\x89\x7d" + bytes(125)  # a server's frame, RFC 6455 section 5.2
        await peer.raw(ping * WARM)
        await peer.send("begin")
        for _ in range(count // 1000):
            await peer.raw(ping * 1000)
        await peer.send("end")
        found = await client.hear()
        assert (found["pings"], found["reconnects"]) == (WARM + count, 0)
        assert found["peak"] <= 2 * MIB
        told("pings", found)
        peer.resume()


# Bombs, RFC 7692.


def bomb_of(*sizes: int, kind: int = 2) -> bytes:
    """A message of zeros, compressed, in a frame for each size; one frame of 256 MiB takes 256 KiB."""
    press = zlib.compressobj(9, wbits=-15)
    frames = []
    for place, size in enumerate(sizes):
        payload = b"".join([*(press.compress(bytes(MIB)) for _ in range(size // MIB)), press.flush(zlib.Z_SYNC_FLUSH)])
        fin = place == len(sizes) - 1
        head = fin << 7 | (0x40 | kind if place == 0 else 0)  # RSV1 on the first frame only, section 6
        frames.append(framed(head, payload[:-4] if fin else payload))
    return b"".join(frames)


def framed(head: int, payload: bytes) -> bytes:
    """A server's frame, RFC 6455 section 5.2."""
    size = len(payload)
    return (
        bytes((head, 126)) + size.to_bytes(2, "big") + payload
        if size < 65536
        else (bytes((head, 127)) + size.to_bytes(8, "big") + payload)
    )


BOMBS: dict[str, Callable[[], bytes]] = {
    "binary": lambda: bomb_of(256 * MIB),
    "text": lambda: bomb_of(256 * MIB, kind=1),
    "second fragment": lambda: bomb_of(15 * MIB, 241 * MIB),
    "many fragments": lambda: bomb_of(*[MIB] * 256),
}


@pytest.mark.parametrize("bomb", BOMBS)
@pytest.mark.parametrize(("which", "loop"), COMPRESSING)
async def test_a_compression_bomb(bomb: str, measured: Measured) -> None:
    """Twice in one process, so that nothing is left which the second one would find."""
    data = BOMBS[bomb]()

    async def throw(peer: ServerPeer) -> None:
        peer.send("begin")
        await peer.expect("go")
        peer.raw(data)
        codes.append(await peer.wait_gone())

    codes: list[int] = []
    async with asyncio.timeout(60), Server(throw, compression=True) as server:
        client = await measured("bomb", server, rounds=2)
        for _ in range(2):
            found = await client.hear()
            told(f"bomb ({bomb})", found)
            assert (found["error"], found["code"]) == ("MessageTooBig", 1009)
            assert found["peak"] <= 2 * MAX_SIZE + MIB
            assert found["held"] <= MIB  # by a client that has failed and is still in somebody's hand
            assert found["after"] <= MIB
        assert codes == [1009, 1009]


@pytest.mark.parametrize(("which", "loop"), COMBINATIONS)
@pytest.mark.parametrize("announced", [256 * MIB, 2**62])
async def test_a_frame_that_announces_too_much(announced: int, measured: Measured) -> None:
    """It is refused by its header."""

    async def throw(peer: ServerPeer) -> None:
        peer.send("begin")
        await peer.expect("go")
        peer.raw(b"\x82\x7f" + announced.to_bytes(8, "big") + bytes(1024))
        codes.append(await peer.wait_gone())

    codes: list[int] = []
    async with asyncio.timeout(60), Server(throw) as server:
        client = await measured("bomb", server, rounds=1)
        found = await client.hear()
        assert (found["error"], found["code"]) == ("MessageTooBig", 1009)
        assert found["peak"] <= MIB
        assert codes == [1009]


# A slow consumer.


def numbered(kind: str, size: int) -> Callable[[int], Message]:
    """Messages of so many bytes on the wire that begin with their number."""
    rest = size - 8
    match kind:
        case "binary":
            filler = os.urandom(rest)
            return lambda number: Message.binary(b"%08d" % number + filler)
        case "ascii":
            text = "x" * rest
        case "japanese":  # three bytes a character in UTF-8
            text = "\u3042" * (rest // 3)
        case _:  # four
            text = "\U0001f600" * (rest // 4)
    return lambda number: Message.text(f"{number:08}{text}")


@pytest.mark.parametrize(("which", "loop"), COMBINATIONS)
@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("binary", 65_536),
        ("emoji", 65_536),
        pytest.param("binary", 840, marks=LONG),  # 10,000 of these are inbox_messages and inbox_bytes at once
        pytest.param("ascii", 65_536, marks=LONG),
        pytest.param("japanese", 65_536, marks=LONG),
    ],
)
async def test_a_slow_consumer_is_offered_256_mib(kind: str, size: int, measured: Measured) -> None:
    count = 256 * MIB // size
    sent = 0

    async def offer(peer: ServerPeer) -> None:
        nonlocal sent
        for number in range(200):  # what it costs to read at all is no growth
            await peer.send(make(number))
        peer.send("begin")
        await peer.expect("go", timeout=30)
        for number in range(count):
            await peer.send(make(number))
            sent += 1
        peer.send("end")
        await peer.wait_gone(60)

    make = numbered(kind, size)
    async with asyncio.timeout(60), Server(offer) as server:
        client = await measured("slow", server, pause_after=max(1, count // 200))
        stalled = -1
        while stalled != sent or not sent:  # the server comes to a stop
            stalled = sent
            await asyncio.sleep(0.3)
        assert sent * size < 64 * MIB
        await client.tell("measure")
        waiting = await client.hear()
        assert sent == stalled
        await client.tell("read")
        found = await client.hear()
        told(f"slow consumer ({kind}, {size} bytes), stalled after {stalled * size // MIB} MiB", found)
        assert waiting["peak"] <= INBOX + 2 * MIB
        assert found["peak"] <= INBOX + 2 * MIB
        assert (found["taken"], found["reconnects"]) == (count, 0)


# Opening and closing, again and again.


@pytest.mark.parametrize(("which", "loop"), COMBINATIONS)
@pytest.mark.parametrize(("warm", "count"), [(200, 400), pytest.param(1_000, 10_000, marks=LONG)])
async def test_open_close_cycles(warm: int, count: int, measured: Measured) -> None:
    async with asyncio.timeout(600), Server(lambda peer: None) as server:
        client = await measured("cycles", server, warm=warm, count=count)
        found = await client.hear(600)
        print(f"\n  {count} cycles: {found}")
        assert found["tasks"] == found["files"] == 0
        assert found["memory"] <= 64 * 1024
        assert server.count == warm + count + 1
