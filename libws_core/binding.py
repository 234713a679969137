"""From plugins in order to the tuples of callables that the core asks. pluggy reads and checks the hooks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from pluggy import PluginManager, PluginValidationError

from . import __version__, hookspecs
from .report import Report, closest


class Hook(NamedTuple):
    """One plugin's answer to one hook."""

    plugin: str
    """The plugin's name."""
    call: Callable[..., Any]
    """Takes the hook's arguments positionally, in the order of its specification."""

    def __repr__(self) -> str:
        return f"Hook({self.plugin!r})"  # a bound method would show the plugin's fields


class Flaw(NamedTuple):
    """Something that keeps the core from calling a plugin's hooks."""

    rule: Literal["nothing", "unknown", "wrapper", "generator", "async", "arguments"]
    """Which rule is broken, for programs."""
    text: str
    cure: str


class Implementation(NamedTuple):
    """A method that is marked as an answer to a hook."""

    hook: str
    attribute: str
    options: Mapping[str, Any]
    """What `@hookimpl(...)` was told."""


class _Manager(PluginManager):
    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        # No hook has such a name, and looking at all of them is most of the time that an assembly takes.
        return None if name.startswith("__") else super().parse_hookimpl_opts(plugin, name)


def new_manager() -> PluginManager:
    """A pluggy manager that knows the hooks of the core. It takes part of a millisecond; use it and drop it."""
    manager = _Manager("libws")
    manager.add_hookspecs(hookspecs)
    return manager


def hooks_of(plugin: Any, manager: PluginManager) -> list[Implementation]:
    """The hooks that a plugin, or a plugin's class, says it implements."""
    found = []
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is not None:
            found.append(Implementation(options.get("specname") or attribute, attribute, {**options}))
    return found


def brings_others(plugin: Any) -> bool:
    """Whether a plugin, or the objects of a plugin's class, may have `uses`. Evaluates no property."""
    cls = plugin if isinstance(plugin, type) else type(plugin)
    own = getattr(plugin, "__dict__", {})
    return hasattr(cls, "uses") or "uses" in own or "uses" in getattr(cls, "__dataclass_fields__", ())


def flaws_of(plugin: Any, manager: PluginManager, distribution: str | None = None) -> list[Flaw]:
    """Whatever keeps the core from calling a plugin's hooks."""
    found = hooks_of(plugin, manager)
    if not found and not brings_others(plugin):
        return [Flaw("nothing", f"{type(plugin).__name__} answers no hook", "mark its methods with @hookimpl")]
    flaws: list[Flaw] = []
    for hook, attribute, options in found:
        caller = getattr(manager.hook, hook, None)
        if caller is not None:
            flaws += _flaws_of(hook, getattr(plugin, attribute), options, caller.spec.argnames)
        elif not options.get("optionalhook"):
            meant = closest(hook, vars(manager.hook))
            text = f"implements {hook!r}, which libws-core {__version__} does not have"
            cure = f"did you mean {meant!r}?" if meant else "try: pip install -U libws-core"
            flaws.append(Flaw("unknown", f"{distribution} {text}" if distribution else text, cure))
    return flaws


def _flaws_of(
    hook: str, function: Callable[..., Any], options: Mapping[str, Any], arguments: Sequence[str]
) -> Iterator[Flaw]:
    strange = [
        repr(taker.name)
        for taker in _takers(function)
        if taker.name not in arguments
        and taker.default is taker.empty
        and taker.kind not in (taker.VAR_POSITIONAL, taker.VAR_KEYWORD)
    ]
    if options.get("wrapper") or options.get("hookwrapper"):
        yield Flaw("wrapper", f"{hook!r} is a wrapper, which the core does not call", "make it a plain @hookimpl")
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        yield Flaw("generator", f"{hook!r} is a generator, which is no answer", "write return, not yield")
    elif inspect.iscoroutinefunction(function) and hook not in hookspecs.ASYNC:
        yield Flaw("async", f"{hook!r} is async, but must be a plain function", "write def, not async def")
    elif strange:
        text = f"{hook!r} takes {', '.join(strange)}, which it is not given"
        yield Flaw("arguments", text, f"it gets {', '.join(arguments)}")


