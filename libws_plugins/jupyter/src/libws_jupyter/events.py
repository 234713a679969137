"""What happens to a kernel, as observers are told."""

from __future__ import annotations

from dataclasses import dataclass

from libws_core import Event

__all__ = ["StateLost"]


@dataclass(frozen=True)
class StateLost(Event):
    """The kernel's memory is lost: it was restarted, or is another one now."""

    kernel: str
    """The id of the kernel that there is now."""
    why: str
    generation: int = 0
    attempt: int = 0
    monotonic: float = 0.0
    wall: float = 0.0
