"""What a relay reads of the bytes that pass: the heads of the handshake, and where a server's frames end."""

from __future__ import annotations

import http
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from ..headers import Headers

__all__ = ["Address", "FrameEnds", "address", "answer", "request_for", "response_for"]

MAX_HEAD = 64 * 1024
"""Bytes that the head of a request or an answer may have."""

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: |\r\n)")  # RFC 9112 section 4
_LENGTHS = {126: 2, 127: 8}  # more bytes of the length, RFC 6455 section 5.2


class Address(NamedTuple):
    """Where a ws or wss URL points to."""

    secure: bool
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """Host and port as they stand in Host and Origin: without a default port (RFC 6455 section 4.1)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """As in the header Origin, RFC 6454 section 6.2."""
        return f"{'https' if self.secure else 'http'}://{self.netloc}"


def address(url: str) -> Address:
    """Take a URL apart.

    Raises:
        ValueError: it is not one of ws or wss with a host. The text does not quote it.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        if parts.scheme in ("ws", "wss") and host:
            host = host if host.isascii() else host.encode("idna").decode("ascii")
            secure = parts.scheme == "wss"
            return Address(secure, host, port if port is not None else (443 if secure else 80))
    except ValueError:
        pass
    raise ValueError("a relay dials URLs like ws://HOST[:PORT]/PATH and wss://HOST[:PORT]/PATH") from None


def request_for(head: bytes, relay: Address, server: Address) -> bytes:
    """A client's request as the server shall get it.

    A Host that names the relay, and an Origin that does, name the server instead. What names anything else was put
    there on purpose and stays.
    """
    changes = {b"host": (relay.netloc, server.netloc), b"origin": (relay.origin, server.origin)}
    lines = head.split(b"\r\n")
    for place, line in enumerate(lines[1:], 1):
        name, _, value = line.partition(b":")
        own, its = changes.get(name.strip().lower(), ("", ""))
        if own and value.strip().lower() == own.encode():
            lines[place] = name + b": " + its.encode()
    return b"\r\n".join(lines)


class Answer(NamedTuple):
    """A server's answer as the client shall get it."""

    status: int
    head: bytes
    elsewhere: bool
    """It redirects to another origin, past the relay."""


def response_for(head: bytes, server: Address) -> Answer:
    """A server's answer as the client shall get it: a redirect to the same server is made relative.

    Raises:
        ValueError: it is none of HTTP.
    """
    found = _STATUS_LINE.match(head)
    if found is None:
        raise ValueError("the server's answer is not one of HTTP/1.1")
    status, elsewhere = int(found[1]), False
    lines = head.split(b"\r\n")
    for place, line in enumerate(lines[1:], 1):
        name, _, value = line.partition(b":")
        if not 300 <= status <= 399 or name.strip().lower() != b"location":
            continue
        location = re.sub(rb"^(ws|http)(s?):", rb"http\2:", value.strip(), flags=re.I).decode("latin-1")
        if not urlsplit(location).netloc:
            continue  # relative: it leads to the relay by itself
        path = location.removeprefix(server.origin)
        if path != location and path[:1] in ("", "/", "?"):
            lines[place] = name + b": " + (path if path[:1] == "/" else f"/{path}").encode("latin-1")
        else:
            elsewhere = True
    return Answer(status, b"\r\n".join(lines), elsewhere)


def answer(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    """An HTTP/1.1 answer, RFC 9112; any three digits are a status."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    fields = Headers({"Content-Length": str(len(body)), "Connection": "close"}) | headers
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.pairs)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class FrameEnds:
    """Follows a stream of frames, RFC 6455 section 5.2, and knows where one ends and the next has not begun."""

    __slots__ = ("_head", "_left")

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0

    @property
    def between(self) -> bool:
        """No frame is under way."""
        return not self._head and self._left == 0

    def follow(self, data: bytes, one: bool = False) -> int:
        """Follow bytes that pass.

        Args:
            one: stop where the frame under way ends.

        Returns:
            How many bytes were followed.
        """
        at = 0
        while at < len(data) and not (one and self.between):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            self._head.append(data[at])
            at += 1
            if len(self._head) >= 2:
                self._read_head()
        return at

    def _read_head(self) -> None:
        head = self._head
        length, masked = head[1] & 0x7F, head[1] & 0x80
        more = _LENGTHS.get(length, 0)
        if len(head) == 2 + more + (4 if masked else 0):
            self._left = int.from_bytes(head[2 : 2 + more], "big") if more else length
            head.clear()
