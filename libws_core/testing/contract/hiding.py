"""Secrets: planted in the plugin's options, then looked for in all that a program could show."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from ...errors import LibwsError
from ...events import Event
from ...secret import Secret
from ..clock import Deadlock, VirtualLoop
from ..memory import MemoryDialer
from ..script import Step, cut, refuse
from . import subject
from .hearing import everything, hear

if TYPE_CHECKING:
    from .plugin import PluginContract

__all__ = ["MARKER", "find", "revealed", "ridden", "told"]

MARKER = "kQ7vZx2mW9tR4pL8"
"""What is planted; letters and digits, so that no way to quote it changes it."""
LEAST = 6
"""Characters that a secret of the author's own must have to be looked for: a shorter one stands in texts by chance."""
LIFE = 45.0
"""Virtual seconds that a ride lasts."""


def told(contract: PluginContract) -> Iterator[str]:
    """Where a secret can be read, one plugin's option after the other."""
    for changes in _plantings(contract):
        yield from _ride(contract, changes)


def _plantings(contract: PluginContract) -> Iterator[dict[str, Any]]:
    """Options that put a marker in the place of each secret, if one may stand there, beside those of a valid one."""
    names = subject.secret_options(contract)
    if revealed(subject.make(contract)):
        yield {}
    for name in names:
        for value in (MARKER, f"user:{MARKER}", {"X-Marker": MARKER}, [MARKER]):
            try:
                made = subject.make(contract, {name: value})
            except subject.Unmade:
                continue
            if MARKER in revealed(made):
                yield {name: value}
                break


def revealed(value: Any, depth: int = 6) -> set[str]:
    """What the secrets hide that lie within an object."""
    if isinstance(value, Secret):
        return {value.reveal()} if len(value.reveal()) >= LEAST else set()
    found: set[str] = set()
    if depth:
        items: list[Any] = []
        if isinstance(value, Mapping):
            items = list(value.values())
        elif isinstance(value, list | tuple | set):
            items = list(value)
        elif hasattr(value, "__dict__") and not isinstance(value, type) and not callable(value):
            items = list(vars(value).values())
        for item in items:
            found |= revealed(item, depth - 1)
    return {*found, MARKER} if any(MARKER in each for each in found) else found


def find(text: str, secrets: set[str]) -> str | None:
    """The first secret, or form of one, that stands in a text."""
    return next((secret for secret in sorted(secrets) if any(form in text for form in _forms(secret))), None)


def _forms(secret: str) -> set[str]:
    data = secret.encode()
    forms = {secret, quote(secret, safe=""), quote_plus(secret), data.hex(), "".join(f"%{byte:02X}" for byte in data)}
    for shift in range(3):  # however it lies in what is encoded, as the password in "user:password"
        encoded = base64.b64encode(b"\0" * shift + data).decode().rstrip("=")
        middle = encoded[4 if shift else 0 : len(encoded) - 1]
        forms |= {middle, middle.replace("+", "-").replace("/", "_")}
    return forms


def _ride(contract: PluginContract, changes: dict[str, Any]) -> Iterator[str]:
    days: dict[str, tuple[Step, ...]] = {
        "with a good server": (contract.server,),
        "with a server that refuses": (refuse(503), refuse(401), refuse(403)),
        "with a server that hangs up": (cut(), lambda peer: peer.drop(reset=True) and None, _closes),
    }
    yield from ridden(contract, changes, days)


def ridden(
    contract: PluginContract,
    changes: Mapping[str, Any],
    days: Mapping[str, tuple[Step, ...]],
    fetched: Collection[str] = (),
) -> Iterator[str]:
    """Where a secret can be read on days of all kinds; the first place.

    Args:
        changes: options beside those of a valid one.
        days: the script of each server.
        fetched: more secrets, which may be added to on the way.
    """
    plugin = subject.make(contract, changes)
    said = [("its repr", repr(plugin)), ("its str", str(plugin))]
    for day, steps in days.items():
        with hear() as heard:
            try:
                with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                    lines = runner.run(_live(contract, changes, steps))
            except Deadlock:
                lines = []
        lines += [("the log", text) for text in heard.records]
        lines += [("a warning", text) for text in heard.warnings]
        lines += [("what nobody handled", text) for text in heard.unhandled]
        lines.append(("what it prints", heard.printed))
        said += [(f"{where}, {day}", text) for where, text in lines]
    secrets = {*revealed(plugin), *fetched}
    for where, text in said:
        secret = find(text, secrets)
        if secret is not None:
            options = ", ".join(changes or subject.secret_options(contract))
            name = subject.name_of(contract)
            yield f"{name!r}: the secret of {options} can be read in {where}: {_shown(text, secret)}"
            return


def _shown(text: str, secret: str) -> str:
    form = next((form for form in _forms(secret) if form in text), secret)
    place = text.index(form)
    return repr(text[max(0, place - 60) : place + len(form) + 20])


def _closes(peer: Any) -> None:
    peer.close(1008, "go away")


async def _live(contract: PluginContract, changes: Mapping[str, Any], steps: tuple[Step, ...]) -> list[tuple[str, str]]:
    dialer = MemoryDialer(*steps)
    client = contract.client(dialer, changes=changes)
    said: list[tuple[str, str]] = [("repr(client)", repr(client)), ("client.explain()", repr(client.explain()))]
    client.on(Event, lambda event: said.append((f"the event {type(event).__name__}", f"{event!r} {event}")))

    def errors(event: Event) -> None:
        error = getattr(event, "error", None)
        if error is not None:
            said.append((f"the error of {type(event).__name__}", everything(error)))

    client.on(Event, errors)

    async def life() -> None:
        async with client:
            await contract.user(client)

    task = asyncio.get_running_loop().create_task(life())
    await asyncio.wait([task], timeout=LIFE / 3)
    for peer in dialer.peers:
        peer.drop()
    await asyncio.wait([task], timeout=LIFE)
    await client.close()
    await asyncio.wait([task], timeout=LIFE)
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and isinstance(error := task.exception(), LibwsError):
        said.append((f"the {type(error).__name__} of the client", everything(error)))
    said.append(("client.explain() in the end", repr(client.explain())))
    said += [("its repr in the end", repr(part.plugin)) for part in client._supervisor.plan.parts]
    await dialer._end()
    return said
