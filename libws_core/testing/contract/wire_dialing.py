"""How the tests of WebSockets talk bytes with a dialer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ...errors import ConnectionClosed, MessageTooBig, ProtocolError
from ...types import Kind, Message
from .bare import BarePeer, BareServer, WrittenFrame, frame
from .dialer import DialerContract
from .receiver import Receiver, same
from .wire_cases import Broken, Valid, closing

__all__ = ["WireDialing"]

TEXT, CLOSE = 1, 8
SHORT = 1000
"""Bytes that are also sent one by one."""


class WireDialing(DialerContract):
    """A dialer of WebSockets under test: what its user gets of these bytes, and which bytes it writes."""

    @contextlib.asynccontextmanager
    async def bare(
        self, data: bytes, *headers: str, singly: bool = False, **options: Any
    ) -> AsyncIterator[tuple[Receiver, list[WrittenFrame], BareServer]]:
        """A connection to a server that says these bytes and reads up to the close frame.

        Gives what the client receives, the frames that it writes, and the server.
        """
        frames: list[WrittenFrame] = []
        started = asyncio.Event()

        async def script(peer: BarePeer) -> None:
            await peer.accept(*headers)
            await started.wait()
            await (peer.send_singly if singly else peer.send)(data)
            with contextlib.suppress(EOFError, ConnectionError):
                while not frames or frames[-1].first != 0x88:
                    frames.append(await peer.read_written())

        async with BareServer(script) as server:
            receiver = Receiver(await self.dial(server.url, self.make(**options)), self.patience).start()
            started.set()
            try:
                yield receiver, frames, server
            finally:
                receiver.connection.abort()

    async def understands(self, case: Valid, *headers: str) -> None:
        """Check that these bytes are delivered as their messages."""
        ends = [] if any(message.kind is Kind.CLOSE for message in case.messages) else [Message.close(1000)]
        data = case.data + frame(CLOSE, closing(1000))
        for singly in [False, True] if len(data) < SHORT else [False]:
            async with self.bare(data, *headers, singly=singly) as (receiver, _, _):
                await receiver.end()
            same(receiver.messages, [*case.messages, *ends], f"{case}{', byte by byte' if singly else ''}")

    async def refuses(self, case: Broken, *headers: str) -> None:
        """Check that these bytes fail the connection, with a code for the server and an error for the client."""
        data = frame(TEXT, b"before") + case.data + frame(TEXT, b"behind")
        for singly in [False, True] if len(data) < SHORT else [False]:
            what = f"{case}{', byte by byte' if singly else ''}"
            async with self.bare(data, *headers, singly=singly) as (receiver, frames, server):
                try:
                    error = await receiver.end(most=1 + len(case.before))
                except AssertionError as missed:
                    raise AssertionError(f"{what}: {missed}") from None
                await server.settle(self.patience)
            same(receiver.messages, [Message.text("before"), *case.before], what)
            kind = MessageTooBig if 1009 in case.codes and error.code == 1009 else ProtocolError
            self.failed(error, frames, kind, case.codes, what)

    def failed(
        self, error: Any, frames: Sequence[WrittenFrame], kind: type[ConnectionClosed], codes: Sequence[int], what: str
    ) -> None:
        """Check how a connection was failed (RFC 6455 section 7.1.7)."""
        assert isinstance(error, kind), f"{what}: the end is {error!r}, expected a {kind.__name__}"
        assert error.code in codes, f"{what}: the error has the code {error.code}, expected {codes}"
        told = [(each.first, int.from_bytes(each.payload[:2], "big")) for each in frames]
        assert told == [(0x88, error.code)], (
            f"{what}: the client wrote {[(hex(first), code) for first, code in told]}, "
            f"expected one close frame with {error.code}"
        )

    async def written(self, messages: Sequence[Message]) -> list[WrittenFrame]:
        """The frames in which a client writes these messages."""
        frames: list[WrittenFrame] = []

        async def script(peer: BarePeer) -> None:
            await peer.accept()
            for _ in messages:
                frames.append(await peer.read_written())

        async with BareServer(script) as server:
            receiver = Receiver(await self.dial(server.url), self.patience).start()
            for message in messages:
                receiver.connection.write(message)
            await server.settle(self.patience)
            receiver.connection.abort()
        return frames
