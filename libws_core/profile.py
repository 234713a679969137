"""Profiles: clients described in a TOML file, with their secrets in the environment or in files beside it."""

from __future__ import annotations

import os
import ssl
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, TypeVar

from msgspec import Meta

from .conversion import Mismatch, convert, explained
from .errors import Problem, ProfileError
from .report import did_you_mean
from .secret import Secret

T = TypeVar("T")
Seconds = Annotated[float, Meta(gt=0)]
Size = Annotated[int, Meta(gt=0)]

ARGUMENTS: Mapping[str, Any] = {
    "url": str,
    "plugins": list[str],
    "options": dict[str, dict[str, Any]],
    "headers": dict[str, str],
    "subprotocols": list[str],
    "origin": str,
    "user_agent": str | Literal[False],
    "proxy": str | Literal[False],
    "tls": dict[str, str],
    "open_timeout": Seconds,
    "close_timeout": Seconds,
    "healthy_after": Annotated[float, Meta(ge=0)],
    "inbox_messages": Size,
    "inbox_bytes": Size,
    "name": str,
}
"""The keys of a client's table. `false` for user_agent or proxy means none; `tls` makes the argument `ssl`."""
TLS = ("ca", "cert", "key", "password")
"""The keys of `tls`: files of trusted certificates, of the client's own certificate and its key, and its password."""
LIMIT = 2**20
"""Bytes that a file with a secret may have."""


@dataclass(frozen=True, repr=False)
class Profile:
    """One client of a profile file. Its repr shows no values, since they may be secrets."""

    source: str
    """Such as "profile trading.toml"; the name of its layer of options."""
    arguments: Mapping[str, Any]
    """Arguments of `Client` as keywords, without `options`: `url`, and what else the file has."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Plugin -> option -> value. What came from the environment or from a file is a Secret here."""

    @property
    def url(self) -> str:
        """Where to connect to."""
        url: str = self.arguments["url"]
        return url

    @property
    def plugins(self) -> Sequence[str]:
        """The list of plugins, empty if the file has none."""
        plugins: Sequence[str] = self.arguments.get("plugins", ())
        return plugins

    def __repr__(self) -> str:
        return f"Profile({self.source!r})"


class _Place(NamedTuple):
    """Where a value stands, for texts."""

    plugin: str | None
    text: str

    def below(self, key: str) -> _Place:
        if self.text == "options" and self.plugin is None:
            return _Place(key, "")
        if self.plugin is not None and not self.text:
            return _Place(self.plugin, f"option {key!r}")
        return _Place(self.plugin, f"{self.text}.{key}" if self.text else key)


def load(path: str | os.PathLike[str], client: str | None = None, environ: Mapping[str, str] | None = None) -> Profile:
    """Read one client of a profile.

    Args:
        path: the file; "~" is the user's home.
        client: NAME of the table [clients.NAME]; None takes [client], or the only one there is.
        environ: where `{ env = "NAME" }` is looked up; None takes the process's environment.

    Raises:
        ProfileError: the file cannot be read or is not understood; tells every problem.
    """
    return _Reader(path, os.environ if environ is None else environ).read(client)


