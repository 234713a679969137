"""Sending: what is written, when it is proven, and what becomes of it when a connection ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from libws_core import (
    Client,
    ClientClosed,
    ConnectError,
    ConnectionClosed,
    DeliveryUnknown,
    Disconnected,
    Failure,
    Kind,
    LibwsError,
    Message,
    MessageExpired,
    NotReady,
    OutboxFull,
    PluginFailed,
    Sending,
    Session,
    State,
    hookimpl,
)
from libws_core.outbound import HIGH, MAX_URGENT
from libws_core.testing import MemoryDialer, MemoryPeer, hang, leaks, refuse, virtual


class Again:
    def __init__(self, delay: float = 1.0) -> None:
        self.delay = delay

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return self.delay


class Keeps:
    """Like an outbox: holds what is sent while not READY, writes it in establish."""

    def __init__(self) -> None:
        self.waiting: deque[tuple[Sending, asyncio.Future[None]]] = deque()
        self.offered: list[Any] = []

    @hookimpl
    def hold(self, sending: Sending) -> Awaitable[None]:
        self.offered.append(sending.message.data)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((sending, future))
        return future

    @hookimpl
    async def establish(self, session: Session) -> None:
        while self.waiting:
            sending, future = self.waiting[0]
            if not future.done():
                await session.send(sending)
            self.waiting.popleft()
            if not future.done():
                future.set_result(None)


class Functions:
    """Plugins' functions of outgoing, and the session for a test's hand."""

    def __init__(self, function: Callable[[Message], Any] | None = None) -> None:
        self.function = function
        self.session: Session

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Any] | None:
        self.session = session
        return self.function


class MoreFunctions(Functions): ...


def make(dialer: object, *plugins: object, **more: Any) -> Client:
    return Client("ws://test/", plugins=["-standard", *plugins, dialer], **more)


def now() -> float:
    return asyncio.get_running_loop().time()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def taken(peer: MemoryPeer, count: int) -> list[Any]:
    return [(await peer.recv(60)).data for _ in range(count)]


def stuff(client: Client) -> Awaitable[Any]:
    """Fill the write buffer of a peer that stalls."""
    return client.send(b"x" * (HIGH + 1))


# What can be sent


@virtual
async def test_str_is_text_bytes_are_binary_and_messages_go_as_they_are() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        for data in ("text", b"bytes", bytearray(b"array"), memoryview(b"view"), Message.text("message")):
            await client.send(data)
        await client.send_json({"a": [1, None]})
        await client.send(Message.ping(b"mine"))
        got = [await peer.recv() for _ in range(6)]
        assert [(message.kind, message.data) for message in got] == [
            (Kind.TEXT, "text"),
            (Kind.BINARY, b"bytes"),
            (Kind.BINARY, b"array"),
            (Kind.BINARY, b"view"),
            (Kind.TEXT, "message"),
            (Kind.TEXT, '{"a":[1,null]}'),
        ]
        await peer.expect(Message.ping(b"mine"))
        assert client.stats.sent == 7


@virtual
async def test_what_cannot_be_sent_is_refused() -> None:
    async with make(MemoryDialer()) as client:
        for data in (5, None, ["a"], {"a": 1}):
            with pytest.raises(TypeError, match="send takes str, bytes"):
                await client.send(data)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"client\.close"):
            await client.send(Message.close(1000))
        assert client.stats.sent == 0


@virtual
async def test_a_message_that_no_frame_holds_fails_its_sender_only(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = Functions(lambda message: message)  # so that it goes through the queue
    dialer = MemoryDialer()
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        write = peer.connection.write

        def strict(message: Message) -> None:
            if message.kind is Kind.PING and len(message.data) > 125:
                raise ValueError("too long")
            write(message)

        monkeypatch.setattr(peer.connection, "write", strict)
        peer.stall()
        await stuff(client)
        before = asyncio.ensure_future(client.send("before"))
        await asyncio.sleep(1)
        bad = asyncio.ensure_future(client.send(Message.ping(b"x" * 126)))
        behind = asyncio.ensure_future(client.send("behind"))
        await asyncio.sleep(1)
        peer.resume()
        with pytest.raises(ValueError, match="too long"):
            await bad
        await before
        await behind
        assert (await taken(peer, 3))[1:] == ["before", "behind"]
        with pytest.raises(ValueError, match=r"session\.fail"):
            functions.session.send(Message.close())
        with pytest.raises(TypeError):
            functions.session.send("text")  # type: ignore[arg-type]


@virtual
async def test_many_sends_of_one_turn_all_arrive_in_order() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        await asyncio.gather(*(client.send(str(number)) for number in range(1000)))
        assert await taken(peer, 1000) == [str(number) for number in range(1000)]


# Not ready, too late, closed


@virtual
async def test_while_not_ready_a_send_is_refused_and_says_what_helps() -> None:
    client = make(MemoryDialer(), Again())
    with pytest.raises(NotReady, match=r"IDLE.*outbox"):
        await client.send("early")
    dialer = MemoryDialer().first(hang())
    client = make(dialer, Again())
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    with pytest.raises(NotReady, match="CONNECTING"):
        await client.send("early", confirm=True)
    await opening
    (await dialer.accept()).drop()
    await asyncio.sleep(0.5)
    assert client.state is State.WAITING
    with pytest.raises(NotReady, match="WAITING"):
        await client.send("between")
    await client.close()


@virtual
async def test_a_send_that_is_not_written_in_time_expires_and_is_never_sent() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        begin = now()
        with pytest.raises(MessageExpired):
            await client.send("late", timeout=2.5)
        assert now() - begin == 2.5
        waiting = asyncio.ensure_future(client.send("patient"))
        with pytest.raises(MessageExpired):
            await client.send("late too", timeout=1)
        with pytest.raises(MessageExpired):
            await client.send("no time at all", timeout=0)
        peer.resume()
        await waiting
        assert (await taken(peer, 2))[1] == "patient"
        await client.send("end")
        assert await taken(peer, 1) == ["end"]
        assert client.stats.sent == 3
        await client.send("in time", timeout=0)


@virtual
async def test_a_message_that_is_written_as_its_time_ends_counts_as_written() -> None:
    """In one turn of the loop the buffer has room and the time is over: what was written must not be said to be not."""
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        target = client._supervisor.target
        assert target is not None

        def write_now() -> None:
            peer.resume()
            target.outbound.pump()

        sending = asyncio.ensure_future(client.send("close to its end", timeout=1))
        asyncio.get_running_loop().call_at(now() + 1 - 1e-10, write_now)
        await sending
        assert (await taken(peer, 2))[1] == "close to its end"


@virtual
async def test_a_sender_that_is_cancelled_takes_its_message_back() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        sending = [asyncio.ensure_future(client.send(str(number))) for number in range(4)]
        await turns()
        sending[1].cancel()
        sending[3].cancel()
        await turns()
        peer.resume()
        await sending[2]
        await client.send("end")
        assert (await taken(peer, 4))[1:] == ["0", "2", "end"]


@virtual
async def test_senders_that_give_up_do_not_pile_up_behind_a_stuck_peer() -> None:
    dialer = MemoryDialer()
    async with make(dialer, close_timeout=1) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        for _ in range(200):
            with pytest.raises(MessageExpired):
                await client.send("late", timeout=0.01)
        outbound = client._supervisor.target.outbound  # type: ignore[union-attr]
        assert len(outbound._normal) <= 1


@pytest.mark.parametrize("how", ["close", "fail"])
def test_after_the_end_every_send_says_so(how: str) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer)
        await client.open()
        if how == "close":
            await client.close()
        else:
            (await dialer.accept()).close(1002)
            await asyncio.wait([asyncio.ensure_future(client.wait_closed())])
            assert client.state is State.FAILED
        each: list[dict[str, Any]] = [{}, {"confirm": True}, {"timeout": 1}]
        for more in each:
            with pytest.raises(ClientClosed, match="closed" if how == "close" else "failed"):
                await client.send("late", **more)

    body()


@pytest.mark.parametrize("how", ["close", "fail"])
def test_sends_that_wait_are_told_when_the_client_ends(how: str) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer, Keeps(), close_timeout=2)
        await client.open()
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        waiting = [asyncio.ensure_future(client.send("waits", timeout=timeout)) for timeout in (None, 60)]
        waiting.append(asyncio.ensure_future(client.send("waits", confirm=True)))
        await turns()
        begin = now()
        if how == "close":
            await client.close()
        else:
            peer.close(1002)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(end) for end in ends] == [ClientClosed] * 3
        assert now() - begin <= 2.5

    body()


@virtual
async def test_sends_that_are_held_are_told_when_the_client_is_closed() -> None:
    dialer = MemoryDialer(refuse(503))
    client = make(dialer, Keeps(), Again(60))
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    held = asyncio.ensure_future(client.send("held"))
    await asyncio.sleep(1)
    await client.close()
    with pytest.raises(ClientClosed):
        await held
    with pytest.raises(ClientClosed):
        await opening


# Proofs


@virtual
async def test_a_confirmed_send_ends_when_the_peer_has_read_it() -> None:
    dialer = MemoryDialer(latency=1.0)
    async with make(dialer) as client:
        peer = await dialer.accept()
        peer.stall()
        sending = asyncio.ensure_future(client.send("proven", confirm=True))
        await asyncio.sleep(5)
        assert not sending.done()
        peer.resume()
        begin = now()
        await sending
        assert now() - begin == 1.0
        assert client.latency == 6.0


@virtual
async def test_many_confirmed_sends_share_one_ping() -> None:
    dialer = MemoryDialer(latency=0.5)
    async with make(dialer) as client:
        peer = await dialer.accept()
        await asyncio.gather(*(client.send(str(number), confirm=True) for number in range(100)))
        assert peer.pings == 1
        first = asyncio.ensure_future(client.send("first", confirm=True))
        await asyncio.sleep(0.2)
        second = asyncio.ensure_future(client.send("second", confirm=True))
        await first
        assert not second.done()  # the ping was written before it
        await second
        assert peer.pings == 3


@virtual
async def test_no_proof_in_time_is_delivery_unknown() -> None:
    dialer = MemoryDialer(lambda peer: peer.silence())
    async with make(dialer, close_timeout=1) as client:
        for timeout, seconds in ((None, 20), (3, 3)):
            begin = now()
            with pytest.raises(DeliveryUnknown, match=f"within {seconds} s"):
                await client.send("?", confirm=True, timeout=timeout)
            assert now() - begin == seconds


@virtual
async def test_the_time_for_a_proof_begins_when_it_is_written() -> None:
    dialer = MemoryDialer()
    async with make(dialer, close_timeout=1) as client:
        peer = await dialer.accept()
        peer.answer_pings = False
        peer.stall()
        await stuff(client)
        sending = asyncio.ensure_future(client.send("?", confirm=True, timeout=3))
        await asyncio.sleep(10)
        assert not sending.done()
        peer.resume()
        begin = now()
        with pytest.raises(DeliveryUnknown):
            await sending
        assert now() - begin == 3


@virtual
async def test_an_answer_to_a_later_ping_proves_what_was_before_an_earlier_one() -> None:
    dialer = MemoryDialer()
    functions = Functions()
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        peer.answer_pings = False
        sending = asyncio.ensure_future(client.send("one", confirm=True))
        await asyncio.sleep(1)
        pinging = asyncio.ensure_future(functions.session.ping(5))
        await asyncio.sleep(1)
        await peer.expect(Kind.PING)
        latest = await peer.expect(Kind.PING)
        peer.pong(b"a pong that nobody asked for")
        await asyncio.sleep(1)
        assert not sending.done()
        peer.pong(latest.data)
        await sending
        assert await pinging == 2.0


@pytest.mark.parametrize("how", ["drop", "close"])
def test_a_loss_before_the_proof_is_delivery_unknown_and_counted(how: str) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer()
        client = make(dialer, Again())
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with client:
            peer = await dialer.accept()
            await client.send("proven", confirm=True)
            peer.answer_pings = False
            await client.send("unproven")
            sending = asyncio.ensure_future(client.send("unproven too", confirm=True))
            await asyncio.sleep(1)
            if how == "drop":
                peer.drop()
            else:
                peer.close(1012)
            with pytest.raises(DeliveryUnknown, match="before the peer was known"):
                await sending
            await dialer.accept()
        assert [event.unconfirmed for event in lost] == [2, 0]

    body()


@virtual
async def test_an_answered_close_proves_what_was_written_before_it() -> None:
    dialer = MemoryDialer()
    client = make(dialer)
    lost: list[Disconnected] = []
    client.on(Disconnected, lost.append)
    await client.open()
    (await dialer.accept()).answer_pings = False
    await client.send("one")
    sending = asyncio.ensure_future(client.send("two", confirm=True))
    await turns()
    await client.close()
    await sending
    assert [event.unconfirmed for event in lost] == [0]


@virtual
async def test_idempotent_sends_are_offered_again_in_order_before_newer_ones() -> None:
    keeps = Keeps()
    dialer = MemoryDialer()
    async with make(dialer, keeps, Again()) as client:
        peer = await dialer.accept()
        peer.answer_pings = False
        written = [
            asyncio.ensure_future(client.send("a", confirm=True, idempotent=True)),
            asyncio.ensure_future(client.send("b", confirm=True)),
            asyncio.ensure_future(client.send("c", confirm=True, idempotent=True)),
            asyncio.ensure_future(client.send("d", idempotent=True)),
        ]
        await asyncio.sleep(1)
        peer.stall()
        await stuff(client)
        waiting = asyncio.ensure_future(client.send("e"))
        await asyncio.sleep(1)
        peer.drop()
        await asyncio.sleep(0.5)
        newer = asyncio.ensure_future(client.send("f"))
        await asyncio.sleep(0.1)
        assert keeps.offered == ["a", "c", "e", "f"]
        again = await dialer.accept()
        assert await taken(again, 4) == ["a", "c", "e", "f"]
        ends = await asyncio.gather(*written, waiting, newer, return_exceptions=True)
        assert [type(end) for end in ends] == [type(None), DeliveryUnknown] + [type(None)] * 4


@virtual
async def test_an_idempotent_send_that_nobody_holds_is_delivery_unknown() -> None:
    dialer = MemoryDialer()
    async with make(dialer, Again()) as client:
        peer = await dialer.accept()
        peer.answer_pings = False
        sending = asyncio.ensure_future(client.send("a", confirm=True, idempotent=True))
        await asyncio.sleep(1)
        peer.drop()
        with pytest.raises(DeliveryUnknown):
            await sending


@virtual
async def test_a_held_send_is_written_in_establish_and_its_proof_comes_from_that_connection() -> None:
    keeps = Keeps()
    dialer = MemoryDialer().first(refuse(503))
    client = make(dialer, keeps, Again())
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    held = asyncio.ensure_future(client.send("held", confirm=True))
    peer = await dialer.accept()
    await opening
    assert await taken(peer, 1) == ["held"]
    await held
    assert peer.pings == 1
    assert client.stats.sent == 1
    await client.close()


@pytest.mark.parametrize(
    ("hold", "raised"),
    [
        (lambda sending: 5, PluginFailed),
        (lambda sending: raising(KeyError("a bug")), PluginFailed),
        (lambda sending: raising(OutboxFull("full")), OutboxFull),
        (lambda sending: fails_later(MessageExpired("too old")), MessageExpired),
        (lambda sending: fails_later(TimeoutError("the plugin's own")), TimeoutError),
    ],
)
def test_what_hold_raises_is_what_the_sender_gets(hold: Any, raised: type[Exception]) -> None:
    class Holder:
        pass

    Holder.hold = hookimpl(staticmethod(hold))  # type: ignore[attr-defined]

    @virtual
    async def body() -> None:
        client = make(MemoryDialer(), Holder())
        with pytest.raises(raised):
            await client.send("held")

    body()


def raising(error: Exception) -> None:
    raise error


async def fails_later(error: Exception) -> None:
    await asyncio.sleep(1)
    raise error


@virtual
async def test_the_first_plugin_that_holds_has_it() -> None:
    class Never:
        @hookimpl
        def hold(self, sending: Sending) -> None:
            return None

    first, second = Keeps(), type("Second", (Keeps,), {})()
    dialer = MemoryDialer(refuse(503))
    client = make(dialer, Never(), first, second, Again(60))
    opening = asyncio.ensure_future(client.open())
    await dialer.reached(1)
    with pytest.raises(MessageExpired):
        await client.send("held", timeout=5)
    assert (first.offered, second.offered) == (["held"], [])
    await client.close()
    await asyncio.wait([opening])
    assert isinstance(opening.exception(), ClientClosed)


@virtual
async def test_what_is_sent_behind_the_servers_close_is_not_lost_in_silence() -> None:
    """Between the close frames and the end of TCP a connection still looks alive."""
    keeps = Keeps()
    dialer = MemoryDialer(latency=0.5)
    async with make(dialer, keeps, Again()) as client:
        peer = await dialer.accept()
        peer.send(Message.close(1012))  # and no end of TCP
        await asyncio.sleep(0.6)
        assert client.state is State.READY
        sending = asyncio.ensure_future(client.send("late"))
        await asyncio.sleep(0.1)
        assert not sending.done()
        peer.drop()
        again = await dialer.accept()
        await sending
        assert await taken(again, 1) == ["late"]
        assert peer.late_writes == 0


@virtual
async def test_a_server_that_closes_and_never_hangs_up_is_dropped() -> None:
    dialer = MemoryDialer()
    client = make(dialer, close_timeout=3)
    await client.open()
    peer = await dialer.accept()
    begin = now()
    peer.send(Message.close(1012))
    peer.silence()
    with pytest.raises(ConnectionClosed) as caught:
        await client.wait_closed()
    assert caught.value.code == 1012
    assert now() - begin == 3


# Functions of outgoing


@virtual
async def test_functions_run_from_the_user_to_the_wire_and_see_all_kinds_but_nobody_elses_connection() -> None:
    seen: list[Message] = []

    def first(message: Message) -> Message:
        seen.append(message)
        return Message(message.kind, message.data + "1") if message.kind is Kind.TEXT else message

    dialer = MemoryDialer()
    functions = Functions(first)
    more = MoreFunctions(lambda m: Message(m.kind, m.data + "2") if m.kind is Kind.TEXT else m)
    async with make(dialer, functions, more, Again()) as client:
        peer = await dialer.accept()
        await client.send("a")
        functions.session.send(Message.pong(b"p"))
        await functions.session.ping(5)
        assert await taken(peer, 1) == ["a12"]
    assert [message.kind for message in seen] == [Kind.TEXT, Kind.PONG, Kind.PING, Kind.CLOSE]
    assert peer.closed == Message.close(1000)


@virtual
async def test_seconds_park_a_message_before_that_function_alone() -> None:
    passed: list[str] = []
    times: list[float] = []

    def first(message: Message) -> Message:
        passed.append(message.data if message.kind is Kind.TEXT else message.kind.name)
        return message

    def second(message: Message) -> Message | float:
        times.append(now())
        return 1.5 if len(times) % 3 else message  # asks for time twice

    dialer = MemoryDialer()
    functions = Functions(first)
    async with make(dialer, functions, MoreFunctions(second)) as client:
        peer = await dialer.accept()
        begin = now()
        sending = [asyncio.ensure_future(client.send(text)) for text in "ab"]
        await asyncio.sleep(0.1)
        of_plugin = functions.session.send(Message.text("plugin"))
        assert passed == ["a"]  # what is begun is not overtaken, what is not begun has not passed anything
        await asyncio.gather(*sending, of_plugin)
        assert await taken(peer, 3) == ["a", "plugin", "b"]
        assert passed == ["a", "plugin", "b"]
        assert [round(time - begin, 6) for time in times] == [0, 1.5, 3, 3, 4.5, 6, 6, 7.5, 9]


@virtual
async def test_a_plugins_message_goes_before_a_users_that_waits_and_has_passed_nothing() -> None:
    """A rate limit for users' messages holds up neither heartbeats nor log-in."""
    held = {"user", "newer"}
    functions = Functions(lambda message: 60.0 if message.data in held else message)
    dialer = MemoryDialer()
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        begin = now()
        users = [asyncio.ensure_future(client.send(text)) for text in ("user", "newer")]
        await asyncio.sleep(1)
        assert await functions.session.ping(timeout=5) < 1
        await functions.session.send(Message.text("plugin"))
        assert now() - begin < 5
        held.clear()
        await asyncio.gather(*users)
        assert await taken(peer, 3) == ["plugin", "user", "newer"]


