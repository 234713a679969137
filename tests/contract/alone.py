"""Contracts of dialers without what every plugin promises, for dialers that are wrong in one way."""

from __future__ import annotations

from plain_dialer import PlainConnection
from plain_handshake import PlainDialer

from libws_core.testing import DialerContract, PluginContract, WebSocketDialerContract

PATIENCE = 1.0
"""Seconds that a wait may take: what a wrong dialer never does is waited for in vain."""


class AnyDialer(DialerContract):
    """What a dialer of any scheme promises."""

    plugin = PlainDialer
    name = None
    patience = PATIENCE


class WebSocketDialer(WebSocketDialerContract):
    """What a dialer of WebSockets promises."""

    plugin = PlainDialer
    name = None
    patience = PATIENCE
    compression = True


for _test in [test for test in vars(PluginContract) if test.startswith("test_")]:
    setattr(AnyDialer, _test, None)
    setattr(WebSocketDialer, _test, None)


def dialer_with(connection: type[PlainConnection]) -> type[PlainDialer]:
    """The plain dialer, with another kind of connections."""
    return type(f"DialerOf{connection.__name__}", (PlainDialer,), {"connection": connection})
