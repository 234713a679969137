"""Secrets out of what is written: by the names of headers and JSON keys, by their forms, and by their known values.

Texts keep every other byte as it was: JSON is read token by token and never written anew, since spaces, the order of
keys, doubled keys and the way a number is written may be the very oddity that is recorded. Every expression here takes
time in proportion to the text, whatever a server sends.
"""

from __future__ import annotations

import base64
import json
import logging
import re
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import msgspec

from libws_core import Request, Secret
from libws_core.secret import public_url

__all__ = ["MARK", "Redactor", "secrets_of", "secrets_of_request"]

logger = logging.getLogger("libws.record")

MARK = "***"
"""Stands in the place of a secret. A number becomes 0, so that JSON stays JSON."""
SHORTEST = 4
"""Characters from which on a known secret is looked for everywhere: shorter ones would take out ordinary words."""
LOOKS_RANDOM = 20
"""Characters from which on a value of a log-in message counts as a secret; with a digit in it, from 8 on."""
KNOWN = 200
"""Known secrets that are kept, the newest: tokens are renewed."""
NESTED = 3
"""How deep JSON within strings of JSON is looked into."""

# What a key's name ends in, without case and separators, if its value is a secret ...
_ENDINGS = (
    *("token", "password", "passwords", "passwd", "pwd", "passphrase", "passcode", "secret", "secrets", "signature"),
    *("credential", "credentials", "jwt", "cookie", "cookies", "authorization", "bearer", "auth"),
    *("apikey", "accesskey", "secretkey", "privatekey", "listenkey", "sessionkey", "authkey"),
)
# ... and what it is then as a whole.
_WHOLE = frozenset(["sign", "sig", "pass", "pin", "otp"])
_HARMLESS = frozenset(
    [
        *("user-agent", "origin", "host", "accept", "accept-language", "accept-encoding", "cache-control", "pragma"),
        *("sec-websocket-extensions", "sec-websocket-key", "sec-websocket-version"),
    ]
)
"""Headers of a request that hold no secret; any other may, whatever its name is."""
# No secret that is known by a name or a form stands in a text without one of these.
_HINTS = (
    *("token", "pass", "pwd", "secret", "sig", "credential", "key", "jwt", "cookie", "auth", "bearer", "basic"),
    *("otp", "pin", "eyj", "\\u"),
)

# A string that does not end is one up to the end of the text: so the expression never looks at a character twice.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\Z)|[{}\[\],]|(?<![\w.])-?\d[\d.eE+\-]*+', re.S)
_COLON = re.compile(r"\s*+:")
_VALUE = r"""(?!(?:true|false|null)\b)[^\s&;,"'<>{}\[\]()\\]++"""
_ASSIGNED = re.compile(
    r"(?:token|passwords?|passwd|pwd|passphrase|passcode|secrets?|signature|credentials?|jwt|cookies?|authorization"
    r"|(?:api|access|secret|private|listen|session|auth)[-_ ]?key|auth|\bsign|\bsig|\bpass|\bpin|\botp)"
    r"""(?P<between>["']?[ \t]{0,8}[=:][ \t]{0,8}["']?(?:(?:bearer|basic|token)[ \t]{1,8})?)"""
    + f"(?P<value>{_VALUE})",
    re.I,
)
_SCHEME = re.compile(
    r"\b(?P<scheme>bearer|basic)[ \t]{1,8}(?=[^\s\"']{0,80}?[0-9=_+/.\-])[A-Za-z0-9._~+/\-]{8,}+=*", re.I
)
_JWT = re.compile(
    r"(?<![A-Za-z0-9_\-])eyJ[A-Za-z0-9_\-]{5,}+\.[A-Za-z0-9_\-]{5,}+(?:\.[A-Za-z0-9_\-]*+)*"
)  # RFC 7515 section 3.1
_IRC = re.compile(r"^(PASS[ \t]{1,8})\S++", re.M)  # RFC 2812 section 3.1.1
_NAME = re.compile(r"[\w.\-]*\Z")
_SEPARATORS = re.compile(r"[^a-z0-9]+")

Filter = Callable[[Any], Any]


