"""One connection: its heartbeat, its calls, and where it stands."""

from __future__ import annotations

import asyncio
from typing import Any

from libws_core import IdleTimeout, ProtocolError, SendError, Session

from .packets import Packet

__all__ = ["Line", "Received"]

LOOK = 0.05
"""Seconds between two looks at the deadline while we are not reading."""


class Line:
    """One connection of a client."""

    def __init__(self) -> None:
        self.session: Session = None  # type: ignore[assignment]
        self.opened = False
        """Engine.IO's open packet has come."""
        self.joined = False
        """The namespace has let us in."""
        self.pid: str | None = None
        """The secret id of the session, where the server can recover."""
        self.offset: str | None = None
        """That of the last event that the server keeps."""
        self.calls: dict[int, asyncio.Future[Any]] = {}
        """Those that wait, each for its data or for why there is none."""
        self.pending: Packet | None = None
        """What waits for attachments."""
        self.parts: list[bytes] = []
        self.size = 0
        self._limit: int | None = None
        self._patience = 0.0
        self._heard = self._paused = 0.0

    def begin(self, said: dict[str, Any]) -> None:
        """Take the times and sizes of the open packet."""
        self._patience = (said["pingInterval"] + said["pingTimeout"]) / 1000
        limit = said.get("maxPayload")
        self._limit = limit if type(limit) is int and limit > 0 else None
        self.beat()

    def join(self, said: Any) -> None:
        """Take the ids of the server's answer to CONNECT."""
        if not isinstance(said, dict) or not isinstance(said.get("sid"), str):
            raise ProtocolError("the server's answer to CONNECT has no sid")
        self.joined = True
        pid = said.get("pid")
        self.pid = pid if isinstance(pid, str) else None

    def beat(self) -> None:
        """The server's ping has come."""
        self._heard, self._paused = asyncio.get_running_loop().time(), self.session.paused_total

    async def watch(self) -> None:
        """Wait until no ping has come for too long: Engine.IO, section Heartbeat.

        Raises:
            IdleTimeout: so it is. Time in which we were not reading does not count.
        """
        loop = asyncio.get_running_loop()
        while True:
            paused = self.session.paused_total - self._paused
            left = self._heard + self._patience + paused - loop.time()
            if left <= 0:
                text = f"the server sent no ping within pingInterval + pingTimeout, {self._patience:g} s"
                raise IdleTimeout(text, initiator="local")
            await asyncio.sleep(max(left, LOOK))

    def check_size(self, data: str | bytes) -> None:
        """Refuse what is over the server's maxPayload: it would end the connection.

        Raises:
            SendError: it is.
        """
        limit = self._limit
        if limit is None or len(data) * 4 <= limit:
            return
        size = len(data.encode()) if isinstance(data, str) else len(data)
        if size > limit:
            raise SendError(f"{size} bytes are over the server's maxPayload of {limit}; send less at once")


class Received(list[Any]):
    """An event that has arrived: a list of its name and its arguments.

    Where the server can recover, it adds a str to the arguments of each event that it keeps, which stays there.
    """

    def __init__(self, data: list[Any], id: int | None, line: Line) -> None:
        super().__init__(data)
        self.id = id
        self.line = line
        self.wants_answer = id is not None
        """Its sender waits for `Socketio.answer`."""
