"""`libws demo`: one client rides out what servers do."""

from __future__ import annotations

import asyncio
import os
import sys


def demo() -> int:
    """See one client ride out five faults of a real server on this machine, in less than 20 seconds.

    The server is not listening, answers 429 with Retry-After, drops the connection without a close frame, falls silent
    while it holds the socket, and closes with 1012. It numbers its messages, so that every one that is missed is
    known. A table tells for each fault how it was noticed, how long it took until READY again, and how many messages
    were received, missed and reported as missed; every number in it is measured.

    The exit code is 0 if every fault was noticed and healed and every missed message was reported.
    """
    from ..errors import ConfigurationError
    from .rendering import LiteralConsole

    os.environ.pop("LIBWS_PLUGINS", None)  # the demo is about the plugins of `standard`
    try:
        return asyncio.run(show())
    except (ConfigurationError, ImportError) as error:
        LiteralConsole(stderr=True).out(f"the demo cannot start: {error}")
        return 2


async def show() -> int:
    """Ride, show it, and print the outcome; gives the exit code."""
    from .demo_feed import Feed
    from .demo_ride import Ride
    from .demo_view import LiveView, PlainView, print_outcome, print_settings
    from .rendering import LiteralConsole
    from .screen import ScreenLog

    console = LiteralConsole()
    print_settings(console)
    async with Feed() as feed:
        ride = Ride(feed)
        view = LiveView(console, ride) if sys.stdout.isatty() else PlainView(console, ride)
        with ScreenLog(view.note).installed():
            async with view:
                await ride.run()
    print_outcome(console, ride)
    return 0 if ride.flawless else 1
