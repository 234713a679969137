"""Who may connect when: evenly, within the budget, as the server asks, and not while it cannot help."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import libws_governor
from libws_core import (
    AttemptFailed,
    AuthenticationError,
    CircuitOpen,
    Client,
    Disconnected,
    HandshakeRejected,
    LibwsError,
    OptionError,
    Reconnected,
    Request,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, VirtualLoop, by_hand, hang, leaks, refuse, run, virtual
from libws_governor import Governor
from libws_governor.gate import Gate, Turn

SERVER = Path(__file__).parent / "herd_server.py"
STANDARD = ["-websockets"]


def now() -> float:
    return asyncio.get_running_loop().time()


def keep(peer: MemoryPeer) -> None:
    """A step: hold the connection."""


def client_with(*plugins: object, url: str = "ws://test", **arguments: Any) -> Client:
    return Client(url, plugins=[*plugins, *STANDARD], **arguments)


def most_within(times: Sequence[float], span: float) -> int:
    """The most of these that lie within any such span."""
    times = sorted(times)
    return max((sum(at <= other < at + span for other in times) for at in times), default=0)


async def open_all(clients: Sequence[Client]) -> None:
    await asyncio.gather(*(client.open() for client in clients))


async def close_all(clients: Sequence[Client]) -> None:
    await asyncio.gather(*(client.close() for client in clients))


class Herd:
    """Clients that note when they are back."""

    def __init__(self, clients: Sequence[Client]) -> None:
        self.size = len(clients)
        self.times: list[float] = []
        self._all = asyncio.Event()
        for client in clients:
            client.on(Reconnected, self._note)

    def _note(self, event: Reconnected) -> None:
        self.times.append(event.monotonic)
        if len(self.times) >= self.size:
            self._all.set()

    async def back(self) -> list[float]:
        """Wait until all are back; gives when each was, and starts anew."""
        await self._all.wait()
        self._all.clear()
        times, self.times = self.times, []
        return times


# Spacing


@virtual
async def test_connects_of_one_host_are_evenly_spaced_and_the_first_is_at_once() -> None:
    async with MemoryDialer(keep) as dialer:
        clients = [client_with(Governor(connects=5, per=2), dialer) for _ in range(12)]
        begin = now()
        await open_all(clients)
        assert [dial.time - begin for dial in dialer.dials] == pytest.approx([0.4 * n for n in range(12)], abs=0.001)
        await close_all(clients)
        await asyncio.sleep(10)
        begin = now()
        async with client_with(Governor(connects=5, per=2), dialer):
            assert now() == begin


@virtual
async def test_hosts_do_not_wait_for_each_other() -> None:
    async with MemoryDialer(keep) as dialer:
        urls = ["ws://a/", "wss://a/", "ws://a:81/", "ws://b/", "ws+unix:///a.sock:/", "ws+unix:///b.sock"]
        same = ["ws://A:80/other?query", "ws+unix:///b.sock:/other"]
        begin = now()
        clients = [client_with("governor", dialer, url=url) for url in urls]
        await open_all(clients)
        assert now() == begin
        clients += [client_with("governor", dialer, url=url) for url in same]
        await open_all(clients[-2:])
        assert now() - begin == pytest.approx(0.05)
        await close_all(clients)


@virtual
async def test_waiting_for_ones_turn_is_under_no_deadline() -> None:
    async with MemoryDialer(keep) as dialer:
        clients = [client_with(Governor(connects=1, per=60), dialer, open_timeout=1) for _ in range(10)]
        failed: list[AttemptFailed] = []
        for client in clients:
            client.on(AttemptFailed, failed.append)
        begin = now()
        await open_all(clients)
        assert now() - begin == pytest.approx(540)
        assert not failed
        await close_all(clients)


@pytest.mark.parametrize("cancelled", [range(1, 9), range(1, 20, 2), [1], [18, 19]])
def test_who_gives_up_waiting_leaves_no_hole(cancelled: Sequence[int]) -> None:
    @virtual
    async def give_up() -> None:
        async with MemoryDialer(keep) as dialer:
            clients = [client_with(Governor(connects=2), dialer) for _ in range(20)]
            begin = now()
            opening = [asyncio.ensure_future(client.open()) for client in clients]
            await asyncio.sleep(0.1)
            for number in cancelled:
                opening[number].cancel()
            await asyncio.gather(*opening, return_exceptions=True)
            left = 20 - len(cancelled)
            assert [dial.time - begin for dial in dialer.dials] == pytest.approx([0.5 * n for n in range(left)])
            await close_all(clients)

    give_up()


@virtual
async def test_who_is_cancelled_in_the_turn_of_the_loop_that_lets_it_through_leaves_no_hole() -> None:
    async with MemoryDialer(keep) as dialer:
        clients = [client_with(Governor(connects=1, per=10), dialer) for _ in range(3)]
        begin = now()
        opening = [asyncio.ensure_future(client.open()) for client in clients]
        await asyncio.sleep(1)
        asyncio.get_running_loop().call_at(begin + 10, opening[1].cancel)
        (gate,) = libws_governor._gates[asyncio.get_running_loop()].values()
        let_through = gate._let_through

        def and_cancel(turn: Any, at: float, moment: float) -> None:
            let_through(turn, at, moment)
            if gate.waiting == 1:
                clients[1]._supervisor._stop_attempting()

        gate._let_through = and_cancel  # type: ignore[method-assign, assignment]
        await opening[2]
        assert now() - begin == pytest.approx(10, abs=0.01)
        await close_all(clients)


@virtual
async def test_a_late_loop_is_made_up_for_without_a_burst() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    async with MemoryDialer(keep) as dialer:
        clients = [client_with(Governor(connects=10), dialer) for _ in range(40)]
        opening = asyncio.ensure_future(open_all(clients))
        for _ in range(8):
            await asyncio.sleep(0.3)
            loop._now += 0.17  # the loop was blocked
        await opening
        times = [dial.time for dial in dialer.dials]
        assert most_within(times, 1.0) <= 10
        assert min(later - earlier for earlier, later in pairwise(times)) >= 0.05 - 1e-9
        assert times[-1] - times[0] < 40 * 0.1 + 8 * 0.17
        await close_all(clients)


@virtual
async def test_timers_that_come_late_do_not_slow_those_behind() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    client_count = 40

    def be_late() -> None:
        loop._now += 0.028  # something else takes the loop's time, again and again
        if client_count > len(dialer.dials):
            loop.call_later(0.002, be_late)

    async with MemoryDialer(keep) as dialer:
        clients = [client_with(Governor(connects=10), dialer) for _ in range(client_count)]
        begin = now()
        be_late()
        await open_all(clients)
        assert now() - begin < 39 * 0.1 + 0.1
        await close_all(clients)


@virtual
async def test_the_budget_holds_back_retries_and_not_first_attempts() -> None:
    async with MemoryDialer() as dialer:
        dialer.script(refuse(500))
        options = {"governor": {"connects": 100, "budget": 6, "breaker": None}, "backoff": {"base": 0.1, "cap": 0.1}}
        clients = [client_with("governor", dialer, options=options) for _ in range(3)]
        begin = now()
        opening = [asyncio.ensure_future(client.open()) for client in clients]
        await asyncio.sleep(179)
        times = [dial.time - begin for dial in dialer.dials]
        retries = times[3:]
        assert most_within(retries, 60.0 - 1e-6) == 6
        assert len(retries) == 18  # nothing of it is lost
        moment = now()
        dialer.script(keep)
        async with client_with("governor", dialer, options=options):
            assert now() == moment
        await asyncio.gather(*opening)
        await close_all(clients)


# What the server asks


@virtual
async def test_a_retry_after_that_one_client_met_is_obeyed_by_all() -> None:
    async with MemoryDialer() as dialer:
        dialer.script(refuse(503, {"Retry-After": "7"}), keep)
        clients = [client_with("governor", dialer) for _ in range(30)]
        begin = now()
        await open_all(clients)
        first, *others = [dial.time - begin for dial in dialer.dials]
        assert first == 0
        assert len(others) == 30
        assert others[0] == pytest.approx(7, abs=0.001)
        assert most_within(others, 1.0) <= 20
        await close_all(clients)


@pytest.mark.parametrize("live", [True, False])
def test_1013_that_one_client_met_is_obeyed_by_all(live: bool) -> None:
    @virtual
    async def close_with_1013() -> None:
        async with MemoryDialer(by_hand(), keep) as dialer:
            plugins: list[object] = [] if live else [Hello()]
            first = client_with("governor", dialer, *plugins)
            opening = asyncio.ensure_future(first.open())
            peer = await dialer.accept()
            if live:
                await opening
            peer.close(1013)
            await asyncio.sleep(0.01)
            begin = now()
            async with client_with("governor", dialer):
                assert now() - begin == pytest.approx(1, abs=0.05)
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            await first.close()

    close_with_1013()


class Hello:
    """Waits for a word before READY."""

    @hookimpl
    async def establish(self, session: Session) -> None:
        if session.request.attempt.number == 1:
            await session.recv()


@virtual
async def test_an_absurd_retry_after_is_capped() -> None:
    async with MemoryDialer() as dialer:
        dialer.script(refuse(503, {"Retry-After": "99999999"}), keep)
        options = {"governor": {"retry_after_max": 60}, "backoff": {"retry_after_max": 60}}
        clients = [client_with("governor", dialer, options=options) for _ in range(3)]
        begin = now()
        await open_all(clients)
        assert dialer.dials[1].time - begin == pytest.approx(60, abs=0.01)
        assert now() - begin < 61
        await close_all(clients)


@virtual
async def test_an_error_that_was_adapted_is_obeyed_too() -> None:
    class Provider:
        @hookimpl
        def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
            return error.but(retry_after=40.0) if error.code == 4008 else None

    async with MemoryDialer(by_hand(), keep) as dialer:
        first = client_with(Provider(), "governor", dialer)
        await first.open()
        (await dialer.accept()).close(4008)
        await asyncio.sleep(0.01)
        begin = now()
        async with client_with(Provider(), "governor", dialer):
            assert now() - begin == pytest.approx(40, abs=0.1)
        await first.close()


# The circuit


@virtual
async def test_failed_attempts_in_a_row_open_the_circuit() -> None:
    async with MemoryDialer() as dialer:
        dialer.script(*[refuse(500)] * 3, keep)
        options = {"governor": {"breaker": 3, "half_open": 5}, "backoff": {"base": 0.1, "jitter": "none"}}
        client = client_with("governor", dialer, options=options)
        failed: list[AttemptFailed] = []
        client.on(AttemptFailed, failed.append)
        await client.open()
        assert [type(event.error) for event in failed] == [HandshakeRejected] * 3 + [CircuitOpen]
        refused = failed[-1]
        assert refused.phase == "admit"
        assert refused.error.verdict == "retry"
        assert refused.error.retry_after is not None
        assert refused.error.retry_after + refused.monotonic == pytest.approx(failed[2].monotonic + 5)
        times = [dial.time for dial in dialer.dials]
        assert len(times) == 4
        assert times[3] - failed[2].monotonic == pytest.approx(5, abs=0.01)
        await client.close()


@virtual
async def test_without_backoff_an_open_circuit_is_told_at_once() -> None:
    async with MemoryDialer(refuse(500)) as dialer:
        holder = client_with(Governor(breaker=2), dialer, options={"backoff": {"base": 3, "jitter": "none"}})
        opening = asyncio.ensure_future(holder.open())
        await dialer.reached(1)
        with pytest.raises(HandshakeRejected):
            await client_with(Governor(breaker=2), dialer, "-backoff").open()
        await asyncio.sleep(1)
        with pytest.raises(CircuitOpen, match="2 attempts in a row have failed") as caught:
            await client_with(Governor(breaker=2), dialer, "-backoff").open()
        assert caught.value.retry_after == pytest.approx(4, abs=0.02)
        with pytest.raises(HandshakeRejected):  # whoever wants no breaker tries all the same
            await client_with(Governor(breaker=None), dialer, "-backoff").open()
        assert dialer.count == 3
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)


@virtual
async def test_one_client_probes_and_the_others_wait_for_what_becomes_of_it() -> None:
    async with MemoryDialer() as dialer:
        dialer.latency = lambda: 0.2 if dialer.count > 6 else 0.0  # the last probe takes its time
        options = {"governor": {"breaker": 4, "half_open": 5}, "backoff": {"base": 0.1, "cap": 0.1}}
        dialer.script(*[refuse(500)] * 4, hang(), refuse(500), keep)
        clients = [client_with("governor", dialer, options=options, open_timeout=3) for _ in range(30)]
        begin = now()
        await open_all(clients)
        times = [dial.time - begin for dial in dialer.dials]
        assert times[3] == pytest.approx(0.15)
        assert times[4] == pytest.approx(0.15 + 5, abs=0.11)  # hangs for 3 s
        assert times[5] == pytest.approx(times[4] + 3 + 5, abs=0.11)
        assert times[6] == pytest.approx(times[5] + 5, abs=0.11)
        assert len(times) == 6 + 30
        assert times[7] == pytest.approx(times[6] + 0.4, abs=0.01)
        later = times[7:]
        assert most_within(later, 1.0) <= 20
        assert min(after - before for before, after in pairwise(later)) >= 0.05 - 1e-9
        assert later[-1] - later[0] == pytest.approx(28 / 20, abs=0.05)  # and none left behind
        await close_all(clients)


@virtual
async def test_a_probe_that_is_closed_or_fails_by_itself_hands_over() -> None:
    class Broken:
        """Its own fault, not the host's."""

        @hookimpl
        async def establish(self, session: Session) -> None:
            raise AuthenticationError("no", verdict="retry")

    async with MemoryDialer() as dialer:
        options = {"governor": {"breaker": 1, "half_open": 5}, "backoff": {"base": 0.1, "jitter": "none"}}
        for plugins in ((), (Broken(),)):
            probe: Any = keep if plugins else hang()
            dialer.script(refuse(500), probe, keep)
            prober = client_with(*plugins, "governor", dialer, options=options, open_timeout=100)
            opening = asyncio.ensure_future(prober.open())
            await dialer.reached(dialer.count + 2)
            other = client_with("governor", dialer, options=options)
            going = asyncio.ensure_future(other.open())
            if not plugins:
                await asyncio.sleep(20)
                assert len(dialer.dials) == 2
            moment = now()
            await prober.close()
            await asyncio.gather(opening, return_exceptions=True)
            await going
            assert now() - moment < 0.2
            await other.close()
            dialer.dials.clear()
            gc.collect()


