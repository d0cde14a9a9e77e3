"""Conditions with lists, maps, items, times: what CEL says of them, and nothing where the record does not say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from streams.rules import nodes
from streams.rules.compiler import compile_all
from streams.rules.general import MAX_STEPS, general
from streams.rules.lexer import SyntaxProblem
from streams.rules.literals import needles
from streams.rules.parser import parse
from streams.rules.values import MISSING
from tests.rules.test_conditions import conditions, records, trees_of

RECORD: dict[str, Any] = {
    "log": "GET /pay",
    "status": 503,
    "limit": 500,
    "ratio": 0.5,
    "ok": True,
    "sent": 7,
    "at": "2026-01-05T23:30:15.250Z",
    "began": "2026-01-05T23:00:00+00:00",
    "seconds": 1767655815,
    "took": "1m30s",
    "user": {"name": "eve", "groups": ["dev", "ops"]},
    "watched": ["ops", "root"],
    "boxes": [{"name": "pay", "ports": [80, 8080]}, {"name": "web", "ports": []}],
    "odd": [{"x": 1}, {}],
    "labels": {"team": "shop", "tier": "x"},
    "key": "team",
}
TRUE = [
    "status * 2 == 1006 && sent / 2 == 3 && sent % 4 == 3 && -7 / 2 == -3 && -7 % 4 == -3",
    "sent / 2.0 == 3.5 && 2 + 3 * 4 == 14 && (2 + 3) * 4 == 20",
    'status > 500 ? log.contains("GET") : ok',
    '(ok ? 1 : 2) == 1 && (status < 500 ? "a" : "b") == "b"',
    'user.groups.exists(g, g in watched) && !user.groups.all(g, g in watched)',
    "user.groups.exists_one(g, g in watched)",
    'boxes.exists(b, b.ports.exists(p, p > limit))',
    'boxes.filter(b, size(b.ports) > 0).size() == 1 && boxes.filter(b, b.name == "web")[0].name == "web"',
    'boxes.map(b, b.name) .exists(n, n == "pay") && "web" in boxes.map(b, b.name)',
    "size(boxes.map(b, b.ports.map(p, p * 2)).filter(l, 160 in l)) == 1",
    'labels[key] == "shop" && {"a": 1, "b": status}["b"] == 503 && {"x": {"y": 2}}.x.y == 2',
    "status in [limit, 503] && size([1, status, ratio]) == 3 && size({}) == 0 && 'a' in {'a': 1}",
    'labels.exists(k, k.startsWith("te")) && labels.all(k, size(labels[k]) > 0)',
    'odd.exists(o, o.x == 1) && !odd.all(o, has(o.x)) && odd.filter(o, has(o.x)).size() == 1',
    'duration("1h30m") == duration("90m") && duration("-1.5s") < duration("0s") && duration(took) > duration("1m")',
    'timestamp(at) - timestamp(began) > duration("30m") && timestamp(at) > timestamp(began) + duration("10m")',
    'timestamp(seconds) == timestamp("2026-01-05T23:30:15Z") && int(timestamp(at)) == seconds',
    'timestamp(at).getHours() == 23 && timestamp(at).getMinutes() == 30 && timestamp(at).getSeconds() == 15',
    'timestamp(at).getHours("Europe/Berlin") == 0 && timestamp(at).getDayOfWeek("Europe/Berlin") == 2',
    "timestamp(at).getFullYear() == 2026 && timestamp(at).getMonth() == 0 && timestamp(at).getDate() == 5",
    "timestamp(at).getDayOfMonth() == 4 && timestamp(at).getDayOfYear() == 4 && timestamp(at).getDayOfWeek() == 1",
    'timestamp(at).getMilliseconds() == 250 && duration(took).getSeconds() == 90 && duration("3h").getHours() == 3',
    'timestamp("2026-01-05T10:00:00+02:00") == timestamp("2026-01-05T08:00:00Z")',
    'int("12") + 1 == 13 && double("1.5") * 2 == 3.0 && int(2.9) == 2 && "ab".upperAscii() == "AB"',
    "watched[size(watched) - 1] == 'root' && boxes[0].ports[1] == 8080",
]  # fmt: skip
NEITHER = [
    "missing * 2 == 4", "log * 2 == 4", "status / 0 == 1", "status % 0 == 1", "ratio % 2 == 1", "-missing < 3",
    "missing ? true : true", "(ok ? missing : 1) == 2", "odd.all(o, o.x == 1)", "odd.filter(o, o.x == 1).size() == 1",
    "odd.map(o, o.x).size() == 2", "missing.exists(m, m == 1)", "log.exists(l, l == 'G')", "watched[7] == 'x'",
    "watched[-1 + 0] == 'x'", "labels[status] == 'x'", "[missing, 1].size() == 2", "{'a': missing}.size() == 1",
    "duration(log) > duration('1s')", "timestamp(log) > timestamp(at)", "timestamp(took).getHours() == 1",
    "duration(at) == duration('1s')", "int(log) == 1", "double(log) == 1.0",
    "timestamp(seconds * 9999) == timestamp(at)",
    "odd.exists_one(o, o.x == 1)", "odd.exists(o, o.x == 2)", "status + took == 1", "ok * 2 == 2",
    "timestamp(at) + duration('99999999h') > timestamp(at)",
]  # fmt: skip


@pytest.mark.parametrize("text", TRUE)
def test_true_of_the_record(text: str) -> None:
    tree = parse(text)
    assert compile_all([tree, nodes.Not(tree), parse(f"!({text})")])(RECORD) == [0]
    assert general(tree)(RECORD) is True


@pytest.mark.parametrize("text", NEITHER)
def test_neither_true_nor_false(text: str) -> None:
    tree = parse(text)
    assert compile_all([tree, nodes.Not(tree)])(RECORD) == []
    assert general(tree)(RECORD) is MISSING


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("tags.filter(t, t == 1)", 0, "this is a list"),
        ("tags.map(t, t) == [1]", 0, "not compared"),
        ("{1: 2}.size() == 1", 1, "constant text"),
        ("{'a': 1, 'a': 2}.size() == 1", 9, "given twice"),
        ("{'a': 1", 7, "','"),
        ("duration('soon') > duration('1s')", 9, "30s, 5m or 1h30m"),
        ("timestamp('today') > timestamp(x)", 10, "2026-01-05T10:00:00Z"),
        ("timestamp('2026-01-05T10:00:00') > timestamp(x)", 10, "with its zone"),
        ("timestamp(x) > duration('1s')", 13, "never true"),
        ("timestamp(x) + timestamp(y) > timestamp(z)", 13, "adds a time and a time"),
        ("timestamp(x) * 2 == 1", 0, "expected a number here, this is a time"),
        ("timestamp(x) > '2026'", 13, "compares"),
        ("timestamp(x).getHours('Mars/Base') == 1", 22, "no time zone"),
        ("timestamp(x).getHours(zone) == 1", 22, "constant text"),
        ("log.getHours() == 1 && 'a'.getHours() == 1", 23, "a time or a duration"),
        ("a.exists(x, b.exists(y, c.exists(z, d.exists(w, x == w))))", 45, "more than 3 lists"),
        ("a.exists(x, x.map(y, y + q))", 12, "expected a condition here, this is a list"),
        ("ok ? 1 : 2", 0, "expected a condition here, this is a number"),
        ("1 ? ok : ok", 0, "expected a condition here, this is a number"),
        ("a.foo(1)", 2, "unknown function foo"),
        ("now() > 1", 0, "unknown function now"),
        (" * ".join(["a"] * 40) + " == 1", 126, "factors"),
    ],
)
def test_what_is_refused_says_where_and_what_is_expected(text: str, at: int, says: str) -> None:
    with pytest.raises(SyntaxProblem, match=says.replace("?", "[?]")) as problem:
        parse(text)
    assert problem.value.at == at


@settings(max_examples=150, deadline=None)
@given(conditions, records)
def test_both_ways_to_evaluate_mean_the_same(text: str, record: dict[str, Any]) -> None:
    for tree in trees_of([text]):
        compiled = compile_all([tree, nodes.Not(tree)])(record)
        assert general(tree)(record) is {(0,): True, (1,): False, (): MISSING}[tuple(compiled)]


def test_a_record_cannot_make_an_evaluation_endless() -> None:
    many = {"a": [list(range(200))] * 200, "b": 1}
    tree = parse("a.exists(x, x.exists(y, y + b == -1))")
    assert general(tree)(many) is MISSING
    assert MAX_STEPS < 200 * 200
    assert general(tree)({"a": [[1]], "b": -2}) is True


def test_bytes_refuse_nothing_that_such_a_condition_is_true_of() -> None:
    for text in (
        'a.exists(x, x.contains("needle") && b == 1)',
        'a.map(x, x + "needle").size() > 0',
        'ok ? a == "needle" : b',
    ):
        assert needles(parse(text)) == []
    assert needles(parse('a == "needle" && a2.exists(x, x == b)'))
