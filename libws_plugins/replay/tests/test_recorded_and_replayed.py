"""What was recorded on a real socket is what comes when it is dialed: any dialer, any kind, any end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from libws_core import (
    STOP,
    AttemptFailed,
    Client,
    ConnectionClosed,
    Disconnected,
    Event,
    Failure,
    Kind,
    LibwsError,
    Message,
    ProtocolError,
    Session,
    hookimpl,
)
from libws_core.testing import Server, leaks, virtual
from libws_record import Record
from libws_replay import Replay

SERVER = '''
"""A provider in a process of its own, with its oddities; prints its URL."""

import asyncio

from libws_core.testing import Server, refuse


async def first(peer):
    peer.ping(b"\\x00\\x01")
    await peer.send("welcome")
    question = await peer.recv()
    await peer.send(question)
    await peer.send(bytes(range(256)))
    await peer.send("grüße " * 20000)
    await peer.drop()


async def second(peer):
    await peer.send("again")
    await peer.recv()
    await peer.close(4008, "too slow")


async def main():
    async with Server(refuse(429, {"Retry-After": "0", "X-Why": "flood"}, b"slow down"), first, second) as server:
        print(server.url, flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
'''


@asynccontextmanager
async def provider() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30):
            yield (await process.stdout.readline()).decode().strip()
    finally:
        process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # what else it holds it lets go of a turn later


class Life:
    """Everything that a client lives through, without its times and texts."""

    def __init__(self) -> None:
        self.lived: list[Any] = []
        self.retries = 0

    @hookimpl
    def incoming(self, session: Session) -> Any:
        def see(message: Message) -> Message:
            self.lived.append((session.request.attempt.generation, message.kind, message.data))
            return message

        return see

    @hookimpl
    def observe(self, event: Event) -> None:
        if isinstance(event, (AttemptFailed, Disconnected)):
            self.lived.append((type(event), event.generation, event.attempt, facts(event.error)))

    @hookimpl
    def reconnect(self, failure: Failure) -> Any:
        return STOP if failure.error.code == 4008 else 0


def facts(error: LibwsError) -> dict[str, Any]:
    names = ("verdict", "retry_after", "fault", "initiator", "code", "status", "phase", "generation", "text")
    known = {name: getattr(error, name) for name in names}
    more = {name: getattr(error, name, None) for name in ("reason", "headers", "body")}
    return {"class": type(error), **known, **more}


async def live(url: str, *dialing: object) -> list[Any]:
    """What a client that does the same each time lives through."""
    life = Life()
    client = Client(url, plugins=["-standard", life, "pong", *dialing], inbox_bytes=2**20)
    await client.open()
    texts = [(await client.recv()).data]
    await client.send("a question")
    texts += [(await client.recv()).data for _ in range(4)]
    await client.send("and on")
    with pytest.raises(Exception, match="4008"):
        await client.wait_closed()
    assert texts[1:] == ["a question", bytes(range(256)), "grüße " * 20000, "again"]
    return life.lived


@pytest.mark.parametrize("speed", [1.0, None])
async def test_a_replayed_life_is_the_recorded_life(dialer: Any, tmp_path: Path, speed: float | None) -> None:
    file = tmp_path / "session.jsonl"
    async with leaks(settle=5), provider() as url, asyncio.timeout(30):
        lived = await live(url, dialer(), Record(file=str(file)))
    assert [each[1] for each in lived if isinstance(each[1], Kind)] == [
        *[Kind.PING, Kind.TEXT, Kind.TEXT, Kind.BINARY, Kind.TEXT],
        *[Kind.TEXT, Kind.CLOSE],
    ]

    @virtual
    async def again() -> list[Any]:
        return await live(f"replay:{file}", Replay(speed=speed, expect="match"))

    def play() -> list[Any]:
        return again()

    assert await asyncio.get_running_loop().run_in_executor(None, play) == lived


async def test_a_replay_may_be_recorded_and_replayed(tmp_path: Path) -> None:
    """The second generation of a tape says what the first one says."""
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    async with provider() as url, asyncio.timeout(30):
        lived = await live(url, "websockets", Record(file=str(first)))
    copied = await live(f"replay:{first}", Replay(speed=None, expect="order"), Record(file=str(second)))
    again = await live(f"replay:{second}", Replay(speed=None, expect="order"))
    assert lived == copied == again


async def test_what_a_dialer_refused_is_refused_again(dialer: Any, tmp_path: Path) -> None:
    """Bytes that break the protocol are no message; the dialer's verdict is recorded, and told again."""
    file = tmp_path / "session.jsonl"

    def breaks(peer: Any) -> None:
        peer.send("fine")
        peer._transport.write(b"\x83\x00")  # opcode 3 is reserved, RFC 6455 section 5.2

    async def ends(url: str, *dialing: object) -> dict[str, Any]:
        client = Client(url, plugins=["-standard", *dialing])
        await client.open()
        with pytest.raises(ConnectionClosed) as caught:
            await client.wait_closed()
        assert (await client.recv()).data == "fine"
        return facts(caught.value)

    async with Server(breaks) as server, asyncio.timeout(20):
        end = await ends(server.url, dialer(), Record(file=str(file)))
    assert end["class"] is ProtocolError
    assert await ends(f"replay:{file}", Replay(speed=None)) == end
