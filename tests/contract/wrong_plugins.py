"""Plugins that are wrong in how they are found, called, made and configured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from catching import fails
from msgspec import Meta

from libws_core import Event, Failure, Secret, Session, hookimpl
from libws_core.testing import PluginContract


class Observing:
    """Answers one hook, and is right."""

    @hookimpl
    def observe(self, event: Event) -> None:
        pass


class NotInstalled(Observing):
    pass


@fails("test_it_is_installed_under_its_name")
class TestNotInstalled(PluginContract):
    plugin = NotInstalled


@dataclass(eq=False, kw_only=True)
class Numbered(Observing):
    number: int = 1
    """A number."""


@fails("test_a_client_is_assembled_from_its_options")
class TestBadOptions(PluginContract):
    plugin = Numbered
    name = None
    options: ClassVar = {"number": "many"}


class Idle:
    pass


@fails("test_it_answers_a_hook")
class TestIdle(PluginContract):
    plugin = Idle
    name = None


class Misspelt(Observing):
    @hookimpl
    def reconect(self, failure: Failure) -> float:
        return 1.0


@fails("test_it_answers_only_hooks_that_the_core_has")
class TestMisspelt(PluginContract):
    plugin = Misspelt
    name = None


class Demanding:
    @hookimpl
    def observe(self, event: Event, client: Any) -> None:
        pass


@fails("test_its_hooks_take_only_what_they_are_given")
class TestDemanding(PluginContract):
    plugin = Demanding
    name = None


class Waiting:
    @hookimpl
    async def reconnect(self, failure: Failure) -> float:
        return 1.0


@fails("test_its_hooks_are_plain_where_they_must_be")
class TestWaiting(PluginContract):
    plugin = Waiting
    name = None


class Wrapping:
    @hookimpl(wrapper=True)
    def observe(self, event: Event) -> Iterator[None]:
        yield


@fails("test_its_hooks_are_no_wrappers")
class TestWrapping(PluginContract):
    plugin = Wrapping
    name = None


class Generating:
    @hookimpl
    def keep_alive(self, session: Session) -> Iterator[None]:
        yield


@fails("test_its_hooks_are_no_generators")
class TestGenerating(PluginContract):
    plugin = Generating
    name = None


@dataclass(kw_only=True)
class Equal(Observing):
    pass


@fails("test_two_of_it_are_two")
class TestEqual(PluginContract):
    plugin = Equal
    name = None


SEEN: list[Any] = []


@dataclass(eq=False, kw_only=True)
class Sharing(Observing):
    _seen: list[Any] = field(default_factory=lambda: SEEN, init=False, repr=False)


@fails("test_two_of_it_share_nothing")
class TestSharing(PluginContract):
    plugin = Sharing
    name = None


class Remembering:
    events: ClassVar[list[str]] = []

    @hookimpl
    def observe(self, event: Event) -> None:
        self.events.append(type(event).__name__)


@fails("test_a_ride_leaves_the_class_as_it_is")
class TestRemembering(PluginContract):
    plugin = Remembering
    name = None


class Counting:
    count = 0

    @hookimpl
    def observe(self, event: Event) -> None:
        type(self).count += 1


@fails("test_a_ride_leaves_the_class_as_it_is")
class TestCounting(PluginContract):
    plugin = Counting
    name = None


@dataclass(eq=False, kw_only=True)
class Bare(Observing):
    size: int = 1


@fails("test_every_option_has_a_doc")
class TestBare(PluginContract):
    plugin = Bare
    name = None


@dataclass(eq=False, kw_only=True)
class Anything(Observing):
    size: "int | Nonexistent" = 1  # noqa: F821, UP037 - what nobody understands takes everything
    """A size."""


@fails("test_its_options_refuse_wrong_types_and_unknown_names")
class TestAnything(PluginContract):
    plugin = Anything
    name = None


@dataclass(eq=False, kw_only=True)
class Patient(Observing):
    seconds: float = 1.0
    """Seconds to wait."""
    size: Annotated[int, Meta(ge=1)] = 1
    """A size."""


@fails("test_its_options_refuse_bad_values")
class TestPatient(PluginContract):
    plugin = Patient
    name = None
    bad_options: ClassVar = {"size": [0], "seconds": [-1.0]}


@dataclass(eq=False, kw_only=True)
class Mumbling(Observing):
    seconds: float = 1.0
    """Seconds to wait."""

    def __post_init__(self) -> None:
        if self.seconds <= 0:
            raise ValueError("that cannot be")


@fails("test_its_options_refuse_bad_values")
class TestMumbling(PluginContract):
    plugin = Mumbling
    name = None
    bad_options: ClassVar = {"seconds": [-1.0]}


@dataclass(eq=False, kw_only=True)
class Careless(Observing):
    api_key: str | None = None
    """The key of the account."""
    partition_key: str = "symbol"
    """No secret at all."""
    token_url: str = "https://example.com"
    """No secret either."""


@fails("test_its_credentials_are_secrets")
class TestCareless(PluginContract):
    plugin = Careless
    name = None


@dataclass(eq=False, kw_only=True)
class Open(Observing):
    password: Secret | None = None
    """The password."""

    header: str = field(default="", init=False)

    def __post_init__(self) -> None:
        if self.password is not None:
            self.header = f"Bearer {self.password.reveal()}"


@fails("test_its_secrets_stay_hidden")
class TestOpen(PluginContract):
    plugin = Open
    name = None
