"""The contracts of a provider and of a log-in, and the desk's own ways."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest
from desk_server import DeskServer

from acme_desk import CALM, CODES, Desk
from libws_core import (
    AuthenticationError,
    Client,
    Connected,
    Disconnected,
    Gap,
    KeepAliveTimeout,
    Message,
    OptionError,
    ProtocolError,
    Reconnected,
    Request,
    Retrying,
    Secret,
)
from libws_core.testing import (
    AuthContract,
    MemoryDialer,
    Peer,
    ProviderContract,
    Server,
    leaks,
    refuse,
    virtual,
)

KEY = "the-right-key"


async def refuses(peer: Peer) -> None:
    """A desk that takes no answer for the right one."""
    desk = DeskServer()
    desk.refuses = "proof"
    await desk.serve(peer)


async def is_locked(peer: Peer) -> None:
    """A desk whose account is locked."""
    desk = DeskServer()
    desk.refuses = "locked"
    await desk.serve(peer)


async def expired(peer: Peer) -> None:
    """A desk that closes in the place of an answer."""
    peer.send({"type": "challenge", "nonce": "0123456789abcdef"})
    await peer.recv()
    peer.close(4001)


class TestDesk(ProviderContract):
    plugin = Desk
    options: ClassVar = {"account": "4711", "key": KEY, "topics": ["BTC-EUR", "ETH-EUR"]}
    bad_options: ClassVar = {"account": [""], "key": ["", 3], "topics": ["BTC-EUR", [1]]}
    codes: ClassVar = {code: str(verdict) for code, verdict in CODES.items()}

    @functools.cached_property
    def desk(self) -> DeskServer:
        return DeskServer()

    async def server(self, peer: Peer) -> None:
        await self.desk.serve(peer)


class TestDeskLogin(AuthContract):
    plugin = Desk
    options: ClassVar = {"account": "4711", "key": lambda request: KEY}
    refusals = (refuse(401), refuses, is_locked, expired)

    async def server(self, peer: Peer) -> None:
        await DeskServer().serve(peer)


# Logging in


def client_of(dialer: Any, **options: Any) -> Client:
    """A client of the desk in memory."""
    given = {"account": "4711", "key": KEY, **options}
    return Client("wss://desk/stream", plugins=["desk", dialer, "-websockets"], options={"desk": given})


@virtual
async def test_the_key_stays_here_and_the_challenge_is_answered() -> None:
    desk = DeskServer()
    async with MemoryDialer(desk.serve) as dialer, client_of(dialer) as client:
        assert client.plugin("desk").session_id == "s-2"
    (login,) = desk.logins
    assert login.keys() == {"type", "account", "proof"}
    assert KEY not in str(login)


@virtual
async def test_a_refused_log_in_is_tried_once_more_with_a_new_key() -> None:
    desk, keys = DeskServer(), ["an-old-key", KEY]

    async def newest(request: Request) -> str:
        await asyncio.sleep(1)
        return keys[min(request.attempt.number, len(keys)) - 1]

    async with MemoryDialer(desk.serve) as dialer, client_of(dialer, key=newest):
        assert dialer.count == 2


@virtual
async def test_a_second_refusal_is_the_end() -> None:
    desk = DeskServer(keys={"4711": "another-key"})
    async with MemoryDialer(desk.serve) as dialer:
        with pytest.raises(AuthenticationError, match="the answer to the challenge is wrong") as caught:
            await client_of(dialer).open()
        assert dialer.count == 2
    assert caught.value.verdict == "fatal"


@pytest.mark.parametrize(
    ("why", "said"), [("locked", "the account is locked"), ("account", "there is no such account")]
)
def test_what_new_credentials_cannot_mend_ends_at_once(why: str, said: str) -> None:
    @virtual
    async def main() -> None:
        desk = DeskServer()
        desk.refuses = why
        async with MemoryDialer(desk.serve) as dialer:
            with pytest.raises(AuthenticationError, match=said):
                await client_of(dialer).open()
            assert dialer.count == 1

    main()


@virtual
async def test_a_reason_that_is_not_known_is_not_repeated() -> None:
    desk = DeskServer()
    desk.refuses = "proof: s3cret"
    async with MemoryDialer(desk.serve) as dialer:
        with pytest.raises(AuthenticationError) as caught:
            await client_of(dialer).open()
    assert "s3cret" not in str(caught.value)


@virtual
async def test_a_challenge_that_proves_nothing_is_not_answered() -> None:
    async def serve(peer: Peer) -> None:
        peer.send({"type": "challenge", "nonce": "short"})
        async for message in peer:
            raise AssertionError(f"answered {message.data}")

    async with MemoryDialer(serve) as dialer:
        client = Client("ws://desk/", plugins=["-standard", "-backoff", Desk(account="4711", key=Secret(KEY)), dialer])
        with pytest.raises(ProtocolError):
            await client.open()


@pytest.mark.parametrize(("key", "verdict"), [(lambda: 1 / 0, "retry"), (lambda: "", "fatal"), (lambda: None, "fatal")])
def test_a_key_that_cannot_be_had_is_told_without_a_secret(key: Any, verdict: str) -> None:
    @virtual
    async def main() -> None:
        async with MemoryDialer(DeskServer().serve) as dialer:
            plugin = Desk(account="4711", key=lambda _: key())
            client = Client("ws://desk/", plugins=["-standard", "-backoff", plugin, dialer])
            with pytest.raises(AuthenticationError, match="option 'key' gave") as caught:
                await client.open()
            assert caught.value.verdict == verdict

    main()


# Beating


@virtual
async def test_it_beats_as_often_as_the_welcome_says() -> None:
    desk = DeskServer(heartbeat=3)
    async with MemoryDialer(desk.serve) as dialer, client_of(dialer):
        await asyncio.sleep(31)
    assert desk.heard == [{"type": "heartbeat"}] * 10


@pytest.mark.parametrize("heartbeat", [None, 0, -1, "soon", True, 1e9])
def test_a_heartbeat_that_makes_no_sense_is_as_none(heartbeat: Any) -> None:
    @virtual
    async def main() -> None:
        desk = DeskServer(heartbeat=heartbeat)
        async with MemoryDialer(desk.serve) as dialer, client_of(dialer):
            await asyncio.sleep(31)
        assert len(desk.heard) == 2

    main()


@virtual
async def test_a_desk_that_does_not_beat_is_given_up() -> None:
    desk = DeskServer(heartbeat=10)
    async with MemoryDialer(desk.serve) as dialer:
        client = client_of(dialer)
        lost: asyncio.Future[Disconnected] = asyncio.get_running_loop().create_future()
        client.on(Disconnected, lambda event: None if lost.done() else lost.set_result(event))
        async with client:
            desk.beats = False
            event = await lost
            assert isinstance(event.error, KeepAliveTimeout)
            assert event.uptime == pytest.approx(15)


# Subscribing and resuming


async def reads(client: Client, number: int) -> list[tuple[str, int]]:
    return [(message.json["topic"], message.json["seq"]) for message in [await client.recv() for _ in range(number)]]


@virtual
async def test_what_was_missed_comes_when_the_session_is_resumed() -> None:
    desk = DeskServer()
    async with MemoryDialer(desk.serve) as dialer:
        client = client_of(dialer, topics=["BTC-EUR"])
        gaps: list[Gap] = []
        client.on(Gap, gaps.append)
        async with client:
            desk.publish("BTC-EUR")
            assert await reads(client, 1) == [("BTC-EUR", 1)]
            for peer in dialer.peers:
                peer.drop()
            await asyncio.sleep(0.01)
            desk.publish("BTC-EUR")
            desk.publish("ETH-EUR")
            desk.publish("BTC-EUR")
            assert await reads(client, 2) == [("BTC-EUR", 2), ("BTC-EUR", 3)]
            assert [login.get("session") for login in desk.logins] == [None, "s-2"]
            assert [gap.topic for gap in gaps] == [None]  # the reconnect; of no topic is anything missing


@virtual
async def test_a_session_that_is_unknown_is_forgotten_and_the_gap_is_told() -> None:
    desk = DeskServer()
    async with MemoryDialer(desk.serve) as dialer:
        client = client_of(dialer, topics=["BTC-EUR"])
        gaps: list[Gap] = []
        client.on(Gap, gaps.append)
        async with client:
            desk.publish("BTC-EUR")
            assert await reads(client, 1) == [("BTC-EUR", 1)]
            desk.sessions.clear()
            for peer in dialer.peers:
                peer.close(1012)
            await asyncio.sleep(0.01)
            desk.publish("BTC-EUR")
            await asyncio.sleep(60)
            desk.publish("BTC-EUR")
            assert await reads(client, 1) == [("BTC-EUR", 3)]
            assert [login.get("session") for login in desk.logins] == [None, "s-2", None]
            assert [(gap.topic, gap.first, gap.last) for gap in gaps][1:] == [("BTC-EUR", 2, 2)]


@virtual
async def test_topics_come_and_go_and_one_that_is_refused_is_told() -> None:
    desk = DeskServer()
    async with MemoryDialer(desk.serve) as dialer, client_of(dialer, topics=["no-such"]) as client:
        subscriptions = client.plugin("subscriptions")
        assert [*subscriptions.rejected] == ["no-such"]
        assert await subscriptions.add(*(f"T-{number}" for number in range(45)))
        assert await subscriptions.remove("T-1")
        assert len(subscriptions.active) == 44
    assert [len(said["topics"]) for said in desk.heard if said["type"] == "subscribe"] == [1, 20, 20, 5]


@virtual
async def test_after_4008_it_stays_away() -> None:
    desk = DeskServer()
    async with MemoryDialer(lambda peer: peer.close(4008) and None, desk.serve) as dialer:
        client = client_of(dialer)
        waits: list[float] = []
        client.on(Retrying, lambda event: waits.append(event.delay))
        async with client:
            assert CALM <= waits[0] < CALM + 1


# On sockets


@asynccontextmanager
async def desk_on_a_socket(desk: DeskServer) -> AsyncIterator[Server]:
    async with leaks(), Server(desk.serve) as server:
        yield server


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test with real sockets; half a minute must do."""

    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 30))

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run


