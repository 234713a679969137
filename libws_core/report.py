"""Collecting what is wrong with a configuration, so that everything is told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NoReturn

from .errors import ConfigurationError, OptionError, PluginError, Problem


class Report:
    """The problems found so far, and what kind of error they make.

    Args:
        problems: those that were found elsewhere before, told first.
    """

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)
        self.kind: type[ConfigurationError] = OptionError
        self.cause: BaseException | None = None

    def plugin(self, name: str | None, text: str, cure: str | None = None, cause: BaseException | None = None) -> None:
        """A plugin cannot be found, loaded or used. The first `cause` becomes that of the error."""
        self.kind = PluginError
        self.cause = self.cause or cause
        self.problems.append(Problem(name, text, cure))

    def option(self, name: str | None, text: str, cure: str | None = None) -> None:
        """An option or an argument is wrong."""
        self.problems.append(Problem(name, text, cure))

    def merge(self, other: Report) -> None:
        """Take over what another report has found."""
        self.problems += other.problems
        self.cause = self.cause or other.cause
        if other.kind is PluginError:
            self.kind = PluginError

    def fail(self, text: str) -> NoReturn:
        """Raise everything at once."""
        raise self.kind(text, problems=tuple(self.problems)) from self.cause


def closest(word: str, among: Iterable[str]) -> str | None:
    """The name that was probably meant, None if none is near."""
    lowered = {name.lower(): name for name in among}
    found = difflib.get_close_matches(word.lower(), lowered, n=1, cutoff=0.65)
    return lowered[found[0]] if found else None


def did_you_mean(word: str, among: Iterable[str]) -> str | None:
    """The cure for a misspelt name, None if no name is near."""
    found = closest(word, among)
    return f"did you mean {found!r}?" if found else None
