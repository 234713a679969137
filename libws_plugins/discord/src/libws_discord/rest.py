"""What REST tells of the gateway: where it is, and how many sessions may be begun."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from libws_core import ConnectError, Request, Secret, __version__
from libws_http import Http

from .identifies import Identifies
from .profile import BOT

__all__ = ["Rest"]

AGENT = f"DiscordBot (https://pypi.org/project/libws-discord/, {__version__})"
"""https://docs.discord.com/developers/reference, "User Agent"."""


class Rest:
    """Asks REST through `http`, when there is something to ask.

    It is no plugin of the client: sessions are resumed without REST, and one answer is for all clients of a token.
    """

    def __init__(self, client: Callable[..., Any] | None) -> None:
        self._client = client
        self._http: Http | None = None
        self._token = Secret("")

    async def gateway(self, identifies: Identifies, request: Request, token: str, spare: int, resumes: bool) -> str:
        """The gateway's URL; notes how many identifies are left.

        Args:
            identifies: what is known of the token's.
            request: that of the attempt, with the URL of the REST API.
            token: the bot's.
            spare: identifies that are left alone; before that is told, REST is asked again.
            resumes: the session is to be resumed, so that only the URL is wanted.

        Raises:
            LibwsError: as of `http`.
        """
        failure = request.attempt.failure
        failed = failure is not None and failure.phase == "dial"  # "when unable to properly establish a connection"
        await identifies.asking.enter()
        try:
            loop = asyncio.get_running_loop()
            enough = identifies.remaining(loop.time()) > spare or resumes
            if identifies.url is None or failed or not enough or not (resumes or identifies.fresh(loop.time())):
                await self._ask(identifies, request, token)
        finally:
            identifies.asking.leave()
        assert identifies.url is not None
        return identifies.url

    async def _ask(self, identifies: Identifies, request: Request, token: str) -> None:
        self._token = Secret(token)
        if self._http is None:
            base = request.url.partition("?")[0].rstrip("/")
            self._http = Http(
                url=base if base.endswith(BOT) else base + BOT,
                method="GET",
                headers=self._headers,
                paths={"url": "url", "limit": "session_start_limit"},
                ttl=0,
                client=self._client,
            )
        answered = await self._http.resolve(request)
        try:
            identifies.learn(answered.url, answered.extra["http.limit"], asyncio.get_running_loop().time())
        except (KeyError, TypeError, ValueError):
            raise ConnectError("the answer of Discord's REST API has no session_start_limit that can be read") from None

    def _headers(self) -> dict[str, str]:
        # https://docs.discord.com/developers/reference, "Authentication"
        return {"Authorization": f"Bot {self._token.reveal()}", "User-Agent": AGENT}
