"""What every plugin promises, of `outbox`: it keeps what is sent, so its user sends at all times."""

from __future__ import annotations

import asyncio
import contextlib
from typing import ClassVar

from libws_core import Client, ClientClosed, LibwsError
from libws_core.testing import PluginContract, StageContract
from libws_outbox import Outbox


async def sends(client: Client) -> None:
    """Send until the client is closed, confirmed or not."""
    number = 0
    while True:
        number += 1
        try:
            await client.send(f"message {number}", confirm=number % 3 == 0, idempotent=number % 2 == 0)
        except ClientClosed:
            return
        except LibwsError:
            pass
        await asyncio.sleep(0.7)


class TestOutbox(StageContract):
    plugin = Outbox
    bad_options: ClassVar = {"size": [0], "bytes": [0], "ttl": [0], "full": ["wait"]}


class TestOutboxThatIsUsed(PluginContract):
    plugin = Outbox
    options: ClassVar = {"size": 2, "ttl": 1, "full": "block"}

    async def user(self, client: Client) -> None:
        reading = asyncio.ensure_future(super().user(client))
        try:
            await sends(client)
        finally:
            reading.cancel()
            with contextlib.suppress(LibwsError, asyncio.CancelledError):
                await reading
