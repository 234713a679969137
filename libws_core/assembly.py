"""Which plugins are enabled, with which options, and the making of them."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import order
from .binding import brings_others
from .conversion import mentions_secret, shown
from .options import configure, options_of
from .report import Report, closest, did_you_mean
from .secret import Secret

if TYPE_CHECKING:
    from .plugins import Entry, Shelf

Layer = tuple[str, Mapping[str, Mapping[str, Any]]]
"""Options from one place: its name for people, and plugin -> option -> value."""
OFFICIAL = frozenset(
    [
        *["websockets", "picows", "backoff", "ping", "pong", "auth", "log", "watchdog", "reopen", "dedupe"],
        *["subscriptions", "outbox", "ratelimit", "governor", "endpoints", "http", "codec", "requests", "record"],
        *["replay", "otel", "binance", "binance-api", "discord", "socketio", "graphql", "jupyter", "ocpp"],
    ]
)
"""Plugins whose distribution is known: libws-NAME, but for those of `HOMES`."""
HOMES = {"binance-api": "binance"}
"""Official plugins that come with the distribution of another one."""
PROVIDERS = frozenset(["binance", "binance-api", "discord", "socketio", "graphql", "jupyter", "ocpp"])
"""The official ones that may bring others along."""
DIALERS = frozenset(["websockets", "picows", "replay"])
"""The official ones that answer `dial`."""


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """One enabled plugin of a plan."""

    name: str
    plugin: Any = dataclasses.field(repr=False)
    """The client's own instance."""
    distribution: str | None
    """Such as "libws-backoff 0.1.0"; None for an object of the list."""
    because: str
    """Why it is enabled: "standard", "named", "LIBWS_PLUGINS" or "used by binance"."""
    options: Mapping[str, tuple[Any, str]] = dataclasses.field(repr=False)
    """Option -> its value, and where that came from: "default", "used by X", "profile FILE", "options" or "object"."""


