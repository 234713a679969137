"""Packets, heartbeat, limits and recovery, against a server that says what the test says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    AuthenticationError,
    Client,
    ClientClosed,
    Disconnected,
    Gap,
    IdleTimeout,
    Message,
    MessageTooBig,
    NotReady,
    OutboxFull,
    ProtocolError,
    SendError,
    Session,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, virtual
from libws_socketio import CallLost, CallTimeout, ConnectRefused, Socketio
from libws_socketio.address import completed
from libws_socketio.packets import encode, fill, parse


class Server:
    """A server that lets everybody in."""

    def __init__(self, *, pid: str | None = "p", opens: dict[str, Any] | None = None) -> None:
        self.pid = pid
        self.opens = {"sid": "e", "pingInterval": 25_000, "pingTimeout": 20_000, "maxPayload": 1_000, **(opens or {})}
        self.early: list[str] = []
        """What it says before its answer to CONNECT."""
        self.heard: dict[int, list[Any]] = {}
        self.peers: dict[int, MemoryPeer] = {}
        self.dialer = MemoryDialer(self.step)

    def step(self, peer: MemoryPeer) -> None:
        self.heard[peer.number], self.peers[peer.number] = [], peer
        peer.on_message = lambda message: self.take(peer, message.data)
        peer.send("0" + json.dumps(self.opens))

    def take(self, peer: MemoryPeer, data: Any) -> None:
        self.heard[peer.number].append(data)
        if str(data).startswith("40"):
            for text in self.early:
                peer.send(text)
            peer.send("40" + json.dumps({"sid": f"s{peer.number}"} | ({"pid": self.pid} if self.pid else {})))

    def say(self, *data: str | bytes) -> None:
        for each in data:
            self.peers[max(self.peers)].send(each)


def make(server: Server, *plugins: object, **options: Any) -> tuple[Client, Socketio]:
    made = Client(
        "ws://test/",
        plugins=["socketio", *plugins, server.dialer, "-websockets", "-ping"],
        options={"socketio": options, "backoff": {"base": 1, "jitter": "none"}},
    )
    return made, made.plugin(Socketio)


async def until(happened: Callable[[], object]) -> None:
    for _ in range(10_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


@pytest.mark.parametrize(
    ("url", "dialed"),
    [
        ("wss://a", "wss://a/socket.io/?EIO=4&transport=websocket"),
        ("wss://a:1/?x=%2F", "wss://a:1/socket.io/?x=%2F&EIO=4&transport=websocket"),
        ("wss://a/b/?EIO=3&y", "wss://a/b/?y&EIO=4&transport=websocket"),
    ],
)
def test_the_url_is_completed(url: str, dialed: str) -> None:
    assert completed(url) == dialed
    assert completed(dialed) == dialed


def test_packets_are_read_as_they_are_written() -> None:
    for namespace in ("/", "/admin"):
        for data in (["a"], ["a", 1, {"b": [None, "ü"]}], ["1", "2"]):
            for id in (None, 0, 12):
                text, attachments = encode("2", namespace, id, data)
                assert attachments == []
                assert parse(text)[:5] == ("2", 0, namespace, id, data)
                text, attachments = encode("2", namespace, id, [*data, b"x", [bytearray(b"y")]])
                packet = parse(text)
                assert packet[:4] == ("5", 2, namespace, id)
                assert fill(packet.data, attachments) == [*data, b"x", [b"y"]]
    assert encode("3", "/", 7, [])[0] == "437[]"
    assert encode("3", "/a", 7, [b""])[0] == '461-/a,7[{"_placeholder":true,"num":0}]'
    with pytest.raises(ValueError, match="what JSON cannot"):
        encode("2", "/", None, ["a", object()])


@pytest.mark.parametrize(
    "said",
    [
        *(
            "",
            "x",
            "4",
            "47",
            "42",
            "42{}",
            "42[]",
            "42[null]",
            '42["a"',
            "43[]",
            "431{}",
            "5",
            "2probe",
            "42" + "[" * 20_000,
        ),
        *('5["a"]', '45["a"]', '42/b,["a"]', '40{"sid":"s"}', '44{"message":"no"}', "0{}", b"bytes"),
    ],
)
@virtual
async def test_what_is_no_packet_ends_the_client(said: str | bytes) -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server)
        await client.open()
        server.say(said)
        with pytest.raises(ProtocolError):
            await client.wait_closed()


@virtual
async def test_attachments_are_put_in_their_places_and_counted() -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server)
        async with client:
            server.say(
                '452-["f",{"_placeholder":true,"num":1},{"a":[{"_placeholder":true,"num":0}]}]', b"zero", "2", b"1"
            )
            message = await client.recv(5)
            assert message.json == ["f", b"1", {"a": [b"zero"]}]
            assert json.loads(message.data) == ["f", "MQ==", {"a": ["emVybw=="]}]
            assert server.heard[1][1:] == ["3"]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (['453-["f"]'], MessageTooBig),
        (['452-["f"]', b"12345", b"678901"], MessageTooBig),
        (['451-["f"]', '42["g"]'], ProtocolError),
        (['451-["f",{"_placeholder":true,"num":1}]', b"1"], ProtocolError),
        (['451-["f",{"_placeholder":true,"num":true}]', b"1"], ProtocolError),
    ],
)
@virtual
async def test_attachments_are_bounded_and_in_order(said: list[Any], error: type[Exception]) -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server, attachments=2, attachment_bytes=10)
        await client.open()
        server.say(*said)
        with pytest.raises(error):
            await client.wait_closed()


@virtual
async def test_a_server_whose_pings_cease_is_given_up_and_one_that_pings_is_not() -> None:
    server = Server()
    async with server.dialer:
        client, _ = make(server)
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with client:
            loop = asyncio.get_running_loop()
            for _ in range(5):
                await asyncio.sleep(44)
                server.say("2", '42["also says something"]')
            last = loop.time()
            server.say('42["a"]')
            await until(lambda: lost)
            assert isinstance(lost[0].error, IdleTimeout)
            assert loop.time() - last == pytest.approx(45, abs=0.1)
            assert lost[0].error.verdict is Verdict.RETRY


@virtual
async def test_calls_end_by_their_time_by_a_loss_and_by_their_limit() -> None:
    server = Server()
    async with server.dialer:
        client, socketio = make(server, timeout=7, limit=1)
        async with client:
            with pytest.raises(CallTimeout, match="within 7 s"):
                await socketio.call("a")
            server.say('430["too late"]')
            calling = asyncio.create_task(socketio.call("b", timeout=60))
            await until(lambda: len(server.heard[1]) == 3)
            with pytest.raises(OutboxFull):
                await socketio.call("c")
            server.peers[1].drop()
            with pytest.raises(CallLost):
                await calling
            with pytest.raises(NotReady):
                await socketio.emit("d")
            assert server.heard[1][1:] == ['420["a"]', '421["b"]']
        with pytest.raises(ClientClosed):
            await socketio.emit("e")


@virtual
async def test_the_answer_to_a_connection_that_is_over_is_not_sent_on_another() -> None:
    server = Server()
    async with server.dialer:
        client, socketio = make(server)
        async with client:
            server.say('425["q"]')
            message = await client.recv(5)
            server.peers[1].drop()
            await until(lambda: client.state == "ready" and 2 in server.heard)
            with pytest.raises(NotReady):
                await socketio.answer(message, 1)
            server.say('42["q"]')
            with pytest.raises(ValueError, match="asks for no answer"):
                await socketio.answer(await client.recv(5))


@virtual
async def test_what_is_over_the_servers_limit_is_refused_whole() -> None:
    server = Server(opens={"maxPayload": 100})
    async with server.dialer:
        client, socketio = make(server)
        async with client:
            for large in ("x" * 95, "ü" * 50, b"x" * 101):
                with pytest.raises(SendError, match="over the server's maxPayload of 100"):
                    await socketio.emit("a", "small", b"small", large)
            with pytest.raises(SendError):
                await client.send_json(["a", "x" * 95])
            await client.send_json(["a", "x" * 90])
            await until(lambda: len(server.heard[1]) == 2)
            assert server.heard[1][1] == '42["a","' + "x" * 90 + '"]'
            await socketio.emit("a", b"x" * 100)


@virtual
async def test_recovery_asks_from_the_last_event_that_the_server_keeps() -> None:
    server = Server()
    async with server.dialer:
        client, socketio = make(server, auth={"token": "t0ken"})
        async with client:
            assert server.heard[1] == ['40{"token":"t0ken"}']
            server.say('42["a",1,"o1"]', '427["asks","no offset"]', '42["alone"]')
            for _ in range(3):
                await client.recv(5)
            server.early = ['42["missed","o2"]']
            server.peers[1].drop()
            assert (await client.recv(5)).json == ["missed", "o2"]
            assert json.loads(server.heard[2][0][2:]) == {"token": "t0ken", "pid": "p", "offset": "o1"}
            assert socketio.recovered
            server.early = []
            server.peers[2].drop()
            await until(lambda: client.state == "ready" and 3 in server.heard)
            assert json.loads(server.heard[3][0][2:])["offset"] == "o2"
            assert socketio.recovered
            server.pid = "another"
            server.peers[3].drop()
            await until(lambda: client.state == "ready" and 4 in server.heard)
            assert json.loads(server.heard[4][0][2:])["offset"] == "o2"
            assert not socketio.recovered
            server.peers[4].drop()
            await until(lambda: client.state == "ready" and 5 in server.heard)
            assert server.heard[5] == ['40{"token":"t0ken"}']


@virtual
async def test_what_a_connection_brought_that_never_was_ready_is_asked_for_again() -> None:
    class Refuses:
        """The second connection, when everything missed has come."""

        @hookimpl
        async def establish(self, session: Session) -> None:
            if session.request.attempt.number == 2:
                await session.recv('["last","o3"]')
                raise AuthenticationError("not yet").but(verdict=Verdict.RETRY)

    server = Server()
    async with server.dialer:
        client, socketio = make(server, Refuses())
        gaps: list[Gap] = []
        client.on(Gap, gaps.append)
        async with client:
            server.say('42["a","o1"]')
            await client.recv(5)
            server.early = ['42["missed","o2"]', '42["last","o3"]']
            server.peers[1].drop()
            assert (await client.recv(5)).json == ["missed", "o2"]
            assert [json.loads(server.heard[number][0][2:])["offset"] for number in (2, 3)] == ["o1", "o1"]
            assert socketio.recovered
            assert gaps == []
            server.pid = "another"
            server.peers[3].drop()
            await until(lambda: client.state == "ready" and 4 in server.heard)
            assert not socketio.recovered
            assert [gap.why for gap in gaps] == ["reconnect"]


@virtual
async def test_a_refusal_is_fatal_at_once_only_where_there_is_no_such_namespace() -> None:
    for message, attempts in (("Invalid namespace", 1), ("no, s3cret", 2)):
        said = json.dumps({"message": message, "data": {"got": ["s3cret"]}})

        def refuse(peer: MemoryPeer, said: str = said) -> None:
            peer.send('0{"sid":"e","pingInterval":25000,"pingTimeout":20000}')
            peer.on_message = lambda _: peer.send(f"44/a,{said}")

        server = Server()
        server.dialer = MemoryDialer(refuse)
        async with server.dialer:
            client, _ = make(server, namespace="/a", auth={"token": "s3cret"})
            with pytest.raises(ConnectRefused) as caught:
                await client.open()
            assert server.dialer.count == attempts
            assert caught.value.data == {"got": ["***"]}
            assert "s3cret" not in f"{caught.value} {caught.value.message}"


@virtual
async def test_what_the_function_for_auth_raises_tells_no_secret_and_is_tried_again() -> None:
    server = Server()

    def auth() -> Any:
        raise OSError("https://example.com/?key=s3cret")

    async with server.dialer:
        client, _ = make(server, auth=auth)
        failed: list[AttemptFailed] = []
        client.on(AttemptFailed, failed.append)
        opening = asyncio.create_task(client.open())
        await until(lambda: len(failed) == 2)
        assert isinstance(failed[0].error, AuthenticationError)
        assert str(failed[0].error) == "option 'auth' gave no answer: OSError"
        await client.close()
        await asyncio.wait([opening])
        opening.exception()


class Refuses:
    """A plugin that lets no bytes out that begin with "no"."""

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Message]:
        def look(message: Message) -> Message:
            if message.data[:2] == b"no":
                raise SendError("no")
            return message

        return look


@virtual
async def test_an_event_that_is_not_written_whole_ends_the_connection() -> None:
    """The server would wait for the rest, and take the next event for it."""
    server = Server()
    async with server.dialer:
        client, socketio = make(server, Refuses())
        async with client:
            with pytest.raises(SendError):
                await socketio.emit("a", b"yes", b"no")
            await until(lambda: client.state == "ready" and 2 in server.heard)
            await socketio.emit("a", b"yes")
            await until(lambda: len(server.heard[2]) == 3)
            assert server.heard[2][1:] == ['451-["a",{"_placeholder":true,"num":0}]', b"yes"]


@virtual
async def test_in_a_move_each_connection_has_its_own_session() -> None:
    server = Server()
    sessions: list[Session] = []

    class Mover:
        @hookimpl
        def keep_alive(self, session: Session) -> None:
            sessions.append(session)

    async with server.dialer:
        client, socketio = make(server, Mover())
        async with client:
            server.say('42["a","o1"]')
            await client.recv(5)
            moved = sessions[0].reopen("the test moves")
            await until(lambda: len(sessions) == 2)
            assert server.heard[2] == ["40"]
            assert not socketio.recovered
            server.say('42["b","o2"]')
            assert (await client.recv(30)).json == ["b", "o2"]
            assert await moved is True
