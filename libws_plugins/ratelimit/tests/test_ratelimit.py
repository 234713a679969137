"""What may be sent when: windows that are never exceeded, in order, for everybody in turn."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import libws_ratelimit
from libws_core import (
    Client,
    Headers,
    Message,
    MessageExpired,
    OptionError,
    PluginFailed,
    SendError,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, Server, leaks, virtual
from libws_ratelimit import Ratelimit
from libws_ratelimit.budget import TICK, Bucket, Budget, Limits, Window


def exceeds(written: Sequence[tuple[float, int]], limits: Limits) -> bool:
    """Whether any span of `per` seconds, both ends included, holds more than it may. Counts without rounding."""
    per = Fraction(limits.per)
    for last, (at, _) in enumerate(written):
        inside = [size for when, size in written[: last + 1] if Fraction(at) - Fraction(when) <= per]
        if limits.messages is not None and len(inside) > limits.messages:
            return True
        if limits.size is not None and sum(inside) > limits.size:
            return True
    return False


@dataclass
class Sender:
    """A connection as the core has it: asks for one message at a time, and comes back when it was told."""

    name: int
    queue: deque[tuple[float, int]]
    asked: float | None = None


def play(
    budget: Budget, arrivals: Sequence[tuple[int, float, int]], late: Sequence[float] = (0.0,)
) -> list[tuple[int, float, int, float]]:
    """Let connections send; gives who wrote when how much, and since when it had waited. Arrivals: who, when, size."""
    senders: dict[int, Sender] = {}
    for name, at, size in arrivals:
        senders.setdefault(name, Sender(name, deque())).queue.append((at, size))
    agenda = [(sender.queue[0][0], place, sender) for place, sender in enumerate(senders.values())]
    heapq.heapify(agenda)
    written: list[tuple[int, float, int, float]] = []
    turns = len(senders)
    while agenda:
        now, _, sender = heapq.heappop(agenda)
        turns += 1
        assert turns < 100_000, "it asks and asks"
        size = sender.queue[0][1]
        since = sender.asked = now if sender.asked is None else sender.asked
        wait = budget.ask(sender.name, size, now)
        if wait:
            heapq.heappush(agenda, (now + wait + late[turns % len(late)], turns, sender))
            continue
        written.append((sender.name, now, size, since))
        budget.settle(now)
        sender.queue.popleft()
        sender.asked = None
        if sender.queue:
            heapq.heappush(agenda, (max(now, sender.queue[0][0]), turns, sender))
    return written


bases = st.sampled_from([0.0, 0.1, 1000.0, 1_234_567.1, 2.0**40 / 3])
gaps = st.one_of(st.just(0.0), st.floats(0, 0.3), st.sampled_from([0.1, 0.25, 1 / 3, 1.0]))
limitations = st.builds(
    Limits,
    messages=st.integers(1, 6) | st.none(),
    size=st.integers(20, 60) | st.none(),
    per=st.one_of(st.floats(0.05, 3), st.sampled_from([0.1, 0.3, 1.0, 1 / 3])),
    strict=st.just(True),
    margin=st.sampled_from([0.0, 0.01]),
)


@st.composite
def arriving(draw: st.DrawFn) -> list[tuple[int, float, int]]:
    at, found = draw(bases), []
    for gap, who, size in draw(
        st.lists(st.tuples(gaps, st.integers(0, 3), st.integers(0, 20)), min_size=1, max_size=30)
    ):
        at += gap
        found.append((who, at, size))
    return found


@settings(max_examples=300, deadline=None)
@given(limits=limitations, arrivals=arriving(), late=st.lists(st.floats(0, 0.2), min_size=1, max_size=4))
@example(Limits(1, None, 0.1), [(0, 0.1, 0), (0, 0.1 + 0.1, 0), (0, 0.30000000000000004, 0)], [0.0])
@example(Limits(1, None, 1 / 3), [(0, 2.0**40 / 3, 0), (0, 2.0**40 / 3 + 1 / 3, 0)], [0.0])
def test_no_rolling_window_ever_holds_more_and_nothing_is_left_behind(
    limits: Limits, arrivals: list[tuple[int, float, int]], late: list[float]
) -> None:
    written = play(Budget(limits), arrivals, late)
    assert not exceeds([(at, size) for _, at, size, _ in written], limits)
    for who in range(4):  # everything, in order, once
        assert [size for name, _, size, _ in written if name == who] == [s for name, _, s in arrivals if name == who]
    # Nothing starves: each message waits for windows that are full, and no longer.
    windows = 1 + len(arrivals) / min(limits.messages or math.inf, max((limits.size or math.inf) // 20, 1))
    patience = windows * (limits.per + limits.margin + 0.2) * 2 + 10
    assert written[-1][1] <= arrivals[-1][1] + patience + len(arrivals) * 0.2


@settings(max_examples=200, deadline=None)
@given(limits=limitations, arrivals=arriving())
@example(Limits(None, 20, 0.25), [(0, 0.0, 1), (0, 0.0, 20), (0, 0.25, 0), (1, 0.25, 0)])
def test_who_waits_is_passed_by_nobody_twice(limits: Limits, arrivals: list[tuple[int, float, int]]) -> None:
    written = play(Budget(limits), arrivals)
    for name, at, _, since in written:
        for other in range(4):
            passed = [when for who, when, _, _ in written if who == other != name and since < when < at - TICK]
            assert len(passed) <= 1, f"{other} wrote {len(passed)} times while {name} waited"


@pytest.mark.parametrize("base", [0.0, 0.1, 1000.0, 4_000_000.3])
@pytest.mark.parametrize("per", [0.1, 0.3, 1 / 3, 1.0, 60.0])
def test_a_message_at_exactly_the_end_of_the_window_is_within_it(base: float, per: float) -> None:
    window = Window(Limits(1, None, per))
    window.take(base, 1)
    edge = base + per
    while Fraction(edge) - Fraction(base) > Fraction(per):
        edge = math.nextafter(edge, -math.inf)
    assert window.plan(edge, [1]) > edge
    free = window.plan(edge, [1])
    assert Fraction(free) - Fraction(base) > Fraction(per)
    assert free == pytest.approx(base + per, rel=1e-12, abs=1e-12)
    assert window.plan(free, [1]) == free


def test_what_has_room_does_not_wait() -> None:
    budget = Budget(Limits(3, 100, 1.0))
    assert [budget.ask("a", 10, 5.0) for _ in range(3)] == [0, 0, 0]
    assert budget.ask("a", 10, 5.0) == pytest.approx(1.0)
    assert budget.ask("a", 10, 6.1) == 0
    assert budget.ask("b", 90, 7.2) == 0
    assert budget.ask("b", 11, 7.2) == pytest.approx(1.0)


def test_who_does_not_come_back_holds_up_nobody() -> None:
    budget = Budget(Limits(1, None, 10.0))
    assert budget.ask("a", 1, 0.0) == 0
    assert budget.ask("gone", 1, 0.0) == pytest.approx(10)
    assert budget.ask("b", 1, 0.0) == pytest.approx(20)
    assert budget.ask("c", 1, 10.5) == pytest.approx(20)  # behind both: it may still come
    assert budget.ask("c", 1, 12.0) == pytest.approx(10)  # behind one
    assert budget.ask("b", 1, 20.1) == 0


@pytest.mark.parametrize("strict", [True, False])
def test_what_leaves_late_counts_from_when_it_leaves(strict: bool) -> None:
    budget = Budget(Limits(2, None, 1.0, strict))
    assert [budget.ask("a", 1, 5.0) for _ in range(2)] == [0, 0]
    budget.settle(5.5)  # a handler was slow: the dialer writes only now
    assert budget.ask("a", 1, 5.6) == pytest.approx(0.9 if strict else 0.4)


def test_a_bucket_lets_a_burst_go_and_then_an_even_stream() -> None:
    written = play(Budget(Limits(4, None, 1.0, strict=False)), [(0, 10.0, 1)] * 12)
    times = [at for _, at, _, _ in written]
    assert times[:4] == [10.0] * 4
    assert times[4:] == pytest.approx([10 + 0.25 * n for n in range(1, 9)], abs=0.01)
    assert exceeds([(at, 1) for at in times], Limits(4, None, 1.0))  # what strict is for


def test_a_bucket_counts_bytes_and_refills_no_further_than_full() -> None:
    bucket = Bucket(Limits(None, 100, 1.0, strict=False))
    bucket.take(0.0, 100)
    assert bucket.plan(0.0, [50]) == pytest.approx(0.5)
    assert bucket.plan(0.0, [50, 50]) == pytest.approx(1.0)
    assert bucket.plan(1000.0, [100]) == 1000.0
    assert bucket.plan(1000.0, [100, 1]) == pytest.approx(1000.01)


# In a client


def client_with(*plugins: object, url: str = "ws://test", **arguments: Any) -> Client:
    return Client(url, plugins=["-standard", *plugins], **arguments)


def now() -> float:
    return asyncio.get_running_loop().time()


class Arrivals:
    """What a server reads, and when."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.texts: list[Any] = []

    def watch(self, peer: MemoryPeer) -> None:
        def note(message: Message) -> None:
            self.times.append(now())
            self.texts.append(message.data)

        peer.on_message = note


