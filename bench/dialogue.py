"""The server's side of a provider's connection: the opening dialogue, then messages that were encoded beforehand."""

from __future__ import annotations

import socket
import threading

from .frames import CLOSE, PING, PONG, TEXT, ClientFrames, frame
from .providers import PROVIDERS

PATIENCE = 30.0
"""Seconds that a client may take to answer what it was sent."""


class Dialogue:
    """One connection. It is read in one thread, and written in another when that is asked for."""

    def __init__(self, sock: socket.socket, name: str, mode: str) -> None:
        self._sock = sock
        self._provider = PROVIDERS[name]()
        self._talks = mode == "with"
        self._window = self._provider.window if self._talks else None
        self._number = 0
        self._batches: list[bytes] = []
        self._lock = threading.Lock()
        self._answered = threading.Semaphore(0)
        self._counting = False

    def run(self) -> None:
        """Read until the client has gone."""
        frames = ClientFrames()
        self._say(*(self._provider.hello if self._talks else ()))
        try:
            while True:
                while (found := frames.next()) is None:
                    data = self._sock.recv(64 * 1024)
                    if not data:
                        return
                    frames.feed(data)
                opcode, payload = found
                if opcode == TEXT and self._counting:
                    self._answered.release()
                elif opcode == TEXT and self._talks:
                    self._say(*self._provider.answers(payload.decode()))
                elif opcode in (PING, CLOSE):
                    with self._lock:
                        self._sock.sendall(frame(PONG if opcode == PING else CLOSE, payload))
                    if opcode == CLOSE:
                        return
        except OSError:
            pass  # a client that has gone
        finally:
            self._sock.close()

    def prepare(self, messages: int) -> None:
        """Encode so many messages, each another one, and different from all before."""
        make, first = self._provider.message, self._number + 1
        self._number += messages
        texts = [frame(TEXT, make(number).encode()) for number in range(first, self._number + 1)]
        size = self._window or 500
        self._batches = [b"".join(texts[start : start + size]) for start in range(0, messages, size)]

    def write(self) -> None:
        """Write what was prepared; where the client answers, only as much at a time as may wait for its answers."""
        self._counting = self._window is not None
        for batch in self._batches:
            with self._lock:
                self._sock.sendall(batch)
            for _ in range(self._window or 0):
                if not self._answered.acquire(timeout=PATIENCE):
                    raise TimeoutError("the client did not answer")
        self._batches, self._counting = [], False

    def _say(self, *texts: str) -> None:
        with self._lock:
            for text in texts:
                self._sock.sendall(frame(TEXT, text.encode()))
