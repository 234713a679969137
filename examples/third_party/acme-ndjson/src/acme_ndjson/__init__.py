"""A dialer for `ndjson+tcp://HOST:PORT`: newline-delimited JSON over TCP."""

from .dialer import Ndjson

__all__ = ["Ndjson"]
