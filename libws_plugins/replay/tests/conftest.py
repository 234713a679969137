"""A tape: a recording for a test, written line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

HEAD = {"type": "run", "format": "libws-recording", "version": 1, "libws": "0.1.0", "wall": 1.0, "time": "1970"}
HEAD |= {"redacted": True}
ATTEMPT = {"generation": 1, "why": "open", "at": 0.0, "wall": 1.0, "url": "wss://provider.test/ws"}


class Tape:
    """Collects lines; `url` writes them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "session.jsonl"
        self._lines: list[bytes] = []
        self._connection = 0
        self._attempt = 0

    @property
    def url(self) -> str:
        self.path.write_bytes(b"".join(self._lines))
        return f"replay:{self.path}"

    def raw(self, line: bytes) -> Tape:
        self._lines.append(line)
        return self

    def add(self, **line: Any) -> Tape:
        return self.raw(msgspec.json.encode(line) + b"\n")

    def head(self, **changes: Any) -> Tape:
        self._connection = self._attempt = 0
        return self.add(**{**HEAD, **changes})

    def open(self, **more: Any) -> Tape:
        self._connection += 1
        self._attempt += 1
        line = {"type": "connection", "connection": self._connection, "attempt": self._attempt, **ATTEMPT, **more}
        return self.add(**line)

    def fail(self, error: str, phase: str = "dial", dialing: float = 0.0, **more: Any) -> Tape:
        self._attempt += 1
        what = {"error": error, "text": "it failed", "phase": phase, **more}
        return self.add(type="failed", attempt=self._attempt, dialing=dialing, error=what, **ATTEMPT)

    def got(self, t: float, text: str = "", kind: str = "text", **more: Any) -> Tape:
        return self._message(t, "in", kind, {"text": text, **more})

    def sent(self, t: float, text: str = "", kind: str = "text", **more: Any) -> Tape:
        return self._message(t, "out", kind, {"text": text, **more})

    def _message(self, t: float, way: str, kind: str, more: dict[str, Any]) -> Tape:
        return self.add(type="message", connection=self._connection, t=t, way=way, kind=kind, **more)

    def end(self, t: float, error: str = "ConnectionClosed", **more: Any) -> Tape:
        return self.add(
            type="end", connection=self._connection, t=t, error={"error": error, "text": "it ended so", **more}
        )


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    """A tape with its head."""
    return Tape(tmp_path).head()
