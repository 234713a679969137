"""How a client under trial is shown while it goes on: a line for all that happens, or a picture that is drawn anew."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..events import Event
from .rendering import event_text, printable

REFRESH = 0.1
"""Seconds between two pictures of the live view."""
KEPT = 9
"""Lines of the past that the live view shows."""


class Lines:
    """A line for each thing that happens, with the seconds since the start; used as `async with`.

    Args:
        began: gives the loop's time of the start.
    """

    def __init__(self, console: Console, began: Callable[[], float]) -> None:
        self.console = console
        self._began = began

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def event(self, event: Event) -> None:
        """Show an event."""
        told = event_text(event)
        if told is not None:
            self.line(*told)

    def heading(self, text: str) -> None:
        """Show that something begins."""
        self.line(text, "bold")

    def note(self, text: str) -> None:
        """Show what was logged."""
        self.line(text, "yellow")

    def line(self, text: str, style: str) -> None:
        """Show a line."""
        self.console.print(self.dated(text, style))

    def dated(self, text: str, style: str) -> Text:
        """The line with the seconds since the start before it."""
        seconds = asyncio.get_running_loop().time() - self._began()
        mark = "" if style == "bold" else "  "
        return Text.assemble((f"{seconds:6.2f} s  ", "dim"), (f"{mark}{printable(text)}", style))


class Picture(Lines):
    """A picture that is drawn anew: what the client is about, what it counts, and the last lines.

    Args:
        title: stands above it.
        facts: gives the rows: what, and how it is now.
    """

    def __init__(
        self,
        console: Console,
        began: Callable[[], float],
        title: str,
        facts: Callable[[], list[tuple[str, Text | str]]],
    ) -> None:
        super().__init__(console, began)
        self._title, self._facts = title, facts
        self._lines: deque[Text] = deque(maxlen=KEPT)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._drawing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._live.start()
        self._drawing = asyncio.create_task(self._draw())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._drawing is not None:
                self._drawing.cancel()
                await asyncio.wait([self._drawing])
        finally:
            self._live.stop()

    def line(self, text: str, style: str) -> None:
        """Show a line in the picture."""
        self._lines.append(self.dated(text, style))

    async def _draw(self) -> None:
        while True:
            self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(REFRESH)

    def _picture(self) -> RenderableType:
        facts = Table.grid(padding=(0, 3))
        for row in self._facts():
            facts.add_row(*row)
        past = Text("\n", no_wrap=True, overflow="ellipsis").join(self._lines)
        past.no_wrap, past.overflow = True, "ellipsis"
        return Panel(Group(facts, "", past), box=box.ROUNDED, title=self._title, title_align="left")
