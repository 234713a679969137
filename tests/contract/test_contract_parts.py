"""The parts of the contract kit: what it takes for a credential, for a secret, for an import that does something."""

from __future__ import annotations

import base64
import logging
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import quote

import pytest
from msgspec import Meta

from libws_core import Client, ConnectionClosed, Event, Secret, hookimpl
from libws_core.testing import MemoryDialer, PluginContract, run
from libws_core.testing.contract import credentials, failures, hiding, imports, oddities, sharing, steps, subject
from libws_core.testing.contract.hearing import everything, hear
from libws_governor import Governor
from libws_ratelimit import Ratelimit


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        *[(name, True) for name in ("token", "password", "api_key", "apiKey", "secret_key", "access_token", "bearer")],
        *[(name, False) for name in ("key", "partition_key", "token_url", "max_tokens", "keys", "secret_name", "spin")],
    ],
)
def test_a_credential_is_told_by_its_last_word(name: str, is_one: bool) -> None:
    assert credentials.sounds_like_one(name) is is_one


def test_only_strings_are_bare_credentials() -> None:
    @dataclass
    class Login:
        token: Annotated[str, Meta(min_length=1)] | None = None
        password: Secret | None = None
        secret: bytes = b""
        pin: int = 0
        bearer: dict[str, str] = field(default_factory=dict)

    assert credentials.bare(Login) == ["token", "secret"]


def test_a_secret_is_found_in_each_of_its_forms() -> None:
    secret = "pass word/9?"
    pair = base64.b64encode(f"somebody:{secret}".encode()).decode()
    longer = base64.urlsafe_b64encode(f"a:{secret}:b".encode()).decode()
    for form in (secret, quote(secret, safe=""), secret.encode().hex(), pair, longer):
        assert hiding.find(f"... {form} ...", {secret}) == secret, form
    assert hiding.find("pass word / 9", {secret}) is None


def test_secrets_are_found_wherever_they_lie() -> None:
    inner = SimpleNamespace(deep=[{"token": Secret("a token nobody knows")}])
    assert hiding.revealed(SimpleNamespace(inner=inner, short=Secret("abc"))) == {"a token nobody knows"}


def test_everything_of_an_error_is_looked_at() -> None:
    error = ConnectionClosed("closed", code=4000)
    error.__cause__ = KeyError("a cause")
    error.detail = "a detail"  # type: ignore[attr-defined]
    said = everything(error)
    assert "a cause" in said
    assert "a detail" in said


