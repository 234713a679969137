"""Redirects: followed up to five times, and credentials stay at home."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trustme

from libws_core.errors import HandshakeRejected, InvalidHandshake
from libws_core.headers import Headers
from libws_core.types import Message
from libws_core.verdicts import FATAL
from libws_websockets.transport import without_certificate

SECRETS = Headers(
    [
        ("Authorization", "Bearer secret"),
        ("Cookie", "session=secret"),
        ("X-Api-Key", "secret"),
        ("Host", "named.example"),
        ("Origin", "https://example.com"),
        ("User-Agent", "me/1"),
    ]
)


def redirecting(*locations: str, status: int = 302) -> Any:
    """A script that sends each connection to the next location, and accepts when there is none left."""
    left = list(locations)

    async def script(peer: Any) -> None:
        if not left:
            await peer.accept(behind=b"\x81\x02ok")
            await peer.until_close()
            return
        await peer.read_request()
        await peer.send(f"HTTP/1.1 {status} Found\r\nLocation: {left.pop(0)}\r\nContent-Length: 0\r\n\r\n".encode())
        assert await peer.wait_closed() == b"", "the socket of a redirect is closed"

    return script


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_the_same_origin_keeps_everything(raw_server: Any, dial: Any, status: int) -> None:
    server = await raw_server(redirecting("/second?x=1", status=status))
    url = server.url.replace("//", "//user:word@")
    recorder = await dial(f"{url}/first", headers={"Cookie": "a=b"}, subprotocols=("one",))
    assert await recorder.count(1) == [Message.text("ok")]
    first, second = server.peers
    assert second.request.startswith("GET /second?x=1 HTTP/1.1\r\n")
    assert first.header("Authorization") == second.header("Authorization") is not None
    assert second.header("Cookie") == "a=b"
    assert second.header("Sec-WebSocket-Protocol") == "one"
    assert first.header("Sec-WebSocket-Key") != second.header("Sec-WebSocket-Key")


async def test_another_origin_learns_no_secret(raw_server: Any, dial: Any) -> None:
    """Another port is another origin; back home the credentials stay away all the same."""

    async def script(peer: Any) -> None:
        if len(home.peers) == 1:
            await peer.read_request()
            await peer.send(f"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:{there.port}/there\r\n\r\n".encode())
        else:
            await peer.accept(behind=b"\x81\x02ok")
            await peer.until_close()

    home = await raw_server(script)
    there = await raw_server(redirecting(f"{home.url}/back"))
    url = home.url.replace("//", "//user:secret@") + "/?token=secret"
    recorder = await dial(url, headers=SECRETS, subprotocols=("p",))
    await recorder.count(1)
    first, back = home.peers
    assert "secret" in first.request
    for peer in (*there.peers, back):
        assert "secret" not in peer.request
        assert "Authorization" not in peer.request
        assert peer.header("Origin") == "https://example.com"
        assert peer.header("User-Agent") == "me/1"
        assert peer.header("Sec-WebSocket-Protocol") == "p"
        assert peer.header("Host") != "named.example"


async def test_a_user_own_authorization_goes_home_only(raw_server: Any, dial: Any) -> None:
    other = await raw_server(redirecting())
    home = await raw_server(redirecting(f"http://127.0.0.1:{other.port}/"))
    recorder = await dial(home.url, headers=SECRETS)
    await recorder.count(1)
    assert home.peers[0].header("Authorization") == "Bearer secret"
    assert other.peers[0].header("Authorization") is None
    assert other.peers[0].header("X-Api-Key") is None
    assert other.peers[0].header("Cookie") is None


async def test_five_are_followed(raw_server: Any, dial: Any) -> None:
    server = await raw_server(redirecting(*"12345"))
    recorder = await dial(server.url)
    await recorder.count(1)
    assert [peer.request.split()[1] for peer in server.peers] == ["/", "/1", "/2", "/3", "/4", "/5"]


async def test_six_are_not(raw_server: Any, dial: Any) -> None:
    server = await raw_server(redirecting(*"123456"))
    with pytest.raises(InvalidHandshake, match="more than 5") as caught:
        await dial(f"{server.url}/?token=secret")
    assert len(server.peers) == 6
    assert caught.value.verdict is FATAL
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "head", ["302 Found", "300 Multiple Choices\r\nLocation: /x", "304 Not Modified\r\nLocation: /x"]
)
async def test_what_is_no_redirect(raw_server: Any, dial: Any, head: str) -> None:
    async def script(peer: Any) -> None:
        await peer.read_request()
        await peer.send(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\n\r\n".encode())

    server = await raw_server(script)
    with pytest.raises(HandshakeRejected) as caught:
        await dial(server.url)
    assert caught.value.status == int(head[:3])


async def test_a_redirect_to_nowhere(raw_server: Any, dial: Any) -> None:
    server = await raw_server(redirecting("ftp://127.0.0.1/?secret"))
    with pytest.raises(InvalidHandshake, match="not a WebSocket URL") as caught:
        await dial(server.url)
    assert "secret" not in str(caught.value)


class TestTLS:
    @pytest.fixture
    def authority(self) -> trustme.CA:
        return trustme.CA()

    @pytest.fixture
    def server_context(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        context.verify_mode = ssl.CERT_OPTIONAL  # asks for a client certificate
        authority.configure_trust(context)
        return context

    @pytest.fixture
    def client_context(self, authority: trustme.CA) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        authority.issue_cert("client@example.com").configure_cert(context)
        return context

    async def test_from_ws_to_wss(self, raw_server: Any, dial: Any, server_context: Any, client_context: Any) -> None:
        secure = await raw_server(redirecting(), context=server_context)
        plain = await raw_server(redirecting(f"https://127.0.0.1:{secure.port}/"))
        recorder = await dial(plain.url, ssl=client_context, headers={"Cookie": "secret"})
        await recorder.count(1)
        assert secure.peers[0].header("Cookie") is None

    async def test_never_from_wss_to_ws(
        self, raw_server: Any, dial: Any, server_context: Any, client_context: Any
    ) -> None:
        plain = await raw_server(redirecting())
        secure = await raw_server(redirecting(f"{plain.url}/?token=secret"), context=server_context)
        with pytest.raises(InvalidHandshake, match="from wss to ws") as caught:
            await dial(secure.url.replace("ws:", "wss:"), ssl=client_context)
        assert caught.value.verdict is FATAL
        assert "secret" not in str(caught.value)
        assert plain.peers == []

    async def test_our_certificate_is_for_the_first_origin_only(
        self, raw_server: Any, dial: Any, server_context: Any, client_context: Any
    ) -> None:
        shown: list[Any] = []

        def noting(script: Any) -> Any:
            async def run(peer: Any) -> None:
                shown.append(peer.writer.get_extra_info("peercert"))
                await script(peer)

            return run

        other = await raw_server(noting(redirecting()), context=server_context)
        home = await raw_server(
            noting(redirecting("/again", f"https://127.0.0.1:{other.port}/")), context=server_context
        )
        recorder = await dial(home.url.replace("ws:", "wss:"), ssl=client_context)
        await recorder.count(1)
        assert [bool(certificate) for certificate in shown] == [True, True, False]

    def test_a_context_without_verification_stays_one(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        made = without_certificate(context)
        assert (made.check_hostname, made.verify_mode) == (False, ssl.CERT_NONE)

    def test_a_context_that_trusts_nobody_stays_strict(self) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        made = without_certificate(context)
        assert (made.check_hostname, made.verify_mode) == (False, ssl.CERT_REQUIRED)
        assert made.minimum_version is ssl.TLSVersion.TLSv1_3

    def test_a_context_whose_authorities_cannot_be_read(self) -> None:
        class Closed(ssl.SSLContext):
            def get_ca_certs(self, binary_form: bool = False) -> Any:
                raise NotImplementedError

        made = without_certificate(Closed(ssl.PROTOCOL_TLS_CLIENT))
        assert (made.check_hostname, made.verify_mode) == (True, ssl.CERT_REQUIRED)
