"""The files of a new plugin: templates, of which the parts that its hooks need are taken.

A template is the file that it becomes, with `$name` and its like to be filled in, and two kinds of marks:

    #: establish hold         a line of its own: what follows is taken if one of these hooks is wanted, until the next
    ...  #: -establish        at the end of a line: it is taken unless this hook is wanted

Imports that nothing uses any more are taken out.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Sequence, Set
from importlib.resources import files
from string import Template
from typing import NamedTuple

from .. import __version__
from ..plugins import name_by_rule

__all__ = ["CONTRACTS", "DOCS", "KINDS", "Plan", "class_of", "module_of", "names_in", "render"]

KINDS: dict[str, tuple[str, ...]] = {
    "provider": (),
    "dialer": ("dial",),
    "reconnect": ("reconnect",),
    "keep-alive": ("keep_alive",),
    "auth": ("authenticate",),
    "stage": ("incoming", "outgoing"),
    "observe": ("observe",),
}
"""What can be begun, and the hooks that it has; a provider has a template of its own."""
DOCS = {
    "resolve": "Dial another URL after a failure.",
    "admit": "Keep attempts apart.",
    "authenticate": "Log in with a bearer token.",
    "dial": "Dial the URLs of a scheme of our own.",
    "establish": "Wait for the server's welcome before the client is READY.",
    "keep_alive": "Ask the server again and again whether it is there.",
    "incoming": "Make a message of each part of a text.",
    "outgoing": "End each text with a separator.",
    "deliver": "Take out messages that are not for the user.",
    "hold": "Keep what is sent while there is no connection.",
    "adapt_error": "Say what the server's close codes mean.",
    "reconnect": "Reconnect after growing, jittered delays.",
    "observe": "Count what happens.",
}
"""What the template of each hook does."""
CONTRACTS = {
    "authenticate": "AuthContract",
    "dial": "DialerContract",
    "keep_alive": "KeepAliveContract",
    "reconnect": "ReconnectContract",
    "incoming": "StageContract",
    "outgoing": "StageContract",
    "deliver": "StageContract",
}
"""The class of tests that a plugin with this hook inherits, beside what every plugin does."""
WIDTH = 120
"""Characters of a line."""


class Plan(NamedTuple):
    """What was asked for."""

    name: str
    hooks: Sequence[str] = ()
    """The hooks of `hookspecs` that it answers; none = a provider."""
    author: str = ""
    """Such as "Ada <ada@example.com>"; empty = left out."""


def module_of(name: str) -> str:
    """The module of a plugin, by the naming rule."""
    return f"libws_{name.replace('-', '_')}"


def class_of(name: str) -> str:
    """The class of a plugin, by the naming rule."""
    return "".join(word.capitalize() for word in name.split("-"))


def render(plan: Plan) -> dict[str, str]:
    """The five files of a plugin, by their paths."""
    plan = plan._replace(hooks=[hook for hook in DOCS if hook in plan.hooks])  # each once, in the order of a life
    module, words = module_of(plan.name), {*plan.hooks, *(["dialer"] if [*plan.hooks] == ["dial"] else [])}
    kind = "hooks" if plan.hooks else "provider"
    values = _values(plan)
    source = _python(f"{kind}.py.txt", words, values)
    needs = _needs(source, kind == "provider")
    values |= {"dependencies": "\n".join(f"    {json.dumps(need)}," for need in needs)}
    return {
        "pyproject.toml": _filled("pyproject.toml.txt", words, values),
        "README.md": _filled("README.md.txt", words, values),
        f"src/{module}/__init__.py": source,
        f"src/{module}/py.typed": "",
        f"tests/{module.replace('libws_', 'test_', 1)}.py": _python(f"{kind}.tests.txt", words, values),
    }


def names_in(plan: Plan) -> set[str]:
    """The names that the Python files of a plan import or define beside the plugin's class."""
    found = set()
    for path, text in render(plan._replace(name="plugin")).items():
        for node in ast.parse(text).body if path.endswith(".py") else ():
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found.add(node.name)
    return found - {class_of("plugin")}


