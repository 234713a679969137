"""The plugin jupyter with a Jupyter server and kernels of ipykernel, in processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from libws_core import (
    AttemptFailed,
    Client,
    ConnectError,
    Disconnected,
    Gap,
    HandshakeRejected,
    KeepAliveTimeout,
    MessageTooBig,
    Reconnected,
    Reopened,
    Request,
    Retrying,
    Verdict,
    hookimpl,
)
from libws_core.testing import Relay
from libws_jupyter import Execution, ExecutionFailed, InputRefused, Jupyter, KernelGone, Output, ReplyLost, StateLost

from .diary import PATIENCE, Diary

pytestmark = pytest.mark.xdist_group("jupyter")  # one server for all

SERVER = Path(__file__).with_name("jupyter") / "server.py"
COUNT = "import time\nfor number in range({}):\n    print(number, flush=True); time.sleep({})"
SLEEP = "import time; print('asleep', flush=True); time.sleep(60)"
SHARED = "aaaaaaaa-89ab-cdef-0123-456789abcdef"
NOBODY = "01234567-89ab-cdef-0123-456789abcdef"


class Place(NamedTuple):
    """A server, a relay before it, and its REST API."""

    program: Any
    relay: Relay
    rest: httpx.AsyncClient
    shared: str
    """The id of a kernel that tests leave as it is."""

    async def kernels(self) -> list[str]:
        """The ids of all others that run."""
        kernels = (await self.rest.get("/api/kernels")).raise_for_status().json()
        return [kernel["id"] for kernel in kernels if kernel["id"] != self.shared]

    async def until_it_has_noticed(self, jupyter: Jupyter) -> None:
        """Wait until the server knows that its connection is lost; its clients come back later than that."""
        for _ in range(1_000):
            model = (await self.rest.get(f"/api/kernels/{jupyter.id}")).raise_for_status().json()
            if model["connections"] == 0:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("the server has not noticed the loss")


def in_a_loop(work: Callable[[], Any]) -> Any:
    """Run a coroutine in a loop of its own; this thread's belongs to the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()


@pytest.fixture(scope="module")
def program(
    tmp_path_factory: pytest.TempPathFactory, program_class: Any, free_port: Callable[[], int]
) -> Iterator[Any]:
    """The server of all these tests."""
    port = free_port()
    log = tmp_path_factory.mktemp("jupyter") / "server.log"
    server = program_class([sys.executable, str(SERVER)], port, log, {"PORT": str(port)})
    in_a_loop(server.start)
    yield server
    server.end()


@pytest.fixture
async def place(program: Any) -> AsyncIterator[Place]:
    headers = {"Authorization": "token secret"}
    async with (
        Relay(f"ws://127.0.0.1:{program.port}") as relay,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{program.port}", headers=headers, trust_env=False) as rest,
    ):
        if (await rest.get(f"/api/kernels/{SHARED}")).is_error:
            (await rest.post("/api/kernels", json={"kernel_id": SHARED})).raise_for_status()
        yield Place(program, relay, rest, SHARED)


class Legacy:
    """Offers no subprotocol, as clients did before there was one."""

    @hookimpl
    def authenticate(self, request: Request) -> Request:
        return replace(request, subprotocols=())


class Notebook(Diary):
    """A client of a kernel."""

    def __init__(self, place: Place, *plugins: object, url: str = "", **options: Any) -> None:
        given = {
            "backoff": {"base": 0.05, "cap": 0.2},
            **options,
            "jupyter": {"token": "secret", "client": httpx_client, **options.get("jupyter", {})},
        }
        super().__init__(Client(url or place.relay.url, plugins=["jupyter", *plugins], proxy=None, options=given))
        self.jupyter = self.client.plugin(Jupyter)

    async def failure(self) -> BaseException:
        """What ends the client."""
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is, the test says
                await self.client.wait_closed()
        return caught.value

    async def said(self, code: str, **more: Any) -> str:
        """What code prints and gives, in the end."""
        async with asyncio.timeout(PATIENCE):
            return "".join([output.text async for output in await self.jupyter.execute(code, **more)])


def httpx_client() -> httpx.AsyncClient:
    """A client that needs no certificates, which take their time to load."""
    return httpx.AsyncClient(verify=False, trust_env=False, timeout=None)


async def outputs(execution: Execution) -> list[Output | Gap]:
    async with asyncio.timeout(PATIENCE):
        return [output async for output in execution]


async def ended(execution: Execution) -> dict[str, Any]:
    async with asyncio.timeout(PATIENCE):
        return await execution.result()


async def until_it_says(execution: Execution, text: str) -> list[Any]:
    """Its outputs up to that text."""
    found, said = list[Any](), ""
    async with asyncio.timeout(PATIENCE):
        async for output in execution:
            found.append(output)
            said += output.text if isinstance(output, Output) else ""
            if text in said:
                return found
    raise AssertionError(f"{text!r} was not said, but {found}")


