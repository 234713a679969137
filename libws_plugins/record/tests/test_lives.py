"""Lives full of faults, with moves, recorded: every attempt is told once, every connection begins and ends once."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from libws_core import Client, ClientClosed, LibwsError, Message
from libws_core.testing import Faults, Peer, Simulation
from libws_record import Record


class Recorded(Simulation):
    """A client that talks, moves and is recorded, and a server that answers."""

    faults = Faults(lifetime=(0, 20))

    def client(self) -> Client:
        self.folder = tempfile.TemporaryDirectory()
        self.file = Path(self.folder.name) / "session.jsonl"
        options = {"ping": {"interval": 2, "timeout": 2}, "reopen": {"every": 15}}
        plugins = ["reopen", Record(file=str(self.file)), self.dialer, "-websockets"]
        return Client("ws://test/", plugins=plugins, options=options)

    async def server(self, peer: Peer) -> None:
        async for message in peer:
            peer.send(message)

    async def user(self, client: Client) -> None:
        client.on_message(self.read_it)
        while True:
            try:
                await client.send("a message")
            except ClientClosed:
                return
            except LibwsError:
                pass  # not connected now
            await asyncio.sleep(0.5)

    def read_it(self, message: Message) -> None:
        """Take a message."""

    def verify(self) -> None:
        with self.folder:
            lines: list[dict[str, Any]] = [json.loads(line) for line in self.file.read_text("utf-8").splitlines()]
        assert lines[0]["type"] == "run"
        assert (lines[-1]["type"], lines[-1]["note"]) == ("note", "closed")
        attempts = [line["attempt"] for line in lines if line["type"] in ("connection", "failed")]
        assert attempts == list(range(1, len(attempts) + 1))
        last: dict[int, float] = {}
        ended = []
        for line in lines:
            if line["type"] == "connection":
                last[line["connection"]] = 0.0
            elif line["type"] == "message":
                assert line["t"] >= last[line["connection"]]
                last[line["connection"]] = line["t"]
            elif line["type"] == "end":
                ended.append(line["connection"])
        assert sorted(ended) == list(last)


def test_every_attempt_and_every_end_is_told_once() -> None:
    Recorded.check(seeds=20)
