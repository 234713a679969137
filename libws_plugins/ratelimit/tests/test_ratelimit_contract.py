"""What every plugin with stages promises, of `ratelimit`."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import StageContract
from libws_ratelimit import Ratelimit


class TestRatelimit(StageContract):
    plugin = Ratelimit
    options: ClassVar = {"messages": 5, "per": 1}
    bad_options: ClassVar = {"messages": [0], "per": [0], "bytes": [0], "margin": [-1]}


class TestRatelimitShared(StageContract):
    plugin = Ratelimit
    options: ClassVar = {"messages": 2, "bytes": 4096, "per": 3, "key": "account", "strict": False}
