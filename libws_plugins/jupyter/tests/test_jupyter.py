"""Kernels that answer, keep silent, die and come back, against a server that says what the test says."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from libws_core import (
    Client,
    ClientClosed,
    Connected,
    ConnectError,
    ConnectTimeout,
    Disconnected,
    Event,
    Gap,
    HandshakeRejected,
    InvalidHandshake,
    KeepAliveTimeout,
    NotReady,
    OutboxFull,
    ProtocolError,
    Reconnected,
    Reopened,
    Retrying,
    Secret,
    Verdict,
)
from libws_core.testing import MemoryDialer, MemoryPeer, refuse, virtual
from libws_jupyter import Execution, Jupyter, KernelGone, Output, ReaderTooSlow, ReplyLost, ReplyTimeout, StateLost
from libws_jupyter.framing import Received, decode, encode
from libws_jupyter.profile import SUBPROTOCOL
from libws_jupyter.server import Address


class Kernel:
    """A server of the REST API and the channels, with a kernel that answers what it is asked about itself."""

    def __init__(self, *steps: Any) -> None:
        self.state: str | None = "idle"
        """What REST says; None = there is no such kernel."""
        self.rest: list[tuple[str, str, Any]] = []
        """What was asked there."""
        self.refusal: int | None = None
        self.specs: Any = {"kernelspecs": {"python3": {}}}
        self.answers = {"shell", "control"}
        """The channels on which it answers a kernel_info_request."""
        self.replay: Callable[[], object] = lambda: None
        """What it says first on each connection."""
        self.running: list[str] = []
        self.ended: set[str] = set()
        self.waiting: list[dict[str, Any]] = []
        self.life = "life1"
        self.number = 0
        self.heard: list[Received] = []
        self.peers: dict[int, MemoryPeer] = {}
        self.dialer = MemoryDialer(*(steps or [self.step]), subprotocols=(SUBPROTOCOL,))

    def http(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/base")
        body: Any = json.loads(request.content) if request.content else None
        self.rest.append((request.method, path, body))
        if self.refusal is not None and request.method == "POST":
            return httpx.Response(self.refusal)
        if path == "/api/kernelspecs":
            return httpx.Response(403) if self.specs is None else httpx.Response(200, json=self.specs)
        if request.method == "POST" and path == "/api/kernels":
            self.state = "idle"
            return httpx.Response(201, json={"id": body["kernel_id"]})
        if self.state is None:
            return httpx.Response(404)
        return httpx.Response(204 if request.method == "DELETE" else 200, json={"execution_state": self.state})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.http))

    def step(self, peer: MemoryPeer) -> None:
        self.peers[peer.number] = peer
        peer.on_message = lambda message: self.take(peer, decode(message, v1=True))
        self.replay()

    def take(self, peer: MemoryPeer, asked: Received) -> None:
        self.heard.append(asked)
        header, channel = asked["header"], asked["channel"]
        if header["msg_type"] == "execute_request":
            self.running += {header["msg_id"]} - self.ended
        elif header["msg_type"] == "kernel_info_request" and channel in self.answers:
            if channel == "shell" and self.running:
                self.waiting.append(header)  # one request after the other
            else:
                self.introduce(header, channel)

    def introduce(self, header: dict[str, Any], channel: str) -> None:
        self.say("status", {"execution_state": "busy"}, header)
        self.say("kernel_info_reply", {"status": "ok", "banner": self.life}, header, channel)
        self.say("status", {"execution_state": "idle"}, header)

    def say(
        self,
        type: str,
        content: dict[str, Any],
        parent: dict[str, Any] | None = None,
        channel: str = "iopub",
        *,
        life: str | None = None,
        lost: bool = False,
    ) -> None:
        """Say the kernel's next message, or lose it on the way."""
        self.number += 1
        life = self.life if life is None else life
        header = {"msg_id": f"{life}_7_{self.number}", "session": life, "msg_type": type}
        received: Received = {
            "channel": channel,
            "header": header,
            "parent_header": parent or {},
            "metadata": {},
            "content": content,
            "buffers": [],
        }
        if not lost:
            self.peers[max(self.peers)].send(encode(received, v1=True))

    def print(self, text: str, execution: Execution, **more: Any) -> None:
        self.say("stream", {"name": "stdout", "text": text}, {"msg_id": execution.id}, **more)

    def end(self, execution: Execution, status: str = "ok", *, lost: bool = False) -> None:
        parent = {"msg_id": execution.id}
        self.say("execute_reply", {"status": status}, parent, "shell", lost=lost)
        self.say("status", {"execution_state": "idle"}, parent, lost=lost)
        if execution.id in self.running:
            self.running.remove(execution.id)
        self.ended.add(execution.id)
        while self.waiting and not self.running:
            self.introduce(self.waiting.pop(0), "shell")

    def posts(self) -> list[Any]:
        return [body for method, path, body in self.rest if (method, path) == ("POST", "/api/kernels")]


