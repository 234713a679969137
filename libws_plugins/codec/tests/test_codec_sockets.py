"""Real connections whose server packs what it says: on each dialer and each loop."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from libws_backoff import Backoff
from libws_codec import Codec
from libws_core import Client, MessageTooBig, Reconnected
from libws_core.testing import Server, ServerPeer, leaks

MESSAGES = 300


async def test_a_stream_goes_on_over_a_reset_and_what_is_sent_comes_back(dialer: Any) -> None:
    """An echo through the codec's own two sides and a server that has its own; the connection breaks in the middle."""

    async def serve(peer: ServerPeer) -> None:
        inflater, deflater = zlib.decompressobj(), zlib.compressobj()
        async for message in peer:
            said = inflater.decompress(message.data)
            packed = deflater.compress(said) + deflater.flush(zlib.Z_SYNC_FLUSH)
            half = len(packed) // 2
            await peer.send(packed[:half])
            await peer.send(packed[half:])

    codec = Codec(decode=["zlib-stream", "lines", "json"], encode=["json", "lines", "zlib-stream"])

    async def talk(client: Client, life: int) -> None:
        sent = [{"life": life, "number": number, "text": "ü" * (number % 50)} for number in range(MESSAGES)]
        for value in sent:
            await client.send_json(value)
        assert [(await client.recv(10)).json for _ in sent] == sent

    async with leaks(), asyncio.timeout(30), Server(serve) as server:
        back = asyncio.Event()
        async with Client(server.url, plugins=["-standard", codec, dialer(), Backoff(base=0)], proxy=None) as client:
            client.on(Reconnected, lambda _: back.set())
            await talk(client, 1)
            await server.peers[0].drop(reset=True)
            await back.wait()
            await talk(client, 2)


@pytest.mark.parametrize("step", ["gzip", "zlib-stream"])
async def test_a_bomb_is_answered_by_1009(dialer: Any, step: Any) -> None:
    packed = gzip.compress(bytes(32 * 2**20)) if step == "gzip" else zlib.compress(bytes(32 * 2**20))
    assert len(packed) < 64 * 1024
    async with leaks(), asyncio.timeout(30), Server() as server:
        client = Client(server.url, plugins=["-standard", Codec(decode=[step]), dialer()], proxy=None)
        await client.open()
        peer = await server.accept()
        await peer.send(packed)
        with pytest.raises(MessageTooBig, match="16777216 bytes"):
            await client.wait_closed()
        await peer.wait_gone(10)
        assert peer.closed is not None
        assert peer.closed.code == 1009


async def test_many_records_in_one_frame_arrive_one_by_one(dialer: Any) -> None:
    values = [{"type": 1, "target": "send", "arguments": [number]} for number in range(1000)]
    frame = "".join(json.dumps(value) + "\x1e" for value in values)
    async with leaks(), asyncio.timeout(30), Server() as server:
        codec = Codec(decode=["records", "json"], encode=["json", "records"])
        async with Client(server.url, plugins=["-standard", codec, dialer()], proxy=None) as client:
            peer = await server.accept()
            await client.send_json({"protocol": "json", "version": 1})
            assert (await peer.recv()).data == '{"protocol":"json","version":1}\x1e'
            peer.send(frame[:5000])
            peer.send(frame[5000:])
            assert [(await client.recv(10)).json for _ in values] == values
