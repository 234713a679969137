"""The handshake's end of a connection, where a whole server could not make it happen at will."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libws_core.errors import ConnectError, TLSError
from libws_core.types import Request
from libws_websockets import Websockets
from libws_websockets.http1 import BadResponse
from libws_websockets.stream import Stream
from libws_websockets.transport import start_tls, wrap_socket

pytestmark = [
    pytest.mark.only_dialer("websockets", reason="the streams of picows are another library's"),
    pytest.mark.usefixtures("dialer"),
]


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Stream, socket.socket]]:
    """A stream, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        stream = await wrap_socket(ours)
        yield stream, theirs
        await stream.aclose()


async def test_a_separator_in_pieces(ends: Any) -> None:
    stream, theirs = ends
    reading = asyncio.ensure_future(stream.read_until(b"\r\n\r\n", 100))
    for piece in (b"head\r", b"\n", b"\r\nbehind"):
        await asyncio.sleep(0)
        theirs.send(piece)
    assert await reading == b"head\r\n\r\n"
    assert stream.pending
    assert await stream.read_some(3) == b"beh"
    assert stream.detach() == b"ind"
    assert not stream.pending


@pytest.mark.parametrize("limit", [3, 6])
async def test_a_separator_beyond_the_limit(ends: Any, limit: int) -> None:
    stream, theirs = ends
    theirs.send(b"long\r\n\r\n")
    with pytest.raises(BadResponse):
        await stream.read_until(b"\r\n\r\n", limit)


async def test_the_end_is_told_to_every_reader(ends: Any) -> None:
    stream, theirs = ends
    theirs.send(b"last")
    theirs.close()
    assert await stream.read_some(100) == b"last"
    for _ in range(2):
        with pytest.raises(EOFError):
            await stream.read_some(100)
    assert stream.lost


async def test_a_loss_that_was_on_its_way_reaches_the_successor(ends: Any) -> None:
    """TLS binds the call to its protocol of the moment, one turn before it is made."""

    class Successor(asyncio.BufferedProtocol):
        lost: Exception | None = None

        def connection_lost(self, exc: Exception | None) -> None:
            self.lost = exc

    stream, _ = ends
    successor = Successor()
    stream.hand_over(successor)
    assert stream.transports[0].get_protocol() is successor
    reason = ConnectionResetError()
    stream.connection_lost(reason)
    assert successor.lost is reason


async def test_tls_that_ends_in_the_turn_in_which_it_began(ends: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop then gives no transport."""

    async def none(*arguments: Any, **options: Any) -> None:
        return None

    stream, _ = ends
    monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", none)
    with pytest.raises(TLSError, match="closed"):
        await start_tls(stream, ssl.create_default_context(), "localhost", "wss://localhost/")


async def test_certificates_of_the_system_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> ssl.SSLContext:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(ssl, "create_default_context", fail)
    with pytest.raises(ConnectError, match="permission denied"):
        await Websockets().dial(Request("wss://127.0.0.1:1/", proxy=None))