class Assembly:
    """Works out which plugins are enabled, with which options, and makes them.

    Args:
        layers: options in rising precedence.
        shelf: what is installed.
    """

    def __init__(self, wanted: order.Wanted, layers: Sequence[Layer], shelf: Shelf, report: Report) -> None:
        self.wanted, self.layers, self.shelf, self.report = wanted, layers, shelf, report
        self.because = {**wanted.listed, **dict.fromkeys(wanted.tail(), "standard")}
        """The enabled names, each with why; empty for those that others bring."""
        for name in wanted.removed:
            self.because.pop(name, None)
        self.roots = list(self.because)
        self.classes: dict[str, type] = {}
        self.entries: dict[str, Entry] = {}
        self.parts: dict[str, Part] = {}
        self.reports: dict[str, Report] = {}
        self.uses: dict[str, dict[str, Mapping[str, Any]]] = {}
        """Plugin -> those that it uses -> the options that it gives them."""
        self.offered: set[str] = set()
        """Every name that some `uses` had, also those taken out."""

    def run(self) -> list[Part]:
        """Make every enabled plugin; gives them in order, from the user to the wire."""
        self.load(self.because)
        self.expand()
        reachable = self.reachable()
        self.because = {name: why for name, why in self.because.items() if name in reachable}
        for name in self.because:
            if name in self.classes and name not in self.reports:
                self.make(name)
        for name in self.because:
            if name in self.reports:
                self.report.merge(self.reports[name])
        self.check_objects()
        self.check_removals()
        self.check_layers()
        names = order.arrange(
            [name for name in self.wanted.listed if name in self.because],
            [name for name in self.wanted.tail() if name in self.because],
            {user: [*names] for user, names in self.uses.items() if user in self.because},
            {name: self.behind(name) for name in self.because if name in self.classes},
            self.report,
        )
        return [self.parts[name] for name in names if name in self.parts]

    def load(self, names: Iterable[str]) -> None:
        """Get the classes of names; those of the list's objects are there already."""
        missing = []
        for name in names:
            if name in self.wanted.objects:
                self.classes[name] = type(self.wanted.objects[name])
            else:
                missing.append(name)
        for name, (entry, cls) in self.shelf.load(missing, self.report).items():
            self.entries[name], self.classes[name] = entry, cls

    def expand(self) -> None:
        """Make the plugins that bring others along, until nothing new is brought.

        One of them is made again when another gives it options; all other plugins are made once, when this is done.
        """
        waiting = deque(self.because)
        while waiting:
            name = waiting.popleft()
            if name not in self.classes or not self.brings_others(name):
                continue
            self.make(name)
            self.uses[name] = self.read_uses(name) if name in self.parts else {}
            for used in self.uses[name]:
                if used not in self.because:
                    self.because[used] = ""
                    self.load([used])
                waiting.append(used)

    def brings_others(self, name: str) -> bool:
        """Whether a plugin may have `uses`."""
        return brings_others(self.wanted.objects.get(name, self.classes[name]))

    def read_uses(self, name: str) -> dict[str, Mapping[str, Any]]:
        """What a plugin uses, without what the lists take out and what would go round in a circle."""
        report = self.reports[name]
        try:
            uses = self.parts[name].plugin.uses
            uses = uses() if callable(uses) else uses
        except Exception as error:
            values = {option: value for option, (value, _) in self.parts[name].options.items()}
            report.plugin(name, f"its `uses` raised {type(error).__name__}: {_without_secrets(error, values)}")
            return {}
        if inspect.iscoroutine(uses):
            uses.close()
        if not _is_nested(uses):
            report.plugin(name, f"its `uses` gives {type(uses).__name__}", "it must give plugin -> option -> value")
            return {}
        self.offered.update(uses)
        found: dict[str, Mapping[str, Any]] = {}
        for used, options in uses.items():
            if used in self.wanted.removed:
                continue
            way = order.circle(name, {**self.uses, name: [used]})
            if way is None:
                found[used] = options
            else:
                report.plugin(name, f"uses itself: {' uses '.join(map(repr, way))}")
        return found

    def reachable(self) -> set[str]:
        """What the lists name, and what that uses now."""
        found, waiting = set[str](), [*self.roots]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.uses.get(name, ())
        return found

    def users(self, name: str) -> list[str]:
        """Those that use a plugin."""
        return [user for user, names in self.uses.items() if name in names]

    def make(self, name: str) -> None:
        """Make a plugin with the options that are known now, and note what is wrong with them."""
        report = self.reports[name] = Report()
        self.parts.pop(name, None)
        because = self.because[name] or f"used by {', '.join(self.users(name))}"
        if name in self.wanted.objects:
            self.take_object(name, because, report)
            return
        cls = self.classes[name]
        configured = configure(cls, self.given(name, report))
        for text, cure in configured.problems:
            report.option(name, text, cure)
        if not report.problems:
            values = {option: value for option, (value, _) in configured.origins.items()}
            made = _construct(name, "could not be made", lambda: cls(**configured.arguments), values, report)
            if not report.problems:
                self.parts[name] = Part(name, made, sys.intern(str(self.entries[name])), because, configured.origins)

    def take_object(self, name: str, because: str, report: Report) -> None:
        """Copy an object of the list if it is a dataclass, so that every client has its own."""
        plugin = self.wanted.objects[name]
        origins: dict[str, tuple[Any, str]] = {}
        if _is_copied(type(plugin)):
            options = options_of(type(plugin))
            values = {option: getattr(plugin, option, about.default) for option, about in options.items()}
            given = {option: value for option, value in values.items() if value is not options[option].default}
            configured = configure(type(plugin), {option: (value, "object") for option, value in given.items()})
            for text, cure in configured.problems:
                report.option(name, text, cure)
            # What needs no conversion stays the very object that the user gave.
            changes = {
                option: value
                for option, value in configured.arguments.items()
                if type(value) is not type(given[option]) or not _same(value, given[option])
            }
            origins = {option: (value, "object") for option, value in {**values, **changes}.items()}
            if not report.problems:
                original = plugin
                plugin = _construct(
                    name,
                    "its object cannot be copied",
                    lambda: dataclasses.replace(original, **changes),
                    {**values, **changes},
                    report,
                )
        if not report.problems:
            self.parts[name] = Part(name, plugin, None, because, origins)

    def given(self, name: str, report: Report) -> dict[str, tuple[Any, str]]:
        """The options of a plugin that somebody gave, merged one by one: `uses`, then the layers in their order."""
        merged: dict[str, tuple[Any, str]] = {}
        layered: dict[str, tuple[Any, str]] = {}
        for source, layer in self.layers:
            layered |= {option: (value, source) for option, value in layer.get(name, {}).items()}
        for user in self.users(name):
            for option, value in self.uses[user][name].items():
                if option not in merged or option in layered:
                    merged[option] = (value, f"used by {user}")
                    continue
                first, source = merged[option]
                if _same(first, value):
                    merged[option] = (first, f"{source}, {user}")
                else:
                    about = options_of(self.classes[name]).get(option)
                    hidden = about is not None and mentions_secret(about.annotation)
                    one, two = ("***", "another") if hidden else (shown(first), shown(value))
                    text = f"option {option!r}: {source.removeprefix('used by ')} wants {one}, {user} wants {two}"
                    report.option(name, text, "decide it in your own options")
        return merged | layered

    def behind(self, name: str) -> tuple[str, ...]:
        """The names that a plugin's class wants to stand behind."""
        names = getattr(self.classes[name], "behind", ())
        if isinstance(names, list | tuple):
            return tuple(names)
        self.report.plugin(name, f"its `behind` is {type(names).__name__}", 'give a tuple of names, such as ("codec",)')
        return ()

    def check_objects(self) -> None:
        """Objects that have the name of another plugin, which is asked for as well."""
        for name, plugin in self.wanted.objects.items():
            if name in self.because and (self.wanted.asks_for(name) or self.users(name)):
                other = self.shelf.other_than(name, type(plugin))
                if other:
                    text = f"the list has an object of {order.full_name(type(plugin))}, but {other} provides this name"
                    self.report.plugin(name, text, "give the class another name")

    def check_removals(self) -> None:
        """Names that the list takes out though nobody brings them."""
        if not self.knows_all():
            return
        brought = {*self.wanted.listed, *self.offered}
        if self.wanted.removed.get("standard") != order.NAMED:
            brought.update(order.STANDARD, ["standard"])
        for name, who in self.wanted.removed.items():
            if who == order.NAMED and name not in {*brought, "standard"}:
                meant = did_you_mean(name, self.because)
                self.report.option(name, f"'-{name}' takes out what is not enabled", meant)

    def check_layers(self) -> None:
        """Options for plugins that are not enabled, or that are complete objects."""
        for source, layer in self.layers:
            for name, options in layer.items():
                if name in self.because:
                    if name in self.wanted.objects and options:
                        text = f"has options in {source}, but the list has an object of it, which is complete"
                        self.report.option(name, text, "set them on the object")
                elif name in self.wanted.removed:
                    if self.wanted.removed[name] == order.NAMED:
                        self.report.option(name, f"has options in {source}, but '-{name}' takes it out")
                elif name in order.STANDARD and self.wanted.removed.get("standard") == order.VARIABLE:
                    pass
                elif self.knows_all():
                    cure = did_you_mean(name, self.because) or f"add {name!r} to the plugins"
                    self.report.option(name, f"has options in {source}, but is not enabled", cure)

    def knows_all(self) -> bool:
        """Whether every plugin that may bring others along could be asked what it brings."""
        alone = OFFICIAL - PROVIDERS
        for name in self.because:
            if name not in self.classes:
                if name not in alone and closest(name, OFFICIAL) not in alone:
                    return False
            elif self.brings_others(name) and name not in self.parts:
                return False
        return True

    def may_dial(self) -> bool:
        """Whether a plugin that could not be made would probably answer `dial`."""
        return any(
            name in DIALERS or hasattr(self.classes.get(name), "dial")
            for name in self.because
            if name not in self.parts
        )


