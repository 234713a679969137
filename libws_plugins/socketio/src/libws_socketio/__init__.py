"""Socket.IO 5 over WebSocket: namespaces, events with attachments, acknowledgements, recovery."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from libws_core import (
    ClientClosed,
    Closed,
    ConnectionClosed,
    Event,
    Kind,
    LibwsError,
    Message,
    MessageTooBig,
    NotReady,
    OutboxFull,
    ProtocolError,
    Request,
    SendError,
    Session,
    Verdict,
    hookimpl,
)
from libws_core.credentials import Item, concealed
from libws_core.types import Outgoing, Stage

from .address import completed
from .errors import CallLost, CallTimeout, ConnectRefused
from .line import Line, Received
from .login import AUTH, ask_auth, opened, refusal, to_json
from .packets import Packet, encode, fill, parse, prefix
from .profile import ACK, BINARY_ACK, CLOSE, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, MESSAGE, NOOP, OPEN, PING, PONG

__all__ = ["CallLost", "CallTimeout", "ConnectRefused", "Received", "Socketio"]


@dataclass(eq=False, kw_only=True)
class Socketio:
    """Join a namespace of a Socket.IO server, and speak its packets.

    An event comes as a text message whose `json` is a `Received`: the list of its name and arguments, with bytes where
    it had attachments. A text that is a JSON array is sent as an event; `emit` and `call` also take bytes.
    """

    namespace: str = "/"
    """The namespace to join."""
    auth: dict[str, Item] | Callable[..., Any] | None = field(default=None, repr=False)
    """What CONNECT carries, such as a token. A callable, plain or async, is asked anew on each attempt; it may take the
    request, and gives a dict or None. None = nothing."""
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds that `call` waits for the acknowledgement, unless it says otherwise."""
    limit: Annotated[int, Meta(ge=1)] = 1_000
    """Calls that may wait for their acknowledgements; one more raises OutboxFull."""
    recover: bool = True
    """After a loss ask the server for what was missed, where it keeps that: connection state recovery."""
    disconnect: Literal["retry", "fatal"] = "fatal"
    """What it means that the server puts us out of the namespace. Socket.IO's own client does not come back, either."""
    attachments: Annotated[int, Meta(ge=0)] = 100
    """Attachments that one event or acknowledgement may bring; more end the client with MessageTooBig."""
    attachment_bytes: Annotated[int, Meta(ge=0)] = 16 * 2**20
    """Their bytes in all, 16 MiB."""

    sid: str | None = field(default=None, init=False)
    """The id that the server has given us in the namespace; it is shown to others, and no secret."""
    recovered: bool = field(default=False, init=False)
    """The newest connection goes on where the one before it ended: the server has sent what was missed."""
    _newest: Line | None = field(default=None, init=False, repr=False)
    _lines: list[Line] = field(default_factory=list, init=False, repr=False)
    _numbers: Any = field(default_factory=itertools.count, init=False, repr=False)
    _ended: bool = field(default=False, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.namespace.startswith("/") or "," in self.namespace:
            raise ValueError(f"option 'namespace': {self.namespace!r} does not begin with '/', or has a comma")
        self.auth = concealed(self.auth)
        if isinstance(self.auth, Mapping):
            try:
                to_json(self.auth)
            except ValueError as error:
                raise ValueError(f"option 'auth': {error}") from None

    # What users call

    async def emit(self, event: str, *arguments: Any) -> None:
        """Send an event; returns when it is written, which proves nothing.

        Args:
            event: its name.
            arguments: what JSON can hold, and bytes, which go as attachments; a `Secret` counts as the str in it.

        Raises:
            NotReady: there is no connection, or it ended before; it was not sent whole.
            SendError: it is larger than the server admits.
            ClientClosed: the client has ended.
        """
        await self._write(self._line(), *encode(EVENT, self.namespace, None, [event, *arguments]))

    async def call(self, event: str, *arguments: Any, timeout: float | None = None) -> Any:
        """Send an event and wait for its acknowledgement.

        Args:
            event: its name.
            arguments: as of `emit`.
            timeout: seconds for all of it; None = as the option says.

        Returns:
            What the server answered: None, one value, or a tuple of several.

        Raises:
            CallTimeout: no answer in time.
            CallLost: the connection ended before the answer. It is not sent again.
            OutboxFull: too many calls wait already; it was not sent.
            NotReady, SendError, ClientClosed: as `emit`.
        """
        line = self._line()
        if len(line.calls) >= self.limit:
            raise OutboxFull(f"{len(line.calls)} calls wait for their acknowledgements already")
        id = next(self._numbers)
        text, attachments = encode(EVENT, self.namespace, id, [event, *arguments])
        seconds = self.timeout if timeout is None else timeout
        line.calls[id] = answered = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._write(line, text, attachments)
                answer = await answered
        except TimeoutError as error:
            if isinstance(error, LibwsError):
                raise
            raise CallTimeout(f"{event!r} was not acknowledged within {seconds:g} s") from None
        finally:
            line.calls.pop(id, None)
        if isinstance(answer, LibwsError):
            raise answer
        return tuple(answer) if len(answer) > 1 else answer[0] if answer else None

    async def answer(self, message: Message, *arguments: Any) -> None:
        """Acknowledge an event whose sender asks for it: `message.json.wants_answer`.

        Raises:
            ValueError: it asks for no answer, or has it.
            NotReady: the connection that brought it is over. The server waits for nothing any more.
            SendError: it is larger than the server admits.
        """
        received = message.json
        if not isinstance(received, Received) or not received.wants_answer:
            raise ValueError("this message asks for no answer, or has had it")
        text, attachments = encode(ACK, self.namespace, received.id, arguments)
        received.wants_answer = False
        await self._write(received.line, text, attachments)

    # Hooks

    @hookimpl
    def resolve(self, request: Request) -> Request:
        """Complete the URL."""
        return replace(request, url=completed(request.url))

    @hookimpl
    async def authenticate(self, request: Request) -> Request | None:
        """Ask for the log-in."""
        auth = await ask_auth(self.auth, request)
        return None if auth is None else replace(request, extra={**request.extra, AUTH: auth})

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that reads packets, answers pings, and gives events."""
        line = session.state(Line)
        line.session = session
        text, binary, pong = Kind.TEXT, Kind.BINARY, Message.text(PONG)

        def take(message: Message) -> Message | None:
            if message.kind is binary:
                return self._attachment(line, message.data)
            if message.kind is not text:
                return message
            data = message.data
            if data.startswith(MESSAGE):
                return self._packet(line, message)
            if data == PING and line.opened:
                line.beat()
                session.send(pong)
            elif data.startswith(OPEN) and not line.opened:
                line.opened = True
                return message
            elif data == CLOSE:
                session.fail(ConnectionClosed("the server closed the Engine.IO connection", initiator="remote"), 1000)
            elif data not in (NOOP, PONG):
                raise ProtocolError("the server sent what is no packet of Engine.IO 4")
            return None

        return take

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        """Give a function that makes events of JSON arrays, and refuses what is too large for the server."""
        line = session.state(Line)
        text, binary, head = Kind.TEXT, Kind.BINARY, prefix(EVENT, self.namespace)

        def frame(message: Message) -> Message:
            if message.kind is text:
                if message.data.startswith("["):
                    message = Message.text(head + message.data)
                line.check_size(message.data)
            elif message.kind is binary:
                line.check_size(message.data)
            return message

        return frame

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Wait for Engine.IO's open packet, join the namespace, and recover."""
        line: Line = session.state(Line)
        line.begin(opened((await session.recv()).data[1:]))
        session.spawn(line.watch())
        session.on_end(lambda error: self._lost(line, error))
        auth = session.request.extra.get(AUTH)
        before, data = self._newest, dict(auth or {})
        asks = self.recover and before is not None and session.request.attempt.why != "move"
        if asks and before is not None and before.pid is not None and before.offset is not None:
            data |= {"pid": before.pid, "offset": before.offset}
        said = to_json(data) if data or auth is not None else ""
        await session.send(Message.text(prefix(CONNECT, self.namespace) + said))
        answer = parse((await session.recv(_answers_connect)).data)
        if answer.type == CONNECT_ERROR:
            raise refusal(self.namespace, auth, answer.data)
        self.sid = answer.data["sid"]
        self.recovered = "pid" in data and before is not None and line.pid == before.pid
        if self.recovered and before is not None and line.offset is None:
            line.offset = before.offset
        if self.recovered:
            session.resumed()

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Note that it is READY: what it brought will be delivered, so that the next one may go on from here."""
        self._newest = session.state(Line)
        self._lines.append(self._newest)

    @hookimpl
    def observe(self, event: Event) -> None:
        """Note the end."""
        if isinstance(event, Closed):
            self._ended = True

    # What arrives

    def _packet(self, line: Line, message: Message) -> Message | None:
        """A packet of Socket.IO has come."""
        packet = parse(message.data)
        type = packet.type
        if line.pending is not None:
            raise ProtocolError("the server sent a packet where an attachment was to come")
        if packet.namespace != self.namespace:
            raise ProtocolError("the server sent a packet of a namespace that was not joined")
        if not line.opened:
            raise ProtocolError("the server sent a packet before Engine.IO was open")
        if type in (CONNECT, CONNECT_ERROR):
            if line.joined:
                raise ProtocolError("the server answered our CONNECT twice")
            if type == CONNECT:
                line.join(packet.data)
            return message
        if type == DISCONNECT:
            text = f"the server has put us out of the namespace {self.namespace!r}"
            line.pid = None  # it forgets the session then
            line.session.fail(ConnectionClosed(text, initiator="remote", verdict=Verdict(self.disconnect)), 1000)
            return None
        # Events may come before the answer to CONNECT: what was missed does, and what python-socketio sends to all.
        if packet.attachments == 0:
            return self._whole(line, packet, packet.data, packet.text)
        if packet.attachments > self.attachments:
            raise MessageTooBig(f"a packet has {packet.attachments} attachments, over the limit of {self.attachments}")
        line.pending = packet
        return None

    def _attachment(self, line: Line, data: bytes) -> Message | None:
        """A binary message has come."""
        packet = line.pending
        if packet is None:
            raise ProtocolError("the server sent an attachment that belongs to no packet")
        line.parts.append(data)
        line.size += len(data)
        if line.size > self.attachment_bytes:
            raise MessageTooBig(f"the attachments of a packet are over the limit of {self.attachment_bytes} bytes")
        if len(line.parts) < packet.attachments:
            return None
        parts, line.parts, line.size, line.pending = line.parts, [], 0, None
        return self._whole(line, packet, fill(packet.data, parts), None)

    def _whole(self, line: Line, packet: Packet, data: list[Any], text: str | None) -> Message | None:
        """A packet is complete. Without a text it had attachments: the new one holds them, so that they are counted."""
        if packet.type in (ACK, BINARY_ACK):
            call = line.calls.pop(packet.id or 0, None)
            if call is not None and not call.done():  # else it comes too late
                call.set_result(data)
            return None
        if packet.id is None and len(data) > 1 and isinstance(data[-1], str):
            line.offset = data[-1]  # where the server can recover, it adds this to each event that it keeps
        received = Received(data, packet.id, line)
        return Message(Kind.TEXT, msgspec.json.encode(data).decode() if text is None else text, received)

    # What is sent

    def _line(self) -> Line:
        if self._ended:
            raise ClientClosed("the client is closed")
        if not self._lines:
            raise NotReady("the client is not READY; an event is not kept until it is")
        return self._lines[-1]

    async def _write(self, line: Line, text: str, attachments: list[bytes]) -> None:
        """Write a packet, with nothing between it and its attachments."""
        line.check_size(text)
        for attachment in attachments:
            line.check_size(attachment)
        messages = [Message.text(text), *map(Message.binary, attachments)]
        tickets = [line.session.send(message) for message in messages]
        try:
            for ticket in tickets:
                await ticket
        except LibwsError as error:
            if not isinstance(error, SendError):
                raise NotReady("the connection ended before the event was written") from error
            if attachments:  # another plugin refused a part, and the server waits for it
                line.session.fail(ConnectionClosed("an event was not written whole", initiator="local"), 1000)
            raise

    def _lost(self, line: Line, why: LibwsError) -> None:
        """A connection has ended."""
        if line in self._lines:
            self._lines.remove(line)
        for call in line.calls.values():
            if not call.done():
                error = CallLost("the connection ended before the event was acknowledged")
                error.__cause__ = why
                call.set_result(error)


def _answers_connect(message: Message) -> bool:
    """It is a CONNECT or CONNECT_ERROR; the text of an event has become its JSON array."""
    return message.kind is Kind.TEXT and message.data.startswith((MESSAGE + CONNECT, MESSAGE + CONNECT_ERROR))
