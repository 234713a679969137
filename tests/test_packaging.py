"""The tree as it is distributed: requirements, constraints, projects, and the wheels that are built of them."""

from __future__ import annotations

import ast
import configparser
import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from readme_renderer import markdown
from trove_classifiers import classifiers

import libws_core
from libws_core.order import STANDARD

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent for path in (ROOT / "libws_plugins").glob("*/pyproject.toml"))
FOLDERS = [ROOT, *PLUGINS]


def builds(test: Any) -> Any:
    """Marks a test of what is built: slow, and for one worker, so that all is built once."""
    return pytest.mark.install(pytest.mark.xdist_group("built")(test))


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
    """What is asked for beside the editable distributions, by all that `make check` and `make test` do."""
    asked = [*lines("requirements-dev.txt"), *lines("tests/servers/requirements.txt")]
    return [Requirement(line) for line in asked if not line.startswith("-e")]


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


def test_the_metadata_of_all_is_complete() -> None:
    said = project(ROOT)
    assert said["license"] == "MIT"
    assert {*said["classifiers"]} <= classifiers
    pythons = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)}
    for start in ("Development Status :: ", "Intended Audience :: ", "Operating System :: ", "Topic :: "):
        assert [each for each in said["classifiers"] if each.startswith(start)], start
    assert pythons | {"Typing :: Typed"} <= {*said["classifiers"]}
    assert {*said["urls"]} == {"Homepage", "Documentation", "Changelog", "Source"}


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
    for key in ("version", "license", "license-files", "authors", "requires-python", "classifiers"):
        assert plugin[key] == core[key], f"{key}; try: make version"
    assert plugin["urls"] == core["urls"] | {"Source": f"https://pypi.org/project/{plugin['name']}/#files"}
    assert plugin["readme"] == "README.md"
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert pyproject(folder)["build-system"] == {"requires": ["hatchling"], "build-backend": "hatchling.build"}
    assert plugin["description"].startswith("libws plugin: ")
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


BUILD = """
import os, sys, tarfile
from pathlib import Path
from hatchling.build import build_sdist, build_wheel
for folder, target in zip(sys.argv[1::2], map(Path, sys.argv[2::2])):
    os.chdir(folder)
    build_wheel(str(target / "wheel"))
    sdist = build_sdist(str(target / "sdist"))
    with tarfile.open(target / "sdist" / sdist) as archive:
        archive.extractall(target / "unpacked")
    os.chdir(target / "unpacked" / sdist.removesuffix(".tar.gz"))
    build_wheel(str(target / "again"))
"""
"""Builds of each project the wheel, the source distribution, and of this the wheel again, below a folder of its own."""


class Built(NamedTuple):
    """What is built of one project."""

    wheel: Path
    sdist: Path
    again: Path
    """The wheel that is built of the source distribution."""

    def files(self, wheel: Path | None = None) -> dict[str, bytes]:
        """What is in a wheel, by name."""
        with zipfile.ZipFile(wheel or self.wheel) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    @property
    def metadata(self) -> Message:
        (text,) = [data for name, data in self.files().items() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(text.decode())


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Built]:
    """Every distribution, by the folder of its project."""
    targets = {folder: tmp_path_factory.mktemp("built") for folder in FOLDERS}
    pairs = [str(path) for pair in targets.items() for path in pair]
    done = subprocess.run([sys.executable, "-c", BUILD, *pairs], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        folder: Built(*(next((target / kind).iterdir()) for kind in ("wheel", "sdist", "again")))
        for folder, target in targets.items()
    }


