"""Answers to pings, as a server sees them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libws_core import Client, Control, Kind, Message, OptionError, PluginFailed, Session, hookimpl
from libws_core.testing import MemoryDialer, Server, greet, virtual
from libws_pong import Pong


class Watch:
    """Sees what passes on from the wire towards the user."""

    def __init__(self) -> None:
        self.seen: list[Message] = []

    @hookimpl
    def incoming(self, session: Session) -> Any:
        return self.look

    def look(self, message: Message) -> Message:
        self.seen.append(message)
        return message


def client_with(*plugins: object) -> Client:
    return Client("ws://test", plugins=["-standard", *plugins])


@virtual
async def test_a_ping_frame_is_answered_with_its_payload_and_goes_on_to_other_plugins() -> None:
    watch = Watch()
    async with MemoryDialer() as dialer, client_with(watch, Pong(), dialer) as client:
        peer = await dialer.accept()
        peer.ping(b"\x00payload\xff")
        assert (await peer.expect(Kind.PONG)).data == b"\x00payload\xff"
        assert watch.seen == [Message.ping(b"\x00payload\xff")]
        assert client.stats.received == 0


@virtual
async def test_pings_are_answered_before_the_client_is_ready() -> None:
    class Welcome:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await session.recv("welcome")

    dialer = MemoryDialer(greet(Message.ping(b"early"), then=None))
    client = client_with(Welcome(), Pong(), dialer)
    async with dialer:
        opening = asyncio.create_task(client.open())
        peer = await dialer.accept()
        assert (await peer.expect(Kind.PONG)).data == b"early"
        peer.send("welcome")
        await opening
        await client.close()


@virtual
async def test_without_frames_pings_stay_unanswered() -> None:
    for pong in (Pong(frames=False), Pong(frames=False, match="ping", reply="pong")):
        async with MemoryDialer() as dialer, client_with(pong, dialer) as client:
            peer = await dialer.accept()
            peer.ping(b"x")
            peer.send("data")
            await client.recv()
            await client.send("answer")
            await peer.expect("answer")
            assert peer.pongs == 0


@virtual
async def test_pongs_and_closes_are_not_answered_and_pass_on() -> None:
    watch = Watch()
    async with MemoryDialer() as dialer, client_with(watch, Pong(), dialer) as client:
        peer = await dialer.accept()
        peer.pong(b"x")
        peer.close(1001)
        with pytest.raises(Exception, match="1001"):
            await client.wait_closed()
        assert peer.pongs == 0
        assert watch.seen == [Message.pong(b"x"), Message.close(1001)]


@pytest.mark.parametrize(
    ("match", "reply", "ping", "pong"),
    [
        ("PING", "PONG\r\n", "PING\r\n", Message.text("PONG\r\n")),
        ("PING", "PONG\r\n", b"PING\r\n", Message.text("PONG\r\n")),
        (b"PING", b"PONG\r\n", b"PING\r\n", Message.binary(b"PONG\r\n")),
        ("2", "3", "2", Message.text("3")),
        ({"ping": "$t"}, {"pong": "$t"}, '{"ping":1492420473027}', Message.text('{"pong":1492420473027}')),
        ({"ping": "$t"}, {"pong": "$t"}, b'{"ping":1}', Message.text('{"pong":1}')),
        (
            {"type": "ping", "ping_event": {"event_id": "$id"}},
            {"type": "pong", "event_id": "$id"},
            '{"type":"ping","ping_event":{"event_id":7,"ping_ms":50}}',
            Message.text('{"type":"pong","event_id":7}'),
        ),
        (lambda m: m.data == "{}", lambda m: m, "{}", Message.text("{}")),
        (lambda m: {"n": m.data[5:]} if m.data[:4] == "PING" else None, "PONG $n", "PING 4", Message.text("PONG 4")),
    ],
)
def test_a_message_that_is_a_ping_is_answered_and_taken_out(match: Any, reply: Any, ping: Any, pong: Message) -> None:
    @virtual
    async def talk() -> None:
        watch = Watch()
        async with MemoryDialer() as dialer, client_with(watch, Pong(match=match, reply=reply), dialer) as client:
            peer = await dialer.accept()
            peer.send("before")
            peer.send(ping)
            peer.send("after")
            answer = await peer.recv()
            assert (answer.kind, answer.data) == (pong.kind, pong.data)
            assert [(await client.recv()).data for _ in range(2)] == ["before", "after"]
            assert [message.data for message in watch.seen] == ["before", "after"]

    talk()


@virtual
async def test_frames_are_answered_also_where_messages_are() -> None:
    async with MemoryDialer() as dialer, client_with(Pong(match="ping", reply="pong"), dialer):
        peer = await dialer.accept()
        peer.ping(b"ping")
        await peer.expect(Message.pong(b"ping"))


@virtual
async def test_without_a_reply_pings_are_taken_out_in_silence() -> None:
    for silent in (Pong(match={"type": "ping"}), Pong(match={"type": "ping"}, reply=lambda: None)):
        async with MemoryDialer() as dialer, client_with(silent, dialer) as client:
            peer = await dialer.accept()
            peer.send({"type": "ping", "message": 1})
            peer.send("data")
            assert (await client.recv()).data == "data"
            assert peer.received == 0


@virtual
async def test_a_reply_that_is_no_message_fails_the_connection_by_name() -> None:
    async with MemoryDialer() as dialer:
        client = client_with(Pong(match="ping", reply=lambda: 5), dialer)
        await client.open()
        (await dialer.accept()).send("ping")
        with pytest.raises(PluginFailed, match="'pong' failed in incoming"):
            await client.wait_closed()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"reply": "pong"}, "set 'match' too"),
        ({"match": "ping", "reply": {"pong": "$x"}}, r"\$x stands in it"),
        ({"match": {"ping": "$x"}, "reply": {"pong": "$y"}}, r"option 'reply': \$y"),
        ({"match": {"ping": b"x"}}, "option 'match': .* bytes"),
        ({"match": "ping", "reply": {"pong": b"x"}}, "option 'reply'"),
        ({"match": 5}, "option 'match'"),
        ({"frames": "yes"}, "option 'frames'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Client("ws://test", plugins=["-standard", "pong", MemoryDialer()], options={"pong": options})


def test_a_connection_without_message_pings_pays_nothing_for_data() -> None:
    assert isinstance(Pong().incoming(None), Control)  # type: ignore[arg-type]
    assert Pong(frames=False).incoming(None) is None  # type: ignore[arg-type]


async def test_pongs_reach_a_server_over_a_real_socket() -> None:
    async with Server() as server:
        client = Client(
            server.url, plugins=["-standard", "websockets", Pong(match={"ping": "$x"}, reply={"pong": "$x"})]
        )
        async with client:
            peer = await server.accept()
            peer.ping(b"frame")
            await peer.expect(Message.pong(b"frame"))
            peer.send({"ping": 1})
            await peer.expect({"pong": 1})
