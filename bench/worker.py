"""A client under test: a process of its own that measures what it is asked for, line by line."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
import urllib.request
from collections.abc import Coroutine
from statistics import median
from typing import Any

from .cases import CASES, Case
from .clients import CLIENTS, Driver, Entry
from .clients.provider import provided
from .processes import allow_files, pin
from .providers import BATCH
from .recovery import recover

PATIENCE = 60.0
"""Seconds that one measurement may take."""
TOGETHER = 50
"""Connections that are opened at the same time where many are needed."""


async def exchange(driver: Driver, case: Case, batches: int) -> list[float]:
    """Carry out so many batches; gives the seconds of each answer where there are answers."""
    count = batches * case.batch
    if case.way == "receive":
        await driver.receive(str(batches), count)
        return []
    if case.way == "send":
        await driver.send(str(count), case.payload, count)
        return []
    return await driver.echo(str(count), case.payload, count)


async def provider(name: str, mode: str, base: str, seconds: float) -> dict[str, Any]:
    """CPU a message of a provider, over about so many seconds, after a warm-up that tells how many these are."""
    async with provided(name, mode, base) as receive:
        batches = 1
        while (took := (await receive(batches))[1]) < seconds / 4:
            batches *= 2
        batches = max(1, round(batches * seconds / took))
        cpu, wall = await receive(batches)
        server = await asyncio.to_thread(usage_of_server, base)
    messages = batches * BATCH
    return {"cpu": cpu / messages, "wall": wall / messages, "client": cpu / wall, "server": server / wall}


async def traffic(entry: Entry, base: str, case: Case, seconds: float) -> dict[str, Any]:
    """CPU a message, over about so many seconds, after a warm-up that tells how many batches these are."""
    driver = entry.make()
    await driver.open(base + case.path, case)
    batches = 1
    while True:
        begin = time.perf_counter()
        await exchange(driver, case, batches)
        took = time.perf_counter() - begin
        if took > seconds / 4:
            break
        batches *= 2
    batches = max(1, round(batches * seconds / took))
    cpu, begin = time.process_time(), time.perf_counter()
    answers = await exchange(driver, case, batches)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begin
    await driver.close()
    server = await asyncio.to_thread(usage_of_server, base)
    messages = batches * case.batch
    return {
        "cpu": cpu / messages,
        "wall": wall / messages,
        "client": cpu / wall,
        "server": server / wall,
        "latency": median(answers) if answers else None,
    }


def usage_of_server(base: str) -> float:
    """Seconds of CPU that the server needed for the last command."""
    with urllib.request.urlopen(base.replace("ws:", "http:") + "/usage", timeout=10) as answer:
        return float(answer.read())


async def open_many(entry: Entry, url: str, count: int) -> list[Driver]:
    drivers: list[Driver] = []
    while len(drivers) < count:
        some = [entry.make() for _ in range(min(TOGETHER, count - len(drivers)))]
        await asyncio.gather(*(driver.open(url, None) for driver in some))
        drivers += some
    return drivers


async def close_all(drivers: list[Driver]) -> None:
    for start in range(0, len(drivers), TOGETHER):
        await asyncio.gather(*(driver.close() for driver in drivers[start : start + TOGETHER]))


def resident() -> int:
    """Bytes of this process in memory, without the files that it maps. Linux only."""
    with open("/proc/self/statm") as file:
        pages = file.read().split()
    return (int(pages[1]) - int(pages[2])) * os.sysconf("SC_PAGE_SIZE")


async def memory(entry: Entry, base: str, count: int) -> dict[str, Any]:
    """Bytes that each of many connections adds when all are open and idle."""
    first = await open_many(entry, base + "/hold", TOGETHER)
    await asyncio.sleep(0.1)
    gc.collect()
    before = resident()
    drivers = await open_many(entry, base + "/hold", count)
    await asyncio.sleep(0.1)
    gc.collect()
    added = resident() - before
    await close_all(first + drivers)
    return {"bytes": added / count}


async def connects(entry: Entry, base: str, count: int) -> dict[str, Any]:
    """CPU and seconds of a connect, one after the other; they are closed when all have been counted."""
    drivers = await open_many(entry, base + "/hold", 10)
    cpu, begin = time.process_time(), time.perf_counter()
    for _ in range(count):
        driver = entry.make()
        await driver.open(base + "/hold", None)
        drivers.append(driver)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begin
    await close_all(drivers)
    return {"cpu": cpu / count, "wall": wall / count, "client": cpu / wall}


def assembly() -> dict[str, Any]:
    """Seconds that the first and the second client of a process take to be made, without connecting."""
    from libws_core import Client

    took = []
    for _ in range(2):
        begin = time.perf_counter()
        Client("ws://127.0.0.1:9/")
        took.append(time.perf_counter() - begin)
    return {"first": took[0], "second": took[1]}


def carry_out(question: dict[str, Any], base: str) -> dict[str, Any]:
    measure, name = question["measure"], question["client"]
    if measure == "assembly":
        return assembly()
    if measure == "provider":
        return run(provider(question["provider"], name, base, question["seconds"]), False)
    entry = CLIENTS[name]
    work: Coroutine[Any, Any, dict[str, Any]]
    if measure == "traffic":
        work = traffic(entry, base, CASES[question["case"]], question["seconds"])
    elif measure == "memory":
        work = memory(entry, base, question["count"])
    elif measure == "connect":
        work = connects(entry, base, question["count"])
    else:
        assert measure == "recovery"
        work = recover(name, base, question["count"])
    return run(work, entry.uvloop)


def run(work: Coroutine[Any, Any, dict[str, Any]], on_uvloop: bool) -> dict[str, Any]:
    async def bounded() -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE):
            return await work

    factory = None
    if on_uvloop:
        import uvloop  # type: ignore[import-not-found, unused-ignore]

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(bounded())


def main() -> None:
    core, base = sys.argv[1:]
    pin(core)
    allow_files()
    logging.getLogger().addHandler(logging.NullHandler())  # a reset that was asked for is no news
    for line in sys.stdin:
        try:
            found = carry_out(json.loads(line), base)
        except Exception as error:  # told to the runner, which goes on with the others
            found = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