@virtual
async def test_messages_leave_in_order_and_within_the_limit_and_a_lone_one_at_once() -> None:
    seen = Arrivals()
    async with MemoryDialer(seen.watch) as dialer, client_with(Ratelimit(messages=5, margin=0), dialer) as client:
        begin = now()
        await asyncio.gather(*(client.send(str(number)) for number in range(18)))
        assert seen.texts == [str(number) for number in range(18)]
        assert [round(at - begin, 3) for at in seen.times] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 3
        assert not exceeds([(at, 1) for at in seen.times], Limits(5, None, 1.0))
        await asyncio.sleep(60)
        begin = now()
        await client.send("lone")
        assert now() == begin


@virtual
async def test_bytes_are_those_of_utf8_and_what_can_never_be_sent_is_refused() -> None:
    seen = Arrivals()
    limit = Ratelimit(bytes=10, margin=0)
    async with MemoryDialer(seen.watch) as dialer, client_with(limit, dialer) as client:
        begin = now()
        await asyncio.gather(*(client.send(data) for data in ("äöü", b"1234", "€€", b"")))
        assert [round(at - begin, 3) for at in seen.times] == [0, 0, 1, 1]
        with pytest.raises(SendError, match="larger than the 10 bytes") as caught:
            await client.send("ä" * 6)
        assert caught.value.fault == "local"
        await asyncio.sleep(2)
        await client.send(b"x" * 10)


