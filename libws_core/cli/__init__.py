"""The command `libws`: look at plugins, check, try, trace and drill connections, see a client ride out faults.

It needs the extra `[standard]`, which brings cyclopts for the commands and rich for the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import App

__all__ = ["main"]

NEEDED = ("cyclopts", "rich")
INTERRUPTED = 130  # what shells give for SIGINT: 128 + 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code: 0 done, 1 failed, 2 not understood, 130 interrupted.

    Args:
        arguments: without the program's name; None takes those of the process.
    """
    if sys.stdout is None:  # it was closed when we were started
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        app = _app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in NEEDED:
            raise
        print(f"libws: {error.name} is missing; try: pip install 'libws-core[standard]'", file=sys.stderr)
        return 2
    from ..errors import ConfigurationError
    from .targets import UsageError

    try:
        code = app(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
    except UsageError as error:
        print(f"libws: {error}", file=sys.stderr)
        return 2
    except ConfigurationError as error:  # nothing was dialed
        from .rendering import LiteralConsole, printable

        LiteralConsole(stderr=True).out("\n".join(printable(line) for line in error.text.splitlines()))
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _app() -> App:
    """The commands. Their modules import what they need when they are run, so that help comes soon."""
    import rich  # noqa: F401, to learn now whether it is there
    from cyclopts import App

    from .. import __version__
    from .check import check
    from .connect import connect
    from .demo import demo
    from .drill import drill
    from .new import new
    from .plugins import plugins
    from .trace import trace

    app = App(
        name="libws",
        help="A WebSocket client assembled from plugins: look at the plugins, try a connection, see it stay up.",
        help_format="markdown",
        version=f"libws-core {__version__}",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for command in (plugins, check, connect, trace, demo, drill, new):
        app.command(command)
    return app
