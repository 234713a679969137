"""What a maintainer releases with: the version that is set everywhere, and the workflows that build and publish.

The steps of a workflow that are shell are run here, in a folder of their own, as the workflow would run them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PLUGINS = sorted(path.parent.name for path in (ROOT / "libws_plugins").glob("*/pyproject.toml"))
DISTRIBUTIONS = ["libws-core", *(f"libws-{name}" for name in PLUGINS)]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]


# The version


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what `make version` may change."""
    kept = ["tools/*.py", "pyproject.toml", "LICENSE", "libws_core/__init__.py", "docs/*.md"]
    for pattern in [*kept, "libws_plugins/*/pyproject.toml", "libws_plugins/*/LICENSE"]:
        for path in ROOT.glob(pattern):
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    return tmp_path


def in_step(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(tree / "tools" / "in_step.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def contents(tree: Path) -> dict[str, str]:
    return {path.relative_to(tree).as_posix(): path.read_text("utf-8") for path in tree.rglob("*") if path.is_file()}


def test_all_is_in_step(tree: Path) -> None:
    done = in_step(tree)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), "try: make version"


def test_a_version_is_set_everywhere(tree: Path) -> None:
    before = contents(tree)
    assert in_step(tree, "0.99.0rc1").returncode == 0
    after = contents(tree)
    projects = {name: tomllib.loads(text)["project"] for name, text in after.items() if name.endswith("pyproject.toml")}
    assert len(projects) == len(DISTRIBUTIONS)
    assert {each["version"] for each in projects.values()} == {"0.99.0rc1"}
    assert '\n__version__ = "0.99.0rc1"\n' in after["libws_core/__init__.py"]
    assert "pong  libws-pong 0.99.0rc1\n" in after["docs/command.md"]
    assert after["docs/performance.md"] == before["docs/performance.md"], "what was measured stays"
    for each in projects.values():
        for need in map(Requirement, each["dependencies"]):
            if need.name in DISTRIBUTIONS:
                assert need.specifier.contains("0.99.0rc1", prereleases=True), f"{each['name']}: {need}"
    # Nothing else has changed, and the way back leads to where it began.
    assert in_step(tree, VERSION).returncode == 0
    assert contents(tree) == before


def test_a_plugin_is_given_what_all_share_and_keeps_what_is_its_own(tree: Path) -> None:
    folder = tree / "libws_plugins" / PLUGINS[0]
    before = (folder / "pyproject.toml").read_text("utf-8")
    (folder / "LICENSE").unlink()
    bare = re.sub(r"^(?:version|license-files) = .*\n|^    \"Topic.*\n", "", before, flags=re.M)
    bare = re.sub(
        r"^\[(?:project\.urls|tool\.hatch\.build\.targets\.sdist)\]\n(?:[^\[\n].*\n)+\n?", "", bare, flags=re.M
    )
    assert len(bare) < len(before) - 300
    (folder / "pyproject.toml").write_text(bare, "utf-8")
    done = in_step(tree)
    assert done.stdout.split() == [f"libws_plugins/{PLUGINS[0]}/{name}" for name in ("pyproject.toml", "LICENSE")]
    assert (folder / "pyproject.toml").read_text("utf-8") == before
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.parametrize("version", ["next", "1.0.x", "v"])
def test_what_is_no_version_changes_nothing(tree: Path, version: str) -> None:
    before = contents(tree)
    done = in_step(tree, version)
    assert done.returncode == 2
    assert done.stderr == f"{version!r} is no version; say make version V=1.2.3\n"
    assert contents(tree) == before


def test_what_cannot_be_kept_is_refused_by_name(tree: Path) -> None:
    path = tree / "libws_plugins" / PLUGINS[0] / "pyproject.toml"
    text = path.read_text("utf-8").replace("\nkeywords =", "\n# a word\nkeywords =")
    path.write_text(text, "utf-8")
    done = in_step(tree)
    assert done.returncode == 1
    assert done.stderr == f"{path}: [project] has more than keys: '# a word'\n"
    assert path.read_text("utf-8") == text


# The workflows


def workflow(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8"))
    return found


def triggers(of: dict[Any, Any]) -> dict[str, Any]:
    """YAML 1.1 reads the key `on` as true."""
    found: dict[str, Any] = of[True]
    return found


def uses(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The actions of a job, each with what it is given."""
    return {step["uses"].partition("@")[0]: step.get("with", {}) for step in job["steps"] if "uses" in step}


def shell(job: dict[str, Any]) -> dict[str, str]:
    """The steps of a job that are shell, by their name."""
    return {step["name"]: step["run"] for step in job["steps"] if "run" in step and "name" in step}


def run(script: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the workflow does: bash, that stops at the first error."""
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    environment = {"PATH": os.environ["PATH"], **environ}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def job() -> dict[str, Any]:
    """The job that builds."""
    found: dict[str, Any] = workflow("release")["jobs"]["build"]
    return found


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what `make wheels` leaves in `dist`, by name."""
    (tmp_path / "dist").mkdir()
    for name in DISTRIBUTIONS:
        for end in (".tar.gz", "-py3-none-any.whl"):
            (tmp_path / "dist" / f"{name.replace('-', '_')}-{VERSION}{end}").touch()
    return tmp_path


@pytest.mark.parametrize("name", ["ci", "release"])
def test_actions_are_pinned_to_what_they_promise_not_to_break(name: str) -> None:
    for job in workflow(name)["jobs"].values():
        assert job["timeout-minutes"] <= 30
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+|pypa/gh-action-pypi-publish@release/v1", step["uses"])
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_ci_runs_all_on_each_python_that_is_promised() -> None:
    ci = workflow("ci")
    assert {*triggers(ci)} >= {"push", "pull_request"}
    assert ci["permissions"] == {"contents": "read"}
    (job,) = ci["jobs"].values()
    pythons = job["strategy"]["matrix"]["python"]
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["classifiers"]
    minors = [re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", each) for each in classifiers]
    assert pythons == [minor[1] for minor in minors if minor]
    (step,) = [step for step in job["steps"] if "run" in step]
    assert step["run"] == ".ci/run"
    assert step["env"] == {"PYTHON": "python${{ matrix.python }}"}
    assert re.search(r"^PYTHON \?=", (ROOT / "Makefile").read_text("utf-8"), re.M)


def test_only_the_job_that_publishes_may_prove_who_it_is() -> None:
    release = workflow("release")
    assert triggers(release)["push"] == {"tags": ["v*"]}
    assert release["permissions"] == {}
    build, publish = release["jobs"]["build"], release["jobs"]["publish"]
    assert build["permissions"] == {"contents": "read"}
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["environment"]["name"] == "pypi"
    assert "environment" not in build
    assert publish["needs"] == "build"
    assert [step for step in publish["steps"] if "run" in step] == [], "nothing of this tree runs where it may publish"
    assert {*uses(publish)} == {"actions/download-artifact", "pypa/gh-action-pypi-publish"}
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
    assert "secrets." not in text
    assert "password" not in text


def test_what_was_built_is_what_is_published(job: dict[str, Any]) -> None:
    publish = workflow("release")["jobs"]["publish"]
    given, taken = uses(job)["actions/upload-artifact"], uses(publish)["actions/download-artifact"]
    assert (given["name"], given["path"]) == (taken["name"], taken["path"]) == ("distributions", "dist/")
    assert given["if-no-files-found"] == "error"
    assert uses(publish)["pypa/gh-action-pypi-publish"] == {"skip-existing": True}, "and it takes dist/ by itself"


def test_every_distribution_is_built_by_it(job: dict[str, Any]) -> None:
    (build,) = [step["run"] for step in job["steps"] if step.get("run", "").startswith("make wheels")]
    make = ["make", "--dry-run", "--always-make", *build.split()[1:], f"PYTHON={sys.executable}"]
    done = subprocess.run(make, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    (folders,) = re.findall(r"for each in (.+?);", done.stdout)
    assert folders.split() == [".", *(f"./libws_plugins/{name}" for name in PLUGINS)]
    assert "twine check --strict dist/*" in done.stdout


def test_a_tag_that_matches_the_version_is_let_through(job: dict[str, Any], checkout: Path) -> None:
    done = run(shell(job)["Compare the versions with the tag"], checkout, TAG=f"v{VERSION}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("tag", ["v9.9.9", f"v{VERSION}.1", f"v{VERSION}rc1", "v", "main"])
def test_a_tag_of_another_version_publishes_nothing(job: dict[str, Any], checkout: Path, tag: str) -> None:
    done = run(shell(job)["Compare the versions with the tag"], checkout, TAG=tag)
    assert done.returncode == 1
    assert f"is not of the version that the tag {tag} says" in done.stderr


def test_one_distribution_out_of_step_publishes_nothing(job: dict[str, Any], checkout: Path) -> None:
    (checkout / "dist" / f"libws_ping-{VERSION}.tar.gz").rename(checkout / "dist" / "libws_ping-0.0.1.tar.gz")
    done = run(shell(job)["Compare the versions with the tag"], checkout, TAG=f"v{VERSION}")
    assert (done.returncode, done.stderr.split()[0]) == (1, "dist/libws_ping-0.0.1.tar.gz")


@pytest.mark.parametrize("only", DISTRIBUTIONS)
def test_a_distribution_can_be_published_alone(job: dict[str, Any], checkout: Path, only: str) -> None:
    assert triggers(workflow("release"))["workflow_dispatch"]["inputs"]["only"]["required"] is True
    done = run(shell(job)["Leave one distribution alone"], checkout, ONLY=only)
    assert done.returncode == 0, done.stderr
    stem = f"{only.replace('-', '_')}-{VERSION}"
    assert sorted(path.name for path in (checkout / "dist").iterdir()) == [f"{stem}-py3-none-any.whl", f"{stem}.tar.gz"]


def test_one_that_does_not_exist_is_not_published(job: dict[str, Any], checkout: Path) -> None:
    assert run(shell(job)["Leave one distribution alone"], checkout, ONLY="libws-nothing").returncode != 0


def test_words_of_users_reach_no_shell_unquoted() -> None:
    """What GitHub puts into a script itself would be run; an environment variable is only read."""
    for name in ("ci", "release"):
        for each in workflow(name)["jobs"].values():
            assert not [step for step in each["steps"] if "${{" in step.get("run", "")]
