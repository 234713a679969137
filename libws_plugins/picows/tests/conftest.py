"""The servers, the recorders and the `dial` of libws-websockets' tests, for what is a matter of this dialer alone.

What both dialers promise is tested there, on each of them: look in libws_plugins/websockets/tests first.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

NEIGHBOUR = Path(__file__).parents[2] / "websockets" / "tests"


def load_neighbour() -> ModuleType:
    """The other dialer's conftest."""
    spec = importlib.util.spec_from_file_location("websockets_conftest", NEIGHBOUR / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


shared = load_neighbour()
raw_server = shared.raw_server
frame = shared.frame
dial = shared.dial
