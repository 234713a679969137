"""The scripted server, verb by verb, held against python-websockets' client and against plain sockets."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidMessage, InvalidStatus

from libws_core.errors import ConnectTimeout
from libws_core.testing import (
    Gone,
    Server,
    ServerPeer,
    Unexpected,
    by_hand,
    cut,
    greet,
    hang,
    leaks,
    raw,
    refuse,
)
from libws_core.types import Message


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    async with leaks(tasks=False):
        yield


def dial(server: Server, **more: Any) -> connect:
    more = {"ping_interval": None, "compression": None, "proxy": None, "close_timeout": 2, **more}
    return connect(more.pop("url", server.url), **more)


async def pair(server: Server, **more: Any) -> tuple[ServerPeer, ClientConnection]:
    client = await dial(server, **more)
    return await server.accept(), client


class Plain:
    """A plain socket that talks to a server by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, server: Server) -> Plain:
        return cls(*await asyncio.open_connection(server.host, server.port))

    async def ask(self, extra: str = "") -> None:
        request = (
            "GET /plain?x=1 HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extra}\r\n"
        )
        self.writer.write(request.encode())
        await self.writer.drain()

    def segments(self) -> int | None:
        """Segments with data that came, where the system tells: tcpi_data_segs_in of Linux' struct tcp_info."""
        if not sys.platform.startswith("linux"):
            return None
        info = self.writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return int.from_bytes(info[152:156], sys.byteorder) if len(info) >= 156 else None

    async def read(self, count: int = -1) -> bytes:
        async with asyncio.timeout(10):
            return await (self.reader.read() if count < 0 else self.reader.readexactly(count))

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass


# A dialogue.


async def test_a_dialogue_by_hand() -> None:
    async with leaks(), Server(headers={"X-Served-By": "kit"}) as server:
        url = server.url + "chat?room=1"
        peer, client = await pair(server, url=url, additional_headers={"Authorization": "secret"})
        assert (peer.path, peer.headers["authorization"], peer.number) == ("/chat?room=1", "secret", 1)
        assert client.response is not None
        assert client.response.headers["X-Served-By"] == "kit"
        await client.send("hello")
        await peer.expect("hello")
        await client.send('{"op": "login"}')
        assert (await peer.expect({"op": "login"})).json == {"op": "login"}
        await client.send(b"\x00\x01")
        await peer.expect(b"\x00\x01")
        await peer.send("hi")
        await peer.send(b"\x02")
        await peer.send({"a": [1]})
        assert [await client.recv() for _ in range(3)] == ["hi", b"\x02", '{"a":[1]}']
        await peer.close(1012, "restart")
        with pytest.raises(ConnectionClosedError) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1012, "restart")
        assert peer.closed == Message.close(1012, "restart")
        assert peer.gone
        assert server.peers == []


async def test_a_close_of_the_client_is_answered() -> None:
    async with Server() as server:
        peer, client = await pair(server)
        assert server.peers == [peer]
        await client.close(4000, "bye")
        assert (client.close_code, client.close_reason) == (4000, "bye")
        assert await peer.wait_gone() == 4000
        with pytest.raises(Gone, match="the client closed with 4000 bye"):
            await peer.recv()
        with pytest.raises(Gone):
            peer.send("x")


async def test_a_script_has_a_step_for_each_connection_and_the_last_repeats() -> None:
    async def talk(peer: ServerPeer) -> None:
        await peer.send(f"you are {peer.number}")
        async for message in peer:
            await peer.send(message)

    async def short(peer: ServerPeer) -> None:
        await peer.send("bye")

    async with Server(refuse(503), refuse(429, {"Retry-After": "1"}, "slow"), by_hand(), short, talk) as server:
        with pytest.raises(InvalidStatus) as caught:
            await dial(server)
        assert caught.value.response.status_code == 503
        with pytest.raises(InvalidStatus) as caught:
            await dial(server)
        response = caught.value.response
        assert (response.status_code, response.headers["Retry-After"], response.body) == (429, "1", b"slow")
        peer, client = await pair(server)
        assert peer.number == 3
        await client.close()
        client = await dial(server)
        assert await client.recv() == "bye"
        with pytest.raises(ConnectionClosedOK):
            await client.recv()
        for number in (5, 6):
            async with dial(server) as client:
                assert await client.recv() == f"you are {number}"
                await client.send("echo")
                assert await client.recv() == "echo"
        assert server.count == 6
        assert [arrival.number for arrival in server.arrivals] == [1, 2, 3, 4, 5, 6]
        assert [arrival.path for arrival in server.arrivals] == ["/"] * 6
        times = [arrival.time for arrival in server.arrivals]
        assert times == sorted(times)
        assert server.arrivals[0].headers is not None
        assert "Sec-WebSocket-Key" in server.arrivals[0].headers


