"""OCPP over WebSocket, the side of the charge point: versions 1.6 and 2.0.1."""

from __future__ import annotations

import asyncio
import base64
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from msgspec import Meta

from libws_core import (
    AuthenticationError,
    ClientClosed,
    Closed,
    Event,
    InvalidHandshake,
    LibwsError,
    Message,
    NotReady,
    Request,
    Secret,
    Session,
    Verdict,
    chance,
    hookimpl,
)
from libws_core.credentials import ask_source
from libws_core.types import Stage
from libws_requests import RequestFailed, Requests

from .backlog import Backlog, Entry, Payload
from .errors import BootRejected, CallError, ErrorCode
from .handlers import Desk, Handler, array_of, call_of, payload_of
from .profile import (
    ATTEMPTS,
    BOOT,
    BOOT_RETRY,
    CALL,
    ERROR,
    HEARTBEAT,
    IN_FLIGHT,
    REJECTED_MAX,
    RESULT,
    RETRY_INTERVAL,
    SUBPROTOCOLS,
)

__all__ = ["BootRejected", "CallError", "ErrorCode", "Ocpp"]

logger = logging.getLogger("libws.ocpp")

SPARE = 5.0
"""Seconds that establish has beyond the time in which an answer must come."""

H = TypeVar("H", bound=Handler)


