"""Messages of kernels, as they stand in messages of WebSocket: both ways, in both protocols; and the ledger."""

from __future__ import annotations

import itertools
import json
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from libws_core import Kind, Message, ProtocolError
from libws_jupyter.framing import Received, decode, encode
from libws_jupyter.ledger import Ledger

texts = some.text(some.characters(codec="utf-8"), max_size=5)
values = some.none() | some.booleans() | some.integers(-(2**63), 2**63 - 1) | texts | some.lists(texts, max_size=2)
objects = some.dictionaries(texts, values, max_size=2)
received = some.fixed_dictionaries(
    {
        "channel": some.sampled_from(["shell", "control", "stdin", "iopub"]),
        "header": objects,
        "parent_header": objects,
        "metadata": objects,
        "content": objects,
        "buffers": some.lists(some.binary(max_size=9), max_size=2),
    }
)


def message(content: Any = None, buffers: list[bytes] | None = None) -> Received:
    return {
        "channel": "iopub",
        "header": {"msg_id": "1"},
        "parent_header": {},
        "metadata": {},
        "content": {"a": 1} if content is None else content,
        "buffers": buffers or [],
    }


@pytest.mark.parametrize("v1", [True, False])
@given(said=received)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read(v1: bool, said: Received) -> None:
    wire = encode(said, v1=v1)
    assert wire.kind is (Kind.BINARY if v1 or said["buffers"] else Kind.TEXT)
    assert decode(wire, v1=v1) == said


@pytest.mark.parametrize("v1", [True, False])
@given(said=received, data=some.data())
@settings(max_examples=60, deadline=None)
def test_what_is_cut_or_changed_is_read_or_refused(v1: bool, said: Received, data: Any) -> None:
    wire = encode(said, v1=v1)
    raw = bytearray(wire.data if wire.kind is Kind.BINARY else wire.data.encode())
    place = data.draw(some.integers(0, len(raw) - 1))
    if data.draw(some.booleans()):
        del raw[place:]
    else:
        raw[place] = data.draw(some.integers(0, 255))
    for kind in (Message.binary(bytes(raw)), Message.text(raw.decode("utf-8", "replace"))):
        try:
            decode(kind, v1=v1)
        except ProtocolError:
            pass


def test_the_subprotocol_is_written_as_its_page_shows() -> None:
    """Count of offsets, offsets from the start of it all, then the parts; all numbers of 64 bits, little endian."""
    wire = encode(message(buffers=[b"xy"]), v1=True).data
    (count,) = struct.unpack_from("<Q", wire)
    offsets = struct.unpack_from(f"<{count}Q", wire, 8)
    assert count == 7
    assert offsets[0] == 8 * 8
    parts = [wire[begin:end] for begin, end in itertools.pairwise(offsets)]
    assert parts == [b"iopub", b'{"msg_id":"1"}', b"{}", b"{}", b'{"a":1}', b"xy"]
    assert offsets[-1] == len(wire)


def test_the_legacy_protocol_is_written_as_its_page_shows() -> None:
    wire = encode(message(buffers=[b"xy", b"z"]), v1=False).data
    assert struct.unpack_from("!I", wire) == (3,)
    first, second, third = struct.unpack_from("!3I", wire, 4)
    assert first == 16
    assert json.loads(wire[first:second])["content"] == {"a": 1}
    assert (wire[second:third], wire[third:]) == (b"xy", b"z")
    assert json.loads(encode(message(), v1=False).data)["channel"] == "iopub"


def test_what_kernels_write_though_it_is_no_json_is_read() -> None:
    text = '{"channel":"iopub","header":{},"parent_header":{},"metadata":{},"content":{"a":NaN,"b":"\\ud800"}}'
    content = decode(Message.text(text), v1=False)["content"]
    assert content["a"] != content["a"]
    assert content["b"] == "\ud800"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"header":1,"content":{}}',
        '{"channel":"iopub","header":{},"content":[]}',
        '{"channel":"other","header":{},"content":{}}',
        '{"channel":["iopub"],"header":{},"content":{}}',
        "[" * 100_000,
        b"",
        b"\0\0\0\0",
        b"\xff" * 8,
        struct.pack("!2I", 1, 9999),
        struct.pack("!3I", 2, 12, 4) + b"{}",
        struct.pack("<Q", 6) + b"\0" * 48,
        struct.pack("<Q", 2**60),
    ],
)
def test_what_is_no_message_is_refused(said: str | bytes) -> None:
    for v1 in (True, False):
        with pytest.raises(ProtocolError, match="no message of a Jupyter kernel"):
            decode(Message.text(said) if isinstance(said, str) else Message.binary(said), v1=v1)


@pytest.mark.parametrize("v1", [True, False])
def test_a_buffer_that_is_cut_off_is_no_shorter_buffer(v1: bool) -> None:
    wire = encode(message(buffers=[b"abc", b"def"]), v1=v1).data
    for less in range(1, 4) if v1 else (4, 5, 6):  # the legacy protocol does not tell where the last one ends
        with pytest.raises(ProtocolError):
            decode(Message.binary(wire[:-less]), v1=v1)


def test_what_json_cannot_hold_is_refused() -> None:
    for v1 in (True, False):
        with pytest.raises(ValueError, match="what JSON cannot"):
            encode(message(content={"a": object()}), v1=v1)


def counted(*numbers: int) -> Ledger:
    """A ledger that was settled, then has seen these."""
    ledger = Ledger()
    ledger.begin("k_1_10")
    ledger.settle()
    for number in numbers:
        ledger.note(f"k_1_{number}")
    return ledger


def test_numbers_without_a_hole_prove_that_nothing_is_missing() -> None:
    assert counted().whole()
    assert counted(11, 12, 13).whole()
    assert counted(12, 11, 13).whole()
    assert not counted(12).whole()
    assert counted(12).whole(until=10)
    assert counted(11, 13).whole(until=11)
    assert not counted(5_000).whole()


def test_a_hole_that_was_told_is_not_told_again_and_may_still_be_filled() -> None:
    ledger = counted(11, 13)
    ledger.settle()
    assert ledger.whole()
    assert ledger.note("k_1_12") == (12, False)
    assert ledger.note("k_1_12") == (12, True)
    assert ledger.note("k_1_13") == (13, True)
    ledger.doubt()
    assert ledger.note("k_1_13") == (13, False)
    assert not ledger.whole()


@pytest.mark.parametrize("id", [None, 7, "", "uuid-without-a-number", "a_", "_7", "a_٣", "a_" + "9" * 30, "other_1_11"])
def test_other_ids_prove_nothing(id: Any) -> None:
    ledger = counted()
    assert ledger.note(id) == (0, False)
    ledger.begin(id)
    assert not ledger.whole()
    ledger = Ledger()
    assert not ledger.whole()
    ledger.begin("k_1_1")
    assert not ledger.whole()  # it is not known what came before
