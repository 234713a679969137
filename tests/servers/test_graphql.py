"""graphql-ws on Node: the subprotocol graphql-transport-ws, whose close codes tell what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    ConnectionClosed,
    Disconnected,
    Kind,
    Message,
    Reconnected,
    RetriesExhausted,
    Retrying,
    Verdict,
)

PATIENCE = 15.0
FOLDER = Path(__file__).parent / "graphql"
CODES = {"4400-4499": "fatal", "4408": "retry"}
"""What graphql-ws means by its codes: every one is about what the client did, but for the log-in that came too late."""


INIT = {"type": "connection_init", "payload": {"token": "secret"}}
ACK = {"type": "connection_ack"}
NAMES = {"type": "subscribe", "id": "1", "payload": {"query": "subscription { clock }"}}
PONG = {"match": {"type": "ping", "payload": "$asked"}, "reply": {"type": "pong", "payload": "$asked"}}


def label(message: Message) -> str | None:
    """ "frames" and "messages" are the server's pings, "answers" its pongs to our messages."""
    if message.kind is Kind.PING:
        return "frames"
    if message.kind is not Kind.TEXT:
        return None
    return {"ping": "messages", "pong": "answers"}.get(message.json["type"])


@pytest.fixture
def graphql(
    run: Callable[..., Awaitable[Any]], free_port: Callable[[], int], require: Callable[..., None], tell: Any
) -> Callable[..., Awaitable[Callable[..., Any]]]:
    """Start the server of tests/servers/graphql with these variables; gives a function that makes a client's story."""

    async def start(**environ: int) -> Callable[..., Any]:
        modules = FOLDER / "node_modules" / "graphql-ws"
        require(modules, "graphql-ws", "npm install --no-package-lock --prefix tests/servers/graphql")
        port = free_port()
        variables = {name: str(value) for name, value in {"PORT": port, **environ}.items()}
        await run("node", FOLDER / "server.mjs", port=port, cure="apt-get install nodejs npm", **variables)

        def make(message: Any = INIT, plugins: Iterable[Any] = (), **options: Any) -> Any:
            given = {"backoff": {"base": 0.05, "codes": CODES}, **options}
            named = list(plugins)
            if message is not None:
                named.insert(0, "auth")
                given["auth"] = {"message": message, "expect": ACK}
            url = f"ws://127.0.0.1:{port}/graphql"
            return tell(url, plugins=named, subprotocols=["graphql-transport-ws"], options=given)

        return make

    return start


async def test_a_subscription_over_a_logged_in_connection(graphql: Any) -> None:
    story = (await graphql())()
    client = story.client
    await story.open()
    assert client.subprotocol == "graphql-transport-ws"
    await client.send_json({"type": "subscribe", "id": "a", "payload": {"query": "subscription { count(to: 3) }"}})
    told = [(await client.recv(PATIENCE)).json for _ in range(4)]
    assert [message["type"] for message in told] == ["next", "next", "next", "complete"]
    assert [message["payload"]["data"]["count"] for message in told[:3]] == [1, 2, 3]


async def test_the_server_answers_a_ping_that_is_a_message(graphql: Any, counter: Any) -> None:
    make = await graphql()
    asked = {"message": {"type": "ping"}, "reply": {"type": "pong"}, "interval": 0.1, "timeout": 5, "when": "always"}
    answers = counter(label)
    story = make(plugins=[answers], ping=asked)
    client = story.client
    await story.open()
    await answers.until(answers=3)
    await client.send_json({"type": "subscribe", "id": "a", "payload": {"query": "{ hello }"}})
    assert (await client.recv(PATIENCE)).json["payload"] == {"data": {"hello": "world"}}, "answers are taken out"


async def test_pings_of_the_server_are_answered_both_kinds(graphql: Any, counter: Any) -> None:
    make = await graphql(FRAMES=150, MESSAGES=150)
    pings = counter(label)
    story = make(plugins=[pings], pong=PONG)
    await story.open()
    await pings.until(frames=5, messages=5)
    assert story.connected_once
    assert not story.all(Disconnected)


@pytest.mark.parametrize("kind", ["frames", "messages"])
async def test_who_does_not_answer_the_pings_is_cut_off_and_comes_back(kind: str, graphql: Any, counter: Any) -> None:
    make = await graphql(**{kind.upper(): 150})
    silent = {"frames": False} if kind == "frames" else {}
    pings = counter(label)
    story = make(plugins=[pings], pong=silent)
    await story.open()
    lost = await story.until(Disconnected)
    assert (lost.error.code, lost.error.initiator) == (1006, "network")
    assert pings.counts[kind] == 1
    await story.until(Reconnected)


async def test_a_refused_log_in_is_fatal_because_the_codes_say_so(graphql: Any) -> None:
    make = await graphql()
    refused = make({"type": "connection_init", "payload": {"token": "wr0ng"}})
    with pytest.raises(ConnectionClosed) as caught:
        await refused.open()
    error = caught.value
    assert (error.code, error.reason, error.phase) == (4403, "Forbidden", "establish")
    assert error.verdict is Verdict.FATAL
    assert len(refused.all(AttemptFailed)) == 1
    assert "wr0ng" not in f"{error!r} {refused.events}"


async def test_without_codes_a_refused_log_in_is_retried(graphql: Any) -> None:
    make = await graphql()
    refused = make({"type": "connection_init"}, backoff={"base": 0.01, "max_attempts": 3})
    with pytest.raises(RetriesExhausted):
        await refused.open()
    assert [failed.error.code for failed in refused.all(AttemptFailed)] == [4403] * 3


@pytest.mark.parametrize(
    ("first", "sent", "code", "reason"),
    [
        (None, [NAMES], 4401, "Unauthorized"),
        (INIT, ["this is no JSON"], 4400, "Invalid message received"),
        (INIT, [INIT], 4429, "Too many initialisation requests"),
        (INIT, [NAMES, NAMES], 4409, "Subscriber for 1 already exists"),
    ],
    ids=["4401", "4400", "4429", "4409"],
)
async def test_what_the_client_did_wrong_ends_it(
    first: Any, sent: list[Any], code: int, reason: str, graphql: Any
) -> None:
    make = await graphql()
    story = make(first)
    await story.open()
    for message in sent:
        if isinstance(message, str):
            await story.client.send(message)
        else:
            await story.client.send_json(message)
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(PATIENCE):
            await story.client.wait_closed()
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert len(story.all(Disconnected)) == 1
    assert not story.all(Retrying)


async def test_4401_asks_for_new_credentials_once_if_nothing_else_is_said(graphql: Any) -> None:
    make = await graphql()
    story = make(None, backoff={"base": 0.05})
    await story.open()
    await story.client.send_json(NAMES)
    assert (await story.until(Disconnected)).error.verdict is Verdict.REFRESH
    await story.until(Reconnected)
    await story.client.send_json(NAMES)
    with pytest.raises(ConnectionClosed) as caught:
        async with asyncio.timeout(PATIENCE):
            await story.client.wait_closed()
    assert (caught.value.code, caught.value.verdict) == (4401, Verdict.FATAL)


async def test_a_log_in_that_does_not_come_is_4408_and_retried(graphql: Any) -> None:
    make = await graphql(WAIT=200)
    story = make(None)
    await story.open()
    lost = await story.until(Disconnected)
    assert (lost.error.code, lost.error.reason) == (4408, "Connection initialisation timeout")
    assert lost.error.verdict is Verdict.RETRY
    await story.until(Reconnected)
