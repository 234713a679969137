"""Plugins that log in, and are wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from catching import fails

from libws_core import LibwsError, Request, Secret, hookimpl
from libws_core.testing import AuthContract, refuse


@dataclass(eq=False, kw_only=True)
class Login:
    """Logs in by a header, and is right."""

    password: Secret = field(default_factory=lambda: Secret("a password nobody knows"))
    """The password."""
    source: Callable[..., Any] | None = None
    """Gives one."""

    @hookimpl
    def authenticate(self, request: Request) -> Request:
        return replace(request, headers=request.headers | {"Authorization": f"Bearer {self.ask(request)}"})

    def ask(self, request: Request) -> str:
        return self.password.reveal() if self.source is None else str(self.source(request))


def source(request: Request) -> str:
    return "renewed"


@dataclass(eq=False, kw_only=True)
class Hoping(Login):
    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        return error.but(verdict="retry") if error.status == 401 else None


@fails("test_a_refusal_ends_in_a_few_attempts")
class TestHoping(AuthContract):
    plugin = Hoping
    name = None


@dataclass(eq=False, kw_only=True)
class Keeping(Login):
    _kept: Secret | None = field(default=None, init=False, repr=False)

    def ask(self, request: Request) -> str:
        if self._kept is None:
            self._kept = Secret(super().ask(request))
        return self._kept.reveal()


@fails("test_its_source_is_asked_on_each_attempt")
class TestKeeping(AuthContract):
    plugin = Keeping
    name = None
    options: ClassVar = {"source": source}


@dataclass(eq=False, kw_only=True)
class Discouraged(Login):
    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        return error.but(verdict="fatal") if error.status == 401 else None


@fails("test_a_log_in_is_tried_again_with_renewed_credentials")
class TestDiscouraged(AuthContract):
    plugin = Discouraged
    name = None
    options: ClassVar = {"source": source}


@dataclass(eq=False, kw_only=True)
class Complaining(Login):
    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        body = getattr(error, "body", b"")
        if error.status != 402 or not body:
            return None
        better = error.but()
        better.text = f"refused: {body.decode()}"
        return better


@fails("test_a_refusal_shows_no_secret")
class TestComplaining(AuthContract):
    plugin = Complaining
    name = None
    refusals = (refuse(401), refuse(402))


@dataclass(eq=False, kw_only=True)
class Chatty(Login):
    def ask(self, request: Request) -> str:
        token = super().ask(request)
        logging.getLogger("wrong").debug("got the token %s", token)
        return token


@fails("test_a_refusal_shows_no_secret")
class TestChatty(AuthContract):
    plugin = Chatty
    name = None
    options: ClassVar = {"source": source}
