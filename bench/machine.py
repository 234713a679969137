"""What a run was made on: machine, Python and versions, for people who compare figures."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

DISTRIBUTIONS = (
    "libws-core",
    "libws-websockets",
    "libws-picows",
    "websockets",
    "aiohttp",
    "picows",
    "websocket-client",
    "uvloop",
)


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def machine() -> str:
    count = os.cpu_count() or 1
    release = ".".join(platform.release().split(".")[:2])
    return f"{processor()}, {count} cores, {platform.system()} {release}"


def python() -> str:
    return f"{platform.python_implementation()} {platform.python_version()}"


def versions() -> list[str]:
    found = []
    for name in DISTRIBUTIONS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found
