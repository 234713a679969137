"""Each test of a contract catches what it is for: plugins that are wrong in one way fail that test and no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

import libws_core.testing

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = sorted(path.name for path in HERE.glob("wrong_*.py"))
PATIENCE = 300.0
"""Seconds that the wrong plugins of one file may take."""

DISTRIBUTIONS = {
    "wrongly-undeclared": ("wrongly_installed:WronglyUndeclared", [], "# Auth\n"),
    "wrongly-described": ("wrongly_installed:WronglyDescribed", ["libws-ping"], "# Wrongly described\n\nIt works.\n"),
    "wrongly-led": ("wrongly_installed:WronglyDescribed", [], ""),
}
"""Distributions that stand on the path of those runs: plugin -> where its entry point leads, needs, README."""
CHECKLIST = "".join(
    f"## {word}\n" for word in ("Auth", "Heartbeat", "Limits", "Lifetime", "Close codes", "Resume", "Tested")
)


def write_distributions(folder: Path) -> None:
    """What an installer leaves: metadata and entry points; the module stands beside the tests."""
    for name, (point, needs, text) in DISTRIBUTIONS.items():
        home = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        home.mkdir()
        head = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
        head += [f"Requires-Dist: {need}" for need in ["libws-core", *needs]]
        readme = CHECKLIST if name == "wrongly-undeclared" else text
        (home / "METADATA").write_text("\n".join([*head, "", readme]), "utf-8")
        (home / "entry_points.txt").write_text(f"[libws.v1]\n{name} = {point}\n", "utf-8")


def told_of(*files: str, only: str = "") -> list[dict[str, Any]]:
    """What became of each test of the wrong plugins of some files; with `--collect-only`, what each plugin is for."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_distributions(folder)
        report = folder / "report.json"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
            "PYTHONPATH": os.pathsep.join([str(HERE), str(folder)]),
            "LIBWS_CAUGHT": str(report),
        }
        environment.pop("LIBWS_PLUGINS", None)
        program = [sys.executable, "-m", "pytest", "-q", "-p", "catching", "-p", "no:cacheprovider"]
        program += [only] * bool(only) + [str(HERE / file) for file in files]
        done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE)
        assert report.exists(), done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(report.read_text("utf-8"))
    assert found, done.stdout + done.stderr
    return found


@pytest.mark.parametrize("file", FILES)
def test_each_wrong_plugin_fails_the_test_that_is_for_it_and_no_other(file: str) -> None:
    told = []
    wanted = {}
    failed: dict[str, list[str]] = {}
    for each in told_of(file):
        wanted[each["class"]] = each["must_fail"]
        failed.setdefault(each["class"], [])
        if each["outcome"] == "failed":
            if each["test"] not in failed[each["class"]]:  # several cases of one table
                failed[each["class"]].append(each["test"])
            if each["by"] != "Failed" or each["test"] != each["must_fail"]:
                told.append(f"{each['class']}.{each['test']}: {each['by']}\n{each['text'][-1500:]}")
    assert {name: [test] if test else [] for name, test in wanted.items()} == failed, "\n\n".join(told)
    assert not told, "\n\n".join(told)


def test_each_test_of_each_contract_has_a_wrong_plugin() -> None:
    contracts = [name for name in libws_core.testing.__all__ if name.endswith("Contract")]
    tests = {
        (base.__name__, test)
        for name in contracts
        for base in getattr(libws_core.testing, name).__mro__
        for test in vars(base)
        if test.startswith("test_")
    }
    caught = {(each["home"], each["must_fail"]) for each in told_of(*FILES, only="--collect-only")}
    anew = {("ProviderContract", "test_a_client_is_assembled_from_its_options")}  # the same promise, told by one test
    assert tests - caught - anew == set()
