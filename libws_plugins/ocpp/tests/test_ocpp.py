"""Boot, heartbeats, calls of both sides and the queue, on a clock that jumps."""

from __future__ import annotations

import asyncio
import base64
import itertools
import logging
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ClientClosed,
    Disconnected,
    HandshakeRejected,
    InvalidHandshake,
    MessageExpired,
    NotReady,
    OptionError,
    OutboxFull,
)
from libws_core.testing import MemoryDialer, MemoryPeer, refuse, virtual
from libws_ocpp import BootRejected, CallError, ErrorCode, Ocpp
from libws_requests import RequestLost, RequestTimeout

BOOT = {"chargePointModel": "Model", "chargePointVendor": "Vendor"}
BOOT_201 = {"chargingStation": {"model": "M", "vendorName": "V"}, "reason": "PowerUp"}
NOW = "2026-11-28T10:00:00Z"

Answer = Callable[[MemoryPeer, str, dict[str, Any]], Any]


class Central:
    """A central system: answers as `answer` says, and notes what it was asked, when and on which connection.

    `answer` gives a payload; a list, which is the rest of a CALLERROR; or None to say nothing.
    """

    def __init__(self, answer: Answer | None = None, boots: tuple[tuple[str, int], ...] = (("Accepted", 300),)) -> None:
        self.answer = answer or (lambda peer, action, payload: {})
        self.boots = [*boots]
        self.heard: list[tuple[float, int, str, dict[str, Any]]] = []
        self.ids: list[str] = []
        self.answers: list[list[Any]] = []
        self.answer_heartbeats = True

    def __call__(self, peer: MemoryPeer) -> None:
        peer.on_message = lambda message: self._hear(peer, message.json)

    def _hear(self, peer: MemoryPeer, said: list[Any]) -> None:
        if said[0] != 2:
            self.answers.append(said)
            return
        _, id, action, payload = said
        assert id not in self.ids or peer.number > 1, "an id came twice on a connection"
        assert len(id) <= 36
        self.ids.append(id)
        self.heard.append((asyncio.get_running_loop().time(), peer.number, action, payload))
        if action == "BootNotification":
            status, interval = self.boots.pop(0) if len(self.boots) > 1 else self.boots[0]
            peer.send([3, id, {"currentTime": NOW, "interval": interval, "status": status}])
            return
        if action == "Heartbeat":
            made = {"currentTime": NOW} if self.answer_heartbeats else None
        else:
            made = self.answer(peer, action, payload)
        if isinstance(made, list):
            peer.send([4, id, *made])
        elif made is not None:
            peer.send([3, id, made])

    def times(self, action: str) -> list[float]:
        return [time for time, _, said, _ in self.heard if said == action]

    def said(self, *actions: str) -> list[Any]:
        return [payload.get("n") for _, _, action, payload in self.heard if action in actions]


def make(dialer: MemoryDialer, url: str = "ws://test/ocpp/CP1", **options: Any) -> tuple[Client, Ocpp]:
    dialer.subprotocols = ("ocpp1.6", "ocpp2.0.1")
    given = {"ocpp": options, "backoff": {"base": 1, "jitter": "none"}}
    client = Client(url, plugins=["ocpp", dialer, "-websockets"], options=given)
    return client, client.plugin(Ocpp)


