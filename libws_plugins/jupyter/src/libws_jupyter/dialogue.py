"""What is said between us and the kernel, over all connections: requests, what comes of them, and whether it lives."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Mapping
from typing import Any, Literal

from libws_core import ClientClosed, Gap, KeepAliveTimeout, LibwsError, NotReady, clock
from libws_core.credentials import revealed

from .errors import InputRefused, ReplyLost
from .events import StateLost
from .execution import Execution, Prompt
from .framing import Received
from .kernel import Kernel
from .ledger import Ledger
from .line import Line
from .profile import DEAD, IDLE, LIMITED, RESTARTED, STARTING

__all__ = ["Dialogue"]

logger = logging.getLogger("libws.jupyter")

SERVERS = RESTARTED | {DEAD}
"""States that only a server tells."""
RESTART = "the kernel was restarted"
LATE = 1.0
"""Seconds that the answer on shell may come after the kernel has said on iopub that it is idle."""
LOOK = 0.5
"""Seconds between two looks at a kernel that has said that it ends."""


class Dialogue:
    """The executions of one client, its connections, and what is known of the kernel at their other end.

    Args:
        kernel: which one it is.
        interval: seconds of silence after which it is asked whether it lives.
        patience: seconds for its answer.
        others: what belongs to no request of ours is wanted.
    """

    def __init__(self, kernel: Kernel, interval: float, patience: float, others: bool) -> None:
        self.executions: dict[str, Execution] = {}
        """Those that run, or wait in the kernel, by the id of their request."""
        self.lines: list[Line] = []
        """Connections that are READY, the newest last."""
        self.ledger = Ledger()
        self.losses: list[str] = []
        """Why the kernel's memory was lost, while nobody could be told."""
        self.lost_at = 0.0
        """Wall time at which the last connection was lost."""
        self.ended = False
        """The client has."""
        self._kernel = kernel
        self._interval = interval
        self._patience = patience
        self._others = others
        self._life: str | None = None
        """The kernel's own session, which a restart changes. None = it tells none."""
        self._channel: Literal["control", "shell"] = "control"
        self._numbers = itertools.count(1)

    def line(self) -> Line:
        """The connection on which to send.

        Raises:
            NotReady: there is none.
            ClientClosed: the client has ended.
        """
        if self.ended:
            raise ClientClosed("the client is closed")
        if not self.lines:
            raise NotReady("the client is not READY; what is to be executed does not wait for it")
        return self.lines[-1]

    def next_id(self) -> str:
        """A new `msg_id`."""
        return f"{self._kernel.session}_{next(self._numbers)}"

    # What arrives

    def arrived(self, line: Line, received: Received, size: int) -> bool:
        """The kernel, or the server in its name, has said something; true = it belongs to no request of ours."""
        header, parent, content = received["header"], received["parent_header"], received["content"]
        session, type, number, seen = header.get("session"), header.get("msg_type"), 0, False
        state = str(content.get("execution_state")) if type == "status" and not parent else ""
        of_server = session == line.name or state in SERVERS  # which has our session, as a rule
        if not of_server:
            if session != self._life and (parent or state == STARTING):
                self.meet(line, header)
            number, seen = self.ledger.note(header.get("msg_id"))
        asked = str(parent.get("msg_id"))
        if (execution := self.executions.get(asked)) is not None:
            if not (seen and received["channel"] == "iopub"):  # in a move two connections bring it
                self._of_execution(line, execution, received, size, number)
            return False
        if (question := line.questions.get(asked)) is not None:
            question.take(received)
            return False
        if state == DEAD or (type == "shutdown_reply" and content.get("restart") is not True):
            line.suspicious.set()
        elif state in RESTARTED:
            self._restarted(line)
        return bool(parent.get("session") != line.name)

    def _of_execution(self, line: Line, execution: Execution, received: Received, size: int, number: int) -> None:
        header, content, channel = received["header"], received["content"], received["channel"]
        if channel == "iopub":
            execution.add(received, size, number)
            if execution.unanswered:
                line.session.spawn(self._end_late(line, execution))
            text = content.get("text")
            if header.get("session") == line.name and isinstance(text, str) and text.startswith(LIMITED):
                execution.limited = True
                now, generation = clock.wall(), line.session.request.attempt.generation
                why = f"the server leaves outputs out: {text.partition('.')[0]}"
                gap = Gap(why, generation, now, now, execution.id)
                execution.mark(gap)
                line.session.emit(gap)
        elif channel == "stdin":
            execution.asked = received
            line.session.spawn(self.answer(line, execution, received))
        elif header.get("msg_type") == "execute_reply":
            execution.answer(content, number)

    async def answer(self, line: Line, execution: Execution, asked: Received) -> None:
        """Ask the user for the input that the kernel wants."""
        if execution.stdin is None:
            await self._refuse(execution, InputRefused("the kernel asks for input, and the execution has no 'stdin'"))
            return
        try:
            value: Any = execution.stdin(Prompt(asked["content"]))
            value = revealed(await value if inspect.isawaitable(value) else value)
            if not isinstance(value, str):
                raise TypeError(f"'stdin' gave {type(value).__name__}, not a str")
        except Exception as error:  # the reader's own
            await self._refuse(execution, error)
            return
        if execution.asked is asked and not execution.done:
            content = {"value": value, "status": "ok"}
            message = line.message(self.next_id(), "stdin", "input_reply", content, parent=asked["header"])
            try:
                await line.write(message)
                await line.session.ping(self._patience)  # its answer proves that the server has read what stands before
            except LibwsError:
                return  # the next connection asks again
            if execution.asked is asked:
                execution.asked = None

    async def _refuse(self, execution: Execution, error: Exception) -> None:
        """Interrupt the kernel, which waits for input; the execution's end brings the error."""
        execution.spoil(error)
        try:
            await self._kernel.act("interrupt")
            execution.asked = None
        except LibwsError as problem:
            logger.warning("the kernel waits for input, and could not be interrupted: %s", problem)
            execution.finish(error)

    # The kernel's life

    def meet(self, line: Line, header: Mapping[str, Any]) -> None:
        """This says a kernel; another one than before, if its own session is another."""
        session = header.get("session")
        if not isinstance(session, str) or session == line.name:  # some kernels repeat the session of who asks
            self.ledger.forget()
            return
        if self._life is not None and session != self._life:
            self._lose(RESTART, line)
        self._life = session
        self.ledger.begin(header.get("msg_id"))

    def _restarted(self, line: Line) -> None:
        """The server has restarted the kernel, which died: it may have other ports, which a new connection finds."""
        if self._life is None:
            self._lose("the kernel has died and was restarted", line)
        if line.ready:
            line.session.reopen("the kernel was restarted", order="break-first")

    def replace(self, why: str) -> None:
        """The kernel is gone, and another one will be started."""
        self._life = None
        self.ledger.forget()
        self.losses.append(why)
        for execution in [*self.executions.values()]:
            execution.finish(ReplyLost(why))

    def _lose(self, why: str, line: Line) -> None:
        if line.ready:
            line.session.emit(StateLost(self._kernel.id or "", why))
            self.fence(line, why)
        else:
            self.losses.append(why)

    def fence(self, line: Line, why: str) -> None:
        """End executions whose end we shall not hear: the kernel's shell works off one request after the other."""
        if self.executions:
            line.session.spawn(self._end_before(line, [*self.executions.values()], why))

    async def _end_late(self, line: Line, execution: Execution) -> None:
        """End an execution that has no answer: ipykernel gives none if it is interrupted before the code begins."""
        await asyncio.sleep(LATE)
        if not execution.done:
            await self._end_before(line, [execution], "the kernel is idle again, and has not answered")

    async def _end_before(self, line: Line, executions: list[Execution], why: str) -> None:
        id, life = self.next_id(), self._life
        try:
            await line.ask(id, line.message(id, "shell", "kernel_info_request", {}), None)
        except LibwsError:
            return  # the next connection asks again
        if self._life != life:
            why = RESTART
        for execution in executions:
            execution.finish(ReplyLost(f"{why}; what became of the execution is not known"))

    async def probe(self, line: Line) -> Received | None:
        """Ask the kernel whether it lives; None = it is busy, or cannot be asked.

        Raises:
            KernelGone: it does not.
            KeepAliveTimeout: it should answer, and does not.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        while True:
            paused, id = line.session.paused_total, self.next_id()
            message = line.message(id, self._channel, "kernel_info_request", {})
            reply = await line.ask(id, message, deadline - loop.time(), LATE)
            if reply is not None or line.session.paused_total > paused:
                return reply
            if deadline - loop.time() > LATE:
                continue  # it has answered, but iopub has brought nothing: the server did not listen there yet
            if await self._kernel.state() != IDLE:
                return None
            if self._channel == "shell":
                raise KeepAliveTimeout(f"the kernel is idle, and has not answered within {self._patience:g} s")
            self._channel = "shell"  # an old kernel, which answers nothing on control
            deadline = loop.time() + self._patience

    async def watch(self, line: Line) -> None:
        """Ask whenever nothing was heard for a while."""
        loop = asyncio.get_running_loop()
        while True:
            quiet = line.heard + self._interval - loop.time()
            if quiet > 0 and not line.suspicious.is_set():
                try:
                    async with asyncio.timeout(quiet):
                        await line.suspicious.wait()
                except TimeoutError:
                    pass
                continue
            if line.suspicious.is_set():
                line.suspicious.clear()
                for _ in range(int(self._patience / LOOK) + 1):
                    await self._kernel.state()
                    await asyncio.sleep(LOOK)
            await self.probe(line)
            line.heard = max(line.heard, loop.time() - self._interval / 2)

    def lose_line(self, line: Line, why: LibwsError) -> None:
        """A connection has ended: executions go on, what was asked on it does not."""
        if line in self.lines:
            self.lines.remove(line)
            self.lost_at = clock.wall()
        elif self._others:
            self.ledger.doubt()  # what it brought before READY was dropped
        line.lose(why)
