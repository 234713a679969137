"""A program for a fresh interpreter: import a module, and say as JSON what that loads, or what it does.

It is run by its path and imports nothing of libws before it begins. Its argument is JSON: the module, its file (for one
that cannot be imported by name, such as a file of tests), and the modules to import before; None = only say what loads.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Mapping
from typing import Any

FILES = "changes files"
STARTS = "starts a process"
ACTS = {
    "socket.": "uses a socket",
    "subprocess.": STARTS,
    "os.system": STARTS,
    "os.exec": STARTS,
    "os.fork": STARTS,
    "os.posix_spawn": STARTS,
    "os.spawn": STARTS,
    "os.startfile": STARTS,
    **dict.fromkeys(["os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.chmod", "os.link", "os.symlink"], FILES),
    **dict.fromkeys(["os.truncate", "shutil.", "tempfile."], FILES),
    "sqlite3.": "opens a data base",
    "ctypes.dlopen": "loads a library",
    **dict.fromkeys(["urllib.", "http.client", "ftplib.", "smtplib."], "asks a server"),
}
"""Audit events, by how their names begin, and what they mean."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
UNTOUCHED: tuple[Any, ...] = ([], logging.NOTSET, True, False)
"""A logger that was just made: handlers, level, whether it propagates, whether it is disabled."""


class Watch:
    """Notes what happens while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.done: list[str] = []

    def note(self, text: str) -> None:
        """Note something, once."""
        if text not in self.done:
            self.done.append(text)

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit hook."""
        if not self.on or any(map(_is_bytecode, args)):
            return
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & WRITING:
                self.note(f"writes the file {path}")
            return
        for start, what in ACTS.items():
            if event.startswith(start):
                self.note(f"{what} ({event})")

    def warn(self, message: Any, category: type[Warning], *more: Any, **others: Any) -> None:
        """In the place of `warnings.showwarning`."""
        self.note(f"warns: {category.__name__}: {message}")


def _is_bytecode(path: Any) -> bool:
    return isinstance(path, str | bytes) and "__pycache__" in os.fsdecode(path)


def load(name: str, file: str) -> None:
    """Import a module by its name, or from its file."""
    try:
        importlib.import_module(name)
        return
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{name} is neither a module that can be imported nor a file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def state() -> dict[str, Any]:
    """What an import could have changed in the process, by what to say of it."""
    found: dict[str, Any] = {f"changes the environment variable {key}": value for key, value in os.environ.items()}
    for number in signal.valid_signals():
        with contextlib.suppress(OSError, ValueError):
            found[f"takes the signal {number}"] = signal.getsignal(number)
    found["disables logging"] = logging.root.manager.disable
    found["replaces sys.excepthook"] = sys.excepthook
    found["replaces sys.unraisablehook"] = sys.unraisablehook
    found["replaces threading.excepthook"] = threading.excepthook
    found["changes the filters of warnings"] = list(warnings.filters)
    found |= {f"starts the thread {thread.name}": thread for thread in threading.enumerate()}
    return found


def loggers() -> dict[str, Any]:
    """Every logger with how it is configured. A NullHandler is what a library should add."""
    named: Mapping[str, Any] = {"root": logging.getLogger(), **logging.Logger.manager.loggerDict}
    return {
        key: (
            [h for h in each.handlers if type(h) is not logging.NullHandler],
            each.level,
            each.propagate,
            each.disabled,
        )
        for key, each in named.items()
        if isinstance(each, logging.Logger)
    }


def watched(name: str, file: str) -> list[str]:
    """Import a module; gives what that did, in words."""
    watch = Watch()
    sys.addaudithook(watch.hear)
    printed = io.StringIO()
    warnings.showwarning = watch.warn
    warnings.simplefilter("always")
    before, logs = state(), loggers()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        watch.on = True
        try:
            load(name, file)
        finally:
            watch.on = False
    after = state()
    for what in {**before, **after}:
        if (what in before, before.get(what)) != (what in after, after.get(what)):
            watch.note(what)
    for key, configured in loggers().items():
        if logs.get(key, UNTOUCHED) != configured:
            watch.note(f"configures the logger {key!r}")
    if printed.getvalue():
        watch.note(f"prints {printed.getvalue()[:80]!r}")
    return watch.done


def main() -> None:
    """Do what the argument says."""
    name, file, before = json.loads(sys.argv[1])
    if before is None:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            load(name, file)
        said = list(sys.modules)
    else:
        for each in before:
            with contextlib.suppress(Exception):
                importlib.import_module(each)
        said = watched(name, file)
    print(json.dumps(said), flush=True)
    os._exit(0)  # what the import has left, such as a thread, shall not keep us


if __name__ == "__main__":
    main()
