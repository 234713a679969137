"""Options: how values are checked, converted and explained, wherever they come from."""

from __future__ import annotations

import asyncio
import enum
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NewType, Protocol, TypeVar, Union

import pytest
from msgspec import Meta

from libws_core.conversion import Mismatch, Text, convert, described, explained, holds_secret, shown
from libws_core.options import configure, document, options_of
from libws_core.secret import Secret
from libws_core.verdicts import Verdict

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from elsewhere import Stranger  # type: ignore[import-not-found]

    from libws_core import Session

Name = NewType("Name", str)
T = TypeVar("T")


class Speaks(Protocol):
    def speak(self) -> None: ...


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


def told(value: Any, annotation: Any) -> str:
    """What a value that does not fit is told."""
    with pytest.raises(Mismatch) as caught:
        convert(value, annotation)
    return explained(caught.value, value, annotation)


def len_of(session: Any) -> float:
    return 1.0


# Conversion


@pytest.mark.parametrize(
    ("value", "annotation", "wanted"),
    [
        (10, float, 10.0),
        (10, int | float, 10),
        (10, float | int, 10),
        (2.5, int | float, 2.5),
        (True, bool, True),
        ("x", str, "x"),
        (b"x", bytes, b"x"),
        (bytearray(b"x"), bytes, b"x"),
        ("x", str | bytes, "x"),
        (b"x", str | bytes, b"x"),
        (None, float | None, None),
        (None, None, None),
        (3, Annotated[float, Meta(ge=0)] | None, 3.0),
        (3, Annotated[float | None, Meta(ge=0)], 3.0),
        (None, Annotated[float | None, Meta(ge=0)], None),
        (len_of, float | Callable[[Any], float], len_of),
        (len_of, Union[Callable, None], len_of),  # noqa: UP007
        ("full", Literal["full", "none"], "full"),
        ("fatal", Verdict, Verdict.FATAL),
        (Verdict.FATAL, Verdict, Verdict.FATAL),
        (2, Level, Level.HIGH),
        ({"429": "retry"}, dict[str, Verdict], {"429": Verdict.RETRY}),
        ({429: "retry"}, Mapping[str, Verdict], {"429": Verdict.RETRY}),
        ({"4403": "fatal"}, dict[int, Verdict], {4403: Verdict.FATAL}),
        ([1, 2], list[float], [1.0, 2.0]),
        ((1, 2), list[int], [1, 2]),
        ((1, 2), Sequence[int], (1, 2)),
        ([1, 2], Sequence[int], [1, 2]),
        ([1, 2], Iterable, [1, 2]),
        ([1, 2], tuple[int, ...], (1, 2)),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 1], set[int], {1}),
        ([1, 1], AbstractSet[int], {1}),
        ([1, 1], frozenset[int], frozenset([1])),
        ([[1]], list[list[float | str]], [[1.0]]),
        ([1], Annotated[list[float], Meta(min_length=1)], [1.0]),
        ("x", pathlib.Path, pathlib.Path("x")),
        ("x", str | pathlib.Path, "x"),
        ("x", Name, "x"),
        (object, Any, object),
        (1, T, 1),
        ("x", "Unresolved", "x"),
        ({"x": 1}, dict, {"x": 1}),
    ],
)
def test_a_value_that_fits_is_converted(value: Any, annotation: Any, wanted: Any) -> None:
    converted = convert(value, annotation)
    assert converted == wanted
    assert type(converted) is type(wanted)


