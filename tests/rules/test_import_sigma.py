"""Sigma rules taken over: compared with a plain interpreter of the specification on the same records."""

from __future__ import annotations

import base64
import textwrap
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.base import encode
from streams.record import Record
from streams.rules.cases import START_MS, episodes_of
from streams.rules.compiler import compile_all
from streams.rules.conditions import conditions
from streams.rules.imports.mapping import Mapped, parse_mapping
from streams.rules.literals import required
from streams.rules.rehearsal import DAY_MS, rehearsed
from streams.rules.ruleset import RuleSet
from tests.rules.imported import matcher, refusals, rules_of, taken
from tests.rules.sigma_oracle import says

ANY_LOG, _ = parse_mapping("sources: [{logsource: {}, input: logs}]", "mapping.yaml")
RULE = """\
title: Suspicious Download By Shell
id: 0e95725d-7320-415d-80f7-004da920fc11
status: test
description: A shell fetches {{something}}
logsource: {product: linux, category: process_creation}
detection:
  selection_img:
    Image|endswith: ['/bash', '/sh']
  selection_cli:
    CommandLine|contains|all: ['curl ', 'http']
  filter_main:
    User: [root, null]
  condition: all of selection_* and not 1 of filter_main*
level: high
"""
BASE = {"logsource": {"product": "linux", "category": "process_creation"}}
GOOD = {**BASE, "Image": "/bin/BASH", "CommandLine": "CURL -s HTTP://x", "User": "ada"}


def rule(detection: dict[str, Any], **more: Any) -> str:
    given = {"title": "r", "logsource": {"product": "x"}, "detection": detection, **more}
    return yaml.safe_dump(given, width=100_000, sort_keys=False, allow_unicode=True)


def matches(detection: dict[str, Any], record: dict[str, Any], mapped: Mapped = ANY_LOG) -> bool:
    return matcher(rules_of(rule(detection), mapped=mapped)["r"])(record)


def test_a_rule_as_people_write_it() -> None:
    found = rules_of(RULE)["Suspicious_Download_By_Shell"]
    assert (found.input, found.severity, found.labels) == ("logs", "critical", {"sigma_level": "high"})
    assert found.annotations["sigma_id"] == "0e95725d-7320-415d-80f7-004da920fc11"
    assert found.annotations["description"] == "A shell fetches { {something} }"
    good = matcher(found)
    assert good(GOOD)
    for changed in (
        {"logsource": {"product": "windows", "category": "process_creation"}},
        {"Image": "/bin/bash-static"},
        {"CommandLine": "curl -s ftp://x"},
        {"User": "ROOT"},
        {"User": None},
    ):
        assert not good(GOOD | changed)
    assert not good({name: value for name, value in GOOD.items() if name != "User"})  # null is also: there is none


