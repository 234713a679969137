"""Each call of a hook as it happens: who was asked, what the answer was, how long it took.

A client that is traced has other hooks in its plan, which tell and then do as the plugin's own. One that is not traced
pays nothing. No answer is shown that may hold a secret: headers are told by name, messages not at all.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from . import clock
from .errors import LibwsError, Problem
from .secret import public_url
from .types import Control, Request, Stop
from .wording import error_words, event_words

if TYPE_CHECKING:
    from .binding import Hook
    from .events import Event

VARIABLE = "LIBWS_TRACE"
"""The environment variable that has every client of a program traced to its standard error."""
ON, OFF = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")
AWAITED = frozenset({"resolve", "admit", "authenticate", "dial", "establish"})
"""Hooks that have not answered before what they gave was awaited."""


NOBODY = "nobody"
"""Stands in the place of a plugin where the core itself decided."""


class Call(NamedTuple):
    """One call of a hook that has ended."""

    hook: str
    plugin: str
    answer: str
    """What it answered, in words."""
    about: str
    """What it was asked about: which attempt or connection, which failure; empty if there is no more to tell."""
    seconds: float
    """How long it took."""
    raised: bool = False

    def __str__(self) -> str:
        about = f" ({self.about})" if self.about else ""
        took = f", {_duration(self.seconds)}" if self.plugin != NOBODY else ""
        return f"{self.hook}: {self.plugin} -> {self.answer}{about}{took}"


Tell = Callable[["Call | Event"], object]
"""Gets each call and each event as it happens. Must return soon, and not raise."""


def from_environment(label: str, problems: list[Problem]) -> Tell | None:
    """What `LIBWS_TRACE` asks for: a trace on the standard error of the client called `label`, or None."""
    value = os.environ.get(VARIABLE, "").strip().lower()
    if value in ON:
        return Lines(label)
    if value not in OFF:
        problems.append(Problem(None, f"{VARIABLE}: expected 1 or 0, got {value!r}", f"set {VARIABLE}=1 or unset it"))
    return None


class Lines:
    """Writes a line for each call and event to the standard error, with the time of day and the client's name."""

    def __init__(self, label: str) -> None:
        self._label = label

    def __call__(self, what: Call | Event) -> None:
        """Write a line."""
        if sys.stderr is None:  # it was closed when the program was started
            return
        wall = clock.wall()
        stamp = f"{time.strftime('%H:%M:%S', time.localtime(wall))}.{int(wall % 1 * 1000):03d}"
        text = f"  {what}" if isinstance(what, Call) else event_words(what)
        shown = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
        try:
            print(f"libws {stamp} {self._label} {shown}", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # nobody reads it: a trace is no reason to fail
            return


def unasked(error: LibwsError, because: str) -> Call:
    """What is told where a client fails and no plugin decided so."""
    return Call("reconnect", NOBODY, "stop", f"{error_words(error)}: {because}", 0.0)


def traced(hooks: Mapping[str, tuple[Hook, ...]], tell: Tell) -> dict[str, tuple[Hook, ...]]:
    """The same hooks, which also tell of each call."""
    return {
        name: tuple(hook._replace(call=_telling(name, hook, tell)) for hook in answers)
        for name, answers in hooks.items()
    }


def _telling(name: str, hook: Hook, tell: Tell) -> Callable[..., Any]:
    function, plugin = hook.call, hook.plugin

    def ended(given: tuple[Any, ...], answer: Any, since: float) -> None:
        tell(Call(name, plugin, _answered(name, given, answer), _about(name, given), _now() - since))

    def failed(given: tuple[Any, ...], error: BaseException, since: float) -> None:
        tell(Call(name, plugin, _raised(error), _about(name, given), _now() - since, raised=True))

    async def awaited(given: tuple[Any, ...], awaitable: Awaitable[Any], since: float) -> Any:
        try:
            answer = await awaitable
        except BaseException as error:
            failed(given, error, since)
            raise
        if name != "keep_alive":
            ended(given, answer, since)
        return answer

    def call(*given: Any) -> Any:
        since = _now()
        try:
            answer = function(*given)
        except BaseException as error:
            failed(given, error, since)
            raise
        if name in AWAITED and inspect.isawaitable(answer):
            return awaited(given, answer, since)
        ended(given, answer, since)
        if name == "keep_alive" and answer is not None:
            return awaited(given, answer, since)
        return answer

    return call


def _now() -> float:
    """The loop's time, which is virtual in tests; before there is a loop, the system's."""
    try:
        return asyncio.get_running_loop().time()
    except RuntimeError:
        return time.monotonic()


def _duration(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1000:.{2 if seconds < 0.01 else 0}f} ms"


def _raised(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return f"raised {type(error).__name__}: {error}"


def _answered(name: str, given: tuple[Any, ...], answer: Any) -> str:
    """An answer in words."""
    match name, answer:
        case (("resolve" | "authenticate"), Request()):
            return _changed(given[0], answer)
        case (("resolve" | "authenticate"), None):
            return "as it is"
        case "dial", None:
            return "not mine"
        case (("admit" | "establish"), _):
            return "done"
        case "observe", _:
            return "seen"
        case "keep_alive", None:
            return "nothing to watch"
        case "keep_alive", _:
            return "watches"
        case "hold", None:
            return "does not keep it"
        case "hold", _:
            return "keeps it"
        case (("incoming" | "deliver"), Control()):
            return "a stage for pings, pongs and closes"
        case (("incoming" | "deliver" | "outgoing"), None):
            return "no stage"
        case (("incoming" | "deliver" | "outgoing"), _):
            return "a stage"
        case (("adapt_error" | "reconnect"), None):
            return "no opinion"
        case "adapt_error", LibwsError():
            return f"{error_words(answer)}, {answer.verdict}"
        case "reconnect", Stop():
            return "stop"
        case "reconnect", int() | float():
            return f"{answer:.3g} s"
        case "dial", _:
            chosen = getattr(answer, "subprotocol", None)
            return "connected" if chosen is None else f"connected, subprotocol {chosen}"
    return type(answer).__name__


def _changed(before: Request, after: Request) -> str:
    """What a hook has made of a request; of headers and `extra` only the names."""
    told = []
    if after.url != before.url:
        same = public_url(after.url) == public_url(before.url)
        told.append("another query" if same else public_url(after.url))
    headers = [name for name in after.headers if after.headers[name] != before.headers.get(name)]
    if headers:
        told.append(f"headers {', '.join(headers)}")
    if after.subprotocols != before.subprotocols:
        told.append(f"subprotocols {', '.join(after.subprotocols)}")
    extra = [str(key) for key, value in after.extra.items() if before.extra.get(key) is not value]
    if extra:
        told.append(f"extra {', '.join(extra)}")
    if after.ssl is not before.ssl:
        told.append("another TLS context")
    if after.proxy != before.proxy:
        told.append("another proxy" if after.proxy else "no proxy")
    return "; ".join(told) or "as it is"


def _about(name: str, given: tuple[Any, ...]) -> str:
    """What a hook was asked about, in words."""
    match name:
        case "resolve" | "admit" | "authenticate" | "dial":
            return f"attempt {given[0].attempt.number}"
        case "establish" | "keep_alive" | "incoming" | "outgoing":
            return f"attempt {given[0].request.attempt.number}"
        case "adapt_error":
            return f"attempt {given[1].attempt.number}, {error_words(given[0])}"
        case "reconnect":
            return f"attempt {given[0].request.attempt.number}, {error_words(given[0].error)}"
        case "hold":
            return f"send {given[0].number}"
        case "observe":
            return type(given[0]).__name__
    return ""
