"""KubeSphere's event and audit rules taken over: they mean what kube-events' own engine makes of them."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from gateway.cli.rules import app
from schemas.base import encode
from streams.rules.imports.event_rules import Both, Test, Tree, Without, Wrong, parse
from streams.sources.kube_records import event
from tests.rules.imported import matcher, refusals, rules_of

RULES = """\
apiVersion: events.kubesphere.io/v1alpha1
kind: Rule
metadata:
  name: ours
  labels: {kubesphere.io/rule-scope: cluster}
spec:
  rules:
  - name: BackOffTooOften
    condition: |
      type="Warning" and involvedObject.kind="Pod"
      and reason in ("BackOff","CrashLoop") and count>3
    labels: {severity: critical, team: shop}
    annotations:
      message: '%message'
      summary: "%involvedObject.name in %involvedObject.namespace by %source.component"
      summaryCn: 容器回退
    enable: true
    type: alert
  - name: Pulled
    condition: type="Normal" and reason="Pulled"
    type: notification
"""
RAW: dict[str, Any] = {
    "metadata": {"name": "pay-1.17", "namespace": "shop", "uid": "u", "resourceVersion": "7"},
    "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "pay-1", "fieldPath": "spec.containers{pay}"},
    "reason": "BackOff",
    "message": "Back-off restarting failed container",
    "source": {"component": "kubelet", "host": "node-1"},
    "count": 4,
    "type": "Warning",
    "lastTimestamp": "2026-01-05T10:00:00Z",
}


BOMB = "a: &a [x]\n" + "".join(f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghi"))


def record(raw: dict[str, Any]) -> dict[str, Any]:
    """As it is on kube.events."""
    out: dict[str, Any] = msgspec.json.decode(encode(event(raw, "local", 0, replayed=False)))
    return out


def condition(text: str) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": "events.kubesphere.io/v1alpha1",
            "kind": "Rule",
            "spec": {"rules": [{"name": "r", "condition": text, "type": "alert", "enable": True}]},
        },
        width=10_000,
    )


def test_a_rule_with_its_labels_and_texts() -> None:
    rules = rules_of(RULES)
    rule = rules["BackOffTooOften"]
    assert (rule.input, rule.level, rule.severity, rule.enabled) == ("kube.events", "pod", "critical", True)
    assert rule.labels == {"alerttype": "event", "team": "shop"}
    assert rule.annotations["message"] == "{{ message }}"
    assert rule.annotations["summary"] == (
        "{{ labels.pod }} in {{ labels.namespace }} by {{ labels.reporting_component }}"
    )
    assert rule.group_by == ("container", "reporting_component")
    assert rule.annotations["summaryCn"] == "容器回退"
    matches = matcher(rule)
    assert matches(record(RAW))
    for changed in ({"type": "Normal"}, {"count": 3}, {"reason": "Killing"}, {"involvedObject": {"kind": "Node"}}):
        assert not matches(record(RAW | changed))


def test_what_is_off_by_default_stays_off_and_normal_events_match_though_their_type_is_left_out() -> None:
    pulled = rules_of(RULES)["Pulled"]
    assert not pulled.enabled
    assert pulled.severity == "info"
    assert pulled.group_by == ("namespace", "involved.kind", "involved.name", "container")
    normal = record(RAW | {"type": "Normal", "reason": "Pulled"})
    assert "type" not in normal
    assert matcher(pulled)(normal)
    assert not matcher(pulled)(record(RAW | {"reason": "Pulled"}))


def test_a_list_as_kubectl_prints_it() -> None:
    items = [yaml.safe_load(RULES), yaml.safe_load(AUDIT_RULES % "")]
    found = rules_of(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))
    assert list(found) == ["BackOffTooOften", "Pulled", "Changed"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('reason="x" or reason="BackOff" and count=9', False),  # from left to right: (x or BackOff) and 9
        ('count=9 and reason="x" or reason="BackOff"', True),
        ('not reason="x" and count=9', True),  # not takes all that follows
        ('not (reason="x") and count=9', True),
        ('(not reason="x") and count=9', False),
        ('metadata.name like "pay*17"', True),
        ('metadata.name like "ay-?"', True),  # looks anywhere
        ('metadata.name like "pay?17"', False),
        ('metadata.name regex "^pay-\\d+\\.17$"', True),
        ('metadata.name not regex "^pay"', False),
        ('message contains "restarting" and message not contains "nothing"', True),
        ('involvedObject.fieldPath = ""', False),
        ('involvedObject.uid = "" and involvedObject.uid != "x" and involvedObject.uid not in ("a","b")', True),
        ('involvedObject.uid like "*" and not involvedObject.uid contains "a"', True),
        ('related.name != "x"', False),  # there is none
        ('not related.name = "x"', True),
        ("related exists", False),
        ("related not exists and reason exists", True),
        ('count in (3, 4) and count = "4" and count != "5"', True),
        ('count >= 4 and count < 4.5 and count contains 4 and count regex "^[0-9]$"', True),
        ('type > "A" and type <= "Warning"', True),
    ],
)
def test_conditions_mean_what_they_mean_there(text: str, expected: bool) -> None:
    assert matcher(rules_of(condition(text))["r"])(record(RAW)) is expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('eventTime = "x"', "do not have this field"),
        ("reason", "is text, not true or false"),
        ("count = true", "is a number"),
        ("reason > 3", "compares it with a number"),
        ('reason not  in ("a")', "expected"),
        ('metadata.ownerReferences[0].name = "x"', "no lists"),
        ('reason regex "(?=a)"', "RE2"),
        ('reason = "x" and', "expected a field"),
        ('reason = "x', "unexpected"),
        ("(" * 30 + 'reason="x"' + ")" * 30, "nested deeper"),
    ],
)
def test_what_cannot_be_said_is_refused_with_its_line(text: str, says: str) -> None:
    ((line, reason),) = refusals(condition(text))
    assert says in reason
    assert line == 5


VALUES = ["", "Pod", "a", "ab", "Normal", "1"]
quoted = st.sampled_from(VALUES).map('"{}"'.format)
texts = st.sampled_from(["type", "reason", "involvedObject.name", "related.name"])
tests = st.one_of(
    st.tuples(texts, st.sampled_from(["=", "!=", ">", "<=", "contains", "not contains"]), quoted).map(" ".join),
    st.tuples(texts, st.sampled_from(["like", "not like"]), st.sampled_from(['"a*"', '"?b"', '"*"'])).map(" ".join),
    st.tuples(texts, st.sampled_from([" in ", " not in "]), st.just('("a","Normal")')).map("".join),
    st.tuples(st.just("count"), st.sampled_from(["=", "!=", ">", "<=", ">="]), st.sampled_from("123")).map(" ".join),
    st.tuples(texts, st.sampled_from(["exists", "not exists"])).map(" ".join),
)
expressions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("not {}".format),
    ),
    max_leaves=6,
)


def truth(tree: Tree, flat: dict[str, Any]) -> bool:
    """What the engine of kube-events says, written after its visitor."""
    match tree:
        case Both(op="and", left=left, right=right):
            return truth(left, flat) and truth(right, flat)
        case Both(left=left, right=right):
            return truth(left, flat) or truth(right, flat)
        case Without(operand=operand):
            return not truth(operand, flat)
        case Test(field=field, op=op, values=values, number=number):
            return test(flat.get(field), op, values, number)


def test(value: Any, op: str, values: tuple[str, ...], number: bool) -> bool:
    if op.endswith("exists"):
        return (value is not None) == (op == "exists")
    if value is None:
        return False
    if op.startswith("not "):
        return not test(value, op.removeprefix("not "), values, number)
    shown = f"{value:g}" if isinstance(value, float) else value
    if op == "contains":
        return values[0] in shown
    if op == "in":
        return shown in values
    if op == "like":
        wanted = values[0]
        return {"a*": "a" in shown, "?b": "b" in shown[1:], "*": True}[wanted]
    left: Any
    right: Any
    left, right = (value, float(values[0])) if number else (shown, values[0])
    return bool(
        {"=": left == right, "!=": left != right, ">": left > right, "<": left < right,
         ">=": left >= right, "<=": left <= right}[op]
    )  # fmt: skip


test.__test__ = False  # type: ignore[attr-defined]
Test.__test__ = False  # type: ignore[attr-defined]


@settings(max_examples=40, deadline=None)
@given(
    expressions,
    st.lists(
        st.fixed_dictionaries(
            {
                "type": st.sampled_from(["Normal", "Warning"]),
                "reason": st.sampled_from(VALUES),
                "count": st.integers(1, 4),
            },
            optional={"name": st.sampled_from(VALUES), "related": st.sampled_from(VALUES[1:])},
        ),
        min_size=1,
        max_size=5,
    ),
)
def test_random_conditions_agree_with_the_engine_of_kube_events(text: str, events: list[dict[str, Any]]) -> None:
    tree = parse(text)
    found = rules_of(condition(text))
    matches = matcher(found["r"])
    for each in events:
        raw = RAW | {
            "type": each["type"],
            "reason": each["reason"],
            "count": each["count"],
            "involvedObject": {"name": each.get("name", "")},
        }
        flat = {
            "type": each["type"],
            "reason": each["reason"],
            "count": float(each["count"]),
            "involvedObject.name": each.get("name", ""),
        }
        if "related" in each:
            raw["related"] = {"name": each["related"]}
            flat["related.name"] = each["related"]
        assert matches(record(raw)) is truth(tree, flat), (text, each)


def test_the_parser_never_breaks() -> None:
    @settings(max_examples=200, deadline=None)
    @given(st.text(alphabet='abn ot()"!=<>,.[]*1\\', max_size=30))
    def whatever(text: str) -> None:
        with contextlib.suppress(Wrong):
            assert parse(text)

    whatever()


def test_the_command_prints_rule_files_and_tells_what_it_refused(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(RULES, "utf-8")
    bad.write_text(RULES.replace("count>3", "nothing>3"), "utf-8")
    result = CliRunner().invoke(app, ["import", str(good), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert CliRunner().invoke(app, ["check", str(tmp_path / "out")]).exit_code == 0
    again = CliRunner().invoke(app, ["import", str(good), "--out", str(tmp_path / "out")])
    assert again.exit_code == 0
    result = CliRunner().invoke(app, ["import", str(bad)])
    assert result.exit_code == 1
    assert "- alert: Pulled" in result.stdout
    assert f"{bad}:11" in result.stderr
    assert "nothing: records of kube.events do not have this field" in result.stderr
    assert "1 rules taken over, 1 refused" in result.stderr
    (tmp_path / "out" / "good.yaml").write_text("groups: []", "utf-8")
    assert CliRunner().invoke(app, ["import", str(good), "--out", str(tmp_path / "out")]).exit_code == 2


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: [\n", 2, "not YAML"),
        ("groups: []\n", 1, "not of a format known here"),
        ("", 0, ""),
        ("x: " + "[" * 2000, 1, "not YAML"),
        (BOMB, 1, "too many"),
    ],
)  # fmt: skip
def test_bad_files_are_told_of_with_their_line(text: str, line: int, says: str) -> None:
    found = refusals(text)
    assert bool(found) == bool(says)
    assert all(says in reason and (at == line or "[" in text) for at, reason in found)


AUDIT_RULES = """\
apiVersion: auditing.kubesphere.io/v1alpha1
kind: Rule
metadata: {name: alerting-rule, labels: {type: alerting}}
spec:
  rules:
  - {name: action, type: list, list: [create, delete]}
  - {name: name, type: alias, alias: ObjectRef.Name}
  - {name: who, type: alias, alias: User.Username}
  - {name: pod, type: macro, macro: 'ObjectRef.Resource="pods" or ObjectRef.Resource="jobs"'}
  - name: Changed
    type: rule
    desc: a pod was changed
    condition: Verb in ${action} and ${alerting-rule.pod} and not ${name} like "^kube-" %s
    priority: WARNING
    enable: true
    output: ${who} changed ${name}
