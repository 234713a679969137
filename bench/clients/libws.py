"""libws with its standard plugins: a callback, `async for`, and the dialer on picows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter

from libws_core import Client, Message, Session, hookimpl
from libws_core.types import Stage

from ..cases import Case


class Iterate:
    """Reads by `async for` and `recv`."""

    plugins: tuple[str | object, ...] = ()
    client: Client

    async def open(self, url: str, case: Case | None) -> None:
        self.client = Client(url, plugins=self.plugins)
        await self.client.open()

    async def receive(self, command: str, count: int) -> None:
        await self.client.send(command)
        async for message in self.client:
            _ = message.data
            count -= 1
            if not count:
                break

    async def send(self, command: str, payload: str, count: int) -> None:
        client = self.client
        await client.send(command)
        for _ in range(count):
            await client.send(payload)
        await client.recv()

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        client, took = self.client, []
        await client.send(command)
        for _ in range(count):
            begin = perf_counter()
            await client.send(payload)
            await client.recv()
            took.append(perf_counter() - begin)
        return took

    async def close(self) -> None:
        await self.client.close()


class Callback(Iterate):
    """Receives by `on_message`; in sending and echoing it is the same as the one above."""

    _arm: Callable[[int], asyncio.Future[None]]

    async def open(self, url: str, case: Case | None) -> None:
        await super().open(url, case)
        if case is not None and case.way == "receive":
            self.client.on_message(self._counter())

    def _counter(self) -> Callable[[Message], None]:
        """A handler in which counting costs as little as it can."""
        missing = 0
        done: asyncio.Future[None]

        def arm(count: int) -> asyncio.Future[None]:
            nonlocal missing, done
            missing, done = count, asyncio.get_running_loop().create_future()
            return done

        def handle(message: Message) -> None:
            nonlocal missing
            _ = message.data
            missing -= 1
            if not missing:
                done.set_result(None)

        self._arm = arm
        return handle

    async def receive(self, command: str, count: int) -> None:
        done = self._arm(count)
        await self.client.send(command)
        await done


class Picows(Callback):
    """A callback behind the dialer of libws-picows."""

    plugins = ("picows", "-websockets")


class First:
    """A plugin with a stage that does nothing."""

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        return lambda message: message


class Second(First):
    """Another one: a plugin is enabled once."""


class OneStage(Callback):
    plugins = (First(),)


class TwoStages(Callback):
    plugins = (First(), Second())
