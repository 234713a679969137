"""Discord's side, for tests: `Gateway` is a step for `libws_core.testing.Server` and `MemoryDialer`.

    gateway = Gateway()
    async with Server(gateway) as server:
        gateway.url = server.url
        client = Client(server.url, plugins=["discord"], options={"discord": {"token": gateway.token, "intents": 1}})

It needs `libws-core[testing]` where a real `Server` is used.
"""

from __future__ import annotations

from .gateway import Gateway
from .listener import Listener
from .session import GatewaySession

__all__ = ["Gateway", "GatewaySession", "Listener"]
