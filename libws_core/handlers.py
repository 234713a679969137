"""Users' functions that are called with messages and events, plain or async."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from .events import Event
from .inbox import Inbox
from .types import Message

logger = logging.getLogger("libws")

MAX_EVENTS = 1_000
"""Events that may wait for a slow async handler; the oldest one goes first, with a warning."""

Own = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]


def is_async(handler: Callable[..., Any]) -> bool:
    """Calling it gives a coroutine: an `async def`, or an object whose class has an async `__call__`."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


class MessageHandlers:
    """The handlers of `on_message`.

    Plain ones only: they are called as the messages come. With an async one among them all are called by one task,
    which takes from the inbox message after message, so that a slow handler slows the server.

    Args:
        changed: called when messages have to take another way.
    """

    def __init__(self, own: Own, inbox: Inbox, changed: Callable[[], None]) -> None:
        self._own = own
        self._inbox = inbox
        self._changed = changed
        self._handlers: list[Callable[[Message], Any]] = []
        self._task: asyncio.Task[None] | None = None
        self._busy = False
        """The task is within a handler."""
        self._running = False
        self.given = 0
        """Messages given straight to plain handlers."""

    def __bool__(self) -> bool:
        return bool(self._handlers)

    @property
    def plain(self) -> bool:
        """There are handlers, all are plain, and messages are given to them as they come."""
        return bool(self._handlers) and not self._wanted and self._task is None

    @property
    def _wanted(self) -> bool:
        """There is a handler that needs the task."""
        return any(is_async(handler) for handler in self._handlers)

    def add(self, handler: Callable[[Message], Any]) -> Callable[[], None]:
        """Add a handler; gives a function that removes it."""
        if not callable(handler):
            raise TypeError(f"on_message takes a function, not {type(handler).__name__}")
        self._handlers = [*self._handlers, handler]
        self._follow()

        def remove() -> None:
            self._handlers = [each for each in self._handlers if each is not handler]
            self._follow()

        return remove

    def start(self) -> None:
        """The client opens: there is a loop now."""
        self._running = True
        self._follow()

    def route(self) -> Callable[[Message], object] | None:
        """What gives a message straight to plain handlers; None if messages go into the inbox."""
        if not self.plain:
            return None
        handler = self._handlers[0] if len(self._handlers) == 1 else self._call_all

        def direct(message: Message) -> None:
            self.given += 1
            try:
                handler(message)
            except Exception:
                logger.exception("a handler of messages failed: %r", handler)

        return direct

    def _call_all(self, message: Message) -> None:
        for handler in self._handlers:
            try:
                handler(message)
            except Exception:
                logger.exception("a handler of messages failed: %r", handler)

    def _follow(self) -> None:
        """Hand over what waits in the inbox, and keep the task that async handlers need."""
        if self._wanted:
            if self._running and self._task is None:
                self._task = self._own(self._consume())
        elif self._task is not None and not self._busy:  # else it ends by itself, with the message in hand
            self._task.cancel()
            self._task = None
        while self.plain and (message := self._inbox.take()) is not None:
            assert isinstance(message, Message)
            self._call_all(message)
        self._changed()

    async def _consume(self) -> None:
        try:
            while self._wanted:
                try:
                    message = await self._inbox.get()
                except Exception:
                    return  # the end of the client, which others tell
                self._busy = True
                for handler in self._handlers:
                    await _call(handler, message, "message")
                self._busy = False
        finally:
            self._busy = False
            if self._task is asyncio.current_task():
                self._task = None
                if not self._wanted:
                    self._follow()


async def _call(handler: Callable[[Any], Any], what: Any, kind: str) -> None:
    """Call a handler, plain or async; what it raises is logged, and so is a cancellation that is not ours."""
    try:
        result = handler(what)
        if inspect.isawaitable(result):
            await result
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        logger.exception("a handler of %ss was cancelled: %r", kind, handler)
    except Exception:
        logger.exception("a handler of %ss failed: %r", kind, handler)


class _EventHandler:
    """One handler of `on`; an async one is called by a task that lives while events wait."""

    def __init__(self, event: type[Event], handler: Callable[[Any], Any], own: Own) -> None:
        self.event = event
        self._handler = handler
        self._own = own
        self._is_async = is_async(handler)
        self._waiting: deque[Event] = deque()
        self._task: asyncio.Task[None] | None = None

    def tell(self, event: Event) -> None:
        if not self._is_async:
            try:
                self._handler(event)
            except Exception:
                logger.exception("a handler of events failed: %r", self._handler)
            return
        if len(self._waiting) >= MAX_EVENTS:
            self._waiting.popleft()
            logger.warning("an event handler is too slow, an event is dropped: %r", self._handler)
        self._waiting.append(event)
        if self._task is None or self._task.done():
            self._task = self._own(self._work())

    def remove(self) -> None:
        self._waiting.clear()

    async def _work(self) -> None:
        while self._waiting:
            await _call(self._handler, self._waiting.popleft(), "event")


class EventHandlers:
    """The handlers of `on`."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self._handlers: list[_EventHandler] = []

    def add(self, event: type[Event], handler: Callable[[Any], Any]) -> Callable[[], None]:
        """Add a handler; gives a function that removes it."""
        if not (isinstance(event, type) and issubclass(event, Event)):
            raise TypeError(f"client.on takes an event class, such as Connected, not {event!r}")
        if not callable(handler):
            raise TypeError(f"client.on takes a function, not {type(handler).__name__}")
        entry = _EventHandler(event, handler, self._own)
        self._handlers = [*self._handlers, entry]

        def remove() -> None:
            self._handlers = [each for each in self._handlers if each is not entry]
            entry.remove()

        return remove

    def tell(self, event: Event) -> None:
        """Call every handler of this event's class."""
        for handler in self._handlers:
            if isinstance(event, handler.event):
                handler.tell(event)
