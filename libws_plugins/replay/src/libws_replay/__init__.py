"""Dial a recorded session as if its server were there, at any speed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote

from msgspec import Meta

from libws_core import ConnectError, LibwsError, Request, Verdict, hookimpl

from .connection import Expect, Mismatch, ReplayedConnection
from .recording import Refusal, Talk, Unreadable, load, rebuilt

__all__ = ["Mismatch", "Replay", "Unreadable"]

SCHEME = "replay"


class Tape:
    """A recording that is being played."""

    def __init__(self, path: Path, attempts: list[Talk | Refusal]) -> None:
        self.path = path
        self.attempts = attempts
        self.next = 0
        """Which attempt the next dial plays."""
        self.pending = len(attempts)
        """Attempts that are not played to their end."""

    @property
    def over(self) -> bool:
        return self.pending <= 0


@dataclass(eq=False, kw_only=True)
class Replay:
    """Dial recordings of the plugin `record`: `replay:session.jsonl`, or `replay:///absolute/session.jsonl`.

    Each dial plays the next recorded attempt: a refused one is refused again, on a connection comes what came, when it
    came, and it ends as it ended. URLs of other schemes are left to other dialers.
    """

    speed: Annotated[float, Meta(gt=0)] | None = 1.0
    """How many times as fast as it was: 2 = in half the time. None = without any waiting."""
    expect: Literal["anything", "order", "match"] = "anything"
    """What the client must send. "anything": what it sends changes nothing. "order": what came behind a message that it
    sent then waits until it has sent as many. "match": as "order", and each must say the same, else the client fails
    with `Mismatch`; JSON is compared by what it says, and where a secret was taken out anything fits."""
    vary: list[str] = field(default_factory=list)
    """Keys of JSON whose values may differ in a match, such as "id" and "timestamp"."""
    patience: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds that the client may be later than it was, where it is waited for; then it fails with `Mismatch`."""
    after: Literal["fail", "repeat", "hold"] = "fail"
    """What a dial behind the last attempt meets: an error that ends the client, the last attempt once more, or no
    answer."""
    run: int | None = None
    """Which run of a file that holds several: 1 = the first, -1 = the last. None = all, one behind the other."""

    _tapes: dict[Path, Tape] = field(default_factory=dict, init=False, repr=False)
    _error: LibwsError | None = field(default=None, init=False, repr=False)
    _waiting: list[asyncio.Future[None]] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.run == 0:
            raise ValueError("option 'run': runs are counted from 1, or from -1 backwards")

    @hookimpl
    async def dial(self, request: Request) -> ReplayedConnection | None:
        """Play the next attempt of the recording that the URL names."""
        if request.url.partition(":")[0].lower() != SCHEME:
            return None
        tape = await self._tape(request.url)
        attempt = await self._next(tape)
        if isinstance(attempt, Refusal):
            await self._wait(attempt.failed.dialing)
            self._played(tape, None)
            raise rebuilt(attempt.failed.error)
        await self._wait(attempt.opened.dialing)
        expect: Expect = self.expect
        return ReplayedConnection(
            attempt,
            speed=self.speed,
            expect=expect,
            vary=frozenset(self.vary),
            patience=self.patience,
            played=partial(self._played, tape),
        )

    async def played(self) -> None:
        """Wait until everything recorded was played: each attempt dialed, and all that came delivered.

        Raises:
            Mismatch: the client did not send what it sent then.
        """
        while self._error is None and not (self._tapes and all(tape.over for tape in self._tapes.values())):
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            finally:
                self._waiting.remove(waiter)
        if self._error is not None:
            raise self._error

    async def _tape(self, url: str) -> Tape:
        path = _path_of(url)
        tape = self._tapes.get(path)
        if tape is None:
            attempts = await asyncio.get_running_loop().run_in_executor(None, load, path, self.run)
            tape = self._tapes[path] = Tape(path, attempts)
        return tape

    async def _next(self, tape: Tape) -> Talk | Refusal:
        if tape.next < len(tape.attempts):
            tape.next += 1
        elif self.after == "hold":
            await asyncio.get_running_loop().create_future()
        elif self.after == "fail":
            count = len(tape.attempts)
            what = "its only attempt was" if count == 1 else f"its {count} attempts were"
            text = f"replay: {tape.path} is at its end: {what} played; see option 'after'"
            error = ConnectError(text, verdict=Verdict.FATAL)
            error.fault = error.initiator = "local"
            raise error
        return tape.attempts[tape.next - 1]

    async def _wait(self, seconds: float) -> None:
        if self.speed is not None and seconds > 0:
            await asyncio.sleep(seconds / self.speed)

    def _played(self, tape: Tape, error: LibwsError | None) -> None:
        """An attempt was played to its end."""
        tape.pending -= 1
        self._error = self._error or error
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)


def _path_of(url: str) -> Path:
    """The file that a URL names, without a query: what `authenticate` has added to it is no part of the name.

    Raises:
        Unreadable: it names none.
    """
    rest = re.split(r"[?#]", url.partition(":")[2])[0]
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):  # RFC 8089 section 2, which file: URLs follow
            raise Unreadable("replay: the URL names a host; write replay:FILE, or replay:///ABSOLUTE/FILE")
        rest = slash + path
    if not rest:
        raise Unreadable("replay: the URL names no file; write replay:FILE")
    return Path(unquote(rest))
