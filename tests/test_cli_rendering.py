"""Events, messages and values as text and as data: complete, harmless for a terminal, without secrets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from libws_core import Kind, Message, Secret, Verdict, events
from libws_core.cli.rendering import (
    event_data,
    event_text,
    message_data,
    message_text,
    print_table,
    printable,
    public,
    to_json,
)
from libws_core.errors import ConnectionClosed, HandshakeRejected, KeepAliveTimeout
from libws_core.events import Event, Gap

LOST = ConnectionClosed("gone\x1b[2J", code=1012)
OURS = ConnectionClosed("closed by us", code=1000, initiator="local")
SEEN: list[tuple[Event, str | None]] = [
    (events.Connecting("resolve", attempt=2), None),
    (events.Connecting("dial", attempt=2), "connecting, attempt 2"),
    (events.AttemptFailed("dial", LOST, attempt=2), "attempt 2 failed in dial: gone\x1b[2J"),
    (events.Connected(), "connected"),
    (events.Disconnected(LOST, 2.04, 0), "lost after 2.0 s: gone\x1b[2J"),
    (
        events.Disconnected(LOST, 2.04, 3),
        "lost after 2.0 s: gone\x1b[2J; 3 messages sent without a proof that they were read",
    ),
    (events.Disconnected(KeepAliveTimeout("no pong", initiator="local"), 1, 0), "lost after 1.0 s: no pong"),
    (events.Disconnected(OURS, 2.04, 0), "closed by us after 2.0 s"),
    (events.Retrying(0.256, LOST), "next attempt in 0.26 s"),
    (events.Reconnected(generation=3), "connected again, connection 3"),
    (events.Reopened(1.5, generation=3), "moved to connection 3, 1.5 s with both"),
    (Gap("reconnect", 2, 1.0, 2.0), "messages may be missing here: reconnect"),
    (Gap("hole", 2, 1.0, 2.0, "btc", 4, 7), "messages of btc may be missing here, 4 to 7: hole"),
    (events.Dropped(5, "full"), "5 messages dropped: full"),
    (events.Closed(None), None),
    (events.Closed(LOST), "failed: gone\x1b[2J"),
]


@pytest.mark.parametrize(("event", "text"), SEEN)
def test_each_event_has_its_words(event: Event, text: str | None) -> None:
    told = event_text(event)
    assert (told and told[0]) == text


def test_no_event_is_forgotten() -> None:
    assert {type(event).__name__ for event, _ in SEEN} | {"Event"} == set(events.__all__)


def test_event_of_a_plugin_is_called_by_its_name() -> None:
    class Slept(Event):
        pass

    assert event_text(Slept()) == ("Slept", "")
    assert event_data(Slept()) == {"type": "event", "event": "Slept"}


def test_event_is_data_with_its_error() -> None:
    error = HandshakeRejected("no", status=429, headers={"Retry-After": "3", "Set-Cookie": "hunter2"}, body=b"hunter2")
    data = json.loads(to_json(event_data(events.AttemptFailed("dial", error, generation=1, attempt=2, wall=3.0))))
    assert data == {
        "type": "event",
        "event": "AttemptFailed",
        "generation": 1,
        "attempt": 2,
        "wall": 3.0,
        "phase": "dial",
        "error": {
            "error": "HandshakeRejected",
            "text": "no",
            "verdict": "retry",
            "initiator": "remote",
            "fault": "remote",
            "status": 429,
            "retry_after": 3.0,
        },
    }


def test_messages_are_told_by_kind() -> None:
    assert message_text(Message.text("hi")) == "hi"
    assert message_text(Message.binary(b"\x00\xff")) == "binary, 2 bytes: 00 ff"
    assert message_text(Message.binary(b"abc"), limit=2) == "binary, 3 bytes: 61 62 ..."
    assert message_data(Message.text("hi")) == {"type": "message", "kind": "text", "data": "hi"}
    assert message_data(Message.binary(b"\xff")) == {"type": "message", "kind": "binary", "base64": "/w=="}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, grüße, 漢字, \U0001f469\u200d\U0001f680", "plain, grüße, 漢字, \U0001f469\u200d\U0001f680"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b2J", "\\x9b2J"),
        ("over\rwritten\x08", "over\\rwritten\\x08"),
        ("a\u202eb", "a\\u202eb"),
        ("tab\there", "tab\there"),
        ("one\ntwo\r\nthree\n", "one\n  two\n  three"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_acts_on_the_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


@dataclass
class Holder:
    password: str = "hunter2"


@pytest.mark.parametrize(
    ("value", "hide", "plain"),
    [
        (Secret("hunter2"), False, "***"),
        ({"a": [Secret("hunter2"), 1]}, False, {"a": ["***", 1]}),
        ("wss://u:hunter2@h/p?k=hunter2", False, "wss://h/p?..."),
        ({"url": ("ws://u:hunter2@h",)}, False, {"url": ["ws://h"]}),
        ("text", False, "text"),
        ("hunter2", True, "***"),
        ({"op": "hunter2", "n": 5, "b": b"hunter2"}, True, {"op": "***", "n": 5, "b": "***"}),
        (Holder(), True, "Holder"),
        (Verdict.FATAL, False, "fatal"),
        (Kind.TEXT, False, 1),
        (None, True, None),
        (True, False, True),
        (len, False, "len"),
    ],
)
def test_values_are_plain_data_without_secrets(value: Any, hide: bool, plain: Any) -> None:
    found = public(value, hide)
    assert found == plain
    assert type(found) is type(plain)
    assert "hunter2" not in to_json(found)


def test_table_on_a_terminal_is_drawn_and_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    from libws_core.cli.rendering import LiteralConsole

    console = LiteralConsole()
    console._force_terminal = True
    print_table(console, ("name", "state"), [("a[b]", "bad \x1b[2J")])
    drawn = capsys.readouterr().out
    assert "a[b]" in drawn
    assert "bad \\x1b[2J" in drawn
    assert "\u2500" in drawn or "-" in drawn