async def test_statuses_and_headers_are_answered_as_they_are_given() -> None:
    async with Server(refuse(520, {"Location": "/x", "Content-Length": "2"}, b"ab")) as server:
        plain = await Plain.open(server)
        await plain.ask()
        answer = await plain.read()
        assert answer.startswith(b"HTTP/1.1 520 \r\n")
        assert b"\r\nLocation: /x\r\n" in answer
        assert answer.count(b"Content-Length") == 1
        assert answer.endswith(b"\r\n\r\nab")
        await plain.close()
    with pytest.raises(ValueError, match="header 'X'"):
        refuse(400, {"X": "a\r\nb"})


# Rudeness.


async def test_a_stopped_server_refuses_by_tcp_and_comes_back_on_its_port() -> None:
    async with leaks(), Server() as server:
        port = server.port
        peer, client = await pair(server)
        await server.stop()
        assert peer.gone
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                await dial(server)
        await server.stop()
        await server.start()
        await server.start()
        assert server.port == port
        async with dial(server):
            await server.accept()
        assert server.count == 2
        await server.stop()


async def test_nobody_takes_the_port_of_a_stopped_server() -> None:
    async with Server() as server:
        await server.stop()
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind((server.host, server.port))


async def test_a_stopped_server_can_keep_its_connections() -> None:
    async with Server() as server:
        peer, client = await pair(server)
        await server.stop(keep=True)
        with pytest.raises(ConnectionRefusedError):
            await dial(server)
        await peer.send("still here")
        assert await client.recv() == "still here"
        await server.start()
        await client.close()


async def test_a_handshake_can_hang_until_the_client_gives_up() -> None:
    async with Server().hang() as server:
        with pytest.raises(TimeoutError):
            await dial(server, open_timeout=0.1)
        peer, client = await pair(server)
        assert peer.number == 2
        assert server.arrivals[0].path == "/"
        await client.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_a_handshake_can_be_cut(reset: bool) -> None:
    async with Server(cut(reset)) as server:
        plain = await Plain.open(server)
        await plain.ask()
        if reset:
            with pytest.raises(ConnectionResetError):
                await plain.read()
        else:
            assert await plain.read() == b""
        await plain.close()


async def test_a_handshake_can_be_answered_by_any_bytes() -> None:
    async with Server(raw(b"SSH-2.0-OpenSSH\r\n"), raw(b"HTTP/1.1 101 ", hold=True), by_hand()) as server:
        with pytest.raises(InvalidMessage):
            await dial(server)
        plain = await Plain.open(server)
        await plain.ask()
        assert await plain.read(13) == b"HTTP/1.1 101 "
        with pytest.raises(TimeoutError):
            await dial(server, url=server.url, open_timeout=0) if False else await asyncio.wait_for(
                plain.reader.read(1), 0.05
            )
        await plain.close()


async def test_greetings_come_in_the_segment_of_the_answer() -> None:
    async with Server(greet("one", Message.ping(b"p")), greet("two", then=lambda peer: None)) as server:
        plain = await Plain.open(server)
        await plain.ask()
        await plain.reader.readuntil(b"\r\n\r\n")
        assert await plain.read(8) == b"\x81\x03one\x89\x01p"
        assert plain.segments() in (1, None)
        assert (await server.accept()).number == 1
        await plain.close()
        async with dial(server) as client:
            assert await client.recv() == "two"
        with pytest.raises(Unexpected, match=r"got none in 0\.05 s \(2 attempts since the start\)"):
            await server.accept(timeout=0.05)


async def test_a_drop_ends_orderly_behind_what_was_sent() -> None:
    async with Server() as server:
        plain = await Plain.open(server)
        await plain.ask()
        await plain.reader.readuntil(b"\r\n\r\n")
        peer = await server.accept()
        peer.send("last")
        await peer.drop()
        assert peer.gone
        assert await plain.read() == b"\x81\x04last"
        await plain.close()


async def test_a_reset_is_a_reset() -> None:
    async with Server() as server:
        plain = await Plain.open(server)
        await plain.ask()
        await plain.reader.readuntil(b"\r\n\r\n")
        peer = await server.accept()
        await peer.drop(reset=True)
        with pytest.raises(ConnectionResetError):
            await plain.read()
        with pytest.raises(Gone, match="we have dropped"):
            await peer.recv()
        await plain.close()


async def test_a_silent_peer_reads_and_answers_nothing() -> None:
    async with Server() as server:
        peer, client = await pair(server, close_timeout=0.1)
        pong = await client.ping(b"1")
        await pong
        assert peer.pings == 1
        peer.silence()
        await client.ping(b"2")
        await client.send("read")
        await peer.expect(Message.ping(b"1"))
        await peer.expect(Message.ping(b"2"))
        await peer.expect("read")
        await client.close()
        await peer.expect(Message.close(1000))
        await peer.wait_gone()
        assert client.close_code == 1006


