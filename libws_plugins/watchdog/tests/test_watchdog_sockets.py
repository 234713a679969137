"""Silence, and a loop that is really blocked, over real sockets: on each dialer and each loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import Client, Disconnected, IdleTimeout, KeepAliveTimeout, Kind, LibwsError
from libws_core.testing import Server, leaks
from libws_watchdog import Watchdog, clocks

LIMIT = 0.8
"""Seconds of silence. `wake` is off where a test wants nothing else: a busy machine may really stand still."""
ALL: dict[str, Any] = {"link": LIMIT, "data": LIMIT, "topics": {"a": LIMIT, "*": LIMIT}, "key": "s"}
SLACK = 2.0
"""Seconds by which a busy machine may be late."""


def make(server: Server, dialer: Any, *plugins: object, **more: Any) -> Client:
    return Client(server.url, plugins=["-standard", *plugins, dialer()], proxy=None, close_timeout=1, **more)


async def ended(client: Client, since: float) -> tuple[LibwsError, float]:
    with pytest.raises(LibwsError) as caught:
        await client.wait_closed()
    return caught.value, time.monotonic() - since


async def beat(say: Callable[[], object]) -> None:
    while True:
        say()
        await asyncio.sleep(0.05)


async def block(seconds: float) -> None:
    """Block the loop in a callback, as a program does that computes for too long."""
    done = asyncio.Event()
    asyncio.get_running_loop().call_soon(lambda: (time.sleep(seconds), done.set()))
    await done.wait()


async def test_a_line_that_falls_silent_is_noticed(dialer: Any) -> None:
    async with leaks(), asyncio.timeout(20), Server() as server:
        client = make(server, dialer, Watchdog(link=LIMIT, data=60, wake=False))
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        await client.open()
        peer = await server.accept()
        beating = asyncio.create_task(beat(peer.ping))
        await asyncio.sleep(1.1)
        assert client.state == "ready"
        beating.cancel()
        peer.silence()
        error, took = await ended(client, time.monotonic())
        assert isinstance(error, IdleTimeout)
        assert "the link clock ran out: no byte for " in str(error)
        assert LIMIT - 0.1 <= took <= LIMIT + 0.1 + SLACK
        assert [event.error for event in lost] == [error]
        assert peer.pings == 0


@pytest.mark.parametrize("heartbeat", ["frame", "message"])
async def test_data_that_stops_is_noticed_while_heartbeats_go_on(dialer: Any, heartbeat: str) -> None:
    """Also where the heartbeats are messages, which the plugin pong takes out and answers."""
    async with leaks(), asyncio.timeout(20), Server() as server:
        options = {"pong": {"match": "beat", "reply": "here"}}
        client = make(server, dialer, Watchdog(link=60, data=LIMIT, wake=False), "pong", options=options)
        client.on_message(lambda message: None)
        await client.open()
        peer = await server.accept()
        beating = asyncio.create_task(beat(peer.ping if heartbeat == "frame" else lambda: peer.send("beat")))
        for number in range(6):
            peer.send(str(number))
            await asyncio.sleep(0.2)
        assert client.state == "ready"
        error, took = await ended(client, time.monotonic())
        beating.cancel()
        assert isinstance(error, IdleTimeout)
        assert "the data clock ran out: no application message for " in str(error)
        assert LIMIT - 0.4 <= took <= LIMIT + 0.1 + SLACK


async def test_a_topic_that_stops_is_noticed_while_others_go_on(dialer: Any) -> None:
    async with leaks(), asyncio.timeout(20), Server() as server:
        client = make(server, dialer, Watchdog(topics={"a": LIMIT, "*": 60}, key="s", wake=False))
        client.on_message(lambda message: None)
        await client.open()
        peer = await server.accept()
        beating = asyncio.create_task(beat(lambda: peer.send({"s": "b"})))
        for _ in range(6):
            peer.send({"s": "a"})
            await asyncio.sleep(0.2)
        error, took = await ended(client, time.monotonic())
        beating.cancel()
        assert isinstance(error, IdleTimeout)
        assert "the topic clock ran out: no message of 'a' for " in str(error)
        assert LIMIT - 0.4 <= took <= LIMIT + 0.1 + SLACK


@pytest.mark.parametrize("limits", [ALL, {}])
async def test_a_loop_that_was_blocked_blames_nobody_and_asks(
    dialer: Any, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server runs on the same loop, so nothing has come in all that time."""
    monkeypatch.setattr(clocks, "STRIDE", 0.2)
    async with leaks(), asyncio.timeout(20), Server() as server, make(server, dialer, Watchdog(**limits)) as client:
        peer = await server.accept()
        peer.send({"s": "a"})
        await client.recv()
        await block(1.5)
        await peer.expect(Kind.PING)
        for _ in range(5):
            peer.send({"s": "a"})
            await asyncio.sleep(0.1)
        assert client.latency is not None  # it was answered
        await client.send("still here", confirm=True)
        assert client.state == "ready"


async def test_a_loop_that_is_blocked_right_after_ready_blames_nobody(dialer: Any) -> None:
    async with leaks(), asyncio.timeout(20), Server() as server, make(server, dialer, Watchdog(**ALL)) as client:
        time.sleep(1.5)  # noqa: ASYNC251
        peer = await server.accept()
        await peer.expect(Kind.PING)
        await client.send("still here", confirm=True)
        assert client.state == "ready"


async def test_a_peer_that_does_not_answer_after_the_loop_was_blocked_is_given_up(
    dialer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clocks, "PROBE", 0.5)
    async with leaks(), asyncio.timeout(20), Server() as server:
        client = make(server, dialer, Watchdog(link=LIMIT))
        await client.open()
        peer = await server.accept()
        peer.silence()
        await block(1.5)
        error, took = await ended(client, time.monotonic())
        assert isinstance(error, KeepAliveTimeout)
        assert "no pong within 0.5 s, asked because our own loop has stood still for " in str(error)
        assert took <= 0.2 + 0.5 + 0.1 + SLACK
        assert peer.pings == 1


async def test_nobody_is_blamed_while_we_do_not_read(dialer: Any) -> None:
    async with leaks(), asyncio.timeout(20), Server() as server:
        client = make(server, dialer, Watchdog(**ALL, wake=False), inbox_messages=10)
        await client.open()
        peer = await server.accept()
        for _ in range(30):
            peer.send({"s": "a"})
        await asyncio.sleep(2 * LIMIT)
        assert client.state == "ready"
        for _ in range(30):
            await client.recv()
        error, took = await ended(client, time.monotonic())
        assert isinstance(error, IdleTimeout)
        assert took <= LIMIT + 0.1 + SLACK
