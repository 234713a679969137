"""Small values: messages, headers, secrets, URLs, verdict tables, requests."""

from __future__ import annotations

import email.utils
import time
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_core import Headers, Kind, Message, Request, Secret, Verdict
from libws_core.pauses import Pauses
from libws_core.secret import public_url
from libws_core.url import url_problem
from libws_core.verdicts import parse_retry_after, verdict_table


class TestMessage:
    def test_json_is_parsed_once_and_kept(self) -> None:
        message = Message.text('{"a": [1]}')
        assert message.json == {"a": [1]}
        assert message.json is message.json
        assert Message.binary(b"[1]").json == [1]

    def test_json_that_is_none_is_a_value_error(self) -> None:
        with pytest.raises(ValueError, match="not JSON"):
            _ = Message.text("{").json

    @given(st.integers(1000, 4999).filter(lambda code: code not in (1004, 1005, 1006)), st.text(max_size=30))
    def test_a_close_has_code_and_reason(self, code: int, reason: str) -> None:
        message = Message.close(code, reason)
        assert (message.kind, message.code, message.reason) == (Kind.CLOSE, code, reason)

    def test_an_empty_close_is_1005_and_other_kinds_have_no_code(self) -> None:
        assert (Message.close(1005).data, Message.close(1005).code) == (b"", 1005)
        assert (Message.text("x").code, Message.text("x").reason) == (None, "")

    def test_its_repr_shows_size_and_never_content(self) -> None:
        assert repr(Message.text("s3cret")) == "Message(TEXT, 6 characters)"
        assert repr(Message.ping(b"s3cret")) == "Message(PING, 6 bytes)"
        assert repr(Message.close(1000, "s3cret")) == "Message(CLOSE, 1000)"

    def test_messages_are_equal_by_kind_and_data(self) -> None:
        assert Message.text("a") == Message.text("a")
        assert not Message.text("a") != Message.text("a")  # noqa: SIM202
        assert Message.ping(b"a") != Message.pong(b"a")
        assert len({Message.text("a"), Message.text("a"), Message.binary(b"a")}) == 2


class TestHeaders:
    def test_lookup_ignores_case_and_joins_what_is_repeated(self) -> None:
        headers = Headers([("Set-Cookie", "a"), ("X", "1"), ("set-cookie", "b")])
        assert headers["SET-COOKIE"] == "a, b"
        assert headers.get_all("set-cookie") == ["a", "b"]
        assert dict(headers) == {"Set-Cookie": "a, b", "X": "1"}
        assert len(headers) == 2
        assert "x" in headers
        assert "y" not in headers
        with pytest.raises(KeyError):
            headers["y"]

    def test_or_replaces_namesakes_whatever_their_case(self) -> None:
        headers = Headers({"A": "1", "B": "2"}) | {"a": "3"}
        assert headers.pairs == (("B", "2"), ("a", "3"))

    def test_equality_ignores_the_case_of_names(self) -> None:
        assert Headers({"A": "1"}) == Headers({"a": "1"})
        assert hash(Headers({"A": "1"})) == hash(Headers({"a": "1"}))
        assert Headers({"A": "1"}) == {"A": "1"}
        assert Headers({"A": "1"}) != Headers({"A": "2"})

    @pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b", "snow\u2603"])
    def test_a_value_that_would_break_the_request_is_refused_without_being_quoted(self, value: str) -> None:
        with pytest.raises(ValueError, match="'X-Token'") as caught:
            Headers({"X-Token": value})
        assert value not in str(caught.value)

    @pytest.mark.parametrize("name", ["", "a b", "a\r\n", "a:", "ä"])
    def test_a_name_that_is_no_token_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="not a token"):
            Headers({name: "x"})

    def test_a_value_of_another_type_is_refused(self) -> None:
        with pytest.raises(ValueError, match="expected str, got int"):
            Headers({"A": 1})  # type: ignore[dict-item]

    def test_its_repr_shows_names_only(self) -> None:
        assert repr(Headers({"Authorization": "s3cret"})) == "Headers(Authorization)"


class TestSecret:
    def test_it_shows_itself_only_when_asked(self) -> None:
        secret = Secret("s3cret")
        assert "s3cret" not in f"{secret} {secret!r} {[secret]} {secret:}"
        assert secret.reveal() == "s3cret"
        assert Secret(secret).reveal() == "s3cret"
        assert secret == Secret("s3cret")
        assert secret != "s3cret"
        assert len({secret, Secret("s3cret")}) == 1
        assert not Secret("")

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("wss://user:pw@host:9/path?token=x#f", "wss://host:9/path?..."),
            ("ws://[::1]:80/", "ws://[::1]:80/"),
            ("ws+unix:///run/x.sock:/a?b=c", "ws+unix:/run/x.sock:/a?..."),
            ("ws://host:notaport/?s3cret", "<unreadable URL>"),
        ],
    )
    def test_a_url_is_shown_without_what_may_be_secret(self, url: str, shown: str) -> None:
        assert public_url(url) == shown


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        (1, "expected str, got int"),
        ("host/path", "no scheme"),
        ("ws://", "no host"),
        ("wss:///path", "no host"),
        ("ws://host:x/", "cannot be read"),
        ("ws://host:99999/", "cannot be read"),
        ("ws://[::1/", "cannot be read"),
        ("ws://host/a b", "white space"),
        ("ws://host/\r\nX: y", "control character"),
        ("ws://host/#top", "fragment"),
    ],
)
def test_a_bad_url_is_told(url: object, problem: str) -> None:
    assert problem in (url_problem(url) or "")


