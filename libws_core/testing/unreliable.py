"""A server in memory that everything goes wrong with, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from ..errors import AuthenticationError, ConnectError, LibwsError, NameResolutionError
from ..events import Event
from ..hookspecs import hookimpl
from ..types import Request, Session
from ..verdicts import Verdict
from .connection import MemoryConnection
from .faults import Fault, Faults
from .memory import MemoryDialer, MemoryPeer
from .script import Fail, Handler, cut, hang, refuse
from .trace import Trace

__all__ = ["UnreliableDialer"]


class _Jitter:
    """A latency drawn anew for each message. An object: the core reads a plugin anew that holds functions."""

    def __init__(self, span: tuple[float, float], chance: random.Random) -> None:
        self._span = span
        self._chance = chance

    def __call__(self) -> float:
        return self._chance.uniform(*self._span)


class UnreliableDialer(MemoryDialer):
    """A MemoryDialer whose attempts and connections meet faults, until `heal`.

    It also answers `resolve`, `authenticate` and `establish`, to fail there. Made by a `Simulation`, for one client.

    Args:
        server: the server's side of each connection, a step of a script.
        faults: what may go wrong.
        chance: what is drawn from.
        trace: where everything is told.
    """

    def __init__(self, server: Handler, faults: Faults, chance: random.Random, trace: Trace) -> None:
        super().__init__(server, latency=_Jitter(faults.latency, chance))
        self.most = 0
        """The most connections that the client had open at once."""
        self.healed = False
        """Nothing goes wrong any more."""
        self.met: dict[int, list[Fault]] = {}
        """The faults that each attempt and its connection have met, by the attempt's number."""
        self.not_before = 0.0
        """The loop's time before which no client may come again, as the latest Retry-After said."""
        self.heard: list[Callable[[Event], object]] = []
        """Functions that are called with each event of the client."""
        self._faults = faults
        self._chance = chance
        self._trace = trace
        self._fault: Fault | None = None
        self._attempt = 0
        self._connections: dict[int, MemoryConnection] = {}
        self._timers: set[asyncio.TimerHandle] = set()
        self._down = False

    @property
    def open(self) -> list[MemoryConnection]:
        """The connections that the client has open; one whose cable is cut is open until the client drops it."""
        for number, connection in list(self._connections.items()):
            if connection._done or connection._aborted:
                del self._connections[number]
        return list(self._connections.values())

    def heal(self) -> None:
        """Let nothing go wrong from now on. A connection that is silent or severed remains so: it is to be noticed."""
        self._trace.add("server", "healed")
        self.healed, self._down, self._fault = True, False, None
        self._stop_timers()
        for peer in self.peers:
            if peer.number in self._connections:
                peer.latency = self.latency
                peer.resume()
            else:
                peer.connection.abort()

    # The phases of an attempt

    @hookimpl
    async def resolve(self, request: Request) -> None:
        """Fail, hang or be slow."""
        self._draw(request)
        await self._phase("resolve", NameResolutionError("no such name, says the simulation"))

    @hookimpl
    async def authenticate(self, request: Request) -> None:
        """Fail, hang or be slow."""
        self._draw(request)
        error = AuthenticationError("no token, says the simulation", verdict=Verdict.RETRY)
        await self._phase("authenticate", error)

    @hookimpl
    async def dial(self, request: Request) -> MemoryConnection | None:
        """Answer, or not."""
        fault = self._fault
        if self._down:
            self._meets(request, Fault.RESTART)
            self.first(Fail(ConnectError("nobody listens: the server is down")))
        elif fault is Fault.DIAL_REFUSED:
            self.first(Fail(ConnectError("nobody listens")))
        elif fault is Fault.DIAL_CUT:
            self.first(cut())
        elif fault is Fault.DIAL_REJECTED:
            status, headers, seconds = self._faults.answer(self._chance)
            self.first(refuse(status, headers))
            self.not_before = asyncio.get_running_loop().time() + seconds
        elif fault is Fault.DIAL_HANGS or fault is Fault.DIAL_LATE:
            self.first(hang())
        elif fault is Fault.DIAL_SLOW:
            await self._pass()
        try:
            connection = await super().dial(request)
        except asyncio.CancelledError:
            if fault is Fault.DIAL_LATE and not self.healed:
                self._later(self._lasting(), lambda: self._ghost(request))
            raise
        if connection is not None:
            self._opened(connection)
            if fault is Fault.DIAL_TWICE:
                self._ghost(request)
        return connection

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Fail, hang or be slow."""
        if self._fault is Fault.ESTABLISH_HANGS:
            await session.recv(lambda message: None)
        await self._phase("establish", ConnectError("not let in, says the simulation"))

    @hookimpl
    def observe(self, event: Event) -> None:
        """Tell the trace."""
        self._trace.add("client", event)
        for function in self.heard:
            function(event)

    def _draw(self, request: Request) -> None:
        """Draw what an attempt meets, in the first phase that asks: a move may leave `resolve` out."""
        if request.attempt.number == self._attempt:
            return
        self._attempt = request.attempt.number
        self._fault = None if self.healed else self._faults.for_attempt(self._chance)
        if self._fault is not None:
            self._meets(request, self._fault)
            self._trace.add("fault", f"attempt {self._attempt}: {self._fault}")

    def _meets(self, request: Request, fault: Fault) -> None:
        self.met.setdefault(request.attempt.number, []).append(fault)

    async def _phase(self, phase: str, error: LibwsError) -> None:
        if self._fault is None:
            return
        if self._fault == f"{phase} fails":
            raise error
        if self._fault == f"{phase} hangs":
            await asyncio.get_running_loop().create_future()
        if self._fault == f"{phase} slow":
            await self._pass()

    # Connections

    def _opened(self, connection: MemoryConnection) -> None:
        peer = connection._peer
        self._connections[peer.number] = connection
        self.most = max(self.most, len(self.open))
        self._trace.tap(f"connection {peer.number}", connection)
        self._trace.add("server", f"connection {peer.number} opens")
        fate = None if self.healed else self._faults.for_connection(self._chance)
        if fate is not None:
            fault, after = fate
            self._later(after, lambda: self._strike(peer, fault))

    def _ghost(self, request: Request) -> None:
        """The server has a connection of which the client knows nothing."""
        self.count += 1
        peer = MemoryPeer(self, request, None)
        self._open[peer.number] = peer
        self._trace.add("server", f"connection {peer.number} opens, which the client does not have")
        self._meet(peer, self._steps[-1])
        self._later(self._lasting(), peer.connection.abort)

    def _strike(self, peer: MemoryPeer, fault: Fault) -> None:
        if peer.gone or peer.connection._done or peer.connection._aborted:
            return
        self._meets(peer.request, fault)
        self._trace.add("fault", f"connection {peer.number}: {fault}")
        match fault:
            case Fault.RESET | Fault.FIN:
                peer.drop(reset=fault is Fault.RESET)
            case Fault.CLOSE:
                peer.close(self._chance.choice(tuple(self._faults.codes)), "says the simulation")
            case Fault.SILENT:
                peer.silence()
            case Fault.SEVERED:
                peer.sever()
                self._later(self._lasting(), peer.drop)  # the server's own keep-alive; the client hears nothing of it
            case Fault.STALLED:
                peer.stall()
                self._later(self._lasting(), peer.resume)
            case Fault.DRIP:
                peer.latency = self._drip(self._lasting())
            case Fault.RESTART:
                self._restart()

    def _restart(self) -> None:
        """The server goes down with all its connections, and comes back."""
        self._down = True
        how = self._chance.choice(("close", "fin", "reset"))
        for peer in self.peers:
            self._meets(peer.request, Fault.RESTART)
            if how == "close":
                peer.close(self._chance.choice((1001, 1012)))
                self._later(1.0, peer.drop)  # it does not wait long for the answer
            else:
                peer.drop(reset=how == "reset")
        self._later(self._lasting(), self._up)

    def _up(self) -> None:
        self._down = False
        self._trace.add("server", "up again")

    def _drip(self, seconds: float) -> Callable[[], float]:
        """A latency by which messages come through one after the other, for some seconds."""
        loop = asyncio.get_running_loop()
        end, free, gap = loop.time() + seconds, loop.time(), self._chance.uniform(0.1, 1.0)

        def latency() -> float:
            nonlocal free
            now = loop.time()
            if self.healed or now >= end:
                return self._chance.uniform(*self._faults.latency)
            free = max(free, now) + gap
            return free - now

        return latency

    def _lasting(self) -> float:
        return self._chance.uniform(*self._faults.lasting)

    async def _pass(self) -> None:
        """Take a while."""
        await asyncio.sleep(self._lasting())

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        def due() -> None:
            self._timers.discard(timer)
            act()

        timer = asyncio.get_running_loop().call_later(seconds, due)
        self._timers.add(timer)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    async def _end(self) -> None:
        self._stop_timers()
        await super()._end()
