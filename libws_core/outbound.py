"""What one connection writes, in order: plugins' messages before users', through `outgoing`, never past a full buffer.

Users' messages stand in the order in which they were sent, also those that come from another connection or from a
plugin that held them.

At most one message is *begun*: it has passed some functions and waits before the next one because that asked for time.
It is never overtaken, since functions may keep state (a counter, a compressor). What is not begun can still be taken
back: it waits in one of two queues.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple

from .errors import ConnectionClosed, LibwsError, MessageExpired, PluginFailed
from .types import Connection, Kind, Message, Sending

HIGH = 64 * 1024
"""Bytes in the write buffer above which messages wait here."""
MAX_URGENT = 10_000
"""Messages of plugins that may wait for a peer that does not read."""
POLL = 0.01
"""Seconds between two looks at `buffered`, for a dialer that does not say when its buffer is drained."""
SWEEP = 64
"""Messages in a queue from which on those that were taken back are cleared away."""


class OutgoingFunction(NamedTuple):
    """A function of `outgoing` and whose it is."""

    plugin: str
    function: Callable[[Message], Any]


class Ticket(Awaitable[Any]):
    """A message that waits to be written. Awaiting it is optional; an error that nobody asks for is no warning.

    A user's ticket also ends when its sender has gone, or its connection, and the message waits elsewhere:
    `Sending.place` says where.
    """

    __slots__ = ("done", "error", "index", "message", "progress", "sending", "waiter")

    def __init__(self, message: Message, sending: Sending | None) -> None:
        self.message = message
        self.sending = sending
        """A user's; None = it is a plugin's."""
        self.progress = False
        """Writing it is a step of establish."""
        self.index = 0
        """Functions that it has passed."""
        self.done = False
        self.error: BaseException | None = None
        self.waiter: asyncio.Future[None] | None = None

    def finish(self, error: BaseException | None = None) -> None:
        """It is written, or will not be here."""
        if self.done:
            return
        self.done, self.error = True, error
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def withdraw(self) -> None:
        """Its sender waits no longer: if it is not written yet, it will not be. A plugin that waits too may go on."""
        self.finish()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self.done:
            if self.waiter is None:
                self.waiter = asyncio.get_running_loop().create_future()
            yield from asyncio.shield(self.waiter).__await__()
        if self.error is not None:
            raise self.error


class NotWritten(LibwsError):
    """The connection ended before the message was written. Never leaves the core."""


class Outbound:
    """The writing side of one connection.

    Args:
        functions: those of `outgoing`, from the user to the wire.
        written: told each ticket whose message was handed to the connection.
        failed: told an error that ends the connection.
    """

    __slots__ = (
        "_begun",
        "_connection",
        "_failed",
        "_functions",
        "_idle",
        "_loop",
        "_normal",
        "_pumping",
        "_stopped",
        "_sweep_at",
        "_timer",
        "_urgent",
        "_written",
        "busy",
        "ended",
    )

    def __init__(
        self,
        connection: Connection,
        functions: list[OutgoingFunction],
        written: Callable[[Ticket], object],
        failed: Callable[[LibwsError], object],
    ) -> None:
        self._connection = connection
        self._functions = functions
        self._written = written
        self._failed = failed
        self._urgent: deque[Ticket] | None = None  # both are made when something waits: most often nothing does
        self._normal: deque[Ticket] | None = None
        self._begun: Ticket | None = None
        self._sweep_at = SWEEP
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._pumping = False
        self._stopped = False
        self.ended = False
        self.busy = bool(functions)
        """A message cannot be written past what is here: something waits, a function wants to see it, or it is over."""
        if hasattr(connection, "drained"):
            connection.drained = self.pump

    def put(self, ticket: Ticket) -> Ticket:
        """Queue a message and write what can be written."""
        if self.ended:
            ticket.finish(NotWritten("the connection ended before this was written"))
            return ticket
        self.busy = True
        if ticket.sending is not None:
            self._line_up(ticket, ticket.sending)
        elif ticket.message.kind is Kind.PONG and self._replace_pong(ticket):
            return ticket
        else:
            if self._urgent is None:
                self._urgent = deque()
            if len(self._urgent) >= MAX_URGENT:
                error = ConnectionClosed(
                    f"the peer does not read: {MAX_URGENT} messages wait to be written", initiator="local"
                )
                ticket.finish(error)
                self._failed(error)
                return ticket
            if self._timer is not None and self._begun is not None and self._overtake(ticket, self._begun):
                return ticket
            self._urgent.append(ticket)
        self.pump()
        return ticket

    def pump(self) -> None:
        """Write what can be written now."""
        if self._pumping or self.ended:
            return
        self._pumping = True
        try:
            while self._step():
                pass
        finally:
            self._pumping = False
            self._look()
        if self._idle is not None and not (self._begun or self._urgent or self._normal) and not self._idle.done():
            self._idle.set_result(None)

    async def flushed(self) -> None:
        """Wait until nothing waits here any more."""
        while (self._begun or self._urgent or self._normal) and not self._stopped:
            self._idle = self._loop.create_future()
            try:
                await self._idle
            finally:
                self._idle = None

    def stop(self) -> None:
        """A close frame has passed: nothing can be written any more. What waits is kept until `end` gives it back."""
        self._stopped = self.busy = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def hand_over(self) -> list[Ticket]:
        """Give up users' messages that are not begun, in order."""
        tickets = [ticket for ticket in self._normal or () if not ticket.done]
        self._normal = None
        self._look()
        return tickets

    def end(self) -> list[Ticket]:
        """The connection is over: gives users' messages that were not written, in order, and ends the others."""
        self.ended = True
        self.stop()
        left = [ticket for ticket in (self._begun, *(self._normal or ())) if ticket is not None and not ticket.done]
        for ticket in (*(self._urgent or ()), *(ticket for ticket in left if ticket.sending is None)):
            ticket.finish(NotWritten("the connection ended before this was written"))
        self._begun = self._urgent = self._normal = None
        return [ticket for ticket in left if ticket.sending is not None]

    def _line_up(self, ticket: Ticket, sending: Sending) -> None:
        """Give a user's message its place: behind those that were sent before it."""
        sending.place = ticket
        if sending.expires is not None and sending.expires < self._loop.time():
            ticket.finish(MessageExpired(f"{sending.message!r} was not written in time, and will not be sent"))
            return
        queue = self._normal
        if queue is None:
            queue = self._normal = deque()
        while queue and queue[-1].done:  # taken back: a stuck peer must not pile them up
            queue.pop()
        if len(queue) >= self._sweep_at:
            queue = self._normal = deque(ticket for ticket in queue if not ticket.done)
            self._sweep_at = max(SWEEP, 2 * len(queue))
        place = len(queue)
        while place and queue[place - 1].sending.number > sending.number:  # type: ignore[union-attr]
            place -= 1
        queue.insert(place, ticket)

    def _look(self) -> None:
        """Tell whether anything stands in a message's way."""
        self.busy = bool(self._functions or self._begun or self._normal or self._urgent or self._stopped)

    def _overtake(self, ticket: Ticket, begun: Ticket) -> bool:
        """Let a plugin's message pass one that functions have asked to wait; True if it is done with.

        A user's message that has passed no function goes back into its queue. Past any other only a control frame may
        go, as it may in the middle of a message (RFC 6455 section 5.4), and only if the functions let it.
        """
        if begun.sending is not None and begun.index == 0:
            assert self._timer is not None
            self._timer.cancel()
            self._timer = self._begun = None
            if self._normal is None:
                self._normal = deque()
            self._normal.appendleft(begun)
            return False
        if ticket.message.kind < Kind.CLOSE or self._urgent or self._connection.buffered > HIGH:
            return False
        return self._go(ticket) is None

    def _replace_pong(self, newer: Ticket) -> bool:
        """A newer pong takes the place of one that waits: RFC 6455 section 5.5.3 asks for the latest only."""
        urgent = self._urgent or ()
        for place, waiting in enumerate(urgent):
            if waiting.message.kind is Kind.PONG and not waiting.done:
                urgent[place] = newer  # type: ignore[index]
                waiting.finish()
                return True
        return False

    def _step(self) -> bool:
        """Write one message, or say that none can be written now."""
        if self._timer is not None or self._stopped:
            return False
        ticket = self._begun
        if ticket is None:
            queue = self._urgent or self._normal
            if not queue:
                return False
            if self._connection.buffered > HIGH:
                self._wait_for_room()
                return False
            ticket = queue.popleft()
        self._begun = None
        if ticket.done:  # taken back while it waited
            return True
        delay = self._go(ticket)
        if delay is None:
            return True
        self._begun = ticket
        self._timer = self._loop.call_later(delay, self._resume)
        return False

    def _go(self, ticket: Ticket) -> float | None:
        """Put a message through the functions and write it; seconds if one of them asks for time."""
        try:
            delay = self._pass(ticket)
        except LibwsError as error:
            ticket.finish(error)
            return None
        if delay is not None:
            return delay
        try:
            self._connection.write(ticket.message)
        except Exception as error:  # what no frame can hold, such as a ping of 126 bytes
            ticket.finish(error)
            return None
        ticket.finish()
        self._written(ticket)
        return None

    def _pass(self, ticket: Ticket) -> float | None:
        """Put a message through the functions; seconds if one asks for time."""
        functions = self._functions
        while ticket.index < len(functions):
            plugin, function = functions[ticket.index]
            result = self._call(plugin, function, ticket.message)
            if not isinstance(result, Message):
                return result
            ticket.message = result
            ticket.index += 1
        return None

    def close_message(self, message: Message) -> Message:
        """What the functions make of a close, which is never made to wait."""
        for plugin, function in self._functions:
            try:
                result = self._call(plugin, function, message)
            except LibwsError:
                continue  # a close leaves all the same
            if isinstance(result, Message) and result.kind is Kind.CLOSE:
                message = result
        return message

    def _call(self, plugin: str, function: Callable[[Message], Any], message: Message) -> Message | float:
        try:
            result = function(message)
        except LibwsError:
            raise
        except Exception as error:
            failure = PluginFailed(f"plugin {plugin!r} failed in outgoing: {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._failed(failure)
            raise failure from error
        if isinstance(result, Message):
            return result
        if isinstance(result, (int, float)) and not isinstance(result, bool) and 0 <= result < float("inf"):
            return float(result)
        failure = PluginFailed(f"plugin {plugin!r} answered outgoing with {result!r}: neither a Message nor seconds")
        self._failed(failure)
        raise failure

    def _resume(self) -> None:
        self._timer = None
        self.pump()

    def _wait_for_room(self) -> None:
        if getattr(self._connection, "drained", None) is None:
            self._timer = self._loop.call_later(POLL, self._resume)
