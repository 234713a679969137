"""`libws demo`, from the first line to the exit code, and that it would tell if something went wrong."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from libws_core import Gap
from libws_core.cli.demo_feed import FAULTS, Feed
from libws_core.cli.demo_ride import ARGUMENTS, OPTIONS, Episode, Ride
from libws_core.cli.demo_view import LiveView, print_outcome, print_settings
from libws_core.cli.rendering import LiteralConsole

COLUMNS = ("fault", "noticed by", "noticed", "ready", "received", "missed", "reported")


def run(code: str | None = None, **environment: str) -> tuple[subprocess.CompletedProcess[str], float]:
    program = ["-m", "libws_core.cli", "demo"] if code is None else ["-c", code]
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, *program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return result, time.monotonic() - began


def table_of(output: str) -> list[dict[str, str]]:
    """The rows of the table at the end of plain output."""
    lines = output.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("the server  "))
    rows = lines[start + 1 : lines.index("", start)]
    return [dict(zip(COLUMNS, re.split(r"  +", row), strict=True)) for row in rows]


def test_every_fault_is_ridden_out_and_the_table_tells_how() -> None:
    # What the user's environment says about plugins and proxies is not what the demo is about.
    result, seconds = run(LIBWS_PLUGINS="-ping", http_proxy="http://127.0.0.1:9", NO_COLOR="1")
    assert (result.returncode, result.stderr) == (0, "")
    assert seconds < 20
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    settings = [line.split() for line in lines]
    assert ["backoff.cap", "1.0", "30.0"] in settings
    assert ["ping.interval", "0.5", "20.0"] in settings
    assert ["healthy_after", "1.0", "30"] in settings
    told = "\n".join(lines)
    for fault in FAULTS:
        assert f"the server {fault.name}" in told
    assert told.count("connected again, connection ") == len(FAULTS) - 1
    rows = table_of(result.stdout)
    assert [row["fault"] for row in rows] == [fault.name for fault in FAULTS]
    noticed = [
        "ConnectError: ",
        "HandshakeRejected: ",
        "ConnectionClosed: ",
        "KeepAliveTimeout: ",
        "ConnectionClosed: ",
    ]
    for row, error in zip(rows, noticed, strict=True):
        assert row["noticed by"].startswith(error)
        assert re.fullmatch(r"[\d.]+ m?s", row["ready"])
        assert int(row["received"]) > 0
        assert row["missed"] == row["reported"]
    assert float(rows[1]["ready"].removesuffix(" s")) >= 1  # the Retry-After
    assert all(int(row["missed"]) > 0 for row in (rows[1], rows[3]))
    total = re.search(r"(\d+) messages received, (\d+) missed, (\d+) of them reported$", lines[-1])
    assert total is not None
    assert total[2] == total[3] == str(sum(int(row["missed"]) for row in rows))
    assert lines[-1].startswith("5 of 5 faults noticed and healed in ")


def test_fault_that_is_not_noticed_fails_the_demo() -> None:
    code = """
import sys
from libws_core.cli import demo_ride, main
demo_ride.OPTIONS["ping"]["interval"] = 600  # so that nobody asks the silent server
demo_ride.PATIENCE, demo_ride.WATCHED = 3, 0.3
sys.exit(main(["demo"]))
"""
    result, _ = run(code)
    assert (result.returncode, result.stderr) == (1, "")
    *_, last = rows = table_of(result.stdout)
    assert len(rows) == 4
    assert (last["noticed by"], last["noticed"], last["ready"]) == ("nothing", "never", "never")
    assert "3 of 4 faults noticed and healed" in result.stdout
    assert "the ride did not come to its end" in result.stdout


def test_demo_without_its_plugins_says_what_to_install() -> None:
    code = """
import sys, importlib_metadata
from libws_core.cli import main
every = importlib_metadata.distributions
importlib_metadata.distributions = lambda **context: (d for d in every(**context) if d.metadata["Name"] != "libws-ping")
sys.exit(main(["demo"]))
"""
    result, _ = run(code)
    assert result.returncode == 2
    assert "try: pip install libws-ping" in result.stderr
    assert "Traceback" not in result.stderr


def test_demo_without_a_server_says_what_to_install() -> None:
    code = """
