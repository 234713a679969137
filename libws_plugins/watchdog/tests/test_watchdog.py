"""Which silence ends a connection, after how long, and which is nobody's fault."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from libws_core import (
    Client,
    Disconnected,
    IdleTimeout,
    KeepAliveTimeout,
    Kind,
    LibwsError,
    OptionError,
    PluginFailed,
    Session,
    Verdict,
    clock,
    hookimpl,
)
from libws_core.testing import MemoryDialer, VirtualLoop, leaks, virtual
from libws_watchdog import Watchdog
from libws_watchdog.clocks import MAX_TOPICS, PROBE


def client_with(*plugins: object, **arguments: Any) -> Client:
    return Client("ws://test", plugins=["-standard", *plugins], **arguments)


def now() -> float:
    return asyncio.get_running_loop().time()


async def ended(client: Client, since: float) -> tuple[LibwsError, float]:
    """Wait until the connection has ended; gives why, and the seconds that it took."""
    with pytest.raises(LibwsError) as caught:
        await client.wait_closed()
    return caught.value, now() - since


def pass_time(seconds: float) -> None:
    """Let time pass within one callback, as a program does that blocks its loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    loop._now += seconds


@pytest.fixture
def host() -> Iterator[Callable[[float], None]]:
    """Let the host sleep: wall time moves on, and the loop's time does not."""
    before = clock.source

    def sleep(seconds: float) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop._start += seconds

    yield sleep
    clock.source = before


# The link


@pytest.mark.parametrize("link", [0.3, 2, 30, 3600])
@pytest.mark.parametrize("after", [0.0, 0.1, 0.97])
def test_a_silent_line_ends_when_the_link_clock_has_run_out(link: float, after: float) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Watchdog(link=link), dialer)
            lost: list[Disconnected] = []
            client.on(Disconnected, lost.append)
            await client.open()
            peer = await dialer.accept()
            since = now()
            if after:
                await asyncio.sleep(after * link)
                peer.send("the last that it says")
                await client.recv()
                since = now()
            error, took = await ended(client, since)
            assert isinstance(error, IdleTimeout)
            assert took == pytest.approx(link, abs=0.1)
            said = re.fullmatch(r"the link clock ran out: no byte for (.+) s", str(error))
            assert said is not None
            assert float(said[1]) == pytest.approx(took, abs=0.01, rel=0.01)
            assert (error.verdict, error.code, error.phase) == (Verdict.RETRY, 1006, "ready")
            assert lost[0].error is error
            assert peer.pings == 0

    body()


@virtual
async def test_any_byte_sets_the_link_clock_back() -> None:
    async with MemoryDialer() as dialer, client_with(Watchdog(link=10), dialer) as client:
        peer = await dialer.accept()
        for say in (lambda: peer.send("text"), lambda: peer.ping(b"1"), lambda: peer.pong(b"2")) * 20:
            await asyncio.sleep(9)
            say()
        await asyncio.sleep(9)
        peer.connection.received = now()  # bytes of a message that is not complete
        await asyncio.sleep(9)
        assert client.state == "ready"


# The data


@virtual
async def test_pings_and_pongs_do_not_set_the_data_clock_back_and_messages_do() -> None:
    async with MemoryDialer() as dialer:
        client = client_with(Watchdog(link=10, data=60), dialer)
        await client.open()
        peer = await dialer.accept()
        since = now()
        for number in range(30):
            await asyncio.sleep(9)
            peer.ping()
            if number % 5 == 0:
                peer.send(b"data")
                since = now()
        assert client.state == "ready"

        async def beat() -> None:
            while True:
                await asyncio.sleep(5)
                peer.pong()

        beating = asyncio.create_task(beat())
        error, took = await ended(client, since)
        beating.cancel()
        assert isinstance(error, IdleTimeout)
        assert str(error) == "the data clock ran out: no application message for 60 s"
        assert took == pytest.approx(60, abs=0.1)


