"""Tickets from a real HTTP server: what is asked, what becomes of the answer, and what of none."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trustme

from libws_core import (
    AuthenticationError,
    Client,
    ConnectError,
    ConnectTimeout,
    Event,
    HandshakeRejected,
    LibwsError,
    NameResolutionError,
    OptionError,
    PluginFailed,
    ProxyError,
    Request,
    Secret,
    TLSError,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, Server, hang, leaks, refuse
from libws_http import Http, learnt
from libws_ping import Ping

PATHS = {"url": "data.url", "token": "data.token"}
TICKET = {"data": {"url": "ws://test/socket?a=1", "token": "hidden & token"}}
HIDDEN = ("hidden & token", "hidden-in-the-query", "hidden-key")


class Again:
    """Tries again at once, so often."""

    def __init__(self, times: int = 0) -> None:
        self.times = times

    @hookimpl
    def reconnect(self) -> float | None:
        self.times -= 1
        return 0.0 if self.times >= 0 else None


class Seen:
    """Remembers what was to be dialed."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    @hookimpl
    def admit(self, request: Request) -> None:
        self.requests.append(request)


def client_with(*plugins: object, **more: Any) -> Client:
    return Client("ws://own/", plugins=["-standard", *plugins], **{"proxy": None, **more})


async def failure(rest: Any, *plugins: object, **options: Any) -> LibwsError:
    """The error with which a client's only attempt ends."""
    more = options.pop("more", {})
    async with leaks():
        client = client_with(Http(**{"url": rest.url, "paths": PATHS, **options}), MemoryDialer(), *plugins, **more)
        with pytest.raises(LibwsError) as raised:
            await client.open()
        await client.close()
    for hidden in HIDDEN:
        assert hidden not in f"{raised.value} {raised.value!r}"
    return raised.value


# What is asked, and what is dialed


async def test_the_answer_says_what_is_dialed(rest: Any) -> None:
    rest.answers = [{**TICKET, "interval": 18_000}]
    http = Http(
        url=rest.url,
        headers={"X-Key": "hidden-key"},
        body={"account": "a", "count": 1, "live": True},
        paths={**PATHS, "interval": "interval"},
        scale={"interval": 0.001},
        dial_query={"token": "$token", "connectId": "$id"},
        dial_headers={"Authorization": "Bearer $token"},
    )
    seen = Seen()
    async with leaks(), MemoryDialer() as dialer, client_with(seen, http, dialer, user_agent="mine/1.0"):
        (request,) = seen.requests
        own = request.extra["http.id"]
        assert request.url == f"ws://test/socket?a=1&token=hidden%20%26%20token&connectId={own}"
        assert request.headers["Authorization"] == "Bearer hidden & token"
        assert len(own) == 32
        assert request.extra["http.token"] == Secret("hidden & token")
        assert request.extra["http.interval"] == pytest.approx(18)
    (asked,) = rest.asked
    assert asked.line == "POST /ticket?apikey=hidden-in-the-query HTTP/1.1"
    assert asked.headers["x-key"] == "hidden-key"
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["user-agent"] == "mine/1.0"
    assert asked.headers["accept-encoding"] == "identity"
    assert json.loads(asked.body) == {"account": "a", "count": 1, "live": True}


async def test_an_interval_from_the_answer_is_the_pings(rest: Any) -> None:
    rest.answers = [{"interval": 20}]
    http = Http(url=rest.url, method="GET", paths={"interval": "interval"}, scale={"interval": 0.001})
    async with leaks(), MemoryDialer() as dialer:
        ping = Ping(interval=learnt("interval"), message="beat", when="always")
        async with client_with(http, ping, dialer):
            peer = await dialer.accept()
            assert (await peer.recv()).data == "beat"
            assert (await peer.recv()).data == "beat"
    assert rest.asked[0].line.startswith("GET ")


