"""No secret is ever shown: in no log at DEBUG, repr, exception, traceback, event or explanation, whatever fails."""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from libws_core import Client, ConfigurationError, Event, LibwsError, Request, Secret, Session, hookimpl
from libws_core.testing import Server, ServerPeer, by_hand, cut, raw, refuse

each_dialer = pytest.mark.usefixtures("each_dialer")

QUERY, BEARER, COOKIE, PASSWORD, OPTION = (
    "tok-query-5f2",
    "tok-bearer-8a1",
    "tok-cookie-3c7",
    "tok-password-9d4",
    "tok-option-2e6",
)
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
SECRETS = (QUERY, BEARER, COOKIE, PASSWORD, OPTION, BASIC, base64.b64encode(PASSWORD.encode()).decode())


def find(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


def everything(error: BaseException) -> str:
    """All that could be printed of an exception: itself, its causes, its traceback with the lines of source."""
    parts = ["".join(traceback.format_exception(error))]
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        parts += [str(each), repr(each), repr(each.args)]
        parts += [repr(value) for value in vars(each).values()] if hasattr(each, "__dict__") else []
        waiting += [each.__cause__, each.__context__ if not each.__suppress_context__ else None]
    return "\n".join(parts)


class Records(logging.Handler):
    """Keeps each record as it would be written, with its arguments."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{self.format(record)} {record.args!r}")


@contextmanager
def listening() -> Iterator[Records]:
    """Everything that any logger says at DEBUG and below."""
    records = Records()
    names = [
        None,
        *logging.Logger.manager.loggerDict,
        "asyncio",
        "websockets",
        "websockets.client",
        "picows",
        "picows.client",
        "libws",
        "libws_core",
    ]
    loggers = [logging.getLogger(name) for name in dict.fromkeys(names)]
    before = [(logger, logger.level, logger.disabled) for logger in loggers]
    for logger in loggers:
        logger.setLevel(1)
        logger.disabled = False
    logging.getLogger().addHandler(records)
    try:
        yield records
    finally:
        logging.getLogger().removeHandler(records)
        for logger, level, disabled in before:
            logger.setLevel(level)
            logger.disabled = disabled


class Looks:
    """A plugin that prints all that it is given, as a careless one would."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @hookimpl
    async def admit(self, request: Request) -> None:
        self.said.append(f"{request!r} {request.headers!r} {request.attempt!r}")

    @hookimpl
    def observe(self, event: Event) -> None:
        self.said.append(f"{event!r} {event}")

    @hookimpl
    async def establish(self, session: Session) -> None:
        self.said.append(f"{session!r} {session.request!r} {session.response_headers!r}")

    @hookimpl
    def adapt_error(self, error: LibwsError, request: Request) -> None:
        self.said.append(everything(error) + repr(request))


class Keeps:
    """A plugin with a secret option of its own."""

    def __init__(self) -> None:
        self.key = Secret(OPTION)

    def __repr__(self) -> str:
        return f"Keeps({self.key!r})"

    @hookimpl
    def observe(self, event: Event) -> None: ...


OPTIONS: dict[str, Any] = {
    "auth": {"bearer": BEARER, "query": {"sig": OPTION}},
    "backoff": {"base": 0.001, "cap": 0.001, "max_attempts": 2},
}


def secret_url(server_url: str) -> str:
    return server_url.replace("://", f"://user:{PASSWORD}@") + f"path?token={QUERY}"


async def attempt(url: str, looks: Looks, **more: Any) -> list[str]:
    """Live a short life with that URL; gives all that was said by it."""
    said: list[str] = []
    more = {"proxy": None, **more}
    client = Client(
        url, plugins=["auth", Keeps(), looks, "log"], options=OPTIONS, headers={"Cookie": f"session={COOKIE}"},
        open_timeout=5, close_timeout=1, **more,
    )  # fmt: skip
    said += [repr(client), str(client), repr(client.explain()), repr(vars(client))]
    client.on(Event, lambda event: said.append(repr(event)))
    try:
        async with client:
            await client.send("hello", confirm=True, timeout=2)
            said.append(repr(client.response_headers))
            await client.close()
        await client.wait_closed()
    except LibwsError as error:
        said.append(everything(error))
    said += [repr(client), repr(client.explain()), repr(client._supervisor.request)]
    return said


def check(said: list[str], records: Records, looks: Looks) -> None:
    for kind, lines in (("said", said), ("logged", records.lines), ("seen by a plugin", looks.said)):
        for line in lines:
            assert find(line) == [], f"{kind}: {line}"


async def drops(peer: ServerPeer) -> None:
    await peer.recv()
    await peer.drop(reset=True)


async def closes_quoting(peer: ServerPeer) -> None:
    await peer.recv()
    await peer.close(1002, "no")


CASES: dict[str, Any] = {
    "it works": by_hand(),
    "refused": refuse(403, {"X-Why": "no"}, "go away"),
    "unauthorized": refuse(401),
    "retried": refuse(503, {"Retry-After": "0"}),
    "redirect to nowhere": refuse(302, {"Location": "http://127.0.0.1:1/elsewhere"}),
    "redirect to another scheme": refuse(302, {"Location": "ftp://127.0.0.1/"}),
    "redirect with a bad location": refuse(307, {"Location": "http://[bad"}),
    "cut": cut(),
    "reset": cut(reset=True),
    "no HTTP": raw(b"SSH-2.0-server\r\n\r\n"),
    "bad handshake": raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    "dropped": drops,
    "closed": closes_quoting,
}


@each_dialer
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("debug", [False, True])
async def test_with_a_server_that(case: str, debug: bool) -> None:
    asyncio.get_running_loop().set_debug(debug)
    looks = Looks()
    async with asyncio.timeout(30), Server(CASES[case]) as server:
        with listening() as records:
            said = await attempt(secret_url(server.url), looks)
        check(said, records, looks)
        arrival = server.arrivals[0]
        assert arrival.path is not None
        assert QUERY in arrival.path  # they were really sent
        assert OPTION in arrival.path
        assert arrival.headers is not None
        assert BEARER in arrival.headers["Authorization"]
        assert COOKIE in arrival.headers["Cookie"]


@each_dialer
@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("ws://user:{password}@no-such-host.invalid/?token={query}", {}),
        ("wss://user:{password}@no-such-host.invalid/?token={query}", {}),
        ("ws://user:{password}@127.0.0.1:1/?token={query}", {}),
        ("ws+unix:///no/such/socket:/path?token={query}", {}),
        ("gopher://user:{password}@host/?token={query}", {}),
        ("ws://host/?token={query}", {"proxy": "http://user:{password}@127.0.0.1:1"}),
        ("ws://host/?token={query}", {"proxy": "http://user:{password}@no-such-host.invalid:1"}),
        ("ws://host/?token={query}", {"proxy": "socks5://user:{password}@127.0.0.1:1"}),
        ("wss://host/?token={query}", {"proxy": "https://user:{password}@127.0.0.1:1"}),
    ],
)
async def test_with_what_cannot_be_reached(url: str, more: dict[str, str]) -> None:
    looks = Looks()
    fill: Callable[[str], str] = lambda text: text.format(password=PASSWORD, query=QUERY)  # noqa: E731
    async with asyncio.timeout(30):
        with listening() as records:
            said = await attempt(fill(url), looks, **{name: fill(value) for name, value in more.items()})
    check(said, records, looks)
    assert any("Error" in line or "Exhausted" in line for line in said)


