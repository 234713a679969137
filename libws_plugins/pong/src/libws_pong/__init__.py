"""Answer the server's pings: frames, and messages that are pings by agreement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from libws_core import Control, Kind, Message, Session, hookimpl
from libws_core.match import Matcher, check_template, matcher, names, template
from libws_core.types import Stage

__all__ = ["Pong"]


@dataclass(eq=False, kw_only=True)
class Pong:
    """Answer the server's pings, from the connection's first byte on.

    A ping frame is answered with a pong of the same payload and goes on to the other plugins. A message that is a ping
    is answered and taken out of the stream.
    """

    frames: bool = True
    """Answer ping frames. False = silence, for servers that meter them."""
    match: str | bytes | dict[str, Any] | Callable[[Message], Any] | None = None
    """Which messages are pings: "ping", or {"ping": "$x"}, where x is what the reply may use. None = none."""
    reply: str | bytes | dict[str, Any] | list[Any] | Message | Callable[..., Any] | None = None
    """What to answer to them: a str is sent as text, bytes as binary, a dict or list as JSON text, with "$x" filled in.
    A callable gets the ping and gives any of these, or None for no answer. None = take them out and be silent."""

    _match: Matcher | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.match is None:
            if self.reply is not None:
                raise ValueError("option 'reply' answers what 'match' says is a ping; set 'match' too")
            return
        try:
            self._match = matcher(self.match)
        except ValueError as error:
            raise ValueError(f"option 'match': {error}") from None
        if self.reply is not None:
            try:
                check_template(self.reply)
            except ValueError as error:
                raise ValueError(f"option 'reply': {error}") from None
        if not callable(self.match) and (unknown := names(self.reply) - names(self.match)):
            raise ValueError(f"option 'reply': ${min(unknown)} stands in it, but not in 'match'")

    @hookimpl
    def incoming(self, session: Session) -> Stage | Control | None:
        """Give a stage that answers; one that sees control frames only, unless messages are pings too."""

        def answer_frame(message: Message) -> Message:
            if message.kind is Kind.PING:  # RFC 6455 section 5.5.3: the pong carries the ping's own payload
                session.send(Message.pong(message.data))
            return message

        match = self._match
        if match is None:
            return Control(answer_frame) if self.frames else None

        def answer(message: Message) -> Message | None:
            if message.kind is not Kind.TEXT and message.kind is not Kind.BINARY:
                return answer_frame(message) if self.frames else message
            bound = match(message)
            if bound is None:
                return message
            if self.reply is not None:
                reply = template(self.reply, bound, message)
                if reply is not None:
                    session.send(reply)
            return None

        return answer
