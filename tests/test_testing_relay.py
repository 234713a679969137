"""The relay, verb by verb, between python-websockets' client and the scripted server, and under a client of ours."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.frames import Frame, Opcode

from libws_core import Client, Disconnected, Event, KeepAliveTimeout, Message, Reconnected
from libws_core.testing import Relay, Server, ServerPeer, Unexpected, hang, leaks, raw, refuse
from libws_core.testing.heads import FrameEnds, address
from libws_core.testing.lane import HELD

DEADLINE = 20


@pytest.fixture(autouse=True)
async def nothing_is_left(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if "dialer" in request.fixturenames:  # uvloop has other sockets of its own in each run of a loop
        yield
        return
    async with leaks(tasks=False), asyncio.timeout(DEADLINE):
        yield


def dial(relay: Relay, **more: Any) -> connect:
    more = {"ping_interval": None, "compression": None, "proxy": None, "close_timeout": 2, **more}
    return connect(relay.url, **more)


async def pair(relay: Relay, server: Server, **more: Any) -> tuple[ServerPeer, ClientConnection]:
    client = await dial(relay, **more)
    return await server.accept(), client


async def ends(client: ClientConnection) -> ConnectionClosedError:
    """Read to the end, which has to be one without our own close."""
    try:
        while True:
            await client.recv()
    except ConnectionClosedError as error:
        return error


def server_frame(opcode: Opcode, data: bytes) -> bytes:
    return bytes(Frame(opcode, data).serialize(mask=False))


# What passes


async def test_bytes_pass_as_they_are_in_both_directions() -> None:
    async with Server(compression=True, subprotocols=["b"]) as server, Relay(f"{server.url}path?a=1&b=%20") as relay:
        peer, client = await pair(relay, server, compression="deflate", subprotocols=["a", "b"])
        assert (peer.path, client.subprotocol) == ("/path?a=1&b=%20", "b")
        assert [each.name for each in client.protocol.extensions] == ["permessage-deflate"]
        big = os.urandom(300_000)
        await client.send(big)
        assert (await peer.recv()).data == big
        await peer.send(big)
        assert await client.recv() == big
        await client.close(4000)
        assert await peer.wait_gone() == 4000
        assert (relay.count, relay.connections, relay.peak) == (1, 1, 1)


async def test_host_and_origin_that_name_the_relay_name_the_server() -> None:
    async with Server() as server, Relay(server.url) as relay:
        own, its = f"127.0.0.1:{relay.port}", f"127.0.0.1:{server.port}"
        peer, client = await pair(relay, server, origin=f"http://{own}", additional_headers={"X-Own": own})
        assert (peer.headers["Host"], peer.headers["Origin"]) == (its, f"http://{its}")
        assert peer.headers["X-Own"] == own
        await client.close()


async def test_origin_and_host_of_somebody_else_pass() -> None:
    async with Server() as server, Relay(server.url) as relay:
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: example.com\r\nOrigin: https://example.com\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        peer = await server.accept()
        assert (peer.headers["Host"], peer.headers["Origin"]) == ("example.com", "https://example.com")
        writer.close()
        await peer.wait_gone()


@pytest.mark.parametrize(
    ("url", "netloc", "origin"),
    [
        ("ws://Example.com/x", "example.com", "http://example.com"),
        ("wss://example.com:443", "example.com", "https://example.com"),
        ("wss://u:p@example.com:80/", "example.com:80", "https://example.com:80"),
        ("ws://[::1]:9/", "[::1]:9", "http://[::1]:9"),
    ],
)
def test_address_is_named_as_browsers_name_it(url: str, netloc: str, origin: str) -> None:
    assert (address(url).netloc, address(url).origin) == (netloc, origin)


@pytest.mark.parametrize("url", ["http://example.com", "ws:///x", "ws+unix:///s:/", "ws://h:99999/", "ws://u:secret@"])
def test_what_is_no_server_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="a relay dials URLs like") as caught:
        Relay(url)
    assert "secret" not in str(caught.value)


def test_url_keeps_user_path_and_query() -> None:
    assert Relay("wss://u:p@example.com/a?b=c").url == "ws://u:p@127.0.0.1:0/a?b=c"


async def test_wss_is_dialed_with_tls() -> None:
    authority = trustme.CA()
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_side)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with Server(ssl=server_side) as server:
        target = f"wss://localhost:{server.port}/"
        async with Relay(target, ssl=trusting) as relay:
            peer, client = await pair(relay, server)
            await peer.send("hello")
            assert await client.recv() == "hello"
            relay.drop(reset=True)
            await ends(client)
            await peer.wait_gone()
        async with Relay(target) as relay:
            with pytest.raises(InvalidStatus) as caught:
                await dial(relay)
            assert caught.value.response.status_code == 502
            assert relay.problem is not None
            assert "CERTIFICATE_VERIFY_FAILED" in relay.problem


async def test_server_that_is_not_there_is_a_502() -> None:
    async with Server() as server, Relay(server.url) as relay:
        await server.stop()
        with pytest.raises(InvalidStatus) as caught:
            await dial(relay)
        assert caught.value.response.status_code == 502
        assert relay.problem is not None
        assert relay.problem.startswith(f"cannot connect to 127.0.0.1:{server.port}")


async def test_refusal_of_the_server_passes_with_its_body() -> None:
    async with Server(refuse(403, {"X-Why": "because"}, "no" * 1000)) as server, Relay(server.url) as relay:
        with pytest.raises(InvalidStatus) as caught:
            await dial(relay)
        answer = caught.value.response
        assert (answer.status_code, answer.headers["X-Why"], answer.body) == (403, "because", b"no" * 1000)


async def test_redirect_within_the_server_leads_to_the_relay() -> None:
    async with Server() as server, Relay(server.url) as relay:
        for location in (server.url, f"http://127.0.0.1:{server.port}/", "/"):
            server.first(refuse(307, {"Location": f"{location}there"}))
            peer, client = await pair(relay, server)
            assert peer.path == "/there"
            await client.close()
        assert relay.count == 6


async def test_redirect_past_the_relay_is_stopped() -> None:
    async with Server(refuse(302, {"Location": "ws://elsewhere.example/"})) as server, Relay(server.url) as relay:
        with pytest.raises(InvalidStatus) as caught:
            await dial(relay)
        assert caught.value.response.status_code == 502
        assert "Location" not in caught.value.response.headers
        assert relay.problem == "the server redirects to another origin, past the relay"


@pytest.mark.parametrize("early", [True, False])
async def test_client_that_leaves_during_the_handshake_leaves_nothing(early: bool) -> None:
    async with Server(hang()) as server, Relay(server.url) as relay:
        _, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET / HTTP/1.1\r\n" + b"" if early else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await relay.reached(1)
        if not early:
            await server.reached(1)
        writer.close()
        await writer.wait_closed()


async def test_heads_are_bounded() -> None:
    async with Server(raw(b"HTTP/1.1 101 x\r\nA: " + b"a" * 200_000, hold=True)) as server, Relay(server.url) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
        writer.close()
        with pytest.raises(InvalidStatus):
            await dial(relay)


# What is done to open connections


@pytest.mark.parametrize("reset", [True, False])
async def test_drop_ends_both_sides_without_a_close_frame(reset: bool) -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        assert (relay.open, relay.drop(reset)) == (1, 1)
        assert relay.open == 0
        lost = await ends(client)
        assert (lost.rcvd, isinstance(lost.__cause__, ConnectionResetError)) == (None, reset)
        assert await peer.wait_gone() == 1006


async def test_silence_holds_everything_and_release_passes_it() -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        assert relay.silence() == 1
        await client.send("one")
        peer.send("two")
        with pytest.raises(Unexpected):
            await peer.recv(timeout=0.2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.1)
        assert relay.release() == 1
        assert ((await peer.recv()).data, await client.recv()) == ("one", "two")
        await client.close()


async def test_client_that_leaves_the_silence_leaves_the_server_too() -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        relay.silence()
        client.transport.abort()
        assert await peer.wait_gone() == 1006


async def test_silence_keeps_no_more_than_its_bound() -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        relay.silence()
        sending = asyncio.ensure_future(peer.send(b"x" * 20 * HELD))
        done, _ = await asyncio.wait([sending], timeout=0.5)
        assert not done
        (link,) = relay._links
        assert HELD <= len(link._down._held) < 2 * HELD
        relay.drop(reset=True)
        await ends(client)
        await sending


async def test_half_open_ends_the_server_side_only() -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        assert relay.half_open() == 1
        await peer.wait_gone()
        for _ in range(50):
            await client.send(b"x" * 100_000)  # goes nowhere, and does not pile up
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.recv(), 0.1)
        assert (relay.open, relay.drop()) == (0, 1)
        await ends(client)


async def test_drip_passes_no_more_than_its_rate() -> None:
    loop = asyncio.get_running_loop()
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        began = loop.time()
        assert relay.drip(1000) == 1
        peer.send(b"x" * 500)
        await client.send("not slowed")
        assert (await peer.recv()).data == "not slowed"
        assert await client.recv() == b"x" * 500
        assert loop.time() - began >= 0.45
        relay.drip(1)
        peer.send("a")
        peer.send("b")
        relay.release()
        assert [await client.recv(), await client.recv()] == ["a", "b"]
        with pytest.raises(ValueError, match="more than 0"):
            relay.drip(0)
        await client.close()


async def test_close_comes_between_frames_and_the_server_learns_of_it() -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        whole = server_frame(Opcode.BINARY, b"x" * 100_000)
        peer.send("before")
        await peer.raw(whole[:50_000])
        assert await client.recv() == "before"
        assert relay.close(1012, "service restart") == 1
        assert relay.close() == 0
        await peer.raw(whole[50_000:])
        peer.send("never passed")
        assert await client.recv() == b"x" * 100_000
        lost = await ends(client)
        assert lost.rcvd is not None
        assert (lost.rcvd.code, lost.rcvd.reason) == (1012, "service restart")
        assert await peer.wait_gone() == 1012
        with pytest.raises(ValueError, match="123 bytes"):
            relay.close(1012, "x" * 124)


async def test_close_that_nobody_answers_ends_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libws_core.testing.link.LINGER", 0.1)
    async with Server() as server, Relay(server.url) as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        key = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n" + upgrade + key + b"\r\n")
        peer = await server.accept()
        await reader.readuntil(b"\r\n\r\n")
        relay.close(1012)
        assert await reader.read() == b"\x88\x02\x03\xf4"
        await peer.wait_gone()
        writer.close()


async def test_reader_that_is_slow_holds_the_server_up() -> None:
    async with Server() as server, Relay(server.url) as relay:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", relay.port))
        client = await dial(relay, sock=sock, max_queue=1, max_size=None)
        peer = await server.accept()
        assert relay.stalled_at is None
        pieces = [os.urandom(1_000_000) for _ in range(30)]

        async def feed() -> None:
            for piece in pieces:
                await peer.send(piece)

        feeding = asyncio.ensure_future(feed())
        done, _ = await asyncio.wait([feeding], timeout=1)
        assert not done
        assert relay.stalled_at is not None
        assert [await client.recv() for _ in pieces] == pieces
        await feeding
        await client.close()


# What is done to connections to come


async def test_refusal_does_not_reach_the_server() -> None:
    async with Server() as server, Relay(server.url) as relay:
        relay.refuse(429, {"Retry-After": "7"}, "slow down", times=2)
        relay.refuse(401)
        for status in (429, 429, 401):
            with pytest.raises(InvalidStatus) as caught:
                await dial(relay)
            assert caught.value.response.status_code == status
        assert server.count == 0
        _, client = await pair(relay, server)
        await client.close()
        assert relay.count == len(relay.arrivals) == 4


async def test_stop_and_start_keep_the_port_and_if_asked_the_connections() -> None:
    async with Server() as server, Relay(server.url) as relay:
        peer, client = await pair(relay, server)
        url = relay.url
        await relay.stop(keep=True)
        with pytest.raises(ConnectionRefusedError):
            await dial(relay)
        await peer.send("still here")
        assert await client.recv() == "still here"
        await relay.stop()
        await ends(client)
        await relay.start()
        assert relay.url == url
        _, client = await pair(relay, server)
        await client.close()


async def test_aim_leads_new_connections_elsewhere() -> None:
    async with Server() as one, Server() as two, Relay(one.url) as relay:
        first, a = await pair(relay, one)
        relay.aim(two.url)
        second, b = await pair(relay, two)
        for peer, client in ((first, a), (second, b)):
            await peer.send("yours")
            assert await client.recv() == "yours"
            await client.close()
        assert relay.peak == 2


async def test_one_connection_too_many_ends_the_oldest() -> None:
    async with Server() as server, Relay(server.url, most=2) as relay:
        pairs = [await pair(relay, server) for _ in range(4)]
        for _, client in pairs[:2]:
            await ends(client)
        for peer, client in pairs[2:]:
            await peer.send("here")
            assert await client.recv() == "here"
            await client.close()


# Under a client


@pytest.mark.usefixtures("each_dialer")
async def test_client_rides_out_what_a_relay_does() -> None:
    def greet(peer: ServerPeer) -> None:
        peer.send(f"hello {peer.number}")

    options = {"backoff": {"base": 0.01}, "ping": {"interval": 0.1, "timeout": 0.1}}
    async with leaks(), asyncio.timeout(DEADLINE), Server(greet) as server, Relay(server.url) as relay:
        events: asyncio.Queue[Any] = asyncio.Queue()
        client = Client(relay.url, options=options, proxy=None)
        client.on(Event, lambda event: events.put_nowait(event) if isinstance(event, Disconnected | Reconnected) else 0)
        faults: list[tuple[Callable[[], int], int, type[Exception] | None]] = [
            (lambda: relay.drop(reset=True), 1006, None),
            (relay.drop, 1006, None),
            (relay.silence, 1006, KeepAliveTimeout),
            (relay.half_open, 1006, KeepAliveTimeout),
            (lambda: relay.close(1012), 1012, None),
        ]
        async with client:
            for fault, code, kind in faults:
                assert (await client.recv()).data == f"hello {server.count}"
                assert fault() == 1
                lost = (await events.get()).error
                assert lost.code == code
                assert isinstance(lost, KeepAliveTimeout) == (kind is KeepAliveTimeout)
                assert isinstance(await events.get(), Reconnected)
            assert relay.peak == 1


# Where frames end

frames = st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.sampled_from([0, 1, 125, 126, 300, 65_535, 65_536])))


@given(frames, st.lists(st.integers(1, 70_000)), st.booleans())
def test_frame_ends_are_found_however_the_stream_is_cut(
    shapes: list[tuple[int, int]], cuts: list[int], masked: bool
) -> None:
    made = [bytes(Frame(Opcode(op), b"\x88" * size).serialize(mask=masked)) for op, size in shapes]
    stream, boundaries, at = b"".join(made), {0}, 0
    for frame in made:
        at += len(frame)
        boundaries.add(at)
    ends, at = FrameEnds(), 0
    for cut in [*cuts, len(stream)]:
        piece = stream[at : at + cut]
        assert ends.follow(piece) == len(piece)
        at += len(piece)
        assert ends.between == (at in boundaries)
    for place in range(0, len(stream), max(1, len(stream) // 7)):
        ends = FrameEnds()
        ends.follow(stream[:place])
        assert place + ends.follow(stream[place:], one=True) == min(each for each in boundaries if each >= place)


def test_relay_counts_nothing_where_nobody_is() -> None:
    relay = Relay("ws://127.0.0.1:9/")
    acts = (relay.drop, relay.silence, relay.half_open, relay.release, relay.close, lambda: relay.drip(1))
    assert [act() for act in acts] == [0] * 6
    assert Message.close(1012).code == 1012
