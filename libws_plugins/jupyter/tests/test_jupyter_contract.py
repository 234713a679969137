"""What every provider, log-in and stage promises, of `jupyter`."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import httpx

from libws_core import Client, Message
from libws_core.testing import AuthContract, MemoryDialer, Peer, ProviderContract, StageContract, refuse
from libws_jupyter import Jupyter
from libws_jupyter.framing import Received, decode, encode
from libws_jupyter.profile import SUBPROTOCOL

KERNEL = "01234567-89ab-cdef-0123-456789abcdef"


def answer(request: httpx.Request) -> httpx.Response:
    """A server with one kernel, which is idle."""
    return httpx.Response(200, json={"id": KERNEL, "execution_state": "idle"})


def in_memory() -> httpx.AsyncClient:
    """A client without a network, since the contract's clock is not that of sockets."""
    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


def says(
    channel: str, type: str, content: dict[str, Any], number: int, parent: dict[str, Any] | None = None
) -> Received:
    header = {"msg_id": f"kernel_7_{number}", "session": "kernel", "msg_type": type, "version": "5.3"}
    return {
        "channel": channel,
        "header": header,
        "parent_header": parent or {},
        "metadata": {},
        "content": content,
        "buffers": [],
    }


OUTPUTS = [says("iopub", "stream", {"name": "stdout", "text": f"{n} ü"}, 100 + n) for n in range(40)]


class JupyterContract(ProviderContract, AuthContract, StageContract):
    """The three of them, with a server whose kernel answers when it is asked about itself."""

    plugin = Jupyter
    v1 = False
    bad_options: ClassVar = {
        "token": ["", "two\nlines"],
        "token_in": ["body"],
        "kernel": [""],
        "name": [""],
        "gone": ["never"],
        "interval": [0],
        "patience": [0, -1],
        "timeout": [0],
        "limit": [0],
        "queue": [0],
        "queue_bytes": [0],
    }
    codes: ClassVar[dict[int | str, str]] = {1000: "retry", 1001: "retry", 1011: "retry", 1009: "fatal"}
    refusals = (refuse(401), refuse(403))

    @property
    def says(self) -> list[Message]:
        """Other messages end the connection, as the protocol has it."""
        return [encode(each, v1=self.v1) for each in OUTPUTS]

    @property
    def passes(self) -> list[tuple[Any, Any]]:
        """What belongs to nobody goes to the user, as it is, where that is wanted."""
        return [(message, message) for message in self.says[:3]]

    async def server(self, peer: Peer) -> None:
        number = 0
        async for message in peer:
            try:
                asked = decode(message, v1=self.v1)
            except Exception:
                continue  # what the contract says of its own
            if asked["header"].get("msg_type") == "kernel_info_request":
                number += 2
                info = says(asked["channel"], "kernel_info_reply", {"status": "ok"}, number - 1, asked["header"])
                peer.send(encode(info, v1=self.v1))
                idle = says("iopub", "status", {"execution_state": "idle"}, number, asked["header"])
                peer.send(encode(idle, v1=self.v1))


class TestJupyter(JupyterContract):
    options: ClassVar[dict[str, Any]] = {"token": "a token nobody knows", "client": in_memory, "others": True}
    sources = ()


class TestJupyterWithItsSubprotocol(JupyterContract):
    options: ClassVar[dict[str, Any]] = {
        "token": lambda: json.dumps(["a token", "fetched anew"]),
        "token_in": "query",
        "client": in_memory,
        "others": True,
    }
    sources = ("token",)
    v1 = True

    def client(self, dialer: MemoryDialer, *others: object, **more: Any) -> Client:
        dialer.subprotocols = (SUBPROTOCOL,)
        return super().client(dialer, *others, **more)
