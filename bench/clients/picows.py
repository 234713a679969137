"""picows' own interface: a callback for each frame, which is made a str or bytes."""

from __future__ import annotations

import asyncio
from time import perf_counter

from picows import (  # type: ignore[import-not-found, unused-ignore]
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from ..cases import Case


class Listener(WSListener):  # type: ignore[misc, unused-ignore]
    """Counts messages; in an echo it answers each from the callback, until all are through."""

    def __init__(self) -> None:
        self.missing = 0
        self.binary = False
        self.done: asyncio.Future[None] | None = None
        self.payload = ""
        self.begun = 0.0
        self.took: list[float] | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    def arm(self, count: int) -> asyncio.Future[None]:
        self.missing = count
        self.done = asyncio.get_running_loop().create_future()
        return self.done

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if not self.missing:
            return  # the close frame: asking each frame for its kind would cost as much as all the rest
        if self.binary:
            frame.get_payload_as_bytes()
        else:
            frame.get_payload_as_utf8_text()
        self.missing -= 1
        if self.took is not None:
            now = perf_counter()
            self.took.append(now - self.begun)
            if self.missing:
                self.begun = now
                transport.send(WSMsgType.TEXT, self.payload.encode())
        if not self.missing and self.done is not None:
            self.done.set_result(None)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class Picows:
    """With its defaults: no keep-alive."""

    transport: WSTransport
    listener: Listener

    async def open(self, url: str, case: Case | None) -> None:
        self.transport, self.listener = await ws_connect(Listener, url)  # type: ignore[assignment, unused-ignore]
        self.listener.binary = case is not None and case.kind == "binary"

    async def receive(self, command: str, count: int) -> None:
        done = self.listener.arm(count)
        self.transport.send(WSMsgType.TEXT, command.encode())
        await done

    async def send(self, command: str, payload: str, count: int) -> None:
        done, send, writable = self.listener.arm(1), self.transport.send, self.listener.writable
        send(WSMsgType.TEXT, command.encode())
        for _ in range(count):
            send(WSMsgType.TEXT, payload.encode())
            if not writable.is_set():
                await writable.wait()
        await done

    async def echo(self, command: str, payload: str, count: int) -> list[float]:
        listener = self.listener
        done = listener.arm(count)
        listener.payload, listener.took = payload, []
        self.transport.send(WSMsgType.TEXT, command.encode())
        listener.begun = perf_counter()
        self.transport.send(WSMsgType.TEXT, payload.encode())
        await done
        took, listener.took = listener.took, None
        return took

    async def close(self) -> None:
        self.transport.send_close(WSCloseCode.OK)
        self.transport.disconnect()
        await self.transport.wait_disconnected()
