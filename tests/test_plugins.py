"""From a list to a plan: objects, their copies, their hooks, and what is wrong with them."""

from __future__ import annotations

import functools
import gc
import types
import weakref
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Any

import pytest

from libws_core import (
    ConfigurationError,
    OptionError,
    PluginError,
    Problem,
    Secret,
    __version__,
    hookimpl,
    hookspecs,
)
from libws_core.binding import new_manager
from libws_core.plugins import Plan, assemble


class Wire:
    @hookimpl(trylast=True)
    async def dial(self, request: Any) -> str:
        return f"dialed {request}"


@dataclass(eq=False, kw_only=True)
class Steady:
    """Reconnects at once."""

    cap: float = 30.0
    token: Secret | None = None
    seen: list[str] = field(default_factory=list)
    count: int = field(default=0, init=False)

    @hookimpl
    def reconnect(self, failure: Any) -> float:
        self.count += 1
        return self.cap


def plan(*plugins: Any, **more: Any) -> Plan:
    return assemble(["-standard", *plugins, Wire()], environ={}, **more)


def problems(*plugins: Any, **more: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        plan(*plugins, **more)
    assert str(caught.value).splitlines()[0] == "cannot assemble the client:"
    return [str(problem) for problem in caught.value.problems]


def listed(plugins: Any) -> list[str]:
    """The problems of a whole list, without the one that nobody answers `dial`."""
    with pytest.raises(ConfigurationError) as caught:
        assemble(plugins, environ={"LIBWS_PLUGINS": "-standard"})
    return [str(problem) for problem in caught.value.problems if problem.text != "no plugin answers dial()"]


# The plan


def test_a_plan_names_every_hook_of_the_core() -> None:
    hooks = {name for name, value in vars(hookspecs).items() if hasattr(value, "libws_spec")}
    made = plan()
    assert {*made.hooks} == hooks
    assert made.hooks["observe"] == ()


def test_a_plugin_is_found_by_class_by_name_and_by_a_base_of_its_class() -> None:
    class Steadier(Steady): ...

    base, derived = Steady(), Steadier()
    made = plan(derived, base)
    assert type(made.plugin(Steady)) is Steady
    assert type(made.plugin(Steadier)) is Steadier
    assert made.plugin("steadier") is made.plugin(Steadier)
    assert type(plan(derived).plugin(Steady)) is Steadier


def test_asking_for_a_plugin_that_is_not_enabled_tells_what_is() -> None:
    made = plan(Steady())
    with pytest.raises(LookupError, match=r"^no plugin 'ping' is enabled; enabled: steady, wire$"):
        made.plugin("ping")
    with pytest.raises(LookupError, match=r"^no plugin dict is enabled; enabled: steady, wire$"):
        made.plugin(dict)


def test_no_text_of_a_plan_shows_a_plugins_fields() -> None:
    class Careless:
        def __repr__(self) -> str:
            return "geheim"

        @hookimpl
        def reconnect(self, failure: Any) -> None: ...

    made = plan(Careless())
    assert made.hooks["reconnect"]
    assert "geheim" not in f"{made!r}{made}{made.hooks}"


def test_the_plugin_manager_is_dropped_after_the_plan_is_made() -> None:
    kind = type(new_manager())
    made = plan(Steady())
    gc.collect()
    assert made.hooks["reconnect"]
    assert [each for each in gc.get_objects() if type(each) is kind] == []


# Objects


def test_every_client_has_its_own_copy_of_a_dataclass_object() -> None:
    mine = Steady(cap=5, seen=["x"])
    mine.count = 7
    one, two = plan(mine).plugin(Steady), plan(mine).plugin(Steady)
    assert len({id(mine), id(one), id(two)}) == 3
    assert (one.cap, one.count) == (5.0, 0)
    assert one.seen is mine.seen  # what needs no conversion is the very object that was given
    one.reconnect(None)
    assert (one.count, two.count) == (1, 0)


def test_an_object_that_is_no_dataclass_is_used_as_it_is() -> None:
    class Plain(Wire): ...

    @dataclass(init=False)
    class Handmade(Wire):
        x: int

        def __init__(self, y: str) -> None:
            self.x = len(y)

    class Overridden(Steady):
        def __init__(self, y: str) -> None:
            super().__init__(cap=len(y))

    for mine in (Plain(), Handmade("abc"), Overridden("abc")):
        part = plan(mine).parts[0]
        assert part.plugin is mine
        assert part.options == {}


def test_the_options_of_an_object_are_checked_and_its_secrets_wrapped() -> None:
    loose: Any = "geheim"
    part = plan(Steady(cap=5, token=loose)).parts[0]
    assert part.plugin.token == Secret("geheim")
    assert part.options == {"cap": (5.0, "object"), "token": (Secret("geheim"), "object"), "seen": ([], "object")}
    assert (part.name, part.distribution, part.because) == ("steady", None, "named")
    wrong: Any = "fast"
    assert problems(Steady(cap=wrong)) == [
        "'steady': option 'cap': expected float, got str 'fast'; options: cap=30.0, token=None, seen=[]"
    ]


@pytest.mark.parametrize("frozen", [True, False])
def test_dataclasses_that_compare_by_value_are_plugins_too(frozen: bool) -> None:
    @dataclass(frozen=frozen)  # type: ignore[literal-required]
    class Equal:
        x: int = 1

        @hookimpl
        def observe(self, event: Any) -> None: ...

    @dataclass(frozen=frozen)  # type: ignore[literal-required]
    class Other(Equal): ...

    assert [hook.plugin for hook in plan(Equal(), Other()).hooks["observe"]] == ["equal", "other"]


def test_an_object_that_equals_every_other_is_refused() -> None:
    class Equal:
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

        @hookimpl
        def observe(self, event: Any) -> None: ...

    assert problems(Steady(), Equal()) == ["'equal': is equal to another plugin; write @dataclass(eq=False)"]


def test_what_a_constructor_raises_is_told_without_the_secrets_that_it_was_given() -> None:
    @dataclass(kw_only=True)
    class Picky(Wire):
        token: Secret = field(default_factory=lambda: Secret("x1"))
        headers: list[Secret] = field(default_factory=list)
        fail: bool = field(default=True)
        kind: str = "ValueError"
        armed: bool = field(default=False, init=False)

        def __post_init__(self) -> None:
            if self.armed_now():
                kind = {"ValueError": ValueError, "KeyError": KeyError}[self.kind]
                raise kind(f"{self.token.reveal()} and {[each.reveal() for each in self.headers]} do not match")

        def armed_now(self) -> bool:
            Picky.made += 1
            return Picky.made % 2 == 0

        made = 0

    secrets: Any = {"token": Secret("geheim1"), "headers": [Secret("geheim2")]}
    with pytest.raises(OptionError) as caught:
        plan(Picky(**secrets))
    assert [str(each) for each in caught.value.problems] == ["'picky': *** and ['***'] do not match"]
    with pytest.raises(PluginError) as failed:
        plan(Picky(**secrets, kind="KeyError"))
    assert [str(each) for each in failed.value.problems] == [
        """'picky': its object cannot be copied: KeyError: "*** and ['***'] do not match\""""
    ]


def test_an_object_with_an_argument_that_is_no_field_cannot_be_copied() -> None:
    @dataclass
    class Initial(Wire):
        seed: InitVar[int]

    assert len(problems(Initial(3))) == 1


def test_the_same_object_twice_is_one_plugin_and_two_of_one_name_are_a_problem() -> None:
    mine = Steady()
    assert [part.name for part in plan(mine, mine).parts] == ["steady", "wire"]
    name = f"{__name__}.Steady"
    assert problems(Steady(), Steady()) == [
        f"'steady': the list has two objects of this name, of {name}; one client has one of a name"
    ]
    double = type("Steady", (Wire,), {"__module__": "elsewhere"})
    assert problems(mine, double()) == [
        f"'steady': the list has two objects of this name, of elsewhere.Steady and {name}; one client has one of a name"
    ]


def test_options_for_an_object_are_a_problem() -> None:
    text = "has options in options, but the list has an object of it, which is complete; set them on the object"
    assert problems(Steady(), layers=[("options", {"steady": {"cap": 3}})]) == [f"'steady': {text}"]
    assert plan(Steady(), layers=[("options", {"steady": {}})]).plugin("steady").cap == 30.0


@pytest.mark.parametrize(
    ("cls", "name"),
    [("Steady", "steady"), ("HTTPTicket", "http-ticket"), ("MyPlugin2", "my-plugin2"), ("_Own_Thing", "own-thing")],
)
def test_the_name_of_an_object_comes_from_its_class(cls: str, name: str) -> None:
    assert plan(type(cls, (Wire,), {})()).parts[0].name == name


# What cannot be a list


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [
        ("auth, log", "plugins: expected a list of names and objects, got str 'auth, log'; write ['auth', 'log']"),
        ({"auth": {}}, "plugins: expected a list of names and objects, got a mapping; options go into `options`"),
        ({"auth"}, "plugins: expected a list of names and objects, got a set; a set has no order"),
        (b"auth", "plugins: expected a list of names and objects, got bytes"),
        (None, "plugins: expected a list of names and objects, got NoneType"),
        (Steady(), "plugins: expected a list of names and objects, got Steady"),
        ([Steady], f"plugins[0] is the class {__name__}.Steady, not an object of it; write Steady()"),
        ([types], "plugins[0] is the module types; name the plugin, or pass an object of its class"),
        ([None], "plugins[0]: expected the name of a plugin or an object, got NoneType"),
        (["-standard", 5], "plugins[1]: expected the name of a plugin or an object, got int"),
        ([{"auth": {}}], "plugins[0]: expected the name of a plugin or an object, got dict"),
        ([["auth"]], "plugins[0]: expected the name of a plugin or an object, got list"),
        ([""], "plugins: '' is not the name of a plugin"),
        (["-"], "plugins: '-' is not the name of a plugin"),
        ([" auth"], "plugins: ' auth' is not the name of a plugin"),
    ],
)
def test_what_is_no_list_of_plugins_is_told(plugins: Any, problem: str) -> None:
    assert listed(plugins) == [problem]