@pytest.mark.parametrize("protocol", ["v1", "legacy"])
async def test_outputs_results_errors_and_input(protocol: str, place: Place) -> None:
    async with Notebook(place, *([Legacy()] if protocol == "legacy" else []), jupyter={"kernel": SHARED}) as diary:
        jupyter = diary.jupyter
        assert diary.client.subprotocol == (None if protocol == "legacy" else "v1.kernel.websocket.jupyter.org")
        assert jupyter.info is not None
        assert jupyter.info["implementation"] == "ipython"

        code = "import sys\nprint('ü'); print('oh', file=sys.stderr); display('d'); 6 * 7"
        execution = await jupyter.execute(code, user_expressions={"twice": "2 * 21"})
        found = await outputs(execution)
        kinds = [output.type for output in found if isinstance(output, Output)]
        assert [kinds[0], kinds[1], kinds[-1]] == ["status", "execute_input", "status"]
        assert {*kinds[2:-1]} == {"display_data", "execute_result", "stream"}
        texts: dict[str, str] = {}
        for output in found:
            assert isinstance(output, Output)
            name = output.content.get("name", output.type)
            texts[name] = texts.get(name, "") + output.text
        assert texts["stdout"] == "ü\n"
        assert texts["stderr"] == "oh\n"
        assert texts["display_data"] == "'d'"
        assert texts["execute_result"] == "42"
        assert execution.done
        assert execution.reply is not None
        assert execution.reply["status"] == "ok"
        assert execution.reply["user_expressions"]["twice"]["data"]["text/plain"] == "42"

        failing = await jupyter.execute("1 / 0")
        waiting = await jupyter.execute("print('not begun')")
        with pytest.raises(ExecutionFailed, match="ZeroDivisionError: division by zero") as caught:
            await ended(failing)
        assert "ZeroDivisionError" in "".join(caught.value.traceback)
        with pytest.raises(ExecutionFailed, match="the execution was aborted"):
            await ended(waiting)

        code = (
            "from comm import create_comm\n"
            "create_comm(target_name='t', data={'a': 1}, buffers=[b'\\0one', b'', b'two'])"
        )
        comm = next(
            output
            for output in await outputs(await jupyter.execute(code))
            if isinstance(output, Output) and output.type == "comm_open"
        )
        assert comm.content["data"] == {"a": 1}
        assert comm.buffers == [b"\0one", b"", b"two"]

        prompts: list[Any] = []

        async def type_in(prompt: Any) -> str:
            prompts.append((prompt, prompt.password))
            return f"me, {prompt}"

        code = "import getpass\nprint(input('name? ')); print(getpass.getpass('word? '))"
        assert await diary.said(code, stdin=type_in) == "me, name? \nme, word? \n"
        assert prompts == [("name? ", False), ("word? ", True)]
        assert "StdinNotImplementedError" in await diary.said("input()")
        with pytest.raises(LookupError, match="nobody types"):
            await ended(await jupyter.execute("input()", stdin=nobody_types))
        assert await diary.said("1 + 1") == "2"  # it was interrupted, and goes on

        assert (await jupyter.ask("is_complete_request", {"code": "for"}))["status"] in ("incomplete", "invalid")
        sleeping = await jupyter.execute(SLEEP)
        await until_it_says(sleeping, "asleep")
        await jupyter.interrupt()
        with pytest.raises(ExecutionFailed, match="KeyboardInterrupt"):
            await ended(sleeping)
        assert not diary.all(Disconnected)


def nobody_types(prompt: str) -> str:
    raise LookupError("nobody types")


async def test_a_reset_loses_nothing_of_what_runs(place: Place, tmp_path: Path) -> None:
    """The server keeps what the kernel says from when it has noticed the loss, and whole numbers prove the rest."""
    code = """
import pathlib, time
for phase in range(3):
    print("begin", phase, flush=True)
    while not (pathlib.Path({folder!r}) / str(phase)).exists():
        time.sleep(0.01)
    for number in range(50):
        print(phase, number, flush=True)
"""
    async with Notebook(place, backoff={"base": 1, "cap": 1, "jitter": "none"}) as diary:
        execution = await diary.jupyter.execute(code.format(folder=str(tmp_path)), markers=True)
        printed = ""
        for phase in range(3):
            async with asyncio.timeout(PATIENCE):
                while f"begin {phase}" not in printed:
                    output = await anext(execution)
                    assert isinstance(output, Output)
                    printed += output.text
                place.relay.drop(reset=True)
                await place.until_it_has_noticed(diary.jupyter)
            if phase == 1:  # the others go on while there is no connection
                await diary.until(Reconnected, phase + 1)
            (tmp_path / str(phase)).touch()
            await diary.until(Reconnected, phase + 1)
        printed += "".join(output.text if isinstance(output, Output) else "Gap" for output in await outputs(execution))
        lines = [line for phase in range(3) for line in (f"begin {phase}", *(f"{phase} {n}" for n in range(50)))]
        assert printed.splitlines() == lines  # and no Gap
        assert len(diary.all(Disconnected)) == 3
        assert len(diary.all(Gap)) <= 1  # of the last one, since the idle kernel has talked with the server meanwhile
        assert len(await place.kernels()) == 1
    assert await place.kernels() == []


