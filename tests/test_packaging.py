"""The tree as it is distributed: requirements, constraints, projects, and the wheels that are built of them."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import libws_core
from libws_core.order import STANDARD

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent for path in (ROOT / "libws_plugins").glob("*/pyproject.toml"))
FOLDERS = [ROOT, *PLUGINS]

each_plugin = pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
each_folder = pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name if path != ROOT else "core")


def pyproject(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = pyproject(folder)["project"]
    return found


def lines(name: str) -> list[str]:
    text = (ROOT / name).read_text("utf-8")
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def development() -> list[Requirement]:
    """What requirements-dev.txt asks for beside the editable distributions."""
    return [Requirement(line) for line in lines("requirements-dev.txt") if not line.startswith("-e")]


def direct_needs() -> Iterator[Requirement]:
    """What the distributions and their development name, extras too."""
    yield from development()
    for folder in FOLDERS:
        yield from map(Requirement, pyproject(folder)["build-system"]["requires"])
        yield from map(Requirement, project(folder)["dependencies"])
        for needs in project(folder).get("optional-dependencies", {}).values():
            yield from map(Requirement, needs)


def reached(everywhere: bool) -> set[str]:
    """Every third-party distribution that is needed, directly or by way of others; here, or on whichever system."""
    seen: set[tuple[str, frozenset[str]]] = set()
    open_ends = list(direct_needs())
    while open_ends:
        need = open_ends.pop()
        key = canonicalize_name(need.name), frozenset(need.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            below = importlib.metadata.requires(need.name) or []
        except importlib.metadata.PackageNotFoundError:
            assert everywhere, f"{need.name} is needed, and is not installed"
            continue
        for text in below:
            requirement = Requirement(text)
            marker = requirement.marker
            here = marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *need.extras))
            if here or (everywhere and "extra" not in str(marker)):
                open_ends.append(requirement)
    return {name for name, _ in seen if not name.startswith("libws-")}


def constraints() -> dict[str, str]:
    return dict(line.split("==") for line in lines("constraints.txt"))


def test_every_plugin_is_installed_for_development() -> None:
    editable = [line.removeprefix("-e ") for line in lines("requirements-dev.txt") if line.startswith("-e")]
    assert editable[0].startswith(".[")
    assert editable[1:] == [folder.relative_to(ROOT).as_posix() for folder in PLUGINS]
    assert set(re.findall(r"\w+", editable[0])) == {"standard", "testing"}


def test_what_the_tests_and_examples_import_is_required() -> None:
    providers = importlib.metadata.packages_distributions()
    direct = {canonicalize_name(need.name) for need in direct_needs()}
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("libws_plugins/*/tests/**/*.py")]
    for path in files:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in {str(name).partition(".")[0] for name in names} - sys.stdlib_module_names:
                owners = {canonicalize_name(owner) for owner in providers.get(name, [])}
                third_party = owners and not any(owner.startswith("libws-") for owner in owners)
                assert not third_party or owners & direct, f"{path.relative_to(ROOT)} imports {name}"


def test_a_constraint_is_a_name_and_a_version() -> None:
    assert lines("constraints.txt") == sorted(set(lines("constraints.txt")))
    for line in lines("constraints.txt"):
        name, equals, version = line.partition("==")
        assert (name, equals, str(Version(version))) == (canonicalize_name(name), "==", version)


def test_every_third_party_distribution_has_its_version_constrained() -> None:
    pinned = constraints()
    for name in reached(everywhere=False):
        assert pinned.get(name) == importlib.metadata.version(name), name


def test_nothing_is_constrained_that_nobody_needs() -> None:
    tools = {*lines("bench/requirements.txt"), *lines("docs/requirements.txt")}
    assert {*constraints()} <= reached(everywhere=True) | tools


@each_folder
def test_what_is_installed_is_what_the_project_says(folder: Path) -> None:
    said = project(folder)
    assert importlib.metadata.version(said["name"]) == said["version"], "install it anew"
    points = importlib.metadata.distribution(said["name"]).entry_points.select(group="libws.v1")
    assert {point.name: point.value for point in points} == said.get("entry-points", {}).get("libws.v1", {})


def test_the_core_tells_its_version() -> None:
    assert libws_core.__version__ == project(ROOT)["version"]


def test_extras_bring_the_plugins() -> None:
    extras = project(ROOT)["optional-dependencies"]
    every = {f"libws-{folder.name}" for folder in PLUGINS}
    standard = {need for need in extras["standard"] if need.startswith("libws-")}
    assert standard == {f"libws-{name}" for name in STANDARD}
    assert {*extras["all"]} == {"libws-core[standard]", *(every - standard)}


@each_plugin
def test_a_plugin_is_a_project_like_the_core(folder: Path) -> None:
    core, plugin = project(ROOT), project(folder)
    for key in ("license", "authors", "requires-python", "readme", "version"):
        assert plugin[key] == core[key], key
    assert pyproject(folder)["build-system"] == pyproject(ROOT)["build-system"]
    assert plugin["description"].startswith("libws plugin: ")
    assert "Typing :: Typed" in plugin["classifiers"]
    module = f"libws_{folder.name.replace('-', '_')}"
    assert pyproject(folder)["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [f"src/{module}"]
    assert (folder / "src" / module / "py.typed").exists()
    assert (folder / "README.md").read_text("utf-8").startswith(f"# libws-{folder.name}\n")
    assert any((folder / "tests").glob("test_*.py"))


@each_folder
def test_dependencies_are_in_order_and_admit_our_versions(folder: Path) -> None:
    versions = {project(each)["name"]: project(each)["version"] for each in FOLDERS} | constraints()
    said = project(folder)
    assert said["dependencies"] == sorted(said["dependencies"])
    for need in map(Requirement, said["dependencies"]):
        assert "==" not in str(need.specifier), "no exact pins"
        assert versions[canonicalize_name(need.name)] in need.specifier, str(need)


def test_what_skipped_tests_ask_for_is_what_ci_installs() -> None:
    script = ROOT / ".ci" / "run"
    words = {*re.split(r"[\s:]+", script.read_text("utf-8"))}
    assert os.access(script, os.X_OK)
    for path in (ROOT / "tests" / "servers").glob("*.py"):
        asked = path.read_text("utf-8")
        for names in re.findall(r"apt-get install ([a-z -]+)", asked):
            assert {*names.split()} <= words, f"{path.name}: {names}"
        for command in re.findall(r"npm install [^\"`]+", asked):
            assert {*command.split()} <= words, f"{path.name}: {command}"


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, zipfile.ZipFile]:
    """Every distribution, built: folder's name -> wheel."""
    built = {}
    for folder in FOLDERS:
        target = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        (path,) = target.iterdir()
        built["core" if folder == ROOT else folder.name] = zipfile.ZipFile(path)
    return built


