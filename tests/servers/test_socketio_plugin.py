"""The plugin socketio with the servers that people run: Socket.IO's own on Node, python-socketio on uvicorn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ConnectionClosed,
    Disconnected,
    Gap,
    IdleTimeout,
    MessageTooBig,
    Reconnected,
    Retrying,
    SendError,
    Verdict,
)
from libws_socketio import CallLost, ConnectRefused, Socketio

from .diary import PATIENCE, Diary

Serve = Callable[..., Awaitable[Any]]


@pytest.fixture(params=["node", "python"])
def serve(request: pytest.FixtureRequest, behind_relay: Serve) -> Serve:
    """Start one of the servers with these variables: `await serve(LIMIT=1000)`."""
    cure = "npm install --no-package-lock --prefix tests/servers/socketio"
    return partial(behind_relay, "socketio", request.param, package="socket.io", cure=cure)


only_node = pytest.mark.parametrize("serve", ["node"], indirect=True)


class Talk(Diary):
    """A client of Socket.IO."""

    def __init__(self, place: Any, auth: Any = None, namespace: str = "/", **options: dict[str, Any]) -> None:
        given = {
            "backoff": {"base": 0.05, "cap": 0.2},
            **options,
            "socketio": {
                "auth": {"token": "secret"} if auth is None else auth,
                "namespace": namespace,
                **options.get("socketio", {}),
            },
        }
        super().__init__(Client(place.relay.url, plugins=["socketio"], proxy=None, options=given))
        self.socketio = self.client.plugin(Socketio)

    async def event(self, name: str) -> Any:
        """The message of the next event of that name."""
        async with asyncio.timeout(PATIENCE):
            async for message in self.client:
                if message.json[0] == name:
                    return message
        raise AssertionError("it ended")


@pytest.mark.parametrize("namespace", ["/", "/admin"])
async def test_events_and_calls_both_ways_with_attachments(namespace: str, serve: Serve) -> None:
    async with Talk(await serve(), namespace=namespace) as diary:
        socketio = diary.socketio
        assert socketio.sid
        async with asyncio.timeout(PATIENCE):
            assert await socketio.call("echo") is None
            assert await socketio.call("echo", {"ü": [1, None]}) == {"ü": [1, None]}
            assert await socketio.call("echo", 1, "zwei") == (1, "zwei")
            assert await socketio.call("echo", b"one", {"two": [b"\0" * 100]}) == (b"one", {"two": [b"\0" * 100]})
            many = await asyncio.gather(*(socketio.call("echo", n, bytes([n])) for n in range(50)))
            assert many == [(n, bytes([n])) for n in range(50)]

        await socketio.emit("say", "hello", [b"bytes", {"more": b"!"}])
        message = await diary.event("said")
        assert message.json == ["said", "hello", [b"bytes", {"more": b"!"}]]
        assert not message.json.wants_answer
        await diary.client.send_json(["say", 7])
        assert (await diary.event("said")).json == ["said", 7]

        await socketio.emit("ask", "name?")
        question = await diary.event("question")
        assert question.json == ["question", "name?"]
        await socketio.answer(question, "Ann", b"\1")
        assert (await diary.event("answered")).json == ["answered", "Ann", b"\1"]
        with pytest.raises(ValueError, match="has had it"):
            await socketio.answer(question, "Bob")
        assert not diary.all(Disconnected)


async def test_bad_credentials_are_asked_for_once_more_then_fatal(serve: Serve) -> None:
    diary = Talk(await serve(), {"token": "wr0ng"})
    with pytest.raises(ConnectRefused) as caught:
        await diary.client.open()
    error = caught.value
    assert (error.message, error.data["code"]) == ("not authorized", 17)
    assert str(error) == "the server refused the namespace '/': not authorized"
    assert [failed.error.verdict for failed in diary.all(AttemptFailed)] == [Verdict.REFRESH] * 2
    assert error.verdict is Verdict.FATAL
    assert "wr0ng" not in f"{error!r} {error.data} {diary.events} {diary.client.explain()}"


async def test_credentials_can_be_renewed(serve: Serve) -> None:
    tokens = iter(["wr0ng", "secret", "never asked"])
    async with Talk(await serve(), lambda: {"token": next(tokens)}) as diary:
        assert [type(failed.error) for failed in diary.all(AttemptFailed)] == [ConnectRefused]
        assert next(tokens) == "never asked"


async def test_an_unknown_namespace_is_fatal(serve: Serve) -> None:
    diary = Talk(await serve(), namespace="/nowhere")
    with pytest.raises(ConnectRefused, match="/nowhere") as caught:
        await diary.client.open()
    assert caught.value.verdict is Verdict.FATAL
    assert not diary.all(Retrying)


async def test_the_servers_pings_are_answered(serve: Serve) -> None:
    async with Talk(await serve(INTERVAL=1000, TIMEOUT=500, TICK=50)) as diary:
        for _ in range(60):
            await diary.event("tick")
        assert not diary.all(Disconnected)


@pytest.mark.parametrize("fault", ["reset", "silence", "restart"])
async def test_it_joins_again_whatever_befalls_the_connection(fault: str, serve: Serve) -> None:
    place = await serve(INTERVAL=1000, TIMEOUT=500, TICK=20)
    async with Talk(place) as diary:
        before = diary.socketio.sid
        await diary.event("tick")
        if fault == "reset":
            place.relay.drop(reset=True)
        elif fault == "silence":
            place.relay.silence()
        else:
            place.program.end()
            await place.program.start()
        await diary.until(Reconnected)
        await diary.event("tick")
        assert await diary.socketio.call("echo", 1) == 1
        assert diary.socketio.sid != before
        assert not diary.socketio.recovered
        if fault == "silence":
            assert isinstance(diary.all(Disconnected)[0].error, IdleTimeout)


@only_node
async def test_nothing_is_missed_where_the_server_recovers(serve: Serve) -> None:
    place = await serve(TICK=5, RECOVERY=60_000)
    async with Talk(place, backoff={"base": 0.1, "jitter": "none"}) as diary:
        sid, numbers = diary.socketio.sid, []
        for _ in range(5):
            for _ in range(10):
                numbers.append((await diary.event("tick")).json[1])
            lost = len(diary.all(Reconnected))
            place.relay.drop(reset=True)
            while len(diary.all(Reconnected)) == lost:
                numbers.append((await diary.event("tick")).json[1])
            assert diary.socketio.recovered
        assert not diary.all(Gap)
        assert numbers == [*range(numbers[0], numbers[0] + len(numbers))]
        assert diary.socketio.sid == sid


@only_node
async def test_a_session_that_the_server_no_longer_has_is_not_recovered(serve: Serve) -> None:
    place = await serve(TICK=5, RECOVERY=60_000)
    async with Talk(place) as diary:
        await diary.event("tick")
        place.program.end()
        await place.program.start()
        await diary.until(Reconnected)
        assert not diary.socketio.recovered
        assert len(diary.all(Gap)) == 1
        assert await diary.socketio.call("echo", "again") == "again"


@only_node
async def test_recovery_can_be_left_out(serve: Serve) -> None:
    place = await serve(TICK=5, RECOVERY=60_000)
    async with Talk(place, socketio={"recover": False}) as diary:
        await diary.event("tick")
        place.relay.drop(reset=True)
        await diary.until(Reconnected)
        assert not diary.socketio.recovered


async def test_a_call_in_flight_at_a_reset_is_lost_and_not_sent_again(serve: Serve) -> None:
    place = await serve()
    async with Talk(place) as diary:
        place.relay.silence()
        calling = asyncio.create_task(diary.socketio.call("echo", 1))
        await asyncio.sleep(0)
        place.relay.drop(reset=True)
        with pytest.raises(CallLost):
            await calling
        await diary.until(Reconnected)
        assert await diary.socketio.call("echo", 2) == 2


@pytest.mark.parametrize("verdict", ["fatal", "retry"])
async def test_what_it_means_to_be_put_out_is_an_option(verdict: str, serve: Serve) -> None:
    async with Talk(await serve(), socketio={"disconnect": verdict}) as diary:
        await diary.socketio.emit("kick")
        if verdict == "retry":
            await diary.until(Reconnected)
            assert await diary.socketio.call("echo", 1) == 1
        else:
            with pytest.raises(ConnectionClosed, match="put us out of the namespace '/'"):
                async with asyncio.timeout(PATIENCE):
                    await diary.client.wait_closed()
            assert not diary.all(Retrying)


@only_node
async def test_a_connection_that_the_server_closes_is_made_again(serve: Serve) -> None:
    async with Talk(await serve()) as diary:
        await diary.socketio.emit("close")
        await diary.until(Reconnected)
        assert await diary.socketio.call("echo", 1) == 1


async def test_what_is_over_the_servers_limit_is_not_sent(serve: Serve) -> None:
    async with Talk(await serve(LIMIT=20_000)) as diary:
        for large in ("ü" * 15_000, b"x" * 30_000):
            with pytest.raises(SendError, match="maxPayload of 20000"):
                await diary.socketio.call("echo", large)
        with pytest.raises(SendError):
            await diary.client.send_json(["say", "x" * 30_000])
        assert await diary.socketio.call("echo", b"x" * 15_000) == b"x" * 15_000
        assert not diary.all(Disconnected)


async def test_what_is_over_our_limits_ends_the_client(serve: Serve) -> None:
    place = await serve()
    for options in ({"websockets": {"max_size": 20_000}}, {"socketio": {"attachment_bytes": 20_000}}):
        async with Talk(place, **options) as diary:
            assert len(await diary.socketio.call("big", 10_000)) == 10_000
            with pytest.raises(CallLost):
                await diary.socketio.call("echo", b"x" * 15_000, b"y" * 25_000)
            with pytest.raises(MessageTooBig) as caught:
                async with asyncio.timeout(PATIENCE):
                    await diary.client.wait_closed()
            assert caught.value.verdict is Verdict.FATAL
