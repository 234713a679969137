"""Processes: where they run, what they may open, and how one is asked over its pipes."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from types import TracebackType
from typing import Any, Self

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

FILES = 6_000
"""Open files that a process with thousands of connections needs."""


def cores() -> tuple[str, str]:
    """The core of the clients and the core of the server, empty if processes cannot be pinned or there is only one."""
    if not hasattr(os, "sched_getaffinity"):
        return "", ""
    usable = sorted(os.sched_getaffinity(0))
    return (str(usable[0]), str(usable[-1])) if len(usable) > 1 else ("", "")


def pin(core: str) -> None:
    """Keep this process on one core; an empty name leaves it where it is."""
    if core:
        os.sched_setaffinity(0, {int(core)})


def other_work(seconds: float = 0.5) -> float:
    """Watch the machine while nothing of ours runs; gives how many cores are busy. Linux only, elsewhere 0."""
    if not os.path.exists("/proc/stat"):
        return 0.0
    idle = idle_cores_time()
    begin = time.perf_counter()
    time.sleep(seconds)
    took = time.perf_counter() - begin
    return max(0.0, (os.cpu_count() or 1) - (idle_cores_time() - idle) / took)


def idle_cores_time() -> float:
    """Seconds that all cores together have been idle or waiting for a disk."""
    with open("/proc/stat") as file:
        fields = file.readline().split()
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")


def allow_files() -> None:
    """Raise this process's limit of open files, as far as it may."""
    if resource is not None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def environment() -> dict[str, str]:
    """What a process of the benchmark sees: no proxy and no plugins that this machine's owner is used to."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    kept.pop("LIBWS_PLUGINS", None)
    return kept | {"PYTHONHASHSEED": "0"}


class Process:
    """A module of the benchmark in a process of its own, which answers lines by lines."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", f"bench.{module}", *arguments]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment()
        )

    def read(self, timeout: float) -> str:
        """The next line.

        Raises:
            TimeoutError: none came within `timeout` seconds.
            EOFError: the process has ended.
        """
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], timeout)[0]:
            raise TimeoutError(f"no answer within {timeout:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise EOFError("the process has ended")
        return line

    def ask(self, question: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Ask for a measurement; gives what it found. Raises as `read` does."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self.read(timeout))
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()
