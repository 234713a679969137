"""One connection, as the gateway sees it: whoever breaks a rule is closed with Discord's own code."""

from __future__ import annotations

import asyncio
import math
import zlib
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import msgspec

from libws_core import Kind, Message
from libws_core.testing import Gone, Peer

from ..profile import (
    CODES,
    COMMANDS,
    ENDS_SESSION,
    HEARTBEAT,
    HEARTBEAT_ACK,
    HELLO,
    IDENTIFY,
    INTENTS,
    INVALID_SESSION,
    PAYLOAD,
    RECONNECT,
    RESUME,
    SENDS,
    SENDS_PER,
)
from .session import GatewaySession

if TYPE_CHECKING:
    from .gateway import Gateway

__all__ = ["Listener"]

EXACT = 1e-6
"""Seconds by which two times may differ and count as the same."""
ALL = sum(INTENTS.values())


class Listener:
    """One connection of a client."""

    def __init__(self, gateway: Gateway, peer: Peer) -> None:
        self.gateway = gateway
        self.peer = peer
        self.session: GatewaySession | None = None
        self.beats: deque[tuple[float, int | None]] = deque(maxlen=1000)
        """When heartbeats came, in the loop's time, and the number that each carried; the newest."""
        self.commands: deque[dict[str, Any]] = deque(maxlen=1000)
        """What the user sent; the newest."""
        self.zombie = False
        """It holds the connection and answers nothing any more."""
        self.late = self.ends = math.inf
        """When a heartbeat is missing, and when it is ended in any case, in the loop's time."""
        self.over = False
        path, _, query = peer.path.partition("?")
        self.path = path
        self.query = dict(parse_qsl(query))
        self._woken = asyncio.Event()
        self._arrivals: deque[float] = deque(maxlen=SENDS + 1)
        self._deflate = zlib.compressobj() if self.query.get("compress") == "zlib-stream" else None
        peer.on_message = self._message

    def begin(self) -> None:
        """Say hello."""
        if self.query.get("v") != "10" or self.query.get("encoding") != "json":
            self.refuse(4012, f"the query was {self.query}")
            return
        self.late = self.peer.time + self.gateway.interval + self.gateway.tolerance
        self.say(HELLO, {"heartbeat_interval": round(self.gateway.interval * 1000)})

    async def watch(self) -> None:
        """Close it when a heartbeat is missing, and when it is to end."""
        loop = asyncio.get_running_loop()
        while not self.over:
            self._woken.clear()
            late = math.inf if self.zombie else self.late
            try:
                async with asyncio.timeout_at(min(late, self.ends)):
                    await self._woken.wait()
            except TimeoutError:
                if loop.time() >= self.ends:
                    self.close(4000)
                elif not self.zombie and loop.time() >= self.late:
                    self.gateway.missed += 1
                    # "your connection will be closed and you will be forced to Resume"; no code is named
                    self.refuse(4000, f"no heartbeat within {self.gateway.interval:g} s")

    def end_later(self, seconds: float) -> None:
        """Close it so many seconds from now."""
        self.ends = asyncio.get_running_loop().time() + seconds
        self._woken.set()

    def say(self, op: int, data: Any) -> None:
        """Send a payload that is no event."""
        self.tell({"op": op, "d": data, "s": None, "t": None})

    def tell(self, payload: dict[str, Any]) -> None:
        """Send a payload, compressed where that was asked for."""
        if self.zombie or self.over or self.peer.gone or self.peer.closed is not None:
            return
        said = msgspec.json.encode(payload)
        try:
            if self._deflate is None:
                self.peer.send(said.decode())
                return
            packed = self._deflate.compress(said) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
            pieces = self.gateway.pieces
            for number in range(pieces):
                begin, end = len(packed) * number // pieces, len(packed) * (number + 1) // pieces
                self.peer.send(packed[begin:end])
        except Gone:
            pass

    def refuse(self, code: int, what: str) -> None:
        """It has broken a rule: write it down, and end it."""
        if not self.over:
            self.gateway.broken.append(f"connection {self.peer.number}: {code}, {what}")
            self.close(code)

    def close(self, code: int) -> None:
        """End it, with the code's own name as the reason."""
        if not self.over:
            self.over = True
            self.peer.close(code, CODES[code].name if code in CODES else "")

    def ask_to_reconnect(self) -> None:
        """Opcode 7."""
        self.say(RECONNECT, None)

    def invalidate(self, resumable: bool = False) -> None:
        """Opcode 9."""
        self.say(INVALID_SESSION, resumable)
        if not resumable:
            self.gateway.forget(self.session)

    def gone(self) -> None:
        """The connection has ended: by 1000 or 1001 the client has ended the session, too."""
        closed = self.peer.closed
        if closed is not None and closed.code in ENDS_SESSION and not self.over:
            self.gateway.forget(self.session)
        elif self.session is not None and self.session.listener is self:
            self.session.leave()

    # What the client says

    def _message(self, message: Message) -> None:
        if self.over or self.zombie:
            return
        now = asyncio.get_running_loop().time()
        self._arrivals.append(now)
        if len(self._arrivals) > SENDS and now - self._arrivals[0] < SENDS_PER - EXACT:
            self.refuse(4008, f"more than {SENDS} payloads in {SENDS_PER:g} s")
            return
        size = len(message.data.encode() if message.kind is Kind.TEXT else message.data)
        if size > PAYLOAD:
            self.refuse(4002, f"a payload of {size} bytes")
            return
        try:
            body = message.json
        except ValueError:
            body = None
        if not isinstance(body, dict) or type(op := body.get("op")) is not int:
            self.refuse(4002, "a payload that cannot be read")
            return
        data = body.get("d")
        if op == HEARTBEAT:
            self._beat(data, now)
        elif op in (IDENTIFY, RESUME):
            self._begin(op, data)
        elif op not in COMMANDS:
            self.refuse(4001, f"the opcode {op}")
        elif self.session is None:
            self.refuse(4003, f"{COMMANDS[op]} before the identify")
        else:
            self.commands.append(body)

    def _beat(self, data: Any, now: float) -> None:
        most = self.session.sequence if self.session is not None else math.inf
        if data is not None and (type(data) is not int or data > most):
            self.refuse(4002, f"a heartbeat with {data!r}")
            return
        self.beats.append((now, data))
        self.late = now + self.gateway.interval + self.gateway.tolerance
        self.tell({"op": HEARTBEAT_ACK})

    def _begin(self, op: int, data: Any) -> None:
        if self.session is not None:
            self.refuse(4005, "identified already")
        elif not isinstance(data, dict) or not isinstance(data.get("token"), str):
            self.refuse(4002, "no token")
        elif op == RESUME:
            self._resume(data)
        else:
            self._identify(data)

    def _resume(self, data: dict[str, Any]) -> None:
        gateway, number = self.gateway, data.get("seq")
        gateway.resumes += 1
        if data["token"] != gateway.token:
            self.refuse(4004, "another token")
            return
        if self.path != gateway.resume_path:
            gateway.astray += 1
        session = gateway.find(data.get("session_id"))
        if session is None:
            gateway.refuse_resume(self)
        elif type(number) is not int or not 0 <= number <= session.sequence:
            gateway.forget(session)
            self.refuse(4007, f"a resume from {number!r}")
        elif not session.can_replay(number):
            gateway.forget(session)
            self.say(INVALID_SESSION, False)
        else:
            self.session = session
            session.resume(self, number)

    def _identify(self, data: dict[str, Any]) -> None:
        gateway, shard, intents = self.gateway, data.get("shard", [0, 1]), data.get("intents")
        gateway.identifies += 1
        if data["token"] != gateway.token:
            self.refuse(4004, "another token")
        elif not gateway.admit(self, shard):
            pass
        elif type(intents) is not int or intents & ~ALL:
            self.refuse(4013, f"the intents {intents!r}")
        elif intents & ~gateway.allowed:
            self.refuse(4014, f"the intents {intents:b}")
        elif not _is_shard(shard):
            self.refuse(4010, f"the shard {shard!r}")
        elif shard[1] < gateway.shards:
            self.refuse(4011, f"{shard[1]} shards, {gateway.shards} are required")
        elif not isinstance(data.get("properties"), dict):
            self.refuse(4002, "no properties")
        else:
            gateway.start(self, data, (shard[0], shard[1]))


def _is_shard(shard: Any) -> bool:
    return (
        isinstance(shard, list)
        and len(shard) == 2
        and all(type(number) is int for number in shard)
        and 0 <= shard[0] < shard[1]
    )
