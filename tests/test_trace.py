"""What a traced client tells: each call of a hook, the answer, and who decided."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable
from dataclasses import replace
from typing import Any

import pytest

from libws_core import (
    STOP,
    AuthenticationError,
    Client,
    ConfigurationError,
    Connecting,
    ConnectionClosed,
    Control,
    Event,
    Failure,
    HandshakeRejected,
    Headers,
    LibwsError,
    Message,
    PluginFailed,
    Request,
    Sending,
    Session,
    Stop,
    hookimpl,
)
from libws_core.hookspecs import ASYNC
from libws_core.testing import MemoryDialer, MemoryPeer, Server, refuse, virtual
from libws_core.trace import AWAITED, Call
from libws_core.wording import error_words

SECRET = "s3cr3t"


class Everything:
    """Answers every hook, each with something to tell."""

    def __init__(self, *delays: float | Stop) -> None:
        self.delays = list(delays)

    @hookimpl
    async def resolve(self, request: Request) -> Request:
        await asyncio.sleep(2)
        return replace(request, url=f"ws://elsewhere/?ticket={SECRET}", extra={"ticket": SECRET})

    @hookimpl
    async def admit(self) -> None:
        await asyncio.sleep(0.5)

    @hookimpl
    def authenticate(self, request: Request) -> Request:
        return replace(request, headers=request.headers | Headers({"Authorization": SECRET}), subprotocols=("v2",))

    @hookimpl
    async def establish(self, session: Session) -> None:
        await session.send(Message.text("hello"))

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        await asyncio.sleep(30)
        raise ConnectionClosed("it has lived for long enough")

    @hookimpl
    def incoming(self) -> Control:
        return Control(lambda message: message)

    @hookimpl
    def outgoing(self) -> Any:
        return lambda message: message

    @hookimpl
    def deliver(self) -> None:
        return None

    @hookimpl
    def hold(self, sending: Sending) -> Awaitable[None] | None:
        return None

    @hookimpl
    def adapt_error(self, error: LibwsError) -> LibwsError | None:
        return error.but(retry_after=3) if error.status == 429 else None

    @hookimpl
    def reconnect(self, failure: Failure) -> float | Stop | None:
        return self.delays.pop(0) if self.delays else None

    @hookimpl
    def observe(self, event: Event) -> None: ...


class Told:
    """What a client tells."""

    def __init__(self) -> None:
        self.all: list[Call | Event] = []

    def __call__(self, what: Call | Event) -> None:
        self.all.append(what)

    @property
    def calls(self) -> list[Call]:
        return [what for what in self.all if isinstance(what, Call)]

    def of(self, hook: str) -> list[Call]:
        return [call for call in self.calls if call.hook == hook]

    def line(self, hook: str) -> str:
        return str(self.of(hook)[0]).rpartition(",")[0]


@virtual
async def test_each_hook_is_told_with_its_plugin_answer_and_time() -> None:
    told = Told()
    async with MemoryDialer(refuse(429), reads, subprotocols=["v2"]) as dialer:
        plugins = [Everything(3.2, STOP), dialer, "-standard"]
        client = Client("ws://test/", plugins=plugins, _trace=told)
        await client.open()
        with pytest.raises(LibwsError):
            await client.wait_closed()
    assert {call.hook for call in told.calls} == {*client.explain()["hooks"]} - {"hold"}
    assert told.line("deliver") == "deliver: everything -> no stage"
    assert told.line("resolve") == "resolve: everything -> ws://elsewhere/?...; extra ticket (attempt 1)"
    assert told.line("admit") == "admit: everything -> done (attempt 1)"
    assert (
        told.line("authenticate") == ("authenticate: everything -> headers authorization; subprotocols v2 (attempt 1)")
        or told.line("authenticate") == "authenticate: everything -> headers Authorization; subprotocols v2 (attempt 1)"
    )
    assert told.line("dial").startswith("dial: memory-dialer -> raised HandshakeRejected: ")
    assert told.of("dial")[0].raised
    assert told.line("adapt_error") == ("adapt_error: everything -> 429 with Retry-After 3, retry (attempt 1, 429)")
    assert told.line("reconnect") == "reconnect: everything -> 3.2 s (attempt 1, 429 with Retry-After 3)"
    assert str(told.of("dial")[1]).startswith("dial: memory-dialer -> connected, subprotocol v2 (attempt 2), ")
    assert told.line("outgoing") == "outgoing: everything -> a stage (attempt 2)"
    assert told.line("incoming") == "incoming: everything -> a stage for pings, pongs and closes (attempt 2)"
    assert told.line("establish") == "establish: everything -> done (attempt 2)"
    first, last = told.of("keep_alive")
    assert first.answer == "watches"
    assert (last.answer, last.raised) == ("raised ConnectionClosed: it has lived for long enough", True)
    assert told.of("reconnect")[-1].answer == "stop"
    assert [round(told.of(hook)[0].seconds, 3) for hook in ("resolve", "admit")] == [2, 0.5]
    assert round(last.seconds, 3) == 30
    assert SECRET not in "".join(map(str, told.calls))


async def reads(peer: MemoryPeer) -> None:
    async for _ in peer:
        pass


@virtual
async def test_an_event_is_told_before_those_who_observe_it() -> None:
    told = Told()
    async with MemoryDialer(reads) as dialer:
        client = Client("ws://test/", plugins=[Everything(), dialer, "-websockets"], _trace=told)
        await client.open()
        await client.close()
    for event, call in zip(told.all, told.all[1:], strict=False):
        if isinstance(event, Event):
            assert isinstance(call, Call)
            assert (call.hook, call.about) == ("observe", type(event).__name__)


@virtual
async def test_a_send_that_nobody_keeps_is_told() -> None:
    told = Told()
    async with MemoryDialer(reads) as dialer:
        client = Client("ws://test/", plugins=[Everything(), dialer, "-websockets"], _trace=told)
        opening = asyncio.create_task(client.open())
        await asyncio.sleep(1)
        with pytest.raises(LibwsError):
            await client.send(SECRET)
        await opening
        await client.close()
    assert told.line("hold") == "hold: everything -> does not keep it (send 1)"


@virtual
async def test_a_hook_that_is_cancelled_or_broken_is_told_and_does_as_without_a_trace() -> None:
    class Slow:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(60)

    class Broken:
        @hookimpl
        def authenticate(self, request: Request) -> Request:
            raise KeyError("nonce")

    for plugin, hook, answer in ((Slow(), "establish", "cancelled"), (Broken(), "authenticate", "raised KeyError")):
        told = Told()
        async with MemoryDialer(reads) as dialer:
            client = Client("ws://test/", plugins=[plugin, dialer, "-websockets", "-backoff"], _trace=told)
            with pytest.raises(LibwsError) as caught:
                await client.open()
        assert told.of(hook)[0].answer.startswith(answer)
        assert isinstance(caught.value, PluginFailed) == (hook == "authenticate")


@pytest.mark.parametrize(
    ("steps", "plugins", "last"),
    [
        ([refuse(404)], [], "reconnect: nobody -> stop (404: the verdict is fatal)"),
        ([refuse(401)], [], "reconnect: nobody -> stop (401: a second refresh in a row is fatal)"),
        ([refuse(503)], ["-backoff"], "reconnect: nobody -> stop (503: no plugin answers reconnect)"),
    ],
)
def test_who_decided_is_told_also_where_no_plugin_did(steps: list[Any], plugins: list[str], last: str) -> None:
    @virtual
    async def body() -> None:
        told = Told()
        async with MemoryDialer(*steps) as dialer:
            client = Client("ws://test/", plugins=[dialer, "-websockets", *plugins], _trace=told)
            with pytest.raises(HandshakeRejected):
                await client.open()
        assert str(told.calls[-1]) == last

    body()


def test_a_client_that_is_not_traced_has_the_plugins_own_methods() -> None:
    plugin = Everything()
    for trace in (None, Told()):
        client = Client("ws://test/", plugins=[plugin], _trace=trace)
        (hook, *_) = client._supervisor.plan.hooks["reconnect"]
        assert (hook.call == plugin.reconnect) == (trace is None)


def test_hooks_that_are_awaited_are_those_that_may_be_async() -> None:
    assert AWAITED | {"keep_alive"} == ASYNC


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (HandshakeRejected("no", status=503), "503"),
        (HandshakeRejected("no", status=429, retry_after=2.5), "429 with Retry-After 2.5"),
        (ConnectionClosed("gone", code=1012), "closed with 1012"),
        (ConnectionClosed("gone"), "lost without a close frame"),
        (AuthenticationError("no"), "AuthenticationError"),
    ],
)
def test_an_error_in_a_few_words(error: LibwsError, words: str) -> None:
    assert error_words(error) == words


PROGRAM = """
import asyncio, sys
from libws_core import Client
async def main():
    async with Client(sys.argv[1], name="prices", options={"backoff": {"base": 0}}) as client:
        print((await client.recv(timeout=5)).data)
