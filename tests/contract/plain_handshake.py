"""The handshake of the plain dialer: each rule in a method of its own."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import ssl
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import unquote, urljoin, urlsplit

import msgspec
from plain_dialer import PlainConnection, Wire

from libws_core import ConnectError, HandshakeRejected, Headers, InvalidHandshake, Request, TLSError, hookimpl

STATUS = re.compile(rb"(HTTP/\d\.\d|HTTP/\d|\S+) (\d{3})(?: .*)?\Z")
TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")
MAX_HEAD = 64 * 1024
FOLLOWED = 5


@dataclass
class Asked:
    """One request on one socket."""

    url: str
    headers: Headers
    away: bool
    """A redirect led to another origin."""
    wire: Wire
    key: str
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, there: Any) -> Any:
        """Wait until that finds something in the buffer; None if the server closes first."""
        self.wire.changed = self.news.set
        while (found := there(self.wire.buffer)) is None and not self.wire.lost:
            self.news.clear()
            await self.news.wait()
        return found


@dataclass(eq=False, kw_only=True)
class PlainDialer:
    """Open WebSockets, plainly."""

    max_size: Annotated[int, msgspec.Meta(ge=1)] | None = 16 * 2**20
    """Largest message, bytes."""
    max_fragments: Annotated[int, msgspec.Meta(ge=1)] = 4096
    """Most fragments of a message."""

    connection = PlainConnection
    """Not an option: no annotation."""

    @hookimpl
    async def dial(self, request: Request) -> Any:
        """Open a connection."""
        if not self.is_mine(urlsplit(request.url).scheme):
            return None
        self.check_request(request)
        url, away = request.url, False
        for _ in range(self.most_redirects() + 1):
            asked = await self.ask(url, away, request)
            try:
                status, headers = await self.read_head(asked)
                if status == 101:
                    return self.open(asked, headers, request)
                if status not in (301, 302, 303, 307, 308) or "Location" not in headers:
                    raise await self.rejected(asked, status, headers)
            except BaseException as error:
                self.undo(asked, error)
                raise
            asked.wire.transport.abort()
            before, url = url, re.sub("^http", "ws", urljoin(re.sub("^ws", "http", url), headers["Location"]))
            away = away or urlsplit(before)[:2] != urlsplit(url)[:2]
        raise InvalidHandshake("too many redirects")

    def is_mine(self, scheme: str) -> bool:
        return scheme in ("ws", "wss")

    def most_redirects(self) -> int:
        return FOLLOWED

    def undo(self, asked: Asked, error: BaseException) -> None:
        asked.wire.transport.abort()

    def check_request(self, request: Request) -> None:
        for name in request.subprotocols:
            if not TOKEN.match(name):
                raise InvalidHandshake("a subprotocol that is no token")

    # Asking

    async def ask(self, url: str, away: bool, request: Request) -> Asked:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        try:
            _, wire = await self.connect(
                request,
                parts.hostname or "",
                parts.port or (443 if secure else 80),
                self.context(request) if secure else None,
            )
        except ssl.SSLError as error:
            raise TLSError("TLS failed", verdict="fatal") from error
        except OSError as error:
            raise self.unreachable(error) from error
        asked = Asked(url, self.headers_for(request, away), away, wire, self.key())
        target = self.target(parts.path, parts.query)
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {parts.netloc.rpartition('@')[2]}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {asked.key}",
            f"Sec-WebSocket-Extensions: {self.offer()}",
            *(f"{name}: {value}" for name, value in asked.headers.pairs),
        ]
        if request.subprotocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(request.subprotocols)}")
        if parts.username is not None and "Authorization" not in asked.headers:
            user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            lines.append(f"Authorization: Basic {base64.b64encode(user.encode()).decode()}")
        wire.transport.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return asked

    async def connect(self, request: Request, host: str, port: int, context: ssl.SSLContext | None) -> tuple[Any, Wire]:
        return await asyncio.get_running_loop().create_connection(Wire, host, port, ssl=context)

    def unreachable(self, error: OSError) -> Exception:
        return ConnectError("the server cannot be reached")

    def context(self, request: Request) -> ssl.SSLContext:
        return request.ssl or self.own_context()

    def own_context(self) -> ssl.SSLContext:
        return ssl.create_default_context()

    def key(self) -> str:
        return base64.b64encode(os.urandom(16)).decode()

    def target(self, path: str, query: str) -> str:
        return (path or "/") + (f"?{query}" if query else "")

    def offer(self) -> str:
        return "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

    def headers_for(self, request: Request, away: bool) -> Headers:
        if not away:
            return request.headers
        return Headers([pair for pair in request.headers.pairs if pair[0].lower() in ("origin", "user-agent")])

    # The answer

    async def read_head(self, asked: Asked) -> tuple[int, Headers]:
        head = await asked.until(self.find_head)
        if head is None:
            raise self.hung_up()
        del asked.wire.buffer[: len(head) + 4]
        first, *lines = head.split(b"\r\n")
        found = STATUS.match(first)
        if found is None:
            raise InvalidHandshake("no status line of HTTP")
        self.check_version(found[1])
        try:
            headers = self.parse([line.decode("latin-1").split(":", 1) for line in lines])
        except ValueError:
            raise InvalidHandshake("headers that HTTP does not allow") from None
        return int(found[2]), headers

    def find_head(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\r\n\r\n")
        if end < 0 and len(buffer) > MAX_HEAD:
            raise InvalidHandshake("a head without an end")
        return bytes(buffer[:end]) if end >= 0 else None

    def parse(self, lines: list[list[str]]) -> Headers:
        return Headers([(name, value.strip(" \t")) for name, value in lines])

    def hung_up(self) -> Exception:
        return ConnectError("the server hung up in the handshake")

    def check_version(self, version: bytes) -> None:
        if version != b"HTTP/1.1":
            raise InvalidHandshake("no HTTP/1.1")

    def open(self, asked: Asked, headers: Headers, request: Request) -> PlainConnection:
        self.check_upgrade(headers)
        self.check_connection(headers)
        self.check_accept(asked, headers)
        subprotocol = headers.get("Sec-WebSocket-Protocol")
        self.check_subprotocol(subprotocol, request)
        extensions = headers.get("Sec-WebSocket-Extensions")
        self.check_extensions(extensions)
        deflated = extensions is not None and extensions.startswith("permessage-deflate")
        return self.connection(asked.wire, self, headers, subprotocol, deflated)

    def check_upgrade(self, headers: Headers) -> None:
        if headers.get("Upgrade", "").lower() != "websocket":
            raise InvalidHandshake("no upgrade to websocket")

    def check_connection(self, headers: Headers) -> None:
        if "upgrade" not in [word.strip().lower() for word in headers.get("Connection", "").split(",")]:
            raise InvalidHandshake("no upgrade of the connection")

    def check_accept(self, asked: Asked, headers: Headers) -> None:
        digest = hashlib.sha1(asked.key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        if headers.get("Sec-WebSocket-Accept") != base64.b64encode(digest).decode():
            raise InvalidHandshake("an answer to another key")

    def check_subprotocol(self, subprotocol: str | None, request: Request) -> None:
        if subprotocol is not None and subprotocol not in request.subprotocols:
            raise InvalidHandshake("a subprotocol that was not offered")

    def check_extensions(self, extensions: str | None) -> None:
        if extensions is not None and extensions.split(";")[0].strip() != "permessage-deflate":
            raise InvalidHandshake("an extension that was not offered")

    # Refusals

    async def rejected(self, asked: Asked, status: int, headers: Headers) -> HandshakeRejected:
        return HandshakeRejected("refused", status=status, headers=headers, body=await self.body(asked, headers))

    async def body(self, asked: Asked, headers: Headers) -> bytes:
        if headers.get("Transfer-Encoding", "").endswith("chunked"):
            whole = await asked.until(lambda buffer: bytes(buffer) if b"0\r\n\r\n" in buffer else None) or b""
            body = b""
            while (size := int(whole.split(b"\r\n", 1)[0], 16)) > 0:
                whole = whole.split(b"\r\n", 1)[1]
                body, whole = body + whole[:size], whole[size + 2 :]
            return body
        length = int(headers.get("Content-Length", MAX_HEAD))
        await asked.until(lambda buffer: True if len(buffer) >= length else None)
        return bytes(asked.wire.buffer[:length])
