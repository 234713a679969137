"""A thousand reconnects leave nothing: no task, no file descriptor, no memory; and a client that is over goes away."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import tracemalloc
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from libws_core import Client, Event, LibwsError, Message, Session, hookimpl
from libws_core.testing import Leaked, MemoryDialer, MemoryPeer, Server, ServerPeer, leaks, refuse, virtual

pytestmark = pytest.mark.no_cover  # traced, it would take three times as long

QUICK = {"backoff": {"base": 0.001, "cap": 0.001}}


@pytest.fixture(autouse=True)
def _no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest keeps every record, with the errors in it."""
    monkeypatch.setattr(logging.getLogger("libws"), "disabled", True)


class Uses:
    """A plugin that uses what a session has: state, tasks, stages, pings, sends."""

    @hookimpl
    def incoming(self, session: Session) -> Callable[[Message], Message]:
        session.state(list[int])
        return lambda message: message

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Message]:
        return lambda message: message

    @hookimpl
    async def establish(self, session: Session) -> None:
        session.spawn(asyncio.sleep(3600))
        await session.send(Message.text("hello"))
        await session.recv("welcome")

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        while True:
            await session.ping(30)
            await asyncio.sleep(3600)


async def talk(peer: MemoryPeer | ServerPeer) -> None:
    """A connection's life: some talk, then one of several ends."""
    await peer.expect("hello")
    peer.send("welcome")
    for _ in range(5):
        peer.send("data")
    await peer.recv()
    match peer.number % 3:
        case 0:
            peer.drop()
        case 1:
            peer.drop(reset=True)
        case 2:
            peer.close(1012)


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


async def ride(client: Client, until: int) -> None:
    """Send one message on each connection, until there were so many."""
    ready = asyncio.Event()
    remove = client.on(Event, lambda event: ready.set())
    while client.stats.reconnects < until:
        ready.clear()
        try:
            await client.send("go", confirm=True, timeout=5)
        except LibwsError:
            if client.stats.reconnects < until:
                await ready.wait()
        while client._inbox.take() is not None:
            pass
    remove()


async def grows(client: Client, first: int, last: int, step: Callable[[int], Awaitable[None]]) -> dict[str, int]:
    """By how much tasks, files and memory differ between two counts of reconnects."""
    marks = []
    tracemalloc.start()
    try:
        for count in (first, last):
            await step(count)
            gc.collect()
            marks.append((len(asyncio.all_tasks()), open_files(), tracemalloc.get_traced_memory()[0]))
    finally:
        tracemalloc.stop()
    return dict(
        zip(("tasks", "files", "memory"), (after - before for before, after in zip(*marks, strict=True)), strict=True)
    )


@virtual
async def test_a_thousand_reconnects_leave_nothing() -> None:
    dialer = MemoryDialer(talk)
    dialer.dials = type(dialer.dials)(maxlen=10)
    client = Client("ws://test/", plugins=["-websockets", Uses(), dialer], options=QUICK)
    async with leaks():
        async with client:
            grown = await grows(client, 100, 1100, lambda count: ride(client, count))
            assert client.stats.reconnects >= 1100
        assert abs(grown["tasks"]) <= 5
        assert grown["files"] == 0
        assert grown["memory"] < 100_000  # a hundred bytes a reconnect would be seen
    assert not client._supervisor.sessions
    assert client._delivery.line == []
    assert client._supervisor._tasks == set()


@pytest.mark.usefixtures("each_dialer")
async def test_two_hundred_reconnects_on_real_sockets_leave_nothing() -> None:
    async with asyncio.timeout(50), leaks(), Server(talk) as server:
        client = Client(server.url, plugins=[Uses()], options=QUICK, proxy=None)
        async with client:
            grown = await grows(client, 50, 250, lambda count: ride(client, count))
        assert abs(grown["tasks"]) <= 5
        assert abs(grown["files"]) <= 3
        assert grown["memory"] < 300_000
    assert not client._supervisor.sessions


@virtual
async def test_failed_attempts_leave_nothing_either() -> None:
    steps: list[Any] = [refuse(503), lambda peer: peer.drop() and None]
    dialer = MemoryDialer(*steps * 600)
    client = Client("ws://test/", plugins=["-websockets", Uses(), dialer], options=QUICK)
    async with leaks():
        opening = asyncio.ensure_future(client.open())
        grown = await grows(client, 100, 1100, lambda count: dialer.reached(count))
        await client.close()
        await asyncio.wait([opening])
        opening.exception()
    assert abs(grown["tasks"]) <= 5
    assert grown["memory"] < 200_000


@virtual
async def test_moves_leave_nothing() -> None:
    class Moves(Uses):
        session: Session | None = None

        @hookimpl
        async def establish(self, session: Session) -> None:
            self.session = session

    moves, dialer = Moves(), MemoryDialer(lambda peer: None)

    async def step(count: int) -> None:
        while dialer.count < count:
            assert moves.session is not None
            assert await moves.session.reopen("again", overlap=0) is True

    client = Client("ws://test/", plugins=["-websockets", moves, dialer])
    async with leaks(), client:
        grown = await grows(client, 50, 350, step)
        assert len(client._delivery.line) == len(client._supervisor.sessions) == 1
    assert abs(grown["tasks"]) <= 3
    assert grown["memory"] < 300_000  # the dialer remembers its dials


@virtual
async def test_sends_and_proofs_leave_nothing() -> None:
    dialer = MemoryDialer(lambda peer: setattr(peer, "on_message", lambda message: None))
    client = Client("ws://test/", plugins=["-websockets", dialer])

    async def step(count: int) -> None:
        while client.stats.sent < count:
            await client.send("x", confirm=client.stats.sent % 2 == 0)

    async with client:
        grown = await grows(client, 3000, 6000, step)  # a peer keeps its last thousand pings
        assert grown["memory"] < 50_000


@pytest.mark.parametrize("how", ["closed", "failed", "never opened", "cancelled"])
def test_a_client_that_is_over_goes_away(how: str) -> None:
    gone: list[Any] = []

    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = Client("ws://test/", plugins=["-websockets", Uses(), dialer])
        client.on_message(lambda message: None)
        client.on(Event, lambda event: client)
        gone.append(weakref.ref(client))
        gone.append(weakref.ref(client._supervisor))
        if how == "never opened":
            return
        opening = asyncio.ensure_future(client.open())
        peer = await dialer.accept()
        if how == "cancelled":
            opening.cancel()
            await asyncio.wait([opening])
            return
        await peer.expect("hello")
        peer.send("welcome")
        await opening
        if how == "closed":
            await client.close()
        else:
            peer.close(1002)
            with contextlib.suppress(LibwsError):
                await client.wait_closed()

    body()
    gc.collect()
    assert [reference() for reference in gone] == [None, None]


@pytest.mark.usefixtures("each_dialer")
async def test_the_check_itself_sees_what_is_left() -> None:
    async with Server(lambda peer: None) as server:
        client = Client(server.url, proxy=None)
        with pytest.raises(Leaked, match="socket"):
            async with leaks(settle=0.05):
                await client.open()
        await client.close()
