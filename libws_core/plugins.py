"""From names to a plan: find and load plugins, then configure, order and bind them.

importlib_metadata finds, stevedore loads, pluggy checks the hooks, the core calls. Installed is not enabled: only
plugins that are asked for are imported. Everything that is wrong is told at once. What is installed is looked at for
each plan, but read again only where it has changed.
"""

from __future__ import annotations

import inspect
import itertools
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import importlib_metadata
from pluggy import PluginManager
from stevedore.named import NamedExtensionManager

from . import hookspecs, order
from .assembly import HOMES, OFFICIAL, Assembly, Layer, Part
from .binding import Hook, bind, flaws_of, hooks_of, new_manager
from .errors import Problem
from .kept import Kept, Watch
from .options import Documented, document
from .report import Report, did_you_mean

__all__ = ["Candidate", "Description", "Hook", "Part", "Plan", "assemble", "describe", "installed"]


@dataclass(frozen=True, eq=False, slots=True)
class Plan:
    """The plugins of one client, in order, and who answers which hook."""

    parts: tuple[Part, ...]
    """The enabled plugins, from the user to the wire."""
    hooks: Mapping[str, tuple[Hook, ...]]
    """Every hook of `hookspecs` with its answers in the order of asking; empty if there are none."""

    def plugin(self, which: type | str) -> Any:
        """The instance of a plugin, by its name, its class or a class that it derives from.

        Raises:
            LookupError: none that is enabled fits.
        """
        for part in self.parts:
            if part.name == which or type(part.plugin) is which:
                return part.plugin
        for part in self.parts:
            if isinstance(which, type) and isinstance(part.plugin, which):
                return part.plugin
        asked = repr(which) if isinstance(which, str) else getattr(which, "__qualname__", type(which).__name__)
        raise LookupError(f"no plugin {asked} is enabled; enabled: {', '.join(part.name for part in self.parts)}")


class Candidate(NamedTuple):
    """An installed plugin, for the table of `libws plugins`."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    state: str
    """One of "ok", "broken" (cannot be used), "conflict" (claimed twice), "old" and "new" (for another hook API)."""
    reason: str | None = None
    cls: type | None = None


class Description(NamedTuple):
    """One plugin, for `libws plugins NAME`."""

    name: str
    distribution: str
    version: str
    doc: str
    hooks: tuple[str, ...]
    options: tuple[Documented, ...]


def assemble(
    plugins: Iterable[str | object],
    layers: Sequence[Layer] = (),
    *,
    problems: Sequence[Problem] = (),
    environ: Mapping[str, str] | None = None,
) -> Plan:
    """Make the plan of a client: its own instances of the plugins, in order, and who answers which hook.

    Args:
        plugins: names, removals such as "-pong", and objects, from the user to the wire.
        layers: options in rising precedence, each with the name of its source, such as ("options", {...}).
        problems: what the caller has found already; told first.
        environ: the environment, for LIBWS_PLUGINS; None takes that of the process.

    Raises:
        ConfigurationError: a PluginError if anything is wrong with finding, loading or using a plugin, else an
            OptionError. It tells every problem; the first import error is its cause.
    """
    report = Report(problems)
    shelf = Shelf()
    wanted = order.read(plugins, os.environ if environ is None else environ, shelf.name_of, report)
    assembly = Assembly(wanted, [_checked_layer(source, layer, report) for source, layer in layers], shelf, report)
    parts = assembly.run()
    hooks = bind([(part.name, part.plugin, part.distribution) for part in parts], report)
    if not hooks["dial"] and not assembly.may_dial():
        report.plugin(None, "no plugin answers dial()", "enable one, e.g. 'websockets'")
    if report.problems:
        report.fail("cannot assemble the client:")
    return Plan(tuple(parts), hooks)


def _checked_layer(source: str, layer: Any, report: Report) -> Layer:
    checked: dict[str, Mapping[str, Any]] = {}
    if layer is not None and not isinstance(layer, Mapping):
        report.option(None, f"{source}: expected a mapping from plugin to its options, got {type(layer).__name__}")
        return source, checked
    for name, options in (layer or {}).items():
        if not isinstance(name, str):
            report.option(None, f"{source}: expected the name of a plugin, got {type(name).__name__}")
        elif not isinstance(options, Mapping) or not all(isinstance(option, str) for option in options):
            text = f"expected a mapping from option to value in {source}, got {type(options).__name__}"
            report.option(name, text)
        else:
            checked[name] = options
    return source, checked


def installed() -> list[Candidate]:
    """Every plugin that is installed, for any hook API. Imports those for this core's; never raises."""
    shelf, manager = Shelf(), new_manager()
    found = [Candidate("?", name, "", (), "broken", reason) for name, reason in shelf.unreadable]
    for name, entries in shelf.entries.items():
        report = Report()
        loaded = shelf.load([name], report)
        for entry in entries:
            cls = loaded[name][1] if loaded else None
            hooks = _hooks(cls, manager) if cls else ()
            if cls:
                # An empty one shows its methods; making a real one is for those who enable it.
                for _, text, cure in flaws_of(object.__new__(cls), manager, str(entry)):
                    report.plugin(name, text, cure)
            reason = "; ".join(problem.text for problem in report.problems)
            state = "conflict" if entries[1:] else "broken" if reason else "ok"
            found.append(Candidate(name, entry.distribution, entry.version, hooks, state, reason or None, cls))
    for name, entries in shelf.others.items():
        speaking = {entry.distribution for entry in shelf.entries.get(name, ())}
        for entry in entries:
            if entry.distribution not in speaking:
                state = "old" if entry.api < hookspecs.API else "new"
                found.append(Candidate(name, entry.distribution, entry.version, (), state, entry.other_api()))
    return sorted(found, key=lambda each: (each.name, each.distribution))


