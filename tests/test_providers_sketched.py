"""Two providers as a user would write them, on the real core: a proof that the hooks are enough.

Discord's gateway dictates the heartbeat, resumes sessions by id and position, and asks to reconnect (opcodes of its
Gateway documentation). KuCoin hands out a ticket over REST with the server and the ping interval in it, welcomes before
it listens, and pings are messages; that it asks to move is Twitch's EventSub (`session_reconnect`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from libws_core import (
    Client,
    ConnectionClosed,
    ConnectTimeout,
    Disconnected,
    Failure,
    Headers,
    KeepAliveTimeout,
    Kind,
    LibwsError,
    Message,
    Reconnected,
    Reopened,
    Request,
    Secret,
    Session,
    State,
    Verdict,
    chance,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, virtual

# Discord


class Beat:
    """What one connection knows of its heart."""

    interval = 0.0
    answered = True


@dataclass(eq=False, kw_only=True)
class Discord:
    """The gateway of Discord: hello, identify or resume, heartbeats with the last sequence number."""

    token: Secret
    intents: int = 0

    _session_id: str | None = field(default=None, init=False)
    _resume_url: str | None = field(default=None, init=False)
    _sequence: int | None = field(default=None, init=False)

    fatal = frozenset({4004, 4010, 4011, 4012, 4013, 4014})
    identify_anew = frozenset({4007, 4009})

    @hookimpl
    def resolve(self, request: Request) -> Request | None:
        return replace(request, url=self._resume_url) if self._session_id and self._resume_url else None

    @hookimpl
    def incoming(self, session: Session) -> Callable[[Message], Message | None]:
        beat = session.state(Beat)

        def stage(message: Message) -> Message | None:
            if message.kind is not Kind.TEXT:
                return message
            payload = message.json
            match payload["op"]:
                case 0:  # dispatch
                    self._sequence = payload["s"]
                    if payload["t"] == "READY":
                        self._session_id = payload["d"]["session_id"]
                        self._resume_url = payload["d"]["resume_gateway_url"]
                    return message
                case 1:  # the server wants a beat now
                    session.send(self._heartbeat())
                case 7:  # reconnect
                    session.fail(ConnectionClosed("the gateway asks to reconnect", code=4000, verdict="retry"), 4000)
                case 9:  # invalid session; d says whether it may be resumed
                    if not payload["d"]:
                        self._forget()
                    session.fail(ConnectionClosed("the session is invalid", code=4000, verdict="retry"), 4000)
                case 10:
                    return message
                case 11:
                    beat.answered = True
            return None

        return stage

    @hookimpl
    async def establish(self, session: Session) -> None:
        hello = await session.recv({"op": 10})
        session.state(Beat).interval = hello.json["d"]["heartbeat_interval"] / 1000
        session.spawn(self._beat(session))
        if self._session_id:
            body = {"token": self.token.reveal(), "session_id": self._session_id, "seq": self._sequence}
            await session.send(text({"op": 6, "d": body}))
            # What was missed comes before RESUMED and is for the user: recv leaves it in order.
            await session.recv({"op": 0, "t": "RESUMED"})
        else:
            await session.send(text({"op": 2, "d": {"token": self.token.reveal(), "intents": self.intents}}))
            await session.recv({"op": 0, "t": "READY"})

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> LibwsError | None:
        if error.code in self.identify_anew:
            self._forget()
        return error.but(verdict=Verdict.FATAL) if error.code in self.fatal else None

    async def _beat(self, session: Session) -> None:
        beat = session.state(Beat)
        await asyncio.sleep(beat.interval * chance.uniform(0, 1))  # so that clients do not beat as one
        while True:
            if not beat.answered:  # a zombie; closing with 1000 or 1001 would end the session
                session.fail(KeepAliveTimeout("no heartbeat ACK", initiator="local"), code=4000)
            beat.answered = False
            await session.send(self._heartbeat())
            await asyncio.sleep(beat.interval)

    def _heartbeat(self) -> Message:
        return text({"op": 1, "d": self._sequence})

    def _forget(self) -> None:
        self._session_id = self._resume_url = self._sequence = None


def text(value: Any) -> Message:
    import msgspec

    return Message.text(msgspec.json.encode(value).decode())


class Gateway:
    """Discord's side of the dialogue."""

    def __init__(self, interval: float = 41.25) -> None:
        self.interval = interval
        self.identified: list[dict[str, Any]] = []
        self.resumed: list[dict[str, Any]] = []
        self.beats: list[tuple[int, float, Any]] = []
        self.answer_beats = True
        self.missed: list[str] = []

    async def __call__(self, peer: MemoryPeer) -> None:
        peer.send({"op": 10, "d": {"heartbeat_interval": self.interval * 1000}})
        async for message in peer:
            body = message.json
            match body["op"]:
                case 1:
                    self.beats.append((peer.number, asyncio.get_running_loop().time(), body["d"]))
                    if self.answer_beats:
                        peer.send({"op": 11})
                case 2:
                    self.identified.append(body["d"])
                    ready = {"session_id": f"s{peer.number}", "resume_gateway_url": "ws://resume/"}
                    peer.send({"op": 0, "s": 1, "t": "READY", "d": ready})
                case 6:
                    self.resumed.append(body["d"])
                    for place, name in enumerate(self.missed):
                        peer.send({"op": 0, "s": 100 + place, "t": name, "d": {}})
                    peer.send({"op": 0, "s": 200, "t": "RESUMED", "d": {}})