@virtual
async def test_only_control_frames_pass_a_message_that_waits_half_way() -> None:
    """They may stand in the middle of a message (RFC 6455 section 5.4); data must keep the order of the functions."""
    held = {"user"}
    dialer = MemoryDialer()
    first = Functions(lambda message: message)
    async with make(dialer, first, MoreFunctions(lambda message: 30.0 if message.data in held else message)) as client:
        peer = await dialer.accept()
        begin = now()
        sending = asyncio.ensure_future(client.send("user"))
        await asyncio.sleep(1)
        of_plugin = first.session.send(Message.text("plugin"))
        held.clear()
        await asyncio.gather(sending, of_plugin)
        assert now() - begin == 30
        assert await taken(peer, 2) == ["user", "plugin"]
        held.add("user")
        sending = asyncio.ensure_future(client.send("user"))
        await asyncio.sleep(1)
        assert await first.session.ping(timeout=5) < 1
        held.clear()
        await sending


@virtual
async def test_a_close_is_never_parked() -> None:
    dialer = MemoryDialer()
    client = make(dialer, Functions(lambda message: 3600.0), close_timeout=2)
    await client.open()
    peer = await dialer.accept()
    begin = now()
    await client.close(1001, "bye")
    assert now() - begin <= 0.5
    assert peer.closed == Message.close(1001, "bye")


