"""What the import of a plugin does, seen in fresh interpreters: one says what else it loads, the other one watches.

What the plugin imports from elsewhere is loaded before, so that it answers for its own code alone.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ...plugins import Entry, Shelf
from .verdict import broken

__all__ = ["Seen", "look", "undeclared"]

PATIENCE = 60.0
"""Seconds that an interpreter may take."""

KEPT = frozenset(
    [
        *["PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "VIRTUAL_ENV", "TMPDIR"],
        *["SYSTEMROOT", "TEMP", "TMP", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "PATHEXT", "WINDIR"],
    ]
)
"""Of the environment, what an interpreter needs: anything else may be the doing of the very import."""
PROGRAM = str(Path(__file__).with_name("watching.py"))


class Seen(NamedTuple):
    """What an import did."""

    done: Sequence[str]
    """What it did beside defining things, in words."""
    loaded: Sequence[str]
    """The modules that it loaded."""


def look(plugin: type) -> Seen:
    """Import a plugin's module in fresh interpreters."""
    try:
        file = inspect.getsourcefile(plugin) or ""
    except (TypeError, OSError):
        file = ""
    return _look(plugin.__module__, file)


@functools.cache
def _look(module: str, file: str) -> Seen:
    loaded = _run([module, file, None])
    package = module.partition(".")[0]
    mine = {package, *_packages()}
    foreign = [each for each in loaded if each != module and each.partition(".")[0] not in mine and each != "__main__"]
    return Seen(_run([module, file, ["libws_core", *foreign]]), loaded)


def _run(what: list[Any]) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name.upper() in KEPT}
    environment["PYTHONPATH"] = os.pathsep.join(place for place in sys.path if place)
    done = subprocess.run(
        [sys.executable, "-P", PROGRAM, json.dumps(what)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment,
    )
    if done.returncode != 0:
        broken(f"{what[0]} cannot be imported in a fresh interpreter:\n{done.stderr}")
    found: list[str] = json.loads(done.stdout)
    return found


def _packages() -> dict[str, Entry]:
    """The packages of all plugins that are installed."""
    entries = [entry for found in Shelf().entries.values() for entry in found]
    return {entry.point.value.partition(":")[0].partition(".")[0].strip(): entry for entry in entries}


def undeclared(plugin: type) -> list[str]:
    """The plugins that the import of this one brings, and that its distribution does not depend on."""
    packages = _packages()
    mine = plugin.__module__.partition(".")[0]
    allowed = {mine}
    if mine in packages:
        waiting = [packages[mine].distribution]
        by_name = {normal(entry.distribution): (package, entry) for package, entry in packages.items()}
        while waiting:
            for need in needs(by_name[normal(waiting.pop())][1]):
                if need in by_name and by_name[need][0] not in allowed:
                    allowed.add(by_name[need][0])
                    waiting.append(need)
    loaded = {name.partition(".")[0] for name in look(plugin).loaded}
    return sorted(str(packages[name]) for name in loaded & {*packages} - allowed)


def needs(entry: Entry) -> set[str]:
    """The distributions that a plugin's distribution depends on, without those of extras."""
    found = getattr(entry.point.dist, "requires", None) or []
    plain = [need for need in found if "extra ==" not in need.partition(";")[2]]
    return {normal(name_of_requirement(need)) for need in plain}


def name_of_requirement(need: str) -> str:
    """The name that a requirement begins with."""
    end = next((place for place, char in enumerate(need) if not (char.isalnum() or char in "-_.")), len(need))
    return need[:end]


def normal(distribution: str) -> str:
    """A distribution's name as installers compare names."""
    return distribution.replace("_", "-").replace(".", "-").lower()
