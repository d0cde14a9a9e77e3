"""Rules over several topics: joins, sequences and counts by event time, whatever comes first, wherever."""

from __future__ import annotations

import random
from typing import Any

import pytest

from schemas.base import encode
from schemas.rules import Mark
from streams.record import Record
from streams.rules.cases import START_MS, compared, episodes_of, records_of
from streams.rules.clock import Clock, heard, together
from streams.rules.document import parse_document
from streams.rules.rehearsal import CALM, ROUGH, rehearsed
from streams.rules.ruleset import RuleSet
from streams.rules.stored import parsed
from tests.rules.simulation import episodes

AT = 1_767_607_200_000
RULES = """\
groups:
- name: g
  rules:
  - alert: DeniedThenCrash
    type: sequence
    level: namespace
    steps:
      - {input: kube.audit, where: responseStatus.code == 403}
      - {input: logs, where: 'log.contains("crash")'}
    within: 10s
    keep_firing_for: 1s
  - alert: SameUser
    type: join
    group_by:
      - user: {kube.audit: user.username, logs: 'kubernetes.labels["user"]'}
    steps:
      - {input: kube.audit, where: verb == "delete"}
      - {input: logs, where: 'log.contains("login")'}
    within: 20s
    keep_firing_for: 1s
  - alert: DeniedAndQuiet
    type: sequence
    level: namespace
    steps: [{input: kube.audit, where: responseStatus.code == 403}]
    unless: {input: logs, where: 'log.contains("login")'}
    within: 15s
    keep_firing_for: 1s
  - alert: Either
    input: [logs, kube.audit]
    where: {logs: 'log.contains("crash")', kube.audit: responseStatus.code == 403}
    count: 3
    within: 10s
"""


def rule_set(text: str = RULES) -> RuleSet:
    rules, errors = parse_document(text, "r.yaml")
    assert not errors, errors
    return RuleSet(rules)


def audit(at_s: float, user: str, verb: str, code: int, namespace: str = "shop") -> Record:
    at_ms = AT + int(at_s * 1000)
    value: dict[str, Any] = {"auditID": f"a{at_s}{user}{verb}", "stage": "ResponseComplete", "verb": verb}
    value |= {
        "user": {"username": user},
        "objectRef": {"namespace": namespace},
        "responseStatus": {"code": code},
        "time_ms": at_ms,
    }
    return Record("kube.audit", 0, 0, b"k", encode(value), at_ms)


def line(at_s: float, text: str, user: str = "ada", namespace: str = "shop") -> Record:
    at_ms = AT + int(at_s * 1000)
    kubernetes = {"namespace_name": namespace, "labels": {"user": user}}
    return Record("logs", 0, 0, f"{at_s}".encode(), encode({"log": text, "kubernetes": kubernetes}), at_ms)


def found(records: list[Record], **more: Any) -> set[tuple[str, int]]:
    alerts = rehearsed(rule_set(), sorted(records, key=lambda each: each.timestamp_ms), AT + 600_000, **more)
    return {(alert.labels["alertname"], alert.starts_at_ms - AT) for alert in alerts}


def test_a_sequence_over_two_topics_goes_by_event_time() -> None:
    assert ("DeniedThenCrash", 5_000) in found([audit(1, "ada", "get", 403), line(5, "crash")])
    assert not {each for each in found([line(1, "crash"), audit(5, "ada", "get", 403)]) if each[0] == "DeniedThenCrash"}
    assert not {
        each for each in found([audit(1, "ada", "get", 403), line(12, "crash")]) if each[0] == "DeniedThenCrash"
    }
    other = line(5, "crash", namespace="other")
    assert not {each for each in found([audit(1, "ada", "get", 403), other]) if each[0] == "DeniedThenCrash"}


def test_a_join_by_a_key_that_is_another_field_in_each_topic() -> None:
    assert found([line(1, "login", "eve"), audit(9, "eve", "delete", 200)]) == {("SameUser", 9_000)}
    assert found([line(1, "login", "eve"), audit(9, "ada", "delete", 200)]) == set()


def test_what_does_not_follow_in_another_topic() -> None:
    assert found([audit(1, "ada", "get", 403)]) == {("DeniedAndQuiet", 16_000)}
    assert found([audit(1, "ada", "get", 403), line(9, "login")]) == set()


def test_counting_records_of_both() -> None:
    told = [audit(1, "ada", "get", 403), line(2, "crash"), line(3, "crash"), line(4, "login")]
    assert ("Either", 3_000) in found(told)


@pytest.mark.parametrize("seed", [*range(4), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(4, 16))])
def test_the_same_alerts_however_the_topics_are_read(seed: int) -> None:
    rng = random.Random(seed)
    records = []
    for number in range(120):
        at_s = number * 1.5 + rng.random()
        user, namespace = rng.choice("ab"), rng.choice(("shop", "bank"))
        if rng.random() < 0.5:
            records.append(audit(at_s, user, rng.choice(("get", "delete")), rng.choice((200, 403)), namespace))
        else:
            records.append(line(at_s, rng.choice(("crash", "login", "fine")), user, namespace))
    calm = rehearsed(rule_set(), records, AT + 600_000, 0, CALM)
    assert {alert.labels["alertname"] for alert in calm} == {"DeniedThenCrash", "SameUser", "DeniedAndQuiet", "Either"}
    for turn in range(3):
        rough = rehearsed(rule_set(), records, AT + 600_000, seed * 10 + turn, ROUGH)
        assert episodes(rough, AT) == episodes(calm, AT)


