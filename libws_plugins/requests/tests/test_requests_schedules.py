"""Orders, batches and losses drawn by chance: every question ends, by its own answer or by an error that is true."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libws_core import Client, ClientClosed, DeliveryUnknown, Gap, LibwsError, Message, MessageExpired, NotReady
from libws_core.testing import Faults, MemoryDialer, MemoryPeer, Simulation, run
from libws_outbox import Outbox
from libws_requests import RequestFailed, RequestLost, Requests, RequestTimeout


@st.composite
def schedules(draw: Callable[..., Any]) -> list[list[Any]]:
    """How a server answers some questions: messages, each of one or several items, errors and news among them."""
    count = draw(st.integers(1, 12))
    items: list[Any] = [{"id": number, "result": number * 7} for number in range(1, count + 1)]
    for item in items:
        if draw(st.integers(0, 1)):
            item["error"] = {"code": item.pop("result")}
    items += [{"method": f"news {number}"} for number in range(draw(st.integers(0, 4)))]
    messages: list[list[Any]] = [[]]
    for item in draw(st.permutations(items)):
        if messages[-1] and draw(st.integers(0, 1)):
            messages.append([])
        messages[-1].append(item)
    return messages


@settings(max_examples=150, deadline=None)
@given(schedules(), st.integers(1, 12))
def test_answers_find_their_questions_in_every_order(schedule: list[list[Any]], limit: int) -> None:
    news = [item for message in schedule for item in message if "method" in item]
    answers = {item["id"]: item for message in schedule for item in message if "id" in item}

    def answer(peer: MemoryPeer) -> None:
        heard: set[int] = set()
        waiting = [list(message) for message in schedule]

        def hear(message: Message) -> None:
            """Say what can be said: at the limit a question is asked when another has its answer."""
            heard.add(message.json["id"])
            for items in waiting:
                ready = [item for item in items if "id" not in item or item["id"] in heard]
                if ready:
                    items[:] = [item for item in items if item not in ready]
                    peer.send(ready if len(ready) > 1 else ready[0])

        peer.on_message = hear

    async def main() -> None:
        async with MemoryDialer(answer) as dialer:
            client = Client("ws://test/", plugins=["-standard", Requests(limit=limit), dialer])
            requests = client.plugin(Requests)
            async with client:
                asked = [requests.ask({"ask": number}) for number in range(len(answers))]
                for number, got in enumerate(await asyncio.gather(*asked, return_exceptions=True), 1):
                    if "error" in answers[number]:
                        assert isinstance(got, RequestFailed)
                        assert (got.id, got.data) == (number, answers[number]["error"])
                    else:
                        assert isinstance(got, Message)
                        assert got.json == answers[number]
                left: list[Any] = []
                while client.stats.received > len(left):
                    left.append((await client.recv(timeout=1)).json)
            flat = [item for message in left for item in (message if isinstance(message, list) else [message])]
            assert sorted(map(str, flat)) == sorted(map(str, news))
            assert requests.in_flight == ()

    run(main())


class Questions(Simulation):
    """A server that answers late, in any order, in batches or never, behind a line that breaks."""

    faults = Faults(lifetime=(0, 8))
    keeps = False
    """The client has an outbox."""
    moves = False

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.heard: Counter[Any] = Counter()
        self.ends: dict[int, Message | BaseException] = {}
        self.asked = 0

    def client(self) -> Client:
        plugins: list[object] = [Outbox(ttl=None)] if self.keeps else []
        plugins += ["reopen"] if self.moves else []
        options: dict[str, Any] = {"ping": {"interval": 2, "timeout": 2}}
        if self.moves:
            options["reopen"] = {"every": 1, "overlap": 0.5, "settle": 0.5}
        return Client(
            "ws://test/",
            plugins=[Requests(limit=5, timeout=6), *plugins, self.dialer, "-websockets"],
            options=options,
        )

    async def server(self, peer: MemoryPeer) -> None:
        chance = random.Random(f"{self.seed} {peer.number}")
        waiting: list[Any] = []
        async for message in peer:
            asked = message.json
            self.heard[asked["id"]] += 1
            if chance.random() < 0.9:
                waiting.append({"id": asked["id"], "result": asked["ask"]})
            while waiting and chance.random() < 0.7:
                chance.shuffle(waiting)
                size = chance.randint(1, len(waiting))
                answers, waiting = waiting[:size], waiting[size:]
                peer.send(answers if size > 1 else answers[0])

    async def user(self, client: Client) -> None:
        requests = client.plugin(Requests)
        asking: dict[asyncio.Task[None], None] = {}

        async def ask(number: int) -> None:
            try:
                self.ends[number] = await requests.ask({"id": f"q{number}", "ask": number})
            except (LibwsError, asyncio.CancelledError) as error:
                self.ends[number] = error

        async def go_on_asking() -> None:
            while client.state not in ("closing", "closed", "failed"):
                if asking and self.chance.random() < 0.05:
                    self.chance.choice([*asking]).cancel()
                self.asked += 1
                asking[asyncio.create_task(ask(self.asked))] = None
                await asyncio.sleep(self.chance.uniform(0, 0.8))

        writer = asyncio.create_task(go_on_asking())
        async for item in self.read(client):
            assert isinstance(item, Gap) or "result" in str(item.data)
        await writer
        await asyncio.wait(asking)
        self.left = requests.in_flight

    def verify(self) -> None:
        assert self.left == ()
        assert len(self.ends) == self.asked
        again = [id for id, times in self.heard.items() if times > 1]
        assert not again, f"asked twice: {again}"
        for number, end in self.ends.items():
            heard = self.heard[f"q{number}"]
            if isinstance(end, Message):
                assert end.json == {"id": f"q{number}", "result": number}
                assert heard == 1
            elif isinstance(end, (NotReady, MessageExpired, ClientClosed)):
                assert heard == 0, f"question {number} was heard, and its sender was told {end}"
            else:
                assert isinstance(end, (DeliveryUnknown, asyncio.CancelledError)), repr(end)
                assert not isinstance(end, DeliveryUnknown) or isinstance(end, (RequestLost, RequestTimeout))


class KeptQuestions(Questions):
    keeps = True


class MovedQuestions(Questions):
    moves = True
    keeps = True
    connections = 3


@pytest.mark.parametrize("kind", [Questions, KeptQuestions, MovedQuestions])
def test_every_question_ends_and_none_is_asked_twice(kind: type[Questions]) -> None:
    kind.check(seeds=40)


def test_the_simulation_meets_losses_and_late_answers() -> None:
    """It would prove nothing if each question had its answer."""
    kinds: set[type] = set()

    class Told(KeptQuestions):
        def verify(self) -> None:
            super().verify()
            kinds.update(type(end) for end in self.ends.values())

    Told.check(seeds=20)
    assert {Message, RequestLost, RequestTimeout, MessageExpired} <= kinds
