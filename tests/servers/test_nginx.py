"""nginx in front of an echo server: what a middlebox does to a WebSocket, and how each plugin deals with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    ConnectError,
    Disconnected,
    HandshakeRejected,
    Kind,
    Message,
    Reconnected,
    Retrying,
    Verdict,
)

PATIENCE = 15.0
READ_TIMEOUT = 1.0
"""nginx's proxy_read_timeout, seconds."""


def label(message: Message) -> str | None:
    return "pong" if message.kind is Kind.PONG else None


@pytest.fixture
async def nginx(
    run: Callable[..., Awaitable[Any]], free_port: Callable[[], int], echo: Any, tmp_path: Path
) -> Callable[[str], str]:
    """Start nginx in front of `echo`; gives a function from a path to its URL."""
    port = free_port()
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"""
        daemon off;
        pid {tmp_path}/nginx.pid;
        error_log stderr notice;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            client_body_temp_path {tmp_path}/body;
            proxy_temp_path {tmp_path}/proxy;
            fastcgi_temp_path {tmp_path}/fastcgi;
            uwsgi_temp_path {tmp_path}/uwsgi;
            scgi_temp_path {tmp_path}/scgi;
            limit_req_zone $server_port zone=one:64k rate=1r/s;
            limit_req_status 503;
            server {{
                listen 127.0.0.1:{port};
                proxy_http_version 1.1;
                proxy_set_header Upgrade $http_upgrade;
                proxy_set_header Connection upgrade;
                proxy_read_timeout {READ_TIMEOUT * 1000:.0f}ms;
                location /echo {{ proxy_pass http://127.0.0.1:{echo.port}; }}
                location /limited {{
                    limit_req zone=one;
                    error_page 503 @busy;
                    proxy_pass http://127.0.0.1:{echo.port};
                }}
                location @busy {{
                    add_header Retry-After 1 always;
                    return 503;
                }}
                location /old {{ return 307 http://127.0.0.1:{port}/echo; }}
                location /round {{ return 307 http://127.0.0.1:{port}/round; }}
                location /forbidden {{ return 403; }}
            }}
        }}
        """
    )
    await run("nginx", "-p", tmp_path, "-c", config, "-e", "stderr", port=port, cure="apt-get install nginx-light")
    return lambda path: f"ws://127.0.0.1:{port}{path}"


async def test_an_idle_socket_is_cut_without_a_close_frame_noticed_and_healed(nginx: Any, echo: Any, tell: Any) -> None:
    await echo.start()
    story = tell(nginx("/echo"))
    await story.open()
    lost = await story.until(Disconnected)
    assert (lost.error.code, lost.error.initiator) == (1006, "network")
    assert lost.uptime > READ_TIMEOUT / 2
    await story.until(Reconnected)
    await story.client.send("still there?")
    assert (await story.client.recv(PATIENCE)).data == "still there?"
    assert len(echo.connections) == 2


async def test_ping_keeps_the_socket_open_over_several_timeouts(nginx: Any, counter: Any, echo: Any, tell: Any) -> None:
    await echo.start()
    pongs = counter(label)
    story = tell(nginx("/echo"), plugins=[pongs], options={"ping": {"interval": READ_TIMEOUT / 4}})
    await story.open()
    await pongs.until(pong=14)  # 3.5 timeouts
    assert len(echo.connections) == 1
    assert story.connected_once
    assert not story.all(Disconnected)


async def test_bad_gateway_is_retried_until_the_backend_is_up(nginx: Any, echo: Any, tell: Any) -> None:
    story = tell(nginx("/echo"))
    opening = asyncio.create_task(story.open())
    failed = await story.until(AttemptFailed, 2)
    assert isinstance(failed.error, HandshakeRejected)
    assert (failed.error.status, failed.error.verdict) == (502, Verdict.RETRY)
    assert b"502 Bad Gateway" in failed.error.body
    await echo.start()
    await opening
    await story.client.send("up", confirm=True)


async def test_a_backend_that_goes_down_and_comes_up_again_is_found(nginx: Any, echo: Any, tell: Any) -> None:
    await echo.start()
    story = tell(nginx("/echo"))
    await story.open()
    await echo.stop()
    lost = await story.until(Disconnected)
    assert (lost.error.code, lost.error.initiator) == (1001, "remote"), "the close frame of the backend passes"
    failed = await story.until(AttemptFailed)
    assert failed.error.status == 502
    await echo.start()
    await story.until(Reconnected)


async def test_retry_after_takes_the_place_of_a_shorter_delay(nginx: Any, echo: Any, tell: Any) -> None:
    await echo.start()
    first, second = tell(nginx("/limited")), tell(nginx("/limited"), options={"backoff": {"base": 0.01}})
    await first.open()
    await first.client.close()  # idle, it would be cut and come back just when the second one may
    await second.open()
    (failed,), (retrying,) = second.all(AttemptFailed), second.all(Retrying)
    assert (failed.error.status, failed.error.retry_after) == (503, 1.0)
    assert 1.0 <= retrying.delay <= 1.01
    assert len(echo.connections) == 2


async def test_a_redirect_to_http_is_followed_as_a_websocket(nginx: Any, echo: Any, tell: Any) -> None:
    await echo.start()
    story = tell(nginx("/old?x=1"))
    client = story.client
    await story.open()
    assert echo.connections[0].request.path == "/echo"
    await client.send("moved")
    assert (await client.recv(PATIENCE)).data == "moved"


async def test_a_circle_of_redirects_and_a_refusal_end_at_once(nginx: Any, tell: Any) -> None:
    for path, status in (("/round", None), ("/forbidden", 403)):
        story = tell(nginx(path))
        with pytest.raises(ConnectError) as caught:
            await story.open()
        assert caught.value.verdict is Verdict.FATAL
        assert caught.value.status == status
        assert len(story.all(AttemptFailed)) == 1