def test_a_list_may_be_any_iterable() -> None:
    assert [part.name for part in assemble((each for each in ["-standard", Wire()]), environ={}).parts] == ["wire"]


def test_a_strange_environment_is_told_with_its_name() -> None:
    with pytest.raises(OptionError) as caught:
        assemble(["-standard", Wire()], environ={"LIBWS_PLUGINS": "-"})
    assert caught.value.problems == (Problem(None, "LIBWS_PLUGINS: '-' is not the name of a plugin"),)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ([("steady", {})], "options: expected a mapping from plugin to its options, got list"),
        ({5: {}}, "options: expected the name of a plugin, got int"),
        ({"steady": 5}, "'steady': expected a mapping from option to value in options, got int"),
        ({"steady": {5: 1}}, "'steady': expected a mapping from option to value in options, got dict"),
    ],
)
def test_options_that_are_no_mappings_are_told(options: Any, problem: str) -> None:
    assert problems(Steady(), layers=[("options", options)]) == [problem]


def test_no_options_are_no_problem() -> None:
    nothing: Any = None
    assert plan(layers=[("options", nothing), ("more", {})])


# Hooks


def answering(method: Callable[..., Any], name: str = "Odd", **options: Any) -> Any:
    hook = options.pop("hook", method.__name__)
    return type(name, (), {hook: hookimpl(**options)(method)})()


