"""Virtual time and seeded chance."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest

from libws_core import chance, clock
from libws_core.testing import START, Deadlock, VirtualLoop, run, seeded, virtual


def test_an_hour_passes_at_once_and_to_the_exact_moment() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        began = loop.time()
        seen = []
        for delay in (0.1, 0.2, 3600.0):
            due = loop.time() + delay
            await asyncio.sleep(delay)
            assert loop.time() == due
            seen.append(loop.time() - began)
        return seen

    before = time.monotonic()
    assert run(main()) == pytest.approx([0.1, 0.3, 3600.3])
    assert time.monotonic() - before < 60


def test_timers_are_never_early_however_late_it_is() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (1e7, 0.1, 1e9, 0.1, 1e-6):
            due = loop.time() + delay
            await asyncio.sleep(delay)
            assert loop.time() >= due

    run(main(), limit=1e12)


def test_wall_time_follows_the_loop_from_a_fixed_date() -> None:
    @virtual
    async def default() -> None:
        assert clock.wall() == START
        await asyncio.sleep(90)
        assert clock.wall() == START + 90

    @virtual(start=0.0)
    async def given() -> None:
        assert clock.wall() == 0.0

    default()
    given()


def test_time_and_chance_are_restored_also_after_a_failure() -> None:
    before = clock.source, chance.source

    async def fails() -> None:
        assert (clock.source, chance.source) != before
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(fails())
    assert (clock.source, chance.source) == before
    with pytest.raises(ZeroDivisionError), seeded(1):
        raise ZeroDivisionError
    assert (clock.source, chance.source) == before


def test_the_seed_decides_chance() -> None:
    async def draw() -> list[float]:
        return [chance.uniform(0, 1) for _ in range(5)]

    assert run(draw()) == run(draw()) == run(draw(), seed=0)
    assert run(draw(), seed=1) != run(draw(), seed=2)
    with seeded(7):
        one = [chance.uniform(0, 1), chance.token()]
    with seeded(7) as source:
        assert source is chance.source
        assert [chance.uniform(0, 1), chance.token()] == one


ORDER = """
import asyncio, sys
from libws_core import chance
from libws_core.testing import run

async def main():
    seen = []
    async def stop(name):
        try:
            await asyncio.sleep(1000)
        finally:
            seen.append(name)
    clutter = [object() for _ in range(int(sys.argv[1]))]
    try:
        async with asyncio.TaskGroup() as group:
            for number in range(40):
                group.create_task(stop(number))
            await asyncio.sleep(chance.uniform(1, 2))
            raise ValueError
    except* ValueError:
        pass
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(40)]
    for future in futures:
        future.set_result(None)
    done, _ = await asyncio.wait(futures)
    seen += [futures.index(future) for future in done]
    tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(40)]
    done, _ = await asyncio.wait(tasks)
    return seen + [tasks.index(task) for task in done] + [loop.time()]

print(run(main(), seed=5))
"""


def test_the_order_of_tasks_is_the_same_in_each_process() -> None:
    outputs = set()
    for clutter in ("0", "1", "12345"):
        command = [sys.executable, "-c", ORDER, clutter]
        outputs.add(subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout)
    assert len(outputs) == 1, outputs


def test_a_deadlock_is_an_error_that_names_who_waits() -> None:
    async def stuck() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        task = asyncio.create_task(stuck(), name="the culprit")
        await task

    with pytest.raises(Deadlock, match=r"(?s)deadlock.*'the culprit' .*stuck.*test_testing_clock\.py:\d+"):
        run(main())


def test_a_loop_that_spins_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libws_core.testing.clock.TURNS", 1000)

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def again() -> None:
            loop.call_soon(again)

        loop.call_later(5, again)
        await asyncio.sleep(10)

    with pytest.raises(Deadlock, match="something spins"):
        run(main())


def test_virtual_time_has_a_limit() -> None:
    async def main() -> None:
        for _ in range(100):
            await asyncio.sleep(60)

    run(main(), limit=6000)
    with pytest.raises(Deadlock, match="still busy after 3,660 virtual seconds"):
        run(main(), limit=3600)


def test_cleaning_up_works_after_a_deadlock() -> None:
    ended = []

    async def main() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(5)
            ended.append(clock.wall())

    with pytest.raises(Deadlock):
        run(main())
    assert ended == [START + 5]


def test_time_stands_still_while_a_thread_works() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        reading, writing = os.pipe()
        ticked: list[float] = []
        loop.call_later(1, lambda: ticked.append(loop.time()))
        try:
            thread = asyncio.create_task(asyncio.to_thread(os.read, reading, 1))
            other = asyncio.create_task(asyncio.to_thread(time.sleep, 0.05))
            await other
            assert loop.time() == began
            os.write(writing, b"x")
            assert await thread == b"x"
        finally:
            os.close(reading)
            os.close(writing)
        assert loop.time() == began
        assert not ticked
        await asyncio.sleep(1)
        assert ticked == [began + 1]

    run(main())


def test_a_thread_that_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("libws_core.testing.clock.PATIENCE", 0.05)
    reading, writing = os.pipe()

    async def main() -> None:
        try:
            await asyncio.to_thread(os.read, reading, 1)
        finally:
            os.write(writing, b"x")  # so that the thread can be joined

    try:
        with pytest.raises(Deadlock, match="nothing came from a thread or a socket"):
            run(main())
    finally:
        os.close(reading)
        os.close(writing)


def test_real_sockets_are_served_when_there_is_nothing_else() -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            reader, writer = await asyncio.open_connection(sock=ours)
            theirs.sendall(b"hello")
            data = await reader.readexactly(5)
            writer.close()
            await writer.wait_closed()
        return data

    assert run(main()) == b"hello"


def test_a_runner_takes_the_loop_as_its_factory() -> None:
    async def main() -> float:
        await asyncio.sleep(10)
        return clock.wall()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main()) == START + 10
        assert clock.source is time.time
        assert runner.run(main()) == START + 20


def test_virtual_is_for_async_functions_and_keeps_arguments() -> None:
    @virtual
    async def double(value: int, *, plus: int = 0) -> int:
        await asyncio.sleep(1)
        return 2 * value + plus

    assert double(4, plus=1) == 9
    assert double.__name__ == "double"
    with pytest.raises(TypeError, match="async function"):
        virtual(lambda: None)  # type: ignore[arg-type,return-value]


@virtual
async def test_virtual_stands_on_tests_with_fixtures(tmp_path: object) -> None:
    assert tmp_path
    assert isinstance(asyncio.get_running_loop(), VirtualLoop)
