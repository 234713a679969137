"""When a connection is replaced, and what becomes of it when that fails."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ConnectError,
    Disconnected,
    Event,
    Gap,
    OptionError,
    PluginFailed,
    Reopened,
    Request,
    Session,
    clock,
    hookimpl,
)
from libws_core.testing import START, MemoryDialer, VirtualLoop, by_hand, leaks, virtual
from libws_reopen import LONGEST_RETRY, Reopen
from libws_reopen.schedule import next_time, times_of_day

HOUR = 3600.0
DAY = 24 * HOUR
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


def client_with(*plugins: object, **arguments: Any) -> tuple[Client, list[Any]]:
    client = Client("ws://test", plugins=["-standard", *plugins], **arguments)
    events: list[Any] = []
    client.on(Event, events.append)
    return client, events


def now() -> float:
    return asyncio.get_running_loop().time()


def moved(events: list[Any]) -> list[float]:
    """When moves were done, in wall time since the beginning of the virtual clock."""
    return [event.wall - START for event in events if isinstance(event, Reopened)]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Set the host's time zone."""

    def set_to(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_to
    monkeypatch.undo()
    time.tzset()


# When


@virtual
async def test_every_connection_is_replaced_at_its_age() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=23 * HOUR, overlap=0), dialer)
        async with client:
            await asyncio.sleep(100 * HOUR)
            assert dialer.count == 5
            assert len(dialer.peers) == 1
        assert moved(events) == [pytest.approx(n * 23 * HOUR, abs=0.1) for n in (1, 2, 3, 4)]
        assert [event.generation for event in events if isinstance(event, Reopened)] == [2, 3, 4, 5]
        assert not any(isinstance(event, (Gap, AttemptFailed)) for event in events)


@virtual
async def test_the_age_counts_from_ready_of_each_connection_also_after_a_loss() -> None:
    class Again:
        @hookimpl
        def reconnect(self, failure: Any) -> float:
            return 7.0

        @hookimpl
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(5)

    async with MemoryDialer() as dialer:
        client, events = client_with(Again(), Reopen(every=HOUR, overlap=0), dialer)
        async with client:
            await asyncio.sleep(HOUR / 2)
            dialer.peers[0].drop()
            await asyncio.sleep(2 * HOUR)
        assert moved(events) == [pytest.approx(5 + HOUR / 2 + 7 + 5 + HOUR + 5, abs=0.1)]


@virtual
async def test_it_moves_at_once_when_the_server_asks() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(when={"op": "leave"}, every=HOUR, overlap=0), dialer)
        async with client:
            await asyncio.sleep(10)
            dialer.peers[0].send({"op": "leave"})
            dialer.peers[0].send("the last")
            await asyncio.sleep(1)
            assert moved(events) == [pytest.approx(10, abs=0.1)]
            assert (await client.recv()).data == "the last"  # and what asked is not the user's
            await asyncio.sleep(HOUR)
            assert dialer.count == 3  # the age of the new connection counts on
        assert not any(isinstance(event, (Gap, AttemptFailed)) for event in events)


@virtual
async def test_what_the_server_asks_before_ready_is_done_when_ready() -> None:
    class Slow:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await asyncio.sleep(5 if session.request.attempt.number == 1 else 0)

    async with MemoryDialer() as dialer:
        client, events = client_with(Slow(), Reopen(when="leave", overlap=0), dialer)
        opening = asyncio.create_task(client.open())
        (await dialer.accept()).send("leave")
        await opening
        await dialer.reached(2)
        await asyncio.sleep(1)
        assert moved(events) == [pytest.approx(5, abs=0.1)]
        await client.close()


@virtual
async def test_a_move_that_the_server_asked_for_is_tried_again() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(when="leave", overlap=0), dialer)
        async with client:
            dialer.refuse(503, times=2)
            dialer.peers[0].send("leave")
            await asyncio.sleep(60)
            assert len(moved(events)) == 1
            assert sum(isinstance(event, AttemptFailed) for event in events) == 2


