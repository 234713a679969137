"""Sending across drops on real sockets, to a server in another process that writes down what it reads."""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from pathlib import Path

import pytest

from libws_core import Client, DeliveryUnknown, Disconnected, MessageExpired, Reconnected
from libws_core.testing import Server, by_hand, leaks
from libws_outbox import Outbox

pytestmark = pytest.mark.usefixtures("each_dialer")

RATE = 300
"""Messages a second."""
SERVER = Path(__file__).parent / "counting_server.py"


class CountingServer:
    """The process, and what it has read; it may be killed and started again on its port."""

    def __init__(self) -> None:
        self.port = 0
        self.read: list[tuple[str, int]] = []
        """Which connection brought which message, in order."""
        self._process: Process
        self._reading: asyncio.Task[None]
        self._lives = 0
        self._more = asyncio.Event()

    async def __aenter__(self) -> CountingServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end(kill=True)

    async def start(self) -> None:
        self._lives += 1
        self._process = process = await asyncio.create_subprocess_exec(
            sys.executable, str(SERVER), str(self.port), stdin=PIPE, stdout=PIPE
        )
        assert process.stdout is not None
        _, port = (await process.stdout.readline()).split()
        self.port = int(port)
        self._reading = asyncio.ensure_future(self._read(process, self._lives))

    async def _read(self, process: Process, life: int) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            connection, number = line.decode().split()
            self.read.append((f"{life}.{connection}", int(number)))
            self._more.set()

    async def more(self, count: int) -> None:
        """Wait until it has read so many more."""
        count += len(self.read)
        while len(self.read) < count:
            self._more.clear()
            await self._more.wait()

    def order(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())

    async def end(self, kill: bool = False) -> None:
        process = self._process
        assert process.stdin is not None
        if kill and process.returncode is None:
            process.kill()
        process.stdin.close()
        await self._reading  # what it had written before it was killed is read
        await process.wait()


class Count:
    """One message and what its sender was told."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.confirm = number % 3 > 0
        self.idempotent = number % 3 == 2
        self.timeout = 0.02 if number % 20 == 0 else None
        self.outcome: str | Exception | None = None

    async def send(self, client: Client) -> None:
        try:
            await client.send(str(self.number), confirm=self.confirm, idempotent=self.idempotent, timeout=self.timeout)
        except Exception as error:
            self.outcome = error
        else:
            self.outcome = "sent"


async def heard(client: Client) -> None:
    """Wait until the client is READY again."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    remove = client.on(Reconnected, lambda event: future.done() or future.set_result(None))
    try:
        await future
    finally:
        remove()


async def test_sending_across_drops_at_300_messages_a_second_leaves_nothing_unsaid() -> None:
    """Each ends as written, proven, failed or unknown; what its sender was told is true, and the order is kept."""
    options = {
        "backoff": {"base": 0.2, "cap": 0.3},
        "ping": {"interval": 0.3, "timeout": 0.3},
        "outbox": {"size": 2000},
    }
    messages: list[Count] = []
    unconfirmed = 0

    def lost(event: Disconnected) -> None:
        nonlocal unconfirmed
        unconfirmed += event.unconfirmed

    async with leaks(), asyncio.timeout(60), CountingServer() as server:
        client = Client(f"ws://127.0.0.1:{server.port}", plugins=["outbox"], options=options, proxy=None)
        client.on(Disconnected, lost)
        await client.open()
        tasks: set[asyncio.Task[None]] = set()
        stopped = asyncio.Event()

        async def sends() -> None:
            begin = asyncio.get_running_loop().time()
            while not stopped.is_set():
                while len(messages) < (asyncio.get_running_loop().time() - begin) * RATE:
                    messages.append(Count(len(messages)))
                    tasks.add(asyncio.ensure_future(messages[-1].send(client)))
                await asyncio.sleep(1 / RATE)

        sending = asyncio.ensure_future(sends())
        for fault in ("reset", "drop", "close", "stall", "kill", "reset", "kill"):
            await server.more(60)  # it goes well for a while
            again = asyncio.ensure_future(heard(client))
            await asyncio.sleep(0)
            if fault == "kill":
                await server.end(kill=True)
                await server.start()
            else:
                server.order(fault)
            await again
        stopped.set()
        await sending
        await asyncio.wait(tasks)
        assert client.plugin(Outbox).waiting == 0
        await client.close()
        assert all(task.done() and task.exception() is None for task in tasks)
        await server.end()
    reconcile(messages, server.read, unconfirmed)


def reconcile(messages: list[Count], read: list[tuple[str, int]], unconfirmed: int) -> None:
    counts = Counter(number for _, number in read)
    ends: Counter[str] = Counter()
    vanished = 0
    for message in messages:
        number, outcome, times = message.number, message.outcome, counts[message.number]
        assert outcome is not None, f"silent: {number}"
        assert times <= 1 or message.idempotent, f"{number} was read {times} times"
        if isinstance(outcome, MessageExpired):
            assert times == 0, f"{number} was read, and its sender told that it was not sent"
        elif isinstance(outcome, DeliveryUnknown):
            assert message.confirm
        else:
            assert outcome == "sent", f"{number}: {outcome!r}"
            if message.confirm:
                assert times >= 1, f"{number} was proven, and never read"
            vanished += times == 0
        proven = message.confirm and outcome == "sent"
        ends["proven" if proven else outcome if isinstance(outcome, str) else type(outcome).__name__] += 1
    assert vanished <= unconfirmed, "messages vanished, and nobody counted them"
    assert len(messages) >= 7 * 60
    assert len(ends) >= 3  # at least: written, proven, and unknown or expired
    for connection in {connection for connection, _ in read}:
        numbers = [number for each, number in read if each == connection]
        assert numbers == sorted(numbers), "not in the order of sending"


async def test_a_peer_that_does_not_read_is_left_and_what_waited_leaves_in_order() -> None:
    """Behind a full buffer, then in the outbox, then on the next connection: nothing is lost, nothing grows."""
    async with leaks(), asyncio.timeout(30), Server(by_hand(), receive_buffer=4096) as server:
        options = {"backoff": {"base": 0.1}, "ping": {"interval": 0.3, "timeout": 0.3}, "outbox": {"bytes": 2**24}}
        async with Client(server.url, plugins=["outbox"], options=options, proxy=None) as client:
            peer = await server.accept()
            await client.send("first", confirm=True)
            peer.silence(reading=False)
            sending: list[asyncio.Task[None]] = []
            while sum(not task.done() for task in sending) < 50:
                text = f"{len(sending)}:{'x' * 20_000}"
                sending.append(asyncio.ensure_future(client.send(text, confirm=True, idempotent=True, timeout=20)))
                await asyncio.sleep(0)
            again = await server.accept()
            numbers = [int((await again.recv()).data.partition(":")[0]) for _ in sending]
            assert numbers == list(range(len(sending)))
            await asyncio.gather(*sending)
            assert client.plugin(Outbox).waiting_bytes == 0
