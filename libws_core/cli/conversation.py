"""One client in conversation with whoever sits at the standard input and output."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

from ..client import Client
from ..errors import LibwsError, NotReady
from ..events import Connected, Event
from ..machine import State
from ..trace import Call
from ..types import Message
from .keyboard import LineTooLong
from .screen import Screen, TerminalScreen


class Source(Protocol):
    """Where the lines to send come from."""

    async def read(self) -> str | None:
        """The next line; None = there are no more."""


class NoLines:
    """A source of nothing."""

    async def read(self) -> str | None:
        """There are no lines."""
        return None


class Tracing:
    """Takes a client's trace from its assembly on, and hands it on when there is somewhere to show it."""

    def __init__(self) -> None:
        self._waiting: list[Call | Event] = []
        self._show: Callable[[Call | Event], None] | None = None

    def __call__(self, what: Call | Event) -> None:
        """Take a call or an event."""
        if self._show is None:
            self._waiting.append(what)
        else:
            self._show(what)

    def lead_to(self, show: Callable[[Call | Event], None]) -> None:
        """Show what has waited, and from now on everything."""
        for what in self._waiting:
            show(what)
        self._waiting, self._show = [], show


class Conversation:
    """Sends each line of the input, shows what arrives, and ends with the input, the client or a signal.

    Args:
        client: not opened yet.
        source: the lines to send.
        screen: shows what arrives.
        wait: seconds to stay after the end of the input; `math.inf` = until the client or a signal ends it.
        attended: somebody types the lines and sees which are not sent; else a line waits until the client is READY.
        tracing: the client's, if it is traced.
    """

    def __init__(
        self,
        client: Client,
        source: Source,
        screen: Screen,
        wait: float,
        attended: bool,
        tracing: Tracing | None = None,
    ) -> None:
        self._client = client
        self._source = source
        self._screen = screen
        self._wait = wait
        self._attended = attended
        self._changed = asyncio.Event()
        self._events = 0
        self._connected = False
        self._running: asyncio.Task[Any] | None = None
        self._stop = asyncio.Event()
        self._failed = False
        self._unread = False
        self._tracing = tracing

    async def run(self) -> int:
        """Hold the conversation; gives the exit code."""
        client = self._client
        self._running = asyncio.current_task()
        client.on(Event, self._on_event)
        client.on_message(self._on_message)
        if self._tracing is not None:
            self._tracing.lead_to(self._on_traced)
        with _signals(self._on_signal):
            tasks = [asyncio.ensure_future(each) for each in self._parts()]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                try:
                    await client.close()
                finally:
                    for task in tasks:
                        task.cancel()
                    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        self._judge(outcomes)
        return 1 if self._failed or not self._connected or await self._client_failed() else 0

    def _judge(self, outcomes: list[Any]) -> None:
        """Look at how the parts ended; what nobody expects is raised."""
        for outcome in outcomes:
            if isinstance(outcome, LineTooLong):
                self._note(str(outcome))
                self._failed = True
            elif isinstance(outcome, Exception) and not isinstance(outcome, LibwsError | BrokenPipeError):
                raise outcome
        if self._unread:
            raise BrokenPipeError

    def _parts(self) -> list[Coroutine[Any, Any, Any]]:
        """What goes on at the same time; the first to end ends the conversation."""
        return [self._talk(), self._client.wait_closed(), self._stop.wait()]

    async def _talk(self) -> None:
        opening = asyncio.ensure_future(self._client.open())
        try:
            await asyncio.sleep(0)  # so that it is no longer IDLE
            while (line := await self._source.read()) is not None:
                if isinstance(self._screen, TerminalScreen):
                    self._screen.typed(line)
                await self._send(line)
            if not self._attended:
                await opening
            if self._wait > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if self._wait == float("inf") else self._wait):
                        await self._client.wait_closed()
        finally:
            opening.cancel()
            await asyncio.wait([opening])
            if not opening.cancelled():
                opening.exception()  # told by the event Closed

    async def _send(self, line: str) -> None:
        while True:
            seen = self._events
            try:
                await self._client.send(line)
                return
            except NotReady as error:
                if self._attended or (self._client.state is State.READY and self._events == seen):
                    self._not_sent(error)
                    return
            except LibwsError as error:
                if self._client.state in (State.CLOSING, State.CLOSED, State.FAILED):
                    raise  # the end of it all, which the events tell
                self._not_sent(error)
                return
            while self._client.state in (State.CONNECTING, State.WAITING, State.REOPENING):
                self._changed.clear()
                await self._changed.wait()

    def _not_sent(self, error: LibwsError) -> None:
        self._note(f"not sent: {error}")
        if not self._attended:
            self._failed = True

    async def _client_failed(self) -> bool:
        try:
            await self._client.wait_closed()
        except LibwsError:
            return True
        return False

    def _on_event(self, event: Event) -> None:
        self._events += 1
        self._changed.set()
        self._connected = self._connected or isinstance(event, Connected)
        if self._tracing is None:  # which shows it before the plugins that observe it
            self._show(self._screen.event, event)

    def _on_traced(self, what: Call | Event) -> None:
        if isinstance(what, Call):
            self._show(self._screen.call, what)
        else:
            self._show(self._screen.event, what)

    def _on_message(self, message: Message) -> None:
        self._show(self._screen.message, message)

    def _note(self, text: str) -> None:
        self._show(self._screen.note, text)

    def _show(self, how: Callable[[Any], None], what: Any) -> None:
        if self._unread:
            return
        try:
            how(what)
        except BrokenPipeError:
            self._unread = True
            self._stop.set()

    def _on_signal(self) -> None:
        if self._stop.is_set() and self._running is not None:
            self._running.cancel()  # the second time: no more patience with the closing handshake
        self._stop.set()


@contextlib.contextmanager
def _signals(handler: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, RuntimeError):  # Windows, and threads other than the main one
            loop.add_signal_handler(number, handler)
            taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