@virtual
async def test_messages_that_a_plugin_takes_out_are_no_application_messages() -> None:
    class Beats:
        @hookimpl
        def incoming(self, session: Session) -> Any:
            return lambda message: None if message.data == "beat" else message

    async with MemoryDialer() as dialer:
        client = client_with(Beats(), Watchdog(link=10, data=30), dialer)
        await client.open()
        peer = await dialer.accept()
        since = now()

        async def beat() -> None:
            while True:
                await asyncio.sleep(5)
                peer.send("beat")

        beating = asyncio.create_task(beat())
        error, took = await ended(client, since)
        beating.cancel()
        assert "the data clock" in str(error)
        assert took == pytest.approx(30, abs=0.1)


# The topics


def about(topic: Any) -> dict[str, Any]:
    return {"data": {"s": topic}}


@pytest.mark.parametrize("key", ["data.s", lambda message: message.json.get("data", {}).get("s")])
def test_a_silent_topic_ends_the_connection_while_others_talk(key: Any) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Watchdog(topics={"btc": 5, "eth": 20, "7": 30}, key=key), dialer)
            await client.open()
            peer = await dialer.accept()
            for _ in range(20):  # each within its time
                peer.send(about("btc"))
                await asyncio.sleep(2)
                peer.send({"op": "of no topic"})
                peer.send(about("eth"))
                peer.send(about(7))
                await asyncio.sleep(2)
            since = now() - 2

            async def talk() -> None:
                while True:
                    peer.send(about("btc"))
                    peer.send(about(7))
                    await asyncio.sleep(3)

            talking = asyncio.create_task(talk())
            error, took = await ended(client, since)
            talking.cancel()
            assert str(error) == "the topic clock ran out: no message of 'eth' for 20 s"
            assert took == pytest.approx(20, abs=0.1)

    body()


@virtual
async def test_a_named_topic_that_never_comes_runs_out_from_ready_on() -> None:
    class Slow:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(8)

    async with MemoryDialer(lambda peer: peer.send(about("btc")) and None) as dialer:
        client = client_with(Slow(), Watchdog(topics={"btc": 10}, key="data.s"), dialer)
        await client.open()
        error, took = await ended(client, now())
        assert "'btc' for 10 s" in str(error)
        assert took == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize(("talks", "silent"), ["ab", "ba"])
def test_a_star_watches_every_other_topic_once_it_was_heard_and_none_exempts(talks: str, silent: str) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            watchdog = Watchdog(topics={"*": 10, "slow": 100, "rare": None}, key="data.s")
            client = client_with(watchdog, dialer)
            await client.open()
            peer = await dialer.accept()
            peer.send(about("rare"))
            for _ in range(8):
                peer.send(about("a"))
                await asyncio.sleep(4)
                peer.send(about("b"))
                await asyncio.sleep(4)
            assert client.state == "ready"
            since = now() - (8 if silent == "a" else 4)

            async def talk() -> None:
                while True:
                    peer.send(about(talks))
                    await asyncio.sleep(4)

            talking = asyncio.create_task(talk())
            error, took = await ended(client, since)
            talking.cancel()
            assert str(error) == f"the topic clock ran out: no message of '{silent}' for 10 s"
            assert took == pytest.approx(10, abs=0.1)

    body()


@virtual
async def test_topics_are_bounded_and_shortened(caplog: pytest.LogCaptureFixture) -> None:
    async with MemoryDialer() as dialer:
        client = client_with(Watchdog(topics={"*": 100}, key=lambda message: message.data), dialer)
        client.on_message(lambda message: None)
        await client.open()
        peer = await dialer.accept()
        for number in range(MAX_TOPICS + 10):
            peer.send(f"{number} {'x' * 1000}")
        since = now()
        error, took = await ended(client, since)
        assert took == pytest.approx(100, abs=0.1)
        assert "no message of '0 xxx" in str(error)
        assert len(str(error)) < 150
        assert caplog.text.count("the newer ones are not watched") == 1


# Nobody's fault


@pytest.mark.parametrize(
    "watchdog",
    [Watchdog(link=30), Watchdog(data=30), Watchdog(topics={"x": 30}, key="s"), Watchdog(topics={"*": 30}, key="s")],
)
def test_all_clocks_stand_still_while_we_do_not_read(watchdog: Watchdog) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(watchdog, dialer, inbox_messages=10)
            await client.open()
            peer = await dialer.accept()
            for _ in range(10):
                peer.send({"s": "x"})
            await asyncio.sleep(20)
            assert peer.paused
            await asyncio.sleep(36000)
            assert client.state == "ready"
            for _ in range(10):
                await client.recv()
            await asyncio.sleep(5)
            peer.send({"s": "x"})
            await client.recv()
            begin = now()
            error, took = await ended(client, begin)
            assert isinstance(error, IdleTimeout)
            assert took == pytest.approx(30, abs=0.2)

    body()