@pytest.mark.parametrize(
    ("search", "record", "expected"),
    [
        ({"a": "Foo*bar?"}, {"a": "fooXbarY"}, True),
        ({"a": "Foo*bar?"}, {"a": "fooXbar"}, False),
        ({"a": r"C:\*\x"}, {"a": "c:*\\x"}, True),  # \* is a plain star
        ({"a": r"C:\\*\x"}, {"a": "c:\\dir\\X"}, True),
        ({"a": r"C:\Win\x"}, {"a": "c:\\win\\x"}, True),
        ({"a": r"\\\\srv"}, {"a": "\\\\srv"}, True),
        ({"a": "line*end"}, {"a": "line\nend"}, True),
        ({"a|cased": "Foo"}, {"a": "foo"}, False),
        ({"a|contains|cased": "Foo"}, {"a": "a Foo"}, True),
        ({"a": ""}, {"a": ""}, True),
        ({"a": ""}, {}, False),
        ({"a": None}, {}, True),
        ({"a": None}, {"a": "x"}, False),
        ({"a|exists": True}, {"a": None}, True),
        ({"a|exists": False}, {}, True),
        ({"a": 4688}, {"a": "4688"}, True),
        ({"a": "4688"}, {"a": 4688}, True),
        ({"a": 1}, {"a": True}, False),
        ({"a": True}, {"a": True}, True),
        ({"a|gte": 5}, {"a": 5}, True),
        ({"a|lt": 5}, {"a": "3"}, False),
        ({"a|cidr": ["10.0.0.0/8", "2001:db8::/32"]}, {"a": "2001:db8::7"}, True),
        ({"a|cidr": "10.0.0.0/8"}, {"a": "11.0.0.1"}, False),
        ({"a|re": "^F.o$"}, {"a": "foo"}, False),
        ({"a|re|i": "^F.o$"}, {"a": "foo"}, True),
        ({"a|re": "o+"}, {"a": "foo"}, True),
        ({"a|fieldref": "b"}, {"a": "X", "b": "x"}, True),
        ({"a|fieldref|endswith": "b"}, {"a": "an x", "b": "X"}, True),
        ({"a|fieldref": "b"}, {"a": "X"}, False),
        ({"a|neq": ["x", "y"]}, {"a": "z"}, True),
        ({"a|neq": ["x", "y"]}, {"a": "Y"}, False),
        ({"a|windash|contains": " -enc "}, {"a": "ps —ENC x"}, True),
        ({"a|windash|contains": " -enc "}, {"a": "ps xenc x"}, False),
        ({"a|contains|all": ["x", "y"]}, {"a": "Y and x"}, True),
        ({"a|contains|all": ["x", "y"]}, {"a": "y"}, False),
        ({"a|startswith": ["x", "y*z"]}, {"a": "Y..Z!"}, True),
        ({"c-uri|contains": "/etc"}, {"c-uri": "/ETC/passwd"}, True),
        ({"user.name": "ada"}, {"user": {"name": "ADA"}}, True),
        ({"a": "größe"}, {"a": "GRÖSSE"}, False),
        ({"a": "Größe"}, {"a": "GRÖße"}, True),
        (["evil", "bad*wolf"], {"log": "a BAD big wolf"}, True),
        (["evil"], {"other": "evil"}, False),
        ({"|all": ["one", "two"]}, {"message": "TWO, one"}, True),
        ({"|all": ["one", "two"]}, {"message": "one"}, False),
        ([{"a": "x"}, {"b": "y"}], {"b": "Y"}, True),
        ({"a|base64|contains": "foobar"}, {"a": "x Zm9vYmFy y"}, True),
        ({"a|wide|base64|contains": "cmd"}, {"a": "YwBtAGQA"}, True),
        ({"a|utf16be|base64": "cmd"}, {"a": "AGMAbQBk"}, True),
        ({"a|utf16|base64": "cmd"}, {"a": "//5jAG0AZAA="}, True),
    ],
)  # fmt: skip
def test_values_and_modifiers(search: Any, record: dict[str, Any], expected: bool) -> None:
    assert matches({"s": search, "condition": "s"}, record) is expected
    assert matches({"s": search, "condition": "not s"}, record) is not expected


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=4), st.text("abcXYZ -", min_size=4, max_size=9), st.binary(max_size=4), st.booleans())
def test_base64offset_finds_a_value_wherever_it_stands(before: bytes, value: str, after: bytes, wide: bool) -> None:
    search = {f"a{'|wide' if wide else ''}|base64offset|contains": value}
    raw = value.encode("utf-16-le") if wide else value.encode()
    record = {"a": base64.b64encode(before + raw + after).decode()}
    assert matches({"s": search, "condition": "s"}, record)


@pytest.mark.parametrize(
    ("condition", "true", "expected"),
    [
        ("a or b and c", "a", True),
        ("(a or b) and c", "a", False),
        ("not a and b", "b", True),
        ("not (a and b)", "b", True),
        ("NOT a AND b", "ab", False),
        ("1 of them", "c", True),
        ("all of them", "abc", True),
        ("any of a*", "b", False),
        ("all of a* and not 1 of b*", "a", True),
        ("1 of *", "b", True),
    ],
)
def test_conditions(condition: str, true: str, expected: bool) -> None:
    detection = {name: {name: "yes"} for name in "abc"}
    assert matches({**detection, "condition": condition}, dict.fromkeys(true, "yes")) is expected


def test_a_list_of_conditions_is_any_of_them_and_hidden_searches_are_not_them() -> None:
    detection = {"a": {"a": 1}, "_b": {"b": 1}, "condition": ["1 of them", "_b and a"]}
    assert matches(detection, {"a": 1})
    assert not matches(detection, {"b": 1})


