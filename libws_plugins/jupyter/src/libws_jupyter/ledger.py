"""Which messages of a kernel have come, as far as their ids tell.

The id of each message of ipykernel, and of others that use jupyter_client's Session, is `SESSION_PROCESS_NUMBER`,
counted over all channels. That is no part of the protocol, so it is used in one direction only: numbers without a hole
prove that nothing is missing. A hole proves nothing, since answers to other clients are counted, too.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Ledger"]

MOST = 1_000
"""Holes that are remembered."""


class Ledger:
    """The numbers of one kernel's messages, over all connections to it."""

    def __init__(self) -> None:
        self._prefix: str | None = None
        self._top = 0
        self._missing: set[int] = set()
        self._forgiven: set[int] = set()
        self._doubt = True

    def begin(self, id: Any) -> None:
        """Count from this id on, unless the same kernel is counted already."""
        prefix, number = _split(id)
        if prefix != self._prefix or prefix is None:
            self._prefix, self._top, self._doubt = prefix, number, True
            self._missing, self._forgiven = set(), set()

    def forget(self) -> None:
        """The kernel is another one."""
        self._prefix, self._doubt = None, True

    def note(self, id: Any) -> tuple[int, bool]:
        """A message has come: its number, 0 if it has none; and whether it had come before."""
        prefix, number = _split(id)
        if prefix is None or prefix != self._prefix:
            return 0, False
        if number > self._top:
            if number - self._top > MOST or len(self._missing) > MOST:
                self._doubt = True
            else:
                self._missing.update(range(self._top + 1, number))
            self._top = number
            return number, False
        for holes in (self._missing, self._forgiven):  # threads of a kernel overtake each other
            if number in holes:
                holes.remove(number)
                return number, False
        return number, not self._doubt

    def doubt(self) -> None:
        """What has come may not have reached whom it was for."""
        self._doubt = True

    def whole(self, until: int = 0) -> bool:
        """Nothing is missing since the ledger was settled.

        Args:
            until: up to this number; 0 = up to the newest.
        """
        return not self._doubt and not any(number <= (until or self._top) for number in self._missing)

    def settle(self) -> None:
        """Whatever is missing by now is nobody's, or was told. It may still come."""
        self._forgiven = self._missing | self._forgiven if len(self._forgiven) < MOST else self._missing
        self._missing = set()
        self._doubt = self._prefix is None


def _split(id: Any) -> tuple[str | None, int]:
    if isinstance(id, str):
        prefix, _, number = id.rpartition("_")
        if prefix and number.isascii() and number.isdigit() and len(number) < 19:
            return prefix, int(number)
    return None, 0
