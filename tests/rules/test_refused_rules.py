"""Rules that are wrong or would do harm: each refused with file, line, field and what is expected; others go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from streams.rules.cycles import cycles
from streams.rules.document import parse_document
from streams.rules.ruleset import Loader, checked

HEAD = "groups:\n- name: g\n  rules:\n  - alert: A\n    input: logs\n"
MULTIPLYING = "a0: &a0 [x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]\n" for n in range(1, 8)
)
CRITICAL = 'labels.severity == "critical" && labels.alertname'
DEEP = "(" * 40 + "a" + ")" * 40


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        # syntax and types
        ("where: 'a =='", "r.yaml:6: groups[0].rules[0].where: expected a value, a field or '(', not the end"),
        ("where: a = 1", "r.yaml:6: groups[0].rules[0].where: unexpected '=': to compare write == (character 3)"),
        ("where: 'a == \"x'", "quote"),
        ("where: a and b", "expected an operator or the end, not 'and'"),
        ("where: '\"x\" > 1'", "compares a number with text: that is never true"),
        ("where: size(1) > 2", "expected text or a list or a map here, this is a number"),
        ("where: log.contians(\"x\")", "unknown function contians: did you mean contains?"),
        ("where: |\n      a == 1 &&\n      b = 2", "r.yaml:8: groups[0].rules[0].where: unexpected '='"),
        # patterns
        ("where: 'log.matches(r\"(a)\\1\")'", "not a pattern RE2 takes: invalid escape sequence"),
        ("where: 'log.matches(\"(?=a)b\")'", "not a pattern RE2 takes: invalid perl operator"),
        ("where: 'log.matches(\"((a{100}){100}){100}\")'", "not a pattern RE2 takes"),
        ("where: 'log.matches(log)'", "expected the pattern as constant text"),
        ("where: 'log.matches(\"" + "x" * 1001 + "\")'", "a pattern longer than 1000 characters"),
        # without measure
        (f"where: '{DEEP}'", "nested deeper than 32"),
        ("where: '" + "a == 1 || " * 600 + "b'", "more than 512 parts"),
        ("where: '" + "a" * 9000 + "'", "longer than 8192 characters"),
        ("T~annotations: {summary: '" + "x" * 5000 + "'}", "annotations.summary: longer than 4096"),
        ("T~labels: {" + ", ".join(f"l{n}: x" for n in range(40)) + "}", "labels: more than 32 labels"),
        ("T~group_by: [" + ", ".join(f"l{n}" for n in range(40)) + "]", "group_by: more than 32 labels"),
        ("T~within: 30d~count: 2", "within: expected at most 7d"),
        # templates: no loops, no functions
        ("T~annotations: {summary: '{{ range x }}{{ end }}'}", "unknown field 'end' in '{{ end }}'"),
        ("T~annotations: {summary: '{{ labels.pod'}", "expected {{ field }}"),
        ("T~annotations: {summary: '{{ pod }}'}", "unknown field 'pod' in '{{ pod }}': there is labels.<name>"),
        # fields
        ("wher: a == 1", "r.yaml:6: groups[0].rules[0].wher: no such field: did you mean where?"),
        ("T~type: spiky", "type: expected one of any, frequency"),
        ("T~type: spike", "r.yaml:4: groups[0].rules[0]: expected times: how many times as many"),
        ("T~values: [x]", "values: belongs to type: blacklist or whitelist"),
        ("T~for: soon", "for: expected a duration such as 30s, 5m or 1h30m, not 'soon'"),
        ("T~for: -5m", "for: expected a duration"),
        ("T~severity: very bad", "severity: expected a word of letters"),
        ("T~labels: {alertname: x}", "labels.alertname: alertname is set by the rule engine"),
        ("T~labels: {0x: y}", "labels.0x: expected a label name"),
        ("T~where: 'true'", "r.yaml:7: groups[0].rules[0].where: given twice"),
        ("T~level: galaxy", "level: expected one of cluster, node, workspace"),
        ("T~limit: 0", "limit: expected 1 to"),
        ("T~limit: many", "limit: expected a whole number"),
        ("T~owner: [a]", "owner: expected text"),
        # types of their own
        ("T~type: metric~within: 5m~above: 1", "expected field: the field whose value counts"),
        ("T~type: metric~within: 5m~field: v", "expected one of above and below: a number"),
        ("T~type: metric~field: v~above: {a: 1}~within: 5m~severity: b", "severity: above says it"),
        ("T~type: expression~within: 5m~counts: {a: x == 1}~expression: b > 1", "no count called b: there is a"),
        ("T~type: expression~within: 5m~counts: {a: x == 1}~expression: a +", "expression: expected a value"),
        ("T~type: expression~within: 5m~counts: {}~expression: a > 1", "counts: expected 1 to 8 names"),
        ("T~count: 2~within: 5m~window: jumping", "window: expected one of sliding, tumbling"),
        ("T~count: 2~within: 5m~window: hopping", "expected hop: how often windows end"),
        ("T~count: 2~within: 5m~window: hopping~hop: 10m", "hop: expected at most within"),
        ("T~count: 2~within: 7d~window: hopping~hop: 1s", "hop: expected at most within"),
        ("T~count: 2~within: 5m~hop: 1m", "hop: belongs to window: hopping"),
        ("T~count: 2~within: 5m~window: session", "expected gap: what ends a session"),
        ("T~count: 2~within: 5m~window: session~gap: 10m", "gap: expected more than 0, and at most"),
        ("T~type: change~field: v~window: tumbling", "window: belongs to type: frequency"),
        ("T~count: 2~within: 5m~on_no_data: keep", "on_no_data: belongs to type: cardinality"),
        ("T~type: metric~field: v~above: 1~within: 5m~on_no_data: error", "on_no_data: expected one of ok"),
    ],
)  # fmt: skip
def test_refused_with_line_field_and_a_hint(lines: str, said: str) -> None:
    text = lines.replace("T~", "where: 'true'~").replace("~", "\n    ")
    rules, errors = parse_document(f"{HEAD}    {text}\n", "r.yaml")
    assert any(said in error for error in errors), errors
    assert all(error.startswith("r.yaml:") for error in errors)
    assert not rules


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "r.yaml:1: is empty"),
        ("a: [1", "r.yaml:1: not YAML"),
        ("[1]", "expected fields (a mapping)"),
        ("groups: 7", "groups: expected a list"),
        ("x: 1", "x: no such field"),
        ("groups:\n- rules: []", "groups[0]: expected a name"),
        (MULTIPLYING, "too many values"),
        ("[" * 2000, "r.yaml:1:"),
        ("a: " + "x" * (1 << 20), "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_a_file_that_is_none(text: str, said: str) -> None:
    _, errors = parse_document(text, "r.yaml")
    assert any(said in error for error in errors), errors[:3]


OVER_ALERTS = """\
groups:
- name: g
  rules:
  - alert: Many
    input: alerts
    where: |
      labels.severity == "critical" && labels.alertname != "Many"
    severity: critical
  - alert: Calm
    input: alerts.state
    where: labels.alertname == "Many" && state == "firing"
    severity: info
  - alert: Other
    input: logs
    where: log.contains("x")
    severity: critical
