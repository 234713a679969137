"""The tree of errors: what each says of the next attempt, of fault, and of itself when copied."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from libws_core import Verdict, errors
from libws_core.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionClosed,
    HandshakeRejected,
    KeepAliveTimeout,
    LibwsError,
    Problem,
    ProxyError,
)
from libws_core.types import FIRST_ATTEMPT

CLASSES = [getattr(errors, name) for name in errors.__all__ if name != "Problem"]


def make(kind: type[LibwsError], **more: Any) -> LibwsError:
    return kind("the text", **({"status": 503} if kind is HandshakeRejected else {}), **more)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_carries_what_the_contract_names(kind: type[LibwsError]) -> None:
    error = make(kind)
    assert str(error) == "the text"
    assert repr(error) == f"{kind.__name__}('the text')"
    assert isinstance(error.verdict, Verdict)
    assert {error.fault, error.initiator} <= {"local", "remote", "network"}
    for name in ("retry_after", "phase", "attempt", "generation", "code", "status"):
        assert hasattr(error, name)
    assert make(kind, verdict="fatal", retry_after=3).verdict is Verdict.FATAL


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_copied_and_pickled_whole(kind: type[LibwsError]) -> None:
    error = make(kind)
    error.attempt, error.phase = FIRST_ATTEMPT, "dial"
    error.__cause__ = cause = ValueError("deep down")
    other = error.but(verdict="refresh", retry_after=9.0)
    assert type(other) is kind
    assert (other.verdict, other.retry_after, other.phase) == (Verdict.REFRESH, 9.0, "dial")
    assert other.__cause__ is cause
    assert error.retry_after != 9.0
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.__dict__) == (kind, "the text", error.__dict__)


def test_but_refuses_what_is_no_attribute() -> None:
    with pytest.raises(TypeError, match="verdikt"):
        LibwsError("x").but(verdikt="fatal")


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigurationError", ValueError),
        ("ConnectError", ConnectionError),
        ("ConnectTimeout", TimeoutError),
        ("AuthenticationError", PermissionError),
        ("ConnectionClosed", ConnectionError),
        ("KeepAliveTimeout", TimeoutError),
        ("IdleTimeout", TimeoutError),
        ("SendError", ConnectionError),
        ("MessageExpired", TimeoutError),
        ("ClientClosed", ConnectionError),
        ("PluginFailed", RuntimeError),
    ],
)
def test_errors_are_caught_by_the_builtin_that_a_caller_would_name(name: str, builtin: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), builtin)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *[(status, "refresh") for status in (401,)],
        *[(status, "retry") for status in (408, 425, 429, 500, 502, 503, 504, 520, 599)],
        *[(status, "fatal") for status in (400, 403, 404, 410, 418, 426, 501, 505, 200, 301)],
    ],
)
def test_statuses_have_their_verdicts(status: int, verdict: str) -> None:
    error = HandshakeRejected("no", status=status)
    assert (error.verdict, error.status, error.fault, error.initiator) == (verdict, status, "remote", "remote")


@pytest.mark.parametrize(
    ("code", "verdict"),
    [
        *[(code, "fatal") for code in (1002, 1003, 1007, 1009, 1010)],
        (4401, "refresh"),
        *[(code, "retry") for code in (1000, 1001, 1005, 1006, 1008, 1011, 1012, 1013, 1014, 4000, 4403, 4999)],
    ],
)
def test_close_codes_have_their_verdicts(code: int, verdict: str) -> None:
    assert ConnectionClosed("gone", code=code).verdict == verdict


def test_a_given_verdict_beats_the_tables() -> None:
    assert ConnectionClosed("gone", code=1002, verdict=Verdict.RETRY).verdict is Verdict.RETRY
    assert HandshakeRejected("no", status=404, verdict="retry").verdict is Verdict.RETRY
    assert ProxyError("no", status=407, verdict="retry").verdict is Verdict.RETRY


def test_who_ended_a_connection_is_who_sent_the_first_close() -> None:
    assert ConnectionClosed("gone").initiator == "network"
    assert ConnectionClosed("gone", code=1001).initiator == "remote"
    assert ConnectionClosed("gone", code=1000, initiator="local").fault == "local"
    assert KeepAliveTimeout("silent").code == 1006


def test_retry_after_is_read_from_the_headers_and_a_given_one_beats_it() -> None:
    headers = {"retry-after": "120"}
    assert HandshakeRejected("no", status=429, headers=headers).retry_after == 120
    assert HandshakeRejected("no", status=429, headers=headers, retry_after=5).retry_after == 5
    assert HandshakeRejected("no", status=429).retry_after is None


def test_a_refused_proxy_login_is_fatal_and_other_proxy_trouble_is_not() -> None:
    assert ProxyError("no", status=407).verdict is Verdict.FATAL
    assert ProxyError("no", status=502).verdict is Verdict.RETRY


def test_a_refused_login_renews_credentials_once() -> None:
    assert AuthenticationError("no").verdict is Verdict.REFRESH


def test_a_configuration_error_tells_every_problem_a_line() -> None:
    problems = (Problem("a", "is wrong", "mend it"), Problem(None, "url: it has no host"))
    error = ConfigurationError("cannot assemble the client:", problems=problems)
    assert str(error) == "cannot assemble the client:\n  'a': is wrong; mend it\n  url: it has no host"
    assert error.but(retry_after=1).problems == problems
