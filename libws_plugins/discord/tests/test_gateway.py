"""The simulator keeps to Discord's rules: whoever breaks one is closed with its code, and nobody else is."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import Any

import pytest

from libws_core import Client, ConnectionClosed
from libws_core.testing import MemoryDialer, virtual
from libws_discord.profile import PAYLOAD
from libws_discord.testing import Gateway

QUERY = "?v=10&encoding=json"


async def dial(gateway: Gateway, path: str = "/", query: str = QUERY) -> Client:
    """A bare client: nothing is sent but what the test sends."""
    client = Client(f"ws://test{path}{query}", plugins=["-standard", MemoryDialer(gateway)])
    await client.open()
    return client


def identify(gateway: Gateway, **changes: Any) -> dict[str, Any]:
    return {"op": 2, "d": {"token": gateway.token, "intents": 1, "properties": {}, **changes}}


async def said(client: Client, op: int = 0) -> Any:
    """The next payload with that opcode."""
    while (body := (await client.recv(60)).json)["op"] != op:
        pass
    return body


async def closed(client: Client) -> int | None:
    with pytest.raises(ConnectionClosed) as caught:
        await client.wait_closed()
    return caught.value.code


@virtual
async def test_hello_identify_events_heartbeats_and_a_resume() -> None:
    gateway = Gateway()
    client = await dial(gateway)
    assert (await said(client, 10))["d"] == {"heartbeat_interval": 41_250}
    await client.send_json({"op": 1, "d": None})
    assert await said(client, 11) == {"op": 11}
    await client.send_json(identify(gateway))
    ready = await said(client)
    assert (ready["t"], ready["s"], ready["d"]["resume_gateway_url"]) == ("READY", 1, "ws://gateway.test/resume")
    gateway.dispatch("A")
    assert (await said(client))["s"] == 2
    await client.close(4000)
    gateway.dispatch("B", {"x": 1})
    gateway.dispatch("OF ANOTHER SHARD", shard=1)
    client = await dial(gateway, "/resume")
    resume = {"token": gateway.token, "session_id": ready["d"]["session_id"], "seq": 1}
    await client.send_json({"op": 6, "d": resume})
    assert [((body := await said(client))["t"], body["s"]) for _ in range(3)] == [("A", 2), ("B", 3), ("RESUMED", 4)]
    await client.send_json({"op": 3, "d": {}})
    await asyncio.sleep(1)
    assert [each["op"] for each in gateway.listeners[0].commands] == [3]
    assert (gateway.identifies, gateway.resumes, gateway.broken, gateway.astray) == (1, 1, [], 0)
    await client.close()
    assert gateway.sessions == {}


@pytest.mark.parametrize(
    ("first", "payloads", "code"),
    [
        (False, [{"op": 3, "d": {}}], 4003),
        (False, ["{"], 4002),
        (False, ["[]"], 4002),
        (False, [{"op": "2"}], 4002),
        (False, [{"op": 2, "d": {}}], 4002),
        (False, [{"op": 5, "d": {}}], 4001),
        (False, [{"op": 7, "d": None}], 4001),
        (False, [{"op": 1, "d": "x"}], 4002),
        (False, [{"op": 6, "d": {"token": "another", "session_id": "x", "seq": 1}}], 4004),
        (True, [{"op": 1, "d": 2}], 4002),
        (True, [{"op": 6, "d": {"token": "x"}}], 4005),
        (True, ["x" * (PAYLOAD + 1)], 4002),
        (True, ["ü" * (PAYLOAD // 2 + 1)], 4002),
        (True, [{"op": 3, "d": {}}] * 120, 4008),
    ],
)
@virtual
async def test_who_breaks_a_rule_is_closed_with_its_code(first: bool, payloads: list[Any], code: int) -> None:
    gateway = Gateway()
    client = await dial(gateway)
    if first:
        await client.send_json(identify(gateway))
        await said(client)
    for payload in payloads:
        await client.send(payload if isinstance(payload, str) else json.dumps(payload))
    assert await closed(client) == code
    assert [each.partition(": ")[2][:4] for each in gateway.broken] == [str(code)]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"token": "another"}, 4004),
        ({"token": None}, 4002),
        ({"intents": None}, 4013),
        ({"intents": 1 << 17}, 4013),
        ({"intents": 1 << 15}, 4014),
        ({"shard": [2, 2]}, 4010),
        ({"shard": "0"}, 4010),
        ({"shard": [0, 1]}, 4011),
        ({"properties": None}, 4002),
    ],
)
@virtual
async def test_an_identify_that_cannot_be_is_closed_with_its_code(changes: Any, code: int) -> None:
    gateway = Gateway(shards=2)
    client = await dial(gateway)
    await client.send_json(identify(gateway, **{"shard": [0, 2], **changes}))
    assert await closed(client) == code
    client = await dial(gateway)
    await asyncio.sleep(5)
    await client.send_json(identify(gateway, shard=[0, 2], intents=(1 << 25) | 1))
    assert (await said(client))["t"] == "READY"
    await client.send_json(identify(gateway))
    assert await closed(client) == 4005


@pytest.mark.parametrize("query", ["", "?v=9&encoding=json", "?v=10", "?v=10&encoding=etf"])
@virtual
async def test_another_version_or_encoding_is_4012(query: str) -> None:
    assert await closed(await dial(Gateway(), query=query)) == 4012


@virtual
async def test_120_payloads_in_a_minute_are_taken() -> None:
    gateway = Gateway(interval=1000)
    client = await dial(gateway)
    await client.send_json(identify(gateway))
    for count in (119, 120, 120):
        for _ in range(count):
            await client.send_json({"op": 3, "d": {}})
        await asyncio.sleep(60)
    assert gateway.broken == []
    for _ in range(60):
        await client.send_json({"op": 3, "d": {}})
    await asyncio.sleep(59)
    for _ in range(61):
        await client.send_json({"op": 1, "d": None})
    assert await closed(client) == 4008


@virtual
async def test_a_heartbeat_that_is_missing_is_the_end_and_the_session_stays() -> None:
    gateway = Gateway(interval=20)
    client = await dial(gateway)
    await client.send_json(identify(gateway))
    assert await closed(client) == 4000
    assert asyncio.get_running_loop().time() - 1000 == pytest.approx(25)
    assert (gateway.missed, len(gateway.sessions)) == (1, 1)
    await asyncio.sleep(181)
    gateway.dispatch("A")
    assert gateway.sessions == {}


@pytest.mark.parametrize(("expired", "answer"), [(9, {"op": 9, "d": False, "s": None, "t": None}), (4009, 4009)])
@virtual
async def test_a_resume_of_what_is_not_kept_is_refused(expired: Any, answer: Any) -> None:
    gateway = Gateway(expired=expired)
    client = await dial(gateway)
    await client.send_json({"op": 6, "d": {"token": gateway.token, "session_id": "x", "seq": 1}})
    assert (await closed(client) if expired == 4009 else await said(client, 9)) == answer
    assert gateway.astray == 1
    await client.close()


@virtual
async def test_a_number_that_was_never_said_is_4007_and_one_that_is_no_longer_kept_is_invalid() -> None:
    gateway = Gateway(events=2)

    async def resumed(number: int) -> Client:
        client = await dial(gateway)
        await asyncio.sleep(5)
        await client.send_json(identify(gateway))
        ready = await said(client)
        for _ in range(5):
            gateway.dispatch("A")
        await client.close(4000)
        client = await dial(gateway, "/resume")
        resume = {"token": gateway.token, "session_id": ready["d"]["session_id"], "seq": number}
        await client.send_json({"op": 6, "d": resume})
        return client

    assert await closed(await resumed(7)) == 4007
    assert (await said(await resumed(3), 9))["d"] is False
    assert (await said(await resumed(4)))["s"] == 5


@virtual
async def test_identifies_that_come_together_are_refused_by_bucket() -> None:
    gateway = Gateway(concurrency=2, shards=3)
    clients = [await dial(gateway) for _ in range(3)]
    for number, client in enumerate(clients):
        await client.send_json(identify(gateway, shard=[number, 3]))
    assert (await said(clients[0]))["t"] == (await said(clients[1]))["t"] == "READY"
    assert (await said(clients[2], 9))["d"] is False
    assert gateway.broken == ["connection 1: two identifies in 0 s"]


@virtual
async def test_one_identify_too_many_costs_the_token_and_all_sessions() -> None:
    gateway = Gateway(identifies=2)
    for number in range(3):
        client = await dial(gateway)
        await asyncio.sleep(5)
        assert gateway.answer("/api/v10/gateway/bot", f"Bot {gateway.token}")[1]["session_start_limit"] == {
            "total": 2,
            "remaining": 2 - number,
            "reset_after": 86_400_000 - number * 5_000,
            "max_concurrency": 1,
        }
        old = gateway.token
        await client.send_json(identify(gateway))
        if number < 2:
            assert (await said(client))["t"] == "READY"
    assert await closed(client) == 4004
    assert gateway.token != old
    assert gateway.sessions == {}
    assert gateway.answer("/api/v10/gateway/bot", f"Bot {old}")[0] == 401
    assert gateway.answer("/api/v10/users", f"Bot {old}")[0] == 404


@pytest.mark.parametrize("pieces", [1, 3])
@virtual
async def test_a_compressed_connection_is_one_stream(pieces: int) -> None:
    gateway = Gateway(pieces=pieces)
    client = await dial(gateway, query=QUERY + "&compress=zlib-stream")
    await client.send_json(identify(gateway))
    await asyncio.sleep(1)
    gateway.dispatch("A", {"text": "ü" * 100})
    inflate = zlib.decompressobj()
    texts = []
    for _ in range(3):
        data = b"".join([(await client.recv(5)).data for _ in range(pieces)])
        assert data.endswith(b"\x00\x00\xff\xff")
        texts.append(json.loads(inflate.decompress(data)))
    assert [text["op"] for text in texts] == [10, 0, 0]
    await client.close()


@virtual
async def test_it_does_what_gateways_do() -> None:
    gateway = Gateway(remembers=60)

    async def begin() -> Client:
        await asyncio.sleep(5)
        client = await dial(gateway)
        await client.send_json(identify(gateway))
        await said(client)
        return client

    client = await begin()
    gateway.ask_for_beats()
    assert (await said(client, 1))["d"] is None
    gateway.ask_to_reconnect()
    assert (await said(client, 7))["d"] is None
    began = asyncio.get_running_loop().time()
    assert await closed(client) == 4000
    assert asyncio.get_running_loop().time() - began == pytest.approx(3)
    assert len(gateway.sessions) == 1
    client = await begin()
    gateway.invalidate()
    assert (await said(client, 9))["d"] is False
    assert len(gateway.sessions) == 1
    client = await begin()
    gateway.become_zombie()
    gateway.dispatch("A")
    await client.send_json({"op": 1, "d": None})
    with pytest.raises(TimeoutError):
        await client.recv(1000)
    gateway.restart()
    assert await closed(client) == 1006
    client = await begin()
    gateway.close(4009)
    assert await closed(client) == 4009
    assert "session-4" not in gateway.sessions
    assert gateway.listeners == []
    assert gateway.broken == []