async def test_without_a_url_in_the_answer_the_clients_own_is_dialed_for_real(rest: Any, dialer: Any) -> None:
    rest.answers = [TICKET]
    async with leaks(), Server() as server:
        http = Http(url=rest.url, paths={"token": "data.token"}, dial_query={"token": "$token"})
        async with Client(f"{server.url}?token=old&x=1", plugins=["-standard", http, dialer()], proxy=None):
            peer = await server.accept()
            assert peer.path.endswith("?x=1&token=hidden%20%26%20token")


async def test_each_attempt_asks_anew_and_signs_anew(rest: Any) -> None:
    rest.answers = [TICKET]

    async def sign(request: Request) -> dict[str, str]:
        return {"X-Attempt": str(request.attempt.number)}

    def body() -> str:
        return "as it is"

    dialer = MemoryDialer(refuse(503), refuse(401), hang())
    seen = Seen()
    http = Http(url=rest.url, headers=sign, body=body, paths=PATHS)
    async with leaks(), dialer:
        client = client_with(seen, http, dialer, Again(2))
        opening = asyncio.create_task(client.open())
        await dialer.reached(3)
        await client.close()
        await asyncio.wait([opening])
        opening.exception()
    assert [asked.headers["x-attempt"] for asked in rest.asked] == ["1", "2", "3"]
    assert rest.asked[0].body == b"as it is"
    assert len({request.extra["http.id"] for request in seen.requests}) == 3


@pytest.mark.parametrize(
    ("found", "dialed"),
    [("http://test/x", "ws://test/x"), ("HTTPS://test/x", "wss://test/x"), ("wss://test/", "wss://test/")],
)
async def test_an_address_of_http_is_dialed_as_one_of_websocket(rest: Any, found: str, dialed: str) -> None:
    rest.answers = [{"url": found}]
    seen = Seen()
    async with MemoryDialer() as dialer, client_with(seen, Http(url=rest.url, paths={"url": "url"}), dialer):
        assert seen.requests[0].url == dialed


# Tickets that are kept


@pytest.mark.parametrize(
    ("options", "answer", "again"),
    [
        ({}, {}, True),
        ({}, {"Cache_Control": "public, max-age=60"}, False),
        ({}, {"Cache_Control": "max-age=60", "Age": "60"}, True),
        ({}, {"Cache_Control": "max-age=60, no-store"}, True),
        ({"ttl": 60}, {}, False),
        ({"ttl": 0}, {"Cache_Control": "max-age=60"}, True),
        ({"paths": {**PATHS, "ttl": "ttl"}}, {}, False),
        ({"paths": {**PATHS, "ttl": "ttl"}, "scale": {"ttl": 0.0001}}, {}, True),
        ({"paths": {**PATHS, "ttl": "none"}}, {}, True),
    ],
)
async def test_a_ticket_is_used_again_as_long_as_the_answer_says(
    rest: Any, make_response: Callable[..., bytes], options: Any, answer: dict[str, str], again: bool
) -> None:
    rest.answers = [make_response({**TICKET, "ttl": 60}, **answer)]
    seen = Seen()
    http = Http(**{"url": rest.url, "paths": PATHS, "dial_query": {"id": "$id"}, **options})
    async with MemoryDialer() as dialer, client_with(seen, http, dialer, Again(1)):
        await asyncio.sleep(0.02)  # a ttl of 6 ms is over
        await (await dialer.accept()).drop()
        await dialer.reached(2)
        await asyncio.sleep(0)
    assert len(rest.asked) == (2 if again else 1)
    assert len({request.url for request in seen.requests}) == 2  # the id is always new


@pytest.mark.parametrize("step", [refuse(401), refuse(503), "closes with 4401"])
async def test_a_kept_ticket_is_not_used_again_after_a_refusal(rest: Any, step: Any) -> None:
    rest.answers = [TICKET]

    async def serve(peer: Any) -> None:
        if peer.number == 1:
            await peer.close(4401)
        await peer.wait_gone()

    dialer = MemoryDialer(serve if isinstance(step, str) else step, serve)
    async with dialer, client_with(Http(url=rest.url, paths=PATHS, ttl=1000), dialer, Again(1)):
        await dialer.reached(2)
    assert len(rest.asked) == 2


