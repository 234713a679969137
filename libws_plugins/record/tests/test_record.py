"""What a recording holds, and what recording never does to a client."""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import libws_record.writer
from libws_core import (
    STOP,
    Client,
    Control,
    Kind,
    Message,
    OptionError,
    Reopened,
    Session,
    hookimpl,
)
from libws_core.testing import MemoryDialer, Server, cut, greet, leaks, refuse, virtual
from libws_record import Record
from libws_record.format import bytes_of, decode, encode
from libws_record.writer import Writer


def lines(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return found


def of_type(path: Path, kind: str) -> list[dict[str, Any]]:
    return [line for line in lines(path) if line["type"] == kind]


def said(path: Path) -> list[tuple[str, str, Any]]:
    """Way, kind, and text, bytes or close code of every message."""
    found = []
    for line in of_type(path, "message"):
        data = line.get("code", line.get("text"))
        if "base64" in line:
            data = bytes_of(None, line["base64"])
        found.append((line["way"], line["kind"], data))
    return found


def client_with(*plugins: object, **more: Any) -> Client:
    return Client("ws://test/", plugins=["-standard", *plugins], **more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "session.jsonl"


async def dialogue(dialer: Any, file: Path) -> None:
    """Everything that can cross a wire, over a real socket."""

    async def talk(peer: Any) -> None:
        peer.ping(b"server's")
        await peer.send("ä text")
        await peer.send(b"\x00binary\xff")
        await peer.expect("from the client")
        await peer.expect(b"\x01\x02")
        await peer.close(4000, "enough")

    async with leaks(), Server(refuse(503, {"Retry-After": "0"}, b"busy"), talk) as server:
        client = Client(server.url, plugins=["-standard", Record(file=str(file)), "pong", dialer(), Again(0)])
        async with client:
            assert [(await client.recv(5)).data for _ in range(2)] == ["ä text", b"\x00binary\xff"]
            await client.send("from the client", confirm=True)
            await client.send(b"\x01\x02")
            with pytest.raises(Exception, match="4000"):
                await client.wait_closed()


class Again:
    """Reconnects until a connection was lost."""

    def __init__(self, delay: float) -> None:
        self.delay = delay

    @hookimpl
    def reconnect(self, failure: Any) -> Any:
        return STOP if failure.phase == "ready" else self.delay


async def test_everything_that_crosses_the_wire_is_recorded(dialer: Any, file: Path) -> None:
    await dialogue(dialer, file)
    recorded = said(file)
    ping = next(data for way, kind, data in recorded if (way, kind) == ("out", "ping"))
    assert [each for each in recorded if each[0] == "in"] == [
        ("in", "ping", "server's"),
        ("in", "text", "ä text"),
        ("in", "binary", b"\x00binary\xff"),
        ("in", "pong", ping),
        ("in", "close", 4000),
    ]
    assert [each for each in recorded if each[0] == "out"] == [
        ("out", "pong", "server's"),
        ("out", "text", "from the client"),
        ("out", "ping", ping),
        ("out", "binary", b"\x01\x02"),
    ]
    (refused,) = of_type(file, "failed")
    assert refused["error"]["error"] == "HandshakeRejected"
    assert (refused["error"]["status"], refused["error"]["retry_after"]) == (503, 0.0)
    assert refused["error"]["text_body"] == "busy"
    assert ["Retry-After", "0"] in refused["error"]["headers"]
    (connection,) = of_type(file, "connection")
    assert (connection["generation"], connection["attempt"], connection["why"]) == (1, 2, "open")
    assert ["Upgrade", "websocket"] in [[name, value.lower()] for name, value in connection["answer"]]
    (end,) = of_type(file, "end")
    assert {name: end["error"][name] for name in ("error", "code", "reason", "initiator")} == {
        "error": "ConnectionClosed",
        "code": 4000,
        "reason": "enough",
        "initiator": "remote",
    }
    assert [line["type"] for line in lines(file)][-1] == "note"
    times = [line["t"] for line in lines(file) if "t" in line]
    assert times == sorted(times)


async def test_every_line_is_one_that_the_format_knows(dialer: Any, file: Path) -> None:
    await dialogue(dialer, file)
    for line in lines(file):
        written = json.dumps(line, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        assert json.loads(encode(decode(written))) == line


@virtual
async def timed(file: Path) -> None:
    dialer = MemoryDialer(latency=0.25)
    client = client_with(Record(file=str(file)), dialer)
    async with dialer, client:
        peer = await dialer.accept()
        peer.send("at once")
        await client.recv()
        await asyncio.sleep(3)
        peer.send("later")
        await client.recv()
        await asyncio.sleep(1)


def test_times_are_seconds_since_the_connection_was_open(file: Path) -> None:
    timed(file)
    (connection,) = of_type(file, "connection")
    assert (connection["at"], connection["dialing"]) == (0.5, 0.5)
    arrived = [line["t"] for line in of_type(file, "message") if line["way"] == "in" and line["kind"] == "text"]
    assert arrived == [0.25, 3.5]
    assert of_type(file, "message")[-2]["kind"] == "close"
    assert of_type(file, "message")[-2]["t"] == 4.5


def test_it_sees_what_stands_on_the_wire_not_what_stages_make_of_it(file: Path) -> None:
    class Codec:
        @hookimpl
        def incoming(self, session: Session) -> Any:
            return lambda message: Message.text("decoded") if message.kind is Kind.BINARY else message

        @hookimpl
        def outgoing(self, session: Session) -> Any:
            return lambda message: Message.binary(b"\xff") if message.kind is Kind.TEXT else message

    class Pings:
        @hookimpl
        def incoming(self, session: Session) -> Control:
            return Control(lambda message: None)

    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file)), Codec(), Pings(), dialer) as client:
            peer = await dialer.accept()
            peer.ping(b"taken out")
            peer.send(b"\xfe")
            assert (await client.recv()).data == "decoded"
            await client.send("to be encoded")
            assert (await peer.recv()).data == b"\xff"

    talk()
    assert said(file)[:3] == [("in", "ping", "taken out"), ("in", "binary", b"\xfe"), ("out", "binary", b"\xff")]


