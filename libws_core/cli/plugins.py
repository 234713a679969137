"""`libws plugins`: what is installed."""

from __future__ import annotations

from typing import Any

from .targets import AsJson


def plugins(name: str | None = None, /, *, as_json: AsJson = False) -> int:
    """Show every installed plugin: its distribution, version and hooks, and whether it can be used.

    With the name of one: what it does, its hooks, and its options with their defaults. A plugin that cannot be used
    is shown with the reason; installed is not enabled, so it disturbs nothing until it is named.

    Args:
        name: the plugin to describe.
        as_json: print JSON.
    """
    return describe_one(name, as_json) if name is not None else list_all(as_json)


def list_all(as_json: bool) -> int:
    """Print the table of plugins."""
    from ..plugins import installed
    from .rendering import LiteralConsole, print_table, to_json

    console = LiteralConsole()
    candidates = installed()
    if as_json:
        names = ("name", "distribution", "version", "hooks", "state", "reason")
        console.out(to_json([{name: getattr(each, name) for name in names} for each in candidates], indent=2))
    elif candidates:
        rows = [
            (
                each.name,
                each.distribution,
                each.version,
                ", ".join(each.hooks),
                f"{each.state}: {each.reason}" if each.reason else each.state,
            )
            for each in candidates
        ]
        print_table(console, ("name", "distribution", "version", "hooks", "state"), rows)
    else:
        console.out("no plugins are installed; try: pip install 'libws-core[standard]'")
    return 0


def describe_one(name: str, as_json: bool) -> int:
    """Print what one plugin does and which options it has."""
    from ..errors import ConfigurationError
    from ..plugins import describe
    from .rendering import LiteralConsole, printable, to_json

    console = LiteralConsole()
    try:
        about = describe(name)
    except ConfigurationError as error:
        LiteralConsole(stderr=True).out("\n".join(printable(str(problem)) for problem in error.problems))
        return 1
    if as_json:
        data: dict[str, Any] = about._asdict()
        data["options"] = [option._asdict() for option in about.options]
        console.out(to_json(data, indent=2))
        return 0
    from rich.text import Text

    console.print(Text.assemble((about.name, "bold"), f"  {about.distribution} {about.version}"))
    console.print()
    for line in (about.doc or "(it has no docstring)").splitlines():
        console.print(Text(printable(line)))
    console.print(Text.assemble("\n", ("hooks", "bold"), f"  {', '.join(about.hooks) or 'none'}"))
    console.print(Text("\noptions" if about.options else "\nno options", style="bold"))
    for option in about.options:
        default = "must be given" if option.default is None else f"= {option.default}"
        console.print(Text.assemble("  ", (option.name, "cyan"), f": {option.annotation} {default}"))
        for line in option.doc.splitlines():
            console.print(Text(f"      {printable(line)}"))
    return 0
