"""A folder of wheels from which pip installs without a network: our own built, those of others packed as they are here.

So an environment can be made by the very commands that a page shows, and gets the versions of constraints.txt.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.tags import parse_tag, sys_tags
from packaging.utils import canonicalize_name

BUILD = """
import os, sys
from hatchling.build import build_wheel
for root in sys.argv[2:]:
    os.chdir(root)
    build_wheel(sys.argv[1])
"""
OF_INSTALLERS = ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")
"""What an installer leaves beside a distribution's metadata."""


def build(roots: Iterable[Path], folder: Path) -> None:
    """Build the wheels of projects with hatchling."""
    command = [sys.executable, "-c", BUILD, str(folder), *map(str, roots)]
    subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)


def closure(needs: Iterable[str]) -> Iterator[importlib.metadata.Distribution]:
    """The installed distributions that some requirements need, and those that these need, with their extras."""
    waiting, seen = [Requirement(need) for need in needs], set[tuple[str, str]]()
    given = set[str]()
    while waiting:
        need = waiting.pop()
        name = canonicalize_name(need.name)
        distribution = importlib.metadata.distribution(name)
        if name not in given:
            given.add(name)
            yield distribution
        for extra in ["", *need.extras]:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for each in map(Requirement, distribution.requires or ()):
                if each.marker is None or each.marker.evaluate({"extra": extra}):
                    waiting.append(each)


def pack(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    """Make a wheel of what is installed (the binary distribution format of the PyPA's specifications)."""
    name, version = re.sub(r"[-_.]+", "_", distribution.name), distribution.version
    here = set(sys_tags())
    tags = re.findall(r"^Tag: (\S+)", distribution.read_text("WHEEL") or "", re.M)
    tag = next(tag for tag in tags if parse_tag(tag) & here)
    commands = {point.name for point in distribution.entry_points if point.group.endswith("_scripts")}
    records = []
    with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w", zipfile.ZIP_STORED) as wheel:
        info = ""
        for file in distribution.files or ():
            place = PurePosixPath(file.as_posix())
            if place.parent.name.endswith(".dist-info"):
                info = place.parent.name
            if "__pycache__" in place.parts or place.name in OF_INSTALLERS:
                continue
            if place.parts[0] == "..":  # what is not in site-packages: programs, manual pages
                if place.parent.name != "bin" or place.name in commands:
                    continue
                place = PurePosixPath(f"{name}-{version}.data", "scripts", place.name)
            source = Path(str(distribution.locate_file(file)))
            data = source.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            records.append(f"{place},sha256={digest},{len(data)}\n")
            entry = zipfile.ZipInfo(str(place))
            entry.external_attr = source.stat().st_mode << 16  # programs stay executable
            wheel.writestr(entry, data)
        wheel.writestr(f"{info}/RECORD", "".join([*records, f"{info}/RECORD,,\n"]))


def make(folder: Path, ours: Iterable[Path], needs: Iterable[str]) -> None:
    """Fill a folder: the projects of these roots, and whatever of others is needed."""
    folder.mkdir()
    build(ours, folder)
    for distribution in closure(needs):
        if not distribution.name.startswith("libws-"):
            pack(distribution, folder)
