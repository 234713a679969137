"""The queue behind a line on which everything goes wrong: nothing is lost, the order is kept, one is in flight."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libws_core import Client, ClientClosed
from libws_core.testing import Faults, MemoryPeer, Simulation, SimulationFailed
from libws_ocpp import Ocpp
from libws_ocpp.backlog import Backlog, Entry

BOOT = {"chargePointModel": "Model", "chargePointVendor": "Vendor"}


class Charging(Simulation):
    """A central system that answers sooner or later, and a charge point that has something to tell all the time."""

    faults = Faults(lifetime=(0, 8))
    moves = False

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.dialer.subprotocols = ("ocpp1.6",)
        self.heard: list[int] = []
        self.queued: list[asyncio.Future[Any]] = []
        self.pending: list[Any] = []

    def client(self) -> Client:
        given = {"boot": BOOT, "timeout": 3, "attempts": 1000, "retry_interval": 0.01, "queue_size": 100_000}
        options: dict[str, Any] = {"ocpp": given, "ping": {"interval": 2, "timeout": 2}, "backoff": {"cap": 2}}
        if self.moves:
            options["reopen"] = {"every": 2, "overlap": 0.5}
        moving = ["reopen"] if self.moves else []
        return Client("ws://test/CP-1", plugins=["ocpp", *moving, self.dialer, "-websockets"], options=options)

    async def server(self, peer: MemoryPeer) -> None:
        async for message in peer:
            _, id, action, payload = message.json
            if action == "BootNotification":
                status = self.chance.choice(["Accepted", "Accepted", "Pending"])
                peer.send([3, id, {"currentTime": "now", "interval": 1, "status": status}])
            elif action == "Heartbeat":
                peer.send([3, id, {"currentTime": "now"}])
            elif self.chance.random() < 0.1:
                peer.send([4, id, "InternalError", "", {}])
            else:
                self.heard.append(payload["number"])
                await asyncio.sleep(self.chance.uniform(0, 0.2))
                if not peer.gone:
                    peer.send([3, id, {}])

    async def user(self, client: Client) -> None:
        ocpp: Ocpp = client.plugin(Ocpp)

        async def charge() -> None:
            while client.state not in ("closing", "closed", "failed"):
                self.queued.append(ocpp.queue("MeterValues", {"number": len(self.queued)}))
                await asyncio.sleep(self.chance.uniform(0, 0.8))

        charging = asyncio.create_task(charge())
        async for item in self.read(client):
            assert not hasattr(item, "kind"), "something came past the plugin"
        await charging
        self.pending = [payload["number"] for _, payload in ocpp.pending]

    def verify(self) -> None:
        assert self.heard == sorted(self.heard), "out of order"
        answered = [number for number, future in enumerate(self.queued) if future.exception() is None]
        waiting = [number for number, future in enumerate(self.queued) if future.exception() is not None]
        assert answered == [*range(len(answered))]
        assert waiting == self.pending
        assert all(isinstance(self.queued[number].exception(), ClientClosed) for number in waiting)
        assert set(answered) <= set(self.heard), "answered, and never heard"
        assert answered, "nothing came through at all"


class Moving(Charging):
    moves = True


@pytest.mark.parametrize("kind", [Charging, Moving])
def test_no_message_is_lost_and_the_order_is_kept(kind: type[Charging]) -> None:
    kind.check(seeds=25)


def forget(backlog: Backlog, entry: Entry) -> None:
    backlog._end(entry, {})


def put_behind(backlog: Backlog, entry: Entry) -> None:
    backlog.entries.rotate(-1)


@pytest.mark.parametrize(("wrong", "noticed"), [(forget, "answered, and never heard"), (put_behind, "out of order")])
def test_a_queue_that_is_wrong_at_a_loss_is_noticed(wrong: Any, noticed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulation is sharp: broken on purpose, the queue is found out."""
    right = Backlog._deliver

    async def deliver(self: Backlog, entry: Entry, call: Any) -> bool:
        try:
            return await right(self, entry, call)
        except asyncio.CancelledError:
            wrong(self, entry)
            raise

    monkeypatch.setattr(Backlog, "_deliver", deliver)
    with pytest.raises(SimulationFailed, match=noticed):
        Charging.check(seeds=10)
