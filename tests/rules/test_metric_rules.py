"""Rules over `metrics`: what may be written, and what each result does to the alerts. No Prometheus here."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.evaluate_metrics import Entry, EvaluateMetrics
from schemas.alerts import Alert, Status
from schemas.base import encode
from schemas.rule_document import Rule
from streams.episodes import Entry as Kept
from streams.episodes import observe
from streams.prometheus import MAX_LABELS, Failed, Result, Sample, parsed, shown, wrong_url
from streams.rules.document import parse_document
from streams.rules.metric_catalogue import named, named_metrics
from streams.rules.metric_state import RuleState, due_at, ended, evaluated, fresh
from streams.state import State

S = 1000
AT = 1_767_607_200_000
LATER = AT + 365 * 86_400 * S


def read(*lines: str) -> tuple[list[Rule], list[str]]:
    body = "\n".join(f"    {line}" for line in ("input: metrics", *lines))
    return parse_document(f"groups:\n- name: g\n  rules:\n  - alert: A\n{body}\n", "r.yaml")


def rule(*lines: str) -> Rule:
    rules, errors = read(*lines)
    assert not errors
    return rules[0]


LOAD = ("query: load", "above: 5", "every: 10s")


class World:
    """Evaluations every ten seconds, each after a restart, and what `alerts.state` would hold."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = fresh(rule, "prod")
        self.now_ms = self.last_ms = 0
        self.alerts: list[Alert] = []
        self.kept: dict[str, Kept] = {}

    def step(self, result: Result, after_s: float = 10) -> dict[str, str]:
        """Series -> state, of those that are not over."""
        self.now_ms = (self.now_ms or AT) + int(after_s * S)
        self.state = msgspec.json.decode(encode(self.state), type=RuleState)
        self.state, said = evaluated(self.rule, self.state, result, self.now_ms, self.last_ms)
        self.last_ms = self.now_ms
        self.alerts += said
        for alert in said:
            self.kept[alert.fingerprint], _ = observe(self.kept.get(alert.fingerprint), alert)
        return {
            "/".join(value for name, value in sorted(kept.alert.labels.items()) if name in ("pod", "severity")):
            kept.alert.state.value
            for kept in self.kept.values() if kept.alert.state is not Status.RESOLVED
        }  # fmt: skip


def load(**values: float) -> list[Sample]:
    return [Sample({"pod": pod}, value) for pod, value in values.items()]


def test_for_is_counted_from_the_first_result_that_has_it() -> None:
    world = World(rule(*LOAD, "for: 20s", "keep_firing_for: 15s"))
    assert world.step(load(a=9, b=1)) == {"a/warning": "pending"}
    assert world.step(load(a=9, b=9)) == {"a/warning": "pending", "b/warning": "pending"}
    assert world.step(load(a=9, b=1)) == {"a/warning": "firing"}
    assert (
        next(alert for alert in world.alerts if alert.for_ms == 0 and not alert.ends_at_ms).starts_at_ms == AT + 10 * S
    )
    assert world.step(load(a=5)) == {"a/warning": "firing"}, "it is kept for 15 s"
    assert world.step(load(a=5)) == {"a/warning": "firing"}
    assert world.step(load(a=5)) == {}
    assert world.alerts[-1].ends_at_ms == AT + 60 * S
    assert world.step(load(a=6)) == {"a/warning": "pending"}, "another episode"


def test_what_fires_again_while_it_is_kept_goes_on() -> None:
    world = World(rule(*LOAD, "keep_firing_for: 15s"))
    assert world.step(load(a=9)) == {"a/warning": "firing"}
    for value in (1, 9, 1, 9, 1):
        assert world.step(load(a=value)) == {"a/warning": "firing"}
    assert {alert.starts_at_ms for alert in world.alerts} == {AT + 10 * S}


def test_nothing_fires_by_the_clock_while_nobody_evaluates() -> None:
    world = World(rule(*LOAD, "for: 1m"))
    assert world.step(load(a=9)) == {"a/warning": "pending"}
    entry, changes = observe(world.kept[world.alerts[0].fingerprint], world.alerts[0])
    assert entry.fires_at_ms > LATER
    assert not changes
    assert world.step(load(a=9), after_s=300) == {"a/warning": "pending"}, "what nobody saw does not count"
    for _ in range(3):
        assert world.step(load(a=9)) == {"a/warning": "pending"}
    assert world.step(load(a=9)) == {"a/warning": "firing"}


