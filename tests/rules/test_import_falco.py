"""Falco's rules over audit events taken over: macros, lists, exceptions, overrides, and what each test means."""

from __future__ import annotations

import textwrap
from typing import Any

import msgspec
import pytest
import yaml

from schemas.base import encode
from schemas.kube_audit import KubeAuditEvent
from tests.rules.imported import matcher, refusals, rules_of

AUDIT: dict[str, Any] = {
    "auditID": "a1",
    "stage": "ResponseComplete",
    "level": "RequestResponse",
    "verb": "create",
    "requestURI": "/api/v1/namespaces/shop/pods",
    "user": {"username": "ada", "groups": ["system:masters", "devs"]},
    "objectRef": {"resource": "pods", "namespace": "shop", "name": "pay-1"},
    "responseStatus": {"code": 201},
    "annotations": {"authorization.k8s.io/decision": "allow"},
    "requestObject": {
        "spec": {
            "hostNetwork": True,
            "containers": [
                {"image": "docker.io/calico/node:v3@sha256:1", "securityContext": {"privileged": True}},
                {"image": "shop/pay", "securityContext": {"runAsUser": 0}},
            ],
            "volumes": [{"hostPath": {"path": "/var/lib"}}, {"emptyDir": {}}],
        },
        "rules": [{"verbs": ["get"], "resources": ["pods"]}, {"verbs": ["*"], "resources": ["secrets"]}],
    },
}
RULES = """\
- required_engine_version: 15
- macro: kevt
  condition: (jevt.value[/stage] in (stages))
- list: stages
  items: ["ResponseComplete"]
- list: trusted
  items: [admin, more_trusted]
- list: more_trusted
  items: ["kube:ops"]
- macro: pod
  condition: ka.target.resource=pods and not ka.target.subresource exists
- macro: always
  condition: (jevt.rawtime exists)
- rule: Pod By Stranger
  desc: A pod made by somebody not trusted
  condition: kevt and pod and ka.verb=create and always and not ka.user.name in (trusted)
  output: Pod made (user=%ka.user.name pod=%ka.resp.name ns=%ka.target.namespace)
  priority: ERROR
  source: k8s_audit
  tags: [k8s]
"""


def record(**changed: Any) -> dict[str, Any]:
    """As it is on kube.audit."""
    event = msgspec.convert(AUDIT | changed, KubeAuditEvent)
    out: dict[str, Any] = msgspec.json.decode(encode(event))
    return out


def rule(condition: str, more: str = "", **fields: Any) -> str:
    given = {"rule": "r", "desc": "", "condition": condition, "output": "o", "priority": "INFO", "source": "k8s_audit"}
    return yaml.safe_dump([given | fields], width=10_000, sort_keys=False) + textwrap.dedent(more)


def matches(text: str, **changed: Any) -> bool:
    return matcher(rules_of(text)["r"])(record(**changed))