@virtual
async def test_a_host_that_sleeps_grows_older() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=10 * HOUR, overlap=0), dialer)
        async with client:
            await asyncio.sleep(HOUR)
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            loop._start += 9 * HOUR - 30  # wall time moves on, the loop's does not
            await asyncio.sleep(31)
            assert len(moved(events)) == 1
            loop._start -= 100 * HOUR  # set back: the loop's time counts
            await asyncio.sleep(10 * HOUR - 1)
            assert len(moved(events)) == 1
            await asyncio.sleep(2)
            assert len(moved(events)) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"every": lambda session: session.request.extra["ttl"] - 60}, 540),
        ({"at": lambda session: session.request.extra["at"]}, 600),
        ({"every": lambda: None, "at": lambda: ["00:10Z"]}, 600),
    ],
)
def test_every_and_at_may_be_functions_of_the_session(options: dict[str, Any], expected: float) -> None:
    class Says:
        @hookimpl
        def resolve(self, request: Request) -> Request:
            return replace(request, extra={"ttl": 600, "at": "00:10Z"})

    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client, events = client_with(Says(), Reopen(**options, overlap=0), dialer)
            async with client:
                await asyncio.sleep(700)
            assert moved(events) == [pytest.approx(expected, abs=0.1)]

    body()


@virtual
async def test_functions_that_give_none_mean_never() -> None:
    async with MemoryDialer() as dialer:
        client, _ = client_with(Reopen(every=lambda: None, at=lambda: None), dialer)
        async with client:
            await asyncio.sleep(5 * DAY)
            assert dialer.count == 1


def test_a_time_of_day_is_the_hosts_local_time(zone: Any) -> None:
    zone(NEW_YORK)  # 5 hours behind UTC in winter

    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client, events = client_with(Reopen(at=["03:30", "22:00:30"], overlap=0), dialer)
            async with client:
                await asyncio.sleep(2 * DAY)
            # The clock begins at 19:00 of New York.
            expected = [3 * HOUR + 30, 8.5 * HOUR, DAY + 3 * HOUR + 30, DAY + 8.5 * HOUR]
            assert moved(events) == [pytest.approx(each, abs=0.1) for each in expected]

    body()


def test_a_time_may_say_its_own_zone(zone: Any) -> None:
    zone(NEW_YORK)

    @virtual
    async def body() -> None:
        for at in ("03:30Z", "05:30+02:00", datetime.time(3, 30, tzinfo=datetime.UTC)):
            async with MemoryDialer() as dialer:
                client, events = client_with(Reopen(at=at, overlap=0), dialer)
                async with client:
                    begin = clock.wall() - START
                    await asyncio.sleep(DAY)
                (when,) = moved(events)
                assert when % DAY == pytest.approx(3.5 * HOUR, abs=0.1)
                assert when > begin

    body()


@pytest.mark.parametrize(
    ("day", "at", "utc"),
    [
        ("2026-03-07", "02:30", "2026-03-07T07:30"),
        ("2026-03-08", "02:30", "2026-03-08T07:30"),  # left out that day: an hour later on the clock, 03:30
        ("2026-03-08", "03:00", "2026-03-08T07:00"),
        ("2026-11-01", "01:30", "2026-11-01T05:30"),  # there twice: the first time
        ("2026-11-01", "03:00", "2026-11-01T08:00"),
    ],
)
def test_days_on_which_the_clocks_change(zone: Any, day: str, at: str, utc: str) -> None:
    zone(NEW_YORK)
    midnight = datetime.datetime.fromisoformat(f"{day}T00:00").timestamp()
    expected = datetime.datetime.fromisoformat(f"{utc}+00:00").timestamp()
    (time_of_day,) = times_of_day(at)
    assert next_time((time_of_day,), midnight) == expected
    following = next_time((time_of_day,), expected)
    assert following is not None
    assert following - expected > 22 * HOUR  # once a day


