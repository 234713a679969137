"""How a connection ends, and what it says about it: RFC 6455 section 7."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from libws_core.errors import ConnectionClosed
from libws_core.types import Kind, Message
from libws_core.verdicts import FATAL, RETRY

CLOSE_1000 = (0x88, b"\x03\xe8")


async def test_a_close_is_delivered_then_echoed_then_told(raw_server: Any, dial: Any, frame: Any) -> None:
    payload, code, reason = b"\x0f\xa1" + "müde".encode(), 4001, "müde"
    echoed: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, payload))
        echoed.extend(await peer.until_close())
        assert recorder.error is None, "TCP is still open"

    server = await raw_server(script)
    recorder = await dial(server.url)
    error = await recorder.end()
    await server.settle()
    assert recorder.messages == [Message(Kind.CLOSE, payload)]
    assert echoed == [(0x88, payload)]
    assert type(error) is ConnectionClosed
    assert (error.code, error.reason, error.initiator, error.fault) == (code, reason, "remote", "remote")
    assert error.verdict is RETRY
    assert recorder.endings == 1
    assert recorder.connection._linger.cancelled(), "no timer is left behind"


async def test_closes_that_cross(raw_server: Any, dial: Any, frame: Any) -> None:
    """Both have sent one: no second one from us, and the server's code is told."""
    frames: list[tuple[int, bytes]] = []

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(8, b"\x03\xf4"))
        frames.extend(await peer.until_close())
        peer.writer.write_eof()
        assert await peer.wait_closed() == b""

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.connection.close(1000)
    recorder.start()
    error = await recorder.end()
    await server.settle()
    assert frames == [CLOSE_1000]
    assert (error.code, error.initiator) == (1012, "local")


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2000, 5000])
async def test_codes_that_must_not_be_sent(raw_server: Any, dial: Any, code: int) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == []

    server = await raw_server(script)
    recorder = await dial(server.url)
    with pytest.raises(ValueError, match=str(code)):
        recorder.connection.close(code)
    recorder.connection.abort()
    await recorder.end()
    await server.settle()


async def test_a_close_from_within_the_delivery_of_a_close_changes_nothing(
    raw_server: Any, dial: Any, frame: Any
) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, b"\x03\xf4"))
        assert await peer.until_close() == [(0x88, b"\x03\xf4")]

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.close(1000)
    recorder.start()
    error = await recorder.end()
    await server.settle()
    assert (error.code, error.initiator) == (1012, "remote")


async def test_an_abort_from_within_the_delivery_of_a_close(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, b"\x03\xf4"))
        assert await peer.until_close() == []

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.abort()
    recorder.start()
    error = await recorder.end()
    await server.settle()
    assert error.code == 1012


async def test_abort_drops_the_socket_and_the_end_follows(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == []

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.abort()
    recorder.connection.abort()
    assert recorder.error is None, "not from within the call"
    error = await recorder.end()
    await server.settle()
    assert (error.code, error.initiator, error.fault, error.verdict) == (1006, "local", "local", RETRY)
    assert recorder.endings == 1


async def test_an_abort_in_the_middle_of_a_chunk_stops_delivery(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"1") + frame(1, b"2"))
        await peer.wait_closed()

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.abort()
    recorder.start()
    await recorder.end()
    assert recorder.messages == [Message.text("1")]


async def test_eof_within_a_frame(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=b"\x81\x05hal")

    server = await raw_server(script)
    recorder = await dial(server.url)
    error = await recorder.end()
    assert (error.code, error.reason, error.initiator, error.fault) == (1006, "", "network", "network")
    assert error.verdict is RETRY
    assert server.url in str(error)


async def test_a_reset(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"x"))
        await peer.read_frame()
        # SO_LINGER 0: closing sends a reset.
        raw = peer.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.writer.transport.abort()

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.count(1)
    recorder.connection.write(Message.text("x"))
    error = await recorder.end()
    assert (error.code, error.initiator) == (1006, "network")
    assert isinstance(error.__cause__, ConnectionResetError)


async def test_eof_behind_our_close(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.close()
    error = await recorder.end()
    assert (error.code, error.initiator) == (1006, "local")


async def test_eof_while_much_is_unwritten_does_not_hang(raw_server: Any, dial: Any) -> None:
    """A peer that closes its half and reads no more."""
    written = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()
        await written.wait()
        peer.writer.write_eof()
        await ended.wait()

    ended = asyncio.Event()
    server = await raw_server(script)
    recorder = await dial(server.url)
    for _ in range(100):
        recorder.connection.write(Message.binary(bytes(200_000)))
    written.set()
    error = await recorder.end()
    ended.set()
    assert (error.code, error.initiator) == (1006, "network")


@pytest.mark.usefixtures("short_linger")
async def test_a_server_that_does_not_close_tcp_is_left_after_a_while(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, b"\x03\xe8"))
        assert await peer.until_close() == [CLOSE_1000]
        await peer.send(b"more and more")
        await peer.wait_closed()

    server = await raw_server(script)
    recorder = await dial(server.url)
    error = await recorder.end()
    await server.settle()
    assert (error.code, error.initiator) == (1000, "remote")
    assert len(recorder.messages) == 1


async def test_pause_does_not_keep_a_closed_connection(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, b"\x03\xe8"))
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause()
    recorder.start()
    assert (await recorder.end()).code == 1000


async def test_a_protocol_error_after_our_close_keeps_its_verdict(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == [CLOSE_1000]
        await peer.send(frame(3))
        peer.writer.write_eof()
        assert await peer.wait_closed() == b"", "no second close frame"

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.close()
    error = await recorder.end()
    await server.settle()
    assert (error.code, error.verdict) == (1002, FATAL)


async def test_an_error_behind_the_end_of_tcp(raw_server: Any, dial: Any, frame: Any) -> None:
    """What is wrong in the bytes of a connection that is gone already is told all the same."""

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"x") + frame(3))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    await server.settle()
    recorder.connection._lost = True
    recorder.connection._transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)
    recorder.start()
    error = await recorder.end()
    assert recorder.messages == [Message.text("x")]
    assert error.code == 1002


async def test_with_a_real_server(dial: Any) -> None:
    async def handler(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.wait_closed()
        codes.append((connection.close_code, connection.close_reason))

    codes: list[Any] = []
    async with serve(handler, "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        recorder = await dial(url)
        await recorder.count(1)
        recorder.connection.close(4321, "so long")
        error = await recorder.end()
    assert codes == [(4321, "so long")]
    assert (error.code, error.reason, error.initiator) == (4321, "so long", "local")
