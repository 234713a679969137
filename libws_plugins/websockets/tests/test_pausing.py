"""Back-pressure on what arrives: pause takes effect at once, resume loses nothing."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from libws_core.types import Message
from libws_websockets.reading import READ_SIZE


def numbered(frame: Any, begin: int, end: int) -> bytes:
    return b"".join(frame(1, str(number).encode()) for number in range(begin, end))


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_paused_reader_stops_the_server_through_tls(raw_server: Any, dial: Any, frame: Any) -> None:
    """Memory stays bounded: what the server may send ahead is what the sockets hold."""
    payload = frame(2, bytes(50_000))
    written = 0
    stuck = asyncio.Event()
    total = 1000

    async def script(peer: Any) -> None:
        nonlocal written
        await peer.accept()
        while written < total:
            peer.writer.write(payload)
            written += 1
            try:
                async with asyncio.timeout(None if stuck.is_set() else 0.2):
                    await peer.writer.drain()
            except TimeoutError:
                stuck.set()
        await peer.until_close()

    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    server = await raw_server(script, context=context)
    recorder = await dial(server.url, start=False, ssl=trusting)
    # Not the first one: it may have come before start, when nothing is read anyway.
    recorder.on_message = lambda message: recorder.connection.pause() if len(recorder.messages) == 20 else None
    recorder.start()
    async with asyncio.timeout(30):
        await stuck.wait()
    assert len(await recorder.count(20)) == 20
    assert written < total
    recorder.on_message = lambda message: None
    recorder.connection.resume()
    await recorder.count(total)
    assert all(len(message.data) == 50_000 for message in recorder.messages)


@pytest.mark.only_dialer("websockets", reason="what waits in picows is messages, and tested with that plugin")
async def test_what_waits_while_paused_is_one_read(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        peer.writer.write(frame(2, bytes(50_000)) * 200)
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause() if len(recorder.messages) == 20 else None
    recorder.start()
    await recorder.count(20)
    await turns(200)
    assert len(recorder.messages) == 20
    assert recorder.connection._read.end <= READ_SIZE
    assert len(recorder.connection._read.data) <= 2 * READ_SIZE
    recorder.connection.resume()
    await recorder.count(200)


async def test_what_was_read_before_the_line_broke_comes_before_the_end(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=numbered(frame, 0, 5))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause() if message.data == "1" else None
    recorder.start()
    await recorder.count(2)
    # The loss is noticed while reading is paused, as by a write that fails.
    recorder.connection._transport.abort()
    await turns()
    assert recorder.error is None
    assert len(recorder.messages) == 2
    recorder.connection.write(Message.text("nowhere to go"))
    recorder.connection.resume()
    error = await recorder.end()
    assert [message.data for message in recorder.messages] == list("01234")
    assert (error.code, error.initiator) == (1006, "network")


async def test_pausing_again_after_the_line_broke(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=numbered(frame, 0, 4))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause()
    recorder.start()
    await recorder.count(1)
    recorder.connection._transport.abort()
    for number in range(2, 5):
        await turns()
        assert recorder.error is None
        recorder.connection.resume()
        await recorder.count(number)
    await turns()
    recorder.connection.resume()
    await recorder.end()
    assert len(recorder.messages) == 4


async def test_abort_after_the_line_broke_while_paused(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=numbered(frame, 0, 4))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause()
    recorder.start()
    await recorder.count(1)
    recorder.connection._transport.abort()
    await turns()
    assert recorder.error is None
    recorder.connection.abort()
    error = await recorder.end()
    assert (error.code, error.initiator) == (1006, "local")
    assert len(recorder.messages) == 1


async def test_a_loss_while_paused_with_nothing_left_is_told_at_once(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.wait_closed()

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.pause()
    recorder.connection._transport.abort()
    error = await recorder.end()
    assert (error.code, error.initiator) == (1006, "network")


async def test_a_line_that_the_server_broke_while_paused_is_told_at_once(
    raw_server: Any, dial: Any, frame: Any
) -> None:
    """Nobody reads, but the writing side sees it."""
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"x"))
        await go_on.wait()
        peer.writer.transport.abort()

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.count(1)
    recorder.connection.pause()
    recorder.connection.write(Message.binary(bytes(2**24)))
    go_on.set()
    assert (await recorder.end()).code == 1006


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
async def test_a_pause_at_any_kind_of_message(raw_server: Any, dial: Any, frame: Any, stop: int) -> None:
    data = frame(1, b"1") + frame(9, b"2") + frame(2, b"3") + frame(10, b"4") + frame(8, b"\x03\xe8") + frame(3)

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(data)
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause() if len(recorder.messages) == stop else None
    recorder.start()
    await recorder.count(stop)
    await turns()
    assert len(recorder.messages) == stop
    if stop < 5:
        assert recorder.error is None
    recorder.connection.resume()
    assert len(recorder.messages) == stop, "nothing from within resume"
    error = await recorder.end()
    assert [message.data for message in recorder.messages[:-1]] == ["1", b"2", b"3", b"4"]
    assert error.code == 1000


async def test_an_error_waits_behind_what_was_read_before_it(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(1, b"1") + frame(1, b"2") + frame(1, b"\xff"))
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    recorder.on_message = lambda message: recorder.connection.pause()
    recorder.start()
    await recorder.count(1)
    await turns()
    assert recorder.error is None
    recorder.connection.resume()
    await recorder.count(2)
    recorder.connection.resume()
    assert (await recorder.end()).code == 1007


async def test_what_a_transport_still_pushes_while_paused_waits_in_order(
    raw_server: Any, dial: Any, frame: Any
) -> None:
    """TLS may hold decrypted bytes when it is told to pause."""

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    connection = recorder.connection
    connection.pause()
    payload = bytes(100_000)
    pushed = frame(1, b"first") + frame(2, payload) + frame(1, b"last")
    while pushed:
        room = connection.get_buffer(-1)
        size = min(len(room), len(pushed))
        room[:size] = pushed[:size]
        connection.buffer_updated(size)
        pushed = pushed[size:]
    assert recorder.messages == []
    connection.resume()
    assert await recorder.count(3) == [Message.text("first"), Message.binary(payload), Message.text("last")]
