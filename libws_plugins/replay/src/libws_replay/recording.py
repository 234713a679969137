"""A recording, read and checked: the attempts that a client made, in order, with what passed on each connection."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from libws_core import (
    ConnectError,
    ConnectionClosed,
    HandshakeRejected,
    Headers,
    Kind,
    LibwsError,
    Message,
    ProxyError,
    Verdict,
    errors,
)
from libws_record import format
from libws_record.format import Connection, End, Failed, Line, Note, Run, Said, WhatFailed

__all__ = ["Item", "Talk", "Unreadable", "load", "rebuilt"]

logger = logging.getLogger("libws.replay")


class Unreadable(ConnectError):
    """A file is no recording, or a broken one. The text names the file and the line, and says what to do."""

    verdict = Verdict.FATAL
    fault = "local"
    initiator = "local"


@dataclass(slots=True)
class Item:
    """A message of a recorded connection."""

    line: int
    t: float
    out: bool
    message: Message


@dataclass(slots=True)
class Talk:
    """A recorded connection."""

    file: Path
    line: int
    opened: Connection
    items: list[Item] = field(default_factory=list)
    end: End | None = None
    """None = the recording was cut off before."""


@dataclass(slots=True)
class Refusal:
    """A recorded attempt that had no connection."""

    line: int
    failed: Failed


class _Head(msgspec.Struct):
    """What the first line of every version says."""

    type: str
    format: str
    version: int


def load(path: Path, run: int | None) -> list[Talk | Refusal]:
    """Read a recording.

    Args:
        run: which of the file's runs, 1 = the first, -1 = the last; None = all.

    Raises:
        Unreadable: the file cannot be read, or is no recording; its text says what to do.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        raise Unreadable(f"replay: there is no file {path}; record one with the plugin 'record'") from None
    except OSError as error:
        raise Unreadable(f"replay: {path} cannot be read: {error.strerror or error}") from None
    if not lines:
        raise Unreadable(f"replay: {path} is empty: nothing was recorded")
    runs: list[list[Talk | Refusal]] = []
    reader = _Reader(path)
    for number, line in _lines(path, lines):
        if isinstance(line, Run):
            reader = _Reader(path)
            runs.append(reader.attempts)
        else:
            reader.take(number, line)
    try:
        chosen = [attempt for each in runs for attempt in each] if run is None else runs[run - 1 if run > 0 else run]
    except IndexError:
        raise Unreadable(f"replay: {path} has {len(runs)} runs, and no run {run}; set option 'run'") from None
    if not chosen:
        raise Unreadable(f"replay: {path} holds no connection; record anew, until the client is connected")
    return chosen


def _lines(path: Path, lines: list[bytes]) -> Iterator[tuple[int, Line]]:
    """Each line with its number. One that a killed program has left unfinished is passed over."""
    for number, text in enumerate(lines, 1):
        last = number == len(lines)
        heads = not last and lines[number].startswith(format.BEGINNING)
        if number == 1 or text.startswith(format.BEGINNING):
            _check_head(path, number, text)
        try:
            yield number, format.decode(text)
        except ValueError as error:
            if not (last or heads) or number == 1:
                raise _broken(path, number, error) from None
            logger.warning("%s, line %d: it was left unfinished, and is passed over", path, number)


def _check_head(path: Path, number: int, text: bytes) -> None:
    try:
        head = msgspec.json.decode(text, type=_Head)
    except ValueError:
        head = None
    if head is None or head.format != format.FORMAT:
        raise Unreadable(
            f"replay: {path}, line {number}: this is no recording of the plugin 'record'; name another file"
        )
    if head.version != format.VERSION:
        cure = "try: pip install -U libws-replay" if head.version > format.VERSION else "record anew"
        raise Unreadable(
            f"replay: {path}, line {number}: it has version {head.version} of the format,"
            f" and this libws-replay reads version {format.VERSION}; {cure}"
        )


def _broken(path: Path, number: int, why: object) -> Unreadable:
    return Unreadable(f"replay: {path}, line {number}: it cannot be read: {why}; take it out, or record anew")


class _Reader:
    """Sorts the lines of one run."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.attempts: list[Talk | Refusal] = []
        self._talks: dict[int, Talk] = {}

    def take(self, number: int, line: Line) -> None:
        """Take a line that is no head."""
        try:
            if isinstance(line, Connection):
                self._check_headers(line)
                talk = self._talks[line.connection] = Talk(self._path, number, line)
                self.attempts.append(talk)
            elif isinstance(line, Said):
                item = Item(number, line.t, line.way == "out", format.message_of(line))
                self._talk(line.connection).items.append(item)
            elif isinstance(line, End):
                if line.error is not None:
                    rebuilt(line.error)
                self._talk(line.connection).end = line
            elif isinstance(line, Failed):
                rebuilt(line.error)
                if line.error.phase == "dial":  # what failed before was no dialer's doing, and may fail again by itself
                    self.attempts.append(Refusal(number, line))
            elif isinstance(line, Note) and line.note == "dropped":
                logger.warning("%s, line %d: %d messages are missing here", self._path, number, line.count)
            elif isinstance(line, Note) and line.note == "limit":
                logger.warning("%s, line %d: the recording was cut off here: %s", self._path, number, line.text)
        except ValueError as error:
            raise _broken(self._path, number, error) from None

    def _talk(self, connection: int) -> Talk:
        talk = self._talks.get(connection)
        if talk is None:
            raise ValueError(f"no line before it has opened connection {connection}")
        return talk

    def _check_headers(self, line: Connection) -> None:
        Headers(line.answer)


def rebuilt(what: WhatFailed) -> LibwsError:
    """The error that a line tells of, as it was.

    Raises:
        ValueError: no error is like this.
    """
    kind = getattr(errors, what.error, None)
    if not isinstance(kind, type) or not issubclass(kind, LibwsError):
        raise ValueError(f"there is no error {what.error!r}")
    known: dict[str, Any] = {"verdict": what.verdict, "retry_after": what.retry_after}
    error: LibwsError
    if issubclass(kind, HandshakeRejected):
        if what.status is None:
            raise ValueError("a refused handshake has a status")
        body = format.bytes_of(what.text_body, what.base64_body)
        error = kind(what.text, status=what.status, headers=Headers(what.headers), body=body, **known)
    elif issubclass(kind, ConnectionClosed):
        code = 1006 if what.code is None else what.code
        error = kind(what.text, code=code, reason=what.reason, initiator=what.initiator, **known)
    elif issubclass(kind, ProxyError):
        error = kind(what.text, status=what.status, **known)
    else:
        error = kind(what.text, **known)
    error.fault, error.initiator = what.fault, what.initiator
    return error


def is_data(item: Item) -> bool:
    """A text or binary."""
    return item.message.kind in (Kind.TEXT, Kind.BINARY)
