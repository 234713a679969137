"""Nothing left behind: tasks and file descriptors, before and after."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from .clock import describe_task

__all__ = ["Leaked", "leaks"]

FOLDER = "/proc/self/fd"


class Leaked(AssertionError):
    """Tasks or file descriptors were left. The text names each."""


@contextlib.asynccontextmanager
async def leaks(*, tasks: bool = True, files: bool = True, settle: float = 1.0) -> AsyncIterator[None]:
    """Fail if the body leaves tasks or file descriptors behind.

    What the body raises passes as it is. Collects no garbage: what only the collector would close counts as left.

    Args:
        tasks: look at the running loop's tasks.
        files: look at the process's file descriptors; where there is no /proc they are not looked at.
        settle: seconds that things may take to end by themselves.

    Raises:
        Leaked: something is left after `settle`.
    """
    tasks_before = asyncio.all_tasks()
    files_before = _open_files() if files else {}
    yield
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        files_before |= _reserve(files_before)
    deadline = loop.time() + settle
    turns = 0
    while True:
        left = []
        if tasks:
            left += [describe_task(task) for task in asyncio.all_tasks() - tasks_before if not task.done()]
        if files:
            left += [f"file {number}: {what}" for number, what in _new_files(files_before).items()]
        if not left:
            return
        if loop.time() >= deadline:
            raise Leaked("\n  ".join([f"left behind after {settle:g} s:", *sorted(left)]))
        turns += 1
        await asyncio.sleep(0 if turns < 20 else settle / 50)


def _reserve(before: dict[int, str]) -> dict[int, str]:
    """What libuv, and so uvloop, opens with a loop's first stream and keeps with the loop (uv__stream_init)."""
    new = [number for number, what in _new_files(before).items() if what == os.devnull]
    return {new[0]: os.devnull} if new else {}


def _new_files(before: dict[int, str]) -> dict[int, str]:
    return {number: what for number, what in _open_files().items() if before.get(number) != what}


def _open_files() -> dict[int, str]:
    """Each open file descriptor and what it is, such as `socket:[4711]`; empty where the system does not tell."""
    found: dict[int, str] = {}
    try:
        names = os.listdir(FOLDER)
    except OSError:
        return found
    for name in names:
        try:
            found[int(name)] = os.readlink(f"{FOLDER}/{name}")
        except OSError:  # the descriptor of listdir itself, or one that another thread has closed meanwhile
            continue
    return found
