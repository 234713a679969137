"""ws+unix and wss+unix."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core.errors import ConnectError, HandshakeRejected
from libws_core.types import Message
from libws_core.verdicts import RETRY


async def accepting(peer: Any) -> None:
    await peer.accept(behind=b"\x81\x02ok")
    await peer.until_close()


async def test_a_socket_and_a_resource(raw_server: Any, dial: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    server = await raw_server(accepting, path=str(tmp_path / "a b.sock"))
    recorder = await dial(f"ws+unix://{tmp_path}/a%20b.sock:/live?x=1", proxy="env")
    assert await recorder.count(1) == [Message.text("ok")]
    assert server.peers[0].request.startswith("GET /live?x=1 HTTP/1.1\r\n")
    assert server.peers[0].header("Host") == "localhost"


async def test_no_resource_is_the_root(raw_server: Any, dial: Any, tmp_path: Path) -> None:
    server = await raw_server(accepting, path=str(tmp_path / "s.sock"))
    recorder = await dial(f"ws+unix://{tmp_path}/s.sock")
    await recorder.count(1)
    assert server.peers[0].request.startswith("GET / HTTP/1.1\r\n")


async def test_tls_on_a_socket(raw_server: Any, dial: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    await raw_server(accepting, path=str(tmp_path / "s.sock"), context=context)
    recorder = await dial(f"wss+unix://{tmp_path}/s.sock:/", ssl=client)
    await recorder.count(1)


async def test_a_redirect_within_the_socket_keeps_everything(raw_server: Any, dial: Any, tmp_path: Path) -> None:
    async def script(peer: Any) -> None:
        if len(server.peers) == 1:
            await peer.read_request()
            await peer.send(b"HTTP/1.1 301 X\r\nLocation: http://localhost/live/\r\nContent-Length: 0\r\n\r\n")
        else:
            await accepting(peer)

    server = await raw_server(script, path=str(tmp_path / "s.sock"))
    recorder = await dial(f"ws+unix://{tmp_path}/s.sock:/live", headers={"Cookie": "a=b"})
    await recorder.count(1)
    assert server.peers[1].request.startswith("GET /live/ HTTP/1.1\r\n")
    assert server.peers[1].header("Cookie") == "a=b"


async def test_a_redirect_from_the_socket_to_the_network(raw_server: Any, dial: Any, tmp_path: Path) -> None:
    other = await raw_server(accepting)

    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(f"HTTP/1.1 302 X\r\nLocation: {other.url}/\r\n\r\n".encode())

    await raw_server(script, path=str(tmp_path / "s.sock"))
    recorder = await dial(f"ws+unix://{tmp_path}/s.sock:/", headers={"Cookie": "secret"})
    await recorder.count(1)
    assert other.peers[0].header("Cookie") is None


@pytest.mark.parametrize("name", ["nothing.sock", "x" * 200])
async def test_a_socket_that_is_not_there(dial: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConnectError) as caught:
        await dial(f"ws+unix://{tmp_path}/{name}:/?token=secret")
    assert caught.value.verdict is RETRY
    assert isinstance(caught.value.__cause__, OSError)
    assert name in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_refusal_of_many_tiny_chunks(raw_server: Any, dial: Any, tmp_path: Path) -> None:
    """More bytes of framing than may wait unread; a unix socket takes them in large gulps."""

    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.send(b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n")

    await raw_server(script, path=str(tmp_path / "s.sock"))
    with pytest.raises(HandshakeRejected) as caught:
        await dial(f"ws+unix://{tmp_path}/s.sock:/")
    assert caught.value.body == b"x" * 60_000
