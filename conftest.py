"""Which dialers and loops a test runs on: one that uses the fixture `dialer` runs on each dialer and on each loop.

Everything else runs once, on asyncio. To leave some out: `pytest -k "not uvloop"`, `pytest -k "not picows"`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

pytest_plugins = ["libws_core.testing.fixtures"]

DIALERS = ("websockets", "picows")
"""The first is the one that clients have by default."""


def new_uvloop() -> asyncio.AbstractEventLoop:
    """A loop of uvloop."""
    loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    return loop


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "only_dialer(name, *, reason): what is tested is a matter of this dialer alone")


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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """uvloop is not to be had for every system. One that is broken fails its tests."""
    if find_spec("uvloop") is not None:
        return
    skip = pytest.mark.skip(reason="uvloop is missing; try: pip install uvloop")
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and new_uvloop in callspec.params.values():
            item.add_marker(skip)


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
