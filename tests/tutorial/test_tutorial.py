"""docs/writing-a-plugin.md, word by word: in an empty folder, with nothing but Python and wheels to install from.

A comment above a block says what to do with it:

    <!-- run -->             type it into the shell, which goes on from block to block
    <!-- output -->          what the block above prints
    <!-- output: roughly --> the same, but for its numbers
    <!-- file: PATH -->      write this file, below the folder in which the shell is
    <!-- append: PATH -->    write it at the end of this file, two empty lines below what is there
    <!-- show: PATH -->      this is in the file already

All the while the server of the page is there, in the place of wss://example.com/socket.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import wheelhouse

from libws_core.testing import Peer, Server

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "writing-a-plugin.md"
URL = "wss://example.com/socket"
PATIENCE = 300.0
"""Seconds that a block may take; those that install something take the longest."""
PLUGINS = ("backoff", "ping", "pong", "record", "replay", "websockets")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
"""What a terminal shows as a colour; twine writes it always."""
NEEDS = (
    *("libws-core[standard,testing]", "libws-record", "libws-replay"),
    *("build", "editables", "hatchling", "mypy", "ruff", "twine"),
)
"""What the page installs, and what building a plugin needs."""


class Block(NamedTuple):
    """A fenced block of the page."""

    line: int
    language: str
    verb: str
    """Of the comment above it, empty if there is none."""
    argument: str
    text: str


def blocks(page: str) -> Iterator[Block]:
    """The blocks of a page, in order."""
    pattern = re.compile(r"(?:^<!-- (\w+)(?:: (.*?))? -->\n)?^```(\w*)\n(.*?)^```$", re.M | re.S)
    for found in pattern.finditer(page):
        verb, argument, language, text = found.groups()
        yield Block(page.count("\n", 0, found.start()) + 1, language, verb or "", argument or "", text)


def rounded(text: str, block: Block) -> str:
    """What is compared: where numbers do not count, each is the same."""
    return re.sub(r"\d+(\.\d+)?", "0", text) if block.argument == "roughly" else text


async def acme(peer: Peer) -> None:
    """The server of the page: its hello, log-in, heartbeats, and a message for whoever has logged in."""
    peer.send({"type": "hello", "heartbeat": 15})
    async for message in peer:
        match message.json:
            case {"type": "login", "token": "t0ken"}:
                peer.send({"type": "welcome", "session": "s-1"})
                peer.send({"type": "news", "n": 1})
            case {"type": "login"}:
                peer.send({"type": "denied"})
            case {"type": "ping"}:
                peer.send({"type": "pong"})


class Shell:
    """A shell that goes on from block to block, as a reader's does."""

    def __init__(self, process: asyncio.subprocess.Process, folder: Path) -> None:
        self.folder = folder
        """Where it is now."""
        self._process = process
        self._place = folder
        self._count = 0

    async def run(self, text: str) -> tuple[str, str]:
        """Type something; gives what it prints, and what it says beside that.

        Raises:
            AssertionError: a command has failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._count += 1
        script, out, told = (self._place.parent / f"{self._count}.{kind}" for kind in ("sh", "out", "told"))
        script.write_text(text, "utf-8")
        self._process.stdin.write(f". {script} >{out} 2>{told} </dev/null; pwd\n".encode())
        async with asyncio.timeout(PATIENCE):
            line = (await self._process.stdout.readline()).decode()
        assert line, f"a command has failed:\n{text}\n{out.read_text('utf-8')}\n{told.read_text('utf-8')}"
        self.folder = Path(line.rstrip("\n"))
        return out.read_text("utf-8"), told.read_text("utf-8")


@asynccontextmanager
async def shell(folder: Path, **environ: str) -> AsyncIterator[Shell]:
    """A shell in a folder, with an environment in which nothing of ours is left."""
    kept = {name: os.environ[name] for name in ("LANG", "SYSTEMROOT", "TMPDIR") if name in os.environ}
    kept |= {"PATH": os.pathsep.join([str(Path(sys.base_prefix) / "bin"), "/usr/bin", "/bin"]), "HOME": str(folder)}
    kept |= {"COLUMNS": "200", "NO_COLOR": "1", "PYTHONUTF8": "1", "PS1": "$ "}
    process = await asyncio.create_subprocess_exec(
        *("sh", "-e"),
        cwd=folder,
        env={**kept, **environ},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Shell(process, folder)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def play(page: str, user: Shell, url: str) -> None:
    """Do what a page says, block by block.

    Raises:
        AssertionError: something else was printed, a command failed, or a block is of no use.
    """
    here = list(blocks(page))
    for block, after in zip(here, [*here[1:], None], strict=True):
        place = f"line {block.line}"
        text = block.text.replace(URL, url)
        path = user.folder / block.argument
        match block.verb:
            case "run":
                printed, told = await user.run(text)
                expected = after if after is not None and after.verb == "output" else None
                wanted = "" if expected is None else rounded(expected.text, expected)
                got = COLOUR.sub("", printed).replace(url, URL)
                got = got if expected is None else rounded(got, expected)
                assert got == wanted, f"{place} printed:\n{printed}\ninstead of:\n{wanted}\n{told}"
            case "output":
                pass
            case "file":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
            case "append":
                path.write_text(f"{path.read_text('utf-8')}\n\n{text}", "utf-8")
            case "show":
                assert block.text in path.read_text("utf-8"), f"{place}: this is not in {block.argument}"
            case _:
                raise AssertionError(f"{place}: nothing says what becomes of this block")


# The page


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tutorial") / "wheels"
    wheelhouse.make(folder, [ROOT, *(ROOT / "libws_plugins" / name for name in PLUGINS)], NEEDS)
    return folder


@pytest.mark.install
async def test_the_page_does_what_it_says(wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hour"
    folder.mkdir()
    from_wheels = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
        "PIP_NO_COMPILE": "1",
        "PIP_NO_CACHE_DIR": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    async with Server(acme) as server, shell(folder, **from_wheels) as user:
        await play(PAGE.read_text("utf-8"), user, server.url + "socket")


# What plays it


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "here").mkdir()
    return tmp_path / "here"


async def played(folder: Path, page: str) -> None:
    async with shell(folder) as user:
        await play(page.replace("'''", "```"), user, "ws://localhost:1")


async def test_the_shell_goes_on_and_files_are_written_where_it_is(folder: Path) -> None:
    page = """
