"""The ten thousand seeds: `python tests/simulation`, in processes of their own with a fixed hash seed.

One seed alone, with its trace: `python tests/simulation --seed 1234`. Moves from one connection to another
alone: `python tests/simulation --ride moves`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from everything import Everything, Moves
from ride import Ride

from libws_core.testing import Simulation, SimulationFailed

SHOWN = 3
"""Failures that a process shows; it stops then."""


RIDES: dict[str, list[type[Simulation]]] = {
    "all": [Ride, Everything, Moves],
    "standard": [Ride],
    "everything": [Everything],
    "moves": [Moves],
}
"""What a seed runs: one of these, in turn."""


def ride_of(name: str, seed: int) -> type[Simulation]:
    """What this seed runs."""
    return RIDES[name][seed % len(RIDES[name])]


def run(name: str, seeds: range) -> int:
    """Run these seeds in this process; gives how many failed."""
    failed = 0
    for seed in seeds:
        ride = ride_of(name, seed)
        played = ride.play(seed)
        if played.error is not None:
            failed += 1
            print(SimulationFailed(ride.__qualname__, played), end="\n\n", flush=True)
            if failed == SHOWN:
                break
    return failed


def spread(name: str, seeds: int, processes: int) -> int:
    """Run so many seeds in several processes; gives the exit code."""
    environment = {key: value for key, value in os.environ.items() if key != "LIBWS_PLUGINS"} | {"PYTHONHASHSEED": "0"}
    began = time.monotonic()
    # Neighbours stay together, so that each process has as many of each ride.
    shares = [(seeds * number // processes, seeds * (number + 1) // processes) for number in range(processes)]
    children = [
        subprocess.Popen(
            [sys.executable, __file__, "--ride", name, "--share", *map(str, shares[number])], env=environment
        )
        for number in range(processes)
    ]
    codes = [child.wait() for child in children]
    took = time.monotonic() - began
    print(f"{seeds:,} seeds in {took:.1f} s, {'a promise was broken' if any(codes) else 'every promise was kept'}")
    return int(any(codes))


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python tests/simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10_000, help="how many seeds, from 0")
    parser.add_argument("--ride", choices=RIDES, default="all")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--share", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.seed is not None:
        played = ride_of(options.ride, options.seed).play(options.seed)
        print(played.trace)
        print(f"seed={options.seed}: {played.text if played.error else 'every promise was kept'}")
        return int(played.error is not None)
    if options.share is not None:
        return int(run(options.ride, range(*options.share)) > 0)
    return spread(options.ride, options.seeds, options.processes)


if __name__ == "__main__":
    sys.exit(main())