@pytest.mark.parametrize(
    ("value", "annotation", "text"),
    [
        ("fast", float, "expected float, got str 'fast'"),
        ("5", float, "expected float, got str '5'"),
        (True, float, "expected float, got bool True"),
        (1.5, int, "expected int, got float 1.5"),
        (None, float, "expected float, got None"),
        ("abcd", bytes, "expected bytes, got str 'abcd'"),
        (math.nan, float, "expected a finite float, got float nan"),
        (math.inf, float, "expected a finite float, got float inf"),
        (-1, Annotated[float, Meta(ge=0)], "expected float >= 0, got int -1"),
        ("x", Annotated[float, Meta(ge=0)], "expected float >= 0, got str 'x'"),
        (math.nan, Annotated[float, Meta(ge=0)], "expected a finite float >= 0, got float nan"),
        (math.nan, Annotated[float, Meta(ge=0)] | None, "expected float >= 0 or None, got float nan"),
        (
            [1, -1],
            Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1)],
            "at [1]: expected int >= 0, got int -1",
        ),
        (-1, Annotated[float, Meta(gt=0, le=9.5)] | None, "expected float > 0 <= 9.5 or None, got int -1"),
        (7, Annotated[int, Meta(lt=5, multiple_of=2)], "expected int < 5 in steps of 2, got int 7"),
        (
            "",
            Annotated[str, Meta(min_length=1, max_length=3)],
            "expected str of length >= 1 of length <= 3, got str ''",
        ),
        ("x", Annotated[str, Meta(pattern="^y")], "expected str matching '^y', got str 'x'"),
        ("x", float | Callable[[Any], float] | None, "expected float, callable or None, got str 'x'"),
        ("x", Literal["full", "none", 1], "expected 'full', 'none' or 1, got str 'x'"),
        (True, Literal[1], "expected 1, got bool True"),
        ("fatl", Verdict, "expected 'retry', 'refresh' or 'fatal', got str 'fatl'"),
        ({"429": "fatl"}, dict[str, Verdict], "at 429: expected 'retry', 'refresh' or 'fatal', got str 'fatl'"),
        (
            {"429": "fatl"},
            dict[str, Verdict] | Callable[[], Any],
            "at 429: expected 'retry', 'refresh' or 'fatal', got str 'fatl'",
        ),
        ({"x": {"y": "z"}}, dict[str, dict[str, int]], "at x.y: expected int, got str 'z'"),
        ({"x": 1}, dict[int, int], "at key of x: expected int, got str 'x'"),
        ([1, "x"], list[int], "at [1]: expected int, got str 'x'"),
        ([1], tuple[int, str], "expected tuple[int, str], got list [1]"),
        ("x", list[str], "expected list[str], got str 'x'"),
        ("x", Sequence[str], "expected Sequence[str], got str 'x'"),
        ("x", tuple[str, ...], "expected tuple[str, ...], got str 'x'"),
        ([1], dict[str, int], "expected dict[str, int], got list [1]"),
        (1, asyncio.Queue, "expected Queue, got int 1"),
        ("wss://u:p@host/x?token=1", float, "expected float, got str 'wss://host/x?...'"),
        (3, Name, "expected str, got int 3"),
        (len_of, float, "expected float, got function len_of"),
        (Level.LOW, str, "expected str, got Level 1"),
    ],
)
def test_a_value_that_does_not_fit_is_explained(value: Any, annotation: Any, text: str) -> None:
    assert told(value, annotation) == text


def test_a_number_out_of_range_is_explained_in_short() -> None:
    assert told(10**400, float) == f"expected float, got int 1{'0' * 56}..."
    assert told(10**5000, float) == "expected float, got int <int>"


def test_an_infinite_number_is_taken_where_the_default_is_one() -> None:
    @dataclass
    class Patient:
        wait: float = math.inf
        cap: float = 1.0

    assert configure(Patient, {"wait": (math.inf, "options")}).arguments == {"wait": math.inf}
    for bad in ({"wait": -math.inf}, {"wait": math.nan}, {"cap": math.inf}):
        outcome = configure(Patient, {name: (value, "options") for name, value in bad.items()})
        assert "expected a finite float" in outcome.problems[0][0]


def test_objects_of_unknown_classes_are_taken_as_they_are() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue()
    assert convert(queue, asyncio.Queue[str]) is queue
    assert convert(queue, asyncio.Queue | None) is queue
    assert convert(queue, Speaks) is queue  # a protocol that cannot be checked

    @dataclass
    class Point:
        x: int

    point = Point(1)
    assert convert(point, Point) is point
    assert convert({"x": 2}, Point) == Point(2)
    assert told({"x": "y"}, Point) == "at .x: expected Point, got dict {'x': 'y'}"


