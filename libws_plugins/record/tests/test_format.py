"""What is written is what is read: any message, on any line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_core import Kind, Message
from libws_record.format import BEGINNING, FORMAT, VERSION, Run, decode, encode, line_of, message_of

payloads = st.binary(max_size=125)
messages = st.one_of(
    st.builds(Message.text, st.text()),
    st.builds(Message.binary, st.binary() | st.text().map(str.encode)),
    st.builds(Message.ping, payloads),
    st.builds(Message.pong, payloads),
    st.builds(Message.close, st.just(1005) | st.integers(3000, 4999), st.text(max_size=30)).map(
        lambda message: message if message.data else Message.close(1005)
    ),
)


@given(message=messages, t=st.floats(0, 1e6), way=st.sampled_from(["in", "out"]))
def test_any_message_comes_back_as_it_was(message: Message, t: float, way: Any) -> None:
    line = encode(line_of(7, t, way, message.kind, message.data))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    said = decode(line)
    again = message_of(said)  # type: ignore[arg-type]
    assert (again.kind, again.data) == (message.kind, message.data)
    assert (said.t, said.way, said.connection) == (t, way, 7)  # type: ignore[union-attr]


def test_bytes_that_can_be_read_are_written_as_text() -> None:
    assert json.loads(encode(line_of(1, 0, "in", Kind.BINARY, b'{"a": 1}\r\n')))["text"] == '{"a": 1}\r\n'
    assert json.loads(encode(line_of(1, 0, "in", Kind.BINARY, b"\x1b[2J")))["base64"]
    assert json.loads(encode(line_of(1, 0, "in", Kind.BINARY, b"\xff")))["base64"]


def test_a_text_that_no_dialer_can_write_does_not_break_the_recording() -> None:
    assert json.loads(encode(line_of(1, 0, "out", Kind.TEXT, "a\ud800b")))["text"] == "a?b"


def test_every_recording_begins_alike() -> None:
    run = Run(format=FORMAT, version=VERSION, libws="0", wall=0, time="", redacted=True)
    assert encode(run).startswith(BEGINNING)


@pytest.mark.parametrize("line", [b"", b"{}", b'{"type":"news"}', b"[1]", b'{"type":"message","connection":1}'])
def test_what_is_no_line_is_a_value_error(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        decode(line)
