"""The plugins of `examples/third_party/`, as their users meet them: built, and installed by their own requirements.

The environment has the built wheels of the core and of official plugins to choose from, links to what others have
published, and no network. Each suite runs there without its source tree.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from libws_core.order import STANDARD

from .test_installed import BUILD, Environment, link, requirements

pytestmark = [pytest.mark.install, pytest.mark.xdist_group("third-party")]

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "examples" / "third_party").glob("*/pyproject.toml"))
NAMES = [folder.name for folder in FOLDERS]
PLUGINS = {"acme-desk": "desk", "acme-ndjson": "ndjson", "acme-office-hours": "office-hours"}
PATIENCE = 300.0
"""Seconds that a suite may take."""

COMMAND = "import sys; from libws_core.cli import main; sys.exit(main())"
HEAD = """
import asyncio
from libws_core import Client, Reconnected
from libws_core.testing import Server

def distribution_of(client, name):
    (part,) = [part for part in client.explain()["plugins"] if part["name"] == name]
    assert part["because"] == "named" and part["distribution"].startswith("acme-"), part
    return part["distribution"]

async def again(client):
    future = asyncio.get_running_loop().create_future()
    client.on(Reconnected, future.set_result)
    return await future

def main(program):
    asyncio.run(asyncio.wait_for(program(), 30))
"""
PROGRAMS = {
    "acme-ndjson": """
from line_server import LineServer

async def program():
    async with LineServer() as server:
        async with Client(server.url, plugins=["ndjson"]) as client:
            peer = await server.accept()
            await client.send_json({"hello": 1}, confirm=True)
            assert (await peer.recv()).json == {"hello": 1}
            print(distribution_of(client, "ndjson"))

main(program)
""",
    "acme-office-hours": """
async def program():
    async with Server() as server:
        days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        hours = {"opens": "00:00", "closes": "00:00", "days": days, "base": 0.01}
        client = Client(server.url, plugins=["office-hours"], options={"office-hours": hours}, proxy=None)
        async with client:
            waiting = asyncio.create_task(again(client))
            (await server.accept()).drop()
            await server.accept()
            await waiting
            print(distribution_of(client, "office-hours"))

main(program)
""",
    "acme-desk": """
from desk_server import DeskServer

async def program():
    desk = DeskServer()
    async with Server(desk.serve) as server:
        options = {"desk": {"account": "4711", "key": "the-right-key", "topics": ["BTC-EUR"]}}
        plugins = ["desk", "office-hours", "ndjson"]
        async with Client(server.url, plugins=plugins, options=options, proxy=None) as client:
            desk.publish("BTC-EUR")
            assert (await client.recv(timeout=10)).json["seq"] == 1
            print(distribution_of(client, "desk"))

main(program)
""",
}


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def needs(folders: Iterable[Path]) -> Iterator[Requirement]:
    """What distributions need, with all their extras."""
    for folder in folders:
        said = project(folder)
        for lines in (said["dependencies"], *said.get("optional-dependencies", {}).values()):
            yield from map(Requirement, lines)


def official(folders: Iterable[Path]) -> list[Path]:
    """The core, the standard plugins and the official ones that third-party plugins need."""
    named = {need.name.removeprefix("libws-") for need in needs(folders)} | {*STANDARD}
    return [ROOT, *(folder for folder in sorted((ROOT / "libws_plugins").iterdir()) if folder.name in named)]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The three, installed with their extra [test]."""
    folder = tmp_path_factory.mktemp("third-party")
    wheels = folder / "wheels"
    wheels.mkdir()
    ours = official(FOLDERS)
    sources = [shutil.copytree(each, folder / "trees" / each.name) for each in FOLDERS]
    command = [sys.executable, "-c", BUILD, str(wheels), *map(str, [*ours, *sources])]
    subprocess.run(command, check=True, timeout=PATIENCE, stdout=subprocess.PIPE)
    path = folder / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(path)], check=True, timeout=60)
    made = Environment(path, {})
    foreign = sorted({need.name for need in needs([*ours, *FOLDERS]) if not need.name.startswith("libws-")})
    for distribution in requirements(foreign):
        link(distribution, made.site)
    wanted = [f"{name}[test]" for name in NAMES]
    made.pip("install", "--no-index", "--no-compile", "--find-links", str(wheels), *wanted)
    return made


def without_source(folder: Path, to: Path) -> Path:
    """A copy of a project that has its tests and not its source."""
    return Path(shutil.copytree(folder, to / folder.name, ignore=shutil.ignore_patterns("src", "__pycache__")))


def test_there_are_three() -> None:
    assert {*NAMES} == {*PLUGINS} == {*PROGRAMS}


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_its_own_tests_pass_where_it_is_installed(folder: Path, environment: Environment, tmp_path: Path) -> None:
    ours = ("LIBWS", "PYTHON", "PYTEST", "COV")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(environment.python), "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=without_source(folder, tmp_path),
        env={name: value for name, value in clean.items() if not name.lower().endswith("_proxy")},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert " failed" not in done.stdout


@pytest.mark.parametrize("folder", FOLDERS, ids=NAMES)
def test_a_client_enables_it_by_name(folder: Path, environment: Environment, tmp_path: Path) -> None:
    copy = without_source(folder, tmp_path)
    said = environment.run(HEAD + PROGRAMS[folder.name], cwd=copy, PYTHONPATH=str(copy / "tests"))
    assert said == f"{folder.name} {project(folder)['version']}\n"


def test_the_command_lists_them(environment: Environment) -> None:
    found = {each["name"]: each for each in json.loads(environment.run(COMMAND, "plugins", "--json"))}
    for distribution, name in PLUGINS.items():
        assert (found[name]["distribution"], found[name]["state"]) == (distribution, "ok")
    assert found["office-hours"]["hooks"] == ["reconnect"]
    assert found["ndjson"]["hooks"] == ["dial"]
    assert found["desk"]["hooks"] == ["adapt_error", "authenticate", "establish"]
    described = environment.run(COMMAND, "plugins", "office-hours")
    assert described.startswith("office-hours  acme-office-hours 1.0.0\n\nReconnect in office hours only")
    assert "\n  closes: str = '17:00'\n" in described


def test_they_bring_what_they_need_and_no_more(environment: Environment) -> None:
    found = {each["distribution"] for each in json.loads(environment.run(COMMAND, "plugins", "--json"))}
    standard = {f"libws-{name}" for name in ("websockets", "backoff", "ping", "pong")}
    assert found == {*NAMES, *standard, "libws-subscriptions"}
