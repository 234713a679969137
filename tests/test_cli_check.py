"""`libws check`: the plan of a client, without dialing and without a secret; and how the command line is read."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from libws_core import __version__
from libws_core.cli.targets import Target, UsageError, read_settings, read_value
from libws_core.conversion import Text
from libws_core.testing import Server

SECRETS = ("S3CRET-token", "S3CRET-password", "S3CRET-query", "S3CRET-header", "S3CRET-set", "S3CRET-message")

PROFILE = """
[client]
url = "wss://user:S3CRET-password@example.com/socket?token=S3CRET-query"
plugins = ["auth"]
headers = { X-Key = "S3CRET-header" }
open_timeout = 3
[client.options.auth]
query = { key = { env = "TOKEN" } }
message = { op = "login", token = "S3CRET-message" }
[client.options.backoff]
cap = 10
"""


def libws(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, **environment}
    return subprocess.run(
        [sys.executable, "-m", "libws_core.cli", *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PROFILE)
    return str(path)


def plan_of(*arguments: str, **environment: str) -> Any:
    result = libws("check", "--json", *arguments, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_plan_tells_plugins_options_and_where_each_value_came_from(profile: str) -> None:
    plan = plan_of(profile, "--set", "backoff.base=0.25", "--set", "auth.bearer=S3CRET-set", TOKEN="S3CRET-token")
    assert [part["name"] for part in plan["plugins"]] == ["auth", "websockets", "backoff", "ping", "pong"]
    auth, _, backoff, *_ = plan["plugins"]
    assert (auth["because"], backoff["because"]) == ("named", "standard")
    assert backoff["distribution"] == f"libws-backoff {__version__}"
    assert backoff["options"]["base"] == {"value": 0.25, "from": "--set"}
    assert backoff["options"]["cap"] == {"value": 10, "from": f"profile {profile}"}
    assert backoff["options"]["factor"] == {"value": 2, "from": "default"}
    assert auth["options"]["bearer"] == {"value": "***", "from": "--set"}
    assert auth["options"]["query"]["value"] == {"key": "***"}
    assert plan["client"] == {"url": "wss://example.com/socket?...", "open_timeout": 3, "headers": ["X-Key"]}


def test_hooks_are_told_in_the_order_in_which_they_are_asked(profile: str) -> None:
    hooks = plan_of(profile, TOKEN="x")["hooks"]
    assert hooks["dial"] == ["websockets"]
    assert hooks["authenticate"] == ["auth"]
    assert hooks["incoming"] == ["pong", "ping"]  # from the wire to the user, who stands first in the list
    assert hooks["resolve"] == []
    assert next(iter(hooks)) == "resolve"


def test_people_read_the_same(profile: str) -> None:
    result = libws("check", profile, "--enable=-pong", "--set", "ping.when=always", TOKEN="S3CRET-token")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0] == "client of wss://example.com/socket?..."
    assert f"  auth  libws-auth {__version__}, named" in lines
    assert "      bearer = None  (default)" in lines
    assert f"      cap = 10.0  (profile {profile})" in lines
    assert "      when = 'always'  (--set)" in lines
    rows = [line.split() for line in lines]
    assert ["reconnect", "backoff", "until", "one", "answers"] in rows
    assert ["incoming", "ping", "from", "the", "wire", "to", "the", "user"] in rows


@pytest.mark.parametrize("how", [[], ["--json"]])
@pytest.mark.parametrize("wrong", [[], ["--set", "backoff.cap=fast"], ["--set", "auth.bearer=[1]"], ["--enable", "no"]])
def test_no_secret_is_ever_shown(profile: str, how: list[str], wrong: list[str]) -> None:
    given = ["--set", 'auth.header={X-Own="S3CRET-set"}', "--header", "X-More: S3CRET-header", *wrong]
    result = libws("check", profile, *how, *given, TOKEN="S3CRET-token")
    assert result.returncode == (1 if wrong else 0)
    assert result.stdout + result.stderr
    for secret in SECRETS:
        assert secret not in result.stdout + result.stderr
    assert "S3CRET" not in result.stdout + result.stderr


HOLDER = """
from dataclasses import dataclass
from typing import Any
from libws_core import Secret, hookimpl

@dataclass(eq=False, kw_only=True)
class Acme:
    opener: Secret | dict[str, Any] | None = None

    @hookimpl
    def observe(self, event): ...
