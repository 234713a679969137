"""How deliberately wrong plugins are told from each other: which test of a contract each must fail.

A file `wrong_*.py` holds contract classes for wrong plugins, each marked with the one test that has to notice:

    @fails("test_every_option_has_a_doc")
    class TestBare(PluginContract):
        plugin = Bare

pytest collects them only where it is asked to, as `test_contracts_catch.py` does, with this module as its plugin. It
writes what became of each test to the file that the environment names; with `--collect-only`, what each class is for.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from libws_core.testing.contract import steps

VARIABLE = "LIBWS_CAUGHT"
FEW = 8
"""Turns at which a life is disturbed where another test is to notice."""
FEW_CASES = 1
"""Cases of a table that are played where another test is to notice: all cases of one test are of one rule."""

C = TypeVar("C", bound=type)

_found: list[dict[str, Any]] = []
_usual = steps.STEPS


def fails(test: str) -> Callable[[C], C]:
    """Mark a contract class: its plugin fails this test, and no other."""

    def mark(cls: C) -> C:
        assert hasattr(cls, test), f"{cls.__name__} has no {test}"
        cls.must_fail = test  # type: ignore[attr-defined]
        return cls

    return mark


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    cases: Counter[tuple[type, str]] = Counter()
    kept = []
    for item in items:
        cls, test = _class_of(item), _test_of(item)
        cases[cls, test] += 1
        if cases[cls, test] <= FEW_CASES or getattr(cls, "must_fail", test) in (test, None):
            kept.append(item)
    items[:] = kept


def pytest_runtest_setup(item: pytest.Item) -> None:
    steps.STEPS = _usual if getattr(_class_of(item), "must_fail", None) == _test_of(item) else FEW


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield
    if report.when == "call" or report.outcome != "passed":
        cls = _class_of(item)
        by = call.excinfo.typename if call.excinfo is not None else None
        test = _test_of(item)
        _found.append(
            {
                "class": cls.__name__,
                "must_fail": getattr(cls, "must_fail", None),
                "test": test,
                "outcome": report.outcome,
                "by": by,
                "text": report.longreprtext,
            }
        )
    return report  # type: ignore[return-value]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Where nothing is run, tell which test each class is for, and the contract that has it."""
    if session.config.option.collectonly:
        for cls in {_class_of(item) for item in session.items}:
            test = getattr(cls, "must_fail", None)
            homes = [base.__name__ for base in cls.__mro__ if test in vars(base)]
            _found.append({"class": cls.__name__, "must_fail": test, "home": homes[0] if homes else None})


def pytest_sessionfinish() -> None:
    Path(os.environ[VARIABLE]).write_text(json.dumps(_found), "utf-8")


def _test_of(item: pytest.Item) -> str:
    """The test's method, whichever case of its table this is."""
    return str(getattr(item, "originalname", item.name))


def _class_of(item: pytest.Item) -> type:
    cls = getattr(item, "cls", None)
    assert isinstance(cls, type), f"{item.nodeid} is not in a class"
    return cls
