"""No secret is in the file, in whatever form; everything else is, byte for byte."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_core import Client, Request, RetriesExhausted, Secret, hookimpl
from libws_core.testing import Server, leaks, refuse
from libws_record import Record
from libws_record.redaction import Redactor, secrets_of, secrets_of_request

SECRETS = {
    "user": "us3r-p4ss-w0rd",
    "query": "qu3ry-t0ken-värde",
    "header": "h34der-s3cret",
    "option": '0ption/s3cret+"quoted"',
    "cookie": "c00kie-value-1",
    "message": "m3ssage-s3cret",
    "answer": "answ3r-t0ken",
    "echoed": "jwt-by-name-55",
}


def forms(secret: str) -> list[bytes]:
    """How a secret might stand in a file: as it is, in JSON, in a URL, in base64 at any offset."""
    data = secret.encode()
    found = [
        data,
        json.dumps(secret).encode()[1:-1],
        msgspec.json.encode(secret)[1:-1],
        quote(secret, safe="").encode(),
    ]
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + data)
        found.append(encoded[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6])
        found.append(base64.urlsafe_b64encode(b"\0" * shift + data)[-(-shift * 8 // 6) : (shift + len(data)) * 8 // 6])
    return found


class Provider:
    """A log-in of its own, with a secret that only its option knows."""

    def __init__(self, key: Secret) -> None:
        self.key = key

    @hookimpl
    def authenticate(self, request: Request) -> Request:
        from dataclasses import replace

        headers = {"X-MBX-APIKEY": SECRETS["header"], "Cookie": f"lang=en; sid={SECRETS['cookie']}"}
        return replace(request, headers=request.headers | headers, extra={"ticket": self.key})


async def test_no_secret_is_in_the_file_in_any_form(dialer: Any, tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"

    async def talk(peer: Any) -> None:
        everything = " ".join(SECRETS[name] for name in ("user", "query", "header", "option", "cookie"))
        await peer.send({"type": "welcome", "token": SECRETS["answer"]})
        await peer.send(f"you sent {everything}")
        await peer.send(b"\x00\xff" + everything.encode() + b"\xff")
        await peer.send(base64.b64encode(b"user:" + everything.encode()).decode())
        await peer.send({"args": ["login", SECRETS["option"]], "url": f"wss://h/?listenKey={SECRETS['answer']}"})
        await peer.send({"nested": json.dumps({"data": {"jwt": SECRETS["echoed"]}})})
        peer.ping(SECRETS["header"].encode())
        for _ in range(2):
            await peer.recv()
        await peer.close(4001, f"bad token={SECRETS['answer']}")

    refusal = refuse(403, {"Set-Cookie": f"sid={SECRETS['cookie']}"}, f'{{"apiKey": "{SECRETS["header"]}"}}'.encode())
    async with leaks(), Server(refusal, talk) as server:
        url = server.url.replace("ws://", f"ws://user:{SECRETS['user']}@") + f"path?token={quote(SECRETS['query'])}&x=1"
        options = {
            "auth": {"message": {"op": "login", "args": [SECRETS["message"], "plain"]}},
            "record": {"file": str(file)},
            "backoff": {"base": 0, "statuses": {"403": "retry"}},
        }
        plugins = ["-standard", "auth", Provider(Secret(SECRETS["option"])), "record", "backoff", "pong", dialer()]
        client = Client(url, plugins=plugins, options={**options, "backoff": {**options["backoff"], "max_attempts": 2}})
        async with client:
            await client.send(f'{{"passphrase": "{SECRETS["echoed"]}", "pin": 1234}}')
            with pytest.raises(RetriesExhausted):
                await client.wait_closed()
    written = file.read_bytes()
    for name, secret in SECRETS.items():
        for form in forms(secret):
            assert form not in written, name
    texts = [line.get("text", "") for line in map(json.loads, written.splitlines()) if line["type"] == "message"]
    assert '{"op":"login","args":["***","plain"]}' in texts
    assert '{"passphrase": "***", "pin": 0}' in texts
    assert json.dumps({"type": "welcome", "token": "***"}, separators=(",", ":")) in texts
    (connection, *_) = [line for line in map(json.loads, written.splitlines()) if line["type"] == "connection"]
    assert connection["url"].endswith("/path?...")


async def test_without_redaction_everything_is_written_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "session.jsonl"
    async with Server() as server:
        client = Client(server.url + "?token=abcd1234", plugins=[Record(file=str(file), redact=False)])
        async with client:
            await client.send('{"token": "efgh5678"}', confirm=True)
    written = file.read_text()
    assert "?token=abcd1234" in written
    assert "efgh5678" in written
    assert '"redacted":false' in written


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        # JSON, byte for byte but for the values
        ('{"token":"abc"}', '{"token":"***"}'),
        ('{ "a" : 1.10, "accessToken" :\t"abc" ,"a":2}', '{ "a" : 1.10, "accessToken" :\t"***" ,"a":2}'),
        (
            '{"api_key":"k","API-Secret":"s","passphrase":"p"}',
            '{"api_key":"***","API-Secret":"***","passphrase":"***"}',
        ),
        ('{"sign":"x","sig":"y","signal":"z","design":"w"}', '{"sign":"***","sig":"***","signal":"z","design":"w"}'),
        ('{"auth":{"key":"k","at":17},"n":17}', '{"auth":{"key":"***","at":0},"n":17}'),
        ('{"secrets":["a",{"b":["c"]}],"d":"e"}', '{"secrets":["***",{"b":["***"]}],"d":"e"}'),
        ('{"token":null,"password":true,"x":"y"}', '{"token":null,"password":true,"x":"y"}'),
        ('{"pin":-12.5e3}', '{"pin":0}'),
        (r'{"t\u006fken":"abc"}', r'{"t\u006fken":"***"}'),
        (r'{"token":"a\"b"}', '{"token":"***"}'),
        (
            '{"op":"token","author":"x","tokens":[{"symbol":"A"}]}',
            '{"op":"token","author":"x","tokens":[{"symbol":"A"}]}',
        ),
        (r'{"d":"{\"jwt\":\"abc\"}"}', r'{"d":"{\"jwt\":\"***\"}"}'),
        ('{"url":"wss://h/?listenKey=abc&x=1"}', '{"url":"wss://h/?listenKey=***&x=1"}'),
        ('["Bearer abc.def-123"]', '["Bearer ***"]'),
        ('["eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl"]', '["***"]'),
        # nearly JSON
        ('42["auth",{"token":"abc"}]', '42["auth",{"token":"***"}]'),
        ('{"token":"abc', '{"token":"***"'),
        ('{"a":1}\n{"token":"abc"}\n', '{"a":1}\n{"token":"***"}\n'),
        # no JSON
        ("token=abc&x=1", "token=***&x=1"),
        ("LOGIN apiKey: abc, user: me", "LOGIN apiKey: ***, user: me"),
        ("CONNECT\nlogin:me\npasscode:abc\n\n\x00", "CONNECT\nlogin:me\npasscode:***\n\n\x00"),
        ("PASS oauth:abc\r\nNICK me", "PASS ***\r\nNICK me"),
        ("Authorization: Bearer abc", "Authorization: Bearer ***"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("the basic subscription of a bearer", "the basic subscription of a bearer"),
        ("passing keys, signal: 5, designs=7", "passing keys, signal: 5, designs=7"),
    ],
)
def test_secrets_are_known_by_their_names_and_forms(text: str, clean: str) -> None:
    assert Redactor().text(text) == clean
    assert Redactor().clean(text.encode()) == clean.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["token", "auth", "pin", "a"]), inner),
    max_leaves=20,
)


@given(value=json_values)
def test_json_stays_json_of_the_same_shape(value: Any) -> None:
    def shape(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items()}
        if isinstance(value, list):
            return [shape(item) for item in value]
        return "text" if isinstance(value, str) else 0 if type(value) in (int, float) else value

    assert shape(json.loads(Redactor().text(json.dumps(value)))) == shape(value)


@given(value=json_values, secret=st.text(min_size=1, max_size=20).filter(lambda text: text.strip("*0")))
def test_no_text_under_a_credentials_key_survives(value: Any, secret: str) -> None:
    marked = f"<{secret}>"
    for written in (json.dumps({"password": [marked, value]}), json.dumps({"auth": {"x": {"y": marked}}, "z": value})):
        clean = json.loads(Redactor().text(written))
        assert marked not in json.dumps(clean.get("password", clean.get("auth")), ensure_ascii=False)


@given(text=st.text(alphabet=st.sampled_from('"\\{}[]:,tokenauhpsw=&Bearryj. 019-\n')))
def test_whatever_a_server_says_is_cleaned_without_failing(text: str) -> None:
    clean = Redactor().text(text)
    pieces = [piece for piece in re.split(r"\*\*\*|0", clean) if piece]
    place = 0
    for piece in pieces:  # what is not taken out stands as it stood, in order
        place = text.replace("\\", "").find(piece.replace("\\", ""), place)
        assert place >= 0


@pytest.mark.parametrize(
    "piece",
    [
        '"',
        '\\"',
        "-eyJ",
        "eyJaaaaaa.",
        "token",
        "token ",
        "auth" + " " * 9,
        "Basic aaaaaaaa",
        "[",
        '{"token":',
        '"a" ',
        "1.",
        "a.",
    ],
)
def test_no_text_takes_more_time_than_in_proportion(piece: str) -> None:
    """A server can send what it likes, and no expression gives up the interpreter while it looks."""
    Redactor().text("token auth eyj \\u " + piece * (400_000 // len(piece)))  # minutes, if it were quadratic


def test_known_secrets_are_found_wherever_they_stand() -> None:
    redactor = Redactor()
    redactor.learn([("hunter2-ä", True), ("abc", True)])
    assert redactor.text("so hunter2-ä said abc") == "so *** said abc"  # too short to be looked for
    assert redactor.clean(b"\xff" + "hunter2-ä".encode()) == b"\xff***"
    encoded = base64.b64encode("me:hunter2-ä".encode()).decode()
    assert "***" in redactor.text(encoded)
    assert redactor.text(quote("hunter2-ä")) == "***"
    assert redactor.text(json.dumps("hunter2-ä")) == '"***"'
    redactor.learn([("a/b/c/d", True)])
    assert redactor.text(r'"a\/b\/c\/d"') == '"***"'
    assert redactor.text(json.dumps("hunter2-ä", ensure_ascii=False)) == '"***"'


def test_texts_of_a_login_message_stay_readable_unless_they_look_like_secrets() -> None:
    message = {"op": Secret("subscribe"), "args": [Secret("k3y-12345"), Secret("private")], "token": Secret("abcdef")}
    assert [*secrets_of(message)] == [("subscribe", False), ("k3y-12345", True), ("private", False), ("abcdef", True)]
    assert [*secrets_of(("user", Secret("pw")))] == [("pw", True)]


def test_a_requests_credentials_are_known() -> None:
    request = Request(
        "wss://u:p%40ss@h/?listenKey=lk-1&stream=btcusdt@trade",
        headers={"Authorization": f"Basic {base64.b64encode(b'me:pa55').decode()}", "X-Id": "5"},  # type: ignore[arg-type]
        extra={"ticket": Secret("t-1")},
    )
    found = {secret for secret, sure in secrets_of_request(request, Redactor()) if sure}
    assert {"p@ss", "lk-1", "pa55", "t-1"} <= found
    assert not {"btcusdt@trade", "5"} & found


def test_names_patterns_and_a_function_of_ones_own() -> None:
    redactor = Redactor(keys=["account"], keep=["page_token"], patterns=[r"acct-\d+", r"id=(\d+);(\w+)"])
    assert redactor.text('{"Account":"me","pageToken":"p","token":"t"}') == '{"Account":"me"'.replace("me", "***") + (
        ',"pageToken":"p","token":"***"}'
    )
    assert redactor.text("pageToken=abc token=def") == "pageToken=abc token=***"
    assert redactor.text("acct-17 id=5;x") == "*** id=***;***"
    assert redactor.headers([("Account", "me"), ("Sec-WebSocket-Key", "dGhl")]) == (
        ("Account", "***"),
        ("Sec-WebSocket-Key", "dGhl"),
    )
    assert redactor.request_headers([("User-Agent", "me"), ("X-My-Own", "a"), ("Page-Token", "b")]) == (
        ("User-Agent", "me"),
        ("X-My-Own", "***"),
        ("Page-Token", "b"),
    )
    assert Redactor(more=lambda data: data[:1]).clean("abc") == "a"


def test_a_function_that_fails_lets_nothing_through(caplog: pytest.LogCaptureFixture) -> None:
    for broken in (lambda data: 1 / 0, lambda data: None):
        redactor = Redactor(more=broken)
        assert redactor.clean("abc") == "***"
        assert redactor.clean(b"abc") == b"***"
    assert len(caplog.records) == 2
    assert "abc" not in caplog.text