@virtual
async def test_a_slow_log_in_does_not_count() -> None:
    class Slow:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(9)

    async with MemoryDialer() as dialer:
        client = client_with(Slow(), Watchdog(link=10, data=20), dialer)
        await client.open()
        error, took = await ended(client, now())
        assert "the link clock" in str(error)
        assert took == pytest.approx(10, abs=0.1)


@virtual
async def test_each_connection_has_clocks_of_its_own() -> None:
    class Again:
        @hookimpl
        def reconnect(self, failure: Any) -> float:
            return 100.0

    async with MemoryDialer() as dialer:
        client = client_with(Again(), Watchdog(data=30, topics={"*": 50}, key="s"), dialer)
        lost: list[Disconnected] = []
        client.on(Disconnected, lost.append)
        async with client:
            for _ in range(3):
                peer = await dialer.accept()
                peer.send({"s": "x"})
                await peer.wait_gone()
        assert [event.uptime for event in lost[:3]] == [pytest.approx(30, abs=0.1)] * 3


@pytest.mark.parametrize(
    "watchdog", [Watchdog(link=30), Watchdog(data=30), Watchdog(topics={"x": 30}, key="s"), Watchdog()]
)
@pytest.mark.parametrize("seconds", [6, 29, 40, 100_000])
@pytest.mark.parametrize("asleep", [False, True])
def test_when_our_side_was_away_the_peer_is_asked_and_not_blamed(
    watchdog: Watchdog, seconds: float, asleep: bool, host: Callable[[float], None]
) -> None:
    @virtual
    async def body() -> None:
        away = host if asleep else pass_time
        async with MemoryDialer(latency=0.1) as dialer:
            client = client_with(watchdog, dialer)
            await client.open()
            peer = await dialer.accept()
            await asyncio.sleep(20)
            begin = now()
            away(seconds)
            await peer.expect(Kind.PING)
            assert now() - begin - (0 if asleep else seconds) <= 5.2
            await asyncio.sleep(25)
            assert client.state == "ready"
            assert peer.pings == 1
            if watchdog.link or watchdog.data or watchdog.topics:
                error, took = await ended(client, begin)
                assert isinstance(error, IdleTimeout)
                assert took - (0 if asleep else seconds) <= 30 + 5 + 0.3  # anew from the answer on
                assert "for 30 s" in str(error)
            else:
                await client.close()

    body()


@pytest.mark.parametrize("asleep", [False, True])
@pytest.mark.parametrize("options", [{}, {"link": 30}, {"data": 3600}])
def test_a_peer_that_went_away_meanwhile_is_noticed_soon(
    asleep: bool, options: dict[str, Any], host: Callable[[float], None]
) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Watchdog(**options), dialer)
            await client.open()
            peer = await dialer.accept()
            await asyncio.sleep(1)
            peer.silence()
            begin = now()
            (host if asleep else pass_time)(3600)
            error, took = await ended(client, begin)
            assert isinstance(error, KeepAliveTimeout)
            assert took - (0 if asleep else 3600) <= 5 + PROBE + 0.1
            what = "the host has slept for 3600 s" if asleep else "our own loop has stood still for 3"
            assert f"no pong within {PROBE:g} s, asked because {what}" in str(error)

    body()


@pytest.mark.parametrize("asleep", [False, True])
def test_away_again_while_the_peer_is_asked(asleep: bool, host: Callable[[float], None]) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Watchdog(link=30), dialer)
            await client.open()
            peer = await dialer.accept()
            peer.answer_pings = False
            pass_time(10)
            await peer.expect(Kind.PING)
            await asyncio.sleep(1)
            peer.answer_pings = True
            (host if asleep else pass_time)(100)
            await peer.expect(Kind.PING)
            await asyncio.sleep(20)
            assert client.state == "ready"
            assert peer.pings == 2
            await client.close()

    body()


