"""What a connection on picows holds: the buffer that it reads into, and the messages that wait."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import trustme

from libws_core.types import Message
from libws_picows import frames

pytestmark = pytest.mark.only_dialer("picows", reason="it looks into the buffers of this plugin")

TEXT = 1


async def test_the_buffer_grows_for_a_large_frame_and_returns(raw_server: Any, dial: Any, frame: Any) -> None:
    number = frames._PATIENCE + 2
    go_on = [asyncio.Event() for _ in range(number)]

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(TEXT, b"x" * 300_000))
        for each in go_on:
            await each.wait()
            await peer.send(frame(TEXT, "ü".encode()))
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    usual = len(recorder.connection.get_buffer(-1))
    await recorder.count(1)
    assert len(recorder.connection.get_buffer(-1)) > 300_000
    for place, each in enumerate(go_on, 2):
        each.set()
        await recorder.count(place)
    assert recorder.messages[1:] == [Message.text("ü")] * number
    assert len(recorder.connection.get_buffer(-1)) == usual <= 64 * 1024


async def test_a_header_that_promises_much_costs_nothing(raw_server: Any, dial: Any, dialer: Any) -> None:
    """With no limit a length is believed only as far as bytes come."""
    came = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(b"\x82\x7f" + (2**40).to_bytes(8, "big") + bytes(200_000))
        came.set()
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url, plugin=dialer(max_size=None))
    await came.wait()
    async with asyncio.timeout(10):
        while recorder.connection._reader._seeing:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert len(recorder.connection.get_buffer(-1)) < 2**20
    assert recorder.messages == []


async def test_a_connection_that_ended_holds_no_buffer(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.abort()
    await recorder.end()
    assert not hasattr(recorder.connection._reader._parser, "get_buffer")


@pytest.mark.parametrize("secure", [False, True])
async def test_back_pressure_in_both_directions(raw_server: Any, dial: Any, frame: Any, secure: bool) -> None:
    context: Any = None
    options: dict[str, Any] = {}
    if secure:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        options["ssl"] = ssl.create_default_context()
        authority.configure_trust(options["ssl"])
    go_on = asyncio.Event()
    number = 400

    async def script(peer: Any) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()
        for _ in range(number):
            peer.writer.write(frame(2, bytes(50_000)))
        await go_on.wait()
        peer.writer.transport.resume_reading()
        await peer.reader.readexactly(number * (8 + 50_000))
        await peer.until_close()

    server = await raw_server(script, context=context)
    url = server.url.replace("ws:", "wss:") if secure else server.url
    recorder = await dial(url, start=False, **options)
    connection = recorder.connection
    recorder.on_message = lambda message: connection.pause() if len(recorder.messages) == 20 else None
    recorder.start()
    await recorder.count(20)
    drained = asyncio.Event()
    connection.drained = drained.set
    for _ in range(number):
        connection.write(Message.binary(bytes(50_000)))
    assert connection.buffered > 2**20
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(recorder.messages) == 20
    assert len(connection._waiting) < 20, "what one read may bring"
    assert not drained.is_set()
    connection.resume()
    go_on.set()
    await recorder.count(number)
    async with asyncio.timeout(10):
        await drained.wait()
    assert connection.buffered < 2**20
