"""Chaos on real sockets: a client, a relay that goes wrong every few seconds, a server in another process.

A seed that fails is played again by `python tests/chaos/ride.py --seed 7 --seconds 60 --dialer picows`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

RIDE = Path(__file__).with_name("ride.py")
ABREAST = 10
"""Rides that go on at the same time, each in a process of its own."""
MARGIN = 60.0
"""Seconds that a ride may take beyond its time."""
DIALERS = [name for name in ("websockets", "picows") if find_spec(f"libws_{name}")]


async def ride(places: asyncio.Semaphore, seed: int, seconds: float, dialer: str) -> dict[str, Any]:
    arguments = ["--seed", str(seed), "--seconds", str(seconds), "--dialer", dialer]
    async with places:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", str(RIDE), *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")},
        )
        try:
            async with asyncio.timeout(seconds + MARGIN):
                out, told = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, f"{arguments}: {told.decode()}"
    outcome: dict[str, Any] = json.loads(out)
    return outcome


async def ride_all(seeds: range, seconds: float) -> list[dict[str, Any]]:
    places = asyncio.Semaphore(ABREAST)
    return await asyncio.gather(*(ride(places, seed, seconds, dialer) for seed in seeds for dialer in DIALERS))


def percentile(values: list[float], percent: int) -> float:
    """Between the nearest two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1] if len(values) > 1 else values[0]


def flaws(outcome: dict[str, Any]) -> list[str]:
    """Which promises a ride broke."""
    slow = percentile(outcome["recoveries"], 95) if outcome["recoveries"] else 0.0
    held = {
        "it was broken, received and proven": min(outcome[name] for name in ("received", "proven")) > 0,
        "each break is noticed": outcome["losses"] >= outcome["broken"],
        "each loss is healed": len(outcome["recoveries"]) == outcome["losses"],
        "no loss is unexplained": outcome["unexplained"] == 0,
        "nothing is doubled": outcome["doubled"] == 0,
        "each send ends truthfully": outcome["lied"] == 0,
        f"READY soon, p95 {slow:.2f} s": slow <= 1.5,
        f"memory stays, {outcome['growth']} bytes more": outcome["growth"] < 2**20,
        f"nothing is left {outcome['left']}": not outcome["left"],
    }
    return [promise for promise, kept in held.items() if not kept]


def line(outcome: dict[str, Any]) -> str:
    recoveries = outcome["recoveries"] or [0.0]
    return (
        f"seed {outcome['seed']:2} {outcome['dialer']:10} {sum(outcome['faults'].values()):2} faults, "
        f"{outcome['losses']:2} losses, "
        f"READY after p95 {percentile(recoveries, 95):.2f} s, worst {max(recoveries):.2f} s, "
        f"{outcome['received']} received, {outcome['missed']} missed, {outcome['unexplained']} unexplained, "
        f"{outcome['doubled']} doubled, {outcome['proven']} proven, {outcome['unknown']} unknown, "
        f"{outcome['growth'] / 1024:.0f} KiB more"
    )


def check(outcomes: list[dict[str, Any]]) -> None:
    broken = [f"{line(outcome)}: broken: {flaws(outcome)}" for outcome in outcomes if flaws(outcome)]
    assert not broken, "\n".join(broken)


async def test_three_seeds_of_chaos() -> None:
    outcomes = await ride_all(range(1, 4), 10)
    check(outcomes)
    assert all(outcome["faults"] for outcome in outcomes)


@pytest.mark.endurance
async def test_twenty_seeds_of_a_minute_of_chaos() -> None:
    outcomes = await ride_all(range(1, 21), 60)
    print("", *map(line, outcomes), sep="\n")
    check(outcomes)
    assert all(sum(outcome["faults"].values()) >= 6 for outcome in outcomes)
    assert sum(outcome["broken"] for outcome in outcomes) > 5 * len(outcomes)


def test_a_ride_that_breaks_a_promise_is_told() -> None:
    good: dict[str, Any] = {"received": 9, "proven": 9, "losses": 2, "broken": 2, "recoveries": [0.2, 0.3], "left": ""}
    good |= dict.fromkeys(("unexplained", "doubled", "lied", "growth"), 0)
    assert flaws(good) == []
    for change in (
        *({"received": 0}, {"proven": 0}, {"broken": 3}, {"recoveries": [0.2]}, {"unexplained": 1}, {"doubled": 1}),
        *({"lied": 1}, {"recoveries": [0.2, 1.9]}, {"growth": 2**20}, {"left": "task"}),
    ):
        assert len(flaws({**good, **change})) == 1, change
