"""Lines that an application's log gets for a client's life."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from libws_core import (
    AttemptFailed,
    Client,
    ClientClosed,
    Closed,
    Connected,
    Connecting,
    ConnectionClosed,
    Disconnected,
    Dropped,
    Event,
    Gap,
    HandshakeRejected,
    KeepAliveTimeout,
    LibwsError,
    OptionError,
    Reconnected,
    Reopened,
    Retrying,
    Secret,
    Session,
    events,
    hookimpl,
)
from libws_core.testing import MemoryDialer, greet, refuse, virtual
from libws_log import Log, fields_of, level_of, name_of, plain

S3CRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def structlog_as_it_was() -> Iterator[None]:
    structlog.reset_defaults()
    yield
    structlog.reset_defaults()


@pytest.fixture
def told() -> list[dict[str, Any]]:
    """What structlog is told, when an application has configured it."""
    lines: list[dict[str, Any]] = []

    def keep(_: Any, method: str, line: Any) -> Any:
        lines.append({"level": method, **line})
        raise structlog.DropEvent

    structlog.configure(processors=[keep])
    return lines


@virtual
async def live(log: Log) -> None:
    """A refusal, a connection that is lost, one that we close."""
    dialer = MemoryDialer(
        refuse(503, {"Retry-After": "2"}), greet("data", then=lambda peer: peer.close(1012, "bye")), greet()
    )
    options = {"backoff": {"jitter": "none", "base": 1}}
    client = Client(
        f"ws://user:{S3CRET}@test/?token={S3CRET}", plugins=["-standard", log, "backoff", dialer], options=options
    )
    async with dialer, client:
        await client.recv()
        await dialer.accept()


LIFE: list[tuple[str, str, dict[str, Any]]] = [
    ("debug", "connecting", {"phase": "resolve"}),
    ("debug", "connecting", {"phase": "admit"}),
    ("debug", "connecting", {"phase": "authenticate"}),
    ("debug", "connecting", {"phase": "dial"}),
    ("warning", "attempt_failed", {"phase": "dial", "error": "HandshakeRejected", "status": 503, "retry_after": 2.0}),
    ("info", "retrying", {"delay": 2.0, "error": "HandshakeRejected", "verdict": "retry"}),
    ("debug", "connecting", {"phase": "resolve", "attempt": 2}),
    ("debug", "connecting", {"phase": "admit"}),
    ("debug", "connecting", {"phase": "authenticate"}),
    ("debug", "connecting", {"phase": "dial"}),
    ("debug", "connecting", {"phase": "establish"}),
    ("info", "connected", {"generation": 1, "attempt": 2}),
    ("warning", "disconnected", {"error": "ConnectionClosed", "code": 1012, "initiator": "remote", "unconfirmed": 0}),
    ("info", "retrying", {"error": "ConnectionClosed"}),
    ("debug", "connecting", {"phase": "resolve", "attempt": 3, "generation": 2}),
    ("debug", "connecting", {"phase": "admit"}),
    ("debug", "connecting", {"phase": "authenticate"}),
    ("debug", "connecting", {"phase": "dial"}),
    ("debug", "connecting", {"phase": "establish"}),
    ("warning", "gap", {"why": "reconnect", "generation": 2}),
    ("info", "reconnected", {"generation": 2, "attempt": 3}),
    ("info", "disconnected", {"initiator": "local"}),
    ("info", "closed", {}),
]


def check(lines: list[dict[str, Any]], expected: list[tuple[str, str, dict[str, Any]]]) -> None:
    assert [(line["level"], line["event"]) for line in lines] == [(level, event) for level, event, _ in expected]
    for line, (_, _, known) in zip(lines, expected, strict=True):
        assert {name: line[name] for name in known} == known
        assert {"generation", "attempt"} <= line.keys()
        assert "wall" not in line
    assert S3CRET not in repr(lines)


def test_every_event_is_one_line_with_fields(told: list[dict[str, Any]]) -> None:
    live(Log(level="debug"))
    check(told, LIFE)


@pytest.mark.parametrize("level", ["info", "warning"])
def test_lower_levels_are_left_out(told: list[dict[str, Any]], level: Any) -> None:
    live(Log(level=level))
    check(told, [line for line in LIFE if line[0] == "warning" or line[0] == level])


def test_more_fields_stand_in_each_line(told: list[dict[str, Any]]) -> None:
    live(Log(fields={"client": "prices"}))
    assert {line["client"] for line in told} == {"prices"}


def test_where_structlog_is_not_configured_lines_go_to_the_standard_library(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    live(Log())
    lines = [record for record in caplog.records if record.name == "libws.events"]
    expected = [(level, event) for level, event, _ in LIFE if level != "debug"]
    assert [(line.levelname.lower(), line.getMessage().split()[0]) for line in lines] == [
        (level, f"event={event}") for level, event in expected
    ]
    assert lines[0].getMessage() == (
        "event=attempt_failed generation=1 attempt=1 phase=dial error=HandshakeRejected"
        ' text="the server refused the handshake with 503" verdict=retry initiator=remote status=503 retry_after=2.0'
    )
    assert S3CRET not in caplog.text


def test_the_standard_librarys_own_level_holds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    live(Log(level="debug", to="logging", logger="mine"))
    assert {record.levelname for record in caplog.records if record.name == "mine"} == {"WARNING"}


def test_logging_is_used_where_it_is_asked_for(told: list[dict[str, Any]], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    live(Log(to="logging"))
    assert told == []
    assert [record.name for record in caplog.records].count("libws.events") == 9


def test_structlog_is_used_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    live(Log(to="structlog"))
    assert "attempt_failed" in capsys.readouterr().out


CLOSED = ConnectionClosed("closed", code=1000, initiator="local")


@pytest.mark.parametrize(
    ("event", "level", "name"),
    [
        (Connecting("dial"), "debug", "connecting"),
        (Connected(), "info", "connected"),
        (Reconnected(), "info", "reconnected"),
        (Reopened(0.5), "info", "reopened"),
        (Retrying(1, LibwsError("x")), "info", "retrying"),
        (AttemptFailed("dial", LibwsError("x")), "warning", "attempt_failed"),
        (Disconnected(CLOSED, 1, 0), "info", "disconnected"),
        (Disconnected(ClientClosed("x"), 1, 0), "info", "disconnected"),
        (Disconnected(KeepAliveTimeout("x", initiator="local"), 1, 0), "warning", "disconnected"),
        (Disconnected(ConnectionClosed("x"), 1, 0), "warning", "disconnected"),
        (Gap("loss", 1, 0, 1), "warning", "gap"),
        (Dropped(3, "full"), "warning", "dropped"),
        (Closed(None), "info", "closed"),
        (Closed(LibwsError("x")), "error", "closed"),
    ],
)
def test_levels_say_how_much_an_event_matters(event: Event, level: str, name: str) -> None:
    assert (level_of(event), name_of(event)) == (level, name)


def test_no_event_is_forgotten_here() -> None:
    assert {name for name in events.__all__ if name != "Event"} == {
        *["AttemptFailed", "Closed", "Connected", "Connecting", "Disconnected", "Dropped", "Gap", "Reconnected"],
        *["Reopened", "Retrying"],
    }


def test_an_error_is_told_by_what_it_knows() -> None:
    error = HandshakeRejected(
        "no", status=429, headers={"Set-Cookie": S3CRET}, body=S3CRET.encode(), retry_after=1.23456
    )
    fields = dict(fields_of(AttemptFailed("dial", error)))
    assert fields == {
        "generation": 0,
        "attempt": 0,
        "phase": "dial",
        "error": "HandshakeRejected",
        "text": "no",
        "verdict": "retry",
        "initiator": "remote",
        "status": 429,
        "retry_after": 1.235,
    }


def test_an_events_own_field_is_not_overwritten_by_its_errors() -> None:
    error = LibwsError("no")
    error.phase = "dial"
    assert dict(fields_of(AttemptFailed("establish", error)))["phase"] == "establish"


def test_what_a_server_says_stays_in_one_line() -> None:
    error = ConnectionClosed("closed with 4000 (a\r\nERROR fake line\x1b[2J\u2028é)", code=4000)
    text = dict(fields_of(Disconnected(error, 1, 0)))["text"]
    assert text == r"closed with 4000 (a\r\nERROR fake line\x1b[2J\u2028é)"
    assert plain("two\nlines") == r"two\nlines"


@dataclass(frozen=True)
class Moved(Event):
    """An event that a plugin made up."""

    event: str
    token: Secret
    where: Any
    generation: int = 0
    attempt: int = 0
    monotonic: float = 0.0
    wall: float = 0.0


def test_events_of_plugins_are_logged_like_our_own(told: list[dict[str, Any]]) -> None:
    class Mover:
        @hookimpl
        async def establish(self, session: Session) -> None:
            session.emit(Moved("east", Secret(S3CRET), [1, 2]))

    @virtual
    async def move() -> None:
        dialer = MemoryDialer()
        async with dialer, Client("ws://test", plugins=["-standard", Log(), Mover(), dialer]):
            pass

    move()
    assert told[0] == {
        "level": "info",
        "event": "moved",
        "generation": 1,
        "attempt": 1,
        "event_": "east",
        "token": "Secret('***')",
        "where": "[1, 2]",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [({"level": "loud"}, "option 'level'"), ({"to": "file"}, "option 'to'"), ({"fields": "x"}, "option 'fields'")],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        Client("ws://test", plugins=["-standard", "log", MemoryDialer()], options={"log": options})
