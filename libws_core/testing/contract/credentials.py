"""Which options are credentials: told by name and annotation together, so that few others sound like them."""

from __future__ import annotations

import re
import types
import typing
from typing import Any

from ...options import options_of

__all__ = ["bare", "sounds_like_one"]

ALWAYS = frozenset(
    [
        *["password", "passwd", "passphrase", "passcode", "pin", "secret", "token", "jwt", "bearer", "credential"],
        *["credentials", "apikey", "otp"],
    ]
)
"""Words that name a credential where they end an option's name: `password`, `api_token`, not `token_url`."""
KEYS = frozenset(
    [
        *["access", "account", "api", "app", "application", "auth", "client", "consumer", "encryption", "master"],
        *["private", "secret", "shared", "signing", "subscription"],
    ]
)
"""What makes a credential of a `key`: `api_key`, not `key` or `sort_key`."""


def sounds_like_one(name: str) -> bool:
    """Whether an option of this name is a credential, if it takes a string."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    return words[-1] in ALWAYS or (words[-1] == "key" and not KEYS.isdisjoint(words[:-1]))


def bare(plugin: type) -> list[str]:
    """The options that sound like credentials and are held as plain strings."""
    return [
        name for name, option in options_of(plugin).items() if sounds_like_one(name) and _is_string(option.annotation)
    ]


def _is_string(annotation: Any) -> bool:
    """Whether the annotation is str or bytes, perhaps bounded, perhaps with None beside it."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _is_string(annotation.__origin__)
    if origin in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not types.NoneType]
        return all(map(_is_string, members))
    if isinstance(annotation, typing.NewType):
        return _is_string(annotation.__supertype__)
    return annotation in (str, bytes)
