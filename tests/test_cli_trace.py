"""`libws trace` and `libws connect --trace` as people use them: real processes and a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process

from libws_core.testing import Server, ServerPeer, refuse

DEADLINE = 30


def greets(peer: ServerPeer) -> None:
    peer.send("a message")
    peer.send("another one")


async def started(command: str, *arguments: str, stdin: int = DEVNULL) -> Process:
    words = (sys.executable, "-m", "libws_core.cli", command, *arguments)
    return await asyncio.create_subprocess_exec(*words, stdin=stdin, stdout=PIPE, stderr=PIPE, env={**os.environ})


async def ended(process: Process, data: bytes | None = None) -> tuple[int | None, str, str]:
    async with asyncio.timeout(DEADLINE):
        out, error = await process.communicate(data)
    return process.returncode, out.decode(), error.decode()


async def test_each_call_and_event_is_a_line() -> None:
    async with Server(refuse(429, {"Retry-After": "0"}), greets) as server:
        process = await started("trace", f"{server.url}?token=s3cr3t", "--wait", "0.2", "--set", "backoff.base=0")
        code, out, error = await ended(process)
    assert (code, error) == (0, "")
    lines = [line[13:] for line in out.splitlines()]
    assert lines[0] == "attempt 1: resolve"
    decided = next(place for place, line in enumerate(lines) if line.startswith("  reconnect: "))
    assert lines[decided].startswith("  reconnect: backoff -> 0 s (attempt 1, 429 with Retry-After 0), ")
    assert lines[decided - 1].startswith("attempt 1 failed in dial: ")
    assert lines[decided + 1] == "next attempt in 0.00 s"
    assert "connected" in lines
    assert lines[-2:] == ["closed", "messages received: 2"]
    assert "a message" not in out
    assert "s3cr3t" not in out


async def test_it_goes_on_until_it_is_interrupted() -> None:
    async with Server() as server:
        process = await started("trace", server.url)
        peer = await server.accept(timeout=DEADLINE)
        process.send_signal(signal.SIGINT)
        assert await peer.wait_gone() == 1000
        code, out, _ = await ended(process)
    assert code == 0
    assert "closed by us" in out


async def test_it_ends_with_a_client_that_has_failed_and_tells_who_decided() -> None:
    async with Server(refuse(404)) as server:
        code, out, _ = await ended(await started("trace", server.url))
    assert code == 1
    assert "  reconnect: nobody -> stop (404: the verdict is fatal)\n" in out


async def test_as_json() -> None:
    async with Server(greets) as server:
        code, out, _ = await ended(await started("trace", server.url, "--wait", "0", "--json"))
    assert code == 0
    told = [json.loads(line) for line in out.splitlines()]
    (dial,) = [each for each in told if each["type"] == "hook" and each["hook"] == "dial"]
    assert (dial["plugin"], dial["answer"], dial["about"]) == ("websockets", "connected", "attempt 1")
    assert dial["seconds"] > 0
    assert not dial["raised"]
    assert [each["phase"] for each in told if each.get("event") == "Connecting"][-1] == "establish"


async def test_what_is_wrong_is_told_before_anything_is_dialed() -> None:
    code, out, error = await ended(await started("trace", "ws://127.0.0.1:9/", "--enable", "nosuchplugin"))
    assert (code, out) == (2, "")
    assert "'nosuchplugin': not installed" in error
    code, _, error = await ended(await started("trace", "ws://127.0.0.1:9/", "--wait", "-1"))
    assert (code, error) == (2, "libws: --wait takes seconds from 0 on, or inf\n")


async def test_a_conversation_may_be_traced_too() -> None:
    async with Server(greets) as server:
        process = await started("connect", server.url, "--trace", "--wait", "0.2", stdin=PIPE)
        code, out, error = await ended(process, b"")
    assert (code, out) == (0, "a message\nanother one\n")
    assert "  dial: websockets -> connected (attempt 1), " in error
    assert error.count("* connected\n") == 1
