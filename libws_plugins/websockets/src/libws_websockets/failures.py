"""What went wrong, as errors of libws: foreign exceptions are translated here, and nowhere else."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

from libws_core.errors import ConnectError, ConnectionClosed, InvalidHandshake, NameResolutionError, TLSError
from libws_core.verdicts import FATAL

from .http1 import BadResponse

if TYPE_CHECKING:
    from websockets.frames import Close

    from libws_core.errors import Party


def translate(error: Exception, what: str) -> ConnectError:
    """The error for what went wrong on the way to `what`, with the foreign one as its cause.

    Args:
        error: an OSError (that of TLS among them), EOFError or BadResponse; they hold addresses, but no secret.
        what: URL or proxy as it may be shown.
    """
    translated = _translate(error, what)
    translated.__cause__ = error
    return translated


def _translate(error: Exception, what: str) -> ConnectError:
    if isinstance(error, socket.gaierror):
        return NameResolutionError(f"cannot resolve the host of {what}: {error.strerror}")
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message or "it does not fit"
        return TLSError(f"the certificate of {what} is refused: {text}", verdict=FATAL)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or "unknown").replace("_", " ").lower()
        # An alert about a certificate is about ours: trying again with the same one cannot help.
        about_certificate = "certificate" in reason or "unknown ca" in reason
        return TLSError(f"TLS with {what} failed: {reason}", verdict=FATAL if about_certificate else None)
    if isinstance(error, BadResponse):
        return InvalidHandshake(f"{what} did not answer with a response of HTTP: {error}")
    if isinstance(error, EOFError):
        return ConnectError(f"{what} closed the connection during the handshake")
    if isinstance(error, OSError) and error.errno:
        reason = os.strerror(error.errno).lower()  # asyncio's own text names the address instead
    else:
        reason = str(error) or type(error).__name__
    return ConnectError(f"cannot connect to {what}: {reason}")


def closed(
    name: str, close: Close | None, initiator: Party | None, *, aborted: bool, cause: Exception | None
) -> ConnectionClosed:
    """How a WebSocket ended that broke no rule.

    Args:
        name: its URL as it may be shown.
        close: the server's close frame, None if none came.
        initiator: who sent the first close frame, None if nobody did.
        aborted: we dropped the socket.
        cause: what the socket said, if it broke.
    """
    if close is not None:
        by = "us" if initiator == "local" else "the server"
        reason = f", reason {close.reason!r}" if close.reason else ""
        text = f"{name} was closed by {by} with code {int(close.code)}{reason}"
        return ConnectionClosed(text, code=int(close.code), reason=close.reason, initiator=initiator)
    if aborted:
        return ConnectionClosed(f"{name} was dropped by us without a close frame (1006)", initiator="local")
    if initiator is not None:
        return ConnectionClosed(f"{name} did not answer our close frame (1006)", initiator="local")
    why = f": {cause}" if cause is not None else ""
    error = ConnectionClosed(f"{name} was lost without a close frame (1006){why}", initiator="network")
    error.__cause__ = cause
    return error
