"""Checking and converting a value against an annotation, and saying what does not fit.

A union's members are tried one by one and containers are walked item by item, since msgspec refuses some of both;
it does the leaves. A text never quotes a value that is, or holds, a Secret.
"""

from __future__ import annotations

import collections.abc
import itertools
import math
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import msgspec

from .secret import Secret, public_url

_ANYTHING = (Any, object)
_CALLABLE: tuple[Any, ...] = (Callable, typing.Callable)
_SPECIAL: tuple[Any, ...] = (Secret, None, types.NoneType, *_CALLABLE)
_TEXTUAL: tuple[Any, ...] = (str, bytes, Secret, Any)
_SCALARS = (bool, int, float, complex, str, bytes, bytearray)
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_LISTS = (
    *(list, collections.abc.Sequence, collections.abc.MutableSequence),
    *(collections.abc.Collection, collections.abc.Iterable),
)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class Text(str):
    """A value written as text, by a person or in the environment: "5" may stand for the number and "true" for True.

    Strings in a profile or in Python are no Text: there a number is a number. A Secret counts as one where the option
    does not want a Secret.
    """

    __slots__ = ()


class Mismatch(Exception):
    """A value does not fit its annotation."""

    def __init__(self, expected: str, value: Any, path: str = "") -> None:
        super().__init__(expected)
        self.expected, self.value, self.path = expected, value, path


def convert(value: Any, annotation: Any, infinity: bool = False) -> Any:
    """The value as `annotation` wants it.

    Args:
        infinity: an infinite number makes sense here.

    Raises:
        Mismatch: it does not fit.
    """
    return _Converter(infinity).convert(value, annotation, "")


class _Converter:
    def __init__(self, infinity: bool) -> None:
        self.infinity = infinity
        """Infinite numbers make sense: the default is one."""

    def convert(self, value: Any, annotation: Any, path: str) -> Any:
        if annotation in _ANYTHING or isinstance(annotation, str | typing.ForwardRef | typing.TypeVar):
            return value
        if isinstance(annotation, typing.NewType):
            return self.convert(value, annotation.__supertype__, path)
        if hasattr(annotation, "__value__"):  # type X = ..., Python 3.12
            return self.convert(value, annotation.__value__, path)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.constrain(value, annotation, path)
        if origin in (typing.Union, types.UnionType):
            return self.one_of(value, annotation, arguments, path)
        if annotation in _SPECIAL or origin in _CALLABLE:
            return self.special(value, annotation, path)
        if isinstance(value, Secret):
            value = Text(value.reveal())
        kind = origin or annotation
        if origin is typing.Literal:
            return self.literal(value, annotation, arguments, path)
        if kind in _MAPPINGS and isinstance(value, Mapping):
            return self.mapping(value, arguments or (Any, Any), path)
        if kind in (*_LISTS, *_SETS, tuple):
            if isinstance(value, list | tuple | set | frozenset):
                return self.items(value, kind, annotation, arguments, path)
            if isinstance(value, str | bytes | Mapping):  # one string is a sequence of strings too
                raise Mismatch(described(annotation), value, path)
        return self.leaf(value, annotation, kind, path)

    def constrain(self, value: Any, annotation: Any, path: str) -> Any:
        try:
            converted = self.convert(value, annotation.__origin__, path)
        except Mismatch as mismatch:
            if mismatch.path != path:
                raise
            whole = mismatch.expected.replace(described(annotation.__origin__), described(annotation))
            raise Mismatch(whole, value, path) from None
        metas = [meta for meta in annotation.__metadata__ if isinstance(meta, msgspec.Meta)]
        for meta in metas:
            try:
                msgspec.convert(converted, typing.Annotated[type(converted), meta], builtin_types=(bytes,))
            except msgspec.ValidationError:
                raise Mismatch(described(annotation), value, path) from None
            except TypeError:
                pass  # a bound that has no meaning for this member of a union, such as None
        return converted

    def one_of(self, value: Any, annotation: Any, members: tuple[Any, ...], path: str) -> Any:
        if isinstance(value, Text):  # a string takes any text, so it is the last to be asked
            ranked = sorted(members, key=lambda member: _kind(member) in _TEXTUAL)
        else:
            ranked = sorted(members, key=lambda member: _kind(member) is not type(value))
        nested = None
        for member in ranked:
            try:
                return self.convert(value, member, path)
            except Mismatch as mismatch:
                if mismatch.path != path:
                    nested = mismatch
        raise nested or Mismatch(described(annotation), value, path)

    def special(self, value: Any, annotation: Any, path: str) -> Any:
        if annotation is Secret:
            if isinstance(value, str | Secret):
                return value if isinstance(value, Secret) else Secret(str(value))
        elif annotation in (None, types.NoneType):
            if value is None or (isinstance(value, Text | Secret) and _plain(value).lower() in ("none", "null")):
                return None
        elif callable(value):
            return value
        raise Mismatch(described(annotation), value, path)

    def literal(self, value: Any, annotation: Any, choices: tuple[Any, ...], path: str) -> Any:
        for choice in choices:
            if (type(choice) is type(value) and choice == value) or (isinstance(value, Text) and str(choice) == value):
                return choice
        raise Mismatch(described(annotation), value, path)

    def mapping(self, value: Mapping[Any, Any], arguments: tuple[Any, ...], path: str) -> dict[Any, Any]:
        converted = {}
        for key, item in value.items():
            at = f"{path}.{key}" if path else str(key)
            if isinstance(key, int) and arguments[0] is str:
                own = str(key)  # {429: ...} is as good as TOML's {"429" = ...}
            else:
                own = self.convert(Text(key) if type(key) is str else key, arguments[0], f"key of {at}")
            converted[own] = self.convert(item, arguments[1], at)
        return converted

    def items(self, value: Any, kind: Any, annotation: Any, arguments: tuple[Any, ...], path: str) -> Any:
        wanted = itertools.repeat(arguments[0] if arguments else Any)
        if kind is tuple and arguments and arguments[-1] is not ...:
            if len(arguments) != len(value):
                raise Mismatch(described(annotation), value, path)
            wanted = itertools.chain(arguments)  # type: ignore[assignment]
        converted = [
            self.convert(item, each, f"{path}[{place}]")
            for place, (item, each) in enumerate(zip(value, wanted, strict=False))
        ]
        if kind in _SETS:
            return frozenset(converted) if kind is frozenset else set(converted)
        return tuple(converted) if kind is tuple or (kind is not list and isinstance(value, tuple)) else converted

    def leaf(self, value: Any, annotation: Any, kind: Any, path: str) -> Any:
        if isinstance(kind, type) and kind not in _SCALARS:
            try:
                if isinstance(value, kind):
                    return value
            except TypeError:
                return value  # a protocol that cannot be checked
            if issubclass(kind, PurePath) and isinstance(value, str):
                return kind(value)
        if isinstance(value, Text):
            if kind is bytes:
                return value.encode()
            value = str(value)
            strict = False
        else:
            strict = True
        try:
            converted = msgspec.convert(value, annotation, strict=strict, builtin_types=(bytes, bytearray))
        except msgspec.ValidationError as error:
            _, _, where = str(error).partition(" - at `$")
            raise Mismatch(described(annotation), value, path + where.removesuffix("`")) from None
        except TypeError:
            raise Mismatch(described(annotation), value, path) from None
        if isinstance(converted, float) and not math.isfinite(converted) and not (self.infinity and converted > 0):
            raise Mismatch(f"a finite {described(annotation)}", value, path)
        return converted


