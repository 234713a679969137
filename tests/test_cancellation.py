"""Cancelled at each of its awaits, a client ends at once and leaves no task, socket or warning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from libws_core import Client, Event, Message, Request, Session, State, hookimpl
from libws_core.testing import MemoryDialer, Server, ServerPeer, by_hand, hang, leaks, refuse, virtual

each_dialer = pytest.mark.usefixtures("each_dialer")

PROMISE = 0.1
"""Seconds that ending may take."""
SLACK = 5
"""How many times that on a machine that does other things."""


class Waits:
    """Waits for ever in one hook, and says when it is there."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.there = asyncio.Event()
        self.left = asyncio.Event()

    async def wait(self, hook: str) -> None:
        if hook == self.hook:
            self.there.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.left.set()

    @hookimpl
    async def resolve(self, request: Request) -> None:
        await self.wait("resolve")

    @hookimpl
    async def admit(self, request: Request) -> None:
        await self.wait("admit")

    @hookimpl
    async def authenticate(self, request: Request) -> None:
        await self.wait("authenticate")

    @hookimpl
    async def establish(self, session: Session) -> None:
        if self.hook == "recv":
            self.there.set()
            try:
                await session.recv("never")
            finally:
                self.left.set()
        await self.wait("establish")


async def body(client: Client) -> None:
    """What a user would write."""
    async with client:
        async for _ in client:
            pass


async def cancel(running: asyncio.Task[Any]) -> float:
    """Cancel it; gives the seconds until it has ended."""
    begin = time.monotonic()
    running.cancel()
    await asyncio.wait([running], timeout=10)
    took = time.monotonic() - begin
    assert running.cancelled()
    return took


@asynccontextmanager
async def watched(client: Client) -> AsyncIterator[None]:
    """The end of the client is told once and in order."""
    events: list[Event] = []
    client.on(Event, events.append)
    async with leaks():
        yield
    said = [type(event).__name__ for event in events]
    assert client.state is State.CLOSED
    assert said.count("Closed") == 1
    assert said[-1] == "Closed"
    assert said.count("Disconnected") == said.count("Connected") + said.count("Reconnected")
    await client.wait_closed()


def make(url: str, *plugins: object, **more: Any) -> Client:
    return Client(url, plugins=plugins, proxy=None, close_timeout=30, open_timeout=30, **more)


@each_dialer
@pytest.mark.parametrize("hook", ["resolve", "admit", "authenticate", "establish", "recv"])
async def test_in_a_hook(hook: str) -> None:
    async with Server(by_hand()) as server:
        waits = Waits(hook)
        client = make(server.url, waits)
        async with watched(client):
            running = asyncio.ensure_future(body(client))
            await waits.there.wait()
            assert await cancel(running) < PROMISE * SLACK
            assert waits.left.is_set()
        assert server.peers == []


@each_dialer
@pytest.mark.parametrize("where", ["tcp", "handshake"])
async def test_in_dial(where: str) -> None:
    async with Server(hang()) as server:
        client = make(server.url)
        async with watched(client):
            running = asyncio.ensure_future(body(client))
            if where == "handshake":
                await server.reached(1)
            else:
                await asyncio.sleep(0)
            assert await cancel(running) < PROMISE * SLACK


@each_dialer
async def test_in_the_back_off() -> None:
    async with Server(refuse(503)) as server:
        client = make(server.url, options={"backoff": {"base": 3600, "cap": 3600}})
        async with watched(client):
            running = asyncio.ensure_future(body(client))
            await until(lambda: client.state is State.WAITING)
            assert await cancel(running) < PROMISE * SLACK


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def stuck(client: Client) -> list[asyncio.Task[None]]:
    """Send until ten messages wait behind a full write buffer."""
    waiting: list[asyncio.Task[None]] = []
    while sum(not each.done() for each in waiting) < 10:
        waiting.append(asyncio.ensure_future(client.send(b"x" * 65_536)))
        await asyncio.sleep(0)
    return waiting


@each_dialer
@pytest.mark.parametrize("peer_reads", [True, False])
@pytest.mark.parametrize("where", ["async for", "send", "confirmed send", "close", "recv", "body"])
async def test_in_a_live_client(where: str, peer_reads: bool) -> None:
    async with Server(by_hand(), receive_buffer=4096) as server:
        client = make(server.url)

        async def lives() -> None:
            async with client:
                peer = await server.accept()
                peer.silence(reading=peer_reads)
                if not peer_reads:
                    others.extend(await stuck(client))
                there.set()
                match where:
                    case "async for":
                        async for _ in client:
                            pass
                    case "send":
                        if peer_reads:
                            await asyncio.sleep(60)
                        await client.send("behind all that")
                    case "confirmed send":
                        await client.send("behind all that", confirm=True)
                    case "close":
                        await client.close()
                    case "recv":
                        await client.recv()
                    case "body":
                        await asyncio.sleep(60)

        there = asyncio.Event()
        others: list[asyncio.Task[None]] = []
        async with watched(client):
            running = asyncio.ensure_future(lives())
            await there.wait()
            await asyncio.sleep(0.01)
            assert await cancel(running) < PROMISE * SLACK
            for peer in server.peers:  # one that does not read does not see the end either
                peer.drop(reset=True)
            ends = await asyncio.gather(*others, return_exceptions=True)
            assert {type(end).__name__ for end in ends} <= {"NoneType", "ClientClosed"}


