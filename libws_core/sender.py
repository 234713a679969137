"""Users' messages on their way to the wire, from connection to connection, and what is known of their arrival."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from .asking import ask
from .errors import ClientClosed, DeliveryUnknown, LibwsError, MessageExpired, NotReady, PluginFailed
from .outbound import Ticket
from .types import Sending

if TYPE_CHECKING:
    from .session import LiveSession
    from .supervisor import Supervisor

PROOF_TIMEOUT = 20.0
"""Seconds to wait for the proof of a confirmed message, if its sender does not say."""


class Sender:
    """Gives messages to the connection, or to a plugin that holds them, and waits until they are written or proven."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._deadlines: set[asyncio.Timeout] | None = None
        """Of those who wait for something to be written; made when the first one does."""

    async def send(self, sending: Sending, proof_timeout: float | None) -> None:
        """Bring a message onto the wire; with `proof_timeout`, wait for the proof that the peer has read it."""
        waiting: Awaitable[Any] | None = self._place(sending)
        while waiting is not None:
            while waiting is not None:
                waiting = await self._written(sending, waiting)
            if proof_timeout is None:
                return
            assert sending.proof is not None  # made when it was written
            try:
                async with asyncio.timeout(proof_timeout):
                    waiting = await sending.proof
            except TimeoutError as error:
                if isinstance(error, LibwsError):
                    raise
                raise DeliveryUnknown(
                    f"no proof within {proof_timeout:g} s that the peer has read {sending.message!r}"
                ) from None

    def lost(self, session: LiveSession, unwritten: list[Ticket]) -> None:
        """A connection ended: what it left goes out again in order, or its sender learns what became of it."""
        for sending in session.proofs.take_unproven():
            self._proof_lost(sending)
        for ticket in unwritten:
            self._place_again(ticket)

    def end(self) -> None:
        """Nothing that waits to be written will be."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines or ():
            if not deadline.expired():
                deadline.reschedule(now)

    def _place(self, sending: Sending) -> Awaitable[Any]:
        """Give a message to the connection, or to the first plugin that holds it."""
        supervisor = self._supervisor
        if supervisor.ending:
            raise self._closed()
        if supervisor.target is not None:
            return supervisor.target.outbound.put(Ticket(sending.message, sending, mine=False))
        for hook in supervisor.plan.hooks["hold"]:
            held: Awaitable[Any] | None = ask(hook, "hold", sending)
            if isawaitable(held):
                return held
            if held is not None:
                raise PluginFailed(f"plugin {hook.plugin!r} answered hold with {type(held).__name__}, not an awaitable")
        raise NotReady(
            f"the client is {supervisor.machine.state.upper()}; enable 'outbox' to keep messages until it is READY"
        )

    async def _written(self, sending: Sending, waiting: Awaitable[Any]) -> Awaitable[Any] | None:
        """Wait until a message is written, or its time is over, or the client ends.

        Gives None, or where it waits now because its connection ended first.
        """
        deadline = asyncio.timeout_at(sending.expires)
        if self._deadlines is None:
            self._deadlines = set()
        try:
            async with deadline:
                self._deadlines.add(deadline)
                again = await waiting
        except TimeoutError as error:
            if isinstance(error, LibwsError) or not deadline.expired():
                raise
            if isinstance(waiting, Ticket) and waiting.done:  # in the same turn of the loop, and first
                return await waiting  # type: ignore[no-any-return]
            if self._supervisor.ending:
                raise self._closed() from None
            raise MessageExpired(f"{sending.message!r} was not written in time, and will not be sent") from None
        finally:
            self._deadlines.discard(deadline)
            if isinstance(waiting, Ticket):
                waiting.withdraw()
        return again if isinstance(waiting, Ticket) else None

    def _place_again(self, ticket: Ticket) -> None:
        """Its connection ended before it was written."""
        assert ticket.sending is not None
        try:
            ticket.again = self._place(ticket.sending)
        except LibwsError as error:
            ticket.finish(error)
        else:
            ticket.finish()

    def _proof_lost(self, sending: Sending) -> None:
        """The connection that should prove it is gone: it goes out again if that does no harm."""
        proof, again = sending.proof, None
        assert proof is not None
        if sending.idempotent:
            try:
                again = self._place(sending)
            except LibwsError:
                again = None
        if again is not None:
            proof.set_result(again)
        else:
            proof.set_exception(
                DeliveryUnknown(f"the connection ended before the peer was known to have read {sending.message!r}")
            )
            proof.exception()  # its sender gets it, if there still is one

    def _closed(self) -> ClientClosed:
        failure = self._supervisor.error
        if failure is None:
            return ClientClosed("the client is closed")
        error = ClientClosed(f"the client has failed: {failure}")
        error.__cause__ = failure
        return error
