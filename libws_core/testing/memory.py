"""A dialer whose connections are in memory, with the other end in the test's hand. No socket, no thread, no wait.

    dialer = MemoryDialer()
    client = Client("ws://test/", plugins=[dialer, "-websockets"])
    opening = asyncio.create_task(client.open())
    peer = await dialer.accept()
    peer.send("hello")

It keeps the rules of `libws_core.Connection` to the letter and expects the same of the client: a rule that is broken
raises `RuleBroken` at once, and again from `dialer.check()` and at the end of `async with dialer`. Everything that
arrives does so in a later turn of the loop, in order, after `latency`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import ConnectError, HandshakeRejected
from ..headers import Headers
from ..hookspecs import hookimpl
from ..types import Message, Request
from .connection import FIN, RESET, End, Latency, MemoryConnection, RuleBroken
from .peer import Peer, Promise, Unexpected
from .script import KEPT, Cut, Fail, Greet, Hang, Host, Raw, Refuse, Step

__all__ = ["Dial", "MemoryConnection", "MemoryDialer", "MemoryPeer", "RuleBroken"]

PENDING = 100_000
"""Messages that may wait on a connection for a client that does not read."""


class Dial(NamedTuple):
    """One call of `dial`."""

    time: float
    """The loop's time of the call."""
    request: Request
    """What was to be dialed."""


class MemoryPeer(Peer):
    """The server's end of a connection in memory."""

    def __init__(self, dialer: MemoryDialer, request: Request, subprotocol: str | None) -> None:
        super().__init__()
        parts = urlsplit(request.url)
        self.number = dialer.count
        self.time = asyncio.get_running_loop().time()
        self.request = request
        """The request as the dialer got it."""
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self.headers = request.headers
        self.subprotocol = subprotocol
        self.late_writes = 0
        """Messages that the client wrote after its close or the end, which went nowhere."""
        self._dialer = dialer
        self.connection = MemoryConnection(self, dialer.latency, subprotocol, dialer.headers)
        """The client's end, as it was given to the client."""

    @property
    def latency(self) -> Latency:
        """Seconds that a message takes, in either direction; a function is asked for each. Messages stay in order."""
        return self.connection._inbound.latency

    @latency.setter
    def latency(self, latency: Latency) -> None:
        self.connection._inbound.latency = self.connection._outbound.latency = latency

    @property
    def paused(self) -> bool:
        """The client has paused reading."""
        return self.connection.paused

    def drop(self, reset: bool = False) -> Promise:
        if not self.gone:
            inbound = self.connection._inbound
            if reset:
                inbound.clear()
            inbound.put(RESET if reset else FIN)
            self._leave("we have dropped the connection")
        return self._after_end

    def stall(self) -> None:
        self.connection._outbound.hold()

    def resume(self) -> None:
        line = self.connection._outbound
        if line.held:
            waited = line.pending > 0
            line.release()
            if waited:
                self.connection._loop.call_soon(self.connection._tell_drained)

    def sever(self) -> None:
        """Cut the cable: nothing passes any more in either direction, and neither end is told.

        What was on the way is lost. What either end writes piles up on its side.
        """
        self.connection._inbound.sever()
        self.connection._outbound.sever()

    def _put(self, message: Message) -> None:
        line = self.connection._inbound
        if len(line) >= PENDING:
            raise Unexpected(f"the client does not read: {PENDING:,} messages wait; `await peer.send(...)` would")
        line.put(message)

    def _finish(self) -> None:
        self.connection._inbound.put(FIN)
        self._leave("we have closed the connection")

    def _backlog(self) -> int:
        return self.connection._inbound.pending

    def _complain(self, error: BaseException) -> None:
        self._dialer._failed(error)

    def _take_item(self, item: Message | End) -> None:
        """Take what the client wrote."""
        if isinstance(item, End):
            self._leave("the client dropped the connection")
        elif not self.gone:
            self._arrived(item)

    def _leave(self, text: str) -> None:
        self._ended(text)
        self._left()

    def _left(self) -> None:
        """One of the ends has left; a stalled peer notices later, but the connection is open no more."""
        self._dialer._open.pop(self.number, None)

    def __repr__(self) -> str:
        return f"<MemoryPeer {self.number} {'gone' if self.gone else 'open'}, {self.received} received>"


class MemoryDialer(Host[MemoryPeer]):
    """A plugin that answers `dial` with connections in memory.

    It is not copied when a client is assembled: the object in the list is the one at work.

    Args:
        steps: a script, as `script` takes it; none = each connection is taken by `accept`.
        schemes: URL schemes to answer; None = every one.
        latency: seconds that a message takes, in either direction, and half of what a dial takes; or a function that
            says so for each.
        subprotocols: subprotocols to choose from, the first offered one that is among them.
        headers: the headers of the answer.
    """

    def __init__(
        self,
        *steps: Step,
        schemes: Collection[str] | None = None,
        latency: Latency = 0.0,
        subprotocols: Collection[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(*steps)
        self.schemes = schemes
        self.latency = latency
        self.subprotocols = subprotocols
        self.headers = Headers(headers or {})
        self.dials: deque[Dial] = deque(maxlen=KEPT)
        """The last hundred calls of `dial` that were answered or refused here; `count` has them all."""
        self.hanging = 0
        """Calls of `dial` that wait for an answer that never comes, now."""
        self._open: dict[int, MemoryPeer] = {}

    @property
    def peers(self) -> list[MemoryPeer]:
        """The peers whose connections are open."""
        return list(self._open.values())

    @hookimpl
    async def dial(self, request: Request) -> MemoryConnection | None:
        """Answer as the script says."""
        if self.schemes is not None and request.url.partition(":")[0].lower() not in self.schemes:
            return None
        loop = asyncio.get_running_loop()
        step = self._step()
        self.dials.append(Dial(loop.time(), request))
        await asyncio.sleep(2 * (self.latency() if callable(self.latency) else self.latency))
        match step:
            case Refuse(status, headers, body):
                text = f"the server refused the handshake with {status}"
                raise HandshakeRejected(text, status=status, headers=headers, body=body)
            case Fail(error):
                raise error.but()  # a copy: the core notes attempt and phase on it
            case Cut():
                raise ConnectError("the server ended the connection during the handshake")
            case Hang():
                self.hanging += 1
                try:
                    await loop.create_future()
                finally:
                    self.hanging -= 1
        chosen = next((name for name in request.subprotocols if name in self.subprotocols), None)
        peer = MemoryPeer(self, request, chosen)
        self._open[peer.number] = peer
        if isinstance(step, Greet):
            for message in step.messages:
                peer.send(message)
        self._meet(peer, step)
        return peer.connection

    def _check(self, step: Step) -> None:
        super()._check(step)
        if isinstance(step, Raw):
            raise TypeError("raw() needs a real socket; a memory dialer has none")

    async def _end(self) -> None:
        await super()._end()
        for peer in self.peers:
            peer.drop(reset=True)
