"""What `discord` does with sessions: hello, heartbeats, resumes, and the ends of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    AuthenticationError,
    Client,
    ConnectionClosed,
    ConnectTimeout,
    Disconnected,
    Event,
    Gap,
    KeepAliveTimeout,
    Reconnected,
    Retrying,
    Session,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, Peer, cut, virtual
from libws_discord import INTENTS, ReconnectRequested, SessionInvalidated
from libws_discord.profile import CODES
from libws_discord.testing import Gateway

API = "http://discord.test/api/v10"
NEW = [code for code, said in CODES.items() if said.then == "new"]
STOP = [code for code, said in CODES.items() if said.then == "stop"]
RESUMED = [code for code, said in CODES.items() if said.then == "resume"]


class Bot:
    """A client, and what it gets."""

    def __init__(self, gateway: Gateway, *plugins: Any, dialer: MemoryDialer | None = None, **options: Any) -> None:
        self.gateway = gateway
        self.dialer = dialer or MemoryDialer(gateway)
        own = {"token": gateway.token, "intents": ["GUILDS", "GUILD_MESSAGES"], **options}
        arguments = own.pop("arguments", {})
        more = own.pop("more", {})
        self.client = Client(
            arguments.pop("url", "ws://gateway.test/"),
            plugins=["discord", *plugins, self.dialer, "-websockets"],
            options={"discord": own, **more},
            **arguments,
        )
        self.events: list[Event] = []
        self.items: list[Any] = []
        """Type and number of each event that the user got, and Gaps."""
        self.client.on(Event, self.events.append)
        self._came = asyncio.Event()

    @contextlib.asynccontextmanager
    async def online(self) -> AsyncIterator[Bot]:
        async with self.dialer:
            await self.client.open()
            reading = asyncio.create_task(self._read())
            try:
                await self.reach("READY")
                yield self
            finally:
                await self.client.close()
                reading.cancel()
                await asyncio.wait([reading])

    async def _read(self) -> None:
        async for item in self.client.stream(markers=True):
            self.items.append(item if isinstance(item, Gap) else (item.json["t"], item.json["s"]))
            self._came.set()

    async def reach(self, type: str, count: int = 1) -> None:
        """Wait until the user has so many events of a type."""
        while sum(item[0] == type for item in self.items if not isinstance(item, Gap)) < count:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 86_400)

    @property
    def numbers(self) -> list[int]:
        """Of all events since the last READY."""
        found: list[int] = []
        for item in self.items:
            if isinstance(item, Gap):
                continue
            found = [item[1]] if item[0] == "READY" else [*found, item[1]]
        return found

    @property
    def gaps(self) -> int:
        return sum(isinstance(item, Gap) for item in self.items)

    def heard(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def now() -> float:
    return asyncio.get_running_loop().time()


# Hello and heartbeats


@virtual
async def test_a_hello_that_does_not_come_fails_the_attempt_at_a_deadline_of_its_own() -> None:
    bot = Bot(Gateway(), dialer=MemoryDialer(lambda peer: peer.silence()), hello_timeout=17)
    opening = asyncio.create_task(bot.client.open())
    await asyncio.sleep(17.001)
    (failed,) = bot.heard(AttemptFailed)
    assert isinstance(failed.error, ConnectTimeout)
    assert str(failed.error) == "Discord sent no hello within 17 s"
    assert (failed.phase, failed.error.verdict) == ("establish", Verdict.RETRY)
    await bot.client.close()
    await asyncio.wait([opening])
    opening.exception()


@virtual
async def test_the_first_heartbeat_comes_at_random_within_the_interval_and_the_others_after_it() -> None:
    firsts = []
    for _ in range(20):
        gateway = Gateway(f"token {_}", interval=30)
        async with Bot(gateway).online():
            began = now()
            await asyncio.sleep(150)
            times = [time - began for time, _ in gateway.listeners[0].beats]
        firsts.append(times[0])
        assert 0 <= times[0] <= 30
        assert [later - before for before, later in itertools.pairwise(times)] == pytest.approx([30.0] * 4)
        assert gateway.missed == 0
    assert min(firsts) < 8
    assert max(firsts) > 22


@virtual
async def test_heartbeats_carry_the_number_of_the_newest_event() -> None:
    gateway = Gateway(interval=10)
    async with Bot(gateway).online():
        await asyncio.sleep(10.5)
        gateway.dispatch("A")
        gateway.dispatch("B")
        await asyncio.sleep(10)
        assert [number for _, number in gateway.listeners[0].beats] == [1, 3]
    assert gateway.broken == []


@virtual
async def test_a_heartbeat_before_any_event_carries_null() -> None:
    async def slow(peer: Peer) -> None:
        peer.send({"op": 10, "d": {"heartbeat_interval": 10_000}})
        peer.send({"op": 1, "d": None})
        said.append((await peer.recv()).json)
        await peer.wait_gone()

    said: list[Any] = []
    bot = Bot(Gateway(), dialer=MemoryDialer(slow))
    opening = asyncio.create_task(bot.client.open())
    await asyncio.sleep(1)
    assert said == [{"op": 1, "d": None}]
    await bot.client.close()
    await asyncio.wait([opening])
    opening.exception()


@virtual
async def test_a_heartbeat_that_discord_asks_for_is_sent_at_once() -> None:
    gateway = Gateway(interval=1000)
    async with Bot(gateway).online():
        gateway.dispatch("A")
        gateway.ask_for_beats()
        await asyncio.sleep(0.01)
        assert [number for _, number in gateway.listeners[0].beats] == [2]
        await asyncio.sleep(3000)  # one more beat than usual, soon before another, is no zombie
        assert (gateway.connects, gateway.missed) == (1, 0)


@virtual
async def test_a_zombie_is_left_when_the_next_heartbeat_is_due_and_the_session_is_kept() -> None:
    gateway = Gateway(interval=20)
    async with Bot(gateway).online() as bot:
        peer = gateway.listeners[0].peer
        gateway.become_zombie()
        gateway.dispatch("MISSED")
        began = now()
        await bot.reach("MISSED")
        assert 20 <= now() - began < 45
        (lost,) = bot.heard(Disconnected)
        assert isinstance(lost.error, KeepAliveTimeout)
        assert "zombie" in str(lost.error)
        assert peer.closed is not None
        assert peer.closed.code == 4000
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (1, 1, 0)


@virtual
async def test_while_we_do_not_read_nobody_is_a_zombie() -> None:
    gateway = Gateway(interval=10)
    bot = Bot(gateway, arguments={"inbox_messages": 4})
    async with bot.dialer:
        await bot.client.open()
        for _ in range(20):
            gateway.dispatch("A")
        await asyncio.sleep(300)
        assert gateway.listeners[0].peer.paused  # type: ignore[attr-defined]
        assert (bot.heard(Disconnected), gateway.missed) == ([], 0)
        numbers = [(await bot.client.recv(5)).json["s"] for _ in range(21)]
        assert numbers == [*range(1, 22)]
        await asyncio.sleep(100)
        assert gateway.connects == 1
        await bot.client.close()


# Sessions


@virtual
async def test_the_identify_says_what_the_options_say() -> None:
    gateway = Gateway(shards=2)
    presence: dict[str, Any] = {"status": "dnd", "activities": [], "since": None, "afk": False}
    options: dict[str, Any] = {"shard": (1, 2), "presence": presence, "large_threshold": 250}
    async with Bot(gateway, intents=["GUILDS", "DIRECT_MESSAGES"], **options).online():
        pass
    del gateway.identified[0]["properties"]["os"]
    assert gateway.identified == [
        {
            "token": gateway.token,
            "intents": INTENTS["GUILDS"] | INTENTS["DIRECT_MESSAGES"],
            "properties": {"browser": "libws", "device": "libws"},
            "shard": [1, 2],
            "presence": presence,
            "large_threshold": 250,
        }
    ]


@virtual
async def test_events_come_as_they_are_and_all_else_is_taken_out() -> None:
    gateway = Gateway(interval=5)
    bot = Bot(gateway)
    async with bot.dialer:
        await bot.client.open()
        ready = (await bot.client.recv(5)).json
        assert (ready["op"], ready["t"], ready["s"]) == (0, "READY", 1)
        assert ready["d"]["session_id"] in gateway.sessions
        gateway.ask_for_beats()
        await asyncio.sleep(20)
        gateway.dispatch("MESSAGE_CREATE", {"content": "hé"})
        assert (await bot.client.recv(5)).json == {"op": 0, "t": "MESSAGE_CREATE", "s": 2, "d": {"content": "hé"}}
        gateway.listeners[0].say(77, "what nobody knows yet")
        assert (await bot.client.recv(5)).json["op"] == 77
        await bot.client.close()


@pytest.mark.parametrize("compress", [None, "zlib-stream"])
@virtual
async def test_a_session_is_resumed_at_its_own_url_with_the_same_query(compress: str | None) -> None:
    gateway = Gateway(pieces=3)
    async with Bot(gateway, compress=compress, arguments={"url": "ws://gateway.test/?v=9&own=1"}).online() as bot:
        for number in range(3):
            gateway.restart()
            gateway.dispatch("MISSED", {"content": "ü" * 500})
            await bot.reach("RESUMED", number + 1)
        gateway.dispatch("LATER")
        await bot.reach("LATER")
        assert bot.numbers == [*range(1, 9)]
    urls = [dial.request.url for dial in bot.dialer.dials]
    more = "&compress=zlib-stream" if compress else ""
    assert urls[0] == f"ws://gateway.test/?own=1&v=10&encoding=json{more}"
    assert {*urls[1:]} == {f"ws://gateway.test/resume?v=10&encoding=json{more}"}
    assert (gateway.broken, gateway.identifies, gateway.resumes, bot.gaps) == ([], 1, 3, 0)
    assert gateway.astray == 0


@virtual
async def test_where_the_resume_url_cannot_be_dialed_the_gateway_gets_every_other_try() -> None:
    gateway = Gateway()
    dialer = MemoryDialer(gateway)
    async with Bot(gateway, dialer=dialer).online() as bot:
        dialer.first(*[cut()] * 7)
        gateway.restart()
        await bot.reach("RESUMED")
    paths = [dial.request.url.partition("?")[0] for dial in dialer.dials]
    # Failure 1 of the row is the loss itself.
    resume = "ws://gateway.test/resume"
    assert paths[1:] == [
        *[resume] * 3,
        "ws://gateway.test/",
        resume,
        "ws://gateway.test/",
        resume,
        "ws://gateway.test/",
    ]
    assert (gateway.identifies, bot.gaps) == (1, 0)


@pytest.mark.parametrize("told", ["ws://gateway.test/resume", "no url", None, "http://gateway.test/"])
@virtual
async def test_a_resume_url_that_cannot_be_trusted_is_not_dialed(told: Any) -> None:
    class Odd(Gateway):
        resume_url = told
        resume_path = "/"

    gateway = Odd()
    async with Bot(gateway, arguments={"url": "wss://gateway.test/"}).online() as bot:
        gateway.restart()
        await bot.reach("RESUMED")
        assert [dial.request.url for dial in bot.dialer.dials] == ["wss://gateway.test/?v=10&encoding=json"] * 2
        assert (gateway.resumes, gateway.identifies) == (1, 1)


@virtual
async def test_what_was_replayed_to_a_connection_that_broke_again_is_asked_for_again() -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        bot.dialer.latency = 0.5
        gateway.restart()
        for _ in range(50):
            gateway.dispatch("MISSED")
        await asyncio.sleep(0)

        async def harass() -> None:
            for wait in (1.2, 2.0, 2.6, 3.1, 3.5):
                await asyncio.sleep(wait)
                gateway.restart()

        await harass()
        await bot.reach("RESUMED")
        gateway.dispatch("LAST")
        await bot.reach("LAST")
        missed = [number for type, number in bot.items if type == "MISSED"]
        assert missed == [*range(2, 52)]
        assert (gateway.identifies, bot.gaps) == (1, 0)
        assert gateway.resumes > 1


@virtual
async def test_more_than_the_inbox_takes_is_replayed_as_the_user_reads() -> None:
    gateway = Gateway()
    bot = Bot(gateway, arguments={"inbox_messages": 10})
    async with bot.dialer:
        await bot.client.open()
        gateway.restart()
        for _ in range(500):
            gateway.dispatch("MISSED")
        await asyncio.sleep(60)
        gateway.restart()  # in the middle of the replay, with a full inbox
        await asyncio.sleep(60)
        numbers: list[int] = []
        while len(numbers) < 501:
            body = (await bot.client.recv(60)).json
            if body["t"] != "RESUMED":
                numbers.append(body["s"])
        assert numbers == [*range(1, 502)]
        assert (gateway.identifies, bot.heard(Gap)) == (1, [])
        await bot.client.close()


@virtual
async def test_a_move_that_somebody_asks_for_takes_the_session_along() -> None:
    gateway = Gateway()

    class Mover:
        session: Session

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

    mover = Mover()
    async with Bot(gateway, mover).online() as bot:
        gateway.dispatch("BEFORE")
        moving = mover.session.reopen("a test", overlap=1)
        gateway.dispatch("MEANWHILE")
        await moving
        gateway.dispatch("AFTER")
        await bot.reach("AFTER")
        assert sorted({*bot.numbers}) == sorted(bot.numbers)
        assert [item[0] for item in bot.items if not isinstance(item, Gap)].count("MEANWHILE") == 1
        assert (gateway.identifies, gateway.resumes) == (1, 1)
        gateway.restart()
        await bot.reach("RESUMED", 2)
        assert gateway.identifies == 1


@virtual
async def test_what_both_connections_of_a_move_bring_comes_once_and_resumed_need_no_number() -> None:
    async def serve(peer: Peer) -> None:
        def event(type: str, number: int, data: Any = None) -> None:
            peer.send({"op": 0, "t": type, "s": number, "d": data})

        peers.append(event)
        peer.send({"op": 10, "d": {"heartbeat_interval": 10_000_000}})
        said = (await peer.recv()).json
        if said["op"] == 2:
            event("READY", 1, {"session_id": "s"})
        else:
            event("A", 2)
            event("RESUMED", 2)
        await peer.wait_gone()

    class Mover:
        session: Session

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

    peers: list[Any] = []
    mover = Mover()
    async with Bot(Gateway(), mover, dialer=MemoryDialer(serve)).online() as bot:
        moving = mover.session.reopen("a test", settle=5)
        await asyncio.sleep(1)
        peers[0]("A", 2)
        peers[1]("B", 3)
        await moving
        peers[1]("C", 4)
        await bot.reach("C")
        assert bot.items == [("READY", 1), ("A", 2), ("RESUMED", 2), ("B", 3), ("C", 4)]


@virtual
async def test_opcode_7_is_followed_at_once_and_not_again_and_again() -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        await asyncio.sleep(60)
        gateway.ask_to_reconnect()
        gateway.dispatch("MISSED")
        began = now()
        await bot.reach("MISSED")
        assert now() == began
        assert isinstance(bot.heard(Disconnected)[0].error, ReconnectRequested)
        for _ in range(6):
            gateway.ask_to_reconnect()
            await bot.reach("RESUMED", len(bot.heard(Disconnected)) + 1)
        delays = [event.delay for event in bot.heard(Retrying)]
        assert delays[0] == 0
        assert min(delays[1:]) > 0
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (1, 7, 0)


@virtual
async def test_opcode_7_may_come_in_the_place_of_the_hello() -> None:
    async def leave(peer: Peer) -> None:
        peer.send({"op": 7, "d": None})
        codes.append(await peer.wait_gone())

    codes: list[int] = []
    gateway = Gateway()
    async with Bot(gateway, dialer=MemoryDialer(leave, gateway)).online() as bot:
        assert codes == [4000]
        assert isinstance(bot.heard(AttemptFailed)[0].error, ReconnectRequested)
        assert gateway.identifies == 1


@virtual
async def test_an_invalid_session_is_followed_by_a_new_one_after_one_to_five_seconds() -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        waits = []
        for number in range(2, 12):
            await asyncio.sleep(60)
            began = now()
            gateway.invalidate()
            await bot.reach("READY", number)
            waits.append(now() - began)
        assert min(waits) >= 1
        assert max(waits) <= 5
        assert max(waits) - min(waits) > 1
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (11, 0, 10)
        assert isinstance(bot.heard(Disconnected)[0].error, SessionInvalidated)
        # Each Gap stands before the READY of the session that takes the other one's place.
        for item, following in itertools.pairwise(bot.items):
            assert isinstance(item, Gap) == (not isinstance(following, Gap) and following[0] == "READY")


@virtual
async def test_a_gateway_that_refuses_every_identify_meets_growing_waits() -> None:
    async def refuse(peer: Peer) -> None:
        peer.send({"op": 10, "d": {"heartbeat_interval": 41_250}})
        while (await peer.recv()).json["op"] != 2:
            pass
        peer.send({"op": 9, "d": False})
        await peer.wait_gone()

    bot = Bot(Gateway(), dialer=MemoryDialer(refuse))
    opening = asyncio.create_task(bot.client.open())
    await asyncio.sleep(3600)
    waits = [event.delay for event in bot.heard(Retrying)]
    assert 1 <= waits[0] <= 5
    assert 2 <= waits[1] <= 10
    assert all(16 <= wait <= 80 for wait in waits[4:])
    assert bot.dialer.count < 130
    await bot.client.close()
    await asyncio.wait([opening])
    opening.exception()


@virtual
async def test_other_failures_before_do_not_make_the_wait_for_a_new_session_longer() -> None:
    gateway = Gateway()
    dialer = MemoryDialer(gateway)
    async with Bot(gateway, dialer=dialer).online() as bot:
        dialer.first(*[cut()] * 6)
        gateway.restart()
        await bot.reach("RESUMED")
        began = now()
        gateway.invalidate()
        await bot.reach("READY", 2)
        assert 1 <= now() - began <= 5


@virtual
async def test_an_invalid_session_that_may_be_resumed_is_resumed() -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        gateway.invalidate(resumable=True)
        gateway.dispatch("MISSED")
        await bot.reach("MISSED")
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (1, 1, 0)


@pytest.mark.parametrize("expired", [9, 4009])
@virtual
async def test_a_session_that_was_left_alone_for_too_long_is_followed_by_a_new_one(expired: Any) -> None:
    gateway = Gateway(expired=expired, remembers=10)
    dialer = MemoryDialer(gateway)
    async with Bot(gateway, dialer=dialer).online() as bot:
        dialer.first(*[cut()] * 8)
        gateway.restart()
        await bot.reach("READY", 2)
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (2, 1, 1)


@virtual
async def test_a_number_that_is_none_of_the_session_leads_to_a_new_one() -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        gateway.dispatch("A")
        await bot.reach("A")
        (session,) = gateway.sessions.values()
        session.sequence = 1  # it has lost its newest event
        gateway.restart()
        await bot.reach("READY", 2)
        assert gateway.broken == ["connection 2: 4007, a resume from 2"]
        assert (gateway.identifies, bot.gaps) == (2, 1)


@virtual
async def test_an_outage_in_which_heartbeats_are_answered_is_waited_out() -> None:
    async def outage(peer: Peer) -> None:
        peer.send({"op": 10, "d": {"heartbeat_interval": 41_250}})
        async for message in peer:
            if message.json["op"] == 1:
                peer.send({"op": 11})
            elif message.json["op"] == 2 and peer.number == 2:
                ready = {"op": 0, "t": "READY", "s": 1, "d": {"session_id": "late"}}
                asyncio.get_running_loop().call_later(290, peer.send, ready)

    bot = Bot(Gateway(), dialer=MemoryDialer(outage), arguments={"open_timeout": 5})
    async with bot.online():
        (failed,) = bot.heard(AttemptFailed)
        assert str(failed.error) == "Discord sent no READY within 300 s"
        assert 590 < now() - 1000 < 620


# Close codes


@pytest.mark.parametrize("code", RESUMED)
@virtual
async def test_after_these_codes_the_session_is_resumed(code: int) -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        gateway.close(code)
        gateway.dispatch("MISSED")
        await bot.reach("MISSED")
        (lost,) = bot.heard(Disconnected)
        assert str(lost.error) == f"Discord closed with {code}, {CODES[code].name}: {CODES[code].meaning}"
        assert (lost.error.code, lost.error.verdict) == (code, Verdict.RETRY)
        assert lost.error.fault == ("remote" if code == 4000 else "local")
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (1, 1, 0)


@pytest.mark.parametrize("code", NEW)
@virtual
async def test_after_these_codes_there_is_a_new_session(code: int) -> None:
    gateway = Gateway()
    async with Bot(gateway).online() as bot:
        gateway.close(code)
        await bot.reach("READY", 2)
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (2, 0, 1)


@pytest.mark.parametrize("code", STOP)
@virtual
async def test_these_codes_are_the_end_and_say_why(code: int) -> None:
    gateway = Gateway()
    bot = Bot(gateway)
    async with bot.dialer:
        await bot.client.open()
        gateway.close(code)
        with pytest.raises(AuthenticationError if code == 4004 else ConnectionClosed) as caught:
            await bot.client.wait_closed()
        assert str(caught.value) == f"Discord closed with {code}, {CODES[code].name}: {CODES[code].meaning}"
        assert (caught.value.code, caught.value.fault, gateway.connects) == (code, "local", 1)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"token": "wr0ng"}, 4004),
        ({"shard": (0, 1)}, 4011),
        ({"intents": 1 << 30, "shard": (0, 2)}, 4013),
        ({"intents": ["GUILD_PRESENCES"], "shard": (0, 2)}, 4014),
    ],
)
@virtual
async def test_an_identify_that_discord_refuses_is_the_end_at_once(options: Any, code: int) -> None:
    gateway = Gateway(shards=2)
    bot = Bot(gateway, **options)
    async with bot.dialer:
        with pytest.raises((AuthenticationError, ConnectionClosed), match=f"closed with {code}, {CODES[code].name}"):
            await bot.client.open()
    assert (gateway.connects, gateway.identifies) == (1, 1)
    assert "wr0ng" not in "".join(f"{event!r}" for event in bot.events)


@virtual
async def test_a_token_that_was_reset_is_asked_for_anew_once() -> None:
    gateway = Gateway()
    tokens = iter(["old", gateway.token, "old", "older", "oldest"])
    async with Bot(gateway, token=lambda: next(tokens)).online() as bot:
        (failed,) = bot.heard(AttemptFailed)
        assert isinstance(failed.error, AuthenticationError)
        assert failed.error.verdict is Verdict.REFRESH
        await asyncio.sleep(60)
        gateway.restart()
        with pytest.raises(AuthenticationError):
            await bot.client.wait_closed()
        assert (gateway.identifies, gateway.resumes) == (2, 2)


@virtual
async def test_a_source_of_tokens_that_fails_is_asked_again_and_shows_nothing() -> None:
    gateway = Gateway()
    answers: list[Any] = [OSError("s3cret"), gateway.token]

    async def ask() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async with Bot(gateway, token=ask).online() as bot:
        (failed,) = bot.heard(AttemptFailed)
        assert (failed.phase, str(failed.error)) == ("resolve", "option 'token' gave no answer: OSError")


# Our own ends


@virtual
async def test_a_user_who_closes_ends_the_session_unless_the_code_keeps_it() -> None:
    gateway = Gateway()
    async with Bot(gateway).online():
        pass
    assert gateway.sessions == {}
    bot = Bot(gateway)
    async with bot.dialer:
        await bot.client.open()
        await bot.client.close(4000)
    assert len(gateway.sessions) == 1


@virtual
async def test_no_plugin_ends_the_session_by_its_close_code() -> None:
    gateway = Gateway()

    class Clumsy:
        """Fails in the ways in which others do."""

        session: Session

        @hookimpl
        async def establish(self, session: Session) -> None:
            if session.request.attempt.number == 2:
                raise ConnectionClosed("not this one", initiator="local")  # the core closes with 1000 then

        @hookimpl
        def keep_alive(self, session: Session) -> None:
            self.session = session

    clumsy = Clumsy()
    async with Bot(gateway, clumsy).online() as bot:
        clumsy.session.fail(ConnectionClosed("enough", initiator="local"), 1000)
        gateway.dispatch("MISSED")
        await bot.reach("MISSED")
        assert len(bot.heard(AttemptFailed)) == 1
        assert len(bot.heard(Reconnected)) == 1
        assert (gateway.identifies, gateway.resumes, bot.gaps) == (1, 2, 0)