def _construct(name: str, what: str, build: Callable[[], Any], values: Mapping[str, Any], report: Report) -> Any:
    """Call a plugin's constructor. A ValueError is about the options, anything else about the plugin."""
    try:
        return build()
    except ValueError as error:
        report.option(name, _without_secrets(error, values))
    except Exception as error:
        report.plugin(name, f"{what}: {type(error).__name__}: {_without_secrets(error, values)}")
    return None


def _without_secrets(error: BaseException, values: Mapping[str, Any]) -> str:
    text = str(error)
    for secret in _secrets(values):
        text = text.replace(secret, "***")
    return text


def _secrets(value: Any) -> Iterator[str]:
    if isinstance(value, Secret) and value:
        yield value.reveal()
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secrets(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(item)


def _is_copied(cls: type) -> bool:
    """Whether `dataclasses.replace` makes another one: its constructor is that of a dataclass."""
    maker = next(base for base in cls.__mro__ if "__init__" in vars(base))
    parameters = vars(maker).get("__dataclass_params__")
    return parameters is not None and parameters.init


def _is_nested(uses: Any) -> bool:
    return isinstance(uses, Mapping) and all(
        isinstance(name, str) and isinstance(options, Mapping) for name, options in uses.items()
    )


def _same(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:
        return False  # such as arrays, which compare item by item
