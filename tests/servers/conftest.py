"""Third parties' servers as processes on loopback, an echo server to stand behind them, and clients that remember.

A program that is missing skips its tests and says what to install; where LIBWS_TEST_SERVERS is "required", as in CI,
it fails them instead, so that none can get lost. Nothing is ever installed here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from websockets.asyncio.server import Server as WebSocketServer
from websockets.asyncio.server import ServerConnection, serve

from libws_core import Client, Message, Session, hookimpl
from libws_core.testing import Relay

from .diary import Diary

HOST = "127.0.0.1"
PATIENCE = 15.0
"""Seconds after which what a test waits for will not come."""

GRACE = 3.0
"""Seconds that a program gets to end by itself."""


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """One loop for these: they wait long, and a server cannot tell one loop from another."""
    return {"asyncio": asyncio.new_event_loop}


def missing(what: str, cure: str) -> NoReturn:
    """Skip the test; fail it where the servers are required."""
    text = f"{what} is missing; try: {cure}"
    if os.environ.get("LIBWS_TEST_SERVERS") == "required":
        pytest.fail(text)
    pytest.skip(text)


def find_program(name: str, cure: str) -> str:
    """The path of a program; Debian keeps servers in folders that are not in everyone's PATH."""
    folders = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(name, path=folders) or missing(name, cure)


