"""websocket-client: blocking, without asyncio. Its methods are only dressed as coroutines and never suspend."""

from __future__ import annotations

from time import perf_counter

import websocket  # type: ignore[import-not-found, import-untyped, unused-ignore]

from ..cases import Case


class WebsocketClient:
    """As its documentation shows it, with its defaults: no keep-alive."""

    async def open(self, url: str, case: Case | None) -> None:
        self.socket = websocket.create_connection(url)

    async def receive(self, command: str, count: int) -> None:
        recv = self.socket.recv
        self.socket.send(command)
        for _ in range(count):
            recv()

    async def send(self, command: str, payload: str, count: int) -> None:
        send = self.socket.send
        send(command)
        for _ in range(count):
            send(payload)
        self.socket.recv()

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        socket, took = self.socket, []
        socket.send(command)
        for _ in range(count):
            begin = perf_counter()
            socket.send(payload)
            socket.recv()
            took.append(perf_counter() - begin)
        return took

    async def close(self) -> None:
        self.socket.close()
