"""The server's address and its REST API, as far as kernels need them."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlsplit

from libws_core import ConnectError, HandshakeRejected, Headers, Request, Secret, Verdict
from libws_core.match import call
from libws_core.secret import public_url
from libws_core.url import with_query
from libws_http.asking import Question, ask, client_for

from .profile import KERNELS, SPECS

__all__ = ["Address", "Server"]

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
TOKEN = "token"
MAX_SIZE = 2**20
"""Bytes that an answer may have."""


class Address(NamedTuple):
    """Where a server is."""

    rest: str
    """With http or https, and no slash at the end."""
    socket: str
    """The same with ws or wss."""
    query: str
    """What else the URL has, without a token."""
    token: Secret | None
    """The one in the URL: Jupyter prints such URLs when it starts."""

    @classmethod
    def of(cls, url: str) -> Address:
        """Read the client's URL.

        Raises:
            ConnectError: it is none of a Jupyter server.
        """
        parts = urlsplit(url)
        scheme = SCHEMES.get(parts.scheme)
        if scheme is None or not parts.netloc:
            text = f"{public_url(url)} is no address of a Jupyter server; write http://HOST:PORT/, or https, ws, wss"
            raise ConnectError(text, verdict=Verdict.FATAL)
        rest = f"{parts.netloc}{parts.path.rstrip('/')}"
        token = next((value for name, value in parse_qsl(parts.query) if name == TOKEN), None)
        items = [item for item in parts.query.split("&") if item and item.partition("=")[0] != TOKEN]
        return cls(
            f"http{scheme[2:]}://{rest}", f"{scheme}://{rest}", "&".join(items), Secret(token) if token else None
        )

    def channels(self, kernel: str, session: str) -> str:
        """The URL of a kernel's WebSocket."""
        url = f"{self.socket}/{KERNELS}/{quote(kernel, safe='')}/channels"
        return with_query(f"{url}?{self.query}" if self.query else url, {"session_id": session})


class Server:
    """Asks a server about kernels, with the proxy and TLS context of what is dialed.

    Args:
        client: gives the httpx.AsyncClient that asks; None = one of our own.
        timeout: seconds for each request.
        in_query: the token stands in the query, else in a header.
    """

    def __init__(self, client: Callable[..., Any] | None, timeout: float, in_query: bool) -> None:
        self._client = client
        self._timeout = timeout
        self._in_query = in_query
        self._tls: ssl.SSLContext | None = None

    def with_token(self, url: str, token: Secret | None) -> tuple[str, dict[str, str]]:
        """The URL and the headers that show a token."""
        if token is None:
            return url, {}
        if self._in_query:
            return with_query(url, {TOKEN: token.reveal()}), {}
        return url, {"Authorization": f"token {token.reveal()}"}

    async def start(self, address: Address, token: Secret | None, request: Request, model: dict[str, Any]) -> str:
        """Start a kernel; gives its id. With an id of a kernel that runs, it is that one.

        Raises:
            ConnectError: the server refused; FATAL if it does not know a kernel of that name.
        """
        if "name" in model:
            await self._check_name(model["name"], address, token, request)
        started = await self._ask("POST", KERNELS, address, token, request, model)
        if not isinstance(started.get("id"), str):
            raise ConnectError(f"{public_url(address.rest)} did not tell the id of the kernel that it started")
        return str(started["id"])

    async def _check_name(self, name: str, address: Address, token: Secret | None, request: Request) -> None:
        """Refuse a name that the server does not know: jupyter_server 2.21 says 500, and then cannot be stopped."""
        try:
            known = (await self._ask("GET", SPECS, address, token, request)).get("kernelspecs")
        except HandshakeRejected:
            return  # who may start a kernel need not be let in there
        if isinstance(known, dict) and name not in known:
            names = ", ".join(map(repr, sorted(known)))
            text = f"the server has no kernel named {name!r}, only {names}; see option 'name' of jupyter"
            raise ConnectError(text, verdict=Verdict.FATAL)

    async def state(self, address: Address, token: Secret | None, request: Request, kernel: str) -> str:
        """A kernel's state, such as "idle" and "dead"."""
        model = await self._ask("GET", f"{KERNELS}/{quote(kernel, safe='')}", address, token, request)
        return str(model.get("execution_state"))

    async def act(self, action: str, address: Address, token: Secret | None, request: Request, kernel: str) -> None:
        """Interrupt or restart a kernel, or, with an empty action, shut it down."""
        path = f"{KERNELS}/{quote(kernel, safe='')}"
        await self._ask("POST" if action else "DELETE", f"{path}/{action}".rstrip("/"), address, token, request)

    async def _ask(
        self,
        method: str,
        path: str,
        address: Address,
        token: Secret | None,
        request: Request,
        body: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        url, headers = self.with_token(f"{address.rest}/{path}{'?' if address.query else ''}{address.query}", token)
        if "User-Agent" in request.headers:
            headers["User-Agent"] = request.headers["User-Agent"]
        if body is not None:
            headers["Content-Type"] = "application/json"
        question = Question(method, url, Headers(headers), b"" if body is None else json.dumps(body).encode())
        client = self._own(request) if self._client is None else call(self._client, request)
        answer = await ask(client, question, self._timeout, MAX_SIZE)
        if not answer.body:
            return {}
        try:
            said = json.loads(answer.body)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            text = f"the answer of {public_url(url)} is no JSON object; is there a Jupyter server?"
            raise ConnectError(text, verdict=Verdict.FATAL)
        return said

    def _own(self, request: Request) -> Any:
        tls = request.ssl
        if tls is None:
            if self._tls is None:
                self._tls = ssl.create_default_context()
            tls = self._tls
        return client_for(request, tls)