async def test_where_nothing_is_missing_no_gap_says_so(place: Place, tmp_path: Path) -> None:
    """While the kernel is busy with us, it says nothing to others: its numbers are whole."""
    go = tmp_path / "go"
    code = f"""
import pathlib, time
print("begin", flush=True)
while not pathlib.Path({str(go)!r}).exists():
    time.sleep(0.01)
"""
    async with Notebook(place, jupyter={"kernel": SHARED}) as diary:
        execution = await diary.jupyter.execute(code, markers=True)
        await until_it_says(execution, "begin")
        place.relay.drop(reset=True)
        await diary.until(Reconnected)
        go.touch()
        assert all(isinstance(output, Output) for output in await outputs(execution))
        assert diary.all(Gap) == []


async def test_silence_is_noticed_and_what_it_swallows_is_told(place: Place) -> None:
    """The server writes into a dead connection until it notices: nobody has that any more."""
    options: dict[str, Any] = {"ping": {"interval": 0.2, "timeout": 0.2}, "jupyter": {"kernel": SHARED}}
    async with Notebook(place, **options) as diary:
        execution = await diary.jupyter.execute(COUNT.format(40, 0.05), markers=True)
        found = await until_it_says(execution, "2\n")
        place.relay.silence()
        await diary.until(Reconnected)
        assert isinstance(diary.all(Disconnected)[0].error, KeepAliveTimeout)
        try:
            found += await outputs(execution)
        except ReplyLost:
            found.append(Gap("its end", 0, 0, 0))
        said = "".join(output.text for output in found if isinstance(output, Output))
        printed = [int(number) for number in said.split()]
        assert printed == sorted({*printed})
        assert len(printed) == 40 or any(isinstance(output, Gap) for output in found)
        assert await diary.said("number") == "39"


async def test_a_kernel_that_dies_or_is_restarted_has_lost_its_memory(place: Place) -> None:
    async with Notebook(place) as diary:
        jupyter = diary.jupyter
        assert await diary.said("kept = 7; kept") == "7"
        dying = await jupyter.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        waiting = await jupyter.execute("1 + 1")
        with pytest.raises(ReplyLost, match="the kernel was restarted"):
            await ended(dying)
        lost = await diary.until(StateLost)
        assert (lost.kernel, lost.why) == (jupyter.id, "the kernel was restarted")
        await diary.until(Reopened)  # it may have other ports now
        try:
            await ended(waiting)
        except ReplyLost:
            pass  # else it reached the new one
        assert "NameError" in await diary.said("kept")

        running = await jupyter.execute(f"kept = 8; {SLEEP}")
        await until_it_says(running, "asleep")
        await jupyter.restart()
        with pytest.raises((ReplyLost, ExecutionFailed), match=r"the kernel was restarted|KeyboardInterrupt"):
            await ended(running)
        assert "NameError" in await diary.said("kept")
        await diary.until(StateLost, 2)
        assert not diary.all(Disconnected)
        assert len(await place.kernels()) == 1


async def test_a_kernel_that_is_deleted_behind_a_live_connection_is_noticed(place: Place) -> None:
    diary = Notebook(place)
    await diary.client.open()
    sleeping = await diary.jupyter.execute(SLEEP)
    await until_it_says(sleeping, "asleep")
    (await place.rest.delete(f"/api/kernels/{diary.jupyter.id}")).raise_for_status()
    with pytest.raises(KernelGone):
        await ended(sleeping)
    error = await diary.failure()
    assert isinstance(error, KernelGone)
    assert str(diary.jupyter.id) in str(error)
    assert "gone='new'" in str(error)
    assert not diary.all(Retrying)


async def test_another_kernel_takes_its_place_where_that_is_wanted(place: Place) -> None:
    async with Notebook(place, jupyter={"gone": "new"}) as diary:
        before = diary.jupyter.id
        assert await diary.said("kept = 7; kept") == "7"
        (await place.rest.delete(f"/api/kernels/{before}")).raise_for_status()
        await diary.until(Reconnected)
        assert before not in await place.kernels()
        assert [(lost.kernel, str(before) in lost.why) for lost in diary.all(StateLost)] == [(diary.jupyter.id, True)]
        assert "NameError" in await diary.said("kept")
    assert await place.kernels() == []


