"""`libws connect` as people and pipes use it: real processes, a real server, a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import sys
import termios
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libws_core import Client, Message
from libws_core.cli.connect import hold_conversation
from libws_core.cli.keyboard import LONGEST, Input
from libws_core.cli.screen import Screen
from libws_core.testing import Server, ServerPeer, refuse

DEADLINE = 30
COMMAND = (sys.executable, "-m", "libws_core.cli", "connect")


def echo(peer: ServerPeer) -> None:
    peer.on_message = peer.send


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(echo) as server:
        yield server


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "TERM": "xterm", **more}


async def started(*arguments: str, **more: Any) -> Process:
    more = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, "env": environment(), "limit": 2**22, **more}
    return await asyncio.create_subprocess_exec(*COMMAND, *arguments, **more)


async def ended(process: Process, data: bytes | None = None) -> tuple[int | None, str, str]:
    """Give it its input and wait for its end: exit code, standard output, standard error."""
    async with asyncio.timeout(DEADLINE):
        out, error = await process.communicate(data)
    return process.returncode, (out or b"").decode(), (error or b"").decode()


class Terminal:
    """The other side of a terminal on which the command runs."""

    def __init__(self) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
        self.modes = termios.tcgetattr(self.slave)
        self.seen = ""
        self._more = asyncio.Event()
        os.set_blocking(self.master, False)
        asyncio.get_running_loop().add_reader(self.master, self._read)

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            self.seen += os.read(self.master, 65536).decode()
        self._more.set()

    async def start(self, *arguments: str, **more: str) -> Process:
        slave = self.slave

        def take_terminal() -> None:
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)  # so that Ctrl-C is for this process

        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *arguments,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment(**more),
            start_new_session=True,
            preexec_fn=take_terminal,
        )

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    async def until(self, text: str) -> None:
        """Wait until this was shown since the last time."""
        try:
            async with asyncio.timeout(DEADLINE):
                while text not in self.seen:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"expected {text!r}, the terminal shows {self.seen!r}") from None
        self.seen = self.seen[self.seen.index(text) + len(text) :]

    async def exit_code(self, process: Process) -> int:
        async with asyncio.timeout(DEADLINE):
            return await process.wait()

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.master)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
async def terminal() -> AsyncIterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


# Pipes


async def test_lines_of_a_pipe_are_sent_and_answers_printed_as_they_are(server: Server) -> None:
    code, out, error = await ended(await started(server.url), "grüße\n\n  two words\nlast".encode())
    assert (code, out) == (0, "grüße\n\n  two words\nlast\n")
    assert [line for line in error.splitlines() if line == "* connected"]
    assert "\x1b" not in out + error


async def test_json_gives_an_object_a_line_for_each_message_and_event(server: Server) -> None:
    code, out, error = await ended(await started(server.url, "--json"), b'{"a": "\\u001b[2J \xc3\xbc"}\n')
    assert (code, error) == (0, "")
    assert out.isascii()
    told = [json.loads(line) for line in out.splitlines()]
    messages = [each for each in told if each["type"] == "message"]
    assert [(each["kind"], each["data"]) for each in messages] == [("text", '{"a": "\\u001b[2J ü"}')]
    names = [each["event"] for each in told if each["type"] == "event"]
    assert names == [*["Connecting"] * 5, "Connected", "Disconnected", "Closed"]
    assert told[-2]["error"]["initiator"] == "local"
    assert told[-1]["error"] is None


async def test_a_file_is_sent_to_its_end(server: Server, tmp_path: Path) -> None:
    lines = "".join(f"{number} {'x' * 100}\n" for number in range(5000))
    path = tmp_path / "lines.txt"
    path.write_text(lines)
    with path.open("rb") as file:
        process = await started(server.url, stdin=file, stderr=DEVNULL)
        code, out, _ = await ended(process)
    assert code == 0
    assert out == lines


async def test_what_comes_after_the_end_of_the_input_is_waited_for() -> None:
    async with Server() as server:
        process = await started(server.url, "--wait", "inf", stdin=DEVNULL)
        peer = await server.accept()
        await peer.send("late")
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"late\n"
        await peer.send(Message.binary(b"\x00\x01"))
        async with asyncio.timeout(DEADLINE):
            assert await process.stdout.readline() == b"binary, 2 bytes: 00 01\n"
        process.send_signal(signal.SIGINT)
        assert (await ended(process))[0] == 0
        assert await peer.wait_gone() == 1000


async def test_with_no_wait_the_end_of_the_input_is_the_end() -> None:
    async with Server() as server:
        process = await started(server.url, "--wait", "0")
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        process.stdin.close()
        peer = await server.accept()
        await peer.expect("one")
        assert await peer.wait_gone() == 1000
        assert (await ended(process))[0] == 0


@pytest.mark.parametrize(("at_terminal", "given", "seconds"), [(False, None, 1), (True, None, 0), (True, 5.0, 5)])
async def test_answers_are_waited_for_where_nobody_types(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, at_terminal: bool, given: float | None, seconds: float
) -> None:
    waits = []

    class Recorder:
        def __init__(
            self, client: Client, source: Input, screen: Screen, wait: float, attended: bool, tracing: None
        ) -> None:
            waits.append((wait, attended))

        async def run(self) -> int:
            return 0

    monkeypatch.setattr("libws_core.cli.conversation.Conversation", Recorder)
    with open(os.ttyname(terminal.slave) if at_terminal else os.devnull) as source:  # noqa: ASYNC230
        monkeypatch.setattr(sys, "stdin", source)
        assert await hold_conversation(Client("ws://h"), given, False) == 0
    assert waits == [(seconds, at_terminal)]


@pytest.mark.parametrize("closed", ["<&-", ">&-"])
async def test_closed_input_or_output_is_no_crash(server: Server, closed: str) -> None:
    words = " ".join([*COMMAND, server.url, "--wait 0", closed])
    process = await asyncio.create_subprocess_shell(words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=environment())
    code, out, error = await ended(process)
    assert (code, out) == (0, "")
    assert "Traceback" not in error


async def test_lines_wait_until_the_client_is_connected_and_again_after_a_loss() -> None:
    async with Server(refuse(503), echo) as server:
        process = await started(server.url, "--set", "backoff.base=0", "--wait", "0", "--json")
        assert process.stdin is not None
        assert process.stdout is not None
        told: list[dict[str, Any]] = []

        async def until(name: str, value: str) -> None:
            assert process.stdout is not None
            async with asyncio.timeout(DEADLINE):
                while not told or told[-1].get(name) != value:
                    told.append(json.loads(await process.stdout.readline()))

        process.stdin.write(b"one\n")
        await until("data", "one")
        server.refuse(503, times=2)
        server.peers[0].drop()
        await until("event", "Disconnected")
        process.stdin.write(b"two\n")
        await until("data", "two")
        process.stdin.close()
        code, _, error = await ended(process)
        assert (code, error) == (0, "")  # the events tell of retries, the log need not
        names = [each.get("event") for each in told]
        assert names.count("AttemptFailed") == 3
        assert names.index("Disconnected") < names.index("Gap") < names.index("Reconnected")


async def test_headers_subprotocols_and_plugins_come_from_profile_and_command_line(tmp_path: Path) -> None:
    async with Server(echo, subprotocols=["v2", "v1"]) as server:
        path = tmp_path / "profile.toml"
        path.write_text(
            f'[client]\nurl = "{server.url}path"\nheaders = {{ X-One = "1" }}\nsubprotocols = ["v1"]\n'
            'plugins = ["auth"]\n[client.options.auth]\nbearer = { env = "TOKEN" }\n'
        )
        given = ["--header", "X-Two: 2", "--subprotocol", "v2", "--enable", "-ping", "--set", "auth.message=hello"]
        process = await started(str(path), *given, env=environment(TOKEN="hunter2"))
        code, out, error = await ended(process, b"x\n")
        assert (code, out) == (0, "hello\nx\n")
        assert "hunter2" not in error
        arrival = server.arrivals[0]
        assert arrival.path == "/path"
        assert arrival.headers is not None
        wanted = {"X-One": "1", "X-Two": "2", "Authorization": "Bearer hunter2", "Sec-WebSocket-Protocol": "v2"}
        assert {name: arrival.headers[name] for name in wanted} == wanted


async def test_failed_client_has_exit_code_1(server: Server) -> None:
    server.refuse(404)
    code, out, error = await ended(await started(f"{server.url}?token=hunter2"), b"never\n")
    assert (code, out) == (1, "")
    assert "* failed: " in error
    assert "404" in error
    assert "hunter2" not in error
    assert "Traceback" not in error


async def test_client_that_fails_later_has_exit_code_1(server: Server) -> None:
    process = await started(server.url, "--enable", "-backoff", "--wait", "inf", stdin=DEVNULL)
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while b"* connected" not in await process.stderr.readline():
            pass
    server.peers[0].close(1012, "bye\x1b[2J")
    code, _, error = await ended(process)
    assert code == 1
    assert "bye\\x1b[2J" in error
    assert "\x1b" not in error


async def test_server_that_closes_properly_is_connected_to_again(server: Server) -> None:
    process = await started(server.url, "--set", "backoff.base=0", "--wait", "inf", stdin=DEVNULL)
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE):
        while b"* connected" not in await process.stderr.readline():
            pass
        server.peers[0].close(1000)
        while b"* connected again, connection 2" not in await process.stderr.readline():
            pass
    process.send_signal(signal.SIGTERM)
    assert (await ended(process))[0] == 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--set", "backoff.cap=fast"], "'backoff': option 'cap': expected float >= 0, got str 'fast'; options: base="),
        (["--set", "nosuch"], "--set takes PLUGIN.OPTION=VALUE"),
        (["--enable", "backof"], "'backof': not installed in "),
        (["--wait", "-1"], "--wait takes seconds from 0 on, or inf"),
        (["--wait", "nan"], "--wait takes seconds from 0 on, or inf"),
    ],
)
async def test_wrong_arguments_dial_nothing_and_have_exit_code_2(
    server: Server, arguments: list[str], text: str
) -> None:
    code, out, error = await ended(await started(server.url, *arguments), b"x\n")
    assert (code, out) == (2, "")
    assert text in error
    assert "Traceback" not in error
    assert server.count == 0


async def test_reader_that_leaves_ends_the_conversation_quietly(server: Server) -> None:
    reader, writer = os.pipe()
    process = await started(server.url, "--wait", "inf", stdout=writer)
    os.close(writer)
    os.close(reader)
    assert process.stdin is not None
    process.stdin.write(b"x\n")
    async with asyncio.timeout(DEADLINE):
        assert await process.wait() == 0
    assert process.stderr is not None
    assert b"Traceback" not in await process.stderr.read()
    process.stdin.close()


async def test_interrupt_before_any_connection_is_no_success() -> None:
    async with Server() as server:
        server.hang()
        process = await started(server.url)
        async with asyncio.timeout(DEADLINE):
            assert process.stderr is not None
            assert b"connecting" in await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        code, _, error = await ended(process, b"")
        assert code == 1
        assert "Traceback" not in error


async def test_second_interrupt_does_not_wait_for_the_closing_handshake() -> None:
    async with Server() as server:
        process = await started(server.url, "--wait", "inf", stdin=DEVNULL)
        peer = await server.accept()
        peer.silence()
        assert process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            while b"* connected" not in await process.stderr.readline():
                pass
        process.send_signal(signal.SIGINT)
        await peer.expect(Message.close(1000))
        process.send_signal(signal.SIGINT)
        code, _, error = await ended(process)
        assert code == 130
        assert "Traceback" not in error


def plugin(path: Path, source: str) -> dict[str, str]:
    """Install a plugin "acme" there; gives the environment in which it is found."""
    (path / "libws_acme.py").write_text(source)
    info = path / "libws_acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: libws-acme\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[libws.v1]\nacme = libws_acme:Acme\n")
    return environment(PYTHONPATH=os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")]))


NOISY = """
import logging
from libws_core import Connected, hookimpl