def test_severity_by_value() -> None:
    world = World(rule("query: load", "above: {warning: 5, critical: 20}", "every: 10s", "for: 10s"))
    assert world.step(load(a=9)) == {"a/warning": "pending"}
    assert world.step(load(a=25)) == {"a/critical": "firing"}, "the time with another severity counts"
    assert world.step(load(a=9)) == {"a/warning": "firing"}
    assert world.step(load(a=25, b=30)) == {"a/critical": "firing", "b/critical": "pending"}
    assert world.step(load(a=1)) == {}


@pytest.mark.parametrize(
    ("how", "seen"),
    [
        ("ok", {}),
        ("keep", {"a/warning": "firing"}),
        ("firing", {"warning": "firing"}),
        ("no_data", {"warning": "no_data"}),
    ],
)
def test_no_data(how: str, seen: dict[str, str]) -> None:
    world = World(rule(*LOAD, f"on_no_data: {how}"))
    assert world.step(load(a=9)) == {"a/warning": "firing"}
    assert world.step([]) == seen
    assert world.step([]) == seen
    assert world.step(load(a=9)) == {"a/warning": "firing"}
    assert world.step(load(a=1)) == {}


@pytest.mark.parametrize(
    ("how", "seen"),
    [("ok", {}), ("keep", {"a/warning": "firing"}), ("firing", {"warning": "firing"}), ("error", {"warning": "error"})],
)
@pytest.mark.parametrize(
    "result",
    [
        Failed("timeout", "no answer"),
        load(a=9, b=9, c=9),
        [Sample({"pod": "a", "severity": "x"}, 9), Sample({"pod": "a", "severity": "y"}, 9)],
    ],
)
def test_an_error(how: str, seen: dict[str, str], result: Result) -> None:
    world = World(rule(*LOAD, f"on_error: {how}", "limit: 2"))
    assert world.step(load(a=9)) == {"a/warning": "firing"}
    assert world.step(result) == seen
    assert world.step(load(a=9)) == {"a/warning": "firing"}


def test_a_sum_without_labels_turns_into_no_data_and_back() -> None:
    world = World(rule("query: sum(load)", "above: 5", "on_no_data: no_data"))
    assert world.step([Sample({}, 9)]) == {"warning": "firing"}
    assert world.step([]) == {"warning": "no_data"}
    assert world.step([Sample({}, 9)]) == {"warning": "firing"}
    assert world.step([Sample({}, 1)]) == {}


def test_labels_texts_and_who_looks_after_it() -> None:
    text = "annotations: {summary: '{{ $labels.instance }} has {{ $value }}, {{ labels.team }}', runbook: x}"
    world = World(rule(*LOAD, "labels: {team: shop, instance: p}", text, "owner: ops", "severity: critical"))
    world.step([Sample({"pod": "a", "instance": "i:1"}, 7.25)])
    (alert,) = world.alerts
    assert alert.labels == {"alertname": "A", "pod": "a", "instance": "p", "severity": "critical", "team": "shop"}
    assert alert.annotations == {"summary": "p has 7.25, shop", "runbook": "x", "owner": "ops"}
    assert (alert.source, alert.cluster, alert.tenant) == ("rule/A", "prod", "platform")


def test_texts_that_changed_are_observed_again_now_and_then() -> None:
    world = World(rule(*LOAD, "annotations: {summary: '{{ value }}'}"))
    for value in range(10, 24):
        world.step(load(a=value))
    assert [alert.annotations["summary"] for alert in world.alerts] == ["10", "16", "22"]


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.integers(0, 9)), max_size=25),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_like_a_plain_model(results: list[dict[str, int]], for_: int, keep: int) -> None:
    """Each series by itself, after the words of Prometheus's documentation."""
    world = World(rule("query: load > 5", "every: 10s", f"for: {for_ * 10}s", f"keep_firing_for: {keep * 10}s"))
    since: dict[str, int] = {}
    firing: set[str] = set()
    gone: dict[str, int] = {}
    for turn, result in enumerate(results):
        here = {pod for pod, value in result.items() if value > 5}
        for pod in "abc":
            if pod in here:
                gone.pop(pod, None)
                if turn - since.setdefault(pod, turn) >= for_:
                    firing.add(pod)
            elif pod in firing and turn - gone.setdefault(pod, turn) < keep:
                continue
            else:
                since.pop(pod, None)
                gone.pop(pod, None)
                firing.discard(pod)
        found = world.step(load(**{pod: result[pod] for pod in here}))
        assert found == {f"{pod}/warning": "firing" if pod in firing else "pending" for pod in since}