# What goes wrong


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *[("401 Unauthorized", "refresh"), ("403 Forbidden", "fatal"), ("404", "fatal"), ("302 Found", "fatal")],
        *[("429 Too Many Requests", "retry"), ("503 Service Unavailable", "retry"), ("520 ", "retry")],
    ],
)
async def test_a_status_is_a_failed_attempt_with_its_verdict(
    rest: Any, make_response: Callable[..., bytes], status: str, verdict: str
) -> None:
    headers = {"Location": "http://localhost:9/hidden-key", "Retry_After": "7", "X_Odd": "\xff"}
    rest.answers = [make_response(b"no", status, **headers).replace(b"\xc3\xbf", b"\xff")]
    error = await failure(rest)
    assert isinstance(error, HandshakeRejected) or isinstance(error := error.__cause__, HandshakeRejected)
    assert error.status == int(status[:3])
    assert error.verdict == verdict
    assert error.retry_after == 7
    assert error.phase == "resolve"
    assert error.body == b"no"
    assert error.headers["X-Odd"] == "\xff"
    assert f"http://localhost:{rest.port}/ticket?... answered with {status}".rstrip() in str(error)
    assert len(rest.asked) == 1


async def test_retry_after_is_obeyed_and_the_client_comes_up(rest: Any, make_response: Callable[..., bytes]) -> None:
    rest.answers = [make_response(status="503 Busy", Retry_After="0"), make_response(status="429 Slow"), TICKET]
    errors: list[float | None] = []

    class Told:
        @hookimpl
        def reconnect(self, failure: Any) -> float:
            errors.append(failure.error.retry_after)
            return 0.0

    async with MemoryDialer() as dialer, client_with(Http(url=rest.url, paths=PATHS), dialer, Told()):
        assert errors == [0.0, None]


@pytest.mark.parametrize(
    ("answer", "options", "kind", "told"),
    [
        (b"hidden-key", {}, ConnectError, "is no JSON"),
        (
            {"data": {"url": "ws://test/"}},
            {},
            ConnectError,
            "has no 'token' at 'data.token', see option 'paths' of http",
        ),
        (
            TICKET,
            {"paths": {"url": lambda m: m.json["data"]["a"]}},
            ConnectError,
            "has no 'url' where its function looks",
        ),
        ({"data": {"url": 5, "token": "t"}}, {}, ConnectError, "cannot be dialed: expected str, got int"),
        ({"data": {"url": "/hidden-key", "token": "t"}}, {}, ConnectError, "cannot be dialed: it has no scheme"),
        (TICKET, {"scale": {"token": 2}}, ConnectError, "has no number for 'token'"),
        (TICKET, {"expect": {"ok": True}}, ConnectError, "is none that option 'expect' of http wants"),
        (TICKET, {"max_size": 20}, ConnectError, "has more than 20 bytes, see option 'max_size' of http"),
        (
            {"ok": False},
            {"reject": {"ok": False}, "expect": {"ok": True}},
            AuthenticationError,
            "refused our credentials",
        ),
        (
            {"data": {"url": "ws://test/", "token": "a\nb"}},
            {"dial_headers": {"X": "$token"}},
            AuthenticationError,
            "'X'",
        ),
    ],
)
async def test_an_answer_that_is_none_is_a_failed_attempt(
    rest: Any, make_response: Callable[..., bytes], answer: Any, options: Any, kind: type[LibwsError], told: str
) -> None:
    rest.answers = [make_response(answer)]
    error = await failure(rest, **options)
    assert isinstance(error, kind)
    assert told in str(error)
    assert error.phase == "resolve"


async def test_an_encoded_answer_is_not_inflated(rest: Any, make_response: Callable[..., bytes]) -> None:
    rest.answers = [make_response(b"\x1f\x8b" + bytes(100), Content_Encoding="gzip")]
    assert "Content-Encoding, which was not asked for" in str(await failure(rest))


async def test_an_answer_without_an_end_is_cut_at_the_limit(rest: Any) -> None:
    async def for_ever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    rest.answers = [for_ever]
    assert "has more than 1048576 bytes" in str(await failure(rest))
    await rest.wait_closed()


