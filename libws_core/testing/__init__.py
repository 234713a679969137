"""The testing kit: for the tests of plugins, and of everything that uses a client.

- `run`, `virtual`, `VirtualLoop`: time that jumps; `seeded`: chance that repeats itself.
- `MemoryDialer`: a plugin whose connections are in memory; `Server`: a scripted server on a real loopback socket. Their
  connections end in a `Peer`, and both play the same scripts: `refuse`, `hang`, `cut`, `raw`, `greet`, `by_hand`.
- `Relay`: stands between a client and any server, and does what networks do.
- `Simulation`: a client, its plugins and a server, run with everything going wrong, as often as there are seeds.
- `PluginContract` and one for each kind of plugin: classes of tests to inherit.
- `leaks`: fails if tasks or file descriptors are left.

Nothing here loads by itself or hooks into a test runner. `Server` needs python-websockets, the contracts need
pytest: libws-core[testing].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .clock import START as START
    from .clock import Deadlock as Deadlock
    from .clock import VirtualLoop as VirtualLoop
    from .clock import run as run
    from .clock import seeded as seeded
    from .clock import virtual as virtual
    from .contract.auth import AuthContract as AuthContract
    from .contract.dialer import DialerContract as DialerContract
    from .contract.keep_alive import KeepAliveContract as KeepAliveContract
    from .contract.plugin import PluginContract as PluginContract
    from .contract.provider import ProviderContract as ProviderContract
    from .contract.reconnect import ReconnectContract as ReconnectContract
    from .contract.stages import StageContract as StageContract
    from .contract.web_socket import WebSocketDialerContract as WebSocketDialerContract
    from .faults import Fault as Fault
    from .faults import Faults as Faults
    from .feed import Feed as Feed
    from .leakage import Leaked as Leaked
    from .leakage import leaks as leaks
    from .letters import Letters as Letters
    from .memory import Dial as Dial
    from .memory import MemoryConnection as MemoryConnection
    from .memory import MemoryDialer as MemoryDialer
    from .memory import MemoryPeer as MemoryPeer
    from .memory import RuleBroken as RuleBroken
    from .peer import Gone as Gone
    from .peer import Peer as Peer
    from .peer import Unexpected as Unexpected
    from .relay import Relay as Relay
    from .script import by_hand as by_hand
    from .script import cut as cut
    from .script import greet as greet
    from .script import hang as hang
    from .script import raw as raw
    from .script import refuse as refuse
    from .server import Arrival as Arrival
    from .server import Server as Server
    from .server import ServerPeer as ServerPeer
    from .simulation import Played as Played
    from .simulation import Simulation as Simulation
    from .simulation import SimulationFailed as SimulationFailed
    from .unreliable import UnreliableDialer as UnreliableDialer

_HOMES = {
    "clock": ["START", "Deadlock", "VirtualLoop", "run", "seeded", "virtual"],
    "contract.auth": ["AuthContract"],
    "contract.dialer": ["DialerContract"],
    "contract.keep_alive": ["KeepAliveContract"],
    "contract.plugin": ["PluginContract"],
    "contract.provider": ["ProviderContract"],
    "contract.reconnect": ["ReconnectContract"],
    "contract.stages": ["StageContract"],
    "contract.web_socket": ["WebSocketDialerContract"],
    "faults": ["Fault", "Faults"],
    "feed": ["Feed"],
    "leakage": ["Leaked", "leaks"],
    "letters": ["Letters"],
    "memory": ["Dial", "MemoryConnection", "MemoryDialer", "MemoryPeer", "RuleBroken"],
    "peer": ["Gone", "Peer", "Unexpected"],
    "relay": ["Relay"],
    "script": ["by_hand", "cut", "greet", "hang", "raw", "refuse"],
    "server": ["Arrival", "Server", "ServerPeer"],
    "simulation": ["Played", "Simulation", "SimulationFailed"],
    "unreliable": ["UnreliableDialer"],
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = list(_HOME)


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
