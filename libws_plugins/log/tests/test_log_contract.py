"""What every plugin promises, of `log`."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import PluginContract
from libws_log import Log


class TestLog(PluginContract):
    plugin = Log
    options: ClassVar = {"level": "debug", "fields": {"client": "prices"}}
    bad_options: ClassVar = {"level": ["loud"], "to": ["paper"]}
