"""What is known of Jupyter servers and kernels: data, with its date and sources.

"server" = https://jupyter-server.readthedocs.io/en/latest/developers/, "messaging" =
https://jupyter-client.readthedocs.io/en/stable/messaging.html; "source" = the code of jupyter_server 2.21 and ipykernel
7.4, for what these do not tell.
"""

from __future__ import annotations

from typing import Final

DATE: Final = "2026-11"
"""When it was read, and tried with the server that the README names."""

SUBPROTOCOL: Final = "v1.kernel.websocket.jupyter.org"
"""Server, WebSocket kernel wire protocols. A server that does not know it chooses none: the legacy protocol."""
VERSION: Final = "5.3"
"""Of the messages: messaging, Versioning."""
CHANNELS: Final = frozenset({"shell", "control", "stdin", "iopub"})
"""Messaging, Introduction."""
KERNELS: Final = "api/kernels"
SPECS: Final = "api/kernelspecs"
"""Server, The REST API."""

STARTING: Final = "starting"
IDLE: Final = "idle"
RESTARTED: Final = frozenset({"restarting", "autorestarting"})
DEAD: Final = "dead"
"""Kernel states. The server itself says "restarting" and "dead" to who is connected: source, on_kernel_restarted."""

REFUSED: Final = frozenset({401, 403})
"""Statuses with which a token is refused; jupyter_server says 403 to REST and at the upgrade."""
GONE: Final = 404
"""A kernel that is not there, in REST and at the upgrade."""

LIMITED: Final = ("IOPub message rate exceeded", "IOPub data rate exceeded")
"""How the text begins that the server puts to stderr where it leaves out outputs: source, _limit_rate. By default above
1,000 messages or 1 MB of streams a second, over 3 s."""

INTERVAL: Final = 15.0
"""Seconds of silence after which the kernel is asked whether it lives, ours to choose."""
PATIENCE: Final = 10.0
"""Seconds for its answer, ours to choose."""
