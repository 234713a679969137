"""A scripted WebSocket server on a real loopback socket, which reads like a dialogue and can be rude.

async with Server() as server:
    opening = asyncio.create_task(client.open())     # a client of server.url
    peer = await server.accept()
    await peer.expect("hello")
    await peer.send("hi")
    await peer.close(1012)
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Mapping, Sequence
from ssl import SSLContext

from ..headers import Headers
from .port import reserve
from .script import KEPT, Fail, Host, Step
from .wire import Arrival, ServerPeer

__all__ = ["Arrival", "Server", "ServerPeer"]

CLEANUP = 5.0
"""Seconds that sockets may take to close when the server stops."""


class Server(Host[ServerPeer]):
    """A WebSocket server on a loopback port of its own, used as `async with`.

    Args:
        steps: a script, as `script` takes it; none = each connection is taken by `accept`.
        host: the address to listen on.
        port: 0 = a free one; it stays the same over `stop` and `start`.
        ssl: the context for TLS; None = plain.
        subprotocols: subprotocols to choose from, the preferred one first.
        headers: more headers for the 101.
        compression: agree to permessage-deflate if the client offers it.
        receive_buffer: bytes of the socket's receive buffer; a small one makes a stall felt soon. None = the system's.
    """

    def __init__(
        self,
        *steps: Step,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl: SSLContext | None = None,
        subprotocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        compression: bool = False,
        receive_buffer: int | None = None,
    ) -> None:
        super().__init__(*steps)
        self.host = host
        self.port = port
        self.ssl = ssl
        self.subprotocols = tuple(subprotocols)
        self.headers = Headers(headers or {})
        self.compression = compression
        self.receive_buffer = receive_buffer
        self.arrivals: deque[Arrival] = deque(maxlen=KEPT)
        """The last hundred TCP connections, refused ones too; `count` has them all."""
        self._wires: set[ServerPeer] = set()
        self._listener: asyncio.Server | None = None
        self._reserved: socket.socket | None = None

    @property
    def url(self) -> str:
        """The URL to dial."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'ws' if self.ssl is None else 'wss'}://{host}:{self.port}/"

    @property
    def listening(self) -> bool:
        """It has been started and was not stopped or ended."""
        return self._listener is not None

    @property
    def peers(self) -> list[ServerPeer]:
        """The peers whose connections are open, oldest first."""
        return sorted((peer for peer in self._wires if peer.opened), key=lambda peer: peer.number)

    async def start(self) -> None:
        """Listen, also again after `stop`, on the same port."""
        if self._listener is None:
            sock = self._reserved or await self._bind()
            self._reserved = None
            loop = asyncio.get_running_loop()
            self._listener = await loop.create_server(lambda: ServerPeer(self), sock=sock)

    async def stop(self, keep: bool = False) -> None:
        """Listen no more: who dials is refused by TCP. The port stays ours.

        Args:
            keep: leave open connections as they are; else they end without a close frame.
        """
        if self._listener is not None:
            self._listener.close()
            self._listener = None
            self._reserved = await self._bind()
        if not keep:
            await self._end_wires()

    async def _bind(self) -> socket.socket:
        """A socket on our port that does not listen yet."""
        sock = await reserve(self.host, self.port, self.port != 0 and self.count > 0, self.receive_buffer)
        self.port = sock.getsockname()[1]
        return sock

    async def _end_wires(self) -> None:
        for wire in list(self._wires):
            wire._transport.abort()
        await self._bell.until(
            lambda: not self._wires or None,
            CLEANUP,
            lambda seconds: f"{len(self._wires)} sockets open after {seconds:g} s",
        )

    def _arrive(self, wire: ServerPeer) -> Arrival:
        self._wires.add(wire)
        arrival = Arrival(self.count, asyncio.get_running_loop().time())
        self.arrivals.append(arrival)
        return arrival

    def _lost(self, wire: ServerPeer) -> None:
        self._wires.discard(wire)
        self._bell.ring()

    def _check(self, step: Step) -> None:
        super()._check(step)
        if isinstance(step, Fail):
            raise TypeError("a real server cannot raise an error in the client; refuse with a status")

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def _end(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()
        await super()._end()
        await self._end_wires()
        if listener is not None:
            async with asyncio.timeout(CLEANUP):
                await listener.wait_closed()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None