@each_dialer
async def test_of_open_itself() -> None:
    async with Server(hang()) as server:
        client = make(server.url)
        async with watched(client):
            running = asyncio.ensure_future(client.open())
            await server.reached(1)
            assert await cancel(running) < PROMISE * SLACK


@each_dialer
async def test_of_close_while_handlers_finish() -> None:
    handling = asyncio.Event()

    async def slow(message: Message) -> None:
        handling.set()
        await asyncio.sleep(60)

    async with Server(lambda peer: peer.send("work") and None) as server:
        client = make(server.url)
        client.on_message(slow)
        async with watched(client):
            await client.open()
            await handling.wait()
            closing = asyncio.ensure_future(client.close())
            await until(lambda: client.state is State.CLOSED)
            assert await cancel(closing) < PROMISE * SLACK


@each_dialer
async def test_by_a_timeout_around_it() -> None:
    async with Server(hang()) as server, leaks():
        begin = time.monotonic()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), make(server.url):
                pass
        assert time.monotonic() - begin < 0.05 + PROMISE * SLACK


@each_dialer
async def test_in_a_task_group_that_fails() -> None:
    async def fails() -> None:
        await server.reached(1)
        raise KeyError("another task of the group")

    async with Server(by_hand()) as server:
        client = make(server.url)
        async with watched(client):

            async def group() -> None:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(body(client))
                    tasks.create_task(fails())

            with pytest.raises(ExceptionGroup):
                await group()


@each_dialer
async def test_of_a_move() -> None:
    class Moves:
        @hookimpl
        async def keep_alive(self, session: Session) -> None:
            if session.request.attempt.why == "open":
                await session.reopen("test", overlap=60)

    async with Server(by_hand()) as server:
        client = make(server.url, Moves())
        async with watched(client):
            running = asyncio.ensure_future(body(client))
            await server.reached(2)
            await until(lambda: client.state is State.REOPENING)
            assert await cancel(running) < PROMISE * SLACK
        assert server.peers == []


@each_dialer
async def test_of_a_sender_leaves_the_client_alone() -> None:
    async def echo(peer: ServerPeer) -> None:
        async for message in peer:
            peer.send(message.data)

    async with leaks(), Server(echo) as server, make(server.url) as client:
        for turns in range(5):
            sending = asyncio.ensure_future(client.send("maybe", confirm=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
        await client.send("end", confirm=True)
        while (await client.recv(10)).data != "end":
            pass
        assert client.state is State.READY


@pytest.mark.parametrize("turns", range(40))
def test_after_any_number_of_turns(turns: int) -> None:
    """Every await of a whole life is among these, whatever they are."""

    class Talks:
        @hookimpl
        async def resolve(self, request: Request) -> None:
            await asyncio.sleep(0)

        @hookimpl
        async def establish(self, session: Session) -> None:
            await session.send(Message.text("hello"))
            await session.recv("welcome")

        @hookimpl
        async def keep_alive(self, session: Session) -> None:
            await asyncio.sleep(3600)

    @virtual
    async def run() -> None:
        dialer = MemoryDialer(lambda peer: peer.send("welcome") and None)
        client = Client("ws://test/", plugins=["-websockets", Talks(), dialer], close_timeout=30)

        async def life() -> None:
            async with client:
                await client.send("one", confirm=True)
                await client.send("two")
                await client.close()

        async with leaks():
            running = asyncio.ensure_future(life())
            for _ in range(turns):
                await asyncio.sleep(0)
            begin = asyncio.get_running_loop().time()
            running.cancel()
            await asyncio.wait([running])
            assert asyncio.get_running_loop().time() - begin <= PROMISE
        assert client.state in (State.IDLE, State.CLOSED)
        assert dialer.peers == []

    run()


async def ignores_cancellation() -> None:
    while True:
        try:
            await asyncio.sleep(0.2)
            return
        except asyncio.CancelledError:
            continue


@each_dialer
@pytest.mark.parametrize("hook", ["dial", "establish"])
async def test_a_hook_that_ignores_it_still_leaves_nothing(hook: str) -> None:
    class Stubborn:
        @hookimpl
        async def authenticate(self, request: Request) -> None:
            if hook == "dial":
                there.set()
                await ignores_cancellation()

        @hookimpl
        async def establish(self, session: Session) -> None:
            if hook == "establish":
                there.set()
                await ignores_cancellation()

    there = asyncio.Event()
    async with Server(by_hand()) as server:
        client = make(server.url, Stubborn())
        async with leaks():
            running = asyncio.ensure_future(body(client))
            await there.wait()
            await cancel(running)
        assert client.state is State.CLOSED
        assert server.peers == []