@builds
@each_folder
def test_a_wheel_holds_its_package_and_its_licence_and_no_more(folder: Path, built: dict[Path, Built]) -> None:
    said, files = project(folder), built[folder].files()
    source, package = (ROOT, "libws_core") if folder == ROOT else (folder / "src", said["name"].replace("-", "_"))
    info = f"{said['name'].replace('-', '_')}-{said['version']}.dist-info"
    assert {name.split("/")[0] for name in files} == {package, info}
    held = {name for name in files if name.startswith(f"{package}/")}
    wanted = {path.relative_to(source).as_posix() for path in (source / package).rglob("*") if path.is_file()}
    assert held == {name for name in wanted if "__pycache__" not in name}
    assert f"{package}/py.typed" in held
    assert not [name for name in held if "test_" in name or "conftest" in name]
    assert files[f"{info}/licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()


@builds
@each_folder
def test_a_wheel_tells_who_it_is(folder: Path, built: dict[Path, Built]) -> None:
    said, metadata, files = project(folder), built[folder].metadata, built[folder].files()
    info = f"{said['name'].replace('-', '_')}-{said['version']}.dist-info"
    assert (metadata["Name"], metadata["Version"]) == (said["name"], said["version"])
    assert metadata["Summary"] == said["description"]
    assert metadata["Requires-Python"] == ">=3.11"
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("MIT", ["LICENSE"])
    assert metadata.get_all("Classifier") == said["classifiers"]
    assert dict(text.split(", ") for text in metadata.get_all("Project-URL", [])) == said["urls"]
    needs = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    assert [str(need) for need in needs if need.marker is None] == list(
        map(str, map(Requirement, said["dependencies"]))
    )
    points = configparser.ConfigParser()
    points.read_string(files[f"{info}/entry_points.txt"].decode())
    if folder == ROOT:
        assert dict(points["console_scripts"]) == {"libws": "libws_core.cli:main"}
    else:
        assert dict(points["libws.v1"]) == said["entry-points"]["libws.v1"]


@builds
@each_folder
def test_a_source_distribution_holds_what_a_wheel_is_built_of(folder: Path, built: dict[Path, Built]) -> None:
    root = built[folder].sdist.name.removesuffix(".tar.gz")
    with tarfile.open(built[folder].sdist) as archive:
        names = {name.removeprefix(f"{root}/") for name in archive.getnames()}
    package = "libws_core/" if folder == ROOT else f"src/{project(folder)['name'].replace('-', '_')}/"
    rest = {name for name in names if not name.startswith(package)}
    # hatchling takes .gitignore along where it finds one.
    assert rest - {".gitignore"} == {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml"} | (
        {"CHANGELOG.md"} if folder == ROOT else set()
    )


@builds
@each_folder
def test_a_source_distribution_builds_the_same_wheel(folder: Path, built: dict[Path, Built]) -> None:
    here = built[folder]
    assert here.again.name == here.wheel.name
    assert here.files(here.again) == here.files()


@builds
def test_twine_finds_no_fault(built: dict[Path, Built]) -> None:
    files = [str(path) for each in built.values() for path in (each.wheel, each.sdist)]
    command = [sys.executable, "-m", "twine", "check", "--strict", *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASSED") == len(files)


@builds
@each_folder
def test_what_a_page_of_pypi_says_leads_nowhere_else(folder: Path, built: dict[Path, Built]) -> None:
    """There are no other files beside it, so that a link to one of them would be dead."""
    metadata = built[folder].metadata
    text = str(metadata.get_payload())
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert text.lstrip().startswith("# libws" if folder == ROOT else f"# {project(folder)['name']}\n")
    html = markdown.render(text)  # as PyPI does
    assert html is not None
    assert not re.findall(r'(?:href|src)="(?!https://|#)[^"]*"', html)


@builds
def test_the_page_of_the_core_has_the_plugins_and_the_newest_changes(built: dict[Path, Built]) -> None:
    text = str(built[ROOT].metadata.get_payload())
    for folder in PLUGINS:
        assert f"(https://pypi.org/project/libws-{folder.name}/)" in text
    heading, _, changes = text.partition("## Newest changes\n\n### ")[2].partition("\n")
    versions = re.findall(r"^## (.+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert heading == versions[0]
    assert changes.strip()
    assert not [version for version in versions[1:] if version in text]