def test_what_the_ratelimit_holds_back_is_recorded_when_it_leaves(file: Path) -> None:
    @virtual
    async def talk() -> None:
        options = {"record": {"file": str(file)}, "ratelimit": {"messages": 1, "per": 5, "margin": 0}}
        dialer = MemoryDialer()
        client = Client("ws://test/", plugins=["-standard", "record", "ratelimit", dialer], options=options)
        async with dialer, client:
            peer = await dialer.accept()
            for number in range(3):
                await client.send(str(number))
            await peer.expect("0")

    talk()
    out = [(line["t"], line["text"]) for line in of_type(file, "message") if line["kind"] == "text"]
    assert out == [(0.0, "0"), (5.0, "1"), (10.0, "2")]


def test_each_connection_of_a_move_has_its_number_generation_and_end(file: Path) -> None:
    @virtual
    async def talk() -> None:
        moved: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        class Mover:
            @hookimpl
            async def keep_alive(self, session: Session) -> None:
                if session.request.attempt.generation == 1:
                    await session.reopen("test")

        dialer = MemoryDialer(greet("hello", then=None), greet("again", then=None))
        client = client_with(Record(file=str(file)), Mover(), dialer)
        client.on(Reopened, lambda event: moved.done() or moved.set_result(None))
        async with dialer, client:
            await client.recv()
            await client.recv()
            await moved

    talk()
    assert [(each["connection"], each["generation"], each["why"]) for each in of_type(file, "connection")] == [
        (1, 1, "open"),
        (2, 2, "move"),
    ]
    ends = of_type(file, "end")
    assert sorted(end["connection"] for end in ends) == [1, 2]
    first = [line for line in of_type(file, "message") if line["connection"] == 1]
    assert [(line["way"], line.get("code")) for line in first if line["kind"] == "close"] == [
        ("out", 1000),
        ("in", 1000),
    ]


def test_errors_are_recorded_as_they_were_before_plugins_adapted_them(file: Path) -> None:
    @virtual
    async def talk() -> None:
        dialer = MemoryDialer(refuse(418), greet())
        options = {"backoff": {"statuses": {"418": "retry"}, "base": 0}, "record": {"file": str(file)}}
        async with dialer, Client("ws://test", plugins=["-standard", "record", "backoff", dialer], options=options):
            pass

    talk()
    assert of_type(file, "failed")[0]["error"]["verdict"] == "fatal"