class Patience:
    """Reconnects after a second, at most so often in a row."""

    @hookimpl(trylast=True)
    def reconnect(self, failure: Failure) -> float:
        return 1.0


def discord(gateway: Gateway) -> tuple[Client, MemoryDialer]:
    dialer = MemoryDialer(gateway)
    plugins = ["-standard", "pong", Discord(token=Secret("bot")), Patience(), dialer]
    return Client("ws://gateway/", plugins=plugins, close_timeout=2), dialer


async def names_of(client: Client, count: int) -> list[str]:
    return [(await client.recv(600)).json["t"] for _ in range(count)]


@virtual(seed=7)
async def test_discord_identifies_and_beats_as_it_is_told() -> None:
    gateway = Gateway()
    client, dialer = discord(gateway)
    begin = asyncio.get_running_loop().time()
    async with client:
        assert gateway.identified == [{"token": "bot", "intents": 0}]
        dialer.peers[0].send({"op": 0, "s": 5, "t": "MESSAGE_CREATE", "d": {}})
        assert await names_of(client, 1) == ["MESSAGE_CREATE"]  # READY was establish's
        await asyncio.sleep(41.25 * 3)
        assert len(gateway.beats) == 3
        assert 0 < gateway.beats[0][1] - begin < 41.25
        gaps = [after[1] - before[1] for before, after in itertools.pairwise(gateway.beats)]
        assert gaps == pytest.approx([41.25] * 2)
        assert gateway.beats[-1][2] == 5
        dialer.peers[0].send({"op": 1, "d": None})
        await asyncio.sleep(0.001)
        assert len(gateway.beats) == 4


@virtual
async def test_discord_resumes_where_it_was_and_what_was_missed_is_the_users_in_order() -> None:
    gateway = Gateway()
    client, dialer = discord(gateway)
    async with client:
        peer = dialer.peers[0]
        peer.send({"op": 0, "s": 42, "t": "ONE", "d": {}})
        peer.send({"op": 7, "d": None})
        gateway.missed = ["TWO", "THREE"]
        assert await names_of(client, 3) == ["ONE", "TWO", "THREE"]
        assert peer.closed is not None
        assert peer.closed.code == 4000
        assert gateway.resumed == [{"token": "bot", "session_id": "s1", "seq": 42}]
        assert [dial.request.url for dial in dialer.dials] == ["ws://gateway/", "ws://resume/"]
        dialer.peers[0].drop()
        await dialer.reached(3)
        await asyncio.sleep(1)
        assert gateway.resumed[1]["seq"] == 200
        assert len(gateway.identified) == 1


