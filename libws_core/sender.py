"""Users' messages on their way to the wire, from connection to connection, and what is known of their arrival.

Each message has one place: the ticket of a connection's queue, or the awaitable of the plugin that holds it. Its sender
waits there until the message is written, wherever it is moved meanwhile; whatever ends the sender first takes it back.
"""

from __future__ import annotations

import asyncio
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
        self._number = 0
        self._deadlines: dict[asyncio.Timeout, None] | None = None
        """Of those who wait for something to be written, in order; made when the first one does."""

    async def send(self, sending: Sending, proof_timeout: float | None) -> None:
        """Bring a message onto the wire; with `proof_timeout`, wait for the proof that the peer has read it."""
        self._number = sending.number = self._number + 1
        self._place(sending)
        try:
            while True:
                await self._written(sending)
                if proof_timeout is None or await self._proven(sending, proof_timeout):
                    return
        except Exception as error:
            if sending.proof is None or isinstance(error, DeliveryUnknown):
                raise
            why = str(error) if isinstance(error, LibwsError) else type(error).__name__
            raise DeliveryUnknown(
                f"{sending.message!r} was written, its proof did not come, and it was not written again: {why}"
            ) from error
        finally:
            _take_back(sending)

    def lost(self, session: LiveSession, unwritten: list[Ticket]) -> None:
        """A connection ended: what it left goes out again in order, or its sender learns what became of it."""
        for sending in session.proofs.take_unproven():
            self._proof_lost(sending)
        for ticket in unwritten:
            self.place_again(ticket)

    def place_again(self, ticket: Ticket) -> None:
        """The connection whose ticket this is will not write it: the message goes where it would go now."""
        assert ticket.sending is not None
        try:
            self._place(ticket.sending)
        except LibwsError as error:
            ticket.finish(error)
        else:
            ticket.finish()

    def end(self) -> None:
        """Nothing that waits to be written will be."""
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines or ():
            if not deadline.expired():
                deadline.reschedule(now)

    def _place(self, sending: Sending) -> None:
        """Give a message to the connection, or to the first plugin that holds it."""
        supervisor = self._supervisor
        if supervisor.ending:
            raise self._closed()
        if supervisor.target is not None:
            supervisor.target.outbound.put(Ticket(sending.message, sending))
            return
        for hook in supervisor.plan.hooks["hold"]:
            held: Any = ask(hook, "hold", sending)
            if isawaitable(held):
                sending.place = held
                return
            if held is not None:
                raise PluginFailed(f"plugin {hook.plugin!r} answered hold with {type(held).__name__}, not an awaitable")
        raise NotReady(
            f"the client is {supervisor.machine.state.upper()}; enable 'outbox' to keep messages until it is READY"
        )

    async def _written(self, sending: Sending) -> None:
        """Wait until a message is written, or its time is over, or the client ends."""
        if self._deadlines is None:
            self._deadlines = {}
        while (place := sending.place) is not None:
            deadline = asyncio.timeout_at(sending.expires)
            try:
                async with deadline:
                    self._deadlines[deadline] = None
                    await place
            except TimeoutError as error:
                if isinstance(error, LibwsError) or not deadline.expired():
                    raise
                if sending.place is None:  # written in the same turn of the loop, and first
                    return
                if self._supervisor.ending:
                    closed = self._closed()
                    raise closed from closed.__cause__
                raise MessageExpired(f"{sending.message!r} was not written in time, and will not be sent") from None
            finally:
                self._deadlines.pop(deadline, None)
            if sending.place is place:  # the plugin that held it says so
                sending.place = None

    async def _proven(self, sending: Sending, timeout: float) -> bool:
        """Wait for the proof; False if the connection is lost and the message is on its way again."""
        proof = sending.proof
        if proof is None:
            raise DeliveryUnknown(f"a plugin took {sending.message!r} past the connection that could prove it")
        try:
            async with asyncio.timeout(timeout):
                return bool(await proof)
        except TimeoutError:
            if not proof.cancelled():  # it came in the same turn of the loop, and first
                return bool(proof.result())
            raise DeliveryUnknown(f"no proof within {timeout:g} s that the peer has read {sending.message!r}") from None

    def _proof_lost(self, sending: Sending) -> None:
        """The connection that should prove it is gone: it goes out again if that does no harm."""
        proof = sending.proof
        assert proof is not None
        why: LibwsError | None = None
        if sending.idempotent:
            sending.proof = proof.get_loop().create_future()  # it may be written, and proven, within this call
            try:
                self._place(sending)
            except LibwsError as error:
                why, sending.proof = error, proof
            else:
                proof.set_result(False)
                return
        unknown = DeliveryUnknown(f"the connection ended before the peer was known to have read {sending.message!r}")
        unknown.__cause__ = why
        proof.set_exception(unknown)
        proof.exception()  # its sender gets it, if there still is one

    def _closed(self) -> ClientClosed:
        failure = self._supervisor.error
        if failure is None:
            return ClientClosed("the client is closed")
        error = ClientClosed(f"the client has failed: {failure}")
        error.__cause__ = failure
        return error


def _take_back(sending: Sending) -> None:
    """Its sender waits no longer: if it is not written yet, it will not be, and else not again."""
    place, sending.place = sending.place, None
    if sending.proof is not None:
        sending.proof.cancel()
    if place is None:
        return
    if isinstance(place, Ticket):
        place.withdraw()
    else:  # what a plugin gave, such as a future or a coroutine
        cancel = getattr(place, "cancel", None) or getattr(place, "close", None)
        if cancel is not None:
            cancel()
    sending.expires = float("-inf")