@virtual
async def test_jitter_comes_earlier_than_every_and_differs() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=10 * HOUR, jitter=HOUR, overlap=0), dialer)
        async with client:
            await asyncio.sleep(100 * HOUR)
        times = [0.0, *moved(events)]
        ages = [later - earlier for earlier, later in itertools.pairwise(times)]
        assert all(9 * HOUR - 1 <= age <= 10 * HOUR + 1 for age in ages)
        assert max(ages) - min(ages) > HOUR / 10


@virtual
async def test_jitter_comes_later_than_at_and_differs() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(at="03:00Z", jitter=HOUR, overlap=0), dialer)
        async with client:
            await asyncio.sleep(6 * DAY)
        hours = [when % DAY / HOUR for when in moved(events)]
        assert len(hours) == 6
        assert all(3 <= hour <= 4.01 for hour in hours)
        assert max(hours) - min(hours) > 0.1


# How


@virtual
async def test_order_overlap_and_settle_reach_the_move() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=100, overlap=7, settle=3), dialer)
        async with client:
            await asyncio.sleep(105)
            assert len(dialer.peers) == 2
            await asyncio.sleep(20)
            assert len(dialer.peers) == 1
        assert [event.overlap for event in events if isinstance(event, Reopened)] == [10]
    alone: list[int] = []
    async with MemoryDialer(lambda peer: alone.append(len(dialer.peers))) as dialer:
        client, events = client_with(Reopen(every=100, order="break-first"), dialer)
        async with client:
            await asyncio.sleep(350)
        assert alone == [1, 1, 1, 1]
        assert [event.overlap for event in events if isinstance(event, Reopened)] == [0, 0, 0]


@virtual
async def test_a_move_of_another_plugin_begins_the_age_anew() -> None:
    class Demands:
        @hookimpl
        async def keep_alive(self, session: Session) -> None:
            if session.request.attempt.generation == 1:
                await asyncio.sleep(95)
                session.reopen("the server asks for it", overlap=10)

    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=100, overlap=0), Demands(), dialer)
        async with client:
            await asyncio.sleep(204)
            assert moved(events) == [pytest.approx(105, abs=0.1), pytest.approx(195, abs=0.1)]
            assert dialer.count == 3


# When it fails


@virtual
async def test_the_old_one_stays_and_the_move_is_tried_again_after_growing_delays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=HOUR, overlap=0), dialer)
        async with client:
            peer = await dialer.accept()
            dialer.refuse(503, times=12)
            await asyncio.sleep(HOUR + 1)
            assert dialer.count == 2
            peer.send("still here")
            assert (await client.recv()).data == "still here"
            await asyncio.sleep(1.5 * HOUR)
            assert len(moved(events)) == 1
        tries = [dial.time for dial in dialer.dials][1:14]
        waits = [later - earlier for earlier, later in itertools.pairwise(tries)]
        assert len(waits) == 12
        for place, wait in enumerate(waits):
            longest = min(5.0 * 2**place, LONGEST_RETRY)
            assert longest / 2 - 0.1 <= wait <= longest + 0.1
        failed = [event for event in events if isinstance(event, AttemptFailed)]
        assert len(failed) == 12
        assert {event.error.status for event in failed} == {503}
        assert len([event for event in events if isinstance(event, Disconnected)]) == 1  # our own close
        assert caplog.text.count("the move to a new connection failed, the old one stays") == 12


@virtual
async def test_a_retry_after_is_waited_for_within_reason() -> None:
    for asked, expected in ((120, 120), (100_000, LONGEST_RETRY)):
        async with MemoryDialer() as dialer:
            client, _ = client_with(Reopen(every=HOUR, overlap=0), dialer)
            async with client:
                dialer.refuse(429, {"Retry-After": str(asked)})
                await asyncio.sleep(2 * HOUR)
            assert dialer.dials[2].time - dialer.dials[1].time == pytest.approx(expected, abs=0.1)


@virtual
async def test_a_fatal_refusal_of_the_new_one_does_not_end_the_old_one() -> None:
    async with MemoryDialer() as dialer:
        client, events = client_with(Reopen(every=HOUR, overlap=0), dialer)
        async with client:
            dialer.refuse(403, times=3)
            await asyncio.sleep(2 * HOUR - 60)
            assert client.state == "ready"
            assert len(moved(events)) == 1


