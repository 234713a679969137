"""Dialers that are wrong about the opening handshake of RFC 6455, about redirects, or about TLS."""

from __future__ import annotations

import base64
import http
import ssl
from typing import Any

import pytest
from alone import WebSocketDialer, dialer_with
from catching import fails
from plain_dialer import PlainConnection
from plain_handshake import Asked, PlainDialer
from wrong_dialers import stubbornly

from libws_core import HandshakeRejected, Headers, Request

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

# The request


class Queryless(PlainDialer):
    def target(self, path: str, query: str) -> str:
        return super().target(path, "")


@fails("test_the_request_follows_rfc_6455")
class TestQueryless(WebSocketDialer):
    plugin = Queryless


class Keyed(PlainDialer):
    def key(self) -> str:
        return base64.b64encode(b"the key of my own").decode()[:22] + "=="


@fails("test_the_key_is_fresh_for_each_dial")
class TestKeyed(WebSocketDialer):
    plugin = Keyed


class Singular(PlainDialer):
    """Sends the last of several headers of one name."""

    def headers_for(self, request: Request, away: bool) -> Headers:
        return Headers(dict(super().headers_for(request, away).pairs))


@fails("test_headers_of_the_request_are_sent")
class TestSingular(WebSocketDialer):
    plugin = Singular


class Injected(PlainDialer):
    def check_request(self, request: Request) -> None:
        pass


@fails("test_line_ends_cannot_add_to_the_request")
class TestInjected(WebSocketDialer):
    plugin = Injected


# The answer


class Literal(PlainDialer):
    def check_connection(self, headers: Headers) -> None:
        super().check_connection(Headers({"Connection": headers.get("Connection", "").replace(",", "")}))


@fails("test_a_valid_answer_is_taken")
class TestLiteral(WebSocketDialer):
    plugin = Literal


class Summing(PlainConnection):
    """Tells one of several headers of one name."""

    def __init__(self, wire: Any, dialer: Any, headers: Headers, *more: Any) -> None:
        super().__init__(wire, dialer, Headers({name.lower(): value for name, value in headers.pairs}), *more)


@fails("test_the_subprotocol_and_headers_of_the_answer_are_told")
class TestSumming(WebSocketDialer):
    plugin = dialer_with(Summing)


class Credulous(PlainDialer):
    def check_accept(self, asked: Asked, headers: Headers) -> None:
        pass


@fails("test_an_answer_to_another_key_is_refused")
class TestCredulous(WebSocketDialer):
    plugin = Credulous


class Upgraded(PlainDialer):
    def check_upgrade(self, headers: Headers) -> None:
        pass


@fails("test_an_answer_that_upgrades_to_something_else_is_refused")
class TestUpgraded(WebSocketDialer):
    plugin = Upgraded


class Adaptable(PlainDialer):
    def check_subprotocol(self, subprotocol: str | None, request: Request) -> None:
        pass


@fails("test_a_subprotocol_that_nobody_asked_for_is_refused")
class TestAdaptable(WebSocketDialer):
    plugin = Adaptable


class Extended(PlainDialer):
    def check_extensions(self, extensions: str | None) -> None:
        pass


@fails("test_an_extension_that_nobody_asked_for_is_refused")
class TestExtended(WebSocketDialer):
    plugin = Extended


class Timeless(PlainDialer):
    def check_version(self, version: bytes) -> None:
        pass


@fails("test_what_is_no_answer_of_http_1_1_is_refused")
class TestTimeless(WebSocketDialer):
    plugin = Timeless


# Refusals


class Named(PlainDialer):
    """Knows only statuses that have a name."""

    async def rejected(self, asked: Asked, status: int, headers: Headers) -> HandshakeRejected:
        return await super().rejected(asked, status if status in list(http.HTTPStatus) else 500, headers)


@fails("test_a_refusal_tells_its_status")
class TestNamed(WebSocketDialer):
    plugin = Named


class Brief(PlainDialer):
    async def rejected(self, asked: Asked, status: int, headers: Headers) -> HandshakeRejected:
        return HandshakeRejected("refused", status=status, body=await self.body(asked, headers))


@fails("test_a_refusal_tells_its_headers_and_when_to_come_back")
class TestBrief(WebSocketDialer):
    plugin = Brief


class Bodiless(PlainDialer):
    async def body(self, asked: Asked, headers: Headers) -> bytes:
        return b""


@fails("test_a_refusal_tells_its_body")
class TestBodiless(WebSocketDialer):
    plugin = Bodiless


# Redirects


@fails("test_redirects_are_followed_as_the_class_says")
class TestFollowing(WebSocketDialer):
    """The dialer follows what its contract does not say."""

    redirects = False


class Lavish(PlainDialer):
    def headers_for(self, request: Request, away: bool) -> Headers:
        return request.headers


@fails("test_a_redirect_to_another_origin_carries_no_credentials")
class TestLavish(WebSocketDialer):
    plugin = Lavish


class Obedient(PlainDialer):
    def most_redirects(self) -> int:
        return 1000


@fails("test_a_circle_of_redirects_ends")
class TestObedient(WebSocketDialer):
    plugin = Obedient


# The socket below


class Stuck(PlainDialer):
    async def connect(self, request: Request, *more: Any) -> Any:
        return await stubbornly(lambda: super(Stuck, self).connect(request, *more), request.headers)


@fails("test_open_timeout_ends_a_dial_that_tcp_does_not_answer")
class TestStuck(WebSocketDialer):
    plugin = Stuck


class OwnIdea(PlainDialer):
    """Knows better than the request whom to trust."""

    def context(self, request: Request) -> ssl.SSLContext:
        return self.own_context()


@fails("test_the_context_of_the_request_is_used")
class TestOwnIdea(WebSocketDialer):
    plugin = OwnIdea


class Blind(PlainDialer):
    def own_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


@fails("test_a_certificate_that_nobody_trusts_is_refused")
class TestBlind(WebSocketDialer):
    plugin = Blind


class Anybody(PlainDialer):
    """Looks who has signed, and not for whom."""

    def context(self, request: Request) -> ssl.SSLContext:
        context = super().context(request)
        context.check_hostname = False
        return context


@fails("test_a_certificate_for_another_host_is_refused")
class TestAnybody(WebSocketDialer):
    plugin = Anybody
