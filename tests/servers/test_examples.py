"""Each file in examples/ runs as its docstring says, against the real thing."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 30.0


class Example:
    """An example as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def ask(self, text: str) -> str:
        """Type a line, read one."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())
        return await self.line()

    async def end(self) -> tuple[int, str, str]:
        """Let it run to its end; gives its exit code, what it printed, and its errors."""
        async with asyncio.timeout(PATIENCE):
            output, errors = await self.process.communicate(b"\n")
        assert self.process.returncode is not None
        return self.process.returncode, output.decode(), errors.decode()


@pytest.fixture
async def example() -> AsyncIterator[Callable[..., Awaitable[Example]]]:
    """Start an example: `await example("first.py", url, PROXY=...)`. It ends with the test."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(name: str, *arguments: str, **environ: str) -> Example:
        process = await asyncio.create_subprocess_exec(
            *[sys.executable, "-W", "error", str(EXAMPLES / name), *arguments],
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environ},
        )
        processes.append(process)
        return Example(process)

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
def echo_server(example: Any, free_port: Callable[[], int]) -> Callable[..., Awaitable[str]]:
    """Start examples/echo_server.py; gives its URL."""

    async def start(*arguments: str) -> str:
        server = await example("echo_server.py", "--port", str(free_port()), *arguments)
        line: str = await server.line()
        assert line.startswith("listening on ws://127.0.0.1:")
        return line.removeprefix("listening on ")

    return start


async def test_first(example: Any, echo_server: Any) -> None:
    first = await example("first.py", await echo_server())
    assert await first.line() == "connected; type a line"
    assert await first.ask("hello") == "< hello"
    assert await first.ask("world") == "< world"
    assert await first.end() == (0, "", "")


async def test_auth(example: Any, echo_server: Any) -> None:
    code, output, errors = await (await example("auth.py", await echo_server("--token", "fresh"))).end()
    assert (code, output.splitlines()) == (0, ["attempt 1 failed: 401, refresh", "< who am I?"])
    assert "stale" not in errors


async def test_events(example: Any, echo_server: Any) -> None:
    code, output, _ = await (await example("events.py", await echo_server("--drop-after", "2"))).end()
    assert code == 0
    assert re.findall("< (.*)", output) == [f"message {number}" for number in range(1, 6)]
    assert len(re.findall(r"^lost after .* \(1006\)", output, re.MULTILINE)) == 2
    assert len(re.findall("^next attempt in ", output, re.MULTILINE)) == 2
    assert "back, as connection 3" in output
    assert output.count("here messages may be missing (reconnect)") == 2
    assert "reconnects=2" in output


async def test_own_plugin(example: Any, echo_server: Any) -> None:
    code, output, errors = await (await example("own_plugin.py", await echo_server())).end()
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        'on the wire: {"seq": 0, "body": "hello"}',
        "< hello",
        'on the wire: {"seq": 1, "body": "world"}',
        "< world",
    ]


