"""What a plugin that watches connections promises."""

from __future__ import annotations

import asyncio
from typing import Any

from ...client import Client
from ...events import Connected, Disconnected, Event, Reconnected
from ...verdicts import Verdict
from ..clock import VirtualLoop, describe_task
from ..memory import MemoryDialer
from . import subject
from .hearing import hear
from .plugin import PluginContract
from .verdict import broken, leave_out

__all__ = ["KeepAliveContract"]

HOURS = 3 * 3600.0
"""Virtual seconds that a live server is watched."""
PAUSE = 3600.0
"""Virtual seconds in which we do not read."""
FLOOD = 20
"""Messages that fill an inbox of two."""
EXACT = 0.1
"""Seconds by which a bound may be missed."""
MOMENTS = (0.0, 1.0, 19.9, 20.1, 30.0, 59.0)
"""Seconds after READY at which connections are lost, some of them while an answer is waited for."""
AWAY = ("ping",)
"""Standard plugins that would notice in this one's place."""


class KeepAliveContract(PluginContract):
    """Tests of a plugin that answers `keep_alive` to notice a peer that has gone silent.

    ```python
    class TestHeartbeat(KeepAliveContract):
        plugin = Heartbeat
        notices_within = 45
    ```
    """

    @property
    def notices_within(self) -> float | None:
        """Seconds after a peer's last byte within which it is given up; None = it does not notice."""
        return 60

    def test_a_live_server_is_never_given_up(self) -> None:
        """Three hours with a good server, and no connection is lost."""

        async def main(lab: _Lab) -> None:
            await lab.ready()
            await asyncio.sleep(HOURS)

        lost = self._watch(main).lost
        if lost:
            broken(f"a good server was given up after {lost[0].uptime:g} s: {_told(lost[0])}")

    def test_a_silent_server_is_given_up_in_time(self) -> None:
        """Nothing arrives any more, and the connection ends within `notices_within` seconds."""
        lost = self._silenced()
        within = self.notices_within
        assert within is not None
        if not lost:
            broken(f"a server that went silent was not given up in {10 * within:g} s; it should be in {within:g} s")
        took = lost[0].uptime - _Lab.talks
        if took > within + EXACT:
            broken(f"a server that went silent was given up after {took:g} s; it should be within {within:g} s")

    def test_giving_up_may_be_tried_again(self) -> None:
        """Silence is no reason never to come back: the error's verdict is RETRY."""
        lost = self._silenced()
        if lost and lost[0].error.verdict is not Verdict.RETRY:
            broken(
                f"silence ends the client: {_told(lost[0])} has the verdict {lost[0].error.verdict}",
                "raise KeepAliveTimeout or IdleTimeout with the verdict that they have",
            )

    def test_while_we_do_not_read_nobody_is_blamed(self) -> None:
        """A slow consumer fills the inbox, so we stop reading: what the peer sends cannot be seen."""

        async def main(lab: _Lab) -> None:
            await lab.ready(reads=False)
            for message in self.says[:FLOOD]:
                for peer in lab.dialer.peers:
                    peer.send(message)
            await asyncio.sleep(PAUSE)
            lab.paused = any(peer.paused for peer in lab.dialer.peers)
            lab.read()
            await asyncio.sleep(1)

        lab = self._watch(main, inbox_messages=2)
        if lab.lost:
            broken(
                f"while we were not reading the peer was given up after {lab.lost[0].uptime:g} s: {_told(lab.lost[0])}",
                "measure with session.idle, session.quiet or session.ping, which stand still then",
            )
        if not lab.paused:
            leave_out("its messages do not reach the inbox, so that it never fills")

    def test_it_ends_with_its_connection(self) -> None:
        """Whenever a connection is lost, what watched it ends, and nothing is written to it any more."""

        async def main(lab: _Lab) -> None:
            await lab.ready()
            await asyncio.sleep(1)
            usual = lab.tasks()
            for moment in MOMENTS:
                await asyncio.sleep(moment)
                (peer,) = lab.dialer.peers[-1:]
                peer.silence()
                await asyncio.sleep(min(moment, 0.5))
                late = peer.late_writes
                peer.drop(reset=True)
                await lab.ready()
                await asyncio.sleep(3)
                lab.late += peer.late_writes - late
            lab.running = sorted(map(describe_task, lab.tasks() - usual))
            lab.more = len(lab.tasks()) - len(usual)

        lab = self._watch(main)
        if lab.more > 0:
            broken(
                f"after {len(MOMENTS)} lost connections {lab.more} more tasks run: {'; '.join(lab.running[:3])}",
                "let CancelledError pass, and start tasks with session.spawn",
            )
        if lab.late:
            broken(f"{lab.late} messages were written to connections that had ended")

    def _silenced(self) -> list[Disconnected]:
        within = self.notices_within
        if within is None:
            leave_out("it does not notice silence, says notices_within = None")

        async def main(lab: _Lab) -> None:
            await lab.ready()
            await asyncio.sleep(_Lab.talks)
            for peer in lab.dialer.peers:
                peer.sever()
            await lab.wait_lost(10 * within)

        return self._watch(main).lost

    def _watch(self, main: Any, **arguments: Any) -> _Lab:
        """Let something happen to a client; gives what became of it."""
        subject.assembled(self, MemoryDialer())

        async def run() -> _Lab:
            lab = _Lab(self, arguments)
            try:
                await main(lab)
            except _Never as never:
                problem.append(str(never))
            lost = [*lab.lost]
            await lab.end()
            lab.lost = lost  # our own close is none
            return lab

        problem: list[str] = []
        with hear(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
            lab = runner.run(run())
        if problem:
            leave_out(f"{problem[0]}, see test_it_gets_ready_again_after_each_loss")
        return lab


class _Never(Exception):
    """The client was not READY."""


class _Lab:
    """A client and what becomes of it."""

    talks = 5.0
    """Seconds of READY before the server falls silent."""

    def __init__(self, contract: KeepAliveContract, arguments: Any) -> None:
        self.dialer = MemoryDialer(contract.server)
        self.client: Client = contract.client(self.dialer, without=AWAY, **arguments)
        self.lost: list[Disconnected] = []
        self.paused = False
        self.late = self.more = 0
        self.running: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._contract = contract
        self._readies = self._seen = 0
        self._bell = asyncio.Event()
        self._loss = asyncio.Event()
        self._using: asyncio.Task[Any] | None = None
        self._opening: asyncio.Task[None] | None = None
        self.client.on(Event, self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Connected | Reconnected):
            self._readies += 1
            self._bell.set()
        elif isinstance(event, Disconnected):
            self.lost.append(event)
            self._loss.set()

    async def ready(self, reads: bool = True) -> None:
        """Wait for the next READY."""
        if self._opening is None:
            self._opening = self._loop.create_task(self.client.open())
        while self._readies == self._seen:
            self._bell.clear()
            try:
                async with asyncio.timeout(86_400):
                    await self._bell.wait()
            except TimeoutError:
                raise _Never("the client is not READY") from None
        self._seen = self._readies
        if reads and self._using is None:
            self.read()

    def read(self) -> None:
        """Let the user begin."""
        self._using = self._loop.create_task(self._contract.user(self.client))

    def tasks(self) -> set[asyncio.Task[Any]]:
        """What runs, beside the scripts of the server."""
        return asyncio.all_tasks() - self.dialer._tasks

    async def wait_lost(self, seconds: float) -> None:
        """Wait until the connection is lost, or that long."""
        try:
            async with asyncio.timeout(seconds):
                await self._loss.wait()
        except TimeoutError:
            pass

    async def end(self) -> None:
        """Close the client."""
        await self.client.close()
        for task in (self._using, self._opening):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
                task.cancelled() or task.exception()
        await self.dialer._end()


def _told(event: Disconnected) -> str:
    return f"{type(event.error).__name__}: {event.error}"
