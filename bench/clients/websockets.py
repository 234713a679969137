"""python-websockets, and what picows offers in its place with the same names."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from websockets.asyncio.client import connect

from ..cases import Case


class Websockets:
    """As its documentation shows it, with its defaults: keep-alive on, compression offered."""

    connect: Any = staticmethod(connect)
    options: dict[str, Any] = {}  # noqa: RUF012

    async def open(self, url: str, case: Case | None) -> None:
        self.connection = await self.connect(url, **self.options)

    async def receive(self, command: str, count: int) -> None:
        await self.connection.send(command)
        async for _ in self.connection:
            count -= 1
            if not count:
                break

    async def send(self, command: str, payload: str, count: int) -> None:
        connection = self.connection
        await connection.send(command)
        for _ in range(count):
            await connection.send(payload)
        await connection.recv()

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        connection, took = self.connection, []
        await connection.send(command)
        for _ in range(count):
            begin = perf_counter()
            await connection.send(payload)
            await connection.recv()
            took.append(perf_counter() - begin)
        return took

    async def close(self) -> None:
        await self.connection.close()


class Bare(Websockets):
    """Without keep-alive and compression."""

    options = {"ping_interval": None, "compression": None}  # noqa: RUF012


class DropIn(Websockets):
    """`picows.websockets`."""

    def __init__(self) -> None:
        from picows.websockets.asyncio.client import (  # type: ignore[import-not-found, unused-ignore]
            connect as drop_in,
        )

        self.connect = drop_in