@virtual
async def test_a_function_may_change_the_close_and_its_failure_does_not_keep_it() -> None:
    def refuses(message: Message) -> Message:
        raise ConnectError("not this one")

    dialer = MemoryDialer()
    changes = Functions(lambda message: Message.close(3000, "changed"))
    async with make(dialer, changes, MoreFunctions(refuses)):
        peer = await dialer.accept()
    assert peer.closed == Message.close(3000, "changed")


@virtual
async def test_an_error_of_libws_fails_that_send_only() -> None:
    def picky(message: Message) -> Message:
        if message.data == "bad":
            raise OutboxFull("too much")
        return message

    dialer = MemoryDialer()
    functions = Functions(picky)
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        with pytest.raises(OutboxFull):
            await client.send("bad")
        with pytest.raises(OutboxFull):
            await functions.session.send(Message.text("bad"))
        functions.session.send(Message.text("bad"))  # ignored, and no warning
        await client.send("good")
        assert await taken(peer, 1) == ["good"]
        assert client.stats.sent == 1


@virtual
async def test_a_function_may_send_itself() -> None:
    def announces(message: Message) -> Message:
        if message.data == "loud":
            functions.session.send(Message.text("echo"))
        return message

    functions = Functions(announces)
    dialer = MemoryDialer()
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        await client.send("loud")
        assert await taken(peer, 2) == ["loud", "echo"]


