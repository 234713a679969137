"""What the commands dial and how: a URL or a profile, with what the command line adds."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from ..profile import Profile

_GIVEN = Parameter(negative=(), show_default=False)
_HYPHENED = Parameter(negative=(), show_default=False, allow_leading_hyphen=True)
Enable = Annotated[tuple[str, ...], _HYPHENED, Parameter(name="--enable")]
Set = Annotated[tuple[str, ...], _HYPHENED, Parameter(name="--set")]
HeaderLines = Annotated[tuple[str, ...], _GIVEN, Parameter(name="--header")]
Subprotocols = Annotated[tuple[str, ...], _GIVEN, Parameter(name="--subprotocol")]
AsJson = Annotated[bool, _GIVEN, Parameter(name="--json")]
ClientName = Annotated[str | None, Parameter(name="--client")]
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+:(?!\d)")  # of two letters at least: C:\client.toml is a file


class UsageError(Exception):
    """The command line cannot be understood. The text quotes no value, since it may be a secret."""


@dataclass(frozen=True, repr=False)
class Target:
    """What a command line says about a client. Its repr shows nothing, since values may be secrets."""

    where: str
    """A URL, or the path of a profile."""
    client: str | None = None
    """Which client of the profile."""
    enable: Sequence[str] = ()
    """Plugins to add to the list, and removals such as "-pong"."""
    settings: Sequence[str] = ()
    """Options, each PLUGIN.OPTION=VALUE."""
    headers: Sequence[str] = ()
    """More headers for the handshake, each "Name: value"; they take the place of their namesakes in the profile."""
    subprotocols: Sequence[str] = ()
    """Subprotocols to offer, in the place of the profile's."""

    def arguments(self) -> dict[str, Any]:
        """The arguments for `Client`.

        Raises:
            UsageError: the command line is not understood.
            ProfileError: the profile is wrong; tells every problem.
        """
        from ..headers import Headers

        arguments: dict[str, Any] = {"options": read_settings(self.settings)}
        headers = [_header(line) for line in self.headers]
        if self._is_url():
            if self.client is not None:
                raise UsageError("--client chooses from a profile; a URL has none")
            arguments |= {"url": self.where, "plugins": [*self.enable]}
        else:
            profile = self._profile()
            arguments |= profile.arguments
            arguments["plugins"] = [*profile.plugins, *self.enable]
            arguments["_profile"] = (profile.source, profile.options)
        if headers:
            try:
                arguments["headers"] = Headers(arguments.get("headers", {})) | Headers(headers)
            except ValueError as error:  # its text names the header, never its value
                raise UsageError(str(error)) from None
        if self.subprotocols:
            arguments["subprotocols"] = [*self.subprotocols]
        return arguments

    def _is_url(self) -> bool:
        """It has "://" in it, or begins with a scheme, such as replay:x.jsonl, and is no file; HOST:PORT has none."""
        return "://" in self.where or (_SCHEME.match(self.where) is not None and not Path(self.where).exists())

    def _profile(self) -> Profile:
        from ..errors import Problem, ProfileError
        from ..profile import load

        if not Path(self.where).expanduser().exists():
            problem = Problem(None, f"there is no file {self.where!r}", "a URL begins with a scheme, such as wss://")
            raise ProfileError("cannot use the profile:", problems=(problem,))
        return load(self.where, self.client)


def read_settings(settings: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Options of the command line: plugin -> option -> value.

    Raises:
        UsageError: one is not PLUGIN.OPTION=VALUE.
    """
    options: dict[str, dict[str, Any]] = {}
    for setting in settings:
        path, equals, written = setting.partition("=")
        plugin, dot, option = (part.strip() for part in path.partition("."))
        if not (equals and dot and plugin and option):
            got = f", got {path!r} before the '='" if equals else ""
            raise UsageError(f"--set takes PLUGIN.OPTION=VALUE, such as backoff.cap=5{got}")
        options.setdefault(plugin, {})[option] = read_value(written)
    return options


def read_value(written: str) -> Any:
    """The value that a person wrote: a list, table or quoted string as in TOML, else a text.

    A bare `5` or `true` stays a text, which is converted as the option is declared: to a number for a number, and
    a token of digits is a token.
    """
    from ..conversion import Text

    try:
        document = tomllib.loads(f"value = {written}")
    except tomllib.TOMLDecodeError:
        return Text(written)
    value = document["value"] if len(document) == 1 else None
    quoted = isinstance(value, str) and written.strip()[:1] in ("'", '"')
    return value if quoted or isinstance(value, list | Mapping) else Text(written.strip())


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise UsageError("--header takes 'Name: value'")
    return name.strip(), value.strip()