def test_an_object_with_hooks_of_its_own_is_not_taken_for_its_class() -> None:
    class Open:
        def __init__(self, **own: Any) -> None:
            vars(self).update(own)

        @hookimpl
        def reconnect(self, failure: Any) -> float:
            return 1.0

    def observers(*plugins: Any) -> list[tuple[Any, ...]]:
        hooks = [plan(each).hooks for each in plugins]
        return [tuple(len(each[name]) for name in ("reconnect", "observe")) for each in hooks]

    @hookimpl
    def observe(event: Any) -> None: ...

    # whichever comes first: what is known of the class is no answer for the object, nor the other way round
    assert observers(Open(), Open(observe=observe), Open()) == [(1, 0), (1, 1), (1, 0)]
    assert observers(Open(reconnect=None, other=1, observe=observe)) == [(0, 1)]
    assert observers(Open(), Open(observe=len)) == [(1, 0), (1, 0)]


def test_an_object_may_hide_a_hook_of_its_class() -> None:
    class Hiding:
        @hookimpl
        def observe(self, event: Any) -> None: ...

        @hookimpl
        def reconnect(self, failure: Any) -> float:
            return 1.0

    assert len(plan(Hiding()).hooks["reconnect"]) == 1
    hiding = Hiding()
    vars(hiding)["reconnect"] = None
    assert len(plan(hiding).hooks["reconnect"]) == 0
    assert len(plan(Hiding()).hooks["reconnect"]) == 1