asyncio.run(main())
"""


async def run(url: str, **environ: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, url),
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, said = await process.communicate()
    return process.returncode, out.decode(), said.decode()


async def test_any_program_is_traced_by_an_environment_variable() -> None:
    async with Server(refuse(503), lambda peer: peer.send("hi")) as server:
        code, out, said = await run(f"{server.url}?token={SECRET}", LIBWS_TRACE="1")
    assert (code, out) == (0, "hi\n")
    lines = [line.split(" prices ")[1] for line in said.splitlines() if " prices " in line]
    assert lines[0] == "attempt 1: resolve"
    assert [line for line in lines if line.startswith("  reconnect: backoff -> 0 s (attempt 1, 503), ")]
    assert "connected" in lines
    assert SECRET not in said


async def test_it_is_off_unless_it_is_asked_for() -> None:
    async with Server(lambda peer: peer.send("hi")) as server:
        assert await run(server.url, LIBWS_TRACE="0") == (0, "hi\n", "")


def test_a_value_that_is_not_understood_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBWS_TRACE", "loud")
    with pytest.raises(ConfigurationError, match=r"LIBWS_TRACE: expected 1 or 0, got 'loud'; set LIBWS_TRACE=1"):
        Client("ws://test/")


async def test_a_trace_that_nobody_can_read_disturbs_nothing() -> None:
    async with Server(lambda peer: peer.send("hi")) as server:
        words = f"{sys.executable} -c '{PROGRAM}' {server.url} 2>&-"
        process = await asyncio.create_subprocess_shell(
            words, env={**os.environ, "LIBWS_TRACE": "1"}, stdout=subprocess.PIPE
        )
        async with asyncio.timeout(30):
            out, _ = await process.communicate()
    assert (process.returncode, out) == (0, b"hi\n")


def test_phases_are_told_too() -> None:
    @virtual
    async def body() -> None:
        told = Told()
        async with MemoryDialer(reads) as dialer:
            client = Client("ws://test/", plugins=[dialer, "-websockets"], _trace=told)
            await client.open()
            await client.close()
        phases = [what.phase for what in told.all if isinstance(what, Connecting)]
        assert phases == ["resolve", "admit", "authenticate", "dial", "establish"]

    body()
