"""Closing one connection: write what waits, shake hands, and abort when time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .session import LiveSession


def check_code(code: int) -> None:
    """Refuse a code that no close frame may carry: RFC 6455 section 7.4, and the IANA registry for 1012 to 1014.

    1005 is admitted, it stands for an empty frame.
    """
    standard = isinstance(code, int) and 1000 <= code <= 1014 and code not in (1004, 1006)
    if not standard and not (isinstance(code, int) and 3000 <= code <= 4999):
        raise ValueError(f"{code!r} is no close code that may be sent")


def fitting(reason: str) -> str:
    """As much of a reason as a close frame takes: 123 bytes (RFC 6455 section 5.5)."""
    return reason.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")


async def close_within(
    session: LiveSession, code: int, reason: str, seconds: float, deadline: float | None = None
) -> None:
    """Close a connection by a full handshake, or by force.

    Args:
        seconds: how long it may take, not counting the time in which we are not reading: its last messages are wanted.
        deadline: the loop's time at which it is over all the same; None = no such.
    """
    loop = asyncio.get_running_loop()
    begin = loop.time() - session.paused_total

    def left() -> float:
        return deadline - loop.time() if deadline is not None else begin + seconds - loop.time() + session.paused_total

    async def within(wait: Callable[[], Awaitable[Any]]) -> None:
        while (time := left()) > 0 and not session.gone.done():
            try:
                async with asyncio.timeout(time):
                    await wait()
                return
            except TimeoutError:
                pass  # while reading was paused the deadline has moved

    await within(session.outbound.flushed)
    if session.error is None:
        session.close(code, reason)
        if deadline is not None:
            session.read_out()
    await within(lambda: asyncio.shield(session.gone))
    if not session.gone.done():
        session.drop("our close was not answered in time")
