"""Which dialers and loops a test runs on: one that uses the fixture `dialer` runs on each dialer and on each loop.

Everything else runs once, on asyncio. To leave some out: `pytest -k "not uvloop"`, `pytest -k "not picows"`.

With several workers (`pytest -n 4`), a test that is marked `measured` has the machine for itself: it holds times
against a bound, and the others would be in its way.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Generator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pytest

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

pytest_plugins = ["libws_core.testing.fixtures"]

PLUGINS = Path(__file__).parent / "libws_plugins"
DIALERS = ("websockets", "picows")
"""The first is the one that clients have by default."""


def new_uvloop() -> asyncio.AbstractEventLoop:
    """A loop of uvloop."""
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


class Quiet:
    """Lets one worker run alone: a lock that all the others share, behind a door that nobody passes while it waits.

    The door keeps those who come later from overtaking it. Both are files of this folder: nothing is left behind.
    """

    def __init__(self, folder: Path) -> None:
        self._door: IO[bytes] = (folder / "conftest.py").open("rb")
        self._room: IO[bytes] = (folder / "pyproject.toml").open("rb")
        self._alone = False

    def enter(self, alone: bool) -> None:
        """Wait until nobody is alone, or, to be alone, until nobody is there."""
        if self._alone:
            return  # kept since the last test
        fcntl.flock(self._door, fcntl.LOCK_EX)
        fcntl.flock(self._room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        self._alone = alone
        if not alone:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def leave(self, alone_next: bool) -> None:
        """Let the others go on, unless who is alone stays so."""
        if self._alone and alone_next:
            return
        self._alone = False
        fcntl.flock(self._room, fcntl.LOCK_UN)
        fcntl.flock(self._door, fcntl.LOCK_UN)

    def close(self) -> None:
        self._door.close()
        self._room.close()


QUIET = pytest.StashKey[Quiet]()


def is_measured(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("measured") is not None


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job ignores it, and so do its children
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "only_dialer(name, *, reason): what is tested is a matter of this dialer alone")
    if fcntl is not None and hasattr(config, "workerinput"):
        config.stash[QUIET] = quiet = Quiet(config.rootpath)
        config.add_cleanup(quiet.close)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Where there are several workers, whoever measures is alone."""
    quiet = item.config.stash.get(QUIET, None)
    if quiet is None:
        return (yield)
    quiet.enter(is_measured(item))
    try:
        return (yield)
    finally:
        quiet.leave(is_measured(nextitem))


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if "dialer" in item.fixturenames:
        return {"asyncio": asyncio.new_event_loop, "uvloop": new_uvloop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "dialer" not in metafunc.fixturenames:
        return
    names = DIALERS
    only = metafunc.definition.get_closest_marker("only_dialer")
    if only is not None:
        assert only.kwargs["reason"], metafunc.definition.nodeid
        names = only.args
    metafunc.parametrize("dialer", names, indirect=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if is_measured(item):  # all in one worker, one after the other, so that the others wait once
            item.add_marker(pytest.mark.xdist_group("measured"))
        if (
            PLUGINS in item.path.parents
        ):  # the core is covered by its own tests; tracing makes these three times as long
            item.add_marker(pytest.mark.no_cover)
    if hasattr(config, "workerinput"):  # and before others are in the middle of something long
        items.sort(key=lambda item: not is_measured(item))
    # uvloop is not to be had for every system. One that is broken fails its tests.
    if find_spec("uvloop") is not None:
        return
    skip = pytest.mark.skip(reason="uvloop is missing; try: pip install uvloop")
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and new_uvloop in callspec.params.values():
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """The tests themselves stay: `gc.collect`, which some call again and again, need not look at thousands of them."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def dialer(request: pytest.FixtureRequest) -> Any:
    """The class of a dialer. One that is not installed skips the test, one that is broken fails it."""
    name: str = request.param
    if find_spec(f"libws_{name}") is None:
        pytest.skip(f"libws-{name} is missing; try: pip install -e libws_plugins/{name}")
    return getattr(import_module(f"libws_{name}"), name.capitalize())


@pytest.fixture
def each_dialer(dialer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients with the standard plugins, in this process and in those that it starts, dial with `dialer`."""
    name = dialer.__name__.lower()
    if name != DIALERS[0]:
        monkeypatch.setenv("LIBWS_PLUGINS", f"{name},-{DIALERS[0]}")
