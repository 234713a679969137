"""What is signed, and by which key: the documentation's own examples, and what cannot be signed."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from libws_binance.signing import make_key, payload, plain

# web-socket-api.md, "SIGNED request example (HMAC)"
API_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
LATIN: dict[str, Any] = {
    "symbol": "BTCUSDT",
    "side": "SELL",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.01000000",
    "price": "52000.00",
    "recvWindow": 100,
    "timestamp": 1645423376532,
}
WIDE_SYMBOL = "".join(chr(0xFF10 + digit) for digit in range(1, 7))
"""The documentation's example of one that is not ASCII: full-width digits."""
WIDE = LATIN | {"symbol": WIDE_SYMBOL, "side": "BUY", "quantity": "1.00000000", "price": "0.10000000"}
WIDE |= {"recvWindow": 5000}
LATIN_TEXT = (
    "apiKey={}&price=52000.00&quantity=0.01000000&recvWindow=100&side=SELL&symbol=BTCUSDT&timeInForce=GTC"
    "&timestamp=1645423376532&type=LIMIT"
)
WIDE_TEXT = (
    f"apiKey={{}}&price=0.10000000&quantity=1.00000000&recvWindow=5000&side=BUY&symbol={WIDE_SYMBOL}"
    "&timeInForce=GTC&timestamp=1645423376532&type=LIMIT"
)


def pem(key: Any, password: str | None = None) -> str:
    locked = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked).decode())


EDWARDS = ed25519.Ed25519PrivateKey.generate()
RIVEST = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    ("params", "text", "signature"),
    [
        (LATIN, LATIN_TEXT, "aa1b5712c094bc4e57c05a1a5c1fd8d88dcd628338ea863fec7b88e59fe2db24"),
        (WIDE, WIDE_TEXT, "b33892ae8e687c939f4468c6268ddd4c40ac1af18ad19a064864c47bae0752cd"),
    ],
)
def test_the_examples_of_the_documentation_have_their_signatures(params: Any, text: str, signature: str) -> None:
    key = make_key(API_KEY, SECRET, None)
    signed = payload({**params, "apiKey": API_KEY})
    assert signed == text.format(API_KEY)
    assert (key.kind, key.logs_on, key.sign(signed.encode())) == ("HMAC", False, signature)


@pytest.mark.parametrize(
    ("api_key", "params", "text"),
    [
        # "SIGNED request example (RSA)" and "(Ed25519)": what is signed is shown, and not the keys that sign it
        ("CAvIjXy3F44yW6Pou5k8Dy1swsYDWJZLeoK2r8G4cFDnE9nosRppc2eKc1T8TRTQ", LATIN, LATIN_TEXT),
        ("4yNzx3yWC5bS6YTwEkSRaC0nRmSQIIStAUOh1b6kqaBrTLIhjCpI5lJH8q8R8WNO", WIDE, WIDE_TEXT),
    ],
)
def test_private_keys_sign_the_same_text(api_key: str, params: Any, text: str) -> None:
    signed = payload({**params, "apiKey": api_key})
    assert signed == text.format(api_key)
    edwards, rivest = make_key(api_key, pem(EDWARDS), None), make_key(api_key, pem(RIVEST), None)
    assert (edwards.kind, edwards.logs_on, rivest.kind, rivest.logs_on) == ("Ed25519", True, "RSA", False)
    EDWARDS.public_key().verify(base64.b64decode(edwards.sign(signed.encode())), signed.encode())
    RIVEST.public_key().verify(
        base64.b64decode(rivest.sign(signed.encode())), signed.encode(), padding.PKCS1v15(), SHA256()
    )


def test_an_encrypted_key_is_opened_by_its_password() -> None:
    locked = pem(EDWARDS, "open sesame")
    assert make_key("key", locked, "open sesame").sign(b"x") == make_key("key", pem(EDWARDS), None).sign(b"x")


@pytest.mark.parametrize(
    ("api_key", "secret", "password", "why"),
    [
        ("", "x", None, "the API key is empty"),
        ("x", "", None, "the secret is empty"),
        ("x", pem(EDWARDS, "a"), None, "is encrypted: set the option 'password'"),
        ("x", pem(EDWARDS, "a"), "b", "'password' is not its password"),
        ("x", pem(EDWARDS), "b", "is not encrypted: leave 'password'"),
        ("x", pem(ec.generate_private_key(ec.SECP256R1())), None, "neither Ed25519 nor RSA"),
        ("x", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", None, "no private key in PEM"),
    ],
    ids=["no API key", "no secret", "encrypted", "another password", "not encrypted", "another kind", "public"],
)
def test_what_is_no_key_is_refused_without_being_shown(
    api_key: str, secret: str, password: str | None, why: str
) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        make_key(api_key, secret, password)
    assert caught.value.__cause__ is None
    assert not secret or secret.splitlines()[0] not in str(caught.value)


def test_a_key_never_prints() -> None:
    assert repr(make_key(API_KEY, SECRET, None)) == "Key(HMAC)"


@pytest.mark.parametrize(
    ("value", "wire", "text"),
    [
        ("0.10", "0.10", "0.10"),
        (7, 7, "7"),
        (True, True, "true"),
        (0.1, "0.1", "0.1"),
        (0.00001, "0.00001", "0.00001"),
        (1e22, "10000000000000000000000", "10000000000000000000000"),
        (Decimal("1E-7"), "0.0000001", "0.0000001"),
        (Decimal("52000.00"), "52000.00", "52000.00"),
    ],
)
def test_a_number_is_the_same_on_the_wire_and_in_what_is_signed(value: Any, wire: Any, text: str) -> None:
    made = plain("x", value)
    assert (made, type(made)) == (wire, type(wire))
    assert payload({"x": made}) == f"x={text}"


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), (Decimal("inf"), ValueError), ({}, TypeError), (b"x", TypeError)]
)
def test_what_cannot_be_a_parameter_is_told_by_name(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="parameter 'x'"):
        plain("x", value)


def test_a_list_may_be_sent_and_not_signed() -> None:
    assert plain("symbols", ("A", "B")) == ["A", "B"]
    with pytest.raises(TypeError, match=r"parameter 'symbols'.*cannot be signed"):
        payload({"symbols": ["A", "B"]})
