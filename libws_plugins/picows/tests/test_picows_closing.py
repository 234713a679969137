"""How a connection ends, and what is written until then: RFC 6455 sections 5.5.1 and 7."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from libws_core.errors import ConnectionClosed
from libws_core.types import Message
from libws_core.verdicts import RETRY
from libws_picows import connection as module


@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [(b"", 1005, ""), (b"\x03\xf4", 1012, ""), (b"\x0f\xa1" + "müde".encode(), 4001, "müde")],
)
async def test_a_close_is_delivered_then_echoed_then_told(
    raw_server: Any, dial: Any, frame: Any, payload: bytes, code: int, reason: str
) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, payload))
        assert await peer.until_close() == [(0x88, payload)]
        assert recorder.error is None, "TCP is still open"

    server = await raw_server(script)
    recorder = await dial(server.url)
    error = await recorder.end()
    await server.settle()
    assert [message.data for message in recorder.messages] == [payload]
    assert type(error) is ConnectionClosed
    assert (error.code, error.reason, error.initiator, error.verdict) == (code, reason, "remote", RETRY)
    assert recorder.endings == 1
    assert recorder.connection._linger.cancelled(), "no timer is left behind"


async def test_our_close_ends_with_the_answer(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == [(0x81, b"last"), (0x88, b"\x03\xe8done")]
        await peer.send(frame(1, b"on its way") + frame(8, b"\x03\xe8done") + frame(1, b"behind"))

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.write(Message.text("last"))
    recorder.connection.write(Message.close(1000, "done"))
    recorder.connection.close(1011, "ignored")
    recorder.connection.write(Message.text("ignored"))
    error = await recorder.end()
    await server.settle()
    assert recorder.messages == [Message.text("on its way"), Message.close(1000, "done")]
    assert (error.code, error.reason, error.initiator) == (1000, "done", "local")


async def test_a_long_reason_is_cut_between_characters(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == [(0x88, b"\x0f\xa0" + "ü".encode() * 61)]

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.close(4000, "ü" * 100)
    assert (await recorder.end()).code == 1006
    await server.settle()


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2000, 5000])
async def test_codes_that_must_not_be_sent(raw_server: Any, dial: Any, code: int) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == []

    server = await raw_server(script)
    recorder = await dial(server.url)
    with pytest.raises(ValueError, match=str(code)):
        recorder.connection.close(code)
    with pytest.raises(RuntimeError, match="started already"):
        recorder.connection.start(print, print)
    recorder.connection.abort()
    recorder.connection.abort()
    assert recorder.error is None, "not from within the call"
    error = await recorder.end()
    await server.settle()
    assert (error.code, error.initiator) == (1006, "local")


async def test_an_error_after_our_close_sends_no_second_one(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        assert await peer.until_close() == [(0x88, b"\x03\xe8")]
        await peer.send(frame(3))
        peer.writer.write_eof()
        assert await peer.wait_closed() == b""

    server = await raw_server(script)
    recorder = await dial(server.url)
    recorder.connection.close()
    assert (await recorder.end()).code == 1002
    await server.settle()


async def test_a_server_that_does_not_close_tcp_is_left_after_a_while(
    raw_server: Any, dial: Any, frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINGER", 0.05)

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(frame(8, b"\x03\xe8"))
        await peer.until_close()
        await peer.send(b"more and more")
        await peer.wait_closed()

    server = await raw_server(script)
    recorder = await dial(server.url)
    assert (await recorder.end()).code == 1000
    await server.settle()
    assert len(recorder.messages) == 1


async def test_a_server_that_closes_before_start(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"hello") + frame(8, b"\x03\xf5full"))

    server = await raw_server(script)
    recorder = await dial(server.url, start=False)
    await server.settle()
    recorder.start()
    assert recorder.messages == [], "nothing from within start"
    error = await recorder.end()
    assert recorder.messages == [Message.text("hello"), Message.close(1013, "full")]
    assert (error.code, error.reason) == (1013, "full")


async def test_a_line_that_breaks_while_paused_is_told_at_once(raw_server: Any, dial: Any, frame: Any) -> None:
    go_on = asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"x"))
        await go_on.wait()
        peer.writer.transport.abort()

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.count(1)
    recorder.connection.pause()
    recorder.connection.write(Message.binary(bytes(2**24)))  # so that the writing side sees it
    go_on.set()
    assert (await recorder.end()).code == 1006


async def test_eof_while_much_is_unwritten_does_not_hang(raw_server: Any, dial: Any) -> None:
    written, ended = asyncio.Event(), asyncio.Event()

    async def script(peer: Any) -> None:
        await peer.accept()
        peer.writer.transport.pause_reading()
        await written.wait()
        peer.writer.write_eof()
        await ended.wait()

    server = await raw_server(script)
    recorder = await dial(server.url)
    for _ in range(100):
        recorder.connection.write(Message.binary(bytes(200_000)))
    written.set()
    error = await recorder.end()
    ended.set()
    assert (error.code, error.initiator) == (1006, "network")


@pytest.mark.parametrize("secure", [False, True])
async def test_back_pressure_in_both_directions(raw_server: Any, dial: Any, frame: Any, secure: bool) -> None:
    import trustme

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
        for _ in range(number):
            assert len((await peer.read_frame())[1]) == 50_000
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
