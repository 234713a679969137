"""What every plugin promises, of `governor`."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import PluginContract
from libws_governor import Governor


class TestGovernor(PluginContract):
    plugin = Governor
    bad_options: ClassVar = {
        "connects": [0],
        "per": [0],
        "budget": [0],
        "breaker": [0],
        "half_open": [0],
        "retry_after_max": [-1],
    }


class TestGovernorStrict(PluginContract):
    plugin = Governor
    options: ClassVar = {"connects": 1, "per": 10, "budget": 2, "breaker": 1}