async def test_a_stalled_peer_does_not_read_until_it_resumes() -> None:
    async with Server(receive_buffer=4096) as server:
        peer, client = await pair(server, write_limit=1024, ping_interval=None)
        peer.silence(reading=False)
        peer.answer_pings = True

        async def flood() -> int:
            for count in range(10_000):
                await client.send(bytes(64 * 1024))
                if peer.received:
                    return count
            raise AssertionError("ten thousand messages fitted into the buffers")

        task = asyncio.create_task(flood())
        done, _ = await asyncio.wait([task], timeout=0.3)
        assert not done
        assert peer.received == 0
        peer.on_message = lambda message: None
        peer.resume()
        assert await task > 0
        await peer.drop(reset=True)
        await client.wait_closed()


async def test_pings_of_the_peer_are_seen_and_answered() -> None:
    async with Server() as server:
        peer, client = await pair(server)
        peer.ping(b"a")
        await peer.expect(Message.pong(b"a"))
        assert peer.pongs == 1
        peer.pong(b"unasked")
        await client.close()


async def test_messages_can_be_cut_into_frames_and_bytes_be_raw() -> None:
    async with Server() as server:
        peer, client = await pair(server)
        peer.fragments("he", "l", "lo")
        peer.fragments(b"a", b"b")
        assert [await client.recv(), await client.recv()] == ["hello", b"ab"]
        await client.send(["com", "e", " on"])
        await client.send([b"\x01", b"\x02"])
        await peer.expect("come on")
        await peer.expect(b"\x01\x02")
        await peer.raw(b"\xff\xff")
        with pytest.raises(ConnectionClosedError):
            await client.recv()
        assert await peer.wait_gone() == 1002


async def test_a_peer_may_go_on_after_its_close() -> None:
    async with Server() as server:
        plain = await Plain.open(server)
        await plain.ask()
        await plain.reader.readuntil(b"\r\n\r\n")
        peer = await server.accept()
        closing = peer.close(1000)
        peer.close(1001)
        peer.send("rude")
        assert await plain.read(10) == b"\x88\x02\x03\xe8\x81\x04rude"
        plain.writer.write(b"\x88\x82\0\0\0\0\x03\xe8")
        await closing
        assert await plain.read() == b""
        await plain.close()


async def test_an_awaited_send_waits_for_a_client_that_does_not_read() -> None:
    async with Server() as server:
        peer, client = await pair(server, max_queue=1, max_size=None)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 500:
                await peer.send(bytes(64 * 1024))
                sent += 1

        task = asyncio.create_task(flood())
        done, _ = await asyncio.wait([task], timeout=0.3)
        assert not done
        assert sent < 500
        for _ in range(500):
            assert len(await client.recv()) == 64 * 1024
        await task
        await peer.drop(reset=True)
        await client.wait_closed()


# TLS, subprotocols, compression.


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with leaks(), Server(ssl=server_tls) as server:
        assert server.url == f"wss://127.0.0.1:{server.port}/"
        peer, client = await pair(server, ssl=client_tls)
        await client.send("over TLS")
        await peer.expect("over TLS")
        await peer.close()
        await client.wait_closed()
        assert client.close_code == 1000


