"""`libws plugins`, and what all commands share: help, version, exit codes, missing extras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from libws_core import __version__

COMMANDS = ("plugins", "check", "connect", "demo")
BACKOFF_OPTIONS = (
    "base",
    "factor",
    "cap",
    "jitter",
    "max_attempts",
    "deadline",
    "retry_after_max",
    "statuses",
    "codes",
)


def libws(*arguments: str, path: Path | None = None, code: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "100"}
    environment.pop("LIBWS_PLUGINS", None)
    if path is not None:
        environment["PYTHONPATH"] = os.pathsep.join([str(path), environment.get("PYTHONPATH", "")])
    program = ["-m", "libws_core.cli"] if code is None else ["-c", code]
    return subprocess.run(
        [sys.executable, *program, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def distribution(path: Path, name: str, version: str, group: str, points: dict[str, str], source: str = "") -> None:
    """Put a distribution there, as pip would leave it."""
    module = name.replace("-", "_")
    (path / f"{module}.py").write_text(source)
    info = path / f"{module}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"[{group}]", *(f"{plugin} = {module}:{attribute}" for plugin, attribute in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


WITH_ONE_MORE = """
import sys
from libws_core import assembly
assembly.OFFICIAL |= {"elsewhere"}  # an official plugin that is installed nowhere
from libws_core.cli import main
sys.exit(main())
"""

PLUGIN = '''
from dataclasses import dataclass
from libws_core import Secret, hookimpl

@dataclass(eq=False, kw_only=True)
class Extra:
    """Does \\x1b[31mextra things."""

    key: Secret = Secret("hidden-default")
    """What opens it."""
    size: int
    """How big, bytes."""

    @hookimpl
    def observe(self, event): ...
'''


def test_table_has_every_installed_plugin_with_its_distribution_and_hooks() -> None:
    result = libws("plugins")
    assert (result.returncode, result.stderr) == (0, "")
    heads, *rows = result.stdout.splitlines()
    assert heads.split() == ["name", "distribution", "version", "hooks", "state"]
    found = {row.split()[0]: row for row in rows}
    assert found["backoff"].split() == ["backoff", "libws-backoff", __version__, "adapt_error,", "reconnect", "ok"]
    assert found["websockets"].split() == ["websockets", "libws-websockets", __version__, "dial", "ok"]


def test_broken_old_and_conflicting_plugins_are_shown_with_their_reason(tmp_path: Path) -> None:
    distribution(tmp_path, "acme-broken", "0.3", "libws.v1", {"broken": "Broken"}, "import nosuchlib")
    distribution(tmp_path, "acme-exits", "0.4", "libws.v1", {"exits": "Exits"}, "raise SystemExit('\x1b[2J away')")
    distribution(tmp_path, "acme-old", "0.0.9", "libws.v0", {"old": "Old"})
    distribution(tmp_path, "acme-backoff", "1.0", "libws.v1", {"backoff": "Backoff"}, "class Backoff: pass")
    result = libws("plugins", path=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [row for row in result.stdout.splitlines() if row.startswith(("broken", "exits", "old", "backoff"))]
    assert "broken: acme-broken 0.3 could not be imported: ModuleNotFoundError: No module named 'nosuchlib'" in rows[2]
    assert "broken: acme-exits 0.4 could not be imported: SystemExit: \\x1b[2J away" in rows[3]
    assert "old: acme-old 0.0.9 is written for libws.v0, this core speaks libws.v1" in rows[4]
    for row, name in ((rows[0], "acme-backoff"), (rows[1], "libws-backoff")):
        assert name in row
        assert f"conflict: claimed by acme-backoff 1.0 and libws-backoff {__version__}" in row


def test_json_tells_the_same(tmp_path: Path) -> None:
    distribution(tmp_path, "acme-broken", "0.3", "libws.v1", {"broken": "Broken"}, "import nosuchlib")
    result = libws("plugins", "--json", path=tmp_path)
    found = {each["name"]: each for each in json.loads(result.stdout)}
    assert found["ping"] == {
        "name": "ping",
        "distribution": "libws-ping",
        "version": __version__,
        "hooks": ["incoming", "keep_alive"],
        "state": "ok",
        "reason": None,
    }
    assert found["broken"]["state"] == "broken"
    assert "nosuchlib" in found["broken"]["reason"]


def test_one_plugin_is_described_with_hooks_options_defaults_and_docs() -> None:
    result = libws("plugins", "backoff")
    assert result.returncode == 0
    assert result.stdout.startswith(
        f"backoff  libws-backoff {__version__}\n\nReconnect after growing, jittered delays.\n"
    )
    assert "\nhooks  adapt_error, reconnect\n" in result.stdout
    for option in BACKOFF_OPTIONS:
        assert f"\n  {option}: " in result.stdout
    _, _, below = result.stdout.partition("\n  cap: ")
    assert below.splitlines()[0].endswith(" = 30.0")
    assert below.splitlines()[1] == "      Longest delay, seconds, jitter included."


def test_description_tells_which_options_must_be_given_and_shows_no_secret(tmp_path: Path) -> None:
    distribution(tmp_path, "acme-extra", "2.0", "libws.v1", {"extra": "Extra"}, PLUGIN)
    result = libws("plugins", "extra", path=tmp_path)
    assert result.returncode == 0
    assert "  size: int must be given\n      How big, bytes.\n" in result.stdout
    assert "  key: Secret = ***\n      What opens it.\n" in result.stdout
    assert "hidden-default" not in result.stdout
    assert "\x1b" not in result.stdout
    described = json.loads(libws("plugins", "extra", "--json", path=tmp_path).stdout)
    assert described["hooks"] == ["observe"]
    assert [option["name"] for option in described["options"]] == ["key", "size"]
    assert "hidden-default" not in str(described)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("backof", "did you mean 'backoff'?"),
        ("elsewhere", "try: pip install libws-elsewhere"),
        ("acme", "install the package that provides the libws.v1 plugin 'acme'"),
    ],
)
def test_unknown_plugin_gets_its_cure_and_exit_code_1(name: str, cure: str) -> None:
    result = libws("plugins", name, code=WITH_ONE_MORE)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"{name!r}: not installed in ")
    assert result.stderr.rstrip().endswith(cure)
    assert len(result.stderr.splitlines()) == 1


def test_broken_plugin_cannot_be_described_but_tells_why(tmp_path: Path) -> None:
    distribution(tmp_path, "acme-broken", "0.3", "libws.v1", {"broken": "Broken"}, "import nosuchlib")
    result = libws("plugins", "broken", path=tmp_path)
    assert result.returncode == 1
    assert "acme-broken 0.3 could not be imported" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("missing", ["cyclopts", "rich"])
def test_without_the_extra_the_command_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from libws_core.cli import main; sys.exit(main(['plugins']))"
    result = libws(code=code)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"libws: {missing} is missing; try: pip install 'libws-core[standard]'\n"


def test_what_else_cannot_be_imported_is_not_blamed_on_the_extra() -> None:
    code = "import sys; sys.modules['tomllib'] = None; from libws_core.cli import main; sys.exit(main(['plugins']))"
    result = libws(code=code)
    assert result.returncode == 1
    assert "pip install" not in result.stderr


def test_version_is_that_of_the_core() -> None:
    import libws_core

    assert libws("--version").stdout == f"libws-core {libws_core.__version__}\n"


def test_help_lists_the_commands_and_what_each_does() -> None:
    result = libws("--help")
    assert result.returncode == 0
    lines = [line.strip("│ ") for line in result.stdout.splitlines()]
    listed = [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in COMMANDS]
    assert sorted(listed) == sorted(COMMANDS)
    for command in COMMANDS:
        assert len(next(line for line in lines if line.startswith(command)).split()) > 4


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str) -> None:
    result = libws(command, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"Usage: libws {command}")
    assert len(result.stdout) > 400


def test_help_loads_no_client_and_no_plugin() -> None:
    code = """
import sys
from libws_core.cli import main
main(["check", "--help"])
heavy = {"importlib_metadata", "libws_core.client", "libws_core.plugins", "msgspec", "stevedore", "websockets"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    assert libws(code=code).stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("arguments", [("nosuch",), ("plugins", "--nosuch"), ("check",), ("connect",)])
def test_what_is_not_understood_has_exit_code_2(arguments: tuple[str, ...]) -> None:
    result = libws(*arguments)
    assert result.returncode == 2
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_output_that_nobody_reads_any_more_is_no_crash() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "libws_core.cli", "plugins", "--json"],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")
