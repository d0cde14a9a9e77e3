"""Conditions: what they mean, what is refused and where, and that bytes never refuse what a condition is true of."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.rules.compiler import compile_all
from streams.rules.lexer import SyntaxProblem
from streams.rules.literals import Prefilter, of_pattern, required
from streams.rules.nodes import Node
from streams.rules.parser import MAX_NODES, parse
from tests.rules.reference import truth

RECORD = {
    "log": "ERROR cannot connect to db/1: refused",
    "status": 503,
    "ratio": 0.5,
    "ok": False,
    "nothing": None,
    "tags": ["a", 3, True],
    "kubernetes": {"namespace_name": "shop", "labels": {"app.kubernetes.io/name": "pay"}},
    "boxes": [{"image": "x/pay", "ports": [{"open": True}]}, {"ports": []}],
    "net": {"v4": "10.200.0.1", "v6": "2001:db8::1", "mapped": "::ffff:10.0.0.1"},
}


@pytest.mark.parametrize(
    "text",
    [
        'log.contains("ERROR") && kubernetes.namespace_name == "shop"',
        'record.kubernetes.labels["app.kubernetes.io/name"] == "pay"',
        "status >= 500 && status < 600.0 && !(status == 404)",
        "status - 3 == 500 && -status < 0",
        'ratio <= 0.5 && !ok && ok == false && ok != true && nothing == null',
        'log.matches("connect to \\\\w+/\\\\d") && log.startsWith("ERROR") && log.endsWith("refused")',
        'log.matches(r"(?i)error\\b")',
        '"a" in tags && 3 in tags && !(1 in tags) && tags[0] == "a" && "namespace_name" in kubernetes',
        'status in [500, 503] && kubernetes.namespace_name in ["shop", \'x\']',
        "size(log) > 10 && tags.size() == 3 && size(kubernetes) == 2",
        "has(kubernetes.labels) && has(nothing) && !has(kubernetes.pod_name)",
        '"ERROR " + kubernetes.namespace_name != log',
        'missing == "x" || status == 503',
        "// a comment\nstatus == 0x1F7",
        'tags.exists(t, t == "a") && !tags.exists(t, t == "b") && tags.exists(t, t > 2) && !tags.all(t, t == "a")',
        'boxes.exists(b, b.image.startsWith("x/") && b.ports.all(p, p.open)) && !boxes.all(b, has(b.image))',
        '!holds(log.exists(t, t == "a")) && boxes.all(b, !holds(b.image == "y"))',
        '!holds(missing == "x") && holds(status == 503) && !holds(status.contains("5")) && !holds(log > 3)',
        'string(status).endsWith("03") && string(ok) == "false" && log.lowerAscii().startsWith("error c")',
        'cidr("10.0.0.0/8").containsIP(net.v4) && !cidr("10.0.0.0/9").containsIP(net.v4)',
        'cidr("2001:db8::/32").containsIP(net.v6) && cidr("10.0.0.0/8").containsIP(net.mapped)',
    ],
)  # fmt: skip
def test_true_of_the_record(text: str) -> None:
    assert compile_all([parse(text)])(RECORD) == [0]


@pytest.mark.parametrize(
    "text",
    [
        'missing == "x"', 'missing != "x"', '!(missing == "x")', "missing > 3", "!(missing > 3)", "missing", "!missing",
        'log > 3', '!(log > 3)', 'status.contains("5")', '!status.contains("5")', "tags[7] == 1", "!(tags[7] == 1)",
        '!(missing in ["x"])', "status + log == 1", "!(status + log == 1)", '!(missing.matches("x"))', "ok == 0",
        '!(missing == "x" && status == 503)', 'log in status', '!(log in status)',
    ],
)  # fmt: skip
def test_a_missing_field_makes_a_condition_false_and_its_negation_too(text: str) -> None:
    assert compile_all([parse(text)])(RECORD) == []


@pytest.mark.parametrize(
    ("text", "at", "says"),
    [
        ("a = 1", 2, "=="),
        ('log.containz("x")', 4, "contains"),
        ('log.matches("(a")', 12, "RE2"),
        ('log.matches("(?=a)")', 12, "RE2"),
        (r'log.matches(r"(a)\1")', 12, "RE2"),
        (f'log.matches("{"(a{1000}){1000}"}")', 12, "RE2"),
        ("log.matches(other)", 12, "constant"),
        ('cidr("10.0.0.0/33").containsIP(log)', 5, "network"),
        ("cidr(log).containsIP(log)", 5, "constant"),
        ('cidr("10.0.0.0/8").contains(log)', 19, "containsIP"),
        ('holds("x" + log)', 6, "condition"),
        ("1 && ok", 0, "condition"),
        ("(a == 1) == true", 1, "condition"),
        ('"x" > 3', 4, "never"),
        ("a == 1 b", 7, "operator"),
        ("a == 'x", 5, "quote"),
        ("a ? b", 5, "':'"),
        ("tags.exist(t, t == 1)", 5, "exists"),
        ("tags.exists(1, t == 1)", 12, "name"),
        ("size(tags).exists(t, t == 1)", 0, "list"),
        ("tags.filter(t, t == 1)", 0, "a list"),
        ("a[-1] == 1", 2, "key or position"),
        ("has(1)", 4, "field"),
        ("(" * 40 + "a" + ")" * 40, 32, "deeper"),
        ("!" * 40 + "a", 32, "deeper"),
        (" + ".join(["a"] * 40) + " == 1", 126, "terms"),
        (" || ".join(["a == 1"] * MAX_NODES), 0, "parts"),
        ("a in [" + "1, " * 1001 + "1]", 3006, "values"),
        ("9223372036854775808 == a", 0, "64 bits"),
        (r'"\q" == a', 1, "escape"),
        ("", 0, "end"),
    ],
)
def test_what_is_refused_says_where_and_what_is_expected(text: str, at: int, says: str) -> None:
    with pytest.raises(SyntaxProblem, match=says) as problem:
        parse(text)
    assert problem.value.at == at or says in ("parts", "RE2")


# The generated function against a plain interpreter, on random conditions and records.

FIELDS = ["log", "a", "b", "o.x", "o.y", "l[0]", "l[1]", "o"]
WORDS = ["", "err", "Error!", 'a/b "q" word', "größe", "x", "10.1.2.3"]
field = st.sampled_from(FIELDS)
text_constant = st.sampled_from(WORDS).map(lambda word: json.dumps(word, ensure_ascii=False))
number = st.sampled_from(["0", "1", "2.5", "-3", "1.0"])
constant = st.one_of(text_constant, number, st.sampled_from(["true", "false", "null"]))
same = st.sampled_from(["==", "!="])
order = st.sampled_from(["<", "<=", ">", ">="])


def joined(*parts: Any) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(p) if isinstance(p, str) else p for p in parts)).map("".join)


atoms = st.one_of(
    joined(field, " ", same, " ", constant),
    joined(field, " ", same, " ", field),
    joined(field, " ", order, " ", st.one_of(number, text_constant, field)),
    joined(field, " + ", field, " ", same, " ", field),
    joined("size(", field, ") - 1 ", order, " ", number),
    joined(field, " in [", constant, ", ", constant, "]"),
    joined(field, " in ", field),
    joined("has(", field, ")"),
    joined("string(", field, ") ", same, " ", text_constant),
    joined(field, ".lowerAscii().contains(", text_constant, ")"),
    joined('cidr("10.0.0.0/8").containsIP(', field, ")"),
    joined("l.", st.sampled_from(["exists", "all"]), "(i, i == ", constant, ")"),
    joined(field, st.sampled_from([".contains(", ".startsWith(", ".endsWith("]), text_constant, ")"),
    joined(field, '.matches("', st.sampled_from(["err|x", "^e", "wor[dk]", "e(rr)+", "b?err"]), '")'),
    field,
)
conditions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        joined("(", inner, " && ", inner, ")"),
        joined("(", inner, " || ", inner, ")"),
        joined("!(", inner, ")"),
        joined("!holds(", inner, ")"),
    ),
    max_leaves=6,
)
scalars = st.one_of(st.sampled_from(WORDS), st.sampled_from([0, 1, 2.5, True, False, None]))
records = st.fixed_dictionaries(
    {},
    optional={
        "log": scalars,
        "a": scalars,
        "b": scalars,
        "o": st.one_of(scalars, st.fixed_dictionaries({}, optional={"x": scalars, "y": scalars})),
        "l": st.one_of(scalars, st.lists(scalars, max_size=2)),
    },
)


def trees_of(texts: list[str]) -> list[Node]:
    out = []
    for text in texts:
        try:
            out.append(parse(text))
        except SyntaxProblem:
            continue  # types that never fit
    return out


@settings(max_examples=600, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=4), st.lists(records, min_size=1, max_size=5))
def test_the_generated_function_means_what_the_tree_says(texts: list[str], given_records: list[dict[str, Any]]) -> None:
    trees = trees_of(texts)
    evaluate = compile_all(trees)
    for record in given_records:
        assert evaluate(record) == [i for i, tree in enumerate(trees) if truth(tree, record) is True]


@settings(max_examples=600, deadline=None)
@given(conditions, records)
def test_bytes_never_refuse_a_record_the_condition_is_true_of(text: str, record: dict[str, Any]) -> None:
    for tree in trees_of([text]):
        literals = required(tree)
        if literals is None or truth(tree, record) is not True:
            continue
        for literal_sets in (literals, literals | {b"one more", b"and another", b"and a third"}):
            maybe = Prefilter(frozenset(literal_sets)).maybe
            assert maybe(orjson.dumps(record))
            assert maybe(json.dumps(record).encode())
            assert maybe(json.dumps(record).replace("/", "\\/").encode())
            assert maybe(json.dumps(record).replace("err", "\\u0065rr").replace("word", "w\\u006frd").encode())


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        ("connection (refused|reset)", {b"connection "}),
        ("refused|timed out", {b"refused", b"timed out"}),
        ("(?i)error", None),
        ("(?i:error) code", {b" code"}),
        ("a*b?", None),
        ("(timeout)+ after", {b"timeout"}),
        (r"\d+ errors\.", {b" errors."}),
        ("[[:alpha:]]xyz", None),
        ("größe", None),
        ("path/to/file", {b"path"}),
        ("x{0,3}", None),
        (r"\Qliteral\E", None),
    ],
)
def test_the_literals_of_patterns(pattern: str, literals: set[bytes] | None) -> None:
    assert of_pattern(pattern) == literals


def test_most_records_are_refused_without_parsing() -> None:
    trees = trees_of([f'log.contains("needle {i} of many")' for i in range(100)])
    literals = frozenset[bytes]().union(*(required(tree) or frozenset() for tree in trees))
    maybe = Prefilter(literals).maybe
    assert not maybe(b'{"log": "needle of many"}')
    assert not maybe(b'{"log": "\\u001b[31mred"}')
    assert maybe(b'{"log": "needle 42 of many"}')
    assert not maybe(b"\xff\xfe not even text")