async def until(happened: Callable[[], object]) -> None:
    for _ in range(1_000_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


def steps(times: list[float]) -> list[float]:
    return [round(later - earlier, 1) for earlier, later in itertools.pairwise(times)]


# Log-in


@virtual
async def test_the_id_is_in_the_path_and_is_the_user() -> None:
    async with MemoryDialer(Central()) as dialer:
        client, _ = make(dialer, "ws://test/ocpp/", id="CP 1/é", password="secret")
        async with client:
            peer = dialer.peers[0]
            assert peer.path == "/ocpp/CP%201%2F%C3%A9"
            assert peer.headers["Authorization"] == f"Basic {base64.b64encode('CP 1/é:secret'.encode()).decode()}"
            assert client.subprotocol == "ocpp1.6"


@virtual
async def test_the_user_is_the_end_of_the_path_where_no_id_is_given() -> None:
    async with MemoryDialer(Central()) as dialer:
        client, _ = make(dialer, "ws://test/ocpp/CP%201?x=1", password="secret", version="2.0.1")
        async with client:
            peer = dialer.peers[0]
            assert peer.path == "/ocpp/CP%201?x=1"
            assert peer.headers["Authorization"] == f"Basic {base64.b64encode(b'CP 1:secret').decode()}"
            assert client.subprotocol == "ocpp2.0.1"


@virtual
async def test_a_renewed_password_is_tried_and_a_source_that_fails_is_not_quoted() -> None:
    passwords = iter(["stale", "fresh"])
    async with MemoryDialer(Central()) as dialer:
        dialer.first(refuse(401))
        client, _ = make(dialer, password=lambda: next(passwords))
        async with client:
            assert dialer.peers[-1].headers["Authorization"].endswith(base64.b64encode(b"CP1:fresh").decode())

    def broken() -> str:
        raise OSError("the password is hunter2")

    async with MemoryDialer(Central()) as dialer:
        client, _ = make(dialer, password=broken)
        failures: list[AttemptFailed] = []
        client.on(AttemptFailed, failures.append)
        opening = asyncio.create_task(client.open())
        await until(lambda: failures)
        assert "option 'password' gave no answer: OSError" in str(failures[0].error)
        await client.close()
        with pytest.raises(ClientClosed):
            await opening


@virtual
async def test_a_key_of_bytes_that_are_no_text() -> None:
    key = "0001020304050607FFFFFFFFFFFFFFFFFFFFFFFF"  # the example of OCPP-J 1.6 section 6.2.2
    async with MemoryDialer(Central()) as dialer:
        client, _ = make(dialer, "ws://test/AL1000", password=lambda: bytes.fromhex(key))
        async with client:
            assert dialer.peers[0].headers["Authorization"] == "Basic QUwxMDAwOgABAgMEBQYH////////////////"


@virtual
async def test_a_fixed_password_that_is_refused_ends_it() -> None:
    async with MemoryDialer(refuse(401)) as dialer:
        client, _ = make(dialer, password="wrong")
        with pytest.raises(HandshakeRejected):
            await client.open()
        assert dialer.count == 2


@virtual
async def test_a_server_of_another_version_is_refused() -> None:
    async with MemoryDialer(Central()) as dialer:
        client, _ = make(dialer, version="2.0.1")
        dialer.subprotocols = ("ocpp1.6",)
        with pytest.raises(InvalidHandshake, match=r"does not speak 'ocpp2\.0\.1'"):
            await client.open()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"boot": {"chargePointModel": "M"}}, "a BootNotification of 1.6 has chargePointVendor"),
        (
            {"version": "2.0.1", "boot": BOOT},
            "has chargingStation.model, chargingStation.vendorName, reason",
        ),
        ({"id": "a:b", "password": "secret"}, "cannot have a colon"),
        ({"id": ""}, "the charge point has none"),
        ({"version": "1.5"}, "version"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        make(MemoryDialer(), **options)


# Boot and heartbeat


@virtual
async def test_pending_keeps_the_connection_and_asks_again_and_answers_meanwhile() -> None:
    central = Central(boots=(("Pending", 120), ("Pending", 0), ("Accepted", 50)))
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, boot=BOOT)
        ocpp.on("GetConfiguration")(lambda payload: {"unknownKey": payload["key"]})
        opening = asyncio.create_task(client.open())
        await until(lambda: central.heard)
        with pytest.raises(NotReady):
            await ocpp.call("Authorize", {"idTag": "tag"})
        dialer.peers[0].send([2, "c-1", "GetConfiguration", {"key": ["a"]}])
        await until(lambda: central.answers)
        assert central.answers == [[3, "c-1", {"unknownKey": ["a"]}]]
        await opening
        assert steps(central.times("BootNotification")) == [120, 60]
        assert dialer.count == 1
        assert ocpp.booted == {"currentTime": NOW, "interval": 50, "status": "Accepted"}
        await until(lambda: len(central.times("Heartbeat")) == 3)
        assert steps(central.times("BootNotification")[-1:] + central.times("Heartbeat")) == [50, 50, 50]
        await client.close()


@virtual
async def test_a_connection_that_is_lost_while_pending_is_noticed_at_once() -> None:
    central = Central(boots=(("Pending", 5000), ("Accepted", 300)))
    async with MemoryDialer(central) as dialer:
        client, _ = make(dialer, boot=BOOT)
        opening = asyncio.create_task(client.open())
        await until(lambda: central.heard)
        dialer.peers[0].drop()
        await opening
        assert steps(central.times("BootNotification")) == [1]
        await client.close()


