"""Plugins that go wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from catching import fails

from libws_core import (
    ConnectionClosed,
    Event,
    LibwsError,
    Message,
    Reconnected,
    Request,
    Session,
    hookimpl,
)
from libws_core.testing import Peer, PluginContract
from libws_core.types import Outgoing

LONG = 1e5


def leave_a_task() -> None:
    KEPT.append(asyncio.get_running_loop().create_task(asyncio.sleep(LONG), name="left"))


KEPT: list[Any] = []


class Final:
    """Takes a restart for the end."""

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        return error.but(verdict="fatal") if error.code == 1012 else None


@fails("test_it_gets_ready_again_after_each_loss")
class TestFinal(PluginContract):
    plugin = Final
    name = None


class Clumsy:
    """Raises what nobody expects when a connection has come back for the second time."""

    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, Reconnected) and event.generation == 3:
            raise KeyError("generation")


@fails("test_its_hooks_raise_nothing_unforeseen")
class TestClumsy(PluginContract):
    plugin = Clumsy
    name = None


class Stubborn:
    """Asks for more time than there is, and takes no cancellation for an answer."""

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        def hold_back(message: Message) -> Message | float:
            return LONG if message.data == "not yet" else message

        return hold_back

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        session.send(Message.text("not yet"))
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(LONG)
        finally:
            if session.request.attempt.generation == 4:
                until = loop.time() + 1.5
                while loop.time() < until:
                    try:
                        await asyncio.sleep(until - loop.time())
                    except asyncio.CancelledError:
                        pass


@fails("test_it_lets_the_client_close_in_time")
class TestStubborn(PluginContract):
    plugin = Stubborn
    name = None


class Forgetful:
    """Sets a timer and never thinks of it again."""

    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, Reconnected) and event.generation == 4:
            asyncio.get_running_loop().call_later(LONG, print)


@fails("test_it_leaves_nothing_behind")
class TestForgetful(PluginContract):
    plugin = Forgetful
    name = None


class Insistent:
    """Says hello until it is answered, which moves the deadline each time."""

    @hookimpl
    async def establish(self, session: Session) -> None:
        answer = session.spawn(session.recv("hello"))
        while not answer.done():
            session.send(Message.text("hello"))
            await asyncio.wait([answer], timeout=1)


@fails("test_a_silent_server_does_not_hang_it")
class TestInsistent(PluginContract):
    plugin = Insistent
    name = None

    async def server(self, peer: Peer) -> None:
        async for message in peer:
            peer.send(message)


class Unwilling:
    """Starts something when it is told to end."""

    @hookimpl
    async def admit(self, request: Request) -> None:
        try:
            for _ in range(3):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            leave_a_task()
            raise


@fails("test_cancelled_at_each_step_it_leaves_nothing")
class TestUnwilling(PluginContract):
    plugin = Unwilling
    name = None


class Grieving:
    """Starts something when the first connection is lost before its greeting has come."""

    @hookimpl
    async def establish(self, session: Session) -> None:
        try:
            await session.recv("welcome")
        except ConnectionClosed:
            if session.request.attempt.number == 1:
                leave_a_task()
            raise


@fails("test_lost_at_each_step_it_leaves_nothing")
class TestGrieving(PluginContract):
    plugin = Grieving
    name = None

    async def server(self, peer: Peer) -> None:
        peer.send("welcome")
        async for _ in peer:
            pass


class Silent:
    @hookimpl
    def keep_alive(self, session: Session) -> Awaitable[None] | None:
        return None
