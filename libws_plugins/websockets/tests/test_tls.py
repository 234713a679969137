"""TLS: who is trusted, who is not, and what the error says."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core.errors import TLSError
from libws_core.types import Message
from libws_core.verdicts import FATAL, RETRY


async def accepting(peer: Any) -> None:
    await peer.accept(behind=b"\x81\x02ok")
    await peer.until_close()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def quiet(peer: Any) -> None:
    """For connections that do not get beyond TLS."""


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_an_authority_of_our_own(raw_server: Any, dial: Any, authority: trustme.CA, host: str) -> None:
    server = await raw_server(accepting, context=server_context(authority.issue_cert("localhost", "127.0.0.1")))
    recorder = await dial(f"wss://{host}:{server.port}/", ssl=client_context(authority))
    assert await recorder.count(1) == [Message.text("ok")]
    recorder.connection.write(Message.text("x" * 100_000))
    recorder.connection.close()
    recorder.connection.abort()
    await recorder.end()


async def test_frames_large_and_many_through_tls(raw_server: Any, dial: Any, frame: Any, authority: Any) -> None:
    payloads = [bytes([number]) * size for number, size in enumerate([1, 126, 20_000, 300_000, 2_000_000, 5])]

    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(b"".join(frame(2, payload) for payload in payloads) + frame(8, b"\x03\xe8"))
        assert await peer.until_close() == [(0x88, b"\x03\xe8")]

    server = await raw_server(script, context=server_context(authority.issue_cert("127.0.0.1")))
    recorder = await dial(server.url.replace("ws:", "wss:"), ssl=client_context(authority))
    error = await recorder.end()
    await server.settle()
    assert [message.data for message in recorder.messages[:-1]] == payloads
    assert (error.code, error.initiator) == (1000, "remote")


async def test_the_system_is_trusted_by_default(
    raw_server: Any, dial: Any, dialer: Any, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is where OpenSSL looks for the system's authorities."""
    server = await raw_server(accepting, context=server_context(authority.issue_cert("127.0.0.1")))
    url = server.url.replace("ws:", "wss:")
    plugin = dialer()
    with pytest.raises(TLSError):
        await dial(url, plugin=plugin)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    recorder = await dial(url, plugin=dialer())
    await recorder.count(1)


async def test_a_context_that_is_given_beats_the_default(raw_server: Any, dial: Any, authority: trustme.CA) -> None:
    server = await raw_server(accepting, context=server_context(authority.issue_cert("other.example")))
    careless = ssl.create_default_context()
    careless.check_hostname, careless.verify_mode = False, ssl.CERT_NONE
    recorder = await dial(server.url.replace("ws:", "wss:"), ssl=careless)
    await recorder.count(1)


@pytest.fixture
def openssl_server() -> Iterator[Callable[[ssl.SSLContext], int]]:
    """A server of blocking sockets: unlike asyncio's, it sends its alert before it hangs up. Gives its port."""
    threads: list[threading.Thread] = []
    listeners: list[socket.socket] = []

    def serve(context: ssl.SSLContext) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.settimeout(10)

        def run() -> None:
            accepted, _ = listener.accept()
            accepted.settimeout(10)
            with context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False) as secured:
                with contextlib.suppress(ssl.SSLError):
                    secured.do_handshake()
                    secured.recv(1000)
                # Read on to the end, below TLS: closing at once would turn the alert into a reset.
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(secured, socket.SHUT_WR)
                    while socket.socket.recv(secured, 1000):
                        pass

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        listeners.append(listener)
        port: int = listener.getsockname()[1]
        return port

    yield serve
    for thread in threads:
        thread.join(10)
    for listener in listeners:
        listener.close()


