"""What the exchange means by an answer that is none of the good ones, and by none at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from libws_core import LibwsError, clock

from .api_profile import API, BAD_KEY, BAD_TIMESTAMP, PLACING, QUERIES, UNKNOWN_OUTCOME
from .errors import ApiError, OutcomeUnknown, RateLimited
from .limits import next_minute, told

__all__ = ["CURE", "SHOWN", "bare", "outcome_unknown", "refusal"]

CURE = "check api_key, secret, the key's permissions and the addresses that it is restricted to"
SHOWN = 200
"""Characters of the exchange's words that a text shows."""


def bare(method: str) -> str:
    """A method without its version: "v3/order.place" is another word for "order.place"."""
    return method.rpartition("/")[2]


def refusal(method: str, params: Mapping[str, Any], body: Mapping[str, Any], server_time: float) -> LibwsError:
    """The error that an answer is: ApiError, RateLimited or OutcomeUnknown.

    Args:
        params: the request's.
        body: the answer.
        server_time: the exchange's time now, as far as it is known.
    """
    error = body["error"] if isinstance(body.get("error"), Mapping) else {}
    status, code = _whole(body.get("status")), _whole(error.get("code"))
    msg, data = str(error.get("msg")), error.get("data")
    said = f"{status}, {code}: {msg[:SHOWN]}"
    if status in (418, 429):
        left = _left(error, body, server_time)
        until = clock.wall() + left
        return RateLimited(
            f"{method} was refused ({said}); the exchange wants nothing like it until {told(until)}",
            until=until,
            sent=True,
            retry_after=left,
            method=method,
            status=status,
            code=code,
            msg=msg,
            data=data,
        )
    if code in UNKNOWN_OUTCOME or (status is not None and status >= 500):
        return outcome_unknown(method, params, f"the exchange said {said}", status=status, code=code)
    cure = ""
    if code in BAD_KEY:
        cure = f"; {CURE}"
    elif code == BAD_TIMESTAMP and bare(method) not in QUERIES:
        cure = "; the exchange was asked for its time: send it again, if it is still wanted"
    text = f"{method} was refused ({said}){cure}"
    return ApiError(text, method=method, status=status, code=code, msg=msg, data=data)


def outcome_unknown(method: str, params: Mapping[str, Any], why: object, **more: Any) -> OutcomeUnknown:
    """The error of a request of which nobody knows what became of it.

    Args:
        params: the request's: an order is told by the id that its user gave it.
    """
    name = bare(method)
    if name in PLACING or "cancel" in name or "amend" in name:
        own = params.get("newClientOrderId") or params.get("origClientOrderId") or params.get("orderId")
        which = f"order {own!r}" if own else "the order"
        text = f"{method}: whether it was carried out is not known ({why}); ask what became of {which} (order.status)"
    else:
        text = f"{method} was sent and has no good answer ({why})"
    return OutcomeUnknown(text, method=method, **more)


def _left(error: Mapping[str, Any], body: Mapping[str, Any], server_time: float) -> float:
    """Seconds until the exchange listens again."""
    for place in (error.get("data"), error, body):
        after = place.get("retryAfter") if isinstance(place, Mapping) else None
        if isinstance(place, Mapping) and isinstance(after, (int, float)):
            now = place.get("serverTime")
            left = after / 1e3 - (now / 1e3 if isinstance(now, (int, float)) else server_time)
            return min(max(left, 0.0), API.ban_max)
    return next_minute(server_time)


def _whole(value: Any) -> int | None:
    return value if type(value) is int else None
