"""The query language by itself: what is understood, where a mistake is, patterns and numbers. Pure."""

from __future__ import annotations

import re
from typing import Any

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from streams.sinks.index import language_pattern as patterns
from streams.sinks.index.language import And, Between, During, Has, Is, Like, Node, Not, Or, QueryError, Word, Words
from streams.sinks.index.language_fields import MAX_PAIRS, as_number, as_text, number_key, pairs, terms
from streams.sinks.index.language_numbers import keys
from streams.sinks.index.language_parser import parse
from streams.sinks.index.query import keyword


def words(*texts: str) -> Node:
    found = tuple(Words(keyword(text)) for text in texts)
    return found[0] if len(found) == 1 else And(found)


PLAIN = [
    "refused",
    "connection-refused",
    "10.0.0.7:5432",
    "2026-11-24T10:00:00Z",
    "status=500",
    "java.net.ConnectException:",
    "http://a.b/c?d=e",
    "std::string",
    "/api/v1/items",
    "/api/v1/items/",
    "main.main()",
    "a=>b",
    "[error]",
    "x<y",
    "foo)",
    "and",
    "C++",
]


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_word_is_a_keyword_as_ever(text: str) -> None:
    assert parse(text) == words(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b", words("a", "b")),
        ("a AND b", words("a", "b")),
        ("a a", words("a")),
        ("a - b", words("a", "b")),
        ('say "a b"c', words("say", "a b", "c")),
        ("a OR b c", Or((words("a"), words("b", "c")))),
        ("NOT NOT a", words("a")),
        ("NOT (a OR b)", Not(Or((words("a"), words("b"))))),
        ("(a)", words("a")),
        ("pod:a", Is("pod", ("a",))),
        ('pod:"a \\"b\\" \\\\"', Is("pod", ('a "b" \\',))),
        ("ns:(a OR b)", Or((Is("namespace", ("a",)), Is("namespace", ("b",))))),
        ("pod:*", Has("pod")),
        ("level:WARN", Is("level", ("warn", "warning"))),
        ("label.app:x", Is("label.app", ("x",))),
        ("status:500", Or((Is("status", ("500",)), words("status:500")))),
        ('status:"500"', Is("status", ("500",))),
        ("status:>=1.5", Between("status", 1.5, None)),
        ("a.b<-2", Between("a.b", None, -2, high_open=True)),
        ('took:>"5"', Between("took", 5, None, low_open=True)),
        ("time:>=2026-11-24T10:00:00Z", During(start_ms=1_795_514_400_000)),
        ("time<=1795514400", During(end_ms=1_795_514_400_001)),
        ("err:<nil>", Or((Is("err", ("<nil>",)), words("err:<nil>")))),
        ("msg:x log:y message:z", words("x", "y", "z")),
        ("pod:/[a/", Is("pod", ("/[a/",))),
        ('"AND" OR "or"', Or((words("AND"), words("or")))),
        ("", None),
        ("  ", None),
    ],
)
def test_what_a_text_means(text: str, expected: Node | None) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ('ab "open', 3),
        ("(a", 0),
        ("a (b OR (c)", 2),
        ("a OR", 2),
        ("OR a", 0),
        ("a AND OR b", 2),
        ("a NOT", 5),
        ("NOT ---", 0),
        ("---", 0),
        ('""', 0),
        ("x status:>=many", 11),
        ("time:>=yesterday", 7),
        ("time:5", 0),
        ("a pod:>=5", 2),
        ("a kubernetes.pod_id:x", 2),
        ("@timestamp:x", 0),
        ("pod:/a(/", 7),
        ("pod:/a**/", 7),
        ("pod:/^a/", 5),
        ("pod:/(?i)a/", 6),
        ("pod:/a{1000}/", 6),
        ("pod:(a b)", 4),
        (" ".join(f"w{n}" for n in range(100)), 0),
        ("(" * 30 + "a" + ")" * 30, 21),
        ("x" * 5000, 4096),
        ("level:" + "x" * 300, 6),
        ("status:x* status:>5", 0),
    ],
)
def test_a_mistake_is_named_with_its_position(text: str, position: int) -> None:
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert caught.value.position == position
    assert f"character {position + 1}" in caught.value.detail


@given(st.text(alphabet=st.sampled_from('ab:*/()"\\ <>=.ANDORT-_[]{}|^5é\n'), max_size=40))
def test_any_text_is_understood_or_refused_at_a_place_in_it(text: str) -> None:
    position = 0
    try:
        parse(text)
    except QueryError as error:
        position = error.position
    assert 0 <= position <= len(text)


def test_other_kinds_have_no_fields_of_their_own() -> None:
    assert parse("name:BackOff", own_fields=False) == Is("names", ("BackOff",))
    assert parse("reason:BackOff", own_fields=False) == words("reason:BackOff")
    with pytest.raises(QueryError):
        parse('reason:"BackOff"', own_fields=False)


