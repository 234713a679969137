"""What every test of the core and of the assembled whole starts from."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _plain_environment(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxies and plugins of whoever runs the tests do not count; who installs something may need the proxies."""
    if request.node.get_closest_marker("install") is not None:
        monkeypatch.delenv("LIBWS_PLUGINS", raising=False)
    else:
        request.getfixturevalue("libws_environment")
