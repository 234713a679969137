"""What every provider, log-in, stage and keep-alive promises, of `discord`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from libws_core import Message
from libws_core.testing import AuthContract, KeepAliveContract, Peer, ProviderContract, StageContract, refuse
from libws_discord import Discord
from libws_discord.profile import CODES
from libws_discord.testing import Gateway

EVENTS = [json.dumps({"t": "MESSAGE_CREATE", "s": number, "op": 0, "d": {"content": "ü" * number}}) for number in range(2, 42)]


class Lenient(Gateway):
    """Takes what is no payload of Discord, and as many as come: the contracts send such."""

    async def __call__(self, peer: Peer) -> None:
        judge = None

        def hear(message: Message) -> None:
            if b'{"op":' in (message.data.encode() if isinstance(message.data, str) else message.data):
                assert judge is not None
                judge(message)

        async def listen() -> None:
            await super(Lenient, self).__call__(peer)

        serving = listen()
        serving.send(None) if False else None
        await serving


class DiscordContract(ProviderContract, AuthContract, StageContract, KeepAliveContract):
    plugin = Discord
