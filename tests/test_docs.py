"""READMEs and docs: every block of code runs, every profile loads, and words and code say the same.

A comment above a block says what to do with it:

    <!-- run: SERVER -->             run it as a program against that server (`SERVERS`, or none), which stands in the
                                     place of wss://example.com/socket
    <!-- run: SERVER; then Ctrl-C -->    it goes on for ever: interrupt it when it has printed its output
    <!-- run: pytest -->             it is a file of tests
    <!-- file: PATH -->              a file, for the page's other blocks
    <!-- profile: NAME -->           a profile, for the page's other blocks
    <!-- client -->                  one or more calls of Client, which is at hand: they must not raise
    <!-- options: PLUGIN -->         that plugin's options, as `options` in Python or a table of a profile: a client is
                                     made with them
    <!-- output -->                  what the block above prints
    <!-- output: roughly -->         the same, but for its numbers
    <!-- no-run: REASON -->          leave it alone

A block of sh without a comment is only shown: what it names must exist. tests/tutorial plays docs/writing-a-plugin.md,
which has directives of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement

import libws_core
import libws_core.testing
from libws_core import errors, events, hookspecs, order, profile, types, verdicts
from libws_core.client import Client, Stats
from libws_core.conversion import described
from libws_core.errors import LibwsError, SendError
from libws_core.machine import State
from libws_core.options import options_of
from libws_core.plugins import describe, installed
from libws_core.testing import Peer, Server, fixtures, refuse

ROOT = Path(__file__).parent.parent
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md")}
READMES = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "libws_plugins").glob("*/README.md"))]
PAGES |= {page: (ROOT / page).read_text("utf-8") for page in ("README.md", "CONTRIBUTING.md", *READMES)}
DOCS = "\n".join(text for name, text in PAGES.items() if name.startswith("docs/"))
HOMES = {
    name: path.parent.name
    for path in sorted((ROOT / "libws_plugins").glob("*/pyproject.toml"))
    for name in tomllib.loads(path.read_text("utf-8"))["project"]["entry-points"]["libws.v1"]
}
"""Plugin -> the folder of its distribution."""
PLUGINS = sorted(HOMES)
TUTORIAL = "docs/writing-a-plugin.md"
URL = "wss://example.com/socket"
PATIENCE = 60.0
"""Seconds that a block may take."""
PUBLIC = re.compile(r"[A-Za-z]\w*\Z")


# Blocks


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    directive: str
    """What the comment above it says, empty if there is none."""

    @property
    def verb(self) -> str:
        return self.directive.partition(":")[0].strip()

    @property
    def words(self) -> list[str]:
        """What follows the verb, split at semicolons."""
        return [word.strip() for word in self.directive.partition(":")[2].split(";")]


def blocks_of(page: str) -> list[Block]:
    found: list[Block] = []
    directive, language, begin, inside = "", "", 0, list[str]()
    open_block = False
    for number, line in enumerate(PAGES[page].splitlines(), 1):
        comment = re.fullmatch(r"<!-- (.*) -->", line)
        if open_block and line == "```":
            found.append(Block(page, begin, language, "\n".join(inside) + "\n", directive))
            open_block, directive = False, ""
        elif open_block:
            inside.append(line)
        elif line.startswith("```"):
            open_block, language, begin, inside = True, line[3:], number, []
        elif comment:
            directive = comment[1]
        elif line:
            directive = ""
    assert not open_block, f"{page}: the block of line {begin} does not end"
    return found


BLOCKS = [block for page in sorted(PAGES) if page != TUTORIAL for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.verb == "run"]


def place_of(block: Block) -> str:
    return f"{block.page}:{block.line}"


def expected_output(block: Block) -> Block | None:
    page = blocks_of(block.page)
    following = page[page.index(block) + 1 :]
    return following[0] if following and following[0].verb == "output" else None


def rounded(text: str, expected: Block) -> str:
    """What is compared: where numbers do not count, each is the same."""
    return re.sub(r"\d+(\.\d+)?", "0", text) if expected.words == ["roughly"] else text


def write_files(page: str, folder: Path) -> None:
    """Write the page's files and profiles."""
    for block in blocks_of(page):
        if block.verb in ("file", "profile"):
            path = folder / block.words[0]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")