class Beats:
    """Sends messages of a plugin's own."""

    def __init__(self) -> None:
        self.session: Session | None = None

    @hookimpl
    async def establish(self, session: Session) -> None:
        self.session = session


@virtual
async def test_a_plugins_messages_go_before_those_of_users() -> None:
    seen, beats = Arrivals(), Beats()
    async with MemoryDialer(seen.watch) as dialer, client_with(beats, Ratelimit(messages=2), dialer) as client:
        sends = [asyncio.ensure_future(client.send(str(number))) for number in range(8)]
        await asyncio.sleep(0.5)
        assert beats.session is not None
        beats.session.send(Message.text("beat"))
        await asyncio.gather(*sends)
        assert seen.texts.index("beat") == 2  # before the one that was asked to wait
        assert [text for text in seen.texts if text != "beat"] == [str(number) for number in range(8)]


@pytest.mark.parametrize("control", [True, False])
def test_control_frames_count_when_asked(control: bool) -> None:
    @virtual
    async def ping() -> None:
        beats = Beats()
        limit = Ratelimit(messages=3, margin=0, control=control)
        async with MemoryDialer() as dialer, client_with(beats, limit, dialer) as client:
            peer = await dialer.accept()
            session = beats.session
            assert session is not None
            begin = now()
            for _ in range(3):
                await session.ping()
            await client.send("x")
            assert now() - begin == pytest.approx(1 if control else 0, abs=0.01)
            await peer.expect("x")
            assert peer.pings == 3

    ping()


