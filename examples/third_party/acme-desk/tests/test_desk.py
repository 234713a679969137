"""The contracts of a provider and of a log-in, and the desk's own ways."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from desk_server import DeskServer

from acme_desk import CALM, CODES, Desk
from libws_core import (
    AuthenticationError,
    Client,
    Connected,
    Disconnected,
    Gap,
    KeepAliveTimeout,
    Message,
    OptionError,
    ProtocolError,
    Reconnected,
    Retrying,
    Secret,
    Session,
)
from libws_core.testing import (
    AuthContract,
    MemoryDialer,
    Peer,
    ProviderContract,
    Server,
    leaks,
    refuse,
    virtual,
)

KEY = "the-right-key"


async def refuses(peer: Peer) -> None:
    """A desk that takes no answer for the right one."""
    desk = DeskServer()
    desk.refuses = "proof"
    await desk.serve(peer)


async def is_locked(peer: Peer) -> None:
    """A desk whose account is locked."""
    desk = DeskServer()
    desk.refuses = "locked"
    await desk.serve(peer)


async def expired(peer: Peer) -> None:
    """A desk that closes in the place of an answer."""
    peer.send({"type": "challenge", "nonce": "0123456789abcdef"})
    await peer.recv()
    peer.close(4001)


class TestDesk(ProviderContract):
    plugin = Desk
    options = {"account": "4711", "key": KEY, "topics": ["BTC-EUR", "ETH-EUR"]}
    bad_options = {"account": [""], "key": ["", 3], "topics": ["BTC-EUR", [1]]}
    codes = {code: str(verdict) for code, verdict in CODES.items()}

    async def server(self, peer: Peer) -> None:
        desk = DeskServer()
        desk.sessions["s-2"] = desk.sessions["s-1"] = desk.sessions["s-3"] = desk.sessions.setdefault("s", None)  # type: ignore[arg-type, assignment]
        await DeskServer().serve(peer)


class TestDeskLogin(AuthContract):
    plugin = Desk
    options = {"account": "4711", "key": lambda session: KEY}
    refusals = (refuse(401), refuses, is_locked, expired)

    async def server(self, peer: Peer) -> None:
        await DeskServer().serve(peer)
