"""Notice silence: of the line, of the data, and of each topic; and tell it from a program or host that stood still."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from libws_core import Kind, Message, Session, hookimpl
from libws_core.match import key, seconds
from libws_core.types import Stage

from .clocks import Heard, Watch

__all__ = ["Watchdog"]

OTHERS = "*"
"""In `topics`: every topic that is not named."""


@dataclass(eq=False, kw_only=True)
class Watchdog:
    """End a connection with IdleTimeout when nothing has come for too long; the text says which clock ran out.

    The clocks begin at READY and stand still while *we* have paused reading. They begin anew when our own loop was
    blocked or the host slept: silence of that time is no fault of the peer.
    """

    link: Annotated[float, Meta(gt=0)] | Callable[..., Any] | None = None
    """Seconds without a single byte, pings and pongs counted, that end the connection. Or a function of the session,
    called once a connection, which gives them, or None for no limit on this connection."""
    data: Annotated[float, Meta(gt=0)] | Callable[..., Any] | None = None
    """Seconds without an application message: text or binary, less what other plugins take out, such as heartbeats. Or
    a function of the session."""
    topics: dict[str, Annotated[float, Meta(gt=0)] | None] = field(default_factory=dict)
    """Topic -> seconds without a message of it. "*" stands for every other topic, once it was heard on the connection;
    None = this one is not watched. What a message's topic is says `key`."""
    key: str | Callable[[Message], Any] | None = None
    """The topic of a message: a path such as "data.s", or a function of the Message; None from it = no topic."""
    wake: bool = True
    """Ask the peer with a ping, which it must answer within 5 seconds, when our own loop was blocked or the host has
    slept. False = the clocks begin anew and nobody is asked."""

    _topic: Callable[[Message], Any] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.topics and self.key is None:
            raise ValueError("option 'topics' needs 'key', which says what the topic of a message is")
        if self.key is not None:
            try:
                self._topic = key(self.key)
            except ValueError as error:
                raise ValueError(f"option 'key': {error}") from None

    @hookimpl
    def incoming(self, session: Session) -> Stage | None:
        """Give a stage that notes the topics of messages; None if none are watched."""
        topic_of = self._topic
        if not self.topics or topic_of is None:
            return None
        limits, others = self.topics, self.topics.get(OTHERS) is not None
        heard = session.state(Heard)
        heard.session = session

        def note(message: Message) -> Message:
            if message.kind is Kind.TEXT or message.kind is Kind.BINARY:
                topic = topic_of(message)
                if topic is not None:
                    name = topic if type(topic) is str else str(topic)
                    if limits.get(name) is not None:
                        heard.named[name] = heard.now()
                    elif others and name not in limits:
                        heard.note(name)
            return message

        return note

    @hookimpl
    def keep_alive(self, session: Session) -> Awaitable[None] | None:
        """Watch the clocks; None if there is nothing to watch."""
        link, data = seconds("link", self.link, session), seconds("data", self.data, session)
        named = {topic: limit for topic, limit in self.topics.items() if limit is not None and topic != OTHERS}
        others = self.topics.get(OTHERS)
        if link is None and data is None and not named and others is None and not self.wake:
            return None
        return Watch(session, link=link, data=data, named=named, others=others, wake=self.wake).run()
