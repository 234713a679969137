"""What becomes of a request that gets no good answer."""

from __future__ import annotations

from typing import Any

from libws_core import DeliveryUnknown, LibwsError
from libws_core.errors import Party

__all__ = ["ApiError", "OutcomeUnknown", "RateLimited"]


class ApiError(LibwsError):
    """The exchange refused a request. The connection goes on.

    Args:
        method: the request's.
        status: as in HTTP, such as 400.
        code: the exchange's own, such as -2010.
        msg: its own words.
        data: what it said beside, such as both answers of a cancel-replace of which one failed (status 409).
    """

    fault: Party = "local"
    initiator: Party = "remote"

    def __init__(
        self, text: str, *, method: str, status: int | None, code: int | None, msg: str, data: Any = None, **more: Any
    ) -> None:
        super().__init__(text, **more)
        self.method = method
        self.status = status
        self.code = code
        self.msg = msg
        self.data = data


class RateLimited(ApiError):
    """The exchange has had too much, of the address (429, or 418 when it is banned) or of new orders (429).

    Until then nothing like it is sent: requests fail at once with this error, and `sent` False.

    Args:
        until: when the exchange will listen again, wall time of this host; `retry_after` has the seconds till then.
        sent: whether the request went out, and this is its answer.
    """

    def __init__(self, text: str, *, until: float, sent: bool, **more: Any) -> None:
        super().__init__(text, **more)
        self.until = until
        self.sent = sent


class OutcomeUnknown(DeliveryUnknown):
    """A request was sent, and nobody knows whether it was carried out: ask for the order before it is placed anew.

    The connection ended or the time was over before the answer came, or the exchange itself does not know (status 5xx,
    codes -1006 and -1007). What told so is its `__cause__`.

    Args:
        method: the request's.
        status: of the answer, None if there was none.
        code: the exchange's own, None if there was no answer.
    """

    def __init__(
        self, text: str, *, method: str, status: int | None = None, code: int | None = None, **more: Any
    ) -> None:
        super().__init__(text, **more)
        self.method = method
        self.status = status
        self.code = code
