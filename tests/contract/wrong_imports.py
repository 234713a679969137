"""Plugins whose import is wrong. Each is a module of its own."""

from __future__ import annotations

from catching import fails
from noisy import Noisy
from sociable import Sociable

from libws_core.testing import PluginContract


@fails("test_nothing_happens_at_its_import")
class TestNoisy(PluginContract):
    plugin = Noisy
    name = None


@fails("test_its_import_brings_no_plugin_that_it_does_not_declare")
class TestSociable(PluginContract):
    plugin = Sociable
    name = None