@virtual
async def test_who_comes_a_rounding_error_too_early_is_not_sent_away() -> None:
    gate = Gate("test:80")
    gate.failures, gate.open_until = 1, math.nextafter(now(), math.inf)
    await gate.enter(Turn(1, 1.0, None, 1, 5.0, retry=True))
    gate.open_until = now() + 0.1
    with pytest.raises(CircuitOpen):
        await gate.enter(Turn(1, 1.0, None, 1, 5.0, retry=True))


@virtual
async def test_lost_connections_do_not_open_the_circuit_nor_do_failures_of_our_own() -> None:
    class NoToken:
        calls = 0

        def fail(self) -> None:
            self.calls += 1
            if self.calls <= 30:
                raise AuthenticationError("no token", verdict="retry")

        @hookimpl
        async def authenticate(self, request: Request) -> None:
            if request.attempt.number % 2:
                self.fail()

        @hookimpl
        async def establish(self, session: Session) -> None:
            self.fail()

    async with MemoryDialer() as dialer:
        dialer.script(lambda peer: peer.drop())
        options = {"governor": {"breaker": 2}, "backoff": {"base": 0.1, "cap": 0.1}}
        client = client_with("governor", dialer, options=options)
        failed: list[AttemptFailed] = []
        client.on(AttemptFailed, failed.append)
        await client.open()
        await dialer.reached(20)
        assert not failed
        await client.close()
        dialer.script(keep)
        own = client_with(NoToken(), "governor", dialer, options=options)
        own.on(AttemptFailed, failed.append)
        await own.open()
        assert {type(event.error) for event in failed} == {AuthenticationError}
        await own.close()


