"""Dialers that are wrong, whatever the scheme of their URLs: in what they dial, deliver, hold back and tell."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from alone import AnyDialer, WebSocketDialer, dialer_with
from catching import fails
from plain_dialer import PING, PlainConnection
from plain_handshake import Asked, PlainDialer

from libws_core import ConnectionClosed, Headers, Kind, LibwsError, Message, hookimpl

pytestmark = [  # what these leave behind is found by their test, and by Python when it collects garbage
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class TestRight(WebSocketDialer):
    """The plain dialer itself fails no test."""


# Dialing


class Greedy(PlainDialer):
    def is_mine(self, scheme: str) -> bool:
        return True


@fails("test_other_schemes_are_left_to_other_dialers")
class TestGreedy(AnyDialer):
    plugin = Greedy


class Untranslated(PlainDialer):
    def unreachable(self, error: OSError) -> Exception:
        return error


@fails("test_a_refused_dial_is_an_error_and_leaves_nothing")
class TestUntranslated(AnyDialer):
    plugin = Untranslated


class Surprised(PlainDialer):
    def hung_up(self) -> Exception:
        return EOFError()


@fails("test_a_dial_that_is_cut_is_an_error_and_leaves_nothing")
class TestSurprised(AnyDialer):
    plugin = Surprised


class Untidy(PlainDialer):
    def undo(self, asked: Asked, error: BaseException) -> None:
        if not isinstance(error, asyncio.CancelledError):
            super().undo(asked, error)


@fails("test_a_dial_cancelled_at_any_turn_leaves_nothing")
class TestUntidy(AnyDialer):
    plugin = Untidy


async def stubbornly(attempt: Callable[[], Any], headers: Headers) -> Any:
    """What a client, which says who it is, cannot cancel at the first time."""
    with contextlib.suppress(asyncio.CancelledError if "User-Agent" in headers else ()):
        return await attempt()
    return await attempt()


class Stubborn(PlainDialer):
    async def read_head(self, asked: Asked) -> Any:
        return await stubbornly(lambda: super(Stubborn, self).read_head(asked), asked.headers)


@fails("test_open_timeout_ends_a_dial_that_hangs")
class TestStubborn(AnyDialer):
    plugin = Stubborn


class Monogamous(PlainDialer):
    last: Any = None

    @hookimpl
    async def dial(self, request: Any) -> Any:
        connection = await super().dial(request)
        if self.last is not None:
            self.last.abort()
        self.last = connection
        return connection


@fails("test_one_dialer_dials_several_connections")
class TestMonogamous(AnyDialer):
    plugin = Monogamous


class Vague(PlainConnection):
    def __init__(self, wire: Any, dialer: Any, headers: Headers, subprotocol: str | None, deflated: bool) -> None:
        super().__init__(wire, dialer, headers, subprotocol or "", deflated)


@fails("test_the_answer_can_be_looked_up")
class TestVague(AnyDialer):
    plugin = dialer_with(Vague)


class Watchful(PlainConnection):
    def start(self, deliver: Any, ended: Any) -> None:
        super().start(deliver, ended)
        self.watching = self.loop.create_task(asyncio.sleep(3600))


@fails("test_a_client_with_it_leaves_nothing")
class TestWatchful(AnyDialer):
    plugin = dialer_with(Watchful)


# Messages


class Eager(PlainConnection):
    """Pushes to a sink as soon as there is one."""

    def wait(self) -> None:
        if self.ended is not None:
            super().wait()

    def changed(self) -> None:
        if self.ended is None and self.sink is not None and not self.wire.lost:
            self.flowing = True
            while self.wire.buffer and self.wire.buffer[0] & 15 != PING and (frame := self.next_frame()) is not None:
                self.take(*frame)
            self.flowing = False
        super().changed()


@fails("test_what_comes_before_start_is_kept_for_it")
class TestEager(AnyDialer):
    plugin = dialer_with(Eager)


class Repeating(PlainConnection):
    def push(self, message: Message) -> None:
        super().push(message)
        if len(message.data) == 70_000:
            super().push(message)


@fails("test_messages_arrive_in_order_and_once")
class TestRepeating(AnyDialer):
    plugin = dialer_with(Repeating)


class Deaf(PlainConnection):
    def take_control(self, message: Message) -> None:
        if message.kind is not Kind.PONG:
            super().take_control(message)


@fails("test_every_kind_is_delivered")
class TestDeaf(AnyDialer):
    plugin = dialer_with(Deaf)


class Overtaking(PlainConnection):
    def write(self, message: Message) -> None:
        if len(message.data) == 70_000:
            self.loop.call_soon(super().write, message)
        else:
            super().write(message)


@fails("test_what_is_written_reaches_the_server_in_order_and_once")
class TestOvertaking(AnyDialer):
    plugin = dialer_with(Overtaking)


class Boundless(PlainConnection):
    def check_room(self, length: int) -> None:
        pass


@fails("test_a_message_over_max_size_ends_the_connection")
class TestBoundless(AnyDialer):
    plugin = dialer_with(Boundless)


# Back-pressure


class Coasting(PlainConnection):
    """Looks at pause before it delivers what one read has brought, not within."""

    coasting = pausing = False

    def pause(self) -> None:
        self.pausing = self.coasting
        if not self.coasting:
            super().pause()

    def deliver_frames(self) -> None:
        self.coasting = True
        super().deliver_frames()
        self.coasting = False
        if self.pausing:
            self.pause()


@fails("test_a_pause_delivers_nothing_more")
class TestCoasting(AnyDialer):
    plugin = dialer_with(Coasting)


class Hasty(PlainConnection):
    """Catches up at once if much waits."""

    def resume(self) -> None:
        super().resume()
        if len(self.wire.buffer) > 50:
            self.go_on()


@fails("test_resume_goes_on_in_order_and_never_from_within_the_call")
class TestHasty(AnyDialer):
    plugin = dialer_with(Hasty)


class Forgetful(PlainConnection):
    """A resume that is under way forgets the pause behind it."""

    def resume(self) -> None:
        def go_on() -> None:
            self.flowing = True
            self.go_on()

        self.loop.call_soon(go_on)


@fails("test_a_pause_right_after_a_resume_holds")
class TestForgetful(AnyDialer):
    plugin = dialer_with(Forgetful)


class Hoarding(PlainConnection):
    def wait(self) -> None:
        pass


@fails("test_a_paused_connection_stops_reading")
class TestHoarding(AnyDialer):
    plugin = dialer_with(Hoarding)


class Impatient(PlainConnection):
    """Notices the end before it has delivered what waits."""

    catching_up = False

    def resume(self) -> None:
        if not self.wire.buffer:
            super().resume()
            return
        self.flowing = self.catching_up = True
        self.wire.transport.resume_reading()
        self.loop.call_later(0.05, self.catch_up)

    def catch_up(self) -> None:
        self.catching_up = False
        self.go_on()

    def changed(self) -> None:
        if self.catching_up and self.wire.lost:
            self.finish()
        elif not self.catching_up:
            super().changed()


@fails("test_what_was_read_is_delivered_before_the_end")
class TestImpatient(AnyDialer):
    plugin = dialer_with(Impatient)


class NeverEmpty(PlainConnection):
    written = False

    def put(self, opcode: int, payload: bytes) -> None:
        self.written = True
        super().put(opcode, payload)

    @property
    def buffered(self) -> int:
        return max(super().buffered, int(self.written and not self.wire.lost))


@fails("test_buffered_rises_while_the_server_stalls_and_falls_again")
class TestNeverEmpty(AnyDialer):
    plugin = dialer_with(NeverEmpty)


class Undrained(PlainConnection):
    drained = None


@fails("test_drained_is_called_when_buffered_has_fallen")
class TestUndrained(AnyDialer):
    plugin = dialer_with(Undrained)


class Stopped(PlainConnection):
    received = 0.0


@fails("test_received_is_when_bytes_last_arrived")
class TestStopped(AnyDialer):
    plugin = dialer_with(Stopped)


class Faithful(PlainConnection):
    """Looks its sink up once for all that one read has brought."""

    found: Any = None

    def deliver_frames(self) -> None:
        self.found = self.sink
        super().deliver_frames()

    def push(self, message: Message) -> None:
        self.found(message)


@fails("test_a_sink_takes_the_data_and_may_change_with_each_message")
class TestFaithful(AnyDialer):
    plugin = dialer_with(Faithful)


class Indifferent(PlainConnection):
    """Takes a ping for data."""

    def take_control(self, message: Message) -> None:
        self.last_data = self.wire.received
        super().take_control(message)


@fails("test_last_data_is_when_data_last_arrived")
class TestIndifferent(AnyDialer):
    plugin = dialer_with(Indifferent)


# Ends


class Talkative(PlainConnection):
    """Tells the end again to who closes after it."""

    told: Any = None

    def start(self, deliver: Any, ended: Any) -> None:
        self.told = ended
        super().start(deliver, ended)

    def close(self, code: int = 1000, reason: str = "") -> None:
        if self.wire.lost:
            self.told(self.broken())
        super().close(code, reason)


@fails("test_the_end_is_told_once_and_last")
class TestTalkative(AnyDialer):
    plugin = dialer_with(Talkative)


class Optimistic(PlainConnection):
    """Takes a broken line for a close."""

    def broken(self) -> ConnectionClosed:
        if self.aborted:
            return super().broken()
        return ConnectionClosed("the server is gone", code=1000, initiator="remote")


@fails("test_a_lost_connection_is_1006")
class TestOptimistic(AnyDialer):
    plugin = dialer_with(Optimistic)


class Leaving(PlainConnection):
    """Does not wait for the answer to its close."""

    def close(self, code: int = 1000, reason: str = "") -> None:
        super().close(code, reason)
        self.discard()
        self.wire.transport.close()


@fails("test_our_close_ends_with_the_servers_answer")
class TestLeaving(AnyDialer):
    plugin = dialer_with(Leaving)


class Discreet(PlainConnection):
    """Keeps the server's close to itself."""

    def take_close(self, payload: bytes) -> None:
        deliver, self.deliver = self.deliver, lambda message: None
        super().take_close(payload)
        self.deliver = deliver


