"""Plugins that watch connections, and are wrong."""

from __future__ import annotations

import asyncio
from typing import Any

from catching import fails

from libws_core import Closed, Event, KeepAliveTimeout, Session, hookimpl
from libws_core.testing import KeepAliveContract

EVERY, PATIENCE = 20.0, 20.0


class Impatient:
    """Gives up a peer that lives, after two hours."""

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        for _ in range(int(7_200 / EVERY)):
            await asyncio.sleep(EVERY)
            await session.ping(PATIENCE)
        raise KeepAliveTimeout("two hours are enough")


@fails("test_a_live_server_is_never_given_up")
class TestImpatient(KeepAliveContract):
    plugin = Impatient
    name = None


class Slow:
    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        while True:
            await asyncio.sleep(5 * EVERY)
            await session.ping(PATIENCE)


@fails("test_a_silent_server_is_given_up_in_time")
class TestSlow(KeepAliveContract):
    plugin = Slow
    name = None


class Hopeless:
    """Never comes back from silence."""

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                await session.ping(PATIENCE)
            except KeepAliveTimeout as error:
                raise error.but(verdict="fatal") from None


@fails("test_giving_up_may_be_tried_again")
class TestHopeless(KeepAliveContract):
    plugin = Hopeless
    name = None


class Unfair:
    """Measures the peer by its own clock, which runs on while we do not read."""

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        while True:
            await asyncio.sleep(EVERY)
            try:
                async with asyncio.timeout(PATIENCE):
                    await session.ping(1e6)
            except TimeoutError:
                raise KeepAliveTimeout("no pong") from None


@fails("test_while_we_do_not_read_nobody_is_blamed")
class TestUnfair(KeepAliveContract):
    plugin = Unfair
    name = None


class Lingering:
    """Watches connections that have ended, until the client does."""

    def __init__(self) -> None:
        self.watching: list[asyncio.Task[Any]] = []

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        self.watching.append(asyncio.ensure_future(asyncio.sleep(1e6)))
        while True:
            await asyncio.sleep(EVERY)
            await session.ping(PATIENCE)

    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, Closed):
            for task in self.watching:
                task.cancel()


@fails("test_it_ends_with_its_connection")
class TestLingering(KeepAliveContract):
    plugin = Lingering
    name = None