class Diary:
    """A client, and what has happened to it."""

    def __init__(self, server: Kernel, *, url: str = "http://test/", **options: Any) -> None:
        self.kernel = server
        given = {"client": server.client, **options}
        self.client = Client(
            url,
            plugins=["jupyter", server.dialer, "-websockets", "-ping"],
            options={"jupyter": given, "backoff": {"base": 1, "jitter": "none"}},
            proxy=None,
        )
        self.jupyter = self.client.plugin(Jupyter)
        self.events: list[Event] = []
        self.client.on(Event, self.events.append)

    def all(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def __aenter__(self) -> Diary:
        await self.client.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()

    async def lose(self, *, down: float = 0.0) -> None:
        """Lose the connection; returns when there is another one."""
        count = len(self.all(Reconnected))
        self.kernel.peers[max(self.kernel.peers)].drop(reset=True)
        await until(lambda: len(self.all(Reconnected)) > count)


async def until(happened: Callable[[], object]) -> None:
    for _ in range(100_000):
        if happened():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen")


async def texts(execution: Execution) -> list[str]:
    return [item.text if isinstance(item, Output) else f"Gap: {item.why}" async for item in execution if said(item)]


async def texts_until(error: type[Exception], execution: Execution, match: str = ".") -> list[str]:
    """What it says before it ends with that error."""
    found: list[str] = []

    async def read() -> None:
        async for item in execution:
            assert isinstance(item, Output)
            found.append(item.text)

    with pytest.raises(error, match=match):
        await read()
    return found


def said(item: Output | Gap) -> bool:
    return isinstance(item, Gap) or bool(item.text)


def said_in(type: str, kernel: Kernel) -> list[dict[str, Any]]:
    """The contents of all messages of a type that the kernel has heard."""
    return [each["content"] for each in kernel.heard if each["header"]["msg_type"] == type]


@pytest.mark.parametrize(
    ("url", "channels", "rest"),
    [
        ("http://a", "ws://a/api/kernels/k%2Fk/channels?session_id=s", "http://a"),
        (
            "https://a:1/base/?token=t&x=1",
            "wss://a:1/base/api/kernels/k%2Fk/channels?x=1&session_id=s",
            "https://a:1/base",
        ),
        ("wss://a/base", "wss://a/base/api/kernels/k%2Fk/channels?session_id=s", "https://a/base"),
    ],
)
def test_the_urls_are_made_of_the_servers(url: str, channels: str, rest: str) -> None:
    address = Address.of(url)
    assert (address.channels("k/k", "s"), address.rest) == (channels, rest)
    assert address.token == (Secret("t") if "token" in url else None)


@virtual
async def test_another_scheme_is_refused() -> None:
    kernel = Kernel()
    async with kernel.dialer:
        with pytest.raises(Exception, match="is no address of a Jupyter server"):
            await Diary(kernel, url="ws+unix:///socket").client.open()


@virtual
async def test_the_token_is_shown_where_it_should_be() -> None:
    for where, url in (
        ("header", "http://test/base"),
        ("query", "http://test/base"),
        ("header", "http://test/base?token=t"),
    ):
        kernel = Kernel()
        async with kernel.dialer:
            given = {} if "token" in url else {"token": "t"}
            async with Diary(kernel, url=url, token_in=where, **given):
                request = kernel.dialer.dials[0].request
                assert request.url.startswith("ws://test/base/api/kernels/")
                assert ("token=t" in request.url) == (where == "query")
                assert request.headers.get("Authorization") == (None if where == "query" else "token t")


@virtual
async def test_one_kernel_is_started_whatever_is_lost() -> None:
    """The id is ours, so an answer that was lost is asked for again, and no second kernel begins."""
    kernel = Kernel()
    kernel.refusal = 503
    async with kernel.dialer:
        diary = Diary(kernel, name="python3", path="here")
        opening = asyncio.create_task(diary.client.open())
        await until(lambda: len(diary.all(Retrying)) == 2)
        kernel.refusal = None
        await opening
        ids = {json.dumps(body) for body in kernel.posts()}
        assert len(ids) == 1
        assert kernel.posts()[0] == {"name": "python3", "path": "here", "kernel_id": diary.jupyter.id}
        count = len(kernel.posts())
        await diary.lose()
        await diary.lose()
        assert len(kernel.posts()) == count
        assert len({dial.request.url for dial in kernel.dialer.dials}) == 1  # the session, too
        await diary.client.close()
        assert kernel.rest[-1][:2] == ("DELETE", f"/api/kernels/{diary.jupyter.id}")


@pytest.mark.parametrize(
    ("options", "deleted"),
    [({"kernel": "k-1"}, False), ({"kernel": "k-1", "shutdown": True}, True), ({"shutdown": False}, False)],
)
@virtual
async def test_what_was_not_started_here_stays(options: dict[str, Any], deleted: bool) -> None:
    kernel = Kernel()
    async with kernel.dialer:
        async with Diary(kernel, **options) as diary:
            assert len(kernel.posts()) == (0 if "kernel" in options else 1)
            assert diary.jupyter.id
        assert (("DELETE", f"/api/kernels/{diary.jupyter.id}", None) in kernel.rest) == deleted


@virtual
async def test_a_kernel_that_cannot_be_shut_down_is_told(caplog: pytest.LogCaptureFixture) -> None:
    kernel = Kernel()
    async with kernel.dialer:
        diary = Diary(kernel)
        async with diary:
            kernel.http = lambda request: httpx.Response(500)  # type: ignore[method-assign]
        assert "could not be shut down" in caplog.text
        caplog.clear()
        async with Diary(kernel := Kernel()):
            kernel.state = None  # somebody has done it
        assert not caplog.records


@pytest.mark.parametrize("specs", [{"kernelspecs": {"a": 1, "b": 1}}, {}, None])
@virtual
async def test_a_name_that_the_server_does_not_know_is_fatal(specs: Any) -> None:
    kernel = Kernel()
    kernel.specs = specs
    async with kernel.dialer:
        diary = Diary(kernel, name="cobol")
        if specs:
            with pytest.raises(ConnectError, match="no kernel named 'cobol', only 'a', 'b'") as caught:
                await diary.client.open()
            assert caught.value.verdict is Verdict.FATAL
            assert not kernel.posts()
        else:  # it does not tell, and lets us in
            async with diary:
                assert kernel.posts()


@pytest.mark.parametrize(
    ("status", "error", "text"),
    [
        (403, HandshakeRejected, "option 'token'"),
        (404, KernelGone, "no such kernel any more"),
        (405, HandshakeRejected, "405"),
    ],
)
@virtual
async def test_a_refused_upgrade_is_fatal_and_names_its_cure(status: int, error: type[Exception], text: str) -> None:
    kernel = Kernel(refuse(status))
    async with kernel.dialer:
        diary = Diary(kernel, token="t")
        with pytest.raises(error, match=text):
            await diary.client.open()
        assert kernel.dialer.count == 1


@virtual
async def test_a_kernel_that_is_gone_at_the_upgrade_is_replaced_where_that_is_wanted() -> None:
    kernel = Kernel()
    kernel.dialer = MemoryDialer(refuse(404), kernel.step, subprotocols=(SUBPROTOCOL,))
    async with kernel.dialer, Diary(kernel, gone="new") as diary:
        assert len({body["kernel_id"] for body in kernel.posts()}) == 2
        assert [lost.kernel for lost in diary.all(StateLost)] == [diary.jupyter.id]


@virtual
async def test_another_subprotocol_is_refused() -> None:
    kernel = Kernel()
    kernel.dialer = MemoryDialer(kernel.step, subprotocols=("other",))
    async with kernel.dialer:
        client = Client(
            "http://test/",
            plugins=["jupyter", kernel.dialer, "-websockets"],
            options={"jupyter": {"client": kernel.client}},
            subprotocols=["other"],
            proxy=None,
        )
        with pytest.raises(InvalidHandshake, match="'other'"):
            await client.open()


@virtual
async def test_what_is_no_message_ends_the_client() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        kernel.peers[1].send(b"nonsense")
        with pytest.raises(ProtocolError):
            await diary.client.wait_closed()


# Executions


@virtual
async def test_an_execution_ends_when_the_kernel_has_answered_and_is_idle() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        first, second = await diary.jupyter.execute("a"), await diary.jupyter.execute("b")
        parent = {"msg_id": first.id}
        kernel.print("2", second)
        kernel.print("1", first)
        kernel.say("status", {"execution_state": "idle"}, parent)
        await asyncio.sleep(0.5)
        assert not first.done
        kernel.say("execute_reply", {"status": "ok", "execution_count": 3}, parent, "shell")
        assert await texts(first) == ["1"]
        assert first.reply == {"status": "ok", "execution_count": 3}
        assert (await first.result())["execution_count"] == 3
        kernel.say("execute_reply", {"status": "ok"}, {"msg_id": second.id}, "shell")
        await asyncio.sleep(1)
        assert not second.done
        kernel.say("status", {"execution_state": "idle"}, {"msg_id": second.id})
        assert await texts(second) == ["2"]


@virtual
async def test_an_execution_that_is_never_answered_ends_when_the_kernel_has_done_something_later() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a")
        await until(lambda: kernel.running)
        kernel.print("1", execution)
        kernel.running.clear()
        kernel.say("status", {"execution_state": "idle"}, {"msg_id": execution.id})
        assert await texts_until(ReplyLost, execution, "idle again, and has not answered") == ["1", ""]


@virtual
async def test_deadlines() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel, timeout=3) as diary:
        begin = asyncio.get_running_loop().time()
        execution = await diary.jupyter.execute("a", timeout=5)
        kernel.print("1", execution)
        found = await texts_until(ReplyTimeout, execution, "not done within 5 s")
        assert (found, asyncio.get_running_loop().time() - begin) == (["1"], 5)
        kernel.print("too late", execution)
        with pytest.raises(ReplyTimeout, match="complete_request within 3 s"):
            await diary.jupyter.ask("complete_request", {"code": "a", "cursor_pos": 1})
        assert asyncio.get_running_loop().time() - begin == 8
        assert not diary.all(Disconnected)


