"""Messages of all kinds, sizes and odd shapes, each of them different."""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Callable, Iterator

from ...types import Message

__all__ = ["numbered", "odd"]

SIZES = (1, 125, 126, 65_535, 65_536, 300_000)
"""Around the steps in which RFC 6455 section 5.2 writes lengths, and a large one."""
DEEP = 20_000
"""Levels of JSON that no parser likes."""


def numbered(count: int = 60) -> list[Message]:
    """Messages whose order can be told: texts, JSON of three shapes, binaries."""
    shapes: list[Callable[[int], Message]] = [
        lambda n: Message.text(f"message {n}"),
        lambda n: Message.text(json.dumps({"number": n, "data": {"u": n, "s": "contract"}})),
        lambda n: Message.binary(b"message %d" % n),
        lambda n: Message.text(json.dumps([n, "contract"])),
        lambda n: Message.binary(json.dumps({"number": n}).encode()),
    ]
    return [make(number) for number, make in zip(range(count), itertools.cycle(shapes), strict=False)]


def odd() -> Iterator[Message]:
    """Messages that a stage may not expect, which it has to let pass all the same."""
    for size in SIZES:
        yield Message.text(f"{size} ".ljust(size, "x")[:size] or "x")
        yield Message.binary(f"{size} ".encode().ljust(size, b"y")[:size])
    texts = [
        "",
        " ",
        "\n",
        "\0",
        "ping\r\n",
        "{",
        "}",
        "[1, 2",
        "null",
        "true",
        "17",
        "-0.0",
        "1e999",
        "NaN",
        '"text"',
        "[]",
    ]
    texts += [
        "[[]]",
        "[{}]",
        "{}",
        '{"": ""}',
        '{"type": null}',
        '{"type": ["a"], "id": {}}',
        '{"data": 5}',
        '{"a": 1} {}',
    ]
    texts += ['{"a": 1, "a": 2}', '{"n": ' + "9" * 400 + "}", '{"deep": ' + "[" * 200 + "]" * 200 + "}"]
    texts += [
        "[" * DEEP + "]" * DEEP,
        "grüße \U0001f600 \u2028 \x7f",
        "\ufeff{}",
        "$x",
        '{"$x": "$x"}',
        "a\x1eb\x1e",
        "a\nb",
    ]
    yield from map(Message.text, texts)
    for data in (
        b"",
        b"\0",
        b"\xff\xfe\x80",
        b"{",
        b"[]",
        b"null",
        "ü".encode("latin-1"),
        gzip.compress(b"x", mtime=0),
    ):
        yield Message.binary(data)
