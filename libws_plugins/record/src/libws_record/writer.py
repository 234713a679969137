"""A file that is written by a thread of its own: the loop hands over what happened, once a turn, and never waits.

What waits for the disk is bounded by bytes; messages beyond that are left out, and counted in the file. A line is
written whole and at once, so that the file can be read whatever becomes of the process.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from . import format
from .format import Note

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["Writer"]

logger = logging.getLogger("libws.record")

PATIENCE = 2.0
"""Seconds that the end waits for the disk; after that the thread goes on alone."""
PORTION = 256 * 1024
"""Bytes of lines that are written at once."""
ENTRY = 200
"""Bytes that a line takes beside its data, about."""

Translate = Callable[[Any], "format.Line | None"]


class Unusable(Exception):
    """The file cannot be written to. The text says why and what to do."""


class Writer:
    """Writes entries to a file, in order. Nothing happens before the first.

    Args:
        path: the file.
        replace: what it holds goes; else new lines go behind it.
        limit: bytes that it may have; None = no limit.
        buffer: bytes of messages that may wait to be written.
        translate: makes a line of an entry, or None if it has none; called in the thread.
    """

    def __init__(self, path: Path, *, replace: bool, limit: int | None, buffer: int, translate: Translate) -> None:
        self.path = path
        self._replace, self._limit, self._buffer = replace, limit, buffer
        self._translate = translate
        self._batch: list[Any] = []
        self._due = False
        self._given = 0  # bytes, counted by the loop
        self._taken = 0  # the same, counted by the thread
        self._dropped = 0
        self._queue: SimpleQueue[list[Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = False
        self._file = -1
        self._size = 0
        self._regular = False

    # What the loop calls

    def put(self, entry: Any, size: int = 0) -> None:
        """Have an entry written; one that has a size is left out if too much waits."""
        if self._ended:
            return
        if size:
            if self._given - self._taken + size > self._buffer:
                self._dropped += 1
                return
            self._given += size + ENTRY
        if self._dropped:
            self._batch.append((self._missing(), 0))
        self._batch.append((entry, size + ENTRY if size else 0))
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._hand_over)

    def end(self, last: Note | None = None) -> None:
        """Have everything written and the file closed; waits for that, but no longer than `PATIENCE`."""
        if self._ended:
            return
        if self._dropped:
            self._batch.append((self._missing(), 0))
        if last is not None:
            self._batch.append((last, 0))
        if self._batch:
            self._hand_over()
        self._ended = True
        thread = self._thread
        if thread is not None:
            self._queue.put(None)
            thread.join(PATIENCE)
            if thread.is_alive():
                logger.error("%s: the disk does not take it; the end of the recording may be missing", self.path)

    def _missing(self) -> Note:
        count, self._dropped = self._dropped, 0
        return Note(note="dropped", count=count, text="they came faster than the disk took them")

    def _hand_over(self) -> None:
        batch, self._batch, self._due = self._batch, [], False
        if not batch or self._ended:
            return
        if self._thread is None:
            # A daemon, since whoever never closes the client shall not wait for this thread; `Record` ends it at exit.
            self._thread = threading.Thread(target=self._run, name=f"libws-record {self.path.name}", daemon=True)
            self._thread.start()
        self._queue.put(batch)

    # What the thread does

    def _run(self) -> None:
        usable = True
        while (batch := self._queue.get()) is not None:
            if usable:
                try:
                    if self._file < 0:
                        self._open()
                    usable = self._write(batch)
                except Unusable as error:
                    logger.error("%s: %s; nothing is recorded", self.path, error)
                    usable = False
                except OSError as error:
                    logger.error("%s: %s; nothing more is recorded", self.path, error.strerror or error)
                    usable = False
                except Exception:
                    logger.exception("%s: what happened cannot be written; nothing more is recorded", self.path)
                    usable = False
            self._taken += sum(size for _, size in batch)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(self.path, flags, 0o600)  # it may hold what is private
        self._regular = stat.S_ISREG(os.fstat(self._file).st_mode)
        if not self._regular:  # a pipe, a terminal
            return
        self._lock()
        self._size = os.fstat(self._file).st_size
        if not self._size:
            return
        if not os.read(self._file, 200).startswith(format.BEGINNING):
            raise Unusable("it holds something else than a recording; name another file")
        if self._replace:
            os.ftruncate(self._file, 0)
            self._size = 0
            return
        if self._limit is not None and self._size >= self._limit:
            raise Unusable(f"it has reached its limit of {self._limit} bytes; name another file, or raise 'limit'")
        os.lseek(self._file, -1, os.SEEK_END)
        if os.read(self._file, 1) != b"\n":  # whoever wrote here was killed in the middle of a line
            self._put(b"\n")

    def _lock(self) -> None:
        """One at a time: two would mix their lines."""
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable("another client records to it; give each its own, such as 'x-{number}.jsonl'") from None
        except OSError:
            pass  # a file system without locks

    def _write(self, batch: Iterable[tuple[Any, int]]) -> bool:
        """Write entries; False if the file has its full size now."""
        portion = bytearray()
        for entry, _ in batch:
            line = self._translate(entry)
            if line is None:
                continue
            data = format.encode(line)
            if self._limit is not None and self._size + len(portion) + len(data) > self._limit:
                portion += format.encode(Note(note="limit", text=f"the file's limit is {self._limit} bytes"))
                self._put(portion)
                logger.warning("%s: it has reached its limit of %d bytes; recording ends", self.path, self._limit)
                return False
            portion += data
            if len(portion) >= PORTION:
                self._put(portion)
                portion = bytearray()
        self._put(portion)
        return True

    def _put(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file, view)
                self._size += written
                view = view[written:]
        except OSError:
            self._cut_off(len(data) - len(view), data)
            raise

    def _cut_off(self, written: int, data: bytes | bytearray) -> None:
        """The disk is full: leave no half of a line behind."""
        half = written - (data.rfind(b"\n", 0, written) + 1)
        if half and self._regular:
            try:
                os.ftruncate(self._file, self._size - half)
            except OSError:
                pass