def _hooks(cls: type, manager: PluginManager) -> tuple[str, ...]:
    return tuple(sorted({each.hook for each in hooks_of(cls, manager)}))


def describe(name: str) -> Description:
    """What an installed plugin does: its docstring, hooks, and options with their docs and defaults.

    Raises:
        PluginError: it is not installed or cannot be loaded; the text says why, as for a client.
    """
    report = Report()
    loaded = Shelf().load([name], report)
    if not loaded:
        report.fail("cannot describe the plugin:")
    entry, cls = loaded[name]
    hooks = _hooks(cls, new_manager())
    doc = inspect.cleandoc(cls.__doc__ or "")
    return Description(name, entry.distribution, entry.version, doc, hooks, document(cls))


class Entry(NamedTuple):
    """An entry point of a distribution. stevedore takes it for one of its own kind."""

    name: str
    api: int
    distribution: str
    version: str
    point: Any

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"

    def load(self) -> Any:
        """Import what the entry point names."""
        try:
            return self.point.load()
        except (AssertionError, SystemExit) as error:  # stevedore hands these two on to whoever asked
            raise _ImportFailed(error) from error

    def leads_to(self, cls: type) -> bool:
        """Whether this is the entry point of a class, found out without importing anything."""
        module, _, attribute = (part.strip() for part in self.point.value.partition("[")[0].partition(":"))
        if (module, attribute) == (cls.__module__, cls.__qualname__):
            return True
        found: Any = sys.modules.get(module)
        for name in attribute.split("."):
            found = vars(found).get(name) if hasattr(found, "__dict__") else None
        return found is cls

    def other_api(self) -> str:
        """What is wrong with an entry point for another version of the hook API."""
        return f"{self} is written for libws.v{self.api}, this core speaks {hookspecs.GROUP}"


class _ImportFailed(Exception):
    """Carries what a plugin's import raised past stevedore."""


