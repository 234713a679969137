"""Stages composed into one call: plain closures, made once a connection, with nothing left to decide per message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .events import Gap
from .types import Control, Kind, Message, Stage

TEXT, BINARY = Kind.TEXT, Kind.BINARY

Sink = Callable[[Message], object]
Mark = Callable[[Gap], object]
Failed = Callable[[str, Exception], object]
"""Told the plugin's name and what its stage raised."""


class NamedStage(NamedTuple):
    """A stage and whose it is."""

    plugin: str
    stage: Stage


def compose(stages: Sequence[NamedStage], sink: Sink, mark: Mark, failed: Failed) -> Sink:
    """One function that puts a message through the stages, the first given first; what comes out goes to `sink`.

    A Gap that stands among several messages passes the other stages by and goes to `mark`.
    """
    steps: tuple[tuple[Stage, str, Sink], ...] = ()
    for plugin, stage in reversed(stages):
        steps = ((stage, plugin, sink if not steps else _through(steps, sink, mark, failed)), *steps)
    return _through(steps, sink, mark, failed) if steps else sink


def compose_incoming(
    stages: Sequence[tuple[str, Stage | Control]], data: Sink, mark: Mark, failed: Failed
) -> tuple[Sink | None, Sink]:
    """What a connection's data messages and its other ones pass, both with `data` at their end.

    Data messages pass the plain stages; the first is None if there are none. All others pass the `Control` stages too,
    and end unless a stage makes data of them.
    """
    plain = [NamedStage(plugin, stage) for plugin, stage in stages if not isinstance(stage, Control)]
    every = [NamedStage(plugin, stage.stage if isinstance(stage, Control) else stage) for plugin, stage in stages]

    def left_over(message: Message) -> None:
        if message.kind is TEXT or message.kind is BINARY:
            data(message)

    return compose(plain, data, mark, failed) if plain else None, compose(every, left_over, mark, failed)


def _through(steps: tuple[tuple[Stage, str, Sink], ...], sink: Sink, mark: Mark, failed: Failed) -> Sink:
    """One call for all stages; each step also has what follows it, for several messages instead of one."""

    def run(message: Message) -> None:
        for stage, plugin, following in steps:
            try:
                result = stage(message)
            except Exception as error:
                failed(plugin, error)
                return
            if result is message:
                continue
            if type(result) is not Message:
                if result is not None:
                    spread(result, plugin, following)
                return
            message = result
        sink(message)

    def spread(several: Any, plugin: str, following: Sink) -> None:
        try:
            items = (several,) if isinstance(several, Message) else tuple(several)
            for item in items:
                if not isinstance(item, (Message, Gap)):
                    raise TypeError(f"a stage gives Messages and Gaps, not {type(item).__name__}")
        except Exception as error:
            failed(plugin, error)
            return
        for item in items:
            if isinstance(item, Gap):
                mark(item)
            else:
                following(item)

    return run