@virtual
async def test_plugins_messages_go_before_users_ones_that_are_not_begun() -> None:
    dialer = MemoryDialer()
    functions = Functions()
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        user = asyncio.ensure_future(client.send("user"))
        await turns()
        plugin = functions.session.send(Message.text("plugin"))
        peer.resume()
        await user
        await plugin
        assert (await taken(peer, 3))[1:] == ["plugin", "user"]


@virtual
async def test_a_newer_pong_takes_the_place_of_one_that_waits() -> None:
    dialer = MemoryDialer()
    functions = Functions()
    async with make(dialer, functions) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        pongs = [functions.session.send(Message.pong(b"%d" % number)) for number in range(100_000)]
        peer.resume()
        await asyncio.gather(*pongs[:3], pongs[-1])
        assert peer.pongs == 1
        await peer.expect(Message.pong(b"99999"))


@virtual
async def test_what_plugins_send_to_a_peer_that_does_not_read_is_bounded() -> None:
    dialer = MemoryDialer()
    functions = Functions()
    client = make(dialer, functions)
    await client.open()
    (await dialer.accept()).stall()
    await stuff(client)
    for _ in range(MAX_URGENT + 1):
        functions.session.send(Message.text("beat"))
    with pytest.raises(ConnectionClosed, match="does not read"):
        await client.wait_closed()