"""


def test_no_text_is_shown_that_stands_where_a_secret_may_stand(tmp_path: Path) -> None:
    (tmp_path / "libws_acme.py").write_text(HOLDER)
    info = tmp_path / "libws_acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: libws-acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[libws.v1]\nacme = libws_acme:Acme\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    given = ["ws://h", "--enable", "acme", "--set", 'acme.opener={ user = "me", key = "S3CRET-set", tries = 3 }']
    result = libws("check", *given, PYTHONPATH=path)
    assert result.returncode == 0
    assert "      opener = {'user': '***', 'key': '***', 'tries': 3}  (--set)" in result.stdout.splitlines()
    assert "S3CRET" not in result.stdout + libws("check", "--json", *given, PYTHONPATH=path).stdout


async def test_nothing_is_dialed() -> None:
    async with Server() as server:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "libws_core.cli", "check", server.url, stdout=asyncio.subprocess.DEVNULL
        )
        assert await process.wait() == 0
        assert server.count == 0


def test_every_problem_is_told_and_the_exit_code_is_1(profile: str) -> None:
    given = ["--set", "backoff.cap=fast", "--set", "ping.timeuot=1", "--enable", "acme"]
    result = libws("check", profile, *given, TOKEN="x")
    assert (result.returncode, result.stdout) == (1, "")
    title, *problems = result.stderr.splitlines()
    assert title == "cannot assemble the client:"
    assert len(problems) == 3
    told = "\n".join(problems)
    assert "'acme': not installed in " in told
    assert "'backoff': option 'cap': expected float >= 0, got str 'fast'; options: base=0.5" in told
    assert "'ping': option 'timeuot': there is no such option; did you mean 'timeout'?" in told
    data = json.loads(libws("check", "--json", profile, *given, TOKEN="x").stdout)
    assert sorted(problem["plugin"] for problem in data["problems"]) == ["acme", "backoff", "ping"]


def test_secret_that_is_not_there_is_a_problem(profile: str) -> None:
    result = libws("check", profile)
    assert result.returncode == 1
    assert "environment variable 'TOKEN' is not set" in result.stderr


def test_what_is_neither_url_nor_file_is_told_so() -> None:
    result = libws("check", "localhost:8080")
    assert result.returncode == 1
    assert "there is no file 'localhost:8080'; a URL begins with a scheme, such as wss://" in result.stderr


def test_a_url_needs_no_slashes_but_a_file_of_that_name_comes_first(tmp_path: Path) -> None:
    result = libws("check", "replay:session.jsonl")
    assert "there is no file" not in result.stderr
    command = [sys.executable, "-m", "libws_core.cli", "check"]
    (tmp_path / "mine:client.toml").write_text('[client]\nurl = "ws://h"\n')
    done = subprocess.run([*command, "mine:client.toml"], cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_one_of_several_clients_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('[clients.a]\nurl = "ws://a"\n[clients.b]\nurl = "ws://b"\nsubprotocols = ["x"]\n')
    assert plan_of(str(path), "--client", "b", "--subprotocol", "y")["client"] == {
        "url": "ws://b",
        "subprotocols": ["y"],
    }
    result = libws("check", str(path))
    assert result.returncode == 1
    assert "has several clients, say which: 'a', 'b'" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["ws://h", "--client", "a"], "--client chooses from a profile; a URL has none"),
        (["ws://h", "--set", "hunter2"], "--set takes PLUGIN.OPTION=VALUE, such as backoff.cap=5"),
        (["ws://h", "--set", "bearer=hunter2"], "--set takes PLUGIN.OPTION=VALUE"),
        (["ws://h", "--header", "hunter2"], "--header takes 'Name: value'"),
        (["ws://h", "--header", "A: hunter2\n"], None),
        (["ws://h", "--header", "A: hunter2\nB: c"], "header 'A': the value has a character that HTTP forbids"),
    ],
)
def test_arguments_that_are_not_understood_have_exit_code_2_and_are_not_quoted(
    arguments: list[str], text: str | None
) -> None:
    result = libws("check", *arguments)
    assert "hunter2" not in result.stdout + result.stderr
    assert result.returncode == (0 if text is None else 2)
    if text is not None:
        assert text in result.stderr


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("5", Text("5")),
        ("true", Text("true")),
        ("plain words", Text("plain words")),
        ("", Text("")),
        ("'5'", "5"),
        ('"a\\tb"', "a\tb"),
        ("[1, 2]", [1, 2]),
        ('{1008 = "fatal"}', {"1008": "fatal"}),
        ("{broken", Text("{broken")),
        ("1\nother = 2", Text("1\nother = 2")),
        ("a=b=c", Text("a=b=c")),
    ],
)
def test_values_are_read_as_toml_where_that_makes_sense(written: str, value: Any) -> None:
    found = read_value(written)
    assert found == value
    assert type(found) is type(value)


def test_bare_numbers_become_what_the_option_is() -> None:
    given = ["--set", "backoff.cap=5", "--set", "backoff.max_attempts=none", "--set", "auth.bearer=12345"]
    plan = plan_of("ws://h", "--enable", "auth", *given, "--set", 'backoff.codes={1008 = "fatal"}')
    options = {part["name"]: part["options"] for part in plan["plugins"]}
    assert options["backoff"]["cap"]["value"] == 5.0
    assert options["backoff"]["max_attempts"] == {"value": None, "from": "--set"}
    assert options["backoff"]["codes"]["value"] == {"1008": "fatal"}
    assert options["auth"]["bearer"]["value"] == "***"


def test_settings_are_grouped_by_plugin_and_the_last_one_counts() -> None:
    assert read_settings(["a.x=1", "b.y='2'", "a.z=3", "a.x=4"]) == {"a": {"x": "4", "z": "3"}, "b": {"y": "2"}}


def test_headers_of_the_command_line_take_the_place_of_their_namesakes(tmp_path: Path) -> None:
    path = tmp_path / "one.toml"
    path.write_text('[client]\nurl = "ws://a"\nheaders = { A = "1", B = "2" }\n')
    arguments = Target(str(path), headers=["b: 3", "C:4"]).arguments()
    assert dict(arguments["headers"]) == {"A": "1", "b": "3", "C": "4"}


def test_target_never_shows_what_it_holds() -> None:
    assert "hunter2" not in repr(Target("ws://u:hunter2@h", settings=["auth.bearer=hunter2"]))
    with pytest.raises(UsageError) as caught:
        Target("ws://h", headers=["Authorization hunter2"]).arguments()
    assert "hunter2" not in str(caught.value)
