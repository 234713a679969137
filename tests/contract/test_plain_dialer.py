"""The plain dialer keeps the contract: what a wrong one fails is then the rule that it breaks."""

from __future__ import annotations

from libws_core.testing import WebSocketDialerContract

from .plain_handshake import PlainDialer


class TestPlainDialer(WebSocketDialerContract):
    plugin = PlainDialer
    name = None
    compression = True
