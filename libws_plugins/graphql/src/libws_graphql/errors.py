"""How an operation may end, other than by its results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from libws_core import DeliveryUnknown, LibwsError, SubscriptionRejected
from libws_core.errors import Party

__all__ = ["OperationFailed", "OperationLost", "OperationRejected", "OperationTimeout", "ReaderTooSlow"]

REASON = 200
"""Characters of what the server said that the text of an error shows."""


class OperationFailed(LibwsError):
    """A result came with errors. The connection goes on, and so does a subscription.

    Args:
        errors: what the server said, as the GraphQL specification has it: `message`, `path`, `locations`, `extensions`.
        data: the result's data, as far as there is any.
    """

    fault: Party = "local"
    initiator: Party = "remote"

    def __init__(self, text: str, *, errors: Sequence[Any], data: Any = None, **more: Any) -> None:
        first = errors[0] if errors else None
        said = first.get("message") if isinstance(first, dict) else first
        others = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        super().__init__(f"{text}: {str(said)[:REASON]}{others}" if said else text, **more)
        self.errors = errors
        self.data = data


class OperationRejected(OperationFailed, SubscriptionRejected):
    """The server did not begin an operation, such as for a field that it does not know. The connection goes on."""


class OperationLost(DeliveryUnknown):
    """The connection ended before the result came. What became of the operation is not known; it is not sent again."""


class OperationTimeout(DeliveryUnknown, TimeoutError):
    """The result did not come in time. What became of the operation is not known."""


class ReaderTooSlow(LibwsError, BufferError):
    """A subscription was ended by us: more results waited for its reader than the options admit."""

    fault: Party = "local"
    initiator: Party = "local"
