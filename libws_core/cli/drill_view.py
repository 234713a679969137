"""What a drill shows: how long it takes, how it goes, and the report, for people and for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.text import Text

from ..events import Event
from ..secret import public_url
from .drill_faults import Fault
from .drill_run import HEALTHY_AFTER, Drill, Trial
from .rendering import event_data, print_table, printable, to_json
from .views import Lines, Picture


class DrillView(Protocol):
    """Shows a drill; used as `async with` while it goes on."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def announce(self, drill: Drill, target: str) -> None:
        """Say what is going to be done, and how long it may take."""

    def note(self, text: str) -> None:
        """Show what was logged."""

    def report(self, drill: Drill) -> None:
        """Show what came of it."""


class _ForPeople:
    """What people are told before and after."""

    console: Console

    def announce(self, drill: Drill, target: str) -> None:
        """Say what is going to be done, and how long it may take."""
        say = self.console.out
        say(f"Drill of {printable(_shown(target))}, over a relay on 127.0.0.1: {_faults(len(drill.faults))}.")
        say(f"It takes at most {_duration(drill.longest)}; a client that does well needs far less.")
        own = float(drill.arguments.get("healthy_after", HEALTHY_AFTER))
        if drill.healthy_after != own:
            say(f"healthy_after is {drill.healthy_after:g} s here, not {own:g}: each fault is the first of its row.")
        say("")

    def report(self, drill: Drill) -> None:
        """Show what came of it."""
        say = self.console.print
        if drill.refusal is not None:
            say(Text(f"not drillable: {printable(drill.refusal)}", style="bold yellow"))
            return
        if drill.trials:
            self.console.out("")
            heads = ("fault", "noticed after", "READY after", "missed", "doubled", "verdict", "noticed by")
            print_table(self.console, heads, [_row(trial) for trial in drill.trials])
            self.console.out("")
        well = sum(trial.well for trial in drill.trials)
        tail = f"; {drill.failure}" if drill.failure is not None else ""
        text = f"{well} of {_faults(len(drill.faults))} met well in {drill.ended - drill.began:.1f} s{tail}"
        say(Text(printable(text), style="bold green" if drill.well else "bold red"))


class PlainView(_ForPeople, Lines):
    """A line for each fault and event, then the report."""

    def __init__(self, console: Console, drill: Drill) -> None:
        super().__init__(console, lambda: drill.began)
        attach(self, drill)


class LiveView(_ForPeople, Picture):
    """A picture that is drawn anew while it goes on, then the report."""

    def __init__(self, console: Console, drill: Drill) -> None:
        super().__init__(console, lambda: drill.began, "libws drill", self.facts)
        self._drill = drill
        attach(self, drill)

    def facts(self) -> list[tuple[str, Text | str]]:
        """What the client is about, and how far the drill is."""
        drill, client = self._drill, self._drill.client
        latency, trials = client.latency, drill.trials
        fault = f"{len(trials)} of {len(drill.faults)}: {trials[-1].fault.text}" if trials else "none yet"
        return [
            ("fault", Text(fault, no_wrap=True, overflow="ellipsis")),
            ("state", Text(client.state.upper(), style="green" if client.state == "ready" else "yellow")),
            ("attempts", str(drill.attempt)),
            ("connections", str(drill.connections)),
            ("round trip", "-" if latency is None else f"{latency * 1000:.2f} ms"),
            ("messages", f"{drill.received} received, {_total_missed(drill)} missed"),
        ]


class JsonView:
    """One JSON object a line on the standard output: the plan, events, each result, the report."""

    def __init__(self, drill: Drill) -> None:
        drill.on_event = self.event
        drill.on_fault = lambda fault: self._write({"type": "fault", "fault": fault.name, "text": fault.text})
        drill.on_trial = lambda trial: self._write({"type": "result", **trial_data(trial)})
        drill.on_note = self.note

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def announce(self, drill: Drill, target: str) -> None:
        """Say what is going to be done, and how long it may take."""
        faults = [fault.name for fault in drill.faults]
        changed = {"healthy_after": drill.healthy_after}
        self._write(
            {
                "type": "plan",
                "target": _shown(target),
                "faults": faults,
                "at_most": round(drill.longest, 1),
                "set": changed,
            }
        )

    def event(self, event: Event) -> None:
        """Show an event."""
        self._write(event_data(event))

    def note(self, text: str) -> None:
        """Show what the drill has to say, and what was logged."""
        print(f"libws: {printable(text)}", file=sys.stderr, flush=True)

    def report(self, drill: Drill) -> None:
        """Show what came of it."""
        self._write(
            {
                "type": "report",
                "drillable": drill.refusal is None,
                "ok": drill.well,
                "why": drill.refusal or drill.failure,
                "seconds": round(drill.ended - drill.began, 3),
                "numbered_by": drill.numbers.path,
                "connections_to_server": drill.relay.connections,
                "most_at_one_time": drill.relay.peak,
                "results": [trial_data(trial) for trial in drill.trials],
            }
        )

    def _write(self, data: dict[str, Any]) -> None:
        sys.stdout.write(to_json(data) + "\n")
        sys.stdout.flush()


def attach(view: Lines, drill: Drill) -> None:
    """Have a view show what a drill tells."""

    def begin(fault: Fault) -> None:
        view.heading(f"{fault.name}: {fault.text}")

    def end(trial: Trial) -> None:
        view.line(f"{trial.fault.name}: {trial.verdict}", "green" if trial.well else "bold red")

    drill.on_event, drill.on_fault, drill.on_trial, drill.on_note = view.event, begin, end, view.note


def trial_data(trial: Trial) -> dict[str, Any]:
    """What came of a fault, for programs; what is not known is None."""
    count = trial.count
    return {
        "fault": trial.fault.name,
        "ok": trial.well,
        "verdict": trial.verdict,
        "noticed": trial.noticed,
        "noticed_after": _since(trial, trial.noticed_at),
        "ready_after": _since(trial, trial.ready_at),
        "received": count.received,
        "missed": count.missed if count.known else None,
        "reported": count.reported if count.known else None,
        "doubled": count.doubled if count.known else None,
    }


def _since(trial: Trial, moment: float | None) -> float | None:
    return None if moment is None else round(moment - trial.began, 4)


def _row(trial: Trial) -> Sequence[str]:
    def seconds(moment: float | None) -> str:
        passed = _since(trial, moment)
        if passed is None:
            return "-" if trial.well else "never"
        return f"{passed:.2f} s" if passed >= 1 else f"{passed * 1000:.1f} ms"

    count = trial.count
    missed = f"{count.missed}, {count.reported} reported" if count.missed else "0"
    return (
        trial.fault.name,
        seconds(trial.noticed_at),
        seconds(trial.ready_at),
        missed if count.known else "unknown",
        str(count.doubled) if count.known else "unknown",
        trial.verdict,
        trial.noticed or "-",
    )


def _total_missed(drill: Drill) -> str:
    counts = [trial.count for trial in drill.trials]
    return str(sum(count.missed for count in counts)) if all(count.known for count in counts) else "unknown"


def _shown(target: str) -> str:
    return public_url(target) if "://" in target else target


def _faults(count: int) -> str:
    return f"{count} fault{'' if count == 1 else 's'}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