@virtual
async def test_a_connection_that_is_ready_between_ends_the_row() -> None:
    async with MemoryDialer() as dialer:
        row: tuple[Any, ...] = (refuse(500), refuse(500), lambda peer: peer.drop())
        dialer.script(*row * 10, keep)
        options = {"governor": {"breaker": 3}, "backoff": {"base": 0.1, "cap": 0.1}}
        client = client_with("governor", dialer, options=options)
        failed: list[AttemptFailed] = []
        client.on(AttemptFailed, failed.append)
        await client.open()
        await dialer.reached(31)
        assert {type(event.error) for event in failed} == {HandshakeRejected}
        await client.close()


@virtual
async def test_a_move_is_governed_and_its_candidate_shows_that_the_host_is_well() -> None:
    class Mover:
        session: Session | None = None

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

    async with MemoryDialer() as dialer:
        dialer.script(keep, refuse(500), refuse(500), keep)
        mover = Mover()
        options = {"governor": {"breaker": 2, "half_open": 5, "connects": 1}}
        client = client_with(mover, "governor", dialer, options=options)
        await client.open()
        assert mover.session is not None
        for _ in range(2):
            begin = now()
            assert isinstance(await mover.session.reopen("test"), HandshakeRejected)
            assert now() - begin == pytest.approx(1, abs=0.01)
        assert isinstance(await mover.session.reopen("test"), CircuitOpen)
        await asyncio.sleep(5)
        moving = asyncio.ensure_future(mover.session.reopen("test", overlap=3))
        begin = now()
        async with client_with("governor", dialer, options=options):
            assert now() - begin == pytest.approx(1, abs=0.1)  # did not wait for the overlap
        assert await moving is True
        assert len(client.plugin(Governor)._turns) == 1
        await client.close()


