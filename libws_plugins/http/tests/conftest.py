"""A REST server on a real socket, which answers as the test says."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest


class Asked(NamedTuple):
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes


class RestServer:
    """Answers each request with the next of `answers`, the last one for ever: bytes as they are, anything else as JSON;
    a callable is given reader and writer."""

    def __init__(self) -> None:
        self.answers: list[Any] = [{}]
        self.asked: list[Asked] = []
        self._open = 0
        self._closed = asyncio.Event()
        self._closed.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}/ticket?apikey=hidden-in-the-query"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_closed(self) -> None:
        """Wait until no connection is open any more."""
        async with asyncio.timeout(10):
            await self._closed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open += 1
        self._closed.clear()
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.strip().split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            self.asked.append(Asked(line, headers, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if callable(answer):
                answer = await answer(reader, writer)
            writer.write(answer if isinstance(answer, bytes) else response(answer))
            await writer.drain()
            await reader.read()  # the client closes, whose socket this is
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()
            self._tasks.discard(task)
            self._open -= 1
            if self._open == 0:
                self._closed.set()


def response(value: Any = None, status: str = "200 OK", **headers: str) -> bytes:
    """A response of HTTP/1.1; of the headers' names `_` becomes `-`."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {text}" for name, text in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def make_response() -> Callable[..., bytes]:
    return response


@pytest.fixture
async def rest_server() -> AsyncIterator[Callable[..., Awaitable[RestServer]]]:
    """Starts servers, which end with the test."""
    servers: list[RestServer] = []

    async def start(tls: ssl.SSLContext | None = None) -> RestServer:
        server = RestServer()
        await server.start(tls)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.stop()


@pytest.fixture
async def rest(rest_server: Any) -> RestServer:
    """One of them, over plain HTTP."""
    server: RestServer = await rest_server()
    return server