@pytest.mark.parametrize("bound", ["timeout", "open_timeout"])
async def test_a_server_that_says_nothing_is_given_up(rest: Any, bound: str) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        return await reader.read()  # until the client goes

    rest.answers = [silence]
    options: dict[str, Any] = {"timeout": 0.1} if bound == "timeout" else {"more": {"open_timeout": 0.1}}
    error = await failure(rest, **options)
    assert isinstance(error, ConnectTimeout)
    assert error.phase == "resolve"
    await rest.wait_closed()


async def test_cancelled_while_it_asks_nothing_is_left(rest: Any) -> None:
    asked = asyncio.Event()

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        asked.set()
        return await reader.read()  # until the client goes

    rest.answers = [silence]
    async with leaks():
        client = client_with(Http(url=rest.url, paths=PATHS), MemoryDialer())
        opening = asyncio.create_task(client.open())
        await asyncio.wait_for(asked.wait(), 10)
        opening.cancel()
        await asyncio.wait([opening])
        await client.close()
        await rest.wait_closed()


@pytest.mark.parametrize(
    "answer", [b"hidden-key is no HTTP\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"]
)
async def test_what_is_no_http_is_told_without_quoting_it(rest: Any, answer: bytes) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(answer)
        writer.write_eof()
        return b""

    rest.answers = [rude]
    assert "did not answer with a whole response of HTTP" in str(await failure(rest))


async def test_nobody_there_is_told(rest: Any, unused_tcp_port: int) -> None:
    error = await failure(rest, url=f"http://127.0.0.1:{unused_tcp_port}/")
    assert type(error) is ConnectError
    assert "connection refused" in str(error)
    error = await failure(rest, url="http://no-such-host.invalid/?apikey=hidden-key")
    assert isinstance(error, NameResolutionError)


async def test_what_a_callable_raises_is_told_by_its_kind(rest: Any) -> None:
    def leaky() -> dict[str, str]:
        raise OSError("hidden-key")

    error = await failure(rest, headers=leaky)
    assert isinstance(error, AuthenticationError)
    assert error.verdict is Verdict.RETRY
    assert "option 'headers' gave no answer: OSError" in str(error)
    assert isinstance(await failure(rest, headers=lambda: ["no mapping"]), PluginFailed)
    assert isinstance(await failure(rest, body=lambda: 5), PluginFailed)


# TLS and proxies


async def test_tls_is_the_clients_own_and_an_address_in_the_clear_is_refused(rest_server: Any) -> None:
    authority = trustme.CA()
    theirs, ours = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(theirs)
    authority.configure_trust(ours)
    rest = await rest_server(theirs)
    rest.answers = [{"data": {"url": "wss://test/", "token": "t"}}, TICKET]
    async with MemoryDialer() as dialer, client_with(Http(url=rest.url, paths=PATHS), dialer, ssl=ours):
        assert len(rest.asked) == 1
    error = await failure(rest, more={"ssl": ours})
    assert "cannot be dialed: it is not encrypted, as the request for it was" in str(error)
    assert error.verdict is Verdict.FATAL
    error = await failure(rest)
    assert isinstance(error, TLSError)
    assert error.verdict is Verdict.FATAL
    assert "certificate" in str(error)


