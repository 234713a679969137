"""The clients under test, by name."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple, Protocol

from ..cases import Case


class Driver(Protocol):
    """One connection of a client, used as its own documentation says."""

    async def open(self, url: str, case: Case | None) -> None:
        """Connect; `case` is None if nothing will be exchanged."""

    async def receive(self, command: str, count: int) -> None:
        """Send the command, then receive so many messages, each as str or bytes."""

    async def send(self, command: str, payload: str, count: int) -> None:
        """Send the command, then the payload so many times, then receive one message."""

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        """Send the command, then so many times the payload, each after the answer to the one before.

        Gives the seconds that each answer took.
        """

    async def close(self) -> None:
        """Close with a handshake."""


class Entry(NamedTuple):
    """A client of the table."""

    title: str
    driver: str
    """Module of this package, and name in it."""
    needs: tuple[str, ...]
    """Modules without which it is skipped."""
    deflate: bool = True
    """It can decompress."""
    uvloop: bool = False
    """It runs on uvloop."""
    only: tuple[str, ...] = ()
    """Kinds of measurement that it is for; all if empty."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What must be installed first."""
        return tuple(name for name in self.needs if importlib.util.find_spec(name) is None)

    def make(self) -> Driver:
        module, name = self.driver.split(":")
        driver: Driver = getattr(importlib.import_module(f".{module}", __name__), name)()
        return driver


CLIENTS = {
    "libws": Entry("libws, callback", "libws:Callback", ("libws_core",)),
    "libws-for": Entry("libws, `async for`", "libws:Iterate", ("libws_core",), only=("traffic",)),
    "libws-uvloop": Entry(
        "libws, callback, uvloop", "libws:Callback", ("libws_core", "uvloop"), uvloop=True, only=("traffic",)
    ),
    "libws-picows": Entry("libws-picows, callback", "libws:Picows", ("libws_picows",), deflate=False),
    "websockets": Entry("websockets", "websockets:Websockets", ("websockets",)),
    "websockets-bare": Entry(
        "websockets without keep-alive", "websockets:Bare", ("websockets",), only=("memory", "connect")
    ),
    "aiohttp": Entry("aiohttp", "aiohttp:Aiohttp", ("aiohttp",)),
    "picows": Entry("picows, callback", "picows:Picows", ("picows",), deflate=False),
    "picows-websockets": Entry("picows' drop-in for websockets", "websockets:DropIn", ("picows",)),
    "websocket-client": Entry(
        "websocket-client (no asyncio)", "websocket_client:WebsocketClient", ("websocket",), deflate=False
    ),
    "libws-1-stage": Entry("libws, one stage more", "libws:OneStage", ("libws_core",), only=("stages",)),
    "libws-2-stages": Entry("libws, two stages more", "libws:TwoStages", ("libws_core",), only=("stages",)),
    "raw": Entry("raw: the same bytes, not looked at", "raw:Raw", ()),
}
