"""`libws new`: the files that a plugin begins with."""

from __future__ import annotations

import builtins
import keyword
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from .targets import UsageError

if TYPE_CHECKING:
    from .project import Plan

LONGEST = 40
"""Characters of a name; a longer one would break the lines of the templates."""
OURS = ("core", "plugins", "standard", "all", "testing")
"""Names that mean something else in libws."""
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
"""What installers, entry points and modules all take, when hyphens become underscores."""

_SEVERAL = Parameter(name="--hook", negative=(), show_default=False)
_GIVEN = Parameter(negative=(), show_default=False)


def new(
    name: str,
    /,
    *,
    kind: str | None = None,
    hooks: Annotated[tuple[str, ...], _SEVERAL] = (),
    author: str | None = None,
    folder: Annotated[Path | None, _GIVEN] = None,
    yes: Annotated[bool, _GIVEN] = False,
) -> int:
    """Begin a plugin: a folder with five files that is a complete distribution.

    That is: pyproject.toml, a README with a checklist, a typed source that does something and is meant to be changed,
    its tests, which pass at once, and py.typed. What no flag says is asked, if the input is a terminal.

    Args:
        name: of the plugin, such as acme: its distribution is libws-acme, its class Acme.
        kind: provider, dialer, reconnect, keep-alive, auth, stage or observe. Default: provider.
        hooks: a hook that it answers, such as establish, in the place of a kind. May be repeated.
        author: a name, or `Ada <ada@example.com>`. Default: none.
        folder: the folder to make. Default: libws-NAME.
        yes: ask nothing.
    """
    from .project import KINDS, Plan, render
    from .rendering import LiteralConsole

    stop_at([*flaws_of_name(name), *flaws_of_choice(kind, hooks), *flaws_of_author(author), *flaws_of_folder(folder)])
    if not yes and sys.stdin.isatty():
        try:
            if kind is None and not hooks:
                kind, hooks = ask_kind()
            author = ask("Author, such as Ada <ada@example.com>; may be empty") if author is None else author
            folder = Path(ask("Folder", f"libws-{name}")) if folder is None else folder
        except EOFError:
            print("\nnothing was written")
            return 1
    target = Path(f"libws-{name}") if folder is None else folder
    plan = Plan(name, hooks or KINDS[kind or "provider"], (author or "").strip())
    stop_at([*flaws_of_class(plan), *flaws_of_author(author), *flaws_of_folder(target)])
    files = render(plan)
    try:
        write(target, files)
    except OSError as error:
        print(f"libws: {target} cannot be written: {error.strerror}; nothing of it is left", file=sys.stderr)
        return 1
    lines = [str(target), *(f"  {path}" for path in files), "", "next:"]
    lines += [f"  cd {shlex.quote(str(target))}", "  python -m pip install -e '.[test]'", "  python -m pytest"]
    LiteralConsole().out("\n".join(lines))
    return 0


def stop_at(flaws: list[str]) -> None:
    """Raise UsageError if there are any, with all of them."""
    if flaws:
        raise UsageError(flaws[0] if len(flaws) == 1 else "\n  ".join(["this cannot be:", *flaws]))


def flaws_of_name(name: str) -> Iterator[str]:
    """Why this cannot be the name of a new plugin."""
    from ..assembly import OFFICIAL
    from ..plugins import Shelf

    meant = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-").removeprefix("libws-")
    if name != meant or not NAME.fullmatch(name):
        rule = "a letter first, then lower-case letters, digits and single hyphens, and no libws- in front"
        yield f"{name!r} is no name for a plugin: {rule}{f'; try: {meant}' if NAME.fullmatch(meant) else ''}"
        return
    if len(name) > LONGEST:
        yield f"{name!r} has {len(name)} characters; take a name of at most {LONGEST}"
    if name in OFFICIAL:
        yield f"{name!r} is an official plugin; take another name, such as my-{name}"
    elif name in OURS:
        yield f"{name!r} means something else in libws; take another name, such as my-{name}"
    else:
        shelf = Shelf()
        for entry in [*shelf.entries.get(name, ()), *shelf.others.get(name, ())][:1]:
            yield f"{name!r} is a plugin of {entry}, which is installed; take another name, or uninstall it"


def flaws_of_choice(kind: str | None, hooks: tuple[str, ...]) -> Iterator[str]:
    """Why there is no such kind or hook."""
    from .project import DOCS, KINDS

    if kind is not None and hooks:
        yield "--kind and --hook exclude each other, since a kind has its hooks; give one of them"
    if kind is not None and kind not in KINDS:
        yield f"--kind: there is no {kind!r}; take one of {', '.join(KINDS)}"
    for hook in hooks:
        if hook not in DOCS:
            yield f"--hook: there is no {hook!r}; take one of {', '.join(DOCS)}"


def flaws_of_author(author: str | None) -> Iterator[str]:
    """Why this cannot stand in a pyproject.toml."""
    if author is not None and not re.fullmatch(r"[^<>]*(<[^<>@\s]+@[^<>@\s]+>)?", author.strip()):
        yield "--author: give a name, or 'Ada <ada@example.com>'"
    elif author is not None and not author.isprintable():
        yield "--author: it has characters that do not print; leave them out"


def flaws_of_folder(folder: Path | None) -> Iterator[str]:
    """Why this folder cannot be made."""
    if folder is None:
        return
    cure = "name another one: --folder PATH"
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        yield f"{folder} exists and is no folder; {cure}"
    elif folder.exists() and any(folder.iterdir()):
        yield f"{folder} exists and is not empty; {cure}"
    elif not folder.absolute().parent.is_dir():
        yield f"there is no folder {folder.parent}; make it, or {cure}"


def flaws_of_class(plan: Plan) -> Iterator[str]:
    """Why the class cannot have the name that the naming rule gives it."""
    from .. import __all__ as core
    from .project import class_of, names_in

    cls = class_of(plan.name)
    if keyword.iskeyword(cls) or hasattr(builtins, cls) or cls in core or cls in names_in(plan):
        yield f"{plan.name!r}: its class would be {cls}, a name that the source needs; try: {plan.name}-plugin"


def write(target: Path, files: dict[str, str]) -> None:
    """Write the files into a new folder beside the target, then give it the target's name: all of it, or nothing.

    Raises:
        OSError: it cannot be done.
    """
    target = target.absolute()
    made = target.parent / f".{target.name}-{os.getpid()}"
    made.mkdir()
    try:
        for path, text in files.items():
            (made / path).parent.mkdir(parents=True, exist_ok=True)
            (made / path).write_text(text, "utf-8", newline="\n")
        if target.exists():
            target.rmdir()  # refuses one that is not empty
        made.rename(target)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


def ask_kind() -> tuple[str | None, tuple[str, ...]]:
    """Ask for a kind, or for hooks."""
    from rich.prompt import Prompt

    from .project import DOCS, KINDS

    kind = Prompt.ask("What shall it be", choices=[*KINDS, "hooks"], default="provider")
    if kind != "hooks":
        return kind, ()
    print("\n".join(f"  {hook:<13}{doc}" for hook, doc in DOCS.items()))
    while True:
        hooks = tuple(ask("Which hooks, with spaces between", "establish adapt_error").replace(",", " ").split())
        flaws = [*flaws_of_choice(None, hooks)]
        if hooks and not flaws:
            return None, hooks
        print("\n".join(flaws))


def ask(question: str, default: str = "") -> str:
    """Ask for a text."""
    from rich.prompt import Prompt

    return Prompt.ask(question, default=default, show_default=bool(default))
