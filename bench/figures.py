"""From rounds to figures: medians, spreads, and ratios against python-websockets within the same round."""

from __future__ import annotations

from statistics import median
from typing import Any, NamedTuple

from .runner import Results, Rounds

BASELINE = "websockets"
BUSY = 0.9
"""A core that works for a larger share of the time is saturated."""


class Figure(NamedTuple):
    """A median over rounds, and how far they went apart."""

    median: float
    least: float
    most: float

    @property
    def spread(self) -> float:
        """The distance of the extremes, as a share of the median."""
        return (self.most - self.least) / self.median if self.median else 0.0

    def apart(self, other: Figure) -> bool:
        """The two ranges do not meet: the difference is no noise of this run."""
        return self.most < other.least or other.most < self.least


def figure(values: list[float]) -> Figure:
    return Figure(median(values), min(values), max(values))


def over(rounds: list[dict[str, Any]], key: str) -> Figure:
    return figure([each[key] for each in rounds])


def ratio(case: Rounds, name: str, key: str = "cpu") -> Figure | None:
    """How many times less a client needs than python-websockets, each round against the same round."""
    pairs = zip(case.get(BASELINE, []), case.get(name, []), strict=False)
    values = [base[key] / own[key] for base, own in pairs]
    return figure(values) if values else None


def bound_by_server(rounds: list[dict[str, Any]]) -> bool:
    """The client waited for the server: its CPU a message tells less than elsewhere."""
    return over(rounds, "server").median >= BUSY > over(rounds, "client").median


def noise(rounds: Rounds, key: str = "cpu") -> float:
    """The usual spread of a client's rounds, as a share of its median."""
    spreads = [over(each, key).spread for each in rounds.values() if len(each) > 1]
    return median(spreads) if spreads else 0.0


def faster(rounds: Rounds, name: str, key: str, aside: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    """Who needs less than that client, beyond the noise of the run, and how many times less; the best first."""
    if not rounds.get(name):
        return []
    own = over(rounds[name], key)
    found = []
    for other, each in rounds.items():
        theirs = over(each, key) if each else own
        if other not in aside and theirs.median < own.median and theirs.apart(own):
            found.append((other, own.median / theirs.median if theirs.median > 0 else float("inf")))
    return sorted(found, key=lambda pair: -pair[1])


def stage_costs(results: Results) -> list[tuple[str, Figure]]:
    """Seconds a message that one and two stages of `incoming` add to none, each round against the same round."""
    base = results.stages.get("libws", [])
    found = []
    for count, name in ((1, "libws-1-stage"), (2, "libws-2-stages")):
        pairs = zip(base, results.stages.get(name, []), strict=False)
        values = [(with_stages["cpu"] - without["cpu"]) / count for without, with_stages in pairs]
        if values:
            found.append((name, figure(values)))
    return found