@virtual
async def test_a_close_does_not_wait() -> None:
    async with MemoryDialer() as dialer:
        client = client_with(Ratelimit(messages=1, per=3600), dialer)
        await client.open()
        peer = await dialer.accept()
        await client.send("the only one")
        begin = now()
        await client.close()
        assert now() - begin < 1
        assert peer.closed is not None


@virtual
async def test_a_message_that_is_taken_back_takes_no_room() -> None:
    seen = Arrivals()
    async with MemoryDialer(seen.watch) as dialer, client_with(Ratelimit(messages=1, per=10), dialer) as client:
        await client.send("first")
        with pytest.raises(MessageExpired):
            await client.send("second", timeout=3)
        begin = now()
        await client.send("third")
        assert now() - begin == pytest.approx(7, abs=0.1)
        assert seen.texts == ["first", "third"]


@virtual
async def test_each_connection_has_its_own_budget_unless_a_key_is_shared() -> None:
    for key, expected in ((None, 0.0), ("account", 30.0)):
        async with MemoryDialer() as dialer:
            clients = [client_with(Ratelimit(messages=1, per=10, margin=0, key=key), dialer) for _ in range(4)]
            await asyncio.gather(*(client.open() for client in clients))
            begin = now()
            await asyncio.gather(*(client.send("x") for client in clients))
            assert now() - begin == pytest.approx(expected, abs=0.01)
            await asyncio.gather(*(client.close() for client in clients))


@virtual
async def test_clients_of_one_key_take_turns() -> None:
    order: list[str] = []

    def watch(peer: MemoryPeer) -> None:
        peer.on_message = lambda message: order.append(message.data)

    async with MemoryDialer(watch) as dialer:
        clients = [client_with(Ratelimit(messages=2, key="k"), dialer) for _ in range(3)]
        await asyncio.gather(*(client.open() for client in clients))
        many = [asyncio.ensure_future(clients[0].send(f"a{number}")) for number in range(20)]
        await asyncio.sleep(0.1)
        few = [asyncio.ensure_future(client.send(f"b{place}")) for place, client in enumerate(clients[1:])]
        await asyncio.gather(*few)
        assert order == ["a0", "a1", "a2", "b0", "b1"] or order == ["a0", "a1", "a2", "b0", "b1", "a3"]
        await asyncio.gather(*many)
        assert [text for text in order if text[0] == "a"] == [f"a{number}" for number in range(20)]
        await asyncio.gather(*(client.close() for client in clients))


@settings(max_examples=25, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0, 1.5]), st.integers(1, 40)),
        min_size=1,
        max_size=25,
    ),
    messages=st.integers(1, 4) | st.none(),
    size=st.integers(40, 90) | st.none(),
    per=st.sampled_from([0.1, 0.3, 1.0, 2.5]),
)
def test_clients_that_share_a_key_never_exceed_it_whatever_they_send(
    plan: list[tuple[int, float, int]], messages: int | None, size: int | None, per: float
) -> None:
    @virtual
    async def share() -> None:
        clients: list[Client] = []
        written: list[tuple[float, int]] = []
        got: dict[int, list[int]] = defaultdict(list)
        sent: dict[int, list[int]] = defaultdict(list)

        def watch(peer: MemoryPeer) -> None:
            def note(message: Message) -> None:
                written.append((now(), len(message.data)))
                got[peer.number - 1].append(int(message.data[:4]))

            peer.on_message = note

        async def send(who: int, number: int, wait: float, length: int) -> None:
            await asyncio.sleep(wait)
            sent[who].append(number)
            await clients[who].send(f"{number:04}".ljust(length, "x"))

        async with MemoryDialer(watch) as dialer:
            limit = {"messages": messages, "bytes": size, "per": per, "margin": 0.0, "key": "k"}
            clients[:] = [client_with("ratelimit", dialer, options={"ratelimit": limit}) for _ in range(3)]
            for client in clients:
                await client.open()
            await asyncio.gather(*(send(who, n, wait, length) for n, (who, wait, length) in enumerate(plan)))
            assert len(written) == len(plan)
            if messages is not None or size is not None:
                assert not exceeds(written, Limits(messages, size, per))
            assert got == sent
            await asyncio.gather(*(client.close() for client in clients))

    share()


