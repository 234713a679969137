"""Keep what is sent within a server's limits."""

from __future__ import annotations

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from msgspec import Meta

from libws_core import Closed, Event, Kind, Message, OptionError, SendError, Session, Verdict, hookimpl
from libws_core.types import Outgoing

from .budget import Budget, Limits

__all__ = ["Ratelimit"]

LONG = 1.0
"""Seconds of waiting for our own turn above which the deadline of `establish` moves."""
PATIENCE = 30.0
"""Seconds that `establish` has at least, after such a wait."""
TOLD = ("messages", "bytes", "per", "remaining")
"""What a server's headers may tell."""

_shared: WeakKeyDictionary[AbstractEventLoop, WeakValueDictionary[str, Budget]] = WeakKeyDictionary()
"""The budgets that clients share, each as long as a client holds it."""


@dataclass(eq=False, kw_only=True)
class Ratelimit:
    """Keep what is sent within a server's limits; what has no room waits, in order.

    Each connection has its own budget, as it has at most servers; clients that name the same `key` share one. What
    plugins send (log-in, subscriptions, heartbeats) goes before users' messages. A close is never made to wait.
    """

    messages: Annotated[int, Meta(ge=1)] | None = None
    """Messages that may be written within `per` seconds. None = no limit."""
    per: Annotated[float, Meta(gt=0)] = 1.0
    """Length of the window, seconds."""
    bytes: Annotated[int, Meta(ge=1)] | None = None
    """Bytes of payload that may be written within `per` seconds. A message that is larger is refused with SendError.
    None = no limit."""
    strict: bool = True
    """True = a sliding window: no span of `per` seconds, wherever it begins, holds more. False = a bucket that refills
    evenly: after a burst messages leave at an even pace, and a span may hold up to twice as much."""
    control: bool = True
    """Ping and pong frames count, and wait. False = they do neither."""
    key: str | None = None
    """Clients of this loop with the same key share one budget, one message each in turn: for limits of an address or an
    account. They must have the same limits. None = each connection has its own."""
    learn: Callable[..., Any] | None = None
    """A function of the headers of the server's answer, called on each connection. Gives None, or a mapping with any of
    `messages`, `bytes` and `per`, which take the options' place, and `remaining`: messages that are left in the window
    that began now."""
    margin: Annotated[float, Meta(ge=0)] = 0.01
    """Seconds added to a sliding window, since messages may arrive closer together than they left."""

    behind: ClassVar[tuple[str, ...]] = ("codec",)

    _budget: Budget | None = field(default=None, init=False, repr=False)

    @hookimpl(trylast=True)
    def outgoing(self, session: Session) -> Outgoing | None:
        """Give a function that makes messages wait; None if there is no limit."""
        limits, remaining = self._told(session)
        if limits.messages is None and limits.size is None:
            return None
        loop = asyncio.get_running_loop()
        budget = self._of(loop)
        budget.limits = limits if self.learn is not None else budget.limits
        if remaining is not None and limits.messages is not None:
            budget.assume(loop.time(), max(0, limits.messages - remaining))
        who = object()  # stands in the line for this connection

        def settle() -> None:
            budget.settle(loop.time())

        def written() -> None:
            if budget.unsettled == 1:
                loop.call_soon(settle)  # dialers write at the end of a loop's turn, which may be a long one

        def limit(message: Message) -> Message | float:
            kind = message.kind
            if kind >= Kind.CLOSE and not self.control:
                return message
            size = _size(message)
            if kind is Kind.CLOSE:
                budget.count(size, loop.time())
                written()
                return message
            most = budget.limits.size
            if most is not None and size > most:
                text = f"{message!r} is larger than the {most} bytes that may be sent in {budget.limits.per:g} s"
                raise _refused(text)
            wait = budget.ask(who, size, loop.time())
            if wait:
                if wait > LONG:
                    session.extend(wait + PATIENCE)  # waiting for our own turn is no fault of the server
                return wait
            written()
            return message

        return limit

    @hookimpl
    def observe(self, event: Event) -> None:
        """Let go of the shared budget when the client has ended, but not before its window has passed."""
        if isinstance(event, Closed) and self._budget is not None:
            budget, self._budget = self._budget, None
            limits = budget.limits
            asyncio.get_running_loop().call_later(limits.per + limits.margin, _let_go, budget)

    def _of(self, loop: AbstractEventLoop) -> Budget:
        """The budget of a new connection."""
        declared = self._limits()
        if self.key is None:
            return Budget(declared)
        budgets = _shared.setdefault(loop, WeakValueDictionary())
        budget = budgets.get(self.key)
        if budget is None:
            budget = budgets[self.key] = Budget(declared)
        elif budget.declared != declared:
            raise OptionError(f"ratelimit: clients with the key {self.key!r} have different limits")
        self._budget = budget
        return budget

    def _limits(self) -> Limits:
        return Limits(self.messages, self.bytes, self.per, self.strict, self.margin)

    def _told(self, session: Session) -> tuple[Limits, int | None]:
        """The limits of a connection, and how many messages are left, as far as the server tells."""
        limits = self._limits()
        told = None if self.learn is None else self.learn(session.response_headers)
        if told is None:
            return limits, None
        if not isinstance(told, Mapping):
            raise TypeError(f"option 'learn' gave {type(told).__name__}, not a mapping")
        for name, value in told.items():
            _check(name, value)
        changed = limits._replace(
            messages=told.get("messages", limits.messages),
            size=told.get("bytes", limits.size),
            per=float(told.get("per", limits.per)),
        )
        return changed, told.get("remaining")


def _check(name: str, value: Any) -> None:
    if name not in TOLD:
        raise ValueError(f"option 'learn' gave {name!r}, which is none of {', '.join(TOLD)}")
    kinds = (int, float) if name == "per" else (int,)
    least = 0 if name == "remaining" else 1
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise TypeError(f"option 'learn' gave {type(value).__name__} for {name!r}, not a number")
    if not (0 < value < float("inf") if name == "per" else value >= least):
        raise ValueError(f"option 'learn' gave {value!r} for {name!r}")


def _size(message: Message) -> int:
    data = message.data
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())


def _refused(text: str) -> SendError:
    error = SendError(text, verdict=Verdict.FATAL)  # where it is a step of `establish`, trying again cannot help
    error.fault = "local"
    return error


def _let_go(budget: Budget) -> None:
    """The timer that holds a budget has come; nothing is left to do."""
