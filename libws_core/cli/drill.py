"""`libws drill`: what a client makes of faults, between it and its real server."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .targets import AsJson, ClientName, Enable, HeaderLines, Set, Subprotocols, Target, UsageError

if TYPE_CHECKING:
    from .drill_faults import Fault
    from .drill_run import Drill
    from .drill_view import DrillView

NOT_DRILLABLE = 3
"""The exit code where the client cannot be led over a relay, so that nothing is known of it."""

Faults = Annotated[tuple[str, ...], Parameter(name="--fault", negative=(), show_default=False)]
Number = Annotated[str | None, Parameter(name="--number")]
Patience = Annotated[float, Parameter(name="--patience")]
Watch = Annotated[float, Parameter(name="--watch")]


def drill(
    target: str,
    /,
    *,
    client: ClientName = None,
    enable: Enable = (),
    settings: Set = (),
    headers: HeaderLines = (),
    subprotocols: Subprotocols = (),
    faults: Faults = (),
    number: Number = None,
    patience: Patience = 60.0,
    watch: Watch = 3.0,
    as_json: AsJson = False,
) -> int:
    """Lead a client over a relay to its real server, and see what it makes of faults.

    The client dials a relay on this machine by ws://, the relay dials the server as the client would have. One after
    the other the relay resets the connection, falls silent, loses the server's side only, lets what the server sends
    drip, refuses with 429 and Retry-After, closes with 1012 and refuses once with 401; at last we read slowly. The
    report tells of each fault when it was noticed, when the client was READY again, how many messages were missed and
    doubled, and the verdict.

    Nothing is sent but what the client itself sends, and there is never more than one connection more than it would
    open. How long it may take is said before it starts. Ctrl-C ends it.

    The exit code is 0 if the client met every fault well, 1 if not, 2 if nothing was dialed because the arguments are
    wrong, 3 if it is not drillable: its log-in is signed or bound to its origin, it needs a proxy, or its scheme is
    neither ws nor wss.

    Args:
        target: a URL, or the file of a profile.
        client: which [clients.NAME] of the profile.
        enable: a plugin to enable, or to take out: -NAME. May be repeated.
        settings: an option: PLUGIN.OPTION=VALUE, such as ping.interval=5. May be repeated.
        headers: a header of the handshake: 'Name: value'. May be repeated.
        subprotocols: a subprotocol to offer. May be repeated.
        faults: only this fault: reset, silence, half-open, drip, 429, 1012, 401 or slow-consumer. May be repeated.
        number: where the messages have their number, such as data.u. Default: found out, if it rises by one.
        patience: seconds within which a fault must be noticed, and again the client be READY.
        watch: seconds to watch the messages before the first fault and after each.
        as_json: print one JSON object a line.
    """
    from .drill_run import Drill, Pace

    chosen = _chosen(faults)
    for name, seconds in (("--patience", patience), ("--watch", watch)):
        if not (seconds > 0 and math.isfinite(seconds)):
            raise UsageError(f"{name} takes seconds, more than 0")
    wanted = Target(target, client, enable, settings, headers, subprotocols)
    made = Drill(wanted.arguments(), chosen, Pace(patience, watch), _path(number))
    return asyncio.run(show(made, target, as_json))


async def show(drill: Drill, target: str, as_json: bool) -> int:
    """Drill and show it; gives the exit code."""
    from .drill_view import JsonView, LiveView, PlainView
    from .rendering import LiteralConsole
    from .screen import ScreenLog

    view: DrillView
    if as_json:
        view = JsonView(drill)
    elif sys.stdout.isatty():
        view = LiveView(LiteralConsole(), drill)
    else:
        view = PlainView(LiteralConsole(), drill)
    view.announce(drill, target)
    try:
        with ScreenLog(view.note).installed():
            async with view:
                await drill.run()
    finally:
        view.report(drill)
    if drill.refusal is not None:
        return NOT_DRILLABLE
    return 0 if drill.well else 1


def _chosen(names: tuple[str, ...]) -> list[Fault]:
    from .drill_faults import FAULTS, NAMES

    for name in names:
        if name not in NAMES:
            raise UsageError(f"--fault takes {', '.join(NAMES[:-1])} or {NAMES[-1]}, not {name!r}")
    return [fault for fault in FAULTS if not names or fault.name in names]


def _path(number: str | None) -> str | None:
    from ..match import key

    try:
        if number is not None:
            key(number)
    except ValueError as error:
        raise UsageError(f"--number: {error}") from None
    return number
