"""The plugin in a client, beside the other dialer and in its place, and what picows itself would do otherwise."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from libws_core import Client, OptionError
from libws_picows import Picows
from libws_websockets import Websockets

pytestmark = pytest.mark.only_dialer("picows", reason="how it stands beside the other, and what it keeps picows from")


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.mark.parametrize("plugins", [["picows"], ["-websockets", "picows"], ["-standard", "picows"]])
async def test_a_client_echoes(dialer: Any, plugins: list[str]) -> None:
    sent: list[str | bytes] = ["grüße", b"\x00\xff", "", "x" * 600, b"y" * 70_000, b"z" * 500_000]
    async with serve(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with Client(f"ws://127.0.0.1:{port}/", plugins=plugins, proxy=None) as client:
            assert isinstance(client.plugin("picows"), dialer)
            for data in sent:
                await client.send(data)
            assert [(await client.recv(10)).data for _ in sent] == sent


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