class Program:
    """A child process that listens on a loopback port, in a process group of its own."""

    def __init__(self, command: list[str], port: int, log: Path, environ: dict[str, str]) -> None:
        self.command = command
        self.port = port
        self.log = log
        self.environ = environ
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> Program:
        """Start it, also again after `wait`; returns when its port answers."""
        self._process = process = self._spawn()
        try:
            async with asyncio.timeout(PATIENCE):
                while not await answers(self.port):
                    if process.poll() is not None:
                        raise self._failure(f"ended with {process.returncode} before it listened")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._failure("does not listen") from None
        return self

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environ},
                start_new_session=True,
            )

    def signal(self, number: int) -> None:
        """Send a signal to the process itself."""
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> None:
        """Wait until the process has ended by itself, and see that its children have, too."""
        assert self._process is not None
        try:
            await asyncio.to_thread(self._process.wait, PATIENCE)
        except subprocess.TimeoutExpired:
            raise self._failure("does not end") from None
        self.end()

    def end(self) -> None:
        """Ask it to end, so that it ends its children, too; then see to it that nobody of its group is left."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    @property
    def said(self) -> str:
        """What it has written to its standard output and error."""
        return self.log.read_text(errors="replace")

    def _failure(self, what: str) -> AssertionError:
        name = Path(self.command[0]).name
        return AssertionError(f"{name} on port {self.port} {what}; it said:\n{self.said[-2000:]}")


async def answers(port: int) -> bool:
    """Whether something listens on a loopback port."""
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass
    return True


class Echo:
    """An echo server that counts its connections and can be stopped and started again on its port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connections: list[ServerConnection] = []
        """Every connection since it was made."""
        self._server: WebSocketServer | None = None

    @property
    def url(self) -> str:
        return f"ws://{HOST}:{self.port}/"

    async def start(self) -> Echo:
        self._server = await serve(self._handle, HOST, self.port, ping_interval=None)
        return self

    async def stop(self) -> None:
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await server.wait_closed()

    async def _handle(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        async for message in connection:
            await connection.send(message)


class Counter:
    """A plugin that counts messages by what `label` says of them, nearer to the wire than those that take them out."""

    def __init__(self, label: Callable[[Message], str | None]) -> None:
        self.label = label
        self.counts: dict[str | None, int] = {}
        self._news = asyncio.Event()

    @hookimpl(trylast=True)
    def incoming(self, session: Session) -> Callable[[Message], Message]:
        def count(message: Message) -> Message:
            label = self.label(message)
            self.counts[label] = self.counts.get(label, 0) + 1
            self._news.set()
            return message

        return count

    async def until(self, **numbers: int) -> None:
        """Wait until as many of each label have come."""
        try:
            async with asyncio.timeout(PATIENCE):
                while any(self.counts.get(label, 0) < number for label, number in numbers.items()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"{numbers} did not come, only {self.counts}") from None


@pytest.fixture
def counter() -> type[Counter]:
    return Counter


@pytest.fixture
def require() -> Callable[[Path, str, str], None]:
    """Skip or fail, as `missing` does, unless a path exists."""

    def check(path: Path, what: str, cure: str) -> None:
        if not path.exists():
            missing(what, cure)

    return check


@pytest.fixture(scope="session")
def program_class() -> type[Program]:
    """For a server that several tests share: who starts it ends it."""
    return Program


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Give ports that nothing listens on.

    They are none of those that the system gives away by itself, from 32768 on: another test could be given one of these
    before a program listens on it.
    """
    given: set[int] = set()
    chance = random.SystemRandom()  # whatever seeds the others have

    def find() -> int:
        while True:
            port = chance.randrange(10_000, 32_000)
            with socket.socket() as sock:
                try:
                    sock.bind((HOST, port))
                except OSError:
                    continue
            if port not in given:
                given.add(port)
                return port

    return find


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Awaitable[Program]]]:
    """Start a program: `await run("nginx", "-c", path, port=..., cure=...)`. It ends with the test, whatever comes."""
    programs: list[Program] = []

    async def start(name: str, *arguments: object, port: int, cure: str, **environ: str) -> Program:
        command = [find_program(name, cure), *map(str, arguments)]
        program = Program(command, port, tmp_path / f"{Path(name).name}-{port}.log", environ)
        programs.append(program)
        return await program.start()

    yield start
    for program in reversed(programs):
        program.end()


class Place(NamedTuple):
    """A provider's server, and a relay before it."""

    program: Any
    relay: Relay
    kind: str


@pytest.fixture
async def behind_relay(
    run: Callable[..., Awaitable[Any]], free_port: Callable[[], int], require: Callable[..., None]
) -> AsyncIterator[Callable[..., Awaitable[Place]]]:
    """Start a server of a folder beside this file, and a relay before it.

    `await behind_relay("graphql", "node", package="graphql-ws", cure=..., path="/graphql", LIMIT=1000)`:
    of kind "node" it is `server.mjs`, which needs that package; of any other it is `server.py`.
    """
    async with contextlib.AsyncExitStack() as relays:

        async def start(folder: str, kind: str, *, package: str, cure: str, path: str = "", **environ: int) -> Place:
            home, port = Path(__file__).parent / folder, free_port()
            variables = {name: str(value) for name, value in {"PORT": port, **environ}.items()}
            if kind == "node":
                require(home / "node_modules" / package, package, cure)
            command = ["node", home / "server.mjs"] if kind == "node" else [sys.executable, home / "server.py"]
            program = await run(*command, port=port, cure="apt-get install nodejs npm", **variables)
            relay = await relays.enter_async_context(Relay(f"ws://{HOST}:{port}{path}"))
            return Place(program, relay, kind)

        yield start


@pytest.fixture
async def echo(free_port: Callable[[], int]) -> AsyncIterator[Echo]:
    """An echo server, not yet started: a test may want it down at first."""
    server = Echo(free_port())
    yield server
    await server.stop()


@pytest.fixture
async def tell(each_dialer: None) -> AsyncIterator[Callable[..., Diary]]:
    """Make a client, with its story, on each dialer; it is closed at the end.

    Proxies of the environment do not count, and delays are short unless the test says otherwise.
    """
    stories: list[Diary] = []

    def make(url: str, **arguments: Any) -> Diary:
        options = {"backoff": {"base": 0.05, "cap": 0.2}, **arguments.pop("options", {})}
        story = Diary(Client(url, **{"proxy": None, "options": options, **arguments}))
        stories.append(story)
        return story

    yield make
    for story in stories:
        await story.client.close()
