"""What a list of plugins means: names, removals, the environment, what plugins bring along, and the order of it all."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from libws_core import ConfigurationError, OptionError, PluginError, assembly, hookimpl, plugins
from libws_core.plugins import Plan, assemble

Install = Callable[..., None]
HEAD = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Any
from libws_core import Secret, hookimpl
"""


class Wire:
    """Answers `dial`, so that a list without the standard dialer is complete."""

    @hookimpl(trylast=True)
    async def dial(self, request: Any) -> None: ...


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a distribution with one plugin onto the path, as an installer leaves it: a module and its metadata."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(name: str, source: str = "", **more: str) -> None:
        module = f"strange_{name.replace('-', '_')}"
        fields = textwrap.indent(textwrap.dedent(source), "    ")
        head = "" if "@hookimpl" in source else "    @hookimpl\n    def observe(self, event): ...\n"
        (tmp_path / f"{module}.py").write_text(
            f"{HEAD}{more.get('before', '')}\n@dataclass(eq=False, kw_only=True)\nclass Plugin:\n{head}{fields}\n"
        )
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: strange-{name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[libws.v1]\n{name} = {module}:Plugin\n")

    yield put
    for name in set(sys.modules) - before:
        if name.startswith("strange_"):
            del sys.modules[name]


def plan(*plugins: Any, options: Any = None, env: str = "", profile: Any = None) -> Plan:
    """Assemble without the standard plugins but with a dialer of our own, at the end."""
    layers = [("profile x.toml", profile or {}), ("options", options or {})]
    return assemble(["-standard", *plugins, Wire()], layers, environ={"LIBWS_PLUGINS": env})


def names(*plugins: Any, **more: Any) -> list[str]:
    return [part.name for part in plan(*plugins, **more).parts if part.name != "wire"]


def problems(*plugins: Any, **more: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        plan(*plugins, **more)
    return [str(problem) for problem in caught.value.problems]


def use(**uses: Any) -> str:
    return f"uses = {uses!r}\n"


# Lists


def test_the_list_reads_from_the_user_to_the_wire(install: Install) -> None:
    for name in "abc":
        install(name)
    assert names("b", "c", "a") == ["b", "c", "a"]


def test_named_twice_is_the_first_place(install: Install) -> None:
    for name in "abc":
        install(name)
    assert names("b", "a", "b", "c", "a") == ["b", "a", "c"]


def test_standard_stands_behind_everything_else_wherever_named() -> None:
    standard = ["websockets", "backoff", "ping", "pong"]
    assert order_of(["standard", "first", "second"]) == ["first", "second", *standard]
    assert order_of(["first"]) == ["first", *standard]
    assert order_of(["first", "-standard"]) == ["first"]
    assert order_of(["pong", "first"]) == ["pong", "first", "websockets", "backoff", "ping"]
    assert order_of(["-standard", "pong", "first", "-first"]) == ["pong"]
    assert order_of(["-pong", "first"]) == ["first", "websockets", "backoff", "ping"]
    assert order_of(["-standard", "websockets"]) == ["websockets"]


def order_of(plugins: list[str], env: str = "") -> list[str]:
    from libws_core import order
    from libws_core.report import Report

    report = Report()
    wanted = order.read(plugins, {"LIBWS_PLUGINS": env}, lambda item: "", report)
    assert not report.problems
    sequence = order.arrange([*wanted.listed], wanted.tail(), {}, {}, report)
    return [name for name in sequence if name not in wanted.removed]


def test_a_removal_is_applied_last_whoever_brought_the_name(install: Install) -> None:
    install("b")
    install("a", use(b={}))
    assert names("-b", "a", "b") == ["a"]
    assert names("a", "-b") == ["a"]
    assert names("a", "b", env="-b") == ["a"]
    assert names("a", "-a", "b") == ["b"]


def test_a_removed_plugin_is_not_even_imported(install: Install) -> None:
    install("bomb", before="raise RuntimeError('imported')")
    install("a", use(bomb={}))
    assert names("a", "bomb", "-bomb") == ["a"]
    assert "strange_bomb" not in sys.modules


def test_what_a_removed_provider_would_have_brought_is_absent(install: Install) -> None:
    install("b")
    install("a", use(b={}))
    assert names("a", "-a") == []


def test_removing_what_is_absent_is_a_problem(install: Install) -> None:
    install("cipher")
    assert problems("cipher", "-ciphre") == [
        "'ciphre': '-ciphre' takes out what is not enabled; did you mean 'cipher'?"
    ]
    assert problems("-pong") == ["'pong': '-pong' takes out what is not enabled"]
    with pytest.raises(OptionError):
        plan("-pong")


def test_removing_what_is_absent_is_no_problem_in_the_environment(install: Install) -> None:
    install("a")
    assert names("a", env="-pong,-nothing, ,") == ["a"]


def test_the_environment_taking_out_the_group_does_not_make_removals_of_the_list_absent(install: Install) -> None:
    plan = assemble(["-pong", Wire()], environ={"LIBWS_PLUGINS": "-standard"})
    assert [part.name for part in plan.parts] == ["wire"]


def test_the_environment_is_appended(install: Install) -> None:
    install("a")
    install("log2")
    parts = plan("a", env=" log2 ,a,-b").parts
    assert [(part.name, part.because) for part in parts] == [
        ("a", "named"),
        ("wire", "named"),
        ("log2", "LIBWS_PLUGINS"),
    ]


def test_the_environment_of_the_process_counts(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("a")
    monkeypatch.setenv("LIBWS_PLUGINS", "a")
    assert [part.name for part in assemble(["-standard", Wire()]).parts] == ["wire", "a"]


def test_a_plugin_that_cannot_be_had_may_have_brought_what_is_removed(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembly, "OFFICIAL", assembly.OFFICIAL | {"elsewhere"})
    install("needy", "must: int\n" + use(cipher={}))
    assert problems("acme", "-cipher", options={"outbox": {"size": 3}}) == [
        f"'acme': not installed in {python()}; install the package that provides the libws.v1 plugin 'acme'"
    ]
    assert problems("needy", "-cipher") == ["'needy': option 'must' must be given; options: must"]
    # one that is known to bring nothing, even misspelt, leaves no doubt
    assert len(problems("elsewhere", "-cipher")) == 2
    assert len(problems("elsewere", "-cipher")) == 2


def python() -> str:
    from libws_core.plugins import _python

    return _python()


# What a plugin brings along


def test_a_used_plugin_stands_directly_behind_its_user_in_the_order_of_the_mapping(install: Install) -> None:
    for name in ("x", "y", "z", "other"):
        install(name)
    install("deep", use(z={}))
    install("provider", use(y={}, deep={}, x={}))
    assert names("provider", "other") == ["provider", "y", "deep", "z", "x", "other"]


def test_a_used_plugin_stands_behind_the_last_of_its_users(install: Install) -> None:
    install("x")
    install("other")
    install("one", use(x={}))
    install("two", use(x={}))
    assert names("one", "other", "two") == ["one", "other", "two", "x"]
    part = plan("one", "other", "two").parts[3]
    assert part.because == "used by one, two"


def test_siblings_keep_the_order_of_the_mapping_of_the_last_user(install: Install) -> None:
    for name in "xyz":
        install(name)
    install("first", use(y={}))
    install("last", use(z={}, x={}, y={}))
    assert names("first", "last") == ["first", "last", "z", "x", "y"]


def test_what_the_list_names_keeps_its_place_unless_a_user_of_it_stands_behind(install: Install) -> None:
    install("x")
    install("other")
    install("provider", use(x={}))
    assert names("provider", "other", "x") == ["provider", "other", "x"]
    assert names("x", "other", "provider") == ["other", "provider", "x"]


def test_standard_plugins_stay_at_the_end_when_a_provider_uses_them(install: Install) -> None:
    from libws_core import order
    from libws_core.report import Report

    uses = {"provider": ["ping", "x"]}
    assert order.arrange(["provider", "other"], ["websockets", "ping"], uses, {}, Report()) == [
        "provider",
        "x",
        "other",
        "websockets",
        "ping",
    ]


def test_uses_may_be_a_method_that_reads_the_providers_own_options(install: Install) -> None:
    install("ratelimit2", "messages: int | None = None\n")
    install(
        "provider",
        """
        market: str = "spot"

        def uses(self):
            return {"ratelimit2": {"messages": 5 if self.market == "spot" else 10}}
        """,
    )
    assert plan("provider").plugin("ratelimit2").messages == 5
    futures = plan("provider", options={"provider": {"market": "futures"}})
    assert futures.plugin("ratelimit2").messages == 10
    assert futures.parts[1].options == {"messages": (10, "used by provider")}


def test_a_provider_can_configure_another_provider(install: Install) -> None:
    install("leaf", "size: int = 0\n")
    install("extra")
    install("inner", "size: int = 1\nmore: bool = False\n" + deep_uses())
    install("outer", use(inner={"size": 7, "more": True}))
    assert plan("inner", "outer").plugin("leaf").size == 7
    assert plan("inner").plugin("leaf").size == 1
    assert names("outer") == ["outer", "inner", "leaf", "extra"]
    assert names("inner") == ["inner", "leaf"]


def deep_uses() -> str:
    return """
def uses(self):
    return {"leaf": {"size": self.size}} | ({"extra": {}} if self.more else {})
"""


def test_what_is_used_only_with_options_that_did_not_stay_is_not_enabled(install: Install) -> None:
    install("extra")
    install("inner", "bare: bool = False\ndef uses(self):\n    return {} if self.bare else {'extra': {}}\n")
    install("outer", use(inner={"bare": True}))
    assert names("inner", "outer") == ["outer", "inner"]


def test_a_circle_of_uses_is_a_problem(install: Install) -> None:
    install("a", use(b={}))
    install("b", use(c={}))
    install("c", use(a={}))
    install("selfish", use(selfish={}))
    assert problems("a") == ["'c': uses itself: 'c' uses 'a' uses 'b' uses 'c'"]
    assert problems("selfish") == ["'selfish': uses itself: 'selfish' uses 'selfish'"]
    with pytest.raises(PluginError):
        plan("a")


def test_a_used_plugin_that_is_not_installed_is_told_like_a_named_one(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plugins, "OFFICIAL", plugins.OFFICIAL | {"elsewhere", "elsewhere-api"})
    monkeypatch.setitem(assembly.HOMES, "elsewhere-api", "elsewhere")
    for name in ("elsewhere", "elsewhere-api"):  # the second one comes with the first one's distribution
        install(f"provider-{name}", use(**{name: {}}))
        expected = f"{name!r}: not installed in {python()}; try: pip install libws-elsewhere"
        assert problems(f"provider-{name}") == [expected]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("uses = ['ping']\n", "its `uses` gives list; it must give plugin -> option -> value"),
        ("uses = {'ping': 5}\n", "its `uses` gives dict; it must give plugin -> option -> value"),
        ("async def uses(self): return {}\n", "its `uses` gives coroutine; it must give plugin -> option -> value"),
        ("def uses(self): raise KeyError('market')\n", "its `uses` raised KeyError: 'market'"),
        (
            "token: Secret = Secret('geheim')\ndef uses(self): raise KeyError(self.token.reveal())\n",
            "its `uses` raised KeyError: '***'",
        ),
    ],
)
def test_uses_that_make_no_sense_are_a_problem(install: Install, source: str, text: str) -> None:
    install("provider", source)
    assert problems("provider") == [f"'provider': {text}"]


# Merging


def test_options_are_merged_one_by_one(install: Install) -> None:
    install("limit", "a: int = 1\nb: int = 1\nc: int = 1\nd: dict = field(default_factory=dict)\ne: int = 1\n")
    install("provider", use(limit={"a": 2, "b": 2, "c": 2, "d": {"x": 1, "y": 1}}))
    part = plan("provider", profile={"limit": {"b": 3, "c": 3}}, options={"limit": {"c": 4, "d": {"z": 1}}}).parts[1]
    assert part.options == {
        "a": (2, "used by provider"),
        "b": (3, "profile x.toml"),
        "c": (4, "options"),
        "d": ({"z": 1}, "options"),
        "e": (1, "default"),
    }
    assert (part.plugin.a, part.plugin.b, part.plugin.c, part.plugin.d, part.plugin.e) == (2, 3, 4, {"z": 1}, 1)
    assert (part.name, part.distribution, part.because) == ("limit", "strange-limit 1.0", "used by provider")


def test_two_uses_that_differ_are_a_problem_until_the_user_decides(install: Install) -> None:
    install("limit", "messages: int = 1\nper: int = 1\n")
    install("one", use(limit={"messages": 5, "per": 2}))
    install("two", use(limit={"messages": 10, "per": 2}))
    assert problems("one", "two") == [
        "'limit': option 'messages': one wants 5, two wants 10; decide it in your own options"
    ]
    assert plan("one", "two", options={"limit": {"messages": 7}}).plugin("limit").messages == 7
    decided = plan("one", "two", profile={"limit": {"messages": 7}}).parts[2]
    assert decided.options == {"messages": (7, "profile x.toml"), "per": (2, "used by one, two")}


def test_two_uses_that_differ_in_a_secret_do_not_show_it(install: Install) -> None:
    install("login", "token: Secret | None = None\n")
    install("one", use(login={"token": "geheim1"}))
    install("two", use(login={"token": "geheim2"}))
    assert problems("one", "two") == [
        "'login': option 'token': one wants ***, two wants another; decide it in your own options"
    ]


def test_options_for_a_plugin_that_is_not_enabled_are_a_problem(install: Install) -> None:
    install("cipher")
    found = problems("cipher", options={"ciphre": {}}, profile={"outbox": {"size": 1}})
    assert found == [
        "'outbox': has options in profile x.toml, but is not enabled; add 'outbox' to the plugins",
        "'ciphre': has options in options, but is not enabled; did you mean 'cipher'?",
    ]
    assert problems("cipher", "-cipher", options={"cipher": {}}) == [
        "'cipher': has options in options, but '-cipher' takes it out"
    ]


def test_the_environment_may_take_out_a_plugin_that_has_options(install: Install) -> None:
    install("cipher", "size: int = 1\n")
    assert names("cipher", options={"cipher": {"size": 2}}, env="-cipher") == []
    taken = assemble([Wire()], [("options", {"ping": {"interval": 5}})], environ={"LIBWS_PLUGINS": "-standard"})
    assert [part.name for part in taken.parts] == ["wire"]


# Objects among names


def test_an_object_stands_where_the_list_has_it_and_uses_do_not_touch_it(install: Install) -> None:
    class Limit:
        messages = 1

        @hookimpl
        def observe(self, event: Any) -> None: ...

    install("provider", use(limit={"messages": 10}))
    mine = Limit()
    made = plan("provider", mine)
    assert [part.name for part in made.parts] == ["provider", "limit", "wire"]
    assert made.plugin(Limit) is mine
    assert mine.messages == 1


def test_an_object_may_bring_others_along(install: Install) -> None:
    class Provider:
        uses: ClassVar[Any] = {"limit": {"size": 3}}

    install("limit", "size: int = 1\n")
    made = plan(Provider())
    assert [part.name for part in made.parts] == ["provider", "limit", "wire"]
    assert made.plugin("limit").size == 3


def test_uses_may_be_made_with_the_object(install: Install) -> None:
    class Handmade:
        def __init__(self) -> None:
            self.uses = {"limit": {"size": 4}}

    class Computed:
        @property
        def uses(self) -> Any:
            return {"limit": {"size": 4}}

    @dataclass(eq=False)
    class Chosen:
        uses: dict[str, Any] = field(default_factory=lambda: {"limit": {"size": 4}})

    install("limit", "size: int = 1\n")
    for provider in (Handmade(), Computed(), Chosen()):
        assert plan(provider).plugin("limit").size == 4


# Classes that want to stand behind others


def test_behind_counts_only_if_the_name_is_enabled(install: Install) -> None:
    install("cipher2")
    install("middle")
    install("limit", before="", source="behind = ('cipher2', 'absent')\n")
    assert names("limit", "middle", "cipher2") == ["middle", "cipher2", "limit"]
    assert names("limit", "middle") == ["limit", "middle"]
    assert names("cipher2", "limit", "middle") == ["cipher2", "limit", "middle"]


def test_a_circle_of_behind_is_a_problem(install: Install) -> None:
    install("a", "behind = ('b',)\n")
    install("b", "behind = ['a']\n")
    install("c", "behind = ('b',)\n")
    assert problems("c", "a", "b") == ["'a': cannot stand behind itself: 'a' behind 'b' behind 'a'"]


def test_behind_and_uses_together_can_make_a_circle(install: Install) -> None:
    install("provider", "behind = ('x',)\n" + use(x={}))
    install("x")
    assert problems("provider") == ["'provider': cannot stand behind itself: 'provider' behind 'x' behind 'provider'"]


def test_behind_must_be_a_tuple_of_names(install: Install) -> None:
    install("a", "behind = 'cipher'\n")
    assert problems("a") == ["""'a': its `behind` is str; give a tuple of names, such as ("codec",)"""]


def test_trylast_moves_one_hook_to_the_wire_and_several_keep_the_order_of_the_list(install: Install) -> None:
    late = "@hookimpl(trylast=True)\ndef reconnect(self, failure): ...\n@hookimpl\ndef incoming(self, session): ...\n"
    early = "@hookimpl(tryfirst=True)\ndef reconnect(self, failure): ...\n"
    plain = "@hookimpl\ndef reconnect(self, failure): ...\n@hookimpl\ndef incoming(self, session): ...\n"
    for name, source in {"l1": late, "p1": plain, "e1": early, "l2": late, "p2": plain, "e2": early}.items():
        install(name, source)
    hooks = plan("l1", "p1", "e1", "l2", "p2", "e2").hooks
    assert [hook.plugin for hook in hooks["reconnect"]] == ["e1", "e2", "p1", "p2", "l1", "l2"]
    assert [hook.plugin for hook in hooks["incoming"]] == ["l1", "p1", "l2", "p2"]
