"""One execution, over all connections that bring something of it, and the iterator that reads its outputs."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from libws_core import Gap, LibwsError

from .errors import ExecutionFailed, ReaderTooSlow, ReplyTimeout
from .framing import Received

__all__ = ["Execution", "Output", "Prompt"]


class Output(NamedTuple):
    """What a kernel says of an execution on iopub."""

    type: str
    """The `msg_type`: "stream", "display_data", "update_display_data", "execute_result", "error", "status",
    "execute_input", "clear_output", or what else the kernel says."""
    content: Mapping[str, Any]
    metadata: Mapping[str, Any]
    buffers: list[bytes]

    @property
    def text(self) -> str:
        """What a terminal would show: of a stream, of the plain text of data, of a traceback. Else empty."""
        if self.type == "stream":
            return str(self.content.get("text", ""))
        if self.type == "error":
            return "\n".join(map(str, self.content.get("traceback") or []))
        data = self.content.get("data")
        return str(data.get("text/plain", "")) if isinstance(data, dict) else ""


class Prompt(str):
    """What the code that asks for input shows."""

    password: bool
    """What is typed must not be shown."""

    def __new__(cls, content: Mapping[str, Any]) -> Self:
        """Make one of the content of an input_request."""
        prompt = super().__new__(cls, content.get("prompt", ""))
        prompt.password = content.get("password") is True
        return prompt


class _Seam:
    """The place among outputs where a connection ends and the next begins."""

    def __init__(self) -> None:
        self.decided = False
        self.gap: Gap | None = None


class Execution:
    """The outputs of an execution: an async iterator that `Jupyter.execute` gives.

    It ends when the kernel is done: it has answered, and has said that it is idle again. A Python exception is an
    output, of type "error", and stands in `reply`; `result` raises it.
    """

    def __init__(
        self,
        id: str,
        *,
        messages: int,
        size: int,
        seconds: float | None,
        markers: bool,
        stdin: Callable[..., Any] | None,
        over: Callable[[Execution], object],
    ) -> None:
        self.id = id
        """The `msg_id` of its request."""
        self.reply: dict[str, Any] | None = None
        """The content of the execute_reply: `status` ("ok", "error", "aborted"), `execution_count`, `user_expressions`
        and more. None until it has come."""
        self.limited = False
        """The server has left out outputs, since there were too many at once: it says so on stderr, too."""
        self.stdin = stdin
        self.asked: Received | None = None
        """What the kernel wants to be told, and was not yet."""
        self._messages = messages
        self._size = size
        self._seconds = seconds
        self._deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        self._markers = markers
        self._over = over
        self._idle = False
        self._last = 0
        self._items: deque[tuple[Output | Gap | _Seam, int]] = deque()
        self._count = 0
        self._bytes = 0
        self._done = False
        self._error: Exception | None = None
        self._spoilt: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def done(self) -> bool:
        """Nothing more will come; what has come can still be read."""
        return self._done

    @property
    def unanswered(self) -> bool:
        """The kernel is idle again, and its answer has not come yet."""
        return self._idle and not self._done

    # What connections bring

    def add(self, message: Received, size: int, number: int) -> None:
        """The kernel has said something on iopub."""
        if self._done:
            return
        self._last = max(self._last, number)
        if self._count and (self._count >= self._messages or self._bytes + size > self._size):
            text = f"{self._count} outputs ({self._bytes} bytes) of an execution wait for their reader"
            self.finish(ReaderTooSlow(text))
            return
        type = str(message["header"].get("msg_type"))
        output = Output(type, message["content"], message["metadata"], message["buffers"])
        self._count += 1
        self._bytes += size
        self._items.append((output, size))
        if type == "status" and output.content.get("execution_state") == "idle":
            self._idle = True
            self._end()
        self._wake()

    def answer(self, content: dict[str, Any], number: int) -> None:
        """The kernel has answered."""
        self._last = max(self._last, number)
        self.reply = content
        self._end()

    def mark(self, gap: Gap) -> None:
        """Something is missing here."""
        if not self._done:
            self._items.append((gap, 0))
            self._wake()

    def spoil(self, error: Exception) -> None:
        """When the kernel is done, the reader gets this."""
        self._spoilt = error

    def _end(self) -> None:
        if self._idle and self.reply is not None:
            self.finish(self._spoilt)

    def finish(self, error: Exception | None = None) -> None:
        """Nothing follows; with an error, the reader gets that behind the last output."""
        if self._done:
            return
        self._done, self._error = True, self._spoilt or error
        if error is not None:
            self.decide(None)
        self._over(self)
        self._wake()

    def part(self) -> None:
        """Another connection begins to bring what follows."""
        if not self._done:
            self._items.append((_Seam(), 0))

    def decide(self, gap: Gap | None, whole: Callable[[int], bool] | None = None) -> None:
        """Say what is missing where connections met: this, or nothing.

        Args:
            whole: nothing is missing up to this number of a message, 0 = up to the newest.
        """
        if gap is not None and whole is not None and whole(self._last if self._done else 0):
            gap = None
        for item, _ in self._items:
            if isinstance(item, _Seam) and not item.decided:
                item.decided, item.gap = True, gap
                gap = None  # one tells it
        self._wake()

    # The reader

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Output | Gap:
        while True:
            if self._items:
                item, size = self._items[0]
                if isinstance(item, _Seam) and not item.decided:
                    await self._news()
                    continue
                self._items.popleft()
                if isinstance(item, _Seam):
                    if item.gap is None:
                        continue
                    item = item.gap
                if isinstance(item, Output):
                    self._count -= 1
                    self._bytes -= size
                    return item
                if self._markers:
                    return item
            elif self._done:
                error, self._error = self._error, None
                if error is not None:
                    raise error
                raise StopAsyncIteration
            else:
                await self._news()

    async def result(self) -> dict[str, Any]:
        """Wait for the end, read whatever is left, and give the content of the execute_reply.

        Raises:
            ExecutionFailed: its status is "error" or "aborted".
            LibwsError: what reading raises.
        """
        async for _ in self:
            pass
        reply = self.reply
        if reply is None:
            raise RuntimeError("this execution was left by its reader before it ended")
        if reply.get("status") != "ok":
            raise ExecutionFailed(reply)
        return reply

    async def aclose(self) -> None:
        """Want no more of it. The kernel goes on; `Jupyter.interrupt` stops it."""
        self._items.clear()
        self._count = self._bytes = 0
        self.finish()
        self._error = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _news(self) -> None:
        if self._waiter is not None:
            raise RuntimeError("this execution has a reader already")
        self._waiter = waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(self._deadline):
                await waiter
        except TimeoutError as error:
            if isinstance(error, LibwsError):
                raise
            self.finish(ReplyTimeout(f"the kernel was not done within {self._seconds:g} s"))
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        return f"Execution({self.id!r}, {'done' if self._done else 'running'})"