def environment() -> dict[str, str]:
    """What a block's process sees: nothing of ours that would change what it does."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("COV", "LIBWS"))
    }
    kept |= {"EXAMPLE_TOKEN": "t0ken", "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "NO_COLOR": "1"}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept


async def echo(peer: Peer) -> None:
    async for message in peer:
        await peer.send(message)


async def first_of_two(peer: Peer) -> None:
    await peer.send("from connection 1")
    await peer.drop()


async def second_of_two(peer: Peer) -> None:
    await peer.send("from connection 2")
    await echo(peer)


async def welcome(peer: Peer) -> None:
    await peer.send({"type": "welcome", "session": "s-1"})
    await echo(peer)


async def asks(peer: Peer) -> None:
    await peer.send({"op": "ping", "id": 7})
    answer = await peer.recv()
    await peer.send(f"you answered {answer.data}")
    await echo(peer)


SERVERS: dict[str, tuple[Any, ...]] = {
    "echo": (echo,),
    "drops": (first_of_two, second_of_two),
    "not-found": (refuse(404),),
    "welcome": (welcome,),
    "asks": (asks,),
}


@asynccontextmanager
async def url_of(server: str) -> AsyncIterator[str]:
    if server == "none":
        yield URL
        return
    async with Server(*SERVERS[server]) as running:
        yield running.url


async def read_output(process: asyncio.subprocess.Process, expected: str) -> str:
    """Read until the process has printed what is expected, or has ended."""
    assert process.stdout is not None
    output = ""
    while output != expected and (line := await process.stdout.readline()):
        output += line.decode()
    return output


class Ran(NamedTuple):
    """What became of a block."""

    output: str
    told: str
    """What it said beside its output."""
    status: int | None


async def run_block(block: Block, folder: Path) -> Ran:
    """Run a block in a process of its own, against its server."""
    expected = expected_output(block)
    assert expected is not None, "a block that runs shows what it prints"
    interrupted = "then Ctrl-C" in block.words
    command = (sys.executable, "-X", "dev", "-W", "error") if block.language == "python" else ("sh", "-e")
    async with url_of(block.words[0]) as url:
        (folder / "block").write_text(block.text.replace(URL, url), "utf-8")
        process = await asyncio.create_subprocess_exec(
            *(*command, "block"),
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(PATIENCE):
                output = await read_output(process, expected.text) if interrupted else ""
                if interrupted and process.returncode is None:
                    process.send_signal(signal.SIGINT)
                rest, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    return Ran(output + rest.decode(), complaints.decode(), process.returncode)


async def run_alone(block: Block, folder: Path) -> Ran | None:
    """Run a block beside its page's files. None = it is a file of tests, and they passed."""
    write_files(block.page, folder)
    if block.words[0] != "pytest":
        return await run_block(block, folder)
    (folder / "test_block.py").write_text(block.text, "utf-8")
    await run_pytest(folder / "test_block.py")
    return None


@pytest.mark.parametrize("block", RUN, ids=place_of)
async def test_every_block_runs_and_prints_what_the_page_says(block: Block, tmp_path: Path) -> None:
    _, *more = block.words
    assert {*more} <= {"then Ctrl-C"}
    ran = await run_alone(block, tmp_path)
    if ran is None:
        return
    expected = expected_output(block)
    assert expected is not None
    assert rounded(ran.output, expected) == rounded(expected.text, expected), ran.told
    assert "Warning" not in ran.told
    if "then Ctrl-C" in more:
        assert ran.told.rstrip().endswith("KeyboardInterrupt")
    else:
        assert ran.status == 0, ran.told


