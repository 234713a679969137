"""A client, its plugins and a server, run with everything going wrong, as often as there are seeds.

    class Echoed(Simulation):
        def client(self) -> Client:
            return Client("ws://test/", plugins=["outbox", self.dialer, "-websockets"])

        async def server(self, peer: Peer) -> None:
            async for message in peer:
                peer.send(message)

    def test_it_survives() -> None:
        Echoed.check(seeds=1000)

One run is one object: it lives on a virtual clock and meets faults for `trouble` seconds. Then the server is healed and
the client has `calm` seconds to be READY again; then it is closed. The same seed gives the same trace, byte for byte,
with the same versions of Python, libws and the plugins.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import random
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from typing import Any, ClassVar

from ..client import Client
from ..errors import LibwsError
from ..events import Event, Gap
from ..machine import State
from ..supervisor import GRACE
from ..types import Message
from .clock import VirtualLoop
from .faults import Faults
from .memory import MemoryPeer
from .peer import Bell
from .promises import ROUNDING, Promises
from .trace import Trace
from .unreliable import UnreliableDialer

__all__ = ["Played", "Simulation", "SimulationFailed"]

SHOWN = 400
"""Lines of the trace that a failure shows, the last ones."""
SETTLE = 2.0
"""Virtual seconds that things may take to end after the client has."""
VARIABLE = "LIBWS_SEED"


class SimulationFailed(AssertionError):
    """A seed broke a promise. The text says which, how to play it again, and what happened."""

    def __init__(self, name: str, played: Played) -> None:
        self.seed = played.seed
        lines = played.trace.splitlines()
        head = f"{name} failed with seed={played.seed}: {played.text}"
        again = f"again: {name}.play({played.seed}), or {VARIABLE}={played.seed} in the environment"
        shown = [f"({len(lines) - SHOWN} lines before)"] if len(lines) > SHOWN else []
        super().__init__("\n".join([head, again, *shown, *lines[-SHOWN:]]))


class Played:
    """One run of a simulation."""

    def __init__(self, seed: int, error: BaseException | None, trace: Trace | None) -> None:
        self.seed = seed
        self.error = error
        """What went wrong, None if nothing did."""
        self._trace = trace

    @property
    def trace(self) -> str:
        """What happened, a line each: virtual time, who, what."""
        return self._trace.text() if self._trace is not None else ""

    @property
    def text(self) -> str:
        """What went wrong, in words."""
        if self.error is None:
            return "nothing"
        kind = type(self.error)
        return str(self.error) if kind is AssertionError and str(self.error) else f"{kind.__name__}: {self.error}"


class Simulation:
    """Derive from it: say what the client is, what the server does, what the user does and what must hold in the end.

    Beside what `verify` asserts, these are checked in each run: the promises of `Promises`; the client is READY at last
    when the server heals; it never has more than `connections` open; it closes in time; no task, timer or connection is
    left; no handler, plugin or callback has raised.
    """

    faults: ClassVar[Faults] = Faults()
    """What may go wrong."""
    trouble: ClassVar[float] = 30.0
    """Seconds in which things go wrong."""
    calm: ClassVar[float] = 300.0
    """Seconds after that in which the client must become READY."""
    rest: ClassVar[float] = 1.0
    """Seconds that it runs on then, until it is closed."""
    connections: ClassVar[int] = 2
    """The most connections that the client may have open at once: two, for a move."""
    may_end_with: ClassVar[tuple[type[LibwsError], ...]] = ()
    """Errors by which the client may end by itself."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = random.Random(f"{seed} of the user")
        """For what you draw; the faults have another one."""
        self.trace = Trace()
        self.dialer = UnreliableDialer(self.server, self.faults, random.Random(f"{seed} of the faults"), self.trace)
        """To be put among the client's plugins, in the place of "websockets"."""
        self._bell = Bell()
        self._failures: list[str] = []

    # What you write

    def client(self) -> Client:
        """Make the client, with `self.dialer` among its plugins."""
        raise NotImplementedError("say what the client is")

    def server(self, peer: MemoryPeer) -> Coroutine[Any, Any, object] | None:
        """What the server does with each connection, a step of a script: an `async def` holds the dialogue, a plain
        function sets the peer up. As it is here, it reads.
        """
        peer.on_message = lambda message: None
        return None

    async def user(self, client: Client) -> None:
        """What the user does from the first READY on, until the client is closed. So it is, it reads."""
        async for _ in self.read(client):
            pass

    def verify(self) -> None:
        """Assert what must hold in the end, after the client was closed."""

    # What helps

    async def read(self, client: Client) -> AsyncIterator[Message | Gap]:
        """The client's stream with its markers, read by one who is blocked now and then."""
        async for item in client.stream(markers=True):
            yield item
            if not self.dialer.healed and self.chance.random() < self.faults.reader:
                seconds = self.chance.uniform(*self.faults.lasting)
                self.note(f"the reader is blocked for {seconds:.6f} s")
                await asyncio.sleep(seconds)

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.add("user", text)

    def hear(self, event: Event) -> None:
        """Called with each event of the client."""

    # Running it

    @classmethod
    def play(cls, seed: int) -> Played:
        """Run it once."""
        limit = cls.trouble + cls.calm + 3600.0
        simulations: list[Simulation] = []

        async def main() -> None:
            simulation = cls(seed)
            simulations.append(simulation)
            await simulation._run()

        failures: list[str] = []
        error: BaseException | None = None
        factory = functools.partial(VirtualLoop, seed=seed, limit=limit)
        with _errors_of_the_log(failures):
            try:
                with asyncio.Runner(loop_factory=factory) as runner:
                    runner.run(main())
            except Exception as raised:
                error = raised
        if error is None and failures:
            error = AssertionError("\n".join(failures))
        return Played(seed, error, simulations[0].trace if simulations else None)

    @classmethod
    def check(cls, seeds: int | Iterable[int] = 100) -> None:
        """Run it with one seed after the other; with the seed of the environment's LIBWS_SEED alone, if it is there.

        Args:
            seeds: which ones, or how many, from 0.

        Raises:
            SimulationFailed: a promise was broken; the first one.
        """
        alone = os.environ.get(VARIABLE)
        if alone is not None:
            seeds = [int(alone)]
        for seed in range(seeds) if isinstance(seeds, int) else seeds:
            played = cls.play(seed)
            if played.error is not None:
                raise SimulationFailed(cls.__qualname__, played) from played.error

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)
        client = self.client()
        promises = Promises(client)
        self.dialer.heard += [promises.hear, self.hear, lambda _: self._bell.ring()]
        try:
            async with self.dialer:
                await self._live(client, promises)
        finally:
            self._failures += promises.broken
        unkept: AssertionError | None = None
        try:
            self.verify()
        except AssertionError as error:
            unkept = error
        await asyncio.sleep(SETTLE)
        self._failures += [f"left behind: {what}" for what in promises.left()]
        if self.dialer.most > self.connections:
            self._failures.append(f"{self.dialer.most} connections were open at once")
        if self._failures:
            raise AssertionError("\n".join([*self._failures, *([str(unkept)] if unkept else [])])) from unkept
        if unkept is not None:
            raise unkept

    async def _live(self, client: Client, promises: Promises) -> None:
        loop = asyncio.get_running_loop()
        using = loop.create_task(self._use(client))
        try:
            await asyncio.wait((using,), timeout=self.trouble)
            self.dialer.heal()
            await self._bell.until(
                lambda: client._supervisor.over or self._is_well(client) or None,
                self.calm,
                lambda seconds: f"{client!r} is not READY {seconds:g} s after the server has healed",
            )
            await asyncio.sleep(self.rest)
        except BaseException:
            using.cancel()
            await asyncio.wait((using,), timeout=SETTLE)
            await client._supervisor.abandon()
            raise
        began = loop.time()
        self.note("closes the client")
        await client.close()
        took = loop.time() - began
        longest = client._supervisor.close_timeout + GRACE
        if took > longest + ROUNDING:
            self._failures.append(f"closing took {took:.6f} s, more than {longest:g} s")
        patience = SETTLE + self.faults.lasting[1]  # a reader may just have been blocked
        await asyncio.wait((using,), timeout=patience)
        if not using.done():
            using.cancel()
            await asyncio.wait((using,), timeout=SETTLE)
            self._failures.append(f"the user still waits {patience:g} s after the client was closed")
        elif (error := using.exception()) is not None:
            raise error
        closed = promises.closed
        if closed is None:
            self._failures.append("the client ended without Closed")
        elif closed.error is not None and not isinstance(closed.error, self.may_end_with):
            self._failures.append(f"the client failed: {type(closed.error).__name__}: {closed.error}")

    async def _use(self, client: Client) -> None:
        try:
            await client.open()
            await self.user(client)
        except self.may_end_with as error:
            self.note(f"the client ended with {type(error).__name__}: {error}")

    def _is_well(self, client: Client) -> bool:
        """READY, by a connection through which something comes."""
        return client.state is State.READY and any(not connection.severed for connection in self.dialer.open)

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        what = f"{type(error).__name__}: {error}" if error is not None else str(context.get("message"))
        self._failures.append(f"nobody handled {what}")


class _Errors(logging.Handler):
    """Keeps what the core logs as an error: a handler or a plugin that raised."""

    def __init__(self, found: list[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        cause = record.exc_info[1] if record.exc_info else None
        what = record.msg.split("%")[0].rstrip(" :")
        self._found.append(f"logged as an error: {what}: {type(cause).__name__}: {cause}")


@contextlib.contextmanager
def _errors_of_the_log(found: list[str]) -> Iterator[None]:
    """Take the core's log for a while: errors are found, warnings are what a simulation is full of."""
    logger = logging.getLogger("libws")
    before = logger.level, logger.propagate
    handler = _Errors(found)
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]