TEXTS = ["", "a", "A", "ab", "aab", "b-a", " -a b", "*", "a*", "?b", r"\*", "a\\b", "é", "a.b", "1"]
NAMES = ["f", "g", "n.f", "log", "h-i"]
values = st.one_of(st.sampled_from(TEXTS), st.sampled_from(TEXTS), st.sampled_from([0, 1, 25, True, None]))
texts = st.sampled_from(TEXTS)
several = st.one_of(texts, st.lists(texts, min_size=1, max_size=3))
pairs = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.one_of(values, st.lists(values, min_size=1, max_size=3))),
    st.tuples(
        st.builds(
            "{}|{}".format,
            st.sampled_from(NAMES),
            st.sampled_from(
                ["contains", "startswith", "endswith", "contains|all", "cased", "windash|contains", "endswith|cased",
                 "neq", "windash"]
            ),
        ),
        several,
    ),
    st.tuples(st.sampled_from(["f|exists", "n.f|exists"]), st.booleans()),
    st.tuples(st.sampled_from(["f|gt", "g|lte"]), st.integers(0, 30)),
    st.tuples(st.just("f|fieldref"), st.just("g")),
    st.tuples(st.just("g|cidr"), st.just("10.0.0.0/8")),
    st.tuples(st.sampled_from(["f|re", "f|re|i"]), st.sampled_from(["a+b", "^A", "b$"])),
)  # fmt: skip
maps = st.lists(pairs, min_size=1, max_size=3).map(dict)
searches = st.one_of(
    maps, st.lists(maps, min_size=1, max_size=2), st.lists(st.sampled_from(TEXTS[1:]), min_size=1, max_size=2)
)
operands = st.sampled_from(
    ["s1", "s2", "t1", "1 of s*", "all of s*", "1 of them", "all of them", "not s1", "not 1 of t*"]
)
expressions = st.recursive(
    operands,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("not ({})".format),
        inner.map("({})".format),
    ),
    max_leaves=4,
)
scalars = st.one_of(
    st.text("aAb-—.*é 1\\\n", max_size=4),
    st.sampled_from([0, 1, 25, 30, True, False, None, "25", "10.1.2.3", "11.1.2.3"]),
)
records = st.fixed_dictionaries(
    {},
    optional={
        "f": scalars,
        "g": scalars,
        "h-i": scalars,
        "n": st.one_of(scalars, st.fixed_dictionaries({}, optional={"f": scalars})),
        "log": st.text("aAb-*é 1", max_size=5),
    },
)


@settings(max_examples=60, deadline=None)
@given(
    st.fixed_dictionaries({"s1": searches, "s2": searches, "t1": searches, "condition": expressions}),
    st.lists(records, min_size=3, max_size=8),
)
def test_random_detections_say_the_same_as_the_interpreter(
    detection: dict[str, Any], given_records: list[dict[str, Any]]
) -> None:
    (found,) = rules_of(rule(detection), mapped=ANY_LOG).values()
    tree = conditions(found)[0]
    evaluate = compile_all([tree])
    literals = required(tree)
    for record in given_records:
        expected = says(detection, record)
        assert (evaluate(record) == [0]) is expected, (found.where, record)
        if expected and literals:
            assert any(literal in encode(record) for literal in literals)


