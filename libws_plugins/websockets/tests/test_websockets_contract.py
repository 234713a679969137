"""What every dialer promises, kept by this one, on each loop."""

from __future__ import annotations

import pytest

from libws_core.testing import WebSocketDialerContract
from libws_websockets import Websockets


class TestWebsockets(WebSocketDialerContract):
    plugin = Websockets
    compression = True


class TestWebsocketsOnUvloop(TestWebsockets):
    loop_factory = pytest.importorskip("uvloop").new_event_loop
