"""Servers and clients in processes of their own, crowds of clients of both dialers, and how late the loop was.

What stands in `@pytest.mark.endurance` takes minutes and runs when it is asked for: `make chaos`, or
`pytest -m endurance tests/endurance`. The other tests are the same promises at smaller counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
PATIENCE = 60.0
"""Seconds that a process may take to say something."""
GRACE = 5.0
"""Seconds that a process may take to end."""
GIVES_BACK = {"MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "16384", "MALLOC_TOP_PAD_": "0"}
"""Has glibc give freed memory back at once, so that what is resident is what is held; see mallopt(3)."""
TICK = 0.005
"""Seconds between two looks at how late the loop is."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The long ones run only where the expression of -m names them."""
    if "endurance" in config.option.markexpr:
        return
    long = {item for item in items if HERE in item.path.parents and item.get_closest_marker("endurance") is not None}
    if long:
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]


class Lag:
    """How late the loop wakes those who sleep: what a busy machine adds to everybody's deadline."""

    def __init__(self) -> None:
        self._ticks: list[tuple[float, float]] = []

    async def watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            self._ticks.append((due, max(0.0, loop.time() - due)))

    def worst(self, since: float) -> float:
        """Seconds by which somebody was woken too late after the loop's time `since`."""
        now = asyncio.get_running_loop().time()
        pending = now - (self._ticks[-1][0] + TICK) if self._ticks else 0.0
        return max([late for due, late in self._ticks if due >= since - TICK] + [pending, 0.0])

    @property
    def usual(self) -> float:
        """Half of those who slept were woken later than this."""
        return statistics.median([late for _, late in self._ticks] or [0.0])


@pytest.fixture
async def lag() -> AsyncIterator[Lag]:
    """Looks at the loop while the test runs."""
    lag = Lag()
    task = asyncio.ensure_future(lag.watch())
    yield lag
    task.cancel()
    await asyncio.wait([task])


class Program:
    """A Python process that is told words and says lines of JSON."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hear(self, timeout: float = PATIENCE) -> Any:
        """What it says next."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout):
            line = await self._process.stdout.readline()
        if not line:
            raise AssertionError(f"the process ended with {await self._process.wait()}; its standard error tells why")
        return json.loads(line)

    async def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        await self._process.stdin.drain()

    def send_signal(self, number: int) -> None:
        self._process.send_signal(number)

    async def end(self) -> None:
        """It ends when its standard input does, or else it is killed."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(GRACE):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        for _ in range(3):  # its pipes are closed a few turns later
            await asyncio.sleep(0)


@pytest.fixture
async def program() -> AsyncIterator[Callable[..., Awaitable[Program]]]:
    """Start a script of this folder in a process of its own; it is ended with the test."""
    started: list[Program] = []

    async def start(script: str, *arguments: object) -> Program:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            str(HERE / script),
            *map(str, arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("COV")} | GIVES_BACK,
        )
        started.append(Program(process))
        return started[-1]

    yield start
    for each in started:
        await each.end()


@pytest.fixture
def plugins() -> list[list[str]]:
    """A list of plugins for each dialer that is installed: a crowd takes them in turn."""
    return [[], *([["picows", "-websockets"]] if find_spec("libws_picows") is not None else [])]
