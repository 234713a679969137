"""What a dialer of WebSockets promises about TLS: who is trusted, and who is not."""

from __future__ import annotations

import functools
import ssl
from typing import TYPE_CHECKING

from ...errors import TLSError
from ...types import Message
from .bare import BarePeer, BareServer
from .dialer import DialerContract
from .real_loop import on_real_loop
from .receiver import Receiver, same
from .verdict import leave_out

if TYPE_CHECKING:
    import trustme

__all__ = ["SecuresAsPromised"]


@functools.cache
def authority() -> trustme.CA:
    """An authority that nobody trusts."""
    try:
        import trustme
    except ImportError as missing:
        raise ImportError(
            "the tests of TLS make certificates with trustme: pip install 'libws-core[testing]'"
        ) from missing
    return trustme.CA()


def trusting() -> ssl.SSLContext:
    """A client's context that trusts that authority alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


@functools.cache
def certified(name: str) -> ssl.SSLContext:
    """A server's context with a certificate of that authority for this name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority().issue_cert(name).configure_cert(context)
    return context


async def greeting(peer: BarePeer) -> None:
    """A script: take the connection, say hello, and hold it until the client goes."""
    await peer.accept(behind=b"\x81\x05hello")
    await peer.wait_closed()


class SecuresAsPromised(DialerContract):
    """The tests of TLS, for the scheme wss."""

    @on_real_loop
    async def test_the_context_of_the_request_is_used(self) -> None:
        self._needs_tls()
        async with BareServer(greeting, context=certified("127.0.0.1")) as server:
            receiver = Receiver(await self.dial(server.url, ssl=trusting()), self.patience).start()
            same(await receiver.count(1), [Message.text("hello")], "through TLS")
            receiver.connection.abort()

    @on_real_loop
    async def test_a_certificate_that_nobody_trusts_is_refused(self) -> None:
        """Without a context the system's authorities count."""
        self._needs_tls()
        await self._distrusted("127.0.0.1", None, "a certificate of an authority that the system does not know")

    @on_real_loop
    async def test_a_certificate_for_another_host_is_refused(self) -> None:
        """RFC 2818 section 3.1."""
        self._needs_tls()
        await self._distrusted("other.example", trusting(), "a certificate for other.example at 127.0.0.1")

    async def _distrusted(self, name: str, context: ssl.SSLContext | None, what: str) -> None:
        async with BareServer(greeting, context=certified(name)) as server:
            error = await self.failure(server.url, what, ssl=context)
            assert not server.peers, f"{what}: the TLS handshake came to its end"
        assert isinstance(error, TLSError), f"{what}: dial() raised {error!r}, expected a TLSError"

    def _needs_tls(self) -> None:
        if "wss" not in self.schemes:
            leave_out(f"{self.plugin.__name__} does not dial wss, says `schemes`")
