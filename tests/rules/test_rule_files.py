"""Rule files: everything wrong with one is told at once, with file, line, field and what is expected."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.rules import app
from schemas.rule_document import Detection, Level
from streams.rules.document import parse_document
from streams.rules.ruleset import shipped

WRONG = """\
groups:
- name: a
  rules:
  - alert: X
    input: lgos
    where: |
      log.contains("x") &&
      foo.bar(3)
    cuont: 3
    within: 5 minutes
    annotations: {summary: "{{ foo }} {{ labels.pod"}
  - alert: X
    input: kube.events
    where: reason == "BackOff" && involved.knd == "Pod"
    level: pods
    count: 0
    group_by: [reason, "labels[0", involved.name]
  - input: logs
    type: any
    count: 3
    labels: {alertname: x, "0a": y}
    severity: so bad
"""


MULTIPLYING = "\n".join(
    ["a: &a [x,x,x,x,x,x,x,x,x]"]
    + [f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in ("ab", "bc", "cd", "de")]
    + ["groups: [*e,*e,*e,*e]"]
)


def test_every_error_is_told_with_its_line_and_field() -> None:
    rules, errors = parse_document(WRONG, "team.yaml")
    assert not rules
    told = {line.split(": ", 2)[0] + " " + line.split(": ", 2)[1] for line in errors}
    assert {
        "team.yaml:5 groups[0].rules[0].input",
        "team.yaml:8 groups[0].rules[0].where",
        "team.yaml:9 groups[0].rules[0].cuont",
        "team.yaml:10 groups[0].rules[0].within",
        "team.yaml:11 groups[0].rules[0].annotations.summary",
        "team.yaml:14 groups[0].rules[1].where",
        "team.yaml:15 groups[0].rules[1].level",
        "team.yaml:16 groups[0].rules[1].count",
        "team.yaml:17 groups[0].rules[1].group_by[1]",
        "team.yaml:18 groups[0].rules[2]",
        "team.yaml:20 groups[0].rules[2].count",
        "team.yaml:21 groups[0].rules[2].labels.alertname",
        "team.yaml:21 groups[0].rules[2].labels.0a",
        "team.yaml:22 groups[0].rules[2].severity",
    } <= told
    text = "\n".join(errors)
    for hint in ("did you mean count?", "did you mean kind?", "expected one of logs, kube.events", "such as 30s, 5m"):
        assert hint in text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("groups: [", "not YAML"),
        ("[" * 5000, "too deep"),
        ("rules: []", "here one of groups"),
        ("groups: {}", "expected a list"),
        ("groups: [{name: a, rules: [3]}]", "expected"),
        (MULTIPLYING, "aliases"),
        ("x" * (2 << 20), "larger"),
    ],
)
def test_what_is_no_rule_file_is_refused(text: str, says: str) -> None:
    rules, errors = parse_document(text, "f.yaml")
    assert not rules
    assert any(says in line for line in errors), errors
    assert all(line.startswith("f.yaml:") for line in errors)


def test_defaults() -> None:
    rules, errors = parse_document(
        "groups: [{name: g, rules: [{alert: A, input: logs, where: has(log)},"
        " {name: B, input: kube.events, where: has(reason), level: node, count: 3, within: 1h30m, lateness: 5s}]}]",
        "f.yaml",
    )
    assert not errors
    one, two = rules
    assert (one.type, one.level, one.count, one.keep_firing_for_ms, one.severity) == (
        Detection.ANY, Level.CLUSTER, 1, 300_000, "warning",
    )  # fmt: skip
    assert (two.type, two.within_ms, two.keep_firing_for_ms, two.lateness_ms) == (
        Detection.FREQUENCY,
        5_400_000,
        0,
        5000,
    )


def test_the_shipped_rules_are_right() -> None:
    assert shipped()
    for file in shipped():
        rules, errors = parse_document(file.text, file.name)
        assert not errors
        assert all(rule.annotations.get("summary") for rule in rules)


def test_check_says_what_is_wrong_and_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text(WRONG, "utf-8")
    result = CliRunner().invoke(app, ["check", str(tmp_path)] if len(app.registered_commands) > 1 else [str(tmp_path)])
    assert result.exit_code == 1
    assert f"{tmp_path}/team.yaml:5: groups[0].rules[0].input: expected one of" in result.output
    (tmp_path / "team.yaml").write_text(shipped()[0].text, "utf-8")
    result = CliRunner().invoke(app, ["check", str(tmp_path)] if len(app.registered_commands) > 1 else [str(tmp_path)])
    assert result.exit_code == 0
    assert "10 rules in 1 files" in result.output
