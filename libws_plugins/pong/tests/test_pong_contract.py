"""What every plugin with stages promises, of `pong`."""

from __future__ import annotations

from typing import ClassVar

from libws_core.testing import StageContract
from libws_pong import Pong


class TestPong(StageContract):
    plugin = Pong
    bad_options: ClassVar = {"match": [{"ping": object()}], "reply": ["pong"]}


class TestPongByMessage(StageContract):
    plugin = Pong
    options: ClassVar = {"match": {"ping": "$x"}, "reply": {"pong": "$x"}}
    takes = ({"ping": "$x"},)
    passes = (({"ping": 7}, None), ({"pin": 7}, {"pin": 7}))


class TestPongThatIsSilent(StageContract):
    plugin = Pong
    options: ClassVar = {"frames": False, "match": "ping"}
    takes = ("ping",)
