"""What a plugin promises through whose stages messages pass."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from ...errors import LibwsError
from ...match import template
from ...types import Control, Kind, Message
from ..expectation import matches, show
from . import oddities, subject
from .laboratory import MOMENT, Laboratory, experiment, is_data
from .plugin import PluginContract
from .verdict import broken, leave_out

__all__ = ["StageContract", "check_connections_apart"]

LATE = 10.0
"""Virtual seconds in which a plugin has told what it dropped."""
LONG = 3 * 3600.0
"""Virtual seconds in which everything that was sent must have left."""
SENT = 40
"""Messages that a user sends."""
SETTLE = 300.0
"""Virtual seconds that both connections of a move live."""


@dataclass
class _Fed:
    """What became of the messages that a server said."""

    said: list[Message] = field(default_factory=list)
    refused: list[Message] = field(default_factory=list)
    """Those that ended the connection with a LibwsError, which tells them."""
    got: list[Message] = field(default_factory=list)
    dropped: int = 0
    bug: tuple[Message, LibwsError] | None = None
    """The message at which the plugin raised something else."""


_known: WeakKeyDictionary[type, _Fed] = WeakKeyDictionary()


class StageContract(PluginContract):
    """Tests of a plugin that answers `incoming`, `outgoing` or `deliver`: order, and nothing lost that is not named.

    What `server` says by itself is left out of account, as far as it passes unchanged.

    ```python
    class TestUnwrap(StageContract):
        plugin = Unwrap
        takes = [{"type": "heartbeat"}]
        passes = [({"type": "data", "body": "hello"}, "hello")]
    ```
    """

    @property
    def takes(self) -> Sequence[Any]:
        """Messages that it takes out on purpose: matches, as everywhere."""
        return ()

    @property
    def passes(self) -> Sequence[tuple[Any, Any]]:
        """Examples: what arrives, and what the user gets of it; a tuple of several, or None for nothing."""
        return ()

    def test_its_stages_are_plain_functions(self) -> None:
        """A stage runs for each message: it never waits."""
        if waiting := self._waiting():
            broken(f"{subject.name_of(self)!r} gives {', '.join(waiting)}", "write def, and answer by session.send")

    def test_messages_keep_their_order(self) -> None:
        """What comes out does so in the order in which it arrived."""
        fed = self._fed()
        places = [fed.said.index(message) for message in fed.got if message in fed.said]
        for before, after in itertools.pairwise(places):
            if after < before:
                broken(f"{show(fed.said[before])} came out before {show(fed.said[after])}, which arrived earlier")

    def test_nothing_is_dropped_unnamed(self) -> None:
        """Each message comes out, is one of `takes`, or is told by Dropped, a Gap or an error."""
        fed = self._fed()
        missing = [
            each for each in fed.said if each not in fed.got and each not in fed.refused and not self._taken(each)
        ]
        strange = self._strange(fed)
        unnamed = len(missing) - len(strange) - fed.dropped
        if unnamed > 0:
            broken(
                f"{unnamed} messages have not come out and nothing tells it, such as {show(missing[0])}",
                "let it pass; or name it in `takes`; or tell it: session.emit(Dropped(count, why))",
            )

    def test_messages_pass_unchanged(self) -> None:
        """Nothing comes out that has not arrived, unless it is one of the examples in `passes`."""
        strange = self._strange(self._fed())
        if strange:
            broken(
                f"{show(strange[0])} came out, which nobody has said",
                "let messages that are none of yours pass as they are; give examples of the others in `passes`",
            )

    def test_its_examples_are_true(self) -> None:
        """What `passes` says comes out as it says."""
        for arrives, comes in self.passes:
            message = _message(arrives)
            wanted = [_message(each) for each in (comes if isinstance(comes, tuple) else (comes,)) if each is not None]

            async def say(lab: Laboratory, message: Message = message) -> list[Message]:
                before = len(lab.got)
                await lab.say(message)
                return lab.apart(lab.got[before:])

            got = experiment(self, say)
            if len(got) != len(wanted) or not all(map(_same, got, wanted)):
                broken(
                    f"{show(message)} arrived; the user was to get {', '.join(map(show, wanted)) or 'nothing'}, "
                    f"and got {', '.join(map(show, got)) or 'nothing'}"
                )

    def test_odd_messages_raise_nothing_unforeseen(self) -> None:
        """Empty, huge, no JSON, JSON of another shape: it passes, or is a LibwsError with a verdict."""
        fed = self._fed()
        if fed.bug is not None:
            broken(f"{show(fed.bug[0])} arrived: {fed.bug[1]}", "look before you take: any message may be of any shape")

    def test_pings_pongs_and_closes_go_on(self) -> None:
        """Other plugins see them, too."""

        async def say(lab: Laboratory) -> list[Message]:
            for message in (Message.ping(b"contract"), Message.pong(b"contract")):
                await lab.say(message)
            passed = lab.dialer.passed[lab.peer.number]
            lab.peer.close(1012, "contract")
            await asyncio.sleep(MOMENT)
            return passed

        self._check_plain()
        passed = {message.kind for message in experiment(self, say)}
        for kind in (Kind.PING, Kind.PONG, Kind.CLOSE):
            if kind not in passed:
                broken(f"{show(kind)} does not come past it", "give back every message whose kind is none of yours")

    def test_its_connections_do_not_mix_their_state(self) -> None:
        """In a move two connections live at once: what one has said changes nothing for the other."""
        self._check_plain()
        check_connections_apart(self, [*(_message(arrives) for arrives, _ in self.passes), *self.says[:40]])

    def test_what_is_sent_leaves_in_order(self) -> None:
        """Functions of `outgoing` may make messages wait; in the end all have left, in the order of sending."""
        messages = oddities.numbered(SENT)

        async def send(lab: Laboratory) -> tuple[int, list[Message], LibwsError | None]:
            before = len(lab.written)
            refused = 0

            async def one(message: Message) -> None:
                nonlocal refused
                try:
                    await lab.client.send(message)
                except LibwsError:
                    refused += 1

            sending = [asyncio.ensure_future(one(message)) for message in messages]
            await asyncio.wait(sending, timeout=LONG)
            await asyncio.sleep(1)
            for task in sending:
                task.cancel()
            await asyncio.wait(sending)
            return refused, [each for each in lab.written[before:] if is_data(each)], lab.bug

        refused, left, bug = experiment(self, send)
        if bug is not None:
            broken(f"{bug}", "answer outgoing with the Message, or with finite seconds >= 0")
        if refused == 0 and len(left) < SENT:
            broken(f"{SENT} messages were sent, {len(left)} have left {LONG:g} s later", "ask for finite seconds")
        places = [messages.index(message) for message in left if message in messages]
        if places != sorted(places):
            broken("messages have left in another order than that of sending", "ask for seconds, keep nothing back")

    def test_our_close_is_not_changed(self) -> None:
        """Functions of `outgoing` see a close, and let it pass."""

        async def close(lab: Laboratory) -> Message | None:
            peer = lab.peer
            await lab.client.close(4321, "contract")
            await asyncio.sleep(1)
            return peer.closed

        closed = experiment(self, close)
        if closed is None or not closed == Message.close(4321, "contract"):  # noqa: SIM201 - a Struct has its own !=
            told = "nothing" if closed is None else show(closed)
            broken(f"the client closed with 4321 'contract', the server got {told}", "give back a CLOSE as it is")

    def _taken(self, message: Message) -> bool:
        return any(matches(match, message) for match in self.takes) or any(
            _same(message, _message(arrives)) for arrives, _ in self.passes
        )

    def _strange(self, fed: _Fed) -> list[Message]:
        """What came out without having arrived."""
        known = [_message(each) for _, comes in self.passes for each in _several(comes)]
        return [each for each in fed.got if each not in fed.said and not any(_same(each, one) for one in known)]

    def _fed(self) -> _Fed:
        """Let the server say everything; all tests of a class look at one and the same."""
        self._check_plain()
        fed = _known.get(type(self))
        if fed is None:
            fed = _known[type(self)] = experiment(self, self._feed)
        return fed

    async def _feed(self, lab: Laboratory) -> _Fed:
        fed = _Fed()
        lab.got.clear()
        for message in self.says:
            fed.said.append(message)
            if not await lab.say(message):
                if lab.bug is not None:
                    fed.bug = message, lab.bug
                fed.refused.append(message)
                if lab.over:
                    break
        await asyncio.sleep(LATE)
        fed.got, fed.dropped = lab.apart(lab.got), lab.dropped
        return fed

    def _check_plain(self) -> None:
        if self._waiting():
            leave_out("its stages wait, see test_its_stages_are_plain_functions")

    def _waiting(self) -> list[str]:
        """Its stages that are no plain functions."""

        async def ask(lab: Laboratory) -> list[str]:
            found = []
            plan, name = lab.client._supervisor.plan, subject.name_of(self)
            for hook, argument in (("incoming", lab.dialer.sessions[-1]), ("outgoing", lab.dialer.sessions[-1])):
                found += [hook for each in plan.hooks[hook] if each.plugin == name and _waits(each.call(argument))]
            found += [
                "deliver" for each in plan.hooks["deliver"] if each.plugin == name and _waits(each.call(lab.client))
            ]
            return [f"an async function to {hook}" for hook in found]

        return experiment(self, ask)


def check_connections_apart(contract: PluginContract, messages: Sequence[Message]) -> None:
    """Fail if one connection's stages give something else while another connection lives."""
    half = len(messages) // 2

    async def alone(lab: Laboratory) -> list[Message]:
        passed = lab.dialer.passed[lab.peer.number]
        before = len(passed)
        for message in messages:
            if not await lab.say(message):
                leave_out(f"{show(message)} ends the connection")
        return lab.apart(passed[before:])

    async def together(lab: Laboratory) -> tuple[list[Message], list[Message]]:
        old = lab.peer
        first = lab.dialer.passed[old.number]
        began = len(first)
        for message in messages[:half]:
            lab.dialer.speak(old, message)
        await asyncio.sleep(MOMENT)
        moving = lab.dialer.sessions[-1].reopen("the contract tests a move", settle=SETTLE, overlap=5)
        await asyncio.sleep(1)
        new = lab.peer
        if new is old:
            leave_out("it does not move to a new connection")
        second = lab.dialer.passed[new.number]
        begins = len(second)
        for place, message in enumerate(messages):
            if half + place < len(messages):
                lab.dialer.speak(old, messages[half + place])
            lab.dialer.speak(new, message)
            await asyncio.sleep(MOMENT)
        await asyncio.sleep(1)
        asyncio.ensure_future(moving).cancel()
        return lab.apart(first[began:]), lab.apart(second[begins:])

    wanted = experiment(contract, alone)
    for which, got in zip(("old", "new"), experiment(contract, together), strict=True):
        if got != wanted:
            same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(got, wanted, strict=False))
            place = len([*same])
            here = show(got[place]) if place < len(got) else "nothing"
            there = show(wanted[place]) if place < len(wanted) else "nothing"
            broken(
                f"while two connections lived, {here} came of the {which} one in the place of {there}",
                "keep what belongs to a connection in session.state(...), not in fields",
            )


def _waits(stage: Any) -> bool:
    function = stage.stage if isinstance(stage, Control) else stage
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(vars(type(function)).get("__call__"))


def _message(what: Any) -> Message:
    made = template(what)
    assert made is not None
    return made


def _several(comes: Any) -> Iterable[Any]:
    return [each for each in (comes if isinstance(comes, tuple) else (comes,)) if each is not None]


def _same(one: Message, other: Message) -> bool:
    """Equal, or the same JSON."""
    if one == other:
        return True
    try:
        return one.kind is other.kind and isinstance(one.json, dict | list) and bool(one.json == other.json)
    except ValueError:
        return False
