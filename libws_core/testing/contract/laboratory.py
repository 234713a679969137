"""A client whose stages are looked at: what arrives, what comes past the plugin, what the user gets, what leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import LibwsError, PluginFailed
from ...events import Closed, Connected, Disconnected, Dropped, Event, Gap, Reconnected
from ...hookspecs import hookimpl
from ...types import Kind, Message, Session, Stage
from ..clock import VirtualLoop
from ..connection import End
from ..memory import MemoryDialer, MemoryPeer
from . import subject
from .hearing import hear
from .verdict import leave_out

if TYPE_CHECKING:
    from .plugin import PluginContract

__all__ = ["Laboratory", "experiment"]

T = TypeVar("T")

PATIENCE = 86_400.0
"""Virtual seconds to wait for READY."""
AWAY = ("ping", "pong")
"""Standard plugins that would send and take messages of their own."""
MOMENT = 0.01
"""Virtual seconds in which a message has gone its way."""


class _Tap(MemoryDialer):
    """A dialer that stands next to the user and sees what has come past all stages."""

    def __init__(self, *steps: Any) -> None:
        super().__init__(*steps)
        self.passed: dict[int, list[Message]] = {}
        """What came past, by the connection's number."""
        self.sessions: list[Session] = []
        """Those that were READY."""
        self.chatter: list[Message] = []
        """What the contract's own server said, beside what is tested."""

    def _meet(self, peer: MemoryPeer, step: Any) -> None:
        put = peer._put

        def said(message: Message) -> None:
            self.chatter.append(message)
            put(message)

        setattr(peer, "_put", said)  # noqa: B010 - for this peer alone
        super()._meet(peer, step)

    def speak(self, peer: MemoryPeer, message: Message) -> None:
        """Say something that is tested."""
        type(peer)._put(peer, message)

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """See what comes past."""
        passed = self.passed.setdefault(self.count, [])

        def see(message: Message) -> Message:
            passed.append(message)
            return message

        return see

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Note who is READY."""
        self.sessions.append(session)


class Laboratory:
    """One client with the plugin, on a virtual clock."""

    def __init__(self, contract: PluginContract, **arguments: Any) -> None:
        self.dialer = _Tap(contract.server)
        self.client = contract.client(self.dialer, without=AWAY, **arguments)
        self.got: list[Message] = []
        """What the user got."""
        self.events: list[Event] = []
        self.written: list[Message] = []
        """What reached the server, of all connections."""
        self._loop = asyncio.get_running_loop()
        self._reading: asyncio.Task[None] | None = None
        self.client.on(Event, self.events.append)

    @property
    def peer(self) -> MemoryPeer:
        """The server's end of the newest connection."""
        return self.dialer.peers[-1]

    def apart(self, messages: Iterable[Message]) -> list[Message]:
        """Data messages without what the contract's own server said."""
        return [message for message in messages if is_data(message) and message not in self.dialer.chatter]

    @property
    def dropped(self) -> int:
        """Messages that are told to be lost: by Dropped, and one for each Gap that is not of a loss."""
        losses = sum(isinstance(event, Disconnected) for event in self.events)
        gaps = sum(isinstance(event, Gap) for event in self.events)
        return sum(event.count for event in self.events if isinstance(event, Dropped)) + max(0, gaps - losses)

    @property
    def bug(self) -> PluginFailed | None:
        """What the plugin raised that is no LibwsError."""
        errors = (getattr(event, "error", None) for event in self.events)
        return next((error for error in errors if isinstance(error, PluginFailed)), None)

    @property
    def over(self) -> bool:
        """The client has ended."""
        return any(isinstance(event, Closed) for event in self.events)

    async def open(self) -> None:
        """Be READY, and read."""
        async with asyncio.timeout(PATIENCE):
            await self.client.open()
        self._reading = self._loop.create_task(self._read())
        await asyncio.sleep(1)
        self._watch(self.peer)

    async def _read(self) -> None:
        async for message in self.client:
            self.got.append(message)

    def _watch(self, peer: MemoryPeer) -> None:
        line = peer.connection._outbound
        take = line._take

        def taken(item: Message | End) -> None:
            if isinstance(item, Message):
                self.written.append(item)
            take(item)

        line._take = taken

    async def say(self, message: Message) -> bool:
        """Let the server say something.

        False = that ended the connection. Then another one is READY, or the client has ended.
        """
        readies = self._readies
        lost = self._losses
        self.dialer.speak(self.peer, message)
        await asyncio.sleep(MOMENT)
        if self._losses == lost:
            return True
        waited = 0.0
        while self._readies == readies and not self.over and waited < PATIENCE:
            await asyncio.sleep(1 + waited / 10)
            waited += 1 + waited / 10
        await asyncio.sleep(MOMENT)
        return False

    @property
    def _readies(self) -> int:
        return sum(isinstance(event, Connected | Reconnected) for event in self.events)

    @property
    def _losses(self) -> int:
        return sum(isinstance(event, Disconnected) for event in self.events)

    async def end(self) -> None:
        """Close the client."""
        await self.client.close()
        if self._reading is not None:
            with contextlib.suppress(LibwsError):
                await self._reading
        await self.dialer._end()


def experiment(contract: PluginContract, body: Callable[[Laboratory], Awaitable[T]], **arguments: Any) -> T:
    """Run something with a laboratory whose client is READY, and end it."""
    subject.assembled(contract, MemoryDialer())

    async def main() -> T:
        lab = Laboratory(contract, **arguments)
        try:
            await lab.open()
            return await body(lab)
        finally:
            await lab.end()

    try:
        with hear(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
            return runner.run(main())
    except (LibwsError, TimeoutError) as error:
        leave_out(f"{type(error).__name__}: {error}, see test_it_gets_ready_again_after_each_loss")


def is_data(message: Message) -> bool:
    """Whether it is a text or a binary."""
    return message.kind in (Kind.TEXT, Kind.BINARY)
