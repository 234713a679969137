"""`libws drill`: real servers, the relay between, and clients that do well or badly."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core import AuthenticationError, Headers, KeepAliveTimeout, Message, Request, Session, State, hookimpl
from libws_core.cli import main
from libws_core.cli.drill_faults import FAULTS, NAMES
from libws_core.cli.drill_numbers import WHOLE, Numbers
from libws_core.cli.drill_route import NotDrillable, obstacle
from libws_core.cli.drill_run import Drill, Pace
from libws_core.cli.drill_view import LiveView, PlainView, trial_data
from libws_core.cli.rendering import LiteralConsole
from libws_core.testing import Gone, Server, ServerPeer, hang, leaks, refuse

DEADLINE = 60
EVERY = 0.02
QUICK: dict[str, dict[str, Any]] = {
    "backoff": {"base": 0.05, "cap": 0.2},
    "ping": {"interval": 0.2, "timeout": 0.2},
}
SETTINGS = [f"--set={plugin}.{name}={value}" for plugin, options in QUICK.items() for name, value in options.items()]
PACE = ["--patience", "6", "--watch", "0.5"]

Say = Callable[[ServerPeer, int], None]


def numbered(peer: ServerPeer, number: int) -> None:
    peer.send({"data": {"u": number}, "at": number * 7})


def unnumbered(peer: ServerPeer, number: int) -> None:
    peer.send("tick")


class Ticker:
    """A server that counts on, and sends each number to all who are there.

    Args:
        say: sends a number to a peer.
    """

    def __init__(self, say: Say = numbered, **more: Any) -> None:
        self.server = Server(self._greet, **more)
        self.number = 0
        self.headers: list[Headers] = []
        self.paths: list[str] = []
        self._say = say
        self._ticking: asyncio.Task[None] | None = None

    def _greet(self, peer: ServerPeer) -> None:
        self.headers.append(peer.headers)
        self.paths.append(peer.path)

    async def __aenter__(self) -> Ticker:
        await self.server.start()
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *outcome: Any) -> None:
        assert self._ticking is not None
        self._ticking.cancel()
        await asyncio.wait([self._ticking])
        await self.server.__aexit__(*outcome)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            self.number += 1
            for peer in self.server.peers:
                try:
                    self._say(peer, self.number)
                except Gone:
                    continue


async def command(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Run it as a process; gives exit code, standard output and standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "libws_core.cli", "drill", *arguments),
        stdout=PIPE,
        stderr=PIPE,
        env={**os.environ, "NO_COLOR": "1", **environment},
    )
    try:
        async with asyncio.timeout(DEADLINE):
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), error.decode()


def told(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


async def drilled(
    url: str,
    *names: str,
    number: str | None = None,
    pace: Pace | None = None,
    notes: list[str] | None = None,
    **more: Any,
) -> Drill:
    """A drill of a client in this process, after its run."""
    arguments = {"url": url, "plugins": [], "options": QUICK, "proxy": None, **more}
    faults = [fault for fault in FAULTS if not names or fault.name in names]
    drill = Drill(arguments, faults, pace or Pace(4, 0.4), number)
    if notes is not None:
        drill.on_note = notes.append
    async with leaks(), asyncio.timeout(DEADLINE):
        await drill.run()
    assert drill.relay.peak <= 1
    return drill


# The whole of it


async def test_client_that_does_well_meets_every_fault_well() -> None:
    async with Ticker() as ticker:
        url = f"{ticker.server.url}feed?token=s3cret"
        code, out, error = await command(url, "--json", "--header", "X-Key: t0psecret", *SETTINGS, *PACE)
    assert code == 0, out + error
    assert "s3cret" not in out + error
    assert "t0psecret" not in out + error
    plan, report = told(out)[0], told(out)[-1]
    assert (plan["type"], plan["faults"]) == ("plan", [*NAMES])
    assert plan["target"].endswith("/feed?...")
    assert (report["type"], report["drillable"], report["ok"], report["why"]) == ("report", True, True, None)
    assert report["seconds"] < plan["at_most"]
    assert report["numbered_by"] == "data.u"
    assert report["most_at_one_time"] == 1
    results = {each["fault"]: each for each in report["results"]}
    assert [*results] == [*NAMES]
    for name, result in results.items():
        assert result["ok"], result
        assert result["doubled"] == 0
        assert result["missed"] == result["reported"]
        if name not in ("drip", "slow-consumer"):
            assert result["noticed_after"] <= result["ready_after"]
            assert result["received"] > 0
    for name in ("silence", "half-open"):
        assert results[name]["noticed"].startswith("KeepAliveTimeout: ")
        assert results[name]["noticed_after"] >= 0.2
        assert results[name]["missed"] > 0
    assert "429" in results["429"]["noticed"]
    assert results["429"]["ready_after"] >= 2
    assert "1012" in results["1012"]["noticed"]
    assert "401" in results["401"]["noticed"]
    # Neither refusal reached the server, and there was one connection for each time that the client was READY.
    ready = [each for each in told(out) if each["type"] == "event" and each["event"] in ("Connected", "Reconnected")]
    assert len(ticker.paths) == len(ready) == report["connections_to_server"]
    assert {*ticker.paths} == {"/feed?token=s3cret"}
    assert {headers["Host"] for headers in ticker.headers} == {f"127.0.0.1:{ticker.server.port}"}
    assert {headers["X-Key"] for headers in ticker.headers} == {"t0psecret"}


async def test_lines_and_table_are_for_people() -> None:
    async with Ticker() as ticker:
        faults = ["--fault", "reset", "--fault", "1012"]
        code, out, error = await command(ticker.server.url, *faults, *SETTINGS, *PACE)
    assert (code, error) == (0, "")
    assert "\x1b" not in out
    lines = out.splitlines()
    assert re.match(r"It takes at most \d+ s;", lines[1])
    assert "healthy_after is 0.5 s here, not 30" in lines[2]
    assert any(line.endswith("s  reset: the connection is reset") for line in lines)
    assert any(line.endswith("the messages are numbered: data.u") for line in lines)
    heads, *rows = [re.split(r"  +", line) for line in lines[-5:-2]]
    assert heads == ["fault", "noticed after", "READY after", "missed", "doubled", "verdict", "noticed by"]
    assert [row[0] for row in rows] == ["reset", "1012"]
    assert [row[5] for row in rows] == ["ok", "ok"]
    assert lines[-1].startswith("2 of 2 faults met well in ")


@pytest.mark.parametrize("plugins", [["auth"], ["auth", "picows", "-websockets"]])
async def test_profile_over_tls_with_a_token(tmp_path: Path, plugins: list[str]) -> None:
    if "picows" in plugins:
        pytest.importorskip("libws_picows")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with Ticker(ssl=context) as ticker:
        host = f"localhost:{ticker.server.port}"
        profile = tmp_path / "profile.toml"
        profile.write_text(
            f'[client]\nurl = "wss://{host}/x"\nplugins = {json.dumps(plugins)}\n'
            'origin = "https://example.com"\n'
            'tls = { ca = "ca.pem" }\n[client.options.auth]\nbearer = { env = "TOKEN" }\n'
        )
        code, out, error = await command(
            *(str(profile), "--json", "--fault", "reset", "--fault", "401", *SETTINGS, *PACE), TOKEN="b34rer"
        )
    assert code == 0, out + error
    assert "b34rer" not in out + error
    for headers in ticker.headers:
        assert headers["Host"] == host
        assert headers["Origin"] == "https://example.com"
        assert headers["Authorization"] == "Bearer b34rer"


async def test_interrupt_closes_properly_and_reports_what_is_known() -> None:
    async with Ticker() as ticker:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "libws_core.cli", "drill", ticker.server.url, "--json", *SETTINGS),
            *("--fault", "silence", "--fault", "drip", "--watch", "0.5"),
            stdout=PIPE,
            stderr=PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE):
            seen: list[dict[str, Any]] = []
            while not seen or seen[-1].get("fault") != "drip":
                seen.append(json.loads(await process.stdout.readline()))
            (peer,) = ticker.server.peers
            process.send_signal(signal.SIGINT)
            out, error = await process.communicate()
            assert await peer.wait_gone() == 1000
    assert (process.returncode, error.decode()) == (130, "libws: the messages are numbered: data.u\n")
    report = told(out.decode())[-1]
    assert [(each["fault"], each["verdict"]) for each in report["results"]] == [
        ("silence", "ok"),
        ("drip", "interrupted"),
    ]
    assert report["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--fault", "flood"], "--fault takes reset, silence"),
        (["--patience", "0"], "--patience takes seconds"),
        (["--watch", "inf"], "--watch takes seconds"),
        (["--number", "a..b"], "--number: 'a..b' is not a path"),
        (["--enable", "nosuch"], "'nosuch': not installed"),
    ],
)
def test_what_is_not_understood_dials_nothing(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = main(["drill", f"ws://127.0.0.1:{server.getsockname()[1]}/", *arguments])
        server.settimeout(0)
        with pytest.raises(BlockingIOError):
            server.accept()
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert says in error


# Clients that do badly


async def test_silence_that_is_not_noticed_is_held_against_the_client() -> None:
    async with Ticker() as ticker:
        drill = await drilled(
            ticker.server.url, "silence", "half-open", "reset", plugins=["-ping"], options={}, pace=Pace(1, 0.3)
        )
    verdicts = {trial.fault.name: trial.verdict for trial in drill.trials}
    assert verdicts == {"reset": "ok", "silence": "not noticed in 1 s", "half-open": "not noticed in 1 s"}
    assert not drill.well


async def test_client_that_does_not_come_back_ends_the_drill() -> None:
    async with Ticker() as ticker:
        drill = await drilled(ticker.server.url, plugins=["-backoff"], options={})
    (trial,) = drill.trials
    assert trial.verdict.startswith("the client has failed: ")
    assert drill.failure == "the client did not come back, so the rest was not tried"
    assert not drill.well


async def test_retry_after_that_is_not_obeyed_is_held_against_the_client() -> None:
    options = {**QUICK, "backoff": {"base": 0.1, "retry_after_max": 0.2}}
    async with Ticker() as ticker:
        drill = await drilled(ticker.server.url, "429", options=options)
    (trial,) = drill.trials
    assert trial.verdict == "it came back before its Retry-After of 2 s"


async def test_message_that_comes_twice_is_held_against_the_client() -> None:
    class Replaying(Ticker):
        def _greet(self, peer: ServerPeer) -> None:
            for number in range(max(0, self.number - 10), self.number + 1):
                numbered(peer, number)

    async with Replaying() as ticker:
        drill = await drilled(ticker.server.url, "reset", number="data.u")
    (trial,) = drill.trials
    assert trial.count.doubled >= 2
    assert "came twice; the plugin dedupe takes them out" in trial.verdict


async def test_hole_that_no_gap_tells_of_is_held_against_the_client() -> None:
    def leave_out(peer: ServerPeer, number: int) -> None:
        if number % 5:
            numbered(peer, number)

    async with Ticker(leave_out) as ticker:
        drill = await drilled(ticker.server.url, "reset", number="data.u")
    (trial,) = drill.trials
    assert re.fullmatch(r"\d+ missed without a Gap", trial.verdict)


class Blames:
    """A plugin that ends the connection whenever we do not read."""

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        while session.paused_total < 0.2:  # noqa: ASYNC110, a session tells nobody
            await asyncio.sleep(0.02)
        raise KeepAliveTimeout("it reads too slowly")


@pytest.mark.parametrize("blames", [False, True])
async def test_slow_consumer_holds_the_server_up_and_nobody_is_blamed(blames: bool) -> None:
    numbers = itertools.count()

    def flood(peer: ServerPeer, number: int) -> None:
        if peer._backlog() < 2**20:
            peer.send({"number": next(numbers), "filling": "x" * 500_000})

    plugins = [Blames()] if blames else []
    async with Ticker(flood) as ticker:
        url, pace = ticker.server.url, Pace(12, 0.5)
        drill = await drilled(url, "slow-consumer", plugins=plugins, inbox_bytes=100_000, pace=pace)
    (trial,) = drill.trials
    if blames:
        assert "it blamed the peer while we were not reading" in trial.verdict
    else:
        assert re.fullmatch(r"ok \(the server was held up after [\d.]+ s\)", trial.verdict)


# What can be told


async def test_messages_without_numbers_leave_it_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    async with Ticker(unnumbered) as ticker:
        drill = await drilled(ticker.server.url, "reset", notes=(notes := list[str]()))
    (trial,) = drill.trials
    assert trial.well
    assert trial.count.received > 0
    data = trial_data(trial)
    assert (data["missed"], data["doubled"]) == (None, None)
    assert any("missed and doubled are unknown" in note for note in notes)
    PlainView(LiteralConsole(), drill).report(drill)
    assert re.search(r"^reset .*  unknown  unknown  ok  ", capsys.readouterr().out, re.M)


def text(value: Any) -> Message:
    return Message.text(value if isinstance(value, str) else json.dumps(value))


def taken(numbers: Numbers, items: list[Any]) -> tuple[int, int, int, bool]:
    count = numbers.begin()
    for item in items:
        if item is ...:
            numbers.gap()
        else:
            numbers.take(text(item))
    return count.missed, count.reported, count.doubled, count.known


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda n: {"seq": n, "price": 5}, "seq"),
        (lambda n: {"data": {"u": str(n), "t": 1000 * n}}, "data.u"),
        (lambda n: str(n), WHOLE),
        (lambda n: {"n": n // 2}, None),
        (lambda n: {"n": n if n != 4 else 40}, None),
        (lambda n: {"a.b": n}, None),
        (lambda n: {"n": float(n)}, None),
        (lambda n: [n], None),
        (lambda n: "not JSON", None),
    ],
)
def test_number_is_what_rises_by_one_and_never_otherwise(make: Callable[[int], Any], path: str | None) -> None:
    numbers = Numbers()
    numbers.take(text({"type": "subscribed"}))
    for number in range(10):
        numbers.take(text(make(number)))
    numbers.learnt()
    assert numbers.path == path
    assert numbers.begin().known == (path is not None)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([10, 11, 12], (0, 0, 0, True)),
        ([10, 13], (2, 0, 0, True)),
        ([10, ..., 13], (2, 2, 0, True)),
        ([10, ..., 11, 14], (2, 0, 0, True)),
        ([10, 10, 11], (0, 0, 1, True)),
        ([10, ..., 8, 9, 10, 13], (2, 2, 3, True)),
        ([10, ..., 1, 2, 3], (0, 0, 0, False)),
        ([{"other": 1}, 10], (0, 0, 0, True)),
    ],
)
def test_holes_and_doubles_are_counted(items: list[Any], expected: tuple[int, int, int, bool]) -> None:
    numbers = Numbers("n")
    for number in range(5, 10):
        numbers.take(text({"n": number}))
    found = taken(numbers, [{"n": item} if isinstance(item, int) else item for item in items])
    assert found == expected
    assert numbers.begin().known == (not numbers.anew)


# What cannot be drilled


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (Request("wss://h/?X-Amz-Signature=abc"), "signed (query parameter 'X-Amz-Signature')"),
        (Request("wss://h/?apiKey=k&signature=abc"), "signed (query parameter 'signature')"),
        (Request("wss://h/?t=1&sig=abc"), "signed (query parameter 'sig')"),
        (Request("wss://h/", Headers({"Authorization": "AWS4-HMAC-SHA256 Credential=abc"})), "header 'Authorization'"),
        (Request("wss://h/", Headers({"Authorization": "Digest username=abc"})), "header 'Authorization'"),
        (Request("wss://h/", Headers({"CB-ACCESS-SIGN": "abc"})), "header 'CB-ACCESS-SIGN'"),
        (Request("wss://h/", Headers({"Signature-Input": "abc"})), "header 'Signature-Input'"),
        (Request("wss://h/", Headers({"DPoP": "abc"})), "header 'DPoP'"),
        (Request("wss://h/", Headers({"Cookie": "id=abc", "Origin": "https://h"})), "bound to its origin"),
        (Request("wss://h/", Headers({"Cookie": "a=b; __Host-id=abc"})), "bound to its origin"),
        (Request("ws+unix:///abc.sock:/"), "ws:// and wss:// only"),
        (Request("wss://h/", proxy="http://abc:8080"), "through a proxy"),
        (Request("wss://h/?token=abc&design=abc", Headers({"Authorization": "Bearer abc", "Cookie": "id=abc"})), None),
        (Request("ws://u:abc@h/?signed=no", Headers({"Authorization": "Basic abc", "Origin": "https://h"})), None),
    ],
)
def test_signed_or_bound_log_in_is_an_obstacle(request_: Request, reason: str | None) -> None:
    found = obstacle(request_)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found
        assert "abc" not in found


def test_proxy_of_the_environment_is_an_obstacle_unless_it_leaves_the_host_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    assert "proxy" in (obstacle(Request("wss://h/")) or "")
    monkeypatch.setenv("no_proxy", "h")
    assert obstacle(Request("wss://h/")) is None


async def test_what_is_not_drillable_is_said_and_not_dialed() -> None:
    async with Server() as server:
        code, out, error = await command(f"{server.url}?X-Amz-Signature=s3cret", *PACE)
        json_code, json_out, _ = await command(f"{server.url}?X-Amz-Signature=s3cret", "--json", *PACE)
        assert (code, json_code, server.count) == (3, 3, 0)
    assert "not drillable: the log-in is signed (query parameter 'X-Amz-Signature')" in out
    report = told(json_out)[-1]
    assert (report["drillable"], report["ok"]) == (False, False)
    assert "s3cret" not in out + error + json_out


async def test_log_in_that_works_only_without_the_relay_is_not_drillable() -> None:
    async with Ticker() as ticker:
        url = ticker.server.url

        class Bound:
            """Signs the address that it is connected to."""

            @hookimpl
            async def establish(self, session: Session) -> None:
                if session.request.url != url:
                    raise AuthenticationError("the server does not like the signature", verdict="fatal")

        drill = await drilled(url, "reset", plugins=[Bound()])
    assert drill.refusal is not None
    assert "directly, but not over a relay" in drill.refusal
    assert drill.trials == []


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    async with Server() as server:
        await server.stop()
        yield server.url


async def test_server_that_lets_nobody_in_is_no_matter_of_the_relay() -> None:
    async with Server(refuse(403)) as server:
        drill = await drilled(server.url, "reset")
        assert server.count == 2
    assert (drill.refusal, drill.well) == (None, False)
    assert drill.failure is not None
    assert "answered 403" in drill.failure
    async with nobody() as url:
        drill = await drilled(url, "reset", pace=Pace(1, 0.3))
    assert drill.failure is not None
    assert "(cannot connect to 127.0.0.1:" in drill.failure
    async with Server(hang()) as server:
        drill = await drilled(server.url, "reset", pace=Pace(0.5, 0.1))
    assert drill.failure == "the client was never READY"


async def test_error_of_the_detour_is_final() -> None:
    assert NotDrillable("x").verdict == "fatal"


# The live view


async def test_live_view_shows_fault_state_and_messages() -> None:
    out = io.StringIO()
    console = LiteralConsole()
    console.file = out
    console._force_terminal = True
    async with Ticker() as ticker, leaks():
        arguments: dict[str, Any] = {"url": ticker.server.url, "plugins": [], "options": QUICK, "proxy": None}
        drill = Drill(arguments, FAULTS[:2], Pace(4, 0.4), None)
        view = LiveView(console, drill)
        view.announce(drill, "profile.toml")
        async with asyncio.timeout(DEADLINE), view:
            running = asyncio.create_task(drill.run())
            while not drill.trials or drill.client.state is not State.READY:  # noqa: ASYNC110, looked at as the view does
                await asyncio.sleep(0.01)
            console.print(view._picture())
            await running
        view.report(drill)
    shown = out.getvalue()
    assert "Drill of profile.toml, over a relay on 127.0.0.1: 2 faults." in shown
    assert re.search(r"fault +[12] of 2: ", shown)
    assert re.search(r"state +READY", shown)
    assert re.search(r"messages +\d+ received, \d+ missed", shown)
    assert "2 of 2 faults met well" in shown


def test_help_names_every_fault() -> None:
    program = [sys.executable, "-m", "libws_core.cli", "drill", "--help"]
    done = subprocess.run(program, capture_output=True, text=True, timeout=DEADLINE, check=True)
    said = re.sub(r"[\s│]+", " ", done.stdout)
    assert f"{', '.join(NAMES[:-1])} or {NAMES[-1]}" in said