def _kind(annotation: Any) -> Any:
    """The bare class of a union's member."""
    origin = typing.get_origin(annotation)
    return _kind(annotation.__origin__) if origin is typing.Annotated else origin or annotation


def _plain(value: str | Secret) -> str:
    return value.reveal() if isinstance(value, Secret) else value


def explained(mismatch: Mismatch, given: Any, annotation: Any) -> str:
    """What is wrong, such as "expected float, got str 'fast'". Says only the type of what is or holds a secret."""
    value = mismatch.value
    at = f"at {mismatch.path}: " if mismatch.path else ""
    if value is None:
        return f"{at}expected {mismatch.expected}, got None"
    kind = "str" if isinstance(value, Text | Secret) else type(value).__name__
    if holds_secret(given) or mentions_secret(annotation):
        return f"{at}expected {mismatch.expected}, got {kind} ***"
    return f"{at}expected {mismatch.expected}, got {kind} {shown(value)}"


def holds_secret(value: Any) -> bool:
    """Whether a Secret is, or lies within, the value."""
    if isinstance(value, Mapping):
        return any(holds_secret(item) for item in value.values())
    return isinstance(value, Secret) or (isinstance(value, list | tuple) and any(holds_secret(item) for item in value))


def mentions_secret(annotation: Any) -> bool:
    """Whether a value of this annotation may be a Secret."""
    return annotation is Secret or any(mentions_secret(part) for part in typing.get_args(annotation))


def shown(value: Any) -> str:
    """A value for people: short, and a URL without what it may hide."""
    if isinstance(value, str):
        text = repr(public_url(value) if "://" in value else str(value))
    elif callable(value):
        text = getattr(value, "__qualname__", type(value).__name__)
    elif isinstance(value, Enum):
        text = repr(value.value)
    else:
        try:
            text = repr(value)
        except Exception:  # such as an integer of thousands of digits
            text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."


def described(annotation: Any) -> str:
    """An annotation in words: "float >= 0 or None", "'full' or 'none'"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        metas = [meta for meta in annotation.__metadata__ if isinstance(meta, msgspec.Meta)]
        return " ".join([described(arguments[0]), *(bound for meta in metas for bound in _bounds(meta))])
    if origin in (typing.Union, types.UnionType, typing.Literal):
        words = [repr(each) if origin is typing.Literal else described(each) for each in arguments]
        return f"{', '.join(words[:-1])} or {words[-1]}" if words[1:] else words[0]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return described(typing.Literal[tuple(member.value for member in annotation)])
    if annotation in (None, types.NoneType):
        return "None"
    if annotation in _CALLABLE or origin in _CALLABLE:
        return "callable"
    if isinstance(annotation, typing.NewType):
        return described(annotation.__supertype__)
    name = getattr(origin or annotation, "__name__", None) or str(annotation)
    inner = ", ".join("..." if each is ... else described(each) for each in arguments)
    return f"{name}[{inner}]" if inner else name


def _bounds(meta: msgspec.Meta) -> Iterator[str]:
    for sign, bound in ((">", meta.gt), (">=", meta.ge), ("<", meta.lt), ("<=", meta.le)):
        if bound is not None:
            yield f"{sign} {bound:g}"
    if meta.multiple_of is not None:
        yield f"in steps of {meta.multiple_of:g}"
    if meta.min_length is not None:
        yield f"of length >= {meta.min_length}"
    if meta.max_length is not None:
        yield f"of length <= {meta.max_length}"
    if meta.pattern is not None:
        yield f"matching {meta.pattern!r}"
