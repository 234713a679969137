"""Which address is dialed, and which is left alone for how long."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from libws_core import (
    AuthenticationError,
    Client,
    ConnectError,
    HandshakeRejected,
    LibwsError,
    OptionError,
    Reconnected,
    Request,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer as PlainDialer
from libws_core.testing import MemoryPeer, Server, leaks, run, virtual
from libws_endpoints import Endpoints

A, B, C = URLS = ["ws://a/", "ws://b/", "ws://c/"]
FAST = {"backoff": {"base": 1, "cap": 1, "jitter": "none"}}


def now() -> float:
    return asyncio.get_running_loop().time()


class Dialer(PlainDialer):
    """Connections in memory to hosts of which some are down."""

    def __init__(self, *down: str) -> None:
        super().__init__()
        self.down = {*down}
        self.asked: list[str] = []
        self.error: Callable[[], LibwsError] = lambda: ConnectError("down")

    @hookimpl
    async def dial(self, request: Request) -> Any:
        self.asked.append(request.url)
        if request.url in self.down:
            raise self.error()
        return await super().dial(request)


def client_with(dialer: Dialer, *plugins: object, options: Any = FAST, **endpoints: Any) -> Client:
    plugin = Endpoints(**{"urls": URLS, "order": "listed", **endpoints})
    return Client("ws://own/", plugins=[*plugins, plugin, dialer, "-websockets"], options=options)


async def lose(dialer: Dialer, client: Client) -> MemoryPeer:
    """Drop the connection and wait for the next one."""
    back: asyncio.Future[Reconnected] = asyncio.get_running_loop().create_future()
    forget = client.on(Reconnected, back.set_result)
    for peer in dialer.peers:
        peer.drop()
    await back
    forget()
    return await dialer.accept()


@virtual
async def test_a_failed_attempt_leads_to_the_next_address() -> None:
    async with Dialer(A, B) as dialer, client_with(dialer):
        assert dialer.asked == [A, B, C]


@virtual
async def test_a_loss_leads_to_the_next_address() -> None:
    async with Dialer() as dialer, client_with(dialer) as client:
        await dialer.accept()
        for _ in range(2):
            await lose(dialer, client)
        assert dialer.asked == [A, B, C]


@virtual
async def test_listed_goes_back_to_the_first_when_its_time_is_over() -> None:
    async with Dialer() as dialer, client_with(dialer, cooldown=30) as client:
        await dialer.accept()
        await lose(dialer, client)
        await asyncio.sleep(20)
        await lose(dialer, client)
        await asyncio.sleep(20)
        await lose(dialer, client)
        assert dialer.asked == [A, B, C, A]


@virtual
async def test_if_all_are_to_be_left_alone_the_one_that_is_ready_soonest_is_dialed_at_once() -> None:
    async with Dialer(A, B, C) as dialer:
        client = client_with(dialer)
        opening = asyncio.ensure_future(client.open())
        begin = now()
        await asyncio.sleep(7.5)
        assert dialer.asked == [A, B, C, A, B, C, A, B]  # one a second, as backoff says
        dialer.down = {A, C}
        await opening
        assert now() - begin < 11
        assert dialer.asked[-1] == B
        await client.close()


@virtual
async def test_a_retry_after_is_a_floor_for_the_cooldown() -> None:
    async with Dialer(A) as dialer:
        dialer.error = lambda: HandshakeRejected("later", status=503, headers={"Retry-After": "100"})
        async with client_with(dialer, cooldown=5, options={"backoff": {"retry_after_max": 1}}) as client:
            await dialer.accept()
            for _ in range(4):  # B and C are free again after 5 s
                await asyncio.sleep(20)
                await lose(dialer, client)
            assert A not in dialer.asked[1:]
            dialer.down.clear()
            await asyncio.sleep(30)
            await lose(dialer, client)
            assert dialer.asked[-1] == A


@virtual
async def test_sticky_stays_after_a_loss_and_leaves_when_an_attempt_fails() -> None:
    async with Dialer(A) as dialer, client_with(dialer, order="sticky") as client:
        await dialer.accept()
        dialer.down.clear()
        for _ in range(3):
            await asyncio.sleep(100)
            await lose(dialer, client)
        assert dialer.asked == [A, B, B, B, B]
        dialer.down = {B}
        await lose(dialer, client)
        assert dialer.asked[5:] == [B, C]
        dialer.down = {C}
        await lose(dialer, client)
        assert dialer.asked[7:] == [C, A]


def test_shuffle_spreads_clients_and_leaves_those_alone_that_failed() -> None:
    async def first(down: str) -> list[str]:
        async with Dialer(down) as dialer, client_with(dialer, order="shuffle"):
            return dialer.asked

    asked = [run(first(A), seed=seed) for seed in range(60)]
    begun = Counter(urls[0] for urls in asked)
    assert set(begun) == set(URLS)
    assert min(begun.values()) > 8
    assert all(len(urls) == (2 if urls[0] == A else 1) for urls in asked)
    assert {urls[1] for urls in asked if urls[0] == A} == {B, C}
    assert asked == [run(first(A), seed=seed) for seed in range(60)]  # chance is the kit's


@virtual
async def test_without_urls_the_clients_own_is_dialed() -> None:
    async with Dialer() as dialer, client_with(dialer, urls=[]):
        assert dialer.asked == ["ws://own/"]


class Fails:
    """Fails some attempts in one phase, before or after the address is known."""

    def __init__(self, phase: str, times: int = 2) -> None:
        self.phase = phase
        self.times = times

    def fail(self, phase: str) -> None:
        if phase == self.phase and self.times:
            self.times -= 1
            raise AuthenticationError("not today", verdict="retry")

    @hookimpl(trylast=True)
    def resolve(self, request: Request) -> None:
        self.fail("resolve")

    @hookimpl
    def admit(self, request: Request) -> None:
        self.fail("admit")

    @hookimpl
    def authenticate(self, request: Request) -> None:
        self.fail("authenticate")

    @hookimpl
    def establish(self, session: Session) -> None:
        self.fail("establish")


@pytest.mark.parametrize(
    ("phase", "asked"), [("resolve", [A]), ("admit", [A]), ("authenticate", [A]), ("establish", [A, B, C])]
)
def test_only_what_reached_an_address_counts_against_it(phase: str, asked: list[str]) -> None:
    @virtual
    async def fail() -> None:
        async with Dialer() as dialer, client_with(dialer, Fails(phase)):
            assert dialer.asked == asked

    fail()


@virtual
async def test_a_plugin_behind_may_change_the_url() -> None:
    class Ticket:
        @hookimpl(trylast=True)
        def resolve(self, request: Request) -> Request:
            return replace(request, url=f"{request.url}?ticket={request.attempt.number}")

    async with Dialer(f"{A}?ticket=1") as dialer, client_with(dialer, Ticket()):
        assert dialer.asked == [f"{A}?ticket=1", f"{B}?ticket=2"]


@virtual
async def test_an_open_circuit_leads_to_another_address() -> None:
    pytest.importorskip("libws_governor")
    async with Dialer(A) as dialer:
        options = {"governor": {"breaker": 2}, **FAST}
        clients = [client_with(dialer, "governor", options=options) for _ in range(2)]
        await asyncio.gather(*(client.open() for client in clients))
        assert dialer.asked == [A, A, B, B]
        async with client_with(dialer, "governor", options=options):
            assert dialer.asked == [A, A, B, B, B]  # A was not dialed
        await asyncio.gather(*(client.close() for client in clients))


class Mover:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.session: Session | None = None

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        self.session = session

    async def move(self, request: Request | None = None) -> Any:
        assert self.session is not None
        return await self.session.reopen("test", request, overlap=0)


@virtual
async def test_a_move_chooses_too_and_learns_when_it_fails() -> None:
    mover = Mover()
    async with Dialer() as dialer, client_with(dialer, mover) as client:
        assert await mover.move() is True
        assert dialer.asked == [A, A]
        dialer.down = {A, B}
        assert isinstance(await mover.move(), ConnectError)
        assert isinstance(await mover.move(), ConnectError)
        assert await mover.move() is True
        assert dialer.asked == [A, A, A, B, C]
        assert client.state == "ready"


@virtual
async def test_a_move_that_is_told_what_to_dial_is_left_alone() -> None:
    mover = Mover()
    async with Dialer() as dialer, client_with(dialer, mover) as client:
        assert await mover.move(Request("ws://resume/")) is True
        assert dialer.asked == [A, "ws://resume/"]
        for _ in range(2):
            await dialer.accept()
        await lose(dialer, client)
        assert dialer.asked == [A, "ws://resume/", A]  # what failed is not one of ours


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"urls": ["ws://a/", "nonsense"]}, "URL 2: it has no scheme"),
        ({"urls": ["ws://user:hidden@/"]}, "URL 1: it has no host"),
        ({"order": "first"}, "order"),
        ({"cooldown": -1}, "cooldown"),
    ],
)
def test_bad_options_are_told_without_a_secret(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text) as caught:
        Client("ws://own/", plugins=["endpoints"], options={"endpoints": options})
    assert "hidden" not in str(caught.value)


def test_the_addresses_are_not_printed() -> None:
    assert "hidden" not in repr(Endpoints(urls=["wss://a/?token=hidden"]))


async def test_it_fails_over_on_real_sockets(dialer: Any) -> None:
    async with leaks(), Server() as first, Server() as second:
        urls = [first.url, second.url]
        plugins = [Endpoints(urls=urls, order="listed", cooldown=0.5), dialer()]
        client = Client(first.url, plugins=[*plugins, "-websockets"] if dialer.__name__ == "Picows" else plugins)
        async with asyncio.timeout(20), client:
            peer = await first.accept()
            await client.send("one")
            await peer.expect("one")
            await first.stop()
            peer = await second.accept()
            await peer.send("two")
            assert (await client.recv(timeout=5)).data == "two"
            await first.start()
            await asyncio.sleep(0.6)
            await peer.drop(reset=True)
            peer = await first.accept()
            await peer.send("three")
            assert (await client.recv(timeout=5)).data == "three"
