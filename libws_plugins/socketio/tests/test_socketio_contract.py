"""What every provider, log-in and stage promises, of `socketio`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from libws_core import Message
from libws_core.testing import AuthContract, Peer, ProviderContract, StageContract, refuse
from libws_socketio import Socketio

OPEN = '0{"sid":"e","upgrades":[],"pingInterval":1000000000,"pingTimeout":20000,"maxPayload":1000000}'
EVENTS = [json.dumps(["event", number, "ü" * number]) for number in range(40)]


async def forbid(peer: Peer) -> None:
    """A server that does not like the log-in."""
    peer.send(OPEN)
    await peer.recv()
    peer.send('44{"message":"not authorized","data":{"code":17}}')
    await peer.wait_gone()


class SocketioContract(ProviderContract, AuthContract, StageContract):
    """The three of them, with a server that speaks the protocol."""

    plugin = Socketio
    bad_options: ClassVar = {
        "namespace": ["admin", "/a,b"],
        "auth": ["text", ["list"]],
        "timeout": [0, -1],
        "limit": [0],
        "disconnect": ["never"],
        "attachments": [-1],
        "attachment_bytes": [-1],
    }
    refusals = (forbid, refuse(401), refuse(403))
    takes = ("2", "3", "6")
    passes = (
        ('42["news",{"number":1}]', '["news",{"number":1}]'),
        ('427["question","a [text], with {all}"]', '["question","a [text], with {all}"]'),
        ('43999["too late"]', None),
        *((f"42{each}", each) for each in EVENTS),
    )

    @property
    def says(self) -> list[Message]:
        """Other messages end the connection, as the protocol has it."""
        return [*(Message.text(f"42{each}") for each in EVENTS), Message.text("2"), Message.text("6")]

    async def server(self, peer: Peer) -> None:
        peer.send(OPEN)
        async for message in peer:
            if message.data == "40" or str(message.data).startswith("40{"):
                peer.send(f'40{{"sid":"s{peer.number}","pid":"p{peer.number}"}}')


class TestSocketio(SocketioContract):
    options: ClassVar[dict[str, Any]] = {"auth": {"token": "a token nobody knows"}}


class TestSocketioWithRenewableCredentials(SocketioContract):
    options: ClassVar[dict[str, Any]] = {"auth": lambda: {"token": "fetched anew for each attempt"}}
