"""libws: a WebSocket client assembled from plugins.

Everything here is loaded when it is first used, so that `import libws_core` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .client import Client as Client
    from .errors import AuthenticationError as AuthenticationError
    from .errors import CircuitOpen as CircuitOpen
    from .errors import ClientClosed as ClientClosed
    from .errors import ConfigurationError as ConfigurationError
    from .errors import ConnectError as ConnectError
    from .errors import ConnectionClosed as ConnectionClosed
    from .errors import ConnectTimeout as ConnectTimeout
    from .errors import DeliveryUnknown as DeliveryUnknown
    from .errors import HandshakeRejected as HandshakeRejected
    from .errors import IdleTimeout as IdleTimeout
    from .errors import InvalidHandshake as InvalidHandshake
    from .errors import KeepAliveTimeout as KeepAliveTimeout
    from .errors import LibwsError as LibwsError
    from .errors import MessageExpired as MessageExpired
    from .errors import MessageTooBig as MessageTooBig
    from .errors import NameResolutionError as NameResolutionError
    from .errors import NotReady as NotReady
    from .errors import OptionError as OptionError
    from .errors import OutboxFull as OutboxFull
    from .errors import PluginError as PluginError
    from .errors import PluginFailed as PluginFailed
    from .errors import Problem as Problem
    from .errors import ProfileError as ProfileError
    from .errors import ProtocolError as ProtocolError
    from .errors import ProxyError as ProxyError
    from .errors import RetriesExhausted as RetriesExhausted
    from .errors import SendError as SendError
    from .errors import SubscriptionRejected as SubscriptionRejected
    from .errors import TLSError as TLSError
    from .events import AttemptFailed as AttemptFailed
    from .events import Closed as Closed
    from .events import Connected as Connected
    from .events import Connecting as Connecting
    from .events import Disconnected as Disconnected
    from .events import Dropped as Dropped
    from .events import Event as Event
    from .events import Gap as Gap
    from .events import Reconnected as Reconnected
    from .events import Reopened as Reopened
    from .events import Retrying as Retrying
    from .headers import Headers as Headers
    from .hookspecs import hookimpl as hookimpl
    from .machine import State as State
    from .secret import Secret as Secret
    from .types import STOP as STOP
    from .types import Attempt as Attempt
    from .types import Connection as Connection
    from .types import Control as Control
    from .types import Failure as Failure
    from .types import Kind as Kind
    from .types import Message as Message
    from .types import Request as Request
    from .types import Sending as Sending
    from .types import Session as Session
    from .types import Stop as Stop
    from .verdicts import Verdict as Verdict

_HOMES = {
    "client": ["Client"],
    "errors": [
        *["AuthenticationError", "CircuitOpen", "ClientClosed", "ConfigurationError", "ConnectError", "ConnectTimeout"],
        *["ConnectionClosed", "DeliveryUnknown", "HandshakeRejected", "IdleTimeout", "InvalidHandshake"],
        *["KeepAliveTimeout", "LibwsError", "MessageExpired", "MessageTooBig", "NameResolutionError", "NotReady"],
        *["OptionError", "OutboxFull", "PluginError", "PluginFailed", "Problem", "ProfileError", "ProtocolError"],
        *["ProxyError", "RetriesExhausted", "SendError", "SubscriptionRejected", "TLSError"],
    ],
    "events": [
        *["AttemptFailed", "Closed", "Connected", "Connecting", "Disconnected", "Dropped", "Event", "Gap"],
        *["Reconnected", "Reopened", "Retrying"],
    ],
    "headers": ["Headers"],
    "hookspecs": ["hookimpl"],
    "machine": ["State"],
    "secret": ["Secret"],
    "types": [
        *["STOP", "Attempt", "Connection", "Control", "Failure", "Kind", "Message", "Request", "Sending", "Session"],
        "Stop",
    ],
    "verdicts": ["Verdict"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str) -> Any:
    module = _HOME.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
