"""`client.explain()["attempts"]`: how each attempt went and who decided what followed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from libws_core import AuthenticationError, Client, LibwsError, Request, RetriesExhausted, Session, hookimpl
from libws_core.history import KEPT
from libws_core.testing import START, MemoryDialer, MemoryPeer, hang, refuse, virtual


async def reads(peer: MemoryPeer) -> None:
    async for _ in peer:
        pass


class Translator:
    """Knows what 403 means here."""

    @hookimpl
    def adapt_error(self, error: LibwsError) -> LibwsError | None:
        return AuthenticationError("no such key", verdict="retry") if error.status == 403 else None


class Slow:
    @hookimpl
    async def resolve(self, request: Request) -> None:
        await asyncio.sleep(1.5)

    @hookimpl
    async def establish(self, session: Session) -> None:
        await asyncio.sleep(0.25)


def attempts(client: Client) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = client.explain()["attempts"]
    json.dumps(told)  # plain data
    return told


@virtual
async def test_failures_losses_and_the_end_are_told() -> None:
    async with MemoryDialer(refuse(403), reads) as dialer:
        client = Client("ws://user:pw@test/path?token=abc", plugins=[Translator(), Slow(), dialer, "-websockets"])
        assert attempts(client) == []
        await client.open()
        failed, ready = attempts(client)
        assert (failed["number"], failed["generation"], failed["why"]) == (1, 1, "open")
        assert failed["url"] == "ws://test/path?..."
        assert failed["began"] == START
        assert failed["phases"] == [
            {"phase": "resolve", "seconds": 1.5},
            {"phase": "admit", "seconds": 0},
            {"phase": "authenticate", "seconds": 0},
            {"phase": "dial", "seconds": 0},
        ]
        assert failed["outcome"] == "failed"
        assert failed["uptime"] is None
        assert failed["error"]["error"] == "AuthenticationError"
        assert (failed["error"]["text"], failed["error"]["phase"]) == ("no such key", "dial")
        assert failed["adapted_by"] == "translator"
        assert failed["decision"]["plugin"] == "backoff"
        assert ready["began"] == pytest.approx(START + 1.5 + failed["decision"]["delay"])
        assert (ready["outcome"], ready["error"], ready["decision"]) == ("ready", None, None)
        assert ready["phases"][-1] == {"phase": "establish", "seconds": 0.25}

        await asyncio.sleep(7)
        dialer.peers[0].close(1012, "restart")
        await dialer.reached(3)
        lost = attempts(client)[1]
        assert (lost["outcome"], lost["uptime"], lost["error"]["code"]) == ("lost", 7, 1012)
        assert lost["decision"]["plugin"] == "backoff"

        await asyncio.sleep(5)  # a dial, and establish
        await client.close()
        last = attempts(client)[-1]
        assert (last["why"], last["generation"], last["outcome"]) == ("reconnect", 2, "closed")
        assert last["decision"] is None


@virtual
async def test_an_attempt_that_is_cut_short_is_given_up() -> None:
    async with MemoryDialer(hang()) as dialer:
        client = Client("ws://test/", plugins=[dialer, "-websockets"])
        opening = asyncio.create_task(client.open())
        await asyncio.sleep(3)
        (under_way,) = attempts(client)
        assert under_way["outcome"] == "under way"
        await client.close()
        (given_up,) = attempts(client)
        assert given_up["outcome"] == "given up"
        assert given_up["phases"][-1] == {"phase": "dial", "seconds": 3}
        await asyncio.wait([opening])
        assert opening.exception() is not None


@pytest.mark.parametrize(
    ("status", "options", "kind", "decision"),
    [
        (404, {}, LibwsError, {"plugin": None, "delay": None, "because": "the verdict is fatal"}),
        (401, {}, LibwsError, {"plugin": None, "delay": None, "because": "a second refresh in a row is fatal"}),
        (503, {"max_attempts": 2}, RetriesExhausted, {"plugin": "backoff", "delay": None, "because": None}),
    ],
)
def test_who_ended_the_client_is_told(status: int, options: Any, kind: Any, decision: dict[str, Any]) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer(refuse(status)) as dialer:
            client = Client("ws://test/", plugins=[dialer, "-websockets"], options={"backoff": options})
            with pytest.raises(kind):
                await client.open()
            assert attempts(client)[-1]["decision"] == decision

    body()


@virtual
async def test_a_move_is_told_with_both_connections() -> None:
    class Mover:
        session: Session

        @hookimpl
        async def keep_alive(self, session: Session) -> None:
            self.session = session

    async with MemoryDialer(reads) as dialer:
        mover = Mover()
        async with Client("ws://test/", plugins=[mover, dialer, "-websockets"]) as client:
            await asyncio.sleep(1)
            assert await mover.session.reopen("test", overlap=1) is True
            old, new = attempts(client)
            assert (old["outcome"], new["why"], new["outcome"]) == ("closed", "move", "ready")
            assert old["uptime"] == pytest.approx(2)


@virtual
async def test_only_the_last_ones_are_kept() -> None:
    async with MemoryDialer(refuse(503)) as dialer:
        client = Client("ws://test/", plugins=[dialer, "-websockets"], options={"backoff": {"max_attempts": 50}})
        with pytest.raises(RetriesExhausted):
            await client.open()
    assert [each["number"] for each in attempts(client)] == [*range(51 - KEPT, 51)]