class Takes(NamedTuple):
    """Which of a hook's arguments a method takes: it may take fewer, and in another order."""

    by_place: Sequence[int]
    by_name: Mapping[str, int]

    def given_to(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A callable that takes all of them and hands on these."""
        by_place, by_name = self

        def call(*given: Any) -> Any:
            rest = {name: given[place] for name, place in by_name.items()}
            return function(*[given[place] for place in by_place], **rest)

        return call


class Answer(NamedTuple):
    """A method that answers a hook, and how it is called."""

    hook: str
    attribute: str
    rank: int
    """-1 if it is marked `tryfirst`, 1 if `trylast`."""
    takes: Takes | None
    """None = just what the hook gives."""


_known: WeakKeyDictionary[type, list[Answer]] = WeakKeyDictionary()
"""The answers of each class that was read and has no flaw."""


def bind(plugins: Iterable[tuple[str, Any, str | None]], report: Report) -> Mapping[str, tuple[Hook, ...]]:
    """Ask every plugin for its hooks, refuse what the core cannot call, and say who is asked in which order.

    Args:
        plugins: name, object and distribution of each, in order.

    Returns:
        Every hook of the core with its answers: `tryfirst` ones in front, `trylast` ones behind, otherwise in order.
    """
    ranked: dict[str, list[tuple[int, Hook]]] = {hook: [] for hook in _arguments()}
    earlier: list[Any] = []
    for name, plugin, distribution in plugins:
        answers = None if _is_special(plugin) else _known.get(type(plugin))
        if answers is None:
            answers = _read_answers(name, plugin, distribution, report)
        if plugin in earlier:
            report.plugin(name, "is equal to another plugin", "write @dataclass(eq=False)")
            continue
        earlier.append(plugin)
        for hook, attribute, rank, takes in answers:
            function = getattr(plugin, attribute)
            ranked[hook].append((rank, Hook(name, takes.given_to(function) if takes else function)))
    return {
        hook: tuple(answer for _, answer in sorted(answers, key=lambda each: each[0]))
        for hook, answers in ranked.items()
    }


def _is_special(plugin: Any) -> bool:
    """Whether an object may answer otherwise than its class: it holds a function, or something in a method's place."""
    own = getattr(plugin, "__dict__", {})
    return any(
        inspect.isroutine(value) or inspect.isroutine(getattr(type(plugin), name, None)) for name, value in own.items()
    )


def _read_answers(name: str, plugin: Any, distribution: str | None, report: Report) -> list[Answer]:
    manager = new_manager()
    flaws = flaws_of(plugin, manager, distribution)
    for _, text, cure in flaws:
        report.plugin(name, text, cure)
    if flaws:
        return []
    try:
        manager.register(plugin, name)
    except PluginValidationError as error:
        report.plugin(name, " ".join(str(error).split()))
        return []
    arguments = _arguments()
    answers = [
        Answer(
            hook,
            attribute,
            bool(options.get("trylast")) - bool(options.get("tryfirst")),
            _takes(getattr(plugin, attribute), arguments[hook]),
        )
        for hook, attribute, options in hooks_of(plugin, manager)
        if hook in arguments
    ]
    if not _is_special(plugin):
        _known[type(plugin)] = answers
    return answers


@functools.cache
def _arguments() -> Mapping[str, tuple[str, ...]]:
    """The hooks of the core with their arguments."""
    return {name: tuple(caller.spec.argnames) for name, caller in vars(new_manager().hook).items()}


def _takers(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _takes(function: Callable[..., Any], arguments: Sequence[str]) -> Takes | None:
    takers = _takers(function)
    if [taker.name for taker in takers if taker.kind is not taker.KEYWORD_ONLY] == [*arguments]:
        return None
    named = [taker.name for taker in takers if taker.kind in (taker.POSITIONAL_ONLY, taker.POSITIONAL_OR_KEYWORD)]
    if any(taker.kind is taker.VAR_POSITIONAL for taker in takers) and named == [*arguments[: len(named)]]:
        return None
    by_name = [taker.name for taker in takers if taker.kind is taker.KEYWORD_ONLY and taker.name in arguments]
    return Takes(
        [arguments.index(name) for name in named if name in arguments],
        {name: arguments.index(name) for name in by_name},
    )
