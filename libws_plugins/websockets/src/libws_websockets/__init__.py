"""libws plugin `websockets`: the default dialer, on python-websockets' sans-I/O protocol."""

from .dialer import Websockets

__all__ = ["Websockets"]
