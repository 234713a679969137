"""How an execution, or the kernel itself, may end, other than well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from libws_core import DeliveryUnknown, LibwsError
from libws_core.errors import Party
from libws_core.verdicts import FATAL

__all__ = ["ExecutionFailed", "InputRefused", "KernelGone", "ReaderTooSlow", "ReplyLost", "ReplyTimeout"]

REASON = 200
"""Characters of what the kernel said that the text of an error shows."""


class KernelGone(LibwsError, ConnectionError):
    """There is no such kernel on the server, or not any more: what was in its memory is lost."""

    verdict = FATAL
    fault: Party = "remote"
    initiator: Party = "remote"


class ExecutionFailed(LibwsError):
    """The kernel raised, or did not begin because an earlier one had. The connection goes on, and so does the kernel.

    Args:
        reply: what the kernel said in the end, the content of the execute_reply.
    """

    fault: Party = "local"
    initiator: Party = "remote"

    def __init__(self, reply: Mapping[str, Any], **more: Any) -> None:
        self.reply = reply
        self.ename: str = str(reply.get("ename") or "")
        """The exception's class, such as "ZeroDivisionError"; empty if it was not begun."""
        self.evalue: str = str(reply.get("evalue") or "")
        """The exception's text."""
        self.traceback: Sequence[str] = reply.get("traceback") or []
        """As the kernel shows it, with colours of a terminal."""
        text = f"{self.ename}: {self.evalue[:REASON]}" if self.ename else f"the execution was {reply.get('status')}"
        super().__init__(text, **more)


class ReplyLost(DeliveryUnknown):
    """What the kernel had to say in the end did not reach us. What became of it is not known; it is not sent again."""


class ReplyTimeout(DeliveryUnknown, TimeoutError):
    """The kernel was not done in time. It goes on, unless it is interrupted."""


class InputRefused(LibwsError):
    """The kernel asked for input, and nobody was there to give it; it was interrupted."""

    fault: Party = "local"
    initiator: Party = "local"


class ReaderTooSlow(LibwsError, BufferError):
    """More outputs of an execution waited for its reader than the options admit. The kernel goes on."""

    fault: Party = "local"
    initiator: Party = "local"