async def run_pytest(tests: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "-p", "no:asyncio"]
    process = await asyncio.create_subprocess_exec(
        *(*command, str(tests)),
        cwd=tests.parent,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def test_every_block_says_what_becomes_of_it() -> None:
    verbs = {
        "python": {"run", "client", "options", "no-run"},
        "toml": {"profile", "options"},
        "text": {"", "output"},
        "sh": {"", "run"},
        "go": {"no-run"},
        "json": {"file"},
    }
    for block in BLOCKS:
        assert block.verb in verbs[block.language], f"{place_of(block)}: {block.language} block: {block.directive!r}"
        if block.verb == "run":
            assert block.words[0] in {*SERVERS, "none", "pytest"}, place_of(block)
        if block.verb == "output":
            assert block.words in ([""], ["roughly"]), place_of(block)


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.verb == "profile"], ids=place_of)
def test_every_profile_makes_a_client(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(block.page, tmp_path)
    monkeypatch.setenv("EXAMPLE_TOKEN", "t0ken")
    monkeypatch.delenv("LIBWS_PLUGINS", raising=False)
    for name in [None, *tomllib.loads(block.text).get("clients", {})]:
        Client.from_profile(tmp_path / block.words[0], name)


def of_verb(*verbs: str) -> list[Block]:
    return [block for block in BLOCKS if block.verb in verbs]


@pytest.mark.parametrize("block", of_verb("client"), ids=place_of)
def test_every_client_that_is_shown_can_be_made(block: Block) -> None:
    made: list[Client] = []
    exec(block.text, {"Client": lambda *args, **named: made.append(Client(*args, **named))})
    assert made


@pytest.mark.parametrize("block", of_verb("options"), ids=place_of)
def test_options_that_are_shown_are_taken(block: Block, tmp_path: Path) -> None:
    (name,) = block.words
    if block.language == "toml":
        profile = f'[client]\nurl = "{URL}"\nplugins = ["{name}"]\n{block.text}'
        assert tomllib.loads(profile)["client"]["options"][name]
        (tmp_path / "shown.toml").write_text(profile, "utf-8")
        Client.from_profile(tmp_path / "shown.toml")
        return
    told: dict[str, Any] = {}
    exec(block.text, told)
    assert told["options"]
    Client(URL, plugins=[name], options={name: told["options"]})


@pytest.mark.parametrize("block", [block for block in of_verb("") if block.language == "sh"], ids=place_of)
def test_a_command_that_is_only_shown_names_what_exists(block: Block) -> None:
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M)
    commands = re.findall(r"^## (.*)$", PAGES["docs/command.md"], re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert targets
    for line in block.text.splitlines():
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"[A-Z_]+=", word)]
        match words:
            case ["make", *named]:
                assert {*named} <= {*targets[1].split()}, line
            case ["libws", command, *_]:
                assert command in commands, line
            case ["pip", "install", *needs]:
                for need in map(Requirement, needs):
                    assert need.name == "libws-core" or need.name.removeprefix("libws-") in PLUGINS, line
                    assert need.extras <= extras.keys(), line
            case ["python", "app.py"]:
                pass
            case ["gh", "workflow", "run", workflow, *_]:
                assert (ROOT / ".github" / "workflows" / workflow).exists(), line
            case _:
                pytest.fail(f"{line}: say in a comment above the block what becomes of it")


# Tables


def section(page: str, *headings: str) -> str:
    """What stands under a heading, and under a heading within that."""
    text = PAGES[page]
    for depth, heading in enumerate(headings, 2):
        found = re.search(rf"^{'#' * depth} {re.escape(heading)}$(.*?)(?=^#{{1,{depth}}} |\Z)", text, re.M | re.S)
        assert found, f"{page} has no heading {heading!r}"
        text = found[1]
    return text


def tables(text: str) -> list[list[list[str]]]:
    """Every table of a text: its rows without the head, as cells."""
    found: list[list[list[str]]] = []
    lines = iter([*text.splitlines(), ""])
    for line in lines:
        if re.match(r"\|[-|]+\|$", line):
            rows = []
            while (row := next(lines)).startswith("|"):
                rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]])
            found.append(rows)
    return found


def spans(text: str) -> list[str]:
    """What stands in backticks in the prose of a text."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def names(table: list[list[str]]) -> list[str]:
    """The names in a table's first column, without their arguments."""
    return [re.split(r"[^\w-]", span)[0] for row in table for span in spans(row[0])]


def public(cls: type) -> set[str]:
    """The members of a class and its annotated attributes that do not begin with an underscore."""
    return {name for name in {*vars(cls), *inspect.get_annotations(cls)} if not name.startswith("_")}


# Words and code say the same


def hooks() -> dict[str, Callable[..., Any]]:
    return {name: spec for name, spec in vars(hookspecs).items() if hasattr(spec, "libws_spec")}


