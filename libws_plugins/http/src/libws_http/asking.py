"""One request over HTTP through httpx, bounded in time and size. What httpx raises is translated here."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import httpx

from libws_core import (
    ConnectError,
    ConnectTimeout,
    HandshakeRejected,
    Headers,
    LibwsError,
    NameResolutionError,
    ProxyError,
    Request,
    TLSError,
    Verdict,
)
from libws_core.secret import public_url

__all__ = ["Answer", "Question", "ask", "client_for"]

LOGGERS = ("httpx", *(f"httpcore.{name}" for name in ("connection", "proxy", "http11", "http2", "socks")))
"""What would tell the URL at INFO, and headers at DEBUG."""

_asking: ContextVar[bool] = ContextVar("libws_http_asking", default=False)
_silenced = 0
"""Requests under way, in this process."""


class Question(NamedTuple):
    """What is asked."""

    method: str
    url: str
    headers: Headers
    body: bytes


class Answer(NamedTuple):
    """A response with a status of success."""

    headers: Headers
    body: bytes


def client_for(request: Request, tls: ssl.SSLContext) -> httpx.AsyncClient:
    """A client with the TLS context and the proxy of what is to be dialed.

    Raises:
        ProxyError: httpx cannot use that proxy.
    """
    own = request.proxy if request.proxy not in (None, "env") else None
    try:
        # With a context, httpx looks for no certificates of its own. Redirects would carry what is secret elsewhere.
        return httpx.AsyncClient(
            verify=tls, proxy=own, trust_env=request.proxy == "env", follow_redirects=False, timeout=None
        )
    except ImportError:
        text = "httpx needs socksio for a SOCKS proxy; try: pip install 'httpx[socks]', or option 'client' of http"
        raise ProxyError(text, verdict=Verdict.FATAL) from None
    except ValueError:  # its text quotes the proxy's URL
        raise ProxyError("httpx cannot use the proxy; see option 'client' of http", verdict=Verdict.FATAL) from None


async def ask(client: httpx.AsyncClient, question: Question, timeout: float, max_size: int) -> Answer:
    """Ask once, and close the client.

    Args:
        timeout: seconds for all of it.
        max_size: bytes of the answer's body.

    Raises:
        HandshakeRejected: the status is none of success.
        ConnectError: there was no answer, or one that is too long.
    """
    name = public_url(question.url)
    try:
        async with asyncio.timeout(timeout) as scope:
            with _silence():
                async with client:
                    return await _exchange(client, question, name, max_size)
    except TimeoutError as error:
        if isinstance(error, LibwsError) or not scope.expired():
            raise
        raise ConnectTimeout(f"{name} did not answer in {timeout:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _translated(error, name) from None  # it holds the request, and may quote the answer


async def _exchange(client: httpx.AsyncClient, question: Question, name: str, max_size: int) -> Answer:
    # An encoded body would have to be bounded twice, and tickets are short: RFC 9110 section 12.5.3.
    headers = Headers({"Accept": "application/json", "Accept-Encoding": "identity"}) | question.headers
    async with client.stream(
        question.method, question.url, headers=list(headers.pairs), content=question.body or None
    ) as response:
        status = response.status_code
        answered = Headers([(key.decode("latin-1"), value.decode("latin-1")) for key, value in response.headers.raw])
        encoded = answered.get("Content-Encoding", "identity").strip().lower() != "identity"
        body = bytearray()
        if not encoded:
            async for chunk in response.aiter_bytes():
                body += chunk
                if len(body) > max_size:
                    break
        if not 200 <= status <= 299:
            text = f"{name} answered with {status} {response.reason_phrase}".rstrip()
            raise HandshakeRejected(text, status=status, headers=answered, body=bytes(body[:max_size]))
        if encoded:
            text = f"the answer of {name} has a Content-Encoding, which was not asked for"
            raise ConnectError(text, verdict=Verdict.FATAL)
        if len(body) > max_size:
            text = f"the answer of {name} has more than {max_size} bytes, see option 'max_size' of http"
            raise ConnectError(text, verdict=Verdict.FATAL)
        return Answer(answered, bytes(body))


def _translated(error: Exception, name: str) -> LibwsError:
    if isinstance(error, httpx.ProxyError):
        found = re.match(r"\d{3}\b", str(error))  # httpcore puts the status of CONNECT there, and nothing else has it
        status = int(found[0]) if found else None
        return ProxyError(f"the proxy lets nobody through to {name}", status=status)
    if isinstance(error, (httpx.InvalidURL, httpx.UnsupportedProtocol)):
        return ConnectError(f"{name} is no URL that httpx can ask", verdict=Verdict.FATAL)
    for cause in _causes(error):
        if isinstance(cause, socket.gaierror):
            return NameResolutionError(f"cannot resolve the host of {name}: {cause.strerror}")
        if isinstance(cause, ssl.SSLCertVerificationError):
            text = cause.verify_message or "it does not fit"
            return TLSError(f"the certificate of {name} is refused: {text}", verdict=Verdict.FATAL)
        if isinstance(cause, ssl.SSLError):
            reason = (cause.reason or "unknown").replace("_", " ").lower()
            return TLSError(f"TLS with {name} failed: {reason}")
        if isinstance(cause, OSError) and cause.errno:
            return ConnectError(f"cannot ask {name}: {os.strerror(cause.errno).lower()}")
    if isinstance(error, httpx.RemoteProtocolError):
        return ConnectError(f"{name} did not answer with a whole response of HTTP")
    return ConnectError(f"cannot ask {name}: {type(error).__name__}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """What has led to it, the innermost first; groups are looked into."""
    if error is None:
        return
    yield from _causes(error.__cause__ or error.__context__)
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _causes(each)
    yield error


class _OfOthers(logging.Filter):
    """Lets through what is not logged on behalf of this plugin."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _asking.get()


_of_others = _OfOthers()


@contextmanager
def _silence() -> Iterator[None]:
    """Keep httpx and httpcore from logging this request; those of others go on being logged."""
    global _silenced
    token = _asking.set(True)
    _silenced += 1
    if _silenced == 1:
        for name in LOGGERS:
            logging.getLogger(name).addFilter(_of_others)
    try:
        yield
    finally:
        _asking.reset(token)
        _silenced -= 1
        if _silenced == 0:
            for name in LOGGERS:
                logging.getLogger(name).removeFilter(_of_others)
