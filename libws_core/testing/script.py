"""What happens to one connection after the other: the steps of a script, and who plays them.

    server.script(refuse(503), refuse(429, {"Retry-After": "1"}), talk)     # one a connection, the last one repeats

A step is `refuse(...)`, `hang()`, `cut()`, `raw(...)`, `greet(...)`, `by_hand()`, or a function that gets the peer: an
async one holds the dialogue and closes with 1000 at its end, a plain one sets the peer up, such as its `on_message`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ..errors import LibwsError
from ..headers import Headers
from .peer import Bell, Gone, Peer

__all__ = [
    "ByHand",
    "Cut",
    "Greet",
    "Hang",
    "Host",
    "Raw",
    "Refuse",
    "by_hand",
    "cut",
    "greet",
    "hang",
    "raw",
    "refuse",
]

PeerT = TypeVar("PeerT", bound=Peer)

KEPT = 100
"""How many dials, connections and failures a host remembers: few, so that a test of memory measures the client's."""


@dataclass(frozen=True)
class Refuse:
    """A step: answer the handshake with another status than 101."""

    status: int
    headers: Headers
    body: bytes


@dataclass(frozen=True)
class Fail:
    """A step of the memory dialer: `dial` raises this error."""

    error: LibwsError


@dataclass(frozen=True)
class Hang:
    """A step: take the connection and never answer the handshake."""


@dataclass(frozen=True)
class Cut:
    """A step: end the connection in the place of an answer to the handshake."""

    reset: bool = False


@dataclass(frozen=True)
class Raw:
    """A step of the server: answer the handshake with these bytes."""

    data: bytes
    hold: bool = False


@dataclass(frozen=True)
class Greet:
    """A step: accept, with these messages right behind the answer, in the same segment."""

    messages: tuple[Any, ...]
    then: Any = None


@dataclass(frozen=True)
class ByHand:
    """A step: accept, and leave the peer to `accept()`."""


Handler = Callable[[Any], Coroutine[Any, Any, object] | None]
Step = Refuse | Fail | Hang | Cut | Raw | Greet | ByHand | Handler


def refuse(status: int, headers: Mapping[str, str] | None = None, body: bytes | str = b"") -> Refuse:
    """A step: answer the handshake with this HTTP status, these headers and this body, then end the connection.

    Raises:
        ValueError: a header that HTTP does not allow.
    """
    return Refuse(status, Headers(headers or {}), body.encode() if isinstance(body, str) else body)


def hang() -> Hang:
    """A step: take the connection and never answer the handshake; it lasts until the client gives up."""
    return Hang()


def cut(reset: bool = False) -> Cut:
    """A step: end the connection in the place of an answer to the handshake, orderly (FIN) or by a reset."""
    return Cut(reset)


def raw(data: bytes, hold: bool = False) -> Raw:
    """A step of the server: answer the handshake with these bytes, then end the connection, or hold it."""
    return Raw(data, hold)


def greet(*messages: Any, then: Handler | None = None) -> Greet:
    """A step: accept, with these messages in the same TCP segment as the answer.

    Args:
        then: what goes on afterwards; None leaves the peer to `accept()`.
    """
    return Greet(messages, then)


def by_hand() -> ByHand:
    """A step: accept, and leave the peer to the test's own `await ....accept()`. So it is without a script."""
    return ByHand()


