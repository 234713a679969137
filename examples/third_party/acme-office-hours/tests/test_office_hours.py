"""When it comes back: within the day, over a night, a weekend and a change of clocks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pytest

from acme_office_hours import LONGEST, OfficeHours
from acme_office_hours.hours import Hours
from libws_core import Client, ConnectError, Failure, HandshakeRejected, OptionError, Reconnected, Request, Retrying
from libws_core.testing import MemoryDialer, ReconnectContract, VirtualLoop, refuse

HOUR = 3600.0
WEEKDAYS = range(5)


class TestOfficeHours(ReconnectContract):
    """While the office is open: the kit's clock begins on a Thursday."""

    plugin = OfficeHours
    name = "office-hours"
    options: ClassVar = {"zone": "Europe/Berlin", "opens": "00:00", "closes": "00:00"}
    bad_options: ClassVar = {
        "zone": ["Europe/Atlantis", "", "../../etc/passwd", "/etc/localtime"],
        "days": [[], ["monday"], "mon"],
        "opens": ["9", "25:00", "noon", "09:00+01:00"],
        "closes": ["soon", "17:00Z"],
        "jitter": [-1, 8 * 86400],
        "base": [0, -1],
        "cap": [0],
    }


def at(text: str, zone: str = "UTC") -> float:
    """Seconds since the epoch of a local time."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def local(moment: float, zone: str) -> str:
    return datetime.fromtimestamp(moment, ZoneInfo(zone)).isoformat(sep=" ", timespec="seconds")


def returns(begin: str, zone: str, lasting: float, *steps: Any, seed: int = 0, **options: Any) -> list[str]:
    """When a client that begins at a local time dials, in local time; it lives for `lasting` seconds."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        offset = at(begin, zone) - loop.time()
        async with MemoryDialer(*steps) as dialer:
            given = {"office-hours": {"zone": zone, "jitter": 0, **options}}
            client = Client("ws://test/", plugins=["-standard", "office-hours", dialer], options=given)
            opening = asyncio.create_task(client.open())
            await asyncio.sleep(lasting)
            await client.close()
            await asyncio.wait([opening])
            opening.exception()
            return [local(dial.time + offset, zone) for dial in dialer.dials]

    loop = VirtualLoop(seed=seed, start=at(begin, zone), limit=30 * 86400)
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main())


def dies_after(seconds: float) -> Any:
    """A step: a connection that lasts so long."""

    async def live(peer: Any) -> None:
        await asyncio.sleep(seconds)
        peer.drop()
        await peer.wait_gone()

    return live


# The virtual clock


def test_what_is_lost_on_friday_evening_comes_back_on_monday_morning() -> None:
    dials = returns("2026-11-27 16:00:00", "Europe/Berlin", 4 * 24 * HOUR, dies_after(2 * HOUR), dies_after(1e6))
    assert dials == ["2026-11-27 16:00:00+01:00", "2026-11-30 09:00:00+01:00"]


@pytest.mark.parametrize(
    ("friday", "monday", "zone"),
    [
        ("2026-03-27 12:00:00+01:00", "2026-03-30 09:00:00+02:00", "Europe/Berlin"),
        ("2026-10-23 12:00:00+02:00", "2026-10-26 09:00:00+01:00", "Europe/Berlin"),
        ("2026-03-06 12:00:00-05:00", "2026-03-09 09:00:00-04:00", "America/New_York"),
        ("2026-10-30 12:00:00-04:00", "2026-11-02 09:00:00-05:00", "America/New_York"),
    ],
)
def test_a_change_of_clocks_over_the_weekend_moves_no_opening(friday: str, monday: str, zone: str) -> None:
    dials = returns(friday[:19], zone, 5 * 24 * HOUR, dies_after(6 * HOUR), dies_after(1e6))
    assert dials == [friday, monday]


def test_a_server_that_is_away_is_left_alone_at_night_and_over_the_weekend() -> None:
    dials = returns("2026-11-26 08:00:00", "Europe/Berlin", 7 * 24 * HOUR, refuse(503), base=600, cap=3600)
    first, *others = map(datetime.fromisoformat, dials)
    assert first.hour == 8  # the user's own
    assert {each.weekday() for each in others} == {*WEEKDAYS}
    assert {each.hour for each in others} == {*range(9, 17)}
    mornings = [min(each for each in others if each.date() == day) for day in {each.date() for each in others}]
    assert {(each.hour, each.minute) for each in mornings} == {(9, 0)}


def test_a_delay_that_would_end_after_closing_time_ends_after_the_next_opening() -> None:
    retry = refuse(429, {"Retry-After": "600"})
    dials = returns("2026-11-26 16:55:00", "UTC", 24 * HOUR, retry, dies_after(1e6))
    assert dials == ["2026-11-26 16:55:00+00:00", "2026-11-27 09:00:00+00:00"]


def test_clients_come_one_after_the_other_when_it_opens() -> None:
    times = {
        returns("2026-11-27 18:00:00", "UTC", 3 * 24 * HOUR, refuse(503), dies_after(1e6), seed=seed, jitter=300)[1]
        for seed in range(20)
    }
    assert len(times) > 15
    assert {time[:15] for time in times} == {"2026-11-30 09:0"}
    assert all(time < "2026-11-30 09:05:01" for time in times)