async def test_nats(example: Any, run: Any, free_port: Callable[[], int], tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "nats.conf"
    config.write_text(from_docstring("nats.py", "nats.conf").replace(":4222", ":-1").replace(":8080", f":{port}"))
    await run("nats-server", "-c", config, port=port, cure="apt-get install nats-server")
    url = f"ws://127.0.0.1:{port}"
    code, output, errors = await (await example("nats.py", url)).end()
    assert (code, errors) == (0, "")
    assert output.splitlines()[0].startswith("version ")
    assert output.splitlines()[1:] == [
        "MSG greetings.ann 1 9",
        "hello ann",
        "MSG greetings.bob 1 9",
        "hello bob",
    ]
    code, output, errors = await (await example("nats.py", url, NATS_TOKEN="wr0ng")).end()
    assert code == 1
    assert "AuthenticationError: the server refused the log-in message" in errors
    assert "wr0ng" not in output + errors


async def test_graphql(example: Any, run: Any, free_port: Callable[[], int], require: Any) -> None:
    folder = EXAMPLES.parent / "tests" / "servers" / "graphql"
    cure = "npm install --no-package-lock --prefix tests/servers/graphql"
    require(folder / "node_modules" / "graphql-ws", "graphql-ws", cure)
    port = free_port()
    await run("node", folder / "server.mjs", port=port, cure="apt-get install nodejs npm", PORT=str(port))
    url = f"ws://127.0.0.1:{port}/graphql"
    code, output, errors = await (await example("graphql.py", url)).end()
    assert (code, errors) == (0, "")
    assert output.splitlines() == ["{'hello': 'world'}", *(f"< {{'count': {number}}}" for number in (1, 2, 3))]
    code, output, errors = await (await example("graphql.py", url, GRAPHQL_TOKEN="wr0ng")).end()
    assert (code, output) == (1, "")
    assert errors.endswith("code 4403, reason 'Forbidden': fatal\n")
    assert "wr0ng" not in errors


async def test_binance(example: Any) -> None:
    code, output, errors = await (await example("binance.py")).end()
    assert (code, errors) == (0, "")
    assert "moved to connection 2" in output
    assert "missing" not in output
    assert output.splitlines()[-1] == "connections: 2 limits broken: []"


async def test_binance_orders(example: Any) -> None:
    code, output, errors = await (await example("binance_orders.py")).end()
    assert (code, re.sub(r".* was lost without a close frame .*\n", "", errors)) == (0, "")
    lines = output.splitlines()
    assert {"event: order-1 NEW", "answer: order-1 NEW", "event: order-2 NEW", "found: order-2 NEW"} <= {*lines}
    assert [line for line in lines if line.startswith("unknown: order.place: whether it was carried out is not known")]
    assert lines[-1] == "limits broken: []"


async def test_discord_bot(example: Any) -> None:
    code, output, errors = await (await example("discord_bot.py")).end()
    assert code == 0, errors
    lines = output.splitlines()
    assert [line.partition(" ")[2] for line in lines if " message " in line] == [f"message {n}" for n in range(1, 13)]
    assert "lost: Discord asks us to reconnect and resume" in lines
    assert any("is a zombie" in line for line in lines)
    assert lines[-1].startswith("identifies: 1 resumes: ")
    assert lines[-1].endswith("rules broken: []")
    code, output, errors = await (await example("discord_bot.py", DISCORD_TOKEN="")).end()
    assert code == 1
    assert "option 'token' is empty" in errors


async def test_charge_point(example: Any, run: Any, free_port: Callable[[], int], tmp_path: Path) -> None:
    code, output, errors = await (await example("charge_point.py")).end()
    assert code == 0, errors
    lines = output.splitlines()
    assert [line for line in lines if "MeterValues" in line] == ["central system: MeterValues 7"] * 3
    assert "charge point: back, as connection 2" in lines
    assert lines[-2:] == ["central system: StopTransaction 7", "charge point: everything was delivered"]
    port, server = free_port(), EXAMPLES.parent / "tests" / "servers" / "ocpp_server.py"
    variables = {"PORT": str(port), "LOG": str(tmp_path / "heard.jsonl")}
    await run(sys.executable, server, port=port, cure="pip install ocpp", **variables)
    url = f"ws://127.0.0.1:{port}/ocpp/CP-1"
    code, output, errors = await (await example("charge_point.py", url, OCPP_PASSWORD="wr0ng")).end()
    assert (code, output) == (1, "")
    assert "HandshakeRejected" in errors
    assert "wr0ng" not in errors


async def test_socketio(example: Any, run: Any, free_port: Callable[[], int], require: Any) -> None:
    folder = EXAMPLES.parent / "tests" / "servers" / "socketio"
    cure = "npm install --no-package-lock --prefix tests/servers/socketio"
    require(folder / "node_modules" / "socket.io", "socket.io", cure)
    port = free_port()
    await run("node", folder / "server.mjs", port=port, cure="apt-get install nodejs npm", PORT=str(port))
    url = f"ws://127.0.0.1:{port}"
    code, output, errors = await (await example("socketio.py", url)).end()
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        "('hello', b'bytes')",
        "< said {'number': 7}",
        "< question What is your name?",
        "< answered Ann",
    ]
    code, output, errors = await (await example("socketio.py", url, SOCKETIO_TOKEN="wr0ng")).end()
    assert (code, output) == (1, "")
    assert errors.endswith("the server refused the namespace '/': not authorized, {'got': '***', 'code': 17}\n")
    assert "wr0ng" not in errors


