"""What every plugin with stages promises, of `dedupe`."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import StageContract
from libws_dedupe import Dedupe


class TestDedupe(StageContract):
    plugin = Dedupe
    bad_options: ClassVar = {"window": [0, -1], "size": [0], "key": ["data..u", ""]}


class TestDedupeByKey(StageContract):
    plugin = Dedupe
    options: ClassVar = {"key": "data.u", "size": 10, "window": 5}
