"""The inbox: bounded, in order, with one reader."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_core import ClientClosed, Gap, Message, NotReady
from libws_core.inbox import Inbox

GAP = Gap("test", 2, 0.0, 1.0)


def inbox(messages: int = 4, size: int = 100) -> tuple[Inbox, list[str]]:
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
    box, told = inbox(size=100)
    fill(box, "x" * 1000)
    assert box.full
    assert box.take() is not None
    assert told == ["low"]
    assert (box.count, box.size) == (0, 0)


@given(st.lists(st.one_of(st.text(max_size=50), st.none()), max_size=60), st.integers(1, 10), st.integers(1, 100))
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
