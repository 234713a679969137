"""Files that are no recording, or a broken one: told by file, line and cure, before anything is played."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest

from libws_core import Client, ConnectError, Verdict
from libws_core.testing import virtual
from libws_replay import Replay, Unreadable

Tape = Any  # of conftest.py, which cannot be imported


def refusal(url: str) -> str:
    """How a client fails that dials this."""

    @virtual
    async def dial() -> str:
        with pytest.raises(Unreadable) as caught:
            await Client(url, plugins=["replay"]).open()
        assert caught.value.verdict is Verdict.FATAL
        assert caught.value.fault == caught.value.initiator == "local"
        assert isinstance(caught.value, ConnectError)
        return str(caught.value)

    return dial()


@virtual
async def texts(url: str, count: int) -> list[Any]:
    async with Client(url, plugins=["-standard", "replay"]) as client:
        return [(await client.recv()).data for _ in range(count)]


def test_no_file(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    assert refusal(f"replay:{path}") == f"replay: there is no file {path}; record one with the plugin 'record'"


def test_no_file_that_can_be_read(tmp_path: Path) -> None:
    assert refusal(f"replay:{tmp_path}") == f"replay: {tmp_path} cannot be read: Is a directory"


def test_an_empty_file(tape: Tape) -> None:
    tape.path.write_bytes(b"")
    assert refusal(f"replay:{tape.path}") == f"replay: {tape.path} is empty: nothing was recorded"


@pytest.mark.parametrize("foreign", [b"hello\n", b'{"a":1}\n', b"[]\n", b"\xff\xfe\n", b'{"log":{"version":"1.2"}}\n'])
def test_a_foreign_file(tape: Tape, foreign: bytes) -> None:
    tape.path.write_bytes(foreign)
    assert refusal(f"replay:{tape.path}") == (
        f"replay: {tape.path}, line 1: this is no recording of the plugin 'record'; name another file"
    )


@pytest.mark.parametrize(("version", "cure"), [(2, "try: pip install -U libws-replay"), (0, "record anew")])
def test_another_version(tape: Tape, version: int, cure: str) -> None:
    tape.open().head(version=version).open()
    assert refusal(tape.url) == (
        f"replay: {tape.path}, line 3: it has version {version} of the format,"
        f" and this libws-replay reads version 1; {cure}"
    )


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{nonsense\n", "JSON is malformed"),
        (b"\n", "Input data was truncated"),
        (b'{"type":"news"}\n', "Invalid value 'news' - at `$.type`"),
        (b'{"type":"message","connection":1,"t":"soon"}\n', "Expected `float`, got `str` - at `$.t`"),
        (b'{"type":"message","connection":1,"t":1,"way":"in","kind":"binary","base64":"?"}\n', "base64"),
        (
            b'{"type":"message","connection":9,"t":1,"way":"in","kind":"text"}\n',
            "no line before it has opened connection 9",
        ),
        (b'{"type":"end","connection":9,"t":1}\n', "no line before it has opened connection 9"),
        (b'{"type":"end","connection":1,"t":1,"error":{"error":"KeyError"}}\n', "there is no error 'KeyError'"),
        (b'{"type":"end","connection":1,"t":1,"error":{"error":"HandshakeRejected"}}\n', "has a status"),
    ],
)
def test_a_broken_line(tape: Tape, line: bytes, why: str) -> None:
    tape.open().raw(line).got(1, "a")
    told = refusal(tape.url)
    assert told.startswith(f"replay: {tape.path}, line 3: it cannot be read: ")
    assert why in told
    assert told.endswith("; take it out, or record anew")


def test_headers_that_http_forbids(tape: Tape) -> None:
    tape.open(answer=[["X", "a\r\nb"]])
    assert "line 2: it cannot be read: header 'X'" in refusal(tape.url)


def test_a_recording_without_a_connection(tape: Tape) -> None:
    tape.fail("AuthenticationError", phase="authenticate")
    assert refusal(tape.url) == f"replay: {tape.path} holds no connection; record anew, until the client is connected"


def test_a_last_line_that_was_left_unfinished_is_passed_over(tape: Tape, caplog: pytest.LogCaptureFixture) -> None:
    tape.open().got(0, "a").raw(b'{"type":"message","connection":1,"t":0.')
    assert texts(tape.url, 1) == ["a"]
    assert "line 4: it was left unfinished, and is passed over" in caplog.text


def test_one_in_front_of_another_run_is_passed_over_too(tape: Tape) -> None:
    tape.open().got(0, "a").raw(b'{"type":"mess\n').head().open().got(0, "b")
    assert texts(tape.url, 1) == ["a"]


def test_holes_in_a_recording_are_told(tape: Tape, caplog: pytest.LogCaptureFixture) -> None:
    tape.open().add(type="note", note="dropped", count=3).got(0, "a").add(type="note", note="limit", text="full")
    tape.add(type="note", note="closed", at=1.0)
    assert texts(tape.url, 1) == ["a"]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"{tape.path}, line 3: 3 messages are missing here",
        f"{tape.path}, line 5: the recording was cut off here: full",
    ]


def test_fields_of_a_later_writer_are_passed_over(tape: Tape) -> None:
    tape.open(colour="red").got(0, "a", size=1)
    assert texts(tape.url, 1) == ["a"]


# URLs


def test_a_url_names_a_file_in_several_ways(tape: Tape, monkeypatch: pytest.MonkeyPatch) -> None:
    tape.path = tape.path.with_name("a session?.jsonl")
    tape.open().got(0, "a")
    _ = tape.url
    monkeypatch.chdir(tape.path.parent)
    quoted = str(tape.path).replace(" ", "%20").replace("?", "%3F")
    for url in (
        f"replay:{quoted}",
        f"replay://{quoted}",
        f"replay://localhost{quoted}",
        f"REPLAY:{quoted}",
        "replay:a%20session%3F.jsonl",
        "replay:./a%20session%3F.jsonl?token=added-by-auth",
    ):
        assert texts(url, 1) == ["a"], url


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("replay:", "replay: the URL names no file; write replay:FILE"),
        ("replay://", "replay: the URL names no file; write replay:FILE"),
        ("replay:?token=x", "replay: the URL names no file; write replay:FILE"),
        ("replay://host/x", "replay: the URL names a host; write replay:FILE, or replay:///ABSOLUTE/FILE"),
    ],
)
def test_a_url_that_names_no_file(url: str, text: str) -> None:
    assert refusal(url) == text


def test_a_dial_that_is_cancelled_leaves_nothing(tape: Tape) -> None:
    tape.open(dialing=100.0)

    @virtual
    async def dial() -> None:
        client = Client(tape.url, plugins=["-standard", Replay()], open_timeout=1)
        with pytest.raises(ConnectError, match="dial did not end in time"):
            await client.open()
        assert len(asyncio.all_tasks()) == 1

    dial()
