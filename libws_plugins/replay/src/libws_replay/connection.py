"""A recorded connection that lives again: a `libws_core.Connection` whose server says what it said then, when it did.

Nothing but the loop's clock moves it, so it runs on a virtual one as well.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from typing import Literal

from libws_core import ConnectionClosed, Headers, Kind, LibwsError, Message, MessageTooBig, ProtocolError, Verdict
from libws_core.closing import check_code, fitting

from .matching import difference
from .recording import Item, Talk, is_data, rebuilt

__all__ = ["Expect", "Mismatch", "ReplayedConnection"]

Expect = Literal["anything", "order", "match"]

BATCH = 100
"""Messages that are delivered in one turn of the loop."""
LATE = 16
"""Pongs that wait while reading is paused; newer ones take the place of older ones (RFC 6455 section 5.5.3)."""


class Mismatch(ConnectionClosed):
    """The client did not send what it sent when it was recorded. The text names the line of the recording. FATAL."""

    verdict = Verdict.FATAL
    fault = "local"


class ReplayedConnection:
    """Plays one recorded connection.

    What the server sent comes at its times. Pings are answered as the server answered them, after as long, and not at
    all where it fell silent. Where the client closed in the recording, nothing more comes until it closes again.

    Args:
        speed: how many times as fast; None = without waiting.
        expect: "anything" = by time alone; "order" = what came behind a message of the client waits until the client
            has sent as many; "match" = and they must be the same.
        vary: keys of JSON whose values may differ.
        patience: seconds that the client may be later than it was.
        played: called when everything recorded has come, or never will.
    """

    def __init__(
        self,
        talk: Talk,
        *,
        speed: float | None,
        expect: Expect,
        vary: Collection[str],
        patience: float,
        played: Callable[[LibwsError | None], object],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.subprotocol = talk.opened.subprotocol
        self.headers = Headers(talk.opened.answer)
        self.received = loop.time()
        """The loop's time when something last arrived."""
        self._talk, self._expect, self._vary, self._patience = talk, expect, vary, patience
        self._speed, self._played = speed, played
        self._loop = loop
        self._items, self._answers = _without_answers(talk)
        self._letters = [item for item in self._items if item.out and is_data(item)]
        self._position = 0
        self._passed = 0  # letters that the timeline has passed
        self._sent = 0  # messages with data that the client has sent
        self._pings = 0
        self._began = loop.time()  # this time of the loop ...
        self._origin = 0.0  # ... is this one of the recording
        self._deliver: Callable[[Message], object] | None = None
        self._tell_end: Callable[[LibwsError], object] | None = None
        self._started = self._paused = self._aborted = self._ended = self._over = False
        self._got_close = False
        self._sent_close: int | None = None
        self._recorded_close: int | None = None
        self._handle: asyncio.Handle | None = None
        self._late: deque[Message] = deque(maxlen=LATE)
        self._pongs: set[asyncio.Handle] = set()

    @property
    def buffered(self) -> int:
        """Nothing ever waits to be written."""
        return 0

    def start(self, deliver: Callable[[Message], object], ended: Callable[[LibwsError], object]) -> None:
        """Begin to play."""
        if self._started:
            raise RuntimeError("this connection was started already")
        self._started = True
        self._deliver, self._tell_end = deliver, ended
        self._began = self._loop.time()
        if self._aborted:
            self._loop.call_soon(self._finish, self._dropped())
        else:
            self._soon()

    def write(self, message: Message) -> None:
        """Take a message of the client.

        Raises:
            ValueError: no frame can hold it.
        """
        kind, data = message.kind, message.data
        if kind is Kind.CLOSE:
            self.close(message.code or 1005, message.reason)
            return
        if kind >= Kind.CLOSE and len(data) > 125:  # RFC 6455 section 5.5
            raise ValueError(f"a {kind.name} of {len(data)} bytes; a frame takes 125")
        if kind is Kind.TEXT:
            try:
                data.encode()
            except UnicodeEncodeError:
                raise ValueError("a text that UTF-8 cannot hold") from None
        if self._sent_close is not None or self._got_close or self._aborted or self._ended:
            return
        if kind is Kind.PING:
            self._answer(bytes(data))
        elif kind is not Kind.PONG:
            self._take(message)

    def pause(self) -> None:
        """Deliver nothing more until `resume`."""
        self._paused = True
        self._stop()

    def resume(self) -> None:
        """Deliver again, soon."""
        if self._paused:
            self._paused = False
            self._soon()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close as the client: the server does what it did when the client closed, or echoes the code.

        Raises:
            ValueError: a code that must not be sent (RFC 6455 section 7.4).
        """
        check_code(code)
        if self._sent_close is not None or self._got_close or self._aborted or self._ended:
            return
        self._sent_close = code
        self._tell_played(None)  # nothing more of the recording is owed
        closes = (place for place, item in enumerate(self._items) if item.out and item.message.kind is Kind.CLOSE)
        place = next(closes, None)
        now = self._loop.time()
        if place is None:
            echo = Message.close(code, fitting(reason))
            self._items, self._position = [Item(self._talk.line, 0.0, False, echo)], 0
            self._began, self._origin = now, 0.0
        else:
            own = self._items[place]
            self._recorded_close = own.message.code
            self._position = place + 1
            self._began, self._origin = now, own.t
        self._soon()

    def abort(self) -> None:
        """Drop the connection; `ended` follows."""
        if self._aborted or self._ended:
            return
        self._aborted = True
        self._stop()
        if self._started:
            self._loop.call_soon(self._finish, self._dropped())

    # Playing

    def _soon(self) -> None:
        self._stop()
        if self._started and not self._paused and not self._aborted and not self._ended and not self._got_close:
            self._handle = self._loop.call_soon(self._play)

    def _at(self, due: float, call: Callable[..., object], *arguments: object) -> None:
        self._stop()
        self._handle = self._loop.call_at(due, call, *arguments)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _due(self, t: float) -> float:
        """The loop's time for a time of the recording."""
        return self._began if self._speed is None else self._began + (t - self._origin) / self._speed

    def _play(self) -> None:
        """Deliver what is due, then wait for what is next."""
        self._handle = None
        while self._late and self._listens():
            self._push(self._late.popleft())
        for _ in range(BATCH):
            if not self._listens():
                return
            if self._position >= len(self._items):
                self._run_out()
                return
            item = self._items[self._position]
            due = self._due(item.t)
            if due > self._loop.time():
                self._at(due, self._play)
                return
            if item.out and not self._pass(item):
                return
            self._position += 1
            if not item.out:
                self._push(item.message)
        self._soon()

    def _listens(self) -> bool:
        return not (self._paused or self._aborted or self._ended or self._got_close)

    def _pass(self, item: Item) -> bool:
        """Go past what the client did, if it may be passed now."""
        if item.message.kind is Kind.CLOSE:
            if self._sent_close is None:
                self._tell_played(None)
                return False  # until the client closes again
        elif is_data(item):
            if self._expect != "anything" and self._sent <= self._passed and self._sent_close is None:
                before = self._items[self._position - 1].t if self._position else 0.0
                late = self._loop.time() + (item.t - before) + self._patience
                self._at(late, self._miss, item)
                return False
            self._passed += 1
        return True

    def _push(self, message: Message) -> None:
        """Deliver a message; a close is answered by the client with its own code, and ends it."""
        assert self._deliver is not None
        self.received = self._loop.time()
        if message.kind is not Kind.CLOSE:
            self._deliver(message)
            return
        if self._sent_close is not None and message.code == self._recorded_close != self._sent_close:
            message = Message.close(self._sent_close)  # it echoed then, and does so now
        self._got_close = True
        self._deliver(message)
        self._tell_played(None)
        self._loop.call_soon(self._finish, self._closed(message))

    def _run_out(self) -> None:
        """The recording has nothing more: end as the server, or what lay between, has ended it then."""
        end = self._talk.end
        if self._sent_close is not None:  # the server never answered the client's close
            if end is not None:
                text = f"{self._talk.opened.url} ended the connection without answering our close"
                self._at(self._due(end.t), self._finish, ConnectionClosed(text, code=1006, initiator="local"))
            return
        if end is None or end.error is None:
            self._tell_played(None)
            return
        error = rebuilt(end.error)
        theirs = type(error) is ConnectionClosed and error.initiator != "local"
        if theirs or isinstance(error, (ProtocolError, MessageTooBig)):
            self._at(self._due(end.t), self._finish, error)
        else:  # the client had its reasons, and will have them again if nothing comes
            self._tell_played(None)

    # The client

    def _take(self, message: Message) -> None:
        """The client has sent a message with data."""
        place, self._sent = self._sent, self._sent + 1
        if self._expect == "anything" or self._over:
            return
        if self._expect == "match":
            if place >= len(self._letters):
                self._fail(Mismatch(f"{self._talk.file}: {message!r} was sent, and the recording has no more"))
                return
            letter = self._letters[place]
            found = difference(message, letter.message, self._vary)
            if found is not None:
                self._fail(
                    Mismatch(f"{self._talk.file}, line {letter.line}: {message!r} was sent in its place: {found}")
                )
                return
        if place == self._passed and self._position < len(self._items):
            item = self._items[self._position]
            now = self._loop.time()
            if item.out and is_data(item) and self._due(item.t) <= now:  # it was waited for
                self._began, self._origin = now, item.t
                self._soon()

    def _miss(self, item: Item) -> None:
        self._handle = None
        text = f"{self._talk.file}, line {item.line}: {item.message!r} was not sent again within {self._patience:g} s"
        self._fail(Mismatch(text))

    def _fail(self, error: Mismatch) -> None:
        error.code, error.initiator = 1006, "remote"
        self._got_close = True  # nothing more is delivered
        self._stop()
        self._loop.call_soon(self._finish, error)

    def _answer(self, payload: bytes) -> None:
        """Answer a ping as the server answered the one in its place."""
        place, self._pings = self._pings, self._pings + 1
        delay: float | None = 0.0
        if place < len(self._answers):
            delay = self._answers[place]
        elif self._answers and self._answers[-1] is None:
            delay = None
        if delay is None:
            return
        handle: asyncio.Handle

        def pong() -> None:
            self._pongs.discard(handle)
            if self._paused or not self._started:
                self._late.append(Message.pong(payload))
            elif self._listens():
                self._push(Message.pong(payload))

        handle = self._loop.call_later(0 if self._speed is None else delay / self._speed, pong)
        self._pongs.add(handle)

    # The end

    def _closed(self, message: Message) -> LibwsError:
        """What the end by a close frame is."""
        end = self._talk.end
        if self._sent_close is None and end is not None and end.error is not None and end.error.code == message.code:
            recorded = rebuilt(end.error)
            if isinstance(recorded, ConnectionClosed) and recorded.initiator != "local":
                return recorded
        code, reason = message.code or 1005, message.reason
        text = f"{self._talk.opened.url} closed with code {code}{f' ({reason})' if reason else ''}"
        return ConnectionClosed(
            text, code=code, reason=reason, initiator="remote" if self._sent_close is None else "local"
        )

    def _dropped(self) -> LibwsError:
        return ConnectionClosed(f"{self._talk.opened.url} was dropped by us", code=1006, initiator="local")

    def _finish(self, error: LibwsError) -> None:
        if self._ended:
            return
        self._ended = True
        self._stop()
        for handle in self._pongs:
            handle.cancel()
        self._pongs.clear()
        self._tell_played(error if isinstance(error, Mismatch) else None)
        tell, self._tell_end, self._deliver = self._tell_end, None, None
        if tell is not None:
            tell(error)

    def _tell_played(self, error: LibwsError | None) -> None:
        if not self._over:
            self._over = True
            self._played(error)


def _without_answers(talk: Talk) -> tuple[list[Item], list[float | None]]:
    """The messages without the pongs that answered the client's pings, and what those pings met.

    That is for each of them how long its pong took, or None if the server was silent: a later ping was answered, or the
    client gave it up.
    """
    pings: dict[bytes, list[tuple[int, float]]] = {}
    answers: list[float | None] = []
    items: list[Item] = []
    for item in talk.items:
        message = item.message
        if item.out and message.kind is Kind.PING:
            pings.setdefault(message.data, []).append((len(answers), item.t))
            answers.append(None)
        elif not item.out and message.kind is Kind.PONG and pings.get(message.data):
            place, since = pings[message.data].pop(0)
            answers[place] = item.t - since
        else:
            items.append(item)
    error = talk.end.error if talk.end is not None else None
    if error is None or error.error != "KeepAliveTimeout":
        while answers and answers[-1] is None:  # it ended before the pong could come
            answers.pop()
    return items, answers
