"""Providers that are wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from catching import fails
from wrongly_installed import WronglyDescribed, WronglyLed, WronglyUndeclared

from libws_core import STOP, Failure, Kind, LibwsError, Message, Request, Session, Stop, hookimpl
from libws_core.testing import PluginContract, ProviderContract
from libws_core.types import Stage


@fails("test_it_is_installed_under_its_name")
class TestWronglyLed(PluginContract):
    plugin = WronglyLed


@fails("test_it_declares_the_plugins_that_it_uses")
class TestWronglyUndeclared(ProviderContract):
    plugin = WronglyUndeclared


@fails("test_its_readme_has_the_checklist")
class TestWronglyDescribed(ProviderContract):
    plugin = WronglyDescribed


class Wishful:
    """Uses what nobody has."""

    uses: ClassVar[dict[str, dict[str, Any]]] = {"wishful-thinking": {}}


@fails("test_the_plugins_that_it_uses_are_installed")
class TestWishful(ProviderContract):
    plugin = Wishful
    name = None


class Optimistic:
    """Says nothing about the code that should end it."""

    uses: ClassVar[dict[str, dict[str, Any]]] = {"backoff": {"codes": {"4000-4008": "fatal"}}}


@fails("test_its_codes_have_their_verdicts")
class TestOptimistic(ProviderContract):
    plugin = Optimistic
    name = None
    codes: ClassVar = {"4000-4009": "fatal"}


class Resigned:
    """Gives up where its own table says that it may be tried again."""

    @hookimpl
    def reconnect(self, failure: Failure) -> Stop | None:
        return STOP if failure.error.code == 4001 else None


@fails("test_it_comes_back_after_codes_that_may_be_retried")
class TestResigned(ProviderContract):
    plugin = Resigned
    name = None
    codes: ClassVar = {4001: "retry", 1012: "retry"}


class Wavering:
    """Forgets on a live connection what its table says."""

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        return error.but(verdict="fatal") if error.code == 4000 and error.generation is None else None


@fails("test_it_stops_at_codes_that_are_fatal")
class TestWavering(ProviderContract):
    plugin = Wavering
    name = None
    codes: ClassVar = {4000: "fatal"}


@dataclass(eq=False, kw_only=True)
class Counting:
    """Numbers messages for all connections together, and drops what comes a second time."""

    _seen: set[Any] = field(default_factory=set, init=False, repr=False)

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        def stage(message: Message) -> Message | None:
            if message.kind is Kind.TEXT and message.data in self._seen:
                return None
            self._seen.add(message.data)
            return message

        return stage


@fails("test_its_connections_do_not_mix_their_state")
class TestCounting(ProviderContract):
    plugin = Counting
    name = None
