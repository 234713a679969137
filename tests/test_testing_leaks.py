"""The leak check, and what the testing kit hands out."""

from __future__ import annotations

import asyncio
import importlib
import os
import socket
import subprocess
import sys

import pytest

import libws_core.testing
from libws_core.testing import Leaked, leaks, virtual

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the system has no /proc/self/fd")


async def test_a_clean_body_passes() -> None:
    async with leaks():
        ours, theirs = socket.socketpair()
        ours.close()
        theirs.close()
        await asyncio.create_task(asyncio.sleep(0))


async def test_a_task_that_is_left_is_named() -> None:
    async def lingers() -> None:
        await asyncio.Event().wait()

    tasks = []

    async def body() -> None:
        async with leaks(settle=0.05):
            tasks.append(asyncio.create_task(lingers(), name="the left one"))

    with pytest.raises(Leaked, match=r"'the left one' .*lingers.* at .*\d+"):
        await body()
    async with leaks():  # what was there before is no leak
        pass
    tasks[0].cancel()
    await asyncio.wait(tasks)


@needs_proc
async def test_a_file_that_is_left_is_named() -> None:
    left: list[socket.socket] = []

    async def body(files: bool) -> None:
        async with leaks(files=files, settle=0.05):
            left.append(socket.socket())

    with pytest.raises(Leaked, match=r"file \d+: socket:\[\d+\]"):
        await body(True)
    await body(False)
    for one in left:
        one.close()


@needs_proc
async def test_a_file_in_the_place_of_another_is_seen() -> None:
    before = socket.socket()
    number = before.fileno()
    after = []

    async def body() -> None:
        async with leaks(settle=0.05):
            before.close()
            after.append(socket.socket())

    with pytest.raises(Leaked):
        await body()
    assert after[0].fileno() == number
    after[0].close()


@virtual
async def test_what_ends_by_itself_in_time_is_no_leak() -> None:
    async with leaks(settle=5):
        task = asyncio.create_task(asyncio.sleep(4))
    assert task.done()


async def test_what_the_body_raises_passes_as_it_is() -> None:
    tasks = []

    async def body() -> None:
        async with leaks(settle=0):
            tasks.append(asyncio.create_task(asyncio.sleep(0)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await body()
    await asyncio.wait(tasks)


def test_every_public_name_can_be_had() -> None:
    for name in libws_core.testing.__all__:
        assert getattr(libws_core.testing, name).__doc__ or name == "START", name
        assert name in dir(libws_core.testing)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = libws_core.testing.nothing


MODULES = ["clock", "connection", "expectation", "leakage", "memory", "peer", "script", "server", "wire"]


@pytest.mark.parametrize("module", MODULES)
def test_each_module_says_what_is_public(module: str) -> None:
    loaded = importlib.import_module(f"libws_core.testing.{module}")
    assert loaded.__doc__
    assert all(hasattr(loaded, name) for name in loaded.__all__)


def test_the_memory_dialer_needs_no_websockets_and_no_pytest() -> None:
    code = (
        "import sys; from libws_core.testing import MemoryDialer, leaks, run\n"
        "assert not {'websockets', 'pytest', '_pytest'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_uvloop_keeps_with_its_loop_is_not_left_by_the_body() -> None:
    """libuv opens /dev/null with a loop's first stream. One is its own; a second one is somebody's."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is missing; try: pip install uvloop")

    async def main() -> None:
        async with leaks(settle=0.1):
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            server.close()
            await server.wait_closed()
        with pytest.raises(Leaked, match="/dev/null"):
            async with leaks(settle=0.1):
                first, second = (os.open(os.devnull, os.O_RDONLY) for _ in range(2))
        os.close(first)
        os.close(second)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
