"""The rooms of the house: who may import whom, what `import libws_core` loads, what it hands out."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from importlib_metadata import packages_distributions

import libws_core
import libws_core.testing

ROOT = Path(__file__).parent.parent
CORE = ROOT / "libws_core"
PLUGINS = sorted(path.parent for path in (ROOT / "libws_plugins").glob("*/pyproject.toml"))
LATE = ("pluggy", "stevedore", "msgspec", "websockets", "importlib_metadata")
"""What loads only when a client is assembled or dials."""
BUDGET = 0.015
"""Seconds of CPU that `import libws_core` may take beyond `import asyncio`."""
LONGEST = 600
"""Lines of a module of the core."""


def modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The top-level packages that a module imports, also late ones and those for type checkers; relative ones aside."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in ("import_module", "importlib.import_module", "__import__")
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value).lstrip(".").partition(".")[0]


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def declared(folder: Path) -> tuple[str, set[str], dict[str, str]]:
    """A distribution's name, the distributions that it depends on, and its entry points."""
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    extras = itertools.chain.from_iterable(project.get("optional-dependencies", {}).values())
    needs = {normal(re.split(r"[^\w.\-]", need)[0]) for need in [*project["dependencies"], *extras]}
    return project["name"], needs, project["entry-points"]["libws.v1"]


@pytest.mark.parametrize("path", modules(CORE), ids=lambda path: path.relative_to(CORE).as_posix())
def test_the_core_imports_no_plugin(path: Path) -> None:
    plugins = {name for name in imports(path) if name.startswith("libws_")} - {"libws_core"}
    assert not plugins


def test_one_module_finds_plugins() -> None:
    """importlib_metadata takes over the standard finder when it is imported."""
    for path in modules(CORE):
        if path != CORE / "plugins.py":
            assert not {*imports(path)} & {"importlib_metadata", "stevedore"}, path.name


def test_only_the_kit_and_the_commands_need_extras() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needs = {normal(re.split(r"[^\w.\-]", need)[0]) for need in project["dependencies"]}
    for path in modules(CORE):
        if path.relative_to(CORE).parts[0] not in ("testing", "cli"):
            foreign = set(imports(path)) - {*sys.stdlib_module_names, "libws_core"}
            assert {normal(name) for name in foreign} <= needs, path.name


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_only_what_it_declares(folder: Path) -> None:
    _, needs, _ = declared(folder)
    own = f"libws_{folder.name.replace('-', '_')}"
    providers = packages_distributions()
    for path in modules(folder / "src"):
        for name in imports(path):
            if name in sys.stdlib_module_names or name in (own, "libws_core"):
                continue
            assert {normal(each) for each in providers.get(name, [name])} & needs, f"{path.name} imports {name}"


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_each_plugin_keeps_the_contracts_of_its_kind(folder: Path) -> None:
    assert (folder / "tests" / f"test_{folder.name.replace('-', '_')}_contract.py").exists()


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda path: path.name)
def test_one_rule_names_everything(folder: Path) -> None:
    name, needs, points = declared(folder)
    module = f"libws_{folder.name.replace('-', '_')}"
    classes = {point: "".join(word.capitalize() for word in point.split("-")) for point in points}
    assert name == f"libws-{folder.name}"
    assert "libws-core" in needs
    assert folder.name in points
    assert points == {point: f"{module}:{cls}" for point, cls in classes.items()}
    assert all(point == folder.name or point.startswith(f"{folder.name}-") for point in points)
    assert [path.name for path in (folder / "src").iterdir() if not path.name.startswith("_")] == [module]
    assert (folder / "README.md").exists()
    for cls in classes.values():
        assert inspect.isclass(getattr(importlib.import_module(module), cls))


def type_checking_imports(package: Any) -> dict[str, str]:
    """name -> module, as a type checker sees a package with a lazy table."""
    tree = ast.parse(Path(package.__file__).read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    found = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        assert node.level == 1
        for alias in node.names:
            assert alias.asname == alias.name, "so that the name is exported"
            found[alias.name] = str(node.module)
    return found


@pytest.mark.parametrize("package", [libws_core, libws_core.testing], ids=lambda package: package.__name__)
def test_what_is_handed_out_is_the_same_for_people_and_type_checkers(package: Any) -> None:
    assert type_checking_imports(package) == package._HOME
    assert len(package.__all__) == len({*package.__all__})
    assert {*package.__all__} - {"__version__"} == {*package._HOME}
    for name, module in package._HOME.items():
        home = importlib.import_module(f".{module}", package.__name__)
        assert getattr(package, name) is getattr(home, name)
        assert name in dir(package)
    with pytest.raises(AttributeError, match="nosuchname"):
        _ = package.nosuchname


@pytest.mark.parametrize("module", ["errors", "events"])
def test_every_error_and_event_is_handed_out(module: str) -> None:
    assert {*importlib.import_module(f"libws_core.{module}").__all__} <= {*libws_core.__all__}


def test_importing_the_core_loads_nothing_that_is_needed_later() -> None:
    program = f"import libws_core, sys; print([name for name in {LATE} if name in sys.modules])"
    assert run(program).strip() == "[]"


def test_naming_the_public_classes_finds_no_plugins() -> None:
    """Errors, events and types are imported by those who catch, hear and annotate, without a client."""
    names = [name for name in libws_core.__all__ if libws_core._HOME.get(name) not in (None, "client", "hookspecs")]
    late = [name for name in LATE if name != "msgspec"]  # a Message is a Struct of it
    program = f"from libws_core import {', '.join(names)}; import sys; print([n for n in {late} if n in sys.modules])"
    assert run(program).strip() == "[]"


def test_importing_the_core_takes_next_to_no_time() -> None:
    program = "import asyncio, time; a = time.process_time(); import libws_core; print(time.process_time() - a)"
    assert min(float(run(program)) for _ in range(5)) < BUDGET


@pytest.mark.parametrize("path", modules(CORE), ids=lambda path: path.relative_to(CORE).as_posix())
def test_a_module_holds_one_thing(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= LONGEST
    assert path.name not in ("utils.py", "helpers.py")


def test_type_checkers_may_look_into_every_distribution() -> None:
    packages = [CORE, *(next((folder / "src").glob("libws_*")) for folder in PLUGINS)]
    for package in packages:
        assert (package / "py.typed").exists(), package.name
