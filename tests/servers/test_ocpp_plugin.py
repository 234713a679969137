"""The plugin ocpp with a central system by the package ocpp, in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ConnectionClosed,
    Disconnected,
    HandshakeRejected,
    InvalidHandshake,
    KeepAliveTimeout,
    Reconnected,
)
from libws_core.testing import Relay
from libws_ocpp import BootRejected, CallError, ErrorCode, Ocpp

from .diary import PATIENCE, Diary

SERVER = Path(__file__).with_name("ocpp_server.py")
NOW = "2026-11-28T10:00:00Z"
VERSIONS = ["1.6", "2.0.1"]
BOOT = {
    "1.6": {"chargePointModel": "Model", "chargePointVendor": "Vendor"},
    "2.0.1": {"chargingStation": {"model": "Model", "vendorName": "Vendor"}, "reason": "PowerUp"},
}
METERS = 30


async def until(happened: Callable[[], object]) -> None:
    for _ in range(int(PATIENCE / 0.02)):
        if happened():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


class Place(NamedTuple):
    """A central system, a relay before it, and what it has processed."""

    program: Any
    relay: Relay
    log: Path

    def heard(self, *actions: str) -> list[Any]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        said = [json.loads(line) for line in lines]
        return [line for line in said if line[1] in actions]

    async def until(self, action: str, count: int = 1) -> list[Any]:
        """What was heard, as soon as there are so many."""
        await until(lambda: len(self.heard(action)) >= count)
        return self.heard(action)


Serve = Callable[..., Awaitable[Place]]


@pytest.fixture
async def serve(
    run: Callable[..., Awaitable[Any]], free_port: Callable[[], int], tmp_path: Path
) -> AsyncIterator[Serve]:
    """Start the central system with these variables: `await serve(INTERVAL=1)`."""
    relays = contextlib.AsyncExitStack()

    async def start(**environ: object) -> Place:
        port, log = free_port(), tmp_path / "heard.jsonl"
        variables = {name: str(value) for name, value in {"PORT": port, "LOG": log, **environ}.items()}
        program = await run(sys.executable, SERVER, port=port, cure="pip install ocpp", **variables)
        relay = await relays.enter_async_context(Relay(f"ws://127.0.0.1:{port}/ocpp"))
        return Place(program, relay, log)

    async with relays:
        yield start


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


class Station(Diary):
    """A charge point."""

    def __init__(self, place: Place, version: str, password: str = "secret", **options: Any) -> None:
        given = {
            "backoff": {"base": 0.05, "cap": 0.2},
            "ping": options.pop("ping", {}),
            "ocpp": {"version": version, "id": "CP-1", "password": password, "boot": BOOT[version], **options},
        }
        self.version = version
        super().__init__(Client(place.relay.url, plugins=["ocpp"], proxy=None, options=given))
        self.ocpp = self.client.plugin(Ocpp)

    async def authorize(self, tag: str) -> Any:
        if self.version == "1.6":
            return await self.ocpp.call("Authorize", {"idTag": tag})
        return await self.ocpp.call("Authorize", {"idToken": {"idToken": tag, "type": "ISO14443"}})

    def charge(self) -> list[asyncio.Future[Any]]:
        """One transaction with its meter values, all queued at once."""
        queue = self.ocpp.queue
        if self.version == "2.0.1":
            kinds = ["Started", *["Updated"] * METERS, "Ended"]
            return [queue("TransactionEvent", transaction_event(kind, number)) for number, kind in enumerate(kinds)]
        started = queue("StartTransaction", {"connectorId": 1, "idTag": "tag", "meterStart": 0, "timestamp": NOW})
        values = [queue("MeterValues", meter_values(started, number)) for number in range(1, METERS + 1)]
        stopped = queue(
            "StopTransaction", lambda: {"transactionId": number_of(started), "meterStop": METERS + 1, "timestamp": NOW}
        )
        return [started, *values, stopped]


def number_of(started: asyncio.Future[Any]) -> Any:
    return started.result()["transactionId"]


def meter_values(started: asyncio.Future[Any], number: int) -> Callable[[], dict[str, Any]]:
    value = [{"timestamp": NOW, "sampledValue": [{"value": str(number)}]}]
    return lambda: {"connectorId": 1, "transactionId": number_of(started), "meterValue": value}


def transaction_event(kind: str, number: int) -> dict[str, Any]:
    return {
        "eventType": kind,
        "timestamp": NOW,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": "t-1"},
    }


def processed(place: Place) -> list[int]:
    """The numbers of what was processed, in order."""
    numbers = []
    for _, action, payload in place.heard("StartTransaction", "MeterValues", "StopTransaction", "TransactionEvent"):
        if action == "TransactionEvent":
            numbers.append(payload["seq_no"])
        elif action == "MeterValues":
            numbers.append(int(payload["meter_value"][0]["sampled_value"][0]["value"]))
        else:
            numbers.append(payload.get("meter_start", payload.get("meter_stop")))
    return numbers


def check_order(place: Place) -> int:
    """Nothing is lost and the order is kept; gives how often a message came once more."""
    numbers = processed(place)
    once = [number for place, number in enumerate(numbers) if number not in numbers[:place]]
    assert once == [*range(METERS + 2)]
    assert numbers == sorted(numbers), "a message came again behind a later one"
    return len(numbers) - len(once)


async def test_boot_calls_and_heartbeats_at_the_interval_that_was_given(
    serve: Serve, version: str, each_dialer: None
) -> None:
    place = await serve(BOOTS="Pending,Pending,Accepted", INTERVAL=1)
    async with Station(place, version) as station:
        boots = place.heard("BootNotification")
        assert len(boots) == 3
        assert place.relay.count == 1, "pending keeps the connection"
        assert station.ocpp.booted is not None
        assert station.ocpp.booted["status"] == "Accepted"
        assert station.client.subprotocol == f"ocpp{version}"
        await place.until("Heartbeat", 3)  # in our patience, which is a tenth of what is the default
        assert await station.authorize("tag")
        with pytest.raises(CallError) as caught:
            await station.authorize("thief")
        assert caught.value.error_code is ErrorCode.SECURITY_ERROR
        assert caught.value.details == {"tag": "thief"}
        with pytest.raises(CallError) as caught:
            await station.ocpp.call("Authorize", {"wrong": 1})
        assert caught.value.action == "Authorize"
        with pytest.raises(CallError) as caught:
            await station.ocpp.call("Nonsense")
        assert caught.value.error_code is ErrorCode.NOT_SUPPORTED


async def test_a_rejected_charge_point_comes_again(serve: Serve, version: str) -> None:
    place = await serve(BOOTS="Rejected,Accepted")
    async with Station(place, version) as station:
        assert [type(failure.error) for failure in station.all(AttemptFailed)] == [BootRejected]
        assert place.relay.count == 2
        assert len(place.heard("BootNotification")) == 2


async def test_a_wrong_password_is_a_401_and_ends_it(serve: Serve, version: str, each_dialer: None) -> None:
    place = await serve()
    station = Station(place, version, password="wr0ng")
    with pytest.raises(HandshakeRejected) as caught:
        await station.client.open()
    assert caught.value.status == 401
    assert place.relay.count == 2
    assert "wr0ng" not in str(station.events)


async def test_a_central_system_of_another_version_is_refused(serve: Serve, version: str, each_dialer: None) -> None:
    place = await serve(SPEAKS="ocpp1.5")
    station = Station(place, version)
    with pytest.raises(InvalidHandshake, match="does not speak"):
        await station.client.open()
    assert place.relay.count == 1


async def test_the_central_system_calls_and_is_answered(serve: Serve, version: str, each_dialer: None) -> None:
    place = await serve()
    async with Station(place, version) as station:
        action, asked = (
            ("RemoteStartTransaction", {"id_tag": "tag"})
            if version == "1.6"
            else (
                "RequestStartTransaction",
                {"id_token": {"idToken": "tag", "type": "ISO14443"}, "remote_start_id": 1},
            )
        )
        got: list[Any] = []

        @station.ocpp.on(action)
        async def start(payload: dict[str, Any]) -> dict[str, Any]:
            got.append(payload)
            return {"status": "Accepted"}

        @station.ocpp.on("ClearCache")
        def clear(payload: dict[str, Any]) -> None:
            raise CallError(ErrorCode.SECURITY_ERROR, "not yours")

        for what, data in [
            (action, asked),
            ("ClearCache", {}),
            ("Reset", {"type": "Soft" if version == "1.6" else "Immediate"}),
        ]:
            request = {"vendorId": "test", "messageId": what, "data": json.dumps(data)}
            assert (await station.ocpp.call("DataTransfer", request))["status"] == "Accepted"
            await place.until(f"answer to {what}")
        assert len(got) == 1
        assert place.heard(f"answer to {action}")[0][2]["status"] == "Accepted"
        assert place.heard("answer to ClearCache")[0][2] == {"code": "SecurityError", "description": "not yours"}
        assert place.heard("answer to Reset")[0][2]["code"] == "NotSupported"


@pytest.mark.parametrize("how", ["reset", "fin", "silence", "close"])
async def test_no_transaction_is_lost_on_a_broken_line(serve: Serve, version: str, how: str, each_dialer: None) -> None:
    place = await serve()
    async with Station(place, version, ping={"interval": 0.5, "timeout": 0.5}) as station:
        futures = station.charge()
        for count in (1, 2):
            await futures[count * 10]
            {
                "reset": lambda: place.relay.drop(reset=True),
                "fin": place.relay.drop,
                "silence": place.relay.silence,
                "close": place.relay.close,
            }[how]()
            await station.until(Reconnected, count)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*futures)
        kinds = {type(lost.error) for lost in station.all(Disconnected)}
        assert kinds == ({KeepAliveTimeout} if how == "silence" else {ConnectionClosed})
        assert check_order(place) <= 2, "only what was under way may come twice"
        assert len(place.heard("BootNotification")) == 1
        assert station.ocpp.pending == ()


async def test_no_transaction_is_lost_by_a_restart(serve: Serve, version: str, each_dialer: None) -> None:
    place = await serve()
    async with Station(place, version) as station:
        futures = station.charge()
        await futures[5]
        place.program.signal(signal.SIGKILL)
        await place.program.wait()
        await place.program.start()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*futures)
        assert check_order(place) <= 1


async def test_what_cannot_be_processed_is_tried_again(serve: Serve, version: str) -> None:
    place = await serve(FAILS=2)
    async with Station(place, version, retry_interval=0) as station:
        futures = station.charge()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*futures)
        assert check_order(place) == 0


async def test_what_can_never_be_processed_is_given_up_and_told(serve: Serve, version: str) -> None:
    place = await serve(FAILS=2)
    async with Station(place, version, retry_interval=0, attempts=2) as station:
        first = station.charge()[0]
        with pytest.raises(CallError) as caught:
            async with asyncio.timeout(PATIENCE):
                await first
        assert caught.value.error_code is ErrorCode.INTERNAL_ERROR
