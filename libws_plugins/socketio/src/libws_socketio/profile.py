"""What is known of Socket.IO over WebSocket: data, with its date and sources.

The protocols: https://socket.io/docs/v4/engine-io-protocol (revision 4) and https://socket.io/docs/v4/socket-io-protocol
(revision 5). Recovery: https://socket.io/docs/v4/connection-state-recovery.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DATE: Final = "2026-11"
"""When it was read, and tried with the servers that the README names."""

PATH: Final = "/socket.io/"
"""Where servers listen, unless they are told otherwise: their option `path`."""
QUERY: Final[Mapping[str, str]] = MappingProxyType({"EIO": "4", "transport": "websocket"})
"""Engine.IO, section Handshake."""

# Engine.IO, section Packet encoding: the first character of a text message. A binary message is an attachment.
OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
NOOP: Final = "6"

# Socket.IO, section Packet encoding: the character behind MESSAGE.
CONNECT: Final = "0"
DISCONNECT: Final = "1"
EVENT: Final = "2"
ACK: Final = "3"
CONNECT_ERROR: Final = "4"
BINARY_EVENT: Final = "5"
BINARY_ACK: Final = "6"

INVALID_NAMESPACE: Final = frozenset({"Invalid namespace", "Unable to connect"})
"""How a CONNECT_ERROR says that there is no such namespace: Socket.IO's own server, python-socketio."""
