"""Fixtures for pytest. They are there for whoever says so, in the conftest.py at the root of the tests:

    pytest_plugins = ["libws_core.testing.fixtures"]

Nothing else brings them: no entry point, no import of `libws_core.testing`. All are plain, so they go with `@virtual`,
with `asyncio.run` and with async tests of pytest-asyncio or anyio alike; what needs a loop, the test itself enters.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterator

import pytest

from .clock import seeded
from .leakage import Leaked, _new_files, _open_files
from .memory import MemoryDialer
from .server import Server

__all__ = ["libws_dialer", "libws_environment", "libws_leaks", "libws_seed", "libws_server"]

SEED = "LIBWS_SEED"
"""The environment variable that says which seed to take, as for a `Simulation`."""


@pytest.fixture
def libws_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy and no LIBWS_PLUGINS: what the environment says to clients does not count in the test."""
    for name in os.environ:
        if name.lower().endswith("_proxy") or (name.startswith("LIBWS_") and name != SEED):
            monkeypatch.delenv(name)


@pytest.fixture
def libws_dialer(libws_environment: None) -> Iterator[MemoryDialer]:
    """A `MemoryDialer`, for the list of plugins. In the end the test fails if the client broke a rule of connections,
    or a script raised; `async with libws_dialer` is not needed, and may stand there to end scripts earlier.
    """
    dialer = MemoryDialer()
    yield dialer
    dialer.check()


@pytest.fixture
def libws_server(libws_environment: None) -> Iterator[Server]:
    """A `Server` that does not listen yet: the test enters it, `async with libws_server as server`. In the end the test
    fails if a script raised, or if the server was started and not ended.
    """
    server = Server()
    yield server
    server.check()
    if server.listening:
        raise Leaked("the server still listens; write: async with libws_server as server")


@pytest.fixture
def libws_seed(request: pytest.FixtureRequest) -> Iterator[random.Random]:
    """Chance that repeats itself, on real time too: jitter and orders are the same in each run of the test.

    The seed comes from the test's name, or from LIBWS_SEED. Where a virtual clock runs, its own seed counts.
    """
    seed = int(os.environ.get(SEED) or zlib.crc32(request.node.name.encode()))
    with seeded(seed) as source:
        yield source


@pytest.fixture
def libws_leaks() -> Iterator[None]:
    """The test fails if it leaves a file descriptor open, where the system tells which are (/proc).

    For tests that make their own loop, by `@virtual` or `asyncio.run`. In an async test, whose loop lives on, use
    `async with leaks()`, which sees tasks as well.
    """
    before = _open_files()
    yield
    left = [f"file {number}: {what}" for number, what in _new_files(before).items()]
    if left:
        raise Leaked("\n  ".join(["left behind by the test:", *sorted(left)]))