@virtual
async def test_rejected_closes_the_channel_and_asks_again_after_the_interval() -> None:
    central = Central(boots=(("Rejected", 3600), ("Rejected", 0), ("Accepted", 300)))
    async with MemoryDialer(central) as dialer:
        client, _ = make(dialer, boot=BOOT)
        failures: list[AttemptFailed] = []
        client.on(AttemptFailed, failures.append)
        async with client:
            assert steps(central.times("BootNotification")) == [3600, 60]
            assert [type(failure.error) for failure in failures] == [BootRejected, BootRejected]
            assert [number for _, number, _, _ in central.heard] == [1, 2, 3]


@pytest.mark.parametrize("each", [False, True])
def test_an_accepted_charge_point_boots_again_only_if_told_so(each: bool) -> None:
    @virtual
    async def play() -> None:
        central = Central()
        async with MemoryDialer(central) as dialer:
            client, ocpp = make(dialer, boot=BOOT, boot_each=each, heartbeat=7)
            async with client:
                dialer.peers[0].drop()
                await until(lambda: client.stats.reconnects == 1)
                await until(lambda: central.times("Heartbeat"))
                assert len(central.times("BootNotification")) == 1 + each
                ocpp.boot_again()
                await until(lambda: len(central.times("BootNotification")) == 2 + each)

    play()


@virtual
async def test_without_a_boot_the_option_says_when_hearts_beat() -> None:
    central = Central()
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, heartbeat=40, timeout=5)
        async with client:
            with pytest.raises(ValueError, match="option 'boot' is not set"):
                ocpp.boot_again()
            await until(lambda: len(central.times("Heartbeat")) == 3)
            assert steps(central.times("Heartbeat")) == [40, 40]


@virtual
async def test_a_rejection_while_ready_ends_the_connection_until_the_interval_is_over() -> None:
    central = Central(boots=(("Accepted", 300), ("Rejected", 900), ("Accepted", 300)))
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, boot=BOOT)
        async with client:
            ocpp.boot_again()
            await until(lambda: client.stats.reconnects == 1)
            assert steps(central.times("BootNotification")) == [0, 900]


@virtual
async def test_a_heartbeat_without_an_answer_does_not_stop_the_next() -> None:
    central = Central()
    central.answer_heartbeats = False
    async with MemoryDialer(central) as dialer:
        client, _ = make(dialer, heartbeat=40, timeout=5)
        async with client:
            await until(lambda: len(central.times("Heartbeat")) == 3)
            assert steps(central.times("Heartbeat")) == [45, 45]
            assert client.stats.reconnects == 0


# Calls


@virtual
async def test_one_call_is_in_flight_and_the_next_waits() -> None:
    held: list[tuple[MemoryPeer, str]] = []
    central = Central()
    central.answer = lambda peer, action, payload: held.append((peer, central.ids[-1]))
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, version="2.0.1", boot=BOOT_201)
        async with client:
            calls = [asyncio.create_task(ocpp.call("Authorize", {"n": n})) for n in range(3)]
            for n in range(3):
                await until(lambda n=n: len(held) == n + 1)  # type: ignore[misc]
                await asyncio.sleep(5)
                assert central.said("Authorize") == [*range(n + 1)]
                peer, id = held[n]
                peer.send([3, id, {"n": n}])
            assert await asyncio.gather(*calls) == [{"n": 0}, {"n": 1}, {"n": 2}]


@virtual
async def test_a_call_error_is_typed_by_its_code() -> None:
    answers: list[Any] = [["SecurityError", "not you", {"a": 1}], ["Own"], ["NotSupported", None, 3], "no object"]
    async with MemoryDialer(Central(lambda *_: answers.pop(0))) as dialer:
        client, ocpp = make(dialer)
        async with client:
            errors = []
            for _ in range(4):
                with pytest.raises(CallError) as caught:
                    await ocpp.call("Authorize")
                errors.append(caught.value)
            first, own, odd, malformed = errors
            assert first.error_code is ErrorCode.SECURITY_ERROR
            assert (first.description, first.details, first.action) == ("not you", {"a": 1}, "Authorize")
            assert str(first) == "Authorize was answered with SecurityError: not you"
            assert (own.error_code, own.description, own.details) == ("Own", "", {})
            assert (odd.error_code, odd.description, odd.details) == (ErrorCode.NOT_SUPPORTED, "", {})
            assert malformed.error_code is ErrorCode.GENERIC_ERROR