async def test_jupyter(example: Any, run: Any, free_port: Callable[[], int]) -> None:
    port, server = free_port(), EXAMPLES.parent / "tests" / "servers" / "jupyter" / "server.py"
    await run(sys.executable, server, port=port, cure="pip install jupyter-server ipykernel", PORT=str(port))
    url = f"http://127.0.0.1:{port}"
    code, output, errors = await (await example("jupyter_kernel.py", url)).end()
    assert (code, errors) == (0, "")
    assert output.splitlines() == [
        *(f"stream: {number}" for number in (3, 2, 1)),
        "execute_result: 'lift-off'",
        "stream: hello, Ann",
        "failed: ZeroDivisionError: division by zero",
    ]
    code, output, errors = await (await example("jupyter_kernel.py", url, JUPYTER_TOKEN="wr0ng")).end()
    assert (code, output) == (1, "")
    assert "answered with 403" in errors
    assert "wr0ng" not in errors


async def test_behind_nginx(
    example: Any, echo_server: Any, run: Any, free_port: Callable[[], int], tmp_path: Path
) -> None:
    backend, port = await echo_server(), free_port()
    config = tmp_path / "nginx.conf"
    text = (EXAMPLES / "nginx.conf").read_text()
    assert ":8765;" in text
    config.write_text(text.replace("127.0.0.1:8765", backend.removeprefix("ws://")).replace(":8081", f":{port}"))
    await run("nginx", "-p", tmp_path, "-e", "stderr", "-c", config, port=port, cure="apt-get install nginx-light")
    code, output, _ = await (await example("behind_nginx.py", f"ws://127.0.0.1:{port}")).end()
    assert code == 0
    assert re.search("^lost: 1006 after 1 s$", output, re.MULTILINE)
    assert re.search("^silent: 1 reconnects, ", output, re.MULTILINE)
    assert re.search("^pinging: 0 reconnects, ", output, re.MULTILINE)


@pytest.mark.parametrize("password", ["password", "wr0ng"])
async def test_proxies(password: str, example: Any, echo_server: Any, run: Any, free_port: Callable[[], int]) -> None:
    url, port = await echo_server(), free_port()
    login = ["-u", "user", "-P", "password"]
    cure = "apt-get install microsocks"
    await run("microsocks", "-i", "127.0.0.1", "-p", port, *login, port=port, cure=cure)
    proxy = f"socks5://user:{password}@127.0.0.1:{port}"
    code, output, errors = await (await example("proxies.py", url, PROXY=proxy)).end()
    if password == "password":
        assert (code, output, errors) == (0, "< through the proxy\n", "")
    else:
        assert code == 1
        assert output.startswith("ProxyError, fatal: ")
        assert errors.startswith("the proxy does not let us through: ")
        assert "wr0ng" not in output + errors


async def test_an_example_ends_on_ctrl_c_and_its_server_too(example: Any, free_port: Callable[[], int]) -> None:
    server = await example("echo_server.py", "--port", str(free_port()))
    await server.line()
    server.process.send_signal(signal.SIGINT)
    assert await server.end() == (0, "", "")


def test_every_example_has_a_test() -> None:
    here = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'"{path.name}"' in here, f"{path.name} is not run"


def from_docstring(name: str, file: str) -> str:
    """The file that an example's docstring tells to write."""
    text = (EXAMPLES / name).read_text()
    block = re.search(rf"^Write {re.escape(file)}:(.*?)\n(?=\S)", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    return block[1]
