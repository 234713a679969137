"""What every provider, log-in and stage promises, of `ocpp`, in both versions."""

from __future__ import annotations

from typing import Any, ClassVar

from libws_core import Client, Kind, Message
from libws_core.testing import AuthContract, MemoryDialer, Peer, ProviderContract, StageContract, refuse
from libws_ocpp import Ocpp
from libws_ocpp.profile import SUBPROTOCOLS

BOOT = {"chargePointModel": "Model", "chargePointVendor": "Vendor"}


def is_of_the_protocol(message: Message) -> bool:
    """What is taken out: CALLs, which are answered, and answers, also those that come too late."""
    try:
        said = message.json
    except ValueError:
        return False
    if message.kind is not Kind.TEXT or not isinstance(said, list) or not said:
        return False
    return said[0] == 2 or (said[0] in (3, 4) and len(said) > 1 and isinstance(said[1], str))


class OcppContract(ProviderContract, AuthContract, StageContract):
    """The three of them, with a central system that accepts everybody."""

    plugin = Ocpp
    url = "ws://test/ocpp"
    bad_options: ClassVar = {
        "version": ["2.1", "1.5"],
        "id": ["", "a:b"],
        "boot": [{}, {"chargePointModel": "M"}, {"chargingStation": {"model": "M"}}, "text"],
        "heartbeat": [0, -1],
        "timeout": [0],
        "attempts": [0],
        "retry_interval": [-1],
        "queue_size": [0],
    }
    takes = (is_of_the_protocol,)
    refusals = (refuse(401), refuse(403), refuse(404))

    async def server(self, peer: Peer) -> None:
        async for message in peer:
            try:
                said = message.json
            except ValueError:
                continue
            if not isinstance(said, list) or said[0] != 2:
                continue
            answer: dict[str, Any] = {"currentTime": "2026-11-28T10:00:00Z"}
            if said[2] == "BootNotification":
                answer |= {"interval": 300, "status": "Accepted"}
            peer.send([3, said[1], answer])

    def client(self, dialer: MemoryDialer, *others: object, **more: Any) -> Client:
        dialer.subprotocols = (SUBPROTOCOLS[self.options.get("version", "1.6")],)
        return super().client(dialer, *others, **more)


class TestOcpp16(OcppContract):
    options: ClassVar[dict[str, Any]] = {"id": "CP 1", "password": "a password nobody knows", "boot": BOOT}


class TestOcpp201(OcppContract):
    options: ClassVar[dict[str, Any]] = {
        "version": "2.0.1",
        "id": "CP-1",
        "password": "a password nobody knows",
        "boot": {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"},
    }


class TestOcppWithPasswordsFetchedAnew(OcppContract):
    options: ClassVar[dict[str, Any]] = {"id": "CP-1", "password": lambda: "fetched anew"}
    sources = ("password",)
