"""The opening handshake, RFC 6455 section 4, checked by python-websockets' sans-I/O protocol."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

from websockets import exceptions
from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from libws_core.errors import InvalidHandshake, OptionError

from .http1 import Head, basic_authorization, read_head

if TYPE_CHECKING:
    from libws_core.headers import Headers

    from .stream import Stream
    from .target import Target

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")  # RFC 9110 section 5.6.2

_OWN = {
    "connection",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "upgrade",
}
"""Headers that the handshake itself sets or reads."""

# Nothing is demanded of the server: many answer a bare "permessage-deflate", whatever the offer.
_DEFLATE = [ClientPerMessageDeflateFactory(compress_settings={"memLevel": 5})]

# The protocol would log whole requests, Authorization and query among them. This logger has no handlers and no parents.
SILENT = logging.Logger("libws_websockets", logging.CRITICAL + 1)


def make_protocol(
    target: Target, subprotocols: tuple[str, ...], *, compression: bool, max_size: int | None
) -> ClientProtocol:
    """The protocol of one connection.

    Raises:
        OptionError: a subprotocol that HTTP does not allow; the text tells which one by its place.
    """
    for place, subprotocol in enumerate(subprotocols, 1):
        if not _TOKEN.match(subprotocol):
            raise OptionError(f"subprotocol {place} of {len(subprotocols)} is not a token of HTTP")
    uri = WebSocketURI(target.secure, target.host, target.port, target.path, target.query)
    return ClientProtocol(
        uri,
        extensions=_DEFLATE if compression else None,
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=max_size,
        logger=SILENT,
    )


async def shake_hands(stream: Stream, protocol: ClientProtocol, target: Target, headers: Headers) -> Head:
    """Send the request and read the answer's head; if that is a 101, the protocol is open when this returns.

    Raises:
        InvalidHandshake: a 101 that does not follow RFC 6455.
        OptionError: headers that only the handshake may set.
        BadResponse, EOFError, OSError
    """
    request = protocol.connect()
    if target.user_info is not None and "Authorization" not in headers:
        request.headers["Authorization"] = basic_authorization(*target.user_info)
    if "Host" in headers:
        del request.headers["Host"]
    for name, value in headers.pairs:
        if name.lower() in _OWN:
            raise OptionError(f"header {name!r} belongs to the handshake; see subprotocols and compression")
        request.headers[name] = value
    protocol.send_request(request)
    for data in protocol.data_to_send():
        stream.write(data)
    head = await read_head(stream)
    if head.status == 101:
        _accept(protocol, head, target)
    return head


def _accept(protocol: ClientProtocol, head: Head, target: Target) -> None:
    """Have a 101 checked.

    The protocol gets the headers that it decides on and no byte more: it would parse what stands behind them as frames
    (and answer a ping among them), and it refuses long headers that do not concern it.
    """
    if head.version != 1:
        raise InvalidHandshake(f"{target.name} answered 101 in HTTP/1.0")
    relevant = [f"{name}: {value}" for name, value in head.headers.pairs if name.lower() in _OWN]
    lines = ["HTTP/1.1 101 Switching Protocols", *relevant, "", ""]
    protocol.receive_data("\r\n".join(lines).encode("latin-1"))
    protocol.events_received()
    if protocol.state is not State.OPEN:
        raise InvalidHandshake(f"{target.name} answered 101, but {_reason(protocol.handshake_exc)}") from None


def _reason(error: Exception | None) -> str:
    """What is wrong with a 101. The errors of the protocol quote values, which may echo what we sent."""
    if isinstance(error, exceptions.InvalidHeader):  # InvalidUpgrade and InvalidHeaderValue are such
        return f"its {error.name} header is missing or wrong"
    if isinstance(error, exceptions.NegotiationError):
        what = "a subprotocol" if "subprotocol" in str(error) else "an extension or a parameter of one"
        return f"it chose {what} that was not offered"
    return "it cannot be read"
