"""The ride with any of the other official plugins that are installed, drawn by the seed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, ClassVar

from ride import Ride

from libws_core.testing import Feed


def installed(*names: str) -> list[str]:
    """Those that are there."""
    return [name for name in names if find_spec(f"libws_{name}") is not None]


class Everything(Ride):
    """Each of the others is there in half of the seeds."""

    others: ClassVar[list[str]] = installed("watchdog", "dedupe", "outbox", "ratelimit", "governor", "endpoints")

    def make_feed(self) -> Feed:
        self.drawn = [name for name in self.others if self.chance.random() < 0.5]
        self.note(f"plugins: {', '.join(self.drawn) or 'the standard ones'}")
        return super().make_feed()

    def plugins(self) -> list[str]:
        return self.drawn

    def options(self) -> dict[str, dict[str, Any]]:
        draw, choice = self.chance.uniform, self.chance.choice
        others: dict[str, dict[str, Any]] = {
            "watchdog": {"link": draw(4.0, 6.0), "data": draw(8.0, 10.0)},
            "dedupe": {"key": lambda message: message.data},
            "outbox": {
                "size": choice([2, 1000]),
                "ttl": draw(0.5, 5.0),
                "full": choice(["raise", "block", "drop-oldest", "drop-newest"]),
            },
            "ratelimit": {"messages": choice([3, 10]), "per": 1.0, "control": choice([True, False])},
            "governor": {"connects": choice([1, 20]), "breaker": choice([2, 20]), "half_open": draw(0.5, 3.0)},
            "endpoints": {"urls": ["ws://one/", "ws://two/"], "cooldown": draw(0.0, 5.0)},
        }
        options = {**super().options(), **{name: others[name] for name in self.drawn if name in others}}
        if "ratelimit" in self.drawn:  # a ping may have to wait for a whole window
            options["ping"]["timeout"] += 1.0
        return options

    def may_come(self) -> bool:
        """What one host has asked for does not concern the other."""
        return "endpoints" in self.drawn or super().may_come()


class Moves(Everything):
    """With the plugin `reopen`, and any of the others."""

    connections = 2

    def make_feed(self) -> Feed:
        super().make_feed()
        return Feed(doubled="dedupe" not in self.drawn)

    def plugins(self) -> list[str]:
        return ["reopen", *super().plugins()]

    def options(self) -> dict[str, dict[str, Any]]:
        draw, choice = self.chance.uniform, self.chance.choice
        reopen = {
            "every": draw(1.0, 6.0),
            "order": choice(["make-first", "make-first", "break-first"]),
            "overlap": draw(0.1, 1.0),
            "settle": choice([0.0, draw(0.0, 0.5)]),
        }
        return {**super().options(), "reopen": reopen}

    def rows(self) -> list[int]:
        """A move changes the row without an event that tells."""
        return [1, *super().rows()]
