"""The plugin keeps the contract of its kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libws_core.testing import PluginContract
from libws_replay import Replay


class TestReplay(PluginContract):
    """Not `DialerContract`: a recording has no live server at its other end."""

    plugin = Replay
    bad_options: Mapping[str, Any] = {
        "speed": [0, -1],
        "expect": ["nothing"],
        "patience": [0],
        "after": ["stop"],
        "run": [0],
    }
