"""What the contracts of dialers stand on: waits that say what they waited for, and tests that run on a loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from libws_core import Message
from libws_core.testing.contract.real_loop import on_real_loop, until, within
from libws_core.testing.contract.receiver import Receiver, same


class Contract:
    """A class of tests, as the decorator needs it."""

    loop_factory = asyncio.new_event_loop

    @on_real_loop
    async def waits(self) -> None:
        await until(lambda: False, 0.01, "the moon")

    @on_real_loop
    async def asserts(self) -> None:
        assert asyncio.get_running_loop() is None, "not of the kit"

    @on_real_loop
    async def swallows(self) -> None:
        def bad() -> None:
            raise RuntimeError("in a callback")

        asyncio.get_running_loop().call_soon(bad)
        await asyncio.sleep(0.001)

    @on_real_loop
    async def loops(self) -> None:
        assert asyncio.get_running_loop().slow_callback_duration == 7


def test_a_wait_says_what_it_waited_for_without_a_traceback_of_the_kit() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"waited 0\.01 s for the moon") as caught:
        Contract().waits()
    assert not caught.value.pytrace


def test_what_an_authors_own_code_asserts_keeps_its_traceback() -> None:
    with pytest.raises(AssertionError, match="not of the kit"):
        Contract().asserts()


def test_what_a_loop_would_only_log_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match="in a callback"):
        Contract().swallows()


def slow() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.slow_callback_duration = 7
    return loop


@pytest.mark.parametrize("factory", [slow, staticmethod(slow), property(lambda self: slow)])
def test_the_loop_is_made_by_the_class(factory: Any) -> None:
    type("Own", (Contract,), {"loop_factory": factory})().loops()


async def test_a_timeout_of_the_body_is_not_taken_for_the_deadline() -> None:
    with pytest.raises(TimeoutError, match="its own"):
        async with within(1, "anything"):
            raise TimeoutError("its own")


def test_the_first_message_that_differs_is_told() -> None:
    one, other = Message.text("a"), Message.binary(b"b")
    same([one, other], [Message.text("a"), Message.binary(b"b")], "all")
    with pytest.raises(AssertionError, match="all: message 2 is TEXT 'a', expected BINARY b'b'"):
        same([one, one], [one, other], "all")
    with pytest.raises(AssertionError, match="all: 1 messages, expected 2"):
        same([one], [one, other], "all")
    with pytest.raises(AssertionError, match="BINARY bytearray"):
        same([Message.binary(bytearray(b"b"))], [other], "another type is another message")


async def test_a_message_too_many_is_not_waited_for() -> None:
    receiver = Receiver(None, patience=0.01)
    receiver.deliver(Message.text("x"))
    with pytest.raises(AssertionError, match="TEXT 'x' was delivered where the connection had to end"):
        await receiver.end(most=0)
    with pytest.raises(AssertionError, match="2 messages, of which 1 came"):
        await receiver.count(2)
