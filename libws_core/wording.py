"""Events and errors in words, for the command and for traces."""

from __future__ import annotations

from .errors import ConnectionClosed, LibwsError
from .events import (
    AttemptFailed,
    Closed,
    Connected,
    Connecting,
    Disconnected,
    Dropped,
    Event,
    Gap,
    Reconnected,
    Reopened,
    Retrying,
)


def event_words(event: Event) -> str:
    """What has happened, in one line; a plugin's own event by the name of its class."""
    match event:
        case Connecting(phase=phase):
            return f"attempt {event.attempt}: {phase}"
        case AttemptFailed():
            return f"attempt {event.attempt} failed in {event.phase}: {event.error}"
        case Connected():
            return "connected"
        case Disconnected(error=error) if error.initiator == "local" and error.code == 1000:
            return f"closed by us after {event.uptime:.1f} s{_unconfirmed(event.unconfirmed)}"
        case Disconnected():
            return f"lost after {event.uptime:.1f} s: {event.error}{_unconfirmed(event.unconfirmed)}"
        case Retrying():
            return f"next attempt in {event.delay:.2f} s"
        case Reconnected():
            return f"connected again, connection {event.generation}"
        case Reopened():
            return f"moved to connection {event.generation}, {event.overlap:.1f} s with both"
        case Gap():
            about = f" of {event.topic}" if event.topic is not None else ""
            where = f", {event.first} to {event.last}" if event.first is not None else ""
            return f"messages{about} may be missing here{where}: {event.why}"
        case Dropped():
            return f"{event.count} messages dropped: {event.why}"
        case Closed(error=None):
            return "closed"
        case Closed():
            return f"failed: {event.error}"
    return type(event).__name__


def error_words(error: LibwsError) -> str:
    """What an error is, in a few words: "429 with Retry-After 3", "closed with 1012", else its class."""
    if error.status is not None:
        what = str(error.status)
    elif type(error) is ConnectionClosed:
        what = "lost without a close frame" if error.code == 1006 else f"closed with {error.code}"
    else:
        what = type(error).__name__
    return what if error.retry_after is None else f"{what} with Retry-After {error.retry_after:g}"


def _unconfirmed(count: int) -> str:
    return f"; {count} messages sent without a proof that they were read" if count else ""
