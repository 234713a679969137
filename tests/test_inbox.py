"""The inbox: bounded, in order, with one reader."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_core import ClientClosed, Gap, Message, NotReady
from libws_core.inbox import Inbox

GAP = Gap("test", 2, 0.0, 1.0)


def inbox(messages: int = 4, size: int = 1000) -> tuple[Inbox, list[str]]:
    told: list[str] = []
    return Inbox(messages, size, lambda: None, lambda: told.append("low")), told


def fill(box: Inbox, *texts: str) -> None:
    for text in texts:
        message = Message.text(text)
        box.put(message)


def test_full_at_the_high_mark_and_low_again_at_half() -> None:
    box, told = inbox(messages=4)
    fill(box, "a", "b", "c")
    assert not box.full
    fill(box, "d")
    assert box.full
    assert box.take() == Message.text("a")
    assert told == []
    assert box.take() == Message.text("b")
    assert told == ["low"]
    assert not box.full


def test_bytes_are_a_bound_too_and_an_empty_inbox_admits_anything() -> None:
    box, told = inbox(size=1000)
    fill(box, "x" * 10_000)
    assert box.full
    assert box.take() is not None
    assert told == ["low"]
    assert (box.count, box.size) == (0, 0)


@pytest.mark.parametrize("text", ["x" * 999, "\u3042" * 499, "x" * 249 + "\U0001f600"])
def test_bytes_are_those_of_memory_which_one_emoji_makes_four_times_as_many(text: str) -> None:
    box, _ = inbox(size=3000)
    fill(box, text, text)
    assert not box.full
    fill(box, text)
    assert box.full


def test_a_text_that_grows_in_the_inbox_does_not_widen_it() -> None:
    box, _ = inbox(size=1000)
    text = '["' + "\u3042" * 300 + '"]'
    for _ in range(100):
        fill(box, text, text)
        assert box.full
        first = box.take()
        assert isinstance(first, Message)
        assert first.json  # which leaves its UTF-8 in the text that both share
        assert box.take() is not None
        assert box.take() is None
        assert box.size == 0


@given(st.lists(st.one_of(st.text(max_size=50), st.none()), max_size=60), st.integers(1, 10), st.integers(1, 1000))
def test_what_goes_in_comes_out_in_order_and_is_counted(items: list[str | None], messages: int, size: int) -> None:
    box, _ = inbox(messages, size)
    expected, got = [], []
    for item in items:
        if item is None:
            taken = box.take()
            if taken is not None:
                got.append(taken)
        else:
            fill(box, item)
            expected.append(Message.text(item))
        assert box.full or (box.count < messages and box.size < size)
    while (taken := box.take()) is not None:
        got.append(taken)
    assert got == expected
    assert (box.count, box.size, box.full) == (0, 0, False)


def test_markers_stand_in_their_place_for_those_who_ask() -> None:
    box, _ = inbox()
    fill(box, "a")
    box.mark(GAP)
    fill(box, "b")
    assert [box.take(markers=True) for _ in range(4)] == [Message.text("a"), GAP, Message.text("b"), None]
    box.mark(GAP)
    fill(box, "c")
    assert [box.take() for _ in range(2)] == [Message.text("c"), None]


async def test_a_reader_wakes_for_a_message_and_not_for_a_marker_that_it_did_not_ask_for() -> None:
    box, _ = inbox()
    reader = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    assert box.waiting
    box.mark(GAP)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not reader.done()
    fill(box, "a")
    assert await reader == Message.text("a")


async def test_one_reader_at_a_time() -> None:
    box, _ = inbox()
    first = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one reader"):
        await box.get()
    first.cancel()
    await asyncio.wait({first})
    fill(box, "a")
    assert await box.get() == Message.text("a")


@pytest.mark.parametrize(("error", "raised"), [(None, ClientClosed), (NotReady("gone"), NotReady)])
async def test_the_end_comes_after_what_is_there(error: NotReady | None, raised: type[Exception]) -> None:
    box, _ = inbox()
    fill(box, "a")
    box.finish(error)
    assert await box.get() == Message.text("a")
    with pytest.raises(raised):
        await box.get()


async def test_the_end_wakes_a_waiting_reader() -> None:
    box, _ = inbox()
    reader = asyncio.ensure_future(box.get())
    await asyncio.sleep(0)
    box.finish(None)
    with pytest.raises(ClientClosed):
        await reader
