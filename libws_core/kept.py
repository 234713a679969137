"""What was read from the file system, kept as long as the files are as they were."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

SETTLED = 2_000_000_000
"""Nanoseconds after which a further change surely leaves another time: FAT counts in steps of 2 s."""

Mark = tuple[int, int, int]
"""Inode and times of a file or a directory: any change of it gives another one."""

Watch = Callable[[str | None], None]
"""Told of a path before that is read; None stands for what is no file, and so cannot be watched."""


class _Reading(NamedTuple, Generic[T]):
    content: T
    marks: dict[str | None, Mark | None]
    settled: bool
    """All that it depends on has been as it is for so long that a change will show."""


class Kept(Generic[T]):
    """Reads places, such as directories, each again only when it, or something that it depends on, has changed.

    Args:
        read: gives what is in a place, and tells `watch` of every path that this depends on.
    """

    def __init__(self, read: Callable[[str, Watch], T]) -> None:
        self._read = read
        self._known: dict[str, _Reading[T]] = {}
        self._readers: object = None

    def of(self, places: Iterable[str], readers: object = None) -> list[T]:
        """What is in each of these places now; what others held is forgotten.

        Args:
            readers: what else takes part in reading; with another one than before, everything is read again.
        """
        if readers != self._readers:
            self._known, self._readers = {}, readers
        found = {place: self._look(place) for place in places}
        self._known = {place: reading for place, reading in found.items() if reading.settled}
        return [reading.content for reading in found.values()]

    def _look(self, place: str) -> _Reading[T]:
        known = self._known.get(place)
        if known is not None and all(_mark(path) == mark for path, mark in known.marks.items()):
            return known
        begin = time.time_ns()
        marks: dict[str | None, Mark | None] = {}

        def watch(path: str | None) -> None:
            marks[path] = _mark(path)

        watch(place)
        content = self._read(place, watch)
        settled = None not in marks and all(mark is None or max(mark[1:]) < begin - SETTLED for mark in marks.values())
        return _Reading(content, marks, settled)


def _mark(path: str | None) -> Mark | None:
    try:
        found = os.stat(path or "")
    except (OSError, ValueError):
        return None  # its absence is a state as well
    return found.st_ino, found.st_mtime_ns, found.st_ctime_ns
