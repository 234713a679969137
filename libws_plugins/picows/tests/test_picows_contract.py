"""What every dialer of WebSockets promises, kept by this one, on each loop."""

from __future__ import annotations

import pytest

from libws_core.testing import WebSocketDialerContract
from libws_picows import Picows


class TestPicows(WebSocketDialerContract):
    plugin = Picows


class TestPicowsOnUvloop(TestPicows):
    loop_factory = pytest.importorskip("uvloop").new_event_loop
