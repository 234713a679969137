"""What every plugin promises, with and without an SDK."""

from __future__ import annotations

import functools
from typing import Any, ClassVar

from libws_core.testing import PluginContract
from libws_otel import Otel

from .telemetry import Telemetry


class TestOtel(PluginContract):
    plugin = Otel
    options: ClassVar = {"attributes": {"client": "prices", "tags": ["a", "b"]}}
    bad_options: ClassVar = {
        "attributes": [{"a": None}, {"a": [1, "b"]}, {"a": {}}, ["a"]],
        "propagate": ["perhaps"],
        "tracer_provider": [3, "provider"],
        "meter_provider": [3, "provider"],
    }


class TestOtelWithSdk(PluginContract):
    plugin = Otel

    @functools.cached_property
    def telemetry(self) -> Telemetry:
        return Telemetry()

    @property
    def options(self) -> dict[str, Any]:
        return {"tracer_provider": self.telemetry.tracers, "meter_provider": self.telemetry.meters}