@virtual
async def test_discord_identifies_anew_when_the_session_is_invalid() -> None:
    gateway = Gateway()
    client, dialer = discord(gateway)
    async with client:
        dialer.peers[0].send({"op": 9, "d": False})
        await dialer.reached(2)
        await asyncio.sleep(1)
        dialer.peers[0].close(4009)
        await dialer.reached(3)
        await asyncio.sleep(1)
        assert (len(gateway.identified), gateway.resumed) == (3, [])
        dialer.peers[0].send({"op": 9, "d": True})
        await dialer.reached(4)
        await asyncio.sleep(1)
        assert len(gateway.resumed) == 1


@virtual
async def test_discord_notices_a_zombie_and_keeps_its_session() -> None:
    gateway = Gateway(interval=10)
    client, dialer = discord(gateway)
    lost: list[Disconnected] = []
    client.on(Disconnected, lost.append)
    async with client:
        zombie = dialer.peers[0]
        gateway.answer_beats = False
        await dialer.reached(2)
        gateway.answer_beats = True
        assert isinstance(lost[0].error, KeepAliveTimeout)
        assert zombie.closed is not None
        assert zombie.closed.code == 4000
        await asyncio.sleep(1)
        assert len(gateway.resumed) == 1
        assert client.state is State.READY


@virtual
async def test_discord_stops_when_the_token_is_wrong() -> None:
    gateway = Gateway()
    client, dialer = discord(gateway)
    await client.open()
    dialer.peers[0].close(4004)
    with pytest.raises(ConnectionClosed) as caught:
        await client.wait_closed()
    assert (caught.value.code, caught.value.verdict) == (4004, Verdict.FATAL)
    assert dialer.count == 1


@virtual
async def test_a_gateway_that_beats_and_never_answers_identify_is_given_up() -> None:
    """A heartbeat is no progress: the deadline of establish is not moved by it."""
    gateway = Gateway(interval=1)

    async def never(peer: MemoryPeer) -> None:
        peer.send({"op": 10, "d": {"heartbeat_interval": 1000}})
        async for message in peer:
            if message.json["op"] == 1:
                peer.send({"op": 11})

    dialer = MemoryDialer(never)
    client = Client("ws://gateway/", plugins=["-standard", Discord(token=Secret("bot")), dialer], open_timeout=10)
    begin = asyncio.get_running_loop().time()
    with pytest.raises(ConnectTimeout):
        await client.open()
    assert asyncio.get_running_loop().time() - begin == 10
    assert gateway.identified == []


# KuCoin, with Twitch's way to move


@dataclass(eq=False, kw_only=True)
class Kucoin:
    """A ticket for each attempt; the welcome says that it listens; the ticket says how often to ping."""

    ticket: Callable[[], Awaitable[dict[str, Any]]]

    _sent: int = field(default=0, init=False)

    def uses(self) -> dict[str, dict[str, Any]]:
        interval: Callable[[Session], float] = lambda session: session.request.extra["ping.interval"]  # noqa: E731
        return {
            "ping": {
                "interval": interval,
                "timeout": lambda session: session.request.extra["ping.timeout"],
                "message": self._ping,
                "reply": {"type": "pong"},
                "when": "always",
            },
            "backoff": {"base": 1.0, "jitter": "none"},
        }

    @hookimpl
    async def resolve(self, request: Request) -> Request:
        try:
            ticket = await self.ticket()
        except OSError as error:
            raise LibwsError(f"no ticket: {type(error).__name__}") from None
        extra = {"ping.interval": ticket["pingInterval"] / 1000, "ping.timeout": ticket["pingTimeout"] / 1000}
        return replace(request, url=f"{ticket['endpoint']}?token={ticket['token']}", extra=extra)

    @hookimpl
    async def establish(self, session: Session) -> None:
        await session.recv({"type": "welcome"})

    @hookimpl
    def incoming(self, session: Session) -> Callable[[Message], Message | None]:
        def stage(message: Message) -> Message | None:
            if message.kind is Kind.TEXT and message.json.get("type") == "session_reconnect":
                request = replace(session.request, url=message.json["url"])  # the ticket's interval stays
                session.reopen("the server asks for it", request, overlap=30)
                return None
            return message

        return stage

    def _ping(self, session: Session) -> dict[str, Any]:
        self._sent += 1
        return {"id": str(self._sent), "type": "ping"}


