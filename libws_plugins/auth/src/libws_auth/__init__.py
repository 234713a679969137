"""Log in by header, query or first message, with fixed credentials or ones that are fetched anew."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from libws_core import AuthenticationError, Headers, Message, Request, Secret, Session, Verdict, hookimpl
from libws_core.credentials import Item, ask_source, concealed
from libws_core.match import Matcher, check_template, matcher, names, template
from libws_core.url import with_query

__all__ = ["Auth"]

TOKEN = "auth.token"
"""Where the token of an attempt stands in `Request.extra`, as a Secret."""


@dataclass(eq=False, kw_only=True)
class Auth:
    """Log in: by header or query before the connection is made, by a message right after.

    Everything that is set is used together. Whatever is a secret is held as `Secret` and never printed. Callables may
    be plain or async, and may leave out their argument. What one raises is a failure that is tried again as
    `reconnect` says; to stop, raise `AuthenticationError("...", verdict="fatal")`.
    """

    bearer: Secret | None = None
    """A token for the header `Authorization: Bearer ...`."""
    basic: Secret | tuple[str, Secret] | None = None
    """User and password for the header `Authorization: Basic ...`: a pair, or "user:password"."""
    header: dict[str, Secret] | Callable[..., Any] | None = None
    """Headers: name -> value. A callable gets the request and gives such a mapping, on each attempt."""
    query: dict[str, Secret] | Callable[..., Any] | None = None
    """Query parameters: name -> value, encoded here; one of the same name in the URL is replaced. Or a callable."""
    message: Secret | bytes | dict[str, Item] | list[Item] | Message | Callable[..., Any] | None = field(
        default=None, repr=False
    )
    """What to send first on each connection: a str as text, bytes as binary, a dict or list as JSON text. A callable
    gets the session and gives any of these, or None to send nothing."""
    expect: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message ends the log-in; it is waited for and taken out of the stream, others stay in it. None = none."""
    reject: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which message says that the log-in is refused, while `expect` is waited for: AuthenticationError."""
    token: Callable[..., Any] | None = None
    """Gives a token; asked anew on each attempt, with the request. It takes the place of `$token` in `header`, `query`
    and `message`; where that stands in none of them, it is used as `bearer`."""

    _token_is_bearer: bool = field(default=False, init=False, repr=False)
    _expect: Matcher | None = field(default=None, init=False, repr=False)
    _reject: Matcher | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.bearer = _secret(self.bearer)
        self.basic = _pair(self.basic)
        self.header, self.query = _secrets(self.header), _secrets(self.query)
        if isinstance(self.message, (bytes, bytearray, memoryview)):
            self.message = Message.binary(bytes(self.message))
        self.message = concealed(self.message)
        ways = {name: getattr(self, name) for name in ("bearer", "basic", "header", "query", "message", "token")}
        if all(value is None for value in ways.values()):
            raise ValueError(f"auth has nothing to log in with; set {', '.join([*ways][:-1])} or token")
        self._check_token()
        self._check_headers()
        try:
            if self.message is not None and not callable(self.message):
                check_template(self.message)
        except ValueError as error:
            raise ValueError(f"option 'message': {error}") from None
        self._expect, self._reject = _match("expect", self.expect), _match("reject", self.reject)
        if self._reject is not None and self._expect is None:
            raise ValueError("option 'reject' is looked for while 'expect' is waited for; set 'expect' too")

    def _check_token(self) -> None:
        placed = [name for name in ("header", "query", "message") if "token" in names(getattr(self, name))]
        if placed and self.token is None:
            raise ValueError(f"option {placed[0]!r} has a place for a token, but 'token' is not set")
        self._token_is_bearer = self.token is not None and not placed

    def _check_headers(self) -> None:
        """Refuse now what would break the request: two log-ins in one header, line ends, characters beyond HTTP."""
        own = self.header if isinstance(self.header, dict) else {}
        claims = [name for name in ("bearer", "basic") if getattr(self, name) is not None]
        claims += ["header"] * any(name.lower() == "authorization" for name in own)
        claims += ["token"] * self._token_is_bearer
        if len(claims) > 1:
            raise ValueError(f"{' and '.join(claims)} both set the header Authorization; set one of them")
        options = {
            "header": {name: value.reveal() for name, value in own.items()},
            "bearer" if self.bearer is not None else "basic": self._headers({}, self.bearer),
        }
        for option, headers in options.items():
            try:
                Headers(headers)
            except ValueError as error:
                raise ValueError(f"option {option!r}: {error}") from None

    @hookimpl
    async def authenticate(self, request: Request) -> Request | None:
        """Add headers and query parameters; ask for a token first."""
        token = None if self.token is None else Secret(_text("token", await ask_source("token", self.token, request)))
        bearer = token if self._token_is_bearer else self.bearer
        header = await self._mapping("header", self.header, request, token)
        query = await self._mapping("query", self.query, request, token)
        try:
            headers = request.headers | self._headers(header, bearer)
        except ValueError as error:  # its text names the header, not the value
            raise AuthenticationError(str(error), verdict=Verdict.FATAL) from None
        extra = request.extra if token is None else {**request.extra, TOKEN: token}
        return replace(request, url=with_query(request.url, query), headers=headers, extra=extra)

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Send the message, wait for its answer."""
        message = self.message
        if message is not None:
            if callable(message):
                made = await ask_source("message", message, session)
                first = None if made is None else template(made)
            else:
                first = _filled(message, session.request.extra.get(TOKEN))
            if first is not None:
                await session.send(first)
        expect, reject = self._expect, self._reject
        if expect is None:
            return
        if reject is None:
            await session.recv(self.expect)
            return
        answer = await session.recv(lambda message: reject(message) is not None or expect(message) is not None)
        if reject(answer) is not None:
            raise AuthenticationError("the server refused the log-in message")

    def _headers(self, header: Mapping[str, str], bearer: Secret | None) -> dict[str, str]:
        headers = dict(header)
        if bearer is not None:
            headers["Authorization"] = f"Bearer {bearer.reveal()}"  # RFC 6750 section 2.1
        elif isinstance(self.basic, tuple):
            user, password = self.basic
            credentials = f"{user}:{password.reveal()}".encode()  # RFC 7617 section 2
            headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
        return headers

    async def _mapping(self, option: str, given: Any, request: Request, token: Secret | None) -> dict[str, str]:
        """Headers or query parameters: as they stand in the option, with the token, or as its callable gives them."""
        if given is None:
            return {}
        if not callable(given):
            return {name: str(_filled(value, token).data) for name, value in given.items()}
        made = await ask_source(option, given, request)
        if not isinstance(made, Mapping):
            raise TypeError(f"option {option!r} gave {type(made).__name__}, not a mapping")
        return {name: _text(option, value) for name, value in made.items()}


