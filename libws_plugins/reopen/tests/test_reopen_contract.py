"""What every plugin promises, of `reopen`: with moves so often that each test meets some."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import KeepAliveContract, PluginContract, StageContract
from libws_reopen import Reopen


class TestReopen(KeepAliveContract):
    plugin = Reopen
    options: ClassVar = {"at": ["03:30", "15:30+02:00"], "every": 50_000, "jitter": 60}
    bad_options: ClassVar = {
        "every": [0, -1],
        "at": ["25:00", "noon", ["03:30", "3 o'clock"]],
        "order": ["both"],
        "overlap": [-1],
        "settle": [-1],
        "jitter": [-1, 50_000],
    }
    notices_within = None


class TestReopenOften(PluginContract):
    plugin = Reopen
    options: ClassVar = {"every": 5, "overlap": 1, "settle": 1}


class TestReopenBreakFirst(PluginContract):
    plugin = Reopen
    options: ClassVar = {"every": 5, "order": "break-first"}


class TestReopenWhenAsked(StageContract):
    plugin = Reopen
    options: ClassVar = {"when": {"op": "leave"}, "overlap": 1}
    bad_options: ClassVar = {"when": [{"op": {1}}]}
    takes: ClassVar = [{"op": "leave"}]
    passes: ClassVar = [({"op": "stay"}, {"op": "stay"})]
