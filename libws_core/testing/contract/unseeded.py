"""Time and chance that no test can replace: which of it a plugin's own code uses."""

from __future__ import annotations

import contextlib
import datetime
import os
import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any
from unittest import mock

__all__ = ["noted"]

CLOCKS = ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime")
CHANCE: tuple[str, ...] = (
    "random",
    "uniform",
    "randint",
    "randrange",
    "choice",
    "choices",
    "shuffle",
    "sample",
    "gauss",
    "normalvariate",
)
CHANCE += ("expovariate", "betavariate", "triangular", "lognormvariate", "vonmisesvariate", "randbytes", "getrandbits")
SOURCES: tuple[tuple[ModuleType, tuple[str, ...]], ...] = (
    (time, CLOCKS),
    (random, CHANCE),
    (secrets, ("randbelow", "choice", "token_bytes", "token_hex", "randbits")),
    (uuid, ("uuid1", "uuid4")),
    (os, ("urandom",)),
)


@contextlib.contextmanager
def noted(plugin: type) -> Iterator[set[str]]:
    """Note each use that the plugin's package makes of them, however it has imported them."""
    used: set[str] = set()
    package = plugin.__module__.partition(".")[0]
    own = [
        module
        for name, module in sys.modules.copy().items()
        if isinstance(module, ModuleType) and (name == plugin.__module__ or name.partition(".")[0] == package)
    ]
    with contextlib.ExitStack() as stack:

        def put(module: Any, attribute: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(module, attribute, value))

        for source, names in SOURCES:
            for name in names:
                real = getattr(source, name)
                put(source, name, _telling(real, f"{source.__name__}.{name}", package, plugin.__module__, used))
                for module in own:
                    for attribute, value in list(vars(module).items()):
                        if value is real:
                            told = _telling(real, f"{source.__name__}.{name}", package, plugin.__module__, used)
                            put(module, attribute, told)
        for module in own:
            for attribute, value in list(vars(module).items()):
                if value is datetime.datetime:
                    put(module, attribute, _telling_datetime(used))
                elif value is datetime:
                    put(module, attribute, _Datetime(used))
        yield used


def _telling(real: Callable[..., Any], name: str, package: str, module: str, used: set[str]) -> Callable[..., Any]:
    def call(*args: Any, **more: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller == module or caller.partition(".")[0] == package:
            used.add(f"{name}()")
        return real(*args, **more)

    return call


def _telling_datetime(used: set[str]) -> type:
    class Telling(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            used.add("datetime.now()")
            return datetime.datetime.now(tz)

        @classmethod
        def utcnow(cls) -> Any:
            used.add("datetime.utcnow()")
            return datetime.datetime.now(datetime.UTC).replace(tzinfo=None)

    return Telling


class _Datetime:
    """The module, with a class that tells."""

    def __init__(self, used: set[str]) -> None:
        self.datetime = _telling_datetime(used)

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)
