"""Keys, and what they sign: the parameters of a request, sorted, as text.

https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/request-security, read 2026-11: parameters but
for the signature, sorted by name, `name=value` joined by "&", in UTF-8 and without percent-encoding. HMAC-SHA-256 in
hex; RSASSA-PKCS1-v1_5 with SHA-256, and Ed25519, in base64.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

__all__ = ["Key", "make_key", "payload", "plain"]

PEM = "-----BEGIN"
"""What a private key begins with, and no HMAC secret."""


class Key:
    """An API key and what signs for it. Its repr shows neither.

    Args:
        kind: "HMAC", "RSA" or "Ed25519".
    """

    __slots__ = ("api_key", "kind", "sign")

    def __init__(self, api_key: str, kind: str, sign: Callable[[bytes], str]) -> None:
        self.api_key, self.kind, self.sign = api_key, kind, sign

    @property
    def logs_on(self) -> bool:
        """Whether a connection may be logged on with it, once and for all requests."""
        return self.kind == "Ed25519"

    def __repr__(self) -> str:
        return f"Key({self.kind})"


def make_key(api_key: str, secret: str, password: str | None) -> Key:
    """A key from what a user has: the secret of an HMAC key, or the private key of the others as PEM.

    Raises:
        ValueError: it is none of these; the text says why, and shows nothing of it.
    """
    if not api_key or not secret:
        raise ValueError(f"the {'secret' if api_key else 'API key'} is empty")
    if not secret.lstrip().startswith(PEM):
        return Key(api_key, "HMAC", _hmac(secret.strip().encode()))
    return Key(api_key, *_private(secret.strip().encode(), password))


def _hmac(secret: bytes) -> Callable[[bytes], str]:
    return lambda text: hmac.new(secret, text, hashlib.sha256).hexdigest()


def _private(pem: bytes, password: str | None) -> tuple[str, Callable[[bytes], str]]:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise ValueError("a private key needs cryptography; try: pip install 'libws-binance[keys]'") from None
    try:
        key = load_pem_private_key(pem, password.encode() if password is not None else None)
    except TypeError:
        wanted = "is encrypted: set the option 'password'" if password is None else "is not encrypted: leave 'password'"
        raise ValueError(f"the private key {wanted}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("it is no private key in PEM, or the option 'password' is not its password") from None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        edwards = key
        return "Ed25519", lambda text: base64.b64encode(edwards.sign(text)).decode()
    if isinstance(key, rsa.RSAPrivateKey):
        rivest = key
        return "RSA", lambda text: base64.b64encode(rivest.sign(text, padding.PKCS1v15(), SHA256())).decode()
    raise ValueError("the private key is neither Ed25519 nor RSA")


def plain(name: str, value: Any) -> Any:
    """A parameter as it goes over the wire, the same in JSON and in what is signed.

    Decimals and floats become text without an exponent, which the exchange takes for every DECIMAL.

    Raises:
        ValueError: it is not finite.
        TypeError: it is nothing that can be a parameter.
    """
    if isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, (float, Decimal)):
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        if not exact.is_finite():
            raise ValueError(f"parameter {name!r}: expected a number, got {value}")
        return f"{exact:f}"
    if isinstance(value, (list, tuple)):
        return [plain(name, item) for item in value]
    raise TypeError(f"parameter {name!r}: expected a str, number, bool or list, got {type(value).__name__}")


def payload(params: Mapping[str, Any]) -> str:
    """What is signed of these parameters.

    Raises:
        TypeError: one is a list; how those are signed is not documented.
    """
    return "&".join(f"{name}={_text(name, params[name])}" for name in sorted(params))


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        raise TypeError(f"parameter {name!r}: a list cannot be signed; ask once for each item")
    return str(value)
