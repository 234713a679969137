"""What every provider, log-in and stage promises, of `graphql`."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_core import Client
from libws_core.testing import AuthContract, MemoryDialer, Peer, ProviderContract, StageContract, refuse
from libws_graphql import Graphql
from libws_graphql.profile import CODES, SUBPROTOCOL

INIT = "connection_init"


async def forbid(peer: Peer) -> None:
    """A server that does not like the log-in."""
    await peer.recv()
    peer.close(4403, "Forbidden")
    await peer.wait_gone()


async def too_late(peer: Peer) -> None:
    """A server for which the credentials are no longer good, by the code that some use for it."""
    await peer.recv()
    peer.close(4401, "Unauthorized")
    await peer.wait_gone()


class GraphqlContract(ProviderContract, AuthContract, StageContract):
    """The three of them, with a server that speaks the subprotocol."""

    plugin = Graphql
    bad_options: ClassVar = {
        "payload": ["text", ["list"]],
        "ack_timeout": [0, -1],
        "timeout": [0],
        "queue": [0],
        "queue_bytes": [0],
    }
    refusals = (forbid, too_late, refuse(401), refuse(403))
    takes = ({"type": "ping"},)  # by the plugin pong

    async def server(self, peer: Peer) -> None:
        async for message in peer:
            try:
                said = message.json
            except ValueError:
                continue
            if isinstance(said, dict) and said.get("type") == INIT:
                peer.send({"type": "connection_ack"})
            elif isinstance(said, dict) and said.get("type") == "ping":
                peer.send({"type": "pong"})

    def client(self, dialer: MemoryDialer, *others: object, **more: Any) -> Client:
        dialer.subprotocols = (SUBPROTOCOL,)
        return super().client(dialer, *others, **more)


class TestGraphql(GraphqlContract):
    options: ClassVar[dict[str, Any]] = {"payload": {"token": "a token nobody knows"}}
    codes: ClassVar[dict[int | str, str]] = {**CODES}


class TestGraphqlWithRenewableCredentials(GraphqlContract):
    options: ClassVar[dict[str, Any]] = {"payload": lambda: {"headers": {"Authorization": "Bearer fetched anew"}}}
    codes: ClassVar[dict[int | str, str]] = {**CODES, "4403": "refresh"}
