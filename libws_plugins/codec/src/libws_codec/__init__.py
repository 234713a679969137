"""Unpack what the server packs, before any other plugin sees it, and pack what is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

from libws_core import ConnectionClosed, Kind, Message, Session, hookimpl
from libws_core.types import Outgoing, Stage

from .decoding import Several, decoder
from .encoding import encoder

__all__ = ["Codec"]

TEXT, BINARY = Kind.TEXT, Kind.BINARY
RANKS = {"gzip": 0, "zlib": 0, "zlib-stream": 0, "text": 1, "lines": 2, "records": 2, "json": 3}
"""Decoding goes this way, encoding the other way round."""


@dataclass(eq=False, kw_only=True)
class Codec:
    """Unpack what the server packs, and pack what is sent.

    It stands next to the wire, so that all other plugins, and `session.recv`, see messages as they are meant. What is
    broken or too large ends the connection. Pings, pongs and closes pass untouched.
    """

    decode: list[Literal["gzip", "zlib", "zlib-stream", "text", "lines", "records", "json"]] = field(
        default_factory=list
    )
    """What is done to each message that arrives, one after the other. "gzip" and "zlib" inflate a binary, "zlib-stream"
    the binaries of a connection as one stream. "text" makes text of a binary. "lines" and "records" make messages of
    each line, or of each record that 0x1E ends. "json" makes text of binary JSON, and refuses what is no JSON."""
    encode: list[Literal["json", "lines", "records", "gzip", "zlib", "zlib-stream"]] = field(default_factory=list)
    """What is done to each message that is sent, one after the other: the opposite. "json" refuses what is no JSON,
    "lines" and "records" end each message. What cannot be packed fails with SendError, and the connection goes on."""
    max_size: Annotated[int, Meta(ge=1)] = 16 * 2**20
    """Bytes that a message may have when it is inflated, and an unfinished one that is waited for; more ends the
    connection with MessageTooBig. No more than that is inflated."""
    max_parts: Annotated[int, Meta(ge=1)] = 65_536
    """Lines or records that one message may hold; more ends the connection with MessageTooBig."""
    level: Annotated[int, Meta(ge=0, le=9)] = 6
    """How hard "gzip", "zlib" and "zlib-stream" try when they pack: 1 = fast, 9 = small, 0 = not at all."""
    line_end: Literal["\n", "\r\n"] = "\n"
    """What "lines" puts behind a message that is sent. Of those that arrive both are line ends."""

    def __post_init__(self) -> None:
        if not self.decode and not self.encode:
            raise ValueError("options 'decode' and 'encode' are empty, so it would do nothing: decode=['gzip'], say")
        _check_order("decode", self.decode, RANKS)
        _check_order("encode", self.encode, {step: -rank for step, rank in RANKS.items()})

    @hookimpl(trylast=True)
    def incoming(self, session: Session) -> Stage | None:
        """Give a stage that unpacks; what it keeps of a message that is not complete belongs to this connection."""
        if not self.decode:
            return None
        unpack = decoder(self.decode, self.max_size, self.max_parts)
        over = False

        def decode(message: Message) -> Message | Several:
            nonlocal over
            if message.kind is not BINARY and message.kind is not TEXT:
                return message
            if over:  # the server may go on until it has read our close
                return None
            try:
                return unpack(message)
            except ConnectionClosed as error:
                over = True
                session.fail(error, error.code)
                return None

        return decode

    @hookimpl(trylast=True)
    def outgoing(self) -> Outgoing | None:
        """Give a function that packs."""
        if not self.encode:
            return None
        pack = encoder(self.encode, self.level, self.line_end)

        def encode(message: Message) -> Message:
            return pack(message) if message.kind is TEXT or message.kind is BINARY else message

        return encode


def _check_order(option: str, steps: Sequence[str], ranks: dict[str, int]) -> None:
    """Refuse steps that would have nothing to do behind those that stand before them."""
    for place, step in enumerate(steps):
        for earlier in steps[:place]:
            if earlier == step:
                raise ValueError(f"option {option!r}: {step!r} stands there twice")
            if ranks[earlier] > ranks[step]:
                raise ValueError(f"option {option!r}: {step!r} must stand before {earlier!r}")
            if {earlier, step} == {"lines", "records"}:
                raise ValueError(f"option {option!r}: messages end in lines or in records, not in both")
