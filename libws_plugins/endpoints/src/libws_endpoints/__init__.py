"""Dial another address when one fails."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

from msgspec import Meta

from libws_core import AttemptFailed, CircuitOpen, Event, Failure, LibwsError, Request, chance, hookimpl
from libws_core.url import url_problem

__all__ = ["Endpoints"]

CHOSEN = "endpoints.url"
"""Where the address of an attempt stands in `Request.extra`; plugins behind may change the request's URL."""


@dataclass(eq=False, kw_only=True)
class Endpoints:
    """Dial one of several addresses; after a failed attempt or a loss leave that one alone for a while.

    `urls` are all there are: the client's own URL is dialed only if it is one of them. Nothing waits here. If all are
    to be left alone, the one whose time is over first is dialed at once; how long to wait between attempts is for
    `reconnect` to say.
    """

    urls: list[str] = field(default_factory=list, repr=False)
    """The addresses, whole URLs. None given = the client's own."""
    order: Literal["shuffle", "listed", "sticky"] = "shuffle"
    """Which of those that may be dialed: "shuffle" = any, by chance, at each attempt; "listed" = the first of the list,
    so the first one is gone back to at the next attempt after its time; "sticky" = the one of last time, also after a
    loss, until an attempt at it fails, then the next in the list."""
    cooldown: Annotated[float, Meta(ge=0)] = 30.0
    """Seconds that an address is left alone, or longer if its server asked for it (Retry-After)."""

    _ready_at: dict[str, float] = field(default_factory=dict, init=False, repr=False)
    """When an address that has failed may be dialed again."""
    _last: str | None = field(default=None, init=False, repr=False)
    """The address of the last attempt."""
    _move: tuple[int, str] | None = field(default=None, init=False, repr=False)
    """Number and address of the last attempt that was a move."""

    def __post_init__(self) -> None:
        self.urls = list(dict.fromkeys(self.urls))
        for place, url in enumerate(self.urls, 1):
            if problem := url_problem(url):
                raise ValueError(f"option 'urls': URL {place}: {problem}")

    @hookimpl
    def resolve(self, request: Request) -> Request | None:
        """Choose an address."""
        if not self.urls:
            return None
        now = asyncio.get_running_loop().time()
        if request.attempt.failure is not None:
            self._learn(request.attempt.failure, now)
        url = self._last = self._choose(now)
        if request.attempt.why == "move":
            self._move = request.attempt.number, url
        return replace(request, url=url, extra={**request.extra, CHOSEN: url})

    @hookimpl
    def observe(self, event: Event) -> None:
        """Learn of moves that failed, which no later attempt tells."""
        if isinstance(event, AttemptFailed) and self._move is not None and self._move[0] == event.attempt:
            if event.phase == "ready" or _is_its_doing(event.phase, event.error):
                self._cool(self._move[1], event.error, asyncio.get_running_loop().time())
            self._move = None

    def _learn(self, failure: Failure, now: float) -> None:
        url = failure.request.extra.get(CHOSEN, failure.request.url)
        lost = failure.phase == "ready" and self.order != "sticky"
        if url in self.urls and (lost or _is_its_doing(failure.phase, failure.error)):
            self._cool(url, failure.error, now)

    def _cool(self, url: str, error: LibwsError, now: float) -> None:
        self._ready_at[url] = now + max(self.cooldown, error.retry_after or 0.0)

    def _choose(self, now: float) -> str:
        self._ready_at = {url: at for url, at in self._ready_at.items() if at > now}
        free = [url for url in self.urls if url not in self._ready_at]
        if not free:
            return min(self.urls, key=self._ready_at.__getitem__)
        if self.order == "shuffle":
            chance.shuffle(free)
        elif self.order == "sticky" and self._last is not None:
            place = self.urls.index(self._last)
            return next(url for url in [*self.urls[place:], *self.urls[:place]] if url in free)
        return free[0]


def _is_its_doing(phase: str, error: LibwsError) -> bool:
    """Whether a failed attempt came as far as the address; one that was not admitted did, if its circuit is open."""
    return phase in ("dial", "establish") or isinstance(error, CircuitOpen)