@virtual
async def test_a_dialer_that_does_not_tell_when_its_buffer_is_drained_is_looked_at() -> None:
    dialer = MemoryDialer()
    async with make(dialer) as client:
        peer = await dialer.accept()
        peer.connection.drained = None
        peer.stall()
        await stuff(client)
        sending = asyncio.ensure_future(client.send("waits"))
        await asyncio.sleep(5)
        peer.resume()
        await sending
        assert (await taken(peer, 2))[1] == "waits"


# Draining and closing


@virtual
async def test_leaving_the_with_block_writes_what_send_accepted() -> None:
    dialer = MemoryDialer()
    async with make(dialer, close_timeout=5) as client:
        peer = await dialer.accept()
        peer.stall()
        await stuff(client)
        sending = [asyncio.ensure_future(client.send(str(number))) for number in range(50)]
        await turns()
        asyncio.get_running_loop().call_later(3, peer.resume)
        begin = now()
    assert now() - begin == 3
    assert (await taken(peer, 51))[1:] == [str(number) for number in range(50)]
    assert peer.closed == Message.close(1000)
    await asyncio.gather(*sending)


@virtual
async def test_close_waits_for_parked_messages_too() -> None:
    asked: list[float] = []

    def once(message: Message) -> Message | float:
        asked.append(now())
        return 2.0 if len(asked) == 1 else message

    dialer = MemoryDialer()
    async with make(dialer, Functions(once)) as client:
        peer = await dialer.accept()
        sending = asyncio.ensure_future(client.send("parked"))
        await turns()
    await sending
    assert await taken(peer, 1) == ["parked"]


