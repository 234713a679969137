"""Plugins whose stages are wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from catching import fails

from libws_core import Client, Kind, Message, Session, hookimpl
from libws_core.testing import StageContract
from libws_core.types import Outgoing, Stage

THE_ONE = '{"number": 6, "data": {"u": 6, "s": "contract"}}'
"""One of the messages that contracts let a server say."""


class Waiting:
    @hookimpl
    def deliver(self, client: Client) -> Any:
        async def stage(message: Message) -> Message:
            return message

        return stage


@fails("test_its_stages_are_plain_functions")
class TestWaiting(StageContract):
    plugin = Waiting
    name = None


class Swapping:
    """Lets the next message go first."""

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        kept: list[Message] = []

        def stage(message: Message) -> Any:
            if message.data == THE_ONE:
                kept.append(message)
                return None
            return [message, kept.pop()] if kept else message

        return stage


@fails("test_messages_keep_their_order")
class TestSwapping(StageContract):
    plugin = Swapping
    name = None


class Losing:
    @hookimpl
    def incoming(self, session: Session) -> Stage:
        return lambda message: None if message.data == THE_ONE else message


@fails("test_nothing_is_dropped_unnamed")
class TestLosing(StageContract):
    plugin = Losing
    name = None


class Changing:
    @hookimpl
    def incoming(self, session: Session) -> Stage:
        return lambda message: Message.text(message.data.upper()) if message.data == THE_ONE else message


@fails("test_messages_pass_unchanged")
class TestChanging(StageContract):
    plugin = Changing
    name = None


class Promising:
    @hookimpl
    def incoming(self, session: Session) -> Stage:
        return lambda message: message


@fails("test_its_examples_are_true")
class TestPromising(StageContract):
    plugin = Promising
    name = None
    passes: ClassVar = [({"wrapped": "hello"}, "hello")]


class Surprised:
    """Takes every JSON for an object."""

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        def stage(message: Message) -> Message:
            if message.kind is Kind.TEXT and message.data.startswith("["):
                try:
                    parsed = message.json
                except ValueError:
                    return message
                if not parsed:
                    parsed["type"]
            return message

        return stage


@fails("test_odd_messages_raise_nothing_unforeseen")
class TestSurprised(StageContract):
    plugin = Surprised
    name = None


class Deaf:
    """Keeps pings to itself."""

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        return lambda message: None if message.kind is Kind.PING else message


@fails("test_pings_pongs_and_closes_go_on")
class TestDeaf(StageContract):
    plugin = Deaf
    name = None


@dataclass(eq=False, kw_only=True)
class Mixing:
    """Remembers in a field what it has let pass, whichever connection it came by."""

    _seen: set[Any] = field(default_factory=set, init=False, repr=False)

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        def stage(message: Message) -> Message | None:
            if message.kind is not Kind.TEXT:
                return message
            if message.data in self._seen:
                return None
            self._seen.add(message.data)
            return message

        return stage


@fails("test_its_connections_do_not_mix_their_state")
class TestMixing(StageContract):
    plugin = Mixing
    name = None


class Hoarding:
    """Never lets one message go."""

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        return lambda message: 1e9 if message.data == THE_ONE else message


@fails("test_what_is_sent_leaves_in_order")
class TestHoarding(StageContract):
    plugin = Hoarding
    name = None


class Refusing:
    """Answers with what is neither a message nor seconds."""

    @hookimpl
    def outgoing(self, session: Session) -> Any:
        return lambda message: None if message.data == THE_ONE else message


@fails("test_what_is_sent_leaves_in_order")
class TestRefusing(StageContract):
    plugin = Refusing
    name = None


class Polite:
    """Closes with 1000, whatever was asked."""

    @hookimpl
    def outgoing(self, session: Session) -> Outgoing:
        return lambda message: Message.close(1000) if message.kind is Kind.CLOSE else message


@fails("test_our_close_is_not_changed")
class TestPolite(StageContract):
    plugin = Polite
    name = None