@virtual
async def test_any_byte_behind_the_question_is_an_answer() -> None:
    async with MemoryDialer() as dialer, client_with(Watchdog(link=30), dialer) as client:
        peer = await dialer.accept()
        peer.silence()
        pass_time(100)
        await peer.expect(Kind.PING)
        await asyncio.sleep(1)
        peer.send("no pongs here")
        await asyncio.sleep(20)
        assert client.state == "ready"


@pytest.mark.parametrize("asleep", [False, True])
def test_without_wake_the_clocks_begin_anew_and_nobody_is_asked(asleep: bool, host: Callable[[float], None]) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client = client_with(Watchdog(link=30, wake=False), dialer)
            await client.open()
            peer = await dialer.accept()
            await asyncio.sleep(20)
            (host if asleep else pass_time)(3600)
            begin = now()
            error, took = await ended(client, begin)
            assert isinstance(error, IdleTimeout)
            assert 29.9 <= took <= 35.1
            assert peer.pings == 0

    body()


@virtual
async def test_clocks_that_are_corrected_and_loops_that_are_a_little_late_wake_nobody(
    host: Callable[[float], None],
) -> None:
    async with MemoryDialer() as dialer, client_with(Watchdog(data=3600), dialer) as client:
        peer = await dialer.accept()
        for _ in range(100):
            host(1.5)
            await asyncio.sleep(7)
            host(-1.5)
            await asyncio.sleep(7)
            pass_time(0.9)
            await asyncio.sleep(7)
        host(-7200)
        await asyncio.sleep(7)
        assert client.state == "ready"
        assert peer.pings == 0


# Options


@virtual
async def test_limits_may_be_functions_of_the_session() -> None:
    for option in ("link", "data"):
        async with MemoryDialer() as dialer:
            limits: dict[str, Any] = {option: lambda session: float(session.request.url.rpartition("=")[2])}
            client = Client("ws://test/?limit=7", plugins=["-standard", Watchdog(**limits), dialer])
            await client.open()
            error, took = await ended(client, now())
            assert f"the {option} clock" in str(error)
            assert took == pytest.approx(7, abs=0.1)


@virtual
async def test_a_function_that_gives_none_sets_no_limit() -> None:
    async with MemoryDialer() as dialer, client_with(Watchdog(link=lambda: None, data=lambda: None), dialer) as client:
        await asyncio.sleep(100_000)
        assert client.state == "ready"


@pytest.mark.parametrize("option", ["link", "data"])
@pytest.mark.parametrize("given", [0, -1, "20", True, float("nan"), float("inf")])
def test_a_function_that_gives_no_seconds_fails_the_connection_by_name(option: str, given: Any) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            limits: dict[str, Any] = {option: lambda: given}
            client = client_with(Watchdog(**limits), dialer)
            await client.open()
            with pytest.raises(PluginFailed, match=f"'watchdog' failed in keep_alive: ValueError: {option} gave"):
                await client.wait_closed()

    body()


@virtual
async def test_where_nothing_is_to_be_watched_nothing_runs_and_no_message_is_looked_at() -> None:
    async with MemoryDialer() as dialer:
        client = client_with(Watchdog(wake=False), dialer)
        async with client:
            (session,) = client._supervisor.sessions
            assert not session.tasks
            watchdog = client.plugin(Watchdog)
            assert watchdog.incoming(session) is None


@virtual
async def test_nothing_is_left_when_the_connection_ends_while_the_peer_is_asked() -> None:
    async with leaks(), MemoryDialer() as dialer:
        client = client_with(Watchdog(link=5), dialer)
        await client.open()
        peer = await dialer.accept()
        peer.silence()
        pass_time(10)
        await peer.expect(Kind.PING)
        peer.drop()
        with pytest.raises(LibwsError, match="ended"):
            await client.wait_closed()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"link": 0}, "option 'link'"),
        ({"data": -1}, "option 'data'"),
        ({"link": "soon"}, "option 'link'"),
        ({"topics": {"btc": 5}}, "option 'topics' needs 'key'"),
        ({"topics": {"btc": 0}, "key": "s"}, "option 'topics'"),
        ({"topics": {"btc": 5}, "key": "a..b"}, "option 'key': .* is not a path"),
        ({"wake": "no"}, "option 'wake'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Client("ws://test", plugins=["-standard", "watchdog", MemoryDialer()], options={"watchdog": options})
