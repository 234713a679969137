"""Cancelled at any await, a dial leaves no socket, no task and no warning."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core.errors import HandshakeRejected, TLSError
from libws_core.types import Request


def sockets() -> set[str]:
    """The sockets that this process holds."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts sockets through /proc")


async def nothing(peer: Any) -> None:
    """Take what comes and say nothing."""
    await peer.wait_closed()


async def tunnel_only(peer: Any) -> None:
    await peer.read_request()
    await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
    await peer.wait_closed()


async def half_an_answer(peer: Any) -> None:
    await peer.read_request()
    await peer.send(b"HTTP/1.1 101 Switching")
    await peer.wait_closed()


async def half_a_body(peer: Any) -> None:
    await peer.read_request()
    await peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 9\r\n\r\nhalf")
    await peer.wait_closed()


async def socks_greeting_only(peer: Any) -> None:
    await peer.reader.readexactly(3)
    await peer.send(b"\x05\x00")
    await peer.wait_closed()


STAGES: list[tuple[str, Any, str, str | None]] = [
    ("the handshake", nothing, "ws://127.0.0.1:{port}/", None),
    ("half an answer", half_an_answer, "ws://127.0.0.1:{port}/", None),
    ("the body of a refusal", half_a_body, "ws://127.0.0.1:{port}/", None),
    ("TLS", nothing, "wss://127.0.0.1:{port}/", None),
    ("the tunnel", nothing, "ws://example.test/", "http://127.0.0.1:{port}"),
    ("TLS with the proxy", nothing, "ws://example.test/", "https://127.0.0.1:{port}"),
    ("TLS through the proxy", tunnel_only, "wss://example.test/", "http://127.0.0.1:{port}"),
    ("the handshake through the proxy", tunnel_only, "ws://example.test/", "http://127.0.0.1:{port}"),
    ("the greeting of SOCKS", nothing, "ws://example.test/", "socks5h://127.0.0.1:{port}"),
    ("the request of SOCKS", socks_greeting_only, "ws://example.test/", "socks5h://127.0.0.1:{port}"),
]


@pytest.mark.measured
@pytest.mark.parametrize(("stage", "script", "url", "proxy"), STAGES, ids=[stage[0] for stage in STAGES])
async def test_a_peer_that_falls_silent(
    raw_server: Any, dialer: Any, stage: str, script: Any, url: str, proxy: str | None
) -> None:
    server = await raw_server(script)
    tasks = asyncio.all_tasks()
    before = sockets()
    request = Request(url.format(port=server.port), proxy=proxy and proxy.format(port=server.port))
    dialing = asyncio.ensure_future(dialer().dial(request))
    async with asyncio.timeout(10):
        await server.connected.wait()
    for _ in range(200):  # into the wait, past whatever this server does say
        await asyncio.sleep(0)
    assert not dialing.done()
    begin = time.monotonic()
    dialing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialing
    assert time.monotonic() - begin < 0.1
    await server.settle()  # its end of the socket saw the end
    assert asyncio.all_tasks() - tasks <= server._tasks
    assert sockets() <= before


async def test_every_turn_of_a_dial(raw_server: Any, dialer: Any) -> None:
    """Cancelled after n turns of the loop, for each n until it is done: through tunnel, TLS and handshake."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)

    async def accepting(peer: Any) -> None:
        try:
            await peer.accept()
            await peer.wait_closed()
        except (asyncio.IncompleteReadError, OSError):
            pass

    server = await raw_server(accepting, context=context)

    async def proxying(peer: Any) -> None:
        try:
            await peer.read_request()
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        except (asyncio.IncompleteReadError, OSError):
            return

        async def relay(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    target.write(data)
            except OSError:
                pass
            target.close()

        peer.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.gather(relay(peer.reader, writer), relay(reader, peer.writer))
        try:
            await writer.wait_closed()
        except OSError:
            pass

    proxy = await raw_server(proxying)
    request = Request(server.url.replace("ws:", "wss:"), ssl=client, proxy=f"http://localhost:{proxy.port}")
    before = sockets()
    done = False
    for number in range(500):
        dialing = asyncio.ensure_future(dialer().dial(request))
        for _ in range(number):
            await asyncio.sleep(0)
            if dialing.done():
                break
        done = dialing.done()
        dialing.cancel()
        try:
            connection = await dialing
        except asyncio.CancelledError:
            pass
        else:
            assert connection is not None
            connection.abort()
        if done:
            break
    assert done
    await proxy.settle()
    await server.settle()
    for _ in range(10):
        await asyncio.sleep(0)
    assert sockets() <= before


async def test_connecting(dialer: Any, tmp_path: Path) -> None:
    """A listener whose queue is full neither takes nor refuses."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = []
        try:
            for _ in range(4):
                client = socket.socket()
                waiting.append(client)
                client.setblocking(False)
                client.connect_ex(address)
            before = sockets()
            dialing = asyncio.ensure_future(dialer().dial(Request(f"ws://127.0.0.1:{address[1]}/", proxy=None)))
            async with asyncio.timeout(10):
                while sockets() == before:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            dialing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await dialing
            assert sockets() == before
        finally:
            for client in waiting:
                client.close()


async def test_a_failed_dial_has_closed_its_socket_when_it_raises(raw_server: Any, dialer: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await peer.wait_closed()

    server = await raw_server(script)
    before = sockets()
    with pytest.raises(HandshakeRejected):
        await dialer().dial(Request(server.url, proxy=None))
    async with asyncio.timeout(10):
        await server.settle()
    assert sockets() <= before


async def test_a_context_for_servers_leaves_no_socket(raw_server: Any, dialer: Any) -> None:
    """No transport ever takes this socket."""
    server = await raw_server(nothing)
    before = sockets()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(TLSError):
        await dialer().dial(Request(server.url.replace("ws:", "wss:"), ssl=context, proxy=None))
    assert len(sockets() - before) <= 1, "the server's end, at most"
    await server.settle()
    assert sockets() <= before
