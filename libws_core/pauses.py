"""How long we have not been reading: time in which silence is no fault of the peer."""

from __future__ import annotations


class Pauses:
    """Sums the spans of paused reading."""

    __slots__ = ("_began", "_marks", "_sum")

    def __init__(self) -> None:
        self._began: float | None = None
        self._sum = 0.0
        self._marks: dict[float, float] = {}
        """The sum as it was at the first pause after a sign of life, by the time of that sign."""

    @property
    def paused(self) -> bool:
        """Reading is paused now."""
        return self._began is not None

    def begin(self, now: float, *signs: float) -> None:
        """Reading stops; `signs` are the times of the last signs of life."""
        if self._began is None:
            self._began = now
            self._marks = {sign: self._marks.get(sign, self._sum) for sign in signs}

    def end(self, now: float) -> None:
        """Reading goes on."""
        if self._began is not None:
            self._sum += now - self._began
            self._began = None

    def total(self, now: float) -> float:
        """Seconds paused in all."""
        return self._sum + (now - self._began if self._began is not None else 0.0)

    def since(self, sign: float, now: float) -> float:
        """Seconds since a sign of life, less those that we were not reading."""
        before = self._marks.get(sign)
        return now - sign - (0.0 if before is None else self.total(now) - before)
