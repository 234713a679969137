"""What verifies the signatures of a key, apart from the code that makes them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Verifier", "verifier"]


class Verifier(NamedTuple):
    """One API key's."""

    kind: str
    """ "HMAC", "RSA" or "Ed25519"."""
    check: Callable[[str, bytes], bool]

    def verifies(self, params: Mapping[str, Any]) -> bool:
        """Whether a request's signature is one of this key over its other parameters."""
        rest = {name: value for name, value in params.items() if name != "signature"}
        texts = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in rest.items()}
        signed = "&".join(f"{name}={texts[name]}" for name in sorted(texts))
        return self.check(str(params["signature"]), signed.encode())


def verifier(name: str, given: str) -> Verifier:
    """What verifies: the secret of an HMAC key, or a public key as PEM."""
    if not given.lstrip().startswith("-----BEGIN"):
        return Verifier("HMAC", _hmac(given.encode()))
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(given.encode())

    def check(signature: str, text: bytes) -> bool:
        try:
            raw = base64.b64decode(signature, validate=True)
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(raw, text)
            elif isinstance(key, rsa.RSAPublicKey):
                key.verify(raw, text, padding.PKCS1v15(), SHA256())
        except (InvalidSignature, binascii.Error):
            return False
        return True

    if isinstance(key, ed25519.Ed25519PublicKey):
        return Verifier("Ed25519", check)
    if isinstance(key, rsa.RSAPublicKey):
        return Verifier("RSA", check)
    raise ValueError(f"key {name!r}: neither Ed25519 nor RSA")


def _hmac(secret: bytes) -> Callable[[str, bytes], bool]:
    def check(signature: str, text: bytes) -> bool:
        # "Signatures generated using HMAC are not case-sensitive"
        return hmac.compare_digest(signature.lower(), hmac.new(secret, text, hashlib.sha256).hexdigest())

    return check
