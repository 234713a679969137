"""`libws trace`: what a client asks its plugins, as it happens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .targets import AsJson, ClientName, Enable, HeaderLines, Set, Subprotocols, Target, UsageError

if TYPE_CHECKING:
    from ..client import Client
    from .conversation import Tracing

Wait = Annotated[float | None, Parameter(name="--wait")]


def trace(
    target: str,
    /,
    *,
    client: ClientName = None,
    enable: Enable = (),
    settings: Set = (),
    headers: HeaderLines = (),
    subprotocols: Subprotocols = (),
    wait: Wait = None,
    as_json: AsJson = False,
) -> int:
    """Connect, and show each call of a hook as it happens: who was asked, the answer, the time it took.

    Events stand between the calls, and in the last place of an attempt who decided what follows, such as
    `reconnect: backoff -> 3.2 s (attempt 4, 429 with Retry-After 3)`. Nothing is sent but what plugins send; messages
    that arrive are counted and not shown (`libws connect --trace` shows both). Ctrl-C closes the connection properly;
    a second Ctrl-C drops it. LIBWS_TRACE=1 in the environment shows the same of any program, on its standard error.

    The exit code is 0 after an end of our own, 1 if the client failed or never connected, 2 if nothing was dialed
    because the arguments are wrong.

    Args:
        target: a URL, or the file of a profile.
        client: which [clients.NAME] of the profile.
        enable: a plugin to enable, or to take out: -NAME. May be repeated.
        settings: an option: PLUGIN.OPTION=VALUE, such as backoff.cap=5. May be repeated.
        headers: a header of the handshake: 'Name: value'. May be repeated.
        subprotocols: a subprotocol to offer. May be repeated.
        wait: seconds to stay connected. Default: until Ctrl-C, or until the client has failed.
        as_json: print one JSON object a line, for each call and event.
    """
    from ..client import Client
    from .conversation import Tracing

    if wait is not None and not wait >= 0:
        raise UsageError("--wait takes seconds from 0 on, or inf")
    wanted, tracing = Target(target, client, enable, settings, headers, subprotocols), Tracing()
    made = Client(**wanted.arguments(), _trace=tracing)
    try:
        return asyncio.run(watch(made, tracing, float("inf") if wait is None else wait, as_json))
    except asyncio.CancelledError:
        return 130


async def watch(client: Client, tracing: Tracing, wait: float, as_json: bool) -> int:
    """Connect and show what happens; gives the exit code."""
    from .conversation import Conversation, NoLines
    from .screen import CallScreen, JsonCallScreen, ScreenLog

    screen = JsonCallScreen() if as_json else CallScreen()
    with ScreenLog(screen.note).installed():
        return await Conversation(client, NoLines(), screen, wait, attended=False, tracing=tracing).run()