@virtual
async def test_null_is_an_empty_payload() -> None:
    central = Central()
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer)
        got: list[Any] = []
        ocpp.on("ClearCache")(got.append)
        async with client:
            dialer.peers[0].send([2, "1", "ClearCache", None])
            await until(lambda: central.answers)
            assert (got, central.answers) == ([{}], [[3, "1", {}]])
            central.answer = lambda peer, action, payload: peer.send([3, central.ids[-1], None]) and None
            assert await ocpp.call("StatusNotification") == {}


@virtual
async def test_calls_end_with_their_time_or_connection_and_late_answers_vanish() -> None:
    central = Central(lambda *_: None)
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer)
        async with client:
            first = asyncio.create_task(ocpp.call("Authorize", timeout=5))
            second = asyncio.create_task(ocpp.call("Authorize", timeout=1))
            with pytest.raises(MessageExpired):
                await second
            with pytest.raises(RequestTimeout):
                await first
            dialer.peers[0].send([3, central.ids[-1], {"late": True}])
            third = asyncio.create_task(ocpp.call("Authorize"))
            await until(lambda: len(central.heard) == 2)
            dialer.peers[0].drop()
            with pytest.raises(RequestLost):
                await third
            assert client.stats.received == 0
        with pytest.raises(ClientClosed):
            await ocpp.call("Authorize")
        with pytest.raises(ClientClosed):
            ocpp.queue("StopTransaction", {})


@pytest.mark.parametrize(("version", "malformed"), [("1.6", "FormationViolation"), ("2.0.1", "RpcFrameworkError")])
def test_what_the_central_system_asks_is_answered_in_order(
    version: str, malformed: str, caplog: pytest.LogCaptureFixture
) -> None:
    @virtual
    async def play() -> None:
        central = Central()
        async with MemoryDialer(central) as dialer:
            client, ocpp = make(dialer, version=version, timeout=5)
            begun: list[str] = []

            @ocpp.on("Slow")
            async def slow(payload: dict[str, Any]) -> dict[str, Any]:
                begun.append(payload["n"])
                await asyncio.sleep(payload["seconds"])
                return {"n": payload["n"]}

            @ocpp.on("Refuse")
            def refuse_it(payload: dict[str, Any]) -> None:
                raise CallError(ErrorCode.SECURITY_ERROR, "no", {"why": "so"})

            ocpp.on("Empty")(lambda payload: None)
            ocpp.on("Wrong")(lambda payload: "text")
            async with client:
                peer = dialer.peers[0]
                peer.send([2, "1", "Slow", {"n": "a", "seconds": 2}])
                peer.send([2, "2", "Slow", {"n": "b", "seconds": 0}])
                peer.send([2, "3", "Slow", {"n": "c", "seconds": 60}])
                peer.send([2, "4", "Refuse", {}])
                peer.send([2, "5", "Empty", {}])
                peer.send([2, "6", "Wrong", {}])
                await asyncio.sleep(1)
                assert begun == ["a"]
                peer.send([2, "7", "Unknown", {}])
                peer.send([2, "r", "Reset", {}])
                peer.send([2, "8", "Slow"])
                peer.send([2, 9, "Slow", {}])
                await until(lambda: len(central.answers) == 10)
                assert central.answers == [
                    [4, "7", "NotImplemented", "Unknown is not known here", {}],
                    [4, "r", "NotSupported", "Reset is not answered here", {}],
                    [4, "8", malformed, "a CALL is [2, id, action, payload]", {}],
                    [4, "-1", malformed, "a CALL is [2, id, action, payload]", {}],
                    [3, "1", {"n": "a"}],
                    [3, "2", {"n": "b"}],
                    [4, "3", "InternalError", "the handler failed: TimeoutError", {}],
                    [4, "4", "SecurityError", "no", {"why": "so"}],
                    [3, "5", {}],
                    [4, "6", "InternalError", "the handler failed: TypeError", {}],
                ]
                assert client.stats.received == 0

    with caplog.at_level(logging.ERROR, "libws.ocpp"):
        play()
    assert [record.getMessage() for record in caplog.records] == [
        "the handler of Slow failed",
        "the handler of Wrong failed",
    ]