def test_text_is_converted_where_a_value_would_be_refused() -> None:
    assert convert(Text("5"), float) == 5.0
    assert convert(Text("5"), str | float) == 5.0
    assert convert(Text("abc"), str | float) == "abc"
    assert type(convert(Text("abc"), str)) is str
    assert convert(Text("true"), bool) is True
    assert convert(Text("none"), float | None) is None
    assert convert(Text("null"), str | None) is None
    assert convert(Text("1"), Literal[1, 2]) == 1
    assert convert(Text("abc"), bytes) == b"abc"
    assert convert(Text("inf"), str | Annotated[float, Meta(ge=0)]) == "inf"
    assert told(Text("fast"), float) == "expected float, got str 'fast'"


def test_a_type_alias_is_what_it_stands_for() -> None:
    class Alias:
        __value__ = float | None

    assert convert(1, Alias()) == 1.0


# Secrets


def test_a_secret_option_takes_a_string_and_holds_it_as_a_secret() -> None:
    assert convert("geheim", Secret) == Secret("geheim")
    assert convert("geheim", Secret | Callable[[], str] | None) == Secret("geheim")
    assert convert(Text("geheim"), Secret | None) == Secret("geheim")
    assert convert(len_of, Secret | Callable[[], str]) is len_of
    assert convert({"a": "geheim", "b": len_of}, dict[str, Secret | Callable[[], str]]) == {
        "a": Secret("geheim"),
        "b": len_of,
    }
    secret = Secret("geheim")
    assert convert(secret, str | Secret) is secret


def test_a_secret_is_text_for_other_options() -> None:
    assert convert(Secret("5"), float) == 5.0
    assert convert(Secret("none"), float | None) is None
    assert convert({"a": Secret("b")}, dict[str, str]) == {"a": "b"}
    assert convert([Secret("b")], list[str]) == ["b"]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (5123, Secret),
        ({"x": 5123}, Secret | None),
        (Secret("5123x"), float),
        ({"x": Secret("5123x")}, dict[str, float]),
        ([Secret("5123x")], float),
        (5123, dict[str, Secret]),
        (["5123", 3], list[Secret]),
    ],
)
def test_a_problem_never_quotes_a_secret(value: Any, annotation: Any) -> None:
    text = told(value, annotation)
    assert "expected" in text
    assert "5123" not in text


def test_what_holds_a_secret_is_shown_as_it_was_given() -> None:
    @dataclass
    class Login:
        headers: dict[str, str] = field(default_factory=dict)
        token: Secret | None = None
        name: str = "x"

    given = {"headers": ({"k": Secret("geheim")}, "profile"), "token": ("geheim", "options"), "name": ("y", "options")}
    outcome = configure(Login, given)
    assert outcome.arguments == {"headers": {"k": "geheim"}, "token": Secret("geheim"), "name": "y"}
    assert "geheim" not in repr(outcome.origins)
    assert outcome.origins["name"] == ("y", "options")


def test_a_secret_default_is_not_shown() -> None:
    @dataclass
    class Login:
        token: Secret = field(default_factory=lambda: Secret("geheim"))
        loose: Secret | str = "geheim"
        none: Secret | None = None

    assert configure(Login, {"x": (1, "options")}).problems == [
        ("option 'x': there is no such option", "options: token=***, loose=***, none=None")
    ]
    assert "geheim" not in repr(document(Login))


# The options of a class


@dataclass(eq=False, kw_only=True)
class Everything:
    """One of each kind."""

    needed: int
    """Must be given."""
    cap: Annotated[float, Meta(gt=0)] = 30.0
    """Longest delay.

    In seconds.
    """
    bytes: int | None = None
    text: str | bytes | None = None  # type: ignore[valid-type]
    """Its annotation names a builtin that the field above hides."""
    every: float | Callable[[Session], float] | None = None
    table: MutableMapping[str, Verdict] = field(default_factory=dict)
    strange: Stranger | None = None
    broken: Stranger.Inner = None
    long: str = "x" * 100
    late: ClassVar[int] = 3
    state: int = field(default=0, init=False)


def test_the_options_are_the_fields_that_can_be_given() -> None:
    assert [*options_of(Everything)] == [
        *["needed", "cap", "bytes", "text", "every", "table", "strange", "broken", "long"]
    ]
    assert options_of(Everything) is options_of(Everything)
    assert options_of(int) == {}


