"""The server's end of a connection on a real socket.

Reading, the handshake and compression are python-websockets' sans-I/O `ServerProtocol`; frames are written here, so
that a peer may also say what no server should.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ssl import SSLContext
from typing import TYPE_CHECKING, cast

try:
    from websockets import http11
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
    from websockets.frames import Frame, Opcode
    from websockets.server import ServerProtocol
    from websockets.typing import Subprotocol
except ImportError as missing:
    raise ImportError("the scripted server needs python-websockets: pip install 'libws-core[testing]'") from missing

from ..headers import Headers
from ..types import Kind, Message
from .heads import answer
from .peer import Peer, Promise, Unexpected
from .script import Cut, Greet, Hang, Raw, Refuse

if TYPE_CHECKING:
    from .server import Server

__all__ = ["Arrival", "ServerPeer"]

_silent = logging.Logger("libws_core.testing", level=logging.CRITICAL + 1)  # the protocol's own logger shows headers


@dataclass
class Arrival:
    """One TCP connection that reached the server."""

    number: int
    """Which one it is, from 1."""
    time: float
    """The loop's time when it came."""
    path: str | None = None
    """Path and query that were asked for; None if no handshake came."""
    headers: Headers | None = None
    """The headers of the handshake; None if none came."""


class ServerPeer(Peer, asyncio.Protocol):
    """The server's end of a connection on a socket."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self._server = server
        self._fragments: list[bytes] = []
        self._fragmented = Kind.TEXT
        self._cork: list[bytes] | None = None
        self._early: list[bytes] | None = None
        self._protocol = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory()] if server.compression else None,
            subprotocols=cast("Sequence[Subprotocol]", server.subprotocols) or None,
            select_subprotocol=_choose,
            max_size=None,
            logger=_silent,
        )
        self.opened = False
        """The handshake is done."""

    # The verbs.

    def drop(self, reset: bool = False) -> Promise:
        if not self.gone:
            self._how = "we have dropped the connection"
            if reset:
                self._linger()
                self._transport.abort()
            else:
                self._transport.close()
        return self._after_end

    def stall(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    def raw(self, data: bytes) -> Promise:
        """Write bytes as they are, past all framing."""
        self._write(data)
        return self._after_send

    def fragments(self, *parts: str | bytes) -> Promise:
        """Send one message in several frames; text if the first part is str."""
        opcode = Opcode.TEXT if isinstance(parts[0], str) else Opcode.BINARY
        for place, part in enumerate(parts):
            data = part.encode() if isinstance(part, str) else part
            self._write(self._serialize(Frame(opcode, data, fin=place == len(parts) - 1)))
            opcode = Opcode.CONT
        return self._after_send

    def _put(self, message: Message) -> None:
        data = message.data.encode() if isinstance(message.data, str) else message.data
        self._write(self._serialize(Frame(Opcode(message.kind), data)))

    def _serialize(self, frame: Frame) -> bytes:
        return bytes(frame.serialize(mask=False, extensions=self._protocol.extensions))

    def _write(self, data: bytes) -> None:
        if self._cork is not None:
            self._cork.append(data)
        else:
            self._transport.write(data)

    def _finish(self) -> None:
        self._transport.close()

    def _backlog(self) -> int:
        return self._transport.get_write_buffer_size()

    async def _wait_room(self) -> None:
        if self._transport.is_closing():  # a write has failed; the loop, which a flood may keep, tells so a turn later
            await asyncio.sleep(0)
        await super()._wait_room()

    def _complain(self, error: BaseException) -> None:
        self._server._failed(error)

    def _linger(self) -> None:
        """Have the socket's close send a reset: SO_LINGER on, for 0 seconds."""
        own = self._transport.get_extra_info("socket")
        if own is not None and own.fileno() >= 0:
            with socket.fromfd(own.fileno(), own.family, own.type) as same:
                same.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._step = self._server._step()
        self._arrival = self._server._arrive(self)
        self.number, self.time = self._arrival.number, self._arrival.time
        if self._server.ssl is not None:
            self._transport.pause_reading()
            self._early = []
            self._server._own(self._secure(self._server.ssl))

    async def _secure(self, context: SSLContext) -> None:
        plain, secure = self._transport, None
        try:
            secure = await asyncio.get_running_loop().start_tls(plain, self, context, server_side=True)
        except OSError:  # ssl.SSLError is one: the client did not like us, which is its right
            pass
        finally:
            if secure is None:
                plain.abort()
                self.connection_lost(None)
        if secure is not None:
            self._transport = secure
            early, self._early = self._early or [], None
            for data in early:
                self.data_received(data)

    def data_received(self, data: bytes) -> None:
        if self._early is not None:  # behind the TLS handshake, before the secure transport is in our hands
            self._early.append(data)
            return
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, http11.Request):
                self._asked(event)
            elif isinstance(event, Frame):
                self._framed(event)
        wrong = self._protocol.handshake_exc or self._protocol.parser_exc
        if wrong is not None and not self._transport.is_closing():
            self._complain(Unexpected(f"connection {self.number}: the client broke the protocol: {wrong}"))
            self._transport.write(b"".join(self._protocol.data_to_send()))
            self._transport.close()
        self._protocol.data_to_send()  # its pongs and closes: the peer gives its own, or does not

    def eof_received(self) -> bool:
        return False

    def resume_writing(self) -> None:
        self._bell.ring()

    def connection_lost(self, exc: Exception | None) -> None:
        how = "the client dropped the connection" if self._how is None else self._how
        self._ended(how)
        self._server._lost(self)

    # The handshake and the frames.

    def _asked(self, request: http11.Request) -> None:
        self.path = self._arrival.path = request.path
        self.headers = self._arrival.headers = Headers(request.headers.raw_items())
        match self._step:
            case Refuse(status, headers, body):
                self._transport.write(answer(status, headers, body))
                self._transport.close()
            case Raw(data, hold):
                self._transport.write(data)
                if not hold:
                    self._transport.close()
            case Cut(reset):
                self.drop(reset)
            case Hang():
                pass
            case _:
                self._open(request)

    def _open(self, request: http11.Request) -> None:
        response = self._protocol.accept(request)
        if response.status_code == 101:
            for name, value in self._server.headers.items():
                response.headers[name] = value
        self._protocol.send_response(response)
        answer = b"".join(self._protocol.data_to_send())
        if response.status_code != 101:
            self._transport.write(answer)
            return
        self.subprotocol = self._protocol.subprotocol
        self.opened = True
        self._cork = [answer]
        if isinstance(self._step, Greet):
            for message in self._step.messages:
                self.send(message)
        whole, self._cork = b"".join(self._cork), None
        self._transport.write(whole)
        self._server._meet(self, self._step)

    def _framed(self, frame: Frame) -> None:
        data = bytes(frame.data)
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY | Opcode.CONT:
                if frame.opcode is not Opcode.CONT:
                    self._fragmented = Kind(frame.opcode)
                self._fragments.append(data)
                if not frame.fin:
                    return
                data = b"".join(self._fragments)
                self._fragments.clear()
                if self._fragmented is Kind.BINARY:
                    self._arrived(Message.binary(data))
                    return
                try:
                    text = data.decode()
                except UnicodeDecodeError:
                    self._complain(Unexpected(f"connection {self.number}: the client sent text that is not UTF-8"))
                    self.close(1007)
                else:
                    self._arrived(Message.text(text))
            case _:
                self._arrived(Message(Kind(frame.opcode), data))

    def __repr__(self) -> str:
        return f"<ServerPeer {self.number} {'gone' if self.gone else 'open'}, {self.received} received>"


def _choose(protocol: ServerProtocol, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    """The first of ours that was offered; none is no reason to refuse, since it is for the client to judge."""
    return next((name for name in protocol.available_subprotocols or () if name in offered), None)
