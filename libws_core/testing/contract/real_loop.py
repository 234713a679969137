"""Contract tests that need real sockets: each runs on a loop of its own, and each wait says what it waited for."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from .verdict import broken

P = ParamSpec("P")
ContractT = TypeVar("ContractT")

KIT = str(Path(__file__).parents[1])
PATIENCE = 10.0
"""Seconds that a wait may take unless a class says otherwise."""
SEVERAL = 50
"""Turns of the loop in which bytes on loopback have come, if they were sent and somebody reads."""


def on_real_loop(
    function: Callable[Concatenate[ContractT, P], Coroutine[Any, Any, None]],
) -> Callable[Concatenate[ContractT, P], None]:
    """Make a plain test method of an async one, which runs on a loop that the class's `loop_factory` makes.

    What the loop would only log, such as an error in a callback, fails the test.
    """

    @functools.wraps(function)
    def on_a_loop_of_its_own(self: ContractT, /, *args: P.args, **kwargs: P.kwargs) -> None:
        factory: Any = type(self).loop_factory  # type: ignore[attr-defined]  # through the class: it is no method
        if isinstance(factory, property):
            factory = self.loop_factory  # type: ignore[attr-defined]
        unhandled: list[dict[str, Any]] = []
        try:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.get_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
                runner.run(function(self, *args, **kwargs))
        except AssertionError as error:
            if not _is_ours(error):
                raise
            broken("\n".join([str(error), *getattr(error, "__notes__", ())]))
        for context in unhandled:
            broken(f"the loop met what nobody handled: {context['message']}: {context.get('exception')!r}")

    return on_a_loop_of_its_own


def _is_ours(error: AssertionError) -> bool:
    """Whether the kit has raised it, whose text says all; what an author's own server raises keeps its traceback."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and last.tb_frame.f_code.co_filename.startswith(KIT)


@contextlib.asynccontextmanager
async def within(seconds: float, what: str | Callable[[], str]) -> AsyncIterator[None]:
    """Fail if the body takes longer; `what` says what it waits for."""
    try:
        async with asyncio.timeout(seconds) as deadline:
            yield
    except TimeoutError:
        if not deadline.expired():
            raise
        text = what if isinstance(what, str) else what()
        raise AssertionError(f"waited {seconds:g} s for {text}") from None


async def turns(number: int = SEVERAL) -> None:
    """Let the loop go round so often."""
    for _ in range(number):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for what no event tells, such as a property that changes."""
    async with within(seconds, what):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