@virtual
async def test_a_central_system_that_asks_too_much_is_told_so() -> None:
    central = Central()
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer)
        go_on = asyncio.Event()

        @ocpp.on("Wait")
        async def wait(payload: dict[str, Any]) -> None:
            await go_on.wait()

        async with client:
            for n in range(120):
                dialer.peers[0].send([2, str(n), "Wait", {}])
            await until(lambda: central.answers)
            await asyncio.sleep(1)
            assert {answer[2] for answer in central.answers} == {"InternalError"}
            refused = len(central.answers)
            go_on.set()
            await until(lambda: len(central.answers) == 120)
            assert 15 < refused <= 20


# The queue


@virtual
async def test_queued_messages_outlive_losses_in_order() -> None:
    dropped: set[int] = set()

    def answer(peer: MemoryPeer, action: str, payload: dict[str, Any]) -> Any:
        if payload["n"] % 3 == 0 and payload["n"] not in dropped:
            dropped.add(payload["n"])
            peer.drop(reset=True)
            return None
        return {"transactionId": 7} if action == "StartTransaction" else {}

    central = Central(answer)
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, boot=BOOT)
        started = ocpp.queue("StartTransaction", {"n": 0})  # before there is a connection
        assert ocpp.pending == (("StartTransaction", {"n": 0}),)
        async with client:
            for n in range(1, 9):
                ocpp.queue("MeterValues", {"n": n})
            stopped = ocpp.queue(
                "StopTransaction", lambda: {"n": 9, "transactionId": started.result()["transactionId"]}
            )
            await stopped
            assert ocpp.pending == ()
            assert central.said("StartTransaction", "MeterValues", "StopTransaction") == [
                *[0, 0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9]
            ]
            assert central.heard[-1][3]["transactionId"] == 7
            again = [id for id in central.ids if central.ids.count(id) == 2]
            assert len(again) == 8, "what is sent again on another connection has the id that it had"


@virtual
async def test_what_the_central_system_cannot_process_is_tried_again_and_given_up() -> None:
    fails = [["InternalError", "db", {}], None, ["InternalError", "db", {}]]

    def answer(peer: MemoryPeer, action: str, payload: dict[str, Any]) -> Any:
        return fails.pop(0) if payload["n"] == 1 and fails else {}

    central = Central(answer)
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, version="2.0.1", timeout=10, attempts=3, retry_interval=60)
        async with client:
            given_up, after = ocpp.queue("TransactionEvent", {"n": 1}), ocpp.queue("TransactionEvent", {"n": 2})
            assert await after == {}
            with pytest.raises(CallError, match="InternalError: db"):
                given_up.result()
            assert central.said("TransactionEvent") == [1, 1, 1, 2]
            assert steps(central.times("TransactionEvent")) == [60, 130, 0]


@virtual
async def test_the_queue_is_bounded_and_its_rest_can_be_read_when_the_client_has_ended() -> None:
    central = Central(lambda *_: None)
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer, queue_size=2)
        async with client:
            first, _ = ocpp.queue("StartTransaction", {"n": 1}), ocpp.queue("StopTransaction", {"n": 2})
            with pytest.raises(OutboxFull, match="StopTransaction was not taken"):
                ocpp.queue("StopTransaction", {"n": 3})
            await until(lambda: central.heard)
        with pytest.raises(ClientClosed):
            first.result()
        assert ocpp.pending == (("StartTransaction", {"n": 1}), ("StopTransaction", {"n": 2}))


@virtual
async def test_a_payload_that_cannot_be_made_is_given_up_alone() -> None:
    central = Central()
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer)
        async with client:
            broken = ocpp.queue("StopTransaction", lambda: {"n": 1 // 0})
            assert await ocpp.queue("StopTransaction", {"n": 2}) == {}
            with pytest.raises(ZeroDivisionError):
                broken.result()
            assert central.said("StopTransaction") == [2]


@virtual
async def test_a_silent_line_is_left_and_the_queue_goes_on_behind_it() -> None:
    central = Central()
    async with MemoryDialer(central) as dialer:
        client, ocpp = make(dialer)
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with client:
            dialer.peers[0].silence(reading=False)
            futures = [ocpp.queue("MeterValues", {"n": n}) for n in range(5)]
            await asyncio.gather(*futures)
            assert len(lost) == 1
            assert central.said("MeterValues") == [*range(5)]
