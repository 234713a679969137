"""Discord's gateway, strict about every rule, for the tests of those who use it.

What it says and when it closes is what the documentation says (https://docs.discord.com/developers/events/gateway and
/topics/opcodes-and-status-codes, read 2026-11).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import msgspec

from libws_core.testing import Peer

from ..profile import BOT, CODES, CONCURRENCY_PER, IDENTIFIES, IDENTIFIES_PER, INTENTS, INVALID_SESSION, PRIVILEGED
from .listener import EXACT, Listener
from .session import GatewaySession

if TYPE_CHECKING:
    import httpx

__all__ = ["Gateway"]

LINGER = 3.0
"""Seconds after which it closes a connection that it has asked to go: "a few seconds after the reconnect event"."""
REQUEST = 16 * 1024
"""Bytes that a request to its REST API may have."""


class Gateway:
    """A step of a script, for a `Server` or a `MemoryDialer`: `Server(gateway)`.

    Args:
        token: of the one bot that it knows.
        interval: seconds from one heartbeat to the next.
        tolerance: seconds by which one may be late; None = a quarter of the interval.
        allowed: the intents that are enabled for the bot.
        shards: how many there must be at least.
        identifies: how many the bot may send in a day.
        concurrency: max_concurrency.
        remembers: seconds for which it keeps a session without a connection.
        events: that it keeps of a session, to be replayed.
        pieces: messages that it makes of each payload where it compresses.
        expired: what it says to who resumes what it does not know: opcode 9, or the close code 4009.
    """

    def __init__(
        self,
        token: str = "MTE.gateway.token",
        *,
        interval: float = 41.25,
        tolerance: float | None = None,
        allowed: int = sum(INTENTS.values()) & ~PRIVILEGED,
        shards: int = 1,
        identifies: int = IDENTIFIES,
        concurrency: int = 1,
        remembers: float = 180.0,
        events: int = 10_000,
        pieces: int = 1,
        expired: Literal[9, 4009] = 9,
    ) -> None:
        self.token = token
        self.interval = interval
        self.tolerance = interval / 4 if tolerance is None else tolerance
        self.allowed = allowed
        self.shards = shards
        self.total = self.remaining = identifies
        self.concurrency = concurrency
        self.remembers = remembers
        self.events = events
        self.pieces = pieces
        self.expired = expired
        self.url = "ws://gateway.test/"
        """Its own, as its REST API tells it; resumes go to its path "resume"."""
        self.sessions: dict[str, GatewaySession] = {}
        """Those that it keeps, the oldest first."""
        self.listeners: list[Listener] = []
        """The connections that are open, the oldest first."""
        self.broken: list[str] = []
        """The rules that clients have broken, each with its connection and code."""
        self.connects = self.identifies = self.resumes = self.asked = self.missed = 0
        """Connections, identifies, resumes, requests to REST so far; connections on which a heartbeat was missing."""
        self.astray = 0
        """Resumes at another URL than the session's: "it will experience disconnects at a higher rate than normal"."""
        self.identified: list[dict[str, Any]] = []
        """The identifies that began sessions."""
        self._resets: float | None = None
        self._latest: dict[int, float] = {}

    async def __call__(self, peer: Peer) -> None:
        """Serve one connection until it ends."""
        self.connects += 1
        listener = Listener(self, peer)
        self.listeners.append(listener)
        listener.begin()
        watch = asyncio.create_task(listener.watch())
        try:
            await peer.wait_gone(float("inf"))
        finally:
            self.listeners.remove(listener)
            listener.gone()
            watch.cancel()
            await asyncio.wait([watch])
            if not watch.cancelled() and (error := watch.exception()) is not None:
                raise error

    # What Discord does

    def dispatch(self, type: str, data: Any = None, shard: int = 0) -> None:
        """Let something happen: an event for each session of that shard, also for those without a connection."""
        for session in self._living():
            if session.shard[0] == shard:
                session.dispatch(type, {} if data is None else data)

    async def run(self, every: float, type: str = "MESSAGE_CREATE") -> None:
        """Let numbered events happen again and again, until cancelled."""
        number = 0
        while True:
            number += 1
            self.dispatch(type, {"content": str(number)})
            await asyncio.sleep(every)

    def ask_for_beats(self) -> None:
        """Ask all connections for a heartbeat: opcode 1."""
        for listener in self.listeners:
            listener.say(1, None)

    def become_zombie(self) -> None:
        """Hold the connections that are open, and say nothing on them any more."""
        for listener in self.listeners:
            listener.zombie = True

    def ask_to_reconnect(self) -> None:
        """Ask all connections to reconnect and resume, and close them a little later: opcode 7."""
        for listener in self.listeners:
            listener.ask_to_reconnect()
            listener.end_later(LINGER)

    def invalidate(self, resumable: bool = False) -> None:
        """Say to all connections that their sessions are invalid, and close them a little later: opcode 9."""
        for listener in self.listeners:
            listener.invalidate(resumable)
            listener.end_later(LINGER)

    def close(self, code: int) -> None:
        """Close all connections; the codes that ask for a new session end theirs."""
        for listener in self.listeners:
            if code in CODES and CODES[code].then != "resume":
                self.forget(listener.session)
            listener.close(code)

    def restart(self) -> None:
        """End all connections without a close frame; the sessions stay."""
        for listener in self.listeners:
            listener.peer.drop()

    def forget_all(self) -> None:
        """End all sessions, without a word."""
        for session in [*self.sessions.values()]:
            self.forget(session)

    def forget(self, session: GatewaySession | None) -> None:
        """End a session, if it is one."""
        if session is not None:
            self.sessions.pop(session.id, None)
            listener, session.listener = session.listener, None
            if listener is not None:
                listener.session = None

    # REST

    def answer(self, path: str, authorization: str | None) -> tuple[int, Any]:
        """What its REST API answers to a GET: the status, and what is the JSON of its body."""
        self.asked += 1
        if not path.endswith(BOT):
            return 404, {"message": "404: Not Found", "code": 0}
        if authorization != f"Bot {self.token}":
            return 401, {"message": "401: Unauthorized", "code": 0}
        now = asyncio.get_running_loop().time()
        left = IDENTIFIES_PER if self._resets is None else max(0.0, self._resets - now)
        limit = {
            "total": self.total,
            "remaining": self._left(now),
            "reset_after": round(left * 1000),
            "max_concurrency": self.concurrency,
        }
        return 200, {"url": self.url, "shards": self.shards, "session_start_limit": limit}

    def client(self) -> httpx.AsyncClient:
        """A client of its REST API in memory, for the option `client`: any URL of http leads to it."""
        import httpx

        def handle(request: httpx.Request) -> httpx.Response:
            status, body = self.answer(request.url.path, request.headers.get("Authorization"))
            return httpx.Response(status, json=body)

        return httpx.AsyncClient(transport=httpx.MockTransport(handle))

    @asynccontextmanager
    async def rest(self, host: str = "127.0.0.1") -> AsyncIterator[str]:
        """Serve its REST API on a free port: `async with gateway.rest() as url`."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                async with asyncio.timeout(LINGER):
                    head, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                    fields = [line.partition(":") for line in lines]
                    headers = {name.lower(): value.strip() for name, _, value in fields}
                    status, body = self.answer(head.split(" ")[1], headers.get("authorization"))
                    said = msgspec.json.encode(body)
                    writer.write(b"HTTP/1.1 %d -\r\nConnection: close\r\n" % status)
                    writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(said), said))
                    await writer.drain()
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(serve, host, 0, limit=REQUEST)
        async with server:
            yield f"http://{host}:{server.sockets[0].getsockname()[1]}/api/v10"

    # What its connections ask

    @property
    def resume_url(self) -> str:
        """Where it wants resumes."""
        return f"{self.url.rstrip('/')}/resume"

    @property
    def resume_path(self) -> str:
        """The path of that."""
        return urlsplit(self.resume_url).path

    def find(self, id: Any) -> GatewaySession | None:
        """A session that is still kept."""
        return next((session for session in self._living() if session.id == id), None)

    def refuse_resume(self, listener: Listener) -> None:
        """It resumes what is not kept any more."""
        if self.expired == 9:
            listener.say(INVALID_SESSION, False)
        else:
            listener.close(self.expired)

    def admit(self, listener: Listener, shard: Any) -> bool:
        """An identify has come; False = it was too much, and is answered."""
        now = asyncio.get_running_loop().time()
        if self._left(now) == 0:
            # "all active sessions for the app will be terminated, the bot token will be reset"
            self.token += ".reset"
            self.forget_all()
            listener.refuse(4004, f"more than {self.total} identifies in a day: the token was reset")
            return False
        self.remaining -= 1
        if self._resets is None:
            self._resets = now + IDENTIFIES_PER
        key = shard[0] % self.concurrency if isinstance(shard, list) and shard and type(shard[0]) is int else 0
        before, self._latest[key] = self._latest.get(key), now
        if before is not None and now - before < CONCURRENCY_PER - EXACT:
            self.broken.append(f"connection {listener.peer.number}: two identifies in {now - before:g} s")
            listener.say(INVALID_SESSION, False)
            return False
        return True

    def start(self, listener: Listener, identify: dict[str, Any], shard: tuple[int, int]) -> None:
        """Begin a session."""
        self.identified.append(identify)
        session = GatewaySession(f"session-{len(self.identified)}", shard, self.events)
        self.sessions[session.id] = listener.session = session
        session.listener = listener
        data = {
            "v": 10,
            "user": {"id": "1", "username": "bot"},
            "guilds": [],
            "session_id": session.id,
            "resume_gateway_url": self.resume_url,
            "shard": list(shard),
            "application": {"id": "1", "flags": 0},
        }
        session.dispatch("READY", data)

    def _left(self, now: float) -> int:
        if self._resets is not None and now >= self._resets:
            self.remaining, self._resets = self.total, None
        return self.remaining

    def _living(self) -> list[GatewaySession]:
        """The sessions, without those that have been alone for too long."""
        now = asyncio.get_running_loop().time()
        for session in [*self.sessions.values()]:
            if now - session.left_at > self.remembers:
                self.forget(session)
        return [*self.sessions.values()]