def test_an_attempt_that_fails_in_establish_has_a_connection_and_an_end(file: Path) -> None:
    @virtual
    async def talk() -> None:
        class Welcome:
            @hookimpl
            async def establish(self, session: Session) -> None:
                try:
                    await session.recv("welcome")
                finally:  # it takes its time, in which all that the connection ran has ended
                    await asyncio.sleep(1)

        dialer = MemoryDialer(greet("not now", then=lambda peer: peer.close(1013)), cut())
        client = client_with(Record(file=str(file)), Welcome(), dialer)
        async with dialer:
            with pytest.raises(Exception, match="1013"):
                await client.open()

    talk()
    (end,) = of_type(file, "end")
    assert (end["error"]["phase"], end["error"]["code"], end["t"]) == ("establish", 1013, 0)
    assert of_type(file, "failed") == []


# Never in the way


def test_much_in_one_turn_is_all_there_in_order(file: Path) -> None:
    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file)), dialer) as client:
            peer = await dialer.accept()
            for number in range(50):
                peer.send(f"{number} " + "x" * 20_000)
            for _ in range(50):
                await client.recv()

    talk()
    assert [data.split()[0] for _, kind, data in said(file) if kind == "text"] == [str(n) for n in range(50)]


def test_the_file_belongs_to_its_user_alone(file: Path) -> None:
    timed(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_lines_are_in_the_file_while_the_client_lives(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that they are there after a crash, and can be watched."""
    loop, put, change = asyncio.get_running_loop(), Writer._put, asyncio.Event()

    def put_and_tell(self: Writer, data: Any) -> None:
        put(self, data)
        loop.call_soon_threadsafe(change.set)

    monkeypatch.setattr(Writer, "_put", put_and_tell)
    async with (
        Server(greet("hello", then=None)) as server,
        Client(server.url, plugins=[Record(file=str(file))]) as client,
        asyncio.timeout(20),
    ):
        await client.recv()
        await change.wait()
        while ("in", "text", "hello") not in said(file):
            change.clear()
            await change.wait()


def test_a_second_recording_goes_behind_the_first(file: Path) -> None:
    timed(file)
    timed(file)
    assert len(of_type(file, "run")) == 2


def test_a_second_recording_may_take_the_place_of_the_first(file: Path) -> None:
    @virtual
    async def again() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file), mode="replace"), dialer):
            pass

    timed(file)
    again()
    assert len(of_type(file, "run")) == 1
    assert said(file) == [("out", "close", 1000), ("in", "close", 1000)]


def test_behind_a_line_that_a_killed_program_left_unfinished_a_new_one_begins(file: Path) -> None:
    timed(file)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    timed(file)
    assert file.read_bytes().startswith(whole[:-20] + b'\n{"type":"run"')


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_a_file_that_is_no_recording_is_left_alone(file: Path, mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    file.write_text("precious\n")

    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file), mode=mode), dialer) as client:
            peer = await dialer.accept()
            peer.send("goes on")
            assert (await client.recv()).data == "goes on"

    talk()
    assert file.read_text() == "precious\n"
    (told,) = [record for record in caplog.records if record.name == "libws.record"]
    assert told.levelno == logging.ERROR
    assert "something else than a recording; name another file; nothing is recorded" in told.getMessage()


def test_two_clients_do_not_mix_their_lines_in_one_file(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    timed(file)
    before = file.read_bytes()
    with file.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # as the thread of another client does while that lives
        timed(file)
    assert file.read_bytes() == before
    told = "another client records to it; give each its own, such as 'x-{number}.jsonl'; nothing is recorded"
    assert [record.getMessage() for record in caplog.records if record.name == "libws.record"] == [f"{file}: {told}"]
    timed(file)
    assert len(of_type(file, "run")) == 2


def test_a_client_keeps_its_file_to_itself_while_it_lives(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened, real = threading.Event(), Writer._open

    def open_and_tell(self: Writer) -> None:
        real(self)
        opened.set()

    monkeypatch.setattr(Writer, "_open", open_and_tell)

    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file)), dialer):
            assert await asyncio.to_thread(opened.wait, 20)
            with file.open("rb") as other, pytest.raises(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)

    talk()


def test_places_in_the_name_are_filled(tmp_path: Path) -> None:
    @virtual
    async def both() -> list[Path | None]:
        dialer = MemoryDialer()
        records = [Record(file=str(tmp_path / "{time}-{pid}-{number}.jsonl")) for _ in range(2)]
        first, second = (client_with(record, dialer) for record in records)
        async with dialer, first, second:
            return [first.plugin(Record).path, second.plugin(Record).path]

    paths = both()
    assert len({*paths}) == 2
    for path in paths:
        assert path is not None
        assert path.exists()
        time, pid, number = path.stem.split("-")
        assert (len(time), pid, number.isdecimal()) == (16, str(os.getpid()), True)


def test_at_its_limit_the_file_ends_with_a_note(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file), limit=4096), dialer) as client:
            peer = await dialer.accept()
            for number in range(100):
                peer.send(f"{number}: {'x' * 100}")
                await client.recv()

    talk()
    assert file.stat().st_size < 4096 + 200
    last = lines(file)[-1]
    assert (last["type"], last["note"]) == ("note", "limit")
    assert [data.partition(":")[0] for _, _, data in said(file)] == [str(n) for n in range(len(said(file)))]
    assert "reached its limit of 4096 bytes" in caplog.text


def test_what_the_disk_does_not_take_in_time_is_left_out_and_counted(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    real = Writer._open

    def stuck(self: Any) -> None:
        slow.wait(30)
        real(self)

    monkeypatch.setattr(Writer, "_open", stuck)

    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file), buffer=4096), dialer) as client:
            peer = await dialer.accept()
            for number in range(10):
                peer.send(f"{number}{'x' * 1000}")
                await client.recv()
            slow.set()

    talk()
    kept = [data[0] for way, kind, data in said(file) if kind == "text"]
    (note,) = [line for line in of_type(file, "note") if line["note"] == "dropped"]
    assert kept == [str(number) for number in range(len(kept))]
    assert 0 < len(kept) < 10
    assert note["count"] == 10 - len(kept)


def test_a_full_disk_ends_the_recording_and_not_the_client(
    file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = 3000
    real = os.write

    def write(descriptor: int, data: Any) -> int:
        nonlocal room
        if os.readlink(f"/proc/self/fd/{descriptor}") != str(file):
            return real(descriptor, data)
        if not room:
            raise OSError(28, "No space left on device")
        written = real(descriptor, data[:room])
        room -= written
        return written

    monkeypatch.setattr(libws_record.writer.os, "write", write)

    @virtual
    async def talk() -> None:
        async with MemoryDialer() as dialer, client_with(Record(file=str(file)), dialer) as client:
            peer = await dialer.accept()
            for number in range(100):
                peer.send(f"{number} {'x' * 100}")
                assert (await client.recv()).data.startswith(str(number))

    talk()
    texts = [data.split()[0] for _, kind, data in said(file) if kind == "text"]  # every line is whole
    assert texts == [str(number) for number in range(len(texts))]
    assert caplog.text.count("No space left on device; nothing more is recorded") == 1


def test_a_file_that_cannot_be_opened_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "session.jsonl"
    file.symlink_to(tmp_path / "gone" / "x.jsonl")
    timed(file)
    (told,) = [record for record in caplog.records if record.name == "libws.record"]
    assert told.getMessage() == f"{file}: No such file or directory; nothing more is recorded"


def test_without_locks_it_records_all_the_same(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: Any) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    timed(file)
    assert said(file)
    file.unlink()
    monkeypatch.setattr(libws_record.writer, "fcntl", None)
    timed(file)
    assert said(file)


def test_no_thread_and_no_file_is_left(file: Path) -> None:
    before = {*threading.enumerate()}

    @virtual
    async def talk() -> None:
        async with leaks():
            dialer = MemoryDialer()
            client = client_with(Record(file=str(file)), dialer)
            assert {*threading.enumerate()} == before
            async with dialer, client:
                pass

    talk()
    assert {*threading.enumerate()} == before


def test_a_program_that_never_closes_its_client_leaves_a_whole_recording(file: Path) -> None:
    program = f"""
import asyncio, os
from libws_core import Client
from libws_core.testing import MemoryDialer, greet
from libws_record import Record

async def main():
    dialer = MemoryDialer(greet("hello", then=None))
    client = Client("ws://test", plugins=["-standard", Record(file={str(file)!r}), dialer])
    await client.open()
    await client.recv()
    return client

loop = asyncio.new_event_loop()
client = loop.run_until_complete(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("in", "text", "hello") in said(file)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "option 'file' must be given"),
        ({"file": "/no/such/folder/x.jsonl"}, "there is no folder '/no/such/folder'; make it, or name another"),
        ({"file": "/"}, "option 'file': '/' is not the name of a file"),
        ({"file": "x", "patterns": ["("]}, "option 'patterns': '(' is no regular expression"),
        ({"file": "x", "patterns": ["a*"]}, "option 'patterns': 'a*' matches the empty text"),
    ],
)
def test_options_that_cannot_work_are_told_before_anything_is_dialed(options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as caught:
        Client("ws://test", plugins=["record"], options={"record": options})
    assert text in str(caught.value)
