"""Ask a REST server what to dial, before each attempt."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from libws_core import (
    AuthenticationError,
    ConnectError,
    Headers,
    Message,
    Request,
    Secret,
    Session,
    Verdict,
    chance,
    hookimpl,
)
from libws_core.credentials import ask_source, concealed, revealed
from libws_core.match import Matcher, call, key, matcher, names, template
from libws_core.secret import public_url
from libws_core.url import url_problem, with_query

from .asking import Answer, Question, ask, client_for
from .ticket import Ticket, lifetime

__all__ = ["Http", "learnt"]

SCHEMES = {"http": "ws", "https": "wss"}
ID = "id"
"""The name of what is new on each attempt and comes from no answer."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def learnt(name: str) -> Callable[[Session], Any]:
    """A function of the session that gives what `paths` has found under this name, such as `ping.interval` takes."""

    def find(session: Session) -> Any:
        value = session.request.extra[f"http.{name}"]
        return value.reveal() if isinstance(value, Secret) else value

    return find


@dataclass(eq=False, kw_only=True)
class Http:
    """Ask a REST server for a ticket before each attempt: where to dial, and what to show there.

    `paths` says where things stand in the answer, which is JSON. The one named "url" is dialed; any may stand as
    `$name` in `dial_query` and `dial_headers`; all are in `request.extra` as "http.name", texts as `Secret`.
    The request goes through the client's own proxy and has its TLS context. A failed request is a failed attempt.
    """

    url: str | Secret = field(repr=False)
    """What is asked: a URL of http or https. One that holds a secret is to be given as a Secret."""
    method: Literal["GET", "POST", "PUT"] = "POST"
    """How."""
    headers: dict[str, Secret] | Callable[..., Any] | None = None
    """Headers of the request for a ticket. A callable, plain or async, gets the libws request and gives such a
    mapping, on each attempt."""
    body: Secret | bytes | dict[str, Secret | int | float | bool | None] | Callable[..., Any] | None = field(
        default=None, repr=False
    )
    """Its body: a str or bytes as they are, a dict as JSON. Or a callable that gives one of these."""
    timeout: Annotated[float, Meta(gt=0)] = 5.0
    """Seconds for the whole of a request; the client's `open_timeout` bounds it, too."""
    paths: dict[str, str | Callable[[Message], Any]]
    """What is learnt from the answer: name -> where it stands, such as "data.instanceServers.0.endpoint", or a function
    of the answer, a Message. "url" is what to dial, "ttl" the seconds for which the ticket may be used again."""
    scale: dict[str, float] = field(default_factory=dict)
    """Numbers by which learnt ones are multiplied, such as {"interval": 0.001} for one that is told in milliseconds."""
    dial_query: dict[str, str] = field(default_factory=dict)
    """Query parameters for the URL that is dialed, such as {"token": "$token"}; `$id` is a new one on each attempt."""
    dial_headers: dict[str, str] = field(default_factory=dict)
    """Headers for the handshake, such as {"Authorization": "Bearer $token"}."""
    expect: dict[str, Any] | Callable[[Message], Any] | None = None
    """Which answers are good ones, a match, for servers that say 200 to everything. None = all that have the paths."""
    reject: dict[str, Any] | Callable[[Message], Any] | None = None
    """Which answers refuse our credentials, a match: AuthenticationError."""
    ttl: Annotated[float, Meta(ge=0)] | None = None
    """Seconds for which a ticket is used again. 0 = never. None = as the answer says, by the path "ttl" or by
    Cache-Control; if it says nothing, never. After a failed dial or log-in there is always a new one."""
    max_size: Annotated[int, Meta(ge=1)] = 2**20
    """Bytes that the answer may have."""
    client: Callable[..., Any] | None = None
    """Gives the httpx.AsyncClient that asks, closed afterwards; it may take the libws request. None = one with the TLS
    context and proxy of that request, which follows no redirects."""

    _url: str = field(default="", init=False, repr=False)
    _find: dict[str, Callable[[Message], Any]] = field(default_factory=dict, init=False, repr=False)
    _expect: Matcher | None = field(default=None, init=False, repr=False)
    _reject: Matcher | None = field(default=None, init=False, repr=False)
    _kept: Ticket | None = field(default=None, init=False, repr=False)
    _tls: ssl.SSLContext | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self._url = self.url.reveal() if isinstance(self.url, Secret) else self.url
        problem = url_problem(self._url)
        if problem is None and (urlsplit(self._url).scheme not in SCHEMES or not urlsplit(self._url).hostname):
            problem = "expected http://HOST[:PORT]/PATH or https://..."
        if problem:
            raise ValueError(f"option 'url': {problem}")
        self.headers, self.body = concealed(self.headers), concealed(self.body)
        for option in ("headers", "dial_headers"):
            given = getattr(self, option)
            try:
                Headers({} if callable(given) or given is None else revealed(given))
            except ValueError as error:
                raise ValueError(f"option {option!r}: {error}") from None
        for name, path in self.paths.items():
            if not _NAME.match(name) or name == ID:
                raise ValueError(f"option 'paths': {name!r} is no name, or one that is taken: write letters and digits")
            try:
                self._find[name] = key(path)
            except ValueError as error:
                raise ValueError(f"option 'paths': {name}: {error}") from None
        for option in ("dial_query", "dial_headers"):
            for unknown in sorted(names(getattr(self, option)) - {*self.paths, ID}):
                raise ValueError(f"option {option!r}: ${unknown} stands in it, but not in 'paths'")
        for unknown in sorted(self.scale.keys() - self.paths.keys()):
            raise ValueError(f"option 'scale': {unknown!r} is not in 'paths'")
        self._expect, self._reject = _match("expect", self.expect), _match("reject", self.reject)
        if not self.paths:
            raise ValueError("option 'paths' is empty, so nothing would be learnt; say where the url or a token stands")

    @hookimpl
    async def resolve(self, request: Request) -> Request:
        """Get a ticket, or take the one that is still good, and put it into the request."""
        failure = request.attempt.failure
        if failure is not None and (failure.error.verdict is Verdict.REFRESH or failure.phase in ("dial", "establish")):
            self._kept = None
        ticket, now = self._kept, asyncio.get_running_loop().time()
        if ticket is None or now >= ticket.until:
            self._kept = None
            ticket = self._kept = await self._fetch(request)
        return self._with(request, ticket)

    async def _fetch(self, request: Request) -> Ticket:
        given = revealed(await self._given("headers", self.headers, request))
        if not isinstance(given, Mapping):
            raise TypeError(f"option 'headers' gave {type(given).__name__}, not a mapping")
        headers, body = dict(given), revealed(await self._given("body", self.body, request))
        own = {name.lower() for name in headers}
        if isinstance(body, Mapping):
            body = json.dumps(body)
            if "content-type" not in own:
                headers["Content-Type"] = "application/json"
        if not isinstance(body, (str, bytes)):
            raise TypeError(f"option 'body' gave {type(body).__name__}, not a str, bytes or a dict")
        if "user-agent" not in own and "User-Agent" in request.headers:
            headers["User-Agent"] = request.headers["User-Agent"]
        try:
            question = Question(
                self.method, self._url, Headers(headers), body.encode() if isinstance(body, str) else body
            )
        except ValueError as error:  # its text names the header, not the value
            raise AuthenticationError(str(error), verdict=Verdict.FATAL) from None
        client = self._client(request) if self.client is None else call(self.client, request)
        begin = asyncio.get_running_loop().time()
        return self._read(await ask(client, question, self.timeout, self.max_size), begin)

    def _client(self, request: Request) -> Any:
        tls = request.ssl
        if tls is None:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            tls = self._tls
        return client_for(request, tls)

    async def _given(self, option: str, given: Any, request: Request) -> Any:
        """What an option holds, or its callable gives."""
        if not callable(given):
            return given if given is not None else {} if option == "headers" else b""
        return await ask_source(option, given, request)

    def _read(self, answer: Answer, begin: float) -> Ticket:
        """What the answer says; its texts are told to nobody."""
        name, message = public_url(self._url), Message.binary(answer.body)
        try:
            message.json  # noqa: B018 - it raises, or what it gives is kept
        except ValueError:
            raise ConnectError(f"the answer of {name} is no JSON") from None
        if self._reject is not None and self._reject(message) is not None:
            raise AuthenticationError(f"{name} has refused our credentials, as option 'reject' of http has it")
        if self._expect is not None and self._expect(message) is None:
            raise ConnectError(f"the answer of {name} is none that option 'expect' of http wants")
        values: dict[str, Any] = {}
        for each, find in self._find.items():
            value, where = self._look(find, message), self.paths[each]
            if value is None and each != "ttl":
                at = f"at {where!r}" if isinstance(where, str) else "where its function looks"
                raise ConnectError(f"the answer of {name} has no {each!r} {at}, see option 'paths' of http")
            if each in self.scale and value is not None:
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise ConnectError(f"the answer of {name} has no number for {each!r}, which option 'scale' wants")
                value *= self.scale[each]
            values[each] = Secret(value) if isinstance(value, str) else value
        if "url" in values:
            values["url"] = Secret(self._address(values["url"]))
        ttl = self.ttl if self.ttl is not None else lifetime(values.get("ttl"), answer.headers)
        return Ticket(values, begin + ttl)

    def _look(self, find: Callable[[Message], Any], message: Message) -> Any:
        """What stands there. A function that meets another answer than it knows finds nothing."""
        try:
            return find(message)
        except (LookupError, TypeError, ValueError, AttributeError):
            return None

    def _address(self, found: Any) -> str:
        """The URL that the answer tells, as one of WebSocket."""
        name = public_url(self._url)
        url = found.reveal() if isinstance(found, Secret) else found
        problem = url_problem(url)
        if problem is None:
            scheme, colon, rest = url.partition(":")
            url = SCHEMES.get(scheme.lower(), scheme) + colon + rest
            if url_problem(url) is None and urlsplit(url).scheme == "ws" and self._url.lower().startswith("https:"):
                problem = "it is not encrypted, as the request for it was"
            problem = problem or url_problem(url)
        if problem:
            raise ConnectError(f"the URL in the answer of {name} cannot be dialed: {problem}", verdict=Verdict.FATAL)
        return str(url)

    def _with(self, request: Request, ticket: Ticket) -> Request:
        own = chance.token(16).hex()
        bindings = {ID: own, **ticket.values}
        url = ticket.values["url"].reveal() if "url" in ticket.values else request.url
        url = with_query(url, {name: _filled(value, bindings) for name, value in self.dial_query.items()})
        headers = {name: _filled(value, bindings) for name, value in self.dial_headers.items()}
        extra = {**request.extra, "http.id": own, **{f"http.{name}": value for name, value in ticket.values.items()}}
        try:
            return replace(request, url=url, headers=request.headers | headers, extra=extra)
        except ValueError as error:  # its text names the header, not the value
            raise AuthenticationError(str(error), verdict=Verdict.FATAL) from None


def _filled(value: str, bindings: Mapping[str, Any]) -> str:
    made = template(value, bindings)
    assert made is not None
    return str(made.data)


def _match(option: str, match: Any) -> Matcher | None:
    try:
        return None if match is None else matcher(match)
    except ValueError as error:
        raise ValueError(f"option {option!r}: {error}") from None