@pytest.mark.parametrize("reset", [False, True])
async def test_drops_over_tls(reset: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    async with leaks(), Server(ssl=server_tls) as server:
        peer, client = await pair(server, ssl=client_tls)
        await peer.drop(reset)
        await client.wait_closed()
        assert client.close_code == 1006


async def test_a_client_that_does_not_trust_us_is_no_failure(server_tls: ssl.SSLContext) -> None:
    async with leaks(), Server(ssl=server_tls) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await dial(server, ssl=ssl.create_default_context())
        assert server.count == 1
        assert server.arrivals[0].path is None


async def test_leaving_ends_a_tls_handshake_that_never_came(server_tls: ssl.SSLContext) -> None:
    server = Server(ssl=server_tls)
    async with leaks(), server:
        plain = await Plain.open(server)
        await server.reached(1)
        await server._end()
        await plain.read()
        await plain.close()


async def test_subprotocols_are_chosen_by_the_server() -> None:
    async with Server(subprotocols=["v2", "v1"]) as server:
        for offered, chosen in ((["v1", "v2"], "v2"), (["v1"], "v1"), (["v0"], None)):
            peer, client = await pair(server, subprotocols=offered)
            assert peer.subprotocol == client.subprotocol == chosen
            await client.close()


async def test_compression_is_agreed_if_asked_for() -> None:
    for compression in (True, False):
        async with Server(compression=compression) as server:
            peer, client = await pair(server, compression="deflate")
            assert client.response is not None
            assert ("Sec-WebSocket-Extensions" in client.response.headers) == compression
            await client.send("x" * 1000)
            await peer.expect("x" * 1000)
            peer.send("y" * 1000)
            peer.fragments("a" * 1000, "b" * 1000)
            assert await client.recv() == "y" * 1000
            assert await client.recv() == "a" * 1000 + "b" * 1000
            await client.close()
            plain = await Plain.open(server)
            await plain.ask("Sec-WebSocket-Extensions: permessage-deflate\r\n")
            await plain.reader.readuntil(b"\r\n\r\n")
            (await server.accept()).send("z" * 1000)
            assert (await plain.read(1) == b"\xc1") == compression  # RSV1, RFC 7692 section 6
            await plain.close()


async def test_ipv6() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with Server(host="::1") as server:
        assert server.url.startswith("ws://[::1]:")
        peer, client = await pair(server)
        await peer.close()
        await client.wait_closed()


# Failures, deadlines, cleaning up.


async def test_what_a_handler_raises_reaches_the_test() -> None:
    async def wrong(peer: ServerPeer) -> None:
        await peer.expect("hello", timeout=5)

    async def dialogue(text: str | None, waits: bool) -> None:
        async with Server(wrong) as server:
            client = await dial(server)
            if text is not None:
                await client.send(text)
                await client.wait_closed()
                assert client.close_code == 1006
            else:
                await client.close()
            if waits:
                await server.accept()

    for waits in (False, True):
        with pytest.raises(Unexpected, match="expected 'hello', got a text 'hullo'"):
            await dialogue("hullo", waits)
        with pytest.raises(Unexpected, match="expected 'hello', but the client closed with 1000"):
            await dialogue(None, waits)


async def test_a_client_that_breaks_the_protocol_is_a_failure() -> None:
    async def dialogue(data: bytes, extra: str = "") -> bytes:
        async with Server() as server:
            plain = await Plain.open(server)
            await plain.ask(extra)
            await plain.reader.readuntil(b"\r\n\r\n")
            plain.writer.write(data)
            answer = await plain.read()
            await plain.close()
        return answer

    with pytest.raises(Unexpected, match="the client broke the protocol: incorrect masking"):
        await dialogue(b"\x81\x05hello")
    with pytest.raises(Unexpected, match="sent text that is not UTF-8"):
        await dialogue(b"\x81\x81\0\0\0\0\xff\x88\x82\0\0\0\0\x03\xef")


async def test_a_request_that_is_none_is_a_failure() -> None:
    async def dialogue(data: bytes) -> bytes:
        async with Server() as server:
            plain = await Plain.open(server)
            plain.writer.write(data)
            answer = await plain.read()
            await plain.close()
        return answer

    with pytest.raises(Unexpected, match="did not receive a valid HTTP request"):
        await dialogue(b"NONSENSE\r\n\r\n")
    with pytest.raises(Unexpected, match="missing Connection header"):
        await dialogue(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")


async def test_waits_end_by_an_error_that_says_what_was_expected() -> None:
    async with Server() as server:
        with pytest.raises(Unexpected, match=r"expected a connection, got none in 0\.01 s"):
            await server.accept(timeout=0.01)
        peer, client = await pair(server)
        with pytest.raises(Unexpected, match=r"expected an object with \{'a': 1\}, got nothing in 0\.01 s"):
            await peer.expect({"a": 1}, timeout=0.01)
        await client.close()


async def test_leaving_ends_everything_that_was_started() -> None:
    async with leaks():
        async with Server(lambda peer: peer.recv(), hang()) as server:
            client = await dial(server)
            plain = await Plain.open(server)
            await plain.ask()
            await server.reached(2)
        await client.wait_closed()
        assert await plain.read() == b""
        await plain.close()


async def test_steps_that_make_no_sense_are_refused() -> None:
    with pytest.raises(TypeError, match="refuse with a status"):
        Server().refuse(ConnectTimeout("x"))


async def test_a_port_that_is_taken_is_an_error() -> None:
    async with Server() as server:
        with pytest.raises(OSError, match="in use"):
            async with Server(port=server.port):
                pass


def test_without_websockets_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == "websockets":
            raise ModuleNotFoundError(f"No module named {name!r}")
        return real(name, *rest)

    import libws_core.testing

    for name in ("libws_core.testing.server", "libws_core.testing.wire"):
        monkeypatch.delitem(sys.modules, name)
    for name in ("Server", "server", "wire"):
        monkeypatch.delattr(libws_core.testing, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"pip install 'libws-core\[testing\]'"):
        importlib.import_module("libws_core.testing").Server  # noqa: B018
    assert importlib.import_module("libws_core.testing").MemoryDialer
    monkeypatch.undo()
