"""tinyproxy and microsocks between a client and an echo server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libws_core import AttemptFailed, ProxyError, RetriesExhausted, Verdict

PATIENCE = 15.0
RETRY_ONCE = {"backoff": {"base": 0.01, "max_attempts": 2}}


@pytest.fixture
def tinyproxy(
    run: Callable[..., Awaitable[Any]], free_port: Callable[[], int], tmp_path: Path
) -> Callable[..., Awaitable[Any]]:
    """Start tinyproxy. With a password it wants the user "libws"."""

    async def start(password: str | None = None) -> Any:
        port = free_port()
        config = tmp_path / "tinyproxy.conf"
        config.write_text(
            f"""
            Listen 127.0.0.1
            Port {port}
            Timeout 60
            MaxClients 10
            LogLevel Connect
            {f"BasicAuth libws {password}" if password else ""}
            """
        )
        return await run("tinyproxy", "-d", "-c", config, port=port, cure="apt-get install tinyproxy")

    return start


@pytest.fixture
def microsocks(run: Callable[..., Awaitable[Any]], free_port: Callable[[], int]) -> Callable[..., Awaitable[Any]]:
    """Start microsocks. With a password it wants the user "libws"."""

    async def start(password: str | None = None) -> Any:
        port = free_port()
        login = ["-u", "libws", "-P", password] if password else []
        arguments = ["-i", "127.0.0.1", "-p", port, *login]
        return await run("microsocks", *arguments, port=port, cure="apt-get install microsocks")

    return start


async def round_trip(story: Any, echo: Any, proxy: Any) -> None:
    """Send a message there and back, and see in the proxy's log that it came that way."""
    await echo.start()
    await story.open()
    await story.client.send("through")
    assert (await story.client.recv(PATIENCE)).data == "through"
    assert not story.all(AttemptFailed)
    assert f"127.0.0.1:{echo.port}" in proxy.said


async def refusal(story: Any) -> ProxyError:
    """The error of a client that gives up at once."""
    with pytest.raises(ProxyError) as caught:
        await story.open()
    assert caught.value.verdict is Verdict.FATAL
    assert caught.value.phase == "dial"
    assert len(story.all(AttemptFailed)) == 1
    assert "pa55" not in f"{caught.value!r} {caught.value.__cause__!r} {story.events}"
    return caught.value


async def test_connect_through_an_http_proxy(tinyproxy: Any, echo: Any, tell: Any) -> None:
    proxy = await tinyproxy()
    await round_trip(tell(echo.url, proxy=f"http://127.0.0.1:{proxy.port}"), echo, proxy)


async def test_the_proxy_of_the_environment_is_used(
    tinyproxy: Any, echo: Any, tell: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await tinyproxy("pa55word")
    monkeypatch.setenv("http_proxy", f"http://libws:pa55word@127.0.0.1:{proxy.port}")
    await round_trip(tell(echo.url, proxy="env"), echo, proxy)


async def test_an_http_proxy_that_wants_a_password_gets_it(tinyproxy: Any, echo: Any, tell: Any) -> None:
    proxy = await tinyproxy("pa55word")
    await round_trip(tell(echo.url, proxy=f"http://libws:pa55word@127.0.0.1:{proxy.port}"), echo, proxy)


async def test_407_without_a_password_is_fatal(tinyproxy: Any, echo: Any, tell: Any) -> None:
    proxy = await tinyproxy("pa55word")
    error = await refusal(tell(echo.url, proxy=f"http://127.0.0.1:{proxy.port}"))
    assert error.status == 407


async def test_a_wrong_password_is_fatal_whatever_status_tells_it(tinyproxy: Any, echo: Any, tell: Any) -> None:
    proxy = await tinyproxy("pa55word")
    error = await refusal(tell(echo.url, proxy=f"http://libws:pa55wrong@127.0.0.1:{proxy.port}"))
    assert error.status == 401, "tinyproxy says 401 where RFC 9110 section 15.5.8 has 407"


async def test_a_target_that_an_http_proxy_cannot_reach_is_retried(tinyproxy: Any, echo: Any, tell: Any) -> None:
    proxy = await tinyproxy()
    story = tell(
        echo.url, proxy=f"http://127.0.0.1:{proxy.port}", options={"backoff": {"base": 0.01, "max_attempts": 2}}
    )
    with pytest.raises(RetriesExhausted):
        await story.open()
    errors = [failed.error for failed in story.all(AttemptFailed)]
    assert [(type(error), error.status, error.verdict) for error in errors] == [(ProxyError, 500, Verdict.RETRY)] * 2


@pytest.mark.parametrize("scheme", ["http", "socks5"])
async def test_a_proxy_that_is_not_there_is_retried(
    scheme: str, echo: Any, tell: Any, free_port: Callable[[], int]
) -> None:
    story = tell(echo.url, proxy=f"{scheme}://127.0.0.1:{free_port()}", options=RETRY_ONCE)
    with pytest.raises(RetriesExhausted):
        await story.open()
    assert [type(failed.error) for failed in story.all(AttemptFailed)] == [ProxyError] * 2


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_connect_through_a_socks_proxy(scheme: str, microsocks: Any, echo: Any, tell: Any) -> None:
    proxy = await microsocks()
    await round_trip(tell(echo.url, proxy=f"{scheme}://127.0.0.1:{proxy.port}"), echo, proxy)


async def test_a_socks_proxy_that_wants_a_password_gets_it(microsocks: Any, echo: Any, tell: Any) -> None:
    proxy = await microsocks("pa55word")
    await round_trip(tell(echo.url, proxy=f"socks5://libws:pa55word@127.0.0.1:{proxy.port}"), echo, proxy)


@pytest.mark.parametrize("login", ["", "libws:pa55wrong@"])
async def test_a_socks_proxy_that_refuses_the_log_in_is_fatal(
    login: str, microsocks: Any, echo: Any, tell: Any
) -> None:
    proxy = await microsocks("pa55word")
    error = await refusal(tell(echo.url, proxy=f"socks5://{login}127.0.0.1:{proxy.port}"))
    assert error.status is None


async def test_a_target_that_a_socks_proxy_cannot_reach_is_retried(microsocks: Any, echo: Any, tell: Any) -> None:
    proxy = await microsocks()
    story = tell(
        echo.url, proxy=f"socks5://127.0.0.1:{proxy.port}", options={"backoff": {"base": 0.01, "max_attempts": 2}}
    )
    with pytest.raises(RetriesExhausted):
        await story.open()
    errors = [failed.error for failed in story.all(AttemptFailed)]
    assert [(type(error), error.verdict) for error in errors] == [(ProxyError, Verdict.RETRY)] * 2
