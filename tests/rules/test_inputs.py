"""Every topic that rules can look at: what its records are about, when they were, and that one told again is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.alerts import Alert, fingerprint
from schemas.base import encode
from schemas.catalogue import declared
from schemas.kube import object_key
from streams.owners import Owner, Owners, decode_owner
from streams.record import Record
from streams.rules.document import parse_document
from streams.rules.inputs import INPUTS
from streams.rules.rehearsal import rehearsed
from streams.rules.ruleset import RuleSet

AT_MS = 1_767_607_200_123
OWNED = Owners(
    {
        object_key("prod", "Pod", "shop", "pay-1"): Owner(kind="StatefulSet", name="pay"),
        object_key("prod", "Namespace", "", "shop"): Owner(workspace="retail"),
    }
)
SUBJECTS: list[tuple[str, dict[str, Any], dict[str, str]]] = [
    (
        "logs",
        {"kubernetes": {"namespace_name": "shop", "pod_name": "pay-1", "host": "n1"}},
        {"namespace": "shop", "pod": "pay-1", "workload": "pay", "node": "n1", "workspace": "retail"},
    ),
    (
        "kube.events",
        {"involved": {"kind": "Pod", "namespace": "shop", "name": "pay-1"}},
        {"pod": "pay-1", "workload": "pay", "workspace": "retail"},
    ),
    (
        "kube.objects",
        {"kind": "Pod", "namespace": "shop", "name": "pay-1", "object": {"spec": {"nodeName": "n1"}}},
        {"pod": "pay-1", "workload": "pay", "node": "n1", "workspace": "retail"},
    ),
    ("kube.objects", {"kind": "Node", "name": "n1"}, {"node": "n1"}),
    ("kube.objects", {"kind": "Namespace", "name": "shop"}, {"namespace": "shop", "workspace": "retail"}),
    (
        "kube.audit",
        {"objectRef": {"resource": "pods", "namespace": "shop", "name": "pay-1"}},
        {"pod": "pay-1", "workload_kind": "StatefulSet", "workload": "pay", "workspace": "retail"},
    ),
    (
        "kube.audit",
        {"objectRef": {"resource": "deployments", "namespace": "shop", "name": "web"}},
        {"namespace": "shop", "workload_kind": "Deployment", "workload": "web"},
    ),
    ("kube.audit", {"objectRef": {"resource": "secrets", "namespace": "shop", "name": "s"}}, {"namespace": "shop"}),
    ("kube.audit", {"objectRef": {"resource": "nodes", "name": "n1"}}, {"node": "n1"}),
    (
        "alerts",
        {"labels": {"namespace": "shop", "pod": "pay-1", "job": "x"}},
        {"namespace": "shop", "pod": "pay-1", "workload": "pay", "workspace": "retail"},
    ),
    ("alerts.state", {"labels": {"node": "n1", "workload": "w"}}, {"node": "n1", "workload": "w"}),
    ("cicd.events", {"repository": "shop/pay"}, {}),
    ("platform.audit", {"actor": "ada"}, {}),
    ("gaps", {"source": "prod/pods"}, {}),
]


@pytest.mark.parametrize(("topic", "record", "about"), SUBJECTS)
def test_what_a_record_is_about(topic: str, record: dict[str, Any], about: dict[str, str]) -> None:
    subject = INPUTS[topic].subject({"cluster": "prod"} | record, "here", OWNED)
    assert subject["cluster"] == "prod"
    assert about.items() <= {name: value for name, value in subject.items() if value}.items()
    odd = dict.fromkeys(("kubernetes", "involved", "objectRef", "labels", "annotations", "user"), 7)
    assert INPUTS[topic].subject(odd, "here", OWNED)["cluster"] == "here"
    assert INPUTS[topic].message(odd) == ""


def test_every_topic_of_others_records_is_an_input() -> None:
    public = {name for name, topic in declared().items() if topic.public}
    ours = {"notifications", "notifications.outcomes", "pipelines.runs", "silences"}
    assert public - ours <= set(INPUTS)


@pytest.mark.parametrize("topic", [topic for topic in INPUTS if topic != "logs"])
def test_a_record_has_a_time_and_an_id_of_its_own(topic: str) -> None:
    record = json.loads(declared()[topic].example)
    assert AT_MS - 200 <= INPUTS[topic].time_ms(record, 1) <= AT_MS + 10_000
    assert INPUTS[topic].id(record, None)
    assert INPUTS[topic].time_ms({}, 1) == 1
    assert not INPUTS[topic].id({}, None)


@pytest.mark.parametrize("topic", INPUTS)
def test_a_rule_over_it_fires_once_however_often_a_record_is_told(topic: str) -> None:
    text = f"groups:\n- name: g\n  rules:\n  - {{alert: Seen, input: {topic}, where: 'true', count: 1, within: 5m}}\n"
    rules, errors = parse_document(text, "r.yaml")
    assert not errors
    value = declared()[topic].example.encode()
    told = [Record(topic, 0, offset, b"key", value, AT_MS) for offset in range(3)]
    alerts = rehearsed(RuleSet(rules), told, AT_MS + 600_000)
    assert [bool(alert.ends_at_ms) for alert in alerts] == [False, True]
    assert alerts[0].starts_at_ms == INPUTS[topic].time_ms(json.loads(value), AT_MS)


@pytest.mark.parametrize(
    ("topic", "where", "said"),
    [
        ("kube.audit", 'objectRef.resorce == "pods"', "no field 'resorce' in AuditObject: did you mean resource?"),
        ("kube.audit", 'audit_id == "a"', "no field 'audit_id' in KubeAuditEvent: did you mean auditID?"),
        ("alerts", "severity == 'x'", "no field 'severity' in Alert: there is"),
        ("cicd.events", "commits == 1", "no field 'commits' in CicdEvent: did you mean commit?"),
    ],
)
def test_a_field_that_its_records_cannot_have_is_refused(topic: str, where: str, said: str) -> None:
    text = f"groups:\n- name: g\n  rules:\n  - alert: A\n    input: {topic}\n    where: {where}\n"
    _, errors = parse_document(text, "r.yaml")
    assert len(errors) == 1
    assert said in errors[0]


def test_alerts_of_one_workspace_meet_in_one() -> None:
    text = """\