class Ledger:
    """The agent's core over one state that is written down and read again at every step."""

    def __init__(self) -> None:
        self.core = EvaluateMetrics("prod")
        self.state: State[Entry] = State()

    def moved(self) -> State[Entry]:
        entries = {key: msgspec.json.decode(encode(entry), type=Entry) for key, entry in self.state.items()}
        self.state = State(entries)
        return self.state


def test_an_evaluation_that_comes_again_changes_nothing_and_rules_that_go_end() -> None:
    ledger, one = Ledger(), rule(*LOAD)
    core = ledger.core
    (due,) = core.due(ledger.state, [one], AT)
    assert due == (one, due_at("A", 10 * S, AT))
    at_ms = due[1]
    assert AT - 10 * S < at_ms <= AT
    assert len(core.apply(ledger.state, [(one, at_ms, load(a=9))])) == 1
    assert core.apply(ledger.moved(), [(one, at_ms, load(a=1))]) == []
    assert core.due(ledger.moved(), [one], AT) == []
    assert core.due(ledger.moved(), [one], at_ms + 10 * S) == [(one, at_ms + 10 * S)]
    other = rule("query: load", "above: 7", "every: 10s")
    out = core.apply(ledger.moved(), [(other, at_ms + 10 * S, load(a=9))])
    alerts = [msgspec.json.decode(each.value or b"", type=Alert) for each in out]
    assert [bool(alert.ends_at_ms) for alert in alerts] == [True, False], "another rule of the same name"
    assert core.forget(ledger.moved(), ["A"], at_ms) == []
    assert len(core.forget(ledger.moved(), [], at_ms + 20 * S)) == 1
    assert not ledger.state


def test_alerts_of_a_rule_that_is_gone_end_after_they_began() -> None:
    world = World(rule(*LOAD, "for: 5m"))
    world.step(load(a=9))
    (alert,) = ended(world.state, AT)
    assert alert.ends_at_ms == alert.starts_at_ms


def test_rules_are_spread_over_their_interval() -> None:
    offsets = {due_at(f"rule-{number}", 60 * S, AT) for number in range(50)}
    assert len(offsets) > 40
    assert all(AT - 60 * S < each <= AT for each in offsets)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["query: x"], ""),
        (["query: x", "metric: pod_cpu_usage", "above: 1"], ": expected one of query (PromQL) and metric"),
        (["above: 1"], ": expected one of query (PromQL) and metric"),
        (["query: ' '"], ".query: expected PromQL"),
        (["query: " + "x" * 9000], ".query: longer than 8192 characters"),
        (["query: x", "where: a == 1"], ".where: does not belong to input: metrics"),
        (["query: x", "count: 3", "within: 5m"], ".count: does not belong to input: metrics"),
        (["query: x", "every: 10ms"], ".every: expected at least 1s"),
        (["query: x", "every: soon"], ".every: expected a duration such as 30s"),
        (["query: x", "above: 1", "below: 2"], ".below: expected one of above and below"),
        (["query: x", "above: a lot"], ".above: expected a number"),
        (["query: x", "above: {warning: 1, critical: x}"], ".above.critical: expected a number"),
        (["query: x", "above: {warning: 1}", "severity: critical"], ".severity: above says it by value: give one"),
        (["query: x", "above: {}"], ".above: expected a number, or 1 to 8 severities"),
        (["query: x", "above: {'so bad': 1}"], ".above.so bad: expected a severity of letters"),
        (["query: x", "on_no_data: firing"], ".on_no_data: needs above or below"),
        (["query: x", "above: 1", "on_no_data: error"], ".on_no_data: expected one of ok, keep, firing, no_data"),
        (["query: x", "on_error: no_data"], ".on_error: expected one of ok, keep, firing, error"),
        (["query: x", "limit: 0"], ".limit: expected 1 to"),
        (["query: x", "select: {pod: a}"], ".select: narrows a metric"),
        (["query: x", "tests: []"], ".tests: rules over metrics have none here: promtool tests queries"),
        (
            ["metric: pod_memory_usge", "above: 1"],
            ".metric: no metric called 'pod_memory_usge': did you mean pod_memory_usage?",
        ),
        (["metric: pod_cpu_usage"], ": expected above or below: when is the metric an alert?"),
        (["metric: pod_cpu_usage", "above: 1", "select: {node: a}"], ".select.node: pod_cpu_usage has no label 'node'"),
        (
            ["metric: pod_cpu_usage", "above: 1", "select: {pod: '(a'}"],
            ".select.pod: expected a name, or a pattern RE2",
        ),
    ],
)
def test_what_may_be_written(lines: list[str], said: str) -> None:
    _, errors = read(*lines)
    if not said:
        assert not errors
        return
    assert errors
    assert errors[0].startswith("r.yaml:")
    assert said in errors[0].replace("groups[0].rules[0]", "")