@virtual
async def test_what_others_do_is_left_out_or_given() -> None:
    for others in (False, True):
        kernel = Kernel()
        async with kernel.dialer, Diary(kernel, others=others) as diary:
            execution = await diary.jupyter.execute("a")
            kernel.say("stream", {"name": "stdout", "text": "theirs"}, {"msg_id": "x", "session": "x"})
            kernel.end(execution)
            await execution.result()
            kernel.print("late", execution)
            kernel.say(
                "comm_msg", {"data": 1}, {"msg_id": execution.id, "session": kernel.heard[0]["header"]["session"]}
            )
            if others:
                message = await diary.client.recv(timeout=1)
                assert message.json["content"]["text"] == "theirs"
                assert (await diary.client.recv(timeout=1)).json["content"]["text"] == "late"
            with pytest.raises(TimeoutError):
                await diary.client.recv(timeout=1)


@virtual
async def test_a_reader_that_is_too_slow_is_told_and_others_go_on() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel, queue=3, queue_bytes=2000, limit=3) as diary:
        many, large, good = [await diary.jupyter.execute("a") for _ in range(3)]
        with pytest.raises(OutboxFull):
            await diary.jupyter.execute("one more")
        kernel.print("x" * 5000, large)
        kernel.print("y", large)
        for number in range(5):
            kernel.print(str(number), many)
        kernel.print("fine", good)
        kernel.end(good)
        assert await texts(good) == ["fine"]
        for execution, expected in ((many, ["0", "1", "2"]), (large, ["x" * 5000])):
            assert await texts_until(ReaderTooSlow, execution) == expected


