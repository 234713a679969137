"""Matches, keys and templates."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libws_core import Kind, Message, Secret
from libws_core.match import call, check_template, key, matcher, names, template

CONTROL = [Message.ping(b"ping"), Message.pong(b"ping"), Message.close(1000, "ping")]


def text(value: Any) -> Message:
    return Message.text(value if isinstance(value, str) else json.dumps(value))


def both_kinds(value: Any) -> list[Message]:
    message = text(value)
    return [message, Message.binary(message.data.encode())]


@pytest.mark.parametrize("match", ["PING", b"PING", "PING\r\n", bytearray(b"PING"), memoryview(b"PING\n")])
@pytest.mark.parametrize("data", ["PING", "PING\n", "PING\r\n", "PING\r"])
def test_text_and_bytes_match_the_whole_message_of_either_kind_without_its_line_end(match: Any, data: str) -> None:
    for message in both_kinds(data):
        assert matcher(match)(message) == {}


@pytest.mark.parametrize("data", ["", "PIN", "PINGS", "PING ", " PING", "PING\nPING", "ping"])
def test_other_text_does_not_match(data: str) -> None:
    for match in ("PING", b"PING"):
        for message in both_kinds(data):
            assert matcher(match)(message) is None


def test_a_beat_that_is_only_a_line_end_can_be_matched() -> None:
    assert matcher("\n")(Message.binary(b"\n")) == {}
    assert matcher("\n")(Message.text("x")) is None


def test_bytes_that_are_no_text_match_binary_only() -> None:
    packet = matcher(b"\xd0\x00")
    assert packet(Message.binary(b"\xd0\x00")) == {}
    assert packet(Message.text("\xd0\x00")) is None


@pytest.mark.parametrize("match", ["ping", b"ping", {}, {"a": 1}])
def test_control_frames_match_no_text_bytes_or_dict(match: Any) -> None:
    for message in [*CONTROL, Message.ping(b'{"a":1}')]:
        assert matcher(match)(message) is None


def test_a_dict_matches_an_object_that_holds_its_items_and_more() -> None:
    wanted = matcher({"op": "pong", "data": {"ok": True}})
    for message in both_kinds({"op": "pong", "data": {"ok": True, "more": 1}, "more": [2]}):
        assert wanted(message) == {}


@pytest.mark.parametrize(
    "value",
    [
        {"op": "pong"},
        {"op": "pong", "data": None},
        {"op": "pong", "data": {"ok": False}},
        {"op": "pong", "data": [{"ok": True}]},
        {"op": "ping", "data": {"ok": True}},
        [{"op": "pong", "data": {"ok": True}}],
        '"op"',
        '{"op": "pong", "data": {"ok": true}',
        'op "op" "data"',
        '["' + "[" * 100_000 + '"op"',
        "",
    ],
)
def test_what_lacks_an_item_or_is_no_object_or_no_json_does_not_match(value: Any) -> None:
    wanted = matcher({"op": "pong", "data": {"ok": True}})
    for message in both_kinds(value):
        assert wanted(message) is None


def test_brackets_nested_by_the_thousand_are_no_error() -> None:
    hostile = Message.text('{"op":' * 100_000)
    assert matcher({"op": 1})(hostile) is None
    assert key("op")(hostile) is None


def test_binary_that_is_not_utf8_matches_no_dict() -> None:
    assert matcher({"op": 1})(Message.binary(b'{"op":\xff}')) is None


def test_true_is_not_one() -> None:
    assert matcher({"ok": True})(text({"ok": 1})) is None
    assert matcher({"ok": 1})(text({"ok": True})) is None
    assert matcher({"ok": 1})(text({"ok": 1.0})) == {}
    assert matcher({"ok": False})(text({"ok": 0})) is None


def test_names_take_what_stands_there() -> None:
    wanted = matcher({"op": "$what", "data": {"id": "$id"}, "args": ["$first", 2]})
    assert wanted(text({"op": None, "data": {"id": [1, {"x": 2}]}, "args": ["a", 2]})) == {
        "what": None,
        "id": [1, {"x": 2}],
        "first": "a",
    }
    assert wanted(text({"data": {"id": 1}, "args": ["a", 2]})) is None
    assert wanted(text({"op": 1, "data": {"id": 1}, "args": ["a", 2, 3]})) is None
    assert wanted(text({"op": 1, "data": {"id": 1}, "args": ["a", 3]})) is None


def test_the_same_name_twice_takes_the_same_value() -> None:
    wanted = matcher({"a": "$x", "b": "$x"})
    assert wanted(text({"a": 1, "b": 1})) == {"x": 1}
    assert wanted(text({"a": 1, "b": 2})) is None
    assert wanted(text({"a": 1, "b": True})) is None


def test_a_dollar_sign_that_is_no_name_is_itself() -> None:
    assert matcher({"price": "$5"})(text({"price": "$5"})) == {}
    assert matcher({"price": "$5"})(text({"price": "$6"})) is None
    assert matcher({"price": "$"})(text({"price": "x"})) is None


@pytest.mark.parametrize("written", ['{"\\u0070ing": 1}', '{"p\\u0069ng":1, "x":"y"}', '{"ping":1}', '{ "ping" : 1 }'])
def test_a_name_matches_however_json_spells_it(written: str) -> None:
    for message in both_kinds(written):
        assert matcher({"ping": 1})(message) == {}


def test_names_that_json_must_escape_match() -> None:
    assert matcher({'a"b': 1, "c\\d": "$x"})(text({'a"b': 1, "c\\d": 2})) == {"x": 2}
    assert matcher({"größe": 1})(Message.binary('{"größe":1}'.encode())) == {}


def test_the_empty_dict_matches_any_object() -> None:
    assert matcher({})(text({"a": 1})) == {}
    assert matcher({})(text([1])) is None
    assert matcher({})(text('"{"')) is None


objects = st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.booleans(), max_size=4)


@given(objects, objects)
def test_an_object_matches_the_items_that_it_holds_and_no_others(wanted: dict[str, Any], more: dict[str, Any]) -> None:
    wanted = {name: value for name, value in wanted.items() if not str(value).startswith("$")}
    compiled = matcher(wanted)
    for message in both_kinds({**more, **wanted}):
        assert compiled(message) == {}
    if wanted:
        missing = dict(list(wanted.items())[1:])
        absent = next(iter(wanted))
        others = {name: value for name, value in more.items() if name != absent}
        assert compiled(text({**others, **missing})) is None


def test_a_message_is_parsed_once_and_not_at_all_when_no_name_of_the_match_stands_in_it() -> None:
    message = text({"a": 1})
    assert matcher({"a": "$x"})(message) == {"x": 1}
    assert message.json is message.json
    other = text({"b": 1})
    assert matcher({"a": "$x"})(other) is None
    assert other._json is msgspec.UNSET


def test_a_callable_is_asked_with_the_message_whatever_kind() -> None:
    seen: list[Message] = []

    def is_close(message: Message) -> Any:
        seen.append(message)
        return message.kind is Kind.CLOSE

    compiled = matcher(is_close)
    assert [compiled(message) for message in CONTROL] == [None, None, {}]
    assert seen == CONTROL


def test_a_dict_that_a_callable_gives_holds_the_values_of_names() -> None:
    assert matcher(lambda message: {"x": message.data})(Message.text("a")) == {"x": "a"}
    assert matcher(lambda message: {})(Message.text("a")) is None
    assert matcher(lambda message: "yes")(Message.text("a")) == {}


async def an_async_function(message: Message) -> bool:
    return True


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (None, "not NoneType"),
        (42, "not int"),
        (["ping"], "not list"),
        (Message.text("ping"), "not Message"),
        ({"a": object()}, "cannot hold object"),
        ({"a": [b"x"]}, "cannot hold bytes"),
        ({1: "a"}, "not a str: 1"),
        (an_async_function, "not an async one"),
    ],
)
def test_a_bad_match_is_refused_and_says_why(match: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        matcher(match)


def test_a_match_is_a_copy() -> None:
    given_match = {"a": {"b": 1}}
    compiled = matcher(given_match)
    given_match["a"]["b"] = 2
    assert compiled(text({"a": {"b": 1}})) == {}


@pytest.mark.parametrize(
    ("path", "value", "found"),
    [
        ("u", {"u": 7}, 7),
        ("data.u", {"data": {"u": "x"}}, "x"),
        ("data.1.u", {"data": [0, {"u": 5}]}, 5),
        ("1", ["a", "b"], "b"),
        ("data.0", {"data": {"0": "name"}}, "name"),
        ("data.u", {"data": {}}, None),
        ("data.u", {"data": [1]}, None),
        ("data.2", {"data": [1, 2]}, None),
        ("data.-1", {"data": [1, 2]}, None),
        ("data.u", {"data": "u"}, None),
        ("u", "not JSON", None),
        ("u", "7", None),
    ],
)
def test_a_key_is_what_stands_at_the_end_of_its_path(path: str, value: Any, found: Any) -> None:
    for message in both_kinds(value):
        assert key(path)(message) == found


def test_control_frames_have_no_key() -> None:
    assert key("u")(Message.ping(b'{"u":1}')) is None


def test_a_callable_is_a_key() -> None:
    def first(message: Message) -> Any:
        return message.data[0]

    assert key(first) is first


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", None, 3])
def test_a_bad_key_is_refused(path: Any) -> None:
    with pytest.raises(ValueError, match="path"):
        key(path)


def test_templates_make_messages() -> None:
    assert template("pong") == Message.text("pong")
    assert template(b"\xc0\x00") == Message.binary(b"\xc0\x00")
    assert template(bytearray(b"x")) == Message.binary(b"x")
    assert template({"op": "pong"}) == Message.text('{"op":"pong"}')
    assert template([None, "1", {"a": ()}]) == Message.text('[null,"1",{"a":[]}]')
    frame = Message.ping(b"x")
    assert template(frame) is frame


def test_names_are_replaced_by_the_values_themselves() -> None:
    made = template({"pong": "$x", "data": {"list": ["$y", "$x"]}}, {"x": 1492420473027, "y": {"a": None}})
    assert made is not None
    assert made.json == {"pong": 1492420473027, "data": {"list": [{"a": None}, 1492420473027]}}


def test_names_within_a_text_are_replaced_by_their_text() -> None:
    bound = {"token": "abc", "n": 5, "what": {"a": 1}}
    assert template("PONG $n", bound) == Message.text("PONG 5")
    assert template("$n", bound) == Message.text("5")
    assert template("$what", bound) == Message.text('{"a":1}')
    assert template({"auth": "Bearer $token"}, bound) == Message.text('{"auth":"Bearer abc"}')


def test_dollar_signs_that_are_no_bound_name_stay() -> None:
    for text_ in ("pa$$word", "$5", "$tokens", "$other", "a $ b", "$"):
        assert template(text_, {"token": "abc"}) == Message.text(text_)
        assert template({"a": text_}, {"token": "abc"}) == Message.text(json.dumps({"a": text_}, separators=(",", ":")))


def test_what_is_put_in_is_not_looked_through_again() -> None:
    bound = {"a": "$b", "b": "$a"}
    assert template("$a $b", bound) == Message.text("$b $a")
    assert template({"x": "$a", "y": ["$b"]}, bound) == Message.text('{"x":"$b","y":["$a"]}')


def test_secrets_count_as_the_text_in_them() -> None:
    assert template(Secret("key=$token"), {"token": Secret("s3cret")}) == Message.text("key=s3cret")
    assert template({"key": Secret("s3cret")}) == Message.text('{"key":"s3cret"}')


def test_a_callable_template_is_called_with_the_arguments_and_its_answer_stays_as_it_is() -> None:
    assert template(lambda a, b: {"a": a, "b": "$b"}, {"b": 1}, 2, 3) == Message.text('{"a":2,"b":"$b"}')
    assert template(lambda: None) is None
    assert template(lambda: Message.pong(b"x")) == Message.pong(b"x")


@pytest.mark.parametrize("value", [None, 5, {"a": object()}, {"a": b"x"}, {(1, 2): 3}])
def test_a_bad_template_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="message"):
        template(value)
    with pytest.raises(ValueError, match="message"):
        check_template(value)


def test_an_async_callable_makes_no_message() -> None:
    async def made() -> str:
        return "x"

    with pytest.raises(ValueError, match="async"):
        check_template(made)
    with pytest.raises(ValueError, match="coroutine"):
        template(lambda: made())
    with pytest.raises(ValueError, match="function"):
        template(lambda: len)


def test_checking_does_not_call_a_callable() -> None:
    check_template(lambda: 1 / 0)
    check_template({"a": "$x"})


def test_a_function_may_leave_out_what_it_is_called_with() -> None:
    assert call(lambda: "nothing", 1, 2) == "nothing"
    assert call(lambda a, b: (a, b), 1, 2) == (1, 2)
    assert call(lambda a=3: a, 1) == 3
    assert call(max, 1, 2) == 2


def test_names_are_found_in_matches_and_templates() -> None:
    assert names({"a": "$x", "b": [{"c": "to $y"}], "d": "$5"}) == {"x", "y"}
    assert names(Secret("$token")) == {"token"}
    assert names("$a$b") == {"a", "b"}
    assert names(b"$x") == names(len) == names(Message.text("$x")) == names(None) == frozenset()
