"""Where a conversation is shown: on a terminal above the line that is being typed, as plain lines, or as JSON.

Writing waits for whoever reads our output. That slows the server, which is what a slow reader should do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from rich.text import Text

from .. import clock
from ..events import Closed, Event
from ..trace import Call
from ..types import Message
from ..wording import event_words
from .keyboard import Editor
from .rendering import (
    SHOWN_BYTES,
    LiteralConsole,
    call_data,
    event_data,
    event_style,
    event_text,
    message_data,
    message_text,
    printable,
    to_json,
)

PROMPT = "> "
CALLS = "dim"
"""The style of a trace's lines among others."""
DECIDING = ("adapt_error", "reconnect")
"""Hooks whose answers decide what follows a failure."""


class Screen(Protocol):
    """Shows what happens. All methods may raise BrokenPipeError: nobody reads our output any more."""

    def message(self, message: Message) -> None:
        """A message has arrived."""

    def event(self, event: Event) -> None:
        """Something happened to the client."""

    def call(self, call: Call) -> None:
        """A hook was called, of a client that is traced."""

    def note(self, text: str) -> None:
        """The program has something to say, which may hold what a server sent."""


class JsonScreen:
    """One JSON object a line on the standard output; what the program has to say goes to the standard error."""

    def message(self, message: Message) -> None:
        """A message has arrived."""
        self._write({**message_data(message), "wall": clock.wall()})

    def event(self, event: Event) -> None:
        """Something happened to the client."""
        self._write(event_data(event))

    def call(self, call: Call) -> None:
        """A hook was called."""
        self._write({**call_data(call), "wall": clock.wall()})

    def note(self, text: str) -> None:
        """The program has something to say."""
        print(f"libws: {printable(text)}", file=sys.stderr, flush=True)

    def _write(self, data: dict[str, Any]) -> None:
        sys.stdout.write(to_json(data) + "\n")
        sys.stdout.flush()


class PipeScreen:
    """Messages as they are on the standard output, one a line, everything else on the standard error."""

    def __init__(self) -> None:
        self._errors = LiteralConsole(stderr=True)

    def message(self, message: Message) -> None:
        """A message has arrived."""
        sys.stdout.write(message_text(message) + "\n")
        sys.stdout.flush()

    def event(self, event: Event) -> None:
        """Something happened to the client."""
        told = event_text(event)
        if told is not None:
            self._errors.print(Text(f"* {printable(told[0])}", style=told[1]))

    def call(self, call: Call) -> None:
        """A hook was called."""
        self._errors.print(Text(f"  {printable(str(call))}", style=CALLS))

    def note(self, text: str) -> None:
        """The program has something to say."""
        self._errors.print(Text(f"! {printable(text)}"))


class JsonCallScreen(JsonScreen):
    """The same for `libws trace`, which does not show messages."""

    def message(self, message: Message) -> None:
        """A message has arrived."""


class CallScreen:
    """A line for each call of a hook and each event, on the standard output, with the seconds since the start."""

    def __init__(self) -> None:
        self._console = LiteralConsole()
        self._began: float | None = None
        self._received = 0

    def message(self, message: Message) -> None:
        """A message has arrived: it is counted."""
        self._received += 1

    def event(self, event: Event) -> None:
        """Something happened to the client."""
        self._line(event_words(event), event_style(event))
        if isinstance(event, Closed):
            self._line(f"messages received: {self._received}", "dim")

    def call(self, call: Call) -> None:
        """A hook was called."""
        self._line(f"  {call}", "red" if call.raised else "cyan" if call.hook in DECIDING else "")

    def note(self, text: str) -> None:
        """The program has something to say."""
        self._line(f"! {text}", "yellow")

    def _line(self, text: str, style: str) -> None:
        now = asyncio.get_running_loop().time()
        self._began = now if self._began is None else self._began
        self._console.print(Text.assemble((f"{now - self._began:9.3f} s  ", "dim"), (printable(text), style)))


class TerminalScreen:
    """A terminal. While `editor` is there, the line that is being typed stands below everything else.

    Args:
        editor: what is being typed; None if the terminal itself shows that.
    """

    def __init__(self, editor: Editor | None) -> None:
        self._console = LiteralConsole()
        self._editor = editor
        self._drawn = False

    def message(self, message: Message) -> None:
        """A message has arrived."""
        self._say(Text.assemble(("< ", "cyan"), printable(message_text(message, SHOWN_BYTES))))

    def event(self, event: Event) -> None:
        """Something happened to the client."""
        told = event_text(event)
        if told is not None:
            self._say(Text(f"* {printable(told[0])}", style=told[1]))

    def call(self, call: Call) -> None:
        """A hook was called."""
        self._say(Text(f"  {printable(str(call))}", style=CALLS))

    def note(self, text: str) -> None:
        """The program has something to say."""
        self._say(Text(f"! {printable(text)}", style="yellow"))

    def typed(self, line: str) -> None:
        """A line was entered: it stays, and a new one begins."""
        self._say(Text(f"{PROMPT}{printable(line)}", style="bold"))

    def draw(self) -> None:
        """Show the line that is being typed as it is now."""
        if self._editor is not None:
            room = self._console.width - len(PROMPT) - 1
            text = self._editor.visible(room).replace("\t", " ")
            self._console.file.write(f"\r\x1b[K{PROMPT}{text}")
            self._console.file.flush()
            self._drawn = True

    def erase(self) -> None:
        """Take away the line that is being typed."""
        if self._drawn:
            self._console.file.write("\r\x1b[K")
            self._console.file.flush()
            self._drawn = False

    def _say(self, text: Text) -> None:
        drawn = self._drawn
        self.erase()
        self._console.print(text)
        if drawn:
            self.draw()


class ScreenLog(logging.Handler):
    """Shows what is logged. The core's own warnings about retries are left out: the events tell them.

    Args:
        note: shows a line.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__()
        self._note = note
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        if record.name == "libws" and record.levelno < logging.ERROR:
            return
        with contextlib.suppress(BrokenPipeError):
            self._note(self.format(record))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take everything that is logged from WARNING on, and what plugins log under "libws." at any level."""
        root, own = logging.getLogger(), logging.getLogger("libws")
        level = own.level
        root.addHandler(self)
        own.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            own.setLevel(level)
            root.removeHandler(self)


@contextlib.contextmanager
def every_key(descriptor: int, changed: Callable[[], None]) -> Iterator[None]:
    """Have a terminal give every key at once and show none, until the end. Ctrl-C and Ctrl-Z work as ever.

    Args:
        changed: called when the program was stopped and goes on.
    """
    import termios
    import tty

    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)

    def resume() -> None:
        tty.setcbreak(descriptor, termios.TCSADRAIN)  # a shell may have changed it meanwhile
        changed()

    tty.setcbreak(descriptor, termios.TCSADRAIN)  # not TCSAFLUSH: what was typed ahead stays
    loop.add_signal_handler(signal.SIGCONT, resume)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGCONT)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
