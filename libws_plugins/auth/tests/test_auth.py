"""Log-ins as a server sees them, and secrets that nobody sees."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.server import ServerConnection, serve

from libws_auth import Auth
from libws_core import (
    AuthenticationError,
    Client,
    ConnectionClosed,
    ConnectTimeout,
    Event,
    LibwsError,
    Message,
    OptionError,
    PluginFailed,
    Request,
    RetriesExhausted,
    Secret,
    Session,
    Verdict,
    hookimpl,
)
from libws_core.testing import MemoryDialer, MemoryPeer, greet, refuse, virtual

S3CRET = "s3cr3t-value"


def client_with(*plugins: Any, url: str = "ws://test/path", **arguments: Any) -> Client:
    return Client(url, plugins=["-standard", *plugins], **arguments)


async def logged_in(options: Mapping[str, Any], url: str = "ws://test/path", **arguments: Any) -> Request:
    """The request that a dialer gets from a client with these options."""
    dialer = MemoryDialer()
    async with dialer, client_with("auth", dialer, url=url, options={"auth": options}, **arguments):
        return dialer.dials[0].request


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@virtual
async def test_bearer_and_basic_set_the_header_authorization() -> None:
    assert (await logged_in({"bearer": "abc"})).headers["Authorization"] == "Bearer abc"
    assert (await logged_in({"basic": "user:pass:word"})).headers["Authorization"] == basic("user", "pass:word")
    assert (await logged_in({"basic": ["user", "päss"]})).headers["Authorization"] == basic("user", "päss")
    assert (await logged_in({"basic": ("user", Secret(""))})).headers["Authorization"] == basic("user", "")


@virtual
async def test_our_headers_take_the_place_of_their_namesakes_and_leave_the_others() -> None:
    request = await logged_in(
        {"header": {"x-key": "new", "X-More": Secret("m")}}, headers={"X-Key": "old", "X-Own": "o"}
    )
    assert request.headers.get_all("X-Key") == ["new"]
    assert (request.headers["X-More"], request.headers["X-Own"]) == ("m", "o")


@pytest.mark.parametrize(
    ("url", "query", "expected"),
    [
        ("ws://test", {"key": "a b&c=d/é"}, "ws://test?key=a%20b%26c%3Dd%2F%C3%A9"),
        (
            "ws://test/p?x=1&flag&key=old&k%65y=older&y=a+b%20c",
            {"key": "new"},
            "ws://test/p?x=1&flag&y=a+b%20c&key=new",
        ),
        ("ws://test/?", {"a": "1", "b": "2"}, "ws://test/?a=1&b=2"),
        ("ws+unix:///run/x.sock:/path?x=1", {"key": "k"}, "ws+unix:///run/x.sock:/path?x=1&key=k"),
    ],
)
def test_query_parameters_are_encoded_and_replace_their_namesakes(
    url: str, query: dict[str, str], expected: str
) -> None:
    @virtual
    async def dial() -> None:
        assert (await logged_in({"query": query}, url=url)).url == expected

    dial()


@given(st.dictionaries(st.text(min_size=1), st.text(), max_size=3), st.text("abk=&%+", max_size=8))
def test_a_server_reads_the_query_that_was_set(query: dict[str, str], before: str) -> None:
    async def ask() -> Request | None:
        return await Auth(query={name: Secret(value) for name, value in query.items()}).authenticate(
            Request(f"ws://test/?{before}")
        )

    request = asyncio.run(ask())
    assert request is not None
    read = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    kept = [(n, v) for n, v in parse_qsl(before, keep_blank_values=True) if n not in query]
    if query:
        assert read == [*kept, *query.items()]


@virtual
async def test_callables_make_headers_and_query_anew_on_each_attempt() -> None:
    numbers = iter(range(100))
    seen: list[Request] = []

    async def header(request: Request) -> dict[str, Any]:
        seen.append(request)
        return {"X-Number": f"${next(numbers)}", "X-Secret": Secret("$token")}

    auth = Auth(header=header, query=lambda: {"number": str(next(numbers))})
    dialer = MemoryDialer(refuse(503), refuse(503), greet())
    client = client_with(auth, "backoff", dialer, options={"backoff": {"base": 0}})
    async with dialer, client:
        dialed = [dial.request for dial in dialer.dials]
        assert [request.headers["X-Number"] for request in dialed] == ["$0", "$2", "$4"]
        assert [request.url for request in dialed] == [f"ws://test/path?number={n}" for n in (1, 3, 5)]
        assert dialed[0].headers["X-Secret"] == "$token"
        assert [request.attempt.number for request in seen] == [1, 2, 3]


def counting(prefix: str = "t") -> Any:
    count = 0

    async def token() -> str:
        nonlocal count
        count += 1
        await asyncio.sleep(0.1)
        return f"{prefix}{count}"

    return token


@virtual
async def test_a_token_is_asked_for_anew_on_each_attempt_and_used_as_bearer() -> None:
    dialer = MemoryDialer(refuse(401), greet("here", then=lambda peer: peer.drop()), greet("again"))
    client = client_with(Auth(token=counting()), "backoff", dialer, options={"backoff": {"base": 0}})
    async with dialer, client:
        assert [(await client.recv()).data for _ in range(2)] == ["here", "again"]
        used = [dial.request.headers["Authorization"] for dial in dialer.dials]
        assert used == ["Bearer t1", "Bearer t2", "Bearer t3"]


@virtual
async def test_a_token_stands_where_a_template_says_and_nowhere_else() -> None:
    async def login(peer: MemoryPeer) -> None:
        await peer.expect({"op": "login", "args": [{"key": "Key t1"}]})
        peer.send({"op": "ok"})
        await peer.wait_gone()

    auth = Auth(
        token=counting(),
        header={"X-Auth": Secret("token $token; pa$$word $tokens")},
        query={"t": Secret("$token")},
        message={"op": "login", "args": [{"key": "Key $token"}]},
        expect={"op": "ok"},
    )
    dialer = MemoryDialer(login)
    async with dialer, client_with(auth, dialer):
        request = dialer.dials[0].request
        assert request.headers["X-Auth"] == "token t1; pa$$word $tokens"
        assert request.url == "ws://test/path?t=t1"
        assert "Authorization" not in request.headers


@virtual
async def test_a_token_callable_may_be_plain_and_may_take_the_request() -> None:
    def token(request: Request) -> Secret:
        return Secret(f"{urlsplit(request.url).path}-{request.attempt.number}")

    dialer = MemoryDialer()
    async with dialer, client_with(Auth(token=token), dialer):
        assert dialer.dials[0].request.headers["Authorization"] == "Bearer /path-1"


@virtual
async def test_a_second_refusal_of_renewed_credentials_is_fatal() -> None:
    dialer = MemoryDialer(refuse(401))
    client = client_with(Auth(token=counting()), "backoff", dialer, options={"backoff": {"base": 0}})
    async with dialer:
        with pytest.raises(LibwsError) as caught:
            await client.open()
        assert (caught.value.status, caught.value.verdict) == (401, Verdict.FATAL)
        assert [dial.request.headers["Authorization"] for dial in dialer.dials] == ["Bearer t1", "Bearer t2"]


@pytest.mark.parametrize(
    ("message", "kind", "data"),
    [
        ("LOGIN me", 1, "LOGIN me"),
        (b"\x10\x0c", 2, b"\x10\x0c"),
        ({"op": "login", "args": ["k", 1, None]}, 1, '{"op":"login","args":["k",1,null]}'),
        (["login", {"k": "v"}], 1, '["login",{"k":"v"}]'),
        (Message.binary(b"raw"), 2, b"raw"),
        (Secret("LOGIN me"), 1, "LOGIN me"),
        (lambda session: {"path": session.request.url}, 1, '{"path":"ws://test/path"}'),
        (lambda: "$token", 1, "$token"),
    ],
)
def test_the_message_is_the_first_that_the_server_gets(message: Any, kind: int, data: Any) -> None:
    class Chatty:
        @hookimpl
        async def establish(self, session: Session) -> None:
            await session.send(Message.text("second"))

    @virtual
    async def talk() -> None:
        dialer = MemoryDialer()
        options = {"auth": {"message": message}}
        async with dialer, client_with("auth", Chatty(), dialer, options=options):
            peer = await dialer.accept()
            first = await peer.recv()
            assert (first.kind, first.data) == (kind, data)
            await peer.expect("second")

    talk()


@virtual
async def test_the_client_is_ready_only_when_the_message_is_written() -> None:
    class Slow:
        asked = False

        @hookimpl
        def outgoing(self, session: Session) -> Any:
            return self.park

        def park(self, message: Message) -> Message | float:
            self.asked, before = True, self.asked
            return message if before else 5.0

    dialer = MemoryDialer()
    start = asyncio.get_running_loop().time()
    async with dialer, client_with(Auth(message=Secret("login")), Slow(), dialer):
        assert asyncio.get_running_loop().time() - start >= 5


@virtual
async def test_an_async_callable_makes_a_message_from_what_the_session_knows() -> None:
    async def sign(session: Session) -> dict[str, Any]:
        await asyncio.sleep(1)
        return {"signed": session.response_headers["X-Challenge"]}

    dialer = MemoryDialer(headers={"X-Challenge": "c"})
    async with dialer, client_with(Auth(message=sign), dialer):
        await (await dialer.accept()).expect({"signed": "c"})


@virtual
async def test_a_callable_that_gives_none_sends_nothing() -> None:
    dialer = MemoryDialer()
    async with dialer, client_with(Auth(message=lambda: None), dialer) as client:
        await client.send("first")
        await (await dialer.accept()).expect("first")


@virtual
async def test_expect_is_waited_for_and_taken_and_everything_else_stays_in_order() -> None:
    async def login(peer: MemoryPeer) -> None:
        peer.send("INFO {}")
        await peer.expect("CONNECT {}\r\nPING\r\n")
        await asyncio.sleep(5)
        assert client.state == "connecting"
        peer.send("+OK\r\n")
        peer.send(b"PONG\r\n")
        peer.send("data")
        await peer.wait_gone()

    dialer = MemoryDialer(login)
    client = client_with(Auth(message=Secret("CONNECT {}\r\nPING\r\n"), expect="PONG"), dialer)
    async with dialer, client:
        assert [(await client.recv()).data for _ in range(3)] == ["INFO {}", "+OK\r\n", "data"]


@virtual
async def test_expect_alone_ends_a_log_in_by_header() -> None:
    dialer = MemoryDialer(greet({"type": "welcome"}))
    async with dialer, client_with(Auth(bearer=Secret("x"), expect={"type": "welcome"}), dialer) as client:
        peer = await dialer.accept()
        peer.send("data")
        assert (await client.recv()).data == "data"


@virtual
async def test_reject_is_an_authentication_error_and_credentials_are_renewed_once() -> None:
    async def login(peer: MemoryPeer) -> None:
        await peer.recv()
        peer.send({"T": "hello"})
        peer.send({"type": "auth_invalid", "message": S3CRET})
        await peer.wait_gone()

    auth = Auth(
        token=counting(), message={"token": "$token"}, expect={"type": "auth_ok"}, reject={"type": "auth_invalid"}
    )
    dialer = MemoryDialer(login)
    async with dialer:
        client = client_with(auth, "backoff", dialer, options={"backoff": {"base": 0}})
        with pytest.raises(AuthenticationError) as caught:
            await client.open()
        assert (caught.value.verdict, caught.value.phase, dialer.count) == (Verdict.FATAL, "establish", 2)
        assert S3CRET not in str(caught.value)
        dialer.script(login)
        with pytest.raises(AuthenticationError) as caught:
            await client_with(auth, dialer).open()
        assert caught.value.verdict is Verdict.REFRESH


@virtual
async def test_an_answer_that_never_comes_or_a_close_surface_as_they_are() -> None:
    dialer = MemoryDialer(lambda peer: peer.close(4003, "go away"))
    auth = Auth(message=Secret("login"), expect="ok", reject="no")
    async with dialer:
        with pytest.raises(ConnectionClosed) as closed:
            await client_with(auth, dialer).open()
        assert (closed.value.code, closed.value.phase) == (4003, "establish")
        dialer.script(greet())
        with pytest.raises(ConnectTimeout) as late:
            await client_with(auth, dialer).open()
        assert late.value.phase == "establish"


@virtual
async def test_what_a_callable_raises_is_tried_again_without_quoting_it() -> None:
    async def token() -> str:
        raise ConnectionResetError(f"POST with {S3CRET} failed")

    for options in ({"token": token}, {"header": token}, {"query": token}, {"message": token}):
        dialer = MemoryDialer()
        client = client_with(
            "auth", "backoff", dialer, options={"auth": options, "backoff": {"max_attempts": 3, "base": 1}}
        )
        async with dialer:
            with pytest.raises(RetriesExhausted) as caught:
                await client.open()
        cause = caught.value.__cause__
        assert isinstance(cause, AuthenticationError)
        assert cause.verdict is Verdict.RETRY
        assert str(cause) == f"option {next(iter(options))!r} gave no answer: ConnectionResetError"
        assert S3CRET not in f"{caught.value!r}{cause!r}{cause.__cause__!r}"


@virtual
async def test_a_callable_decides_itself_by_a_libws_error() -> None:
    async def token() -> str:
        raise AuthenticationError("the account is closed", verdict="fatal")

    dialer = MemoryDialer()
    async with dialer:
        with pytest.raises(AuthenticationError, match="account is closed") as caught:
            await client_with(Auth(token=token), "backoff", dialer).open()
        assert (caught.value.phase, dialer.count) == ("authenticate", 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"token": lambda: None}, "'auth' failed in authenticate: TypeError: option 'token' gave NoneType, not a str"),
        ({"token": lambda: 5}, "option 'token' gave int"),
        ({"header": lambda: "x"}, "option 'header' gave str, not a mapping"),
        ({"query": lambda: {"a": 1}}, "option 'query' gave int"),
        ({"message": lambda: 5}, "'auth' failed in establish"),
        ({"token": lambda: None.x}, "'auth' failed in authenticate: AttributeError"),  # type: ignore[attr-defined]
    ],
)
def test_a_callable_that_is_wrong_itself_is_told_by_name(options: dict[str, Any], said: str) -> None:
    @virtual
    async def fail() -> None:
        dialer = MemoryDialer()
        async with dialer:
            with pytest.raises(PluginFailed, match=said):
                await client_with("auth", dialer, options={"auth": options}).open()

    fail()


@pytest.mark.parametrize("bad", [f"{S3CRET}\r\nX-Evil: 1", f"{S3CRET}\n", f"{S3CRET}\u2028"])
def test_a_header_value_with_a_line_end_is_refused_before_dialing(bad: str) -> None:
    for options in ({"bearer": bad}, {"header": {"X-Key": bad}}):
        with pytest.raises(OptionError, match="header") as caught:
            client_with("auth", MemoryDialer(), options={"auth": options})
        assert S3CRET not in str(caught.value)

    @virtual
    async def dial() -> None:
        for late in ({"token": lambda: bad}, {"header": lambda: {"X-Key": bad}}):
            dialer = MemoryDialer()
            async with dialer:
                with pytest.raises(AuthenticationError, match="header") as caught:
                    await client_with("auth", dialer, options={"auth": late}).open()
                assert caught.value.verdict is Verdict.FATAL
                assert S3CRET not in str(caught.value)
                assert dialer.count == 0

    dial()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "auth has nothing to log in with; set bearer, basic, header, query, message or token"),
        ({"expect": "ok"}, "nothing to log in with"),
        ({"basic": "nocolon"}, "'user:password'"),
        ({"basic": ["a", "b", "c"]}, "option 'basic'"),
        ({"basic": ["us:er", "b"]}, "colon"),
        ({"bearer": "x", "basic": "u:p"}, "bearer and basic both set the header Authorization"),
        ({"bearer": "x", "header": {"authorization": "y"}}, "bearer and header both set"),
        ({"bearer": "x", "token": lambda: "y"}, "bearer and token both set"),
        ({"header": {"X-Key": "$token"}}, "option 'header' has a place for a token, but 'token' is not set"),
        ({"message": {"a": ["$token"]}}, "option 'message' has a place"),
        ({"header": {"X Key": "x"}}, "'X Key'"),
        ({"message": {"a": b"x"}}, "option 'message': .*bytes"),
        ({"message": "log me in", "reject": "no"}, "'reject'.*'expect'"),
        ({"message": "log me in", "expect": {"a": b"x"}}, "option 'expect': .*bytes"),
        ({"bearer": 5}, "option 'bearer'"),
        ({"token": "abc"}, "option 'token'"),
    ],
)
def test_options_that_cannot_work_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        client_with("auth", MemoryDialer(), options={"auth": options})


def test_a_token_and_a_bearer_may_both_be_used_where_the_token_has_its_own_place() -> None:
    Auth(bearer=Secret("x"), token=lambda: "y", query={"t": Secret("$token")})


@virtual
async def test_no_secret_shows_in_any_repr_log_event_or_error() -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, root = Lines(), logging.getLogger()
    root.addHandler(handler)
    before = root.level
    root.setLevel(logging.DEBUG)
    try:
        auth = Auth(
            bearer=Secret(S3CRET),
            query={"key": Secret(S3CRET)},
            header={"X-Key": Secret(S3CRET)},
            message={"op": "login", "args": [{"key": S3CRET}]},  # a plain one, as in a hurry
            expect="ok",
            reject="no",
        )
        dialer = MemoryDialer(refuse(503), lambda peer: peer.send("no"))
        client = client_with(auth, "backoff", dialer, options={"backoff": {"base": 0}})
        client.on(Event, lambda event: lines.append(repr(event)))
        async with dialer:
            with pytest.raises(AuthenticationError) as caught:
                await client.open()
        requests = [dial.request for dial in dialer.dials]
        plugin = client.plugin(Auth)
        lines += [repr(item) for item in (auth, plugin, vars(plugin), client, caught.value, requests)]
        lines += [str(caught.value), repr(requests[0].extra)]
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
    assert len(requests) == 3
    assert requests[0].headers["X-Key"] == S3CRET
    assert S3CRET not in "\n".join(lines)


def test_the_plan_of_a_client_shows_no_secret() -> None:
    options = {
        "bearer": S3CRET,
        "header": {"X-Key": S3CRET},
        "query": {"key": S3CRET},
        "message": {"op": [{"args": [S3CRET, {"key": S3CRET}]}], "key": f"Key {S3CRET}", "n": 1, "b": True, "x": None},
    }
    clients = [
        client_with("auth", MemoryDialer(), options={"auth": options}),
        client_with("auth", MemoryDialer(), options={"auth": {"basic": f"user:{S3CRET}", "message": S3CRET}}),
        client_with("auth", MemoryDialer(), options={"auth": {"basic": ["user", S3CRET], "message": [[S3CRET]]}}),
        client_with(Auth(**options), MemoryDialer()),  # type: ignore[arg-type]
    ]
    for client in clients:
        told = repr(client.explain())
        assert "message" in told
        assert S3CRET not in told
    kept = clients[0].plugin(Auth).message
    assert (kept["n"], kept["b"], kept["x"]) == (1, True, None)


@pytest.mark.parametrize("option", ["bearer", "basic", "message"])
def test_a_plain_string_becomes_a_secret(option: str) -> None:
    auth: Any = Auth(**{option: f"user:{S3CRET}"})  # type: ignore[arg-type]
    assert S3CRET not in repr(vars(auth))
    assert S3CRET not in repr(Auth(header={"X-Key": S3CRET}, query={"key": S3CRET}))  # type: ignore[dict-item]


async def test_a_real_server_sees_the_headers_and_the_query_and_answers_the_message() -> None:
    seen: list[Any] = []

    async def serve_one(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append((connection.request.headers.get_all("Authorization"), connection.request.path))
        seen.append(json.loads(await connection.recv()))
        await connection.send("welcome")
        await connection.wait_closed()

    async with serve(serve_one, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        auth = Auth(
            basic=("user", Secret("päss:word")),
            token=counting(),
            query={"access_token": Secret("a&b $token")},
            message={"token": "$token"},
            expect="welcome",
        )
        async with client_with(auth, "websockets", url=f"ws://127.0.0.1:{port}/socket?v=2"):
            pass
    assert seen == [
        ([basic("user", "päss:word")], "/socket?v=2&access_token=a%26b%20t1"),
        {"token": "t1"},
    ]
