"""What a server says about coming back: Retry-After in each of its forms, 1013, and 401."""

from __future__ import annotations

import asyncio
import calendar
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate, parsedate
from typing import Any

import pytest

from libws_core import (
    AttemptFailed,
    Client,
    Connecting,
    Disconnected,
    Failure,
    HandshakeRejected,
    Message,
    Reconnected,
    Retrying,
    State,
    Verdict,
    hookimpl,
)
from libws_core.testing import Server, ServerPeer, greet, leaks, refuse

EXACT = 0.002
"""Seconds by which timers of uvloop, which counts in milliseconds, and wall time may be off."""


async def stay(peer: ServerPeer) -> None:
    await peer.wait_gone(60)


class Story:
    """What a client went through."""

    def __init__(self, client: Client) -> None:
        self.begun: list[Connecting] = []
        """Each attempt's beginning."""
        self.failed: list[AttemptFailed] = []
        self.lost: list[Disconnected] = []
        self.retrying: list[Retrying] = []
        client.on(Connecting, lambda event: self.begun.append(event) if event.phase == "resolve" else None)
        client.on(AttemptFailed, self.failed.append)
        client.on(Disconnected, self.lost.append)
        client.on(Retrying, self.retrying.append)


async def after(client: Client, kind: type[Any]) -> Any:
    """The next event of a kind."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    remove = client.on(kind, lambda event: None if future.done() else future.set_result(event))
    try:
        return await future
    finally:
        remove()


# Retry-After, RFC 9110 section 10.2.3: seconds or a date, of which section 5.6.7 knows three forms.


def seconds() -> str:
    return "1"


def date() -> str:
    return formatdate(time.time() + 1.9, usegmt=True)


def date_of_rfc_850() -> str:
    return time.strftime("%A, %d-%b-%y %H:%M:%S GMT", time.gmtime(time.time() + 1.9))


def date_of_asctime() -> str:
    return time.asctime(time.gmtime(time.time() + 1.9))


FORMS = [seconds, date, date_of_rfc_850, date_of_asctime]


def asked(said: str, failed: AttemptFailed) -> float:
    """How long the client was asked to wait, from when it knew."""
    if said.isdigit():
        return float(said)
    fields = parsedate(said)
    assert fields is not None
    return calendar.timegm(fields) - failed.wall


async def wait_as_asked(plugins: list[str], form: Callable[[], str], lost: bool, lag: Any) -> None:
    """Be refused once, at the opening or after a loss, and come back when the server said."""
    said: list[str] = []

    def refusal() -> Any:
        said.append(form())
        return refuse(503 if lost else 429, {"Retry-After": said[-1]})

    async def is_lost(peer: ServerPeer) -> None:
        await peer.recv()
        server.first(refusal())
        await peer.drop(reset=True)

    async with Server(is_lost if lost else stay, stay) as server:
        if not lost:
            server.first(refusal())
        client = Client(server.url, plugins=plugins, proxy=None)
        story = Story(client)
        async with client:
            if lost:
                await client.send("lose me")
                await after(client, Reconnected)
            (failed,) = story.failed
            wait = asked(said[0], failed)
            assert wait - EXACT <= (failed.error.retry_after or 0) <= wait + 0.1 + lag.worst(0)
            waited = story.begun[-1].monotonic - failed.monotonic
            assert wait - EXACT <= waited <= wait + 0.6 + lag.worst(failed.monotonic)
            arrived = server.arrivals[-1].time - failed.monotonic  # as the server sees it
            assert wait - EXACT <= arrived <= wait + 0.6 + lag.worst(failed.monotonic)
            assert len(story.begun) == len(server.arrivals) == (3 if lost else 2)


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A local time that is not UTC."""
    monkeypatch.setenv("TZ", "XYZ+9:30")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.measured
@pytest.mark.usefixtures("far_away")
async def test_retry_after_is_obeyed_in_every_form(plugins: list[list[str]], lag: Any) -> None:
    """Never earlier and at most 0.6 s later; three clients for each dialer, form and moment."""
    async with asyncio.timeout(30), leaks():
        await asyncio.gather(
            *(wait_as_asked(each, form, lost, lag) for each in plugins * 3 for form in FORMS for lost in (False, True))
        )


