"""A charge point, OCPP 1.6: boots, is told to start a transaction, and loses no message of it on a broken line.

Install:                            pip install libws-ocpp "libws-core[testing]"
Without an argument it needs no network: it starts a small central system, which breaks the line in the middle.
                                    python examples/charge_point.py
Another central system, which must send a RemoteStartTransaction, with the charge point's id at the end of the URL:
                                    OCPP_PASSWORD=secret python examples/charge_point.py wss://example.com/ocpp/CP-1
"""

import asyncio
import datetime
import os
import sys
from collections.abc import Callable
from typing import Any

from libws_core import Client, Reconnected
from libws_core.testing import Server, ServerPeer
from libws_ocpp import Ocpp

BOOT = {"chargePointModel": "Example", "chargePointVendor": "libws"}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


async def charge(ocpp: Ocpp, tag: str) -> None:
    """Queue a whole transaction; only its first answer tells its id."""
    started = ocpp.queue("StartTransaction", {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": now()})

    def of_transaction(payload: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        return lambda: {**payload, "transactionId": started.result()["transactionId"]}

    for value in (100, 200, 300):
        measured = [{"timestamp": now(), "sampledValue": [{"value": str(value)}]}]
        ocpp.queue("MeterValues", of_transaction({"connectorId": 1, "meterValue": measured}))
    await ocpp.queue("StopTransaction", of_transaction({"meterStop": 300, "timestamp": now()}))


async def be_charge_point(url: str, password: str | None = None) -> None:
    client = Client(url, plugins=["ocpp"], options={"ocpp": {"boot": BOOT, "password": password}})
    ocpp: Ocpp = client.plugin(Ocpp)
    asked: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    @ocpp.on("RemoteStartTransaction")
    def start(payload: dict[str, Any]) -> dict[str, str]:
        if not asked.done():
            asked.set_result(payload["idTag"])
        return {"status": "Accepted"}

    client.on(Reconnected, lambda event: print("charge point: back, as connection", event.generation))
    async with client:
        print("charge point: accepted", ocpp.booted)
        await charge(ocpp, await asked)
        print("charge point: everything was delivered")


async def central_system(peer: ServerPeer) -> None:
    """Answer what a charge point says; break the first connection at the second value of the meter."""
    values = 0
    if peer.number == 1:
        asyncio.get_running_loop().call_later(0.5, peer.send, [2, "r-1", "RemoteStartTransaction", {"idTag": "ann"}])
    async for message in peer:
        kind, id, *rest = message.json
        if kind != 2:
            print("central system: the charge point says", rest[0])
            continue
        action, payload = rest
        values += action == "MeterValues"
        if peer.number == 1 and values == 2:
            peer.drop(reset=True)
            return
        print("central system:", action, payload.get("transactionId", ""))
        answers = {
            "BootNotification": {"currentTime": now(), "interval": 300, "status": "Accepted"},
            "StartTransaction": {"transactionId": 7, "idTagInfo": {"status": "Accepted"}},
        }
        await peer.send([3, id, answers.get(action, {})])


async def main() -> None:
    if len(sys.argv) > 1:
        await be_charge_point(sys.argv[1], os.environ.get("OCPP_PASSWORD"))
        return
    async with Server(central_system, subprotocols=["ocpp1.6"]) as server:
        await be_charge_point(server.url + "ocpp/CP-1")


asyncio.run(main())
