"""What only real sockets can show: buffers that fill, readers that are slow, peers that fall silent."""

from __future__ import annotations

import asyncio
import resource
import time
from typing import Any

import pytest

from libws_core import (
    Client,
    ConnectionClosed,
    Disconnected,
    Event,
    KeepAliveTimeout,
    Message,
    Reconnected,
    Session,
    State,
    hookimpl,
)
from libws_core.testing import Server, ServerPeer, by_hand, cut, leaks, refuse

pytestmark = pytest.mark.usefixtures("each_dialer")

QUICK = {"backoff": {"base": 0.01, "cap": 0.05}}


def make(server: Server, *plugins: object, options: Any = None, **more: Any) -> Client:
    return Client(server.url, plugins=plugins, options={**QUICK, **(options or {})}, proxy=None, **more)


async def heard(client: Client, kind: type[Event]) -> Any:
    """The next event of a kind."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    remove = client.on(kind, lambda event: None if future.done() else future.set_result(event))
    try:
        return await future
    finally:
        remove()


async def fill(client: Client) -> None:
    """Send until nothing more is taken."""
    for _ in range(10_000):
        try:
            await client.send(b"x" * 16_384, timeout=0.1)
        except TimeoutError:
            return
    raise AssertionError("the server still reads")


async def test_dialer_and_loop_are_those_under_test(dialer: Any, request: pytest.FixtureRequest) -> None:
    async with leaks(), Server(by_hand()) as server:
        client = make(server)
        dials = client.explain()["hooks"]["dial"]
        async with client:
            assert isinstance(client.plugin(dialer), dialer)
    assert dials == [dialer.__name__.lower()]
    assert type(asyncio.get_running_loop()).__module__.startswith("uvloop") is ("uvloop" in request.node.name)


async def test_one_client_rides_out_what_a_server_can_do() -> None:
    async def talk(peer: ServerPeer) -> None:
        peer.send(f"hello {peer.number}")
        async for message in peer:
            if message.data == "close":
                await peer.close(1012)
            if message.data == "drop":
                await peer.drop(reset=True)
            peer.send(message.data)

    async with leaks(), asyncio.timeout(20), Server(refuse(503), cut(), cut(reset=True), talk) as server:
        server.first(refuse(429, {"Retry-After": "0"}))
        async with make(server) as client:
            assert (await client.recv()).data == "hello 5"
            for what, number in (("drop", 6), ("close", 7)):
                await client.send(what)
                assert (await client.recv()).data == f"hello {number}"
            await client.send("echo", confirm=True)
            assert (await client.recv()).data == "echo"
            assert client.stats.reconnects == 2


@pytest.mark.parametrize("full", [False, True])
async def test_a_peer_that_stops_reading_and_answering_is_noticed_on_time(full: bool) -> None:
    interval, timeout = 0.4, 0.3
    async with leaks(), asyncio.timeout(20), Server(by_hand(), receive_buffer=4096) as server:
        options = {"ping": {"interval": interval, "timeout": timeout}}
        client = make(server, options=options, close_timeout=0.5)
        async with client:
            peer = await server.accept()
            lost = asyncio.ensure_future(heard(client, Disconnected))
            await asyncio.sleep(0)
            await peer.send("last sign of life")
            await client.recv()
            begin = time.monotonic()
            peer.silence(reading=not full)
            if full:
                waiting: set[asyncio.Future[None]] = set()
                while sum(not each.done() for each in waiting) < 10:
                    waiting.add(asyncio.ensure_future(client.send(b"x" * 65_536)))
                    await asyncio.sleep(0)
            event = await lost
            took = time.monotonic() - begin
            assert isinstance(event.error, KeepAliveTimeout)
            assert took >= interval + timeout - 0.05
            assert took <= interval + timeout + 0.1 + 0.5  # the promise is 0.1; the machine has other things to do
            if full:
                await asyncio.gather(*waiting, return_exceptions=True)
            assert peer.closed is None


async def test_a_slow_consumer_stops_the_server_and_is_not_killed() -> None:
    """64 MB are on offer; the inbox takes 256 KiB, and neither memory nor keep-alive suffers."""
    size, count = 65_536, 1000
    sent = 0

    async def floods(peer: ServerPeer) -> None:
        nonlocal sent
        for number in range(count):
            await peer.send(number.to_bytes(4, "big") * (size // 4))
            sent += 1
        await peer.wait_gone(60)

    async with leaks(), asyncio.timeout(50), Server(floods) as server:
        options = {"ping": {"interval": 0.2, "timeout": 0.2}}
        client = make(server, options=options, inbox_bytes=256 * 1024)
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with client:
            stalled = -1
            while stalled != sent:  # the server comes to a stop
                stalled = sent
                await asyncio.sleep(0.2)
            assert sent < count / 2
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            await asyncio.sleep(1.2)  # three times what ping allows a peer that is read
            assert sent == stalled
            assert client.state is State.READY
            assert len(client._inbox) * size <= 256 * 1024 + size
            for number in range(count):
                message = await client.recv(10)
                assert message.data[:4] == number.to_bytes(4, "big")
                assert len(message.data) == size
                assert client._inbox.size <= 256 * 1024 + size
            assert lost == []
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            assert grown < 16 * 2**20
            assert client.stats == (0, count, 0, 0)


async def test_leaving_a_flood_is_prompt() -> None:
    async def floods(peer: ServerPeer) -> None:
        while True:
            await peer.send(b"x" * 1024)

    async with leaks(), asyncio.timeout(20), Server(floods) as server:
        async with make(server, inbox_messages=100) as client:
            async for message in client:
                assert message.data
                break
            while not client._inbox.full:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            begin = time.monotonic()
        assert time.monotonic() - begin < 3
        assert client.state is State.CLOSED
        assert len(client._inbox) >= 50


async def test_what_send_accepted_is_drained_before_the_close() -> None:
    async with leaks(), asyncio.timeout(20), Server(by_hand(), receive_buffer=4096) as server:
        async with make(server) as client:
            peer = await server.accept()
            peer.stall()
            sending: list[asyncio.Future[None]] = []
            while (
                len(sending) < 10 or sum(not each.done() for each in sending) < 10
            ):  # until ten wait behind a full buffer
                sending.append(asyncio.ensure_future(client.send(len(sending).to_bytes(2, "big") * 32_768)))
                await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.1, peer.resume)
        await asyncio.gather(*sending)
        for number in range(len(sending)):
            assert (await peer.recv()).data[:2] == number.to_bytes(2, "big")
        assert await peer.wait_gone() == 1000


async def test_close_with_a_peer_that_neither_reads_nor_answers_is_bounded() -> None:
    async with leaks(), asyncio.timeout(20), Server(by_hand(), receive_buffer=4096) as server:
        client = make(server, close_timeout=0.5)
        await client.open()
        peer = await server.accept()
        peer.silence(reading=False)
        await fill(client)
        begin = time.monotonic()
        await client.close()
        assert 0.4 < time.monotonic() - begin < 3
        assert client.state is State.CLOSED


async def test_a_move_on_real_sockets_loses_nothing() -> None:
    """The server sends the same numbered stream to both; the old one is cut off by our close."""

    class Moves:
        session: Any = None

        from libws_core import hookimpl as _hookimpl

        @_hookimpl
        def keep_alive(self, session: Any) -> None:
            self.session = session

    async def counts(peer: ServerPeer) -> None:
        number = 0
        while True:
            await peer.send(f"{peer.number} {number}")
            number += 1
            await asyncio.sleep(0.001)

    moves = Moves()
    async with leaks(), asyncio.timeout(20), Server(counts) as server, make(server, moves) as client:
        for _ in range(5):
            await client.recv()
        assert await moves.session.reopen("test") is True
        await client.send("after the move", confirm=True)
        seen: dict[str, list[int]] = {"1": list(range(5)), "2": []}
        while len(seen["2"]) < 50:
            generation, number = (await client.recv()).data.split()
            assert generation == "2" or not seen["2"]
            seen[generation].append(int(number))
        for numbers in seen.values():
            assert numbers == list(range(len(numbers)))
        assert server.count == 2


async def test_a_large_message_passes_a_small_inbox() -> None:
    async with leaks(), asyncio.timeout(20), Server(by_hand()) as server, make(server, inbox_bytes=1000) as client:
        peer = await server.accept()
        for _ in range(3):
            peer.send(b"x" * 3_000_000)
        for _ in range(3):
            assert len((await client.recv()).data) == 3_000_000


async def test_reconnecting_after_a_close_that_is_never_finished() -> None:
    """A server that says close and keeps TCP open is left within the dialer's linger; a send behind it waits."""
    async with leaks(), asyncio.timeout(20), Server(by_hand()) as server, make(server) as client:
        peer = await server.accept()
        again = asyncio.ensure_future(heard(client, Reconnected))
        await peer.send(Message.close(1012))
        await again
        await client.send("next")
        assert (await (await server.accept()).recv()).data == "next"


