"""Names for conditions, lists and fields: written out into each rule, refused where they lead back to themselves."""

from __future__ import annotations

import pytest

from streams.rules.compiler import compile_all
from streams.rules.conditions import conditions
from streams.rules.document import parse_document, parse_rule

FILE = """\
aliases:
  team: kubernetes.labels["team"]
lists:
  bad_users: [eve, mallory]
  codes: [500, 502]
macros:
  is_shop: namespace == "shop" || team == "shop"
  is_bad: is_shop && user in bad_users
groups:
- name: g
  rules:
  - alert: A
    input: logs
    where: is_bad && !(status in codes) && log.contains("is_bad") && other.is_shop == 1
    group_by: [team]
"""


def test_names_are_written_out() -> None:
    rules, errors = parse_document(FILE, "r.yaml")
    assert not errors
    (rule,) = rules
    assert rule.where == (
        '(('
        'namespace == "shop" || kubernetes.labels["team"] == "shop") && user in ["eve", "mallory"]'
        ') && !(status in [500, 502]) && log.contains("is_bad") && other.is_shop == 1'
    )  # fmt: skip
    assert rule.group_by == ('kubernetes.labels["team"]',)
    evaluate = compile_all(conditions(rule))
    record = {"log": "is_bad", "user": "eve", "status": 200, "other": {"is_shop": 1}}
    assert evaluate(record | {"kubernetes": {"namespace_name": "shop"}}) == [0]
    assert evaluate(record | {"kubernetes": {"labels": {"team": "shop"}}}) == [0]
    assert evaluate(record | {"kubernetes": {"labels": {"team": "bank"}}}) == []


def test_a_rule_may_have_names_of_its_own() -> None:
    rule, errors = parse_rule(
        "alert: A\ninput: logs\nwhere: odd\nmacros: {odd: 'status > limit_'}\naliases: {limit_: a.b}\n", "f"
    )
    assert not errors
    assert rule is not None
    assert rule.where == "(status > a.b)"


DOUBLING = "macros: {a0: 'x == 1 && x == 2', " + ", ".join(f"a{n}: 'a{n - 1} && a{n - 1}'" for n in range(1, 20)) + "}"
RULE = "groups:\n- name: g\n  rules:\n  - {alert: A, input: logs, where: %s}\n"


@pytest.mark.parametrize(
    ("head", "where", "said"),
    [
        ("macros: {a: b, b: c, c: a}", "a", "r.yaml:1: macros.a: leads back to itself: a -> b -> c -> a"),
        ("macros: {a: '!a'}", "a", "macros.a: leads back to itself: a -> a"),
        ("macros: {a: 'x =='}", "a", "macros.a: expected a value, a field or '(', not ')'"),
        ("macros: {a: 'x == 1'}\nlists: {a: [1]}", "a", "lists.a: the name is taken in line 1"),
        ("macros: {has: 'x == 1'}", "x == 1", "macros.has: expected a name"),
        ("macros: {'a b': 'x == 1'}", "x == 1", "macros.a b: expected a name"),
        ("lists: {a: []}", "x in a", "lists.a: expected a list of 1 to 1000 values"),
        ("lists: {a: [{b: 1}]}", "x in a", "lists.a: expected text, numbers"),
        ("lists: {a: 7}", "x in a", "lists.a: expected a list"),
        ("aliases: {a: 'x == 1'}", "a", "aliases.a: not a field"),
        ("macros: {a: 'x == 1'}", "a ==", "where: expected a value, a field or '(', not the end (character 5)"),
        ("lists: {a: [1]}", "y == 1 && a", "where: expected a condition here, this is a list (character 11 in a)"),
        ("macros: {a: 'x == 1'}", "b || y", None),
        (DOUBLING, "a19", "macros.a7: more than 512 parts"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_where_it_is(head: str, where: str, said: str | None) -> None:
    _, errors = parse_document(f"{head}\n" + RULE % f"'{where}'", "r.yaml")
    if said is None:
        assert not errors
    else:
        assert any(said in error for error in errors), errors
