"""Tests that rule files bring along, and rules played over what is on the topics."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.backtest import backtest
from gateway.cli.rules import app, timeline
from schemas.base import encode
from streams.record import Outgoing
from streams.rules.cases import Episode
from streams.rules.document import parse_document
from streams.settings import Kafka
from tests.rules.simulation import rule_set
from tests.rules.test_on_kafka import send

RULE = """\
groups:
- name: g
  rules:
  - alert: Payments
    input: logs
    where: log.contains("payment failed")
    level: namespace
    count: 3
    within: 10m
    annotations: {summary: "{{ count }} in {{ labels.namespace }}"}
    tests:
    - name: three fire
      records:
      - {at: 1m, times: 3, every: 30s, record: {log: payment failed, kubernetes: &shop {namespace_name: shop}}}
      - {at: 2m, record: {log: payment done, kubernetes: *shop}}
      alerts:
      - {from: 2m, until: UNTIL, labels: {namespace: shop}, annotations: {summary: 3 in shop}}
    - name: two do not
      records:
      - {times: 2, every: 1s, record: {log: payment failed, kubernetes: *shop}}
      alerts: []
"""


def ran(tmp_path: Path, text: str, *arguments: str) -> tuple[int, str]:
    (tmp_path / "team.yaml").write_text(text, "utf-8")
    result = CliRunner().invoke(app, ["test", str(tmp_path / "team.yaml"), *arguments])
    return result.exit_code, result.output


def test_a_rule_that_does_what_its_tests_say(tmp_path: Path) -> None:
    code, said = ran(tmp_path, RULE.replace("UNTIL", "11m"), "--perturb", "5")
    assert code == 0, said
    assert said.splitlines() == [
        "ok   Payments: three fire",
        "ok   Payments: two do not",
        "2 tests of 1 rules, 0 failed",
    ]


def test_the_shipped_rules_do_what_their_tests_say() -> None:
    result = CliRunner().invoke(app, ["test", "deploy/rules", "--perturb", "3"])
    assert result.exit_code == 0, result.output
    assert "KubePodBackOff: an event that stands for three" in result.output


def test_a_test_that_fails_says_what_came_instead(tmp_path: Path) -> None:
    code, said = ran(tmp_path, RULE.replace("UNTIL", "12m"))
    assert code == 1
    assert "FAIL Payments: three fire" in said
    assert f"{tmp_path}/team.yaml:12: missing: an alert from 2m until 12m with namespace='shop'" in said
    assert "not expected: an alert from 2m until 11m with " in said


@pytest.mark.parametrize(
    ("tests", "says"),
    [
        ("[{alerts: []}]", "tests[0]: expected records"),
        ("[{records: []}]", "expected alerts: a list, [] for none"),
        ("[{records: [{at: soon, record: {}}], alerts: []}]", "tests[0].records[0].at: expected a duration"),
        ("[{records: [{at: 1s}], alerts: []}]", "expected record: the fields of a record"),
        ("[{records: [{times: 99999, record: {}}], alerts: []}]", "expected at most 10000"),
        ("[{records: [], alerts: [{until: 1m}]}]", "expected from: when the alert begins"),
        ("[{records: [], alerts: [], expect: 1}]", "no such field"),
    ],
)
def test_what_is_no_test_is_refused_with_its_place(tests: str, says: str) -> None:
    text = f"groups: [{{name: g, rules: [{{alert: A, input: logs, where: has(log), tests: {tests}}}]}}]"
    rules, errors = parse_document(text, "f.yaml")
    assert not rules
    assert any(says in line for line in errors), errors


async def test_a_backtest_says_what_would_have_fired(platform_kafka: Kafka) -> None:
    now_ms = time.time_ns() // 1_000_000
    value = encode({"log": "backtest failed", "cluster": "lab", "kubernetes": {"namespace_name": "shop"}})
    old = [Outgoing("logs", value, timestamp_ms=now_ms - 7_200_000) for _ in range(5)]
    mine = [Outgoing("logs", value, timestamp_ms=now_ms - 60_000 + i * 1000) for i in range(3)]
    other = [Outgoing("logs", encode({"log": "fine"}), timestamp_ms=now_ms - 50_000) for _ in range(50)]
    await send(platform_kafka, old + mine + other)
    rules = rule_set(
        "groups: [{name: g, rules: [{alert: A, input: logs, where: 'log == \"backtest failed\"', level: namespace,"
        " count: 3, within: 30s}]}]"
    )
    looks = list[int]()
    result = backtest(platform_kafka, rules, now_ms - 3_600_000, now_ms, lambda done, _: looks.append(done))
    (episode,) = result.episodes
    assert (episode.name, episode.labels["namespace"], episode.records) == ("A", "shop", 3)
    assert (episode.from_ms, episode.until_ms) == (now_ms - 58_000, now_ms - 30_000)
    assert result.matched == 3
    assert looks[-1] == result.read >= 53
    both = backtest(platform_kafka, rules, now_ms - 10_800_000, now_ms, lambda *_: None)
    assert len(both.episodes) == 2


def test_the_timeline_shows_when() -> None:
    episode = Episode("A", "f", 30_000, 45_000, {}, {}, 1)
    assert timeline(episode, 0, 60_000) == "·" * 30 + "█" * 15 + "·" * 15
    assert timeline(episode._replace(until_ms=0), 0, 60_000) == "·" * 30 + "█" * 30
