"""Keys of all kinds, and clients of the simulated WebSocket API, for its tests."""

from __future__ import annotations

from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from libws_binance.testing import ApiExchange
from libws_core import Client, Event

ORDER = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "price": "100", "quantity": "0.01"}


class Pair(NamedTuple):
    """What a user has of a key, and what the exchange has."""

    api_key: str
    secret: str
    public: str


def _pair(name: str, key: Any) -> Pair:
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return Pair(f"the API key of {name}", private, public)


PAIRS = {
    "HMAC": Pair("the API key of HMAC", "a secret nobody knows", "a secret nobody knows"),
    "Ed25519": _pair("Ed25519", ed25519.Ed25519PrivateKey.generate()),
    "RSA": _pair("RSA", rsa.generate_private_key(65537, 2048)),
}


def exchange_of(**options: Any) -> ApiExchange:
    """An exchange that knows all of the keys."""
    return ApiExchange({pair.api_key: pair.public for pair in PAIRS.values()}, **options)


def make(dialer: object, kind: str | None = "Ed25519", *plugins: object, **options: Any) -> tuple[Client, list[Any]]:
    """A client with a key of that kind, and what it tells."""
    given: dict[str, Any] = {"backoff": {"base": 1, "jitter": "none"}}
    if kind is not None:
        options = {"api_key": PAIRS[kind].api_key, "secret": PAIRS[kind].secret} | options
    given["binance-api"] = options
    client = Client("ws://test/ws-api/v3", plugins=["binance-api", *plugins, dialer, "-websockets"], options=given)
    events: list[Any] = []
    client.on(Event, events.append)
    return client, events
