"""Which kernel it is: started or found before the dial, looked after, and shut down in the end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from libws_core import AuthenticationError, HandshakeRejected, LibwsError, Request, Secret, Verdict, chance
from libws_core.credentials import ask_source, concealed
from libws_core.secret import public_url

from .errors import KernelGone
from .profile import DEAD, GONE, REFUSED
from .server import Address, Server

__all__ = ["Kernel"]

TOKEN_CURE = "see option 'token' of jupyter, or start the server with a token"
URL_CURE = "the client's URL must be the server's own, such as http://HOST:PORT/, with its base_url if it has one"


class Kernel:
    """One kernel of a server, or one after the other.

    Args:
        server: what is asked.
        token: the option.
        given: the id of a kernel that runs; None = one is started.
        model: `name` and `path` for one that is started.
        renew: start another one when it is gone.
    """

    def __init__(
        self,
        server: Server,
        token: Any,
        given: str | None,
        model: Mapping[str, str | None],
        renew: bool,
    ) -> None:
        self.id: str | None = None
        self.started = False
        """It was started for us."""
        self.session = ""
        """Of all our connections: what the server knows us by."""
        self.replaced: Callable[[str], object] = lambda _: None
        """Called with the reason when it is gone, and another one is to be started."""
        self._server = server
        self._token = token
        self._given = given
        self._model = {name: value for name, value in model.items() if value is not None}
        self._renew = renew
        self._chosen: str | None = None
        self._where: tuple[Address, Request] | None = None

    async def find(self, request: Request) -> tuple[str, Secret | None]:
        """Start it, or see that it is there: the URL of its channels, and the token of this attempt.

        Raises:
            KernelGone: it is not there.
            LibwsError: what the server, or the way to it, has against that.
        """
        address = Address.of(request.url)
        self._where = address, request
        token = await self._ask_token(address, request)
        if self.id is not None:
            try:
                await self._look(address, token, request, self.id)
            except KernelGone as error:
                if error.verdict is Verdict.FATAL:
                    raise
        if self.id is None:
            self.id = await self._begin(address, token, request)
        self.session = self.session or chance.token(16).hex()
        return address.channels(self.id, self.session), token

    async def state(self) -> str:
        """Its state, as the server tells it; empty if it cannot be asked.

        Raises:
            KernelGone: it is not there any more.
        """
        if self._where is None or self.id is None:
            return ""
        address, request = self._where
        try:
            return await self._look(address, await self._ask_token(address, request), request, self.id)
        except KernelGone:
            raise
        except LibwsError:
            return ""  # of the connection others judge

    async def act(self, action: str) -> None:
        """Interrupt or restart it, or, with an empty action, shut it down."""
        if self._where is None or self.id is None:
            raise KernelGone("there is no kernel yet, or no more")
        address, request = self._where
        try:
            await self._server.act(action, address, await self._ask_token(address, request), request, self.id)
        except HandshakeRejected as error:
            raise self.meaning(error) or error from None

    def gone(self, why: str) -> KernelGone:
        """It is not there any more: what that means for the client."""
        kernel, place = self.id, public_url(self._where[0].rest) if self._where is not None else "the server"
        text = f"{why}: {kernel} on {place}; what was in its memory is lost"
        if not self._renew:
            return KernelGone(f"{text}; with option gone='new' of jupyter another one is started")
        if kernel is not None:
            self.id = self._chosen = self._given = None
            self.replaced(text)
        return KernelGone(f"{text}; another one is started", verdict=Verdict.RETRY)

    def meaning(self, error: HandshakeRejected) -> LibwsError | None:
        """What a refusal of the server means, with its cure."""
        cures = (TOKEN_CURE, URL_CURE)
        if error.text.endswith(cures):
            return None
        if error.status in REFUSED:
            verdict = Verdict.REFRESH if callable(self._token) else Verdict.FATAL
            return error.but(text=f"{error.text}; {TOKEN_CURE}", verdict=verdict)
        if error.status == GONE:
            if error.phase == "dial" and self.id is not None:
                return self.gone("the server has no such kernel any more")
            return error.but(text=f"{error.text}; {URL_CURE}", verdict=Verdict.FATAL)
        return None

    async def _begin(self, address: Address, token: Secret | None, request: Request) -> str:
        if self._given is not None:
            try:
                await self._server.state(address, token, request, self._given)
            except HandshakeRejected as error:
                if error.status != GONE:
                    raise
                place = public_url(address.rest)
                text = f"there is no kernel {self._given} on {place}; see option 'kernel' of jupyter"
                raise KernelGone(text) from None
            return self._given
        # An id of our own: if the answer is lost, the same request gives the same kernel, and no second one.
        self._chosen = self._chosen or str(uuid.UUID(bytes=chance.token(16), version=4))
        model = {**self._model, "kernel_id": self._chosen}
        kernel = await self._server.start(address, token, request, model)
        self.started = True
        return kernel

    async def _look(self, address: Address, token: Secret | None, request: Request, kernel: str) -> str:
        try:
            state = await self._server.state(address, token, request, kernel)
        except HandshakeRejected as error:
            if error.status == GONE:
                raise self.gone("the server has no such kernel any more") from None
            raise
        if state == DEAD:
            raise self.gone("the kernel is dead")
        return state

    async def _ask_token(self, address: Address, request: Request) -> Secret | None:
        if not callable(self._token):
            return self._token or address.token
        made = concealed(await ask_source("token", self._token, request))
        if made is not None and not isinstance(made, Secret):
            raise TypeError(f"option 'token' gave {type(made).__name__}, not a str")
        if made is not None and any(character < " " for character in made.reveal()):
            raise AuthenticationError("the token has control characters", verdict=Verdict.FATAL)
        return made
