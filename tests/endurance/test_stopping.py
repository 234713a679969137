"""Stopping takes no longer than it may: `close_timeout` with a peer that does not answer, nothing where nobody is.

What is added to the promised tenth of a second is how late the loop itself was.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libws_core import Client, ClientClosed, Disconnected, LibwsError, Retrying, State, hookimpl
from libws_core.testing import Server, ServerPeer, by_hand, hang, leaks, refuse

pytestmark = [pytest.mark.measured, pytest.mark.usefixtures("each_dialer")]

CLOSE_TIMEOUT = 0.25
MARGIN = 0.1
EXACT = 0.002
"""Seconds by which timers of uvloop, which counts in milliseconds, may be off."""


def make(server: Server | str, *plugins: object, **more: Any) -> Client:
    url = server if isinstance(server, str) else server.url
    return Client(url, plugins=plugins, proxy=None, **{"close_timeout": CLOSE_TIMEOUT, **more})


async def stop(client: Client, lag: Any, within: float) -> float:
    """Close it; gives how long that took, which is at most `within` and a tenth of a second."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    await client.close()
    took = loop.time() - begin
    assert took <= within + MARGIN + lag.worst(begin)
    assert client.state is State.CLOSED
    await client.wait_closed()
    return took


async def fill(client: Client) -> list[asyncio.Future[None]]:
    """Send until ten messages wait behind a full buffer."""
    sending: list[asyncio.Future[None]] = []
    while sum(not each.done() for each in sending) < 10:
        sending.append(asyncio.ensure_future(client.send(b"x" * 65_536)))
        await asyncio.sleep(0)
    return sending


# Peers that ignore our close.


@pytest.mark.parametrize("how", ["silent", "not reading", "full", "flooding", "flooding and full", "slow reader"])
async def test_a_peer_that_ignores_our_close(how: str, lag: Any) -> None:
    async with asyncio.timeout(20), leaks(), Server(by_hand(), receive_buffer=4096) as server:
        client = make(server, inbox_messages=100)
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        await client.open()
        peer = await server.accept()
        peer.silence(reading="full" not in how and how != "not reading")
        flood = None
        if "flooding" in how:

            async def floods() -> None:
                with contextlib.suppress(ConnectionError):
                    while True:
                        await peer.send(b"x" * 1024)

            flood = asyncio.ensure_future(floods())
        if how == "slow reader":  # our inbox is full, so that we have stopped reading
            for _ in range(2000):
                peer.send(b"x" * 1024)
        if "flooding" in how or how == "slow reader":
            while not client._inbox.full:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        sending = await fill(client) if "full" in how else []
        took = await stop(client, lag, CLOSE_TIMEOUT)
        assert took >= CLOSE_TIMEOUT - EXACT
        assert [each.error.initiator for each in lost] == ["local"]
        results = await asyncio.gather(*sending, return_exceptions=True)
        assert all(each is None or isinstance(each, LibwsError) for each in results)
        if flood is not None:
            await asyncio.wait([flood])


async def test_a_peer_that_answers_and_keeps_tcp_open(lag: Any) -> None:
    """RFC 6455 section 7.1.1 leaves it to the server to close TCP; whoever does not is left all the same."""
    async with asyncio.timeout(20), leaks(), Server(by_hand()) as server:
        client = make(server)
        await client.open()
        peer = await server.accept()
        peer._finish = lambda: None  # type: ignore[method-assign]
        await stop(client, lag, CLOSE_TIMEOUT)
        assert peer.closed is not None


async def test_a_process_that_is_stopped(program: Callable[..., Awaitable[Any]], lag: Any) -> None:
    """The system still takes what we send, and nobody is there."""
    failing = await program("failing_server.py", 1)
    (base,) = await failing.hear()
    async with asyncio.timeout(20), leaks():
        client = make(f"{base}fin?client=0&after=100")
        await client.open()
        failing.send_signal(signal.SIGSTOP)
        try:
            took = await stop(client, lag, CLOSE_TIMEOUT)
        finally:
            failing.send_signal(signal.SIGCONT)
        assert took >= CLOSE_TIMEOUT - EXACT


async def test_the_default_close_timeout_counts_from_close_on(lag: Any) -> None:
    """A peer that has been closing for a while, and does not go through with it, gets no more time than that."""
    async with asyncio.timeout(20), leaks(), Server(by_hand(), receive_buffer=4096) as server:
        client = make(server)
        await client.open()
        peer = await server.accept()
        peer.silence(reading=False)
        sending = await fill(client)
        first = asyncio.ensure_future(client.close())
        await asyncio.sleep(CLOSE_TIMEOUT / 2)
        await stop(client, lag, CLOSE_TIMEOUT / 2)
        await first
        await asyncio.gather(*sending, return_exceptions=True)


# Where there is nobody to say goodbye to.


async def finish(opening: asyncio.Future[None]) -> None:
    """What waited for the first READY is told that there will be none."""
    with pytest.raises(LibwsError, match="closed"):
        await opening


async def test_during_the_first_back_off(lag: Any) -> None:
    async with asyncio.timeout(20), leaks(), Server(refuse(503, {"Retry-After": "60"})) as server:
        client = make(server, close_timeout=10)
        waiting = asyncio.Event()
        client.on(Retrying, lambda event: waiting.set())
        opening = asyncio.ensure_future(client.open())
        await waiting.wait()
        assert client.state is State.WAITING
        await stop(client, lag, 0)
        await finish(opening)
        assert server.count == 1


async def test_during_the_back_off_after_a_loss(lag: Any) -> None:
    async def drops(peer: ServerPeer) -> None:
        await peer.drop(reset=True)

    async with asyncio.timeout(20), leaks(), Server(drops) as server:
        client = make(server, close_timeout=10, options={"backoff": {"base": 20, "jitter": "none"}})
        waiting = asyncio.Event()
        client.on(Retrying, lambda event: waiting.set())
        await client.open()
        await waiting.wait()
        await stop(client, lag, 0)
        with pytest.raises(ClientClosed):
            await client.recv()
        assert server.count == 1


class Waits:
    """A plugin that waits in one phase of an attempt."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.entered = asyncio.Event()

    async def _wait(self, phase: str) -> None:
        if phase == self.phase:
            self.entered.set()
            await asyncio.sleep(60)

    @hookimpl
    async def resolve(self, request: Any) -> None:
        await self._wait("resolve")

    @hookimpl
    async def admit(self, request: Any) -> None:
        await self._wait("admit")

    @hookimpl
    async def authenticate(self, request: Any) -> None:
        await self._wait("authenticate")

    @hookimpl
    async def establish(self, session: Any) -> None:
        await self._wait("establish")


@pytest.mark.parametrize("phase", ["resolve", "admit", "authenticate", "establish"])
async def test_during_an_attempt(phase: str, lag: Any) -> None:
    async with asyncio.timeout(20), leaks(), Server(lambda peer: None) as server:
        waits = Waits(phase)
        client = make(server, waits, close_timeout=10)
        opening = asyncio.ensure_future(client.open())
        await waits.entered.wait()
        await stop(client, lag, 0)
        await finish(opening)


async def test_during_a_handshake_that_is_not_answered(lag: Any) -> None:
    async with asyncio.timeout(20), leaks(), Server(hang()) as server:
        client = make(server, close_timeout=10)
        opening = asyncio.ensure_future(client.open())
        await server.reached(1)
        await stop(client, lag, 0)
        await finish(opening)
