"""The way to the server: TLS, unix sockets, refusals, redirects, and a dial that is cancelled."""

from __future__ import annotations

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core.errors import ConnectError, HandshakeRejected, InvalidHandshake, NameResolutionError, TLSError
from libws_core.types import Message, Request
from libws_core.verdicts import FATAL, RETRY
from libws_picows import Picows


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def greet(peer: Any) -> None:
    await peer.accept(behind=b"\x81\x05hello")
    first, payload = await peer.read_frame()
    await peer.send(bytes([first, 126]) + len(payload).to_bytes(2, "big") + payload)
    await peer.until_close()


async def exchange(recorder: Any) -> None:
    assert await recorder.count(1) == [Message.text("hello")]
    recorder.connection.write(Message.binary(b"x" * 60_000))
    assert (await recorder.count(2))[1] == Message.binary(b"x" * 60_000)
    assert recorder.connection.received <= asyncio.get_running_loop().time()


async def test_tls(raw_server: Any, dial: Any, server_context: Any, trusting: Any) -> None:
    server = await raw_server(greet, context=server_context)
    await exchange(await dial(server.url.replace("ws:", "wss:"), ssl=trusting))


async def test_a_unix_socket(raw_server: Any, dial: Any, tmp_path: Path) -> None:
    server = await raw_server(greet, path=str(tmp_path / "s"))
    await exchange(await dial(f"ws+unix://{server.path}:/resource"))
    assert server.peers[0].request.startswith("GET /resource HTTP/1.1")


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConnectError) as caught:
        await Picows().dial(Request(f"ws+unix://{tmp_path}/none"))
    assert caught.value.verdict is RETRY


