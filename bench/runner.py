"""The run: who is measured when. Each client has a process of its own; they take turns, round after round."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from . import recovery
from .cases import CASES
from .clients import CLIENTS, Entry
from .processes import Process, cores, other_work
from .providers import MODES, PROVIDERS

PATIENCE = 90.0
"""Seconds after which a process that does not answer is given up."""

Rounds = dict[str, list[dict[str, Any]]]
"""By client: what each round found."""


@dataclass(frozen=True)
class Extent:
    """How much is measured."""

    rounds: int
    """Turns that each client has in each case of traffic."""
    seconds: float
    """About how long one measurement of traffic takes."""
    repeats: int
    """Turns where each needs a fresh process. Memory, which hardly differs, has one."""
    connections: int
    """Idle connections whose memory is measured."""
    connects: int
    """Connects in a row."""
    herd: int
    """Clients that lose their connections at the same time."""


FULL = Extent(rounds=5, seconds=0.2, repeats=3, connections=2_000, connects=200, herd=500)
QUICK = Extent(rounds=3, seconds=0.03, repeats=1, connections=200, connects=30, herd=200)


@dataclass
class Results:
    """What a run found."""

    extent: Extent
    pinned: bool
    other_work: float
    """Cores that were busy with something else right before the run, or right after it if there were more."""
    traffic: dict[str, Rounds] = field(default_factory=dict)
    """By case."""
    stages: Rounds = field(default_factory=dict)
    memory: Rounds = field(default_factory=dict)
    connect: Rounds = field(default_factory=dict)
    one: Rounds = field(default_factory=dict)
    """Recovery of one client."""
    herd: Rounds = field(default_factory=dict)
    """Recovery of many."""
    assembly: Rounds = field(default_factory=dict)
    providers: dict[str, Rounds] = field(default_factory=dict)
    """By provider, then by mode."""
    notes: list[str] = field(default_factory=list)


class Run:
    """Carries out a run.

    Args:
        extent: how much is measured.
        only: names of clients; all if empty.
        parts: of "clients" and "providers", what is measured.
    """

    def __init__(self, extent: Extent, only: set[str], parts: set[str]) -> None:
        self.parts = parts
        self.extent = extent
        self.client_core, self.server_core = cores()
        self.results = Results(extent, bool(self.client_core), other_work())
        self._workers: dict[str, Process] = {}
        self.clients: dict[str, Entry] = {}
        for name, entry in CLIENTS.items():
            if only and name not in only:
                continue
            if "clients" not in parts:
                continue
            if entry.missing:
                self._note(f"{entry.title} was left out: {', '.join(entry.missing)} is not installed.")
            else:
                self.clients[name] = entry

    def __call__(self) -> Results:
        with Process("server", self.server_core) as server:
            self._base = f"ws://127.0.0.1:{server.read(PATIENCE).strip()}"
            if "clients" in self.parts:
                self._measure_clients()
            if "providers" in self.parts:
                self._measure_providers()
        self.results.other_work = max(self.results.other_work, other_work())
        return self.results

    def _measure_clients(self) -> None:
        extent, results = self.extent, self.results
        with ExitStack() as stack:
            self._keep = stack
            for case in CASES.values():
                able = [name for name in self._for("traffic") if self.clients[name].deflate or not case.deflate]
                question = {"measure": "traffic", "case": case.name, "seconds": extent.seconds}
                results.traffic[case.name] = self._turns(case.title, able, extent.rounds, self._stay, question)
            question |= {"case": "receive-64"}
            staged = self._present("libws", "libws-1-stage", "libws-2-stages")
            results.stages = self._turns("stages", staged, extent.rounds, self._stay, question)
        question = {"measure": "memory", "count": extent.connections}
        results.memory = self._turns("memory", self._for("memory"), 1, self._fresh, question)
        question = {"measure": "connect", "count": extent.connects}
        results.connect = self._turns("connect", self._for("connect"), extent.repeats, self._fresh, question)
        returning = self._present(*recovery.CLIENTS)
        question = {"measure": "recovery", "count": 1}
        results.one = self._turns("recovery of one", returning, extent.repeats, self._fresh, question)
        question = {"measure": "recovery", "count": extent.herd}
        results.herd = self._turns("recovery of many", returning, extent.repeats, self._fresh, question)
        question = {"measure": "assembly"}
        results.assembly = self._turns("assembly", self._present("libws"), 3, self._fresh, question)

    def _measure_providers(self) -> None:
        for name, provider in PROVIDERS.items():
            if provider.missing():
                self._note(f"{name} was left out: {provider.module} is not installed.")
                continue
            with ExitStack() as stack:
                self._keep, self._workers = stack, {}
                question = {"measure": "provider", "provider": name, "seconds": self.extent.seconds}
                turns = self._turns(f"provider {name}", [*MODES], self.extent.rounds, self._stay, question)
            self.results.providers[name] = turns

    def _present(self, *names: str) -> list[str]:
        return [name for name in names if name in self.clients]

    def _for(self, measure: str) -> list[str]:
        return [name for name, entry in self.clients.items() if not entry.only or measure in entry.only]

    def _turns(
        self,
        title: str,
        names: list[str],
        rounds: int,
        ask: Callable[[str, dict[str, Any]], dict[str, Any]],
        question: dict[str, Any],
    ) -> Rounds:
        """Ask one client after the other, then the first again; who fails is left out from there on."""
        print(f"{title}: {rounds} x {len(names)} clients ...", file=sys.stderr, end=" ", flush=True)
        begin = time.monotonic()
        found: Rounds = {name: [] for name in names}
        for _ in range(rounds):
            for name in [*found]:
                try:
                    answer = ask(name, question | {"client": name})
                except (TimeoutError, EOFError) as error:
                    self._workers.pop(name, None)
                    answer = {"error": str(error)}
                if "error" in answer:
                    self._note(
                        f"{name if name in MODES else self.clients[name].title} failed in {title}: {answer['error']}"
                    )
                    del found[name]
                else:
                    found[name].append(answer)
        print(f"{time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)
        return found

    def _worker(self) -> Process:
        return Process("worker", self.client_core, self._base)

    def _stay(self, name: str, question: dict[str, Any]) -> dict[str, Any]:
        """Ask the client's process, which stays; it sleeps while others have their turn."""
        worker = self._workers.get(name)
        if worker is None:
            worker = self._workers[name] = self._keep.enter_context(self._worker())
        return worker.ask(question, PATIENCE)

    def _fresh(self, name: str, question: dict[str, Any]) -> dict[str, Any]:
        """Ask a process that has done nothing before."""
        with self._worker() as worker:
            return worker.ask(question, PATIENCE)

    def _note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)
        self.results.notes.append(text)