"""


def ways(text: str) -> list[str]:
    rules, errors = parse_document(text, "r.yaml")
    assert not errors, errors
    return [way for _, way in cycles(rules)]


def test_rules_over_alerts_of_other_rules_are_right() -> None:
    assert ways(OVER_ALERTS) == []


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        ('&& labels.alertname != "Many"', "", "Many -> Many"),
        (CRITICAL + ' != "Many"', "!has(labels.team)", "Many -> Many"),
        ('labels.alertname != "Many"', 'annotations.summary.contains("x")', "Many -> Many"),
        ('labels.severity == "critical" &&', 'labels.severity in ["critical", "info"] &&', "Many -> Calm -> Many"),
        (CRITICAL, 'source.startsWith("rule/") && labels.alertname', "Many -> Calm -> Many"),
        (CRITICAL, 'has(labels.cluster) && labels.alertname', "Many -> Calm -> Many"),
        (CRITICAL, 'has(labels.pod) && labels.alertname', None),
        (CRITICAL, '!source.startsWith("rule/") && labels.alertname', None),
        ('severity: critical\n  - alert: Calm', 'severity: info\n  - alert: Calm', None),
        (CRITICAL, 'labels.team == "shop" && labels.alertname', None),
        (CRITICAL, 'tenant == "shop" && labels.alertname', None),
    ],
)  # fmt: skip
def test_a_way_back_is_told(before: str, after: str, way: str | None) -> None:
    assert before in OVER_ALERTS
    assert ways(OVER_ALERTS.replace(before, after, 1)) == ([way] if way else [])


def test_a_cycle_over_files_is_refused_and_the_other_rules_go_on(tmp_path: Path) -> None:
    text = OVER_ALERTS.replace('labels.severity == "critical" &&', "has(labels.cluster) &&")
    (tmp_path / "alerts.yaml").write_text(text, "utf-8")
    (file,) = checked(tmp_path)
    assert file.errors == [
        (
            f"{tmp_path}/alerts.yaml:4: where: its alerts would match again: Many -> Calm -> Many; "
            'leave them out: labels.alertname != "Many"'
        )
    ]
    loader = Loader(str(tmp_path))
    rules = loader.load()
    assert file.errors[0] in loader.errors
    assert "Many" not in rules.rules
    assert {"Calm", "Other"} <= rules.rules.keys()


def test_a_file_that_is_not_there_is_told_plainly(tmp_path: Path) -> None:
    (found,) = checked(tmp_path / "nope.yaml")
    assert found.errors == [f"{tmp_path}/nope.yaml: there is no such file or folder"]
