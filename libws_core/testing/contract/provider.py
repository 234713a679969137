"""What a plugin promises that stands for a provider."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ...client import Client
from ...errors import ConfigurationError, ConnectionClosed, LibwsError
from ...events import Connected, Disconnected, Event, Reconnected
from ...plugins import Entry, Shelf
from ...verdicts import Verdict, verdict_table
from ..clock import VirtualLoop
from ..memory import MemoryDialer, MemoryPeer
from ..peer import Bell, Unexpected
from . import imports, subject
from .hearing import hear
from .plugin import PluginContract
from .stages import check_connections_apart
from .verdict import broken, leave_out

__all__ = ["ProviderContract"]

PATIENCE = 86_400.0
"""Virtual seconds in which a client has come back, or has ended."""
MESSAGES = 40
"""Messages of which each connection of a move says all."""
CHECKLIST = ("auth", "heartbeat", "limits", "lifetime", "close codes", "resume", "tested")
"""What the README of a provider tells: what its users must know, and against what and when it was tested."""
UNSENT = (1004, 1005, 1006, 1015)
"""Codes that no close frame carries: RFC 6455 section 7.4.1."""


class ProviderContract(PluginContract):
    """Tests of a plugin that brings others along and says how they shall behave for one provider.

    ```python
    class TestAcme(ProviderContract):
        plugin = Acme
        codes = {4000: "retry", "4010-4019": "fatal"}
    ```
    """

    @property
    def codes(self) -> Mapping[int | str, str]:
        """Close codes, or ranges such as "4000-4009", with their verdict: "retry", "refresh" or "fatal"."""
        return {}

    def test_a_client_is_assembled_from_its_options(self) -> None:
        """A client can be made with it and with what it uses."""
        if any(name not in Shelf().entries for name in self._uses()):
            leave_out("it uses what is not installed, see test_the_plugins_that_it_uses_are_installed")
        super().test_a_client_is_assembled_from_its_options()

    def test_the_plugins_that_it_uses_are_installed(self) -> None:
        """What `uses` names can be loaded, with these options."""
        shelf = Shelf()
        for name, options in self._uses().items():
            if name not in shelf.entries:
                broken(f"{subject.name_of(self)!r} uses {name!r}, which is not installed", "add it to `dependencies`")
            try:
                Client(self.url, plugins=[name, MemoryDialer(), "-standard"], options={name: options})
            except ConfigurationError as error:
                broken(f"{subject.name_of(self)!r} uses {name!r} in a way that it does not take: {error}")

    def test_it_declares_the_plugins_that_it_uses(self) -> None:
        """Whoever installs it has what it uses: each stands in the distribution's dependencies."""
        entry, shelf = self._entry(), Shelf()
        declared = imports.needs(entry)
        for name in self._uses():
            homes = [imports.normal(each.distribution) for each in shelf.entries.get(name, [])]
            if homes and not declared.intersection(homes):
                broken(f"{entry} uses {name!r}, and does not depend on {homes[0]}", "add it to `dependencies`")

    def test_its_codes_have_their_verdicts(self) -> None:
        """A close with one of `codes` means what that says, whoever of its plugins tells."""
        for code, verdict in _spread(self.codes):
            error = self._adapted(code)
            if error.verdict is not verdict:
                broken(
                    f"{code} is to be {verdict}, and is {error.verdict}",
                    'say so in adapt_error, or use {"backoff": {"codes": {...}}}',
                )

    def test_it_comes_back_after_codes_that_may_be_retried(self) -> None:
        """After a close with such a code the client is READY again."""
        for code, verdict in _firsts(self.codes):
            if verdict is not Verdict.FATAL and self._verdict(code) is not Verdict.FATAL:
                came, state = self._closed_with(code)
                if not came:
                    broken(f"after a close with {code} the client is not READY again, but {state}")

    def test_it_stops_at_codes_that_are_fatal(self) -> None:
        """After a close with such a code there is no further attempt."""
        for code, verdict in _firsts(self.codes):
            if verdict is Verdict.FATAL and self._verdict(code) is Verdict.FATAL:
                came, state = self._closed_with(code)
                if came or state != "FAILED":
                    broken(f"after a close with {code} the client is {state}, and should have FAILED")

    def test_its_connections_do_not_mix_their_state(self) -> None:
        """In a move two connections live at once: what one has said changes nothing for the other."""
        check_connections_apart(self, self.says[:MESSAGES])

    def test_its_readme_has_the_checklist(self) -> None:
        """Its users read what it does about log-in, heartbeat, limits and the rest, and when that was tested."""
        entry = self._entry()
        metadata = entry.point.dist.metadata
        text = str(metadata.get("Description") or metadata.get_payload() or "")
        if not text.strip():
            leave_out(f"{entry} has no long description")
        missing = [word for word in CHECKLIST if not re.search(_begins_with(word), text)]
        if missing:
            broken(f"the README of {entry} says nothing of {', '.join(missing)}", "add a heading or a point for each")

    def _uses(self) -> Mapping[str, Mapping[str, Any]]:
        return subject.uses_of(self)

    def _entry(self) -> Entry:
        entries = Shelf().entries.get(subject.name_of(self), []) if self.name is not None else []
        if not entries:
            leave_out("it is not installed")
        return entries[0]

    def _adapted(self, code: int) -> LibwsError:
        client = subject.assembled(self, MemoryDialer())
        error = ConnectionClosed(f"closed with {code}", code=code)
        return client._supervisor._adapt(error, client._supervisor.request)

    def _verdict(self, code: int) -> Verdict:
        return self._adapted(code).verdict

    def _closed_with(self, code: int) -> tuple[bool, str]:
        """Close a READY connection with this code: whether the client was READY again, and its state then."""
        subject.assembled(self, MemoryDialer())

        async def main() -> tuple[bool, str]:
            dialer, bell, events = MemoryDialer(self.server), Bell(), list[Event]()
            client = self.client(dialer)
            client.on(Event, events.append)
            client.on(Event, lambda _: bell.ring())

            async def reach(count: int) -> bool:
                def look() -> bool | None:
                    ready = sum(isinstance(event, Connected | Reconnected) for event in events) >= count
                    return ready or (False if client._supervisor.over else None)

                try:
                    return await bell.until(look, PATIENCE, lambda _: "")
                except Unexpected:
                    return False

            opening = asyncio.get_running_loop().create_task(client.open())
            try:
                if not await reach(1):
                    return False, "never READY"
                await asyncio.sleep(1)
                _end(dialer.peers[-1], code)
                await bell.until(lambda: any(isinstance(each, Disconnected) for each in events) or None, 60, str)
                return await reach(2), client.state.upper()
            finally:
                await client.close()
                await asyncio.wait([opening])
                opening.cancelled() or opening.exception()
                await dialer._end()

        with hear(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
            came, state = runner.run(main())
        if state == "never READY":
            leave_out("it does not get READY, see test_it_gets_ready_again_after_each_loss")
        return came, state


def _begins_with(word: str) -> str:
    """A heading, a point of a list or a row that begins with a word, also behind a box that may be ticked."""
    return rf"(?im)^\W*(?:x\]\W*)?{word.replace(' ', '[ -]')}"


def _end(peer: MemoryPeer, code: int) -> None:
    if code == 1006:
        peer.drop()
    else:
        peer.close(code)


def _spread(codes: Mapping[int | str, str]) -> Iterator[tuple[int, Verdict]]:
    """Each code with its verdict."""
    yield from verdict_table({str(code): Verdict(verdict) for code, verdict in codes.items()}).items()


def _firsts(codes: Mapping[int | str, str]) -> Iterator[tuple[int, Verdict]]:
    """The first code of each entry that an end may have."""
    table = dict(_spread(codes))
    for key in codes:
        first = int(str(key).partition("-")[0])
        if first not in UNSENT or first == 1006:
            yield first, table[first]
