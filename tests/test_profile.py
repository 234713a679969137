"""Profiles: what a TOML file may say, where its secrets come from, and what is told when it is wrong."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

from libws_core import OptionError, ProfileError, Secret
from libws_core.plugins import assemble
from libws_core.profile import ARGUMENTS, LIMIT, Profile, load

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def put(text: str) -> Path:
        path = tmp_path / "x.toml"
        path.write_text(text)
        return path

    return put


def problems(path: Path, client: str | None = None, environ: Any = None) -> list[str]:
    with pytest.raises(ProfileError) as caught:
        load(path, client, environ or {})
    assert str(caught.value).splitlines()[0] == f"cannot use profile {path}:"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return [str(problem) for problem in caught.value.problems]


def test_a_profile_gives_the_arguments_of_a_client_and_a_layer_of_options(write: Write) -> None:
    path = write("""
        [client]
        url = "wss://example.com/socket"
        plugins = ["auth", "-pong"]
        subprotocols = ["a", "b"]
        headers = { "X-Plain" = "1", "X-Key" = { env = "KEY" } }
        origin = "https://example.com"
        user_agent = false
        proxy = false
        open_timeout = 3
        healthy_after = 0
        inbox_messages = 5
        name = "mine"
        [client.options.auth]
        bearer = { env = "EXAMPLE_TOKEN" }
        query = { a = { file = "secret.txt" }, b = "c" }
        names = ["x", { env = "KEY" }]
        [client.options.backoff]
        cap = 10
    """)
    (path.parent / "secret.txt").write_text("from file\r\n\n")
    profile = load(path, environ={"KEY": "k", "EXAMPLE_TOKEN": "geheim"})
    assert profile.source == f"profile {path}"
    assert profile.url == "wss://example.com/socket"
    assert profile.plugins == ["auth", "-pong"]
    assert profile.options == {
        "auth": {
            "bearer": Secret("geheim"),
            "query": {"a": Secret("from file"), "b": "c"},
            "names": ["x", Secret("k")],
        },
        "backoff": {"cap": 10},
    }
    assert profile.arguments == {
        "url": "wss://example.com/socket",
        "plugins": ["auth", "-pong"],
        "subprotocols": ["a", "b"],
        "headers": {"X-Plain": "1", "X-Key": "k"},
        "origin": "https://example.com",
        "user_agent": None,
        "proxy": None,
        "open_timeout": 3.0,
        "healthy_after": 0.0,
        "inbox_messages": 5,
        "name": "mine",
    }
    assert "geheim" not in f"{profile!r}{profile}"


def test_a_profile_needs_no_more_than_a_url(write: Write) -> None:
    profile = load(write("[client]\nurl = 'ws://localhost'\n"))
    assert profile.arguments == {"url": "ws://localhost"}
    assert (profile.plugins, profile.options) == ((), {})
    assert isinstance(profile, Profile)


def test_one_of_several_clients_is_named(write: Write) -> None:
    path = write("[client]\nurl='ws://0'\n[clients.one]\nurl='ws://1'\n[clients.two]\nurl='ws://2'\n")
    assert [load(path).url, load(path, "one").url, load(path, "two").url] == ["ws://0", "ws://1", "ws://2"]
    assert problems(path, "tow") == ["has no table [clients.tow]; did you mean 'two'?"]
    assert problems(path, "x") == ["has no table [clients.x]; there are 'one', 'two'"]


def test_the_only_client_need_not_be_named(write: Write) -> None:
    assert load(write("[clients.one]\nurl='ws://1'\n")).url == "ws://1"
    several = write("[clients.one]\nurl='ws://1'\n[clients.two]\nurl='ws://2'\n")
    assert problems(several) == ["has several clients, say which: 'one', 'two'"]
    assert problems(write("")) == ["has no table [client]"]
    assert problems(write(""), "one") == ["has no table [clients.one]"]


def test_unknown_keys_are_problems_told_all_at_once(write: Write) -> None:
    path = write("""
        title = "x"
        [clint]
        [client]
        urls = "ws://localhost"
        open_timeout = "10"
        close_timeout = 0
        inbox_bytes = -1
        zebra = 1
        plugins = "auth"
        subprotocols = ["a", 1]
        headers = { a = 1 }
        options = { auth = 5 }
    """)
    assert problems(path) == [
        "unknown table [title]",
        "unknown table [clint]; did you mean 'client'?",
        "[client] has an unknown key 'urls'; did you mean 'url'?",
        "[client] open_timeout: expected float > 0, got str '10'",
        "[client] close_timeout: expected float > 0, got int 0",
        "[client] inbox_bytes: expected int > 0, got int -1",
        "[client] has an unknown key 'zebra'",
        "[client] plugins: expected list[str], got str 'auth'",
        "[client] subprotocols: at [1]: expected str, got int 1",
        "[client] headers: at a: expected str, got int 1",
        "[client] options: at auth: expected dict[str, Any], got int 5",
        "[client] has no url",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("client = 5", "client: expected a table"),
        ("clients = 5", "clients: expected tables [clients.NAME]"),
        ("[clients]\none = 5", "clients.one: expected a table"),
        ("[client", "is not TOML: Expected ']' at the end of a table declaration (at end of document)"),
    ],
)
def test_a_file_of_another_shape_is_told(write: Write, text: str, problem: str) -> None:
    assert problems(write(text)) == [problem]


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert problems(tmp_path / "x.toml") == ["No such file or directory"]
    (tmp_path / "latin.toml").write_bytes(b"[client]\nurl = '\xff'\n")
    assert problems(tmp_path / "latin.toml") == ["is not UTF-8"]


def test_a_missing_variable_is_told_with_its_key_and_the_file(write: Write) -> None:
    path = write("""
        [client]
        url = { env = "URL" }
        headers = { a = { env = "HEADER" } }
        [client.options.auth]
        bearer = { env = "TOKEN" }
        query = { a = { env = "QUERY" } }
        names = [{ env = "NAME" }]
        [client.options]
        log = { env = "LOG" }
    """)
    assert problems(path) == [
        "url: environment variable 'URL' is not set",
        "headers.a: environment variable 'HEADER' is not set",
        "'auth': option 'bearer': environment variable 'TOKEN' is not set",
        "'auth': option 'query'.a: environment variable 'QUERY' is not set",
        "'auth': option 'names'.0: environment variable 'NAME' is not set",
        "'log': options: environment variable 'LOG' is not set",
        "[client] options: at log: expected dict[str, Any], got str ***",
    ]


def test_the_environment_of_the_process_counts(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBWS_TEST_URL", "ws://from-env?token=1")
    assert load(write("[client]\nurl = { env = 'LIBWS_TEST_URL' }\n")).url == "ws://from-env?token=1"


def test_a_secret_file_is_relative_to_the_profile_and_bounded(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("""
        [client]
        url = "ws://localhost"
        [client.options.auth]
        a = { file = "sub/a" }
        b = { file = "~/b" }
    """)
    home = path.parent / "home"
    (path.parent / "sub").mkdir()
    home.mkdir()
    (path.parent / "sub" / "a").write_text(" geheim \n")
    (home / "b").write_text("x" * LIMIT)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    assert load(path).options["auth"] == {"a": Secret(" geheim "), "b": Secret("x" * LIMIT)}
    (home / "b").write_text("x" * (LIMIT + 1))
    (path.parent / "sub" / "a").write_bytes(b"\xff")
    assert problems(path) == [
        "'auth': option 'a': cannot read file 'sub/a': it is not UTF-8",
        f"'auth': option 'b': cannot read file '~/b': it is larger than {LIMIT} bytes",
    ]
    (path.parent / "sub" / "a").unlink()
    assert problems(path)[0] == "'auth': option 'a': cannot read file 'sub/a': No such file or directory"


def test_a_profile_may_lie_in_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x.toml").write_text("[client]\nurl='ws://home'\n")
    profile = load("~/x.toml")
    assert (profile.url, profile.source) == ("ws://home", "profile ~/x.toml")


def test_a_table_that_is_no_reference_stays_a_table(write: Write) -> None:
    path = write("[client]\nurl='ws://x'\n[client.options.http]\na={env=5}\nb={env='X',more=1}\nc={file=['x']}\n")
    assert load(path, environ={}).options == {
        "http": {"a": {"env": 5}, "b": {"env": "X", "more": 1}, "c": {"file": ["x"]}}
    }


def test_values_from_outside_count_as_secret_in_every_text(write: Write) -> None:
    path = write("[client]\nurl='ws://x'\nopen_timeout={env='T'}\ninbox_bytes={env='B'}\n")
    assert load(path, environ={"T": "2.5", "B": "7"}).arguments == {
        "url": "ws://x",
        "open_timeout": 2.5,
        "inbox_bytes": 7,
    }
    assert problems(path, environ={"T": "geheim", "B": "7"}) == [
        "[client] open_timeout: expected float > 0, got str ***"
    ]


def test_options_of_a_profile_become_values_of_a_plugin(write: Write) -> None:
    from dataclasses import dataclass, field

    from libws_core import hookimpl
    from libws_core.options import configure

    @dataclass
    class Plugin:
        cap: float = 1.0
        headers: dict[str, str] = field(default_factory=dict)

        @hookimpl
        async def dial(self, request: Any) -> None: ...

    path = write("[client]\nurl='ws://x'\n[client.options.plugin]\ncap={env='CAP'}\nheaders={a={env='A'}}\n")
    profile = load(path, environ={"CAP": "5", "A": "geheim"})
    given = {name: (value, profile.source) for name, value in profile.options["plugin"].items()}
    outcome = configure(Plugin, given)
    assert outcome.arguments == {"cap": 5.0, "headers": {"a": "geheim"}}
    assert outcome.origins["cap"] == (Secret("5"), f"profile {path}")
    with pytest.raises(OptionError) as caught:
        assemble(["-standard", Plugin()], [(profile.source, profile.options)], environ={})
    assert f"has options in profile {path}" in str(caught.value)
    assert "geheim" not in str(caught.value)


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_tls_makes_a_context_of_files_beside_the_profile(write: Write, authority: trustme.CA) -> None:
    path = write("""
        [client]
        url = "wss://localhost"
        tls = { ca = "ca.pem", cert = "own.pem", key = "own.key" }
    """)
    own = authority.issue_cert("client.example")
    authority.cert_pem.write_to_path(path.parent / "ca.pem")
    own.cert_chain_pems[0].write_to_path(path.parent / "own.pem")
    own.private_key_pem.write_to_path(path.parent / "own.key")
    context = load(path).arguments["ssl"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_tls_may_only_bring_a_certificate_of_our_own(write: Write, authority: trustme.CA) -> None:
    path = write("[client]\nurl = 'wss://localhost'\ntls = { cert = 'own.pem' }\n")
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(path.parent / "own.pem")
    assert load(path).arguments["ssl"].check_hostname


def test_tls_that_cannot_be_had_is_told(write: Write) -> None:
    path = write("[client]\nurl='wss://x'\ntls={ca='ca.pem', key='own.key', certt='x'}\n")
    assert problems(path) == [
        "[client] tls has an unknown key 'certt'; did you mean 'cert'?",
        "[client] tls: key and password belong to a cert",
        "[client] tls.ca: No such file or directory",
    ]
    other = write("[client]\nurl='wss://x'\ntls={cert='own.pem', password={env='P'}}\n")
    (other.parent / "own.pem").write_text("no certificate")
    (problem,) = problems(other, environ={"P": "geheim"})
    assert problem.startswith("[client] tls.cert: OpenSSL cannot use it: ")


def test_an_encrypted_key_takes_its_password_from_the_profile(write: Write, authority: trustme.CA) -> None:
    from cryptography.hazmat.primitives import serialization

    own = authority.issue_cert("client.example")
    path = write("[client]\nurl='wss://x'\ntls={cert='own.pem', key='own.key', password={env='P'}}\n")
    own.cert_chain_pems[0].write_to_path(path.parent / "own.pem")
    key = serialization.load_pem_private_key(own.private_key_pem.bytes(), None)
    (path.parent / "own.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"geheim"),
        )
    )
    assert load(path, environ={"P": "geheim"}).arguments["ssl"]
    wrong = problems(path, environ={"P": "falsch"})
    assert len(wrong) == 1
    assert wrong[0].startswith("[client] tls.cert: OpenSSL cannot use it: ")
    assert "falsch" not in wrong[0]
    path.write_text("[client]\nurl='wss://x'\ntls={cert='own.pem', key='own.key'}\n")
    assert len(problems(path)) == 1  # and nobody is asked at the terminal


def test_the_keys_of_a_profile_are_arguments_of_the_client() -> None:
    import inspect

    from libws_core import Client

    parameters = {name for name in inspect.signature(Client).parameters if not name.startswith("_")}
    assert {"ssl" if key == "tls" else key for key in ARGUMENTS} == parameters
