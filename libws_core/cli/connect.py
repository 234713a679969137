"""`libws connect`: talk to a server."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .targets import AsJson, ClientName, Enable, HeaderLines, Set, Subprotocols, Target, UsageError

if TYPE_CHECKING:
    from ..client import Client
    from .conversation import Tracing
    from .keyboard import Cutter, Editor
    from .screen import Screen, TerminalScreen

PATIENCE = 1.0
"""Seconds to stay for answers when input that is no terminal has ended, unless `--wait` says otherwise."""

Wait = Annotated[float | None, Parameter(name="--wait")]
Traced = Annotated[bool, Parameter(name="--trace", negative=(), show_default=False)]


def connect(
    target: str,
    /,
    *,
    client: ClientName = None,
    enable: Enable = (),
    settings: Set = (),
    headers: HeaderLines = (),
    subprotocols: Subprotocols = (),
    wait: Wait = None,
    trace: Traced = False,
    as_json: AsJson = False,
) -> int:
    """Connect, stay connected, send what you type and show what arrives.

    Each line is sent as one text message. What arrives is shown, and what happens to the connection. Ctrl-D (or the end
    of the input) and Ctrl-C close the connection properly; a second Ctrl-C drops it.

    Input that is no terminal is sent line by line, waiting while the client is not connected. Where the output is no
    terminal, messages are printed as they are and everything else goes to the standard error.

    The exit code is 0 after an end of our own, 1 if the client failed, never connected or could not send a line of
    such input, 2 if nothing was dialed because the arguments are wrong.

    Args:
        target: a URL, or the file of a profile.
        client: which [clients.NAME] of the profile.
        enable: a plugin to enable, or to take out: -NAME. May be repeated.
        settings: an option: PLUGIN.OPTION=VALUE, such as backoff.cap=5. May be repeated.
        headers: a header of the handshake: 'Name: value'. May be repeated.
        subprotocols: a subprotocol to offer. May be repeated.
        wait: seconds to stay after the end of the input; inf = until the connection ends for good. Default: 0 at a
            terminal, else 1.
        trace: also show each call of a hook: who was asked, the answer, the time it took.
        as_json: print one JSON object a line, for each message and event.
    """
    from ..client import Client
    from .conversation import Tracing

    if wait is not None and not wait >= 0:
        raise UsageError("--wait takes seconds from 0 on, or inf")
    wanted = Target(target, client, enable, settings, headers, subprotocols)
    tracing = Tracing() if trace else None
    made = Client(**wanted.arguments(), _trace=tracing)
    try:
        return asyncio.run(hold_conversation(made, wait, as_json, tracing))
    except asyncio.CancelledError:
        return 130


async def hold_conversation(client: Client, wait: float | None, as_json: bool, tracing: Tracing | None = None) -> int:
    """Choose how to read and to show, and hold the conversation; gives the exit code."""
    from .conversation import Conversation
    from .keyboard import Editor, Input, Lines
    from .screen import JsonScreen, PipeScreen, ScreenLog, TerminalScreen, every_key

    attended = sys.stdin is not None and sys.stdin.isatty()
    descriptor = sys.stdin.fileno() if sys.stdin is not None else -1
    if wait is None:
        wait = 0 if attended else PATIENCE
    shown = sys.stdout.isatty()
    if shown and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")

    async def talk(screen: Screen, cutter: Cutter) -> int:
        with ScreenLog(screen.note).installed():
            return await Conversation(client, Input(descriptor, cutter), screen, wait, attended, tracing).run()

    if as_json:
        return await talk(JsonScreen(), Lines())
    if not shown:
        return await talk(PipeScreen(), Lines())
    if not attended or not can_edit():
        return await talk(TerminalScreen(None), Lines())
    editor = Editor()
    screen = TerminalScreen(editor)
    with every_key(descriptor, screen.draw):
        screen.draw()
        try:
            return await talk(screen, DrawnEditor(editor, screen))
        finally:
            screen.erase()


def can_edit() -> bool:
    """Whether the terminal can show a line that changes."""
    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return False
    try:
        import termios  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


class DrawnEditor:
    """An editor whose line is shown after each key."""

    def __init__(self, editor: Editor, screen: TerminalScreen) -> None:
        self._editor, self._screen = editor, screen

    def feed(self, text: str) -> list[str | None]:
        """The lines that these keys complete, None where the user ends the input."""
        lines = self._editor.feed(text)
        self._screen.draw()
        return lines

    def end(self) -> list[str | None]:
        """The terminal is gone."""
        return self._editor.end()
