"""..."""

from __future__ import annotations

from .plugin import PluginContract

__all__ = ["ProviderContract"]


class ProviderContract(PluginContract):
    """..."""