class Redactor:
    """Takes secrets out of what one client records. Not for several threads at once.

    Args:
        keys: more names of keys and headers whose values are secrets.
        keep: names whose values are none, whatever they look like.
        patterns: more expressions; what they match is taken out, or only their groups, if they have some.
        more: the user's own function, given each text or bytes at last; gives what to write in its place.
    """

    def __init__(
        self,
        *,
        keys: Collection[str] = (),
        keep: Collection[str] = (),
        patterns: Collection[str] = (),
        more: Filter | None = None,
    ) -> None:
        self._keys = frozenset(map(_plain, keys))
        self._keep = frozenset(map(_plain, keep))
        self._patterns = [re.compile(pattern) for pattern in patterns]
        self._more = more
        self._complained = False
        self._known: deque[str] = deque(maxlen=KNOWN)
        self._unsure: set[str] = set()
        self._found: re.Pattern[str] | None = None
        self._found_bytes: re.Pattern[bytes] | None = None

    def learn(self, secrets: Iterable[tuple[str, bool]]) -> None:
        """Take these values out from now on, wherever they stand; an unsure one only where it is a whole header."""
        new: dict[str, None] = {}
        for secret, sure in secrets:
            if not sure:
                self._unsure.add(secret)
            elif len(secret) >= SHORTEST and secret not in self._known:
                new[secret] = None
        if not new:
            return
        self._known.extend(new)
        forms = sorted({form for secret in self._known for form in _forms(secret)}, key=len, reverse=True)
        self._found = re.compile("|".join(map(re.escape, forms)))
        self._found_bytes = re.compile(b"|".join(re.escape(form.encode("utf-8", "replace")) for form in forms))

    def is_credential(self, name: str) -> bool:
        """Whether the value under this name of a key or header is a secret."""
        name = _plain(name)
        if name in self._keep:
            return False
        return name in self._keys or name in _WHOLE or name.endswith(_ENDINGS)

    def clean(self, data: str | bytes) -> str | bytes:
        """The data of a message without its secrets."""
        if isinstance(data, str):
            data = self.text(data)
        else:
            try:
                data = self.text(data.decode()).encode()
            except UnicodeDecodeError:
                data = data if self._found_bytes is None else self._found_bytes.sub(MARK.encode(), data)
        return data if self._more is None else self._ask(self._more, data)

    def text(self, text: str) -> str:
        """A text without its secrets."""
        if self._found is not None:
            text = self._found.sub(MARK, text)
        lower = text.lower()
        if self._keys or any(hint in lower for hint in _HINTS):
            text = self._by_name(text, 0)
        for pattern in self._patterns:
            text = pattern.sub(_without_groups, text)
        return text

    def request_headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Headers that were sent; of those whose meaning is not known only the name is left."""
        return tuple((name, value if self._is_harmless(name) else MARK) for name, value in self.headers(headers))

    def _is_harmless(self, name: str) -> bool:
        return name.lower() in _HARMLESS or _plain(name) in self._keep

    def headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Headers with the values of credentials taken out."""
        return tuple(
            (name, MARK if self.is_credential(name) or value in self._unsure else self.text(value))
            for name, value in headers
        )

    def url(self, url: str) -> str:
        """A URL without user, password and query."""
        return self.text(public_url(url))

    def _by_name(self, text: str, depth: int) -> str:
        scanned = self._scan(text, depth)
        return scanned if _is_json(text) else self._by_form(scanned)

    def _scan(self, text: str, depth: int) -> str:
        """Take out what stands under a credential's key: strings and numbers, however deep below it."""
        parts: list[str] = []
        done = 0
        below: list[bool] = []  # for each object and array that is open: it stands under such a key
        secret = False  # the value that comes does
        for token in _TOKEN.finditer(text):
            said = token[0]
            first = said[0]
            if first == '"' and _COLON.match(text, token.end()):
                secret = self.is_credential(_unquoted(said))
                continue
            if first in "{[":
                below.append(secret or (bool(below) and below[-1]))
            elif first in "}]":
                if below:
                    below.pop()
            elif first != ",":
                hidden = secret or (bool(below) and below[-1])
                if first == '"':
                    new = f'"{MARK}"' if hidden else self._string(said, depth)
                else:
                    new = "0" if hidden else said
                if new is not said:
                    parts += (text[done : token.start()], new)
                    done = token.end()
            secret = False
        return "".join((*parts, text[done:])) if done else text

    def _string(self, quoted: str, depth: int) -> str:
        """A string of JSON, whose text may hold a URL, a JWT or JSON of its own."""
        lower = quoted.lower()
        if not any(hint in lower for hint in _HINTS):
            return quoted
        text = _unquoted(quoted)
        clean = self._by_name(text, depth + 1) if depth < NESTED and "{" in text else self._by_form(text)
        return quoted if clean == text else msgspec.json.encode(clean).decode()

    def _by_form(self, text: str) -> str:
        """Take out what looks like a secret in a text that is no JSON."""
        text = _ASSIGNED.sub(self._assigned, text)
        text = _SCHEME.sub(rf"\g<scheme> {MARK}", text)
        text = _JWT.sub(MARK, text)
        return _IRC.sub(rf"\g<1>{MARK}", text)

    def _assigned(self, match: re.Match[str]) -> str:
        if self._keep:
            before = _NAME.search(match.string[max(0, match.start() - 64) : match.start("between")])
            if before is not None and _plain(before[0]) in self._keep:
                return match[0]
        return match[0][: match.start("value") - match.start()] + MARK

    def _ask(self, more: Filter, data: str | bytes) -> str | bytes:
        try:
            answer = more(data)
            if type(answer) is not type(data):
                raise TypeError(f"it gave {type(answer).__name__} for {type(data).__name__}")
        except Exception as error:  # its text may quote what it was given
            if not self._complained:
                self._complained = True
                logger.error("option 'redact' failed: %s; what it fails on is left out", type(error).__name__)
            return MARK if isinstance(data, str) else MARK.encode()
        return answer


