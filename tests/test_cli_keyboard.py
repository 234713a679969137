"""Standard input as lines, and the line that is being typed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from libws_core.cli import keyboard
from libws_core.cli.keyboard import CHUNK, Editor, Input, Lines, LineTooLong


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            pass  # the test has closed it


async def read_all(source: Input) -> list[str]:
    lines = []
    async with asyncio.timeout(10):
        while (line := await source.read()) is not None:
            lines.append(line)
    return lines


async def test_lines_of_a_pipe_come_one_by_one_and_then_the_end(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Input(reader, Lines())
    first = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    assert not first.done()
    os.write(writer, "grüße\r\n\nla".encode())
    assert await asyncio.wait_for(first, 10) == "grüße"
    assert await source.read() == ""
    os.write(writer, b"st")
    os.close(writer)
    assert await read_all(source) == ["last"]
    assert await source.read() is None


async def test_character_that_is_cut_in_two_is_put_together(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Input(reader, Lines())
    waiting = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    os.write(writer, "ü".encode()[:1])
    for _ in range(5):
        await asyncio.sleep(0)
    os.write(writer, "ü".encode()[1:] + b"\xff\n")
    assert await asyncio.wait_for(waiting, 10) == "ü\ufffd"  # what is not UTF-8 cannot be text


async def test_file_is_read_though_it_cannot_be_watched(tmp_path: Path) -> None:
    lines = [f"line {number} {'x' * 1000}" for number in range(3 * CHUNK // 1000)]
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(lines))
    with path.open("rb") as file:
        assert await read_all(Input(file.fileno(), Lines())) == lines


async def test_reading_goes_no_further_than_is_asked_for(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.set_blocking(writer, False)
    source = Input(reader, Lines())
    written = os.write(writer, b"x\n" * 10)
    assert await source.read() == "x"
    try:
        while True:
            written += os.write(writer, b"y\n" * 1000)
    except BlockingIOError:
        pass  # the pipe is full: nobody has read what nobody asked for
    assert written >= CHUNK // 2


@pytest.mark.parametrize("descriptor", [-1, None])
async def test_closed_input_has_ended(descriptor: int | None) -> None:
    if descriptor is None:
        descriptor, other = os.pipe()
        os.close(descriptor)
        os.close(other)
    assert await Input(descriptor, Lines()).read() is None


async def test_where_the_loop_cannot_watch_a_thread_reads(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_reader", refuse)
    reader, writer = pipe
    source = Input(reader, Lines())
    waiting = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    os.write(writer, b"a\nb")
    assert await asyncio.wait_for(waiting, 10) == "a"
    assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    os.close(writer)
    assert await read_all(source) == ["b"]


async def test_cancelled_reader_leaves_nothing_watched(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    source = Input(reader, Lines())
    waiting = asyncio.create_task(source.read())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert not asyncio.get_running_loop().remove_reader(reader)
    os.write(writer, b"later\n")
    assert await source.read() == "later"


def test_line_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyboard, "LONGEST", 10)
    lines = Lines()
    assert lines.feed("0123456789") == []
    with pytest.raises(LineTooLong):
        lines.feed("x")


@pytest.mark.parametrize(
    ("keys", "lines", "left"),
    [
        ("abc", [], "abc"),
        ("abc\r", ["abc"], ""),
        ("abc\nd", ["abc"], "d"),
        ("a\r\nb\n", ["a", "b"], ""),
        ("\r\r", ["", ""], ""),
        ("abc\x7f\bd", [], "ad"),
        ("\x7f", [], ""),
        ("one two  \x17x", [], "one x"),
        ("one\x17", [], ""),
        ("one two\x15x", [], "x"),
        ("a\x04", [], "a"),
        ("\x04", [None], ""),
        ("a\n\x04", ["a", None], ""),
        ("a\x00\x01\x0c\x9bb", [], "ab"),
        ("a\tb", [], "a\tb"),
        ("a\x1b[Cb\x1b[1;5Dc\x1bOPd\x1bxe", [], "abcde"),
        ("one\ntwo\n\x1b[A", ["one", "two"], "two"),
        ("one\ntwo\n\x1b[A\x1bOA!", ["one", "two"], "one!"),
        ("one\ntwo\n\x1b[A\x1b[A\x1b[A\x1b[B", ["one", "two"], "two"),
        ("one\n\x1b[A\x1b[B\x1b[B", ["one"], ""),
        ("one\none\n\n\x1b[A\x1b[A", ["one", "one", ""], "one"),
        ("\x1b[A", [], ""),
    ],
)
def test_keys_edit_the_line(keys: str, lines: list[str | None], left: str) -> None:
    at_once, one_by_one = Editor(), Editor()
    assert at_once.feed(keys) == lines
    assert at_once.text == left
    assert [line for key in keys for line in one_by_one.feed(key)] == lines
    assert one_by_one.text == left


async def test_end_of_typing_ends_the_input_though_more_was_typed(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"a\n\x04b\n")
    assert await read_all(Input(reader, Editor())) == ["a"]


async def test_line_that_was_not_entered_is_not_sent_when_the_terminal_goes(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    os.write(writer, b"a\nhalf")
    os.close(writer)
    assert await read_all(Input(reader, Editor())) == ["a"]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [("abcdef", 10, "abcdef"), ("abcdef", 3, "def"), ("abcdef", 0, ""), ("a漢字", 4, "漢字"), ("a漢字", 3, "字")],
)
def test_end_of_the_line_is_shown_in_as_many_columns_as_there_are(text: str, width: int, shown: str) -> None:
    editor = Editor()
    editor.feed(text)
    assert editor.visible(width) == shown