class _Reader:
    def __init__(self, path: str | os.PathLike[str], environ: Mapping[str, str]) -> None:
        self.source = f"profile {os.fspath(path)}"
        self.path = Path(path).expanduser()
        self.environ = environ
        self.problems: list[Problem] = []

    def read(self, client: str | None) -> Profile:
        table, title = self.choose(self.parse(), client)
        values: dict[str, Any] = {}
        for key, value in table.items():
            if key not in ARGUMENTS:
                self.problem(f"[{title}] has an unknown key {key!r}", did_you_mean(key, ARGUMENTS))
                continue
            resolved = self.resolve(value, _Place(None, key))
            try:
                values[key] = convert(resolved, ARGUMENTS[key])
            except Mismatch as mismatch:
                self.problem(f"[{title}] {key}: {explained(mismatch, resolved, ARGUMENTS[key])}")
        if "url" not in table:
            self.problem(f"[{title}] has no url")
        arguments: dict[str, Any] = {key: None if value is False else value for key, value in values.items()}
        if "tls" in arguments:
            arguments["ssl"] = self.context(arguments.pop("tls"), title)
        if self.problems:
            self.fail()
        options = arguments.pop("options", {})
        return Profile(self.source, arguments, options)

    def parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.path.read_text("utf-8"))
        except OSError as error:
            self.fail(error.strerror or type(error).__name__)
        except UnicodeDecodeError:
            self.fail("is not UTF-8")
        except tomllib.TOMLDecodeError as error:
            self.fail(f"is not TOML: {error}")

    def choose(self, document: dict[str, Any], client: str | None) -> tuple[dict[str, Any], str]:
        """The client's table and its title."""
        for key in document:
            if key not in ("client", "clients"):
                self.problem(f"unknown table [{key}]", did_you_mean(key, ["client", "clients"]))
        clients = document.get("clients", {})
        if not isinstance(clients, dict):
            self.fail("clients: expected tables [clients.NAME]")
        if client is None and "client" not in document and len(clients) == 1:
            client = next(iter(clients))
        if client is None and "client" not in document:
            names = ", ".join(map(repr, clients))
            self.fail(f"has several clients, say which: {names}" if clients else "has no table [client]")
        if client is not None and client not in clients:
            cure = did_you_mean(client, clients) or (f"there are {', '.join(map(repr, clients))}" if clients else None)
            self.fail(f"has no table [clients.{client}]", cure)
        table = document["client"] if client is None else clients[client]
        title = "client" if client is None else f"clients.{client}"
        if not isinstance(table, dict):
            self.fail(f"{title}: expected a table")
        return table, title

    def resolve(self, value: Any, place: _Place) -> Any:
        """The value with each `{ env = ... }` and `{ file = ... }` in it replaced by a Secret."""
        if isinstance(value, list):
            return [self.resolve(item, place.below(str(number))) for number, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and isinstance(value.get("env"), str):
            return self.from_environment(value["env"], place)
        if len(value) == 1 and isinstance(value.get("file"), str):
            return self.from_file(value["file"], place)
        return {key: self.resolve(item, place.below(key)) for key, item in value.items()}

    def from_environment(self, name: str, place: _Place) -> Secret:
        if name not in self.environ:
            self.problem(f"{place.text or 'options'}: environment variable {name!r} is not set", plugin=place.plugin)
        return Secret(self.environ.get(name, ""))

    def from_file(self, name: str, place: _Place) -> Secret:
        try:
            with (self.path.parent / Path(name).expanduser()).open("rb") as file:
                content = file.read(LIMIT + 1)
            if len(content) > LIMIT:
                raise OSError(0, f"it is larger than {LIMIT} bytes")
            return Secret(content.decode().rstrip("\r\n"))
        except OSError as error:
            reason = error.strerror or type(error).__name__
        except UnicodeDecodeError:
            reason = "it is not UTF-8"
        self.problem(f"{place.text or 'options'}: cannot read file {name!r}: {reason}", plugin=place.plugin)
        return Secret("")

    def context(self, files: Mapping[str, str], title: str) -> ssl.SSLContext | None:
        """The TLS context that `tls` describes; its files are relative to the profile."""
        for key in files:
            if key not in TLS:
                self.problem(f"[{title}] tls has an unknown key {key!r}", did_you_mean(key, TLS))
        if "cert" not in files and ("key" in files or "password" in files):
            self.problem(f"[{title}] tls: key and password belong to a cert")
        paths = {key: str(self.path.parent / Path(files[key]).expanduser()) for key in TLS[:3] if key in files}
        context = self.attempt(f"[{title}] tls.ca", lambda: ssl.create_default_context(cafile=paths.get("ca")))
        if context is not None and "cert" in paths:
            # Without a password OpenSSL would ask for one at the terminal.
            password = files.get("password", "")
            self.attempt(
                f"[{title}] tls.cert",
                lambda: context.load_cert_chain(paths["cert"], paths.get("key"), lambda: password),
            )
        return context

    def attempt(self, what: str, build: Callable[[], T]) -> T | None:
        try:
            return build()
        except ssl.SSLError as error:
            self.problem(f"{what}: OpenSSL cannot use it: {error.reason or 'no certificate or key'}")
        except OSError as error:
            self.problem(f"{what}: {error.strerror or type(error).__name__}")
        return None

    def problem(self, text: str, cure: str | None = None, plugin: str | None = None) -> None:
        self.problems.append(Problem(plugin, text, cure))

    def fail(self, text: str | None = None, cure: str | None = None) -> NoReturn:
        """Raise what was found, after one more if it is given."""
        if text is not None:
            self.problem(text, cure)
        raise ProfileError(f"cannot use {self.source}:", problems=tuple(self.problems)) from None
