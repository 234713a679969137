"""How a connect or a call may end, other than well."""

from __future__ import annotations

from typing import Any

from libws_core import AuthenticationError, DeliveryUnknown

__all__ = ["CallLost", "CallTimeout", "ConnectRefused"]

REASON = 200
"""Characters of what the server said that the text of an error shows."""


class ConnectRefused(AuthenticationError):
    """The server answered the CONNECT of a namespace with a CONNECT_ERROR.

    Args:
        message: the server's text.
        data: what it said beside it, None if nothing.
    """

    def __init__(self, text: str, *, message: str = "", data: Any = None, **more: Any) -> None:
        super().__init__(f"{text}: {message[:REASON]}" if message else text, **more)
        self.message = message
        self.data = data


class CallLost(DeliveryUnknown):
    """The connection ended before the server acknowledged the event. It is not sent again."""


class CallTimeout(DeliveryUnknown, TimeoutError):
    """The server did not acknowledge the event in time."""
