"""What every provider, log-in, stage and keep-alive promises, of `discord`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from libws_core import Message
from libws_core.testing import AuthContract, KeepAliveContract, Peer, ProviderContract, StageContract, refuse
from libws_discord import Discord
from libws_discord.profile import CODES
from libws_discord.testing import Gateway

INTERVAL = 41.25


def event(number: int) -> str:
    return json.dumps({"t": "MESSAGE_CREATE", "s": number, "op": 0, "d": {"content": "ü" * number}})


async def forbid(peer: Peer) -> None:
    """Discord, and another token."""
    await Gateway("a token that nobody has")(peer)


class DiscordContract(ProviderContract, AuthContract, StageContract, KeepAliveContract):
    """All of them, with a gateway that takes whatever is sent: the contracts send what is no payload of Discord."""

    plugin = Discord
    bad_options: ClassVar = {
        "token": [""],
        "intents": [-1, ["GUILD"]],
        "shard": [[1, 1], [-1, 2], [0, 0]],
        "large_threshold": [49, 251],
        "compress": ["gzip"],
        "spare": [0],
        "hello_timeout": [0],
        "ready_timeout": [0],
    }
    codes: ClassVar = {
        **{code: "retry" if said.then != "stop" else "fatal" for code, said in CODES.items()},
        1000: "retry",
        1006: "retry",
        4999: "retry",
    }
    refusals = (forbid, refuse(401), refuse(403))
    takes = ({"op": 1}, {"op": 11}, {"op": 10})
    notices_within = 2 * INTERVAL

    @property
    def says(self) -> list[Message]:
        others = [
            '{"op":11}',
            '{"op":1,"d":null}',
            '{"op":10,"d":{"heartbeat_interval":1000}}',
            '{"op":99}',
            '{"op":"0"}',
        ]
        odd = ['{"op":0}', '{"op":0,"s":null,"t":"READY","d":null}', '{"op":true,"s":1}']
        return [Message.text(text) for text in [*map(event, range(2, 42)), *others, *odd]] + [*super().says]

    async def server(self, peer: Peer) -> None:
        peer.send({"op": 10, "d": {"heartbeat_interval": INTERVAL * 1000}})
        async for message in peer:
            try:
                body = message.json
            except ValueError:
                continue
            op = body.get("op") if isinstance(body, dict) else None
            if op == 1:
                peer.send({"op": 11})
            elif op == 2:
                peer.send({"op": 0, "t": "READY", "s": 1, "d": {"session_id": "s", "resume_gateway_url": "ws://test/"}})
            elif op == 6:
                peer.send({"op": 0, "t": "RESUMED", "s": body["d"]["seq"] + 1, "d": {}})


class TestDiscord(DiscordContract):
    options: ClassVar[dict[str, Any]] = {"token": "a token nobody knows", "intents": ["GUILDS"], "shard": [0, 2]}


class TestDiscordWithRenewableTokens(DiscordContract):
    options: ClassVar[dict[str, Any]] = {"token": lambda: "fetched anew for each attempt", "intents": 513}
    codes: ClassVar = {**DiscordContract.codes, 4004: "refresh"}