def _values(plan: Plan) -> dict[str, str]:
    """What takes the place of `$name` and its like."""
    if not plan.hooks:
        doc = f"Everything that {plan.name} asks of a WebSocket client."
    elif len(plan.hooks) == 1:
        doc = DOCS[plan.hooks[0]]
    else:
        doc = f"What {plan.name} needs of a client."
    cls = class_of(plan.name)
    client = f'Client("wss://example.com/socket", plugins=["{plan.name}"]'
    token = not plan.hooks or "authenticate" in plan.hooks
    options = f'options = {{"{plan.name}": {{"token": "..."}}}}\n'
    return {
        "name": plan.name,
        "distribution": f"libws-{plan.name}",
        "module": module_of(plan.name),
        "Class": cls,
        "doc": doc,
        "summary": doc,
        "core": _ours(),
        "authors": f"authors = [{_author(plan.author)}]" if plan.author else "",
        "contracts": _contracts(plan),
        # Where the class does not tell the name, as that of "acme-2".
        "naming": "" if name_by_rule(type(cls, (), {})) == plan.name else f'\n    name = "{plan.name}"',
        "example": f"{options}client = {client}, options=options)" if token else f"client = {client})",
    }


def _contracts(plan: Plan) -> str:
    """The classes of tests that its own one inherits; in lines of their own, if they do not fit behind its name."""
    found = {CONTRACTS[hook] for hook in plan.hooks if hook in CONTRACTS} or {"PluginContract"}
    if len(plan.hooks) > 1:
        found.discard("DialerContract")  # its servers do not know what the other hooks wait for
    text = ", ".join(sorted(found or {"PluginContract"})) if plan.hooks else "ProviderContract"
    return text if len(f"class Test{class_of(plan.name)}({text}):") <= WIDTH else f"\n    {text}\n"


def _author(written: str) -> str:
    """An author as a table of TOML."""
    found = re.fullmatch(r"(.*?)\s*<([^<>]+)>", written)
    parts = {"name": found[1], "email": found[2]} if found else {"name": written}
    # A JSON string without control characters is one of TOML, too.
    items = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in parts.items() if value]
    return f"{{ {', '.join(items)} }}"


def _needs(source: str, provider: bool) -> Iterator[str]:
    """The distributions that the source imports or uses, in order."""
    yield f"libws-core{_ours()}"
    if provider:
        yield f"libws-ping{_ours()}"
    if "from msgspec import" in source:
        yield "msgspec>=0.19"


def _ours() -> str:
    """Which versions of the core and the official plugins fit: this one and later ones."""
    major, minor = __version__.split(".")[:2]
    return f">={major}.{minor},<{int(major) + 1}"


def _filled(template: str, words: Set[str], values: dict[str, str]) -> str:
    """A template with the parts for these hooks, filled in."""
    text = (files(__package__) / "template" / template).read_text("utf-8")
    text = Template("\n".join(_lines(text, words)) + "\n").substitute(values)
    return re.sub(r"\n{3,}(?=\S)", "\n\n", text) if template.endswith((".toml.txt", ".md.txt")) else text


def _lines(text: str, words: Set[str]) -> Iterator[str]:
    """The lines that are taken."""
    taken = True
    for line in text.splitlines():
        if line.startswith("#: "):
            taken = _wanted(line[3:], words)
            continue
        line, mark, condition = line.partition("  #: ")
        if taken and (not mark or _wanted(condition, words)):
            yield line


def _wanted(condition: str, words: Set[str]) -> bool:
    names = {name for name in condition.split() if not name.startswith("-")}
    refused = {name[1:] for name in condition.split() if name.startswith("-")}
    return (not names or "always" in names or bool(names & words)) and not refused & words


def _python(template: str, words: Set[str], values: dict[str, str]) -> str:
    """A template of a Python file: without needless imports, with blank lines as they are usual."""
    source = _filled(template, words, values)
    tree = ast.parse(source)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    lines = source.splitlines()
    for node in reversed(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom) and getattr(node, "module", "") != "__future__":
            names = [alias.name for alias in node.names if alias.name in used]
            lines[node.lineno - 1 : node.end_lineno] = _import(node, names)
    text = "\n".join(lines) + "\n"
    text = re.sub(r"\n{3,}(?=[ ]|import |from |\")", "\n\n", text)
    return re.sub(r"\n{4,}", "\n\n\n", text)


def _import(node: ast.Import | ast.ImportFrom, names: Iterable[str]) -> list[str]:
    """The lines of an import, sorted as isort does it: constants, classes, the rest."""
    names = sorted(names, key=lambda name: (not (len(name) > 1 and name.isupper()), name[:1].islower(), name.lower()))
    if not names:
        return []
    if isinstance(node, ast.Import):
        return [f"import {name}" for name in names]
    line = f"from {node.module} import {', '.join(names)}"
    if len(line) <= WIDTH:
        return [line]
    return [f"from {node.module} import (", *(f"    {name}," for name in names), ")"]
