"""What two instances of a plugin have in common, and what a ride has changed in their class."""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import Iterator, MutableMapping, MutableSequence, MutableSet
from typing import Any

__all__ = ["Nonsense", "differences", "picture", "shared", "size"]

CHANGEABLE = (MutableMapping, MutableSequence, MutableSet, deque, bytearray)
LIVING = (asyncio.Future, asyncio.Event, asyncio.Lock, asyncio.Queue, asyncio.Semaphore, asyncio.Condition)
DEEP = 6
"""Levels of containers that are looked into."""


class Nonsense:
    """A value that no option has a use for."""

    def __repr__(self) -> str:
        return "<an object that means nothing>"


def shared(one: Any, other: Any) -> list[str]:
    """Where two instances lead to the same changeable object, such as "_cache['x']"."""
    package = type(one).__module__.partition(".")[0]
    theirs = {id(value) for _, value in _changeable(other, "", package, set())}
    return sorted({path for path, value in _changeable(one, "", package, set()) if id(value) in theirs})


def _changeable(value: Any, path: str, package: str, seen: set[int], depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > DEEP or id(value) in seen or isinstance(value, (type, enum.Enum)):
        return
    seen.add(id(value))
    own = type(value).__module__.partition(".")[0] == package and not _frozen(value)
    if path and (isinstance(value, (*CHANGEABLE, *LIVING)) or (own and hasattr(value, "__dict__"))):
        yield path, value
    if isinstance(value, MutableMapping | dict):
        inner = [(f"{path}[{key!r}]", item) for key, item in list(value.items())]
    elif isinstance(value, list | tuple | set | frozenset | deque):
        inner = [(f"{path}[{place}]", item) for place, item in enumerate(list(value))]
    elif own or not path:
        fields = {**_slots(value), **getattr(value, "__dict__", {})}
        inner = [(f"{path}.{name}" if path else f"field {name!r}", item) for name, item in fields.items()]
    else:
        return
    for where, item in inner:
        yield from _changeable(item, where, package, seen, depth + 1)


def _frozen(value: Any) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return callable(value) or isinstance(value, tuple) or (parameters is not None and parameters.frozen)


def _slots(value: Any) -> dict[str, Any]:
    names = [name for cls in type(value).__mro__ for name in _names(getattr(cls, "__slots__", ()))]
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def picture(cls: type) -> dict[str, Any]:
    """What a class holds now: its attributes, and what is in its containers."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("builtins", "typing", "abc"):
            continue
        for name, value in vars(base).items():
            if not (name.startswith("__") and name.endswith("__")) and name != "_abc_impl":
                found.setdefault(name, (value, _contents(value)))
    return found


def _contents(value: Any) -> Any:
    if isinstance(value, CHANGEABLE):
        return repr(value)
    return None


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of the attributes that have changed, come or gone."""
    changed = [name for name in {**before, **after} if _differ(before.get(name), after.get(name))]
    return sorted(changed)


def _differ(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return True
    return one[0] is not other[0] or one[1] != other[1]


def size(plugin: Any) -> int:
    """How many objects lie within an instance's fields, containers counted item by item."""
    count, waiting, seen = 0, [{**_slots(plugin), **getattr(plugin, "__dict__", {})}], set[int]()
    while waiting:
        value: Any = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        count += 1
        if isinstance(value, MutableMapping | dict):
            waiting += list(value.values())
        elif isinstance(value, list | tuple | set | frozenset | deque):
            waiting += list(value)
        elif isinstance(value, str | bytes | bytearray):
            count += len(value) // 64
        elif type(value).__module__.partition(".")[0] == type(plugin).__module__.partition(".")[0]:
            waiting += [*_slots(value).values(), *getattr(value, "__dict__", {}).values()]
    return count