def test_a_class_that_nobody_uses_any_more_is_not_kept() -> None:
    class Passing(Steady): ...

    plan(Passing())
    gone = weakref.ref(Passing)
    del Passing
    gc.collect()
    assert gone() is None


def test_hooks_are_called_positionally_whatever_an_implementation_takes() -> None:
    class Reversed:
        @hookimpl
        def adapt_error(self, request: Any, error: Any) -> Any:
            return ("reversed", error, request)

    class Fewer:
        @hookimpl
        def adapt_error(self, request: Any) -> Any:
            return ("fewer", request)

    class Nothing:
        @hookimpl
        def adapt_error(self) -> Any:
            return ("none",)

    class Default:
        @hookimpl
        def adapt_error(self, error: Any, request: Any = None, more: int = 3) -> Any:
            return ("default", error, request, more)

    class Keyword:
        @hookimpl
        def adapt_error(self, *, request: Any, error: Any) -> Any:
            return ("keyword", error, request)

    class Everything:
        @hookimpl
        def adapt_error(self, *given: Any) -> Any:
            return ("any", *given)

    class AnyReversed:
        @hookimpl
        def adapt_error(self, request: Any, *given: Any) -> Any:
            return ("any-reversed", request, *given)

    class Static:
        @staticmethod
        @hookimpl
        def adapt_error(error: Any, request: Any) -> Any:
            return ("static", error, request)

    class Renamed:
        @hookimpl(specname="adapt_error")
        def improve(self, error: Any) -> Any:
            return ("renamed", error)

    answers = [Reversed(), Fewer(), Nothing(), Default(), Keyword(), Everything(), AnyReversed(), Static(), Renamed()]
    assert [hook.call("E", "R") for hook in plan(*answers).hooks["adapt_error"]] == [
        ("reversed", "E", "R"),
        ("fewer", "R"),
        ("none",),
        ("default", "E", "R", 3),
        ("keyword", "E", "R"),
        ("any", "E", "R"),
        ("any-reversed", "R"),
        ("static", "E", "R"),
        ("renamed", "E"),
    ]


def test_a_method_that_takes_just_what_the_hook_gives_is_called_directly() -> None:
    made = plan(Steady())
    assert made.hooks["reconnect"][0].call == made.plugin(Steady).reconnect


async def test_an_async_answer_may_be_bound_by_name_too() -> None:
    async def dial(self: Any) -> str:
        return "dialed"

    assert await plan(answering(dial)).hooks["dial"][0].call("request") == "dialed"


@pytest.mark.parametrize(
    "hook", sorted(name for name in vars(hookspecs) if hasattr(vars(hookspecs)[name], "libws_spec"))
)
def test_only_some_hooks_may_be_async(hook: str) -> None:
    async def method(self: Any) -> None: ...

    plugin = answering(method, hook=hook)
    if hook in hookspecs.ASYNC:
        assert "odd" in [each.plugin for each in plan(plugin).hooks[hook]]
    else:
        assert problems(plugin) == [f"'odd': {hook!r} is async, but must be a plain function; write def, not async def"]


def test_generators_are_refused() -> None:
    def reconnect(self: Any, failure: Any) -> Any:
        yield 1

    async def keep_alive(self: Any, session: Any) -> Any:
        yield 1

    assert problems(answering(reconnect), answering(keep_alive, "Other")) == [
        "'odd': 'reconnect' is a generator, which is no answer; write return, not yield",
        "'other': 'keep_alive' is a generator, which is no answer; write return, not yield",
    ]


