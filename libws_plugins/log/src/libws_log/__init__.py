"""Log every event of a client: one line each, with structured fields."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import structlog

from libws_core import (
    AttemptFailed,
    ClientClosed,
    Closed,
    Connecting,
    ConnectionClosed,
    Disconnected,
    Dropped,
    Event,
    Gap,
    LibwsError,
    hookimpl,
)

__all__ = ["Log"]

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
STAMPS = frozenset({"monotonic", "wall"})
"""Fields of an event that repeat what a log line says by itself."""


@dataclass(eq=False, kw_only=True)
class Log:
    """Log every event: one line with structured fields, and no secret in it.

    Phases are logged at debug, failures and losses at warning, an end by an error at error, everything else at info.
    """

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The lowest level that is logged. The application's own set-up may ask for more."""
    to: Literal["auto", "structlog", "logging"] = "auto"
    """Where lines go. "structlog": to it, as the application has configured it. "logging": to the standard library's,
    written as key=value. "auto": to structlog if the application has configured it when the first event comes."""
    logger: str = "libws.events"
    """The logger's name."""
    fields: dict[str, Any] = field(default_factory=dict)
    """More fields for each line, such as {"client": "prices"} where there are several."""

    _log: Any = field(default=None, init=False, repr=False)

    @hookimpl
    def observe(self, event: Event) -> None:
        """Log an event."""
        level = level_of(event)
        if LEVELS[level] < LEVELS[self.level]:
            return
        if self._log is None:
            self._log = self._find()
        told = {**self.fields, **dict(fields_of(event))}
        if "event" in told:  # structlog's own name for the line's text
            told["event_"] = told.pop("event")
        getattr(self._log, level)(name_of(event), **told)

    def _find(self) -> Any:
        if self.to == "structlog" or (self.to == "auto" and structlog.is_configured()):
            return structlog.get_logger(self.logger)
        return structlog.wrap_logger(
            logging.getLogger(self.logger),
            processors=[structlog.stdlib.filter_by_level, structlog.processors.LogfmtRenderer(key_order=["event"])],
            wrapper_class=structlog.stdlib.BoundLogger,
        )


def level_of(event: Event) -> str:
    """The level of an event's line."""
    if isinstance(event, Connecting):
        return "debug"
    if isinstance(event, Closed):
        return "info" if event.error is None else "error"
    if isinstance(event, Disconnected):
        ours = event.error.initiator == "local" and type(event.error) in (ConnectionClosed, ClientClosed)
        return "info" if ours else "warning"
    return "warning" if isinstance(event, (AttemptFailed, Dropped, Gap)) else "info"


def name_of(event: Event) -> str:
    """What an event is called in a log: its class's name, such as `attempt_failed`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(event).__name__).lower()


def fields_of(event: Event) -> Iterator[tuple[str, Any]]:
    """An event's fields as plain values; an error is told by its kind, text, verdict and what else it knows."""
    yield "generation", event.generation
    yield "attempt", event.attempt
    if not dataclasses.is_dataclass(event):
        return
    for each in dataclasses.fields(event):
        if each.name in STAMPS or each.name in ("generation", "attempt"):
            continue
        value = getattr(event, each.name)
        if isinstance(value, LibwsError):
            yield each.name, type(value).__name__
            yield "text", plain(value.text)
            for name in ("verdict", "phase", "initiator", "code", "status", "retry_after"):
                known = getattr(value, name)
                if known is not None and not hasattr(event, name):
                    yield name, plain(known)
        elif value is not None:
            yield each.name, plain(value)


def plain(value: Any) -> Any:
    """A value as a log takes it: numbers rounded to the millisecond, text in one line, objects as their repr."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return round(value, 3)
    text = value if isinstance(value, str) else repr(value)
    # What a server says stands in some texts: it shall not begin lines of its own or move the terminal's cursor.
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