def test_every_hook_is_documented_with_its_own_docstring() -> None:
    text = PAGES["docs/hooks.md"]
    headings = re.findall(r"^## (.*)$", text, re.M)
    assert headings == [*hooks(), "Version"]
    for name, spec in hooks().items():
        signature = f"```text\n{name}{inspect.signature(spec)}\n```".replace("'", "")
        assert signature in section("docs/hooks.md", name)
        assert inspect.cleandoc(spec.__doc__ or "") in section("docs/hooks.md", name)


def test_the_table_of_hooks_is_complete() -> None:
    (table,) = tables(PAGES["docs/hooks.md"])
    assert names(table) == [*hooks()]
    assert {row[0][2 : row[0].index("`]")] for row in table if row[1] == "async"} == hookspecs.ASYNC
    assert hookspecs.GROUP in PAGES["docs/hooks.md"]
    for name in hooks():
        assert re.search(rf"\b{name}\b", section("README.md", "The way of an attempt, and of a message")), name


def test_the_readme_names_the_plugins_that_exist() -> None:
    (table,) = tables(section("README.md", "Official plugins"))
    assert sorted(names(table)) == PLUGINS
    standard = [name for name, row in zip(names(table), table, strict=True) if row[1] == "yes"]
    assert standard == [*order.STANDARD]


def test_every_plugin_has_its_options_documented() -> None:
    headings = re.findall(r"^## (.*)$", PAGES["docs/options.md"], re.M)
    assert sorted({*headings} - {"Client", "Matches"}) == PLUGINS


@pytest.mark.parametrize("home", sorted({*HOMES.values()}))
def test_a_readme_lists_the_options_of_its_plugins(home: str) -> None:
    classes = {each.name: each.cls for each in installed() if HOMES.get(each.name) == home}
    listed = re.findall(r"^\| option \|.*\n(?:\|.*\n)+", PAGES[f"libws_plugins/{home}/README.md"], re.M)
    told = [name for text in listed for table in tables(text) for name in names(table)]
    expected = list[str]()
    for cls in [classes[name] for name in HOMES if HOMES[name] == home]:
        assert cls is not None
        expected += options_of(cls)
    assert told == expected


def kinds(annotation: Any) -> str:
    """What an option takes, without what is in it: dict, and not dict[str, Secret]."""
    text, inner = described(annotation), ""
    while text != inner:
        inner, text = text, re.sub(r"\[[^\[\]]*\]", "", text)
    return text


@pytest.mark.parametrize("plugin", PLUGINS)
def test_every_option_is_documented_with_what_it_takes_and_its_default(plugin: str) -> None:
    describe(plugin)  # says why, if it cannot be loaded
    (cls,) = [each.cls for each in installed() if each.name == plugin]
    assert cls is not None
    (table,) = tables(section("docs/options.md", plugin))
    told = {name: (row[1], row[2].strip("`")) for name, row in zip(names(table), table, strict=True)}
    real = {
        name: (kinds(option.annotation), option.shown_default().partition("=")[2])
        for name, option in options_of(cls).items()
    }
    assert told == real
    assert [*told] == [*real]


def test_every_argument_of_the_client_is_documented_with_its_default() -> None:
    (table,) = tables(section("docs/options.md", "Client"))
    told = {name: row[1].strip("`") for name, row in zip(names(table), table, strict=True)}
    real = {}
    for name, parameter in inspect.signature(Client).parameters.items():
        if not name.startswith("_"):
            default = parameter.default
            shown = "" if default is parameter.empty else "..." if default is ... else repr(default)
            real[name] = shown.replace("'", '"')
    assert told == real


def test_every_member_of_the_client_is_documented() -> None:
    (table,) = tables(section("docs/client.md", "Members"))
    assert sorted(names(table)) == sorted(public(Client))
    for name, row in zip(names(table), table, strict=True):
        member = inspect.getattr_static(Client, name)
        waits = inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)
        assert row[0].endswith("*async*") == waits, name
    assert {*Stats._fields} <= {*spans(section("docs/client.md", "Members"))}
    (states,) = tables(section("docs/client.md", "Its life"))
    assert names(states) == [state.name for state in State]