@virtual
async def test_a_shared_budget_goes_with_its_last_client_and_not_before_its_window() -> None:
    async with MemoryDialer(lambda peer: None) as dialer:
        for pause, expected in ((0, 60.0), (61, 0.0)):
            async with client_with(Ratelimit(messages=1, per=60, margin=0, key="k"), dialer) as client:
                await client.send("x")
            del client
            gc.collect()
            await asyncio.sleep(pause)
            async with client_with(Ratelimit(messages=1, per=60, margin=0, key="k"), dialer) as client:
                begin = now()
                await client.send("y")
                assert now() - begin == pytest.approx(expected, abs=0.01)
            del client
            await asyncio.sleep(200)
            gc.collect()
            assert not list(libws_ratelimit._shared[asyncio.get_running_loop()])


@virtual
async def test_clients_of_one_key_must_have_the_same_limits() -> None:
    async with MemoryDialer() as dialer, client_with(Ratelimit(messages=1, key="k"), dialer):
        with pytest.raises(OptionError, match="different limits"):
            await client_with(Ratelimit(messages=2, key="k"), dialer).open()


@virtual
async def test_without_a_limit_nothing_is_in_the_way() -> None:
    async with MemoryDialer() as dialer, client_with(Ratelimit(), dialer) as client:
        begin = now()
        for _ in range(1000):
            await client.send("x")
        assert now() == begin


# Learning


def from_headers(headers: Headers) -> dict[str, Any] | None:
    if "X-RateLimit-Limit" not in headers:
        return None
    told: dict[str, Any] = {"messages": int(headers["X-RateLimit-Limit"])}
    if "X-RateLimit-Remaining" in headers:
        told["remaining"] = int(headers["X-RateLimit-Remaining"])
    if "X-RateLimit-Window" in headers:
        told["per"] = float(headers["X-RateLimit-Window"])
    return told


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, [0, 0, 1, 1, 2, 2]),
        ({"X-RateLimit-Limit": "3"}, [0, 0, 0, 1, 1, 1]),
        ({"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "1"}, [0, 1, 1, 1, 2, 2]),
        ({"X-RateLimit-Limit": "4", "X-RateLimit-Window": "5"}, [0, 0, 0, 0, 5, 5]),
        ({"X-RateLimit-Limit": "4", "X-RateLimit-Remaining": "0"}, [1, 1, 1, 1, 2, 2]),
    ],
)
def test_it_learns_from_the_servers_headers(headers: dict[str, str], expected: list[float], key: str | None) -> None:
    @virtual
    async def learn() -> None:
        seen = Arrivals()
        limit = Ratelimit(messages=2, margin=0, learn=from_headers, key=key)
        async with MemoryDialer(seen.watch, headers=headers) as dialer, client_with(limit, dialer) as client:
            begin = now()
            await asyncio.gather(*(client.send("x") for _ in range(6)))
            assert [round(at - begin, 2) for at in seen.times] == expected

    learn()


@pytest.mark.parametrize(
    ("told", "error"),
    [
        ([1], "not a mapping"),
        ({"messages": 0}, "gave 0"),
        ({"message": 1}, "none of messages"),
        ({"per": float("nan")}, "gave nan"),
        ({"bytes": "10"}, "gave str"),
        ({"remaining": True}, "gave bool"),
    ],
)
def test_what_cannot_be_learnt_from_is_told(told: Any, error: str) -> None:
    @virtual
    async def learn() -> None:
        async with MemoryDialer() as dialer:
            with pytest.raises(PluginFailed, match=error):
                await client_with(Ratelimit(learn=lambda headers: told), dialer).open()

    learn()


