"""No secret in any log at DEBUG, error, repr or traceback line of ours."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from libws_core.errors import LibwsError

SECRETS = ("tokenvalue", "bearervalue", "cookievalue", "urlpassword", "proxypassword", "offeredvalue")
HEADERS = {"Authorization": "Bearer bearervalue", "Cookie": "session=cookievalue"}


def assert_silent(*texts: str) -> None:
    for text in texts:
        for secret in SECRETS:
            assert secret not in text


def told(error: BaseException) -> Iterator[str]:
    """What is printed of an error, its causes among it, without the lines of source."""
    for line in traceback.format_exception(error):
        yield "".join(part for part in line.splitlines(keepends=True) if not part.startswith("    "))


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("websockets", "websockets.client", "picows", "picows.client", "asyncio", "libws_websockets"):
        caplog.set_level(logging.DEBUG, name)


ANSWERS = {
    "refused": b"HTTP/1.1 403 Forbidden\r\nX-Echo: bearervalue\r\nContent-Length: 11\r\n\r\nbearervalue",
    "no upgrade": b"HTTP/1.1 101 X\r\nUpgrade: bearervalue\r\nConnection: Upgrade\r\n\r\n",
    "a wrong key": (
        b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: bearervalue\r\n\r\n"
    ),
    "no status line": b"bearervalue tokenvalue\r\n\r\n",
    "a bad header": b"HTTP/1.1 200 OK\r\nbearervalue tokenvalue\r\n\r\n",
    "a bad name": b"HTTP/1.1 200 OK\r\nX-A bearervalue: tokenvalue\0\r\n\r\n",
    "nothing": b"",
    "a redirect to nowhere": b"HTTP/1.1 302 X\r\nLocation: ftp://x/?tokenvalue\r\n\r\n",
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
async def test_a_failed_handshake(raw_server: Any, dial: Any, caplog: Any, answer: bytes) -> None:
    asyncio.get_running_loop().set_debug(True)

    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(answer)

    server = await raw_server(script)
    url = server.url.replace("//", "//user:urlpassword@") + "/path?token=tokenvalue"
    with pytest.raises(LibwsError) as caught:
        await dial(url, headers=HEADERS, subprotocols=("offeredvalue",))
    assert_silent(str(caught.value), repr(caught.value), *told(caught.value), caplog.text)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_a_proxy_that_hangs_up(raw_server: Any, dial: Any, caplog: Any, scheme: str) -> None:
    asyncio.get_running_loop().set_debug(True)

    async def script(peer: Any) -> None:
        await peer.reader.read(10)

    server = await raw_server(script)
    with pytest.raises(LibwsError) as caught:
        await dial(
            "ws://user:urlpassword@example.test/?token=tokenvalue",
            headers=HEADERS,
            proxy=f"{scheme}://user:proxypassword@127.0.0.1:{server.port}",
        )
    assert_silent(str(caught.value), repr(caught.value), *told(caught.value), caplog.text)


async def test_a_whole_life(raw_server: Any, dial: Any, frame: Any, caplog: Any) -> None:
    asyncio.get_running_loop().set_debug(True)

    async def script(peer: Any) -> None:
        await peer.accept(behind=frame(1, b"tokenvalue", fin=False) + frame(0, b"bearervalue"))
        await peer.send(frame(3, b"cookievalue"))
        await peer.until_close()

    server = await raw_server(script)
    url = server.url.replace("//", "//user:urlpassword@") + "/path?token=tokenvalue"
    recorder = await dial(url, headers=HEADERS)
    error = await recorder.end()
    assert len(recorder.messages) == 1
    assert_silent(str(error), repr(error), *told(error), repr(recorder.connection), caplog.text)
    assert "/path" in str(error)


def test_the_plugin_itself(dialer: Any) -> None:
    shown = {
        "Websockets": "compression='deflate', max_size=16777216, max_fragments=4096, happy_eyeballs=0.25",
        "Picows": "max_size=16777216, max_fragments=4096, read_buffer=65536",
    }
    assert repr(dialer()) == f"{dialer.__name__}({shown[dialer.__name__]})"
