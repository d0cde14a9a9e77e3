"""What a change of the rules does to windows that are kept, and rule files that are wrong."""

from __future__ import annotations

import random
from pathlib import Path

from schemas.base import encode
from streams.rules.ruleset import Loader, RuleSet
from tests.rules.simulation import Cluster, Line, rule_set

TWO = """
groups:
- name: g
  rules:
  - {alert: Stays, input: logs, where: 'log == "x"', count: 3, within: 2h, annotations: {summary: old}}
  - {alert: Goes, input: logs, where: 'log == "x"', count: 2, within: 2h, labels: {team: a}}
"""
ONE = TWO.splitlines()
STAYS = "\n".join(ONE[:5]).replace("old", "new")


def fed(rules: RuleSet, lines: int) -> Cluster:
    cluster = Cluster(rules, random.Random(3), windows=2)
    cluster.produce_lines(Line(1000 * n, encode({"log": "x"})) for n in range(1, lines + 1))
    while cluster.unread:
        cluster.read(cluster.unread[0])
    cluster.clock_ms += 10_000
    cluster.tell()
    return cluster


def said(cluster: Cluster) -> list[tuple[str, bool]]:
    return [(alert.labels["alertname"], bool(alert.ends_at_ms)) for alert in cluster.alerts]


def test_windows_of_unchanged_rules_survive_and_those_of_others_end() -> None:
    cluster = fed(rule_set(TWO), 2)
    assert said(cluster) == [("Goes", False)]
    cluster.rules = rule_set(STAYS)
    cluster.tell()
    assert said(cluster) == [("Goes", False), ("Goes", True)]
    assert cluster.alerts[1].labels["team"] == "a"
    assert cluster.alerts[1].fingerprint == cluster.alerts[0].fingerprint
    cluster.produce_lines([Line(3000, encode({"log": "x"}))])
    cluster.run()
    assert said(cluster)[2:] == [("Stays", False), ("Stays", True)]
    assert cluster.alerts[2].annotations == {"summary": "new"}


def test_a_changed_rule_begins_anew() -> None:
    cluster = fed(rule_set(TWO), 2)
    cluster.rules = rule_set(TWO.replace("count: 2", "count: 1"))
    cluster.tell()
    assert said(cluster) == [("Goes", False), ("Goes", True)]
    cluster.produce_lines([Line(3000, encode({"log": "x"}))])
    cluster.run()
    assert said(cluster)[2] in (("Goes", False), ("Stays", False))
    assert ("Goes", False) in said(cluster)[2:]


def test_nothing_ends_while_a_rule_file_cannot_be_read() -> None:
    cluster = fed(rule_set(TWO), 2)
    cluster.rules = RuleSet([], complete=False)
    cluster.tell()
    cluster.tell()
    assert said(cluster) == [("Goes", False)]
    cluster.rules = rule_set(TWO)
    cluster.clock_ms += 86_400_000
    cluster.tell()
    assert said(cluster) == [("Goes", False), ("Goes", True)]


def test_a_wrong_file_is_refused_alone_and_keeps_what_it_had(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "team.yaml"
    good.write_text(TWO, "utf-8")
    bad.write_text(STAYS.replace("Stays", "Mine"), "utf-8")
    loader = Loader(str(tmp_path))
    first = loader.load()
    assert {"Stays", "Goes", "Mine", "KubePodBackOff"} <= first.rules.keys()
    assert first.complete
    assert not loader.errors
    bad.write_text(STAYS.replace("where", "were"), "utf-8")
    again = loader.load()
    assert again.rules == first.rules
    assert any(line.startswith(f"{bad}:5: groups[0].rules[0]") for line in loader.errors)
    assert not Loader(str(tmp_path)).load().complete


def test_a_rule_of_ones_own_replaces_a_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "groups: [{name: g, rules: [{alert: KubePodBackOff, input: logs, where: has(log), enabled: false}]}]", "utf-8"
    )
    rules = Loader(str(tmp_path)).load()
    assert "KubePodBackOff" not in rules.rules
    assert "KubeNodeNotReady" in rules.rules


def test_a_name_taken_in_another_file_is_an_error(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(STAYS, "utf-8")
    loader = Loader(str(tmp_path))
    assert "Stays" in loader.load().rules
    assert loader.errors == [f"{tmp_path}/b.yaml:5: Stays: the name is taken in {tmp_path}/a.yaml:5"]
