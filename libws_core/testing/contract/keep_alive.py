"""..."""

from __future__ import annotations

from .plugin import PluginContract

__all__ = ["KeepAliveContract"]


class KeepAliveContract(PluginContract):
    """..."""
