"""What every plugin promises."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import is_dataclass
from types import EllipsisType
from typing import TYPE_CHECKING, Any

from ...binding import Flaw
from ...errors import ConfigurationError
from ...options import document, options_of
from ...plugins import Shelf, name_by_rule
from ...types import Message
from . import credentials, hiding, imports, oddities, ride, sharing, steps, subject
from .verdict import broken, leave_out

if TYPE_CHECKING:
    from ...client import Client
    from ..memory import MemoryDialer
    from ..peer import Peer

__all__ = ["PluginContract"]


class PluginContract:
    """Tests of what every plugin promises. Inherit it, and say which plugin; pytest collects the class if its name
    begins with `Test`.

    ```python
    class TestWelcome(PluginContract):
        plugin = Welcome
        options = {"within": 3}
        bad_options = {"within": [0, -1]}

        async def server(self, peer):
            peer.send({"type": "welcome", "session": "s-1"})
            async for _ in peer:
                pass
    ```

    Each attribute may be a class attribute or a property. Rides are on a virtual clock and take no time.
    """

    # What you say

    @property
    def plugin(self) -> type:
        """The class under test."""
        raise NotImplementedError(f"{type(self).__name__} does not say which plugin it is about: plugin = ...")

    @property
    def name(self) -> str | EllipsisType | None:
        """The name of its entry point; `...` = by the naming rule, None = it is not installed."""
        return ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Options that make a valid one, as a profile gives them."""
        return {}

    @property
    def bad_options(self) -> Mapping[str, Sequence[Any]]:
        """Option -> values that must be refused, beside those of a wrong type."""
        return {}

    @property
    def public(self) -> Collection[str]:
        """Options that sound like credentials and are none, such as the name of a token's field."""
        return ()

    @property
    def url(self) -> str:
        """What is dialed."""
        return "ws://test/"

    @property
    def says(self) -> Sequence[Message]:
        """Messages that a server may say when READY, each another one: numbered ones, and odd ones.

        To be narrowed where the protocol admits no others.
        """
        return [*oddities.numbered(), *oddities.odd()]

    async def server(self, peer: Peer) -> None:
        """What a good server does on each connection: a step of a script. So it is, it reads and says nothing."""
        async for _ in peer:
            pass

    async def user(self, client: Client) -> None:
        """What a user does from READY on. So it is, he reads."""
        async for _ in client:
            pass

    def client(self, dialer: MemoryDialer, *others: object, **more: Any) -> Client:
        """Make a client with the plugin, the standard ones and a dialer in memory; `more` are arguments of `Client`."""
        return subject.assemble(self, dialer, *others, **more)

    # Found and called

    def test_it_is_installed_under_its_name(self) -> None:
        """Its entry point leads to the class."""
        if self.name is None:
            leave_out("it is not installed, says name = None")
        name, shelf = subject.name_of(self), Shelf()
        entries = shelf.entries.get(name, [])
        if not entries:
            under = [each for each, found in shelf.entries.items() if any(one.leads_to(self.plugin) for one in found)]
            broken(
                f"no plugin {name!r} is installed"
                + (f"; {self.plugin.__name__} is installed as {', '.join(map(repr, under))}" if under else ""),
                f'add to pyproject.toml [project.entry-points."libws.v1"] {name} = '
                f'"{self.plugin.__module__}:{self.plugin.__qualname__}" and install it, or say name = None',
            )
        if entries[1:]:
            broken(f"plugin {name!r} is installed by {' and by '.join(map(str, entries))}", "uninstall one")
        if not entries[0].leads_to(self.plugin):
            value = entries[0].point.value
            broken(f"the entry point {name!r} of {entries[0]} leads to {value}, not to {self.plugin!r}")
        if self.name is ... and name != name_by_rule(self.plugin):
            broken(f"{name!r} is not the name of {self.plugin.__name__}")

    def test_a_client_is_assembled_from_its_options(self) -> None:
        """A client can be made with it."""
        from ..memory import MemoryDialer

        if subject.flaws(self):
            leave_out("its hooks cannot be called, see the tests of its hooks")
        if self.name is not None and not self._is_found():
            leave_out("it is not installed, see test_it_is_installed_under_its_name")
        try:
            self.client(MemoryDialer())
        except (ConfigurationError, subject.Unmade) as error:
            broken(f"no client can be assembled with {subject.name_of(self)!r}: {error}", "see `options` of this class")

    def _is_found(self) -> bool:
        entries = Shelf().entries.get(subject.name_of(self), [])
        return len(entries) == 1 and entries[0].leads_to(self.plugin)

    def test_it_answers_a_hook(self) -> None:
        """It does something."""
        self._check_flaws("nothing")

    def test_it_answers_only_hooks_that_the_core_has(self) -> None:
        """A hook with a wrong name would never be called."""
        self._check_flaws("unknown")

    def test_its_hooks_take_only_what_they_are_given(self) -> None:
        """Arguments are those of the hook's specification; it may take fewer."""
        self._check_flaws("arguments")

    def test_its_hooks_are_plain_where_they_must_be(self) -> None:
        """Only some hooks may be `async def`."""
        self._check_flaws("async")

    def test_its_hooks_are_no_wrappers(self) -> None:
        """The core calls no wrappers."""
        self._check_flaws("wrapper")

    def test_its_hooks_are_no_generators(self) -> None:
        """A generator is no answer."""
        self._check_flaws("generator")

    def _check_flaws(self, rule: str) -> None:
        found: list[Flaw] = [flaw for flaw in subject.flaws(self) if flaw.rule == rule]
        if found:
            broken("\n".join(f"{subject.name_of(self)!r}: {flaw.text}; {flaw.cure}" for flaw in found))

    # Each client has its own

    def test_two_of_it_are_two(self) -> None:
        """Each client has its own, and pluggy refuses two equal ones."""
        one, other = self._two()
        if one is other:
            broken(f"{self.plugin.__name__} gives the same object twice", "each client must have its own")
        if one == other:
            broken(f"two of {self.plugin.__name__} are equal, which pluggy refuses", "write @dataclass(eq=False)")

    def test_two_of_it_share_nothing(self) -> None:
        """No field of one leads to something changeable that another has as well."""
        one, other = self._two()
        if one is not other and (shared := sharing.shared(one, other)):
            broken(
                f"two of {self.plugin.__name__} share {', '.join(shared)}",
                "give each its own: field(default_factory=...); what clients share on purpose lives in the module",
            )

    def test_a_ride_leaves_the_class_as_it_is(self) -> None:
        """State stands in fields or in `session.state`, never in the class, where all clients would share it."""
        before = sharing.picture(self.plugin)
        ride.fresh(self)
        if changed := sharing.differences(before, sharing.picture(self.plugin)):
            broken(
                f"a ride has changed {', '.join(f'{self.plugin.__name__}.{name}' for name in changed)}",
                "keep it in a field with init=False",
            )

    def _two(self) -> tuple[Any, Any]:
        try:
            return subject.make(self), subject.make(self)
        except subject.Unmade as unmade:
            leave_out(f"it cannot be made: {unmade}")

    # Options

    def test_every_option_has_a_doc(self) -> None:
        """`libws plugins NAME` tells what options mean, from the string below each field."""
        bare = [each.name for each in document(self.plugin) if not each.doc]
        if bare:
            broken(f"{self.plugin.__name__} has options without a doc: {', '.join(bare)}", "write a string below each")

    def test_its_options_refuse_wrong_types_and_unknown_names(self) -> None:
        """Whatever cannot be right is told before anything is dialed, by plugin and option."""
        self._made()
        if is_dataclass(self.plugin):
            self._refuses("no_such_option", 1)
        for option in options_of(self.plugin):
            self._refuses(option, sharing.Nonsense())

    def test_its_options_refuse_bad_values(self) -> None:
        """The values of `bad_options` are refused, by plugin and option."""
        self._made()
        for option, values in self.bad_options.items():
            for value in values:
                self._refuses(option, value)

    def _made(self) -> None:
        if self.name is not None and not self._is_found():
            leave_out("it is not installed, see test_it_is_installed_under_its_name")
        if subject.refusal(self, {}) is not None:
            leave_out("it cannot be made of its options, see test_a_client_is_assembled_from_its_options")

    def _refuses(self, option: str, value: Any) -> None:
        name = subject.name_of(self)
        told = subject.refusal(self, {option: value})
        shown = f"{option} = {value!r}"
        if told is None:
            broken(
                f"{name!r} takes {shown}, which it should refuse",
                "narrow the annotation (Annotated[..., msgspec.Meta(...)]), or raise ValueError in __post_init__",
            )
        if repr(name) not in told or not re.search(rf"\b{re.escape(option)}\b", told.replace(repr(name), "")):
            broken(
                f"{name!r} refuses {shown} without naming the option: {told}",
                f'raise ValueError("option {option!r}: ...")',
            )

    def test_its_credentials_are_secrets(self) -> None:
        """An option that sounds like a credential is annotated `Secret`, which never prints."""
        bare = [name for name in credentials.bare(self.plugin) if name not in self.public]
        if bare:
            broken(
                f"{self.plugin.__name__} has credentials that would print: {', '.join(bare)}",
                "annotate them Secret; if they are no credentials, name them in `public` of this class",
            )

    def test_its_secrets_stay_hidden(self) -> None:
        """No secret is in a repr, text, event, explanation, log record, warning or print, whatever happens."""
        self._made()
        for told in hiding.told(self):
            broken(told, "show Secret objects, never what they reveal; keep what is made of them out of repr and texts")

    # Import

    def test_nothing_happens_at_its_import(self) -> None:
        """No socket, process, thread, file, handler, setting, warning or output, until a client asks for something."""
        if done := imports.look(self.plugin).done:
            broken(f"the import of {self.plugin.__module__} {'; '.join(done)}", "do it in a hook, when it is needed")

    def test_its_import_brings_no_plugin_that_it_does_not_declare(self) -> None:
        """Installed is not enabled: other plugins are imported only where the distribution depends on them."""
        if self.plugin.__module__ == type(self).__module__:
            leave_out("its module is a file of tests, which may import what it likes")
        if brought := imports.undeclared(self.plugin):
            broken(
                f"the import of {self.plugin.__module__} imports {', '.join(brought)}",
                "declare it in `dependencies` and `uses`, or ask the client: session.plugin(name)",
            )

    # Rides

    def test_it_gets_ready_again_after_each_loss(self) -> None:
        """READY with a good server; again after a drop, a reset and a close with 1012."""
        ridden = ride.ridden(self)
        if ridden.problem is not None:
            broken(ridden.problem, ridden.story())

    def test_its_hooks_raise_nothing_unforeseen(self) -> None:
        """Whatever goes wrong is a LibwsError; anything else is a bug that ends the client, or is logged."""
        ridden = ride.ridden(self)
        if ridden.raised:
            broken("\n".join(ridden.raised), "catch it, or raise a LibwsError with the right verdict")

    def test_it_lets_the_client_close_in_time(self) -> None:
        """`close` ends within its time-out."""
        ridden = ride.ridden(self)
        if ridden.late is not None:
            broken(ridden.late, "end when cancelled, and wait for nothing in a `finally`")

    def test_it_leaves_nothing_behind(self) -> None:
        """No task, timer, connection, file, thread or warning is left after a ride."""
        ridden = ride.ridden(self)
        if ridden.left:
            broken("left behind after the client was closed:\n  " + "\n  ".join(ridden.left), "let hooks own what runs")

    def test_a_silent_server_does_not_hang_it(self) -> None:
        """A server that accepts and says nothing: READY, or a failed attempt, in time."""
        if problem := ride.with_a_silent_server(self):
            broken(problem, "wait with session.recv in establish, which has a deadline, and with nothing else")

    def test_cancelled_at_each_step_it_leaves_nothing(self) -> None:
        """The user's task is cancelled at each turn of the loop, on good and bad days."""
        if problem := steps.cancelled(self):
            broken(problem, "let CancelledError pass, and undo in a `finally` what was begun")

    def test_lost_at_each_step_it_leaves_nothing(self) -> None:
        """The connection is lost at each turn of the loop, or its dial fails."""
        if problem := steps.lost(self):
            broken(problem, "a connection may end at any await: let its error pass, and undo in a `finally`")
