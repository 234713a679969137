"""What every plugin that logs in promises, of `auth` in each of its ways."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_auth import Auth
from libws_core import Request
from libws_core.testing import AuthContract, Peer, refuse


class TestAuthByHeader(AuthContract):
    plugin = Auth
    options: ClassVar = {"bearer": "a token nobody knows"}
    bad_options: ClassVar = {
        "basic": ["no-colon", ["only-one"]],
        "header": [{"X-Key": "two\r\nlines"}, {"Authorization": "another log-in"}],
        "reject": [{"error": "$why"}],
        "bearer": ["two\nlines"],
    }
    refusals = (refuse(401), refuse(403), refuse(401, {"WWW-Authenticate": "Bearer"}, "the token has expired"))


class TestAuthByBasic(AuthContract):
    plugin = Auth
    options: ClassVar = {"basic": "somebody:a password nobody knows"}


class TestAuthByQuery(AuthContract):
    plugin = Auth
    options: ClassVar = {"query": {"token": "a token & nobody knows"}}


async def fetch(request: Request) -> str:
    """What an application would ask its own server for."""
    return f"token {request.attempt.number}"


class TestAuthByToken(AuthContract):
    plugin = Auth
    options: ClassVar = {"token": fetch}


async def says_no(peer: Peer) -> None:
    await peer.recv()
    peer.send({"event": "login", "ok": False})
    async for _ in peer:
        pass


async def closes(peer: Peer) -> None:
    await peer.recv()
    peer.close(4401, "who are you")


class TestAuthByMessage(AuthContract):
    plugin = Auth
    options: ClassVar[dict[str, Any]] = {
        "message": {"op": "login", "key": "a key nobody knows"},
        "expect": {"event": "login", "ok": True},
        "reject": {"event": "login", "ok": False},
    }
    refusals = (says_no, closes)

    async def server(self, peer: Peer) -> None:
        await peer.expect({"op": "login"})
        peer.send({"event": "login", "ok": True})
        async for _ in peer:
            pass
