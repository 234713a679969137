"""The kit's fixtures: there for whoever asks, and for nobody else."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from libws_core.testing import fixtures

CONFTEST = 'pytest_plugins = ["libws_core.testing.fixtures"]\n'
HEAD = """
import asyncio, os, socket, sys
from libws_core import Client, chance
from libws_core.testing import MemoryDialer, Server, virtual
"""
CLIENT = 'Client("ws://test/", plugins=["-standard", libws_dialer])'


def run_pytest(folder: Path, *arguments: str, **environ: str) -> str:
    """What pytest says of a folder's tests; nothing of ours is in the way."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("LIBWS", "PYTEST", "COV"))}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env={**clean, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def outcome(folder: Path, test: str, *arguments: str, **environ: str) -> str:
    """What becomes of a file of tests with the fixtures: pytest's report."""
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text(HEAD + test)
    return run_pytest(folder, "-q", *arguments, **environ)


# For nobody else


def test_whoever_does_not_ask_gets_nothing(tmp_path: Path) -> None:
    program = "import libws_core.testing, sys\ndef test_it():\n    assert not [n for n in sys.modules if n == %r]\n"
    (tmp_path / "test_it.py").write_text(program % fixtures.__name__)
    told = run_pytest(tmp_path, "--fixtures", "--trace-config")
    assert "libws_core" not in told
    assert not re.search(r"^libws", told, re.M)
    assert "1 passed" in run_pytest(tmp_path)


def test_none_of_our_distributions_hooks_into_pytest() -> None:
    owners = [point.dist.name for point in importlib.metadata.entry_points(group="pytest11") if point.dist is not None]
    assert owners, "pytest-asyncio is one, so that this test sees something"
    assert not [owner for owner in owners if "libws" in owner]


def test_who_asks_gets_these_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    told = run_pytest(tmp_path, "--fixtures")
    assert sorted(re.findall(r"^(libws\w*)", told, re.M)) == fixtures.__all__
    for name in fixtures.__all__:
        assert not re.search(rf"^{name} .*\n\s+no docstring", told, re.M)


def test_importing_a_fixture_is_asking_too(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "from libws_core.testing.fixtures import libws_environment, libws_dialer\n"
        "def test_it(libws_dialer):\n    assert libws_dialer.count == 0\n"
    )
    assert "1 passed" in run_pytest(tmp_path)


# What each is for


def test_the_environment_does_not_count(tmp_path: Path) -> None:
    test = (
        "def test_it(libws_environment): print(sorted(n for n in os.environ if 'proxy' in n.lower() or 'LIBWS' in n))"
    )
    told = outcome(tmp_path, test, "-s", HTTPS_PROXY="http://p", all_proxy="x", LIBWS_PLUGINS="log", LIBWS_SEED="4")
    assert "['LIBWS_SEED']" in told


def test_a_dialer_plays_and_a_broken_rule_fails_the_test(tmp_path: Path) -> None:
    test = f"""
@virtual
async def test_good(libws_dialer):
    async with {CLIENT} as client:
        (await libws_dialer.accept()).send("hi")
        assert (await client.recv()).data == "hi"

@virtual
async def test_bad(libws_dialer):
    def stumble(peer): raise KeyError("a script of the test")
    libws_dialer.script(stumble)
    opening = asyncio.create_task({CLIENT}.open())
    await libws_dialer.reached(1)
    await asyncio.sleep(1)
    opening.cancel()
"""
    told = outcome(tmp_path, test)
    assert "2 passed, 1 error" in told
    assert "ERROR test_it.py::test_bad - KeyError: 'a script of the test'" in told


@pytest.mark.parametrize("marker", ["", "-p no:asyncio"])
def test_a_server_is_entered_by_the_test_with_or_without_pytest_asyncio(marker: str, tmp_path: Path) -> None:
    test = """
def test_good(libws_server, libws_leaks):
    async def main():
        async with libws_server as server, Client(server.url) as client:
            peer = await server.accept()
            await client.send("hello")
            await peer.expect("hello")
    asyncio.run(main())

def test_bad(libws_server):
    async def main():
        await libws_server.start()
        libws_server._listener.close()
    asyncio.run(main())
"""
    told = outcome(tmp_path, test, *marker.split())
    assert "2 passed, 1 error" in told
    assert "Leaked: the server still listens" in told


def test_an_async_test_of_pytest_asyncio_may_use_them(tmp_path: Path) -> None:
    test = """
async def test_it(libws_server, libws_seed):
    async with libws_server as server, Client(server.url):
        await server.accept()
"""
    assert "1 passed" in outcome(tmp_path, test, "-o", "asyncio_mode=auto")


def test_chance_repeats_itself_and_each_test_has_its_own(tmp_path: Path) -> None:
    test = "".join(f"def test_{n}(libws_seed): print('drew', chance.uniform(0, 1))\n" for n in range(2))
    first, second, chosen = (
        re.findall(r"drew (\S+)", outcome(tmp_path, test, "-s", **environ)) for environ in ({}, {}, {"LIBWS_SEED": "4"})
    )
    assert first == second
    assert first[0] != first[1]
    assert chosen[0] == chosen[1] not in first


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="the system does not tell which files are open")
def test_a_file_that_is_left_open_fails_the_test(tmp_path: Path) -> None:
    test = """
kept = []
def test_bad(libws_leaks): kept.append(socket.socket())
def test_good(libws_leaks): kept.pop().close()
"""
    told = outcome(tmp_path, test)
    assert "2 passed, 1 error" in told
    assert "Leaked: left behind by the test:" in told