@virtual
async def test_an_execution_that_nobody_wants_is_forgotten() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel, limit=1) as diary:
        async with await diary.jupyter.execute("a") as execution:
            kernel.print("1", execution)
            assert await anext(execution)
            with pytest.raises(RuntimeError, match="reader already"):
                await asyncio.gather(anext(execution), anext(execution))
        assert execution.done
        assert [item async for item in execution] == []
        with pytest.raises(RuntimeError, match="left by its reader"):
            await execution.result()
        kernel.print("2", execution)
        assert not (await diary.jupyter.execute("b")).done


@virtual
async def test_nothing_is_sent_without_a_connection() -> None:
    kernel = Kernel()
    async with kernel.dialer:
        diary = Diary(kernel)
        with pytest.raises(NotReady):
            await diary.jupyter.execute("a")
        async with diary:
            kernel.peers[1].drop(reset=True)
            await until(lambda: diary.all(Disconnected))
            with pytest.raises(NotReady):
                await diary.jupyter.execute("a")
            await until(lambda: diary.all(Reconnected))
            last = await diary.jupyter.execute("a")
            with pytest.raises(ValueError, match="what JSON cannot"):
                await diary.jupyter.execute("a", user_expressions={"a": object()})
        with pytest.raises(ReplyLost, match="the client was closed"):
            await last.result()
        with pytest.raises(ClientClosed):
            await diary.jupyter.ask("kernel_info_request")


