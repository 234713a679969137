"""What Discord asks of us, and what it does not allow, as errors."""

from __future__ import annotations

from typing import Any

from libws_core import ConnectionClosed, LibwsError, Verdict
from libws_core.errors import Party

__all__ = ["IdentifiesSpent", "ReconnectRequested", "SessionInvalidated"]


class IdentifiesSpent(LibwsError, ConnectionError):
    """No session may be begun now: one more could cost the bot its token. FATAL.

    Args:
        remaining: identifies that are left.
        total: identifies that the bot may send in a day.
        resets_in: seconds until there are `total` again.
    """

    verdict = Verdict.FATAL
    fault: Party = "local"
    initiator: Party = "local"

    def __init__(self, remaining: int, total: int, resets_in: float, **more: Any) -> None:
        text = (
            f"{remaining} of the {total} identifies of this bot are left, for {resets_in / 3600:.3g} h; another one is "
            "not sent, since Discord resets the token of a bot that uses up all (see option 'spare' of discord)"
        )
        super().__init__(text, **{"retry_after": resets_in, **more})
        self.remaining = remaining
        self.total = total
        self.resets_in = resets_in


class ReconnectRequested(ConnectionClosed):
    """Discord asked us to reconnect and resume (opcode 7)."""

    def __init__(self, text: str = "Discord asks us to reconnect and resume", **more: Any) -> None:
        super().__init__(text, **{"initiator": "remote", **more})


class SessionInvalidated(ConnectionClosed):
    """Discord says that our session is invalid (opcode 9).

    Args:
        resumable: it may be resumed all the same; else a new one must be begun.
    """

    def __init__(self, resumable: bool, **more: Any) -> None:
        then = "it may be resumed" if resumable else "a new one must be begun"
        super().__init__(f"Discord says that our session is invalid; {then}", **{"initiator": "remote", **more})
        self.resumable = resumable
