"""Several workers: who measures is alone, and all others run side by side."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("fcntl")
ROOT = Path(__file__).parent.parent

TESTS = """
import os, time
import pytest

def diary(word):
    with open("diary", "a") as file:
        file.write(word + "\\n")

def stay(kind):
    diary("begin " + kind)
    time.sleep(0.05)
    diary("end " + kind)

@pytest.mark.parametrize("number", range(16))
def test_one_of_many(number):
    stay("many")

@pytest.mark.measured
@pytest.mark.parametrize("number", range(4))
def test_measured(number):
    with open("workers", "a") as file:
        file.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
    stay("measured")
"""


def run(folder: Path, *arguments: str) -> list[str]:
    """What happened in a project with these tests, in order."""
    shutil.copyfile(ROOT / "conftest.py", folder / "conftest.py")
    (folder / "pyproject.toml").write_text('[tool.pytest.ini_options]\nmarkers = ["measured"]\n')
    (folder / "test_it.py").write_text(TESTS)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    command = [sys.executable, "-m", "pytest", "-q", "--strict-markers", *arguments]
    done = subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "20 passed" in done.stdout
    return (folder / "diary").read_text().splitlines()


def overlap(diary: list[str], kind: str) -> bool:
    """Whether something happened between the begin and the end of one of this kind."""
    begins = [number for number, line in enumerate(diary) if line == f"begin {kind}"]
    return any(diary[number + 1] != f"end {kind}" for number in begins)


def test_who_measures_is_alone(tmp_path: Path) -> None:
    diary = run(tmp_path, "-n", "3", "--dist", "loadgroup", "-p", "no:hypothesispytest", "-p", "no:pytest_cov")
    assert diary.count("end measured") == 4
    assert not overlap(diary, "measured")
    assert overlap(diary, "many"), "the others are not kept apart"
    first = diary.index("begin measured")
    assert diary[first : first + 8] == ["begin measured", "end measured"] * 4, "the others wait once"
    assert len({*(tmp_path / "workers").read_text().split()}) == 1, "a group stays together, with what it has built"