@pytest.mark.parametrize("absurd", ["999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_an_absurd_retry_after_is_capped_and_reported(
    absurd: str, plugins: list[list[str]], lag: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(20), leaks(), Server(refuse(503, {"Retry-After": absurd}), stay) as server:
        options = {"backoff": {"retry_after_max": 0.5}}
        client = Client(server.url, plugins=plugins[-1], options=options, proxy=None)
        story = Story(client)
        async with client:
            pass
        (failed,), (retrying,) = story.failed, story.retrying
        waited = story.begun[-1].monotonic - failed.monotonic
        assert 0.5 - EXACT <= waited <= 0.5 + 0.6 + lag.worst(failed.monotonic)
        assert 0.5 <= retrying.delay <= 1.0
        assert (retrying.error.retry_after or 0) > 10**8  # both are there for whoever wants to know
        (told,) = [each for each in caplog.messages if "retry_after_max" in each]
        assert "asked for" in told
        assert "admits 0.5 s" in told


@pytest.mark.parametrize("nonsense", ["soon", "-1", "1e3", "Fri, 99 Foo 2026", "\xff"])
async def test_a_retry_after_that_makes_no_sense_leaves_the_usual_delay(nonsense: str) -> None:
    async with asyncio.timeout(20), leaks(), Server(refuse(503, {"Retry-After": nonsense}), stay) as server:
        client = Client(server.url, proxy=None)
        story = Story(client)
        async with client:
            pass
        assert story.failed[0].error.retry_after is None
        assert 0.05 <= story.retrying[0].delay <= 0.5


async def test_by_default_nobody_waits_longer_than_ten_minutes() -> None:
    async with asyncio.timeout(20), leaks(), Server(refuse(429, {"Retry-After": "86400"})) as server:
        client = Client(server.url, proxy=None)
        opening = asyncio.ensure_future(client.open())
        retrying = await after(client, Retrying)
        assert 600 <= retrying.delay <= 600.5
        assert client.state is State.WAITING
        await client.close()
        await asyncio.wait([opening])
        opening.exception()


# 1013, "Try Again Later" (IANA WebSocket Close Code registry).


class AtOnce:
    """A plugin that reconnects without any delay."""

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return 0.0


class Hello:
    """A plugin that waits for a message before READY."""

    @hookimpl
    async def establish(self, session: Any) -> None:
        await session.recv("hello")


@pytest.mark.measured
@pytest.mark.usefixtures("each_dialer")
async def test_1013_is_never_tried_again_at_once(lag: Any) -> None:
    """Not after a loss, not in establish, not behind the handshake, and not if a plugin says so."""

    async def overloaded(peer: ServerPeer) -> None:
        peer.send("hello")
        await peer.recv()
        await peer.close(1013)

    async def ride(plugins: list[object], options: dict[str, Any], step: Any, failures: int) -> None:
        async with Server(*[step] * failures, greet("hello", then=stay)) as server:
            client = Client(server.url, plugins=[*plugins, Hello()], options=options, proxy=None)
            story = Story(client)
            async with client:
                if step is overloaded:
                    back = asyncio.ensure_future(after(client, Reconnected))
                    await client.send("lose me")
                    await back
            ends = [event.monotonic for event in (*story.failed, *story.lost)][:failures]
            begun = [event.monotonic for event in story.begun]
            assert len(begun) == failures + 1
            for end, begin in zip(ends, begun[1:], strict=True):
                assert 1 - EXACT <= begin - end <= 1.1 + lag.worst(end)
            assert all(event.delay >= 1 and event.error.code == 1013 for event in story.retrying)

    refused = greet(Message.close(1013))
    async with asyncio.timeout(20), leaks():
        await asyncio.gather(
            ride([], {"backoff": {"base": 0}}, overloaded, 1),
            ride([], {}, overloaded, 1),
            ride([AtOnce()], {}, overloaded, 1),
            ride([], {"backoff": {"base": 0}}, refused, 1),
            ride([AtOnce()], {}, refused, 1),
        )


# 401, RFC 9110 section 15.5.2; 4401 by custom.


class Tokens:
    """Gives a new token each time, and knows which are good."""

    def __init__(self, *good: int) -> None:
        self.good = {f"Bearer token-{number}" for number in good}
        self.given = 0

    async def __call__(self) -> str:
        self.given += 1
        return f"token-{self.given}"


@pytest.mark.usefixtures("each_dialer")
async def test_401_with_a_refreshable_token_is_refreshed_once() -> None:
    tokens = Tokens()
    async with asyncio.timeout(20), leaks(), Server(refuse(401), stay) as server:
        client = Client(server.url, plugins=["auth"], options={"auth": {"token": tokens}}, proxy=None)
        story = Story(client)
        async with client:
            assert client.state is State.READY
        assert tokens.given == server.count == 2
        sent = [arrival.headers["Authorization"] for arrival in server.arrivals if arrival.headers is not None]
        assert sent == ["Bearer token-1", "Bearer token-2"]
        assert [each.error.verdict for each in story.failed] == [Verdict.REFRESH]


@pytest.mark.usefixtures("each_dialer")
async def test_a_second_401_is_fatal() -> None:
    tokens = Tokens()
    async with asyncio.timeout(20), leaks(), Server(refuse(401)) as server:
        client = Client(server.url, plugins=["auth"], options={"auth": {"token": tokens}}, proxy=None)
        with pytest.raises(HandshakeRejected) as caught:
            await client.open()
        assert (caught.value.status, caught.value.verdict) == (401, Verdict.FATAL)
        assert client.state is State.FAILED
        assert tokens.given == server.count == 2
        with pytest.raises(HandshakeRejected):
            await client.wait_closed()


@pytest.mark.usefixtures("each_dialer")
async def test_a_token_that_expires_is_refreshed_once_a_healthy_connection() -> None:
    """Thrown out with 4401, refused once, in again; healthy; thrown out again: that is a new story, until it is not."""
    healthy = 0.2

    async def expires(peer: ServerPeer) -> None:
        await asyncio.sleep(healthy * 1.5)
        await peer.close(4401)

    tokens = Tokens()
    async with asyncio.timeout(20), leaks(), Server(expires, expires, refuse(401), stay) as server:
        client = Client(
            server.url,
            plugins=["auth"],
            options={"auth": {"token": tokens}, "backoff": {"base": 0.02}},
            healthy_after=healthy,
            proxy=None,
        )
        story = Story(client)
        await client.open()
        with pytest.raises(HandshakeRejected) as caught:
            await client.wait_closed()
        assert [(each.error.code, each.error.verdict) for each in story.lost] == [(4401, Verdict.REFRESH)] * 2
        assert (caught.value.status, caught.value.verdict) == (401, Verdict.FATAL)
        assert tokens.given == server.count == 3
