"""As much of HTTP/1.1 as a handshake needs: the head of a response, and the body of one that is no 101."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING, NamedTuple

from libws_core.headers import Headers

if TYPE_CHECKING:
    from .stream import Stream

MAX_HEAD = 64 * 1024
"""Bytes of status line and headers that are read."""

MAX_BODY = 64 * 1024
"""Bytes of a refusing answer's body that are kept."""

BODY_DEADLINE = 2.0
"""Seconds that a refusing answer's body is waited for; then what came is enough."""

_MAX_INTERIM = 8

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\Z")  # RFC 9112 section 4
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\Z")  # RFC 9112 section 7.1


class BadResponse(Exception):
    """What came is not a response of HTTP/1.1. The text tells what, never the content."""


class Head(NamedTuple):
    """Status and headers of a response."""

    version: int
    """The minor version: 1 for HTTP/1.1."""
    status: int
    headers: Headers


def basic_authorization(user: str, password: str) -> str:
    """The value of an Authorization or Proxy-Authorization header, RFC 7617 section 2."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")


def parse_head(data: bytes) -> Head:
    """Parse a head, up to and with its blank line.

    Raises:
        BadResponse
    """
    status_line, *lines = data.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _STATUS_LINE.match(status_line)
    if match is None:
        raise BadResponse("its first line is not a status line of HTTP/1.1")
    pairs = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadResponse("a header line has no colon")
        pairs.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    try:
        headers = Headers(pairs)
    except ValueError:
        raise BadResponse("a header has characters that HTTP forbids") from None
    return Head(int(match[1]), int(match[2]), headers)


async def read_head(stream: Stream) -> Head:
    """Read the head of the final response; interim ones are passed over (RFC 9110 section 15.2).

    Raises:
        BadResponse, EOFError, OSError
    """
    for _ in range(_MAX_INTERIM):
        head = parse_head(await stream.read_until(b"\r\n\r\n", MAX_HEAD))
        if head.status == 101 or head.status >= 200:
            return head
    raise BadResponse("it sent too many interim responses")


async def read_body(stream: Stream, headers: Headers) -> bytes:
    """Read the body of a response, as far as it comes in `BODY_DEADLINE` seconds and fits into `MAX_BODY`.

    It is for people and `adapt_error`, so nothing that is wrong with it is an error.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_DEADLINE):
            await _read_into(body, stream, headers)
    except (BadResponse, EOFError, OSError):
        pass
    return bytes(body[:MAX_BODY])


async def _read_into(body: bytearray, stream: Stream, headers: Headers) -> None:
    """RFC 9112 section 6.3."""
    length = headers.get("Content-Length", "")
    if headers.get("Transfer-Encoding", "").lower().endswith("chunked"):
        while True:
            match = _CHUNK_SIZE.match((await stream.read_until(b"\r\n", 1024))[:-2])
            size = int(match[1], 16) if match else 0
            if size == 0:
                return
            await _read_exactly(body, stream, min(size, MAX_BODY - len(body)))
            if len(body) == MAX_BODY:
                return
            await stream.read_until(b"\r\n", 2)
    elif length.isascii() and length.isdecimal():
        await _read_exactly(body, stream, min(int(length[:18]), MAX_BODY))
    else:
        while len(body) < MAX_BODY:
            body += await stream.read_some(MAX_BODY - len(body))


async def _read_exactly(body: bytearray, stream: Stream, size: int) -> None:
    end = len(body) + size
    while len(body) < end:
        body += await stream.read_some(end - len(body))
