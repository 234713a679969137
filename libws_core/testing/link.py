"""One client's connection through a relay: two sockets, what passes between them, and what is done to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..types import Message
from .heads import MAX_HEAD, FrameEnds, answer, request_for, response_for
from .lane import End, Lane

if TYPE_CHECKING:
    from .relay import Relay

CONNECT = 10.0
"""Seconds that connecting to the server may take, TLS included."""
LINGER = 5.0
"""Seconds that the closing handshake may take which the relay began."""


class Link:
    """One client's connection, and the one to the server that is made for it."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.address, self._ssl = relay.address, relay.ssl
        self.client = End(self._from_client, self._client_lost, self._client_takes)
        self.server = End(self._from_server, self._server_lost, lambda room: self._up.room(room))
        self._up = Lane(self.client, self.server.write)
        self._down = Lane(self.server, self._write_down)
        self._take: Callable[[bytes], None] = self._take_request
        self._head = b""
        self._frames: FrameEnds | None = None  # once the WebSocket is open
        self._goodbye: bytes | None = None
        self._ended = False  # by the relay: neither end tells the other any more
        self.doomed = False
        """It is being dropped at once."""
        self._dialing: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """The WebSocket is open, and the relay has done nothing yet that ends it."""
        ended = self.client.gone or self._ended or self._goodbye is not None
        return self._frames is not None and not ended

    @property
    def over(self) -> bool:
        """Both sockets are closed."""
        dialing = self._dialing is not None and not self._dialing.done()
        return self.client.gone and not dialing and not self.server.connected

    # What is done to it

    def drop(self, reset: bool) -> None:
        """End both sides without a close frame."""
        self._end_server(reset)
        self.client.finish(reset)

    def hold(self) -> None:
        """Nothing passes, in neither direction."""
        self._up.hold()
        self._down.hold()

    def release(self) -> None:
        """Everything passes again."""
        self._up.release()
        self._down.release()

    def lose_server(self) -> None:
        """The server's side goes, the client's stays and is not told."""
        self._end_server(False)

    def drip(self, rate: float) -> None:
        """What the server sends arrives slowly."""
        self._down.drip(rate)

    def close(self, code: int, reason: str) -> None:
        """Put a close frame behind the server's frame that is under way.

        The client's answer goes to the server, which thereby learns of it.
        """
        assert self._frames is not None
        payload = Message.close(code, reason).data
        frame = bytes([0x88, len(payload)]) + payload  # not masked: RFC 6455 section 5.1
        self.release()
        self._goodbye = frame
        self._timer = asyncio.get_running_loop().call_later(LINGER, self.drop, False)
        self._say_goodbye()

    def vanish(self) -> None:
        """Drop everything at once."""
        self.doomed = self._ended = True
        self._stop()
        self._up.drop()
        self._down.drop()
        self.client.vanish()
        self.server.vanish()

    def _end_server(self, reset: bool) -> None:
        """Nothing passes any more. What the server does not take within `LINGER` is dropped."""
        self._ended = True
        self._stop()
        self._up.drop()
        self._down.drop()
        self.server.finish(reset)
        self._timer = asyncio.get_running_loop().call_later(LINGER, self.server.vanish)

    def _stop(self) -> None:
        if self._dialing is not None:
            self._dialing.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # The client's side

    def _from_client(self, data: bytes) -> None:
        self._take(data)

    def _take_request(self, data: bytes) -> None:
        self._head += data
        end = self._head.find(b"\r\n\r\n") + 4
        if end < 4:
            if len(self._head) > MAX_HEAD:
                self._refuse(431, b"the relay does not read so long a head\n")
            return
        self._take = self._take_early
        refusal = self.relay._refusal()
        if refusal is not None:
            self.client.write(answer(refusal.status, refusal.headers, refusal.body))
            self.client.finish()
            return
        head, rest = self._head[:end], self._head[end:]
        self._head = request_for(head, self.relay.own_address, self.address) + rest
        self._dialing = self.relay._own(self._dial())

    def _take_early(self, data: bytes) -> None:
        """A client says nothing before the server has answered (RFC 6455 section 4.1); one that does is kept short."""
        self._head += data
        if len(self._head) > 2 * MAX_HEAD:
            self.client.finish(reset=True)

    async def _dial(self) -> None:
        secure, host, port = self.address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT):
                await loop.create_connection(
                    lambda: self.server,
                    host,
                    port,
                    ssl=self._ssl or self.relay.system_context() if secure else None,
                    server_hostname=host if secure else None,
                )
        except (OSError, ValueError) as error:  # ValueError: of a host that cannot stand in a certificate
            reason = str(error) or type(error).__name__
            self.relay.problem = f"cannot connect to {self.address.netloc}: {reason}"
            self._refuse(502, b"the relay cannot connect to the server\n")
            return
        self.relay._connected()
        early, self._head = self._head, b""
        self._take = self._up.take
        self.server.write(early)

    def _refuse(self, status: int, body: bytes) -> None:
        self.client.write(answer(status, {}, body))
        self.client.finish()

    def _client_lost(self, reset: bool) -> None:
        """Nobody is there any more for whom there should be a connection to the server."""
        if not self._ended:
            self._end_server(reset)
        self._settle()

    def _settle(self) -> None:
        if self.over:
            self._stop()
        self.relay._sweep()

    def _client_takes(self, room: bool) -> None:
        if not room:
            self.relay._stalled()
        self._down.room(room)

    # The server's side

    def _from_server(self, data: bytes) -> None:
        if self._frames is not None:
            self._down.take(data)
            return
        self._head += data
        while (end := self._head.find(b"\r\n\r\n") + 4) >= 4:
            head, self._head = self._head[:end], self._head[end:]
            try:
                answered = response_for(head, self.address)
            except ValueError as error:
                self.relay.problem = str(error)
                self.client.finish()
                self.server.vanish()
                return
            if answered.elsewhere:
                self.relay.problem = "the server redirects to another origin, past the relay"
                self._refuse(502, b"the server redirects past the relay\n")
                self.server.vanish()
                return
            self.client.write(answered.head)
            if answered.status == 101 or answered.status >= 200:
                self._frames = FrameEnds() if answered.status == 101 else None
                rest, self._head = self._head, b""
                if self._frames is None:
                    self._pass_body(rest)
                elif rest:
                    self._down.take(rest)
                return
        if len(self._head) > MAX_HEAD:
            self.relay.problem = "the head of the server's answer is too long"
            self._refuse(502, b"the relay does not read so long a head\n")
            self.server.vanish()

    def _pass_body(self, data: bytes) -> None:
        """The body of a refusal passes as it is."""
        self.server.pass_to(self.client.write)
        self.client.write(data)

    def _write_down(self, data: bytes) -> None:
        assert self._frames is not None
        if self._goodbye is None:
            self._frames.follow(data)
            self.client.write(data)
        else:
            self.client.write(data[: self._frames.follow(data, one=True)])
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """Between two frames: the relay's close takes the place of all that the server still says."""
        assert self._frames is not None
        if self._goodbye is not None and self._frames.between:
            self.client.write(self._goodbye)
            self._down.drop()

    def _server_lost(self, reset: bool) -> None:
        if not self._ended:
            self._down.release()
            self.client.finish(reset)
        self._settle()
