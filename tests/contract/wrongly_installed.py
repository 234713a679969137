"""Providers whose distributions are wrong; `test_contracts_catch.py` puts those on the path."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_core import Event, hookimpl


class WronglyUndeclared:
    """Uses what its distribution does not depend on."""

    uses: ClassVar[dict[str, dict[str, Any]]] = {"ping": {"interval": 5}}


class WronglyDescribed:
    """Its README tells nothing."""

    uses: ClassVar[dict[str, dict[str, Any]]] = {"ping": {"interval": 5}}


class WronglyLed:
    """Another class stands under its name."""

    @hookimpl
    def observe(self, event: Event) -> None:
        pass