@pytest.mark.parametrize("url", ["ws://h", "wss://u:p@h:1/?q=1", "ws+unix:///x.sock:/", "mem:anything", "WSS://H/"])
def test_any_scheme_is_admitted(url: str) -> None:
    assert url_problem(url) is None


class TestVerdictTable:
    def test_single_numbers_beat_ranges(self) -> None:
        table = verdict_table({"4000-4002": Verdict.FATAL, "4001": Verdict.RETRY})
        assert table == {4000: "fatal", 4001: "retry", 4002: "fatal"}

    @pytest.mark.parametrize("key", ["x", "1-", "-1", "9-1", "1-99999", "", "1-2-3"])
    def test_a_bad_key_is_told(self, key: str) -> None:
        with pytest.raises(ValueError, match=r"is n(either|ot)"):
            verdict_table({key: Verdict.FATAL})


class TestRetryAfter:
    NOW = 1_800_000_000.0

    @pytest.mark.parametrize(
        ("value", "seconds"), [("120", 120), (" 0 ", 0), (None, None), ("soon", None), ("-1", None)]
    )
    def test_seconds(self, value: str | None, seconds: float | None) -> None:
        assert parse_retry_after(value, self.NOW) == seconds

    def test_a_date_counts_from_now_and_never_below_nothing(self) -> None:
        assert parse_retry_after(email.utils.formatdate(self.NOW + 90, usegmt=True), self.NOW) == 90
        assert parse_retry_after(email.utils.formatdate(self.NOW - 90, usegmt=True), self.NOW) == 0

    @pytest.mark.parametrize("form", ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y"])
    @pytest.mark.parametrize("zone", ["UTC0", "XYZ+9:30", "XYZ-12"])
    def test_every_form_of_a_date_is_utc_wherever_we_are(
        self, form: str, zone: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        value = time.strftime(form, time.gmtime(self.NOW + 90))
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            assert parse_retry_after(value, self.NOW) == 90
        finally:
            monkeypatch.undo()
            time.tzset()

    @given(st.text())
    def test_no_text_breaks_it(self, value: str) -> None:
        seconds = parse_retry_after(value, self.NOW)
        assert seconds is None or seconds >= 0


class TestRequest:
    def test_it_is_frozen_and_takes_any_mapping_of_headers(self) -> None:
        request = Request("ws://h", headers={"a": "1"}, subprotocols=["x"])  # type: ignore[arg-type]
        assert isinstance(request.headers, Headers)
        assert request.subprotocols == ("x",)
        with pytest.raises(FrozenInstanceError):
            request.url = "ws://other"  # type: ignore[misc]
        more = replace(request, headers={**request.headers, "b": "2"})  # type: ignore[arg-type]
        assert more.headers.pairs == (("a", "1"), ("b", "2"))

    def test_its_repr_holds_no_secret(self) -> None:
        request = Request("ws://u:s3cret@h/?t=s3cret", headers=Headers({"Cookie": "s3cret"}))
        assert "s3cret" not in repr(request)
        assert "Cookie" in repr(request)


class TestPauses:
    def test_silence_while_we_do_not_read_does_not_count(self) -> None:
        pauses = Pauses()
        assert pauses.since(10.0, 15.0) == 5.0
        pauses.begin(12.0, 10.0)
        assert pauses.paused
        assert pauses.since(10.0, 15.0) == 2.0
        pauses.end(20.0)
        assert pauses.since(10.0, 21.0) == 3.0
        assert pauses.total(21.0) == 8.0

    def test_several_pauses_after_one_sign_of_life_add_up(self) -> None:
        pauses = Pauses()
        pauses.begin(11.0, 10.0)
        pauses.end(12.0)
        pauses.begin(13.0, 10.0)
        pauses.end(15.0)
        assert pauses.since(10.0, 16.0) == 3.0

    def test_pauses_before_a_sign_of_life_do_not_count(self) -> None:
        pauses = Pauses()
        pauses.begin(1.0, 0.0)
        pauses.end(5.0)
        assert pauses.since(6.0, 8.0) == 2.0
        pauses.begin(8.0, 6.0)
        assert pauses.since(6.0, 9.0) == 2.0

    def test_begin_and_end_twice_change_nothing(self) -> None:
        pauses = Pauses()
        pauses.begin(1.0, 0.0)
        pauses.begin(2.0, 0.0)
        pauses.end(3.0)
        pauses.end(9.0)
        assert pauses.total(9.0) == 2.0