def test_a_rule_with_macros_and_lists() -> None:
    found = rules_of(RULES)["Pod_By_Stranger"]
    assert (found.input, found.severity, found.labels) == ("kube.audit", "critical", {"falco_priority": "error"})
    assert found.annotations["summary"] == ("Pod made (user={{ labels.username }} pod=- ns={{ labels.namespace }})")
    good = matcher(found)
    assert good(record())
    for changed in (
        {"stage": "RequestReceived"},
        {"verb": "get"},
        {"user": {"username": "kube:ops"}},
        {"objectRef": {"resource": "pods", "subresource": "exec"}},
        {"objectRef": {"resource": "nodes"}},
    ):
        assert not good(record(**changed))
    assert good(record(user={}))  # nobody is not among the trusted


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("ka.user.name=ada or ka.verb=get and ka.verb=list", True),
        ("(ka.user.name=ada or ka.verb=get) and ka.verb=list", False),
        ("not ka.verb=get and ka.user.name='ada'", True),
        ("ka.verb in (create, update)", True),
        ("ka.verb != create", False),
        ("ka.impuser.name != x", False),
        ("not ka.impuser.name = x", True),
        ("ka.impuser.name exists", False),
        ("ka.response.code startswith 2", True),
        ("ka.response.code in (200, 201)", True),
        ("ka.response.code = 200", False),
        ("ka.uri contains /namespaces/ and ka.uri endswith pods", True),
        ("ka.user.name istartswith AD and ka.user.name icontains DA", True),
        ('ka.uri glob "/api/*/pods"', True),
        ('ka.uri glob "/api/?"', False),
        ('ka.auth.decision="allow"', True),
        ("ka.user.groups intersects (devs, ops)", True),
        ("ka.user.groups in (devs, ops)", False),
        ("ka.user.groups in (devs, system:masters, ops)", True),
        ("ka.req.pod.containers.privileged intersects (true)", True),
        ("ka.req.pod.containers.privileged in (true)", True),  # of those that say it
        ("ka.req.pod.initContainers.privileged intersects (true)", False),
        ("ka.req.pod.initContainers.privileged in (true)", False),
        ("ka.req.pod.host_network intersects (true)", True),
        ("ka.req.pod.host_pid intersects (true)", False),
        ("ka.req.pod.containers.image.repository in (docker.io/calico/node, shop/pay)", True),
        ("ka.req.pod.containers.image.repository in (docker.io/calico/node)", False),
        ("ka.req.pod.containers.image.repository intersects (docker.io/calico)", False),
        ("ka.req.pod.containers.image intersects (shop/pay)", True),
        ("ka.req.pod.containers.run_as_user intersects (0)", True),
        ("ka.req.pod.volumes.hostpath intersects (/etc, /var/lib)", True),
        ("ka.req.pod.volumes.hostpath exists", True),
        ('ka.req.role.rules.verbs intersects ("*")', True),
        ("ka.req.role.rules.resources in (pods, secrets)", True),
        ("ka.req.role.rules.verbs in (get, list)", False),
        ("jevt.value[/responseStatus/code]=201", True),
        ("jevt.value[/requestObject/spec/hostNetwork]=true", True),
        ("jevt.value[/requestObject/spec/containers/1/image]=shop/pay", True),
        ("jevt.value[/requestObject/spec/tls] exists", False),
        ("ka.uri pmatch (/api, /x)", True),
        ("ka.uri pmatch (/ap)", False),
    ],
)
def test_tests_mean_what_they_mean_there(condition: str, expected: bool) -> None:
    assert matches(rule(condition)) is expected
    assert matches(rule(f"not ({condition})")) is not expected


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("- {rule: r, append: true, condition: and ka.user.name=eve}", False),
        ("- {rule: r, condition: or ka.user.name=ada, override: {condition: append}}", True),
        ("- {rule: r, condition: ka.user.name=eve, override: {condition: replace}}", False),
        ("- {list: users, items: [eve], append: true}", True),
        ("- {list: users, items: [eve], override: {items: replace}}", False),
        ("- {macro: known, condition: and ka.verb=get, append: true}", False),
        (
            """\
            - rule: r
              append: true
              exceptions:
              - name: who
                fields: [ka.user.name, ka.verb]
                comps: [=, in]
                values: [[ada, [create, get]]]
            """,
            False,
        ),
        (
            """\
            - rule: r
              exceptions:
              - {name: who, fields: ka.user.name, values: [eve, bob]}
              override: {exceptions: append}
            """,
            True,
        ),
    ],
)
def test_what_is_said_later_changes_what_was_said_before(more: str, expected: bool) -> None:
    head = "- list: users\n  items: [ada, bob]\n- macro: known\n  condition: ka.user.name in (users)\n"
    assert matches(head + rule("known", more)) is expected


def test_a_rule_may_be_turned_off() -> None:
    assert not rules_of(rule("ka.verb=get", "- {rule: r, enabled: false}"))["r"].enabled


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (rule("ka.verb=get", source="syscall"), "only Kubernetes' audit events"),
        (rule("nothing and ka.verb=get"), "no macro nothing"),
        (rule("a", "- {macro: a, condition: b}\n- {macro: b, condition: a}"), "without end"),
        (rule("ka.verb in (a)", "- {list: a, items: [b]}\n- {list: b, items: [a]}"), "without end"),
        (rule("ka.req.configmap.obj contains password"), "object as one text"),
        (rule("ka.uri.param[command]=x"), "do not have this field"),
        (rule("ka.req.pod.containers.image[0]=x"), "single items"),
        (rule("ka.req.pod.containers.image = x"), "expected in, intersects or exists"),
        (rule("ka.verb regex get"), "not known here"),
        (rule("jevt.rawtime=0 and ka.verb=get"), "never true"),
        (rule("jevt.rawtime > 5"), "no field to compare"),
        (rule("ka.verb=get and"), "expected a field or a macro"),
        (rule("(ka.verb=get"), "expected ')'"),
        (rule("ka.verb in (a b)"), "expected ',' or ')'"),
        (rule("(" * 40 + "ka.verb=get" + ")" * 40), "nested deeper"),
        (rule("ka.verb=get", priority="LOUD"), "priority"),
        ("- {rule: other, append: true, condition: and x}\n", "not there"),
        (rule("ka.verb=get", banana=1), "no such field"),
    ],
)
def test_what_cannot_be_said_is_refused(text: str, says: str) -> None:
    found = refusals(text)
    assert len(found) == 1
    assert says in found[0][1]
    assert found[0][0] >= 1
