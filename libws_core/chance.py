"""Chance, in one place that tests can seed.

For jitter and order only; keys and masks come from `os.urandom`. `libws_core.testing` replaces `source` by a seeded
one.
"""

from __future__ import annotations

import random
from collections.abc import MutableSequence
from typing import Any

source: random.Random = random.Random()
"""What the functions below draw from. Replace it only through `libws_core.testing`."""


def uniform(low: float, high: float) -> float:
    """A number between `low` and `high`."""
    return source.uniform(low, high)


def shuffle(items: MutableSequence[Any]) -> None:
    """Put `items` into a random order, in place."""
    source.shuffle(items)


def token(size: int = 8) -> bytes:
    """Random bytes to recognise an answer by, such as a ping's payload. Not for secrets."""
    return source.randbytes(size)