async def test_the_request_goes_through_the_clients_proxy(
    rest: Any, rest_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await rest_server()
    proxy.answers = [TICKET]
    address = f"http://user:hidden-key@localhost:{proxy.port}"
    for name in ("http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with MemoryDialer() as dialer, client_with(Http(url=rest.url, paths=PATHS), dialer, proxy=address):
        assert proxy.asked[0].line == f"POST {rest.url} HTTP/1.1"
        assert "proxy-authorization" in proxy.asked[0].headers
    monkeypatch.setenv("http_proxy", address)
    async with MemoryDialer() as dialer, client_with(Http(url=rest.url, paths=PATHS), dialer, proxy="env"):
        assert len(proxy.asked) == 2
    rest.answers = [TICKET]
    async with MemoryDialer() as dialer, client_with(Http(url=rest.url, paths=PATHS), dialer):
        assert len(rest.asked) == 1


async def test_a_proxy_that_refuses_and_one_that_httpx_cannot_use_are_told(
    rest: Any, make_response: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    rest.answers = [make_response(status="407 Proxy Authentication Required")]
    proxy = f"http://user:hidden-key@localhost:{rest.port}"
    error = await failure(rest, url="https://localhost:1/?apikey=hidden-key", more={"proxy": proxy})
    assert isinstance(error, ProxyError)
    assert error.status == 407
    assert error.verdict is Verdict.FATAL
    assert rest.asked[0].line == "CONNECT localhost:1 HTTP/1.1"
    monkeypatch.setitem(__import__("sys").modules, "socksio", None)
    error = await failure(rest, more={"proxy": "socks5://user:hidden-key@localhost:1"})
    assert isinstance(error, ProxyError)
    assert "pip install 'httpx[socks]'" in str(error)


async def test_the_application_may_give_its_own_client_which_is_closed_then(rest: Any) -> None:
    rest.answers = [TICKET]
    made: list[httpx.AsyncClient] = []

    def own(request: Request) -> httpx.AsyncClient:
        made.append(httpx.AsyncClient(trust_env=False, headers={"X-Own": str(request.attempt.number)}))
        return made[-1]

    async with MemoryDialer() as dialer, client_with(Http(url=rest.url, paths=PATHS, client=own), dialer):
        assert rest.asked[0].headers["x-own"] == "1"
        assert made[0].is_closed


async def test_a_url_that_holds_a_secret_may_be_one(rest: Any) -> None:
    rest.answers = [TICKET]
    async with MemoryDialer() as dialer:
        options = {"http": {"url": Secret(rest.url), "paths": PATHS}}
        async with Client("ws://own/", plugins=["-websockets", "http", dialer], options=options, proxy=None) as client:
            assert len(rest.asked) == 1
            assert "hidden-in-the-query" not in str(client.explain())


# Logs


async def test_httpx_logs_nothing_of_this_and_everything_of_others(rest: Any, caplog: pytest.LogCaptureFixture) -> None:
    rest.answers = [TICKET]
    caplog.set_level(logging.DEBUG)
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Any:
        under_way.set()
        await asyncio.wait_for(go_on.wait(), 10)
        return TICKET

    rest.answers = [slow, TICKET]
    events: list[Event] = []
    async with MemoryDialer() as dialer:
        client = client_with(Http(url=rest.url, headers={"X-Key": "hidden-key"}, paths=PATHS), dialer)
        client.on(Event, events.append)
        opening = asyncio.create_task(client.open())
        await asyncio.wait_for(under_way.wait(), 10)
        caplog.clear()
        async with httpx.AsyncClient(trust_env=False) as other:
            await other.get(f"http://localhost:{rest.port}/others")
        assert "/others" in caplog.text
        go_on.set()
        await opening
        await client.close()
    for hidden in HIDDEN:
        assert hidden not in caplog.text
        assert hidden not in str(events)
    assert not logging.getLogger("httpx").filters
    assert not logging.getLogger("httpcore.http11").filters


# Options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"paths": PATHS}, "option 'url' must be given"),
        ({"url": "https://test/", "paths": {}}, "option 'paths' is empty"),
        ({"url": "wss://test/", "paths": PATHS}, "option 'url': expected http://HOST[:PORT]/PATH or https://..."),
        ({"url": "https://x/", "paths": {"id": "id"}}, "option 'paths': 'id' is no name, or one that is taken"),
        ({"url": "https://x/", "paths": PATHS, "dial_query": {"a": "$b"}}, "option 'dial_query': $b stands in it"),
        ({"url": "https://x/", "paths": PATHS, "scale": {"b": 1}}, "option 'scale': 'b' is not in 'paths'"),
    ],
)
def test_options_that_make_no_sense_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(OptionError) as raised:
        Client("ws://test", plugins=["http"], options={"http": options})
    assert told in str(raised.value)