groups:
- name: g
  rules:
  - alert: WorkspaceIsIll
    input: alerts
    where: labels.severity == "critical" && labels.alertname != "WorkspaceIsIll"
    level: workspace
    type: cardinality
    field: fingerprint
    above: 1
    within: 5m
"""
    rules, errors = parse_document(text, "r.yaml")
    assert not errors
    records = []
    for number, namespace in enumerate(("shop", "shop", "other")):
        workspace = "retail" if namespace == "shop" else ""
        labels = {"alertname": f"A{number}", "severity": "critical", "namespace": namespace, "workspace": workspace}
        alert = Alert(labels=labels, starts_at_ms=AT_MS, observed_at_ms=AT_MS, fingerprint=fingerprint(labels))
        records.append(Record("alerts", 0, number, b"k", encode(alert), AT_MS))
    alerts = rehearsed(RuleSet(rules), records, AT_MS + 600_000)
    assert {alert.labels["workspace"] for alert in alerts} == {"retail"}
    assert alerts[0].starts_at_ms == AT_MS


def test_a_namespace_tells_its_workspace() -> None:
    labelled = {"object": {"metadata": {"labels": {"kubesphere.io/workspace": "retail"}}}}
    assert decode_owner(encode(labelled)) == Owner(workspace="retail")
    odd: list[object] = [None, [], {"kubesphere.io/workspace": 7}, {}]
    for labels in odd:
        assert decode_owner(encode({"object": {"metadata": {"labels": labels}}})) == Owner()
