"""Standard input, line after line, without blocking the loop and without a thread that outlives it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Protocol

from rich.cells import cell_len

CHUNK = 64 * 1024
"""Bytes that are read at a time."""
LONGEST = 16 * 2**20
"""Characters that a line may have."""
REMEMBERED = 1000
"""Typed lines that the arrow keys bring back."""


class LineTooLong(Exception):
    """A line of the input has more than LONGEST characters."""


class Cutter(Protocol):
    """Cuts what was read into lines."""

    def feed(self, text: str) -> list[str | None]:
        """The lines that end in this text, None where the input does."""

    def end(self) -> list[str | None]:
        """The lines that are left when the input ends."""


class Lines:
    """Cuts at line ends. A last line without one counts if it is not empty."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> list[str | None]:
        """The lines that end in this text.

        Raises:
            LineTooLong: there is no end in sight.
        """
        if "\n" not in text:
            self._rest += text
            lines = []
        else:
            *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > LONGEST:
            raise LineTooLong(f"a line of the input has more than {LONGEST:,} characters")
        return [line.removesuffix("\r") for line in lines]

    def end(self) -> list[str | None]:
        """The last line, if there is one."""
        rest, self._rest = self._rest, ""
        return [rest] if rest else []


class Editor:
    """The line that is being typed, on a terminal that gives every key at once.

    Backspace, Ctrl-U (all), Ctrl-W (a word), arrows up and down (lines typed before), Enter; Ctrl-D on an empty line
    ends the input. Other control keys and escape sequences do nothing.
    """

    def __init__(self) -> None:
        self.text = ""
        self._past: deque[str] = deque(maxlen=REMEMBERED)
        self._back = 0
        self._escape = ""
        self._returned = False

    def feed(self, text: str) -> list[str | None]:
        """The lines that these keys complete, None where the user ends the input."""
        return [line for key in text for line in self._key(key)]

    def end(self) -> list[str | None]:
        """The terminal is gone, and with it what was not entered."""
        return []

    def visible(self, width: int) -> str:
        """The end of the line, as much as fits into so many columns."""
        shown = self.text[-width:] if width > 0 else ""
        while cell_len(shown) > width:
            shown = shown[1:]
        return shown

    def _key(self, key: str) -> Iterator[str | None]:
        after_return, self._returned = self._returned, key == "\r"
        if self._escape:
            self._in_escape(key)
        elif key == "\x1b":
            self._escape = key
        elif key == "\r" or (key == "\n" and not after_return):
            line, self.text, self._back = self.text, "", 0
            if line and (not self._past or self._past[-1] != line):
                self._past.append(line)
            yield line
        elif key in "\x7f\b":
            self.text = self.text[:-1]
        elif key == "\x15":
            self.text = ""
        elif key == "\x17":
            words = self.text.rstrip()
            self.text = words[: words.rfind(" ") + 1]
        elif key == "\x04" and not self.text:
            yield None
        elif (key.isprintable() or key in "\t\u200d") and len(self.text) < LONGEST:
            self.text += key

    def _in_escape(self, key: str) -> None:
        """One more character of a sequence of ECMA-48: ESC [ ... final, ESC O final, or ESC and one key."""
        self._escape += key
        if self._escape in ("\x1b[", "\x1bO"):
            return
        if self._escape.startswith("\x1b[") and not "@" <= key <= "~" and len(self._escape) < 32:
            return
        sequence, self._escape = self._escape, ""
        if sequence[1:] in ("[A", "OA"):
            self._recall(1)
        elif sequence[1:] in ("[B", "OB"):
            self._recall(-1)

    def _recall(self, step: int) -> None:
        self._back = min(max(self._back + step, 0), len(self._past))
        self.text = self._past[-self._back] if self._back else ""


class Input:
    """Reads a file descriptor: a terminal, a pipe, a socket or a file. It reads no further than is asked for.

    Args:
        descriptor: what to read; its flags stay as they are, since other processes may share them.
        cutter: cuts what is read into lines.
    """

    def __init__(self, descriptor: int, cutter: Cutter) -> None:
        self._descriptor = descriptor
        self._cutter = cutter
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: deque[str | None] = deque()
        self._ended = False

    async def read(self) -> str | None:
        """The next line without its end; None when the input has ended.

        Raises:
            LineTooLong: a line has no end in sight.
        """
        while not self._lines:
            if self._ended:
                return None
            data = await self._chunk()
            if data is None:
                continue
            self._lines.extend(self._cutter.feed(self._decoder.decode(data, final=not data)))
            if not data:
                self._ended = True
                self._lines.extend(self._cutter.end())
        line = self._lines.popleft()
        if line is None:
            self._ended = True
            self._lines.clear()
        return line

    async def _chunk(self) -> bytes | None:
        """What is there, empty at the end, None if there was nothing after all."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[bytes | None] = loop.create_future()
        try:
            loop.add_reader(self._descriptor, _resolve, ready, None)
        except (PermissionError, ValueError):  # epoll takes no files, which are always ready
            await asyncio.sleep(0)
            return self._read_now()
        except OSError:
            return b""  # it is closed
        except NotImplementedError:  # the Windows loop watches sockets only
            threading.Thread(target=self._read_in_thread, args=(loop, ready), daemon=True).start()
            return await ready
        try:
            await ready
        finally:
            loop.remove_reader(self._descriptor)
        return self._read_now()

    def _read_now(self) -> bytes | None:
        try:
            return os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return None
        except OSError:  # such as EIO, when the terminal has gone
            return b""

    def _read_in_thread(self, loop: asyncio.AbstractEventLoop, ready: asyncio.Future[bytes | None]) -> None:
        data = self._read_now()
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(_resolve, ready, data)


def _resolve(future: asyncio.Future[bytes | None], data: bytes | None) -> None:
    if not future.done():
        future.set_result(data)
