"""What an answer has told, and for how long it may be used again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from libws_core import Headers, Secret

__all__ = ["Ticket", "lifetime"]

LONGEST = 365 * 86_400.0
"""Seconds after which any ticket is old."""


class Ticket(NamedTuple):
    """What an answer has told."""

    values: Mapping[str, Any]
    """Name -> what stood there, texts as Secret."""
    until: float
    """Loop time from which on it is not to be used again."""


def lifetime(told: Any, headers: Headers) -> float:
    """Seconds for which an answer may be used again, 0 if it does not say.

    Args:
        told: what the answer itself says.
        headers: Cache-Control in them says it too, less their Age (RFC 9111 sections 5.1 and 5.2.2).
    """
    if isinstance(told, Secret):
        told = told.reveal()
    if told is not None:
        try:
            seconds = float(told)
        except (TypeError, ValueError):
            return 0.0
        return min(seconds, LONGEST) if seconds > 0 else 0.0
    directives = [each.strip().lower() for each in headers.get("Cache-Control", "").split(",")]
    if "no-store" in directives or "no-cache" in directives:
        return 0.0
    for each in directives:
        if found := re.match(r'max-age="?(\d{1,10})"?\Z', each):
            age = headers.get("Age", "0").strip()
            spent = int(age[:10]) if age.isascii() and age.isdigit() else 0
            return min(max(0.0, float(found[1]) - spent), LONGEST)
    return 0.0