async def test_what_a_stage_takes_out_is_no_application_message() -> None:
    class Beats:
        session: Session

        @hookimpl
        def incoming(self, session: Session) -> Any:
            self.session = session
            return lambda message: None if message.data == "beat" else message

    async with leaks(), asyncio.timeout(20), Server(by_hand()) as server:
        beats = Beats()
        async with make(server, beats) as client:
            peer = await server.accept()
            peer.send("data")
            await client.recv()
            begin = time.monotonic()
            while time.monotonic() - begin < 0.5:
                await peer.send("beat")
                await peer.ping()
                await asyncio.sleep(0.02)
            assert beats.session.quiet >= 0.45
            assert beats.session.idle < 0.45
            peer.send("data")
            await client.recv()
            assert beats.session.quiet < 0.45


async def test_refused_by_tcp_while_the_server_is_down() -> None:
    async with leaks(), asyncio.timeout(20), Server(by_hand()) as server, make(server) as client:
        lost = asyncio.ensure_future(heard(client, Disconnected))
        await asyncio.sleep(0)
        await server.stop()
        assert isinstance((await lost).error, ConnectionClosed)
        again = asyncio.ensure_future(heard(client, Reconnected))
        await asyncio.sleep(0.1)
        await server.start()
        await again
        await client.send("back", confirm=True)
