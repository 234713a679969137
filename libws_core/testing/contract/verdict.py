"""How a test of a contract ends: kept, broken or not to be judged."""

from __future__ import annotations

from typing import NoReturn

try:
    import pytest
except ImportError as missing:
    raise ImportError("the contracts are tests for pytest: pip install 'libws-core[testing]'") from missing

__all__ = ["broken", "leave_out"]


def broken(what: str, cure: str | None = None) -> NoReturn:
    """Fail the test with a text for people, which needs no traceback of the kit.

    Args:
        what: the thing that is wrong, by name.
        cure: what to do about it.
    """
    raise pytest.fail.Exception(f"{what}\n{cure}" if cure else what, pytrace=False) from None


def leave_out(why: str) -> NoReturn:
    """Skip the test: it does not apply, or another one tells already."""
    raise pytest.skip.Exception(why) from None