# The rest


@virtual
async def test_what_is_shared_goes_with_the_last_client() -> None:
    async with MemoryDialer(keep) as dialer:
        clients = [client_with("governor", dialer) for _ in range(3)]
        await open_all(clients)
        gates = libws_governor._gates[asyncio.get_running_loop()]
        assert list(gates) == ["test:80"]
        await close_all(clients[:2])
        gc.collect()
        assert list(gates) == ["test:80"]
        await close_all(clients[2:])
        gc.collect()
        assert not list(gates)


def test_loops_share_nothing() -> None:
    async def main() -> float:
        async with MemoryDialer(keep) as dialer:
            begin = now()
            clients = [client_with(Governor(connects=1, per=100), dialer) for _ in range(2)]
            await open_all(clients)
            await close_all(clients)
            return now() - begin

    assert run(main()) == run(main()) == pytest.approx(100)
    gc.collect()
    assert not list(libws_governor._gates)


@virtual
async def test_a_client_that_is_sent_from_host_to_host_remembers_a_bounded_number() -> None:
    class Wanderer:
        @hookimpl
        def resolve(self, request: Request) -> Request:
            return replace(request, url=f"ws://host{request.attempt.number}/")

    async with MemoryDialer(refuse(500)) as dialer:
        client = client_with(Wanderer(), "governor", dialer, options={"backoff": {"base": 0.1, "cap": 0.1}})
        opening = asyncio.ensure_future(client.open())
        await dialer.reached(200)
        governor = client.plugin(Governor)
        assert len(governor._hosts) <= libws_governor.HOSTS
        assert len(governor._turns) <= 1
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)