@each_dialer
async def test_with_tls_that_fails() -> None:
    async def no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    looks = Looks()
    async with asyncio.timeout(30), await asyncio.start_server(no_tls, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with listening() as records:
            said = await attempt(secret_url(f"wss://127.0.0.1:{port}/"), looks)
    check(said, records, looks)
    assert any("TLSError" in line for line in said)


@each_dialer
@pytest.mark.parametrize("status", [407, 403, 502])
async def test_with_a_proxy_that_refuses(status: int) -> None:
    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    asked: list[str] = []
    looks = Looks()
    async with asyncio.timeout(30), await asyncio.start_server(proxy, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        with listening() as records:
            said = await attempt(f"ws://host/?token={QUERY}", looks, proxy=f"http://user:{PASSWORD}@127.0.0.1:{port}")
    check(said, records, looks)
    assert BASIC in asked[0]
    assert QUERY not in asked[0]


# What is refused before anything is dialed

BAD_URLS = [
    f"ws://user:{PASSWORD}@host:port/?token={QUERY}",
    f"ws://user:{PASSWORD}@[bad/?token={QUERY}",
    f"ws://host/?token={QUERY} with space",
    f"ws://host/?token={QUERY}\r\nX: y",
    f"ws://host/?token={QUERY}#fragment",
    f"ws://:{PASSWORD}@/?token={QUERY}",
    f"//user:{PASSWORD}@host/{QUERY}",
    f"{QUERY}",
]


@pytest.mark.parametrize(
    ("url", "more"),
    [(url, {}) for url in BAD_URLS]
    + [
        ("ws://host/", {"headers": {"Cookie": f"{COOKIE}\r\nX: y"}}),
        ("ws://host/", {"headers": {"Cookie": f"{COOKIE}\n"}}),
        ("ws://host/", {"headers": {"Cookie": COOKIE.encode()}}),
        ("ws://host/", {"origin": f"{COOKIE}\r\n"}),
        ("ws://host/", {"user_agent": f"{COOKIE}\x00"}),
        ("ws://host/", {"subprotocols": [f"{COOKIE}\r\n"]}),
        ("ws://host/", {"proxy": f"ftp://user:{PASSWORD}@host"}),
        ("ws://host/", {"proxy": f"http://user:{PASSWORD}@host:port"}),
        ("ws://host/", {"options": {"auth": {"bearer": f"{BEARER}\r\n"}}}),
        ("ws://host/", {"options": {"auth": {"bearer": BEARER, "basic": f"user:{PASSWORD}"}}}),
        ("ws://host/", {"options": {"auth": {"bearer": [BEARER]}}}),
        ("ws://host/", {"options": {"auth": {"basic": PASSWORD}}}),
        ("ws://host/", {"options": {"auth": {"header": {"X-Key": f"{OPTION}\n"}}}}),
        ("ws://host/", {"options": {"auth": {"query": {"token": [OPTION]}}}}),
        ("ws://host/", {"options": {"auth": {"bearer": BEARER, "no_such": OPTION}}}),
    ],
)
def test_what_is_refused_is_not_quoted(url: str, more: dict[str, Any]) -> None:
    with listening() as records, pytest.raises(ConfigurationError) as caught:
        Client(url, plugins=["auth"], **{"options": {"auth": {"bearer": BEARER}}, **more})
    assert find(everything(caught.value)) == []
    assert find("\n".join(records.lines)) == []


@pytest.mark.parametrize("hook", ["resolve", "authenticate"])
async def test_a_hook_that_answers_a_bad_url_is_not_quoted(hook: str) -> None:
    class Answers:
        pass

    def answer(request: Request) -> Request:
        return replace(request, url=f"ws://host/?token={QUERY} with space")

    setattr(Answers, hook, hookimpl(staticmethod(answer)))
    client = Client("ws://host/", plugins=[Answers()])
    with pytest.raises(LibwsError) as caught:
        await client.open()
    assert find(everything(caught.value)) == []


def test_a_profile_holds_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAMPLE_TOKEN", BEARER)
    (tmp_path / "cookie.txt").write_text(COOKIE)
    profile = tmp_path / "profile.toml"
    lines = [
        "[client]",
        f'url = "wss://example.com/?token={QUERY}"',
        'plugins = ["auth"]',
        "[client.headers]",
        'Cookie = { file = "cookie.txt" }',
        "[client.options.auth]",
        'bearer = { env = "EXAMPLE_TOKEN" }',
    ]
    profile.write_text("\n".join(lines))
    client = Client.from_profile(profile)
    assert client._supervisor.request.headers["Cookie"] == COOKIE
    for shown in (repr(client), repr(client.explain()), repr(client._supervisor.request), str(client.explain())):
        assert find(shown) == []


def test_secrets_show_stars() -> None:
    secret = Secret(OPTION)
    for shown in (repr(secret), str(secret), f"{secret}", repr([secret]), repr({"a": secret})):
        assert find(shown) == []
    assert secret.reveal() == OPTION