class Logins:
    """Sends more in establish than the budget has room for."""

    @hookimpl
    async def establish(self, session: Session) -> None:
        for number in range(3):
            await session.send(Message.text(str(number)))


@virtual
async def test_waiting_for_our_own_turn_is_no_fault_of_the_server() -> None:
    async with MemoryDialer() as dialer:
        client = client_with(Logins(), Ratelimit(messages=1, per=60), dialer, open_timeout=10)
        begin = now()
        async with client:
            assert now() - begin == pytest.approx(120, abs=0.1)


@virtual
async def test_a_log_in_that_can_never_be_sent_is_fatal() -> None:
    class Big:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await session.send(Message.text("x" * 100))

    async with MemoryDialer() as dialer:
        with pytest.raises(SendError, match="larger than"):
            await Client("ws://test", plugins=[Big(), Ratelimit(bytes=50), dialer, "-websockets"]).open()
        assert dialer.count == 1


# On real sockets


@pytest.mark.parametrize("control", [True, False])
async def test_a_server_that_counts_sees_no_window_with_more(dialer: Any, control: bool) -> None:
    per, limit, count = 0.3, 10, 60
    times: list[float] = []
    texts: list[str] = []
    beats, everything = Beats(), asyncio.Event()

    async def read(peer: Any) -> None:
        async for message in peer:
            times.append(now())
            texts.append(message.data)
            if len(times) == count:
                everything.set()

    async with leaks(), Server(read) as server:
        options = Ratelimit(messages=limit, per=per, control=control)
        async with client_with(beats, options, dialer(), url=server.url) as client:
            begin = now()
            sends = [asyncio.ensure_future(client.send(str(number))) for number in range(count)]
            if not control:
                await asyncio.sleep(per / 2)
                session = beats.session
                assert session is not None
                assert await session.ping(timeout=10) >= 0
            await asyncio.gather(*sends)
            async with asyncio.timeout(20):
                await everything.wait()
            assert now() - begin >= per * (count / limit - 1)
    assert texts == [str(number) for number in range(count)]
    # A busy machine brings things late, so the server's windows are a little shorter than ours.
    for first in range(count - limit):
        assert times[first + limit] - times[first] > per * 0.8


async def test_a_shared_budget_on_real_sockets(dialer: Any) -> None:
    times: list[float] = []
    everything = asyncio.Event()

    async def read(peer: Any) -> None:
        async for _ in peer:
            times.append(now())
            if len(times) == 24:
                everything.set()

    async with leaks(), Server(read) as server:
        clients = [
            client_with(Ratelimit(messages=6, per=0.3, key="account"), dialer(), url=server.url) for _ in range(3)
        ]
        await asyncio.gather(*(client.open() for client in clients))
        await asyncio.gather(*(client.send("x") for client in clients for _ in range(8)))
        async with asyncio.timeout(20):
            await everything.wait()
        await asyncio.gather(*(client.close() for client in clients))
    times.sort()
    for first in range(24 - 6):
        assert times[first + 6] - times[first] > 0.24


# Options


@pytest.mark.parametrize(
    "options",
    [{"messages": 0}, {"per": 0}, {"bytes": 0}, {"strict": "perhaps"}, {"key": 7}, {"margin": -1}, {"learn": "x"}],
)
def test_bad_options_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        Client("ws://test", plugins=["ratelimit"], options={"ratelimit": options})


def test_it_stands_at_the_wire_behind_codec() -> None:
    class Codec:
        @hookimpl(trylast=True)
        def outgoing(self, session: Session) -> None: ...

    class Other:
        @hookimpl
        def outgoing(self, session: Session) -> None: ...

    client = Client("ws://test", plugins=[Codec(), "ratelimit", Other()])
    *others, codec, last = client.explain()["hooks"]["outgoing"]
    assert last == "ratelimit"
    assert len(others) == 1
    assert codec != others[0]
    assert Ratelimit.behind == ("codec",)
