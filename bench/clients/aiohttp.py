"""aiohttp's client, with one session for all connections."""

from __future__ import annotations

from time import perf_counter

from aiohttp import ClientSession, TCPConnector  # type: ignore[import-not-found, unused-ignore]

from ..cases import Case


class Aiohttp:
    """As its documentation shows it, with its defaults: no keep-alive; compression only where it is measured."""

    session: ClientSession | None = None
    users = 0

    async def open(self, url: str, case: Case | None) -> None:
        cls = type(self)
        if cls.session is None:
            cls.session = ClientSession(connector=TCPConnector(limit=0))
        cls.users += 1
        self.socket = await cls.session.ws_connect(url, compress=15 if case is not None and case.deflate else 0)

    async def receive(self, command: str, count: int) -> None:
        await self.socket.send_str(command)
        async for message in self.socket:
            _ = message.data
            count -= 1
            if not count:
                break

    async def send(self, command: str, payload: str, count: int) -> None:
        socket = self.socket
        await socket.send_str(command)
        for _ in range(count):
            await socket.send_str(payload)
        await socket.receive_str()

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        socket, took = self.socket, []
        await socket.send_str(command)
        for _ in range(count):
            begin = perf_counter()
            await socket.send_str(payload)
            await socket.receive_str()
            took.append(perf_counter() - begin)
        return took

    async def close(self) -> None:
        cls = type(self)
        await self.socket.close()
        cls.users -= 1
        if not cls.users and cls.session is not None:
            session, cls.session = cls.session, None
            await session.close()