class Host(Generic[PeerT]):
    """What the memory dialer and the server share: scripts, peers taken by hand, and the failures of handlers.

    As an async context manager it ends what it started and raises the first failure that a handler met.
    """

    def __init__(self, *steps: Step) -> None:
        self.count = 0
        """Connections and attempts at one so far."""
        self.failures: list[BaseException] = []
        """What handlers raised, and rules that the client broke."""
        self._steps: tuple[Step, ...] = ()
        self._at = 0
        self._next: deque[Step] = deque()
        self._waiting: deque[PeerT] = deque(maxlen=KEPT)
        self._bell = Bell()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told = 0
        self.script(*steps)

    def script(self, *steps: Step) -> Self:
        """Say what happens to connections from now on: one step for each, the last one repeats; none = by hand.

        Raises:
            TypeError: a step that this kind of host cannot play.
        """
        for step in steps:
            self._check(step)
        self._steps, self._at = steps, 0
        return self

    def refuse(
        self,
        status: int | LibwsError,
        headers: Mapping[str, str] | None = None,
        body: bytes | str = b"",
        *,
        times: int = 1,
    ) -> Self:
        """Refuse the next attempts, then go on with the script.

        Args:
            status: an HTTP status; for the memory dialer also the error that `dial` shall raise.
            times: how many attempts.
        """
        step: Step = Fail(status) if isinstance(status, LibwsError) else refuse(status, headers, body)
        return self.first(*[step] * times)

    def hang(self, times: int = 1) -> Self:
        """Never answer the next attempts, then go on with the script."""
        return self.first(*[hang()] * times)

    def first(self, *steps: Step) -> Self:
        """Put steps before the script, one for each of the next attempts."""
        for step in steps:
            self._check(step)
        self._next.extend(steps)
        return self

    async def accept(self, timeout: float | None = None) -> PeerT:
        """Wait for the next connection that no script has taken, and give its peer.

        Args:
            timeout: seconds to wait; None = 10, and a day on a virtual clock.

        Raises:
            Unexpected: none came in time. A handler's own failure is raised in its place.
        """

        def look() -> PeerT | None:
            if self._waiting:
                return self._waiting.popleft()
            self.check()
            return None

        def missed(seconds: float) -> str:
            return f"expected a connection, got none in {seconds:g} s ({self.count} attempts since the start)"

        return await self._bell.until(look, timeout, missed)

    async def reached(self, count: int, timeout: float | None = None) -> None:
        """Wait until so many attempts in all have come here, whatever became of them.

        Raises:
            Unexpected: they did not come in time.
        """

        def missed(seconds: float) -> str:
            return f"expected {count} attempts in all, got {self.count} in {seconds:g} s"

        await self._bell.until(lambda: self.count >= count or None, timeout, missed)

    def check(self) -> None:
        """Raise the first failure of a handler, or rule that the client broke, that was not raised here before."""
        if self._told < len(self.failures):
            failure, *others = self.failures[self._told :]
            self._told = len(self.failures)
            for other in others:
                failure.add_note(f"also: {type(other).__name__}: {other}")
            raise failure

    def _check(self, step: Step) -> None:
        if not callable(step) and not isinstance(step, Refuse | Fail | Hang | Cut | Raw | Greet | ByHand):
            raise TypeError(f"not a step of a script: {step!r}")

    def _step(self) -> Step:
        """Count an attempt that begins now, and give its step."""
        self.count += 1
        self._bell.ring()
        if self._next:
            return self._next.popleft()
        if not self._steps:
            return ByHand()
        step = self._steps[min(self._at, len(self._steps) - 1)]
        self._at += 1
        return step

    def _meet(self, peer: PeerT, step: Step | None) -> None:
        """Play an open connection's step."""
        if isinstance(step, Greet):
            step = step.then
        if step is None or isinstance(step, ByHand):
            self._waiting.append(peer)
            self._bell.ring()
            return
        assert callable(step)
        try:
            talk = step(peer)
        except Exception as error:
            self._failed(error)
            peer.drop()
            return
        if inspect.iscoroutine(talk):
            self._own(self._tend(peer, talk))

    async def _tend(self, peer: PeerT, talk: Coroutine[Any, Any, object]) -> None:
        try:
            await talk
        except Gone:
            return
        except Exception as error:
            self._failed(error)
            peer.drop()
        else:
            peer.close()

    def _own(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, error: BaseException) -> None:
        if len(self.failures) < KEPT:
            self.failures.append(error)
        self._bell.ring()

    async def _end(self) -> None:
        """End every task that was started here."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()
        if error is None:
            self.check()
        else:
            for failure in self.failures[self._told :]:
                if failure is not error:
                    error.add_note(f"meanwhile: {type(failure).__name__}: {failure}")
