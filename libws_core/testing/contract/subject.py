"""The plugin under test: what it is called, how it is made, and what stands around it in a client."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, Any

from ...binding import Flaw, flaws_of, new_manager
from ...client import Client
from ...conversion import mentions_secret
from ...errors import ConfigurationError
from ...hookspecs import hookimpl
from ...options import configure, options_of
from ...order import STANDARD
from ...plugins import Shelf, name_by_rule
from ...types import Failure
from .verdict import leave_out

if TYPE_CHECKING:
    from ..memory import MemoryDialer
    from .plugin import PluginContract

__all__ = [
    "Again",
    "Unmade",
    "assemble",
    "assembled",
    "flaws",
    "make",
    "name_of",
    "refusal",
    "secret_options",
    "uses_of",
]


class Unmade(Exception):
    """The plugin cannot be made of these options; the text is what the user would be told."""


class Again:
    """Reconnect after a second, where no plugin has an opinion: what a ride needs if `backoff` is not installed."""

    @hookimpl(trylast=True)
    def reconnect(self, failure: Failure) -> float:
        """A second."""
        return 1.0


def name_of(contract: PluginContract) -> str:
    """What the plugin is called, also if it is not installed."""
    return contract.name if isinstance(contract.name, str) else name_by_rule(contract.plugin)


def flaws(contract: PluginContract) -> list[Flaw]:
    """What keeps the core from calling the plugin's hooks."""
    try:
        plugin = make(contract)
    except Unmade:
        plugin = object.__new__(contract.plugin)  # an empty one shows its methods
    return flaws_of(plugin, new_manager())


def given(contract: PluginContract, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The options of a valid one, this test's own copies of them."""
    return {name: _copied(value) for name, value in {**contract.options, **(changes or {})}.items()}


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # such as an open file or a lock
        return value


def make(contract: PluginContract, changes: Mapping[str, Any] | None = None) -> Any:
    """Make one as the core does: from options as a profile gives them.

    Raises:
        Unmade: they are refused.
    """
    plugin, options = contract.plugin, given(contract, changes)
    if is_dataclass(plugin):
        configured = configure(plugin, {name: (value, "options") for name, value in options.items()})
        if configured.problems:
            raise Unmade("\n".join(text for text, _ in configured.problems))
        options = configured.arguments
    try:
        return plugin(**options)
    except Exception as error:
        kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
        raise Unmade(f"{kind}{error}") from error


def uses_of(contract: PluginContract, changes: Mapping[str, Any] | None = None) -> Mapping[str, Mapping[str, Any]]:
    """The plugins that it brings along, with their options; none if it cannot be made or cannot say."""
    try:
        uses = getattr(make(contract, changes), "uses", {})
        found = uses() if callable(uses) else uses
    except Exception:  # the assembly of a client tells
        return {}
    return found if isinstance(found, Mapping) else {}


def refusal(contract: PluginContract, changes: Mapping[str, Any]) -> str | None:
    """How a user is told that these options, beside those of a valid one, cannot be; None if they are taken.

    The text of an installed plugin comes from the assembly of a client.
    """
    name = name_of(contract)
    if contract.name is None:
        try:
            make(contract, changes)
        except Unmade as unmade:
            return f"{name!r}: {unmade}"
        return None
    try:
        Client(contract.url, plugins=[name, "-standard", _Mute()], options={name: given(contract, changes)})
    except ConfigurationError as error:
        return str(error)
    return None


class _Mute:
    """Answers `dial`, so that a client without a dialer can be assembled."""

    @hookimpl
    def dial(self) -> None:
        """Nothing is dialed."""


@functools.cache
def _absent() -> tuple[str, ...]:
    """The standard plugins that are not installed here."""
    entries = Shelf().entries
    return tuple(name for name in STANDARD if name not in entries)


def assemble(
    contract: PluginContract,
    dialer: MemoryDialer,
    *others: object,
    without: tuple[str, ...] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
    changes: Mapping[str, Any] | None = None,
    **arguments: Any,
) -> Client:
    """A client with the plugin, the standard ones and a dialer in memory.

    Args:
        without: standard plugins to leave out, unless they are the one under test or used by it.
        options: of other plugins.
        changes: options of the plugin beside those of a valid one.

    Raises:
        ConfigurationError, Unmade: it cannot be assembled.
    """
    name, absent = name_of(contract), _absent()
    kept = {name, *uses_of(contract, changes)}
    away = [each for each in STANDARD if each in (*absent, *without, "websockets") and each not in kept]
    plugins = [dialer, name if contract.name is not None else make(contract, changes), *others]
    plugins += [Again()] * ("backoff" in absent and name != "backoff")
    own = {name: given(contract, changes)} if contract.name is not None else {}
    return Client(
        contract.url,
        plugins=[*plugins, *(f"-{each}" for each in away)],
        options={**(options or {}), **own},
        **{"proxy": None, **arguments},
    )


def assembled(contract: PluginContract, dialer: MemoryDialer, *others: object, **more: Any) -> Client:
    """The contract's client. Where there is none, this test is left out, since another one tells why."""
    try:
        return contract.client(dialer, *others, **more)
    except (ConfigurationError, Unmade):
        leave_out("no client can be assembled with it, see test_a_client_is_assembled_from_its_options")


def secret_options(contract: PluginContract) -> list[str]:
    """The options whose annotation admits a Secret."""
    return [name for name, option in options_of(contract.plugin).items() if mentions_secret(option.annotation)]
