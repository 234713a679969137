"""What every plugin that gets credentials promises, of `http`."""

from __future__ import annotations

from typing import Any, ClassVar

import httpx

from libws_core import Request
from libws_core.testing import AuthContract, refuse
from libws_http import Http


def answer(request: httpx.Request) -> httpx.Response:
    """A good ticket for whoever asks."""
    return httpx.Response(
        200, json={"ok": True, "data": {"url": "wss://test/socket?ticket=nobody-knows", "token": "t-1"}}
    )


def in_memory() -> httpx.AsyncClient:
    """A client without a network, since the contract's clock is not that of sockets."""
    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def sign(request: Request) -> dict[str, str]:
    """What an application would make of its key."""
    return {"X-Signature": f"signature nobody knows {request.attempt.number}"}


class TestHttp(AuthContract):
    plugin = Http
    options: ClassVar[dict[str, Any]] = {
        "url": "https://test/ticket",
        "headers": {"X-Key": "a key nobody knows"},
        "body": {"account": "an account nobody knows", "count": 1},
        "paths": {"url": "data.url", "token": "data.token"},
        "dial_query": {"token": "$token", "connectId": "$id"},
        "dial_headers": {"X-Token": "Bearer $token"},
        "expect": {"ok": True},
        "reject": {"ok": False, "error": "invalid_auth"},
        "client": in_memory,
    }
    url = "ws://nowhere/"
    sources = ()
    bad_options: ClassVar[dict[str, Any]] = {
        "url": ["ws://test/", "https:///path", "nothing", "http://test/ white space"],
        "method": ["DELETE", "get"],
        "headers": [{"X-Key": "two\r\nlines"}],
        "timeout": [0, -1],
        "paths": [{}, {"id": "data.id"}, {"a-b": "a"}, {"url": "a..b"}],
        "scale": [{"interval": 0.001}],
        "dial_query": [{"token": "$nobody"}],
        "dial_headers": [{"X-Token": "$nobody"}, {"X": "two\nlines"}],
        "ttl": [-1],
        "max_size": [0],
        "expect": [{"a": object()}],
        "reject": [{"a": object()}],
    }
    refusals = (refuse(401), refuse(403))


class TestHttpThatSigns(TestHttp):
    options: ClassVar[dict[str, Any]] = {**TestHttp.options, "headers": sign, "body": None}
    sources = ("headers",)
