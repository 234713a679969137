"""The opening handshake: what is asked, and what is made of each answer. RFC 6455 section 4."""

from __future__ import annotations

import asyncio
import base64
import socket
from typing import Any

import pytest
from websockets.utils import accept_key

from libws_core.errors import (
    ConnectError,
    HandshakeRejected,
    InvalidHandshake,
    NameResolutionError,
    OptionError,
)
from libws_core.types import Message, Request
from libws_core.verdicts import FATAL, RETRY
from libws_websockets import http1


def answering(answer: bytes) -> Any:
    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(answer)

    return script


@pytest.mark.parametrize("url", ["nothing", ""])
async def test_what_has_no_scheme_is_left_to_other_dialers(dialer: Any, url: str) -> None:
    assert await dialer().dial(Request(url)) is None


async def test_path_and_query_are_encoded(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()

    server = await raw_server(script)
    await (await dial(f"{server.url}/a%20b/ü?q=1&r=ä")).end()
    peer = server.peers[0]
    assert peer.request.startswith("GET /a%20b/%C3%BC?q=1&r=%C3%A4 HTTP/1.1\r\n")
    assert peer.header("Connection") == "Upgrade"


async def test_nothing_is_sent_that_nobody_asked_for(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()

    server = await raw_server(script)
    recorder = await dial(server.url)
    await recorder.end()
    peer = server.peers[0]
    assert peer.request.startswith("GET / HTTP/1.1\r\n")
    for name in ("User-Agent", "Origin", "Authorization", "Sec-WebSocket-Protocol"):
        assert peer.header(name) is None


async def test_a_host_header_takes_the_place_of_ours(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()

    server = await raw_server(script)
    await (await dial(server.url, headers={"host": "other.example"})).end()
    assert server.peers[0].header("Host") == "other.example"


@pytest.mark.parametrize(
    ("user_info", "headers", "wanted"),
    [
        ("user:pass%20word", {}, "Basic " + base64.b64encode(b"user:pass word").decode()),
        ("user", {}, "Basic " + base64.b64encode(b"user:").decode()),
        ("user:word", {"authorization": "Bearer own"}, "Bearer own"),
    ],
)
async def test_user_and_password_of_the_url(
    raw_server: Any, dial: Any, user_info: str, headers: dict[str, str], wanted: str
) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()

    server = await raw_server(script)
    await (await dial(server.url.replace("//", f"//{user_info}@"), headers=headers)).end()
    assert server.peers[0].header("Authorization") == wanted


@pytest.mark.parametrize("name", ["Sec-WebSocket-Key", "upgrade", "Connection", "Sec-WebSocket-Protocol"])
async def test_headers_of_the_handshake_itself_are_refused(raw_server: Any, dial: Any, name: str) -> None:
    async def script(peer: Any) -> None:
        assert await peer.wait_closed() == b""

    server = await raw_server(script)
    with pytest.raises(OptionError, match=name):
        await dial(server.url, headers={name: "my secret"})
    await server.settle()


async def test_a_subprotocol_that_would_break_the_request_is_refused(raw_server: Any, dial: Any) -> None:
    with pytest.raises(OptionError, match="subprotocol 2 of 2") as caught:
        await dial("ws://127.0.0.1:1", subprotocols=("good", "secret\r\nX: y"))
    assert "secret" not in str(caught.value)


async def test_headers_may_be_long(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept("X-Long: " + "x" * 20_000)

    server = await raw_server(script)
    recorder = await dial(server.url)
    assert recorder.connection.headers["X-Long"] == "x" * 20_000


async def test_a_phrase_may_be_missing(raw_server: Any, dial: Any, frame: Any) -> None:
    """RFC 9112 section 4 wants the blank at least; servers differ."""

    async def script(peer: Any) -> None:
        await peer.accept(status="101", behind=frame(1, b"x"))

    server = await raw_server(script)
    recorder = await dial(server.url)
    assert await recorder.count(1) == [Message.text("x")]
    assert recorder.connection.subprotocol is None


async def test_interim_answers_are_passed_over(raw_server: Any, dial: Any, frame: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        await peer.accept(behind=frame(1, b"x"))

    server = await raw_server(script)
    recorder = await dial(server.url)
    assert await recorder.count(1) == [Message.text("x")]


async def test_endless_interim_answers_are_not(raw_server: Any, dial: Any) -> None:
    server = await raw_server(answering(b"HTTP/1.1 100 Continue\r\n\r\n" * 100))
    with pytest.raises(InvalidHandshake, match="interim"):
        await dial(server.url)


class TestRejected:
    @pytest.mark.parametrize(
        ("rest", "body"),
        [
            ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n", b"hello world"),
            ("Transfer-Encoding: gzip, chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
            ("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n", b"hello"),
            ("Transfer-Encoding: chunked\r\n\r\n5\r\nhelloooo\r\n0\r\n\r\n", b"hello"),
            ("Transfer-Encoding: chunked\r\n\r\nffffff\r\nhel", b"hel"),
            ("Content-Length: 100\r\n\r\ncut", b"cut"),
            ("Content-Length: -1\r\n\r\nall", b"all"),
            ("Content-Length: 100000\r\n\r\n" + "x" * 100_000, b"x" * http1.MAX_BODY),
            ("\r\n" + "y" * 100_000, b"y" * http1.MAX_BODY),
            ("Transfer-Encoding: chunked\r\n\r\n18000\r\n" + "z" * 98304 + "\r\n0\r\n\r\n", b"z" * http1.MAX_BODY),
        ],
        ids=lambda value: None if isinstance(value, bytes) else value[:40].replace("\r\n", " "),
    )
    async def test_bodies(self, raw_server: Any, dial: Any, rest: str, body: bytes) -> None:
        server = await raw_server(answering(f"HTTP/1.1 400 Bad Request\r\n{rest}".encode()))
        with pytest.raises(HandshakeRejected) as caught:
            await dial(server.url)
        assert caught.value.body == body

    @pytest.mark.parametrize(
        "framing", ["Transfer-Encoding: chunked\r\n\r\nffffff\r\n", "Content-Length: 999999\r\n\r\n", "\r\n"]
    )
    async def test_more_than_enough_of_a_body_is_not_waited_for(
        self, raw_server: Any, dial: Any, monkeypatch: pytest.MonkeyPatch, framing: str
    ) -> None:
        monkeypatch.setattr(http1, "BODY_DEADLINE", 3600)

        async def script(peer: Any) -> None:
            await peer.read_request()
            await peer.send(f"HTTP/1.1 500 Oops\r\n{framing}".encode() + bytes(http1.MAX_BODY + 1))
            await peer.wait_closed()

        server = await raw_server(script)
        with pytest.raises(HandshakeRejected) as caught:
            await dial(server.url)
        assert caught.value.body == bytes(http1.MAX_BODY)

    async def test_a_body_may_come_in_pieces(self, raw_server: Any, dial: Any) -> None:
        async def script(peer: Any) -> None:
            await peer.read_request()
            for piece in (b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n", b"a re", b"ason", b"."):
                await peer.send(piece)
                await asyncio.sleep(0)
            await peer.wait_closed()

        server = await raw_server(script)
        with pytest.raises(HandshakeRejected) as caught:
            await dial(server.url)
        assert caught.value.body == b"a reason."

    async def test_a_body_that_never_ends_is_not_waited_for(
        self, raw_server: Any, dial: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(http1, "BODY_DEADLINE", 0.05)

        async def script(peer: Any) -> None:
            await peer.read_request()
            await peer.send(b"HTTP/1.1 500 Oops\r\nContent-Length: 10\r\n\r\nhalf")
            await peer.wait_closed()

        server = await raw_server(script)
        with pytest.raises(HandshakeRejected) as caught:
            await dial(server.url)
        assert caught.value.body == b"half"
        await server.settle()


ACCEPT = "Sec-WebSocket-Accept: {accept}"


class TestInvalid:
    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            ("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: c2VjcmV0", "Sec-WebSocket-Accept"),
            ("Upgrade: h2c\r\nConnection: Upgrade\r\n" + ACCEPT, "Upgrade"),
            ("Upgrade: websocket\r\n" + ACCEPT, "Connection"),
            (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: mine\r\n" + ACCEPT,
                "a subprotocol that was not offered",
            ),
            (
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Extensions: x-other\r\n" + ACCEPT,
                "an extension or a parameter of one that was not offered",
            ),
        ],
    )
    async def test_what_is_wrong_with_a_101_is_told(
        self, raw_server: Any, dial: Any, headers: str, reason: str
    ) -> None:
        async def script(peer: Any) -> None:
            await peer.read_request()
            accept = accept_key(peer.header("Sec-WebSocket-Key"))
            await peer.send(f"HTTP/1.1 101 X\r\n{headers.format(accept=accept)}\r\n\r\n".encode())
            assert await peer.wait_closed() == b""

        server = await raw_server(script)
        with pytest.raises(InvalidHandshake, match=reason) as caught:
            await dial(server.url)
        await server.settle()
        error = caught.value
        assert (error.verdict, error.fault, error.initiator) == (FATAL, "remote", "local")
        assert "c2VjcmV0" not in str(error)
        assert error.__suppress_context__

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: " + b"x" * http1.MAX_HEAD + b"\r\n\r\n",
            b"x" * (http1.MAX_HEAD + 1),
        ],
    )
    async def test_what_is_no_answer_of_http(self, raw_server: Any, dial: Any, answer: bytes) -> None:
        server = await raw_server(answering(answer))
        with pytest.raises(InvalidHandshake, match="response of HTTP") as caught:
            await dial(server.url)
        assert server.url in str(caught.value)


class TestUnreachable:
    @pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 101 Swi"])
    async def test_a_server_that_closes_during_the_handshake(self, raw_server: Any, dial: Any, begin: bytes) -> None:
        server = await raw_server(answering(begin))
        with pytest.raises(ConnectError, match="closed the connection during the handshake") as caught:
            await dial(server.url)
        assert caught.value.verdict is RETRY
        assert type(caught.value) is ConnectError

    async def test_refused(self, raw_server: Any, dial: Any) -> None:
        server = await raw_server(answering(b""))
        await server.aclose()
        with pytest.raises(ConnectError, match="onnect") as caught:
            await dial(f"{server.url}/path?token=secret")
        assert type(caught.value) is ConnectError
        assert caught.value.verdict is RETRY
        assert isinstance(caught.value.__cause__, OSError)
        assert f"{server.url}/path" in str(caught.value)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("host", ["nothing.invalid", f"{'a' * 70}.invalid", "a..b"])
    async def test_a_name_that_nobody_knows(self, dial: Any, host: str) -> None:
        with pytest.raises(NameResolutionError, match="resolve") as caught:
            await dial(f"ws://{host}/")
        assert caught.value.verdict is RETRY

    async def test_the_next_address_is_tried(self, raw_server: Any, dial: Any, monkeypatch: Any) -> None:
        """Happy eyeballs: an address that refuses, or says nothing, does not keep us from the next one."""

        async def script(peer: Any) -> None:
            await peer.accept()

        server = await raw_server(script)
        loop = asyncio.get_running_loop()
        asked: list[Any] = []
        resolve = loop.getaddrinfo

        async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
            if host != "example.test":
                return await resolve(host, port, **options)
            asked.append((host, port))
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port)),
            ]

        monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
        recorder = await dial("ws://example.test:8080/")
        assert asked == [("example.test", 8080)]
        assert server.peers[0].header("Host") == "example.test:8080"
        await recorder.end()
