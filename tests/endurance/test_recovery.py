"""Coming back at the default back-off: fast where nothing else is wrong, slower and slower where something is.

The server is another process. Times are the loop's, from the moment at which the client noticed. How long coming back
takes is a promise that only an idle machine keeps: it is looked at in full (`make chaos`). Everywhere else what counts
is the delays, which the client chooses.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from libws_core import Client, Connecting, ConnectionClosed, Disconnected, Reconnected, Retrying
from libws_core.testing import Server, leaks, seeded

TURNS = 5
"""How often the loop has to wake somebody on the way back, each time as late as it is: a timer, TCP, the handshake."""


EXACT = 0.002
"""Seconds by which clocks of uvloop, which counts in milliseconds, may be off."""


class Recovery(NamedTuple):
    """How one client came back."""

    code: int | None
    delays: list[float]
    """Before each attempt, the last of which succeeded."""
    noticed: float
    """Seconds from the loss to the client's noticing it."""
    back: float
    """Seconds from there to READY."""


async def recover(url: str, plugins: list[str], delay: float) -> Recovery:
    """Lose a connection and come back, with everything at its default."""
    await asyncio.sleep(delay)  # nobody shall be part of a herd
    client = Client(url, plugins=plugins, proxy=None)
    lost: list[Disconnected] = []
    delays: list[float] = []
    returned: asyncio.Future[Reconnected] = asyncio.get_running_loop().create_future()
    client.on(Disconnected, lost.append)
    client.on(Retrying, lambda event: delays.append(event.delay))
    client.on(Reconnected, returned.set_result)
    async with client:
        ready = (await returned).monotonic
        lost_at = float((await client.recv(10)).data)
        (loss,) = lost
        assert isinstance(loss.error, ConnectionClosed)
        return Recovery(loss.error.code, delays, loss.monotonic - lost_at, ready - loss.monotonic)


async def recover_all(urls: list[str], plugins: list[list[str]], spread: float) -> list[Recovery]:
    """A crowd of clients that have nothing to do with each other, within so many seconds."""
    return await asyncio.gather(
        *(recover(url, plugins[number % len(plugins)], number * spread / len(urls)) for number, url in enumerate(urls))
    )


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


LOSSES = {"reset": 1006, "fin": 1006, "cut": 1006, "1012": 1012}


async def check_losses(
    how: str, program: Callable[..., Awaitable[Any]], plugins: list[list[str]], clients: int = 100
) -> list[Recovery]:
    (base,) = await (await program("failing_server.py", 1)).hear()
    urls = [f"{base}{how}?client={number}&after=0.1" for number in range(clients)]
    async with asyncio.timeout(60), leaks():
        found = await recover_all(urls, plugins, spread=clients / 100)
    assert {each.code for each in found} == {LOSSES[how]}
    assert {len(each.delays) for each in found} == {1}
    delays = [each.delays[0] for each in found]
    assert 0.05 <= min(delays) <= max(delays) <= 0.5
    assert statistics.median(delays) < 0.36
    check_waits(found)
    return found


def check_waits(found: list[Recovery]) -> None:
    """Nobody noticed a loss before it was, or was back before its delays were over."""
    for each in found:
        assert each.noticed >= -EXACT
        assert each.back >= sum(each.delays) - EXACT * len(each.delays)


@pytest.mark.parametrize("how", ["reset", "fin", "1012"])
async def test_back_after_a_lost_connection(
    how: str, program: Callable[..., Awaitable[Any]], plugins: list[list[str]]
) -> None:
    with seeded(1):  # one hundred draws of the jitter are a sample that may be a bad one
        await check_losses(how, program, plugins)


async def check_restarts(program: Callable[..., Awaitable[Any]], plugins: list[list[str]]) -> list[Recovery]:
    bases = await (await program("failing_server.py", 200)).hear()
    urls = [
        f"{base}{'polite-restart' if number % 4 > 1 else 'restart'}?client=0&after=0.1"
        for number, base in enumerate(bases)
    ]
    async with asyncio.timeout(60), leaks():
        found = await recover_all(urls, plugins, spread=1.5)
    assert {each.code for each in found} == {1006, 1012}
    for each in found:  # how many tries it takes depends on the machine
        for count, delay in enumerate(each.delays):
            assert 0.05 * 2**count <= delay <= 0.5 * 2**count
    check_waits(found)
    return found


async def test_back_after_a_restart_of_half_a_second(
    program: Callable[..., Awaitable[Any]], plugins: list[list[str]]
) -> None:
    with seeded(1):
        await check_restarts(program, plugins)