class Acme:
    @hookimpl
    def observe(self, event):
        if isinstance(event, Connected):
            logging.getLogger("libws.acme").debug("heard \x1b[2J")
            1 / 0
"""

PICKY = """
from libws_core import LibwsError, hookimpl

class Acme:
    @hookimpl
    def outgoing(self, session):
        def refuse(message):
            if message.data == "bad":
                raise LibwsError("this word is not sent")
            return message
        return refuse
"""


RAW = """
from libws_core import LibwsError, hookimpl

class Acme:
    @hookimpl
    def adapt_error(self, error):
        return LibwsError("raw \x1b[2J", verdict="fatal")
"""


async def test_text_of_an_error_does_not_act_on_the_terminal(tmp_path: Path, terminal: Terminal) -> None:
    async with Server(refuse(503)) as server:
        variables = plugin(tmp_path, RAW)
        code, _, error = await ended(await started(server.url, "--enable", "acme", env=variables))
        assert code == 1
        assert "* failed: raw \\x1b[2J\n" in error
        process = await terminal.start(server.url, "--enable", "acme", PYTHONPATH=variables["PYTHONPATH"])
        await terminal.until("* failed: raw \\x1b[2J")
        assert await terminal.exit_code(process) == 1


async def test_what_plugins_log_and_raise_is_shown_with_the_rest(server: Server, tmp_path: Path) -> None:
    given = ["--enable", "acme", "--wait", "0"]
    code, _, error = await ended(await started(server.url, *given, env=plugin(tmp_path, NOISY)), b"x\n")
    assert code == 0
    assert "! DEBUG libws.acme: heard \\x1b[2J\n" in error
    assert "! ERROR libws: plugin 'acme' failed in observe\n" in error
    assert "ZeroDivisionError" in error


async def test_line_that_cannot_be_sent_is_told_and_the_others_are_sent(server: Server, tmp_path: Path) -> None:
    process = await started(server.url, "--enable", "acme", env=plugin(tmp_path, PICKY))
    code, out, error = await ended(process, b"one\nbad\ntwo\n")
    assert (code, out) == (1, "one\ntwo\n")
    assert "! not sent: this word is not sent\n" in error


async def test_line_without_an_end_is_refused(server: Server) -> None:
    code, out, error = await ended(await started(server.url), b"one\n" + b"x" * (LONGEST + 1))
    assert (code, out) == (1, "one\n")
    assert "! a line of the input has more than 16,777,216 characters\n" in error


# A terminal


async def test_typed_line_is_sent_and_its_answer_shown(server: Server, terminal: Terminal) -> None:
    process = await terminal.start(server.url)
    await terminal.until("* connected")
    terminal.type("hellO\x7fo\r")
    await terminal.until("> hello")
    await terminal.until("< ")
    await terminal.until("hello")
    terminal.type("\x04")
    assert await terminal.exit_code(process) == 0
    await terminal.until("* closed by us")
    assert termios.tcgetattr(terminal.slave) == terminal.modes


async def test_events_are_coloured_unless_nobody_wants_that(server: Server, terminal: Terminal) -> None:
    process = await terminal.start(server.url)
    await terminal.until("\x1b[32m* connected\x1b[0m")
    terminal.type("\x04")
    await terminal.exit_code(process)
    process = await terminal.start(server.url, NO_COLOR="1")
    await terminal.until("* connected")
    assert not re.search(r"\x1b\[3\dm", terminal.seen)
    terminal.type("\x04")
    await terminal.exit_code(process)


async def test_message_appears_above_the_line_that_is_being_typed(terminal: Terminal) -> None:
    async with Server() as server:
        process = await terminal.start(server.url)
        peer = await server.accept()
        await terminal.until("* connected")
        terminal.type("half a li")
        await terminal.until("> half a li")
        await peer.send("between")
        await terminal.until("\r\x1b[K")
        await terminal.until("between")
        await terminal.until("> half a li")
        terminal.type("ne\r")
        await peer.expect("half a line")
        terminal.type("\x03")
        assert await terminal.exit_code(process) == 0
        assert await peer.wait_gone() == 1000
        assert termios.tcgetattr(terminal.slave) == terminal.modes


async def test_long_line_shows_its_end_and_is_sent_whole(terminal: Terminal) -> None:
    async with Server() as server:
        process = await terminal.start(server.url)
        peer = await server.accept()
        await terminal.until("* connected")
        line = "".join(str(number % 10) for number in range(300))
        terminal.type(line)
        await terminal.until(f"\r\x1b[K> {line[-57:]}")  # the window has 60 columns
        terminal.type("\r")
        await peer.expect(line)
        terminal.type("\x04")
        assert await terminal.exit_code(process) == 0


async def test_what_the_network_says_does_not_act_on_the_terminal(terminal: Terminal) -> None:
    async with Server() as server:
        process = await terminal.start(server.url)
        peer = await server.accept()
        await terminal.until("* connected")
        await peer.send("\x1b]0;owned\x07\x9b2J\r[bold]\nnext")
        await terminal.until("\\x1b]0;owned\\x07\\x9b2J\\r[bold]\r\n  next\r\n")
        await peer.send(Message.binary(b"\x1b[2J" * 20))
        await terminal.until("binary, 80 bytes: 1b 5b 32 4a")
        terminal.type("\x04")
        assert await terminal.exit_code(process) == 0


async def test_line_typed_while_not_connected_is_told_to_be_unsent(server: Server, terminal: Terminal) -> None:
    server.refuse(503)
    process = await terminal.start(server.url, "--set", "backoff.base=20", "--set", "backoff.jitter=none")
    await terminal.until("* next attempt in 20.00 s")
    terminal.type("too early\r")
    await terminal.until("> too early")
    await terminal.until("! not sent: ")
    terminal.type("\x04")
    assert await terminal.exit_code(process) == 1
    assert server.count == 1


async def test_terminal_that_cannot_edit_is_read_line_by_line(server: Server, terminal: Terminal) -> None:
    process = await terminal.start(server.url, TERM="dumb")
    await terminal.until("* connected")
    assert termios.tcgetattr(terminal.slave) == terminal.modes
    terminal.type("hello\n")
    await terminal.until("< hello")
    terminal.type("\x04")
    assert await terminal.exit_code(process) == 0


async def test_stopped_and_continued_program_shows_its_line_again(server: Server, terminal: Terminal) -> None:
    process = await terminal.start(server.url)
    await terminal.until("* connected")
    terminal.type("abc")
    await terminal.until("> abc")
    termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.modes)  # as a shell does
    process.send_signal(signal.SIGCONT)
    await terminal.until("> abc")
    assert not termios.tcgetattr(terminal.slave)[3] & termios.ICANON
    terminal.type("d\r")
    await terminal.until("> abcd")
    terminal.type("\x04")
    assert await terminal.exit_code(process) == 0


async def test_json_on_a_terminal_has_no_prompt_and_no_colour(server: Server, terminal: Terminal) -> None:
    process = await terminal.start(server.url, "--json")
    await terminal.until('"event": "Connected"')
    terminal.type("hello\n")
    await terminal.until('{"type": "message", "kind": "text", "data": "hello"')
    terminal.type("\x04")
    assert await terminal.exit_code(process) == 0
    assert "\x1b" not in terminal.seen