import sys
from libws_core.cli import main
sys.modules["websockets.server"] = None
sys.exit(main(["demo"]))
"""
    result, _ = run(code)
    assert (result.returncode, result.stdout) == (2, "")
    assert "pip install 'libws-core[testing]'" in result.stderr
    assert "Traceback" not in result.stderr


async def ride_over(items: list[Any]) -> Episode:
    """What a ride counts of these numbers and markers."""
    async with Feed() as feed:
        ride = Ride(feed)
        ride.episodes.append(Episode(FAULTS[2], 0.0, "noticed", 1.0, 2.0))
        for item in items:
            if isinstance(item, Gap):
                ride._gap = True
            else:
                ride._count(item)
        ride.complete = True
        ride.episodes += [Episode(fault, 0.0, "noticed", 1.0, 2.0) for fault in FAULTS[1:]]
        assert ride.flawless == (ride.missed == ride.reported and not ride.disorder)
        return ride.episodes[0]


@pytest.mark.parametrize(
    ("items", "missed", "reported", "well"),
    [
        ([7, 8, 9], 0, 0, True),
        ([7, Gap("reconnect", 2, 0, 0), 8], 0, 0, True),
        ([7, Gap("reconnect", 2, 0, 0), 11], 3, 3, True),
        ([7, 11], 3, 0, False),
        ([7, Gap("reconnect", 2, 0, 0), 8, 11], 2, 0, False),
    ],
)
async def test_hole_without_a_gap_is_held_against_the_client(
    items: list[Any], missed: int, reported: int, well: bool
) -> None:
    episode = await ride_over(items)
    assert (episode.missed, episode.reported, episode.well) == (missed, reported, well)


async def test_message_that_comes_twice_is_held_against_the_client() -> None:
    async with Feed() as feed:
        ride = Ride(feed)
        ride.complete = True
        ride.episodes += [Episode(fault, 0.0, "noticed", 1.0, 2.0) for fault in FAULTS]
        assert ride.flawless
        ride._count(7)
        ride._count(7)
        assert not ride.flawless


def test_settings_name_the_defaults_of_the_plugins_themselves(capsys: pytest.CaptureFixture[str]) -> None:
    from libws_backoff import Backoff

    print_settings(LiteralConsole())
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["backoff.base", str(OPTIONS["backoff"]["base"]), str(Backoff().base)] in told
    named = {f"{plugin}.{option}" for plugin, options in OPTIONS.items() for option in options} | {*ARGUMENTS}
    assert named <= {line[0] for line in told if line}


async def test_live_view_shows_state_attempts_round_trip_and_messages() -> None:
    out = io.StringIO()
    console = LiteralConsole()
    console.file = out
    console._force_terminal = True
    async with Feed() as feed:
        ride = Ride(feed)
        async with asyncio.timeout(30), LiveView(console, ride) as view:
            riding = asyncio.create_task(ride.run())
            while ride.received < 3 or ride.client.latency is None:
                ride._changed.clear()
                await ride._changed.wait()
            view.note("something was logged \x1b[2J")
            console.print(view._picture())
            riding.cancel()
            await asyncio.wait([riding])
    shown = out.getvalue()
    picture = shown[shown.rindex("libws demo") :]
    assert re.search(r"state +READY", picture)
    assert re.search(r"attempts +\d", picture)
    assert re.search(r"round trip +[\d.]+ ms", picture)
    assert re.search(r"messages +\d+ received, 0 missed, 0 of them reported", picture)
    assert re.search(r"[\d.]+ s +attempt 3 failed in dial: ", picture)
    assert re.search(r"[\d.]+ s +connected", picture)
    assert "something was logged \\x1b[2J" in picture
    assert not ride.flawless
    print_outcome(console, ride)
    assert "the ride did not come to its end" in out.getvalue()