async def flap(url: str, plugins: list[str], seconds: float, scale: float) -> tuple[int, list[float]]:
    """The connections of a client in the first seconds on a flapping server, and its delays."""
    loop = asyncio.get_running_loop()
    options = {"backoff": {"base": 0.5 * scale, "cap": 30 * scale}} if scale != 1 else {}
    client = Client(url, plugins=plugins, options=options, proxy=None)
    begun: list[float] = []
    delays: list[float] = []
    client.on(Connecting, lambda event: begun.append(event.monotonic) if event.phase == "dial" else None)
    client.on(Retrying, lambda event: delays.append(event.delay))
    opening = asyncio.ensure_future(client.open())
    while not begun:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    end = begun[0] + seconds
    await asyncio.sleep(end - loop.time())
    await client.close()
    with contextlib.suppress(Exception):
        await opening
    return sum(each < end for each in begun), delays


async def check_flapping(
    program: Callable[..., Awaitable[Any]], plugins: list[list[str]], clients: int, scale: float
) -> list[int]:
    (base,) = await (await program("failing_server.py", 1)).hear()
    ends = ["flap-1012", "flap-fin", "flap-reset", "flap-1000", "flap-1008"]
    async with asyncio.timeout(60), leaks():
        found = await asyncio.gather(
            *(
                flap(
                    f"{base}{ends[number % len(ends)]}?client={number}&after={number % 2 * 0.05 * scale}",
                    plugins[number // len(ends) % len(plugins)],
                    12 * scale,
                    scale,
                )
                for number in range(clients)
            )
        )
    for connections, delays in found:
        assert 2 <= connections <= 9
        for count, delay in enumerate(delays):
            longest = min(0.5 * 2**count, 30) * scale
            assert longest / 10 <= delay <= longest
    return [connections for connections, _ in found]


async def test_a_flapping_server_is_left_alone_longer_and_longer(
    program: Callable[..., Awaitable[Any]], plugins: list[list[str]]
) -> None:
    """All of it five times as fast as by default."""
    await check_flapping(program, plugins, 40, scale=0.2)


@pytest.mark.measured
@pytest.mark.usefixtures("each_dialer")
async def test_after_healthy_after_the_delay_is_short_again() -> None:
    """Five losses in a row, a connection that lives long enough, and one more loss."""
    lives = 0.4
    uptimes: list[float] = []
    delays: list[float] = []

    async def talk(peer: Any) -> None:
        if peer.number <= 5:
            await peer.close(1012)
        elif peer.number == 6:
            await asyncio.sleep(lives)
            await peer.drop()
        else:
            await peer.wait_gone()

    async with asyncio.timeout(30), leaks(), Server(talk) as server:
        options = {"backoff": {"base": 0.02, "jitter": "none"}}
        client = Client(server.url, options=options, healthy_after=lives / 2, proxy=None)
        client.on(Retrying, lambda event: delays.append(event.delay))
        client.on(Disconnected, lambda event: uptimes.append(event.uptime))
        async with client:
            await server.reached(7)
    assert delays == [0.02, 0.04, 0.08, 0.16, 0.32, 0.02]
    assert uptimes[5] >= lives / 2


@pytest.mark.endurance
class TestInFull:
    """Unseeded, each dialer for itself, flapping at the default delays. `pytest -s` shows the figures."""

    @pytest.mark.parametrize("how", LOSSES)
    async def test_back_after_a_lost_connection(
        self, how: str, dialer: Any, program: Callable[..., Awaitable[Any]], lag: Any
    ) -> None:
        found = await check_losses(how, program, [_list(dialer)], clients=300)  # a sample that is no bad one
        back, noticed = [each.back for each in found], [each.noticed for each in found]
        assert max(back) <= 0.5 + 0.1 + TURNS * lag.worst(0)
        assert statistics.median(back) < 0.36 + TURNS * lag.usual
        assert statistics.median(noticed) < 0.05 + TURNS * lag.usual
        print(
            f"\n  {how}: back after {min(back):.3f} to {max(back):.3f} s, median {statistics.median(back):.3f} s;"
            f" noticed after {statistics.median(noticed) * 1000:.1f} ms"
        )

    async def test_back_after_a_restart(self, dialer: Any, program: Callable[..., Awaitable[Any]], lag: Any) -> None:
        found = await check_restarts(program, [_list(dialer)])
        back = [each.back for each in found]
        assert max(len(each.delays) for each in found) >= 3
        assert statistics.median(back) <= 1.2 + TURNS * lag.usual
        assert quantile(back, 0.95) <= 2.5 + TURNS * lag.usual
        print(f"\n  restart: median {statistics.median(back):.3f} s, p95 {quantile(back, 0.95):.3f} s")

    async def test_a_flapping_server(self, dialer: Any, program: Callable[..., Awaitable[Any]]) -> None:
        connections = await check_flapping(program, [_list(dialer)], 100, scale=1)
        print(f"\n  flapping: {min(connections)} to {max(connections)} connections in 12 s")


def _list(dialer: Any) -> list[str]:
    name = dialer.__name__.lower()
    return [] if name == "websockets" else [name, "-websockets"]