class _Loader(NamedExtensionManager[Any]):
    """stevedore over entry points that were read just now; its own cache on the disk misses re-installed plugins."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self.failures: dict[str, BaseException] = {}
        super().__init__(
            hookspecs.GROUP,
            [entry.name for entry in entries],
            on_load_failure_callback=self.note,
            on_missing_entrypoints_callback=None,
        )

    def list_entry_points(self) -> list[Any]:
        return list(self.entries)

    def note(self, _: Any, entry: Any, error: BaseException) -> None:
        self.failures[entry.name] = error.args[0] if isinstance(error, _ImportFailed) else error


class Offer(NamedTuple):
    """What one distribution offers."""

    distribution: str
    """Its name as installers compare names."""
    entries: Sequence[Entry]
    """For whichever hook API."""
    flaw: str | None = None
    """Why its entry points cannot be read."""


def _offers_in(place: str, watch: Watch) -> list[Offer]:
    """What the distributions in one entry of `sys.path` offer."""
    importlib_metadata.MetadataPathFinder.invalidate_caches()  # it trusts times of directories that are too young
    offers = []
    for distribution in importlib_metadata.distributions(path=[place]):
        try:
            offer = _read(distribution, watch)
        except Exception as error:  # a broken distribution is the business of nobody who does not name it
            path = getattr(distribution, "_path", None)
            offer = Offer(getattr(path, "name", "a distribution"), (), f"{type(error).__name__}: {error}")
        if offer is not None:
            offers.append(offer)
    return offers


def _read(distribution: Any, watch: Watch) -> Offer | None:
    path = getattr(distribution, "_path", None)
    watch(path and os.path.join(str(path), "entry_points.txt"))
    if "libws.v" not in (distribution.read_text("entry_points.txt") or ""):
        return None
    watch(path and os.path.join(str(path), "METADATA"))
    metadata = distribution.metadata
    name, version = metadata["Name"], metadata["Version"]
    found: dict[tuple[str, str, str], Entry] = {}
    for point in distribution.entry_points:
        group = re.fullmatch(r"libws\.v(\d+)", point.group)
        if group:
            found[point.group, point.name, point.value] = Entry(point.name, int(group[1]), name, version, point)
    return Offer(re.sub(r"[-_.]+", "-", name).lower(), tuple(found.values()))


_offers = Kept(_offers_in)


def _path() -> list[str]:
    """The entries of `sys.path`, each once; a relative one means another place when the working directory changes."""
    try:
        return [*dict.fromkeys(os.path.abspath(place) for place in sys.path if isinstance(place, str))]
    except OSError:  # the working directory is gone
        return [*dict.fromkeys(place for place in sys.path if isinstance(place, str) and os.path.isabs(place))]


class Shelf:
    """What is installed now: the entry points of all groups `libws.v*`."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        """Those for this core's hook API by name; several of one name are a conflict."""
        self.others: dict[str, list[Entry]] = {}
        """Those for other versions of it."""
        self.unreadable: list[tuple[str, str]] = []
        """Distributions whose entry points cannot be read, each with the reason."""
        # A distribution may stand on the path twice, as editable installs leave it: Python imports the first.
        seen: set[str] = set()
        for offer in itertools.chain.from_iterable(_offers.of(_path(), sys.meta_path[:])):
            if offer.flaw is not None:
                self.unreadable.append((offer.distribution, offer.flaw))
            elif offer.distribution not in seen:
                seen.add(offer.distribution)
                for entry in offer.entries:
                    shelf = self.entries if entry.api == hookspecs.API else self.others
                    shelf.setdefault(entry.name, []).append(entry)

    def find(self, name: str, report: Report) -> Entry | None:
        """The one entry point of this name; None if there is no such one, and the report says why."""
        entries, others = self.entries.get(name, []), self.others.get(name, [])
        if len(entries) == 1:
            return entries[0]
        if entries:
            claims = " and ".join(sorted(map(str, entries)))
            report.plugin(name, f"claimed by {claims}", "uninstall one, or pass the object itself")
        elif others:
            other = max(others, key=lambda entry: entry.api)
            stale = other.distribution if other.api < hookspecs.API else "libws-core"
            report.plugin(name, other.other_api(), f"try: pip install -U {stale}")
        else:
            meant = None if name in OFFICIAL else did_you_mean(name, [*self.entries, *OFFICIAL, "standard"])
            unknown = f"install the package that provides the {hookspecs.GROUP} plugin {name!r}"
            cure = f"try: pip install libws-{HOMES.get(name, name)}" if name in OFFICIAL else meant or unknown
            report.plugin(name, f"not installed in {_python()}", cure)
        return None

    def load(self, names: Iterable[str], report: Report) -> dict[str, tuple[Entry, type]]:
        """Import the plugins of these names; what is missing or broken is reported and left out."""
        reports = {name: Report() for name in names}
        entries = {name: entry for name in reports if (entry := self.find(name, reports[name]))}
        loader = _Loader([*entries.values()])
        loaded = {extension.name: extension.plugin for extension in loader}
        found = {}
        for name, own in reports.items():
            error, cls = loader.failures.get(name), loaded.get(name)
            if error is not None:
                text = f"{entries[name]} could not be imported: {type(error).__name__}: {error}"
                own.plugin(name, text, cause=error)
            elif isinstance(cls, type):
                found[name] = (entries[name], cls)
            elif name in entries:
                own.plugin(name, f"{entries[name]} offers {entries[name].point.value}, which is not a class")
            report.merge(own)
        return found

    def name_of(self, plugin: Any) -> str:
        """The name of an object: that under which its class is installed, else one made from the class's own."""
        cls = type(plugin)
        name = name_by_rule(cls)
        names = [each for each, entries in self.entries.items() if any(entry.leads_to(cls) for entry in entries)]
        return name if name in names or not names else min(names)

    def other_than(self, name: str, cls: type) -> str | None:
        """Who provides another plugin of this name than `cls`; None if nobody does."""
        entries = self.entries.get(name, [])
        return str(entries[0]) if entries and not any(entry.leads_to(cls) for entry in entries) else None


def name_by_rule(cls: type) -> str:
    """The name of a plugin's class by the rule that names everything: class `RateLimit`, plugin `rate-limit`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__.strip("_"))
    return words.replace("_", "-").lower()


def _python() -> str:
    """The interpreter, as short as the working directory allows."""
    try:
        return str(Path(sys.executable).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return sys.executable or "this Python"
