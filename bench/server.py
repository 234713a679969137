"""The server: a process of its own that writes frames encoded beforehand and looks at as little as it can.

    /receive/CASE  each command, a text N, is answered by N batches of the case's frames
    /send/CASE     after a command N come N messages, which are counted by their bytes; then one message is sent
    /echo/CASE     after a command N come N messages, each answered by a frame encoded beforehand
    /hold          the connection stays; pings and the close are answered
    /provider/NAME/MODE   a provider's opening dialogue, then messages as the next two ask for them
    /prepare/NAME/MODE/N  plain HTTP: N messages are encoded for the newest connection of that path
    /write/NAME/MODE      plain HTTP: they are written
    /reset         plain HTTP: every held connection is reset, without a close frame
    /usage         plain HTTP: seconds of CPU that this process needed for the last command

A connection that carries what is measured has a thread of its own with a blocking socket: the least that Python can do.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import Callable

from .cases import CASES, Case
from .dialogue import Dialogue
from .frames import CLOSE, PING, PONG, TEXT, WINDOW_BITS, ClientFrames, accept_of, frame, masked_size
from .processes import allow_files, pin
from .providers import PROVIDERS

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST."""


class Usage:
    """The CPU that this process needed for the last command."""

    def __init__(self) -> None:
        self.last = 0.0

    def begin(self) -> Callable[[], None]:
        """Start to count; gives the function that ends it."""
        begun = time.process_time()

        def end() -> None:
            self.last = time.process_time() - begun

        return end


class Server:
    """Serves until its process ends."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.usage = Usage()
        self.held: dict[socket.socket, ClientFrames] = {}
        self.dialogues: dict[str, Dialogue] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self.listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = loop.create_task(self.serve(sock))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def serve(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                data = await loop.sock_recv(sock, 4096)
                if not data:
                    sock.close()
                    return
                head += data
            path, headers = parse(head)
            _, way, *rest = path.partition("?")[0].split("/")
            if way in ("reset", "usage", "prepare", "write"):
                if way == "reset":
                    self.reset()
                elif way == "prepare":
                    await asyncio.to_thread(self.dialogues["/".join(rest[:2])].prepare, int(rest[2]))
                elif way == "write":
                    await asyncio.to_thread(self.write_dialogue, self.dialogues["/".join(rest)])
                await loop.sock_sendall(sock, answer(str(self.usage.last).encode()))
                sock.close()
                return
            case = CASES[rest[0]] if rest and way != "provider" else None
            if way == "provider" and not PROVIDERS[rest[0]].chooses:
                headers.pop("sec-websocket-protocol", None)
            await loop.sock_sendall(sock, upgrade(headers, case))
        except OSError:
            sock.close()
            return
        if way == "provider":
            sock.setblocking(True)
            name, mode, *_ = rest  # a plugin may add to the path
            dialogue = self.dialogues[f"{name}/{mode}"] = Dialogue(sock, name, mode)
            await asyncio.to_thread(dialogue.run)
        elif case is None:
            self.hold(sock)
        else:
            sock.setblocking(True)
            await asyncio.to_thread(self.carry, sock, case)

    # Connections that are held

    def hold(self, sock: socket.socket) -> None:
        self.held[sock] = ClientFrames()
        asyncio.get_running_loop().add_reader(sock, self.attend, sock)

    def release(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(sock)
        del self.held[sock]
        sock.close()

    def attend(self, sock: socket.socket) -> None:
        frames = self.held[sock]
        try:
            data = sock.recv(4096)
            frames.feed(data)
            while (found := frames.next()) is not None:
                opcode, payload = found
                if opcode == PING:
                    sock.send(frame(PONG, payload))
                elif opcode == CLOSE:
                    sock.send(frame(CLOSE, payload))
                    data = b""
        except OSError:
            data = b""
        if not data:
            self.release(sock)

    def reset(self) -> None:
        for sock in [*self.held]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.release(sock)

    # Connections that are measured, each in a thread

    def carry(self, sock: socket.socket, case: Case) -> None:
        perform = {"receive": self.write, "send": self.sink, "echo": self.echo}[case.way]
        frames = ClientFrames()
        try:
            while True:
                while (found := frames.next()) is None:
                    data = sock.recv(4096)
                    if not data:
                        return
                    frames.feed(data)
                opcode, payload = found
                if opcode == TEXT:
                    early, frames.rest = frames.rest, b""
                    perform(sock, case, int(payload), early)
                elif opcode == PING:
                    sock.sendall(frame(PONG, payload))
                elif opcode == CLOSE:
                    sock.sendall(frame(CLOSE, payload))
                    return
        except OSError:
            pass  # a client that has gone
        finally:
            sock.close()

    def write_dialogue(self, dialogue: Dialogue) -> None:
        end = self.usage.begin()
        dialogue.write()
        end()

    def write(self, sock: socket.socket, case: Case, batches: int, early: bytes) -> None:
        batch = case.frames
        end = self.usage.begin()
        for _ in range(batches):
            sock.sendall(batch)
        end()

    def sink(self, sock: socket.socket, case: Case, messages: int, early: bytes) -> None:
        missing = messages * masked_size(case.size) - len(early)
        buffer = bytearray(256 * 1024)
        end = self.usage.begin()
        while missing > 0:
            got = sock.recv_into(buffer, min(missing, len(buffer)))
            if not got:
                raise ConnectionResetError
            missing -= got
        end()
        sock.sendall(frame(TEXT, b"done"))

    def echo(self, sock: socket.socket, case: Case, messages: int, early: bytes) -> None:
        size, answer = masked_size(case.size), frame(TEXT, case.payload.encode())
        recv, send = sock.recv, sock.send
        missing = size - len(early)
        end = self.usage.begin()
        for left in range(messages, 0, -1):
            while missing > 0:
                got = len(recv(missing))
                if not got:
                    raise ConnectionResetError
                missing -= got
            missing = size
            if left == 1:
                end()
            send(answer)


def parse(head: bytes) -> tuple[str, dict[str, str]]:
    """The path and the headers of a request, names in lower case."""
    first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return first.split(" ")[1], {name.strip().lower(): value.strip() for name, _, value in pairs}


def answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def upgrade(headers: dict[str, str], case: Case | None) -> bytes:
    """The 101, with compression only where the case is about that, and the first subprotocol that is offered."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_of(headers['sec-websocket-key'])}",
    ]
    if offer := headers.get("sec-websocket-protocol"):
        lines.append(f"Sec-WebSocket-Protocol: {offer.partition(',')[0]}")
    if case is not None and case.deflate:
        bits = f"; server_max_window_bits={WINDOW_BITS}"
        offered = "server_max_window_bits" in headers.get("sec-websocket-extensions", "")
        lines.append(f"Sec-WebSocket-Extensions: permessage-deflate{bits if offered else ''}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def main() -> None:
    pin(sys.argv[1])
    allow_files()
    for case in CASES.values():
        if case.way == "receive":
            assert case.frames  # encoded now, not when a client waits for it
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        listener.setblocking(False)
        print(listener.getsockname()[1], flush=True)
        asyncio.run(Server(listener).run())


if __name__ == "__main__":
    main()
