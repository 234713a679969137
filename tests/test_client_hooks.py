"""Where the time goes: no hook, task or await a message, and nothing kept of the PluginManager."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pluggy
import pytest

from libws_core import Client, Control, Event, Failure, Message, Request, Session, hookimpl
from libws_core.hookspecs import ASYNC
from libws_core.testing import MemoryDialer, virtual

HOOKS = {
    "resolve": "request",
    "admit": "request",
    "authenticate": "request",
    "establish": "session",
    "keep_alive": "session",
    "incoming": "session",
    "outgoing": "session",
    "deliver": "client",
    "hold": "sending",
    "adapt_error": "error, request",
    "reconnect": "failure",
    "observe": "event",
}


def counting(calls: Counter[str], name: str) -> type:
    """A plugin that answers every hook but dial, and counts how often it is asked."""
    lines = [f"class {name}:"]
    for hook, arguments in HOOKS.items():
        prefix = "async " if hook in ASYNC else ""
        lines += ["    @hookimpl", f"    {prefix}def {hook}(self, {arguments}): calls[{hook!r}] += 1"]
    scope: dict[str, Any] = {"hookimpl": hookimpl, "calls": calls}
    exec("\n".join(lines), scope)
    return scope[name]  # type: ignore[no-any-return]


@virtual
async def test_no_hook_is_called_for_a_message() -> None:
    calls: Counter[str] = Counter()
    plugins = [counting(calls, f"Counting{letter}")() for letter in "ABC"]
    dialer = MemoryDialer()
    client = Client("ws://test/", plugins=["-websockets", *plugins, dialer])
    async with client:
        peer = await dialer.accept()
        await asyncio.sleep(1)
        before = calls.copy()
        assert before == {
            hook: 3 * (5 + 1 if hook == "observe" else 1)
            for hook in HOOKS
            if hook not in ("hold", "adapt_error", "reconnect")
        }
        tasks = asyncio.all_tasks()
        peer.on_message = lambda message: peer.send(message.data)
        for number in range(1000):
            await client.send(str(number))
        for number in range(1000):
            assert (await client.recv(10)).data == str(number)
        assert calls == before
        assert asyncio.all_tasks() == tasks
    assert client.stats[:2] == (1000, 1000)


@virtual
async def test_without_stages_a_message_goes_straight_through() -> None:
    """Neither incoming nor outgoing is there when nobody asked for it: one call to the inbox, one to the wire."""
    dialer = MemoryDialer()
    async with Client("ws://test/", plugins=["-standard", dialer]) as client:
        session = client._supervisor.target
        assert session is not None
        assert session._sink == client._inbox.put
        assert not session.outbound.busy


def test_the_plugin_manager_is_dropped() -> None:
    class Sees:
        @hookimpl
        def observe(self, event: Event) -> None: ...

        @hookimpl
        def incoming(self, session: Session) -> Control | None: ...

    gc.collect()
    before = sum(isinstance(each, pluggy.PluginManager) for each in gc.get_objects())
    client = Client("ws://test/", plugins=[Sees(), MemoryDialer()])
    gc.collect()
    managers = [each for each in gc.get_objects() if isinstance(each, pluggy.PluginManager)]
    assert len(managers) <= before
    callers = (pluggy.HookCaller, pluggy.HookImpl)
    assert not any(isinstance(each, callers) for hooks in client._supervisor.plan.hooks.values() for each in hooks)


# The server that accepts and closes at once


@pytest.mark.parametrize("code", [1000, 1008, 1011, None])
@pytest.mark.parametrize("seed", range(25))
def test_a_server_that_accepts_and_closes_at_once_meets_15_connections_in_a_minute_at_most(
    code: int | None, seed: int
) -> None:
    @virtual(seed=seed)
    async def body() -> None:
        dialer = MemoryDialer(lambda peer: (peer.drop() if code is None else peer.close(code)) and None)
        client = Client("ws://test/", plugins=["-websockets", dialer])
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with client:
            await asyncio.sleep(60)
            assert 4 <= dialer.count <= 15
            assert all(dial.time - begin <= 60 for dial in dialer.dials)

    body()


@pytest.mark.parametrize("hook", ["observe", "reconnect"])
def test_an_async_hook_that_must_be_plain_is_refused_when_the_client_is_made(hook: str) -> None:
    async def function(self: object, event: Event) -> None: ...

    async def reconnect(self: object, failure: Failure) -> float:
        return 1.0

    functions: dict[str, Callable[..., Any]] = {"observe": function, "reconnect": reconnect}
    culprit = type("Culprit", (), {hook: hookimpl(functions[hook])})
    with pytest.raises(ValueError, match=f"'culprit': '{hook}' is async"):
        Client("ws://test/", plugins=[culprit(), MemoryDialer()])


@virtual
async def test_deliver_stages_stand_from_the_wire_to_the_user_as_incoming_ones_do() -> None:
    def marking(name: str) -> object:
        def stage(message: Message) -> Message:
            return Message.text(f"{message.data} {name}")

        @hookimpl
        def incoming(self: object, session: Session) -> Callable[[Message], Message]:
            return stage

        @hookimpl
        def deliver(self: object, client: Client) -> Callable[[Message], Message]:
            return stage

        return type(name, (), {"incoming": incoming, "deliver": deliver})()

    plugins = ["-standard", marking("first"), marking("second"), MemoryDialer(lambda peer: peer.send("said"))]
    async with Client("ws://test/", plugins=plugins) as client:
        assert (await client.recv(10)).data == "said second first second first"


@virtual
async def test_a_deliver_stage_is_asked_for_once_a_client() -> None:
    asked: list[Client] = []

    class Dedupes:
        @hookimpl
        def deliver(self, client: Client) -> Callable[[Message], Message | None]:
            asked.append(client)
            seen: set[str] = set()

            def stage(message: Message) -> Message | None:
                if message.data in seen:
                    return None
                seen.add(message.data)
                return message

            return stage

        @hookimpl
        def reconnect(self, failure: Failure) -> float:
            return 1.0

        @hookimpl
        def resolve(self, request: Request) -> None: ...

    def script(peer: Any) -> None:
        peer.send("both")
        peer.send(f"of {peer.number}")
        if peer.number == 1:
            peer.drop()

    async with Client("ws://test/", plugins=["-standard", Dedupes(), MemoryDialer(script)]) as client:
        assert [(await client.recv(10)).data for _ in range(3)] == ["both", "of 1", "of 2"]
        assert asked == [client]
