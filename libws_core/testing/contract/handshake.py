"""What a dialer of WebSockets promises about the opening handshake (RFC 6455 section 4) and about TLS."""

from __future__ import annotations

import base64
import socket
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from ...errors import HandshakeRejected, InvalidHandshake, LibwsError
from ...headers import Headers
from .bare import BarePeer, BareServer, accept_key
from .handshake_cases import (
    GOOD,
    NO_ANSWERS,
    WRONG_ACCEPTS,
    WRONG_EXTENSIONS,
    WRONG_SUBPROTOCOLS,
    WRONG_UPGRADES,
    Answer,
)
from .real_loop import on_real_loop
from .secured import SecuresAsPromised
from .verdict import leave_out

__all__ = ["OpensAsPromised"]

SECRETS = {"Authorization": "Bearer secret", "Cookie": "session=secret", "X-Api-Key": "secret"}
REDIRECTS = 50
"""Redirects after which a client goes round for ever."""


async def accepting(peer: BarePeer) -> None:
    """A script: take the connection, and hold it until the client goes."""
    await peer.accept()
    await peer.wait_closed()


class OpensAsPromised(SecuresAsPromised):
    """The tests of the handshake."""

    redirects: bool = True
    """The dialer follows redirects."""

    # The request

    @on_real_loop
    async def test_the_request_follows_rfc_6455(self) -> None:
        """Section 4.1."""
        async with BareServer(accepting) as server:
            await self.opened(f"{server.url}/a%20b?q=1&r=2")
            peer = server.peers[0]
        line = peer.request.split("\r\n")[0]
        assert line == "GET /a%20b?q=1&r=2 HTTP/1.1", f"the client asked for {line!r}"
        expected = {"Host": f"127.0.0.1:{server.port}", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        for name, value in expected.items():
            assert peer.header(name) == value, f"{name} is {peer.header(name)!r}, expected {value!r}"
        words = [word.strip().lower() for word in (peer.header("Connection") or "").split(",")]
        assert "upgrade" in words, f"Connection is {peer.header('Connection')!r}, expected Upgrade"
        key = base64.b64decode(peer.header("Sec-WebSocket-Key") or "", validate=True)
        assert len(key) == 16, f"Sec-WebSocket-Key has {len(key)} bytes, expected 16"

    @on_real_loop
    async def test_the_key_is_fresh_for_each_dial(self) -> None:
        """Section 4.1: selected randomly for each connection."""
        async with BareServer(accepting) as server:
            dialer = self.make()
            for _ in range(3):
                await self.opened(server.url, dialer)
            keys = {peer.header("Sec-WebSocket-Key") for peer in server.peers}
        assert len(keys) == 3, f"3 dials have sent {len(keys)} keys"

    @on_real_loop
    async def test_headers_of_the_request_are_sent(self) -> None:
        headers = [("Origin", "https://example.com"), ("User-Agent", "me/1"), ("X-A", "1"), ("X-A", "2")]
        async with BareServer(accepting) as server:
            await self.opened(server.url, headers=Headers(headers))
            lines = server.peers[0].request.split("\r\n")
        for name, value in headers:
            assert f"{name}: {value}" in lines, f"the header {name}: {value} is not in the request"

    @on_real_loop
    async def test_line_ends_cannot_add_to_the_request(self) -> None:
        """RFC 9110 section 5.5. Refused before anything is sent, or encoded."""
        asked: list[str] = []

        async def script(peer: BarePeer) -> None:
            await peer.accept()
            asked.append(peer.request)

        bad: list[tuple[str, dict[str, Any]]] = [
            ("/", {"subprotocols": ("a\r\nX-Added: 1",)}),
            ("/", {"subprotocols": ("a\nX-Added: 1",)}),
            ("/a\r\nX-Added: 1\r\nX: ", {}),
            ("/?a=b HTTP/1.1\r\nX-Added: 1\r\nX: ", {}),
        ]
        async with BareServer(script) as server:
            for path, request in bad:
                try:
                    connection = await self.answer(server.url + path, **request)
                except LibwsError:
                    continue
                connection.abort()
            await server.settle(self.patience)
        for text in asked:
            assert "\nX-Added" not in text, f"a line was added to the request: {text!r}"

    # The answer

    @pytest.mark.parametrize("answer", GOOD, ids=str)
    @on_real_loop
    async def test_a_valid_answer_is_taken(self, answer: Answer) -> None:
        async def script(peer: BarePeer) -> None:
            await self._answer(peer, answer)
            await peer.wait_closed()

        async with BareServer(script) as server:
            await self.opened(server.url, subprotocols=answer.offer)

    @on_real_loop
    async def test_the_subprotocol_and_headers_of_the_answer_are_told(self) -> None:
        async def script(peer: BarePeer) -> None:
            await peer.accept("Sec-WebSocket-Protocol: two", "Set-Cookie: a=1", "set-cookie: b=2")
            await peer.wait_closed()

        async with BareServer(script) as server:
            connection = await self.opened(server.url, subprotocols=("one", "two"))
            offer = server.peers[0].header("Sec-WebSocket-Protocol")
        assert offer == "one, two", f"the client has offered {offer!r}, expected 'one, two'"
        assert connection.subprotocol == "two", f"subprotocol is {connection.subprotocol!r}, the server chose 'two'"
        cookies = connection.headers.get_all("Set-Cookie")
        assert cookies == ["a=1", "b=2"], f"headers has {len(cookies)} of Set-Cookie, the server sent 2"

    @pytest.mark.parametrize("answer", WRONG_ACCEPTS, ids=str)
    @on_real_loop
    async def test_an_answer_to_another_key_is_refused(self, answer: Answer) -> None:
        await self._refused(answer)

    @pytest.mark.parametrize("answer", WRONG_UPGRADES, ids=str)
    @on_real_loop
    async def test_an_answer_that_upgrades_to_something_else_is_refused(self, answer: Answer) -> None:
        await self._refused(answer)

    @pytest.mark.parametrize("answer", WRONG_SUBPROTOCOLS, ids=str)
    @on_real_loop
    async def test_a_subprotocol_that_nobody_asked_for_is_refused(self, answer: Answer) -> None:
        await self._refused(answer)

    @pytest.mark.parametrize("answer", WRONG_EXTENSIONS, ids=str)
    @on_real_loop
    async def test_an_extension_that_nobody_asked_for_is_refused(self, answer: Answer) -> None:
        await self._refused(answer)

    @pytest.mark.parametrize("answer", NO_ANSWERS, ids=str)
    @on_real_loop
    async def test_what_is_no_answer_of_http_1_1_is_refused(self, answer: Answer) -> None:
        await self._refused(answer)

    async def _answer(self, peer: BarePeer, answer: Answer) -> None:
        await peer.read_request()
        await peer.send(answer.head(accept_key(peer.header("Sec-WebSocket-Key") or "")))

    async def _refused(self, answer: Answer) -> None:
        rest: list[bytes] = []

        async def script(peer: BarePeer) -> None:
            await self._answer(peer, answer)
            rest.append(await peer.wait_closed())

        async with BareServer(script) as server:
            error = await self.failure(server.url, str(answer), subprotocols=answer.offer)
            await server.settle(self.patience)
        assert isinstance(error, InvalidHandshake), f"{answer}: dial() raised {error!r}, expected an InvalidHandshake"
        assert rest == [b""], f"{answer}: the client went on writing: {rest}"

    # Other statuses

    @pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 429, 500, 503, 520, 599])
    @on_real_loop
    async def test_a_refusal_tells_its_status(self, status: int) -> None:
        """Also one without a name and without a phrase (RFC 9112 section 4)."""
        error = await self._rejected(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        assert error.status == status, f"the error tells {error.status}, the server said {status}"

    @on_real_loop
    async def test_a_refusal_tells_its_headers_and_when_to_come_back(self) -> None:
        """Retry-After, RFC 9110 section 10.2.3."""
        error = await self._rejected(b"HTTP/1.1 503 X\r\nRetry-After: 7\r\nX-Why: so\r\nContent-Length: 0\r\n\r\n")
        assert error.headers.get("X-Why") == "so", f"the headers of the error are {error.headers!r}"
        assert error.retry_after == 7, f"retry_after is {error.retry_after}, the server said 7"

    @pytest.mark.parametrize(
        "rest",
        [
            b"Content-Length: 8\r\n\r\nthe bodybehind",
            b"Connection: close\r\n\r\nthe body",
            b"Transfer-Encoding: chunked\r\n\r\n4\r\nthe \r\n4\r\nbody\r\n0\r\n\r\n",
        ],
        ids=["Content-Length", "up to the end", "chunked"],
    )
    @on_real_loop
    async def test_a_refusal_tells_its_body(self, rest: bytes) -> None:
        """RFC 9112 section 6; it is where servers say why."""
        error = await self._rejected(b"HTTP/1.1 400 X\r\n" + rest)
        assert error.body == b"the body", f"the body of the error is {error.body!r}, expected b'the body'"

    async def _rejected(self, answer: bytes) -> HandshakeRejected:
        async def script(peer: BarePeer) -> None:
            await peer.read_request()
            await peer.send(answer)

        async with BareServer(script) as server:
            error = await self.failure(server.url, "the server refused")
        assert isinstance(error, HandshakeRejected), f"dial() raised {error!r}, expected a HandshakeRejected"
        return error

    # Redirects

    @on_real_loop
    async def test_redirects_are_followed_as_the_class_says(self) -> None:
        """RFC 6455 section 4.1 leaves it to the client."""
        async with BareServer(self._redirecting("/second", once=True)) as server:
            if self.redirects:
                await self.opened(f"{server.url}/first")
                paths = [peer.request.split(" ")[1] for peer in server.peers]
                assert paths == ["/first", "/second"], f"the client asked for {paths}"
                return
            error = await self.failure(f"{server.url}/first", "a redirect, and redirects = False")
        assert isinstance(error, HandshakeRejected), f"dial() raised {error!r}, expected a HandshakeRejected"
        assert error.status == 302, f"the error tells {error.status}, the server said 302"

    @on_real_loop
    async def test_a_redirect_to_another_origin_carries_no_credentials(self) -> None:
        if not self.redirects:
            leave_out(f"{self.plugin.__name__} follows no redirects, says redirects = False")
        async with BareServer(accepting) as there:
            async with BareServer(self._redirecting(f"http://127.0.0.1:{there.port}/")) as here:
                await self.opened(here.url.replace("//", "//user:secret@"), headers={"X-Api-Key": "secret"})
                await self.opened(here.url, headers=SECRETS)
            for peer in there.peers:
                assert "secret" not in peer.request, "credentials went to another origin"
                assert peer.header("Authorization") is None, "Authorization went to another origin"

    @on_real_loop
    async def test_a_circle_of_redirects_ends(self) -> None:
        if not self.redirects:
            leave_out(f"{self.plugin.__name__} follows no redirects, says redirects = False")
        async with BareServer(self._redirecting("/again")) as server:
            await self.failure(server.url, "redirects without an end")
            assert len(server.peers) < REDIRECTS, f"the client followed {len(server.peers)} redirects"

    def _redirecting(self, location: str, *, once: bool = False) -> Any:
        seen: list[BarePeer] = []

        async def script(peer: BarePeer) -> None:
            seen.append(peer)
            if (once and len(seen) > 1) or len(seen) > REDIRECTS:
                await accepting(peer)
                return
            await peer.read_request()
            await peer.send(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

        return script

    # A server that is not there

    @on_real_loop
    async def test_open_timeout_ends_a_dial_that_tcp_does_not_answer(self) -> None:
        """A listener whose queue is full neither takes nor refuses."""
        if not sys.platform.startswith("linux"):
            leave_out("only Linux lets a full queue answer nothing")
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            waiting = [socket.socket() for _ in range(4)]
            try:
                for each in waiting:
                    each.setblocking(False)
                    each.connect_ex(listener.getsockname())
                await self.timed_out(f"ws://127.0.0.1:{listener.getsockname()[1]}/")
            finally:
                for each in waiting:
                    each.close()

    async def opened(
        self, url: str, dialer: Any = None, *, headers: Mapping[str, str] | None = None, **request: Any
    ) -> Any:
        """Dial, look no further, and hang up; gives the connection for what it tells."""
        connection = await self.dial(url, dialer, headers=headers or {}, **request)
        assert connection is not None, f"dial() left {url} to other dialers"
        connection.abort()
        return connection
