"""What `discord` sends, and how many sessions it begins: always less than would be too much."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import httpx
import pytest

from libws_core import AttemptFailed, Client, Connected, Event, Gap, HandshakeRejected, Message, SendError
from libws_core.testing import MemoryDialer, cut, run, virtual
from libws_discord import Discord, IdentifiesSpent
from libws_discord.identifies import Turns, identifies_of
from libws_discord.testing import Gateway

API = "http://discord.test/api/v10"


def bot(gateway: Gateway, *steps: Any, url: str = API, **options: Any) -> Client:
    own = {"token": gateway.token, "intents": 1, "client": gateway.client, **options}
    dialer = MemoryDialer(*(steps or (gateway,)))
    return Client(url, plugins=["discord", dialer, "-websockets"], options={"discord": own})


def now() -> float:
    return asyncio.get_running_loop().time()


# Payloads


@pytest.mark.parametrize("text", ["x" * 4097, "ü" * 2049])
@virtual
async def test_a_payload_over_4096_bytes_is_refused_and_the_connection_goes_on(text: str) -> None:
    gateway = Gateway()
    async with bot(gateway) as client:
        with pytest.raises(SendError, match="over Discord's limit of 4096 for a payload; it was not sent"):
            await client.send(text)
        frame = '{"op":3,"d":""}'
        await client.send(frame.replace('""', f'"{"y" * (4096 - len(frame))}"'))
        await asyncio.sleep(1)
        assert (gateway.broken, gateway.connects) == ([], 1)
        assert len(gateway.listeners[0].commands) == 1


@virtual
async def test_an_identify_over_4096_bytes_is_the_end_and_says_so() -> None:
    gateway = Gateway()
    client = bot(gateway, presence={"status": "x" * 5000})
    with pytest.raises(SendError, match="over Discord's limit of 4096"):
        await client.open()
    assert (gateway.identifies, gateway.broken) == (0, [])


@virtual
async def test_a_burst_leaves_within_the_limit_and_heartbeats_do_not_wait_for_it() -> None:
    gateway = Gateway(interval=10, tolerance=0.1)
    async with bot(gateway) as client:
        sending = [asyncio.create_task(client.send_json({"op": 8, "d": {"nonce": n}})) for n in range(500)]
        await asyncio.sleep(30)
        gateway.ask_for_beats()
        await asyncio.sleep(0.01)
        assert gateway.listeners[0].beats[-1][0] == pytest.approx(now(), abs=0.02)
        await asyncio.wait(sending)
        assert [each["d"]["nonce"] for each in gateway.listeners[0].commands] == [*range(500)]
        assert 62 * 4 <= now() - 1000 < 62 * 5
        assert (gateway.broken, gateway.missed, gateway.connects) == ([], 0, 1)


@virtual
async def test_ping_frames_are_no_payloads() -> None:
    async with bot(Gateway()) as client:
        began = now()
        for _ in range(200):
            await client.send(Message.ping(b"x"))
        assert now() == began


def test_whenever_a_payload_has_to_wait_it_leaves_in_the_end() -> None:
    async def main(gateway: Gateway, chance: random.Random) -> None:
        async with bot(gateway) as client:
            for _ in range(3):
                await asyncio.sleep(chance.uniform(0, 100))
                await asyncio.gather(*(client.send_json({"op": 3, "d": {}}) for _ in range(120)))
        assert gateway.broken == []

    for seed in range(40, 60):  # what is left of a wait may be rounded to nothing
        run(main(Gateway(interval=10**6), random.Random(seed)), seed=seed)


@virtual
async def test_an_unknown_opcode_is_told_and_the_session_goes_on() -> None:
    gateway = Gateway()
    async with bot(gateway) as client:
        events: list[Event] = []
        client.on(Event, events.append)
        await client.send_json({"op": 5, "d": None})
        gateway.dispatch("MISSED")
        assert [(await client.recv(60)).json["t"] for _ in range(3)] == ["READY", "MISSED", "RESUMED"]
        assert "Discord closed with 4001, unknown opcode" in str(events)
        assert not any(isinstance(event, Gap) for event in events)


# REST


@virtual
async def test_rest_is_asked_for_the_gateway_and_not_when_a_session_is_resumed() -> None:
    gateway = Gateway()
    async with bot(gateway) as client:
        for _ in range(3):
            await asyncio.sleep(1000)
            gateway.dispatch("A")
            gateway.restart()
            while (await client.recv(60)).json["t"] != "RESUMED":
                pass
        assert (gateway.asked, gateway.identifies, gateway.resumes) == (1, 1, 3)
        gateway.invalidate()
        while (await client.recv(60)).json["t"] != "READY":
            pass
        assert (gateway.asked, gateway.identifies) == (2, 2)


@virtual
async def test_a_url_of_a_gateway_is_dialed_without_rest() -> None:
    gateway = Gateway()
    async with bot(gateway, url="ws://gateway.test/"):
        pass
    assert (gateway.asked, gateway.identifies) == (0, 1)


@virtual
async def test_clients_of_one_token_share_an_answer_for_five_minutes() -> None:
    gateway = Gateway(concurrency=4, shards=4)
    clients = [bot(gateway, shard=(number, 4)) for number in range(4)]
    await asyncio.gather(*(client.open() for client in clients))
    assert (gateway.asked, gateway.identifies) == (1, 4)
    await clients[0].close()
    await asyncio.sleep(301)
    clients.append(bot(gateway, shard=(0, 4)))
    await clients[-1].open()
    assert gateway.asked == 2
    for client in clients[1:]:
        await client.close()


@virtual
async def test_where_the_gateway_cannot_be_dialed_its_url_is_asked_for_again() -> None:
    gateway = Gateway()
    client = bot(gateway, cut(), cut(), gateway)
    async with client:
        assert gateway.asked == 3


@virtual
async def test_a_refused_token_ends_it_at_once_without_a_dial() -> None:
    gateway = Gateway()
    client = bot(gateway, token="wr0ng")
    with pytest.raises(HandshakeRejected, match="answered with 401") as caught:
        await client.open()
    assert (caught.value.status, caught.value.phase, gateway.asked, gateway.connects) == (401, "resolve", 1, 0)
    assert "wr0ng" not in repr(caught.value) + str(vars(caught.value))


@pytest.mark.parametrize(
    "body", [{}, {"url": "ws://gateway.test/"}, {"url": "ws://g.test/", "session_start_limit": {"total": "many"}}]
)
@virtual
async def test_an_answer_that_cannot_be_read_is_a_failed_attempt(body: Any) -> None:
    gateway = Gateway()
    answers = [httpx.Response(200, json=body)]

    def client() -> httpx.AsyncClient:
        if not answers:
            return gateway.client()
        return httpx.AsyncClient(transport=httpx.MockTransport(lambda request: answers.pop()))

    made = bot(gateway, client=client)
    failed: list[AttemptFailed] = []
    made.on(AttemptFailed, failed.append)
    async with made:
        assert [event.phase for event in failed] == ["resolve"]
        assert "session_start_limit" in str(failed[0].error) or "'url'" in str(failed[0].error)


@virtual
async def test_the_request_says_who_asks() -> None:
    gateway = Gateway()
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        status, body = gateway.answer(request.url.path, request.headers["Authorization"])
        return httpx.Response(status, json=body)

    async with bot(gateway, client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(handle))):
        (request,) = seen
    assert (request.method, str(request.url)) == ("GET", "http://discord.test/api/v10/gateway/bot")
    assert request.headers["Authorization"] == f"Bot {gateway.token}"
    assert request.headers["User-Agent"].startswith("DiscordBot (https://")


# The budget of identifies


@pytest.mark.parametrize("url", [API, "ws://gateway.test/"])
@virtual
async def test_before_the_budget_is_spent_the_client_ends(url: str) -> None:
    gateway = Gateway(identifies=1000)

    async def invalid() -> None:
        while True:
            await asyncio.sleep(1)
            gateway.invalidate()

    client = bot(gateway, url=url, spare=950)
    task = asyncio.create_task(invalid())
    await client.open()
    with pytest.raises(IdentifiesSpent) as caught:
        await client.wait_closed()
    task.cancel()
    error = caught.value
    assert (error.total, error.remaining) == (1000, 950)
    assert gateway.remaining == error.remaining
    assert 0 < error.resets_in < 86_400
    assert "resets the token" in str(error)
    assert (gateway.token, error.phase) == ("MTE.gateway.token", "admit")
    # Another client in this loop knows, until the day is over.
    with pytest.raises(IdentifiesSpent):
        await bot(gateway, url="ws://gateway.test/", spare=950).open()
    await asyncio.sleep(error.resets_in)
    async with bot(gateway, url="ws://gateway.test/", spare=950):
        pass


@virtual
async def test_what_other_programs_have_spent_counts_and_is_asked_for_again_before_giving_up() -> None:
    gateway = Gateway()
    gateway.remaining = 10
    with pytest.raises(IdentifiesSpent, match="10 of the 1000 identifies"):
        await bot(gateway).open()
    assert gateway.identifies == 0
    gateway.remaining = 11  # it would be fresh, if it were not too little
    async with bot(gateway):
        assert (gateway.asked, gateway.identifies) == (2, 1)


@virtual
async def test_without_rest_a_simulated_reset_of_the_token_never_happens() -> None:
    gateway = Gateway(identifies=3)
    gateway.remaining = 0  # what happens to who does not look
    client = bot(gateway, url="ws://gateway.test/")
    with pytest.raises(Exception, match="4004"):
        await client.open()
    assert gateway.token.endswith(".reset")


# Whose turn it is


async def identify_times(gateway: Gateway, clients: list[Client]) -> list[float]:
    began, times = now(), []
    for client in clients:
        client.on(Connected, lambda event: times.append(event.monotonic - began))
    await asyncio.gather(*(client.open() for client in clients))
    return times


@virtual
async def test_identifies_are_spaced_and_those_of_other_buckets_go_together() -> None:
    gateway = Gateway(concurrency=2, shards=6)
    clients = [bot(gateway, shard=(number, 6)) for number in range(6)]
    times = await identify_times(gateway, clients)
    assert times == pytest.approx([0, 0, 5.25, 5.25, 10.5, 10.5])
    assert [identify["shard"][0] for identify in gateway.identified] == [*range(6)]
    # Resumes wait for nobody.
    began = now()
    gateway.restart()
    await asyncio.sleep(1)
    assert (gateway.resumes, gateway.broken) == (6, [])
    assert now() - began < 5
    for client in clients:
        await client.close()


@virtual
async def test_an_attempt_that_fails_or_is_given_up_leaves_its_turn_to_the_next() -> None:
    gateway = Gateway()
    hanging = bot(gateway, lambda peer: peer.silence(), url="ws://gateway.test/", hello_timeout=30)
    waiting = [bot(gateway, url="ws://gateway.test/") for _ in range(3)]
    opening = [asyncio.create_task(client.open()) for client in (hanging, *waiting)]
    await asyncio.sleep(1)
    assert gateway.identifies == 0
    await waiting[0].close()
    opening[2].cancel()
    await asyncio.sleep(28)
    assert gateway.identifies == 0
    await opening[3]
    assert now() - 1000 == pytest.approx(30, abs=0.01)
    await hanging.close()
    await waiting[2].close()
    await asyncio.wait(opening)
    for task in opening[:3]:
        assert task.cancelled() or task.exception() is not None
    async with bot(gateway, url="ws://gateway.test/"):
        assert now() - 1000 == pytest.approx(35.25, abs=0.01)
    assert gateway.broken == []


@virtual
async def test_a_client_that_is_closed_leaves_its_turn_at_once() -> None:
    gateway = Gateway()
    hanging = bot(gateway, lambda peer: peer.silence(), url="ws://gateway.test/")
    opening = asyncio.create_task(hanging.open())
    other = bot(gateway, url="ws://gateway.test/")
    waiting = asyncio.create_task(other.open())
    await asyncio.sleep(3)
    await hanging.close()
    await waiting
    assert now() - 1000 == pytest.approx(3, abs=0.01)
    await other.close()
    await asyncio.wait([opening])
    opening.exception()


@virtual
async def test_who_is_cancelled_as_its_turn_comes_passes_it_on() -> None:
    turns = Turns()
    await turns.enter()
    waiting = [asyncio.create_task(turns.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await asyncio.sleep(0)
    turns.leave()
    waiting[0].cancel()  # it has its turn, and does not know it yet
    await asyncio.sleep(0.001)
    assert [task.done() for task in waiting] == [True, True, True]
    assert [task.cancelled() for task in waiting] == [True, True, False]
    turns.leave(distance=10)
    later = asyncio.create_task(turns.enter())
    await asyncio.sleep(5)
    later.cancel()  # while it waits out the distance
    await asyncio.sleep(0)
    last = asyncio.create_task(turns.enter())
    await last
    assert now() - 1000 == pytest.approx(10, abs=0.01)


def test_what_is_known_of_a_token_is_forgotten_a_day_after_its_last_use() -> None:
    async def main() -> None:
        first = identifies_of("one")
        assert identifies_of("one") is first
        first.spend(now())
        await asyncio.sleep(86_400)
        identifies_of("two")
        assert identifies_of("one") is first
        await asyncio.sleep(86_401)
        identifies_of("three")
        assert identifies_of("one") is not first

    run(main())


# Options


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"intents": ["GUILD"]}, "option 'intents': there is no 'GUILD'; there are GUILDS, GUILD_MEMBERS"),
        ({"intents": 1, "shard": (2, 2)}, "option 'shard': [2, 2] is not a number from 0 and how many there are"),
        ({"intents": 1, "token": ""}, "option 'token' is empty"),
        ({"intents": 1, "presence": {"since": object()}}, "option 'presence': it holds what JSON cannot"),
    ],
)
def test_bad_options_are_told(options: Any, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Discord(**{"token": "token", **options})