@virtual
async def test_questions_are_answered_or_lost() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        assert (await diary.jupyter.ask("kernel_info_request"))["banner"] == "life1"
        asking = asyncio.create_task(diary.jupyter.ask("history_request", {}, channel="control"))
        await until(lambda: kernel.heard[-1]["header"]["msg_type"] == "history_request")
        assert kernel.heard[-1]["channel"] == "control"
        await diary.lose()
        with pytest.raises(ReplyLost):
            await asking


@virtual
async def test_input_is_asked_for_again_where_its_answer_was_not_written() -> None:
    kernel, asked = Kernel(), list[str]()

    async def type_slowly(prompt: str) -> Secret:
        asked.append(prompt)
        await asyncio.sleep(5)
        return Secret("typed")

    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("input()", stdin=type_slowly)
        await until(lambda: kernel.running)
        assert kernel.heard[-1]["content"]["allow_stdin"] is True
        kernel.say("input_request", {"prompt": "name?", "password": False}, {"msg_id": execution.id}, "stdin")
        await until(lambda: asked)
        await diary.lose()
        await until(lambda: said_in("input_reply", kernel))
        assert (asked, said_in("input_reply", kernel)) == (["name?", "name?"], [{"value": "typed", "status": "ok"}])
        await diary.lose()
        await asyncio.sleep(10)
        assert len(asked) == 2