@on_a_loop
async def test_a_whole_day_on_real_sockets() -> None:
    desk = DeskServer(heartbeat=0.05)
    async with desk_on_a_socket(desk) as server:
        given = {"account": "4711", "key": KEY, "topics": ["BTC-EUR"]}
        options: dict[str, dict[str, Any]] = {"desk": given, "backoff": {"base": 0.01}}
        client = Client(server.url, plugins=["desk"], options=options, proxy=None)
        events: list[Any] = []
        client.on(Connected, events.append)
        client.on(Reconnected, events.append)
        async with client:
            desk.publish("BTC-EUR")
            assert (await client.recv(timeout=5)).json["seq"] == 1
            await desk.beaten.wait()
            for peer in server.peers:
                await peer.drop(reset=True)
            desk.publish("BTC-EUR")
            desk.publish("BTC-EUR")
            assert [(await client.recv(timeout=5)).json["seq"] for _ in range(2)] == [2, 3]
        assert [type(event) for event in events] == [Connected, Reconnected]


# Options


def test_the_key_is_a_secret() -> None:
    desk = Desk(account="4711", key=KEY)  # type: ignore[arg-type]
    assert desk.key == Secret(KEY)
    assert KEY not in repr(desk)


def test_without_an_account_there_is_no_client() -> None:
    with pytest.raises(OptionError, match=r"'desk'.*account"):
        Client("wss://desk/", plugins=["desk"], options={"desk": {"key": KEY}})


def test_what_the_user_says_counts_more_than_the_provider() -> None:
    options: dict[str, Any] = {"desk": {"account": "1", "key": KEY}, "subscriptions": {"batch": 3}}
    client = Client("wss://desk/", plugins=["desk", MemoryDialer(), "-websockets"], options=options)
    assert client.plugin("subscriptions").batch == 3
    assert client.plugin("backoff").codes[4003] == CODES["4003"] == "fatal"


def test_a_message_that_is_no_json_is_no_answer() -> None:
    from acme_desk import is_answer

    assert not is_answer(Message.text("welcome"))
    assert not is_answer(Message.text('["welcome"]'))
    assert not is_answer(Message.binary(b"{}"))
    assert is_answer(Message.text('{"type": "refused"}'))
