"""What the demo shows: what it shortens, the ride as it goes, and the table at the end."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from ..client import Client
from ..plugins import describe
from .demo_ride import ARGUMENTS, BUDGET, OPTIONS, Episode, Ride
from .rendering import print_table
from .views import Lines, Picture

if TYPE_CHECKING:
    from ..plugins import Description


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


class PlainView(Lines):
    """A line for each fault and event, with the seconds since the start."""

    def __init__(self, console: Console, ride: Ride) -> None:
        super().__init__(console, lambda: ride.began)
        attach(self, ride)


class LiveView(Picture):
    """A picture that is drawn anew: what the client is about, what it counts, and the last lines."""

    def __init__(self, console: Console, ride: Ride) -> None:
        super().__init__(console, lambda: ride.began, "libws demo", self.facts)
        self.ride = ride
        attach(self, ride)

    def facts(self) -> list[tuple[str, Text | str]]:
        """What the client is about, and what it counts."""
        ride, client = self.ride, self.ride.client
        latency = client.latency
        return [
            ("state", Text(client.state.upper(), style="green" if client.state == "ready" else "yellow")),
            ("attempts", str(ride.attempt)),
            ("connections", str(ride.connections)),
            ("round trip", "-" if latency is None else f"{latency * 1000:.2f} ms"),
            ("messages", f"{ride.received} received, {ride.missed} missed, {ride.reported} of them reported"),
        ]


def attach(view: Lines, ride: Ride) -> None:
    """Have a view show what a ride tells."""
    ride.on_event = view.event
    ride.on_fault = lambda fault: view.heading(f"the server {fault.name}")


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