async def test_a_certificate_that_nobody_trusts(raw_server: Any, server_context: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.wait_closed()

    server = await raw_server(script, context=server_context)
    with pytest.raises(TLSError) as caught:
        await Picows().dial(Request(server.url.replace("ws:", "wss:"), proxy=None))
    assert caught.value.verdict is FATAL


async def test_no_tls_there(raw_server: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.send(b"SSH-2.0\r\n")
        await peer.wait_closed()

    server = await raw_server(script)
    with pytest.raises(TLSError) as caught:
        await Picows().dial(Request(server.url.replace("ws:", "wss:"), proxy=None))
    assert caught.value.verdict is RETRY


async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(NameResolutionError):
        await Picows().dial(Request("ws://nowhere.invalid/", proxy=None))


async def test_nobody_listens(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectError) as caught:
        await Picows().dial(Request(f"ws://127.0.0.1:{unused_tcp_port}/", proxy=None))
    assert caught.value.verdict is RETRY


@pytest.mark.parametrize(
    ("line", "status", "verdict"),
    [("520 ", 520, RETRY), ("520 Web Server", 520, RETRY), ("503", 503, RETRY), ("403 No", 403, FATAL)],
)
async def test_any_status_keeps_its_number(raw_server: Any, line: str, status: int, verdict: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(f"HTTP/1.1 {line}\r\nRetry-After: 7\r\nContent-Length: 9\r\n\r\n".encode())
        await peer.send(b"a re")
        await asyncio.sleep(0)
        await peer.send(b"ason")
        await peer.send(b".")
        await peer.wait_closed()

    server = await raw_server(script)
    with pytest.raises(HandshakeRejected) as caught:
        await Picows().dial(Request(server.url, proxy=None))
    error = caught.value
    assert (error.status, error.verdict, error.retry_after) == (status, verdict, 7)
    assert (error.headers["retry-after"], error.body) == ("7", b"a reason.")


async def test_a_server_that_closes_during_the_handshake(raw_server: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_request()

    server = await raw_server(script)
    with pytest.raises(ConnectError) as caught:
        await Picows().dial(Request(server.url, proxy=None))
    assert type(caught.value) is ConnectError


@pytest.mark.parametrize(
    "header", ["Sec-WebSocket-Protocol: chat", "Sec-WebSocket-Extensions: permessage-deflate"], ids=str
)
async def test_what_nobody_asked_for(raw_server: Any, header: str) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(header)
        await peer.wait_closed()

    server = await raw_server(script)
    with pytest.raises(InvalidHandshake) as caught:
        await Picows().dial(Request(server.url, proxy=None))
    assert caught.value.verdict is FATAL


async def test_the_subprotocol_that_was_chosen(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept("Sec-WebSocket-Protocol: two", "X-More: 1")
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, subprotocols=("one", "two"))
    assert recorder.connection.subprotocol == "two"
    assert recorder.connection.headers["x-more"] == "1"
    assert server.peers[0].header("Sec-WebSocket-Protocol") == "one, two"


async def test_credentials_stay_at_home_in_a_redirect(raw_server: Any, dial: Any) -> None:
    async def accept(peer: Any) -> None:
        await peer.accept()
        await peer.until_close()

    there = await raw_server(accept)

    async def redirect(peer: Any) -> None:
        await peer.read_request()
        location = there.url.replace("ws:", "http:") + "/there"
        await peer.send(f"HTTP/1.1 307 X\r\nLocation: {location}\r\n\r\n".encode())

    home = await raw_server(redirect)
    headers = {"Authorization": "secret", "Cookie": "secret", "X-Key": "secret", "Origin": "https://o.example"}
    await dial(home.url.replace("//", "//user:secret@"), headers=headers)
    assert "secret" in home.peers[0].request
    request = there.peers[0].request
    assert request.startswith("GET /there HTTP/1.1")
    assert "secret" not in request
    assert "Authorization" not in request
    assert there.peers[0].header("Origin") == "https://o.example"


async def test_redirects_end(raw_server: Any) -> None:
    async def redirect(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 302 X\r\nLocation: /again\r\n\r\n")

    server = await raw_server(redirect)
    with pytest.raises(InvalidHandshake, match="5 times"):
        await Picows().dial(Request(server.url, proxy=None))
    assert len(server.peers) == 6


async def test_never_from_wss_to_ws(raw_server: Any, server_context: Any, trusting: Any) -> None:
    async def redirect(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:1/\r\n\r\n")

    server = await raw_server(redirect, context=server_context)
    with pytest.raises(InvalidHandshake, match="wss to ws"):
        await Picows().dial(Request(server.url.replace("ws:", "wss:"), ssl=trusting, proxy=None))


async def test_through_a_proxy(raw_server: Any, dial: Any, server_context: Any, trusting: Any) -> None:
    origin = await raw_server(greet, context=server_context)

    async def tunnel(peer: Any) -> None:
        assert (await peer.read_request()).startswith(f"CONNECT 127.0.0.1:{origin.port} ")
        reader, writer = await asyncio.open_connection("127.0.0.1", origin.port)
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    proxy = await raw_server(tunnel)
    recorder = await dial(origin.url.replace("ws:", "wss:"), ssl=trusting, proxy=proxy.url.replace("ws:", "http:"))
    await exchange(recorder)


def sockets() -> set[str]:
    """The sockets that this process holds."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except OSError:
            continue
    return {target for target in found if target.startswith("socket:")}


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts sockets through /proc")
@pytest.mark.parametrize("stage", ["TLS", "the handshake", "half an answer"])
async def test_a_dial_that_is_cancelled_leaves_no_socket(raw_server: Any, stage: str) -> None:
    reached = asyncio.Event()

    async def script(peer: Any) -> None:
        if stage == "TLS":
            await peer.reader.read(1)
        else:
            await peer.read_request()
        if stage == "half an answer":
            await peer.send(b"HTTP/1.1 101 Swit")
        reached.set()
        await peer.wait_closed()

    server = await raw_server(script)
    before = sockets()
    url = server.url.replace("ws:", "wss:") if stage == "TLS" else server.url
    dialing = asyncio.ensure_future(Picows().dial(Request(url, proxy=None)))
    async with asyncio.timeout(10):
        await reached.wait()
        dialing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialing
        assert len(sockets() - before) <= 1, "the server's end, at most"
        await server.settle()
    assert sockets() <= before


async def test_a_context_that_is_given_beats_the_default(raw_server: Any, dial: Any, server_context: Any) -> None:
    server = await raw_server(greet, context=server_context)
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    await exchange(await dial(server.url.replace("ws:", "wss:"), ssl=careless))


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts sockets through /proc")
async def test_a_context_for_servers_leaves_no_socket(raw_server: Any, server_context: Any) -> None:
    """No transport ever takes this socket."""

    async def script(peer: Any) -> None:
        await peer.wait_closed()

    server = await raw_server(script)
    before = sockets()
    with pytest.raises(TLSError):
        await Picows().dial(Request(server.url.replace("ws:", "wss:"), ssl=server_context, proxy=None))
    assert len(sockets() - before) <= 1, "the server's end, at most"
    await server.settle()
    assert sockets() <= before