class Everything(Redactor):
    """Takes nothing out."""

    def clean(self, data: str | bytes) -> str | bytes:
        return data

    def text(self, text: str) -> str:
        return text

    def headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple(headers)

    def request_headers(self, headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        return tuple(headers)

    def url(self, url: str) -> str:
        return url

    def learn(self, secrets: Iterable[tuple[str, bool]]) -> None:
        pass


def secrets_of(value: Any, name: str | None = None) -> Iterator[tuple[str, bool]]:
    """The values of the Secrets in an option, each with whether it surely is one.

    It is not sure of those within a mapping or list, such as a log-in message all of whose texts are held as Secrets,
    unless they have a credential's name or look random: "login" shall stay readable.

    Args:
        name: the key under which it stands there; None = it is the option itself.
    """
    if isinstance(value, Secret):
        text = value.reveal()
        yield text, name is None or _COMMON.is_credential(name) or _looks_random(text)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from secrets_of(item, str(key))
    elif isinstance(value, tuple):
        for item in value:
            yield from secrets_of(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from secrets_of(item, name or "")


def secrets_of_request(request: Request, redactor: Redactor) -> Iterator[tuple[str, bool]]:
    """The credentials that a request carries: in its URL, its headers, and what `resolve` and `authenticate` noted."""
    try:
        parts = urlsplit(request.url)
        if parts.password:
            yield unquote(parts.password), True
        query = parse_qsl(parts.query)
    except ValueError:
        query = []
    for name, value in query:
        if redactor.is_credential(name):
            yield value, True
    for name, value in request.headers.pairs:
        if redactor.is_credential(name):
            for secret in _of_header(value):
                yield secret, True
    yield from secrets_of(tuple(request.extra.values()))


def _of_header(value: str) -> Iterator[str]:
    """A header's value, and what it consists of: a scheme's credentials, a user's password, the cookies."""
    yield value
    scheme, _, credentials = value.partition(" ")
    if credentials and "=" not in scheme:
        yield credentials.strip()
        if scheme.lower() == "basic":  # RFC 7617 section 2
            try:
                yield base64.b64decode(credentials, validate=True).decode().partition(":")[2]
            except ValueError:
                pass
    for cookie in value.split(";"):
        _, equals, own = cookie.strip().partition("=")
        if equals and _looks_random(own):
            yield own


def _looks_random(text: str) -> bool:
    digit = any(character.isdigit() for character in text)
    return " " not in text and len(text) >= (8 if digit else LOOKS_RANDOM)


def _forms(secret: str) -> Iterator[str]:
    """How a secret may be written: as it is, in JSON, in a URL, and within base64 that begins anywhere before it."""
    data = secret.encode("utf-8", "replace")
    yield secret
    for quoted in (json.dumps(secret), json.dumps(secret, ensure_ascii=False)):
        yield quoted[1:-1]
        yield quoted[1:-1].replace("/", "\\/")  # as PHP writes it
    yield quote(data, safe="")
    # Three bytes are four characters. Those that the secret alone decides are the same wherever it begins.
    for shift in range(3):
        first, last = -(-shift * 8 // 6), (shift + len(data)) * 8 // 6
        inner = base64.b64encode(bytes(shift) + data)[first:last].decode()
        if len(inner) >= 8:
            yield inner
            yield inner.translate(_URL_SAFE)


def _plain(name: str) -> str:
    """A name without case and separators."""
    return _SEPARATORS.sub("", name.lower())


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError):
        return False
    return True


def _unquoted(quoted: str) -> str:
    """What a string of JSON says; one that is broken says what stands in it."""
    if "\\" not in quoted:
        return quoted.strip('"')
    try:
        return msgspec.json.decode(quoted, type=str)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return quoted.strip('"')


def _without_groups(match: re.Match[str]) -> str:
    """What a user's expression has matched, with its groups taken out, or all of it if it has none."""
    text, start = match[0], match.start()
    if not match.re.groups:
        return MARK if text else ""
    for first, last in sorted({match.span(group) for group in range(1, match.re.groups + 1)}, reverse=True):
        if 0 <= first < last:
            text = text[: first - start] + MARK + text[last - start :]
    return text


_COMMON = Redactor()
_URL_SAFE = str.maketrans("+/", "-_")
