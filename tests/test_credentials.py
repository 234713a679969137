"""Credentials as plugins take them: whoever gives them is asked, and none is shown."""

from __future__ import annotations

from typing import Any

import pytest

from libws_core import AuthenticationError, LibwsError, Secret, Verdict
from libws_core.credentials import BUGS, ask_source, concealed, revealed

HELD = {"user": "me", "parts": ["a", {"key": "b"}, ("c", 1)], "flag": True, "none": None}


async def test_a_source_may_be_plain_or_async_and_may_leave_out_its_argument() -> None:
    async def later(request: str) -> str:
        return f"for {request}"

    assert await ask_source("token", lambda: "t", "the request") == "t"
    assert await ask_source("token", lambda request: f"for {request}", "it") == "for it"
    assert await ask_source("token", later, "it") == "for it"


async def test_what_a_source_raises_is_told_by_its_kind_only_and_tried_again() -> None:
    def fail() -> str:
        raise OSError("s3cr3t")

    with pytest.raises(AuthenticationError) as caught:
        await ask_source("token", fail)
    assert str(caught.value) == "option 'token' gave no answer: OSError"
    assert caught.value.verdict is Verdict.RETRY
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("kind", [*BUGS, LibwsError, AuthenticationError])
async def test_a_source_that_is_wrong_or_knows_libws_is_taken_at_its_word(kind: Any) -> None:
    error = kind("as it is")

    def fail() -> str:
        raise error

    with pytest.raises(kind) as caught:
        await ask_source("token", fail)
    assert caught.value is error


def test_every_text_is_concealed_at_whatever_depth_and_revealed_again() -> None:
    held = concealed(HELD)
    assert held["parts"][1]["key"] == Secret("b")
    assert not any(text in repr(held) for text in ("'me'", "'a'", "'b'", "'c'"))
    assert revealed(held) == {**HELD, "parts": ["a", {"key": "b"}, ["c", 1]]}
