"""Give each message once, also where two connections bring it."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from libws_core import Client, Closed, Disconnected, Dropped, Event, Kind, Message, Session, hookimpl
from libws_core.match import key
from libws_core.types import Stage

__all__ = ["Dedupe"]

REPORT = 1.0
"""Seconds from one Dropped event to the next, at least."""
LONG = 64
"""Characters or bytes of a key above which its digest is remembered in its place."""
WHY = "a message of the same key was delivered before"


@dataclass(eq=False, kw_only=True)
class Dedupe:
    """Drop messages whose key was delivered before, across reconnects and moves.

    A message without a key passes. What is dropped is counted in `dropped` at once; `Dropped` events, at most one a
    second, bring the same number into `client.stats`.
    """

    key: str | Callable[[Message], Any] | None = None
    """What tells a message from others: a path such as "data.u", or a function of the Message that gives a value, or
    None for a message that has none. None = the whole message, so that of two equal ones the second is dropped."""
    window: Annotated[float, Meta(gt=0)] = 60.0
    """Seconds for which a key is remembered, from when its message was delivered."""
    size: Annotated[int, Meta(ge=1)] = 100_000
    """Keys that are remembered at most; above, the oldest is forgotten before its `window` is over."""

    behind: ClassVar[tuple[str, ...]] = ("subscriptions",)  # which looks for holes, and shall not see doubles

    dropped: int = field(default=0, init=False)
    """Messages dropped so far."""
    forgotten: int = field(default=0, init=False)
    """Keys forgotten before their time, because there were more than `size` of them."""
    _find: Callable[[Message], Any] = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _session: Session | None = field(default=None, init=False, repr=False)
    _told: int = field(default=0, init=False, repr=False)
    _timer: asyncio.TimerHandle | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if inspect.iscoroutinefunction(self.key):
            raise ValueError("option 'key': a key must be a plain function, not an async one")
        try:
            self._find = _whole if self.key is None else key(self.key)
        except ValueError as error:
            raise ValueError(f"option 'key': {error}") from None

    @hookimpl
    def deliver(self, client: Client) -> Stage:
        """Give a stage that remembers keys."""
        find, window, size = self._find, self.window, self.size
        known: set[Hashable] = set()
        order: deque[tuple[float, Hashable]] = deque()
        clock: Callable[[], float] | None = None

        def once(message: Message) -> Message | None:
            nonlocal clock
            found = find(message)
            if found is None:
                return message
            if type(found) is not int and (type(found) is not str or len(found) > LONG):
                found = _compact(found)
            if clock is None:
                clock = asyncio.get_running_loop().time
            now = clock()
            while order and order[0][0] <= now - window:
                known.discard(order.popleft()[1])
            if found in known:
                self.dropped += 1
                if self._timer is None:
                    self._timer = asyncio.get_running_loop().call_later(REPORT, self._tell)
                return None
            if len(order) >= size:
                known.discard(order.popleft()[1])
                self.forgotten += 1
            known.add(found)
            order.append((now, found))
            return message

        return once

    @hookimpl
    def keep_alive(self, session: Session) -> None:
        """Remember through whom to tell what was dropped."""
        self._session = session
        if self.dropped > self._told and self._timer is None:  # dropped before there was anyone
            self._timer = asyncio.get_running_loop().call_later(REPORT, self._tell)

    @hookimpl
    def observe(self, event: Event) -> None:
        """Tell what was dropped on a connection before its end is told by others."""
        if isinstance(event, (Disconnected, Closed)):
            self._tell()

    def _tell(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        count = self.dropped - self._told
        if count and self._session is not None:
            self._told = self.dropped
            self._session.emit(Dropped(count, WHY))


def _whole(message: Message) -> Hashable:
    """A key for all of a message."""
    data = message.data
    if len(data) <= LONG:
        return message.kind, data
    return message.kind, _digest(data.encode("utf-8", "surrogatepass") if message.kind is Kind.TEXT else data)


def _compact(found: Any) -> Hashable:
    """A key that takes little memory, and is equal to another only if both are equal as JSON, where true is not 1."""
    if isinstance(found, bool):
        return "bool", found
    if isinstance(found, str):
        return "str", _digest(found.encode("utf-8", "surrogatepass"))
    if isinstance(found, (bytes, bytearray, memoryview)):
        return "bytes", _digest(bytes(found))
    if isinstance(found, (dict, list)):
        return "json", _digest(msgspec.json.encode(found, order="deterministic"))
    try:
        hash(found)
    except TypeError:
        raise ValueError(f"a key must be hashable or JSON, not {type(found).__name__}") from None
    return found  # type: ignore[no-any-return]


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()