@virtual
async def test_input_is_asked_for_again_where_its_answer_is_not_proven_to_be_read() -> None:
    kernel, asked = Kernel(), list[str]()

    def type_at_once(prompt: str) -> str:
        asked.append(prompt)
        return "typed"

    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("input()", stdin=type_at_once)
        await until(lambda: kernel.running)
        kernel.peers[1].on_message = lambda message: kernel.peers[1].drop(reset=True)
        kernel.say("input_request", {"prompt": "name?"}, {"msg_id": execution.id}, "stdin")
        await until(lambda: diary.all(Reconnected))
        await until(lambda: said_in("input_reply", kernel))
        assert asked == ["name?", "name?"]


# Connections that are lost


@virtual
async def test_what_the_server_kept_comes_once_and_is_known_to_be_whole() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a", markers=True)
        kernel.print("1", execution)
        await asyncio.sleep(1)

        def replay() -> None:
            kernel.print("2", execution)
            kernel.print("3", execution)

        kernel.replay = replay
        await diary.lose()
        kernel.end(execution)
        assert await texts(execution) == ["1", "2", "3"]
        assert diary.all(Gap) == []


@virtual
async def test_where_something_may_be_missing_a_gap_stands() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        first, second = await diary.jupyter.execute("a", markers=True), await diary.jupyter.execute("b")
        kernel.print("1", first)
        await asyncio.sleep(1)
        kernel.print("2", first, lost=True)
        await diary.lose()
        kernel.print("3", first)
        kernel.end(first)
        kernel.end(second)
        assert await texts(first) == ["1", "Gap: the connection was lost", "3"]
        assert await texts(second) == []
        assert [gap.topic for gap in diary.all(Gap)] == [None]
        third = await diary.jupyter.execute("c", markers=True)
        await asyncio.sleep(1)
        await diary.lose()  # what was told is not told again
        kernel.end(third)
        assert await texts(third) == []
        assert len(diary.all(Gap)) == 1


@virtual
async def test_an_execution_whose_end_was_lost_does_not_wait_for_ever() -> None:
    """The kernel's shell works off one request after the other: what answers later proves that the earlier is done."""
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        lost, running = await diary.jupyter.execute("a"), await diary.jupyter.execute("b")
        kernel.print("1", lost)
        await asyncio.sleep(1)
        kernel.end(lost, lost=True)
        await diary.lose()
        await asyncio.sleep(100)
        assert not lost.done  # the shell is busy with the other one
        kernel.end(running)
        await running.result()
        assert await texts_until(ReplyLost, lost, "the connection was lost") == ["1"]


@virtual
async def test_a_kernel_that_was_restarted_meanwhile_is_another_one() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a")
        await asyncio.sleep(1)
        kernel.life, kernel.number, kernel.running = "life2", 0, []
        await diary.lose()
        with pytest.raises(ReplyLost, match="the kernel was restarted"):
            await execution.result()
        assert [(lost.kernel, lost.why) for lost in diary.all(StateLost)] == [
            (diary.jupyter.id, "the kernel was restarted")
        ]
        assert len(diary.all(Gap)) == 1


@virtual
async def test_a_kernel_that_repeats_our_session_proves_nothing() -> None:
    """IRkernel puts the session of who asks into its answers."""
    kernel = Kernel()

    def step(peer: MemoryPeer) -> None:
        kernel.life = peer.path.partition("session_id=")[2].partition("&")[0]
        Kernel.step(kernel, peer)

    kernel.dialer = MemoryDialer(step, subprotocols=(SUBPROTOCOL,))
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a", markers=True)
        await asyncio.sleep(1)
        await diary.lose()
        kernel.print("1", execution)
        kernel.end(execution)
        assert await texts(execution) == ["Gap: the connection was lost", "1"]
        assert diary.all(StateLost) == []
        kernel.say("status", {"execution_state": "restarting"})
        await until(lambda: diary.all(StateLost))


@virtual
async def test_a_reader_does_not_run_ahead_of_what_is_missing() -> None:
    """What was kept comes before it is known whether that is all: who reads gets it when the place is marked."""
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a", markers=True)
        reading = asyncio.create_task(texts(execution))
        kernel.print("1", execution)
        await asyncio.sleep(1)
        kernel.print("2", execution, lost=True)
        kernel.replay = lambda: kernel.print("3", execution)
        await diary.lose()
        kernel.end(execution)
        assert await reading == ["1", "Gap: the connection was lost", "3"]