class TestRefused:
    async def check(self, dial: Any, port: int, reason: str, **options: Any) -> TLSError:
        with pytest.raises(TLSError, match=reason) as caught:
            await dial(f"wss://127.0.0.1:{port}/path?token=secret", **options)
        assert f"wss://127.0.0.1:{port}/path" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, ssl.SSLError)
        return caught.value

    async def test_an_unknown_authority(self, openssl_server: Any, dial: Any, authority: trustme.CA) -> None:
        port = openssl_server(server_context(authority.issue_cert("127.0.0.1")))
        assert (await self.check(dial, port, "certificate")).verdict is FATAL

    async def test_another_host(self, openssl_server: Any, dial: Any, authority: trustme.CA) -> None:
        port = openssl_server(server_context(authority.issue_cert("other.example")))
        error = await self.check(dial, port, "certificate", ssl=client_context(authority))
        assert error.verdict is FATAL

    async def test_an_expired_certificate(self, openssl_server: Any, dial: Any, authority: trustme.CA) -> None:
        past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        certificate = authority.issue_cert("127.0.0.1", not_before=past, not_after=past + datetime.timedelta(days=1))
        port = openssl_server(server_context(certificate))
        assert (await self.check(dial, port, "expired", ssl=client_context(authority))).verdict is FATAL

    async def test_a_server_that_wants_a_certificate_of_ours(
        self, openssl_server: Any, dial: Any, authority: trustme.CA
    ) -> None:
        """In TLS 1.3 its refusal comes when we think that the handshake is done."""
        context = server_context(authority.issue_cert("127.0.0.1"))
        context.verify_mode = ssl.CERT_REQUIRED
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        authority.configure_trust(context)
        port = openssl_server(context)
        error = await self.check(dial, port, "certificate required", ssl=client_context(authority))
        assert error.verdict is FATAL

    async def test_a_server_that_does_not_trust_our_certificate(
        self, openssl_server: Any, dial: Any, authority: trustme.CA
    ) -> None:
        context = server_context(authority.issue_cert("127.0.0.1"))
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
        port = openssl_server(context)
        ours = client_context(authority)
        trustme.CA().issue_cert("client@example.com").configure_cert(ours)
        assert (await self.check(dial, port, "unknown ca", ssl=ours)).verdict is FATAL

    async def test_no_common_version(self, openssl_server: Any, dial: Any, authority: trustme.CA) -> None:
        context = server_context(authority.issue_cert("127.0.0.1"))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        port = openssl_server(context)
        client = client_context(authority)
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        assert (await self.check(dial, port, "TLS", ssl=client)).verdict is RETRY


async def test_a_server_that_does_not_speak_tls(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.reader.read(10)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    server = await raw_server(script)
    with pytest.raises(TLSError) as caught:
        await dial(server.url.replace("ws:", "wss:"))
    assert caught.value.verdict is RETRY


async def test_a_server_that_hangs_up(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.reader.read(10)

    server = await raw_server(script)
    with pytest.raises(TLSError) as caught:
        await dial(server.url.replace("ws:", "wss:") + "/path")
    assert caught.value.verdict is RETRY
    assert "/path" in str(caught.value)


async def test_a_host_that_cannot_stand_in_a_certificate(raw_server: Any, dial: Any) -> None:
    async def script(peer: Any) -> None:
        assert await peer.wait_closed() == b""

    server = await raw_server(script)

    async def resolve(*arguments: Any, **options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    asyncio.get_running_loop().getaddrinfo = resolve  # type: ignore[method-assign]
    with pytest.raises(TLSError):
        await dial(f"wss://.example:{server.port}/")
    await server.settle()


async def test_a_loss_within_tls(raw_server: Any, dial: Any, authority: trustme.CA) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        peer.writer.transport.abort()

    server = await raw_server(script, context=server_context(authority.issue_cert("127.0.0.1")))
    recorder = await dial(server.url.replace("ws:", "wss:"), ssl=client_context(authority))
    error = await recorder.end()
    assert (error.code, error.initiator) == (1006, "network")


async def test_a_server_that_closes_right_behind_the_101(raw_server: Any, dial: Any, authority: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept(behind=b"\x81\x02ok\x88\x02\x03\xf5")

    server = await raw_server(script, context=server_context(authority.issue_cert("127.0.0.1")))
    for _ in range(20):
        recorder = await dial(server.url.replace("ws:", "wss:"), ssl=client_context(authority))
        error = await recorder.end()
        assert recorder.messages == [Message.text("ok"), Message.close(1013)]
        assert error.code == 1013