@fails("test_the_servers_close_is_delivered_and_told")
class TestDiscreet(AnyDialer):
    plugin = dialer_with(Discreet)


class Polite(PlainConnection):
    """Answers each close with 1000."""

    def answer_close(self, code: int, reason: str) -> None:
        super().answer_close(1000, "")


@fails("test_the_servers_close_is_answered_with_its_code")
class TestPolite(AnyDialer):
    plugin = dialer_with(Polite)


class Collecting(PlainConnection):
    """Keeps what is written after the end."""

    kept = 0

    def write(self, message: Message) -> None:
        if self.wire.lost:
            self.kept += 1
        super().write(message)

    @property
    def buffered(self) -> int:
        return super().buffered + self.kept


@fails("test_what_is_written_after_the_end_goes_nowhere")
class TestCollecting(AnyDialer):
    plugin = dialer_with(Collecting)


class Waving(PlainConnection):
    """Says goodbye when it is told to abort."""

    def abort(self) -> None:
        if not self.closing:
            self.put_close(1001, "")
        super().abort()


@fails("test_abort_ends_without_a_frame")
class TestWaving(AnyDialer):
    plugin = dialer_with(Waving)


class Thorough(PlainConnection):
    """Writes everything before it aborts."""

    def abort(self) -> None:
        if not self.wire.transport.get_write_buffer_size():
            super().abort()
        elif not self.aborted:
            self.aborted = True
            self.discard()
            self.wire.transport.close()


@fails("test_abort_waits_for_nobody")
class TestThorough(AnyDialer):
    plugin = dialer_with(Thorough)


class Trusting(PlainConnection):
    """Leaves it to the server once it has closed."""

    def abort(self) -> None:
        if self.initiator != "local" or self.discarding:
            super().abort()


@fails("test_abort_ends_what_close_has_not")
class TestTrusting(AnyDialer):
    plugin = dialer_with(Trusting)


class Insistent(PlainConnection):
    """Tells an end for each abort."""

    def abort(self) -> None:
        ended: Callable[[LibwsError], object] | None = self.ended
        if self.aborted and ended is not None:
            self.loop.call_soon(ended, self.broken())
        super().abort()


@fails("test_a_second_abort_changes_nothing")
class TestInsistent(AnyDialer):
    plugin = dialer_with(Insistent)
