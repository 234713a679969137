"""Proxies: real ones as processes of their own, and one of ours for what they do not do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import random
import shutil
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core.errors import ConnectError, NameResolutionError, ProxyError, TLSError
from libws_core.types import Message
from libws_core.verdicts import FATAL, RETRY
from libws_websockets.proxy import choose_proxy, parse_proxy
from libws_websockets.target import parse_target


async def accepting(peer: Any) -> None:
    await peer.accept(behind=b"\x81\x02ok")
    await peer.until_close()


def free_port() -> int:
    """A port that nothing listens on, and none that the system gives to another test in the meantime, from 32768 on."""
    while True:
        port = random.SystemRandom().randrange(10_000, 32_000)
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port


Start = Callable[..., Awaitable[int]]


@pytest.fixture
async def process() -> AsyncIterator[Start]:
    """Start a program and wait until its port answers."""
    started: list[asyncio.subprocess.Process] = []

    async def start(port: int, program: str, *arguments: str) -> int:
        path = shutil.which(program)
        if path is None:
            pytest.skip(f"needs {program}; install the Debian package of that name")
        nowhere = asyncio.subprocess.DEVNULL
        child = await asyncio.create_subprocess_exec(path, *arguments, stdout=nowhere, stderr=nowhere)
        started.append(child)
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert child.returncode is None, f"{program} ended with {child.returncode}"
                    await asyncio.sleep(0.01)
                    continue
                writer.close()
                await writer.wait_closed()
                return port

    yield start
    for child in started:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        await child.wait()


@pytest.fixture
def tinyproxy(process: Start, tmp_path: Path) -> Callable[..., Awaitable[int]]:
    async def start(*lines: str) -> int:
        port = free_port()
        config = tmp_path / f"tinyproxy-{port}.conf"
        config.write_text("\n".join([f"Port {port}", "Listen 127.0.0.1", "Timeout 600", "MaxClients 20", *lines, ""]))
        return await process(port, "tinyproxy", "-d", "-c", str(config))

    return start


@pytest.fixture
def microsocks(process: Start) -> Callable[..., Awaitable[int]]:
    async def start(*arguments: str) -> int:
        port = free_port()
        return await process(port, "microsocks", "-i", "127.0.0.1", "-p", str(port), *arguments)

    return start


@pytest.fixture
def secure() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Contexts of a server and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


class TestTinyproxy:
    async def test_a_tunnel(self, tinyproxy: Any, raw_server: Any, dial: Any) -> None:
        server = await raw_server(accepting)
        port = await tinyproxy()
        recorder = await dial(server.url, proxy=f"http://127.0.0.1:{port}")
        assert await recorder.count(1) == [Message.text("ok")]

    async def test_tls_in_a_tunnel(self, tinyproxy: Any, raw_server: Any, dial: Any, secure: Any) -> None:
        server = await raw_server(accepting, context=secure[0])
        port = await tinyproxy()
        recorder = await dial(f"wss://localhost:{server.port}/", ssl=secure[1], proxy=f"http://127.0.0.1:{port}")
        assert await recorder.count(1) == [Message.text("ok")]

    async def test_a_log_in(self, tinyproxy: Any, raw_server: Any, dial: Any) -> None:
        server = await raw_server(accepting)
        port = await tinyproxy("BasicAuth user pass-word")
        recorder = await dial(server.url, proxy=f"http://user:pass%2Dword@127.0.0.1:{port}")
        assert await recorder.count(1) == [Message.text("ok")]

    @pytest.mark.parametrize(("user_info", "status"), [("", 407), ("user:wrongsecret@", 401)])
    async def test_a_refused_log_in(
        self, tinyproxy: Any, raw_server: Any, dial: Any, user_info: str, status: int
    ) -> None:
        server = await raw_server(accepting)
        port = await tinyproxy("BasicAuth user password")
        with pytest.raises(ProxyError, match="log-in") as caught:
            await dial(server.url, proxy=f"http://{user_info}127.0.0.1:{port}")
        assert (caught.value.status, caught.value.verdict) == (status, FATAL)
        assert "wrongsecret" not in str(caught.value)
        assert server.peers == []

    async def test_a_target_that_refuses(self, tinyproxy: Any, dial: Any) -> None:
        port = await tinyproxy()
        with pytest.raises(ProxyError, match="does not connect") as caught:
            await dial(f"ws://127.0.0.1:{free_port()}/?token=secret", proxy=f"http://127.0.0.1:{port}")
        assert caught.value.verdict is RETRY
        assert caught.value.status is not None
        assert caught.value.status >= 500
        assert "secret" not in str(caught.value)

    async def test_a_port_that_the_proxy_forbids(self, tinyproxy: Any, raw_server: Any, dial: Any) -> None:
        server = await raw_server(accepting)
        port = await tinyproxy("ConnectPort 443")
        with pytest.raises(ProxyError) as caught:
            await dial(server.url, proxy=f"http://127.0.0.1:{port}")
        assert (caught.value.status, caught.value.verdict) == (403, RETRY)


class TestMicrosocks:
    @pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
    @pytest.mark.parametrize("tls", [False, True])
    async def test_a_tunnel(
        self, microsocks: Any, raw_server: Any, dial: Any, secure: Any, scheme: str, tls: bool
    ) -> None:
        server = await raw_server(accepting, context=secure[0] if tls else None)
        port = await microsocks()
        url = f"{'wss' if tls else 'ws'}://localhost:{server.port}/"
        recorder = await dial(url, ssl=secure[1], proxy=f"{scheme}://127.0.0.1:{port}")
        assert await recorder.count(1) == [Message.text("ok")]

    async def test_a_log_in(self, microsocks: Any, raw_server: Any, dial: Any) -> None:
        server = await raw_server(accepting)
        port = await microsocks("-u", "user", "-P", "pass:word")
        recorder = await dial(server.url, proxy=f"socks5h://user:pass%3Aword@127.0.0.1:{port}")
        assert await recorder.count(1) == [Message.text("ok")]

    @pytest.mark.parametrize("user_info", ["", "user:wrongsecret@"])
    async def test_a_refused_log_in(self, microsocks: Any, raw_server: Any, dial: Any, user_info: str) -> None:
        server = await raw_server(accepting)
        port = await microsocks("-u", "user", "-P", "password")
        with pytest.raises(ProxyError, match="log-in") as caught:
            await dial(server.url, proxy=f"socks5://{user_info}127.0.0.1:{port}")
        assert caught.value.verdict is FATAL
        assert "wrongsecret" not in str(caught.value)

    async def test_a_target_that_refuses(self, microsocks: Any, dial: Any) -> None:
        port = await microsocks()
        with pytest.raises(ProxyError, match="does not connect") as caught:
            await dial(f"ws://127.0.0.1:{free_port()}/?token=secret", proxy=f"socks5://127.0.0.1:{port}")
        assert caught.value.verdict is RETRY
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(("scheme", "kind"), [("socks5", NameResolutionError), ("socks5h", ProxyError)])
    async def test_who_resolves_the_name(self, microsocks: Any, dial: Any, scheme: str, kind: type[Exception]) -> None:
        port = await microsocks()
        with pytest.raises(kind) as caught:
            await dial("ws://nothing.invalid/", proxy=f"{scheme}://127.0.0.1:{port}")
        assert type(caught.value) is kind


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()


class TestConnect:
    """What no real proxy can be made to do."""

    @pytest.fixture
    def connecting(self, raw_server: Any) -> Callable[..., Awaitable[Any]]:
        """A proxy that connects to wherever it is told."""

        async def script(peer: Any) -> None:
            request = await peer.read_request()
            host, _, port = request.split(" ")[1].rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
            await peer.send(b"HTTP/1.0 200\r\nX: y\r\n\r\n")
            await asyncio.gather(relay(peer.reader, writer), relay(reader, peer.writer))
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        async def start(**options: Any) -> Any:
            return await raw_server(script, **options)

        return start

    async def test_the_request(self, connecting: Any, raw_server: Any, dial: Any) -> None:
        server = await raw_server(accepting)
        proxy = await connecting()
        headers = {"User-Agent": "me/1", "Cookie": "secret", "Authorization": "secret"}
        recorder = await dial(
            f"{server.url}/path?token=secret", headers=headers, proxy=f"http://us%40er:@127.0.0.1:{proxy.port}"
        )
        await recorder.count(1)
        request = proxy.peers[0].request
        credentials = base64.b64encode(b"us@er:").decode()
        assert request.split("\r\n") == [
            f"CONNECT 127.0.0.1:{server.port} HTTP/1.1",
            f"Host: 127.0.0.1:{server.port}",
            "User-Agent: me/1",
            f"Proxy-Authorization: Basic {credentials}",
            "",
            "",
        ]
        assert "Proxy-Authorization" not in server.peers[0].request

    async def test_a_proxy_behind_tls(
        self,
        connecting: Any,
        raw_server: Any,
        dial: Any,
        secure: Any,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """TLS to the proxy trusts the system, whatever is trusted of the server; TLS in TLS for wss."""
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        proxy = await connecting(context=context)
        url = f"https://127.0.0.1:{proxy.port}"
        plain = await raw_server(accepting)
        with pytest.raises(TLSError, match="proxy") as caught:
            await dial(plain.url, proxy=url, ssl=secure[1])
        assert caught.value.verdict is FATAL
        authority.cert_pem.write_to_path(tmp_path / "authority.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        recorder = await dial(plain.url, proxy=url)
        await recorder.count(1)
        hidden = await raw_server(accepting, context=secure[0])
        recorder = await dial(f"wss://127.0.0.1:{hidden.port}/", proxy=url, ssl=secure[1])
        await recorder.count(1)
        recorder.connection.write(Message.binary(bytes(300_000)))
        recorder.connection.close()
        recorder.connection.abort()
        await recorder.end()

    @pytest.mark.parametrize(
        ("answer", "reason", "status", "verdict"),
        [
            (b"HTTP/1.1 407 X\r\n\r\n", "log-in", 407, FATAL),
            (b"HTTP/1.1 401 X\r\n\r\n", "log-in", 401, FATAL),
            (b"HTTP/1.1 502 X\r\n\r\n", "502", 502, RETRY),
            (b"HTTP/1.1 302 X\r\nLocation: http://x/\r\n\r\n", "302", 302, RETRY),
            (b"SSH-2.0\r\n\r\n", "response of HTTP", None, RETRY),
            (b"HTTP/1.1 2", "closed", None, RETRY),
            (b"HTTP/1.1 200 OK\r\n\r\nsurprise", "behind its answer", None, RETRY),
        ],
    )
    async def test_other_answers(
        self, raw_server: Any, dial: Any, answer: bytes, reason: str, status: int | None, verdict: Any
    ) -> None:
        async def script(peer: Any) -> None:
            await peer.read_request()
            await peer.send(answer)

        proxy = await raw_server(script)
        with pytest.raises(ProxyError, match=reason) as caught:
            await dial("ws://example.test/?token=secret", proxy=f"http://user:secret@127.0.0.1:{proxy.port}")
        assert (caught.value.status, caught.value.verdict) == (status, verdict)
        assert f"127.0.0.1:{proxy.port}" in str(caught.value)
        assert "secret" not in str(caught.value)

    async def test_a_reset(self, raw_server: Any, dial: Any) -> None:
        async def script(peer: Any) -> None:
            await peer.read_request()
            raw = peer.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.writer.transport.abort()

        proxy = await raw_server(script)
        with pytest.raises(ProxyError, match="broke the connection") as caught:
            await dial("ws://example.test/", proxy=f"http://127.0.0.1:{proxy.port}")
        assert caught.value.verdict is RETRY

    async def test_tls_with_the_target_fails(self, connecting: Any, raw_server: Any, dial: Any, secure: Any) -> None:
        async def quiet(peer: Any) -> None:
            pass

        server = await raw_server(quiet, context=secure[0])
        proxy = await connecting()
        with pytest.raises(TLSError, match=f"wss://127.0.0.1:{server.port}"):
            await dial(f"wss://127.0.0.1:{server.port}/", proxy=f"http://127.0.0.1:{proxy.port}")


class TestUnreachable:
    @pytest.mark.parametrize("scheme", ["http", "https", "socks5", "socks5h"])
    @pytest.mark.parametrize("host", ["127.0.0.1", "nothing.invalid"])
    async def test_a_proxy_that_is_not_there(self, dial: Any, scheme: str, host: str) -> None:
        port = free_port()
        with pytest.raises(ProxyError, match=f"{host}:{port}") as caught:
            await dial("ws://example.test/?token=secret", proxy=f"{scheme}://user:secret@{host}:{port}")
        assert (caught.value.verdict, caught.value.status) == (RETRY, None)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize("answer", [b"", b"\x05", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
    async def test_what_is_no_socks_proxy(self, raw_server: Any, dial: Any, answer: bytes) -> None:
        async def script(peer: Any) -> None:
            await peer.reader.read(100)
            await peer.send(answer)

        proxy = await raw_server(script)
        with pytest.raises(ProxyError) as caught:
            await dial("ws://example.test/", proxy=f"socks5h://127.0.0.1:{proxy.port}")
        assert caught.value.verdict is RETRY

    async def test_a_socks_proxy_that_resets(self, raw_server: Any, dial: Any) -> None:
        async def script(peer: Any) -> None:
            await peer.reader.readexactly(3)
            raw = peer.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.writer.transport.abort()

        proxy = await raw_server(script)
        with pytest.raises(ProxyError, match="broke the connection"):
            await dial("ws://example.test/", proxy=f"socks5h://127.0.0.1:{proxy.port}")

    async def test_a_host_that_socks_cannot_name(self, raw_server: Any, dial: Any) -> None:
        async def script(peer: Any) -> None:
            await peer.reader.readexactly(3)
            await peer.send(b"\x05\x00")
            await peer.wait_closed()

        proxy = await raw_server(script)
        with pytest.raises(ConnectError) as caught:
            await dial(f"ws://{'a' * 70}.test/", proxy=f"socks5h://127.0.0.1:{proxy.port}")
        assert caught.value.verdict is FATAL
        await proxy.settle()


class TestURL:
    @pytest.mark.parametrize(
        ("url", "scheme", "host", "port", "user_info"),
        [
            ("http://p.example", "http", "p.example", 80, None),
            ("HTTPS://P.example/", "https", "p.example", 443, None),
            ("socks5://10.0.0.1", "socks5", "10.0.0.1", 1080, None),
            ("socks5h://u:p%40@[::1]:9050", "socks5h", "::1", 9050, ("u", "p@")),
            ("http://u@bücher.example:8080", "http", "xn--bcher-kva.example", 8080, ("u", "")),
            ("p.example:3128", "http", "p.example", 3128, None),
            ("u:p@p.example:3128", "http", "p.example", 3128, ("u", "p")),
        ],
    )
    def test_parts(self, url: str, scheme: str, host: str, port: int, user_info: Any) -> None:
        proxy = parse_proxy(url)
        assert (proxy.scheme, proxy.host, proxy.port, proxy.user_info) == (scheme, host, port, user_info)

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://u:secret@host",
            "socks4://u:secret@host",
            "http://u:secret@",
            "http://u:secret@host:port",
            "http://u:secret@host:99999",
            "http://u:secret@[::1",
            "http://u:secret@host/path",
            "http://u:secret@host?query",
            "http://u:secret@host#fragment",
            "http://u:secret@a\u2100b",
            "",
        ],
    )
    async def test_what_is_no_proxy(self, dial: Any, url: str) -> None:
        with pytest.raises(ProxyError, match="proxy's URL cannot be used") as caught:
            await dial("ws://example.test/", proxy=url)
        assert caught.value.verdict is FATAL
        assert "secret" not in str(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    @pytest.mark.parametrize("user_info", ["üser:secret", "user:seécret", "user", f"user:{'s' * 256}", ":secret"])
    async def test_a_log_in_that_socks_cannot_say(self, dial: Any, user_info: str) -> None:
        with pytest.raises(ProxyError, match="ASCII") as caught:
            await dial("ws://example.test/", proxy=f"socks5://{user_info}@127.0.0.1:1")
        assert caught.value.verdict is FATAL
        assert "secret" not in str(caught.value)
        assert "cret" not in str(caught.value)

    def test_a_proxy_shows_no_password(self) -> None:
        assert "secret" not in repr(parse_proxy("http://user:secret@host"))


class TestEnvironment:
    @pytest.fixture(autouse=True)
    def empty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in list(os.environ):
            if name.lower().endswith("_proxy"):
                monkeypatch.delenv(name)

    @pytest.mark.parametrize(
        ("environment", "url", "wanted"),
        [
            ({}, "wss://h/", None),
            ({"https_proxy": "http://a:1"}, "wss://h/", "a"),
            ({"HTTPS_PROXY": "http://a:1"}, "wss://h/", "a"),
            ({"http_proxy": "http://a:1"}, "wss://h/", None),
            ({"http_proxy": "http://a:1"}, "ws://h/", "a"),
            ({"http_proxy": "http://a:1", "https_proxy": "http://b:1"}, "ws://h/", "b"),
            ({"https_proxy": "http://a:1", "socks_proxy": "socks5h://b:1"}, "wss://h/", "b"),
            ({"socks_proxy": "http://b:1"}, "wss://h/", "b"),
            ({"wss_proxy": "http://c:1", "socks_proxy": "socks5h://b:1"}, "wss://h/", "c"),
            ({"ws_proxy": "http://c:1", "http_proxy": "http://b:1"}, "ws://h/", "c"),
            ({"all_proxy": "socks5://d:1"}, "ws://h/", "d"),
            ({"all_proxy": "d:3128", "https_proxy": "http://a:1"}, "wss://h/", "a"),
            ({"https_proxy": "http://a:1", "no_proxy": "h"}, "wss://h/", None),
            ({"https_proxy": "http://a:1", "no_proxy": "example.com"}, "wss://x.example.com/", None),
            ({"https_proxy": "http://a:1", "no_proxy": "h:444"}, "wss://h/", "a"),
            ({"https_proxy": "http://a:1", "no_proxy": "*"}, "wss://[::1]/", None),
            ({"https_proxy": "http://a:1"}, "wss+unix:///s.sock:/", None),
        ],
    )
    def test_which_proxy(
        self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], url: str, wanted: str | None
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        proxy = choose_proxy("env", parse_target(url))
        assert (proxy.host if proxy else None) == wanted
        if environment.get("socks_proxy", "").startswith("http:"):
            assert proxy is not None
            assert proxy.scheme == "socks5h"

    async def test_env_is_the_default(self, raw_server: Any, monkeypatch: pytest.MonkeyPatch, dial: Any) -> None:
        async def script(peer: Any) -> None:
            await peer.read_request()
            await peer.send(b"HTTP/1.1 503 Busy\r\n\r\n")

        proxy = await raw_server(script)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(ProxyError, match="503"):
            await dial("ws://example.test/", proxy="env")
        assert proxy.peers[0].request.startswith("CONNECT example.test:80 ")

    async def test_none_means_none(self, raw_server: Any, monkeypatch: pytest.MonkeyPatch, dial: Any) -> None:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        server = await raw_server(accepting)
        recorder = await dial(server.url, proxy=None)
        await recorder.count(1)

    async def test_a_bad_one_is_named(self, monkeypatch: pytest.MonkeyPatch, dial: Any) -> None:
        monkeypatch.setenv("all_proxy", "gopher://user:secret@host")
        assert urllib.request.getproxies()
        with pytest.raises(ProxyError, match="scheme") as caught:
            await dial("wss://example.test/", proxy="env")
        assert "secret" not in str(caught.value)
