"""Keep the distributions in step: `make version V=0.2.0`, or `make version` to leave the version as it is.

The core's pyproject.toml is the one place for what all share: version, licence, authors, Python versions, classifiers.
This gives it to each plugin, puts the licence and the links beside it, and, with a version, sets that one everywhere.
What is right already stays as it is, so a second run changes nothing.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parent.parent
SHARED = ("version", "license", "license-files", "authors", "requires-python", "classifiers")
"""Keys of [project] that each plugin has from the core."""
ORDER = ("name", "version", "description", "readme", *SHARED[1:5], "keywords", "classifiers", "dependencies")
"""How the keys of [project] stand in a plugin's pyproject.toml."""
KEY = re.compile(r"^([\w-]+) = (?:\[\n(?:[ #].*\n)*\]|.*)\n", re.M)
"""A key of a table with its value, on one line or on several."""
MEASURED = "performance.md"
"""The page whose versions are those that were measured."""


class Misfit(Exception):
    """A file that does not have the shape that is edited here."""


def sections(path: Path) -> dict[str, str]:
    """The tables of a TOML file, by their header, in order."""
    head, *pieces = re.split(r"^(?=\[)", path.read_text("utf-8"), flags=re.M)
    if head:
        raise Misfit(f"{path}: begins with {head.splitlines()[0]!r}, not with a table")
    return {piece.partition("\n")[0]: piece.partition("\n")[2].rstrip("\n") + "\n" for piece in pieces}


def keys(path: Path, table: str) -> dict[str, str]:
    """The keys of [project], each with its lines."""
    if KEY.sub("", table):
        raise Misfit(f"{path}: [project] has more than keys: {KEY.sub('', table).splitlines()[0]!r}")
    return {found[1]: found[0] for found in KEY.finditer(table)}


def urls(distribution: str) -> str:
    """Where a distribution, the whole it is part of, and its sources are found."""
    core = "https://pypi.org/project/libws-core/"
    return (
        f'Homepage = "{core}"\n'
        f'Documentation = "{core}#description"\n'
        f'Changelog = "{core}#description"\n'
        f'Source = "https://pypi.org/project/{distribution}/#files"\n'
    )


def write(path: Path, text: str) -> None:
    """Write a file that differs, and say so."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
        print(path.relative_to(ROOT))


def set_version(version: str) -> None:
    """Set the core's version where it stands, and in what the pages show of `libws`."""
    old = keys(ROOT, sections(ROOT / "pyproject.toml")["[project]"])["version"].split('"')[1]
    for path, before, after in [
        (ROOT / "pyproject.toml", f'\nversion = "{old}"\n', f'\nversion = "{version}"\n'),
        (ROOT / "libws_core" / "__init__.py", f'\n__version__ = "{old}"\n', f'\n__version__ = "{version}"\n'),
    ]:
        text = path.read_text("utf-8")
        if text.count(before) != 1:
            raise Misfit(f"{path}: {before.strip()!r} stands there {text.count(before)} times, not once")
        write(path, text.replace(before, after))
    for page in sorted((ROOT / "docs").glob("*.md")):
        if page.name != MEASURED:
            shown = rf"\b(libws-[a-z-]+) {re.escape(old)}(?![\w.])"
            write(page, re.sub(shown, rf"\g<1> {version}", page.read_text("utf-8")))


def give(folder: Path, core: dict[str, str]) -> None:
    """Give a plugin what all share."""
    path = folder / "pyproject.toml"
    tables = sections(path)
    own = keys(path, tables["[project]"]) | {key: core[key] for key in SHARED}
    if {*own} - {*ORDER}:
        raise Misfit(f"{path}: [project] has a key that no other plugin has: {', '.join({*own} - {*ORDER})}")
    changed: dict[str, str] = {}
    for header, table in tables.items():
        if header == "[project]":
            changed[header] = "".join(own[key] for key in ORDER if key in own)
            changed["[project.urls]"] = urls(own["name"].split('"')[1])
        elif header not in ("[project.urls]", "[tool.hatch.build.targets.sdist]"):
            changed[header] = table
    changed["[tool.hatch.build.targets.sdist]"] = 'only-include = ["src", "LICENSE", "README.md"]\n'
    write(path, "\n".join(f"{header}\n{table}" for header, table in changed.items()))
    write(folder / "LICENSE", (ROOT / "LICENSE").read_text("utf-8"))


def main(arguments: list[str]) -> int:
    """The exit code."""
    try:
        if arguments:
            set_version(str(Version(arguments[0])))
        core = keys(ROOT / "pyproject.toml", sections(ROOT / "pyproject.toml")["[project]"])
        for path in sorted((ROOT / "libws_plugins").glob("*/pyproject.toml")):
            give(path.parent, core)
    except InvalidVersion:
        print(f"{arguments[0]!r} is no version; say make version V=1.2.3", file=sys.stderr)
        return 2
    except Misfit as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