def _filled(value: Any, token: Secret | None) -> Message:
    """The message of a template that is no callable, with the token in its place."""
    made = template(value, {} if token is None else {"token": token})
    assert made is not None
    return made


def _text(option: str, value: Any) -> str:
    if isinstance(value, Secret):
        value = value.reveal()
    if not isinstance(value, str):
        raise TypeError(f"option {option!r} gave {type(value).__name__}, not a str")
    return value


def _secret(value: Any) -> Secret | None:
    return None if value is None else Secret(value)


def _pair(value: Any) -> tuple[str, Secret] | None:
    """User and password, however they were given."""
    if value is None:
        return None
    if isinstance(value, (str, Secret)):
        user, colon, password = Secret(value).reveal().partition(":")
        if not colon:
            raise ValueError("option 'basic': give a pair, or 'user:password'")
    else:
        if not isinstance(value, Iterable) or len(pair := [*value]) != 2:
            raise ValueError("option 'basic': give a pair, or 'user:password'")
        user, password = pair
        if ":" in user:  # RFC 7617 section 2
            raise ValueError("option 'basic': a user's name cannot have a colon")
    return user, Secret(password)


def _secrets(value: Any) -> Any:
    return {name: Secret(item) for name, item in value.items()} if isinstance(value, Mapping) else value


def _match(option: str, match: Any) -> Matcher | None:
    try:
        return None if match is None else matcher(match)
    except ValueError as error:
        raise ValueError(f"option {option!r}: {error}") from None