@virtual
async def test_what_comes_twice_is_given_once() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a")
        kernel.print("1", execution)
        kernel.number -= 1
        kernel.print("1", execution)
        kernel.print("2", execution)
        kernel.end(execution)
        assert await texts(execution) == ["1", "2"]


@virtual
async def test_several_losses_before_the_next_ready_are_one_gap() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        execution = await diary.jupyter.execute("a", markers=True)
        await asyncio.sleep(1)
        kernel.print("1", execution, lost=True)
        kernel.answers = set()
        kernel.peers[1].drop(reset=True)
        await until(lambda: 2 in kernel.peers)
        kernel.print("2", execution)
        await asyncio.sleep(0.1)
        kernel.answers = {"control", "shell"}
        kernel.peers[2].drop(reset=True)
        await until(lambda: diary.all(Reconnected))
        kernel.end(execution)
        assert await texts(execution) == ["Gap: the connection was lost", "2"]
        assert len(diary.all(Gap)) == 1


@pytest.mark.parametrize("others", [True, False])
@virtual
async def test_what_was_brought_before_ready_was_dropped(others: bool) -> None:
    """So numbers without a hole prove nothing to whoever wants the messages of others."""
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel, others=others) as diary:
        await asyncio.sleep(1)
        kernel.answers = set()
        kernel.peers[1].drop(reset=True)
        await until(lambda: 2 in kernel.peers)
        kernel.say("stream", {"name": "stdout", "text": "theirs"}, {"msg_id": "x", "session": "x"})
        await asyncio.sleep(0.1)
        kernel.answers = {"control", "shell"}
        kernel.peers[2].drop(reset=True)
        await until(lambda: diary.all(Reconnected))
        assert len(diary.all(Gap)) == (1 if others else 0)


# Kernels that die


@virtual
async def test_a_kernel_that_the_server_has_restarted_is_another_one() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        own = kernel.heard[0]["header"]["session"]
        execution = await diary.jupyter.execute("a")
        await asyncio.sleep(1)
        kernel.say("status", {"execution_state": "restarting"}, life=own)
        kernel.life, kernel.running = "life2", []
        with pytest.raises(ReplyLost, match="the kernel was restarted"):
            await execution.result()
        assert len(diary.all(StateLost)) == 1
        assert len(kernel.dialer.dials) == 2  # it may have other ports
        await until(lambda: diary.all(Reopened))
        later = await diary.jupyter.execute("b")
        kernel.print("1", later)
        kernel.end(later)
        assert await texts(later) == ["1"]
        assert not diary.all(Disconnected)


@virtual
async def test_what_a_gateway_says_is_no_other_kernel() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        await asyncio.sleep(1)
        kernel.say("status", {"execution_state": "idle"}, life="gateway")
        kernel.say("status", {"execution_state": ["odd"]}, life="gateway")
        await asyncio.sleep(1)
        assert diary.all(StateLost) == []


@virtual
async def test_a_kernel_is_not_blamed_while_we_do_not_read() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel, others=True) as diary:
        for _ in range(10_100):
            kernel.say("stream", {"name": "stdout", "text": "theirs"}, {"msg_id": "x", "session": "x"})
        await asyncio.sleep(300)
        assert not diary.all(Disconnected)
        for _ in range(10_100):
            assert await diary.client.recv(timeout=1)


@virtual
async def test_a_kernel_that_is_gone_without_a_word_is_noticed() -> None:
    for gone in (None, "dead"):
        kernel = Kernel()
        async with kernel.dialer:
            diary = Diary(kernel, interval=15, patience=10)
            await diary.client.open()
            execution = await diary.jupyter.execute("a")
            await asyncio.sleep(100)
            assert not diary.all(Disconnected)
            kernel.state, kernel.answers = gone, set()
            begin = asyncio.get_running_loop().time()
            with pytest.raises(KernelGone):
                await diary.client.wait_closed()
            assert asyncio.get_running_loop().time() - begin <= 15 + 10
            with pytest.raises(KernelGone):
                await execution.result()


