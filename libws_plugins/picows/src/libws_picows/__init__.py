"""libws plugin `picows`: a dialer that stands on picows' frame parser."""

from .dialer import Picows

__all__ = ["Picows"]
