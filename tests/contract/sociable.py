"""A module that imports another plugin, and belongs to no distribution that declares it."""

from __future__ import annotations

from libws_core import Event, hookimpl
from libws_pong import Pong

COMPANION = Pong


class Sociable:
    @hookimpl
    def observe(self, event: Event) -> None:
        pass
