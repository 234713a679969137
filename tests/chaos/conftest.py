"""The long rides run where -m names them: `make chaos`, or `pytest -m endurance tests/chaos`."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "endurance" in config.option.markexpr:
        return
    long = {item for item in items if HERE in item.path.parents and item.get_closest_marker("endurance") is not None}
    if long:
        config.hook.pytest_deselected(items=list(long))
        items[:] = [item for item in items if item not in long]