@virtual
async def test_a_new_one_that_is_lost_while_it_settles_is_tried_again() -> None:
    async with MemoryDialer(by_hand(), lambda peer: peer.send("hello") and None) as dialer:
        client, events = client_with(Reopen(every=HOUR, settle=60), dialer)
        async with client:
            await asyncio.sleep(HOUR + 1)
            dialer.peers[1].drop()
            await asyncio.sleep(100)
            assert dialer.count == 3
            assert len(moved(events)) == 1
        assert [type(event).__name__ for event in events if isinstance(event, (Disconnected, Reopened, Gap))] == [
            "Disconnected", "Gap", "Gap", "Reopened", "Disconnected",
        ]  # fmt: skip


@virtual
async def test_a_break_first_move_that_fails_is_the_reconnect_policys_business() -> None:
    class Again:
        @hookimpl
        def reconnect(self, failure: Any) -> float:
            return 3.0

    async with MemoryDialer() as dialer:
        client, events = client_with(Again(), Reopen(every=100, order="break-first"), dialer)
        async with client:
            dialer.refuse(ConnectError("not now"), times=2)
            await asyncio.sleep(107)
            assert client.state == "ready"
            assert dialer.count == 4
            await asyncio.sleep(100)
            assert len(moved(events)) == 1
            assert dialer.count == 5


@virtual
async def test_closing_in_a_move_or_between_two_tries_leaves_nothing() -> None:
    for after in (100, 100.5, 103):
        async with leaks(), MemoryDialer(latency=0.5) as dialer:
            client, _ = client_with(Reopen(every=100, overlap=5), dialer)
            await client.open()
            dialer.refuse(503)
            await asyncio.sleep(after)
            begin = now()
            await client.close()
            assert now() - begin <= 1.1


# Options


@virtual
async def test_where_nothing_is_to_be_done_nothing_runs() -> None:
    async with MemoryDialer() as dialer:
        client, _ = client_with(Reopen(), dialer)
        async with client:
            (session,) = client._supervisor.sessions
            assert not session.tasks


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": lambda: 0}, "every gave 0, not seconds"),
        ({"every": lambda: "soon"}, "every gave 'soon', not seconds"),
        ({"at": lambda: "noon"}, "'noon' is not a time of day such as '03:30'"),
        ({"at": lambda: 7}, "7 is not a time of day such as '03:30'"),
    ],
)
def test_a_function_that_gives_what_makes_no_sense_fails_the_connection_by_name(
    options: dict[str, Any], said: str
) -> None:
    @virtual
    async def body() -> None:
        async with MemoryDialer() as dialer:
            client, _ = client_with(Reopen(**options), dialer)
            await client.open()
            with pytest.raises(PluginFailed, match=f"'reopen' failed in keep_alive: ValueError: {said}"):
                await client.wait_closed()

    body()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"every": 0}, "option 'every'"),
        ({"every": "soon"}, "option 'every'"),
        ({"at": "25:00"}, "option 'at': '25:00' is not a time of day such as '03:30'"),
        ({"at": ["03:30", "noon"]}, "option 'at': 'noon' is not"),
        ({"at": 7}, "option 'at'"),
        ({"order": "both"}, "option 'order'"),
        ({"overlap": -1}, "option 'overlap'"),
        ({"settle": -1}, "option 'settle'"),
        ({"every": 60, "jitter": 60}, "option 'jitter': expected less than 'every', which is 60 s"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Client("ws://test", plugins=["-standard", "reopen", MemoryDialer()], options={"reopen": options})


def test_a_profile_may_say_a_time_of_toml(tmp_path: Path) -> None:
    profile = tmp_path / "client.toml"
    profile.write_text(
        '[client]\nurl = "ws://test"\nplugins = ["reopen"]\n[client.options.reopen]\nat = [03:30:00, "15:00"]\n'
    )
    reopen = Client.from_profile(profile).plugin(Reopen)
    assert reopen._times == (datetime.time(3, 30), datetime.time(15))
