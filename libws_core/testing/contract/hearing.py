"""All that is said while something runs: log records at every level, warnings, prints, and what nobody handled."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator
from typing import Any

__all__ = ["Heard", "everything", "hear"]


class Heard(logging.Handler):
    """What was heard."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.setFormatter(logging.Formatter())
        self.records: list[str] = []
        """Log records as they would be written, with their arguments."""
        self.errors: list[str] = []
        """Those of the core that tell of a plugin or a handler which raised."""
        self.warnings: list[str] = []
        self.unhandled: list[str] = []
        """What the loop and the interpreter were left with."""
        self._printed = io.StringIO()

    @property
    def printed(self) -> str:
        """What was written to stdout and stderr."""
        return self._printed.getvalue()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        try:
            text = self.format(record)
        except Exception as error:
            text = f"a log record that cannot be formatted: {error}"
        self.records.append(f"{record.name}: {text} {record.args!r}")
        if record.name.partition(".")[0] in ("libws", "libws_core") and record.levelno >= logging.ERROR:
            cause = record.exc_info[1] if record.exc_info else None
            self.errors.append(f"{text.partition(chr(10))[0]}: {type(cause).__name__}: {cause}")

    def unraisable(self, what: Any) -> None:
        """Keep what the interpreter could not raise."""
        self.unhandled.append(f"{what.err_msg or 'ignored'}: {type(what.exc_value).__name__}: {what.exc_value}")

    def of_loop(self, _: Any, context: dict[str, Any]) -> None:
        """Keep what nobody took from the loop: an exception handler."""
        error = context.get("exception")
        self.unhandled.append(f"{context.get('message')}: {type(error).__name__}: {error}" if error else f"{context}")


@contextlib.contextmanager
def hear(level: int = 1) -> Iterator[Heard]:
    """Listen to everything; nothing of it goes elsewhere meanwhile.

    Args:
        level: the lowest level of log records.
    """
    heard = Heard()
    root = logging.getLogger()
    loggers = [root, *(each for each in logging.Logger.manager.loggerDict.values() if isinstance(each, logging.Logger))]
    before = [(each, each.level, each.disabled, each.propagate, each.handlers[:]) for each in loggers]
    hook, sys.unraisablehook = sys.unraisablehook, heard.unraisable
    for logger in loggers:
        logger.disabled, logger.propagate, logger.handlers[:] = False, True, []
        logger.setLevel(level)
    root.addHandler(heard)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with contextlib.redirect_stdout(heard._printed), contextlib.redirect_stderr(heard._printed):
                yield heard
        heard.warnings += [f"{each.category.__name__}: {each.message}" for each in caught]
    finally:
        sys.unraisablehook = hook
        root.removeHandler(heard)
        for logger, was, disabled, propagate, handlers in before:
            logger.disabled, logger.propagate, logger.handlers[:] = disabled, propagate, handlers
            logger.setLevel(was)


def everything(error: BaseException) -> str:
    """All that could be printed of an exception: itself, its causes, and their attributes."""
    parts = ["".join(traceback.format_exception(error))]
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        told = {name: value for name, value in getattr(each, "__dict__", {}).items() if name != "body"}
        parts += [str(each), repr(each), repr(each.args), repr(told)]
        waiting += [each.__cause__, each.__context__ if not each.__suppress_context__ else None]
    return "\n".join(parts)