@pytest.mark.parametrize("options", [{"wrapper": True}, {"hookwrapper": True}])
def test_wrappers_are_refused(options: Any) -> None:
    def generator(self: Any, request: Any) -> Any:
        yield

    def plain(self: Any, request: Any) -> Any: ...

    for method in (generator, plain):
        assert problems(answering(method, hook="resolve", **options)) == [
            "'odd': 'resolve' is a wrapper, which the core does not call; make it a plain @hookimpl"
        ]


def test_unknown_hooks_are_refused_unless_they_are_optional() -> None:
    def telepathy(self: Any) -> None: ...

    def reconect(self: Any, failure: Any) -> None: ...

    assert problems(answering(telepathy), answering(reconect, "Other")) == [
        f"'odd': implements 'telepathy', which libws-core {__version__} does not have; try: pip install -U libws-core",
        f"'other': implements 'reconect', which libws-core {__version__} does not have; did you mean 'reconnect'?",
    ]
    assert plan(answering(telepathy, optionalhook=True)).parts[0].name == "odd"


def test_unknown_arguments_are_refused() -> None:
    def reconnect(self: Any, failure: Any, error: Any, *, delay: Any) -> None: ...

    assert problems(answering(reconnect)) == [
        "'odd': 'reconnect' takes 'error', 'delay', which it is not given; it gets failure"
    ]


def test_all_problems_of_a_plugin_are_told_at_once() -> None:
    class Odd:
        @hookimpl
        def reconnect(self, error: Any) -> None: ...

        @hookimpl
        async def observe(self, event: Any) -> None: ...

        @hookimpl
        def telepathy(self) -> None: ...

    assert len(problems(Odd())) == 3


def test_what_pluggy_refuses_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    from pluggy import PluginManager, PluginValidationError

    def refuse(manager: Any, plugin: Any, name: Any = None) -> None:
        raise PluginValidationError(plugin, "no\n such hook")

    class Fresh(Steady): ...  # pluggy is asked once a class

    monkeypatch.setattr(PluginManager, "register", refuse)
    assert problems(Fresh())[0] == "'fresh': no such hook"


def test_a_plugin_that_answers_nothing_is_told() -> None:
    class Forgot:
        def reconnect(self, failure: Any) -> None: ...

    assert problems(Forgot()) == ["'forgot': Forgot answers no hook; mark its methods with @hookimpl"]


def test_decorated_methods_are_hooks() -> None:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def outer(*given: Any, **named: Any) -> Any:
            return ("outer", function(*given, **named))

        return outer

    class Decorated:
        @hookimpl
        @decorate
        def adapt_error(self, request: Any, error: Any) -> Any:
            return (error, request)

    assert plan(Decorated()).hooks["adapt_error"][0].call("E", "R") == ("outer", ("E", "R"))


def test_properties_are_not_evaluated_in_the_search_for_hooks() -> None:
    class Lazy(Wire):
        @property
        def token(self) -> str:
            raise RuntimeError("asked too early")

    assert plan(Lazy()).parts[0].name == "lazy"


# The error


def test_somebody_must_answer_dial() -> None:
    with pytest.raises(PluginError) as caught:
        assemble(["-standard", Steady()], environ={})
    assert str(caught.value) == (
        "cannot assemble the client:\n  no plugin answers dial(); enable one, e.g. 'websockets'"
    )


def test_a_dialer_whose_options_are_wrong_is_a_dialer_all_the_same() -> None:
    @dataclass
    class Dialer(Wire):
        size: int = 1

    wrong: Any = "big"
    with pytest.raises(OptionError) as caught:
        assemble(["-standard", Dialer(wrong)], environ={})
    assert len(caught.value.problems) == 1


def test_the_callers_problems_are_told_first_and_decide_nothing() -> None:
    bad = Problem(None, "url: expected str, got int 5", "write 'wss://...'")
    with pytest.raises(OptionError) as caught:
        plan(problems=[bad])
    assert caught.value.problems == (bad,)
    with pytest.raises(PluginError) as both:
        plan("acme", problems=[bad])
    assert both.value.problems[0] is bad
    assert str(both.value).splitlines()[1] == "  url: expected str, got int 5; write 'wss://...'"
    assert [problem.plugin for problem in both.value.problems] == [None, "acme"]
