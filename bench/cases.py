"""What is measured: the traffic of each case, encoded once; the server and the clients share this table."""

from __future__ import annotations

import json
import random
from functools import cached_property
from typing import Literal

from .frames import BINARY, TEXT, deflated, frame

BATCH = 128 * 1024
"""About as many bytes of frames make a batch; a measurement asks for as many batches as its time allows."""

Way = Literal["receive", "send", "echo"]


def update(number: int, size: int) -> str:
    """A JSON text of so many bytes, as an order book sends it; each number gives another one."""
    chance = random.Random(number)
    event = {"e": "depth", "E": 1_700_000_000_000 + number * 37, "s": "BTCUSDT", "u": 3_000_000_000 + number}
    levels: list[list[str]] = []
    while len(text := json.dumps(event | {"b": levels, "x": ""})) <= size:
        fits, missing = levels[:], size - len(text)
        levels.append([f"{chance.uniform(64_000, 65_000):.2f}", f"{chance.expovariate(1):.5f}"])
    return json.dumps(event | {"b": fits, "x": "-" * missing})


class Case:
    """One kind of traffic.

    Args:
        name: one word, also the path that the client asks the server for.
        title: for people.
        way: what the client does.
        size: bytes of a message.
        kind: what a message consists of.
        deflate: messages are compressed by permessage-deflate (RFC 7692).
    """

    def __init__(
        self, name: str, title: str, way: Way, size: int, kind: Literal["text", "json", "binary"], deflate: bool = False
    ) -> None:
        self.name = name
        self.title = title
        self.way = way
        self.size = size
        self.kind = kind
        self.deflate = deflate
        self.batch = 50 if way == "echo" else max(1, min(2_000, BATCH // size))
        """Messages of a batch."""

    @property
    def path(self) -> str:
        return f"/{self.way}/{self.name}"

    @cached_property
    def payload(self) -> str:
        """The text that is sent."""
        return update(0, self.size) if self.kind == "json" else "0123456789abcdef" * (self.size // 16)

    @cached_property
    def frames(self) -> bytes:
        """A batch as the server writes it."""
        if self.kind == "binary":
            return frame(BINARY, bytes(range(256)) * (self.size // 256)) * self.batch
        if self.kind == "text":
            return frame(TEXT, self.payload.encode()) * self.batch
        texts = [update(number, self.size).encode() for number in range(self.batch)]
        if self.deflate:
            return b"".join(frame(TEXT, data, compressed=True) for data in deflated(texts))
        return b"".join(frame(TEXT, text) for text in texts)


CASES = {
    case.name: case
    for case in (
        Case("receive-64", "receive 64 B text", "receive", 64, "text"),
        Case("receive-256", "receive 256 B JSON", "receive", 256, "json"),
        Case("receive-1k", "receive 1 KiB text", "receive", 1024, "text"),
        Case("receive-16k", "receive 16 KiB text", "receive", 16 * 1024, "text"),
        Case("receive-1m", "receive 1 MiB binary", "receive", 1024 * 1024, "binary"),
        Case("receive-deflate", "receive 256 B JSON, deflate", "receive", 256, "json", deflate=True),
        Case("send-64", "send 64 B text", "send", 64, "text"),
        Case("send-1k", "send 1 KiB text", "send", 1024, "text"),
        Case("echo-32", "echo 32 B", "echo", 32, "text"),
    )
}