def tickets(interval: int = 18_000) -> tuple[Callable[[], Awaitable[dict[str, Any]]], list[float]]:
    asked: list[float] = []

    async def ticket() -> dict[str, Any]:
        asked.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.2)
        if len(asked) == 1:
            raise ConnectionRefusedError
        number = len(asked)
        return {
            "endpoint": f"ws://node{number}/",
            "token": f"t{number}",
            "pingInterval": interval,
            "pingTimeout": 10_000,
        }

    return ticket, asked


class Exchange:
    """KuCoin's side."""

    def __init__(self) -> None:
        self.pings: list[tuple[int, float]] = []
        self.orders: list[tuple[int, str]] = []
        self.answer = True

    async def __call__(self, peer: MemoryPeer) -> None:
        peer.send({"id": "hello", "type": "welcome"})
        async for message in peer:
            if message.json["type"] == "ping":
                self.pings.append((peer.number, asyncio.get_running_loop().time()))
                if self.answer:
                    peer.send({"id": message.json["id"], "type": "pong"})
            else:
                self.orders.append((peer.number, message.json["type"]))


def kucoin(exchange: Exchange) -> tuple[Client, MemoryDialer, list[float]]:
    ticket, asked = tickets()
    dialer = MemoryDialer(exchange)
    client = Client("kucoin:spot", plugins=["-standard", Kucoin(ticket=ticket), dialer], headers=Headers({"A": "b"}))
    return client, dialer, asked


@virtual
async def test_kucoin_asks_for_a_ticket_each_time_and_pings_as_it_says() -> None:
    exchange = Exchange()
    client, dialer, asked = kucoin(exchange)
    async with client:
        assert len(asked) == 2  # the first was refused, and tried again
        assert dialer.dials[0].request.url == "ws://node2/?token=t2"
        assert dialer.dials[0].request.headers["A"] == "b"
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(18 * 3 + 1)
        assert [round(time - begin, 3) for _, time in exchange.pings] == [18, 36, 54]
        assert len(client._inbox) == 0  # pongs are taken out of the stream, the welcome was establish's
        exchange.answer = False
        again: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        client.on(Reconnected, again.set_result)
        await again
        assert dialer.dials[1].request.url == "ws://node3/?token=t3"


@virtual
async def test_kucoin_moves_where_the_server_says_and_loses_nothing() -> None:
    exchange = Exchange()
    client, dialer, asked = kucoin(exchange)
    moved: list[Reopened] = []
    client.on(Reopened, moved.append)
    async with client:
        (old,) = dialer.peers
        old.send({"type": "trade", "n": 1})
        old.send({"type": "session_reconnect", "url": "ws://moved/?token=given"})
        old.send({"type": "trade", "n": 2})
        await dialer.reached(2)
        await client.send_json({"type": "to the old one"})
        old.send({"type": "trade", "n": 3})
        await asyncio.sleep(1)
        new = dialer.peers[1]
        new.send({"type": "trade", "n": 4})
        got = [(await client.recv(60)).json["n"] for _ in range(4)]
        assert got == [1, 2, 3, 4]
        await client.send_json({"type": "to the new one"}, confirm=True)
        assert exchange.orders == [(1, "to the old one"), (2, "to the new one")]
        assert len(moved) == 1
        assert len(asked) == 2  # resolve was not asked for the move
        assert dialer.dials[1].request.url == "ws://moved/?token=given"
        begin = asyncio.get_running_loop().time()
        await asyncio.sleep(40)
        assert all(begin - 2 < time for number, time in exchange.pings if number == 2)
        assert [number for number, _ in exchange.pings][-2:] == [2, 2]


@virtual
async def test_kucoin_stays_when_the_place_to_move_to_is_not_there() -> None:
    exchange = Exchange()
    client, dialer, _ = kucoin(exchange)
    async with client:
        dialer.refuse(404)
        (old,) = dialer.peers
        old.send({"type": "session_reconnect", "url": "ws://moved/?token=given"})
        await dialer.reached(2)
        await asyncio.sleep(1)
        old.send({"type": "trade", "n": 1})
        assert (await client.recv(1)).json["n"] == 1
        assert client.state is State.READY
