"""Where questions and answers have their ids, and how a question gets one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from typing import Any

import msgspec

from libws_core import Kind, Message
from libws_core.match import key, matcher, names, template

NUMBER = "$number"
"""What stands for a new number in `make_id`."""


class Identity:
    """Finds the ids of questions and answers, and gives one to a question that has none.

    Args:
        path: where a question has its id: a path, or a function of the Message.
        make: what a new id is: a str with `$number`, or a function.
    """

    def __init__(self, path: str | Callable[[Message], Any], make: str | Callable[[], Any]) -> None:
        self._find = key(path)
        self._steps = None if callable(path) else path.split(".")
        self._make = make
        self._numbers = itertools.count(1)

    def question(self, asked: Any, taken: Container[Hashable]) -> tuple[Message, Any]:
        """The message of a question, and its id.

        Args:
            asked: what the user gave.
            taken: the keys of ids that are in use.

        Raises:
            TypeError: it is nothing that can be sent.
            ValueError: it cannot be JSON, or has no place for an id, or its id is no id or in use.
        """
        message = _message(asked)
        found = self._find(message)
        if found is None:
            found = self._new(taken)
            message = self._with(message, found)
        if (filed := filing(found)) is None:
            raise ValueError(f"an id must be a str or a number, not {type(found).__name__}")
        if filed in taken:
            raise ValueError(f"question {found!r} waits for its answer already; give each another id")
        return message, found

    def _new(self, taken: Container[Hashable]) -> Any:
        if callable(self._make):
            return self._make()
        while True:
            number = next(self._numbers)
            made = number if self._make == NUMBER else self._make.replace(NUMBER, str(number))
            if made not in taken:
                return made

    def _with(self, message: Message, identity: Any) -> Message:
        """A copy of a question with the id in its place."""
        if self._steps is None:
            raise ValueError("the question has no id, and where it should stand only a function knows: give it one")
        path = ".".join(self._steps)
        try:
            value = message.json
        except ValueError:
            raise ValueError(f"the question is not JSON, so it has no place for an id at {path!r}") from None
        try:
            made = msgspec.json.encode(_placed(value, self._steps, identity))
        except (KeyError, TypeError):
            raise ValueError(f"the question has no place for an id at {path!r}") from None
        return Message(message.kind, made.decode() if message.kind is Kind.TEXT else made)


def filing(identity: Any) -> Hashable:
    """What an id is filed under: equal only if both are equal as JSON, where true is not 1. None = it is no id."""
    if isinstance(identity, bool):
        return "bool", identity
    return identity if isinstance(identity, (str, int, float)) else None


def failure(error: Any) -> Callable[[Message], Any]:
    """Compile the option `error`: gives what the server said, None if an answer is none."""
    if error is None:
        return lambda message: None
    if isinstance(error, str):
        return key(error)
    match = matcher(error)
    named = isinstance(error, Mapping) and "error" in names(error)

    def find(message: Message) -> Any:
        if callable(error):
            said = error(message)
            return None if said is None or said is False else said
        bound = match(message)
        if bound is None:
            return None
        return bound["error"] if named else message.json

    return find


def check_make(make: Any) -> None:
    """Refuse a template that gives every question the same id."""
    if isinstance(make, str) and NUMBER not in make:
        raise ValueError(f"{NUMBER!r} must stand in it, or every question would have the same id")


def items(message: Message) -> Iterable[Any]:
    """The items of a JSON array; none if the message is none."""
    if message.data.lstrip()[:1] not in ("[", b"["):
        return ()
    try:
        value = message.json
    except ValueError:
        return ()
    return value if isinstance(value, list) else ()


def encoded(kind: Kind, value: Any) -> Message:
    """The message of a JSON value."""
    data = msgspec.json.encode(value)
    return Message(kind, data.decode() if kind is Kind.TEXT else data, value)


def _message(asked: Any) -> Message:
    if isinstance(asked, Message):
        if asked.kind is not Kind.TEXT and asked.kind is not Kind.BINARY:
            raise TypeError(f"a question is a text or a binary message, not {asked.kind.name}")
        return asked
    if isinstance(asked, str):
        return Message.text(asked)
    if isinstance(asked, (bytes, bytearray, memoryview)):
        return Message.binary(bytes(asked))
    if not isinstance(asked, (Mapping, list, tuple)):
        raise TypeError(f"a question is a dict, a list, a str, bytes or a Message, not {type(asked).__name__}")
    made = template(asked)
    assert made is not None  # only a callable gives none
    return made


def _placed(value: Any, steps: list[str], identity: Any) -> Any:
    """A copy with the id in its place; what lies beside the way is shared."""
    if not steps:
        return identity
    step, *rest = steps
    if isinstance(value, list):
        if not (step.isascii() and step.isdecimal() and int(step) < len(value)):
            raise KeyError(step)
        place = int(step)
        return [*value[:place], _placed(value[place], rest, identity), *value[place + 1 :]]
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise KeyError(step)
    return {**value, step: _placed(value.get(step), rest, identity)}