def test_within_the_hours_delays_grow() -> None:
    async def main() -> list[float]:
        policy = OfficeHours(closes="09:00")
        return [policy.reconnect(failure(count)) for count in (1, 2, 3, 4, 10, 100, 10_000)]

    loop = VirtualLoop(start=at("2026-11-26 12:00:00"))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        delays = runner.run(main())
    for delay, longest in zip(delays, (0.5, 1, 2, 4, 30, 30, 30), strict=True):
        assert longest / 10 <= delay <= longest


def test_it_says_when_the_next_attempt_is() -> None:
    async def main() -> None:
        async with MemoryDialer() as dialer:
            client = Client("ws://test/", plugins=["-standard", OfficeHours(jitter=0), "backoff", dialer])
            waits: list[Retrying] = []
            back: asyncio.Future[Reconnected] = asyncio.get_running_loop().create_future()
            client.on(Retrying, waits.append)
            client.on(Reconnected, back.set_result)
            async with client:
                (await dialer.accept()).drop()
                await back
            assert [wait.delay for wait in waits] == [pytest.approx(15 * HOUR)]

    loop = VirtualLoop(start=at("2026-11-26 18:00:00"))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())


# Hours


def failure(count: int = 1, **more: Any) -> Failure:
    error = HandshakeRejected("no", status=503, **more) if more else ConnectError("no")
    return Failure(error, Request("ws://test/"), "dial", count, 0.0)


def next_open(moment: str, zone: str, opens: str, closes: str, days: Any = WEEKDAYS) -> str:
    return local(Hours(zone, days, opens, closes).next_open(at(moment, zone)), zone)[:19]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-27 08:59:59", "2026-11-27 09:00:00"),
        ("2026-11-27 09:00:00", "2026-11-27 09:00:00"),
        ("2026-11-27 16:59:59", "2026-11-27 16:59:59"),
        ("2026-11-27 17:00:00", "2026-11-30 09:00:00"),
        ("2026-11-28 12:00:00", "2026-11-30 09:00:00"),
        ("2026-11-30 00:00:00", "2026-11-30 09:00:00"),
        ("2026-12-31 23:59:59", "2027-01-01 09:00:00"),
    ],
)
def test_it_is_open_from_opening_to_closing_time(moment: str, expected: str) -> None:
    assert next_open(moment, "Asia/Tokyo", "09:00", "17:00") == expected


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-27 23:00:00", "2026-11-27 23:00:00"),
        ("2026-11-28 05:59:59", "2026-11-28 05:59:59"),  # Friday's night
        ("2026-11-28 06:00:00", "2026-11-30 22:00:00"),
        ("2026-11-30 05:00:00", "2026-11-30 22:00:00"),  # Sunday has none
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(moment: str, expected: str) -> None:
    assert next_open(moment, "UTC", "22:00", "06:00") == expected


@pytest.mark.parametrize(
    ("moment", "opens", "closes", "expected"),
    [
        # 02:00 to 03:00 is skipped in Berlin on 2026-03-29, and comes twice on 2026-10-25
        ("2026-03-29 01:00:00", "02:30", "12:00", "2026-03-29 03:30:00"),
        ("2026-03-29 00:30:00", "02:10", "02:50", "2026-03-30 02:10:00"),
        ("2026-10-25 01:00:00", "02:30", "12:00", "2026-10-25 02:30:00"),
        ("2026-10-24 23:00:00", "22:00", "02:30", "2026-10-24 23:00:00"),
    ],
)
def test_times_that_clocks_skip_or_repeat(moment: str, opens: str, closes: str, expected: str) -> None:
    assert next_open(moment, "Europe/Berlin", opens, closes, range(7)) == expected


def test_an_hour_that_comes_twice_is_open_twice() -> None:
    hours = Hours("Europe/Berlin", range(7), "02:15", "02:30")
    first = datetime(2026, 10, 25, 0, 15, tzinfo=UTC).timestamp()
    assert hours.next_open(first) == first
    assert hours.next_open(first + HOUR) == first + HOUR
    assert hours.next_open(first + HOUR + 900) == at("2026-10-26 02:15:00", "Europe/Berlin")


def test_every_moment_of_a_year_has_an_opening() -> None:
    hours = Hours("America/New_York", [6], "23:30", "00:30")
    moment = at("2026-01-01 00:00:00")
    while moment < at("2027-01-01 00:00:00"):
        opening = hours.next_open(moment)
        assert moment <= opening <= moment + 7 * 24 * HOUR + HOUR
        assert hours.next_open(opening) == opening
        moment += 1795


def test_while_it_is_closed_a_retry_after_is_a_floor_too() -> None:
    async def main() -> list[float]:
        policy = OfficeHours(days=["sat"], jitter=0)
        return [policy.reconnect(failure(retry_after=asked)) for asked in (0, 60, 2.5 * 24 * HOUR, 3 * 24 * HOUR)]

    loop = VirtualLoop(start=at("2026-11-26 12:00:00"))
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(main()) == [pytest.approx(days * 24 * HOUR - 3 * HOUR) for days in (2, 2, 9, 9)]


def test_a_retry_after_of_years_is_a_week() -> None:
    async def main() -> float:
        return OfficeHours(days=["mon"]).reconnect(failure(retry_after=1e15))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert LONGEST <= runner.run(main()) <= 2 * LONGEST


def test_a_bad_option_is_told_with_its_cure() -> None:
    with pytest.raises(OptionError, match="option 'zone': there is no time zone 'Berlin'"):
        Client("ws://test/", plugins=["office-hours"], options={"office-hours": {"zone": "Berlin"}})
