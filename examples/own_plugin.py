"""A plugin of one's own, as an object in the list: nothing needs to be installed.

Start a server:     python examples/echo_server.py
Then:               python examples/own_plugin.py [URL]     (default ws://127.0.0.1:8765)

Envelope numbers what goes out and takes the number off what comes in; it counts per connection, because its numbers are
kept in `session.state`. That this plugin is one class with two methods is all there is to a plugin.
"""

import asyncio
import itertools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

from libws_core import Client, Kind, Message, Session, hookimpl

URL = sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:8765"


@dataclass(eq=False, kw_only=True)
class Envelope:
    """Send text as {"n": 1, "body": ...}, read it likewise."""

    number: str = "n"
    """The key of the number."""

    @hookimpl
    def outgoing(self, session: Session) -> Callable[[Message], Message]:
        numbers = session.state(itertools.count)

        def wrap(message: Message) -> Message:
            if message.kind is not Kind.TEXT:
                return message
            return Message.text(json.dumps({self.number: next(numbers), "body": message.data}))

        return wrap

    @hookimpl
    def incoming(self, session: Session) -> Callable[[Message], Message]:
        def unwrap(message: Message) -> Message:
            if message.kind is not Kind.TEXT:
                return message
            print("on the wire:", message.data)
            return Message.text(message.json["body"])

        return unwrap


async def main() -> None:
    async with Client(URL, plugins=[Envelope(number="seq")]) as client:
        for text in ("hello", "world"):
            await client.send(text)
            print("<", (await client.recv(timeout=10)).data)


asyncio.run(main())
