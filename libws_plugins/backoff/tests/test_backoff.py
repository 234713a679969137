"""Delays, giving up, and verdicts over the core's table."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_backoff import Backoff
from libws_core import (
    STOP,
    Client,
    ConnectionClosed,
    ConnectTimeout,
    Failure,
    HandshakeRejected,
    KeepAliveTimeout,
    LibwsError,
    OptionError,
    Request,
    RetriesExhausted,
    Retrying,
    Stop,
    Verdict,
    chance,
    hookimpl,
)
from libws_core.errors import ProxyError
from libws_core.testing import MemoryDialer, MemoryPeer, greet, refuse, run, virtual

REQUEST = Request("ws://test")


class FixedChance(random.Random):
    """Draws the same part of every range."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    def uniform(self, a: float, b: float) -> float:
        return a + (b - a) * self.part


@pytest.fixture(params=[0.0, 1.0])
def extreme(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Chance at the lower and the upper end of every range."""
    part: float = request.param
    monkeypatch.setattr(chance, "source", FixedChance(part))
    return part


def failure(count: int = 1, error: LibwsError | None = None, uptime: float = 0.0) -> Failure:
    return Failure(error or ConnectTimeout("no answer"), REQUEST, "dial", count, uptime)


def busy(retry_after: float) -> HandshakeRejected:
    return HandshakeRejected("busy", status=429, retry_after=retry_after)


def delays(plugin: Backoff, counts: Any = range(1, 9)) -> list[float | Stop]:
    return [plugin.reconnect(failure(count)) for count in counts]


def test_without_jitter_a_delay_is_base_times_factor_up_to_cap() -> None:
    assert delays(Backoff(jitter="none")) == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert delays(Backoff(jitter="none", base=1, factor=3, cap=20)) == [1, 3, 9, 20, 20, 20, 20, 20]
    assert delays(Backoff(jitter="none", base=2, factor=1), [1, 5, 10_000]) == [2, 2, 2]
    assert delays(Backoff(jitter="none", base=50, cap=30), [1]) == [30]


@pytest.mark.parametrize(("jitter", "share"), [("full", 0.1), ("equal", 0.5)])
def test_jitter_draws_from_a_share_of_the_delay_to_the_delay(extreme: float, jitter: Any, share: float) -> None:
    longest = [0.5, 1, 2, 4, 8, 16, 30, 30]
    expected = [d if extreme else d * share for d in longest]
    assert delays(Backoff(jitter=jitter)) == pytest.approx(expected)


def test_full_is_the_default(extreme: float) -> None:
    assert delays(Backoff(), [4]) == pytest.approx([4.0 if extreme else 0.4])


@given(st.integers(1, 10**9), st.floats(0, 1e6), st.floats(1, 1e6), st.floats(0, 1e6))
def test_any_failure_of_a_row_waits_within_the_cap(count: int, base: float, factor: float, cap: float) -> None:
    for jitter in ("full", "equal", "decorrelated", "none"):
        delay = Backoff(base=base, factor=factor, cap=cap, jitter=jitter).reconnect(failure(count))
        assert isinstance(delay, float)
        assert 0 <= delay <= cap


def test_the_ten_thousandth_failure_waits_the_cap(extreme: float) -> None:
    assert delays(Backoff(), [10_000]) == pytest.approx([30.0 if extreme else 3.0])
    assert delays(Backoff(jitter="none", factor=2), [10_000]) == [30]


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated", "none"])
def test_a_base_of_zero_waits_zero(extreme: float, jitter: Any) -> None:
    assert delays(Backoff(base=0, jitter=jitter), [1, 2, 10_000]) == [0, 0, 0]


def test_decorrelated_draws_up_to_three_times_the_delay_before_and_starts_again_with_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chance, "source", FixedChance(1.0))
    plugin = Backoff(jitter="decorrelated", base=1, cap=20)
    assert delays(plugin, [1, 2, 3, 4]) == [3, 9, 20, 20]
    assert delays(plugin, [1, 2]) == [3, 9]
    monkeypatch.setattr(chance, "source", FixedChance(0.0))
    assert delays(plugin, [3, 4]) == [1, 1]


@pytest.mark.parametrize("jitter", ["full", "equal", "decorrelated"])
def test_a_retry_after_is_a_floor_for_the_delay_and_base_its_spread(extreme: float, jitter: Any) -> None:
    plugin = Backoff(base=0.5, jitter=jitter)
    for count in (1, 10):
        assert plugin.reconnect(failure(count, busy(7))) == (7.5 if extreme else 7)


def test_a_retry_after_may_be_longer_or_shorter_than_any_delay() -> None:
    plugin = Backoff(cap=2, jitter="none")
    assert plugin.reconnect(failure(1, busy(100))) == 100
    assert plugin.reconnect(failure(10, busy(1))) == 1


def test_a_retry_after_is_obeyed_up_to_its_own_maximum(extreme: float) -> None:
    spread = 0.5 if extreme else 0
    assert Backoff().reconnect(failure(1, busy(86_400))) == 600 + spread
    assert Backoff(retry_after_max=5).reconnect(failure(1, busy(60))) == 5 + spread


def test_a_retry_after_that_is_cut_is_told(caplog: pytest.LogCaptureFixture) -> None:
    Backoff(retry_after_max=60).reconnect(failure(1, busy(60)))
    assert caplog.messages == []
    Backoff(retry_after_max=59).reconnect(failure(1, busy(999_999_999_999)))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "asked for 999999999999 s with Retry-After, retry_after_max admits 59 s" in caplog.text


def test_max_attempts_is_the_failure_in_a_row_that_stops() -> None:
    plugin = Backoff(max_attempts=3, jitter="none")
    assert delays(plugin, [1, 2, 3]) == [0.5, 1, STOP]
    assert delays(plugin, [1, 2, 3]) == [0.5, 1, STOP]
    assert delays(Backoff(max_attempts=1), [1]) == [STOP]


class Clock:
    """The loop's time, held in the hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)


async def test_the_deadline_counts_from_the_first_failure_of_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    plugin = Backoff(deadline=10, base=1, factor=1, jitter="none")
    assert plugin.reconnect(failure(1)) == 1
    clock.now += 9
    assert plugin.reconnect(failure(2)) == 1  # it would end at 10 exactly
    clock.now += 0.5
    assert plugin.reconnect(failure(3)) is STOP  # at 9.5 the delay would end at 10.5
    clock.now += 100
    assert plugin.reconnect(failure(1)) == 1
    clock.now += 9.5
    assert plugin.reconnect(failure(2)) is STOP


async def test_a_retry_after_beyond_the_deadline_stops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    assert Backoff(deadline=10).reconnect(failure(1, busy(60))) is STOP


async def test_a_row_whose_beginning_another_plugin_answered_begins_here_later(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    plugin = Backoff(deadline=10, jitter="none")
    assert plugin.reconnect(failure(3)) == 2
    clock.now += 9
    assert plugin.reconnect(failure(4)) is STOP


def test_statuses_and_codes_change_verdicts() -> None:
    plugin = Backoff(
        statuses={"403": Verdict.RETRY, "500-599": Verdict.FATAL, 503: Verdict.RETRY},
        codes={"4000-4099": Verdict.FATAL, "1009": Verdict.RETRY},
    )

    def verdict(error: LibwsError) -> Verdict | None:
        adapted = plugin.adapt_error(error, REQUEST)
        if adapted is None:
            return None
        assert type(adapted) is type(error)
        assert (adapted.text, adapted.code, adapted.status) == (error.text, error.code, error.status)
        return adapted.verdict

    def status(number: int) -> HandshakeRejected:
        return HandshakeRejected("rejected", status=number)

    assert verdict(status(403)) is Verdict.RETRY
    assert verdict(status(500)) is Verdict.FATAL
    assert verdict(status(503)) is Verdict.RETRY
    assert verdict(status(404)) is None
    assert verdict(ConnectionClosed("closed", code=4000)) is Verdict.FATAL
    assert verdict(ConnectionClosed("closed", code=4099)) is Verdict.FATAL
    assert verdict(ConnectionClosed("closed", code=1009)) is Verdict.RETRY
    assert verdict(ConnectionClosed("closed", code=4100)) is None
    assert verdict(ConnectTimeout("no answer")) is None
    assert verdict(LibwsError("anything")) is None


def test_a_code_of_a_lost_connection_covers_every_way_to_lose_it() -> None:
    plugin = Backoff(codes={"1006": Verdict.FATAL})
    adapted = plugin.adapt_error(KeepAliveTimeout("no pong"), REQUEST)
    assert isinstance(adapted, KeepAliveTimeout)
    assert adapted.verdict is Verdict.FATAL


def test_a_proxy_is_not_the_provider() -> None:
    plugin = Backoff(statuses={"403": Verdict.RETRY, "407": Verdict.RETRY})
    assert plugin.adapt_error(ProxyError("refused", status=407), REQUEST) is None


@pytest.mark.parametrize("option", ["statuses", "codes"])
@pytest.mark.parametrize("key", ["4xx", "4099-4000", "-1", "70000", ""])
def test_a_key_that_is_no_number_or_range_is_refused_by_the_name_of_its_option(option: str, key: str) -> None:
    with pytest.raises(ValueError, match=f"option '{option}'.*{key}"):
        Backoff(**{option: {key: Verdict.FATAL}})  # type: ignore[arg-type]


def client_with(dialer: MemoryDialer, **options: Any) -> Client:
    return Client("ws://test", plugins=["-standard", "backoff", dialer], options={"backoff": options})


@pytest.mark.parametrize("code", [1000, 1008, 1011])
@pytest.mark.parametrize("seed", range(5))
def test_a_server_that_accepts_and_closes_at_once_meets_few_connections(code: int, seed: int) -> None:
    async def minute() -> int:
        dialer = MemoryDialer(lambda peer: peer.close(code))
        client = client_with(dialer)
        async with dialer:
            await client.open()
            await asyncio.sleep(60)
            await client.close()
        return dialer.count

    assert 3 <= run(minute(), seed=seed) <= 15


@virtual
async def test_a_client_waits_as_long_as_the_server_asks_and_delays_grow_in_a_row() -> None:
    dialer = MemoryDialer(refuse(429, {"Retry-After": "7"}), refuse(503), refuse(503), greet())
    client = client_with(dialer, jitter="none")
    delays: list[float] = []
    client.on(Retrying, lambda event: delays.append(event.delay))
    async with dialer, client:
        times = [dial.time for dial in dialer.dials]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([7, 1, 2])
        assert delays == [7, 1, 2]


@virtual
async def test_a_healthy_connection_ends_the_row() -> None:
    lost: list[float] = []

    async def live(peer: MemoryPeer) -> None:
        await asyncio.sleep(31)
        peer.drop()

    dialer = MemoryDialer(refuse(503), refuse(503), live, refuse(503), greet())
    client = client_with(dialer, jitter="none")
    client.on(Retrying, lambda event: lost.append(event.delay))
    async with dialer, client:
        await asyncio.sleep(60)
        assert lost == [0.5, 1, 0.5, 1]


@virtual
async def test_a_client_gives_up_after_max_attempts_or_at_the_deadline() -> None:
    for options, attempts in (({"max_attempts": 4}, 4), ({"deadline": 10, "jitter": "none"}, 5)):
        dialer = MemoryDialer(refuse(503))
        async with dialer:
            with pytest.raises(RetriesExhausted) as caught:
                await client_with(dialer, **options).open()
        assert dialer.count == attempts
        assert isinstance(caught.value.__cause__, HandshakeRejected)


@virtual
async def test_another_plugin_is_asked_first_wherever_it_stands() -> None:
    class Patient:
        @hookimpl
        def reconnect(self, failure: Failure) -> float | None:
            return 77.0 if failure.count == 1 else None

    dialer = MemoryDialer(refuse(503), refuse(503), greet())
    client = Client("ws://test", plugins=["-standard", Backoff(jitter="none"), Patient(), dialer])
    async with dialer, client:
        times = [dial.time for dial in dialer.dials]
        assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([77, 1])


@virtual
async def test_verdicts_of_options_decide_whether_a_client_goes_on() -> None:
    dialer = MemoryDialer(refuse(403), greet())
    async with dialer, client_with(dialer, statuses={"403": "retry"}):
        assert dialer.count == 2
    dialer = MemoryDialer(lambda peer: peer.close(4005))
    async with dialer:
        client = client_with(dialer, codes={"4000-4099": "fatal"})
        await client.open()
        with pytest.raises(ConnectionClosed) as caught:
            await client.wait_closed()
        assert (caught.value.code, caught.value.verdict, dialer.count) == (4005, Verdict.FATAL, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": -1}, "option 'base'"),
        ({"base": "fast"}, "option 'base': expected float >= 0, got str 'fast'; options: base=0.5, factor=2"),
        ({"cap": float("nan")}, "option 'cap'"),
        ({"factor": 0.5}, "option 'factor'"),
        ({"jitter": "some"}, "option 'jitter'"),
        ({"max_attempts": 0}, "option 'max_attempts'"),
        ({"deadline": 0}, "option 'deadline'"),
        ({"statuses": {"403": "perhaps"}}, "option 'statuses'"),
        ({"codes": {"4xxx": "fatal"}}, "option 'codes': '4xxx' is neither"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        client_with(MemoryDialer(), **options)


def test_tables_take_numbers_and_text() -> None:
    client = client_with(MemoryDialer(), statuses={403: "retry", "404": "retry", "500-599": "fatal"})
    plugin = client.plugin(Backoff)
    for status, verdict in ((403, Verdict.RETRY), (404, Verdict.RETRY), (599, Verdict.FATAL)):
        adapted = plugin.adapt_error(HandshakeRejected("no", status=status), REQUEST)
        assert adapted is not None
        assert adapted.verdict is verdict