def test_fields_of_metrics_belong_to_metrics() -> None:
    _, errors = parse_document(
        "groups:\n- name: g\n  rules:\n  - {alert: A, input: logs, where: 'true', every: 5s, query: x}\n", "r.yaml"
    )
    assert [error.split(": ", 1)[1] for error in errors] == [
        "groups[0].rules[0].every: belongs to input: metrics", "groups[0].rules[0].query: belongs to input: metrics",
    ]  # fmt: skip


def test_a_named_metric_is_narrowed_by_its_labels() -> None:
    found = rule("metric: pod_memory_usage", "select: {namespace: 'shop|a\"b', pod: pay-.*}", "above: 1e9")
    assert found.level == "pod"
    assert found.metric == "pod_memory_usage"
    assert 'namespace=~"shop|a\\"b",pod=~"pay-.*",' in found.query
    assert "$select" not in "".join(metric.asked() for metric in named_metrics().values())
    levels = {metric.level for metric in named_metrics().values()}
    assert levels == {"cluster", "node", "workspace", "namespace", "workload", "pod", "container"}
    with pytest.raises(ValueError, match="no metric called"):
        named("x")


def test_a_tenant_may_not_ask() -> None:
    from streams.rules.stored import parsed as stored

    text = "alert: A\ninput: metrics\nquery: up\n"
    assert stored(text, "f", "platform")[0] is not None
    found, errors = stored(text, "f", "shop")
    assert found is None
    assert "metrics are of all tenants" in errors[0]


VECTOR = {
    "resultType": "vector",
    "result": [{"metric": {"__name__": "up", "job": "x", "e": ""}, "value": [1.5, "NaN"]}],
}

MANY_LABELS = VECTOR | {"result": [{"metric": {str(n): "v" for n in range(MAX_LABELS + 1)}, "value": [1, "1"]}]}
MANY_SERIES = VECTOR | {"result": [{"metric": {}, "value": [1, "1"]}] * 10_001}


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b"<html>", "http"),
        (200, b"\xff", "http"),
        (200, b"[" * 3000, "http"),
        (200, b'{"status": "success"}', "http"),
        (302, b"", "http"),
        (400, b'{"status": "error", "errorType": "bad_data", "error": "parse error"}', "bad_data"),
        (503, b'{"status": "error", "errorType": "timeout", "error": "query timed out"}', "timeout"),
        (200, encode({"status": "success", "data": {"resultType": "matrix", "result": []}}), "result"),
        (200, encode({"status": "success", "data": {"resultType": "vector", "result": [{"metric": 1}]}}), "result"),
        (200, encode({"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}), "result"),
        (200, encode({"status": "success", "data": MANY_LABELS}), "result"),
        (200, encode({"status": "success", "data": MANY_SERIES}), "result"),
    ],
)  # fmt: skip
def test_answers_that_are_no_result(status: int, body: bytes, reason: str) -> None:
    found = parsed(status, body)
    assert isinstance(found, Failed)
    assert found.reason == reason
    assert len(found.detail) <= 320


def test_answers_that_are() -> None:
    (sample,) = _list(parsed(200, encode({"status": "success", "data": VECTOR, "new": 1})))
    assert sample.labels == {"job": "x"}
    assert shown(sample.value) == "NaN"
    scalar = {"status": "success", "data": {"resultType": "scalar", "result": [1.5, "+Inf"]}}
    assert _list(parsed(200, encode(scalar))) == [Sample({}, float("inf"))]
    assert shown(float("-inf")) == "-Inf"


def _list(result: Result) -> list[Sample]:
    assert isinstance(result, list)
    return result


def test_addresses() -> None:
    assert not wrong_url("https://prom:9090/prefix")
    for url in ("prom:9090", "ftp://x", "http://", "http://u:p@x"):
        assert wrong_url(url)


def test_random_results_never_leave_an_alert_behind() -> None:
    rng = random.Random(5)
    world = World(rule(*LOAD, "for: 10s", "keep_firing_for: 20s", "on_no_data: firing", "on_error: error"))
    choices: list[Any] = [Failed("timeout", ""), [], load(a=9), load(a=1, b=9), load(b=1), load(a=6, b=7, c=8)]
    for _ in range(400):
        world.step(rng.choice(choices))
        open_ = {each for each, kept in world.kept.items() if kept.alert.state is not Status.RESOLVED}
        assert open_ == set(world.state.active)
    for _ in range(5):
        assert world.step(load(a=1)) == {} or world.state.active
    assert not world.state.active
