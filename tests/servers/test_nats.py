"""nats-server: it speaks first, logs in by message, and pings by message."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    AuthenticationError,
    ConnectionClosed,
    Disconnected,
    Message,
    Reconnected,
    Verdict,
)

PATIENCE = 15.0
CONNECT = 'CONNECT {"verbose":false,"pedantic":false,"protocol":1,"auth_token":"%s","name":"libws"}\r\nPING\r\n'


def label(message: Message) -> str | None:
    return "ping" if message.data == b"PING\r\n" else None


@pytest.fixture
def nats(
    run: Callable[..., Awaitable[Any]], free_port: Callable[[], int], tmp_path: Path
) -> Callable[..., Awaitable[Any]]:
    """Start a nats-server with a WebSocket listener that wants the token "secret"."""

    port = free_port()

    async def start(ping_interval: str = "300ms") -> Any:
        config = tmp_path / "nats.conf"
        config.write_text(
            f"""
            listen: "127.0.0.1:-1"
            authorization {{
              token: "secret"
              timeout: 2
            }}
            ping_interval: "{ping_interval}"
            ping_max: 2
            lame_duck_duration: "30s"
            lame_duck_grace_period: "1s"
            websocket {{
              listen: "127.0.0.1:{port}"
              no_tls: true
            }}
            """
        )
        return await run("nats-server", "-c", config, port=port, cure="apt-get install nats-server")

    return start


def options(token: str = "secret", pong: bool = True) -> dict[str, Any]:
    auth = {"message": CONNECT % token, "expect": "PONG", "reject": lambda message: message.data.startswith(b"-ERR")}
    return {"auth": auth, "pong": {"match": "PING", "reply": "PONG\r\n"} if pong else {}}


async def test_the_server_speaks_first_and_the_log_in_is_a_message(nats: Any, tell: Any) -> None:
    server = await nats()
    story = tell(f"ws://127.0.0.1:{server.port}", plugins=["auth"], options=options())
    client = story.client
    await story.open()
    first = await client.recv(PATIENCE)
    assert first.data.startswith(b'INFO {"server_id":'), (
        "what the log-in did not wait for stays in the stream, in order"
    )
    await client.send("SUB news 1\r\n")
    await client.send("PUB news 5\r\nhello\r\n")
    async with asyncio.timeout(PATIENCE):
        said = b""
        while b"hello" not in said:
            said += (await client.recv()).data
    assert said == b"MSG news 1 5\r\nhello\r\n", "PONG was taken by the log-in, PINGs are answered and taken out"


async def test_pong_answers_pings_that_are_messages(nats: Any, counter: Any, tell: Any) -> None:
    server = await nats(ping_interval="200ms")
    pings = counter(label)
    story = tell(f"ws://127.0.0.1:{server.port}", plugins=["auth", pings], options=options())
    await story.open()
    await pings.until(ping=8)  # two in a row without an answer would have ended it
    assert story.connected_once
    assert not story.all(Disconnected)


async def test_who_does_not_answer_the_pings_is_cut_off(nats: Any, counter: Any, tell: Any) -> None:
    server = await nats(ping_interval="200ms")
    pings = counter(label)
    story = tell(f"ws://127.0.0.1:{server.port}", plugins=["auth", pings], options=options(pong=False))
    await story.open()
    lost = await story.until(Disconnected)
    assert pings.counts["ping"] == 2
    assert lost.error.fault == "remote"
    data: list[bytes] = []
    while not data or b"-ERR" not in data[-1]:
        data.append((await story.client.recv(PATIENCE)).data)
    assert data[-3:] == [b"PING\r\n", b"PING\r\n", b"-ERR 'Stale Connection'\r\n"]
    await story.until(
        Reconnected
    )  # this version ends it with a close code that is not to be sent; no reason to give up


async def test_a_wrong_token_is_an_authentication_error_after_one_more_try(nats: Any, tell: Any) -> None:
    server = await nats()
    story = tell(f"ws://127.0.0.1:{server.port}", plugins=["auth"], options=options("wr0ng"))
    with pytest.raises(AuthenticationError) as caught:
        await story.open()
    assert [failed.phase for failed in story.all(AttemptFailed)] == ["establish", "establish"], "credentials renew once"
    assert caught.value.phase == "establish"
    assert "wr0ng" not in f"{caught.value!r} {story.events}"


async def test_without_a_match_for_the_refusal_its_close_code_is_told(nats: Any, tell: Any) -> None:
    server = await nats()
    refused = options("wr0ng")
    del refused["auth"]["reject"]
    refused["backoff"] = {"codes": {"1008": "fatal"}}
    story = tell(f"ws://127.0.0.1:{server.port}", plugins=["auth"], options=refused)
    with pytest.raises(ConnectionClosed) as caught:
        await story.open()
    assert (caught.value.code, caught.value.reason) == (1008, "Authentication Failure")
    assert caught.value.verdict is Verdict.FATAL
    assert len(story.all(AttemptFailed)) == 1


async def test_a_server_that_leaves_says_so_and_the_client_comes_back_to_the_next_one(nats: Any, tell: Any) -> None:
    server = await nats()
    story = tell(f"ws://127.0.0.1:{server.port}", plugins=["auth"], options=options())
    await story.open()
    server.signal(signal.SIGUSR2)  # lame duck: told to clients, then closed
    lost = await story.until(Disconnected)
    assert (lost.error.code, lost.error.reason, lost.error.initiator) == (1001, "Server Shutdown", "remote")
    await server.wait()
    await story.until(AttemptFailed)  # nobody listens
    await server.start()
    await story.until(Reconnected)
    await story.client.send("PUB news 2\r\nhi\r\n", confirm=True)
    told = [message.data for message in [await story.client.recv(PATIENCE) for _ in range(3)]]
    assert b'"ldm":true' in told[1]
    assert told[2].startswith(b"INFO")
