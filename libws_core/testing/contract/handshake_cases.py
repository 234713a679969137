"""Answers to the opening handshake, right and wrong: a table to read beside RFC 6455 section 4.1 and RFC 9112."""

from __future__ import annotations

from typing import NamedTuple


class Answer(NamedTuple):
    """A server's answer."""

    section: str
    """Of RFC 6455, or of the RFC that it says."""
    name: str
    lines: str
    """The head, with `{accept}` in the place of the right Sec-WebSocket-Accept; a `|` ends a line."""
    offer: tuple[str, ...] = ()
    """The subprotocols that the client offers."""

    def __str__(self) -> str:
        return f"{self.section} {self.name}"

    def head(self, accept: str) -> bytes:
        """The bytes, up to the blank line and with it."""
        lines = self.lines.replace("{accept}", accept).split("|")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


ACCEPT = "Sec-WebSocket-Accept: {accept}"
BOTH = "Upgrade: websocket|Connection: Upgrade"

GOOD = [
    Answer("4.1", "the usual one", f"HTTP/1.1 101 Switching Protocols|{BOTH}|{ACCEPT}"),
    Answer("4.1", "another phrase", f"HTTP/1.1 101 Web Socket Protocol Handshake|{BOTH}|{ACCEPT}"),
    Answer("RFC 9112 4", "an empty phrase", f"HTTP/1.1 101 |{BOTH}|{ACCEPT}"),
    Answer("4.1", "words in other cases", f"HTTP/1.1 101 X|upgrade: WebSocket|CONNECTION: upgrade|{ACCEPT.lower()}"),
    Answer(
        "4.1",
        "several words in Connection",
        f"HTTP/1.1 101 X|Upgrade: websocket|Connection: keep-alive, Upgrade|{ACCEPT}",
    ),
    Answer(
        "RFC 9112 5", "blanks around values", f"HTTP/1.1 101 X|Upgrade:websocket|Connection:  Upgrade \t|{ACCEPT}  "
    ),
    Answer("4.1", "one of two subprotocols", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|Sec-WebSocket-Protocol: b", ("a", "b")),
    Answer("4.1", "none of two subprotocols", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}", ("a", "b")),
]

WRONG_ACCEPTS = [
    Answer("4.1", "no Sec-WebSocket-Accept", f"HTTP/1.1 101 X|{BOTH}"),
    Answer("4.1", "that of another key", f"HTTP/1.1 101 X|{BOTH}|Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    Answer("4.1", "an empty one", f"HTTP/1.1 101 X|{BOTH}|Sec-WebSocket-Accept:"),
    Answer("11.3.3", "two of them", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|{ACCEPT}"),
]

WRONG_UPGRADES = [
    Answer("4.1", "no Upgrade", f"HTTP/1.1 101 X|Connection: Upgrade|{ACCEPT}"),
    Answer("4.1", "an Upgrade to something else", f"HTTP/1.1 101 X|Upgrade: h2c|Connection: Upgrade|{ACCEPT}"),
    Answer("4.1", "no Connection", f"HTTP/1.1 101 X|Upgrade: websocket|{ACCEPT}"),
    Answer("4.1", "a Connection without Upgrade", f"HTTP/1.1 101 X|Upgrade: websocket|Connection: keep-alive|{ACCEPT}"),
]

WRONG_SUBPROTOCOLS = [
    Answer("4.1", "one, and none was offered", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|Sec-WebSocket-Protocol: mine"),
    Answer("4.1", "one that was not offered", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|Sec-WebSocket-Protocol: c", ("a", "b")),
    Answer("4.2.2", "two at once", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|Sec-WebSocket-Protocol: a, b", ("a", "b")),
]

WRONG_EXTENSIONS = [
    Answer("4.1", "one that was not offered", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|Sec-WebSocket-Extensions: x-other"),
    Answer("9.1", "what is no list of extensions", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|Sec-WebSocket-Extensions: ;;"),
]

NO_ANSWERS = [
    Answer("RFC 9112 2.3", "HTTP/1.0", f"HTTP/1.0 101 X|{BOTH}|{ACCEPT}"),
    Answer("RFC 9112 2.3", "HTTP/2", f"HTTP/2 101 X|{BOTH}|{ACCEPT}"),
    Answer("RFC 9112 4", "another protocol", "SSH-2.0-OpenSSH_9.6"),
    Answer("RFC 9112 4", "a status of two digits", f"HTTP/1.1 10 X|{BOTH}|{ACCEPT}"),
    Answer("RFC 9112 5", "a line without a colon", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|no colon"),
    Answer("RFC 9112 5.1", "a name with a blank", f"HTTP/1.1 101 X|{BOTH}|{ACCEPT}|X A: b"),
]
