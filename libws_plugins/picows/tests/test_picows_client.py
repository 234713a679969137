"""The plugin in a client, on both loops, beside the other dialer and in its place."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from libws_core import Client, ConnectionClosed, OptionError
from libws_core.types import Request
from libws_picows import Picows
from libws_picows.connection import PicowsConnection
from libws_websockets import Websockets


def run_on_asyncio(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(main())


def run_on_uvloop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    pytest.importorskip("uvloop").run(main())


loops = pytest.mark.parametrize("run", [run_on_asyncio, run_on_uvloop], ids=["asyncio", "uvloop"])


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@loops
@pytest.mark.parametrize("plugins", [["picows"], ["-websockets", "picows"], ["-standard", "picows"]])
def test_a_client_echoes(run: Any, plugins: list[str]) -> None:
    sent: list[str | bytes] = ["grüße", b"\x00\xff", "", "x" * 600, b"y" * 70_000, b"z" * 500_000]

    async def main() -> None:
        async with serve(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with Client(f"ws://127.0.0.1:{port}/", plugins=plugins, proxy=None) as client:
                for data in sent:
                    await client.send(data)
                got = [(await client.recv(10)).data for _ in sent]
        assert got == sent

    run(main)


@loops
def test_a_client_comes_back(run: Any) -> None:
    async def once(connection: ServerConnection) -> None:
        await connection.send("hello")
        await connection.recv()
        connection.transport.abort()

    async def main() -> None:
        async with serve(once, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            options = {"backoff": {"base": 0}}
            plugins = ["-websockets", "picows"]
            async with Client(f"ws://127.0.0.1:{port}/", plugins=plugins, options=options, proxy=None) as client:
                for _ in range(3):
                    assert (await client.recv(10)).data == "hello"
                    await client.send("go")

    run(main)


@loops
def test_closing_codes_are_those_of_the_server(run: Any) -> None:
    async def refuse(connection: ServerConnection) -> None:
        await connection.close(1008, "no")

    async def main() -> None:
        async with serve(refuse, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            client = Client(f"ws://127.0.0.1:{port}/", plugins=["-standard", "picows"], proxy=None)
            await client.open()
            with pytest.raises(ConnectionClosed) as caught:
                await client.wait_closed()
            assert (caught.value.code, caught.value.reason) == (1008, "no")

    run(main)


async def test_it_is_asked_before_the_standard_dialer(raw_server: Any) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.until_close()

    server = await raw_server(script)
    async with Client(server.url, plugins=["picows"], proxy=None):
        await server.peers[0].reader.read(0)
    assert "permessage-deflate" not in server.peers[0].request
    assert server.peers[0].header("Connection") == "Upgrade"


@pytest.mark.parametrize(
    "options", [{"max_size": 0}, {"max_fragments": 0}, {"read_buffer": 100}, {"compression": None}], ids=str
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Client("ws://example.com", plugins=["picows"], options={"picows": options})


def test_limits_are_those_of_the_other_dialer() -> None:
    assert (Picows().max_size, Picows().max_fragments) == (Websockets().max_size, Websockets().max_fragments)
    assert Picows().read_buffer == 64 * 1024


async def test_other_schemes_are_left_to_other_dialers() -> None:
    assert await Picows().dial(Request("replay:///session.jsonl")) is None


@pytest.mark.parametrize("value", ["Upgrade", "upgrade", "keep-alive, Upgrade"])
async def test_a_connection_header_of_several_words(raw_server: Any, dial: Any, value: str) -> None:
    """picows' own handshake refuses `keep-alive, Upgrade`, which RFC 6455 section 4.1 allows."""

    async def script(peer: Any) -> None:
        await peer.read_request()
        from websockets.utils import accept_key

        accept = accept_key(peer.header("Sec-WebSocket-Key"))
        lines = ["HTTP/1.1 101 X", "Upgrade: WebSocket", f"Connection: {value}", f"Sec-WebSocket-Accept: {accept}"]
        await peer.send("\r\n".join([*lines, "", ""]).encode() + b"\x81\x02hi")
        await peer.until_close()

    server = await raw_server(script)
    recorder = await dial(server.url)
    assert isinstance(recorder.connection, PicowsConnection)
    assert (await recorder.count(1))[0].data == "hi"


MASKS = """
import asyncio
from libws_core.types import Message, Request
from libws_picows import Picows

async def serve(reader, writer):
    from websockets.utils import accept_key
    request = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
    key = [line[18:].strip() for line in request.split("\\r\\n") if line.startswith("Sec-WebSocket-Key:")][0]
    writer.write((
        "HTTP/1.1 101 X\\r\\nUpgrade: websocket\\r\\nConnection: Upgrade\\r\\n"
        f"Sec-WebSocket-Accept: {accept_key(key)}\\r\\n\\r\\n"
    ).encode())
    print((await reader.readexactly(10))[2:6].hex())
    print((await reader.readexactly(608))[4:8].hex())
    writer.write(b"\\x83\\x00")  # an opcode that does not exist: picows would send a close frame
    frame = await reader.read(100)
    assert len(frame) == 8 and frame[0] == 0x88, frame
    print(frame[2:6].hex())
    writer.close()

async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await Picows().dial(Request(f"ws://127.0.0.1:{port}/", proxy=None))
    ended = asyncio.get_running_loop().create_future()
    connection.start(print, ended.set_result)
    connection.write(Message.text("abcd"))
    connection.write(Message.binary(bytes(600)))
    assert (await ended).code == 1002
    server.close()

asyncio.run(main())
"""


def test_masks_of_fresh_processes_differ() -> None:
    """RFC 6455 section 5.3; picows takes its keys from an unseeded rand()."""
    told = [
        subprocess.run([sys.executable, "-c", MASKS], capture_output=True, text=True, timeout=60, check=True).stdout
        for _ in range(2)
    ]
    masks = "".join(told).split()
    assert len(masks) == 6
    assert len({*masks}) == 6


async def test_picows_logs_nothing(raw_server: Any, dial: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def script(peer: Any) -> None:
        await peer.accept()
        await peer.send(b"\x81\x06hidden\x83\x00")
        await peer.until_close()

    caplog.set_level(1)
    for name in ("picows", "picows.client", "aiofastnet", "libws_picows"):
        caplog.set_level(1, name)
    server = await raw_server(script)
    recorder = await dial(server.url + "/?token=hidden", headers={"Authorization": "Bearer hidden"})
    error = await recorder.end()
    told = [caplog.text, str(error), repr(error), repr(recorder.connection)]
    assert not [text for text in told if "hidden" in text]
    assert not [record for record in caplog.records if record.name.startswith("picows")]
    assert logging.getLogger("picows").handlers == []
