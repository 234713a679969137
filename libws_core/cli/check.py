"""`libws check`: a client's plan, without dialing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .targets import AsJson, ClientName, Enable, HeaderLines, Set, Subprotocols, Target

if TYPE_CHECKING:
    from ..client import Client

ASKED = {
    "resolve": "one after the other, each with what the one before gave",
    "admit": "one after the other",
    "authenticate": "one after the other, each with what the one before gave",
    "dial": "until one answers",
    "establish": "one after the other",
    "keep_alive": "all",
    "incoming": "from the wire to the user",
    "outgoing": "from the user to the wire",
    "deliver": "from the wire to the user",
    "hold": "until one answers",
    "adapt_error": "until one answers",
    "reconnect": "until one answers",
    "observe": "all",
}
"""How the answers to a hook are put together, as `hookspecs` says."""
TOWARDS_USER = ("incoming", "deliver")
"""Hooks whose stages are passed in the other direction than the list of plugins reads."""

NOT_PLAIN = ("plugins", "options", "_profile", "headers", "ssl")
"""Arguments of a client that are told in another way."""


def check(
    target: str,
    /,
    *,
    client: ClientName = None,
    enable: Enable = (),
    settings: Set = (),
    headers: HeaderLines = (),
    subprotocols: Subprotocols = (),
    as_json: AsJson = False,
) -> int:
    """Assemble a client without dialing and print its plan.

    That is: what would be dialed, the plugins in order with each option and where its value came from, and for each
    hook who answers it, in which order. Secrets are shown as stars. If anything is wrong, every problem is printed and
    the exit code is 1.

    Args:
        target: a URL, or the file of a profile.
        client: which [clients.NAME] of the profile.
        enable: a plugin to enable, or to take out: -NAME. May be repeated.
        settings: an option: PLUGIN.OPTION=VALUE, such as backoff.cap=5. May be repeated.
        headers: a header of the handshake: 'Name: value'. May be repeated.
        subprotocols: a subprotocol to offer. May be repeated.
        as_json: print JSON.
    """
    from ..client import Client
    from ..errors import ConfigurationError
    from .rendering import LiteralConsole, printable, to_json

    wanted = Target(target, client, enable, settings, headers, subprotocols)
    try:
        arguments = wanted.arguments()
        plan = explained(Client(**arguments), arguments)
    except ConfigurationError as error:
        if as_json:
            LiteralConsole().out(to_json({"problems": [each._asdict() for each in error.problems], "text": error.text}))
        else:
            LiteralConsole(stderr=True).out("\n".join(printable(line) for line in error.text.splitlines()))
        return 1
    if as_json:
        LiteralConsole().out(to_json(plan, indent=2))
    else:
        print_plan(plan)
    return 0


def explained(client: Client, arguments: dict[str, Any]) -> dict[str, Any]:
    """`client.explain()` as plain data without secrets, with the client's own arguments and every hook in its order."""
    from ..conversion import mentions_secret
    from ..options import options_of
    from .rendering import public

    plan = client.explain()
    plugins = []
    for part in plan["plugins"]:
        known = options_of(type(client.plugin(part["name"])))
        options = {}
        for option, about in part["options"].items():
            hide = option in known and mentions_secret(known[option].annotation)
            origin = "--set" if about["from"] == "options" else about["from"]
            options[option] = {"value": public(about["value"], hide), "from": origin}
        plugins.append({**part, "options": options})
    own = {name: public(value) for name, value in arguments.items() if name not in NOT_PLAIN}
    if "headers" in arguments:
        own["headers"] = sorted(arguments["headers"])  # by name only
    if arguments.get("ssl") is not None:
        own["ssl"] = "as the profile says"
    names = sorted(plan["hooks"], key=[*ASKED, *plan["hooks"]].index)
    hooks = {name: plan["hooks"][name][:: -1 if name in TOWARDS_USER else 1] for name in names}
    return {"client": own, "plugins": plugins, "hooks": hooks}


def print_plan(plan: dict[str, Any]) -> None:
    """Print a plan for people."""
    from rich.text import Text

    from .rendering import LiteralConsole, print_table, printable

    console = LiteralConsole()

    def title(text: str) -> None:
        console.print(Text(text, style="bold"))

    def written(value: Any) -> str:
        return "***" if value == "***" else printable(repr(value))

    own = plan["client"]
    title(f"client of {printable(own['url'])}")
    for name, value in own.items():
        if name != "url":
            console.print(Text(f"  {name} = {written(value)}"))
    title("\nplugins, from the user to the wire")
    for part in plan["plugins"]:
        origin = part["distribution"] or "an object"
        console.print(Text.assemble("  ", (part["name"], "cyan"), f"  {origin}, {part['because']}"))
        for option, about in part["options"].items():
            style = "dim" if about["from"] == "default" else ""
            console.print(
                Text(f"      {option} = {written(about['value'])}  ({printable(about['from'])})", style=style)
            )
    title("\nhooks, who answers them in which order")
    rows = [(name, " > ".join(names) or "-", ASKED.get(name, "")) for name, names in plan["hooks"].items()]
    print_table(console, ("hook", "answered by", "asked"), rows)