<!-- run -->
'''sh
mkdir below; cd below; word=hello
'''

<!-- file: a/b -->
'''text
one
'''

<!-- append: a/b -->
'''text
wss://example.com/socket
'''

<!-- show: a/b -->
'''text
one
'''

<!-- run -->
'''sh
echo $word; cat a/b; cat
'''

<!-- output -->
'''text
hello
one


wss://example.com/socket
'''

<!-- run -->
'''sh
echo took 2.5 s
'''

<!-- output: roughly -->
'''text
took 1 s
'''
"""
    await played(folder, page)
    assert (folder / "below/a/b").read_text() == "one\n\n\nws://localhost:1\n"


@pytest.mark.parametrize(
    ("page", "told"),
    [
        ("<!-- run -->\n'''sh\necho a\n'''\n\n<!-- output -->\n'''text\nb\n'''\n", "instead of:"),
        ("<!-- run -->\n'''sh\necho a\n'''\n", "instead of:"),
        ("<!-- run -->\n'''sh\necho 1 a\n'''\n\n<!-- output: roughly -->\n'''text\n2 b\n'''\n", "instead of:"),
        ("<!-- run -->\n'''sh\nfalse\necho a\n'''\n\n<!-- output -->\n'''text\na\n'''\n", "a command has failed"),
        ("<!-- show: x -->\n'''sh\na\n'''\n", "No such file"),
        ("'''sh\necho a\n'''\n", "nothing says what becomes of this block"),
    ],
)
async def test_what_is_otherwise_is_told(page: str, told: str, folder: Path) -> None:
    with pytest.raises((AssertionError, OSError), match=re.escape(told)):
        await played(folder, page)


async def test_the_server_of_the_page_speaks_as_the_page_says() -> None:
    from libws_core import Client

    async with Server(acme) as server, Client(server.url) as client:
        assert (await client.recv(5)).json == {"type": "hello", "heartbeat": 15}
        await client.send_json({"type": "login", "token": "wrong"})
        assert (await client.recv(5)).json == {"type": "denied"}


def test_every_block_of_the_page_is_of_use() -> None:
    verbs = {block.verb for block in blocks(PAGE.read_text("utf-8"))}
    assert verbs == {"run", "output", "file", "append"} | (verbs & {"show"})
    assert len([*blocks(PAGE.read_text("utf-8"))]) == PAGE.read_text("utf-8").count("```") // 2
