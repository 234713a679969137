"""What a plugin that logs in promises."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import LibwsError
from ...events import AttemptFailed, Connected, Disconnected, Event
from ...match import call
from ...secret import Secret
from ...verdicts import Verdict, status_verdict
from ..clock import Deadlock, VirtualLoop
from ..memory import MemoryDialer
from ..script import Refuse, Step, hang, refuse
from . import hiding, subject
from .hearing import hear
from .plugin import PluginContract
from .verdict import broken, leave_out

__all__ = ["AuthContract"]

FEW = 4
"""Attempts with credentials that are refused: once more with renewed ones, and perhaps one for each way to log in."""
PATIENCE = 86_400.0
"""Virtual seconds in which a refusal must have come to something."""
LATER = 3_600.0


@dataclass
class _Refused:
    """What became of a client that a server refused."""

    state: str = ""
    error: BaseException | None = None
    attempts: int = 0
    failures: list[LibwsError] = field(default_factory=list)
    ready: bool = False
    asked: int = 0
    """Calls of the plugin's sources of credentials."""


class AuthContract(PluginContract):
    """Tests of a plugin that logs in: a refusal ends soon, credentials are renewed, and none is told to anybody else.

    ```python
    class TestLogin(AuthContract):
        plugin = Login
        options = {"user": "me", "password": "a secret"}
        refusals = (refuse(401), close_with_4003)
    ```
    """

    @property
    def refusals(self) -> Sequence[Step]:
        """How a server says no: steps of a script."""
        return (refuse(401),)

    @property
    def sources(self) -> Collection[str]:
        """Options that are functions which give credentials; so it is, all that are functions here."""
        return [name for name, value in self.options.items() if callable(value)]

    def test_a_refusal_ends_in_a_few_attempts(self) -> None:
        """Credentials that are refused are not offered for ever: an error that says so, and nothing hangs."""
        for place, step in enumerate(self.refusals, 1):
            refused = self._refused(step)
            which = f"refusal {place} of {len(self.refusals)}"
            if refused.ready:
                broken(f"{which}: the client is READY", "wait for the server's answer in establish")
            if refused.attempts > FEW or refused.error is None:
                last = f", the last failure: {_told(refused.failures[-1])}" if refused.failures else ""
                broken(
                    f"{which}: {refused.attempts} attempts, and the client is {refused.state}{last}",
                    "raise AuthenticationError: its verdict is REFRESH, then FATAL; or give it in adapt_error",
                )
            if not isinstance(refused.error, LibwsError):
                broken(f"{which}: open() raised {type(refused.error).__name__}: {refused.error}")

    def test_its_source_is_asked_on_each_attempt(self) -> None:
        """Where an option is a function that gives credentials, each attempt has new ones."""
        self._check_source()
        refused = self._ride([refuse(503), refuse(503), self.server])
        if refused.asked < refused.attempts:
            broken(
                f"{refused.attempts} attempts, and its source of credentials was asked {refused.asked} times",
                "ask in authenticate or establish, and keep no answer in a field",
            )

    def test_a_log_in_is_tried_again_with_renewed_credentials(self) -> None:
        """Where an option is a function that gives credentials, one refusal is not the end: they may have expired."""
        self._check_source()
        mild = [step for step in self.refusals if not (isinstance(step, Refuse) and _is_fatal(step.status))]
        if not mild:
            leave_out("all of `refusals` are statuses that nothing can be done about")
        refused = self._ride([mild[0], self.server])
        if not refused.ready:
            broken(
                f"after one refusal the client is {refused.state}: {_told(refused.error)}",
                "leave the verdict REFRESH to what a source can renew",
            )

    def test_a_refusal_shows_no_secret(self) -> None:
        """Neither the errors of a refusal nor what is logged show credentials, also where the server repeats them."""
        self._made()
        fetched: set[str] = set()
        changes = {name: _overheard(self.options[name], fetched) for name in self.sources}
        for place, step in enumerate(self.refusals, 1):
            secrets = " ".join(sorted(hiding.revealed(subject.make(self))))
            again = refuse(step.status, step.headers, secrets) if isinstance(step, Refuse) else step
            for told in hiding.ridden(self, changes, {f"at refusal {place}": (again, self.server)}, fetched):
                broken(told, "tell what the server refused, not what it was given")

    def _check_source(self) -> None:
        if not self.sources:
            leave_out("no option is a function that gives credentials")

    def _refused(self, step: Step) -> _Refused:
        return self._ride([step] * (FEW + 1) + [hang()])

    def _ride(self, steps: list[Step]) -> _Refused:
        """A client with these steps, until it is READY, has ended, or nothing happens any more."""
        subject.assembled(self, MemoryDialer())
        refused = _Refused()

        def counted(source: Callable[..., Any]) -> Callable[..., Any]:
            def ask(argument: Any) -> Any:
                refused.asked += 1
                return call(source, argument)

            return ask

        changes = {name: counted(self.options[name]) for name in self.sources}

        async def main() -> None:
            dialer = MemoryDialer(*steps)
            client = self.client(dialer, changes=changes)

            def hear_of(event: Event) -> None:
                if isinstance(event, AttemptFailed | Disconnected) and event.error.verdict:
                    refused.failures.append(event.error)
                refused.ready = refused.ready or isinstance(event, Connected)

            client.on(Event, hear_of)
            opening = asyncio.get_running_loop().create_task(client.open())
            await asyncio.wait([opening], timeout=PATIENCE)
            await asyncio.sleep(LATER if refused.ready else 0)
            refused.state, refused.attempts = client.state.upper(), dialer.count
            refused.error = opening.exception() if opening.done() else None
            await client.close()
            await asyncio.wait([opening])
            opening.cancelled() or opening.exception()
            await dialer._end()

        try:
            with hear(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
                runner.run(main())
        except Deadlock as error:
            broken(str(error), "wait for nothing without a deadline")
        return refused


def _is_fatal(status: int) -> bool:
    return status_verdict(status) is Verdict.FATAL


def _overheard(source: Callable[..., Any], fetched: set[str]) -> Callable[..., Any]:
    """The same source; the strings that it gives are noted."""

    def note(answer: Any) -> Any:
        given = answer.values() if isinstance(answer, Mapping) else [answer]
        plain = [each.reveal() if isinstance(each, Secret) else each for each in given]
        fetched.update(each for each in plain if isinstance(each, str) and len(each) >= hiding.LEAST)
        return answer

    async def wait(answer: Any) -> Any:
        return note(await answer)

    def ask(argument: Any) -> Any:
        answer = call(source, argument)
        return wait(answer) if inspect.isawaitable(answer) else note(answer)

    return ask


def _told(error: BaseException | None) -> str:
    verdict = f" ({error.verdict})" if isinstance(error, LibwsError) else ""
    return f"{type(error).__name__}: {error}{verdict}" if error is not None else "nothing"