@dataclass(eq=False, kw_only=True)
class Ocpp:
    """Be a charge point: boot, send heartbeats, call and be called, and lose no message about a transaction.

    One CALL is in flight at a time. What arrives and is not of the protocol goes on to the user.
    """

    version: Literal["1.6", "2.0.1"] = "1.6"
    """Of the protocol; there is no agreement on another one."""
    id: str | None = None
    """The charge point's id, which is added to the URL's path. None = it is the last part of that already."""
    password: Secret | Callable[..., Any] | None = None
    """For HTTP Basic authentication, with the id as user. A callable, plain or async, is asked anew on each attempt; it
    may take the request, and gives a str, or bytes such as the key of OCPP 1.6. None = no such log-in."""
    boot: dict[str, Any] | None = None
    """The payload of BootNotification, as the version has it. READY is when it was accepted. None = none is sent."""
    boot_each: bool = False
    """Send it on each connection; False = until it was accepted once, as the specifications want it."""
    heartbeat: Annotated[float, Meta(gt=0)] = HEARTBEAT
    """Seconds between Heartbeats, where no BootNotification was answered with an interval."""
    timeout: Annotated[float, Meta(gt=0)] = 30.0
    """Seconds for a CALL, its turn and its answer, unless `call` says otherwise; and for a handler of ours."""
    attempts: Annotated[int, Meta(ge=1)] = ATTEMPTS
    """How often a queued message is sent that the central system fails to process. Lost connections do not count."""
    retry_interval: Annotated[float, Meta(ge=0)] = RETRY_INTERVAL
    """Seconds to its second attempt, twice as many to the third, and so on."""
    queue_size: Annotated[int, Meta(ge=1)] = 1_000
    """Messages that may wait in the queue."""

    booted: dict[str, Any] | None = field(default=None, init=False, repr=False)
    """The newest answer to a BootNotification, with the central system's `currentTime`; None = there was none."""
    _interval: float = field(default=0.0, init=False, repr=False)
    _handlers: dict[str, Handler] = field(default_factory=dict, init=False, repr=False)
    _backlog: Backlog = field(default=None, init=False, repr=False)  # type: ignore[assignment]
    _boot_asked: asyncio.Event = field(default_factory=asyncio.Event, init=False, repr=False)
    _requests: Requests | None = field(default=None, init=False, repr=False)
    _ended: Closed | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.password, str):
            self.password = Secret(self.password)
        if self.id is not None:
            _check_id(self.id, self.password)
        missing = [] if self.boot is None else [path for path in BOOT[self.version] if not _at(self.boot, path)]
        if missing:
            raise ValueError(f"option 'boot': a BootNotification of {self.version} has {', '.join(missing)}")
        self._interval = self.heartbeat
        self._backlog = Backlog(self.queue_size, self.attempts, self.retry_interval, _new_id)

    def uses(self) -> dict[str, dict[str, Any]]:
        """Answers are found by `requests`; `backoff` waits as long as a rejection says."""
        return {
            "requests": {
                "id": "1",
                "answer_id": _answered,
                "make_id": _new_id,
                "error": _failed,
                "timeout": self.timeout,
                "limit": IN_FLIGHT,
            },
            "backoff": {"retry_after_max": REJECTED_MAX},
        }

    # What users call

    async def call(
        self, action: str, payload: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> dict[str, Any]:
        """Ask the central system, now; returns the payload of its answer.

        Args:
            timeout: seconds for its turn and its answer; None = as the option says.

        Raises:
            CallError: it answered with a CALLERROR.
            RequestLost: the connection ended before the answer came.
            RequestTimeout: no answer came in time.
            MessageExpired: it had no turn in time, and was not sent.
            NotReady: there is no READY connection; it was not sent.
            ClientClosed: the client has ended.
        """
        self._check_open()
        return await self._ask(_new_id(), action, payload or {}, timeout)

    def queue(self, action: str, payload: Payload) -> asyncio.Future[dict[str, Any]]:
        """Keep a message about a transaction until the central system has answered it. Plain: it is kept already.

        They are sent in order, one after the other, and again on the next connection where one is lost; so one may
        arrive twice.

        Args:
            payload: or a function that gives it when the message has its turn: what needs the transaction id that the
                answer to StartTransaction brings.

        Returns:
            A future of the answer's payload. It need not be awaited. It raises CallError or RequestTimeout if the
            message was given up after `attempts`, and ClientClosed if the client has ended before.

        Raises:
            OutboxFull: `queue_size` messages wait.
            ClientClosed: the client has ended.
        """
        self._check_open()
        return self._backlog.add(action, payload)

    @property
    def pending(self) -> tuple[tuple[str, Payload], ...]:
        """Action and payload of each message that waits in the queue, in order; also when the client has ended."""
        return tuple((entry.action, entry.payload) for entry in self._backlog.entries)

    def on(self, action: str) -> Callable[[H], H]:
        """Answer CALLs of that action: a decorator of a plain or async function.

        It gets the payload and gives that of the answer, or None for an empty one; to answer with a CALLERROR it raises
        CallError. They run one at a time, each for `timeout` seconds at most, and end with their connection.
        """

        def register(handler: H) -> H:
            self._handlers[action] = handler
            return handler

        return register

    def boot_again(self) -> None:
        """Send BootNotification at once, as a TriggerMessage of the central system may ask for."""
        if self.boot is None:
            raise ValueError("option 'boot' is not set, so there is nothing to send")
        self._boot_asked.set()

    # Hooks

    @hookimpl
    async def authenticate(self, request: Request) -> Request:
        """Complete the URL, offer the subprotocol, log in."""
        subprotocol = SUBPROTOCOLS[self.version]
        offered = tuple(name for name in request.subprotocols if name != subprotocol)
        url, headers = request.url, request.headers
        parts = urlsplit(url)
        if self.id is not None:
            # OCPP-J 1.6 section 3.1.1; 2.0.1 part 4 section 3.1.1: percent-encoded as RFC 3986 has it
            url = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(self.id, safe='')}"))
        if self.password is not None:
            user = self.id or unquote(parts.path.rpartition("/")[2])
            password = await self._ask_password(request)
            try:
                _check_id(user, password)
            except ValueError as error:
                raise AuthenticationError(str(error), verdict=Verdict.FATAL) from None
            pair = base64.b64encode(user.encode() + b":" + password).decode()  # RFC 7617 section 2
            headers = headers | {"Authorization": f"Basic {pair}"}
        return replace(request, url=url, headers=headers, subprotocols=(subprotocol, *offered))

    @hookimpl
    def incoming(self, session: Session) -> Stage:
        """Give a stage that takes out what the central system asks, and answers that came too late."""
        desk = Desk(session, self.version, self._handlers, self.timeout)
        requests: Requests = session.plugin(Requests)

        def take(message: Message) -> Message | None:
            said = array_of(message)
            if said is None:
                return message
            if said[0] == CALL:
                desk.take(said)
                return None
            return None if _is_answer(said) and said[1] not in requests.in_flight else message

        return take

    @hookimpl
    async def establish(self, session: Session) -> None:
        """Boot."""
        wanted = SUBPROTOCOLS[self.version]
        if session.subprotocol != wanted:
            raise InvalidHandshake(f"the central system does not speak {wanted!r}; it chose {session.subprotocol!r}")
        self._requests = session.plugin(Requests)
        # On a reconnect there should be no BootNotification: OCPP-J 1.6 section 5.4; 2.0.1 part 4, "Reconnecting"
        if self.boot is not None and (self.boot_each or self.booted is None or self.booted.get("status") != "Accepted"):
            await self._boot(session)

    @hookimpl
    async def keep_alive(self, session: Session) -> None:
        """Send what is queued, and heartbeats."""

        async def send(entry: Entry, payload: Mapping[str, Any]) -> dict[str, Any]:
            return await self._ask(entry.id, entry.action, payload, None, session)

        session.spawn(self._backlog.run(send))
        while True:
            asked = await self._boot_wanted(self._interval)
            try:
                if asked:
                    await self._boot(session)
                else:
                    await self._ask(_new_id(), "Heartbeat", {}, None, session)
            except BootRejected:
                raise
            except LibwsError as error:  # whether the line is alive is told by ping frames, and the next beat comes
                logger.warning("%s has failed: %s", "BootNotification" if asked else "Heartbeat", error)

    @hookimpl
    def observe(self, event: Event) -> None:
        """Tell those who wait for answers that the client has ended."""
        if isinstance(event, Closed):
            self._ended = event
            self._backlog.close(event.error)

    # What they share

    async def _ask(
        self,
        id: str,
        action: str,
        payload: Mapping[str, Any],
        timeout: float | None,
        session: Session | None = None,
    ) -> dict[str, Any]:
        if self._requests is None:
            raise NotReady("the client is not READY, so nothing can be asked")
        message = call_of(id, action, payload)
        try:
            answer = await self._requests.ask(message, timeout=timeout, session=session)
        except RequestFailed as error:
            code, description, details = [*error.answer.json[2:], None, None, None][:3]
            raise CallError(
                code if isinstance(code, str) else ErrorCode.GENERIC_ERROR,
                description if isinstance(description, str) else "",
                details if isinstance(details, dict) else None,
                action=action,
            ) from None
        said = payload_of(answer.json[2:])
        if said is None:
            raise CallError(ErrorCode.GENERIC_ERROR, "its answer is not [3, id, payload]", action=action)
        return said

    async def _boot(self, session: Session) -> None:
        """Send BootNotification until it is accepted."""
        assert self.boot is not None
        while True:
            self._boot_asked.clear()
            session.extend(self.timeout + SPARE)
            self.booted = said = await self._ask(_new_id(), "BootNotification", self.boot, None, session)
            status, interval = said.get("status"), _seconds(said.get("interval"))
            if status == "Accepted":
                self._interval = interval or self.heartbeat
                return
            wait = interval or BOOT_RETRY
            if status != "Pending":
                # Until then no message may be sent, nor answered, and the channel may be closed: 1.6 section 4.2
                raise BootRejected(f"BootNotification was answered with {status!r}", retry_after=wait)
            session.extend(
                wait + SPARE
            )  # the channel stays open, since the central system may call us: 1.6 section 4.2
            await self._boot_wanted(wait)

    async def _boot_wanted(self, seconds: float) -> bool:
        """Wait so long, or until a BootNotification is asked for; says which it was."""
        try:
            async with asyncio.timeout(seconds):
                await self._boot_asked.wait()
        except TimeoutError:
            return False
        return True

    async def _ask_password(self, request: Request) -> bytes:
        """The password."""
        made: Any = self.password
        if callable(made):
            made = await ask_source("password", made, request)
        made = made.reveal() if isinstance(made, Secret) else made
        if not isinstance(made, (str, bytes)):
            raise TypeError(f"option 'password' gave {type(made).__name__}, not a str or bytes")
        return made.encode() if isinstance(made, str) else made

    def _check_open(self) -> None:
        if self._ended is not None:
            raise ClientClosed("the client has ended")


def _new_id() -> str:
    """A message id, at most 36 characters, which no other has: OCPP-J 1.6 section 4.1.4; 2.0.1 part 4 section 4.1.4."""
    return str(uuid.UUID(bytes=chance.token(16), version=4))


def _is_answer(said: list[Any]) -> bool:
    return said[0] in (RESULT, ERROR) and len(said) > 1 and isinstance(said[1], str)


def _answered(message: Message) -> str | None:
    """The id of the CALL that a message answers, None if it is no answer."""
    said = array_of(message)
    return said[1] if said is not None and _is_answer(said) else None


def _failed(message: Message) -> Any:
    said = message.json
    return said[2:] if said[0] == ERROR else None


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _seconds(value: Any) -> float:
    """An interval that the central system gave; 0 if it gave none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0 else 0.0


def _check_id(id: str, password: Any) -> None:
    """Refuse what cannot be a charge point's id in a URL, or as a user."""
    if not id:
        raise ValueError("option 'id': the charge point has none; set it, or put it at the end of the URL's path")
    if password is not None and ":" in id:
        raise ValueError("option 'id': with a password it cannot have a colon (RFC 7617 section 2)")
