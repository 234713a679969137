"""Plugins that tell a secret, each in another way, and in another form."""

from __future__ import annotations

import base64
import logging
import warnings
from dataclasses import dataclass, field
from typing import ClassVar

from catching import fails

from libws_core import AttemptFailed, Connected, Event, LibwsError, Request, Secret, Session, hookimpl
from libws_core.testing import PluginContract


@dataclass(eq=False, kw_only=True)
class Trusted:
    """Has a password."""

    password: Secret = field(default_factory=lambda: Secret("a password nobody knows"))
    """The password."""


@dataclass(eq=False, kw_only=True)
class Logging(Trusted):
    @hookimpl
    def keep_alive(self, session: Session) -> None:
        logging.getLogger("wrong").debug("logged in with %s", self.password.reveal())


@fails("test_its_secrets_stay_hidden")
class TestLogging(PluginContract):
    plugin = Logging
    name = None


@dataclass(eq=False, kw_only=True)
class Encoding(Trusted):
    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, AttemptFailed):
            user = base64.b64encode(f"somebody:{self.password.reveal()}".encode()).decode()
            logging.getLogger("wrong").warning("refused: Basic %s", user)


@fails("test_its_secrets_stay_hidden")
class TestEncoding(PluginContract):
    plugin = Encoding
    name = None


@dataclass(eq=False, kw_only=True)
class Explaining(Trusted):
    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        if error.status != 401:
            return None
        better = error.but()
        better.text = f"refused with the password {self.password.reveal()}"
        return better


@fails("test_its_secrets_stay_hidden")
class TestExplaining(PluginContract):
    plugin = Explaining
    name = None
    options: ClassVar = {"password": "another password"}


@dataclass(eq=False, kw_only=True)
class Deprecating(Trusted):
    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, Connected):
            warnings.warn(f"an old password: {self.password.reveal()}", stacklevel=1)


@fails("test_its_secrets_stay_hidden")
class TestDeprecating(PluginContract):
    plugin = Deprecating
    name = None


@dataclass(eq=False, kw_only=True)
class Printing(Trusted):
    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, Connected):
            print(self.password.reveal())


@fails("test_its_secrets_stay_hidden")
class TestPrinting(PluginContract):
    plugin = Printing
    name = None