def test_every_event_and_field_is_documented() -> None:
    common, own = tables(PAGES["docs/events.md"])
    everywhere = inspect.get_annotations(events.Event)
    assert names(common) == [*everywhere]
    told = {name: spans(row[1]) for name, row in zip(names(own), own, strict=True)}
    real = {}
    for name in events.__all__:
        if name != "Event":
            fields = dataclasses.fields(getattr(events, name))
            real[name] = [field.name for field in fields if field.name not in everywhere]
    assert told == real


def test_the_tree_of_errors_is_that_of_the_code() -> None:
    drawn = inspect.cleandoc(errors.__doc__ or "").split("\n\n")[1]
    assert f"```text\n{drawn}\n```" in PAGES["docs/errors.md"]
    line = re.compile(r"^((?:[│ ]   )*)(?:[├└]── )(\w+)(?: \((\w+)\))?", re.M)
    path: list[type[Exception]] = [LibwsError]
    seen = {"LibwsError"}
    for indent, name, builtin in line.findall(drawn):
        del path[len(indent) // 4 + 1 :]
        cls = getattr(errors, name)
        bases = {path[-1].__name__, *([builtin] if builtin else [])}
        assert {base.__name__ for base in cls.__bases__} == bases, name
        path.append(cls)
        seen.add(name)
    assert seen == {*errors.__all__} - {"Problem"}


def test_every_error_is_documented_with_its_verdict_and_whose_fault_it_is() -> None:
    (table,) = tables(section("docs/errors.md", "Each error"))
    assert sorted([*names(table), "Problem"]) == sorted(errors.__all__)
    for name, row in zip(names(table), table, strict=True):
        cls: type[LibwsError] = getattr(errors, name)
        if issubclass(cls, SendError):
            assert row[1] == "—", name
        elif name in ("HandshakeRejected", "ConnectionClosed"):
            assert row[1] == ("by status" if name == "HandshakeRejected" else "by code")
        else:
            assert row[1] == cls.verdict, name
        assert row[2] == ("who closed" if name == "ConnectionClosed" else cls.fault), name
        assert row[3], f"{name}: what to do about it?"
    (attributes,) = tables(section("docs/errors.md", "What an error knows"))
    assert {*names(attributes)} == {*inspect.get_annotations(LibwsError), "text"}
    (meanings,) = tables(section("docs/errors.md", "Verdicts"))
    assert names(meanings) == [*verdicts.Verdict]


@pytest.mark.parametrize(
    ("heading", "verdict", "numbers"),
    [
        ("HTTP statuses", verdicts.status_verdict, range(300, 600)),
        ("Close codes", verdicts.code_verdict, range(1000, 5000)),
    ],
)
def test_the_tables_of_verdicts_are_those_of_the_code(
    heading: str, verdict: Callable[[int], verdicts.Verdict], numbers: range
) -> None:
    (table,) = tables(section("docs/errors.md", heading))
    told = verdicts.verdict_table({row[0]: verdicts.Verdict(row[1]) for row in table})
    assert told == {number: verdict(number) for number in numbers}
    if heading == "Close codes":
        for code, delay in verdicts.LEAST_DELAYS.items():
            (row,) = [row for row in table if row[0] == str(code)]
            assert f"{delay:g} second" in row[2]


@pytest.mark.parametrize(
    ("heading", "members"),
    [
        ("Message", set(types.Kind.__members__)),
        ("Request", public(types.Request)),
        ("Attempt", public(types.Attempt)),
        ("Failure", public(types.Failure)),
        ("Session", public(types.Session)),
        ("Connection", public(types.Connection)),
        ("Sending", public(types.Sending)),
    ],
)
def test_what_hooks_are_given_is_documented(heading: str, members: set[str]) -> None:
    (table,) = tables(section("docs/session.md", heading))
    assert {*names(table)} == members
    assert len(names(table)) == len(members)


def test_the_keys_of_a_profile_are_documented() -> None:
    *_, table = tables(section("docs/plugins.md", "Profiles"))
    assert {*names(table)} == {*profile.ARGUMENTS}
    assert {*profile.TLS} <= {*spans(section("docs/plugins.md", "Profiles"))}


def shown_by(*arguments: str) -> str:
    """What the command prints."""
    program = [sys.executable, "-m", "libws_core.cli", *arguments]
    done = subprocess.run(program, env=environment(), capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_and_flag_is_documented() -> None:
    entries = re.compile(r"^│ +(?:\* +)?([a-z-]+)", re.M)
    commands = [name for name in entries.findall(shown_by("--help")) if not name.startswith("-")]
    headings = re.findall(r"^## (.*)$", PAGES["docs/command.md"], re.M)
    assert sorted(headings) == sorted(commands)
    for command in commands:
        flags = {flag for flag in entries.findall(shown_by(command, "--help")) if flag.startswith("--")}
        told = [row for table in tables(section("docs/command.md", command)) for row in table]
        assert {span.split()[0] for row in told for span in spans(row[0])} == flags, command


def test_the_testing_kit_is_documented() -> None:
    own = tables(section("docs/testing.md", "Fixtures"))
    *lists, peer = [table for table in tables(PAGES["docs/testing.md"]) if table not in own]
    assert [name for table in own for name in names(table)] == fixtures.__all__
    told = [name for table in lists for name in names(table)]
    assert sorted(told) == sorted(libws_core.testing.__all__)
    made = {*re.findall(r"self\.([a-z]\w*)(?:: .*)? = ", inspect.getsource(Peer.__init__))} | public(Peer)
    written = [re.split(r"\W", span)[0] for row in peer for span in spans(row[0])]
    assert {*written} - {"async"} == made


def test_every_public_name_is_documented() -> None:
    code = "\n".join([*spans(DOCS), *(block.text for block in BLOCKS if block.page.startswith("docs/"))])
    missing = [name for name in libws_core.__all__ if PUBLIC.match(name) and not re.search(rf"\b{name}\b", code)]
    assert missing == []


def test_what_the_prose_names_exists() -> None:
    """`client.send`, `session.recv`, `backoff.cap`: members, options and hooks that are named still exist."""
    plugins = {each.name: each.cls for each in installed() if each.name in PLUGINS}
    for page, text in PAGES.items():
        for owner, name in re.findall(r"(?<![\w.\[])([a-z]\w*)\.([a-z]\w*)", "\n".join(spans(text))):
            if name in ("jsonl", "md", "toml") or (owner, name) in (("http", "response"), ("session", "logon")):
                continue  # a file, an attribute of OpenTelemetry, a method of Binance
            if owner in ("client", "session"):
                assert name in public(Client if owner == "client" else types.Session), f"{page}: {owner}.{name}"
            elif owner in plugins and name != "on":
                cls = plugins[owner]
                assert cls is not None
                assert name in {*options_of(cls), *describe(owner).hooks}, f"{page}: {owner}.{name}"
            elif owner == "libws_core":
                assert name in {
                    *libws_core.__all__,
                    "testing",
                    "clock",
                    "chance",
                    "credentials",
                    "errors",
                    "hookspecs",
                }, f"{page}: {name}"


def headings(page: str) -> set[str]:
    """The anchors of a page."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / page).read_text("utf-8"), flags=re.M | re.S)
    found = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


def links() -> Iterator[tuple[str, str]]:
    for page in [*PAGES, "CHANGELOG.md"]:
        for link in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text("utf-8")):
            yield page, link


def test_every_link_leads_somewhere() -> None:
    for page, link in links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if anchor:
            assert anchor in headings(target.resolve().relative_to(ROOT).as_posix()), f"{page}: {link}"


def test_every_page_is_listed() -> None:
    pages = {name.removeprefix("docs/") for name in PAGES if name.startswith("docs/")} - {"index.md"}
    assert {link for page, link in links() if page == "docs/index.md"} == pages
    assert {link for page, link in links() if page == "README.md"} >= {f"docs/{name}" for name in pages}


def test_the_changelog_tells_of_this_version_on_top() -> None:
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    versions = re.findall(r"^## (\S+)", text, re.M)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == libws_core.__version__
    assert [version for version in versions if version != "Unreleased"][:1] == [libws_core.__version__]
    assert versions.index(libws_core.__version__) <= 1


def test_contributing_fits_on_one_screen() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text("utf-8").splitlines()) <= 45
