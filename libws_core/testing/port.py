"""A loopback port that stays ours while nobody listens on it."""

from __future__ import annotations

import asyncio
import socket

__all__ = ["reserve"]

CLEANUP = 5.0
"""Seconds that a listening socket on the same port may take to close."""


async def reserve(host: str, port: int, again: bool, receive_buffer: int | None = None) -> socket.socket:
    """A socket on this port that does not listen yet; the system refuses who dials it.

    Args:
        port: 0 = a free one.
        again: the port was ours before, and its last socket may be closing.
        receive_buffer: bytes of the receive buffer of connections; None = the system's.

    Raises:
        OSError: it cannot be had.
    """
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with asyncio.timeout(CLEANUP):
            while True:
                try:
                    sock.bind((host, port))
                    break
                except OSError:
                    if not again:
                        raise
                    await asyncio.sleep(0.01)  # a loop may close the listening socket a turn later
    except BaseException:
        sock.close()
        raise
    return sock