@virtual
async def test_what_is_parked_for_longer_than_close_may_take_is_not_sent_and_its_sender_is_told() -> None:
    dialer = MemoryDialer()
    client = make(dialer, Functions(lambda message: 3600.0), close_timeout=2)
    await client.open()
    peer = await dialer.accept()
    sending = asyncio.ensure_future(client.send("parked"))
    await turns()
    begin = now()
    await client.close()
    assert now() - begin == pytest.approx(2, abs=0.5)
    with pytest.raises(ClientClosed):
        await sending
    await asyncio.sleep(7200)
    assert peer.received == 0
    assert peer.closed == Message.close(1000)


@virtual
async def test_a_drain_ends_when_the_server_closes_meanwhile() -> None:
    dialer = MemoryDialer()
    client = make(dialer, close_timeout=100)
    await client.open()
    peer = await dialer.accept()
    peer.stall()
    await stuff(client)
    sending = asyncio.ensure_future(client.send("waits"))
    await turns()
    closing = asyncio.ensure_future(client.close())
    await asyncio.sleep(1)
    begin = now()
    peer.close(1001)
    peer.drop()
    await closing
    assert now() - begin <= 1
    with pytest.raises(ClientClosed):
        await sending


@pytest.mark.parametrize("latency", [0.0, 0.1])
@pytest.mark.parametrize("peer_does", ["answers", "nothing", "does not read"])
def test_close_takes_no_longer_than_its_time_and_twice_is_once(peer_does: str, latency: float) -> None:
    @virtual
    async def body() -> None:
        dialer = MemoryDialer(latency=latency)
        client = make(dialer, close_timeout=2)
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with leaks():
            await client.open()
            peer = await dialer.accept()
            if peer_does == "nothing":
                peer.silence()
            elif peer_does == "does not read":
                peer.silence(reading=False)
                await stuff(client)
                waits = asyncio.ensure_future(client.send("waits"))
                await turns()
            begin = now()
            await asyncio.gather(client.close(4000, "enough"), client.close(), client.wait_closed())
            await client.close()
            assert now() - begin == pytest.approx(2 * latency if peer_does == "answers" else 2)
            assert client.state is State.CLOSED
            await client.wait_closed()
        assert [(event.error.initiator, event.error.code) for event in lost] == [
            ("local", 4000 if peer_does == "answers" else 1006)
        ]
        if peer_does == "does not read":
            with pytest.raises(ClientClosed):
                await waits
        else:
            await asyncio.sleep(1)
            assert peer.closed == Message.close(4000, "enough")

    body()


