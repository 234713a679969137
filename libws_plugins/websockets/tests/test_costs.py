"""What a client need not pay for: certificates that another one has read, and threads for questions to nobody."""

from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from pathlib import Path
from typing import Any

import pytest

from libws_websockets.opening import SystemContext
from libws_websockets.transport import connect_socket


def test_clients_share_the_certificates_of_the_system() -> None:
    one, two = SystemContext(), SystemContext()
    assert one() is one() is two()


def test_the_certificates_go_with_the_last_client() -> None:
    one, two = SystemContext(), SystemContext()
    context = weakref.ref(one())
    two()
    del one
    gc.collect()
    assert context() is not None
    del two
    gc.collect()
    assert context() is None


def test_other_certificates_are_not_shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = SystemContext()
    before = one()
    (tmp_path / "none.pem").touch()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    assert SystemContext()() is not before
    assert one() is before
    monkeypatch.undo()
    assert SystemContext()() is before


def test_a_context_checks_certificates_and_hosts() -> None:
    context = SystemContext()()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_address_is_asked_of_nobody(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    loop = asyncio.get_running_loop()

    async def getaddrinfo(*arguments: Any, **options: Any) -> Any:
        raise AssertionError("a thread was asked")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    with pytest.raises(OSError):  # noqa: PT011  # refused, or there is no IPv6
        await connect_socket(host, 1, 0.25)


async def test_a_name_is_asked_anew_each_time(raw_server: Any, dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()

    server = await raw_server(script)
    loop, asked = asyncio.get_running_loop(), []
    resolve = loop.getaddrinfo

    async def getaddrinfo(host: str, port: int, **options: Any) -> Any:
        if host != "127.0.0.1":  # that is uvloop, which asks before each connect
            asked.append(host)
        return await resolve("127.0.0.1", port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    for _ in range(2):
        await dial(f"ws://name.invalid:{server.port}/")
    assert asked == ["name.invalid", "name.invalid"]
