"""What becomes of a question that gets no good answer."""

from __future__ import annotations

from typing import Any

from libws_core import DeliveryUnknown, LibwsError, Message
from libws_core.errors import Party

__all__ = ["RequestFailed", "RequestLost", "RequestTimeout"]

REASON = 200
"""Characters of what the server said that the text of an error shows."""


class RequestFailed(LibwsError):
    """The server answered a question with an error. The connection goes on.

    Args:
        id: the question's.
        data: what the server said: what stands where the option `error` points, or the whole answer.
        answer: the message in which it said so.
    """

    fault: Party = "local"
    initiator: Party = "remote"

    def __init__(self, text: str, *, id: Any, data: Any, answer: Message, **more: Any) -> None:
        said = "" if data is True else f": {str(data)[:REASON]}"
        super().__init__(text + said, **more)
        self.id = id
        self.data = data
        self.answer = answer


class RequestLost(DeliveryUnknown):
    """A question was written, and its connection ended before the answer came. Nobody knows what the server made of it.

    The error that ended the connection is its `__cause__`, where it is known.

    Args:
        id: the question's.
    """

    def __init__(self, text: str, *, id: Any, **more: Any) -> None:
        super().__init__(text, **more)
        self.id = id


class RequestTimeout(DeliveryUnknown, TimeoutError):
    """A question was written, and no answer came in time. Nobody knows what the server made of it.

    Args:
        id: the question's.
    """

    def __init__(self, text: str, *, id: Any, **more: Any) -> None:
        super().__init__(text, **more)
        self.id = id