@pytest.mark.parametrize("code", [0, 999, 1004, 1006, 1015, 2999, 5000, "1000"])
def test_a_close_code_that_must_not_be_sent_is_refused_and_the_client_lives(code: Any) -> None:
    @virtual
    async def body() -> None:
        functions = Functions()
        async with make(MemoryDialer(), functions) as client:
            with pytest.raises(ValueError, match="no close code"):
                await client.close(code)
            with pytest.raises(ValueError, match="no close code"):
                functions.session.fail(ConnectionClosed("no"), code)
            assert client.state is State.READY

    body()


@virtual
async def test_a_long_reason_is_cut_to_what_fits() -> None:
    dialer = MemoryDialer()
    client = make(dialer)
    await client.open()
    await client.close(1000, "é" * 100)
    assert (await dialer.accept()).closed == Message.close(1000, "é" * 61)
    dialer = MemoryDialer()
    client = make(dialer)
    await client.open()
    await client.close(1005)
    closed = (await dialer.accept()).closed
    assert closed is not None
    assert closed.data == b""


@pytest.mark.parametrize("state", ["resolve", "admit", "authenticate", "dial", "establish", "waiting", "reopening"])
def test_close_is_prompt_in_every_state(state: str) -> None:
    async def waits(*_: Any) -> None:
        await asyncio.get_running_loop().create_future()

    class Waits:
        @hookimpl
        async def resolve(self, request: Any) -> None:
            if state == "resolve":
                await waits()

        @hookimpl
        async def admit(self, request: Any) -> None:
            if state == "admit":
                await waits()

        @hookimpl
        async def authenticate(self, request: Any) -> None:
            if state == "authenticate":
                await waits()

        @hookimpl
        async def establish(self, session: Session) -> None:
            if state == "establish" or session.request.attempt.why == "move":
                await waits()

        @hookimpl
        async def keep_alive(self, session: Session) -> None:
            if state == "reopening":
                session.reopen("test")

    @virtual
    async def body() -> None:
        dialer = MemoryDialer(*([refuse(503)] if state == "waiting" else [hang()] if state == "dial" else []))
        client = make(dialer, Waits(), Again(3600), open_timeout=1000)
        async with leaks():
            opening = asyncio.ensure_future(client.open())
            await asyncio.sleep(1)
            expected = {"waiting": State.WAITING, "reopening": State.REOPENING}.get(state, State.CONNECTING)
            assert client.state is expected
            begin = now()
            await client.close()
            assert now() - begin <= 0.1
            assert client.state is State.CLOSED
            ends = await asyncio.gather(opening, return_exceptions=True)
            assert isinstance(ends[0], LibwsError | None)
        assert dialer.peers == []

    body()