"""
AUDIT: dict[str, Any] = {
    "auditID": "a",
    "verb": "create",
    "user": {"username": "ada", "groups": ["devs"]},
    "objectRef": {"resource": "jobs", "name": "pay", "namespace": "shop"},
    "responseStatus": {"code": 201},
    "requestObject": {"spec": {"hostNetwork": True, "containers": [{"image": "x"}]}},
}


@pytest.mark.parametrize(
    ("more", "changed", "expected"),
    [
        ("", {}, True),
        ("", {"verb": "get"}, False),
        ("", {"objectRef": {"resource": "pods", "name": "kube-dns"}}, False),
        ("", {"objectRef": {"resource": "nodes"}}, False),
        ('or User.Groups contains "dev"', {"verb": "get"}, False),  # it is all after not
        (") or (ResponseStatus.code > 200", {"verb": "get"}, True),
        (") and (RequestObject.spec.hostNetwork = true", {}, True),
        (') and (RequestObject.spec.containers[0].image = "x"', {}, True),
        (') and (RequestObject.spec.containers[*].image = "x"', {}, True),
        (') and (RequestObject.spec.containers[*].image != "x"', {}, False),
        (") and (RequestObject.spec.containers[*].ports[*].hostPort exists", {}, False),
        (') and (RequestObject.spec.containers[*].args[*] contains "-v"', {}, False),
        (') and (User.Groups contains "dev"', {}, True),
        (') and (User.Groups not contains "dev"', {}, False),
    ],
)
def test_audit_rules_with_macros_lists_and_aliases(more: str, changed: dict[str, Any], expected: bool) -> None:
    text = AUDIT_RULES % more
    if more.startswith(")"):
        text = text.replace("condition: Verb", "condition: (Verb").replace(more, f"{more})")
    (found,) = rules_of(text).values()
    assert (found.name, found.input, found.severity) == ("Changed", "kube.audit", "warning")
    assert found.annotations == {
        "summary": "{{ labels.username }} changed {{ labels.name }}", "description": "a pod was changed",
    }  # fmt: skip
    assert matcher(found)(AUDIT | changed) is expected


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("type: alerting", "type: archiving", "what is archived"),
        ("${action}", "${nothing}", "no macro, list or alias"),
        ('ObjectRef.Resource="jobs"\'', "${pod}'", "without end"),
        ("${name} like", "Devops like", "do not have this field"),
        ("${name} like", "RequestObject.spec.containers[0:2].image like", "not a part of it"),
    ],
)
def test_audit_rules_that_cannot_be_said(old: str, new: str, says: str) -> None:
    assert old in AUDIT_RULES
    ((line, reason),) = refusals((AUDIT_RULES % "").replace(old, new))
    assert says in reason
    assert line >= 10
