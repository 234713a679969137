"""Credentials as plugins take them: held so that they never print, or given by a function that is asked anew.

For plugins that log in, beside `Secret`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import AuthenticationError, LibwsError
from .match import call
from .secret import Secret
from .verdicts import Verdict

__all__ = ["Item", "ask_source", "concealed", "revealed"]

BUGS = (TypeError, AttributeError, NameError, ImportError, AssertionError, NotImplementedError)
"""What a function raises that is wrong itself; trying again does not mend it."""

if TYPE_CHECKING:
    Item = Any
else:
    # What a log-in may hold. Told level by level, so that the core makes a Secret of each string before it shows any.
    Leaf = Secret | bool | int | float | None
    Item = Leaf | dict[str, Any] | list[Any]
    for _ in range(4):
        Item = Leaf | dict[str, Item] | list[Item]
"""The annotation of what stands in an option that is a log-in of several parts: `dict[str, Item]`."""


async def ask_source(option: str, source: Callable[..., Any], *arguments: Any) -> Any:
    """What a user's function gives, plain or async; it need not take the arguments.

    Args:
        option: the option that holds it, for the error.
        source: the function.
        arguments: for it, such as the request.

    Raises:
        AuthenticationError: it raised; RETRY. That may quote a secret, so only its kind is told.
        LibwsError: what it raised itself.
        Exception: one of those that a wrong function raises, as it is.
    """
    try:
        made = call(source, *arguments)
        return await made if inspect.isawaitable(made) else made
    except (LibwsError, *BUGS):
        raise
    except Exception as error:
        text = f"option {option!r} gave no answer: {type(error).__name__}"
        raise AuthenticationError(text, verdict=Verdict.RETRY) from None


def concealed(value: Any) -> Any:
    """The same with every text in it, at whatever depth, held as a Secret."""
    if isinstance(value, str):
        return Secret(value)
    if isinstance(value, Mapping):
        return {name: concealed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [concealed(item) for item in value]
    return value


def revealed(value: Any) -> Any:
    """The same with every Secret in it as its str: for the wire, never for a text."""
    if isinstance(value, Secret):
        return value.reveal()
    if isinstance(value, Mapping):
        return {name: revealed(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [revealed(item) for item in value]
    return value
