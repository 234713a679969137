"""The testing kit under a real client: one script on memory and on a socket, and the same story for the same seed."""

from __future__ import annotations

import asyncio
from typing import Any

from libws_core import Client, Event, Failure, Message, chance, hookimpl
from libws_core.testing import MemoryDialer, Peer, Server, leaks, refuse, run


class Retry:
    """Reconnect after a random delay."""

    def __init__(self, least: float, most: float) -> None:
        self.least, self.most = least, most

    @hookimpl
    def reconnect(self, failure: Failure) -> float:
        return chance.uniform(self.least, self.most)


async def drops(peer: Peer) -> None:
    await peer.expect({"op": "login"})
    await peer.send("first")
    await peer.drop()


async def restarts(peer: Peer) -> None:
    await peer.expect({"op": "login"})
    await peer.send("second")
    await peer.close(1012, "restart")


async def stays(peer: Peer) -> None:
    await peer.expect({"op": "login"})
    await peer.send("third")
    async for message in peer:
        await peer.send(message)


SCRIPT = (refuse(503), refuse(429, {"Retry-After": "1"}), drops, restarts, stays)


class Login:
    @hookimpl
    async def establish(self, session: Any) -> None:
        session.send(Message.text('{"op":"login"}'))


async def ride(url: str, *plugins: Any) -> tuple[list[str], list[str]]:
    """Ride out the whole script; gives the events and the messages."""
    events: list[str] = []
    client = Client(url, plugins=["-standard", *plugins, Login(), Retry(0.001, 0.01)])

    def tell(event: Event) -> None:
        error = getattr(event, "error", None)
        events.append(f"{type(event).__name__} {getattr(error, 'status', None) or getattr(error, 'code', None) or ''}")

    client.on(Event, tell)
    async with client:
        texts = [(await client.recv(timeout=10)).data for _ in range(3)]
        await client.send("echo", confirm=True)
        texts.append((await client.recv(timeout=10)).data)
    return [line.strip() for line in events if not line.startswith("Connecting")], texts


STORY = (
    [
        *["AttemptFailed 503", "Retrying 503", "AttemptFailed 429", "Retrying 429", "Connected"],
        *["Disconnected 1006", "Retrying 1006", "Gap", "Reconnected"],
        *["Disconnected 1012", "Retrying 1012", "Gap", "Reconnected", "Disconnected 1000", "Closed"],
    ],
    ["first", "second", "third", "echo"],
)


def test_one_script_on_memory() -> None:
    async def main() -> tuple[list[str], list[str]]:
        async with leaks(), MemoryDialer(*SCRIPT) as dialer:
            return await ride("ws://test/", dialer)

    assert run(main()) == STORY


async def test_one_script_on_a_socket(dialer: Any) -> None:
    async with leaks(), Server(*SCRIPT) as server:
        assert await ride(server.url, dialer()) == STORY


def test_the_same_seed_gives_the_same_story() -> None:
    async def talk(peer: Peer) -> None:
        async for message in peer:
            if chance.uniform(0, 1) < 0.2:
                await peer.drop(reset=chance.uniform(0, 1) < 0.5)
            await peer.send(message)

    async def story() -> list[str]:
        told: list[str] = []

        async def live(name: str, dialer: MemoryDialer) -> None:
            client = Client("ws://test/", plugins=["-standard", dialer, Retry(0.5, 5)], name=name)
            client.on(Event, lambda event: told.append(f"{name} {event.monotonic} {event.wall} {type(event).__name__}"))
            client.on_message(lambda message: told.append(f"{name} {message.data}"))
            async with client:
                for number in range(40):
                    try:
                        await client.send(str(number))
                    except ConnectionError as error:
                        told.append(f"{name} {type(error).__name__}")
                    await asyncio.sleep(chance.uniform(0, 2))

        async with (
            MemoryDialer(talk, latency=lambda: chance.uniform(0.01, 0.3)) as dialer,
            asyncio.TaskGroup() as group,
        ):
            for name in "abc":
                group.create_task(live(name, dialer))
        return told

    one, two, other = run(story(), seed=1), run(story(), seed=1), run(story(), seed=2)
    assert len(one) > 100
    assert one == two
    assert one != other
