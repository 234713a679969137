"""One connection, and the questions that wait for the kernel's answers on it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from libws_core import LibwsError, Message, NotReady, SendError, Session, clock

from .errors import ReplyLost
from .execution import Execution
from .framing import Received, encode
from .profile import IDLE, SUBPROTOCOL, VERSION

__all__ = ["Line", "Question"]


class Question:
    """A request whose answer somebody waits for."""

    def __init__(self, late: float | None) -> None:
        self.reply: Received | None = None
        self.idle = False
        self.scope: asyncio.Timeout | None = None
        """The deadline for both, moved to `late` seconds after the answer."""
        self._late = late
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Ends when the kernel has answered and is idle again: then everything before has come, too."""

    def take(self, message: Received) -> None:
        """The kernel has said something to it."""
        if message["channel"] != "iopub":
            self.reply = message
        elif message["content"].get("execution_state") == IDLE:
            self.idle = True
        if self.idle and self.reply is not None and not self.over.done():
            self.over.set_result(None)
        elif self.scope is not None and self._late is not None and self.reply is not None and not self.scope.expired():
            soon = asyncio.get_running_loop().time() + self._late
            self.scope.reschedule(min(soon, self.scope.when() or soon))

    def lose(self, why: LibwsError) -> None:
        """The connection has ended."""
        if not self.over.done():
            error = ReplyLost("the connection ended before the kernel had answered")
            error.__cause__ = why
            self.over.set_exception(error)
            self.over.exception()  # whoever waits gets it; nobody may


class Line:
    """One connection of a client."""

    def __init__(self) -> None:
        self.session: Session = None  # type: ignore[assignment]
        self.v1 = False
        self.name = ""
        """The session's id, which stands in what we send."""
        self.ready = False
        self.heard = 0.0
        """The loop's time when the kernel last said something."""
        self.suspicious = asyncio.Event()
        """The kernel has said that it ends."""
        self.questions: dict[str, Question] = {}
        self.parted: list[Execution] = []
        """Executions that ran when it began, until it is known what of them is missing."""

    def begin(self, session: Session, name: str) -> None:
        """It is this connection."""
        self.session, self.name = session, name
        self.v1 = session.subprotocol == SUBPROTOCOL
        self.heard = asyncio.get_running_loop().time()

    def message(
        self,
        id: str,
        channel: str,
        type: str,
        content: Mapping[str, Any],
        *,
        parent: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: list[bytes] | None = None,
    ) -> Message:
        """A message for the kernel.

        Raises:
            ValueError: it holds what JSON cannot.
        """
        header = {
            "msg_id": id,
            "session": self.name,
            "username": "libws",
            "date": datetime.fromtimestamp(clock.wall(), UTC).isoformat().replace("+00:00", "Z"),
            "msg_type": type,
            "version": VERSION,
        }
        received: Received = {
            "channel": channel,
            "header": header,
            "parent_header": dict(parent or {}),
            "metadata": dict(metadata or {}),
            "content": dict(content),
            "buffers": buffers or [],
        }
        return encode(received, v1=self.v1)

    async def write(self, message: Message) -> None:
        """Write a message; returns when that is done, which proves nothing.

        Raises:
            NotReady: the connection ended before.
            SendError: another plugin refused it.
        """
        try:
            await self.session.send(message)
        except SendError:
            raise
        except LibwsError as error:
            raise NotReady("the connection ended before it was written") from error

    async def ask(self, id: str, message: Message, seconds: float | None, late: float | None = None) -> Received | None:
        """Write a request and wait until the kernel is done with it; None = it was not, in so many seconds.

        Args:
            late: seconds that it may be not yet idle after its answer; None = as long as there are.

        Raises:
            ReplyLost: the connection ended.
            SendError: it was not written.
        """
        self.questions[id] = question = Question(late)
        try:
            async with asyncio.timeout(seconds) as scope:
                question.scope = scope
                await self.write(message)
                await question.over
        except TimeoutError as error:
            if isinstance(error, LibwsError) or not scope.expired():
                raise
            return None
        finally:
            self.questions.pop(id, None)
        return question.reply

    def lose(self, why: LibwsError) -> None:
        """It has ended."""
        for question in [*self.questions.values()]:
            question.lose(why)