def test_all_that_is_said_is_heard_and_goes_nowhere_else(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("libws.a.test")
    logger.setLevel(logging.ERROR)
    try:
        with hear() as heard:
            logger.debug("a quiet %s", "record")
            warnings.warn("a warning", stacklevel=1)
            print("a print")
        assert any("a quiet record" in text for text in heard.records)
        assert heard.warnings == ["UserWarning: a warning"]
        assert heard.printed == "a print\n"
        assert capsys.readouterr().out == ""
        assert logger.level == logging.ERROR
    finally:
        logger.setLevel(logging.NOTSET)


def test_sharing_is_found_in_containers_and_own_objects() -> None:
    common: list[Any] = []

    class Plugin:
        def __init__(self) -> None:
            self.own: list[Any] = []
            self.text = "the same"
            self.deep = {"x": (common,)}

    assert sharing.shared(Plugin(), Plugin()) == ["field 'deep'['x'][0]"]


def test_sharing_on_purpose_lives_in_modules_and_is_no_fault() -> None:
    assert sharing.shared(Governor(), Governor()) == []
    assert sharing.shared(Ratelimit(messages=1, key="account"), Ratelimit(messages=1, key="account")) == []


def test_failures_are_of_every_class_and_each_is_new() -> None:
    one, other = list(failures.table("ws://test/")), list(failures.table("ws://test/"))
    assert len(one) > 500
    assert {told.count for told in one} >= {1, 10_000}
    assert max(told.uptime for told in one) == 1e7
    assert not {id(told.error) for told in one} & {id(told.error) for told in other}


def test_what_a_server_says_is_all_different() -> None:
    messages = [*oddities.numbered(), *oddities.odd()]
    assert len({(message.kind, message.data) for message in messages}) == len(messages)
    assert max(len(message.data) for message in messages) >= 300_000


class Quiet:
    @hookimpl
    def observe(self, event: Event) -> None:
        pass


class OfQuiet(PluginContract):
    plugin = Quiet
    name = None


def test_a_life_is_disturbed_at_each_of_its_turns() -> None:
    disturbed = []
    contract = OfQuiet()
    _, turns = steps._once(contract, -1, lambda *_: None, (contract.server,))
    assert 20 < turns <= steps.STEPS
    for at in steps._spread(turns):
        steps._once(contract, at, lambda loop, *_: disturbed.append(loop.turn), (contract.server,))
    assert disturbed == list(range(1, turns + 1))
    assert steps._spread(10 * steps.STEPS)[-1] == 10 * steps.STEPS
    assert len({*steps._spread(10 * steps.STEPS)}) == steps.STEPS


def test_an_import_answers_for_its_own_code_alone() -> None:
    seen = imports.look(Governor)
    assert seen.done == []
    assert "libws_governor.gate" in seen.loaded
    assert imports.undeclared(Governor) == []


NOISE = """
import logging, os, signal, socket, subprocess, sys, threading, warnings
os.environ.setdefault("LIBWS_NOISE", "1")
socket.socket().close()
subprocess.run([sys.executable, "-c", ""])
open(os.devnull, "w").close()
threading.Thread(target=threading.Event().wait, name="noise", daemon=True).start()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
logging.getLogger("noise").setLevel(logging.DEBUG)
logging.getLogger().addHandler(logging.StreamHandler())
logging.getLogger("quiet").addHandler(logging.NullHandler())
warnings.warn("noise")
warnings.filterwarnings("ignore")
sys.excepthook = print
print("noise")
"""


def test_whatever_an_import_does_is_seen(tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text(NOISE, "utf-8")
    done = imports._look("noise", str(tmp_path / "noise.py")).done
    wanted = [
        "changes the environment variable LIBWS_NOISE",
        "uses a socket (socket.__new__)",
        "starts a process (subprocess.Popen)",
        f"writes the file {os.devnull}",
        "starts the thread noise",
        f"takes the signal {int(signal.SIGTERM)}",
        "configures the logger 'noise'",
        "configures the logger 'root'",
        "warns: UserWarning: noise",
        "changes the filters of warnings",
        "replaces sys.excepthook",
        "prints 'noise\\n'",
    ]
    assert [what for what in wanted if what not in done] == []
    assert "configures the logger 'quiet'" not in done


def test_requirements_are_read_as_installers_write_them() -> None:
    needs = ["libws-ping>=0.1", "libws_pong (>=1) ; python_version > '3'", "libws-log; extra == 'all'", "httpx[http2]"]
    entry: Any = SimpleNamespace(point=SimpleNamespace(dist=SimpleNamespace(requires=needs)))
    assert imports.needs(entry) == {"libws-ping", "libws-pong", "httpx"}


def test_a_client_of_a_contract_keeps_what_the_plugin_uses() -> None:
    class Heartbeat:
        uses = {"ping": {"interval": 5}}  # noqa: RUF012

    class OfHeartbeat(PluginContract):
        plugin = Heartbeat
        name = None

    async def names(contract: PluginContract) -> set[str]:
        client: Client = subject.assemble(contract, MemoryDialer(), without=("ping", "pong"))
        return {each["name"] for each in client.explain()["plugins"]}

    assert "ping" in run(names(OfHeartbeat()))
    assert not {"ping", "pong", "websockets"} & run(names(OfQuiet()))


def test_without_pytest_the_contracts_say_what_to_install() -> None:
    program = """
import sys
sys.modules["pytest"] = None
import libws_core.testing
libws_core.testing.MemoryDialer
try:
    libws_core.testing.PluginContract
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "the contracts are tests for pytest: pip install 'libws-core[testing]'", done.stderr


def test_the_kit_loads_pytest_for_the_contracts_alone() -> None:
    program = "import libws_core.testing as kit, sys; kit.MemoryDialer, kit.run; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr
