"""Alerts of one rule over `metrics` from result to result: Prometheus's semantics of `for` and `keep_firing_for`. Pure.

After prometheus/rules/alerting.go: an element of the result that was not there is pending since then; it fires at the
first evaluation `for` later; one that is gone is over at once while pending, and resolved, or kept for
`keep_firing_for`, when it fired. Unlike there, `startsAt` is when it became pending, and time in which nobody evaluated
(a worker was down) does not count towards `for`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from schemas.alerts import Alert, fingerprint
from schemas.base import Event
from schemas.rule_document import Rule, Without
from streams.prometheus import Failed, Result, Sample, shown
from streams.rules import templates
from streams.rules.measures import severity_of

MAX_ALERTS = 1_000
"""Of a rule that does not name its limit."""
REFRESH_MS = 60_000
"""How often a firing alert is observed again when its texts have changed."""
BY_US_MS = 10 * 365 * 86_400_000
"""`for_ms` of what is pending: the evaluation says when it fires, never the clock of whoever keeps its state."""


class Active(Event, frozen=True, kw_only=True):
    """One alert that is pending or firing."""

    labels: dict[str, str]
    since_ms: int
    """When it became pending: Prometheus's activeAt."""
    fires: bool = False
    without: str = ""
    """`no_data` or `error`: it only says so."""
    gone_ms: int = 0
    """Since when it fires on though the result does not have it any more."""
    said_ms: int = 0
    said: str = ""
    """Its texts, when it was last observed: a short hash."""
    series: str = ""
    """Fingerprint of its labels but the severity: with another severity it is the same thing."""


class RuleState(Event, frozen=True, kw_only=True):
    """What is known of a rule's alerts, by fingerprint."""

    rule: str
    rule_hash: str
    tenant: str
    cluster: str
    active: dict[str, Active] = {}


def evaluated(rule: Rule, state: RuleState, result: Result, at_ms: int, last_ms: int) -> tuple[RuleState, list[Alert]]:
    """The state after one evaluation, and what is to be observed. `last_ms`: when the one before was; 0: there was
    none."""
    wanted = _wanted(rule, result)
    if wanted is None:
        return state, []
    active = dict(state.active)
    missed_ms = max(0, at_ms - last_ms - 2 * rule.every_ms) if last_ms else 0
    out: list[Alert] = []
    before = {each.series: each for each in active.values()}
    for print_, element in wanted.items():
        known = active.get(print_)
        if known is None:
            other = before.get(element.series)
            known = Active(
                labels=element.labels,
                since_ms=other.since_ms if other is not None and not other.fires else at_ms,
                series=element.series,
            )
            if other is not None and other.fires and not other.without:
                known = replace(known, fires=True)
        elif not known.fires:
            known = replace(known, since_ms=known.since_ms + missed_ms)
        fires = known.fires or at_ms - known.since_ms >= rule.for_ms
        new = replace(known, fires=fires, gone_ms=0, without=element.without)
        active[print_], more = _told(rule, state, new, known, element, at_ms)
        out += more
    for print_, known in state.active.items():
        if print_ not in wanted:
            active, more = _gone(rule, state, active, print_, known, at_ms)
            out += more
    return replace(state, active=active), out


def ended(state: RuleState, at_ms: int) -> list[Alert]:
    """The rule is gone, or is another now: so are its alerts."""
    return [_observed(state, each, at_ms, {}, ends_at_ms=max(at_ms, each.since_ms)) for each in state.active.values()]


class _Element(Event, frozen=True, kw_only=True):
    labels: dict[str, str]
    value: float = 0.0
    without: str = ""
    series: str = ""


def _wanted(rule: Rule, result: Result) -> dict[str, _Element] | None:
    """What should be pending or firing, by fingerprint; None: all stays as it is."""
    if isinstance(result, list):
        elements = _elements(rule, result)
        if not isinstance(elements, Failed):
            if result:
                return elements
            return _without(rule, rule.on_no_data, "there is no data")
        result = elements
    return _without(rule, rule.on_error, result.detail)


def _without(rule: Rule, how: Without, _why: str) -> dict[str, _Element] | None:
    if how is Without.KEEP:
        return None
    if how is Without.OK:
        return {}
    labels = _labels(rule, {}, rule.severity)
    said = "" if how is Without.FIRING else how.value
    return {fingerprint(labels): _Element(labels=labels, without=said, series=_series(labels))}


def _elements(rule: Rule, samples: Iterable[Sample]) -> dict[str, _Element] | Failed:
    out: dict[str, _Element] = {}
    limit = rule.limit or MAX_ALERTS
    for sample in samples:
        severity = severity_of(rule, sample.value)
        if severity is None:
            continue
        labels = _labels(rule, sample.labels, severity)
        print_ = fingerprint(labels)
        if print_ in out:
            return Failed("same_labels", f"two series of the result have the same labels: {labels}")
        out[print_] = _Element(labels=labels, value=sample.value, series=_series(labels))
        if len(out) > limit:
            return Failed("limit", f"more than {limit} alerts")
    return out


def _labels(rule: Rule, of_series: dict[str, str], severity: str) -> dict[str, str]:
    return of_series | {name: value for name, value in rule.labels.items() if value} | {
        "alertname": rule.name, "severity": severity,
    }  # fmt: skip


def _series(labels: dict[str, str]) -> str:
    return fingerprint({name: value for name, value in labels.items() if name != "severity"})


def _told(
    rule: Rule, state: RuleState, new: Active, known: Active, element: _Element, at_ms: int
) -> tuple[Active, list[Alert]]:
    """Observed when it is new, fires, says something else, or its texts changed a while ago."""
    texts = _texts(rule, element)
    said = fingerprint(texts)
    changed = not known.said_ms or new.fires != known.fires or new.without != known.without
    if not changed and (said == known.said or at_ms - known.said_ms < REFRESH_MS):
        return new, []
    new = replace(new, said=said, said_ms=at_ms)
    return new, [_observed(state, new, at_ms, texts)]


def _gone(
    rule: Rule, state: RuleState, active: dict[str, Active], print_: str, known: Active, at_ms: int
) -> tuple[dict[str, Active], list[Alert]]:
    moved = any(each.series == known.series and name != print_ for name, each in active.items())
    if known.fires and rule.keep_firing_for_ms and not known.without and not moved:
        since_ms = known.gone_ms or at_ms
        if at_ms - since_ms < rule.keep_firing_for_ms:
            return active | {print_: replace(known, gone_ms=since_ms)}, []
    left = {name: each for name, each in active.items() if name != print_}
    return left, [_observed(state, known, at_ms, {}, ends_at_ms=max(at_ms, known.since_ms))]


def _texts(rule: Rule, element: _Element) -> dict[str, str]:
    values = {
        "value": shown(element.value), "rule": rule.name, "severity": element.labels["severity"], "count": "1",
        "within": "", "message": element.without.replace("_", " "),
    }  # fmt: skip
    out = {name: templates.render(text, element.labels, values) for name, text in rule.annotations.items()}
    return out | ({"owner": rule.contact} if rule.contact and "owner" not in out else {})


def _observed(
    state: RuleState, active: Active, at_ms: int, annotations: dict[str, str], *, ends_at_ms: int = 0
) -> Alert:
    return Alert(
        labels=active.labels,
        annotations=annotations,
        starts_at_ms=active.since_ms,
        ends_at_ms=ends_at_ms,
        observed_at_ms=at_ms,
        tenant=state.tenant,
        cluster=active.labels.get("cluster") or state.cluster,
        fingerprint=fingerprint(active.labels),
        source=f"rule/{state.rule}",
        for_ms=0 if active.fires or ends_at_ms else BY_US_MS,
        without=active.without,
    )


def due_at(rule_key: str, every_ms: int, now_ms: int) -> int:
    """The newest time at or before `now_ms` at which a rule is evaluated: a grid, spread so that rules do not all ask
    at once."""
    offset = int(fingerprint({"rule": rule_key}), 16) % every_ms
    return (now_ms - offset) // every_ms * every_ms + offset


def fresh(rule: Rule, cluster: str) -> RuleState:
    return RuleState(rule=rule.key, rule_hash=rule.hash, tenant=rule.tenant, cluster=cluster)


def of_rules(rules: Iterable[Rule]) -> Iterator[Rule]:
    """Those that ask a Prometheus."""
    return (rule for rule in rules if rule.query)
