"""A central system by the package ocpp, behind python-websockets, for both versions.

Start it: PORT=9000 LOG=heard.jsonl python tests/servers/ocpp_server.py. Each line of LOG is what it has processed:
[version, action, payload]. It survives a restart, as the database of a central system would.
"""

import asyncio
import base64
import http
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ocpp.exceptions import InternalError, SecurityError
from ocpp.routing import on
from ocpp.v16 import ChargePoint as ChargePoint16
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import ChargePoint as ChargePoint201
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

HOST = os.environ.get("HOST", "127.0.0.1")
PORT = int(os.environ.get("PORT", "9000"))
LOG = Path(os.environ.get("LOG", "heard.jsonl"))
PASSWORD = os.environ.get("PASSWORD", "secret")
SPEAKS = os.environ.get("SPEAKS", "ocpp1.6,ocpp2.0.1").split(",")
BOOTS = os.environ.get("BOOTS", "Accepted").split(",")
"""What BootNotifications are answered with, one after the other; the last one stays."""
INTERVAL = int(os.environ.get("INTERVAL", "300"))
WAIT = int(os.environ.get("WAIT", "1"))
"""Seconds until the next BootNotification."""
FAILS = int(os.environ.get("FAILS", "0"))
"""How often each message about a transaction fails before it is processed."""

started = os.getpid()
boots = iter(BOOTS)
failed: dict[str, int] = {}
tasks: set[asyncio.Task[None]] = set()


def log(version: str, action: str, payload: dict[str, Any]) -> None:
    with LOG.open("a") as file:
        file.write(json.dumps([version, action, payload]) + "\n")


def now() -> str:
    return datetime.now(UTC).isoformat()


def boot() -> dict[str, Any]:
    global last
    last = next(boots, last)
    return {"current_time": now(), "interval": INTERVAL if last == "Accepted" else WAIT, "status": last}


last = BOOTS[-1]


def fail(key: str) -> None:
    failed[key] = failed.get(key, 0) + 1
    if failed[key] <= FAILS:
        raise InternalError(f"not this time: {key}")


class Central16(ChargePoint16):  # type: ignore[misc]
    @on("BootNotification")
    def boot(self, **payload: Any) -> Any:
        log("1.6", "BootNotification", payload)
        return result16.BootNotification(**boot())

    @on("Heartbeat")
    def heartbeat(self) -> Any:
        log("1.6", "Heartbeat", {})
        return result16.Heartbeat(current_time=now())

    @on("Authorize")
    def authorize(self, id_tag: str) -> Any:
        if id_tag == "thief":
            raise SecurityError("not you", {"tag": id_tag})
        return result16.Authorize(id_tag_info={"status": "Accepted"})

    @on("StartTransaction")
    def start_transaction(self, **payload: Any) -> Any:
        fail(f"start {payload['meter_start']}")
        log("1.6", "StartTransaction", payload)
        return result16.StartTransaction(transaction_id=started, id_tag_info={"status": "Accepted"})

    @on("MeterValues")
    def meter_values(self, **payload: Any) -> Any:
        fail(f"meter {payload['meter_value'][0]['sampled_value'][0]['value']}")
        log("1.6", "MeterValues", payload)
        return result16.MeterValues()

    @on("StopTransaction")
    def stop_transaction(self, **payload: Any) -> Any:
        log("1.6", "StopTransaction", payload)
        return result16.StopTransaction()

    @on("DataTransfer")
    async def data_transfer(self, vendor_id: str, message_id: str = "", data: str = "") -> Any:
        """Ask the charge point for something, and give back what it said."""
        tasks.add(asyncio.create_task(self.ask(message_id, data)))
        return result16.DataTransfer(status="Accepted")

    async def ask(self, action: str, data: str) -> None:
        said: dict[str, Any]
        try:
            answer = await self.call(getattr(call16, action)(**json.loads(data)), suppress=False)
            said = vars(answer)
        except Exception as error:
            said = {"code": getattr(error, "code", repr(error)), "description": getattr(error, "description", "")}
        log("1.6", f"answer to {action}", said)


class Central201(ChargePoint201):  # type: ignore[misc]
    @on("BootNotification")
    def boot(self, **payload: Any) -> Any:
        log("2.0.1", "BootNotification", payload)
        return result201.BootNotification(**boot())

    @on("Heartbeat")
    def heartbeat(self) -> Any:
        log("2.0.1", "Heartbeat", {})
        return result201.Heartbeat(current_time=now())

    @on("Authorize")
    def authorize(self, id_token: dict[str, Any], **_: Any) -> Any:
        if id_token["id_token"] == "thief":
            raise SecurityError("not you", {"tag": id_token["id_token"]})
        return result201.Authorize(id_token_info={"status": "Accepted"})

    @on("TransactionEvent")
    def transaction_event(self, **payload: Any) -> Any:
        fail(f"event {payload['seq_no']}")
        log("2.0.1", "TransactionEvent", payload)
        return result201.TransactionEvent()

    @on("DataTransfer")
    async def data_transfer(self, vendor_id: str, message_id: str = "", data: str = "") -> Any:
        """Ask the charge point for something, and give back what it said."""
        tasks.add(asyncio.create_task(self.ask(message_id, data)))
        return result201.DataTransfer(status="Accepted")

    async def ask(self, action: str, data: str) -> None:
        said: dict[str, Any]
        try:
            answer = await self.call(getattr(call201, action)(**json.loads(data)), suppress=False)
            said = vars(answer)
        except Exception as error:
            said = {"code": getattr(error, "code", repr(error)), "description": getattr(error, "description", "")}
        log("2.0.1", f"answer to {action}", said)


async def check(connection: ServerConnection, request: Request) -> Response | None:
    """Basic authentication: the user is the charge point, the last part of the path."""
    pair = base64.b64encode(f"{request.path.rpartition('/')[2]}:{PASSWORD}".encode()).decode()
    if request.headers.get("Authorization") == f"Basic {pair}":
        return None
    headers = Headers([("WWW-Authenticate", 'Basic realm="OCPP"'), ("Content-Length", "0"), ("Connection", "close")])
    return Response(http.HTTPStatus.UNAUTHORIZED, "Unauthorized", headers, b"")


def choose(connection: ServerConnection, offered: Any) -> Any:
    """The first that we speak; None where there is none, as OCPP-J 1.6 section 3.2 wants it."""
    return next((name for name in offered if name in SPEAKS), None)


async def central(connection: ServerConnection) -> None:
    if connection.subprotocol is None:
        return
    kind = Central16 if connection.subprotocol == "ocpp1.6" else Central201
    assert connection.request is not None
    await kind(connection.request.path.rpartition("/")[2], connection).start()


async def main() -> None:
    async with serve(
        central, HOST, PORT, process_request=check, select_subprotocol=choose, ping_interval=None
    ) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
