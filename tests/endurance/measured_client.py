"""A client in a process of its own, and what it costs: python measured_client.py WHAT URL DIALER LOOP OPTIONS

Does one thing and says as JSON what it took. Memory is the system's count of resident bytes, which also sees what C
allocates; only cycles, where a few bytes each would matter, are measured with tracemalloc. OPTIONS is a JSON object.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tracemalloc
from collections.abc import Callable, Coroutine
from importlib import import_module
from pathlib import Path
from typing import Any

from libws_core import Client, Control, Kind, LibwsError, Message, Session, hookimpl


def resident(field: str) -> int:
    """Bytes of a field of /proc/self/status: VmRSS = now, VmHWM = at most, since it was last reset."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


class Growth:
    """What is resident beyond what was at the start."""

    def __init__(self) -> None:
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, see proc(5)
        self._start = resident("VmRSS")

    @property
    def peak(self) -> int:
        return resident("VmHWM") - self._start

    @property
    def now(self) -> int:
        gc.collect()
        return resident("VmRSS") - self._start


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def told() -> str:
    """The next line of our standard input."""
    loop = asyncio.get_running_loop()
    readable = loop.create_future()
    loop.add_reader(sys.stdin, lambda: None if readable.done() else readable.set_result(None))
    try:
        await readable
    finally:
        loop.remove_reader(sys.stdin)
    return sys.stdin.readline().strip()


class CountPings:
    """A plugin that counts the server's pings."""

    def __init__(self) -> None:
        self.count = 0

    @hookimpl
    def incoming(self, session: Session) -> Control:
        def count(message: Message) -> Message:
            self.count += message.kind is Kind.PING
            return message

        return Control(count)


async def pings(make: Callable[..., Client], options: dict[str, Any]) -> None:
    """Be pinged by a peer that reads no pongs: between the messages "begin" and "end"."""
    counter = CountPings()
    async with make(counter) as client:
        assert (await client.recv()).data == "begin"
        growth = Growth()
        assert (await client.recv()).data == "end"
        say(peak=growth.peak, pings=counter.count, reconnects=client.stats.reconnects)


async def bomb(make: Callable[..., Client], options: dict[str, Any]) -> None:
    """Take a message that is too big, right behind the message "begin", several times, on a new client each time."""
    for _ in range(options["rounds"]):
        client = make()
        await client.open()
        assert (await client.recv()).data == "begin"
        growth = Growth()
        await client.send("go")
        try:
            await client.recv()
        except LibwsError as error:
            code, name = error.code, type(error).__name__
        else:
            raise AssertionError("the message came through")
        peak = growth.peak
        await client.close()
        for _ in range(5):  # what it leaves to the next turns of the loop
            await asyncio.sleep(0)
        held = growth.now
        del client
        say(peak=peak, held=held, after=growth.now, code=code, error=name)


async def slow(make: Callable[..., Client], options: dict[str, Any]) -> None:
    """Read nothing of what is offered until told so, then slowly; it must come whole and in order."""
    taken = 0
    async with make() as client:
        while (await client.recv()).data != "begin":
            pass
        growth = Growth()
        await client.send("go")
        assert await told() == "measure"
        say(peak=growth.peak)
        assert await told() == "read"
        async for message in client:
            if message.data == "end":
                break
            assert int(message.data[:8]) == taken, (taken, message.data[:8])
            taken += 1
            if taken % options["pause_after"] == 0:
                await asyncio.sleep(0.001)
        del message
        say(peak=growth.peak, after=growth.now, taken=taken, reconnects=client.stats.reconnects)


async def cycles(make: Callable[..., Client], options: dict[str, Any]) -> None:
    """Open, send, close, again and again."""
    marks: list[tuple[int, int, int]] = []
    tracemalloc.start()
    for cycle in range(options["warm"] + options["count"] + 1):
        if cycle in (options["warm"], options["warm"] + options["count"]):
            for _ in range(5):  # what a closed client leaves to the next turns of the loop
                await asyncio.sleep(0)
            gc.collect()
            tasks, files = len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))
            marks.append((tasks, files, tracemalloc.get_traced_memory()[0]))
        async with make() as client:
            await client.send("x")
        del client
    before, after = marks
    say(tasks=after[0] - before[0], files=after[1] - before[1], memory=after[2] - before[2])


WHAT: dict[str, Callable[[Callable[..., Client], dict[str, Any]], Coroutine[Any, Any, None]]] = {
    "pings": pings,
    "bomb": bomb,
    "slow": slow,
    "cycles": cycles,
}


def main(what: str, url: str, dialer: str, loop: str, more: str) -> None:
    options = json.loads(more)

    def make(*plugins: object) -> Client:
        others = [] if dialer == "websockets" else [dialer, "-websockets"]
        return Client(url, plugins=[*plugins, *others], proxy=None, **options.get("client", {}))

    factory = asyncio.new_event_loop if loop == "asyncio" else import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(WHAT[what](make, options))


if __name__ == "__main__":
    main(*sys.argv[1:])