async def test_a_server_that_is_restarted_has_no_kernel_any_more(place: Place) -> None:
    stops, goes_on = Notebook(place), Notebook(place, jupyter={"gone": "new"})
    await stops.client.open()
    async with goes_on:
        place.program.end()
        await place.program.start()
        error = await stops.failure()
        assert isinstance(error, KernelGone)
        assert "what was in its memory is lost" in str(error)
        await goes_on.until(Reconnected)
        assert len(goes_on.all(StateLost)) == 1
        assert await goes_on.said("1 + 1") == "2"
    assert await place.kernels() == []


async def test_a_kernel_that_runs_is_found_and_stays(place: Place) -> None:
    async with Notebook(place, jupyter={"kernel": SHARED}) as first:
        assert await first.said("kept = 7; kept") == "7"
        async with Notebook(place, jupyter={"kernel": SHARED, "others": True, "token_in": "query"}) as second:
            assert await first.said("print('hear me')") == "hear me\n"
            async with asyncio.timeout(PATIENCE):
                async for message in second.client:
                    if "hear me" in message.json["content"].get("text", ""):
                        break
        url = f"http://127.0.0.1:{place.program.port}/?token=secret"
        async with Notebook(place, url=url, jupyter={"kernel": SHARED, "token": None}) as third:
            assert await third.said("kept") == "7"
    state = (await place.rest.get(f"/api/kernels/{SHARED}")).raise_for_status().json()
    assert state["execution_state"] == "idle"


async def test_a_token_that_is_wrong_is_fatal_or_renewed(place: Place) -> None:
    diary = Notebook(place, jupyter={"token": "wr0ng"})
    with pytest.raises(HandshakeRejected, match="option 'token' of jupyter") as caught:
        await diary.client.open()
    assert (caught.value.status, caught.value.verdict) == (403, Verdict.FATAL)
    assert not diary.all(Retrying)
    assert "wr0ng" not in f"{caught.value!r} {diary.events} {diary.client.explain()}"

    tokens = iter(["wr0ng", "secret"])
    async with Notebook(place, jupyter={"token": lambda: next(tokens), "kernel": SHARED}) as renewed:
        assert [failed.error.verdict for failed in renewed.all(AttemptFailed)] == [Verdict.REFRESH]
    diary = Notebook(place, jupyter={"token": lambda: "wr0ng"})
    with pytest.raises(HandshakeRejected):
        await diary.client.open()
    assert len(diary.all(AttemptFailed)) == 2


async def test_kernels_that_are_not_there_are_fatal(place: Place) -> None:
    for options, kind, text in (
        ({"kernel": NOBODY}, KernelGone, f"there is no kernel {NOBODY} on http://"),
        ({"name": "cobol"}, ConnectError, "no kernel named 'cobol', only 'python3'"),
    ):
        diary = Notebook(place, jupyter=options)
        with pytest.raises(kind, match=text):
            await diary.client.open()
        assert not diary.all(Retrying)
    diary = Notebook(place, url=f"{place.relay.url.rstrip('/')}/lab")
    with pytest.raises(HandshakeRejected, match="must be the server's own"):
        await diary.client.open()
    assert await place.kernels() == []


async def test_what_is_too_large_or_too_much_is_told(place: Place) -> None:
    async with Notebook(place, websockets={"max_size": 200_000}, jupyter={"kernel": SHARED}) as diary:
        execution = await diary.jupyter.execute("print('x' * 4_000_000); print('more')", markers=True)
        found = await outputs(execution)
        assert execution.limited
        assert [output.text for output in found if isinstance(output, Output) and "rate exceeded" in output.text]
        assert [gap.why for gap in found if isinstance(gap, Gap)] == [
            "the server leaves outputs out: IOPub data rate exceeded"
        ]
        assert not diary.all(Disconnected)
        large = await diary.jupyter.execute("display({'text/plain': 'x' * 1_000_000}, raw=True)")
        with pytest.raises(MessageTooBig):
            await ended(large)
        error = await diary.failure()
        assert isinstance(error, MessageTooBig)
        assert error.verdict is Verdict.FATAL


async def test_input_that_nobody_gives_is_refused(place: Place) -> None:
    """A kernel may ask although it was told that there is nobody."""
    async with Notebook(place, jupyter={"kernel": SHARED}) as diary:
        code = "k = get_ipython().kernel; k._allow_stdin = True; input('name? ')"
        with pytest.raises(InputRefused):
            await ended(await diary.jupyter.execute(code))
        assert await diary.said("1 + 1") == "2"


def test_the_server_writes_nowhere_else() -> None:
    text = SERVER.read_text()
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", '"HOME"'):
        assert name in text
    assert os.environ.get("JUPYTER_RUNTIME_DIR") is None