def test_names_that_only_type_checkers_import_are_understood_as_far_as_possible() -> None:
    outcome = configure(
        Everything,
        {
            "needed": (1, "options"),
            "text": (b"x", "options"),
            "every": (len_of, "options"),
            "table": ({"429": "fatal"}, "options"),
            "strange": (object(), "options"),
            "broken": (object(), "options"),
        },
    )
    assert outcome.problems == []
    assert outcome.arguments["table"] == {"429": Verdict.FATAL}
    assert configure(Everything, {"needed": (1, ""), "every": ("x", "")}).problems[0][0] == (
        "option 'every': expected float, callable or None, got str 'x'"
    )


def test_every_problem_of_a_plugin_is_told_with_its_option() -> None:
    outcome = configure(
        Everything,
        {
            "cap": (0, "options"),
            "stat": (1, "options"),
            "state": (1, "options"),
            "caps": (2, "profile"),
            "late": (1, ""),
        },
    )
    cure = (
        "options: needed, cap=30.0, bytes=None, text=None, every=None, table={}, strange=None, broken=None, "
        "long='" + "x" * 56 + "..."
    )
    assert outcome.problems == [
        ("option 'cap': expected float > 0, got int 0", cure),
        ("option 'stat': there is no such option", cure),
        ("option 'state': it is state of the plugin, not an option", cure),
        ("option 'caps': there is no such option; did you mean 'cap'?", cure),
        ("option 'late': there is no such option", cure),
        ("option 'needed' must be given", cure),
    ]


def test_a_plain_class_has_no_options() -> None:
    assert configure(object, {"x": (1, "options")}).problems == [
        ("option 'x': there is no such option", "the plugin has no options")
    ]


def test_a_default_that_cannot_be_made_hinders_nobody() -> None:
    def fail() -> Any:
        raise KeyError("HOME")

    @dataclass
    class Fragile:
        place: str = field(default_factory=fail)

    assert configure(Fragile, {"place": ("x", "options")}).arguments == {"place": "x"}
    assert (document(Fragile)[0].default or "").startswith("test_a_default")


def test_annotations_may_be_objects_instead_of_text() -> None:
    made: Any = dataclass(type("Made", (), {"__annotations__": {"cap": float | None}, "cap": None}))
    assert configure(made, {"cap": (3, "options")}).arguments == {"cap": 3.0}
    assert document(made) == (("cap", "float or None", "None", ""),)


def test_options_are_documented_by_the_literal_below_the_field() -> None:
    docs = {each.name: each for each in document(Everything)}
    assert docs["needed"] == ("needed", "int", None, "Must be given.")
    assert docs["cap"] == ("cap", "float > 0", "30.0", "Longest delay.\n\nIn seconds.")
    assert docs["bytes"].doc == ""
    assert [docs[name].annotation for name in ("text", "every", "table", "broken")] == [
        "str, bytes or None",
        "float, callable or None",
        "MutableMapping[str, 'retry', 'refresh' or 'fatal']",
        "Stranger.Inner",
    ]


def test_options_of_a_base_class_keep_their_docs_unless_written_anew() -> None:
    @dataclass(kw_only=True)
    class More(Everything):
        cap: float = 5.0
        """Other words."""
        init: InitVar[int] = 3

    docs = {each.name: each for each in document(More)}
    assert docs["needed"].doc == "Must be given."
    assert docs["cap"] == ("cap", "float", "5.0", "Other words.")
    assert "init" not in docs


def test_a_class_without_source_has_options_without_docs() -> None:
    space: dict[str, Any] = {}
    exec("from dataclasses import dataclass\n@dataclass\nclass Ghost:\n    cap: float = 1.0\n    'Unseen.'\n", space)
    assert document(space["Ghost"]) == (("cap", "float", "1.0", ""),)


def test_words_for_people() -> None:
    assert described(Any) == "Any"
    assert described(list) == "list"
    assert described(dict[str, float | None]) == "dict[str, float or None]"
    assert described(Literal["x"]) == "'x'"
    assert shown(Verdict.FATAL) == "'fatal'"
    assert shown(Level.HIGH) == "2"
    assert shown(Everything) == "Everything"
    assert shown(Secret("geheim")) == "Secret('***')"
    assert not holds_secret({"x": ["y"]})
