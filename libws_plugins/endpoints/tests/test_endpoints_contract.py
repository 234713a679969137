"""What every plugin promises, of `endpoints`."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import PluginContract
from libws_endpoints import Endpoints

URLS = ["ws://one.test/", "ws://two.test/", "ws://three.test/"]


class TestEndpoints(PluginContract):
    plugin = Endpoints
    options: ClassVar = {"urls": URLS}
    bad_options: ClassVar = {"urls": [["no URL"]], "order": ["random"], "cooldown": [-1]}


class TestEndpointsSticky(PluginContract):
    plugin = Endpoints
    options: ClassVar = {"urls": URLS, "order": "sticky", "cooldown": 1}
