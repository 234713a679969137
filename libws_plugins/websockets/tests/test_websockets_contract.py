"""What every dialer promises, kept by this one, on each loop."""

from __future__ import annotations

import pytest

from libws_core.testing import DialerContract
from libws_websockets import Websockets


class TestWebsockets(DialerContract):
    plugin = Websockets


class TestWebsocketsOnUvloop(TestWebsockets):
    loop_factory = pytest.importorskip("uvloop").new_event_loop
