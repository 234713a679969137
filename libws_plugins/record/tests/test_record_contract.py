"""The plugin keeps the contract of its kind."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from libws_core.testing import StageContract
from libws_record import Record


class TestRecord(StageContract):
    plugin = Record
    passes = (
        ("text", "text"),
        (b"\x00\xff", b"\x00\xff"),
    )

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self._file = str(tmp_path / "x-{number}.jsonl")

    @property
    def options(self) -> Mapping[str, Any]:
        return {"file": getattr(self, "_file", os.devnull)}

    @property
    def bad_options(self) -> Mapping[str, Any]:
        return {
            "file": ["", "/", "/no/such/folder/x.jsonl"],
            "patterns": [["("], ["a*"]],
            "mode": ["w"],
            "limit": [0],
            "buffer": [0],
        }

    @property
    def public(self) -> tuple[str, ...]:
        return ("keys",)