@virtual
async def test_a_kernel_that_says_that_it_ends_is_looked_after_at_once() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel, gone="new") as diary:
        before, execution = diary.jupyter.id, await diary.jupyter.execute("a")
        begin = asyncio.get_running_loop().time()
        kernel.say("shutdown_reply", {"status": "ok", "restart": False}, {"msg_id": "x"})
        await asyncio.sleep(0.1)
        kernel.state, kernel.answers = None, set()
        await until(lambda: diary.all(Disconnected))
        assert asyncio.get_running_loop().time() - begin < 1
        kernel.answers = {"control", "shell"}
        await until(lambda: diary.all(Reconnected))
        assert diary.jupyter.id != before
        with pytest.raises(ReplyLost, match="is lost"):
            await execution.result()
        assert [lost.kernel for lost in diary.all(StateLost)] == [diary.jupyter.id]


@virtual
async def test_a_kernel_that_is_busy_is_left_alone() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        kernel.state, kernel.answers = "busy", set()
        await asyncio.sleep(1000)
        assert not diary.all(Disconnected)
        await diary.lose()
        assert len(diary.all(Disconnected)) == 1


@virtual
async def test_a_kernel_that_answers_nothing_on_control_is_asked_on_shell() -> None:
    kernel = Kernel()
    kernel.answers = {"shell"}
    async with kernel.dialer, Diary(kernel) as diary:
        await asyncio.sleep(100)
        assert not diary.all(Disconnected)
        assert [each["channel"] for each in kernel.heard].count("control") == 1


@virtual
async def test_a_kernel_whose_outputs_are_not_heard_yet_is_asked_again() -> None:
    """The server answers for iopub only when it has subscribed there."""
    kernel = Kernel()
    say = kernel.say

    def deaf(type: str, content: dict[str, Any], *more: Any, **others: Any) -> None:
        say(type, content, *more, **others, lost=type == "status" and len(kernel.heard) < 3)

    kernel.say = deaf  # type: ignore[method-assign]
    async with kernel.dialer:
        begin = asyncio.get_running_loop().time()
        async with Diary(kernel):
            assert len(kernel.heard) == 3
            assert asyncio.get_running_loop().time() - begin < 5


@virtual
async def test_a_kernel_that_is_idle_and_silent_is_reconnected_to() -> None:
    kernel = Kernel()
    async with kernel.dialer, Diary(kernel) as diary:
        kernel.answers = set()
        await until(lambda: diary.all(Disconnected))
        assert isinstance(diary.all(Disconnected)[0].error, KeepAliveTimeout)
        kernel.answers = {"shell", "control"}
        await until(lambda: diary.all(Reconnected))
        assert len(diary.all(Connected)) == 1


@virtual
async def test_a_server_that_answers_nothing_is_asked_again() -> None:
    kernel = Kernel()

    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(1000)
        return httpx.Response(200)

    async with kernel.dialer:
        diary = Diary(kernel, timeout=4, client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(hang)))
        opening = asyncio.create_task(diary.client.open())
        await until(lambda: diary.all(Retrying))
        assert isinstance(diary.all(Retrying)[0].error, ConnectTimeout)
        await diary.client.close()
        with pytest.raises(ClientClosed):
            await opening


@virtual
async def test_the_token_is_nowhere_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    kernel = Kernel()
    kernel.refusal = 403
    async with kernel.dialer:
        diary = Diary(kernel, token="nobody-knows", token_in="query")
        with pytest.raises(HandshakeRejected) as caught:
            await diary.client.open()
        assert caught.value.verdict is Verdict.FATAL
        shown = f"{caught.value!r} {diary.events} {diary.client.explain()} {caplog.text} {diary.jupyter!r}"
        assert "nobody-knows" not in shown