@virtual
async def test_a_herd_on_the_virtual_clock_comes_back_evenly_and_nobody_early() -> None:
    async with MemoryDialer(keep) as dialer:
        clients = [client_with("governor", dialer, options={"governor": {"connects": 200}}) for _ in range(500)]
        herd = Herd(clients)
        await open_all(clients)
        for asked in (0.0, 2.0):
            if asked:
                dialer.first(refuse(503, {"Retry-After": f"{asked:g}"}))
            dropped = now()
            for peer in dialer.peers:
                peer.drop(reset=True)
            back = await herd.back()
            assert most_within(back, 0.1) <= 0.15 * 500
            assert max(back) - dropped < asked + 0.5 + 500 / 200 + 0.2
            assert min(back) - dropped >= asked
            assert all(client.state == "ready" for client in clients)
        await close_all(clients)


# A herd, and a real server in another process


class HerdServer:
    """The server of `herd_server.py`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.url = ""

    async def ask(self, command: str = "") -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if command:
            self._process.stdin.write(f"{command}\n".encode())
        async with asyncio.timeout(20):
            return json.loads(await self._process.stdout.readline())


@asynccontextmanager
async def herd_server() -> AsyncIterator[HerdServer]:
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, SERVER, stdin=pipe, stdout=pipe, limit=2**20)
    try:
        server = HerdServer(process)
        server.url = f"ws://127.0.0.1:{await server.ask()}/"
        yield server
    finally:
        process.kill()
        await process.communicate()


@pytest.mark.measured
@pytest.mark.parametrize("asked", [0, 2])
@pytest.mark.parametrize(
    ("dialers", "size", "connects"), [((), 500, 200), (("picows",), 150, 100)], ids=["websockets", "picows"]
)
async def test_a_herd_that_is_dropped_comes_back_evenly_and_nobody_before_the_server_said(
    dialers: tuple[str, ...], size: int, connects: int, asked: int
) -> None:
    if dialers:
        pytest.importorskip("libws_picows")
    plugins = ["governor", *dialers, *["-websockets"] * len(dialers)]
    options = {"governor": {"connects": connects}}
    async with leaks(settle=5), herd_server() as server:
        clients = [Client(server.url, plugins=plugins, options=options) for _ in range(size)]
        herd = Herd(clients)
        lost: list[Disconnected] = []
        for client in clients:
            client.on(Disconnected, lost.append)
        async with asyncio.timeout(60):
            await open_all(clients)
            dropped = await server.ask(f"drop {asked}" if asked else "drop")
            back = await herd.back()
        arrivals = await server.ask("arrivals")
        came = [at for at, status in arrivals if status == 101]
        refused = [at for at, status in arrivals if status == 503]
        assert len(lost) == size
        assert len(came) == size, "none is left behind, none came twice"
        assert most_within(came, 0.1) <= 0.15 * size
        assert most_within(back, 0.1) <= 0.15 * size
        begin = dropped if not asked else refused[0] + asked
        if asked:
            assert min(came) >= begin
            assert max(refused) - refused[0] < 0.5 * asked  # those that were on their way when the first one was told
            assert len(refused) <= 0.05 * size
        # As fast as it may: `size` connects, after the first back-off (0.05 to 0.5 s).
        assert max(back) - begin < 0.5 + size / connects * 1.3 + 0.5
        await close_all(clients)
    assert time.monotonic() == pytest.approx(now(), abs=5)  # one clock for both processes


# Options


@pytest.mark.parametrize(
    "options",
    [{"connects": 0}, {"per": 0}, {"budget": 0}, {"breaker": 0}, {"half_open": 0}, {"retry_after_max": -1}],
)
def test_bad_options_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Client("ws://test", plugins=["governor"], options={"governor": options})


def test_no_secret_is_shown() -> None:
    @virtual
    async def fail() -> None:
        async with MemoryDialer(refuse(500)) as dialer:
            client = client_with(Governor(breaker=1), dialer, "-backoff", url="ws://user:hidden@test/path?token=hidden")
            with pytest.raises(HandshakeRejected):
                await client.open()
            gate = Gate("test:80")
            gate.open_until, gate.failures = now() + 3, 4
            assert "hidden" not in str(gate._refusal(now()))
            assert libws_governor._host("wss://user:hidden@Test/path?token=hidden") == "test:443"

    fail()