def test_time_is_that_of_the_topic_that_is_least_far() -> None:
    far = Clock(live_ms=9, back_ms=8, heard_ms=7)
    near = Clock(live_ms=5, back_ms=6, heard_ms=3)
    assert together([far, near]) == Clock(live_ms=5, back_ms=6, heard_ms=3)
    assert heard({}, _progress()) ["logs"].live_ms == 3  # fmt: skip


def _progress() -> Any:
    from schemas.rules import Progress

    return Progress(marks=[Mark(topic="logs", partition=0, time_ms=3, at_ms=4)], partitions={"logs": 1})


def test_a_rule_over_one_topic_is_what_it_was() -> None:
    """Windows of running installations stay as they are."""
    text = "groups:\n- name: g\n  rules:\n  - {alert: A, input: logs, where: a == 1, count: 3, within: 5m}\n"
    (rule,) = rule_set(text).rules.values()
    assert rule.clock == "logs"
    assert rule.hash == "0c696752dfd66d274e236b0269a046ab"


def test_a_tenants_rule_sees_its_own_records_in_every_topic() -> None:
    text = (
        RULES.split("rules:\n", 1)[1]
        .split("  - alert: SameUser", maxsplit=1)[0]
        .replace("  - alert", "alert")
        .replace("\n    ", "\n")
    )
    rule, errors = parsed(text, "f", "shop")
    assert not errors
    assert rule is not None
    records = [audit(1, "ada", "get", 403), line(5, "crash")]
    assert rehearsed(RuleSet([rule]), records, AT + 60_000) == []
    mine = [each._replace(value=(each.value or b"").replace(b"{", b'{"tenant": "shop", ', 1)) for each in records]
    assert len(rehearsed(RuleSet([rule]), mine, AT + 60_000)) == 2
    assert rehearsed(RuleSet([rule]), [mine[0], records[1]], AT + 60_000) == []


HEAD = "groups:\n- name: g\n  rules:\n  - alert: A\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("input: [logs, kube.event]|where: a == 1", "r.yaml:5: groups[0].rules[0].input[1]: expected one of logs"),
        ("input: []|where: a == 1", "r.yaml:4: groups[0].rules[0]: expected input"),
        ("input: [logs, kube.events]|where: involved.nme == 'x'", "where: no field 'nme' in ObjectRef"),
        ("input: [logs, gaps]|where: {logs: a == 1}", "where: expected a condition for gaps as well"),
        ("input: [logs, gaps]|where: {logs: a == 1, gaps: source == 'x', cicd.events: 'true'}", "no such field"),
        ("type: join|within: 5m|steps: [{input: logs, where: a == 1}, b == 2]", "steps[1]: expected {input: ..."),
        ("type: join|within: 5m|steps: [{input: logs}, {input: gaps, where: 'true'}]", "steps[0]: expected where"),
        ("type: join|within: 5m|steps: [a == 1, b == 2]", "groups[0].rules[0]: expected input"),
        ("input: [logs, gaps]|where: 'true'|group_by: [source]|field: x", ".field: belongs to type"),
        ("input: [logs, gaps]|where: 'true'|group_by: [who]", "no field 'who' in Gap"),
        ("input: [logs, gaps]|where: 'true'|group_by: [{who: {logs: a}}]", "expected a field for gaps as well"),
        ("input: logs|where: 'true'|group_by: [{pod: a}]", "expected the name of a label that is no other's"),
        ("input: logs|where: 'true'|group_by: [{who: a}, {who: b}]", "would give the label who twice"),
    ],
)  # fmt: skip
def test_what_may_not_be_written(text: str, said: str) -> None:
    _, errors = parse_document(HEAD + "".join(f"    {line}\n" for line in text.split("|")), "r.yaml")
    assert any(said in error for error in errors), errors


TESTED = """\
groups:
- name: g
  rules:
  - alert: DeniedThenCrash
    type: sequence
    level: namespace
    steps:
      - {input: kube.audit, where: responseStatus.code == 403}
      - {input: logs, where: 'log.contains("crash")'}
    within: 10s
    keep_firing_for: 5s
    tests:
      - records:
          - {at: 1s, input: kube.audit, record: {objectRef: {namespace: shop}, responseStatus: {code: 403}}}
          - {at: 5s, input: logs, record: {log: a crash, kubernetes: {namespace_name: shop}}}
          - {at: 60s, input: logs, record: {log: a crash, kubernetes: {namespace_name: shop}}}
        alerts: [{from: 5s, until: 10s, labels: {namespace: shop}}]
"""


def test_its_tests_name_the_topic_of_each_record() -> None:
    rules = rule_set(TESTED)
    (rule,) = rules.rules.values()
    records = records_of(rule, rule.tests[0])
    assert [record.topic for record in records] == ["kube.audit", "logs", "logs"]
    for disturbance in (CALM, ROUGH):
        alerts = rehearsed(rules, records, START_MS + 600_000, 3, disturbance)
        assert compared(rule.tests[0], episodes_of(alerts)) == []
    _, errors = parse_document(TESTED.replace("input: logs, record", "input: log, record"), "r.yaml")
    assert "records[1].input: expected one of logs" in errors[0]
