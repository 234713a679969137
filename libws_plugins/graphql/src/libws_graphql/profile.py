"""What is known of the subprotocol graphql-transport-ws: data, with its date and sources.

The protocol: https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md. Codes that it does not name are those of
its reference, https://the-guild.dev/graphql/ws/docs/common/enumerations/CloseCode.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

DATE: Final = "2026-11"
"""When it was read, and tried with the servers that the README names."""
SUBPROTOCOL: Final = "graphql-transport-ws"
"""Section Communication."""

CODES: Final[Mapping[int | str, str]] = MappingProxyType(
    {
        "4400": "fatal",  # Invalid message: we sent what the server does not understand
        "4401": "refresh",  # Subscribe before ConnectionAck, which we never do; some servers: credentials have expired
        "4403": "fatal",  # Forbidden: ConnectionInit was refused; "refresh" where its payload can be renewed
        "4406": "fatal",  # the reference: none of our subprotocols is spoken there
        "4408": "retry",  # ConnectionInit: it came too late
        "4409": "fatal",  # Subscribe: the id is in use
        "4429": "fatal",  # ConnectionInit: more than one
        "4500": "fatal",  # the reference, whose client stops: its own error, such as at a query that it cannot parse
        "4504": "retry",  # the reference: no ConnectionAck in time
    }
)
"""What close codes mean for the next attempt."""
FORBIDDEN: Final = "4403"

PING_INTERVAL: Final = 12.0
"""Seconds of silence before we ask. The protocol leaves it open; graphql-ws sends frames each 12 s by default."""
PING_TIMEOUT: Final = 10.0
"""Seconds for the answer, ours to choose."""