@pytest.mark.parametrize(
    ("detection", "says_"),
    [
        ({"s": {"a|expand": "%Servers%"}, "condition": "s"}, "say what it stands for"),
        ({"s": {"a|near": "x"}, "condition": "s"}, "modifier near"),
        ({"s": {"a|re": "(?=x)"}, "condition": "s"}, "RE2"),
        ({"s": {"a|re|contains": "x"}, "condition": "s"}, "looks anywhere"),
        ({"s": {"a|cidr": "10.0.0.0/99"}, "condition": "s"}, "not a network"),
        ({"s": {"a|gt": "x"}, "condition": "s"}, "expected a number"),
        ({"s": {"a|base64": "x*"}, "condition": "s"}, "wildcards cannot be encoded"),
        ({"s": {"a|contains": None}, "condition": "s"}, "null has no text"),
        ({"s": {"a|minute": 3}, "condition": "s"}, "modifier minute"),
        ({"s": {"a": "x"}, "condition": "s | count() > 5"}, "a correlation says that"),
        ({"s": {"a": "x"}, "condition": "s and"}, "not the end"),
        ({"s": {"a": "x"}, "condition": "t"}, "no search 't'"),
        ({"s": {"a": "x"}, "condition": "1 of t*"}, "no search is meant"),
        ({"s": {"a": "x"}, "condition": "2 of s"}, "only 1, any or all"),
        ({"s": {"a": "x"}, "condition": "(s"}, "expected ')'"),
        ({"s": {"a": "x"}, "condition": "(" * 40 + "s" + ")" * 40}, "nested deeper"),
        ({"s": {"a": "x"}, "timeframe": "5m", "condition": "s"}, "timeframe"),
        ({"s": {"a": {"b": "x"}}, "condition": "s"}, "expected text, a number"),
        ({"s": {}, "condition": "s"}, "a search for nothing"),
        ({"s": {"a|contains": [f"value {n} of very many" for n in range(600)]}, "condition": "s"}, "longer than 8192"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused(detection: dict[str, Any], says_: str) -> None:
    ((line, reason),) = refusals(rule(detection), mapped=ANY_LOG)
    assert says_ in reason
    assert line >= 1


def test_a_mapping_says_which_records_and_what_fields_are_called() -> None:
    mapped, errors = parse_mapping(
        textwrap.dedent("""\
            sources:
            - logsource: {product: windows, service: security}
              where: Channel == "Security" || Provider == "Sec"
              fields: {EventID: event.code}
              group_by: [Computer]
            placeholders: {Servers: [srv*, db1]}
        """),
        "mapping.yaml",
    )
    assert errors == []
    text = rule(
        {"s": {"EventID": 4624, "Host|expand": "%Servers%"}, "condition": "s"},
        logsource={"product": "windows", "service": "security", "definition": "audit it"},
    )
    found = rules_of(text, mapped=mapped)["r"]
    assert found.group_by == ("Computer",)
    good = matcher(found)
    record = {"Channel": "Security", "event": {"code": "4624"}, "Host": "SRV7"}
    assert good(record)
    assert good(record | {"Host": "DB1", "Channel": "x", "Provider": "Sec"})
    assert not good(record | {"Host": "db12"})
    assert not good(record | {"Channel": "System"})
    other = rule({"s": {"a": 1}, "condition": "s"}, logsource={"product": "windows"})
    assert matcher(rules_of(other, mapped=mapped)["r"])({"a": 1, "logsource": {"product": "windows"}})


CORRELATED = """\
title: Failed Login
name: failed
logsource: {product: app}
detection: {s: {what: failed}, condition: s}
---
title: Login
id: 11111111-2222-3333-4444-555555555555
logsource: {product: app}
detection: {s: {what: ok}, condition: s}
---
title: Correlated
correlation:
  type: %s
  rules: [%s]
  group-by: [user]
  timespan: 5m
%s
level: high
"""


def correlated(kind: str, rules: str, more: str, happened: list[tuple[int, str, str]]) -> list[int]:
    """When alerts begin, in seconds; of (second, user, what)."""
    lines = "".join(f"  {line}\n" for line in more.splitlines())
    found = rules_of(CORRELATED % (kind, rules, lines), mapped=ANY_LOG)["Correlated"]
    told = [
        Record(
            topic="logs",
            partition=0,
            offset=number,
            key=None,
            value=encode({"user": user, "what": what, "host": f"h{at}"}),
            timestamp_ms=START_MS + at * 1000,
        )
        for number, (at, user, what) in enumerate(happened)
    ]
    alerts = rehearsed(RuleSet([found]), told, START_MS + DAY_MS)
    return [(each.from_ms - START_MS) // 1000 for each in episodes_of(alerts)]


LOGINS = [(0, "a", "failed"), (10, "b", "failed"), (20, "a", "failed"), (30, "a", "failed"), (40, "a", "ok")]


@pytest.mark.parametrize(
    ("kind", "rules", "more", "begins"),
    [
        ("event_count", "failed", "condition: {gte: 3}", [30]),
        ("event_count", "failed", "condition: {gt: 3}", []),
        ("value_count", "failed", "condition: {field: host, gte: 2}", [20]),
        ("temporal", "failed, 11111111-2222-3333-4444-555555555555", "", [40]),
        ("temporal_ordered", "failed, 11111111-2222-3333-4444-555555555555", "", [40]),
        ("temporal_ordered", "11111111-2222-3333-4444-555555555555, failed", "", []),
    ],
)
def test_correlations(kind: str, rules: str, more: str, begins: list[int]) -> None:
    assert correlated(kind, rules, more, LOGINS) == begins


@pytest.mark.parametrize(
    ("kind", "rules", "more", "says_"),
    [
        ("event_count", "failed", "condition: {eq: 3}", "a least or a greatest"),
        ("event_count", "nobody", "condition: {gte: 3}", "no rule nobody"),
        ("value_count", "failed", "condition: {gte: 3}", "expected field"),
        ("temporal", "failed", "", "expected 2 to 8"),
        ("never", "failed", "condition: {gte: 3}", "type never"),
        ("event_count", "failed", "condition: {gt: 3, lte: 9}", "expected one of"),
        ("event_count", "failed", "conditions: {gt: 3}", "no such field"),
    ],
)
def test_correlations_that_cannot_be_said(kind: str, rules: str, more: str, says_: str) -> None:
    lines = "".join(f"  {line}\n" for line in more.splitlines())
    found = refusals(CORRELATED % (kind, rules, lines), mapped=ANY_LOG)
    assert len(found) == 1
    assert says_ in found[0][1]


def test_rules_of_a_correlation_make_no_alerts_of_their_own_unless_it_says_so() -> None:
    text = CORRELATED % ("event_count", "failed", "  condition: {gte: 3}\n%s")
    assert [each.name for each in taken(text % "", mapped=ANY_LOG)] == ["Login", "Correlated"]
    assert len(taken(text % "  generate: true\n", mapped=ANY_LOG)) == 3
