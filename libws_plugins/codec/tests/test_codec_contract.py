"""What every plugin with stages promises, of `codec`."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from typing import Any, ClassVar

from libws_codec import Codec
from libws_core import Message
from libws_core.testing import StageContract
from libws_core.testing.contract import oddities

BAD: dict[str, Any] = {
    "decode": ["gzip", ["gzip", "gzip"], ["json", "gzip"], ["json", "lines"], ["lines", "records"], ["brotli"]],
    "encode": ["gzip", ["gzip", "json"], ["records", "lines"], ["text"]],
    "max_size": [0],
    "max_parts": [0],
    "level": [10, -1],
    "line_end": ["\r"],
}
PING = b'{"ping":1492420473027}'


def binary(*pieces: bytes) -> Message:
    return Message.binary(b"".join(pieces))


def texts() -> list[Message]:
    """Texts of all odd shapes, which are no business of a decoder that inflates binaries."""
    return [each for each in (*oddities.numbered(), *oddities.odd()) if isinstance(each.data, str)]


class TestGzip(StageContract):
    plugin = Codec
    options: ClassVar[dict[str, Any]] = {"decode": ["gzip"], "encode": ["gzip"]}
    bad_options: ClassVar = BAD
    passes = (
        (binary(gzip.compress(PING, mtime=0)), binary(PING)),
        (binary(gzip.compress(b"", mtime=0)), binary()),
        (binary(gzip.compress(b"two ", mtime=0), gzip.compress(b"members", mtime=0)), binary(b"two members")),
        ("a text is not compressed", "a text is not compressed"),
    )

    @property
    def says(self) -> Sequence[Message]:
        return texts()


class TestZlib(StageContract):
    plugin = Codec
    options: ClassVar[dict[str, Any]] = {"decode": ["zlib", "json"], "encode": ["json"]}
    passes = ((binary(zlib.compress(PING)), PING.decode()), ("[]", "[]"), (binary(zlib.compress(b" null")), " null"))

    @property
    def says(self) -> Sequence[Message]:
        return [each for each in texts() if _is_json(each)]


class TestZlibStream(StageContract):
    plugin = Codec
    options: ClassVar[dict[str, Any]] = {"decode": ["zlib-stream", "text"], "encode": ["zlib-stream"]}

    @property
    def passes(self) -> Sequence[tuple[Any, Any]]:
        deflater = zlib.compressobj()
        return [(binary(deflater.compress(PING), deflater.flush(zlib.Z_SYNC_FLUSH)), PING.decode())]

    @property
    def says(self) -> Sequence[Message]:
        return texts()


class TestLines(StageContract):
    plugin = Codec
    options: ClassVar[dict[str, Any]] = {"decode": ["lines"], "encode": ["lines"], "line_end": "\r\n"}
    takes = ("", b"")
    passes = (
        ("PING :tmi.twitch.tv\r\n", "PING :tmi.twitch.tv"),
        (":a JOIN #b\r\n:a PRIVMSG #b :hello\r\n", (":a JOIN #b", ":a PRIVMSG #b :hello")),
        ('{"id":1}\n{"id":2}', ({"id": 1}, {"id": 2})),
        ("one line \u2028 of \x0b odd characters", "one line \u2028 of \x0b odd characters"),
        ("\n\r\n", None),
        ("\r\nx\r\r\n\n", "x\r"),
        (b"one\ntwo\r\n", (b"one", b"two")),
    )

    @property
    def says(self) -> Sequence[Message]:
        numbered = [*oddities.numbered(), *oddities.odd()]
        return [each for each in numbered if (b"\n" if isinstance(each.data, bytes) else "\n") not in each.data]


class TestRecords(StageContract):
    plugin = Codec
    options: ClassVar[dict[str, Any]] = {"decode": ["records", "json"], "encode": ["records"]}
    passes = (
        ("{}\x1e", {}),
        ('{"type":6}\x1e{"type":1,"target":"a"}\x1e', ({"type": 6}, {"type": 1, "target": "a"})),
        (b'{"type":6}\x1e', '{"type":6}'),
        ("\x1e\x1e", None),
    )

    @property
    def says(self) -> Sequence[Message]:
        return ()  # whatever has no 0x1E waits for it, and what has one comes out without it


def _is_json(message: Message) -> bool:
    try:
        message.json  # noqa: B018
    except ValueError:
        return False
    return True
