"""Acme's desk, as its handbook says: accounts, challenges, sessions and a stream of prices for each topic.

Written from the handbook and not with the code under test. Its `serve` is a step of a script, for a server on a socket
and for a dialer in memory.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
from dataclasses import dataclass, field
from typing import Any

from libws_core.testing import Peer


@dataclass
class Kept:
    """A session: what it has subscribed, and up to where it was told."""

    topics: set[str] = field(default_factory=set)
    told: int = 0


class DeskServer:
    """The desk.

    Args:
        keys: account -> key.
        heartbeat: seconds that the welcome asks for.
    """

    def __init__(self, keys: dict[str, str] | None = None, heartbeat: Any = 10) -> None:
        self.keys = {"4711": "the-right-key"} if keys is None else keys
        self.heartbeat = heartbeat
        self.beats = True
        """It answers heartbeats."""
        self.sessions: dict[str, Kept] = {}
        self.logins: list[dict[str, Any]] = []
        """What came as log-ins."""
        self.heard: list[dict[str, Any]] = []
        """What came after the log-in."""
        self.prices: list[dict[str, Any]] = []
        """Every price so far, in order."""
        self.beaten = asyncio.Event()
        """A heartbeat has come."""
        self.refuses = ""
        """Why the next log-ins are refused, whatever they say."""
        self._numbers = itertools.count(1)
        self._nonces: set[str] = set()
        self._open: list[tuple[Any, Kept]] = []

    async def serve(self, peer: Peer) -> None:
        """Hold the dialogue of one connection."""
        kept = await self._welcome(peer)
        if kept is None:
            return
        entry = (peer, kept)
        self._open.append(entry)
        try:
            self._tell(peer, kept)
            async for message in peer:
                self._hear(peer, kept, message.json)
        finally:
            self._open.remove(entry)

    def publish(self, topic: str) -> None:
        """A new price, for whoever has subscribed."""
        seq = 1 + sum(price["topic"] == topic for price in self.prices)
        self.prices.append({"type": "price", "topic": topic, "seq": seq, "price": 100 + seq})
        for peer, kept in self._open:
            self._tell(peer, kept)

    async def _welcome(self, peer: Peer) -> Kept | None:
        nonce = f"nonce-{next(self._numbers):012}"
        assert nonce not in self._nonces
        self._nonces.add(nonce)
        peer.send({"type": "challenge", "nonce": nonce})
        login = (await peer.recv()).json
        self.logins.append(login)
        why = self.refuses or self._judge(login, nonce)
        if why:
            peer.send({"type": "refused", "why": why, "said": login})
            return None
        if "session" in login and login["session"] not in self.sessions:
            peer.close(4009, "no such session")
            return None
        resumed = "session" in login
        name = login["session"] if resumed else f"s-{next(self._numbers)}"
        kept = self.sessions.setdefault(name, Kept(told=len(self.prices)))
        peer.send({"type": "welcome", "session": name, "heartbeat": self.heartbeat, "resumed": resumed})
        return kept

    def _judge(self, login: dict[str, Any], nonce: str) -> str:
        assert login.keys() <= {"type", "account", "proof", "session"}
        assert login["type"] == "login"
        key = self.keys.get(login["account"])
        if key is None:
            return "account"
        right = hmac.digest(key.encode(), f"{nonce}:{login['account']}".encode(), hashlib.sha256).hex()
        return "" if hmac.compare_digest(right, login["proof"]) else "proof"

    def _hear(self, peer: Peer, kept: Kept, said: dict[str, Any]) -> None:
        self.heard.append(said)
        match said:
            case {"type": "heartbeat"}:
                self.beaten.set()
                if self.beats:
                    peer.send({"type": "heartbeat"})
            case {"type": "subscribe", "topics": topics, "id": number}:
                for topic in topics:
                    if topic.startswith("no-"):
                        peer.send({"type": "rejected", "topic": topic, "error": "not traded here"})
                kept.topics |= {topic for topic in topics if not topic.startswith("no-")}
                peer.send({"type": "subscribed", "id": number})
            case {"type": "unsubscribe", "topics": topics, "id": number}:
                kept.topics -= {*topics}
                peer.send({"type": "unsubscribed", "id": number})
            case _:
                peer.close(4100, "what is that?")

    def _tell(self, peer: Peer, kept: Kept) -> None:
        """Send what is new to a session, unless its connection is gone: then it waits for the next one."""
        if peer.gone:
            return
        for price in self.prices[kept.told :]:
            if price["topic"] in kept.topics:
                peer.send(price)
        kept.told = len(self.prices)
