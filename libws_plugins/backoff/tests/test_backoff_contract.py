"""What every reconnect policy promises, of `backoff` with each of its jitters."""

from __future__ import annotations

from typing import ClassVar

from libws_backoff import Backoff
from libws_core.testing import ReconnectContract


class TestBackoff(ReconnectContract):
    plugin = Backoff
    bad_options: ClassVar = {
        "base": [-1, float("nan"), float("inf")],
        "factor": [0.5],
        "cap": [-0.1],
        "jitter": ["some"],
        "max_attempts": [0],
        "deadline": [0],
        "retry_after_max": [-1],
        "statuses": [{"many": "retry"}, {"500-400": "retry"}, {"500": "perhaps"}],
        "codes": [{"70000": "fatal"}],
    }


class TestBackoffEqual(ReconnectContract):
    plugin = Backoff
    options: ClassVar = {"jitter": "equal", "deadline": 3600}


class TestBackoffDecorrelated(ReconnectContract):
    plugin = Backoff
    options: ClassVar = {"jitter": "decorrelated"}


class TestBackoffWithoutJitter(ReconnectContract):
    plugin = Backoff
    options: ClassVar = {"jitter": "none", "max_attempts": 1000}
    spreads = False
