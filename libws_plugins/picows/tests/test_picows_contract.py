"""What every dialer of WebSockets promises, kept by this one, on each loop."""

from __future__ import annotations

import asyncio
from importlib import import_module
from importlib.util import find_spec

import pytest

from libws_core.testing import WebSocketDialerContract
from libws_picows import Picows


class TestPicows(WebSocketDialerContract):
    plugin = Picows


@pytest.mark.skipif(find_spec("uvloop") is None, reason="uvloop is missing; try: pip install uvloop")
class TestPicowsOnUvloop(TestPicows):
    @staticmethod
    def loop_factory() -> asyncio.AbstractEventLoop:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
        return loop
