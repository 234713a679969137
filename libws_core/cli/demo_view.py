"""What the demo shows: what it shortens, the ride as it goes, and the table at the end."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ..client import Client
from ..events import Event
from ..plugins import describe
from .demo_feed import Fault
from .demo_ride import ARGUMENTS, BUDGET, OPTIONS, Episode, Ride
from .rendering import event_text, print_table, printable

if TYPE_CHECKING:
    from ..plugins import Description

REFRESH = 0.1
"""Seconds between two pictures of the live view."""
KEPT = 9
"""Lines of the past that the live view shows."""


def print_settings(console: Console) -> None:
    """Print every option that differs from its default, beside that."""
    rows = []
    for plugin, options in OPTIONS.items():
        about: Description = describe(plugin)
        defaults = {option.name: option.default for option in about.options}
        rows += [(f"{plugin}.{option}", repr(value), defaults[option] or "") for option, value in options.items()]
    parameters = inspect.signature(Client).parameters
    rows += [(name, repr(value), repr(parameters[name].default)) for name, value in ARGUMENTS.items()]
    console.out(f"One client against a real server on loopback, at most {BUDGET:.0f} s. Options set for the demo:")
    print_table(console, ("option", "here", "default"), rows)
    console.out("")


class PlainView:
    """A line for each fault and event, with the seconds since the start."""

    def __init__(self, console: Console, ride: Ride) -> None:
        self.console, self.ride = console, ride
        ride.on_event, ride.on_fault = self.event, self.fault

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

    def fault(self, fault: Fault) -> None:
        """Show that a fault begins."""
        self.line(f"the server {fault.name}", "bold")

    def note(self, text: str) -> None:
        """Show what was logged."""
        self.line(text, "yellow")

    def line(self, text: str, style: str) -> None:
        """Show a line."""
        self.console.print(self.dated(text, style))

    def dated(self, text: str, style: str) -> Text:
        """The line with the seconds since the start before it."""
        seconds = asyncio.get_running_loop().time() - self.ride.began
        mark = "" if style == "bold" else "  "
        return Text.assemble((f"{seconds:6.2f} s  ", "dim"), (f"{mark}{printable(text)}", style))


class LiveView(PlainView):
    """A picture that is drawn anew: what the client is about, what it counts, and the last lines."""

    def __init__(self, console: Console, ride: Ride) -> None:
        super().__init__(console, ride)
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
        if self._drawing is not None:
            self._drawing.cancel()
            await asyncio.wait([self._drawing])
        self._live.stop()

    def line(self, text: str, style: str) -> None:
        """Show a line in the picture."""
        self._lines.append(self.dated(text, style))

    async def _draw(self) -> None:
        while True:
            self._live.update(self._picture(), refresh=True)
            await asyncio.sleep(REFRESH)

    def _picture(self) -> RenderableType:
        ride, client = self.ride, self.ride.client
        latency = client.latency
        facts = Table.grid(padding=(0, 3))
        facts.add_row("state", Text(client.state.upper(), style="green" if client.state == "ready" else "yellow"))
        facts.add_row("attempts", str(ride.attempt))
        facts.add_row("connections", str(ride.connections))
        facts.add_row("round trip", "-" if latency is None else f"{latency * 1000:.2f} ms")
        facts.add_row("messages", f"{ride.received} received, {ride.missed} missed, {ride.reported} of them reported")
        past = Text("\n", no_wrap=True, overflow="ellipsis").join(self._lines)
        past.no_wrap, past.overflow = True, "ellipsis"
        return Panel(Group(facts, "", past), box=box.ROUNDED, title="libws demo", title_align="left")


def print_outcome(console: Console, ride: Ride) -> None:
    """Print the table of faults and the sum of it all."""
    heads = ("the server", "noticed by", "noticed after", "READY after", "received", "missed", "reported")
    rows = [_row(episode) for episode in ride.episodes]
    console.out("")
    print_table(console, heads, rows)
    healed = sum(episode.well for episode in ride.episodes)
    disorder = f", {ride.disorder} out of order" if ride.disorder else ""
    tail = "" if ride.complete else "; the ride did not come to its end"
    text = (
        f"\n{healed} of {len(ride.episodes)} faults noticed and healed in {ride.ended - ride.began:.1f} s; "
        f"{ride.received} messages received, {ride.missed} missed, {ride.reported} of them reported{disorder}{tail}"
    )
    console.print(Text(text, style="bold green" if ride.flawless else "bold red"))


def _row(episode: Episode) -> tuple[str, ...]:
    def since(moment: float | None) -> str:
        if moment is None:
            return "never"
        seconds = moment - episode.began
        return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"

    return (
        episode.fault.name,
        episode.noticed or "nothing",
        since(episode.noticed_at),
        since(episode.ready_at),
        str(episode.received),
        str(episode.missed),
        str(episode.reported),
    )
