"""The language of plugin lists, and the order that follows from them: from the user to the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from types import ModuleType
from typing import Any, NamedTuple

from .report import Report

STANDARD = ("websockets", "backoff", "ping", "pong")
"""The group `standard`: enabled unless removed, and behind everything else."""
NAMED = "named"
"""Said by the list itself."""
VARIABLE = "LIBWS_PLUGINS"
"""The environment variable whose names, separated by commas, are appended to every list."""


class Wanted(NamedTuple):
    """What a list and the environment ask for."""

    listed: dict[str, str]
    """Names in their order, each with who said it: "named" or "LIBWS_PLUGINS". Objects stand here by their names."""
    objects: dict[str, Any]
    """The objects of the list by name."""
    removed: dict[str, str]
    """Names to take out, each with who said so, the list before the environment."""

    strings: set[str]
    """What was said by name, not by an object."""

    def asks_for(self, name: str) -> bool:
        """Whether the lists ask for a name, apart from the object that may have it."""
        return name in self.strings or (name in STANDARD and "standard" not in self.removed)

    def tail(self) -> list[str]:
        """The standard plugins that stand at the end: those that the list does not place itself."""
        return [] if "standard" in self.removed else [name for name in STANDARD if name not in self.listed]


def read(plugins: Any, environ: Mapping[str, str], name_of: Callable[[Any], str], report: Report) -> Wanted:
    """Read a list of names, removals and objects, then what the environment adds.

    Args:
        plugins: as users give it; whatever is no list is reported.
        name_of: gives the name of an object.
    """
    wanted = Wanted({}, {}, {}, set())
    for place, item in enumerate(_items(plugins, report)):
        if isinstance(item, str):
            _read_name(item, NAMED, wanted, report)
        elif _is_object(item, f"plugins[{place}]", report):
            name = name_of(item)
            if wanted.objects.setdefault(name, item) is not item:
                kinds = " and ".join(sorted({full_name(type(item)), full_name(type(wanted.objects[name]))}))
                report.plugin(
                    name, f"the list has two objects of this name, of {kinds}", "one client has one of a name"
                )
            wanted.listed.setdefault(name, NAMED)
    for item in environ.get(VARIABLE, "").split(","):
        if item.strip():
            _read_name(item.strip(), VARIABLE, wanted, report)
    return wanted


def _read_name(item: str, who: str, wanted: Wanted, report: Report) -> None:
    name = item.removeprefix("-")
    if not name or name != name.strip():
        report.option(None, f"{who if who == VARIABLE else 'plugins'}: {item!r} is not the name of a plugin")
    elif item != name:
        wanted.removed.setdefault(name, who)
    elif name != "standard":
        wanted.listed.setdefault(name, who)
        wanted.strings.add(name)


def _items(plugins: Any, report: Report) -> Iterable[Any]:
    if isinstance(plugins, str):
        cure = f"write [{', '.join(repr(name.strip()) for name in plugins.split(','))}]"
        report.option(None, f"plugins: expected a list of names and objects, got str {plugins!r}", cure)
    elif isinstance(plugins, Mapping):
        report.option(None, "plugins: expected a list of names and objects, got a mapping", "options go into `options`")
    elif isinstance(plugins, Set):
        report.option(None, "plugins: expected a list of names and objects, got a set", "a set has no order")
    elif not isinstance(plugins, Iterable) or isinstance(plugins, bytes | bytearray):
        report.option(None, f"plugins: expected a list of names and objects, got {type(plugins).__name__}")
    else:
        return plugins
    return ()


def _is_object(item: Any, place: str, report: Report) -> bool:
    if isinstance(item, type):
        report.plugin(None, f"{place} is the class {full_name(item)}, not an object of it", f"write {item.__name__}()")
    elif isinstance(item, ModuleType):
        report.plugin(None, f"{place} is the module {item.__name__}", "name the plugin, or pass an object of its class")
    elif item is None or isinstance(item, bytes | bytearray | int | float | Mapping | Sequence | Set):
        report.plugin(None, f"{place}: expected the name of a plugin or an object, got {type(item).__name__}")
    else:
        return True
    return False


def full_name(cls: type) -> str:
    """A class with its module, for texts."""
    return f"{cls.__module__}.{cls.__qualname__}"


def circle(start: str, graph: Mapping[str, Iterable[str]]) -> list[str] | None:
    """A way along the arrows of `graph` that ends where it starts, None if there is none."""
    paths, seen = [[start]], set[str]()
    while paths:
        path = paths.pop()
        for name in graph.get(path[-1], ()):
            if name == start:
                return [*path, start]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None


def arrange(
    listed: Sequence[str],
    tail: Sequence[str],
    uses: Mapping[str, Sequence[str]],
    behind: Mapping[str, Sequence[str]],
    report: Report,
) -> list[str]:
    """Put the enabled plugins into order.

    A plugin that is only used stands directly behind the last of its users, in their mapping's order. What the list
    names keeps its place, unless that is in front of a user of it, or of something that its class wants to follow.

    Args:
        listed: enabled names in the order of the list.
        tail: standard ones that the list does not name.
        uses: plugin -> those that it uses, in its mapping's order, without circles.
        behind: plugin -> those that it wants to stand behind; names that are not enabled do not count.
    """
    users: dict[str, list[str]] = {}
    for user, names in uses.items():
        for name in names:
            users.setdefault(name, []).append(user)
    children: dict[str, list[str]] = {}
    sequence = [*listed, *tail]
    waiting = [name for name in users if name not in sequence]
    while waiting:
        # One whose users all have their places; there always is one, since `uses` has no circles.
        name = next(name for name in waiting if not any(user in waiting for user in users[name]))
        waiting.remove(name)
        last = max(users[name], key=sequence.index)
        children.setdefault(last, []).append(name)
        children[last].sort(key=list(uses[last]).index)
        sequence = _walk([*listed, *tail], children)
    before = {name: {other for other in behind.get(name, ()) if other in sequence} for name in sequence}
    for name, own in users.items():
        before[name].update(own)
    return _sort(sequence, before, report)


def _walk(roots: Iterable[str], children: Mapping[str, Sequence[str]]) -> list[str]:
    found = []
    for root in roots:
        found += [root, *_walk(children.get(root, ()), children)]
    return found


def _sort(sequence: Sequence[str], before: Mapping[str, set[str]], report: Report) -> list[str]:
    """The same names with each behind those in `before`, otherwise as they were."""
    waiting, done = list(sequence), list[str]()
    while waiting:
        name = next((name for name in waiting if before[name].issubset(done)), None)
        if name is None:
            name = next(name for name in waiting if circle(name, before))
            way = " behind ".join(map(repr, circle(name, before) or ()))
            report.plugin(name, f"cannot stand behind itself: {way}")
            return done + waiting
        waiting.remove(name)
        done.append(name)
    return done