@pytest.mark.install
@each_folder
def test_a_wheel_holds_its_package_and_no_more(folder: Path, wheels: dict[str, zipfile.ZipFile]) -> None:
    said = project(folder)
    wheel = wheels["core" if folder == ROOT else folder.name]
    source, package = (ROOT, "libws_core") if folder == ROOT else (folder / "src", said["name"].replace("-", "_"))
    info = f"{said['name'].replace('-', '_')}-{said['version']}.dist-info"
    assert {name.split("/")[0] for name in wheel.namelist()} == {package, info}
    held = {name for name in wheel.namelist() if name.startswith(f"{package}/")}
    wanted = {path.relative_to(source).as_posix() for path in (source / package).rglob("*") if path.is_file()}
    assert held == {name for name in wanted if "__pycache__" not in name}
    assert f"{package}/py.typed" in held
    assert not [name for name in held if "test_" in name or "conftest" in name]


@pytest.mark.install
@each_folder
def test_a_wheel_tells_who_it_is(folder: Path, wheels: dict[str, zipfile.ZipFile]) -> None:
    said = project(folder)
    wheel = wheels["core" if folder == ROOT else folder.name]
    info = f"{said['name'].replace('-', '_')}-{said['version']}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == (said["name"], said["version"])
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "MIT"
    assert str(metadata.get_payload()).lstrip().startswith("# libws")
    needs = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    assert [str(need) for need in needs if need.marker is None] == list(
        map(str, map(Requirement, said["dependencies"]))
    )
    points = configparser.ConfigParser()
    points.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    if folder == ROOT:
        assert dict(points["console_scripts"]) == {"libws": "libws_core.cli:main"}
        assert f"{info}/licenses/LICENSE" in wheel.namelist()
    else:
        assert dict(points["libws.v1"]) == said["entry-points"]["libws.v1"]