# Patterns

_piece = st.sampled_from(
    ["a", "b", "-", "é", ".", "[ab]", "[^a]", "[a-c-]", "\\d", "\\W", "\\.", "(?:ab|c)", "(a|b|ab)", "[\\s\\d]", "x{2}"]
)
_pattern = st.lists(
    st.builds(lambda a, b: a + b, _piece, st.sampled_from(["", "", "*", "+", "?"])), min_size=1, max_size=4
)


@given(_pattern.map("".join), st.text(alphabet="abcx-é. 5\n", max_size=6))
def test_patterns_match_what_python_says_they_do(text: str, value: str) -> None:
    if re.search(r"\}[*+?]", text):
        with pytest.raises(patterns.PatternError):
            patterns.parse(text)
        return
    expected = re.fullmatch(text, value, re.DOTALL | re.ASCII)
    assert bool(re2.fullmatch(patterns.rust(patterns.parse(text)), value)) == bool(expected)


@given(st.text(alphabet="abAB-é.*\\[", min_size=1, max_size=6), st.text(alphabet="abAB-é.*\\[", max_size=8))
def test_wildcards_are_stars_alone(text: str, value: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, text.split("*"))), value, re.DOTALL)
    assert bool(re2.fullmatch(patterns.rust(patterns.wildcard(text)), value)) == bool(expected)


@given(st.text(alphabet="aBéÉß5-", max_size=5))
def test_either_case_is_either_case(text: str) -> None:
    pattern = patterns.rust(patterns.any_case(patterns.literal(text)))
    assert re2.fullmatch(pattern, text.lower() if len(text.lower()) == len(text) else text)
    assert re2.fullmatch(pattern, text.swapcase() if len(text.swapcase()) == len(text) else text)


# Numbers and fields

_number = st.floats(allow_nan=False, allow_infinity=False)


@given(_number, _number)
def test_keys_sort_as_numbers_do(a: float, b: float) -> None:
    assert (number_key(a) < number_key(b)) == (a < b)
    assert (number_key(a) == number_key(b)) == (a == b)


@given(_number, st.none() | _number, st.none() | _number, st.booleans(), st.booleans())
def test_ranges_of_keys(value: float, low: float | None, high: float | None, low_open: bool, high_open: bool) -> None:
    pattern = keys(Between("x", low, high, low_open, high_open))
    above = low is None or (value > low if low_open else value >= low)
    below = high is None or (value < high if high_open else value <= high)
    found = re.fullmatch(pattern, number_key(value)) if pattern else None
    assert bool(found) == (above and below)


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        (7, "7", 7.0),
        (7.0, "7.0", 7.0),
        (1e10, "1.0E10", 1e10),
        (12345678.5, "1.23456785E7", 12345678.5),
        (1e-5, "1.0E-5", 1e-5),
        (0.00012, "1.2E-4", 0.00012),
        (-1e7, "-1.0E7", -1e7),
        (True, "true", None),
        (" 7.5 ", " 7.5 ", 7.5),
        ("1e3", "1e3", 1000.0),
        ("7px", "7px", None),
        ("", "", None),
    ],
)
def test_values_are_written_as_elasticsearch_does(value: Any, text: str, number: float | None) -> None:
    assert (as_text(value), as_number(value)) == (text, number)


def test_the_fields_of_a_record() -> None:
    record = {
        "log": "not a field",
        "time": "2026",
        "level": "ERROR",
        "http": {"code": 500, "in": {"a": {"b": {"c": 1}}}},
        "tags": ["x", ["y"], {"z": True}, None],
        "odd name": 1,
        "": 2,
        "kubernetes": {"labels": {"app": "pay"}, "host": "n1", "pod_id": "x", "namespace_name": "shop"},
    }
    found = {(path, text) for path, text, _ in pairs(record)}
    assert found == {
        ("label.app", "pay"),
        ("kubernetes.host", "n1"),
        ("level", "ERROR"),
        ("http.code", "500"),
        ("tags", "x"),
        ("tags.z", "true"),
    }
    assert "level\x00error" in terms(record)


def test_a_record_of_many_fields_costs_what_a_few_do() -> None:
    wide = {f"f{n}": n for n in range(10_000)}
    assert len(list(pairs(wide))) == MAX_PAIRS
    assert len(terms({"deep": [[[{"a": 1}]]] * 1000, "list": list(range(10_000))})) <= 3 * MAX_PAIRS + 1
    assert [path for path, text, _ in pairs({"long": "x" * 300})] == ["long"]
    assert terms({"long": "x" * 300}) == ("\x02long",)
    assert [type(node) for node in (parse("a*"), parse("pod:a*"))] == [Word, Like]
