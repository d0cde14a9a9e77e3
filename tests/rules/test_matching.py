"""From records to matches: what a match carries, and what is skipped."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from schemas.base import encode
from schemas.kube import KubeEvent, ObjectRef
from schemas.rules import Match
from streams.batch import batch_of
from streams.record import Record
from streams.rules.matching import Found, matches, window_id
from streams.rules.ruleset import RuleSet
from tests.rules.simulation import rule_set
from tests.rules.test_owners import CHAIN

RULES = rule_set("""
groups:
- name: g
  rules:
  - {alert: Back, input: kube.events, where: 'reason == "BackOff"', level: workload, group_by: [reason]}
  - {alert: Node, input: kube.events, where: 'type == "Warning"', level: node}
  - alert: Line
    input: logs
    where: log.contains("error")
    level: container
    group_by: ['labels["app.kubernetes.io/name"]']
  - {alert: Any, input: logs, where: 'has(log)', level: cluster}
""")
NOW = 1_767_607_300_000


def found(topic: str, *values: bytes | None, time_ms: int = NOW - 1000, rules: RuleSet = RULES) -> Found:
    records = [Record(topic, 2, i, None, value, time_ms) for i, value in enumerate(values)]
    return matches(rules.matchers[topic], batch_of(records), cluster="here", owned=CHAIN, now_ms=NOW)


def decoded(result: Found) -> list[Match]:
    return [msgspec.json.decode(m.value or b"", type=Match) for m in result.matches]


def event(**more: Any) -> bytes:
    fields = {
        "id": "1", "cluster": "c", "uid": "u", "resource_version": "1", "type": "Warning", "reason": "BackOff",
        "message": "again", "involved": ObjectRef(kind="Pod", namespace="ns", name="pay-7d9c5-abcde"),
        "namespace": "ns", "count_delta": 4, "time_ms": NOW - 60_000, "replayed": True,
    }  # fmt: skip
    return encode(KubeEvent(**(fields | more)))  # type: ignore[arg-type]


def test_an_event_is_grouped_by_its_workload_and_counts_as_often_as_it_says() -> None:
    (match,) = decoded(found("kube.events", event()))
    assert match.group == {
        "cluster": "c", "namespace": "ns", "workload_kind": "Deployment", "workload": "pay", "reason": "BackOff",
    }  # fmt: skip
    assert (match.rule, match.weight, match.time_ms, match.seen_ms) == ("Back", 4, NOW - 60_000, NOW)
    assert (match.topic, match.partition, match.offset) == ("kube.events", 2, 0)
    assert match.labels["message"] == "again"
    assert match.labels["pod"] == "pay-7d9c5-abcde"


def test_an_event_told_twice_is_one_record() -> None:
    first, again, other = decoded(found("kube.events", event(), event(), event(id="2")))
    assert first.record == again.record != other.record
    assert first.record > 0


def test_an_event_of_a_node() -> None:
    result = decoded(found("kube.events", event(involved=ObjectRef(kind="Node", name="n1"), reason="Rebooted")))
    assert [(m.rule, m.group) for m in result] == [("Node", {"cluster": "c", "node": "n1"})]


def test_a_log_record_and_its_key() -> None:
    kubernetes = {
        "namespace_name": "ns", "pod_name": "pay-7d9c5-abcde", "container_name": "pay",
        "labels": {"app.kubernetes.io/name": "pay"},
    }  # fmt: skip
    result = found("logs", encode({"log": "an error", "kubernetes": kubernetes}))
    line, any_ = decoded(result)
    about = {"cluster": "here", "namespace": "ns", "pod": "pay-7d9c5-abcde", "container": "pay"}
    assert line.group == about | {"app_kubernetes_io_name": "pay"}
    assert any_.group == {"cluster": "here"}
    assert result.matches[0].key == window_id("Line", line.group).encode()
    assert dict(result.matches[0].headers or [])["ce_type"] == b"io.eventsphere.rule.match"


def test_records_in_a_cloudevents_envelope() -> None:
    body = b'{"specversion": "1.0", "id": "1", "type": "t", "source": "s", "data": ' + event() + b"}"
    assert [m.rule for m in decoded(found("kube.events", body))] == ["Back"]


def test_what_cannot_match_is_skipped_and_the_rest_is_not_held_back() -> None:
    values = [None, b"", b"\xff\xfe", b"[1]", b'{"log": 3}', b'{"log": "error"', b'{"kubernetes": [1], "log": "error"}']
    result = found("logs", *values)
    assert [(m.rule, m.offset) for m in decoded(result)] == [("Any", 4), ("Any", 6)]
    assert (result.malformed, result.parsed, result.refused) == (4, 6, 0)


@pytest.mark.parametrize("time_ms", [NOW + 5000, 0, -1])
def test_no_record_is_from_the_future_or_without_time(time_ms: int) -> None:
    assert [m.time_ms for m in decoded(found("logs", b'{"log": ""}', time_ms=time_ms))] == [NOW]


def test_a_repeat_is_byte_for_byte_the_same() -> None:
    assert found("kube.events", event()) == found("kube.events", event())
