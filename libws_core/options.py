"""The options of a plugin are its dataclass fields: how they are found, given and documented."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import dataclasses
import inspect
import itertools
import math
import sys
import textwrap
import typing
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import libws_core

from .conversion import Mismatch, convert, described, explained, holds_secret, mentions_secret, shown
from .report import did_you_mean

MISSING: Any = dataclasses.MISSING


class Option(NamedTuple):
    """One option of a plugin."""

    name: str
    annotation: Any
    words: str
    """The annotation for people, such as "float >= 0 or None"."""
    default: Any
    """What the class says, MISSING if the option must be given."""
    origin: tuple[Any, str]
    """The default as it is told by `Configured.origins`."""

    def shown_default(self) -> str:
        """`name=default` for people, without a secret; the bare name if the option must be given."""
        if self.default is MISSING:
            return self.name
        secret = mentions_secret(self.annotation) and self.default is not None
        return f"{self.name}={'***' if secret else shown(self.default)}"


class Documented(NamedTuple):
    """What `libws plugins NAME` tells about an option."""

    name: str
    annotation: str
    default: str | None
    """None if the option must be given."""
    doc: str


class Configured(NamedTuple):
    """The outcome of checking the options of one plugin."""

    arguments: dict[str, Any]
    """Converted values for those options that were given."""
    origins: Mapping[str, tuple[Any, str]]
    """Every option with its value, fit to be shown, and where that came from."""
    problems: list[tuple[str, str | None]]
    """Text and cure of each."""


_known: weakref.WeakKeyDictionary[type, Mapping[str, Option]] = weakref.WeakKeyDictionary()
_defaults: weakref.WeakKeyDictionary[type, Mapping[str, tuple[Any, str]]] = weakref.WeakKeyDictionary()
"""The origins of each class's options where none is given, which all clients share."""


def options_of(cls: type) -> Mapping[str, Option]:
    """The options of a plugin's class by name; none if it is no dataclass. Fields with `init=False` are state."""
    known = _known.get(cls)
    if known is None:
        fields = [field for field in dataclasses.fields(cls) if field.init] if dataclasses.is_dataclass(cls) else []
        known = {field.name: _option(cls, field) for field in fields}
        _known[cls] = known
    return known


def _option(cls: type, field: dataclasses.Field[Any]) -> Option:
    owner = next((base for base in cls.__mro__ if field.name in inspect.get_annotations(base)), cls)
    annotation = _evaluate(field.type, owner) if isinstance(field.type, str) else field.type
    default: Any = field.default
    factory: Any = field.default_factory
    if factory is not MISSING:
        try:
            default = factory()
        except Exception:
            default = factory  # making the plugin will tell
    words = field.type if annotation is Any and isinstance(field.type, str) else described(annotation)
    return Option(field.name, annotation, words, default, (default, "default"))


class _Names(Mapping[str, Any]):
    """What an annotation's names mean. Those imported for type checkers only are looked up where they usually are."""

    def __init__(self, owner: type) -> None:
        module = sys.modules.get(owner.__module__)
        self.places = [vars(module) if module else {}, vars(builtins), vars(owner)]

    def __getitem__(self, name: str) -> Any:
        for place in self.places:
            if name in place:
                return place[name]
        for module in (collections.abc, typing):
            if hasattr(module, name):
                return getattr(module, name)
        return getattr(libws_core, name) if name in libws_core.__all__ else Any

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def _evaluate(written: str, owner: type) -> Any:
    try:
        return eval(written, {}, _Names(owner))
    except Exception:
        return Any  # not understood: then every value is taken


def configure(cls: type, given: Mapping[str, tuple[Any, str]]) -> Configured:
    """Check and convert option values.

    Args:
        given: option -> (value, where it came from).
    """
    options = options_of(cls)
    if not given and cls in _defaults:
        return Configured({}, _defaults[cls], [])
    arguments: dict[str, Any] = {}
    origins: dict[str, tuple[Any, str]] = {}
    problems: list[tuple[str, str | None]] = []
    for name, (value, source) in given.items():
        option = options.get(name)
        if option is None:
            problems.append(_unknown(cls, name))
            continue
        try:
            infinite = isinstance(option.default, float) and math.isinf(option.default)
            converted = convert(value, option.annotation, infinite)
        except Mismatch as mismatch:
            problems.append((f"option {name!r}: {explained(mismatch, value, option.annotation)}", _overview(cls)))
            continue
        arguments[name] = converted
        origins[name] = (value if holds_secret(value) else converted, source)
    for name, option in options.items():
        if name in given:
            continue
        origins[name] = option.origin
        if option.default is MISSING:
            problems.append((f"option {name!r} must be given", _overview(cls)))
    origins = {name: origins[name] for name in options if name in origins}
    if not given and not problems:
        _defaults[cls] = origins
    return Configured(arguments, origins, problems)


def _overview(cls: type) -> str | None:
    """The cure for most problems: all options with their defaults; None if there are none."""
    options = options_of(cls).values()
    return f"options: {', '.join(option.shown_default() for option in options)}" if options else None


def _unknown(cls: type, name: str) -> tuple[str, str | None]:
    cure = _overview(cls)
    if dataclasses.is_dataclass(cls) and any(field.name == name for field in dataclasses.fields(cls)):
        return f"option {name!r}: it is state of the plugin, not an option", cure
    if cure is None:
        return f"option {name!r}: there is no such option", "the plugin has no options"
    meant = did_you_mean(name, options_of(cls))
    return f"option {name!r}: there is no such option{f'; {meant}' if meant else ''}", cure


def document(cls: type) -> tuple[Documented, ...]:
    """The options of a class with the string literals that stand below its fields, as far as its source can be had."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        docs |= _field_docs(base)
    return tuple(
        Documented(
            name,
            option.words,
            None if option.default is MISSING else option.shown_default().partition("=")[2],
            docs.get(name, ""),
        )
        for name, option in options_of(cls).items()
    )


def _field_docs(cls: type) -> dict[str, str]:
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return {}
    docs = {}
    for field, below in itertools.pairwise(getattr(definition, "body", [])):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                docs[name] = inspect.cleandoc(doc)
    return docs
